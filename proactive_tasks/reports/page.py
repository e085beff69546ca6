"""The report as one self-contained HTML page."""

from __future__ import annotations

from jinja2 import Environment, PackageLoader, StrictUndefined

from proactive_tasks.reports.overview import Overview
from proactive_tasks.reports.plots import plots


def page(view: Overview) -> bytes:
    """The page, UTF-8: tables and plots, no script, nothing from elsewhere. Whatever comes from a user is escaped."""
    environment = Environment(
        loader=PackageLoader("proactive_tasks.reports"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    environment.filters["figure"] = _figure
    return (
        environment.get_template("overlay.html.j2").render(view=view, faults=view.faults(), plots=plots(view)).encode()
    )


def _figure(value: float | None, digits: int = 0, factor: float = 1) -> str:
    return "-" if value is None else f"{value * factor:.{digits}f}"
