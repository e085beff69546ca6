"""OpenStack: its driver, and what it needs."""
