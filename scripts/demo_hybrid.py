"""One overlay over AWS, Azure, OpenStack and an edge host, each provisioned by its API; see scripts/demo --hybrid.

The APIs are emulated on this machine, and so are the servers behind them; workflow, drivers and specification are those
that go to the real clouds.
"""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from demo_lab import OVERLAYCTL, Demo, say, title

from proactive_tasks.lab.lab import Lab

CLOUDS = ("aws", "azure", "openstack")
LAB = "clouds"
OVERLAY = "hybrid"
CONTROLLER = "198.18.255.2/32"
EDGE = "campus-edge"
SITES = {
    "aws-frankfurt": {"provider": "aws", "region": "eu-central-1", "hosts": 1},
    "azure-westeu": {"provider": "azure", "region": "westeurope", "hosts": 1},
    "campus": {"provider": "openstack", "region": "RegionOne", "hosts": 1},
}
FURTHER = ("aws-virginia", "us-east-1", "10.1.1.0/24")


@dataclass
class Hybrid(Demo):
    """The steps over four providers."""

    overlay: str = OVERLAY
    edge: dict[str, Any] = field(default_factory=dict)
    calls: dict[str, int] = field(default_factory=dict)

    def prepare(self) -> None:
        """Start the emulated clouds, and a machine that exists already."""
        title("three emulated clouds and a host that exists already")
        with self.timed("clouds"):
            for cloud in CLOUDS:
                os.environ.update(self.ctl("lab", "cloud", cloud, "up", "--lab", LAB))
            os.environ["OVERLAY_EDGE_KEY_FILE"] = str(self._edge_key())
            [self.edge] = self.ctl("lab", "edge", "up", EDGE, "--lab", LAB)
        super().prepare()

    def _edge_key(self) -> Path:
        """The user's own SSH key, by which the host that exists already lets him in."""
        path = self.folder / "demo-edge-key"
        if not path.exists():
            key = Ed25519PrivateKey.generate()
            text = key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption())
            path.touch(mode=0o600)
            path.write_bytes(text)
        return path

    def run(self) -> None:
        """All steps but the last."""
        title("dry run: every call to the providers, and what it would cost")
        say(self.ctl("deploy", str(self.specification()), "--dry-run", output="table"))
        title("deploy, verify, measure; once more changes nothing")
        self.deploy()
        title("scale out: a second region of AWS")
        self.scale_out()
        title("scale in")
        self.scale_in()

    def clean_up(self) -> None:
        """Stop clouds and host."""
        self.ctl("lab", "edge", "down", EDGE, "--lab", LAB)
        for cloud in reversed(CLOUDS):
            self.ctl("lab", "cloud", cloud, "down", "--lab", LAB)
        if left := Lab(LAB).leftovers():
            raise SystemExit(f"demo: the lab {LAB} is not gone: {left}")

    @property
    def sound(self) -> bool:
        """Whether everything was as it should be."""
        figures = self.figures
        pairs = figures["pairs_ok"] == figures["pairs"] and figures["host_pairs_ok"] == figures["host_pairs"]
        return pairs and not figures["rerun_changes"] and not any(figures.get("leftovers", {}).values())

    def specification(self) -> Any:
        """What is wanted, as a file that a user would write."""
        path = self.folder / "hybrid.yaml"
        edge = {key: self.edge[key] for key in ("provider", "prefixes", "options")}
        lines = ["version: 1", f"overlay: {OVERLAY}", "bfd: {interval_ms: 50, multiplier: 10}"]
        lines += [f"controllers: [{CONTROLLER}]", "sites:"]
        for name, site in {**SITES, EDGE: edge}.items():
            lines.append(f"  - {json.dumps({'name': name, **site})}")
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
        say(path.read_text(encoding="utf-8"))
        return path

    def judge(self, done: Any) -> None:
        """Count the calls that each provider was asked."""
        for task in done["tasks"].values():
            for provider, calls in (task["result"] or {}).get("facts", {}).get("api_calls", {}).items():
                self.calls[provider] = self.calls.get(provider, 0) + calls

    def between_hosts(self) -> None:
        """Application hosts reach each other, and the Internet by their gateway only."""
        servers = {entry["label"]: entry for entry in self.ctl("lab", "cloud", "ls", "--lab", LAB)["servers"]}
        hosts = {label: entry for label, entry in servers.items() if "--host" in label}
        targets = {label: entry["private"][0] for label, entry in hosts.items()} | self.edge["hosts"]
        pairs = [(a, b) for a in hosts for b in targets if a != b]
        lost = [(a, b) for a, b in pairs if not self._pings(a, targets[b])]
        self.figures["host_pairs"], self.figures["host_pairs_ok"] = len(pairs), len(pairs) - len(lost)
        out = [label for label in hosts if not self._pings(label, CONTROLLER.split("/", maxsplit=1)[0])]
        self.figures["hosts_online"] = len(hosts) - len(out)
        say(f"{len(pairs) - len(lost)} of {len(pairs)} pairs of application hosts reach each other; "
            f"{len(hosts) - len(out)} of {len(hosts)} reach the Internet by their gateway")  # fmt: skip

    def _pings(self, server: str, target: str) -> bool:
        command = [OVERLAYCTL, "lab", "cloud", "exec", "--lab", LAB, server, "--", "ping", "-c2", "-W2", target]
        return (
            subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False).returncode == 0
        )

    def deploy(self) -> None:
        """Deploy, then judge by the job's own record."""
        path = self.folder / "hybrid.yaml"
        with self.timed("deploy"):
            done = self.ctl("deploy", str(path), "--yes")
        self.judge(done)
        checked = done["tasks"]["Verify_Overlay"]["result"]["facts"]
        self.figures |= {"sites": len(SITES) + 1, "links": len(done["overlay"]["links"])}
        self.figures |= {"pairs": checked["pairs"], "pairs_ok": checked["pairs_ok"]}
        say(self.ctl("status", "--overlay", OVERLAY, output="table"))
        say(f"{checked['pairs_ok']} of {checked['pairs']} pairs of machines reach each other")
        self.between_hosts()
        with self.timed("rerun"):
            again = self.ctl("deploy", str(path), "--yes")
        changes = [line for task in again["tasks"].values() for line in (task["result"] or {}).get("difference", [])]
        self.figures["rerun_changes"] = changes
        say(f"deployed once more: {len(changes)} changes")

    def scale_out(self) -> None:
        """A second region of AWS."""
        name, region, subnet = FURTHER
        words = ("--provider", "aws", "--region", region, "--hosts", "1", "--overlay", OVERLAY, "--yes")
        with self.timed("scale_out"):
            done = self.ctl("scale-out", name, *words)
        self.judge(done)
        got = next(site["subnet"] for site in done["overlay"]["sites"] if site["name"] == name)
        self.figures["scale_out_subnet"] = got
        if got != subnet:
            raise SystemExit(f"demo: {name} got {got}, not {subnet}")
        self.between_hosts()

    def scale_in(self) -> None:
        """Take it out again."""
        with self.timed("scale_in"):
            self.judge(self.ctl("scale-in", FURTHER[0], "--overlay", OVERLAY, "--yes"))

    def destroy(self) -> None:
        """Remove everything, and ask every API what is left."""
        with self.timed("destroy"):
            self.judge(self.ctl("destroy", "--overlay", OVERLAY, "--yes"))
        self.figures["api_calls"] = self.calls
        self.figures["leftovers"] = {}
        for provider in CLOUDS:
            found = self.ctl("orphans", "--provider", provider, fine=(0, 3))
            self.figures["leftovers"][provider] = found
        say(f"left over: {json.dumps(self.figures['leftovers'])}")
