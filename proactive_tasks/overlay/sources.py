"""The table of node sources: which site each one's nodes belong to. Rules for the table, and the look-up."""

from __future__ import annotations

import hashlib
import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from proactive_tasks.overlay import consistency
from proactive_tasks.overlay.checks import RuleError, shown
from proactive_tasks.overlay.errors import OverlayError
from proactive_tasks.overlay.numbering import Ledger

if TYPE_CHECKING:
    from proactive_tasks.overlay.spec import OverlaySpec, SiteSpec, SourceSpec

LONGEST_SITE = 31

OWN = frozenset({"Default", "LocalNodes"})
"""The server's own node sources: only a row that names one takes it, never a pattern."""

FIELDS = ("provider", "region", "hosts", "prefixes", "options")
"""What rows that share a site must agree on."""

_SOURCE = re.compile(r"[!-~]([ -~]*[!-~])?")


def source(value: str) -> str:
    """The name of a node source, or a pattern of names: `*` stands for any characters, `?` for one."""
    if len(value) > 255 or not _SOURCE.fullmatch(value):
        raise RuleError(
            f"{shown(value)} is not the name of a node source; use 1 to 255 printable ASCII characters, "
            "'*' and '?' in a pattern"
        )
    return value


def is_pattern(value: str) -> bool:
    """Whether it stands for several names."""
    return "*" in value or "?" in value


def matches(pattern: str, name: str) -> bool:
    """Whether a row is about a node source of that name."""
    if pattern == name:
        return True
    if name in OWN or not is_pattern(pattern):
        return False
    parts = (".*" if part == "*" else "." if part == "?" else re.escape(part) for part in pattern)
    return re.fullmatch("".join(parts), name, re.DOTALL) is not None


def site_name(name: str) -> str:
    """The name of the site of a node source: its own, as far as it is one that a site can have."""
    plain = "-".join(re.findall(r"[a-z0-9]+", name.lower()))
    if not plain[:1].isalpha():
        plain = f"site-{plain}" if plain else "site"
    if len(plain) <= LONGEST_SITE:
        return plain
    digest = hashlib.sha256(name.encode()).hexdigest()[:6]
    return f"{plain[: LONGEST_SITE - 7].rstrip('-')}-{digest}"


def row_of(table: tuple[SourceSpec, ...], name: str) -> SourceSpec | None:
    """The row about a node source: one that names it goes before a pattern, else the first in order."""
    found = [row for row in table if matches(row.source, name)]
    return next((row for row in found if row.source == name), found[0] if found else None)


def check(spec: OverlaySpec) -> None:
    """What holds between the rows, and between them and the sites.

    Raises:
        RuleError: the row, and what is wrong with it.
    """
    table = spec.elastic.sources
    sites: dict[str, tuple[int, SourceSpec]] = {}
    seen: set[str] = set()
    for index, row in enumerate(table):
        if row.source in seen:
            raise RuleError(f"{shown(row.source)} is there twice; remove one", "elastic", "sources", index, "source")
        seen.add(row.source)
        if is_pattern(row.source) and row.prefixes and not row.site:
            raise RuleError(
                f"{shown(row.source)} makes a site of each source, which cannot all bring the same prefixes; "
                "name the one site of them all by site:",
                *("elastic", "sources", index, "prefixes"),
            )
        name = row.site or ("" if is_pattern(row.source) else site_name(row.source))
        if not name:
            continue
        first = sites.setdefault(name, (index, row))[1]
        if differing := [key for key in FIELDS if getattr(first, key) != getattr(row, key)]:
            raise RuleError(
                f"{shown(first.source)} and {shown(row.source)} are both of site {name}, but differ in "
                f"{', '.join(differing)}; make them equal or give one another site:",
                *("elastic", "sources", index),
            )
        _against_the_file(spec, name, row, index)
    if sites:
        _numbers(spec, sites)


def _against_the_file(spec: OverlaySpec, name: str, row: SourceSpec, index: int) -> None:
    held = spec.site(name)
    if held is not None and (held.provider, held.region) != (row.provider, row.region):
        raise RuleError(
            f"site {name} is among the sites already, with another provider or region; name another one by site:",
            *("elastic", "sources", index),
        )


def _numbers(spec: OverlaySpec, sites: dict[str, tuple[int, SourceSpec]]) -> None:
    """A trial of the numbering: all that the rows' sites bring, and a subnet for each."""
    ledger, start = Ledger(spec.split, spec.cooldown), datetime.fromtimestamp(0, UTC)
    wanted: list[tuple[SiteSpec, tuple[str | int, ...]]] = [(site, ()) for site in spec.sites]
    wanted += [
        (row.wanted(name), ("elastic", "sources", index))
        for name, (index, row) in sites.items()
        if spec.site(name) is None
    ]
    try:
        where: tuple[str | int, ...] = ()
        for site, where in wanted:
            for prefix in site.prefixes:
                if where:
                    consistency.brought(spec, site.name, prefix)
                ledger.adopt(site.name, site.provider, prefix, start)
        for site, where in wanted:
            subnet = ledger.allocate(site.name, site.provider, start).prefix
            if where:
                consistency.hosts_fit(site, subnet, *where, "hosts")
    except RuleError as error:
        raise error if error.path else RuleError(str(error), *where) from None
    except OverlayError as error:
        raise RuleError(str(error), *where) from None
