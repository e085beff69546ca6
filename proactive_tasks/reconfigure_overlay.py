"""Extend the overlay to the places where a PrEstoCloud reconfiguration plan boots or migrates something."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from proactive_tasks.allocate_subnet import check_reach
from proactive_tasks.gateway.access import ensure_key
from proactive_tasks.overlay.errors import InputError, SpecificationError
from proactive_tasks.overlay.model import Origin, Site, SiteState
from proactive_tasks.overlay.reconfiguration import (
    CloudList,
    Move,
    Place,
    after_coming,
    after_going,
    deserted,
    digest,
    has_come,
    moves,
    read_plan,
    site_name,
)
from proactive_tasks.overlay.result import Result
from proactive_tasks.overlay.spec import SiteSpec, site_spec
from proactive_tasks.scheduler.client.dataspace import named
from proactive_tasks.scheduler.context import Context
from proactive_tasks.store.placements import PlacementBook, counts

Phase = Literal["all", "extend", "shrink"]
"""What is done of a plan: its machines come after `extend`, and are gone before `shrink`; `all` does both at once."""

SITE_FIELDS = frozenset({"hosts", "prefixes", "options"})
"""What a place can have said of its site, as a specification would."""


@dataclass(frozen=True)
class Request:
    """A plan, and the clouds that it may use."""

    changes: Sequence[Move]
    clouds: CloudList
    digest: str
    every_cloud: bool = False

    @property
    def wanted(self) -> list[Place]:
        """Where a site is needed, in the plan's order; then the clouds of the list, if each is to have one."""
        found = [move.target for move in self.changes if move.target]
        return list(dict.fromkeys([*found, *self.kept]))

    @property
    def kept(self) -> list[Place]:
        """Where a site stays, whether anything runs there or not."""
        return [cloud.place for cloud in self.clouds.clouds] if self.every_cloud else []


def read(context: Context, plan: str, cloud_list: str, *, every_cloud: bool = False) -> Request:
    """Read plan and CLOUD_LIST.

    Raises:
        InputError: one of them is malformed; the message names entry and key.
    """
    plan, listed = _text(context, plan), CloudList(_text(context, cloud_list))
    return Request(moves(read_plan(plan), listed), listed, digest(plan), every_cloud)


def _text(context: Context, value: str) -> str:
    """A list, or what the file holds that is named in its place: it may be too large for a variable."""
    if (place := named(value)) is None:
        return value or "[]"
    try:
        return context.scheduler().download_file(*place).decode()
    except UnicodeDecodeError:
        raise InputError(f"{value.strip()}: not UTF-8 text; save it as UTF-8 and upload it again") from None


