"""What all tests share."""

import signal

pytest_plugins = ["tests.overlays", "tests.postgres", "tests.javaside"]

# A shell starts what runs in its background with SIGINT ignored, and that is inherited: tests send it.
signal.signal(signal.SIGINT, signal.default_int_handler)
