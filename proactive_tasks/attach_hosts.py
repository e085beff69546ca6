"""Bring a site's application hosts to the number wanted."""

from __future__ import annotations

from proactive_tasks.overlay import consistency
from proactive_tasks.overlay.errors import InputError
from proactive_tasks.overlay.result import Result
from proactive_tasks.overlay.spec import SiteSpec
from proactive_tasks.provision_gateway import order_of
from proactive_tasks.scheduler.context import Context


def attach_hosts(context: Context, *, overlay: str = "", site: str, hosts: int | None = None) -> Result:
    """Make the application hosts that a site lacks, or remove the last ones; they reach all else by its gateway.

    Args:
        context: store and drivers.
        overlay: which.
        site: whose hosts; its gateway must be connected, since they have no other way to the Internet.
        hosts: how many it is to have from now on; None: as many as the store wants.

    Raises:
        InputError: the site's gateway is not connected, or its subnet has no room for so many.
        ProviderError: the provider refused or failed; what was made stays and counts.
    """
    overlay = context.overlay(overlay)
    known = context.store.site(overlay, site)
    if not known.ready:
        raise InputError(f"site {site}: its gateway is not there yet, so hosts would reach nothing; deploy it first")
    if hosts is not None:
        consistency.hosts_fit(
            SiteSpec(name=site, provider=known.provider, hosts=hosts, options=known.options), known.subnet, "hosts"
        )
        context.store.update_site(overlay, site, context.actor, hosts=hosts)
    with context.store.lease(f"gateway/{overlay}/{site}", context.job):
        return attached(context, overlay, site)


def attached(context: Context, overlay: str, site: str) -> Result:
    """The same, for whoever holds the site's lock."""
    known = context.store.site(overlay, site)
    journal = context.store.journal(overlay, site, context.actor)
    done = context.driver(known.provider).attach(
        order_of(context, overlay, known), journal, lambda line: context.progress(80, f"{site}: {line}")
    )
    return Result("attach_hosts", changed=bool(done), difference=done, facts={"site": site, "hosts": known.hosts})
