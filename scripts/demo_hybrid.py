"""One overlay over AWS, Azure, OpenStack and an edge host, each provisioned by its API; see scripts/demo --hybrid.

The APIs are emulated on this machine, and so are the servers behind them; workflow, drivers and specification are those
that go to the real clouds.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass, field
from typing import Any

from demo import OVERLAYCTL, Demo, say, title

CLOUDS = ("aws", "azure", "openstack")
LAB = "clouds"
OVERLAY = "hybrid"
CONTROLLER = "198.18.255.2/32"
EDGE = "campus-edge"
LAN = "192.168.1.0/24"
SITES = {
    "aws-frankfurt": {"provider": "aws", "region": "eu-central-1", "hosts": 1},
    "azure-westeu": {"provider": "azure", "region": "westeurope", "hosts": 1},
    "campus": {"provider": "openstack", "region": "RegionOne", "hosts": 1},
}
FURTHER = ("aws-virginia", "us-east-1", "10.1.1.0/24")


@dataclass
class Hybrid(Demo):
    """The steps over four providers."""

    sites: int = 4
    calls: dict[str, int] = field(default_factory=dict)

    def clouds_up(self) -> None:
        """Start the emulated clouds, and a machine that exists already."""
        with self.timed("clouds"):
            for cloud in CLOUDS:
                os.environ.update(self.ctl("lab", "cloud", cloud, "up", "--lab", LAB))
            self.edge = self.ctl("lab", "edge", "up", EDGE, "--lab", LAB)
            os.environ["OVERLAY_EDGE_KEY_FILE"] = self.edge["key_file"]

    def clouds_down(self) -> None:
        """Stop them."""
        self.ctl("lab", "edge", "down", EDGE, "--lab", LAB)
        for cloud in reversed(CLOUDS):
            self.ctl("lab", "cloud", cloud, "down", "--lab", LAB)

    def specification(self) -> Any:
        """What is wanted, as a file that a user would write."""
        path = self.folder / "hybrid.yaml"
        edge = {
            "provider": "edge",
            "prefixes": [LAN],
            "options": {"address": self.edge["address"], "host_key": self.edge["host_key"]},
        }
        lines = ["version: 1", f"overlay: {OVERLAY}", "bfd: {interval_ms: 50, multiplier: 10}"]
        lines += [f"controllers: [{CONTROLLER}]", "sites:"]
        for name, site in {**SITES, EDGE: edge}.items():
            lines.append(f"  - {json.dumps({'name': name, **site})}")
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
        say(path.read_text(encoding="utf-8"))
        return path

    def rehearse(self) -> None:
        """Every call that would be made, and what it costs."""
        say(self.ctl("deploy", str(self.specification()), "--dry-run", output="table"))

    def judge(self, done: Any) -> None:
        """Count the calls, and take the pairs that reach each other."""
        for name, task in done["tasks"].items():
            facts = (task["result"] or {}).get("facts", {})
            if name.startswith(("Provision_Gateway", "Configure_Tunnel", "Release_Site")) and "api_calls" in facts:
                provider = facts["provider"]
                self.calls[provider] = self.calls.get(provider, 0) + facts["api_calls"]

    def between_hosts(self) -> None:
        """Application hosts reach each other, and the Internet by their gateway only."""
        servers = {entry["label"]: entry for entry in self.ctl("lab", "cloud", "ls", "--lab", LAB)["servers"]}
        hosts = {label: entry for label, entry in servers.items() if "--host" in label}
        pairs = [(a, b) for a in hosts for b in hosts if a != b]
        lost = [(a, b) for a, b in pairs if not self._pings(a, hosts[b]["private"][0])]
        self.figures["host_pairs"], self.figures["host_pairs_ok"] = len(pairs), len(pairs) - len(lost)
        out = [label for label in hosts if not self._pings(label, CONTROLLER.split("/")[0])]
        self.figures["hosts_online"] = len(hosts) - len(out)
        say(f"{len(pairs) - len(lost)} of {len(pairs)} pairs of application hosts reach each other; "
            f"{len(hosts) - len(out)} of {len(hosts)} reach the Internet by their gateway")  # fmt: skip

    def _pings(self, server: str, target: str) -> bool:
        command = [OVERLAYCTL, "lab", "cloud", "exec", "--lab", LAB, server, "--", "ping", "-c2", "-W2", target]
        return subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False).returncode == 0

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
        for provider, regions in {"aws": ("eu-central-1", "us-east-1"), "azure": ("westeurope",), "openstack": ("RegionOne",)}.items():
            words = [word for region in regions for word in ("--region", region)]
            found = self.ctl("orphans", "--provider", provider, *words)
            self.figures["leftovers"][provider] = found
        say(f"left over: {json.dumps(self.figures['leftovers'])}")


def run(demo: Hybrid, *, keep: bool) -> None:
    """All steps; whatever happens, the clouds go down at the end unless they are to stay."""
    title("three emulated clouds and a machine that exists already")
    demo.clouds_up()
    try:
        if OVERLAY in {entry["overlay"] for entry in demo.ctl("overlays")}:
            title("an earlier run left its overlay: destroy it first")
            demo.ctl("destroy", "--overlay", OVERLAY, "--yes")
        title("dry run: every call to the providers, and what it would cost")
        demo.rehearse()
        title("deploy, verify, measure; once more changes nothing")
        demo.deploy()
        title("scale out: a second region of AWS")
        demo.scale_out()
        title("scale in")
        demo.scale_in()
        if not keep:
            title("destroy everything, and ask every API what is left")
            demo.destroy()
    finally:
        if not keep:
            demo.clouds_down()


if __name__ == "__main__":
    sys.exit("run scripts/demo --hybrid")
