"""What all tests share."""

pytest_plugins = ["tests.overlays", "tests.postgres"]
