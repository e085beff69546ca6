"""Serves an emulated cloud's API: `python -m proactive_tasks.lab.cloud.serve aws --lab=clouds --port=4601`."""

from __future__ import annotations

import argparse
import importlib
import os
import signal
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from proactive_tasks.lab.cloud.daemon import announce
from proactive_tasks.lab.cloud.emulator import Carry
from proactive_tasks.lab.cloud.model import Cloud
from proactive_tasks.lab.names import CloudNames
from proactive_tasks.overlay.errors import InputError, OverlayError

if TYPE_CHECKING:
    from wsgiref.types import WSGIApplication

    from werkzeug.serving import BaseWSGIServer

STEM = "serve"
END_S = 25.0
"""What is being carried out when the process is told to end gets so much time."""


def module_of(cloud: str) -> Any:
    """The module of an emulated cloud: `aws`, `azure`, or the full name of one elsewhere.

    Raises:
        InputError: there is none, or a package that it needs is missing.
    """
    name = cloud if "." in cloud else f"proactive_tasks.lab.cloud.{cloud}.emulator"
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name in {name, name.rpartition(".")[0]}:
            raise InputError(f"cloud {cloud!r}: there is no such emulated cloud") from error
        raise InputError(
            f"emulated cloud {cloud}: {error}; install it: pip install 'proactive-network-overlay[lab]'"
        ) from error


def make_server(app: WSGIApplication, port: int) -> BaseWSGIServer:
    """A server with a thread for each connection, on the loopback interface.

    Raises:
        InputError: werkzeug is missing.
    """
    try:
        from werkzeug.serving import WSGIRequestHandler
        from werkzeug.serving import make_server as make
    except ModuleNotFoundError as error:
        raise InputError(
            f"emulated clouds: {error}; install it: pip install 'proactive-network-overlay[lab]'"
        ) from error

    class Handler(WSGIRequestHandler):
        disable_nagle_algorithm = True  # else an answer waits for the acknowledgement of its head: 40 ms
        protocol_version = "HTTP/1.1"  # though werkzeug closes each connection: it cannot tell what is left unread

        def log_request(self, code: int | str = "-", _size: int | str = "-") -> None:
            path = self.path.partition("?")[0]  # a query may hold a secret
            print(self.command, ascii(path), code, file=sys.stderr, flush=True)

    return make("127.0.0.1", port, app, threaded=True, request_handler=Handler)


class Carrier:
    """Hands a cloud to the fabric, one call at a time, and none any more once it was closed."""

    def __init__(self, carry: Carry) -> None:
        self._carry = carry
        self._lock = threading.Lock()

    def __call__(self, cloud: Cloud) -> None:
        """Carry it out."""
        with self._lock:
            self._carry(cloud)

    def close(self) -> None:
        """Wait for the call that is being carried out; later ones wait for the end of the process."""
        self._lock.acquire(timeout=END_S)


@contextmanager
def serving(app: WSGIApplication, port: int) -> Iterator[BaseWSGIServer]:
    """Serve in a thread."""
    server = make_server(app, port)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, name="serve")
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until told to end."""
    parser = argparse.ArgumentParser(prog="proactive_tasks.lab.cloud.serve", description=__doc__)
    parser.add_argument("name", help="aws, azure, or NAME=MODULE")
    parser.add_argument("--lab", default="clouds")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--no-machines", action="store_true", help="only the API: no network, no servers")
    given = parser.parse_args(arguments)
    name, _, module = given.name.partition("=")
    told = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: told.set())
    try:
        emulated = module_of(module or name)
        carrier = Carrier(_nothing if given.no_machines else _fabric(given.lab, name))
        with serving(emulated.make_app(carrier), given.port) as server:
            announce(
                CloudNames(given.lab, name).own.folder,
                STEM,
                port=server.port,
                machines=not given.no_machines,
                environment=dict(_environment(emulated, server.port)),
            )
            told.wait()
            carrier.close()
    except OverlayError as error:
        print(f"serve: {error}", file=sys.stderr)
        return 2 if isinstance(error, InputError) else 1
    sys.stderr.flush()
    os._exit(0)  # calls that wait for the carrier have nobody to answer any more


def _environment(emulated: Any, port: int) -> Mapping[str, str]:
    made: Mapping[str, str] = emulated.environment(f"http://127.0.0.1:{port}")
    return made


def _fabric(lab: str, name: str) -> Carry:
    from proactive_tasks.lab.cloud.fabric import Fabric
    from proactive_tasks.lab.requirements import require

    require()
    fabric = Fabric(lab, name)
    fabric.apply(Cloud())  # the API begins empty: what an earlier process left is nobody's
    return fabric.apply


def _nothing(_cloud: Cloud) -> None:
    """Only the API is wanted."""


if __name__ == "__main__":
    sys.exit(main())
