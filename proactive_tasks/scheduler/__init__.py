"""The ProActive side: how a task meets the scheduler that runs it."""

EMBEDDED = "OVERLAY_EMBEDDED_ENGINE"
"""Set in the environment of tasks that the embedded engine runs: one machine, hence SQLite will do."""
