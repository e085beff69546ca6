"""What tests of real gateways do alike: converge an overlay, listen to an interface."""

from __future__ import annotations

import contextlib
import subprocess
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

from proactive_tasks.configure_tunnel import configure_tunnel
from proactive_tasks.issue_certs import issue_certs
from proactive_tasks.overlay.result import Result
from proactive_tasks.provision_gateway import provision_gateway
from proactive_tasks.scheduler.context import Context


def converge(context: Context, overlay: str, sites: Sequence[str]) -> list[Result]:
    """What becomes of each gateway, of the certificates, and of each gateway's tunnels."""
    with ThreadPoolExecutor(len(sites)) as pool:
        made = list(pool.map(lambda site: provision_gateway(context, overlay=overlay, site=site), sites))
        made.append(issue_certs(context, overlay=overlay))
        made += pool.map(lambda site: configure_tunnel(context, overlay=overlay, site=site), sites)
    return made


@contextlib.contextmanager
def listening(space: str, interface: str, expression: str) -> Iterator[list[str]]:
    """What tcpdump sees meanwhile at an interface in a namespace: a list of lines that grows as they come."""
    argv = ["ip", "netns", "exec", space, "tcpdump", "-lnni", interface, "--immediate-mode", expression]
    seen: list[str] = []
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        out, err = process.stdout, process.stderr
        assert out
        assert err
        assert "listening on" in err.readline() + err.readline()

        def read() -> None:
            for line in out:
                if line.strip():
                    seen.append(line)  # noqa: PERF401 - at once, not all in the end

        reader = threading.Thread(target=read)
        reader.start()
        try:
            yield seen
        finally:
            process.terminate()
            reader.join()
