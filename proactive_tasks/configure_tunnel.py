"""Bring one gateway to what the store wants of it: all its tunnels, firewall, routing, certificates."""

from __future__ import annotations

import time
from collections.abc import Iterable
from datetime import datetime

from proactive_tasks.attach_hosts import attached
from proactive_tasks.gateway.access import open_session, placed
from proactive_tasks.gateway.config import render
from proactive_tasks.overlay.errors import LinkError, OverlayError
from proactive_tasks.overlay.model import Certificate, Link, LinkState, SiteState
from proactive_tasks.overlay.result import Result
from proactive_tasks.pki.issuing import current
from proactive_tasks.scheduler.context import Context
from proactive_tasks.store import Lease
from proactive_tasks.vpn.backend import GatewayView

LISTENERS_WAIT_S = 4.0
"""How long a dialer waits for its listeners; a dialer that starts before its listener costs a second or two."""


def configure_tunnel(context: Context, *, overlay: str, site: str, dry_run: bool = False) -> Result:
    """Send a gateway the difference between its files and what the store wants, as one bundle over one connection.

    Args:
        context: store, vault and drivers.
        overlay: which.
        site: whose gateway.
        dry_run: only tell.

    Then its application hosts are brought to the number wanted.

    Returns:
        The files and units that changed, and under `facts["links"]` the state of each link end.

    Raises:
        GatewayError: the gateway does not answer or refused the change; it stands as it did before.
        ProviderError: its application hosts could not be brought to the number wanted.
        LinkError: some of its links did not come back, and were put back as they were; the others have their change.
    """
    if dry_run:
        return _configure(context, overlay, site, None)
    with context.store.lease(f"gateway/{overlay}/{site}", context.job) as lease:
        try:
            result = _configure(context, overlay, site, lease)
        except OverlayError as error:
            context.store.update_site(overlay, site, context.actor, state=SiteState.ERROR, error=str(error))
            raise
        hosts = attached(
            context, overlay, site
        )  # now that they have a way to the Internet, which their first boot needs
        result.difference += hosts.difference
        result.changed |= hosts.changed
        return result


def _configure(context: Context, overlay: str, site: str, lease: Lease | None) -> Result:
    """Without a lock, only tell."""
    known = context.store.site(overlay, site)
    with open_session(context.store, overlay, known, context.driver(known.provider), context.vault) as session:
        trusts = max((authority.number for authority in context.store.authorities(overlay)), default=0)
        if lease is not None and (known.prefixes or known.shared):  # its networks may be others by now
            context.store.update_site(overlay, site, context.actor, **placed(session, known))
        wanted = view(context, overlay, site)
        links, config = wanted.links, render(wanted)
        difference = session.difference(config)
        result = Result("configure_tunnel", difference=[f"{site}: {line}" for line in difference])
        if lease is None:
            return result
        context.progress(30, f"{site}: {len(difference)} changes" if difference else f"{site}: nothing to change")
        if difference:
            context.store.check_lease(lease)
            session.apply(config, phase=1)
        for link in links:
            if link.listener == site and not link.listening:
                context.store.update_link(overlay, link.a, link.b, context.actor, listening=True)
        if difference:
            _await_listeners(context, overlay, site)
            context.store.check_lease(lease)
            names = {link.interface: link.name for link in links}
            if failed := session.apply(config, phase=2).failed:
                lines = [f"link {names.get(interface, interface)} {why}" for interface, why in failed.items()]
                raise LinkError(f"gateway {site}: {'; '.join(lines)}")
        result.changed = bool(difference)
        result.facts = {"site": site, "links": {link.name: str(link.state) for link in links}}
    for link in links:
        if link.state is LinkState.PLANNED:
            context.store.update_link(overlay, link.a, link.b, context.actor, state=LinkState.CONNECTING)
    context.store.update_site(overlay, site, context.actor, state=SiteState.CONNECTED, error="", trusts=trusts)
    return result


def view(context: Context, overlay: str, site: str) -> GatewayView:
    """All that the gateway's configuration depends on, out of the store. Links to sites that leave are left out."""
    store = context.store
    authorities = store.authorities(overlay)
    links, sites = store.links(overlay, site), store.sites(overlay)
    known = store.site(overlay, site)
    staying = {entry.name for entry in sites if entry.state is not SiteState.RELEASING}
    certificates = store.certificates(overlay)
    leaf = current(certificates).get(site)
    if not authorities or leaf is None:
        raise OverlayError(f"site {site}: it has no certificate yet; run the deployment again")
    return GatewayView(
        spec=store.spec(overlay),
        site=known,
        sites=[entry for entry in sites if entry.name in staying],
        links=[link for link in links if link.peer(site) in staying],
        certificate=leaf.pem,
        authority="".join(each.certificate for each in authorities),
        revocations="".join(each.crl for each in authorities),
        revoked={
            entry.name: [leaf.serial for leaf in certificates if leaf.site == entry.name and leaf.revoked_at]
            for entry in sites
        },
        proven=_proven(links, site, certificates),
        controllers=context.driver(known.provider).controllers(overlay),
    )


def _proven(links: Iterable[Link], site: str, certificates: Iterable[Certificate]) -> frozenset[str]:
    """The links that were seen to stand since a certificate of their peer was last revoked."""
    last = {leaf.site: leaf.revoked_at for leaf in sorted(certificates, key=_revoked_at) if leaf.revoked_at}
    return frozenset(
        link.name
        for link in links
        if link.state is LinkState.CONNECTED and link.since and link.since > last.get(link.peer(site), link.since)
    )


def _revoked_at(leaf: Certificate) -> datetime:
    return leaf.revoked_at or leaf.not_before


def _await_listeners(context: Context, overlay: str, site: str) -> None:
    """Wait until the listeners of the links that this gateway dials are there, or will not be there in time."""
    deadline = time.monotonic() + LISTENERS_WAIT_S
    while time.monotonic() < deadline:
        failed = {entry.name for entry in context.store.sites(overlay) if entry.state is SiteState.ERROR}
        if all(
            link.listening or link.listener in failed
            for link in context.store.links(overlay, site)
            if link.dialer == site
        ):
            return
        time.sleep(0.05)
