"""Take sites out of the routing, before their machines are removed."""

from __future__ import annotations

from proactive_tasks.acquire_nodes import take_tokens_off
from proactive_tasks.overlay.errors import InputError, UnknownObjectError
from proactive_tasks.overlay.model import Origin
from proactive_tasks.overlay.result import Result
from proactive_tasks.pki.issuing import issue, revoke
from proactive_tasks.scheduler.context import Context


def retire_sites(
    context: Context, *, overlay: str = "", sites: list[str] | None = None, origin: Origin | None = None
) -> Result:
    """Revoke the certificates of sites that leave, drop their links, and take the access token off their nodes.

    Args:
        context: store and vault.
        overlay: which.
        sites: the names of those that leave.
        origin: who asks; a trigger removes only what a trigger brought. None: a person, who may remove any.

    Returns:
        As replicas, the gateways that stay: each is to be configured without the links that are gone.

    Raises:
        UnknownObjectError: a site is not in the overlay; nothing was changed.
        InputError: a site is not this origin's to remove; nothing was changed.
    """
    overlay = context.overlay(overlay)
    leaving = check_leaving(context, overlay, sites or [], origin)
    for name in leaving:
        context.store.start_release(overlay, name, context.actor)
    with context.store.lease(f"pki/{overlay}", context.job):
        done = revoke(context.store, overlay, leaving, context.actor)
        done += issue(context.store, overlay, context.vault, context.actor)
        context.store.plan_links(overlay, context.actor)
    taken, warnings = take_tokens_off(context, overlay, leaving)
    result = Result("retire_sites", changed=True, difference=[*done, *taken], warnings=warnings)
    result.facts = {"overlay": overlay, "leaving": leaving}
    result.replicas = context.each_gateway(overlay)
    result.variables = {"OVERLAY": overlay}
    return result


def check_leaving(context: Context, overlay: str, sites: list[str], origin: Origin | None) -> list[str]:
    """The sites that may leave, as asked.

    Raises:
        UnknownObjectError: a site is not in the overlay.
        InputError: none was named, or one is not this origin's to remove.
    """
    known = {site.name: site for site in context.store.sites(overlay)}
    if not sites:
        raise InputError(f"no site was named; overlay {overlay} has: {', '.join(known) or 'none'}")
    if unknown := [name for name in sites if name not in known]:
        raise UnknownObjectError(
            f"site {', '.join(unknown)}: not in overlay {overlay}, which has: {', '.join(known) or 'none'}"
        )
    kept = [name for name in sites if origin is not None and known[name].origin is Origin.FILE]
    if kept:
        raise InputError(f"site {', '.join(kept)}: brought by the specification, so no trigger may remove it")
    return list(dict.fromkeys(sites))
