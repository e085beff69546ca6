"""One SSH connection to a gateway, and over it the agent's operations.

The host key is checked from the first connection on. The agent's source goes over the channel into `python3`, so
nothing needs to be installed, and nothing is left behind. What is sent is never logged: it may hold configuration.
"""

from __future__ import annotations

import contextlib
import hmac
import json
import logging
import socket
import threading
import time
from dataclasses import asdict
from functools import cache
from importlib import resources
from ipaddress import IPv4Address
from typing import TYPE_CHECKING, Any, NamedTuple, Self, cast

import paramiko

from proactive_tasks.gateway.machine import fingerprint
from proactive_tasks.overlay.errors import GatewayError, GatewayUnreachableError, HostKeyError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from types import TracebackType

    from proactive_tasks.gateway.config import Bundle

    Dial = Callable[[IPv4Address, int, float], socket.socket]

_log = logging.getLogger(__name__)

_RETRY_S = 0.1
_HANDSHAKE_S = 10.0
_KEEPALIVE_S = 5
_MODULES = (
    "proactive_tasks.probes.echo",
    "proactive_tasks.gateway.machine",
    "proactive_tasks.gateway.bundle",
    "proactive_tasks.gateway.interfaces",
    "proactive_tasks.gateway.agent",
)
"""What runs on the gateway, in the order of imports."""

BOOTSTRAP = """
import json, sys, types
for name, size in json.loads(sys.stdin.buffer.readline()):
    module = sys.modules[name] = types.ModuleType(name)
    parent, _, leaf = name.rpartition(".")
    sys.modules.setdefault(parent, types.ModuleType(parent)).__dict__[leaf] = module
    exec(compile(sys.stdin.buffer.read(size), name, "exec"), module.__dict__)
module.main()
"""
"""For `python3 -c`: reads a line with the lengths of modules, then their sources, gives each the name that it has in
the package, and runs the last."""


class Applied(NamedTuple):
    """What a change did: a line for each step, and the links that had to be put back, by interface."""

    changed: list[str]
    failed: dict[str, str]
    seconds: float


class TunnelStatus(NamedTuple):
    """One end of a link, as its gateway sees it."""

    unit: str
    status: str
    bgp: str
    since: str
    bfd: str

    @property
    def connected(self) -> bool:
        """Whether it carries traffic."""
        return self.bgp == "Established"


class Interfaces(NamedTuple):
    """A gateway's place in its networks, as the machine itself sees it."""

    wan: str
    lan: str
    router: str  # next hop to what of the site lies beyond the interface, "" where nothing does
    bears_address: bool  # no interface holds the site address

    def fields(self) -> dict[str, Any]:
        """As a site's record has them."""
        router = IPv4Address(self.router) if self.router else None
        return {"wan": self.wan, "lan": self.lan, "lan_router": router, "bears_address": self.bears_address}


class Route(NamedTuple):
    """How a prefix is reached: by which interface, over which AS numbers."""

    interface: str
    path: list[int]


def connect(
    dial: Dial,
    address: IPv4Address,
    private_key: paramiko.PKey,
    host_keys: Sequence[str],
    deadline_s: float,
    port: int = 22,
) -> GatewaySession:
    """A session with the gateway at `address`, asked again until it answers or `deadline_s` is over.

    Args:
        dial: makes the TCP connection: address, port, timeout in s.
        address: the gateway's public address.
        private_key: of the overlay.
        host_keys: public lines, one of which the gateway must show.
        deadline_s: in s.
        port: where SSH answers.

    Raises:
        GatewayUnreachableError: no connection in time, or the key is not admitted.
        HostKeyError: it showed another host key.
    """
    started = time.monotonic()
    last: Exception | None = None
    while (left := started + deadline_s - time.monotonic()) > 0:
        try:
            transport = _transport(dial(address, port, min(left, 3.0)), address, private_key, host_keys, left)
        except HostKeyError:
            raise
        except paramiko.AuthenticationException as error:
            raise GatewayUnreachableError(
                f"gateway {address}: it does not admit the overlay's SSH key; was it made by another overlay?"
            ) from error
        except (OSError, EOFError, paramiko.SSHException) as error:
            last = error
            time.sleep(max(0.0, min(_RETRY_S, started + deadline_s - time.monotonic())))
        else:
            return GatewaySession(transport, address, time.monotonic() - started)
    raise GatewayUnreachableError(
        f"gateway {address}: no SSH answer within {deadline_s:.0f} s ({last}); does the machine run, and does its "
        "firewall know this controller?"
    ) from last


