"""Runs an endpoint until somebody ends it."""

from __future__ import annotations

import ipaddress
import logging
import os
import secrets
import socket
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import uvicorn

from proactive_tasks.engine.endpoint.app import application
from proactive_tasks.engine.endpoint.catalog.store import Catalog
from proactive_tasks.engine.endpoint.jobs.events import Events
from proactive_tasks.engine.endpoint.jobs.scheduling import Scheduling
from proactive_tasks.engine.endpoint.resources.manager import Resources
from proactive_tasks.engine.endpoint.sessions import Sessions
from proactive_tasks.engine.endpoint.shared import Endpoint
from proactive_tasks.overlay.errors import InputError, SecretError
from proactive_tasks.store import Store
from proactive_tasks.store.location import state_directory
from proactive_tasks.store.node_sources import NodeSources
from proactive_tasks.store.vault import Vault

if TYPE_CHECKING:
    from proactive_tasks.engine.process import ForkServer

PASSWORD = "OVERLAY_ENDPOINT_PASSWORD"  # noqa: S105 - the name of an environment variable
KEY_BYTES = 32
SHUTDOWN_S = 5

log = logging.getLogger(__name__)


def serve(
    store: Store,
    server: ForkServer,
    *,
    host: str,
    port: int,
    users: dict[str, str],
    nodes: int,
    say: Callable[[str], None],
) -> None:
    """Serve until SIGINT or SIGTERM; jobs that run then are carried on by the next start.

    Args:
        store: where jobs and catalog are kept.
        server: the process that tasks come from.
        host: the address to listen on.
        port: the port; 0 for any.
        users: passwords by user.
        nodes: how many tasks run at once.
        say: is told where the endpoint is reached.

    Raises:
        InputError: the address cannot be listened on.
    """
    with _listen(host, port) as listener:
        url = f"http://{_shown(host)}:{listener.getsockname()[1]}"
        sessions, events, vault = Sessions(users), Events(), Vault(_key())
        resources, catalog = Resources(nodes, kept=NodeSources(store)), Catalog(store)
        scheduling = Scheduling(store, server, resources, vault, sessions, events)
        for name, path in (("SCHEDULER", "/rest"), ("CATALOG", "/catalog")):
            scheduling.system |= {f"PA_{name}_REST_URL": url + path, f"PA_{name}_REST_PUBLIC_URL": url + path}
        endpoint = Endpoint(store, sessions, scheduling, events, resources, catalog, url)
        config = uvicorn.Config(
            application(endpoint),
            log_level="warning",
            access_log=False,
            lifespan="off",
            server_header=False,
            timeout_graceful_shutdown=SHUTDOWN_S,
        )
        scheduling.start()
        try:
            _Server(config, lambda: say(f"serving {url}")).run(sockets=[listener])
        finally:
            scheduling.stop()
            resources.close()


class _Server(uvicorn.Server):
    """Says when it listens, and keeps the end by a signal to itself."""

    def __init__(self, config: uvicorn.Config, listening: Callable[[], None]) -> None:
        super().__init__(config)
        self._listening = listening

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen."""
        await super().startup(sockets)
        self._listening()

    def handle_exit(self, sig: int, frame: object) -> None:
        """End; uvicorn would raise the signal once more when it has ended, and a clean end is no signal's death."""
        super().handle_exit(sig, frame)  # type: ignore[arg-type]
        self._captured_signals.clear()


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # the protocol is named, else asyncio leaves Nagle's algorithm on, and every answer waits for 40 ms
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(128)
    except OSError as error:
        listener.close()
        raise InputError(f"{host} port {port}: {error.strerror}; choose another with --port or --host") from error
    return listener


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach the address."""
    with suppress(ValueError):
        return ipaddress.ip_address(host).is_loopback
    return host == "localhost"


def _shown(host: str) -> str:
    if host in ("0.0.0.0", "::"):  # noqa: S104 - compared, not listened on
        return "127.0.0.1"
    return f"[{host}]" if ":" in host else host


def _key() -> bytes:
    """The key that seals what is secret of jobs: made once, in a file that nobody else reads."""
    path = state_directory() / "endpoint-key"
    text = _private(path, lambda: secrets.token_hex(KEY_BYTES))
    try:
        key = bytes.fromhex(text)
    except ValueError:
        key = b""
    if len(key) != KEY_BYTES:
        raise SecretError(f"key file {path}: does not hold a key; bring the right one back, or remove it and all jobs")
    return key


def password(file: Path | None) -> tuple[str, Path | None]:
    """The password of the endpoint's user: the environment's, the file's, or one that is made now; and its file.

    Raises:
        InputError: the file cannot be read, or is empty.
    """
    if file is None and (given := os.environ.get(PASSWORD)):
        return given, None
    if file is None:
        made = state_directory() / "endpoint-password"
        return _private(made, lambda: secrets.token_urlsafe(18)), made
    try:
        found = file.read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "is not UTF-8 text"
        raise InputError(f"password file {file}: {reason}; name a readable file with the password in it") from error
    if not found:
        raise InputError(f"password file {file}: is empty; write the password into it")
    return found, file


def _private(path: Path, make: Callable[[], str]) -> str:
    """What a file of the state directory holds; it is made with what `make` answers if it is not there."""
    with suppress(FileExistsError):
        descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(make() + "\n")
    return path.read_text("ascii").strip()
