"""One cpython script in a process of its own, as `__main__`."""

from __future__ import annotations

import atexit
import io
import linecache
import os
import socket
import sys
import threading
import traceback
import types
from typing import Any

from . import frames
from .bindings import Bindings
from .java import encode, to_java

PREAMBLE = """\
# The scheduler puts six lines before a script;
# so do we: line numbers are the same there.
#
import os
import sys
#
"""
HANDED_OVER = ("result", "selected", "branch", "runs", "loop")


def run(spec: dict[str, Any], connection: socket.socket) -> int:
    """Run the script of a specification, send what it leaves, answer the exit code of the process."""
    bindings = Bindings(spec["state"], spec["arguments"])
    main = types.ModuleType("__main__")
    main.__dict__.update(bindings.names, __file__=spec["file"], __builtins__=__builtins__)
    sys.modules["__main__"] = main
    sys.argv = [spec["file"]]
    handed: dict[str, Any] = {}
    code, complete = 1, False
    try:
        _execute(spec, main, handed)
        code, complete = 0, True
    except SystemExit as end:
        code = _exit_code(end)
    except BaseException as error:  # noqa: BLE001 - whatever a script raises is its own affair
        _report(error)
    frames.send(connection, bindings.outcome(handed, complete=complete))
    connection.close()
    _leave()
    return code


def _execute(spec: dict[str, Any], main: types.ModuleType, handed: dict[str, Any]) -> None:
    source = PREAMBLE + spec["text"]
    linecache.cache[spec["file"]] = (len(source), None, source.splitlines(keepends=True), spec["file"])
    exec(compile(source, spec["file"], "exec", dont_inherit=True), main.__dict__)  # noqa: S102 - the task's script
    for name in HANDED_OVER:
        if name in main.__dict__:
            handed[name] = encode(to_java(main.__dict__[name]))


def _report(error: BaseException) -> None:
    """The traceback as Python prints it, without the frames of this module."""
    frame = error.__traceback__
    while frame and frame.tb_frame.f_code.co_filename == __file__:
        frame = frame.tb_next
    traceback.print_exception(type(error), error, frame)


def _exit_code(end: SystemExit) -> int:
    if end.code is None or isinstance(end.code, int):
        return (end.code or 0) & 0xFF
    print(end.code, file=sys.stderr)
    return 1


def _leave() -> None:
    """What an interpreter does at its end: wait for threads, run the exit handlers, flush."""
    try:
        threading._shutdown()  # type: ignore[attr-defined]  # noqa: SLF001 - what Py_Finalize calls
        atexit._run_exitfuncs()  # noqa: SLF001 - as well
    finally:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()


def fresh_streams() -> None:
    """Standard streams over descriptors 1 and 2, unbuffered as under `python -u`."""
    for name, descriptor in (("stdout", 1), ("stderr", 2)):
        raw = io.FileIO(descriptor, "w", closefd=False)
        errors = "strict" if name == "stdout" else "backslashreplace"
        stream = io.TextIOWrapper(raw, "utf-8", errors, write_through=True)
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)


BOOTSTRAP = """
import importlib.util, sys
folder, descriptor = sys.argv[1:3]
spec = importlib.util.spec_from_file_location("_overlay_task", folder + "/__init__.py",
                                              submodule_search_locations=[folder])
package = importlib.util.module_from_spec(spec)
sys.modules["_overlay_task"] = package
from _overlay_task.script import main
main(int(descriptor))
"""
"""Loads this package by its folder in another interpreter, without a change of its import path."""


def main(descriptor: int) -> None:
    """Run the script that comes over the socket of this number: the start of another interpreter."""
    with socket.socket(fileno=descriptor) as connection:
        os.set_inheritable(descriptor, False)
        spec = frames.receive(connection)
        if spec is None:
            os._exit(1)
        os._exit(run(spec, connection))
