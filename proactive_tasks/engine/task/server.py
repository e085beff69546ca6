"""The fork server: imports what tasks need once, then forks one runner a task execution in milliseconds.

What only a late task needs is imported meanwhile, whenever nobody asks for a runner.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import os
import select
import signal
import socket
import sys
from collections.abc import Iterator

from . import frames, runner

THREADS = "OPENBLAS_NUM_THREADS"

IDLE_S = 0.05
"""So long without a request, and the next of the later modules is imported: a request waits for one at most."""


def main(descriptor: int) -> None:
    """Serve until the engine closes its end: each message is one byte and the socket of one task."""
    os.setsid()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the kernel reaps runners
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a Ctrl-C is the engine's to handle
    control = socket.socket(fileno=descriptor)
    os.set_inheritable(descriptor, False)
    first, later = frames.receive(control) or ([], [])
    preload(first)
    gc.freeze()
    while True:
        if later and not select.select([control], (), (), IDLE_S)[0]:
            with _without_threads():
                preload([later.pop(0)])
            gc.freeze()
            continue
        data, descriptors, _, _ = socket.recv_fds(control, 1, 1)
        if not data:
            return
        if os.fork() == 0:
            control.close()
            runner.main(socket.socket(fileno=descriptors[0]))
        os.close(descriptors[0])


def preload(modules: list[str]) -> None:
    """Import modules so that tasks find them ready; one that cannot be imported is the task's affair."""
    for module in modules:
        with contextlib.suppress(Exception):
            importlib.import_module(module)


@contextlib.contextmanager
def _without_threads() -> Iterator[None]:
    """Numerical libraries start a thread for each core when they are imported, and no thread survives a fork."""
    before = os.environ.get(THREADS)
    os.environ[THREADS] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ[THREADS]
        else:
            os.environ[THREADS] = before


if __name__ == "__main__":
    main(int(sys.argv[1]))
