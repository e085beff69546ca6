"""Runs the scripts of one task execution, one process each, in the order of the scheduler."""

from __future__ import annotations

import contextlib
import os
import select
import selectors
import shlex
import shutil
import signal
import socket
import sys
import time
import traceback
from pathlib import Path
from typing import Any, NoReturn

from . import frames, java, processes, script, substitution
from .dataspaces import Transfer

CHUNK = 1 << 16
HELLO_DEADLINE = 30.0
CLEAN_DEADLINE = 60.0
SILENT = {"clean"}  # the scheduler keeps the output of clean scripts to itself


class Ended(Exception):  # noqa: N818 - not an error: the end of the task's time
    """The task has to stop: its walltime is over, or the engine says so or is gone."""

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why


def main(engine: socket.socket) -> NoReturn:
    """Run one task execution; the specification comes over the socket, log and outcome go back."""
    code, kept = 1, False
    try:
        os.setsid()
        processes.adopt_orphans()
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        spec = frames.receive(engine)
        if spec is not None:
            Runner(engine, spec).run()
            code = 0
            kept = bool(spec["keep_processes"])
    except BaseException:  # noqa: BLE001 - a fault of the runner itself: say so, and leave nothing behind
        with contextlib.suppress(OSError):
            frames.send(engine, {"fault": traceback.format_exc()})
    finally:
        if not kept:
            processes.kill_descendants()
        os._exit(code)


