"""The way to an edge host: the user's own SSH key, the host key of the specification, and one connection.

The user's key comes from the credentials, a file, or the agent; never from the specification.
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from io import StringIO
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import paramiko

from proactive_tasks.clouds import dialing
from proactive_tasks.clouds.provider import Progress
from proactive_tasks.clouds.steps import UnclearError
from proactive_tasks.gateway.session import BOOTSTRAP, sources
from proactive_tasks.overlay import checks
from proactive_tasks.overlay.errors import HostKeyError, InputError, ProviderError, SecretError
from proactive_tasks.overlay.model import Site

KEY = "OVERLAY_EDGE_KEY"
"""Third-party credential, or environment variable: a private key, OpenSSH PEM. `..._FILE` names a file with one."""

ABANDON = "OVERLAY_EDGE_ABANDON"
"""Environment variable: names of sites, with commas between them, whose hosts are gone for good and are not asked."""

CONNECT_S = 30.0
ASK_S = 30.0

_MODULES = ("proactive_tasks.gateway.machine", "proactive_tasks.gateway.host")
_KINDS = (paramiko.Ed25519Key, paramiko.ECDSAKey, paramiko.RSAKey)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a site's host answers, out of the site's options."""

    site: str
    address: IPv4Address
    port: int
    user: str
    host_key: str
    lan: str
    router: IPv4Address | None
    nat: bool

    @classmethod
    def of(cls, site: Site) -> Place:
        """The options, each checked.

        Raises:
            InputError: one lacks or is not of its form; the message names the site.
        """
        told = site.options
        try:
            checks.edge(told)
        except checks.RuleError as error:
            raise InputError(f"site {site.name}, {'.'.join(map(str, error.path))}: {error}") from None
        router = IPv4Address(told["lan_router"]) if told.get("lan_router") else None
        return cls(
            site.name,
            IPv4Address(told["address"]),
            site.ssh_port,
            str(told.get("user", "root")),
            " ".join(str(told["host_key"]).split()[:2]),
            str(told.get("lan", "")),
            router,
            bool(told.get("nat", False)),
        )

    def __str__(self) -> str:
        return f"edge host {self.address} of site {self.site}"


def keys(*, needed: bool = True) -> Sequence[paramiko.PKey]:
    """The key of the credentials or of the file, else those of the agent.

    Raises:
        SecretError: there is none, or what is named is not a private key without a passphrase.
    """
    if text := os.environ.get(KEY):
        return [_read(text, KEY)]
    if path := os.environ.get(f"{KEY}_FILE"):
        try:
            return [_read(Path(path).read_text(encoding="utf-8"), path)]
        except OSError as error:
            raise SecretError(f"key file {path} cannot be read: {error.strerror}") from error
        except UnicodeDecodeError as error:
            raise SecretError(f"key file {path} is not a private key of OpenSSH") from error
    held = paramiko.Agent().get_keys() if os.environ.get("SSH_AUTH_SOCK") else ()
    if not held and needed:
        raise SecretError(
            f"no SSH key for edge hosts: put one into the third-party credential {KEY}, name a file with one in "
            f"{KEY}_FILE, or add it to your SSH agent"
        )
    return held


def _read(text: str, where: str) -> paramiko.PKey:
    for kind in _KINDS:
        try:
            return kind(file_obj=StringIO(text.strip() + "\n"))
        except paramiko.PasswordRequiredException:
            raise SecretError(f"the key of {where} has a passphrase: add it to your SSH agent instead") from None
        except (paramiko.SSHException, ValueError, IndexError):
            continue
    raise SecretError(f"what {where} holds is not a private key of OpenSSH (ed25519, ecdsa or rsa)")


