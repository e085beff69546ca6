"""Sign the gateways' certificate requests, and plan the links among them."""

from __future__ import annotations

from proactive_tasks.overlay.model import SiteState
from proactive_tasks.overlay.result import Result
from proactive_tasks.pki.issuing import issue
from proactive_tasks.scheduler.context import Context


def issue_certs(context: Context, *, overlay: str = "", dry_run: bool = False) -> Result:
    """Issue what is due, then plan the links in a transaction that sees all gateways that are ready.

    Args:
        context: store and vault.
        overlay: whose certificates.
        dry_run: only tell.

    Returns:
        The gateways as replicas: each is to be configured. Those that are not ready are left out, and stand as
        warnings.

    Raises:
        SecretError: the passphrase is missing or wrong.
        PkiError: a request is not acceptable.
    """
    if dry_run:
        return Result("issue_certs")
    overlay = context.overlay(overlay)
    with context.store.lease(f"pki/{overlay}", context.job):
        done = issue(context.store, overlay, context.vault, context.actor)
        before = {link.name for link in context.store.links(overlay)}
        links = context.store.plan_links(overlay, context.actor)
    done += [
        f"link {link.name}: planned, {link.listener} listens on port {link.port}"
        for link in links
        if link.name not in before
    ]
    result = Result("issue_certs", changed=bool(done), difference=done)
    result.replicas = context.each_gateway(overlay)
    ready = {replica["site"] for replica in result.replicas}
    result.warnings = [
        f"{site.name} is left out: {site.error or f'it is {site.state}'}"
        for site in context.store.sites(overlay)
        if site.name not in ready and site.state is not SiteState.RELEASING
    ]
    result.facts = {"overlay": overlay, "links": [link.name for link in links]}
    return result
