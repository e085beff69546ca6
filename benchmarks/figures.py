"""The benchmarks. Each takes a number of runs (None: its own choice) and yields figures.

A figure is (name, unit, samples, reach[, worst]): the most that it may be, and whether its maximum counts for it.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

from clouds import clouds
from elastic import elastic_events, elastic_site
from endpoint import catalog_import, endpoint

from proactive_tasks.engine.process import ForkServer
from proactive_tasks.engine.run import run
from proactive_tasks.lab import image
from proactive_tasks.lab.lab import Lab
from proactive_tasks.lab.traffic import EchoStream
from proactive_tasks.store import Store

OVERLAYCTL = str(Path(sys.executable).parent / "overlayctl")
OVERLAY = "bench"
BFD = "{interval_ms: 18, multiplier: 10}"
"""The lab's link detection; the default for the Internet is slower (docs/specification.md)."""

Figure = tuple[Any, ...]


class Overlay:
    """An overlay of N emulated sites in a store of its own."""

    def __init__(self, folder: Path, sites: int) -> None:
        self.names = [f"site-{number}" for number in range(1, sites + 1)]
        self.file = folder / "overlay.yaml"
        lines = ["version: 1", f"overlay: {OVERLAY}", f"bfd: {BFD}", "sites:"]
        lines += [f"  - {{name: {name}, provider: lab, hosts: 1}}" for name in self.names]
        self.file.write_text("\n".join(lines) + "\n", encoding="utf-8")
        self.lab = Lab(OVERLAY)

    def ctl(self, *words: str) -> tuple[float, Any]:
        """Run overlayctl; seconds, and its JSON answer."""
        started = time.monotonic()
        argv = [OVERLAYCTL, *words, "--output", "json"]
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(f"overlayctl {' '.join(words)} ended with {done.returncode}:\n{done.stderr[-3000:]}")
        return time.monotonic() - started, json.loads(done.stdout)

    def deploy(self) -> dict[str, Any]:
        """Deploy; epoch seconds of the start under "begun", the job's JSON else."""
        begun = time.time()
        _, answer = self.ctl("deploy", str(self.file), "--yes")
        return {"begun": begun, **answer}

    def stream(self, source: str, target: str, interval_s: float) -> EchoStream:
        """Echo requests from the first host of one site to that of another."""
        _, status = self.ctl("status")
        subnet = next(IPv4Network(site["subnet"]) for site in status["sites"] if site["name"] == target)
        namespace = self.lab.namespace(f"{source}/host1")
        return EchoStream.start(namespace, str(subnet.network_address + 1), interval_s)

    def until_direct(self) -> None:
        """Wait until every link carries its own traffic."""
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            if all(link["via"] == "direct" for link in self.ctl("status")[1]["links"]):
                return
        raise SystemExit("the links did not all come back within 60 s")


@contextmanager
def overlay(sites: int) -> Iterator[Overlay]:
    """An overlay that is gone afterwards, whatever happens."""
    image.ensure(lambda line: print(line, file=sys.stderr))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.environ["OVERLAY_STORE"] = f"sqlite:///{folder}/store.db"
        os.environ["OVERLAY_PASSPHRASE"] = secrets.token_urlsafe(16)
        made = Overlay(folder, sites)
        try:
            yield made
        finally:
            made.lab.destroy()


def deploy_3(runs: int | None) -> Iterator[Figure]:
    """Deploy three sites, then deploy again with nothing to change."""
    total, tunnels, again = [], [], []
    stages: dict[str, list[float]] = {}
    for _ in range(runs or 5):
        with overlay(3) as made:
            answer = made.deploy()
            tasks = answer["tasks"]
            total.append(tasks["Verify_Overlay"]["finished"] - answer["begun"])
            tunnels.append(tasks["Verify_Overlay"]["finished"] - tasks["Issue_Certs"]["finished"])
            for stage, seconds in where_time_goes(answer):
                stages.setdefault(stage, []).append(seconds)
            again.append(made.ctl("deploy", str(made.file), "--yes")[0])
    yield "deploy 3 sites, command to every pair verified", "s", total, 12
    yield "certificates issued to every pair answering", "s", tunnels, 2.5
    yield "rerun with nothing to change", "s", again, 3
    for stage, samples in stages.items():
        yield f"of the deployment, {stage}", "s", samples, None