class Runner:
    """One task execution."""

    def __init__(self, engine: socket.socket, spec: dict[str, Any]) -> None:
        self.engine = engine
        self.spec = spec
        self.state: dict[str, Any] = spec["state"]
        self.root = Path(spec["root"])
        self.environment = {**os.environ, **spec["environment"]}
        self.deadline: float | None = time.monotonic() + spec["walltime"] if spec["walltime"] else None
        self.streams: dict[str, bytes] = {}
        self.pipes: dict[int, str] = {}
        self.quiet = False
        self.scripts = 0
        self.nothing = os.pipe()
        self.wake, self.waker = socket.socketpair()
        for end in (self.wake, self.waker):
            end.setblocking(False)
        signal.signal(signal.SIGCHLD, lambda *_: None)  # a handler, so that the end of a child wakes the selector
        signal.set_wakeup_fd(self.waker.fileno(), warn_on_full_buffer=False)

    def run(self) -> None:
        """All phases, the outcome, then the clean script."""
        Path(self.state["spaces"]["localspace"]).mkdir(parents=True, exist_ok=True)
        try:
            try:
                outcome = self._phases()
            except Ended as end:
                outcome = {"ended": end.why}
            if not self.spec["keep_processes"] or "ended" in outcome:
                processes.kill_descendants()
            self._drain()
            frames.send(self.engine, {"outcome": outcome})
            if "clean" in self.spec["phases"]:
                self.deadline = time.monotonic() + CLEAN_DEADLINE
                with contextlib.suppress(Ended):
                    self._phase("clean")
        finally:
            if not self.spec["keep_processes"]:
                processes.kill_descendants()
            shutil.rmtree(self.root, ignore_errors=True)

    def _phases(self) -> dict[str, Any]:
        """The scripts between the copies of files; what a task leaves is copied also when it has failed."""
        files, transfer = self.spec["files"], Transfer(self.state["spaces"], self._tell, self._breathe)
        error = self._transferred(transfer.bring, files["inputs"])
        outcome: dict[str, Any] = {"error": error, "value": None}
        if error is None:
            outcome = self._run_scripts()
            error = self._transferred(transfer.take, files["outputs"])
            outcome["error"] = outcome["error"] or error
        for name in ("variables", "resultMap", "resultMetadata"):
            outcome[name] = self.state[name]
        return outcome

    def _transferred(self, copy: Any, chosen: list[dict[str, Any]]) -> str | None:
        """Copy; answers why it failed."""
        try:
            copy(chosen)
        except (OSError, ValueError) as failed:
            error = f"Exception(s) occurred when transferring files: {failed}"
            self._tell(error)
            return error
        return None

    def _tell(self, line: str) -> None:
        frames.send(self.engine, {"log": [["err", line]]})

    def _breathe(self) -> None:
        """Between two files: end here, if the task's time is over."""
        self._patience()
        if select.select([self.engine], [], [], 0)[0]:
            self._order()

    def _run_scripts(self) -> dict[str, Any]:
        error = None
        for name in ("environment", "pre", "task", "post"):
            if name not in self.spec["phases"]:
                continue
            failure, names = self._phase(name)
            if failure is not None:
                error = f"Failed to execute {'task' if name == 'task' else name + ' script'}: {failure}"
                self._tell(error)
                break
            if name == "task":
                self.state["result"] = names.get("result", True)
        outcome = {"error": error, "value": self.state.get("result")}
        if "flow" in self.spec["phases"]:
            if error is not None:
                self.state["result"] = None
            outcome["flow_error"], outcome["flow"] = self._phase("flow")
        return outcome

    def _phase(self, name: str) -> tuple[str | None, dict[str, Any]]:
        """Run one script; answers why it failed, and what it handed over."""
        phase = self.spec["phases"][name]
        self.quiet = name in SILENT
        self.scripts += 1
        languages = {"cpython": self._cpython, "bash": self._bash, "native": self._native}
        if phase["language"] not in languages:
            return f"No Script Engine Found for name or extension {phase['language']}", {}
        return languages[phase["language"]](phase)

    def _cpython(self, phase: dict[str, Any]) -> tuple[str | None, dict[str, Any]]:
        try:
            text = _text_of(phase)
        except OSError as error:
            return _missing(error), {}
        path = self.root / f"jsr223-cpython-{self.scripts}.cpy"
        path.write_text(script.PREAMBLE + text, "utf-8", "surrogatepass")
        spec = {"text": text, "file": str(path), "arguments": phase["arguments"], "state": self.state}
        ours, theirs = socket.socketpair()
        with ours:
            if self.spec["python"] is None:
                pid = self._fork(lambda: script.run(spec, theirs), self.nothing[0])
            else:
                command = [self.spec["python"], "-u", "-c", script.BOOTSTRAP, str(Path(__file__).parent)]
                theirs.set_inheritable(True)
                pid = self._fork(lambda: self._exec([*command, str(theirs.fileno())]), self.nothing[0])
            theirs.close()
            code, left = self._watch(pid, ours, b"" if self.spec["python"] is None else frames.pack(spec))
        for kept in ("variables", "resultMap", "resultMetadata"):
            self.state[kept] = left.get(kept, self.state[kept])
        self.environment.update(left.get("environment", {}))
        if code == 127 and self.spec["python"]:
            return f'Check if Python is installed properly. Cannot run program "{self.spec["python"]}"', {}
        failure = f"Python process execution has failed with exit code {code}" if code else None
        return failure, left.get("names", {})

    def _bash(self, phase: dict[str, Any]) -> tuple[str | None, dict[str, Any]]:
        path = self.root / f"script-{self.scripts}.sh"
        try:
            path.write_text(_text_of(phase), "utf-8")
        except OSError as error:
            return _missing(error), {}
        command = ["bash", str(path), *phase["arguments"]]
        reading = None
        credentials = java.decode(self.state["credentials"])
        if credentials:
            # credentials come over a pipe as plain shell variables: no argument and no environment shows them
            lines = "".join(f"credentials_{_identifier(key)}={shlex.quote(credentials[key])}\n" for key in credentials)
            reading, writing = os.pipe()
            os.set_blocking(writing, False)
            os.write(writing, lines.encode())
            os.close(writing)
            os.set_inheritable(reading, True)
            preparation = f'. /dev/fd/{reading}; exec {reading}<&-; . "$0" "$@"'
            command = ["bash", "-c", preparation, str(path), *phase["arguments"]]
        try:
            return self._command(command, "Bash process execution")
        finally:
            if reading is not None:
                os.close(reading)

    def _native(self, phase: dict[str, Any]) -> tuple[str | None, dict[str, Any]]:
        texts = self._texts()
        return self._command(
            [substitution.substitute(word, texts) for word in phase["command"]], "Native command execution"
        )

    def _texts(self) -> dict[str, str]:
        return {str(key): java.text(value) for key, value in java.decode(self.state["variables"]).items()}

    def _command(self, command: list[str], what: str) -> tuple[str | None, dict[str, Any]]:
        extra = {f"variables_{_identifier(key)}": value for key, value in self._texts().items() if "\0" not in value}
        self.environment, before = {**self.environment, **extra}, self.environment
        pid = self._fork(lambda: self._exec(command))
        self.environment = before
        code, _ = self._watch(pid, None, b"", to_the_last_byte=True)
        if code == 127:
            return f'Cannot run program "{command[0]}"', {}
        return (f"{what} has failed with exit code {code}" if code else None), {"result": code}

    def _exec(self, command: list[str]) -> int:
        try:
            os.execvpe(command[0], command, self.environment)  # noqa: S606 - an argument list, as everywhere
        except OSError as error:
            print(f'Cannot run program "{command[0]}": {error.strerror}', file=sys.stderr)
        return 127

    def _fork(self, child: Any, reads: int | None = None) -> int:
        """Start a process whose output comes here; it leads a session of its own and dies with this one.

        A cpython script that reads its input waits for ever, as under a scheduler: nothing comes, and no end of it.
        """
        pipes = {name: os.pipe() for name in ("out", "err")}
        parent = os.getpid()
        pid = os.fork()
        if pid == 0:
            self._become(child, reads, [pipes["out"][1], pipes["err"][1]], parent)
        self.pipes = {}
        for name, (reading, writing) in pipes.items():
            os.close(writing)
            os.set_blocking(reading, False)
            self.pipes[reading] = name
        return pid

    def _become(self, child: Any, reads: int | None, outputs: list[int], parent: int) -> NoReturn:
        code = 1
        try:
            os.setsid()
            processes.die_with_parent(parent)
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            signal.signal(signal.SIGINT, signal.default_int_handler)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            source = os.open(os.devnull, os.O_RDONLY) if reads is None else reads
            for descriptor, wanted in zip([source, *outputs], (0, 1, 2), strict=True):
                os.dup2(descriptor, wanted)
            for end in (self.engine, self.wake, self.waker):
                end.close()
            script.fresh_streams()
            os.environ.clear()
            os.environ.update(self.environment)
            os.chdir(self.spec["cwd"])
            code = child()
        except BaseException:  # noqa: BLE001 - the process ends here, in whatever way
            traceback.print_exc()
        finally:
            os._exit(code)

    def _watch(
        self, pid: int, channel: socket.socket | None, hello: bytes, *, to_the_last_byte: bool = False
    ) -> tuple[int, dict[str, Any]]:
        """Follow a process to its end: its output, what it leaves, walltime and engine.

        A cpython script is over when its process is; of bash and native commands the scheduler reads the output until
        nothing holds it open.
        """
        left = Left(channel, hello)
        code: int | None = None
        with selectors.DefaultSelector() as selector:
            for source in (*self.pipes, self.engine.fileno(), self.wake.fileno(), *left.sources()):
                selector.register(source, selectors.EVENT_READ)
            while code is None or (to_the_last_byte and self.pipes):
                for key, _ in selector.select(self._patience()):
                    if not self._hear(key.fd, left):
                        selector.unregister(key.fd)
                if code is None:
                    code = _exit_code(pid)
        self._drain()
        while left.read():
            pass
        return code, left.values

    def _hear(self, descriptor: int, left: Left) -> bool:
        """Take what a source has; whether it may have more."""
        if descriptor == self.engine.fileno():
            self._order()
        if descriptor == self.wake.fileno():
            return bool(self.wake.recv(CHUNK))
        if descriptor in self.pipes:
            return self._read(descriptor) is not False
        return left.read()

    def _patience(self) -> float | None:
        """How long news may take: to the deadline."""
        if self.deadline is None:
            return None
        remaining = self.deadline - time.monotonic()
        if remaining <= 0:
            raise Ended("walltime")
        return remaining

    def _order(self) -> NoReturn:
        """The engine speaks only to end the task."""
        try:
            message = frames.receive(self.engine)
        except OSError:
            message = None
        raise Ended("gone" if message is None else "killed")

    def _read(self, descriptor: int) -> bool | None:
        """Pass on what a process wrote: True if there was something, None if not yet, False at the end."""
        try:
            data = os.read(descriptor, CHUNK)
        except BlockingIOError:
            return None
        name = self.pipes[descriptor]
        lines = (self.streams.pop(name, b"") + data).split(b"\n")
        rest = lines.pop()
        if rest and (not data or len(rest) > CHUNK):
            lines.append(rest)
        elif rest:
            self.streams[name] = rest
        self._send_log(name, lines)
        if not data:
            os.close(descriptor)
            del self.pipes[descriptor]
        return bool(data)

    def _drain(self) -> None:
        """What is left in the pipes of an ended process, whoever else still holds them open."""
        for descriptor in list(self.pipes):
            for _ in range(64):  # more than a pipe holds
                if not self._read(descriptor):
                    break
            if descriptor in self.pipes:
                os.close(descriptor)
        for name, rest in self.streams.items():
            self._send_log(name, [rest])
        self.streams, self.pipes = {}, {}

    def _send_log(self, stream: str, lines: list[bytes]) -> None:
        if lines and not self.quiet:
            frames.send(self.engine, {"log": [[stream, line.decode("utf-8", "replace")] for line in lines]})


