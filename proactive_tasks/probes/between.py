"""Probing from everywhere in an overlay at once: gateways over SSH, the lab's hosts in their namespaces."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, NamedTuple

from proactive_tasks.overlay.errors import OverlayError

if TYPE_CHECKING:
    from ipaddress import IPv4Address

Prober = Callable[[Sequence[str], float], Mapping[str, float | None]]
"""Takes addresses and a deadline in s; returns ms until each address first answered, None for those that did not."""


class Machine(NamedTuple):
    """A machine that takes part: its name (`site/gateway`, `site/host1`), address, and how to probe from it.

    One into which the controller has no way is a target only: its `probe` is None.
    """

    name: str
    address: IPv4Address
    probe: Prober | None


class Unanswered(NamedTuple):
    """A pair of machines of which the first got no answer from the second."""

    source: str
    target: str
    why: str

    def __str__(self) -> str:
        return f"{self.source} does not reach {self.target}{f' ({self.why})' if self.why else ''}"


def unanswered(machines: Sequence[Machine], deadline_s: float) -> list[Unanswered]:
    """Let every machine that can reach every other, all at once; the pairs that failed until the deadline."""

    def probe(machine: Machine) -> list[Unanswered]:
        if machine.probe is None:
            return []
        others = [other for other in machines if other is not machine]
        why = ""
        try:
            answers = machine.probe([str(other.address) for other in others], deadline_s)
        except OverlayError as error:
            answers, why = {}, str(error)
        return [Unanswered(machine.name, o.name, why) for o in others if answers.get(str(o.address)) is None]

    if len(machines) < 2:
        return []
    with ThreadPoolExecutor(max_workers=len(machines)) as pool:
        return [pair for found in pool.map(probe, machines) for pair in found]
