"""The machine under the agent: files, programs, systemd units, BIRD. Standard library only; runs on the gateway."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import socket
import subprocess
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

_WANTS = "etc/systemd/system/multi-user.target.wants"
_BIRD = "run/bird/bird.ctl"
_PROPERTIES = "Id,LoadState,ActiveState,SubState,NeedDaemonReload,StatusText,ActiveEnterTimestampMonotonic"


class RefusedError(Exception):
    """The machine refused what was asked; the message says which object and why."""


class Machine:
    """The machine whose file system starts at `root`; another root than "/" is for trials."""

    def __init__(self, root: Path = Path("/")) -> None:
        self.root = root

    def path(self, name: str) -> Path:
        """Where an absolute path of the machine really lies."""
        return self.root / name.lstrip("/")

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """Let no other agent change the machine meanwhile: one whose controller died may still be at work."""
        path = self.path("/run/overlay/lock")
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def run(self, *argv: str, timeout: float = 20, check: bool = True) -> str:
        """Standard output of a program.

        Raises:
            RefusedError: it failed or did not end in time.
        """
        try:
            done = subprocess.run(argv, capture_output=True, text=True, timeout=timeout, check=False)
        except subprocess.TimeoutExpired as error:
            raise RefusedError(f"{' '.join(argv)}: no end after {timeout} s") from error
        except FileNotFoundError as error:
            raise RefusedError(f"{argv[0]}: not installed on this gateway") from error
        if check and done.returncode:
            raise RefusedError(f"{' '.join(argv)}: {(done.stderr or done.stdout).strip()[:600]}")
        return done.stdout

    def read_json(self, name: str) -> dict[str, Any]:
        """A JSON object that the agent keeps; empty when there is none, or none that can be read."""
        try:
            found = json.loads(self.path(name).read_text())
        except (OSError, ValueError):
            return {}
        return found if isinstance(found, dict) else {}

    def tail(self, name: str, lines: int = 5) -> str:
        """The last lines of a log, in one."""
        try:
            said = self.path(name).read_text(errors="replace").splitlines()
        except OSError:
            return "there is none"
        return " | ".join(line.strip() for line in said[-lines:] if line.strip())[-600:]

    def write(self, name: str, content: str, mode: int = 0o644) -> None:
        """Write a file whole: whoever reads it sees the old content or the new."""
        path = self.path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        self.stage(path, content, mode).replace(path)

    @staticmethod
    def stage(path: Path, content: str, mode: int) -> Path:
        """The content beside its place, not yet in it."""
        staged = path.with_name(f".{path.name}.overlay-new")
        staged.unlink(missing_ok=True)
        descriptor = os.open(staged, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
        try:
            with os.fdopen(descriptor, "w") as file:
                file.write(content)
            staged.chmod(mode)  # whatever the umask
        except OSError:
            staged.unlink(missing_ok=True)
            raise
        return staged

    def digest(self, name: str) -> str:
        """SHA-256 and mode of a file; "" when it is not there."""
        path = self.path(name)
        try:
            return fingerprint(path.read_bytes(), path.stat().st_mode & 0o7777)
        except OSError:
            return ""

    def units(self, names: Iterable[str]) -> dict[str, dict[str, str]]:
        """Properties of systemd units, by name."""
        names = list(names)
        if not names:
            return {}
        blocks = self.run("systemctl", "show", "-p", _PROPERTIES, *names).strip().split("\n\n")
        shown = [dict(line.split("=", 1) for line in block.splitlines() if "=" in line) for block in blocks]
        return dict(zip(names, shown, strict=True))

    def systemctl(self, *arguments: str, timeout: float = 30) -> None:
        """Carry out one systemctl command."""
        self.run("systemctl", *arguments, timeout=timeout)

    def enabled(self, unit: str) -> bool:
        """Whether a unit starts at boot because of us."""
        link = self.path(f"{_WANTS}/{unit}")
        return link.is_symlink() and link.readlink() == self._definition(unit)

    def enable(self, unit: str) -> None:
        """Have a unit start at boot: a link as `systemctl enable` makes it, without its reload."""
        link = self.path(f"{_WANTS}/{unit}")
        link.parent.mkdir(parents=True, exist_ok=True)
        link.unlink(missing_ok=True)
        link.symlink_to(self._definition(unit))

    def _definition(self, unit: str) -> Path:
        name, instance, _ = unit.partition("@")
        file = f"{name}@.service" if instance else unit
        own = Path("/etc/systemd/system", file)
        return own if self.path(str(own)).exists() else Path("/lib/systemd/system", file)

    def disable(self, unit: str) -> None:
        """Have a unit not start at boot."""
        self.path(f"{_WANTS}/{unit}").unlink(missing_ok=True)

    def journal(self, unit: str, lines: int = 3) -> str:
        """The last words of a unit, in one line."""
        said = self.run("journalctl", "-u", unit, "-n", str(lines), "-o", "cat", "--no-pager", check=False)
        return " | ".join(said.split("\n")).strip(" |")

    def bird(self, command: str, timeout: float = 5) -> list[str]:
        """What BIRD answers to a command on its control socket; empty when it does not run.

        Raises:
            RefusedError: BIRD refused the command.
        """
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as stream:
                stream.settimeout(timeout)
                stream.connect(str(self.path(_BIRD)))
                with stream.makefile("rw", encoding="utf-8") as file:
                    _reply(file)  # the greeting
                    file.write(command + "\n")
                    file.flush()
                    return _reply(file)
        except (ConnectionError, FileNotFoundError, TimeoutError):
            return []

    def sessions(self) -> dict[str, dict[str, str]]:
        """BGP sessions by interface: state (Established, ...), since, information."""
        found = {}
        for line in self.bird("show protocols"):
            words = line.split(None, 5)
            if len(words) >= 5 and words[1] == "BGP":
                state, _, info = (words[5] if len(words) > 5 else "").partition(" ")
                found[words[0]] = {"state": state, "since": words[4], "info": info.strip()}
        return found

    def established(self) -> set[str]:
        """Interfaces whose BGP session stands, hence whose link carries traffic."""
        return {name for name, session in self.sessions().items() if session["state"] == "Established"}


def fingerprint(content: bytes, mode: int) -> str:
    """What two files of the same content and mode share."""
    return hashlib.sha256(content).hexdigest() + f":{mode:o}"


def _reply(file: Any) -> list[str]:
    """Lines of one reply: `nnnn-text` goes on, `nnnn text` ends it, a space or plus continues the line before."""
    lines: list[str] = []
    while line := file.readline():
        line = line.rstrip("\n")
        code, last = line[:4], line[4:5] == " "
        if code.isdigit() and line[4:5] in {"-", " "}:
            if code[0] in "89":
                raise RefusedError(f"bird: {line[5:]}")
            lines.append(line[5:])
            if last:
                return lines
        else:
            lines.append(line[1:])
    return lines
