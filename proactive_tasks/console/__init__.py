"""What stands behind the commands of `overlayctl`."""
