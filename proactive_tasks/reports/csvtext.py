"""The links of an overlay as CSV (RFC 4180), a row a link and direction."""

from __future__ import annotations

import csv
from io import StringIO

from proactive_tasks.reports.overview import Overview

COLUMNS = (
    "link",
    "from",
    "to",
    "tunnel",
    "state",
    "since (UTC)",
    "RTT inside (ms)",
    "RTT outside (ms)",
    "loss inside (ratio)",
    "loss outside (ratio)",
    "path MTU inside (bytes)",
    "path MTU outside (bytes)",
    "error",
)

FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""A spreadsheet takes a cell that begins so for a formula (OWASP, CSV injection)."""


def links_csv(view: Overview) -> str:
    """The text; a figure that nobody measured is an empty cell."""
    out = StringIO()
    writer = csv.writer(out)
    writer.writerow(COLUMNS)
    links = {frozenset((link.a, link.b)): link for link in view.links}
    for each in view.directions:
        link = links[frozenset((each.source, each.target))]
        words = (
            link.name,
            each.source,
            each.target,
            link.backend,
            str(link.state),
            link.since.strftime("%Y-%m-%d %H:%M:%S") if link.since else "",
        )
        figures = (
            each.rtt,
            each.rtt_outside,
            each.loss,
            each.loss_outside,
            each.path_mtu,
            each.path_mtu_outside,
        )
        numbers = ("" if value is None else f"{value:.6g}" for value in figures)
        writer.writerow([*map(harmless, words), *numbers, harmless(link.error)])
    return out.getvalue()


def harmless(cell: str) -> str:
    """A cell that no spreadsheet calculates."""
    return f"'{cell}" if cell.startswith(FORMULA) else cell
