"""Following a scheduler's job: a line on standard error when a task starts or ends, and what runs now on a terminal."""

from __future__ import annotations

from collections.abc import Sequence

from proactive_tasks.console.progress import Lines
from proactive_tasks.scheduler.client.records import JobInfo, TaskInfo

NOT_YET = {"SUBMITTED", "PENDING", "PAUSED", "NOT_STARTED"}


class Following(Lines):
    """Told of job and tasks whenever something changed."""

    def __init__(self, title: str, *, shown: bool = True) -> None:
        super().__init__(title, shown=shown)
        self._job, self._known = "", dict[str, str]()

    def __call__(self, job: JobInfo, tasks: Sequence[TaskInfo]) -> None:
        """Tell what is new."""
        if not self._job:
            self.say(f"job {job.id} {job.name}: {job.status}")
        for task in tasks:
            if self._known.get(task.name) != task.status:
                self._known[task.name] = task.status
                self._tell(task)
        if self._job and job.status != self._job and (job.over or job.stuck):
            self.say(f"job {job.id} {job.name}: {job.status}")
        self._job = job.status
        self._show(job, tasks)

    def _tell(self, task: TaskInfo) -> None:
        if task.running:
            where = f" on {task.host}" if task.host else ""
            self.say(f"{task.name}: {task.status}{where}")
        elif task.status not in NOT_YET:
            self.say(f"{task.name}: {task.status}{took(task)}")

    def _show(self, job: JobInfo, tasks: Sequence[TaskInfo]) -> None:
        running = [f"{task.name} {task.progress} %" if task.progress else task.name for task in tasks if task.running]
        done = f"{job.finished} of {job.total} tasks"
        self.show(f"{done}: {', '.join(running)}" if running else f"{self._title}, {done}")


def took(task: TaskInfo) -> str:
    """How long it took, its process's start included; nothing for one that never ran."""
    if task.started is None or task.finished is None:
        return ""
    return f" after {(task.finished - task.started).total_seconds():.2f} s"
