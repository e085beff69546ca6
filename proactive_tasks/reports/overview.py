"""An overlay at one moment, out of the store: the one source of every report."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from proactive_tasks.overlay.model import Certificate, Link, LinkState, Site, SiteState
from proactive_tasks.store import Store

MOVING = frozenset({SiteState.ALLOCATED, SiteState.PROVISIONED, SiteState.RELEASING})
"""The states of a site that comes or goes."""

COMING = frozenset({LinkState.PLANNED, LinkState.CONNECTING})
"""The states of a link that nobody has verified yet."""


@dataclass(frozen=True, slots=True)
class Direction:
    """One direction of a link. Times in ms, loss as a ratio, path MTU in bytes; None where nothing was measured."""

    source: str
    target: str
    rtt: float | None = None
    rtt_outside: float | None = None
    loss: float | None = None
    loss_outside: float | None = None
    path_mtu: float | None = None
    path_mtu_outside: float | None = None


@dataclass(frozen=True, slots=True)
class Overview:
    """Sites, links and figures of an overlay."""

    overlay: str
    at: datetime
    sites: Sequence[Site]
    links: Sequence[Link]
    directions: Sequence[Direction]
    certificates: dict[str, Certificate]

    def days_left(self, site: str) -> int | None:
        """Whole days until a site's certificate ends."""
        leaf = self.certificates.get(site)
        return (leaf.not_after - self.at).days if leaf else None

    def faults(self, brought: Collection[str] | None = None) -> list[str]:
        """What is not as wanted, a line each.

        Args:
            brought: the sites that a job brought in; others that come or go without a fault are other jobs' affair.
                None: every site must be connected.
        """
        moving = {
            site.name
            for site in self.sites
            if brought is not None and site.name not in brought and not site.error and self._moves(site)
        }
        return [
            f"{site.name}: {site.error or f'its gateway came no further than {site.state}'}"
            for site in self.sites
            if site.state is not SiteState.CONNECTED and site.name not in moving
        ] + [
            f"{link.name}: {link.error or f'the link is {link.state}'}"
            for link in self.links
            if link.state is not LinkState.CONNECTED
            and not moving & {link.a, link.b}
            and not self._awaits_another(link, brought)
        ]

    @staticmethod
    def _awaits_another(link: Link, brought: Collection[str] | None) -> bool:
        """Whether a link came up for verification in no job yet, and one of its sites is another job's to bring in.

        That job configures both its ends; what this job verified is connected, or in error.
        """
        return brought is not None and link.state in COMING and not link.error and not {link.a, link.b} <= {*brought}

    def _moves(self, site: Site) -> bool:
        """Whether a site comes or goes: by its state, or since none of its links was seen to stand or to fail yet."""
        links = [link for link in self.links if site.name in {link.a, link.b}]
        coming = bool(links) and all(link.state in COMING and not link.error for link in links)
        return site.state in MOVING or coming

    def as_json(self) -> dict[str, Any]:
        """The overview as JSON-like values."""
        return {
            "overlay": self.overlay,
            "at": self.at.isoformat(),
            "sites": [
                {
                    "name": site.name,
                    "provider": site.provider,
                    "region": site.region,
                    "origin": str(site.origin),
                    "subnet": str(site.subnet),
                    "gateway": str(site.gateway),
                    "public_address": str(site.public_address or ""),
                    "as": site.asn,
                    "state": str(site.state),
                    "error": site.error,
                    "certificate_days": self.days_left(site.name),
                }
                for site in self.sites
            ],
            "links": [
                {
                    "name": link.name,
                    "backend": link.backend,
                    "listener": link.listener,
                    "state": str(link.state),
                    "since": link.since.isoformat() if link.since else None,
                    "error": link.error,
                }
                for link in self.links
            ],
            "directions": [asdict(direction) for direction in self.directions],
        }


def overview(store: Store, overlay: str) -> Overview:
    """Read an overlay's present state from the store."""
    links = store.links(overlay)
    figures = {(m.link, m.source, m.metric, m.inside): m.value for m in store.latest_measurements(overlay)}
    valid = [leaf for leaf in store.certificates(overlay) if leaf.revoked_at is None]
    return Overview(
        overlay=overlay,
        at=datetime.now(UTC),
        sites=store.sites(overlay),
        links=links,
        directions=[
            Direction(
                source,
                link.peer(source),
                **{
                    f"{metric}{'' if inside else '_outside'}": figures.get((link.name, source, metric, inside))
                    for metric in ("rtt", "loss", "path_mtu")
                    for inside in (True, False)
                },
            )
            for link in links
            for source in (link.a, link.b)
        ],
        certificates={leaf.site: leaf for leaf in sorted(valid, key=lambda leaf: leaf.not_after)},
    )
