"""What must hold between the parts of a specification: each rule says what is wrong and what to do instead."""

from __future__ import annotations

from datetime import UTC, datetime
from ipaddress import IPv4Address, IPv4Network
from typing import TYPE_CHECKING

from proactive_tasks.overlay import topology
from proactive_tasks.overlay.checks import RuleError, lan, shown
from proactive_tasks.overlay.errors import OverlayError, SpecificationError
from proactive_tasks.overlay.numbering import ROUTED, SMALLEST_ROUTED, Ledger, assignable

if TYPE_CHECKING:
    from proactive_tasks.overlay.spec import OverlaySpec, SiteSpec
    from proactive_tasks.overlay.yamltext import Path


def check(spec: OverlaySpec) -> None:
    """What holds between the parts of a specification.

    Raises:
        RuleError: the part, and what is wrong with it.
    """
    _networks(spec)
    _providers(spec)
    _names(spec)
    _numbering(spec)
    _topology(spec)


def _networks(spec: OverlaySpec) -> None:
    split, free = spec.split, 32 - spec.network.prefixlen
    needed = split.provider_bits + split.deployment_bits + split.host_bits
    if needed > free:
        raise RuleError(
            f"{spec.network} has {free} bits, but provider_bits {split.provider_bits}, deployment_bits "
            f"{split.deployment_bits} and host_bits {split.host_bits} need {needed}; "
            "lower them or take a larger network",
            "network",
        )
    if spec.transit_network.overlaps(spec.network):
        raise RuleError(f"{spec.transit_network} overlaps network {spec.network}; choose another", "transit_network")


def _providers(spec: OverlaySpec) -> None:
    owners: dict[int, str] = {}
    used: dict[str, Path] = {}
    for index, site in enumerate(spec.sites):
        used.setdefault(site.provider, ("sites", index, "provider"))
    for index, row in enumerate(spec.elastic.sources):
        used.setdefault(row.provider, ("elastic", "sources", index, "provider"))
    for key in (*spec.providers, *used):
        where: Path = ("providers", key) if key in spec.providers else used[key]
        number = provider_number(spec, key, *where)
        if owners.setdefault(number, key) != key:
            raise RuleError(f"providers {owners[number]} and {key} both have number {number}; give one another", *where)


def provider_number(spec: OverlaySpec, of: str, *where: str | int) -> int:
    """A provider's number: the first and the last that its bits could say are not used."""
    number, highest = spec.split.providers[of], (1 << spec.provider_bits) - 2
    if not 1 <= number <= highest:
        raise RuleError(
            f"provider {of} has number {number}, but {spec.provider_bits} provider_bits leave 1 to {highest}; "
            f"set providers: {{{of}: NUMBER}} within that",
            *where,
        )
    return number


def _names(spec: OverlaySpec) -> None:
    seen: dict[str, int] = {}
    for index, site in enumerate(spec.sites):
        if site.name in seen:
            raise RuleError(f"site {site.name} is there twice; rename one", "sites", index, "name")
        seen[site.name] = index


def _numbering(spec: OverlaySpec) -> None:
    """A trial of the numbering: all that the sites bring, then a subnet for each."""
    ledger, start = Ledger(spec.split, spec.cooldown), datetime.fromtimestamp(0, UTC)
    for index, site in enumerate(spec.sites):
        for place, prefix_ in enumerate(site.prefixes):
            where: Path = ("sites", index, "prefixes", place)
            try:
                brought(spec, site.name, prefix_)
                ledger.adopt(site.name, site.provider, prefix_, start)
            except OverlayError as error:
                raise RuleError(str(error), *where) from None
    for index, site in enumerate(spec.sites):
        try:
            subnet = ledger.allocate(site.name, site.provider, start).prefix
        except OverlayError as error:
            raise RuleError(str(error), "sites", index) from None
        hosts_fit(site, subnet, "sites", index, "hosts")


def hosts_fit(site: SiteSpec, subnet: IPv4Network, *where: str | int) -> None:
    """A site's application hosts against the room in its subnet."""
    if site.provider in ROUTED and subnet.prefixlen > SMALLEST_ROUTED:
        raise RuleError(
            f"a site of {site.provider} needs a /{SMALLEST_ROUTED}, since its gateway has a subnet of its own, "
            f"but gets {subnet}; raise host_bits to 5 or more",
            *where[:-1],
        )
    room = len(assignable(site.provider, subnet))
    if site.hosts > room:
        raise RuleError(
            f"{site.hosts} hosts, but a /{subnet.prefixlen} of {site.provider} holds {room}; "
            "lower it or raise host_bits",
            *where,
        )


def brought(spec: OverlaySpec, site: str, network: IPv4Network) -> None:
    """A prefix that a site brings against the overlay's own networks."""
    lan(network)
    if spec.network.subnet_of(network):
        raise RuleError(
            f"{network} of site {site} covers the overlay's whole network {spec.network}; "
            "choose another network for the overlay"
        )
    if spec.transit_network.overlaps(network):
        raise RuleError(
            f"{network} of site {site} overlaps transit_network {spec.transit_network}; "
            "set transit_network to another network"
        )


def underlay(spec: OverlaySpec, site: str, address: IPv4Address) -> None:
    """A gateway's address in the Internet: tunnels to it cannot take their own addresses from around it."""
    if address in spec.transit_network:
        raise SpecificationError(
            f"site {site}: its gateway's address {address} lies in transit_network {spec.transit_network}, as behind a "
            "carrier's NAT; deploy the overlay with another transit_network, e.g. a free part of 172.16.0.0/12"
        )


def _topology(spec: OverlaySpec) -> None:
    names = {site.name for site in spec.sites}
    if spec.hub is not None and (spec.topology != "star" or spec.hub not in names):
        wrong = "is not a site" if spec.topology == "star" else f"has no meaning in topology {spec.topology}"
        raise RuleError(f"{shown(spec.hub)} {wrong}; remove it or correct it", "hub")
    for index, site in enumerate(spec.sites):
        if site.parent is not None and (spec.topology != "tree" or site.parent not in names):
            wrong = "is not a site" if spec.topology == "tree" else f"has no meaning in topology {spec.topology}"
            raise RuleError(f"{shown(site.parent)} {wrong}; remove it or correct it", "sites", index, "parent")
    nodes = [topology.Node(site.name, order, site.parent) for order, site in enumerate(spec.sites)]
    try:
        needed = topology.count(spec.topology, nodes)
    except OverlayError as error:
        raise RuleError(str(error), "sites") from None
    room = spec.transit_network.num_addresses // 2
    if needed > room:
        raise RuleError(
            f"{spec.transit_network} holds {room} tunnels, but the topology has {needed} links; take a larger one",
            "transit_network",
        )
