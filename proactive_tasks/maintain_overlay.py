"""Renew what is due, so that an overlay that nobody touches lives on."""

from __future__ import annotations

from proactive_tasks.overlay.result import Result
from proactive_tasks.pki.issuing import issue
from proactive_tasks.scheduler.context import Context


def maintain_overlay(context: Context, *, overlay: str = "") -> Result:
    """Issue anew the certificates and the revocation list whose time has come.

    Args:
        context: store and vault.
        overlay: which.

    Returns:
        As replicas, the gateways to configure: all of them if anything was issued, else none.
    """
    overlay = context.overlay(overlay)
    with context.store.lease(f"pki/{overlay}", context.job):
        done = issue(context.store, overlay, context.vault, context.actor)
    result = Result("maintain_overlay", changed=bool(done), difference=done or ["nothing is due"])
    result.facts = {"overlay": overlay}
    result.replicas = context.each_gateway(overlay) if done else []
    return result
