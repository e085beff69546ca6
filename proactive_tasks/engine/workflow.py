"""What a job descriptor says, as records."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, cast

from proactive_tasks.overlay.errors import WorkflowError

if TYPE_CHECKING:
    from lxml import etree


_PASSWORD = re.compile(r"(://[^\s/:@]*:)[^\s/@]+@")


def line_of(element: etree._Element) -> int:
    """The line at which an element begins."""
    return cast("int", element.sourceline) or 0


class RefusedError(WorkflowError):
    """A job descriptor that is not accepted; the text is the scheduler's own where it has one."""

    def __init__(self, message: str, kind: str = "JobValidationException") -> None:
        super().__init__(f"{kind}: {message}")


class NotSupportedError(RefusedError):
    """Something that a scheduler runs and the embedded engine does not."""

    def __init__(self, what: str, line: int | None) -> None:
        super().__init__(f"{what} at line {line}: the embedded engine does not support it", "NotSupported")


@dataclass(frozen=True, slots=True)
class Variable:
    """A variable of a job or a task."""

    name: str
    value: str
    model: str = ""
    inherited: bool = False
    description: str | None = None
    group: str | None = None
    advanced: bool = False
    hidden: bool = False  # not shown in forms

    @property
    def is_secret(self) -> bool:
        """Whether the value is nobody's to see but the task's."""
        return self.model.strip().upper().startswith("PA:HIDDEN")

    @property
    def shown(self) -> str:
        """The value as it may be shown and stored: hidden ones not at all, URLs without their password."""
        if self.is_secret:
            return "******"
        return _PASSWORD.sub(r"\1******@", self.value)


@dataclass(frozen=True, slots=True)
class Script:
    """A script: its text, or the file to read it from when it runs."""

    language: str  # "cpython", "bash", or one that nothing runs
    text: str | None
    file: str | None
    arguments: tuple[str, ...]
    line: int


@dataclass(frozen=True, slots=True)
class Command:
    """A native command and its arguments."""

    words: tuple[str, ...]
    line: int


@dataclass(frozen=True, slots=True)
class Flow:
    """A control flow action: `kind` is replicate, if or loop."""

    kind: str
    script: Script
    target: str = ""
    otherwise: str = ""
    continuation: str = ""


@dataclass(frozen=True, slots=True)
class Files:
    """A choice of files that are copied before a task, or after it; the patterns are filled in when it runs."""

    mode: str  # transferFromUserSpace, cacheFromGlobalSpace, transferToUserSpace ..., none
    includes: str
    excludes: str | None = None


@dataclass(frozen=True, slots=True)
class TaskSpec:
    """A task as it is written; its replicas and iterations share it."""

    name: str
    line: int
    executable: Script | Command
    depends: tuple[str, ...] = ()
    scripts: dict[str, Script] = field(default_factory=dict)  # environment, pre, post, clean
    flow: Flow | None = None
    block: str = "none"  # start, end or none
    variables: dict[str, Variable] = field(default_factory=dict)
    generic: dict[str, str] = field(default_factory=dict)
    on_error: str = "continueJobExecution"
    executions: int = 1
    retry_delay: float | None = None
    walltime: float | None = None
    environment: dict[str, str] = field(default_factory=dict)
    working_directory: str = ""
    precious: bool = False
    inputs: tuple[Files, ...] = ()
    outputs: tuple[Files, ...] = ()
    description: str | None = None


@dataclass(frozen=True, slots=True)
class Workflow:
    """A job as it is written, with the values of its variables for one run."""

    name: str
    variables: dict[str, Variable]
    generic: dict[str, str]
    tasks: dict[str, TaskSpec]
    project: str = ""
    priority: str = "normal"
    description: str | None = None
    warnings: tuple[str, ...] = ()

    def values(self) -> dict[str, str]:
        """The job's variables."""
        return {name: variable.value for name, variable in self.variables.items()}