def reconfigure_overlay(
    context: Context,
    *,
    overlay: str = "",
    plan: str = "[]",
    cloud_list: str = "[]",
    site_options: dict[str, dict[str, Any]] | None = None,
    every_cloud: bool = False,
    phase: Phase = "all",
    dry_run: bool = False,
) -> Result:
    """Bring in a site of origin `plan` where the plan needs one and none stands, and count what comes to run where.

    Args:
        context: store and drivers.
        overlay: which.
        plan: the plan, a JSON list; or the file of a data space that holds it, user:PATH or global:PATH.
        cloud_list: CLOUD_LIST, likewise.
        site_options: by place ("openstack RegionOne"), what a specification would say of its site: hosts, prefixes,
            options.
        every_cloud: whether each cloud of CLOUD_LIST gets a site, also where the plan boots nothing.
        phase: `shrink` brings in nothing.
        dry_run: only tell.

    Returns:
        As replicas, the sites of the plan whose gateways are to be provisioned.

    Raises:
        InputError: plan or list is malformed, or a subnet cannot be given; nothing was changed.
    """
    overlay = context.overlay(overlay)
    request = read(context, plan, cloud_list, every_cloud=every_cloud)
    there, spec, book = context.store.sites(overlay), context.store.spec(overlay), PlacementBook(context.store, overlay)
    result = Result("reconfigure_overlay", variables={"OVERLAY": overlay, "BROUGHT": "[]"})
    wanted = [] if phase == "shrink" else request.wanted
    lacking = {place: None for place in wanted if standing(there, place) is None}
    fields = _site_fields(site_options or {})
    for place in list(lacking):
        if place.provider == "edge" and place not in fields:
            del lacking[place]
            result.warnings.append(
                f"edge device {place.region} has no site, and its address is not known; give it in SITE_OPTIONS as "
                f'{{"{place}": {{"options": {{"address": ..., "host_key": ...}}}}}}, or in the specification'
            )
    new = _sites(there, lacking, request.clouds, fields)
    check_reach(context, spec, new)
    before = book.placements()
    if dry_run:
        result.difference = [f"create site {site.name} ({site.provider} {site.region})" for site in new]
        if phase != "extend":
            after = after_going(after_coming(before, request.changes) if wanted else before, request.changes)[0]
            leaving = going(there, deserted(after).difference(request.kept))
            result.difference += [f"delete site {site.name} ({site.provider} {site.region})" for site in leaving]
        return result
    context.vault(overlay)
    with context.store.write(overlay):
        brought = context.store.bring_in(overlay, new, Origin.PLAN, context.actor)
        key, before = f"{request.digest}-coming", book.placements()
        comes = wanted and any(move.comes for move in request.changes)
        if comes and not (book.taken_in(key) and has_come(before, request.changes)):
            book.take_in(key, after_coming(before, request.changes), context.actor)
    ensure_key(context.store, overlay, context.vault)
    there = context.store.sites(overlay)
    serving = {place: site for place in wanted if (site := standing(there, place))}
    names = list(
        dict.fromkeys(
            site.name
            for site in serving.values()
            if site.origin is Origin.PLAN and site.state is not SiteState.CONNECTED
        )
    )
    result.changed = bool(brought)
    result.difference = [f"{site.name}: {site.subnet}, gateway {site.gateway}, AS {site.asn}" for site in brought]
    result.facts = {
        "overlay": overlay,
        "sites": {str(place): site.name for place, site in serving.items()},
        "instances": counts(book.placements()),
    }
    result.replicas = [{"overlay": overlay, "site": name} for name in names]
    result.variables["BROUGHT"] = json.dumps(names)
    return result


def standing(sites: Iterable[Site], place: Place) -> Site | None:
    """The site that serves a place: the oldest one there that is not leaving."""
    return next((site for site in sites if site.state is not SiteState.RELEASING and is_at(site, place)), None)


def is_at(site: Site, place: Place) -> bool:
    """Whether a site is at a place. An edge device may also be the one that its site is named after."""
    if site.provider != place.provider:
        return False
    return site.region.lower() == place.region or (place.provider == "edge" and site.name == place.region)


def going(sites: Iterable[Site], places: Iterable[Place]) -> list[Site]:
    """The sites that leave with the last instance at their place: those that a plan brought."""
    places = list(places)
    return [site for site in sites if site.origin is Origin.PLAN and any(is_at(site, place) for place in places)]


def _site_fields(given: dict[str, dict[str, Any]]) -> dict[Place, dict[str, Any]]:
    """SITE_OPTIONS by place."""
    found = {}
    for key, fields in given.items():
        words = key.split()
        provider = "aws" if words[:1] == ["amazon"] else words[0] if words else ""
        if len(words) != 2:
            raise InputError(
                f"SITE_OPTIONS, {key!a}: not a place; write kind and region, such as 'openstack RegionOne'"
            )
        if unknown := sorted(set(fields) - SITE_FIELDS):
            raise InputError(f"SITE_OPTIONS, {key!a}: {', '.join(unknown)}: known are {', '.join(sorted(SITE_FIELDS))}")
        found[Place(provider, words[1].lower())] = fields
    return found


def _sites(
    there: Sequence[Site], lacking: Iterable[Place], clouds: CloudList, fields: dict[Place, dict[str, Any]]
) -> list[SiteSpec]:
    """The sites to be brought in. A site of the plan's that is leaving is called back by its name."""
    found: list[SiteSpec] = []
    for place in lacking:
        cloud = clouds.at(place)
        taken = [site.name for site in there if site.origin is not Origin.PLAN or not is_at(site, place)]
        name = site_name(place, [*taken, *(site.name for site in found)])
        try:
            region = cloud.region if cloud else place.region
            found.append(site_spec(name=name, provider=place.provider, region=region, **fields.get(place, {})))
        except SpecificationError as error:
            raise InputError(f"SITE_OPTIONS, '{place}': {error}") from None
    return found
