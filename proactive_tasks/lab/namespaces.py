"""Work inside network namespaces without leaving the process.

A thread that has entered a namespace never serves anything else: each call has a short-lived one of its own.
"""

from __future__ import annotations

import ctypes
import os
import socket
import subprocess
import threading
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TypeVar

from proactive_tasks.overlay.errors import ProviderError, UnknownObjectError

CLONE_NEWNET = 0x40000000
NAMESPACES = Path("/run/netns")
COMMAND_S = 20.0
"""No command that shapes a network takes longer."""

T = TypeVar("T")
_libc = ctypes.CDLL(None, use_errno=True)


def in_namespace(namespace: str, work: Callable[[], T]) -> T:
    """Call `work` in a thread inside the namespace; processes that it starts are inside, too.

    Raises:
        UnknownObjectError: there is no such namespace.
    """
    answers: list[T] = []
    faults: list[BaseException] = []

    def run() -> None:
        try:
            _enter(namespace)
            answers.append(work())
        except BaseException as fault:  # noqa: BLE001 - handed to the caller's thread
            faults.append(fault)

    thread = threading.Thread(target=run, name=f"in {namespace}")
    thread.start()
    thread.join()
    if faults:
        raise faults[0]
    return answers[0]


def socket_in(
    namespace: str,
    family: int = socket.AF_INET,
    kind: int = socket.SOCK_STREAM,
    proto: int = 0,
) -> socket.socket:
    """A socket that belongs to the namespace and is used from outside it, as any other."""
    return in_namespace(namespace, lambda: socket.socket(family, kind, proto))


def existing(prefix: str) -> list[str]:
    """The namespaces whose names start so."""
    if not NAMESPACES.is_dir():
        return []
    return sorted(path.name for path in NAMESPACES.iterdir() if path.name.startswith(prefix))


def exists(namespace: str) -> bool:
    """Is there a namespace of that name, with something behind it?"""
    path = NAMESPACES / namespace
    return path.exists() and path.stat().st_dev != NAMESPACES.stat().st_dev  # a file alone is what a crash leaves


def create(*namespaces: str) -> None:
    """Make namespaces without IPv6, their loopback up."""
    lacking = [name for name in namespaces if not exists(name)]
    ip(None, [f"netns delete {name}" for name in lacking if (NAMESPACES / name).exists()])
    ip(None, [f"netns add {name}" for name in lacking])
    for name in lacking:
        settings = {"ipv6/conf/all/disable_ipv6": "1", "ipv6/conf/default/disable_ipv6": "1"}
        sysctl(name, settings)
        ip(name, ["link set lo up"])


def delete(*namespaces: str) -> None:
    """Remove those namespaces that are there, and with them their interfaces."""
    there = [name for name in namespaces if (NAMESPACES / name).exists()]
    if there:
        ip(None, [f"netns delete {name}" for name in there])


def sysctl(namespace: str, settings: dict[str, str]) -> None:
    """Write settings below /proc/sys/net; what the kernel lacks (IPv6, say) is left out."""

    def write() -> None:
        for name, value in settings.items():
            path = Path("/proc/sys/net", name)
            if path.exists():
                path.write_text(value)

    in_namespace(namespace, write)


def ip(namespace: str | None, commands: Iterable[str], *, force: bool = False) -> None:
    """Run lines of `ip -batch`; with `force`, those that fail are passed over."""
    _batch(["ip", *(["-force"] if force else []), "-batch", "-"], namespace, commands, force=force)


def tc(namespace: str, commands: Iterable[str], *, force: bool = False) -> None:
    """Run lines of `tc -batch`."""
    _batch(["tc", *(["-force"] if force else []), "-batch", "-"], namespace, commands, force=force)


def nft(namespace: str, ruleset: str) -> None:
    """Load a ruleset, whole or not at all."""
    _batch(["nft", "-f", "-"], namespace, [ruleset], force=False)


def _batch(argv: Sequence[str], namespace: str | None, lines: Iterable[str], *, force: bool) -> None:
    text = "".join(f"{line}\n" for line in lines)
    if not text:
        return

    def run() -> subprocess.CompletedProcess[str]:
        return subprocess.run(argv, input=text, capture_output=True, text=True, timeout=COMMAND_S, check=False)

    try:
        done = in_namespace(namespace, run) if namespace else run()
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ProviderError(f"lab: {argv[0]} in namespace {namespace or 'of the machine'}: {error}") from error
    if done.returncode and not force:
        raise ProviderError(
            f"lab: {argv[0]} in namespace {namespace or 'of the machine'}: {done.stderr.strip()} (of: {text.strip()})"
        )


def _enter(namespace: str) -> None:
    try:
        handle = os.open(NAMESPACES / namespace, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError as error:
        raise UnknownObjectError(f"lab: namespace {namespace}: there is none; 'lab ls' shows what there is") from error
    try:
        if _libc.setns(handle, CLONE_NEWNET):
            code = ctypes.get_errno()
            raise ProviderError(f"lab: namespace {namespace}: cannot enter it: {os.strerror(code)}")
    finally:
        os.close(handle)