def where_time_goes(answer: dict[str, Any]) -> Iterator[tuple[str, float]]:
    """What each stage of a deployment took, from the end of the one before to the end of its last task, in s."""
    before = answer["begun"]
    for name, what in (
        ("Allocate_Subnet", "start of the command, subnets"),
        ("Provision_Gateway", "boot, first SSH session, keys"),
        ("Issue_Certs", "certificates, links"),
        ("Configure_Tunnel", "SSH, files, units"),
        ("Verify_Overlay", "handshakes, routing, probes of all pairs"),
        ("Measure_Link", "measurements"),
        ("Report_Overlay", "report"),
    ):
        ended = max(task["finished"] for task_name, task in answer["tasks"].items() if task_name.startswith(name))
        yield f"{name} ({what})", ended - before
        before = ended


def deploy_6(runs: int | None) -> Iterator[Figure]:
    """Deploy six sites, fifteen links."""
    total = []
    for _ in range(runs or 3):
        with overlay(6) as made:
            answer = made.deploy()
            total.append(answer["tasks"]["Verify_Overlay"]["finished"] - answer["begun"])
    yield "deploy 6 sites, command to every pair verified", "s", total, 25


def scale_out(runs: int | None) -> Iterator[Figure]:
    """Add a fourth site under traffic on the three links that are there."""
    seconds, lost = [], []
    with overlay(3) as made:
        made.deploy()
        one, two, three = made.names
        for number in range(runs or 5):
            streams = [made.stream(a, b, 0.02) for a, b in ((one, two), (one, three), (two, three))]
            begun = time.time()
            _, answer = made.ctl("scale-out", f"extra-{number}", "--provider", "lab", "--yes")
            seconds.append(answer["tasks"]["Verify_Overlay"]["finished"] - begun)
            lost.append(sum(stream.stop().lost for stream in streams))
            made.ctl("scale-in", f"extra-{number}", "--yes")
    yield "add a 4th site, command to verified", "s", seconds, 8
    yield "pings lost on the existing links meanwhile", "pings", lost, 0, True


def failover(runs: int | None) -> Iterator[Figure]:
    """Cut the direct link under 10 ms pings; the time without traffic."""
    gaps = []
    with overlay(3) as made:
        made.deploy()
        one, two, _ = made.names
        for _ in range(runs or 10):
            made.until_direct()
            stream = made.stream(one, two, 0.01)
            made.lab.cut(one, two)
            time.sleep(2)  # the time for which the cut is watched
            gaps.append(stream.stop().longest_gap_ms / 1000)
            made.lab.heal(one, two)
    yield "direct link cut, traffic back by a third site, median", "s", gaps, 0.2
    yield "direct link cut, traffic back by a third site, worst", "s", gaps, 0.6, True


def recovery(runs: int | None) -> Iterator[Figure]:
    """Switch a gateway off and on again; have an authority give way to the next under 20 ms pings."""
    back, gaps = [], []
    with overlay(3) as made:
        made.deploy()
        one, two, three = made.names
        for _ in range(runs or 5):
            stream = made.stream(one, three, 0.02)
            made.lab.kill(f"{three}/gateway")
            begun = time.time()
            made.lab.boot(f"{three}/gateway")
            back.append(_answer_after(stream, begun) - begun)
            stream.stop()
            made.until_direct()
            stream = made.stream(one, two, 0.02)
            made.ctl("maintain", "--new-authority")
            made.ctl("maintain")
            gaps.append(stream.stop().longest_gap_ms / 1000)
            made.until_direct()
    yield "gateway switched on, traffic to its site", "s", back, 15, True
    yield "traffic without an answer while an authority gives way to the next", "s", gaps, 5, True


def _answer_after(stream: EchoStream, begun: float) -> float:
    """When the first answer after a moment came, epoch seconds."""
    while time.time() - begun < 60:
        if later := [at for at, _ in stream.so_far().answers if at > begun]:
            return later[0]
        time.sleep(0.05)
    raise SystemExit("no traffic within 60 s")


