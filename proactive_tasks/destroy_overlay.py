"""Prove that nothing of an overlay is left, and forget it."""

from __future__ import annotations

from proactive_tasks.clouds import DRIVERS
from proactive_tasks.overlay.errors import ProviderError
from proactive_tasks.overlay.result import Result
from proactive_tasks.scheduler.context import Context


def destroy_overlay(context: Context, *, overlay: str) -> Result:
    """Ask every provider that the overlay used for what is left, and drop its records when nothing is.

    Args:
        context: store and drivers.
        overlay: the overlay whose sites were released.

    Raises:
        ProviderError: a site could not be released, or a provider still holds something; each is named.
    """
    overlay = context.overlay(overlay)
    remaining = context.store.sites(overlay)
    left = [f"site {site.name}: {site.error or 'not released'}" for site in remaining]
    # Also those of sites that a trigger brought and that are released: their subnets are still recorded.
    providers = {entry.provider for entry in context.store.allocations(overlay)}
    providers |= {entry.provider for entry in context.store.spec(overlay).sites}
    regions = context.store.regions(overlay)
    for provider in sorted(providers & set(DRIVERS)):
        left += map(str, context.driver(provider).leftovers(overlay, regions.get(provider, [])))
    if left:
        raise ProviderError(f"overlay {overlay} is not gone: {'; '.join(left)}; run the destruction again")
    context.store.drop_overlay(overlay, context.actor)
    return Result(
        "destroy_overlay", changed=True, difference=[f"overlay {overlay}: destroyed"], facts={"leftovers": []}
    )
