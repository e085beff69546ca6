"""Make a site's gateway, or find it, and have it make its keys."""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Network, collapse_addresses

from proactive_tasks.clouds.provider import GatewayOrder
from proactive_tasks.gateway.access import open_session, placed, public_key
from proactive_tasks.gateway.seed import forget_seed, seeded_host_key
from proactive_tasks.gateway.userdata import user_data
from proactive_tasks.overlay import consistency
from proactive_tasks.overlay.errors import GatewayError, OverlayError, ProviderError
from proactive_tasks.overlay.model import Site, SiteState
from proactive_tasks.overlay.result import Result
from proactive_tasks.overlay.spec import OverlaySpec
from proactive_tasks.pki.authority import check_request
from proactive_tasks.scheduler.context import Context
from proactive_tasks.store import Lease

BOOT_S = 180.0
"""How long a new machine may take until it answers."""


def provision_gateway(context: Context, *, overlay: str, site: str, dry_run: bool = False) -> Result:
    """Make the machine with its user-data; at the first connection replace its seeded host key; get its request.

    Args:
        context: store, vault and drivers.
        overlay: which.
        site: whose gateway.
        dry_run: only tell.

    Returns:
        What was made.

    Raises:
        ProviderError: the provider refused or failed.
        GatewayError: the machine does not answer, or not as itself.
        PkiError: it sent a request that nobody should sign.
    """
    if dry_run:
        return _provision(context, overlay, context.store.site(overlay, site), None)
    with context.store.lease(f"gateway/{overlay}/{site}", context.job) as lease:
        known = context.store.site(overlay, site)
        try:
            return _provision(context, overlay, known, lease)
        except OverlayError as error:
            context.store.update_site(overlay, site, context.actor, state=SiteState.ERROR, error=str(error))
            raise


def _provision(context: Context, overlay: str, site: Site, lease: Lease | None) -> Result:
    """Without a lock, only tell."""
    driver = context.driver(site.provider)
    facts = driver.facts(overlay, site)
    gateway = facts.gateway
    if gateway is not None and not site.host_key and not site.shared:
        raise GatewayError(
            f"site {site.name}: its provider holds a gateway of that name whose host key this store does not know; "
            "restore the store from its backup, or remove the machine (overlayctl scale-in), then deploy again"
        )
    result = Result("provision_gateway", facts={"site": site.name})
    if lease is None:
        changes = driver.difference(order_of(context, overlay, site), facts)
        result.difference = [change.line for change in changes]
        result.facts["calls"] = [change.call for change in changes if change.call]
        return result
    if site.shared:
        _known_host(context, overlay, site)
    order = order_of(context, overlay, site, _seed(context, overlay, site) if gateway is None else b"")
    changes = driver.difference(order, facts)
    unsettled = any(not made.identifier for made in context.store.resources(overlay, site.name))  # a run died there
    if changes or unsettled or gateway is None or gateway.public_address is None:
        context.progress(10, f"{site.name}: {'changing' if gateway else 'making'} the gateway")
        context.store.check_lease(lease)
        journal = context.store.journal(overlay, site.name, context.actor)
        gateway = driver.apply(order, facts, journal, lambda line: context.progress(30, f"{site.name}: {line}"))
        result.difference = [change.line for change in changes]
    if gateway.public_address is None:
        raise ProviderError(f"site {site.name}: its gateway {gateway.machine} got no public address; run this again")
    consistency.underlay(context.store.spec(overlay), site.name, gateway.public_address)
    fields = {"machine": gateway.machine, "public_address": gateway.public_address}
    context.store.update_site(overlay, site.name, context.actor, **fields)
    known = context.store.site(overlay, site.name)
    if not (known.request and not known.host_key_seeded):
        result.difference += _introduce(context, overlay, known)
    if known.state in {SiteState.ALLOCATED, SiteState.ERROR}:
        context.store.update_site(overlay, site.name, context.actor, state=SiteState.PROVISIONED, error="")
    result.changed = bool(result.difference)
    return result


def order_of(context: Context, overlay: str, site: Site, user_data: bytes = b"") -> GatewayOrder:
    """What is wanted of a site's provider; without user-data for a gateway that is there already."""
    spec, key = context.store.spec(overlay), public_key(context.store, overlay, context.vault)
    return wanted_of(context, spec, context.store.sites(overlay), site, key, user_data)


def wanted_of(
    context: Context, spec: OverlaySpec, sites: Iterable[Site], site: Site, ssh_key: str, user_data: bytes = b""
) -> GatewayOrder:
    """The same, of an overlay that may not be in the store yet."""
    others = [prefix for other in sites if other.name != site.name for prefix in other.announced]
    controllers = [*spec.controllers, *map(IPv4Network, context.driver(site.provider).controllers(spec.overlay))]
    return GatewayOrder(
        spec.overlay,
        site,
        user_data,
        routes=tuple(collapse_addresses([spec.network, *others])),
        controllers=tuple(collapse_addresses(controllers)),
        ssh_key=ssh_key,
        transit=spec.transit_network,
    )


def _known_host(context: Context, overlay: str, site: Site) -> None:
    """A machine that was there before keeps its own host key, which the specification tells."""
    line = " ".join(str(site.options["host_key"]).split()[:2])
    context.store.update_site(overlay, site.name, context.actor, host_key=line, host_key_seeded=False)


def _seed(context: Context, overlay: str, site: Site) -> bytes:
    """User-data with a host key in it, whose public half is recorded before any machine can show it."""
    if site.shared:  # it has its user-data, if any, behind it
        context.store.update_site(overlay, site.name, context.actor, request="")
        return b""
    private, _ = seeded_host_key(context.store, overlay, site, context.vault, context.actor)
    driver = context.driver(site.provider)
    controllers = [*map(str, context.store.spec(overlay).controllers), *driver.controllers(overlay)]
    return user_data(overlay, site, public_key(context.store, overlay, context.vault), private, controllers)


def _introduce(context: Context, overlay: str, site: Site) -> list[str]:
    """The first connection: a host key that user-data never held, and the gateway's own key and request."""
    driver = context.driver(site.provider)
    with open_session(context.store, overlay, site, driver, context.vault, BOOT_S) as session:
        context.progress(70, f"{site.name}: the gateway answers")
        session.ready(BOOT_S)
        context.store.update_site(overlay, site.name, context.actor, **placed(session, site))
        request = session.make_key(site.name, context.store.spec(overlay).key_algorithm)
        check_request(site.name, request)  # one that cannot be signed is this site's fault, and none of the others'
        done = [f"gateway {site.name}: key made, request sent"]
        if site.host_key_seeded:
            # Both keys are recorded until the gateway has switched, so that a crash on either side locks nobody out.
            fresh = session.prepare_host_key()
            both = "\n".join(dict.fromkeys([site.host_key, fresh]))
            context.store.update_site(overlay, site.name, context.actor, host_key=both)
            session.switch_host_key()
            done.append(f"gateway {site.name}: seeded host key replaced")
            context.store.update_site(
                overlay, site.name, context.actor, host_key=fresh, host_key_seeded=False, request=request
            )
            forget_seed(context.store, overlay, site, context.actor)
        else:
            context.store.update_site(overlay, site.name, context.actor, request=request)
    return done
