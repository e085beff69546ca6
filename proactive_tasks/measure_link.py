"""Measure a link in both directions, inside the tunnel and outside it."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

from proactive_tasks.gateway.access import open_session
from proactive_tasks.overlay.errors import LinkError, UnknownObjectError
from proactive_tasks.overlay.model import Link, Measurement
from proactive_tasks.overlay.result import Result
from proactive_tasks.probes.figures import loss, median_rtt
from proactive_tasks.scheduler.context import Context


def measure_link(context: Context, *, overlay: str = "", link: str, samples: int = 20) -> Result:
    """Round-trip time, loss and path MTU of a link, from each of its ends.

    Args:
        context: store, vault and drivers.
        overlay: which.
        link: its name, `a--b`.
        samples: echo requests per direction and side of the tunnel.

    Returns:
        The figures under `facts`: ms, ratio, bytes.

    Raises:
        LinkError: nothing comes through the tunnel.
    """
    overlay = context.overlay(overlay)
    found = next((known for known in context.store.links(overlay) if known.name == link), None)
    if found is None:
        raise UnknownObjectError(f"link {link}: not in overlay {overlay}")
    context.vault(overlay)  # derived once, before the threads want it
    with ThreadPoolExecutor(max_workers=2) as pool:
        both = pool.map(lambda source: list(_direction(context, overlay, found, source, samples)), (found.a, found.b))
        figures = [figure for direction in both for figure in direction]
    context.progress(90, f"{link}: {len(figures)} figures")
    context.store.add_measurements(overlay, figures)
    result = Result("measure_link")
    result.facts = {
        "link": link,
        "figures": [
            {"source": f.source, "metric": f.metric, "inside": f.inside, "value": f.value, "unit": f.unit}
            for f in figures
        ],
    }
    return result


def _direction(context: Context, overlay: str, link: Link, source: str, samples: int) -> Iterator[Measurement]:
    """All figures from one end. Inside is between the gateways' site addresses, outside between the public ones."""
    here, there = context.store.site(overlay, source), context.store.site(overlay, link.peer(source))
    with open_session(context.store, overlay, here, context.driver(here.provider), context.vault) as session:
        for inside, target, own in (
            (True, str(there.gateway), str(here.gateway)),
            (False, str(there.public_address), ""),
        ):
            trips = session.probe(target, source=own, count=samples)
            rtt = median_rtt(trips)
            if inside and rtt is None:
                raise LinkError(f"link {link.name}: nothing that {source} sends comes back through the tunnel")
            figures = [("loss", loss(trips), "ratio", f"{samples} ICMP echoes, 20 ms apart")]
            if rtt is not None:
                mtu = session.path_mtu(target, source=own)
                figures.append(("rtt", rtt, "ms", f"median of the answers to {samples} ICMP echoes"))
                if mtu is not None:
                    figures.append(("path_mtu", mtu, "bytes", "ICMP echoes that must not be fragmented"))
            for metric, value, unit, method in figures:
                yield Measurement(
                    link.name, source, metric, inside, value, unit, method, datetime.now(UTC), context.actor
                )
