"""The names that a cpython script of the scheduler finds."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NoReturn

from .java import JavaArray, JavaMap, Py4JError, decode, encode

UNSUPPORTED = (
    "gateway",
    "schedulerapi",
    "rmapi",
    "synchronizationapi",
    "signalapi",
    "userspaceapi",
    "globalspaceapi",
)
"""Names of the scheduler's services. The embedded engine refuses workflows whose scripts use one."""


class JavaException:
    """The exception of a failed task."""

    def __init__(self, message: str) -> None:
        self._message = message

    def getMessage(self) -> str:  # noqa: N802 - Java's name
        """What went wrong."""
        return self._message

    def toString(self) -> str:  # noqa: N802 - Java's name
        """Java's text: the class and the message."""
        return str(self)

    def __str__(self) -> str:
        return f"org.ow2.proactive.scheduler.common.exception.TaskException: {self._message}"

    __repr__ = __str__


class TaskId:
    """Which task a result is of."""

    def __init__(self, number: str, name: str) -> None:
        self._number, self._name = number, name

    def getReadableName(self) -> str:  # noqa: N802 - Java's name
        """The task's name, with its iteration and replication."""
        return self._name

    def value(self) -> str:
        """The task's number in its job."""
        return self._number

    def toString(self) -> str:  # noqa: N802 - Java's name
        """The same number, as the scheduler writes it."""
        return self._number

    __str__ = toString


class TaskResult:
    """One element of `results`."""

    def __init__(self, values: dict[str, Any]) -> None:
        self._id = TaskId(values["id"], values["name"])
        self._error: str | None = values["error"]
        self._value = decode(values["value"])
        self._metadata = decode(values["metadata"])

    def value(self) -> Any:
        """The task's result; raises Py4JJavaError for a failed task: ask `hadException` first."""
        if self._error is not None:
            raise _java_error(f"An error occurred while calling value.\n: {JavaException(self._error)}")
        return self._value

    def hadException(self) -> bool:  # noqa: N802 - Java's name
        """Whether the task failed."""
        return self._error is not None

    def getException(self) -> JavaException | None:  # noqa: N802 - Java's name
        """Why the task failed."""
        return None if self._error is None else JavaException(self._error)

    def getMetadata(self) -> Any:  # noqa: N802 - Java's name
        """What the task put into `resultMetadata`."""
        return self._metadata

    def getTaskId(self) -> TaskId:  # noqa: N802 - Java's name
        """Which task it is."""
        return self._id

    def isRaw(self) -> bool:  # noqa: N802 - Java's name
        """Whether the result is bytes."""
        return isinstance(self._value, bytes)

    def toString(self) -> str:  # noqa: N802 - Java's name
        """The task's name."""
        return f"TaskResult({self._id.getReadableName()})"

    __str__ = toString


def _java_error(message: str) -> Exception:
    """py4j's own exception class where py4j is installed, so that a script's `except Py4JJavaError` works."""
    try:
        from py4j.protocol import Py4JJavaError  # type: ignore[import-untyped]  # py4j has no types
    except ImportError:
        return Py4JError(message)

    class JavaError(Py4JJavaError):  # type: ignore[misc]  # py4j has no types
        """The exception without a Java object behind it."""

        def __init__(self, text: str) -> None:
            Exception.__init__(self, text)
            self.errmsg, self.java_exception = text, JavaException(text)

        def __str__(self) -> str:
            return message

    JavaError.__name__ = JavaError.__qualname__ = "Py4JJavaError"
    JavaError.__module__ = "py4j.protocol"
    return JavaError(message)


class Progress:
    """`progress`: how much of the task is done, in percent."""

    def __init__(self, path: str) -> None:
        self._path = Path(path)

    def set(self, percent: int) -> None:
        """Report the percentage."""
        if not 0 <= percent <= 100:
            raise Py4JError(f"java.lang.IllegalArgumentException: {percent} is not a percentage")
        self._path.write_text(str(percent), "ascii")

    def get(self) -> int:
        """What was reported last."""
        return int(self._path.read_text("ascii") or 0) if self._path.exists() else 0


class ForkEnvironment:
    """`forkEnvironment` of an environment script: environment variables of the task's processes."""

    def __init__(self) -> None:
        self._variables = JavaMap()

    def addSystemEnvironmentVariable(self, name: str, value: str) -> ForkEnvironment:  # noqa: N802 - Java's name
        """Set an environment variable for the scripts that follow."""
        self._variables.put(str(name), str(value))
        return self

    def getSystemEnvironment(self) -> JavaMap:  # noqa: N802 - Java's name
        """What was set so far."""
        return self._variables


class Unsupported:
    """A service of the scheduler that the embedded engine does not have."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, attribute: str) -> NoReturn:
        name = object.__getattribute__(self, "_name")
        raise Py4JError(f"{name}.{attribute} is a service of a scheduler, the embedded engine has none")


class Service:
    """`schedulerapi`: the session of the job's owner at the endpoint that runs the task, and nothing else."""

    def __init__(self, session: dict[str, str]) -> None:
        self._session = session
        self._connected = False

    def connect(self, url: str = "") -> None:  # noqa: ARG002 - there is one
        """Take the session."""
        self._connected = True

    def isConnected(self) -> bool:  # noqa: N802 - Java's name
        """Whether `connect` was called."""
        return self._connected

    def getSession(self) -> str:  # noqa: N802 - Java's name
        """The session's identifier."""
        if not self._connected:
            raise Py4JError("java.lang.IllegalStateException: Client is not connected, call connect()")
        return self._session["session"]

    def getUserId(self) -> str:  # noqa: N802 - Java's name
        """Whose session it is."""
        return self._session["user"]

    def disconnect(self) -> None:
        """Let go of the session."""
        self._connected = False

    def __getattr__(self, attribute: str) -> NoReturn:
        raise Py4JError(f"schedulerapi.{attribute}: the embedded engine has connect, getSession and isConnected only")


class Bindings:
    """The bindings of one script, and what became of them."""

    def __init__(self, state: dict[str, Any], arguments: list[str]) -> None:
        self.state = state
        self.fork_environment = ForkEnvironment()
        self.shared = {name: decode(state[name]) for name in ("variables", "resultMap", "resultMetadata")}
        self.names: dict[str, Any] = {
            **self.shared,
            "genericInformation": decode(state["genericInformation"]),
            "credentials": decode(state["credentials"]),
            "results": JavaArray(map(TaskResult, state["results"])),
            "progress": Progress(state["progress"]),
            "forkEnvironment": self.fork_environment,
            "nodesurl": JavaArray([state["node"]]),
            "allnodesurl": JavaArray([state["node"]]),
            **state["spaces"],
            **{name: Unsupported(name) for name in UNSUPPORTED},
        }
        if state["service"]:
            self.names["schedulerapi"] = Service(state["service"])
        if arguments:
            self.names["args"] = JavaArray(arguments)
        if "result" in state:
            self.names["result"] = decode(state["result"])

    def outcome(self, handed: dict[str, Any], *, complete: bool) -> dict[str, Any]:
        """What the script leaves: its maps, what it handed over and, if its end was reached, its metadata."""
        kept = {name: encode(value) for name, value in self.shared.items() if complete or name != "resultMetadata"}
        kept["environment"] = dict(self.fork_environment.getSystemEnvironment())
        return {**kept, "names": handed}
