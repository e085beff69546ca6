"""Bring sites into the overlay and give each its subnet."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from proactive_tasks.gateway.access import ensure_key
from proactive_tasks.overlay.errors import InputError, SpecificationError
from proactive_tasks.overlay.model import SHARED, Origin
from proactive_tasks.overlay.plan import Action
from proactive_tasks.overlay.result import Result
from proactive_tasks.overlay.spec import OverlaySpec, SiteSpec, load_spec, site_spec
from proactive_tasks.scheduler.client.dataspace import named
from proactive_tasks.scheduler.context import Context


def allocate_subnet(
    context: Context,
    *,
    spec: str = "",
    overlay: str = "",
    site: str = "",
    provider: str = "",
    region: str = "",
    hosts: int = 0,
    prefixes: list[str] | None = None,
    options: dict[str, Any] | None = None,
    origin: Origin = Origin.ELASTIC,
    dry_run: bool = False,
) -> Result:
    """Make the sites of a specification, or one further site, part of the overlay.

    Args:
        context: store and drivers.
        spec: text of a specification, or user:PATH or global:PATH, a file in a data space of the scheduler that runs
            the task; what it says becomes what is wanted of the sites of origin `file`.
        overlay: without a specification, the overlay that `site` joins.
        site: name of the one further site.
        provider: its kind of cloud.
        region: its region.
        hosts: its application hosts.
        prefixes: networks that it brings itself.
        options: further options of its provider.
        origin: who asks for it.
        dry_run: only tell.

    Returns:
        The sites as replicas: one gateway is to be provisioned for each.

    Raises:
        InputError: the specification is not valid, or a subnet cannot be given; nothing was changed.
    """
    if spec:
        wanted = load_spec(_text(context, spec))
        sites, origin = list(wanted.sites), Origin.FILE
    else:
        overlay = context.overlay(overlay)
        wanted = context.store.spec(overlay)
        fields = {"hosts": hosts, "prefixes": tuple(prefixes or ()), "options": options or {}}
        sites = [site_spec(name=site, provider=provider, region=region, **fields)]
    check_reach(context, wanted, sites)
    names = [entry.name for entry in sites]
    if dry_run:
        return Result("allocate_subnet", difference=_what_would_be_done(context, wanted, sites, origin))
    before = _known(context, wanted.overlay)
    if wanted.overlay in context.store.overlays():
        context.vault(wanted.overlay)
    context.passphrase()  # told before anything is made if it is missing
    with context.store.write(wanted.overlay):
        if spec:
            context.store.save_spec(wanted, context.actor)
        brought = context.store.bring_in(wanted.overlay, sites, origin, context.actor)
    ensure_key(context.store, wanted.overlay, context.vault)
    done = [
        f"{entry.name}: {entry.subnet}, gateway {entry.gateway}, AS {entry.asn}"
        for entry in brought
        if entry.name in names and entry.name not in before
    ]
    result = Result("allocate_subnet", changed=bool(done), difference=done)
    result.facts = {"overlay": wanted.overlay, "subnets": {entry.name: str(entry.subnet) for entry in brought}}
    result.replicas = [{"overlay": wanted.overlay, "site": name} for name in names]
    result.variables = {"OVERLAY": wanted.overlay, "BROUGHT": json.dumps(names)}
    result.warnings = [
        f"{name} is no longer in the specification; it stays until it is removed (scale-in, or deploy --prune)"
        for name in sorted(before - set(names))
        if spec and context.store.site(wanted.overlay, name).origin is Origin.FILE
    ]
    return result


def _text(context: Context, spec: str) -> str:
    """A specification's text, which may be too large for a variable."""
    if (place := named(spec)) is None:
        return spec
    try:
        return context.scheduler().download_file(*place).decode()
    except UnicodeDecodeError:
        raise SpecificationError(f"{spec.strip()}: not UTF-8 text; save it as UTF-8 and upload it again") from None


def check_reach(context: Context, wanted: OverlaySpec, sites: Iterable[SiteSpec]) -> None:
    """Refuse sites whose gateways nobody could manage.

    Raises:
        InputError: the specification does not say from where SSH comes.
    """
    for entry in sites:
        known = [*wanted.controllers, *context.driver(entry.provider).controllers(wanted.overlay)]
        if not known and entry.provider not in SHARED:  # who may reach such a host is its own to say
            raise InputError(
                f"site {entry.name}: a gateway of {entry.provider} is managed by SSH, but 'controllers' is empty; "
                "name there the prefixes from which the tasks reach the Internet, e.g. [203.0.113.7/32]"
            )


def _known(context: Context, overlay: str) -> set[str]:
    if overlay not in context.store.overlays():
        return set()
    return {site.name for site in context.store.sites(overlay)}


def _what_would_be_done(context: Context, wanted: OverlaySpec, sites: list[SiteSpec], origin: Origin) -> list[str]:
    if origin is Origin.FILE:
        changes = context.store.difference(wanted).changes
        return [str(change) for change in changes if change.action is not Action.KEEP]
    if any(site.name in _known(context, wanted.overlay) for site in sites):
        return []
    return [f"create site {site.name} ({site.provider})" for site in sites]
