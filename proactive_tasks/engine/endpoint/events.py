"""Events of jobs and tasks, for clients that listen on the WebSocket."""

from __future__ import annotations

from typing import TYPE_CHECKING

from proactive_tasks.engine.observer import Silent

if TYPE_CHECKING:
    from proactive_tasks.engine.job import Job


class Events(Silent):
    """Observes jobs."""

    def job_submitted(self, job: Job) -> None:
        """A job came in."""
