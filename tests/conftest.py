"""What all tests share."""

pytest_plugins = ["tests.javaside", "tests.overlays", "tests.postgres"]
