"""Numbers are given once, links follow the topology, and the plan of an applied plan is empty."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address, IPv4Network
from itertools import combinations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proactive_tasks.overlay import consistency, topology
from proactive_tasks.overlay.errors import NumberingError, SpecificationError
from proactive_tasks.overlay.model import Link, LinkState, Origin, Site, SiteState
from proactive_tasks.overlay.numbering import FIRST_ASN, PROVIDERS, Ledger, Split, assignable, gateway, standby
from proactive_tasks.overlay.plan import Action, Change, Plan, difference
from proactive_tasks.overlay.spec import OverlaySpec, load_spec
from proactive_tasks.overlay.topology import Node

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
SMALL = Split(IPv4Network("10.0.0.0/8"), 8, 2, 14, PROVIDERS)


def test_the_gateway_has_the_last_usable_address_and_its_standby_the_one_before() -> None:
    subnet = IPv4Network("10.1.0.0/24")
    assert (gateway(subnet), standby(subnet)) == (IPv4Address("10.1.0.254"), IPv4Address("10.1.0.253"))


@pytest.mark.parametrize(
    ("provider", "first", "last"),
    [
        ("aws", 4, 126),
        ("azure", 4, 126),
        ("openstack", 3, 252),
        ("lab", 1, 252),
        ("edge", 1, 252),
        ("cloudstack", 1, 252),
    ],
)
def test_addresses_that_a_provider_or_the_gateway_needs_are_never_promised(
    provider: str, first: int, last: int
) -> None:
    subnet = IPv4Network("10.1.0.0/24")
    promised = assignable(provider, subnet)
    assert (promised[0], promised[-1]) == (int(subnet[first]), int(subnet[last]))


def test_deployments_are_given_from_zero_and_end_with_a_clear_message() -> None:
    ledger = Ledger(SMALL, HOUR)
    assert [ledger.allocate(f"site{n}", "lab", NOON).deployment for n in range(4)] == [0, 1, 2, 3]
    with pytest.raises(NumberingError, match=r"site4: provider lab has no free deployment left \(4 of 10.0.0.0/8"):
        ledger.allocate("site4", "lab", NOON)
    ledger.release("site2", NOON)
    with pytest.raises(NumberingError, match="wait until 13:00:00 UTC"):
        ledger.allocate("site4", "lab", NOON + HOUR / 2)
    assert ledger.allocate("site4", "lab", NOON + HOUR).deployment == 2


def test_a_site_that_comes_back_gets_its_own_subnet_though_it_rests() -> None:
    ledger = Ledger(SMALL, HOUR)
    old = [ledger.allocate(name, "lab", NOON) for name in ("one", "two")]
    ledger.release("one", NOON)
    ledger.release("two", NOON)
    assert ledger.allocate("two", "lab", NOON) == old[1]
    assert ledger.allocate("three", "lab", NOON).deployment == 2


def test_a_subnet_that_an_adopted_network_covers_is_passed_over() -> None:
    ledger = Ledger(SMALL, HOUR)
    ledger.adopt("campus", "edge", IPv4Network("10.250.64.0/20"), NOON)
    assert ledger.allocate("one", "lab", NOON).deployment == 0
    assert ledger.allocate("two", "lab", NOON).deployment == 2
    with pytest.raises(NumberingError, match=r"overlaps 10\.250\.0\.0/18 of site one"):
        ledger.adopt("branch", "edge", IPv4Network("10.250.1.0/24"), NOON)


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["allocate", "release", "adopt", "disown"]),
        st.integers(0, 5),
        st.sampled_from(["lab", "aws"]),
        st.sampled_from(["10.250.0.0/19", "10.250.64.0/18", "10.1.192.0/20", "172.16.0.0/16", "172.16.5.0/24"]),
        st.integers(0, 40),
    ),
    max_size=30,
)


@given(STEPS)
@settings(max_examples=150)
def test_whatever_comes_and_goes_no_two_prefixes_overlap_and_none_is_reused_early(
    steps: Sequence[tuple[str, int, str, str, int]],
) -> None:
    ledger, at = Ledger(SMALL, HOUR), NOON
    for action, number, provider, prefix, minutes in steps:
        at += timedelta(minutes=minutes)
        site, brought = f"site{number}", IPv4Network(prefix)
        before = list(ledger)
        living = any(a.site == site and a.deployment is not None and a.released_at is None for a in before)
        try:
            if action == "allocate" and not living:
                taken = ledger.allocate(site, provider, at)
                for old in before:
                    if old.prefix.overlaps(taken.prefix):
                        assert old.released_at is not None
                        assert old.site == site or at - old.released_at >= HOUR
            elif action == "adopt":
                ledger.adopt(site, provider, brought, at)
            elif action == "release":
                ledger.release(site, at)
            else:
                ledger.disown(site, brought)
        except NumberingError:
            assert list(ledger) == before
        assert not any(a.prefix.overlaps(b.prefix) for a, b in combinations(ledger, 2))
        assert list(Ledger(SMALL, HOUR, ledger)) == list(ledger)


def nodes(count: int, parents: dict[int, int] | None = None) -> list[Node]:
    named = {child: f"s{parent}" for child, parent in (parents or {}).items()}
    return [Node(f"s{order}", order, named.get(order)) for order in range(count)]


@pytest.mark.parametrize(
    ("kind", "count", "expected"),
    [
        ("mesh", 3, [("s0", "s1"), ("s0", "s2"), ("s1", "s2")]),
        ("star", 3, [("s0", "s1"), ("s0", "s2")]),
        ("tree", 5, [("s0", "s1"), ("s0", "s2"), ("s1", "s3"), ("s1", "s4")]),
        ("on-demand", 3, []),
        ("mesh", 1, []),
        ("star", 1, []),
        ("tree", 1, []),
        ("mesh", 0, []),
        ("star", 0, []),
        ("tree", 0, []),
    ],
)
def test_a_topology_connects_these_pairs(kind: str, count: int, expected: list[tuple[str, str]]) -> None:
    assert topology.links(kind, nodes(count)) == expected


def test_a_star_has_the_hub_that_was_named() -> None:
    assert topology.links("star", nodes(3), "s2") == [("s0", "s2"), ("s1", "s2")]
    with pytest.raises(SpecificationError, match="hub s9 is not a site"):
        topology.links("star", nodes(3), "s9")


def test_a_tree_has_the_parents_that_were_named() -> None:
    assert topology.links("tree", nodes(4, {1: 3, 3: 0})) == [("s0", "s2"), ("s0", "s3"), ("s1", "s3")]
    assert topology.links("tree", nodes(2, {0: 1})) == [("s0", "s1")]


@pytest.mark.parametrize("parents", [{0: 1, 1: 0}, {1: 1}, {1: 2, 2: 3, 3: 1}])
def test_parents_in_a_circle_are_refused(parents: dict[int, int]) -> None:
    with pytest.raises(SpecificationError, match="lead back to itself"):
        topology.links("tree", nodes(4 if 3 in parents else 2, parents))


@given(st.sets(st.integers(0, 40), min_size=1), st.sampled_from(["mesh", "star", "tree"]))
def test_every_site_reaches_every_other_whichever_sites_left(left: set[int], kind: str) -> None:
    there = [node for node in nodes(41) if node.order in left]
    pairs = topology.links(kind, there)
    assert len(pairs) == len(set(pairs)) == topology.count(kind, there)
    assert all(a < b for a, b in pairs)
    reached, waiting = set(), [there[0].name]
    while waiting:
        name = waiting.pop()
        reached.add(name)
        waiting += [pair[pair[0] == name] for pair in pairs if name in pair and pair[pair[0] == name] not in reached]
    assert reached == {node.name for node in there}


def spec_of(names: Sequence[str], kind: str = "mesh", **others: object) -> OverlaySpec:
    sites = [{"name": name, "provider": "lab"} for name in names]
    return OverlaySpec.model_validate({"version": 1, "overlay": "o", "topology": kind, "sites": sites, **others})


def applied(
    plan: Plan, wanted: OverlaySpec, sites: Sequence[Site], links: Sequence[Link], arrivals: int = 0
) -> tuple[list[Site], list[Link]]:
    """The world after a plan was carried out, object by object as the plan says."""
    known = {site.name: site for site in sites}
    tunnels = {link.name: link for link in links}
    subnets = {c.name: IPv4Network(c.after["prefix"]) for c in plan.changes if c.kind == "subnet" and c.after}
    for change in plan.changes:
        if change.kind == "site":
            _apply_site(change, wanted, known, subnets, arrivals)
            arrivals += change.action is Action.CREATE
        elif change.kind == "link" and change.action is Action.DELETE:
            del tunnels[change.name]
        elif change.kind == "link" and change.action is not Action.KEEP:
            a, b = change.name.split("--")
            tunnels[change.name] = Link(a, b, wanted.vpn, 0, a, 1195, LinkState.CONNECTED)
    return list(known.values()), list(tunnels.values())


def _apply_site(
    change: Change, wanted: OverlaySpec, known: dict[str, Site], subnets: dict[str, IPv4Network], arrivals: int
) -> None:
    if change.action is Action.DELETE:
        del known[change.name]
    if change.action in {Action.CREATE, Action.CHANGE}:
        spec, subnet = wanted.site(change.name), subnets[change.name]
        assert spec is not None
        index = (int(subnet.network_address) - int(wanted.network.network_address)) >> wanted.host_bits
        order = known[spec.name].order if spec.name in known else arrivals
        known[spec.name] = Site(
            spec.name,
            spec.provider,
            spec.region,
            Origin.FILE,
            index & 255,
            index,
            subnet,
            FIRST_ASN + index,
            spec.prefixes,
            spec.hosts,
            dict(spec.options),
            SiteState.CONNECTED,
            order=order,
        )


NAMES = st.lists(st.sampled_from([f"s{n}" for n in range(9)]), unique=True, max_size=7)


@given(st.lists(st.tuples(NAMES, st.booleans(), st.sampled_from(topology.TOPOLOGIES)), min_size=1, max_size=4))
@settings(max_examples=100)
def test_the_plan_of_an_applied_plan_is_empty(wishes: list[tuple[list[str], bool, str]]) -> None:
    sites: list[Site] = []
    links: list[Link] = []
    before, arrivals = None, 0
    for names, prune, kind in wishes:
        wanted = spec_of(names, kind)
        plan = difference(wanted, sites, links, before=before, arrivals=arrivals, prune=prune)
        sites, links = applied(plan, wanted, sites, links, arrivals)
        arrivals = max([arrivals, *(site.order + 1 for site in sites)])
        before = wanted
        again = difference(wanted, sites, links, before=before, arrivals=arrivals, prune=prune)
        assert again.empty, [str(change) for change in again.changes]
        assert again.counts[Action.KEEP] == len(list(again.changes))
        assert not any(a.subnet.overlaps(b.subnet) for a, b in combinations(sites, 2))
        if prune:
            assert {site.name for site in sites} == set(names)


def connected(*names: str, origin: Origin = Origin.FILE) -> list[Site]:
    plan = difference(spec_of(names))
    return [replace(site, origin=origin) for site in applied(plan, spec_of(names), [], [])[0]]


def actions(plan: Plan, kind: str) -> dict[str, Action]:
    return {change.name: change.action for change in plan.changes if change.kind == kind}


def test_a_site_that_left_the_file_is_deleted_only_with_prune() -> None:
    sites = connected("a", "b")
    links = [Link("a", "b", "openvpn", 0, "a", 1195, LinkState.CONNECTED)]
    kept = difference(spec_of(["a"]), sites, links, before=spec_of(["a"]))
    assert kept.empty
    assert "keep site b: left the specification; --prune removes it" in [str(change) for change in kept.changes]
    pruned = difference(spec_of(["a"]), sites, links, before=spec_of(["a"]), prune=True)
    assert actions(pruned, "site") == {"a": Action.KEEP, "b": Action.DELETE}
    assert actions(pruned, "subnet") == {"a": Action.KEEP, "b": Action.DELETE}
    assert actions(pruned, "link") == {"a--b": Action.DELETE}


@pytest.mark.parametrize("origin", [Origin.ELASTIC, Origin.PLAN])
def test_a_site_that_others_brought_is_never_the_file_s_to_remove(origin: Origin) -> None:
    sites = connected("a", "b", origin=origin)
    plan = difference(spec_of(["c"]), sites, prune=True)
    assert actions(plan, "site") == {"a": Action.KEEP, "b": Action.KEEP, "c": Action.CREATE}
    assert actions(plan, "link") == {"a--b": Action.CREATE, "a--c": Action.CREATE, "b--c": Action.CREATE}


def test_a_plan_tells_what_differs() -> None:
    [site] = connected("a")
    wanted = spec_of(["a"], bfd={"interval_ms": 50})
    broken = difference(wanted, [replace(site, state=SiteState.ERROR, hosts=3)], before=spec_of(["a"]))
    assert [str(change) for change in broken.changes] == [
        "change overlay o (bfd {'interval_ms': 180, 'multiplier': 5} -> {'interval_ms': 50, 'multiplier': 5})",
        "change site a (hosts 3 -> 0, state error -> connected)",
        "keep subnet a (prefix 10.250.0.0/24)",
    ]


def test_a_plan_of_new_sites_shows_the_subnets_that_they_will_get() -> None:
    plan = difference(load_spec("version: 1\noverlay: o\nsites:\n  - {name: a, provider: aws, region: r}\n"))
    assert [str(change) for change in plan.changes] == [
        "create overlay o (topology mesh, vpn openvpn)",
        "create site a (provider aws, region r)",
        "create subnet a (prefix 10.1.0.0/24)",
    ]


def test_a_link_that_is_down_or_of_another_back_end_is_a_change() -> None:
    sites = connected("a", "b")
    down = Link("a", "b", "ipsec", 0, "a", 1195, LinkState.ERROR)
    plan = difference(spec_of(["a", "b"]), sites, [down], before=spec_of(["a", "b"]))
    assert [str(change) for change in plan.links_changed] == [
        "change link a--b (backend ipsec -> openvpn, state error -> connected)"
    ]


def test_a_mesh_of_a_thousand_sites_is_planned_at_once() -> None:
    providers = ("aws", "azure", "openstack", "lab")
    sites = [{"name": f"s{n}", "provider": providers[n % 4]} for n in range(1000)]
    plan = difference(OverlaySpec.model_validate({"version": 1, "overlay": "big", "sites": sites}))
    assert len(plan.links_created) == 499_500
    assert plan.counts[Action.CREATE] == 499_500 + 2 * 1000 + 1


def test_a_gateway_behind_a_carrier_s_nat_is_refused_with_the_way_out() -> None:
    spec = spec_of(["a"])
    consistency.underlay(spec, "a", IPv4Address("198.18.0.2"))
    with pytest.raises(SpecificationError, match=r"site a: .* 100\.64\.3\.4 lies in transit_network .* deploy"):
        consistency.underlay(spec, "a", IPv4Address("100.64.3.4"))
