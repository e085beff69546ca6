"""Draw up the report of an overlay."""

from __future__ import annotations

import json
from contextlib import suppress
from textwrap import indent

from proactive_tasks.overlay.errors import InputError, LinkError
from proactive_tasks.overlay.result import Result
from proactive_tasks.reports.csvtext import links_csv
from proactive_tasks.reports.overview import overview
from proactive_tasks.reports.page import page
from proactive_tasks.reports.tables import text
from proactive_tasks.scheduler.context import Context


def report_overlay(
    context: Context,
    *,
    overlay: str = "",
    brought: list[str] | None = None,
    unreached: list[str] | None = None,
    dry_run: bool = False,
) -> Result:
    """Tell how the overlay stands, as a table in the log and as an HTML page.

    Args:
        context: the store.
        overlay: whose report.
        brought: the sites that this job brings in; those that other jobs are still bringing in are not its faults.
        unreached: pairs of machines that did not reach each other, as the verification found them.
        dry_run: a job that changed nothing has nothing to be judged by.

    Returns:
        The page with its plots as preview, the figures as facts; in the job's result map `links.csv` (a row a link and
        direction), `overlay.json`, and NETWORK_ID_<site> and SUBNET_ID_<site> of each site that the job brought in,
        for whoever starts machines there.

    Raises:
        LinkError: a site, a link or a pair is not as wanted; the message names each.
    """
    if dry_run:
        return Result("report_overlay", warnings=["nothing was done: this was a dry run"])
    view = overview(context.store, context.overlay(overlay))
    print(indent(text(view), "  "))
    faults = view.faults(brought) + list(unreached or [])
    if faults:
        raise LinkError(f"overlay {view.overlay} is not as wanted: {'; '.join(faults)}")
    result = Result("report_overlay", facts=view.as_json(), preview=("text/html", page(view)))
    for site in view.sites if brought is None else [site for site in view.sites if site.name in brought]:
        with suppress(InputError):  # an adopted network whose subscription this node is not told
            network, subnet = context.network(view.overlay, site.name)
            result.result_map |= {f"NETWORK_ID_{site.name}": network, f"SUBNET_ID_{site.name}": subnet}
    result.facts["networks"] = dict(result.result_map)
    result.result_map |= {"links.csv": links_csv(view), "overlay.json": json.dumps(view.as_json(), indent=2)}
    return result
