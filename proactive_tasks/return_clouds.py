"""Hand CLOUD_LIST back, with the subnet of each cloud, and tell where the plan's fragments are reached."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence

from proactive_tasks.overlay.errors import InputError
from proactive_tasks.overlay.model import Site, SiteState
from proactive_tasks.overlay.reconfiguration import Instance, Place, without_secrets
from proactive_tasks.overlay.result import Result
from proactive_tasks.reconfigure_overlay import Request, read, standing
from proactive_tasks.scheduler.context import Context
from proactive_tasks.store.placements import PlacementBook, counts

ADOPTED = ("vpc", "vnet", "network")
"""The options by which a site goes into a network that was there before: machines have that network's addresses."""


def return_clouds(
    context: Context,
    *,
    overlay: str = "",
    plan: str = "[]",
    cloud_list: str = "[]",
    released: list[str] | None = None,
) -> Result:
    """Fill in SUBNET_ID wherever the overlay has a network for further machines.

    Args:
        context: the store.
        overlay: which.
        plan: as `reconfigure_overlay` has it.
        cloud_list: likewise.
        released: the places whose sites leave: what CLOUD_LIST says of their subnets holds no more.

    Returns:
        As variables, in the job's result map and as facts: CLOUD_LIST, `network_<fragment>` for each fragment that
        runs, EDGE_GW_IPV4. The latter two are without what only the clouds are to know.
    """
    overlay = context.overlay(overlay)
    request = read(context, plan, cloud_list)
    sites = [site for site in context.store.sites(overlay) if site.state is SiteState.CONNECTED]
    result = Result("return_clouds")
    subnets = {cloud.place: "" for cloud in request.clouds.clouds if str(cloud.place) in (released or [])}
    for cloud in request.clouds.clouds:
        if (site := standing(sites, cloud.place)) is None:
            continue
        try:
            subnets[cloud.place] = context.network(overlay, site.name).subnet
        except InputError as error:  # an adopted network whose owner this node is not told
            result.warnings.append(f"cloud {cloud.CLOUD_NAME}: its SUBNET_ID is not known: {error}")
    placements = PlacementBook(context.store, overlay).placements()
    running = {one for one, count in placements.items() if count}
    running |= {move.comes for move in request.changes if move.comes}
    values = {
        **{f"network_{fragment}": where for fragment, where in _networks(sites, running)},
        "EDGE_GW_IPV4": _edge_gateway(sites, request),
    }
    entries = request.clouds.with_subnets(subnets)
    shown = without_secrets(entries)
    result.variables = {**values, "CLOUD_LIST": json.dumps(entries)}
    result.result_map = {**values, "CLOUD_LIST": json.dumps(shown)}
    result.facts = {"overlay": overlay, "CLOUD_LIST": shown, **values, "instances": counts(placements)}
    return result


def _networks(sites: Sequence[Site], running: Iterable[Instance]) -> Iterator[tuple[str, str]]:
    """Where the instances of each fragment have their addresses: at an edge device, or in the networks of its sites."""
    places: dict[str, list[Place]] = {}
    for one in sorted(running):
        places.setdefault(one.fragment, []).append(one.place)
    for fragment, at in places.items():
        found = [site for place in dict.fromkeys(at) if (site := standing(sites, place))]
        yield fragment, ",".join(dict.fromkeys(where for site in found for where in _addresses(site)))


def _addresses(site: Site) -> list[str]:
    if site.shared:
        return [str(site.gateway)]
    if any(site.options.get(option) for option in ADOPTED):
        return [str(prefix) for prefix in site.prefixes]
    return [str(site.subnet)]


def _edge_gateway(sites: Sequence[Site], request: Request) -> str:
    """The overlay address of the gateway of the plan's first edge device, or else of the oldest edge site."""
    edge = [site for site in sites if site.provider == "edge"]
    named = [standing(edge, move.target) for move in request.changes if move.target]
    first = next((site for site in [*named, *edge] if site), None)
    return str(first.gateway) if first else ""