class Host:
    """One SSH connection to a host, and over it the operations of gateway/host.py."""

    def __init__(self, place: Place, transport: paramiko.Transport, progress: Progress) -> None:
        self._place, self._transport, self._progress = place, transport, progress
        self._pending = b""
        python = f"python3 -I -S -c '{BOOTSTRAP}' \"$SSH_CONNECTION\""
        sudo = "" if place.user == "root" else "sudo -n "
        overdue = threading.Timer(ASK_S, transport.close)  # paramiko waits for an answer without end
        overdue.daemon = True
        overdue.start()
        try:
            self._channel = transport.open_session(timeout=ASK_S)
            self._channel.exec_command(f"exec {sudo}{python}")
            self._channel.settimeout(ASK_S)
            self._channel.sendall(sources(*_MODULES))
        except (OSError, EOFError, paramiko.SSHException) as error:
            raise UnclearError(f"{place}: the connection broke: {error or 'timed out'}; run this again") from error
        finally:
            overdue.cancel()

    def ask(self, op: str, *, within_s: float = ASK_S, **arguments: Any) -> Any:
        """The answer to one request; lines of progress on the way are told on."""
        end = time.monotonic() + within_s
        try:
            self._channel.sendall(json.dumps({"op": op, "arguments": arguments}).encode() + b"\n")
            while "progress" in (answer := json.loads(self._line(end))):
                self._progress(f"{self._place.address}: {answer['progress']}")
        except (OSError, EOFError, ValueError, paramiko.SSHException) as error:
            said = self._said()
            if "python3" in said and "not found" in said:
                raise ProviderError(
                    f"{self._place}: it has no python3: install it (apt-get install python3)"
                ) from error
            if "sudo" in said:
                raise ProviderError(
                    f"{self._place}: user {self._place.user} may not use sudo without a password: {said}; allow it "
                    f"(NOPASSWD in /etc/sudoers.d), or set the option user to root"
                ) from error
            reason = said or error or "no answer in time"
            raise UnclearError(f"{self._place}: the connection broke during {op!r}: {reason}; run again") from error
        if "error" in answer:
            raise ProviderError(f"{self._place}: {op} failed: {answer['error']}")
        return answer["result"]

    def _said(self) -> str:
        try:
            self._channel.settimeout(2)
            return " ".join(self._channel.recv_stderr(4096).decode(errors="replace").split())[-300:]
        except OSError:
            return ""

    def _line(self, end: float) -> bytes:
        while b"\n" not in self._pending:
            self._channel.settimeout(max(0.01, end - time.monotonic()))
            data = self._channel.recv(1 << 16)
            if not data:
                raise EOFError("closed by the host")
            self._pending += data
        line, _, self._pending = self._pending.partition(b"\n")
        return line


@contextmanager
def connected(place: Place, progress: Progress = lambda _line: None) -> Iterator[Host]:
    """A connection with the user's key, to the host that shows the key of the specification and to no other."""
    transport = _transport(place)
    try:
        yield Host(place, transport, progress)
    finally:
        transport.close()


def _transport(place: Place) -> paramiko.Transport:
    offered, end = keys(), time.monotonic() + CONNECT_S
    while True:
        try:
            return _logged_in(place, offered, max(1.0, end - time.monotonic()))
        except (OSError, EOFError, paramiko.SSHException) as error:
            if time.monotonic() + 1 > end:
                raise ProviderError(
                    f"{place}: no SSH answer at port {place.port} within {CONNECT_S:.0f} s ({error}); is it on, and "
                    f"does its firewall admit this controller? If it is gone for good: {ABANDON}={place.site}"
                ) from error
            time.sleep(0.5)


def _logged_in(place: Place, offered: Sequence[paramiko.PKey], left: float) -> paramiko.Transport:
    transport = paramiko.Transport(dialing.dial(place.address, place.port, min(left, 5.0)))
    try:
        transport.get_security_options().key_types = ("ssh-ed25519",)
        transport.banner_timeout = transport.handshake_timeout = transport.auth_timeout = 10
        transport.start_client(timeout=10)
        _check(transport.get_remote_server_key(), place)
        for key in offered:
            try:
                transport.auth_publickey(place.user, key)
            except paramiko.AuthenticationException:
                continue
            return transport
    except BaseException:
        transport.close()
        raise
    transport.close()
    raise ProviderError(
        f"{place}: it does not admit user {place.user} with any of {len(offered)} keys; put the public half of yours "
        f"into ~{place.user}/.ssh/authorized_keys there"
    )


def _check(shown: paramiko.PKey, place: Place) -> None:
    if f"{shown.get_name()} {shown.get_base64()}" != place.host_key:
        raise HostKeyError(
            f"{place}: it shows another host key than the option host_key; it was not logged in to. If the host was "
            "set up anew, read its key on its own console and correct the option."
        )
