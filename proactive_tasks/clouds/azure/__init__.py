"""Azure, through its resource manager (ARM)."""
