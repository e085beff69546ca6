"""The demo over emulated sites, step by step, with the commands that a user would type; see scripts/demo."""

from __future__ import annotations

import json
import shlex
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

from proactive_tasks.clouds.lab import LabProvider
from proactive_tasks.lab import image
from proactive_tasks.lab.lab import Lab
from proactive_tasks.lab.traffic import EchoStream

OVERLAYCTL = str(Path(sys.executable).parent / "overlayctl")
NAMES = ("paris", "lyon", "nice", "lille", "brest", "nancy", "tours", "metz", "rouen", "dijon", "nantes", "reims")
OVERLAY = "demo"


def say(text: str = "") -> None:
    """Tell the viewer what comes next; figures go to --json, so standard error is the stage."""
    print(text, file=sys.stderr, flush=True)


def title(text: str) -> None:
    """Head of a step."""
    say(f"\n\033[1m== {text}\033[0m" if sys.stderr.isatty() else f"\n== {text}")


@dataclass
class Demo:
    """The steps, and the figures they leave."""

    sites: int
    folder: Path
    overlay: str = OVERLAY
    figures: dict[str, Any] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)

    def ctl(self, *words: str, output: str = "json", fine: Sequence[int] = (0,)) -> Any:
        """Run overlayctl as a user would; its JSON answer."""
        say(f"$ overlayctl {shlex.join(words)}")
        flags = ["--output", output] if output else []
        done = subprocess.run([OVERLAYCTL, *words, *flags], stdout=subprocess.PIPE, text=True, check=False)
        if done.returncode not in fine:
            raise SystemExit(f"demo: overlayctl {shlex.join(words)} ended with {done.returncode}")
        return json.loads(done.stdout) if output == "json" else done.stdout

    @contextmanager
    def timed(self, name: str) -> Any:
        """Take the time of a step."""
        started = time.monotonic()
        yield
        self.seconds[name] = round(time.monotonic() - started, 2)

    def prepare(self) -> None:
        """Have everything there that is not the overlay's own."""
        title("the machines' image, built once")
        with self.timed("image"):
            image.ensure(say)
        if self.overlay in {entry["overlay"] for entry in self.ctl("overlays")}:
            title("an earlier run left its overlay: destroy it first")
            self.ctl("destroy", "--overlay", self.overlay, "--yes")

    def run(self) -> None:
        """All steps but the last."""
        title(f"{self.sites} sites: plan, deploy, verify, measure")
        self.deploy()
        title("scale out: one site more, while traffic flows")
        self.scale_out()
        title("cut the Internet between two sites")
        self.failover()
        title("scale in")
        self.scale_in()

    def clean_up(self) -> None:
        """Take away what `prepare` brought."""

    @property
    def sound(self) -> bool:
        """Whether everything was as it should be."""
        return self.figures["pairs_ok"] == self.figures["pairs"] and not self.figures.get("leftovers")

    def specification(self) -> Path:
        """What is wanted, as a file that a user would write."""
        path = self.folder / "overlay.yaml"
        lines = ["version: 1", f"overlay: {OVERLAY}", "bfd: {interval_ms: 18, multiplier: 10}", "sites:"]
        lines += [f"  - {{name: {name}, provider: lab, hosts: 1}}" for name in NAMES[: self.sites]]
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
        say(path.read_text(encoding="utf-8"))
        return path

    def deploy(self) -> None:
        """Plan and deploy, then judge by the job's own record."""
        path = self.specification()
        say(self.ctl("plan", str(path), output="table"))
        with self.timed("deploy"):
            done = self.ctl("deploy", str(path), "--yes")
        tasks = done["tasks"]
        self.seconds["tunnels"] = round(tasks["Verify_Overlay"]["finished"] - tasks["Issue_Certs"]["finished"], 2)
        checked = tasks["Verify_Overlay"]["result"]["facts"]
        self.figures |= {
            "sites": self.sites,
            "links": len(done["overlay"]["links"]),
            "pairs": checked["pairs"],
            "pairs_ok": checked["pairs_ok"],
        }
        say(self.ctl("status", output="table"))
        say(f"{checked['pairs_ok']} of {checked['pairs']} pairs of machines reach each other")

    def scale_out(self) -> None:
        """Add a site while traffic flows over every link that is there."""
        status = self.ctl("status")
        subnets = {site["name"]: site["subnet"] for site in status["sites"]}
        pings = {
            link["name"]: stream(link["name"].split("--")[0], subnets[link["name"].split("--")[1]], 0.02)
            for link in status["links"]
        }
        with self.timed("scale_out"):
            self.ctl("scale-out", NAMES[self.sites], "--provider", "lab", "--yes")
        losses = {name: ping.stop().lost for name, ping in pings.items()}
        self.figures["scale_out_lost_pings"] = sum(losses.values())
        say(f"pings lost meanwhile on the {len(losses)} other links: {sum(losses.values())}")

    def failover(self) -> None:
        """Cut the Internet between two sites under traffic; the tunnels' detour takes over."""
        if self.sites < 2:
            return
        status = self.ctl("status")
        target = next(site["subnet"] for site in status["sites"] if site["name"] == NAMES[1])
        gaps = []
        for _ in range(3):
            ping = stream(NAMES[0], target, 0.01)
            self.ctl("lab", "cut", NAMES[0], NAMES[1], "--overlay", OVERLAY, output="")
            time.sleep(2)  # the time for which the cut is watched
            gaps.append(ping.stop().longest_gap_ms)
            self.ctl("lab", "heal", NAMES[0], NAMES[1], "--overlay", OVERLAY, output="")
            self._until_direct()
        self.figures["failover_ms"] = round(statistics.median(gaps), 1)
        say(f"traffic took the detour after {', '.join(f'{gap:.0f}' for gap in gaps)} ms")

    def _until_direct(self) -> None:
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            if all(link["via"] == "direct" for link in self.ctl("status")["links"]):
                return
        raise SystemExit("demo: the cut link did not come back within 30 s")

    def scale_in(self) -> None:
        """Take the site out again."""
        with self.timed("scale_in"):
            self.ctl("scale-in", NAMES[self.sites], "--yes")

    def destroy(self) -> None:
        """Remove everything, and ask the lab what is left."""
        with self.timed("destroy"):
            self.ctl("destroy", "--overlay", OVERLAY, "--yes")
        self.figures["leftovers"] = list(map(str, LabProvider().leftovers(OVERLAY, [])))
        say(f"left over: {', '.join(self.figures['leftovers']) or 'nothing'}")


def stream(source: str, subnet: str, interval_s: float) -> EchoStream:
    """Echo requests from the first host of a site to the first host of a subnet."""
    target = str(IPv4Network(subnet).network_address + 1)
    return EchoStream.start(Lab(OVERLAY).namespace(f"{source}/host1"), target, interval_s)
