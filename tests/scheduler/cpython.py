"""A script of the scheduler's cpython engine: the text around it, a process of its own, the gateway's bindings in it.

The interpreter is started once, and forks a process a script: an interpreter of its own for each takes the modules two
seconds to import. `python -m tests.scheduler.cpython` is that process.
"""

from __future__ import annotations

import importlib
import io
import json
import os
import runpy
import subprocess
import sys
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from tests.javaside import Java

# six lines, as the scheduler's engine has them: a traceback tells the same lines
PREAMBLE = """\
import os, sys
from py4j.java_gateway import JavaGateway, GatewayParameters
_parameters = dict(port=int(os.environ.pop("GATEWAY_PORT")), auth_token=os.environ.pop("GATEWAY_TOKEN"))
gateway = JavaGateway(gateway_parameters=GatewayParameters(auto_convert=True, **_parameters))
bindings = gateway.entry_point.getBindings()
locals().update(bindings)
"""
EPILOGUE = "\n" + "".join(
    f"if '{name}' in locals(): bindings['{name}'] = {name}\n"
    for name in ("result", "selected", "branch", "runs", "loop", "resultMetadata")
) + "sys.exit()\n"  # fmt: skip

DEADLINE_S = 180.0


class Ran(NamedTuple):
    """How a script ended: its exit code, its lines, and what it left in the bindings."""

    code: int
    out: str
    err: str
    left: dict[str, Any]


class Cpython:
    """Runs scripts one after the other, each with bindings in the Java program's gateway."""

    def __init__(self, java: Java, folder: Path, command: Sequence[str] = (), preload: Sequence[str] = ()) -> None:
        self._java, self._folder, self._number, self._command = java, folder, 0, list(command)
        self._server: subprocess.Popen[bytes] | None = None
        if not command:
            self._server = subprocess.Popen(
                [sys.executable, "-u", "-m", __name__, *preload],
                cwd=Path(__file__).parents[2],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
            )

    def run(self, text: str, state: dict[str, Any], environment: dict[str, str]) -> Ran:
        """Run a script's text with these bindings."""
        self._number += 1
        root = self._folder / f"script-{self._number}"
        root.mkdir()
        path = root / "script.cpy"
        path.write_text(PREAMBLE + text + EPILOGUE, "utf-8")
        bound = self._java.ask("bind", state=state)
        environment = {**environment, "GATEWAY_PORT": str(bound["port"]), "GATEWAY_TOKEN": bound["token"]}
        files = [root / "out", root / "err"]
        if self._server is None:
            with files[0].open("wb") as out, files[1].open("wb") as err:
                code = subprocess.run(
                    [*self._command, "-u", str(path)], env=environment, cwd=root, stdin=subprocess.DEVNULL,
                    stdout=out, stderr=err, timeout=DEADLINE_S,
                ).returncode  # fmt: skip
        else:
            code = self._fork({"file": str(path), "cwd": str(root), "environment": environment, "to": str(root)})
        out_text, err_text = (file.read_text("utf-8") for file in files)
        return Ran(code, out_text, err_text, self._java.ask("left"))

    def _fork(self, order: dict[str, Any]) -> int:
        assert self._server
        assert self._server.stdin
        assert self._server.stdout
        self._server.stdin.write(json.dumps(order).encode() + b"\n")
        self._server.stdin.flush()
        line = self._server.stdout.readline()
        assert line, "the process that forks scripts has ended"
        return int(line)

    def close(self) -> None:
        """End the process that forks."""
        if self._server:
            assert self._server.stdin
            assert self._server.stdout
            self._server.stdin.close()
            self._server.wait(20)
            self._server.stdout.close()


@contextmanager
def scripts(java: Java, folder: Path, *preload: str) -> Iterator[Cpython]:
    """A process that forks scripts, with modules imported already."""
    cpython = Cpython(java, folder, preload=preload)
    try:
        yield cpython
    finally:
        cpython.close()


def _serve() -> None:
    for line in sys.stdin.buffer:
        order = json.loads(line)
        pid = os.fork()
        if pid == 0:
            os._exit(_child(order))
        _, status = os.waitpid(pid, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


def _child(order: dict[str, Any]) -> int:
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    for number, name in ((1, "out"), (2, "err")):
        os.dup2(os.open(Path(order["to"], name), os.O_WRONLY | os.O_CREAT, 0o600), number)
    sys.stdout = io.TextIOWrapper(io.FileIO(1, "w", closefd=False), "utf-8", write_through=True)
    sys.stderr = io.TextIOWrapper(io.FileIO(2, "w", closefd=False), "utf-8", write_through=True)
    os.environ.clear()
    os.environ.update(order["environment"])
    os.chdir(order["cwd"])
    sys.argv = [order["file"]]
    try:
        runpy.run_path(order["file"], run_name="__main__")
    except SystemExit as end:
        if end.code is None or isinstance(end.code, int):
            return (end.code or 0) & 0xFF
        print(end.code, file=sys.stderr)
        return 1
    except BaseException:  # noqa: BLE001 - whatever a script raises is its own affair
        traceback.print_exc()
        return 1
    return 0


if __name__ == "__main__":
    for module in sys.argv[1:]:
        importlib.import_module(module)
    _serve()
