"""What sites cost, as a table and as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from proactive_tasks.clouds.prices import Cost, Prices
from proactive_tasks.reports.tables import render, table


def costs_json(costs: Sequence[Cost], prices: Prices | None) -> dict[str, Any]:
    """By site what an hour and a GB of egress cost; None where no price is known."""
    if prices is None:
        return {}
    return {
        "currency": prices.currency,
        "dated": prices.dated.isoformat(),
        "hourly": round(sum(each.hourly or 0 for each in costs), 4),
        "sites": [
            {"site": each.site, "hourly": each.hourly, "egress_gb": each.egress_gb, "items": dict(each.items)}
            for each in costs
        ],
    }


def costs_table(costs: Sequence[Cost], prices: Prices | None) -> str:
    """The same for a terminal; nothing where nothing has a price."""
    if prices is None or not any(each.hourly != 0 or each.egress_gb != 0 for each in costs):
        return ""
    rows: list[tuple[object, ...]] = [
        (each.site, what, _money(price), _money(each.egress_gb) if not number else "")
        for each in costs
        for number, (what, price) in enumerate(each.items)
    ]
    rows.append(("all", "", _money(sum(each.hourly or 0 for each in costs)), ""))
    title = f"Cost in {prices.currency}, by the price table of {prices.dated}"
    return render(table(title, ("site", "what", "per hour", "per GB of egress"), rows))


def _money(value: float | None) -> str:
    return "no price known" if value is None else f"{value:.4f}"
