"""The program that delays a leg's packets: compiled once, one process a delayed leg, in a namespace of its own."""

from __future__ import annotations

import hashlib
import subprocess
import tempfile
from functools import cache
from pathlib import Path

from proactive_tasks.lab import processes
from proactive_tasks.lab.names import CACHE, SiteNames
from proactive_tasks.lab.namespaces import in_namespace
from proactive_tasks.overlay.errors import ProviderError

SOURCE = Path(__file__).with_name("relay.c")
FLAGS = ("-O2", "-Wall", "-Wextra", "-Werror")


@cache
def program() -> Path:
    """The compiled relay.

    Raises:
        ProviderError: the compiler refuses it.
    """
    digest = hashlib.sha256(SOURCE.read_bytes() + repr(FLAGS).encode()).hexdigest()[:16]
    binary = CACHE / f"relay-{digest}"
    if not binary.exists():
        CACHE.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=CACHE, prefix="relay-") as folder:
            beside = Path(folder, "relay")
            command = ["cc", *FLAGS, "-o", str(beside), str(SOURCE)]
            done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
            if done.returncode:
                raise ProviderError(f"lab: {' '.join(command)}: {done.stderr.strip()[-500:]}")
            beside.rename(binary)
    return binary


def start(names: SiteNames, delay_ms: float, jitter_ms: float) -> None:
    """Start the relay between the two interfaces of the site's relay namespace."""
    delays = (str(round(delay_ms * 1000)), str(round(jitter_ms * 1000)))
    argv = [str(program()), "site", "net", *delays, names.relay]
    record, log = names.folder / "relay.pid", names.folder / "relay.log"
    in_namespace(names.relay, lambda: processes.start(argv, record=record, log=log))


def stop(names: SiteNames) -> None:
    """End the site's relay, if it runs."""
    pid = processes.find(names.relay, names.folder / "relay.pid")
    if pid:
        processes.end(pid, names.relay)
