"""What all tests share."""

import signal

from hypothesis import HealthCheck, settings

pytest_plugins = ["tests.overlays", "tests.postgres", "tests.javaside"]

# A shell starts what runs in its background with SIGINT ignored, and that is inherited: tests send it.
signal.signal(signal.SIGINT, signal.default_int_handler)

# The same examples at every run, however slow the machine is.
settings.register_profile("tests", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("tests")
