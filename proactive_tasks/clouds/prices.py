"""What sites cost by the hour, by a price table that its user may edit."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from importlib import resources
from pathlib import Path

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from proactive_tasks.overlay.errors import InputError
from proactive_tasks.overlay.model import Site

PRICES = "OVERLAY_PRICES"
"""Environment variable: the file with the price table, in place of the one that is installed."""

HOURS_A_MONTH = 730
TYPES = {"aws": "instance_type", "azure": "vm_size", "openstack": "flavor"}
"""The option that names a gateway's machine type; with `host_` before it, a host's."""


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ProviderPrices(_Part):
    """Prices of a provider by region: of an hour, a GB-month or a GB; `default` holds where a region is silent."""

    source: str
    machine: str  # a gateway's, unless the site's options name another
    host: str  # an application host's, likewise
    disk_gb: float = Field(ge=0)
    regions: Mapping[str, Mapping[str, float]]

    def price(self, region: str, item: str) -> float | None:
        """The price of an item there; None when the table has none."""
        return self.regions.get(region, {}).get(item, self.regions.get("default", {}).get(item))


class Prices(_Part):
    """The price table."""

    dated: date
    currency: str
    providers: Mapping[str, ProviderPrices]
    history: Mapping[str, object] = {}


@dataclass(frozen=True, slots=True)
class Cost:
    """What a site costs: `hourly` for what stands, `egress_gb` for each GB that leaves; None: no price is known."""

    site: str
    items: tuple[tuple[str, float | None], ...]
    egress_gb: float | None

    @property
    def hourly(self) -> float | None:
        """The sum of the items."""
        known = [price for _, price in self.items if price is not None]
        return sum(known) if len(known) == len(self.items) else None


def load() -> Prices:
    """The price table: the one that `OVERLAY_PRICES` names, else the installed one.

    Raises:
        InputError: it cannot be read, or is not one.
    """
    path = os.environ.get(PRICES, "")
    name = path or "the installed price table"
    try:
        file = Path(path) if path else resources.files("proactive_tasks.clouds").joinpath("prices.yaml")
        text = file.read_text(encoding="utf-8")
        return Prices.model_validate(yaml.safe_load(text))
    except OSError as error:
        raise InputError(f"{PRICES}: {path}: {error.strerror}; name a file that can be read") from error
    except (UnicodeDecodeError, yaml.YAMLError) as error:
        raise InputError(f"{name}: not YAML: {' '.join(str(error).split())[:200]}; correct it") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise InputError(f"{name}: {where}: {first['msg']}; correct it") from None


def cost(site: Site, prices: Prices) -> Cost:
    """What a site with its gateway and its hosts costs."""
    table = prices.providers.get(site.provider)
    if table is None:
        return Cost(site.name, (("gateway", None),), None)
    option = TYPES.get(site.provider, "")
    machines = [("gateway", str(site.options.get(option, table.machine)), 1)]
    if site.hosts:
        kind = str(site.options.get(f"host_{option}", table.host))
        machines.append((f"{site.hosts} host{'s' if site.hosts > 1 else ''}", kind, site.hosts))
    items: list[tuple[str, float | None]] = []
    for what, kind, count in machines:
        price = table.price(site.region, kind)
        items.append((f"{what} ({kind})", None if price is None else price * count))
    items.append(("public address", table.price(site.region, "public_address")))
    if table.disk_gb:
        month = table.price(site.region, "disk_gb_month")
        disks = table.disk_gb * sum(count for _, _, count in machines)
        items.append((f"disks ({disks:g} GB)", None if month is None else month * disks / HOURS_A_MONTH))
    return Cost(site.name, tuple(items), table.price(site.region, "egress_gb"))
