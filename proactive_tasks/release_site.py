"""Remove everything that was made for a site, and prove it gone."""

from __future__ import annotations

from proactive_tasks.overlay.errors import InputError, ProviderError
from proactive_tasks.overlay.model import SiteState
from proactive_tasks.overlay.result import Result
from proactive_tasks.scheduler.context import Context


def leaving_sites(context: Context, *, overlay: str = "", dry_run: bool = False) -> Result:
    """List the sites that are on their way out, as replicas: each is to be released. In a dry run there are none."""
    if dry_run:
        return Result("leaving_sites")
    overlay = context.overlay(overlay)
    names = [site.name for site in context.store.sites(overlay) if site.state is SiteState.RELEASING]
    return Result("leaving_sites", replicas=[{"overlay": overlay, "site": name} for name in names])


def all_sites(context: Context, *, overlay: str) -> Result:
    """Set all sites of an overlay on their way out.

    Raises:
        InputError: the overlay was not named, or is not there.
    """
    if not overlay:
        raise InputError("which overlay is to be destroyed? Name it")
    overlay = context.overlay(overlay)
    for site in context.store.sites(overlay):
        context.store.start_release(overlay, site.name, context.actor)
    return leaving_sites(context, overlay=overlay)


def release_site(context: Context, *, overlay: str, site: str) -> Result:
    """Remove a leaving site's machines and networks from its provider, then its record from the store.

    Args:
        context: store and drivers.
        overlay: which.
        site: the site that leaves.

    Raises:
        ProviderError: something of it could not be removed; the record stays, so that the next run goes on.
    """
    with context.store.lease(f"gateway/{overlay}/{site}", context.job) as lease:
        # Looked up under the lock: another job may have released it meanwhile, or have brought it in again.
        known = next((entry for entry in context.store.sites(overlay) if entry.name == site), None)
        if known is None or known.state is not SiteState.RELEASING:
            return Result("release_site", facts={"site": site})
        driver = context.driver(known.provider)
        journal = context.store.journal(overlay, site, context.actor)
        removed = driver.release(overlay, known, journal, lambda line: context.progress(50, line))
        if driver.facts(overlay, known).gateway is not None:
            raise ProviderError(f"site {site}: its gateway is still there after its release; run this again")
        context.store.check_lease(lease)
        with context.store.write(overlay):
            if context.store.site(overlay, site).state is SiteState.RELEASING:  # else it was called back meanwhile
                context.store.drop_site(overlay, site, context.actor)
    return Result("release_site", changed=True, difference=removed, facts={"site": site})
