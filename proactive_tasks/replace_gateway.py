"""Give up a gateway that is gone, so that a new machine can take its place."""

from __future__ import annotations

from proactive_tasks.overlay.errors import UnknownObjectError
from proactive_tasks.overlay.model import LinkState, SiteState
from proactive_tasks.overlay.result import Result
from proactive_tasks.pki.issuing import revoke
from proactive_tasks.scheduler.context import Context


def replace_gateway(context: Context, *, overlay: str = "", site: str) -> Result:
    """Revoke what the old gateway held and remove its machine; its addresses stay the site's.

    Args:
        context: store and drivers.
        overlay: which.
        site: the site whose gateway is gone.

    Returns:
        The site as the one replica: a gateway is to be provisioned for it.

    Raises:
        UnknownObjectError: there is no such site.
    """
    overlay = context.overlay(overlay)
    known = {entry.name: entry for entry in context.store.sites(overlay)}
    if site not in known:
        raise UnknownObjectError(f"site {site}: not in overlay {overlay}, which has: {', '.join(known) or 'none'}")
    with context.store.lease(f"gateway/{overlay}/{site}", context.job):
        # First of all no certificate may be issued for the old key any more, not by another job that is at it either.
        context.store.update_site(overlay, site, context.actor, request="")
        with context.store.lease(f"pki/{overlay}", context.job):
            done = revoke(context.store, overlay, [site], context.actor)
        journal = context.store.journal(overlay, site, context.actor)
        done += context.driver(known[site].provider).discard(overlay, known[site], journal)
        context.store.update_site(
            overlay,
            site,
            context.actor,
            state=SiteState.ALLOCATED,
            error="",
            machine="",
            wan="",
            lan="",
            lan_router=None,
            bears_address=False,
            host_key="",
            host_key_seeded=True,
            trusts=0,
        )
        for link in context.store.links(overlay, site):
            fields = {"state": LinkState.CONNECTING, "listening": link.listening and link.listener != site}
            context.store.update_link(overlay, link.a, link.b, context.actor, **fields)
    result = Result("replace_gateway", changed=True, difference=done, facts={"overlay": overlay, "site": site})
    result.replicas = [{"overlay": overlay, "site": site}]
    result.variables = {"OVERLAY": overlay}
    return result
