"""Renew what is due, so that an overlay that nobody touches lives on."""

from __future__ import annotations

from proactive_tasks.overlay.result import Result
from proactive_tasks.pki.issuing import issue
from proactive_tasks.scheduler.context import Context


def maintain_overlay(context: Context, *, overlay: str = "", new_authority: bool = False) -> Result:
    """Issue anew the certificates and the revocation list whose time has come, and the authority's successor.

    Args:
        context: store and vault.
        overlay: which.
        new_authority: let the authority give way to a new one, whatever its age. The next runs complete that.

    Returns:
        As replicas, all gateways: one that was off when its certificate was issued still has to get it, and those that
        have everything are only asked.
    """
    overlay = context.overlay(overlay)
    with context.store.lease(f"pki/{overlay}", context.job):
        done = issue(context.store, overlay, context.vault, context.actor, new_authority=new_authority)
    result = Result("maintain_overlay", changed=bool(done), difference=done or ["nothing is due"])
    result.facts = {"overlay": overlay}
    result.replicas = context.each_gateway(overlay)
    result.variables = {"NEW_AUTHORITY": "false"}  # asked for once, not at each turn of the loop
    return result
