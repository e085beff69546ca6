"""The endpoint's jobs: how they come in, run, and what they leave."""