def _text_of(phase: dict[str, Any]) -> str:
    text: str | None = phase["text"]
    return Path(phase["file"]).read_text("utf-8") if text is None else text


def _missing(error: OSError) -> str:
    return f"java.io.FileNotFoundException: {error.filename} ({error.strerror})"


class Left:
    """What a cpython script leaves behind, as far as it came over its channel."""

    def __init__(self, channel: socket.socket | None, hello: bytes) -> None:
        self.values: dict[str, Any] = {}
        self._channel = channel
        self._inbox = frames.Inbox()
        if channel is not None:
            channel.settimeout(HELLO_DEADLINE)
            with contextlib.suppress(OSError):  # a script that never reads: its exit code tells
                channel.sendall(hello)
            channel.setblocking(False)

    def sources(self) -> list[int]:
        """What to wait for."""
        return [] if self._channel is None else [self._channel.fileno()]

    def read(self) -> bool:
        """Take what is there; whether there was something."""
        if self._channel is None:
            return False
        try:
            data = self._channel.recv(CHUNK)
        except OSError:
            return False
        for message in self._inbox.feed(data):
            self.values = message
        return bool(data)


def _exit_code(pid: int) -> int | None:
    ended, status = os.waitpid(pid, os.WNOHANG)
    code = os.waitstatus_to_exitcode(status) if ended else None
    return 128 - code if code is not None and code < 0 else code  # killed by a signal: as Java and shells say it


def _identifier(name: str) -> str:
    return "".join(letter if letter.isalnum() and letter.isascii() else "_" for letter in name)
