"""A scheduler, its catalog and its resource manager, by REST."""

from proactive_tasks.scheduler.client.records import Download, JobInfo, TaskInfo, Validation
from proactive_tasks.scheduler.client.scheduler import Scheduler

__all__ = ["Download", "JobInfo", "Scheduler", "TaskInfo", "Validation"]
