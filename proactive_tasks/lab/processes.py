"""Processes that outlive whoever started them: found again, watched and ended by what they are, not by number alone."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from proactive_tasks.overlay.errors import ProviderError

POLL_S = 0.005
END_S = 10.0
_KERNEL = 0x00200000  # PF_KTHREAD of the kernel's sched.h
_RECORD = 'echo $$ >"$0" && exec "$@"'  # the process writes its own number before it becomes the program


SECRETS = ("OVERLAY_", "AWS_", "AZURE_", "OS_")
"""What the names of variables that may hold a secret start with: the package's own, and the clouds'."""


def environment(**more: str) -> dict[str, str]:
    """This process's environment for another program: without variables that may hold a secret."""
    return {**{name: value for name, value in os.environ.items() if not name.startswith(SECRETS)}, **more}


def start(argv: Sequence[str], *, record: Path, log: Path, env: Mapping[str, str] | None = None) -> int:
    """Start a program as a session of its own, the child of nobody here; its number, which `record` keeps."""
    record.unlink(missing_ok=True)
    with log.open("ab") as output:
        subprocess.run(
            ["setsid", "--fork", "sh", "-c", _RECORD, str(record), *argv],
            stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=env or environment(), cwd="/",
            timeout=END_S, check=True,
        )  # fmt: skip
    wait(lambda: recorded(record) is not None, END_S, f"lab: {argv[0]}: did not start; see {log}")
    return recorded(record) or 0


def find(argument: str, record: Path | None = None) -> int | None:
    """The living process that has this argument, which must be unique to it: the recorded one, else a look at all."""
    pid = recorded(record) if record else None
    if pid and argument in arguments(pid):
        return pid
    return next(iter(having(lambda argv: argument in argv)), None)


def having(claim: Callable[[list[str]], bool]) -> list[int]:
    """All living processes whose arguments fulfil the claim."""
    return [int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit() and claim(arguments(path.name))]


def arguments(pid: int | str) -> list[str]:
    """A process's arguments; none when it is gone or a zombie."""
    deadline = time.monotonic() + END_S
    with contextlib.suppress(OSError):
        while True:
            words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[:-1]
            if words or not _is_program(pid) or time.monotonic() > deadline:
                return [os.fsdecode(word) for word in words]
            time.sleep(POLL_S)  # it is just becoming another program
    return []


def _is_program(pid: int | str) -> bool:
    """Is it neither a zombie nor a thread of the kernel (proc(5): fields 3 and 9 of stat)? Those have no arguments."""
    fields = Path(f"/proc/{pid}/stat").read_text("utf-8", "replace").rpartition(")")[2].split()
    return fields[0] not in "ZX" and not int(fields[6]) & _KERNEL


def child(pid: int) -> int | None:
    """A living child of a process."""
    return next(
        (int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit() and _is_child(path, pid)), None
    )


def end(pid: int, argument: str) -> None:
    """Kill a process and wait until it is gone, provided that it still is the one with this argument."""
    _end(pid, lambda: argument in arguments(pid))


def end_child(pid: int, parent: int) -> None:
    """Kill a process and wait until it is gone, provided that it still is a child of this parent."""
    _end(pid, lambda: _is_child(Path(f"/proc/{pid}"), parent))


def terminate(pid: int, is_it: Callable[[list[str]], bool], seconds: float) -> None:
    """Ask a process to end, and kill it if it has not done so in time."""

    def same() -> bool:
        return is_it(arguments(pid))

    with contextlib.suppress(ProcessLookupError):
        handle = os.pidfd_open(pid)
        try:
            if same():
                signal.pidfd_send_signal(handle, signal.SIGTERM)
                with contextlib.suppress(ProviderError):
                    wait(lambda: not same(), seconds, f"lab: process {pid}: does not end")
        finally:
            os.close(handle)
    _end(pid, same)


def _end(pid: int, same: Callable[[], bool]) -> None:
    try:
        handle = os.pidfd_open(pid)  # from here on the number cannot come to mean another process
    except ProcessLookupError:
        return
    try:
        if same():
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(handle, signal.SIGKILL)
            wait(lambda: not same(), END_S, f"lab: process {pid}: does not end")
    finally:
        os.close(handle)


def _is_child(path: Path, parent: int) -> bool:
    """Is the process of this folder of /proc a living child of the parent (proc(5): fields 3 and 4 of stat)?"""
    with contextlib.suppress(OSError):
        state, ppid = (path / "stat").read_text().rpartition(")")[2].split()[:2]
        return state not in "ZX" and int(ppid) == parent
    return False


def recorded(record: Path) -> int | None:
    """The number in a record."""
    with contextlib.suppress(OSError, ValueError):
        return int(record.read_text())
    return None


def wait(condition: Callable[[], bool], seconds: float, message: str) -> None:
    """Wait for a condition.

    Raises:
        ProviderError: with the message, after so many seconds.
    """
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise ProviderError(f"{message} (waited {seconds:g} s)")
        time.sleep(POLL_S)