def false_alarms(runs: int | None) -> Iterator[Figure]:
    """Saturate every tunnel with TCP for ten minutes (or `runs` minutes); BFD sessions that fell."""
    minutes = runs or 10
    with overlay(3) as made:
        made.deploy()
        _, status = made.ctl("status")
        subnets = {site["name"]: IPv4Network(site["subnet"]) for site in status["sites"]}
        servers, clients = [], []
        try:
            for name in made.names:
                argv = ["ip", "netns", "exec", made.lab.namespace(f"{name}/host1"), "iperf3", "-s"]
                servers += [_quiet([*argv, "-p", str(5201 + n)]) for n in range(2)]
            time.sleep(0.5)  # iperf3 tells nobody when it listens
            for name in made.names:
                for other in (other for other in made.names if other != name):
                    port = 5201 + [peer for peer in made.names if peer != other].index(name)
                    target = str(subnets[other].network_address + 1)
                    argv = ["ip", "netns", "exec", made.lab.namespace(f"{name}/host1"), "iperf3", "-c", target]
                    clients.append(_quiet([*argv, "-p", str(port), "-t", str(60 * minutes), "-P", "4"]))
            alarms, seen, deadline = 0, _sessions(made), time.monotonic() + 60 * minutes + 60
            while any(client.poll() is None for client in clients) and time.monotonic() < deadline:
                time.sleep(2)  # seldom enough to disturb nothing, often enough to miss no session that fell
                now = _sessions(made)
                alarms += sum(now.get(session) != since for session, since in seen.items())
                seen = now
        finally:
            for process in (*clients, *servers):
                process.kill()
                process.wait()
    yield (
        f"false alarms of link detection in {minutes} minutes of saturation",
        "alarms",
        [alarms],
        0,
        True,
    )


def plan_1000(runs: int | None) -> Iterator[Figure]:
    """Plan a mesh of 1,000 sites in a process of its own; time and peak memory."""
    program = (
        "import resource, time\n"
        "from datetime import UTC, datetime\n"
        "from proactive_tasks.overlay.plan import difference\n"
        "from proactive_tasks.overlay.spec import load_spec\n"
        "providers = ['aws', 'azure', 'openstack', 'cloudstack', 'edge']\n"
        "sites = [{'name': f's{n}', 'provider': providers[n % 5]} for n in range(1000)]\n"
        "import json\n"
        "spec = load_spec(json.dumps({'version': 1, 'overlay': 'big', 'sites': sites}))\n"
        "started = time.perf_counter()\n"
        "plan = difference(spec, [], [])\n"
        "count = sum(1 for change in plan.changes if change.kind == 'link')\n"
        "seconds = time.perf_counter() - started\n"
        "assert count == 499500, count\n"
        "print(seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)\n"
    )
    found = [
        tuple(
            map(
                float,
                subprocess.run(
                    [sys.executable, "-c", program], capture_output=True, text=True, check=True
                ).stdout.split(),
            )
        )
        for _ in range(runs or 5)
    ]
    yield "plan of 1,000 sites in mesh (499,500 links)", "s", [seconds for seconds, _ in found], 2
    yield "peak memory of that plan", "MB", [memory for _, memory in found], 300


def engine_task(runs: int | None) -> Iterator[Figure]:
    """Cost of an empty task: a chain of 20 of them, recorded in a store, everything warm."""
    tasks = "".join(
        f'<task name="T{n}">'
        + (f'<depends><task ref="T{n - 1}"/></depends>' if n else "")
        + "<scriptExecutable><script>"
        '<code language="cpython">pass</code></script></scriptExecutable></task>'
        for n in range(20)
    )
    chain = f'<job xmlns="urn:proactive:jobdescriptor:3.13" name="Chain"><taskFlow>{tasks}</taskFlow></job>'.encode()
    costs = []
    with (
        tempfile.TemporaryDirectory() as name,
        Store.open(f"sqlite:///{name}/store.db") as store,
        ForkServer() as server,
    ):
        run(chain, store=store, server=server)
        for _ in range(runs or 5):
            started = time.monotonic()
            run(chain, store=store, server=server)
            costs.append((time.monotonic() - started) / 20)
    yield "the embedded engine's cost of a task", "s", costs, 0.3


def _quiet(argv: list[str]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def _sessions(made: Overlay) -> dict[tuple[str, str], str]:
    """Since when each BFD session has been as it is, by gateway and neighbour."""
    found = {}
    for name in made.names:
        shown = made.lab.exec(f"{name}/gateway", ["birdc", "show", "bfd", "sessions"]).stdout
        for address, state, since in re.findall(r"^([\d.]+)\s+\S+\s+(\S+)\s+(\S+)", shown, re.MULTILINE):
            found[name, address] = f"{state} {since}"
    return found


BENCHMARKS: dict[str, Callable[[int | None], Iterator[Figure]]] = {
    "deploy_3": deploy_3,
    "scale_out": scale_out,
    "failover": failover,
    "recovery": recovery,
    "deploy_6": deploy_6,
    "plan_1000": plan_1000,
    "engine_task": engine_task,
    "endpoint": endpoint,
    "catalog_import": catalog_import,
    "clouds": clouds,
    "elastic_events": elastic_events,
    "elastic_site": elastic_site,
    "false_alarms": false_alarms,
}