def _transport(
    sock: socket.socket, address: IPv4Address, private_key: paramiko.PKey, host_keys: Sequence[str], left: float
) -> paramiko.Transport:
    transport = paramiko.Transport(sock)
    try:
        options = transport.get_security_options()
        options.key_types = ("ssh-ed25519",)
        options.kex = ("curve25519-sha256@libssh.org",)
        transport.banner_timeout = transport.handshake_timeout = transport.auth_timeout = min(left, _HANDSHAKE_S)
        transport.start_client(timeout=min(left, _HANDSHAKE_S))
        _check_host_key(transport.get_remote_server_key(), address, host_keys)
        transport.auth_publickey("root", private_key)
        transport.set_keepalive(_KEEPALIVE_S)
    except BaseException:
        transport.close()
        raise
    return transport


def _check_host_key(shown: paramiko.PKey, address: IPv4Address, host_keys: Sequence[str]) -> None:
    line = f"{shown.get_name()} {shown.get_base64()}"
    if not any(hmac.compare_digest(line, known.strip()) for known in host_keys):
        raise HostKeyError(
            f"gateway {address}: it shows another host key than the recorded one; it was not logged in to. "
            "If the machine was replaced outside of this overlay, replace the site's gateway."
        )


class GatewaySession:
    """One connection to a gateway; a context manager. Every operation has a deadline."""

    def __init__(self, transport: paramiko.Transport, address: IPv4Address, connect_s: float) -> None:
        self._transport = transport
        self._address = address
        self._pending = b""
        self.connect_s = connect_s
        overdue = threading.Timer(_HANDSHAKE_S, transport.close)  # paramiko waits for an answer without end
        overdue.daemon = True
        overdue.start()
        try:
            self._channel = transport.open_session(timeout=_HANDSHAKE_S)
            self._channel.exec_command(f"exec python3 -I -S -c '{BOOTSTRAP}'")
            self._channel.settimeout(_HANDSHAKE_S)
            self._channel.sendall(sources(*_MODULES))
        except (OSError, EOFError, paramiko.SSHException) as error:
            transport.close()
            raise GatewayUnreachableError(f"gateway {address}: the connection broke: {error or 'timed out'}") from error
        finally:
            overdue.cancel()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the connection; the agent ends with it."""
        self._transport.close()

    def ready(self, deadline_s: float) -> None:
        """Wait until every program that a gateway needs is installed.

        Raises:
            GatewayError: cloud-init ended without them, or some lack at the deadline; with its log's last lines.
        """
        end = time.monotonic() + deadline_s
        while (boot := self._ask("first_boot", 10))["missing"]:
            if boot["through"] or time.monotonic() > end:
                when = "when cloud-init had ended" if boot["through"] else f"within {deadline_s:.0f} s"
                raise GatewayError(
                    f"gateway {self._address}: {', '.join(boot['missing'])} not installed {when}; its log "
                    f"(/var/log/cloud-init-output.log) ends: {boot['log']}; see to its way to the Debian mirrors, then "
                    "replace it (overlayctl replace SITE)"
                )
            time.sleep(0.5)

    def make_key(self, site: str, algorithm: str = "ecdsa") -> str:
        """The certificate request of the gateway's own key, PEM; the key, ecdsa or rsa, is made if there is none."""
        return str(self._ask("make_key", 20, site=site, algorithm=algorithm))

    def prepare_host_key(self) -> str:
        """The public line of a new host key, made on the gateway but not yet shown to anyone."""
        return str(self._ask("prepare_host_key", 20))

    def switch_host_key(self) -> str:
        """Show the prepared host key from now on. Record its public line before, beside the old one."""
        return str(self._ask("switch_host_key", 20))

    def interfaces(self, address: str, networks: Sequence[str], *, lan: str = "", router: str = "") -> Interfaces:
        """Which interfaces look where; `address` is the gateway's site address, `networks` are the site's.

        `lan` and `router` are what the site's specification says of its LAN.
        """
        told = {"address": address, "networks": list(networks), "lan": lan, "router": router}
        return Interfaces(**self._ask("interfaces", 10, told))

    def difference(self, config: Bundle) -> list[str]:
        """What `apply` would do, a line each; empty when the gateway is as wanted."""
        return cast("list[str]", self._ask("difference", 20, bundle=_bundle(config, contents=False)))

    def apply(self, config: Bundle, phase: int = 2, deadline_s: float = 90) -> Applied:
        """Carry the difference out: phase 1 all but the dialers, phase 2 all.

        Raises:
            GatewayError: refused, or undone since it broke the gateway's links; the gateway stands as before.
        """
        return Applied(**self._ask("apply", deadline_s, bundle=_bundle(config, contents=True), phase=phase))

    def reach(self, targets: Sequence[str], *, source: str = "", deadline_s: float) -> dict[str, float | None]:
        """Milliseconds until each target first answers the gateway; None for those that did not in time."""
        answers = self._ask(
            "reach", deadline_s + 5, arguments={"targets": list(targets), "source": source, "deadline_s": deadline_s}
        )
        return cast("dict[str, float | None]", answers)

    def probe(self, target: str, *, source: str = "", count: int = 20, interval_s: float = 0.02) -> list[float | None]:
        """Round-trip times in milliseconds of `count` echoes; None for each that was lost."""
        limit = count * interval_s + 10
        samples = self._ask("probe", limit, target=target, source=source, count=count, interval_s=interval_s)
        return cast("list[float | None]", samples)

    def path_mtu(self, target: str, *, source: str = "", high: int = 1500) -> int | None:
        """Bytes of the largest packet that reaches `target` unfragmented; None when not even a small one does."""
        return cast("int | None", self._ask("path_mtu", 60, target=target, source=source, high=high))

    def tunnels(self, config: Bundle) -> dict[str, TunnelStatus]:
        """State of each link end, by interface."""
        units = {unit.name: unit.interface for unit in config.units if unit.interface}
        return {name: TunnelStatus(**status) for name, status in self._ask("tunnels", 10, units=units).items()}

    def established(self) -> set[str]:
        """Interfaces of the links that carry traffic."""
        return set(self._ask("established", 10))

    def routes(self) -> dict[str, Route]:
        """How the gateway reaches each prefix now."""
        return {prefix: Route(**route) for prefix, route in self._ask("routes", 10).items()}

    def _ask(self, op: str, deadline_s: float, arguments: Mapping[str, Any] | None = None, **more: Any) -> Any:
        request = {"op": op, "limit_s": deadline_s, "arguments": {**(arguments or {}), **more}}
        started = time.monotonic()
        try:
            self._channel.settimeout(deadline_s)
            self._channel.sendall(json.dumps(request).encode() + b"\n")
            answer = json.loads(self._line(deadline_s + 2))
        except (OSError, ValueError, EOFError, paramiko.SSHException) as error:
            self.close()
            reason = error or "no answer in time"
            raise GatewayUnreachableError(
                f"gateway {self._address}: the connection broke during {op!r}: {reason}; run again"
            ) from error
        _log.debug("gateway %s: %s took %.3f s", self._address, op, time.monotonic() - started)
        if "error" in answer:
            raise GatewayError(f"gateway {self._address}: {op} failed: {answer['error']}")
        return answer["result"]

    def _line(self, deadline_s: float) -> bytes:
        end = time.monotonic() + deadline_s
        while b"\n" not in self._pending:
            self._channel.settimeout(max(0.01, end - time.monotonic()))
            data = self._channel.recv(1 << 16)
            if not data:
                said = b""
                with contextlib.suppress(OSError):
                    said = self._channel.recv_stderr(4096)
                raise EOFError(said.decode(errors="replace").strip()[-300:] or "closed by the gateway")
            self._pending += data
        line, _, self._pending = self._pending.partition(b"\n")
        return line


def _bundle(config: Bundle, *, contents: bool) -> dict[str, Any]:
    files = [
        {
            "path": file.path,
            "digest": fingerprint(file.content.encode(), file.mode),
            "mode": file.mode,
            "units": list(file.units),
            "act": str(file.act),
            **({"content": file.content} if contents else {}),
        }
        for file in config.files
    ]
    units = [asdict(unit) for unit in config.units]
    controllers = [str(network) for network in config.controllers]
    return {"files": files, "units": units, "settle_s": config.settle_s, "controllers": controllers}


@cache
def sources(*modules: str) -> bytes:
    """Modules of the package in the order of their imports, as the bootstrap reads them."""
    found = []
    for name in modules:
        package, _, module = name.rpartition(".")
        found.append(resources.files(package).joinpath(f"{module}.py").read_bytes())
    sizes = [(name, len(source)) for name, source in zip(modules, found, strict=True)]
    return json.dumps(sizes).encode() + b"\n" + b"".join(found)
