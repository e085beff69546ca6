"""Tables for a terminal."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from io import StringIO

from rich.console import Console
from rich.table import Table

from proactive_tasks.reports.overview import Overview

COLOURS = {"connected": "green", "keep": "dim", "create": "green", "change": "yellow", "delete": "red", "error": "red"}


def table(title: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> Table:
    """A table whose cells are shown as they are: nothing in them is taken for markup."""
    from rich.text import Text

    made = Table(title=title, title_justify="left", header_style="bold")
    for column in columns:
        made.add_column(column, overflow="fold")
    for row in rows:
        made.add_row(*(Text(str(cell), style=COLOURS.get(str(cell), "")) for cell in row))
    return made


def sites_table(view: Overview) -> Table:
    """The sites of an overlay."""
    return table(
        f"Sites of {view.overlay}",
        ("site", "provider", "subnet", "gateway", "public address", "AS", "certificate", "state"),
        (
            (
                site.name,
                site.provider,
                site.subnet,
                site.gateway,
                site.public_address or "-",
                site.asn,
                "-" if view.days_left(site.name) is None else f"{view.days_left(site.name)} days",
                site.state,
            )
            for site in view.sites
        ),
    )


def directions_table(view: Overview) -> Table:
    """The links of an overlay, a row per direction; inside the tunnel / outside it."""
    state = {link.name: link.state for link in view.links}
    return table(
        "Links, by direction (inside the tunnel / outside it)",
        ("from", "to", "state", "RTT, ms", "loss, %", "path MTU, bytes"),
        (
            (
                d.source,
                d.target,
                state["--".join(sorted((d.source, d.target)))],
                _pair(d.rtt, d.rtt_outside, ".2f"),
                _pair(_percent(d.loss), _percent(d.loss_outside), ".1f"),
                _pair(d.path_mtu, d.path_mtu_outside, ".0f"),
            )
            for d in view.directions
        ),
    )


def text(view: Overview) -> str:
    """Both tables as plain text."""
    return render(sites_table(view), directions_table(view))


def render(*tables: Table) -> str:
    """Tables as text; in colour, and as wide as the window, on a terminal only."""
    terminal = sys.stdout.isatty()
    out = StringIO()
    width = None if terminal else 140
    console = Console(file=out, width=width, force_terminal=terminal, color_system="auto" if terminal else None)
    for made in tables:
        console.print(made)
    return out.getvalue()


def _pair(inside: float | None, outside: float | None, form: str) -> str:
    return " / ".join("-" if value is None else format(value, form) for value in (inside, outside))


def _percent(ratio: float | None) -> float | None:
    return None if ratio is None else 100 * ratio
