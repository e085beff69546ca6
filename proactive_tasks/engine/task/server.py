"""The fork server: imports what tasks need once, then forks one runner a task execution in milliseconds."""

from __future__ import annotations

import contextlib
import gc
import importlib
import os
import signal
import socket
import sys

from . import frames, runner


def main(descriptor: int) -> None:
    """Serve until the engine closes its end: each message is one byte and the socket of one task."""
    os.setsid()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the kernel reaps runners
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a Ctrl-C is the engine's to handle
    control = socket.socket(fileno=descriptor)
    os.set_inheritable(descriptor, False)
    preload(frames.receive(control) or [])
    gc.freeze()
    while True:
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


if __name__ == "__main__":
    main(int(sys.argv[1]))
