"""What a scheduler tells of jobs, tasks and results, in the package's words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

OVER = {"FINISHED", "CANCELED", "FAILED", "KILLED"}
STUCK = {"IN_ERROR", "PAUSED"}
FINE = {"FINISHED", "SKIPPED"}
RUNNING = {"RUNNING", "WAITING_ON_ERROR", "WAITING_ON_FAILURE"}
"""The last two: the task, or its node, failed, and it is run again."""


@dataclass(frozen=True)
class JobInfo:
    """A job as it stands, with numbers of its tasks by their state.

    Two of a server's numbers are left out: among the running ones are those in error, too, and among the pending ones
    those that wait for others. Who wants to know asks for the tasks.
    """

    id: int
    name: str
    status: str
    owner: str
    total: int
    finished: int
    failed: int
    faulty: int
    in_error: int
    submitted: datetime | None
    started: datetime | None
    ended: datetime | None
    variables: Mapping[str, str] = field(default_factory=dict)
    generic: Mapping[str, str] = field(default_factory=dict)
    result_map_present: bool = False
    precious_tasks: tuple[str, ...] = ()

    @property
    def over(self) -> bool:
        """Whether nothing more will happen."""
        return self.status in OVER

    @property
    def stuck(self) -> bool:
        """Whether only a person brings it to its end; tasks that wait for none of its errors may go on."""
        return self.status in STUCK

    @property
    def succeeded(self) -> bool:
        """FINISHED is not success: no task may have failed either."""
        return self.status == "FINISHED" and not self.failed and not self.faulty and not self.in_error

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> JobInfo:
        """Out of a scheduler's `jobInfo`."""
        return cls(
            id=int(values["jobId"]["id"]),
            name=str(values["jobId"].get("readableName") or ""),
            status=str(values["status"]),
            owner=str(values.get("jobOwner") or ""),
            total=_number(values, "totalNumberOfTasks"),
            finished=_number(values, "numberOfFinishedTasks"),
            failed=_number(values, "numberOfFailedTasks"),
            faulty=_number(values, "numberOfFaultyTasks"),
            in_error=_number(values, "numberOfInErrorTasks"),
            submitted=_moment(values.get("submittedTime")),
            started=_moment(values.get("startTime")),
            ended=_moment(values.get("finishedTime")),
            variables=_texts(values.get("variables")),
            generic=_texts(values.get("genericInformation")),
            result_map_present=bool(values.get("resultMapPresent")),
            precious_tasks=tuple(str(each) for each in values.get("preciousTasks") or ()),
        )


@dataclass(frozen=True)
class TaskInfo:
    """A task as it stands; `progress` in percent, `duration_s` without the start of its process."""

    id: int
    name: str
    status: str
    progress: int
    started: datetime | None
    finished: datetime | None
    host: str
    executions_left: int
    duration_s: float = 0.0

    @property
    def fine(self) -> bool:
        """Whether it ended as it should, or was not wanted."""
        return self.status in FINE

    @property
    def running(self) -> bool:
        """Whether it runs, or will again."""
        return self.status in RUNNING

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> TaskInfo:
        """Out of a scheduler's state of a task."""
        info = values["taskInfo"]
        return cls(
            id=int(info["taskId"]["id"]),
            name=str(info["taskId"].get("readableName") or values["name"]),
            status=str(info["taskStatus"]),
            progress=_number(info, "progress"),
            started=_moment(info.get("startTime")),
            finished=_moment(info.get("finishedTime")),
            host=str(info.get("executionHostName") or ""),
            executions_left=_number(info, "numberOfExecutionLeft"),
            duration_s=max(_number(info, "executionDuration"), 0) / 1000,  # below 0 where it was killed
        )


@dataclass(frozen=True)
class Validation:
    """What a scheduler thinks of a workflow; `variables` are its own and those given, after the workflow's defaults."""

    valid: bool
    message: str
    task: str = ""
    variables: Mapping[str, str] = field(default_factory=dict)
    models: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Validation:
        """Out of a scheduler's answer."""
        return cls(
            valid=bool(values["valid"]),
            message=" ".join(str(values.get("errorMessage") or "").split()),
            task=str(values.get("taskName") or ""),
            variables=_texts(values.get("updatedVariables")),
            models=_texts(values.get("updatedModels")),
        )


@dataclass(frozen=True)
class Download:
    """A task's result as a document. `file_name` is the task's word: never a path to write to unseen."""

    content: bytes
    content_type: str
    file_name: str


def _number(values: Mapping[str, Any], key: str) -> int:
    return int(values.get(key) or 0)


def _moment(milliseconds: Any) -> datetime | None:
    """A time in ms since the epoch; one that has not come is told as -1 or 0."""
    return datetime.fromtimestamp(milliseconds / 1000, UTC) if milliseconds and milliseconds > 0 else None


def _texts(values: Mapping[str, Any] | None) -> dict[str, str]:
    return {str(key): "" if value is None else str(value) for key, value in (values or {}).items()}
