"""What a cloud's model means for the kernel, and what lies between two such states: no network is made here."""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proactive_tasks.lab.cloud import filters
from proactive_tasks.lab.cloud.model import (
    ALL,
    ANYWHERE,
    BLOCKS,
    INTERNET,
    NOWHERE,
    Cloud,
    Domain,
    Nic,
    Route,
    Rule,
    Segment,
    Server,
)
from proactive_tasks.lab.cloud.wiring import Key, Plan, difference, port, table, world
from proactive_tasks.lab.names import CloudNames, LabNames
from proactive_tasks.overlay.errors import InputError

NAMES = CloudNames("tables", "aws")
INTERNET_SPACE = NAMES.internet
SPACE = NAMES.domain("vpc")
NET = IPv4Network("10.1.0.0/24")
GATEWAY, HOST, OTHER = (
    Nic("eni-g", "edge", NET[254], server="i-g", interface="ens5", public=IPv4Address("192.0.2.5")),
    Nic("eni-h", "hosts", NET[4], server="i-h", interface="ens5"),
    Nic("eni-o", "hosts", NET[5], server="i-o", interface="ens5"),
)
DOMAIN = Domain("vpc", (NET,), internet=True)
EDGE = Segment("edge", "vpc", IPv4Network("10.1.0.240/28"), NET[241], (Route(ANYWHERE, INTERNET),))
HOSTS = Segment("hosts", "vpc", IPv4Network("10.1.0.0/25"), NET[1], (Route(IPv4Network("10.0.0.0/8"), NET[254]),))
CLOUD = Cloud(
    (DOMAIN,),
    (EDGE, HOSTS),
    (GATEWAY, HOST, OTHER),
    (Server("i-g", "gateway"), Server("i-h", "host1"), Server("i-o", "host2")),
)


def wanted(cloud: Cloud = CLOUD, internet: str = "router-1") -> dict[Key, tuple[str, ...]]:
    return world(cloud, NAMES, internet)


def without(cloud: Cloud, name: str) -> Cloud:
    return Cloud(*(tuple(each for each in getattr(cloud, part) if each.name != name) for part in Cloud.__slots__))


def with_changed(cloud: Cloud, name: str, **values: object) -> Cloud:
    return Cloud(
        *(
            tuple(replace(each, **values) if each.name == name else each for each in getattr(cloud, part))
            for part in Cloud.__slots__
        )
    )


def routes(segment: str, cloud: Cloud = CLOUD) -> dict[str, str]:
    """A segment's table: prefix to target, interfaces by the names of what is behind them."""
    known = {port(nic.name): nic.name for nic in cloud.nics} | {filters.UPLINK: "uplink"}
    found = {}
    for key, value in wanted(cloud).items():
        if key.kind == "route" and key.space == SPACE and key.name.split()[0] == table(segment):
            found[key.name.split()[1]] = " ".join(known.get(word, word) for word in value[1].split())
    return found


# --- what the kernel is to have

LOCAL = {"10.1.0.4/32": "dev eni-h", "10.1.0.5/32": "dev eni-o", "10.1.0.254/32": "dev eni-g"}
UNREACHABLE = {"10.1.0.0/24": "unreachable", "0.0.0.0/0": "unreachable"}
VIA_GATEWAY = "via 10.1.0.254 dev eni-g onlink"


@pytest.mark.parametrize(
    ("given_routes", "domain", "more"),
    [
        ((), DOMAIN, {}),
        ((Route(IPv4Network("10.0.0.0/8"), NET[254]),), DOMAIN, {"10.0.0.0/8": VIA_GATEWAY}),
        ((Route(ANYWHERE, NET[254]),), DOMAIN, {"0.0.0.0/0": VIA_GATEWAY}),
        ((Route(ANYWHERE, INTERNET),), DOMAIN, {"0.0.0.0/0": "via 169.254.0.1 dev uplink onlink"}),
        ((Route(ANYWHERE, INTERNET),), replace(DOMAIN, internet=False), {"0.0.0.0/0": "blackhole"}),
        (
            (Route(ANYWHERE, INTERNET),),
            replace(DOMAIN, internet=False, masquerade=IPv4Address("192.0.2.9")),
            {"0.0.0.0/0": "via 169.254.0.1 dev uplink onlink"},
        ),
        ((Route(ANYWHERE, NOWHERE),), DOMAIN, {"0.0.0.0/0": "blackhole"}),
        ((Route(ANYWHERE, NET[77]),), DOMAIN, {"0.0.0.0/0": "blackhole"}),  # nobody has that address
        # The whole address space sent to an appliance, as Azure allows: it goes before what the domain does itself.
        ((Route(NET, NET[254]),), DOMAIN, {"10.1.0.0/24": VIA_GATEWAY, **dict.fromkeys(LOCAL)}),
        ((Route(IPv4Network("10.1.0.4/31"), NET[254]),), DOMAIN,
         {"10.1.0.4/31": VIA_GATEWAY, "10.1.0.4/32": None, "10.1.0.5/32": None}),
    ],
)  # fmt: skip
def test_the_longest_prefix_decides_and_a_route_before_the_address_space(given_routes, domain, more):
    cloud = replace(CLOUD, domains=(domain,))
    found = routes("hosts", with_changed(cloud, "hosts", routes=given_routes))
    expected = {**LOCAL, **UNREACHABLE, **more}
    assert found == {prefix: target for prefix, target in expected.items() if target}


def test_a_route_to_a_gateway_that_is_off_is_a_black_hole():
    assert routes("hosts", with_changed(CLOUD, "i-g", running=False))["10.0.0.0/8"] == "blackhole"
    assert routes("hosts", without(CLOUD, "i-g"))["10.0.0.0/8"] == "blackhole"
    assert "10.1.0.254/32" not in routes("hosts", without(CLOUD, "i-g"))


def test_only_what_is_attached_to_a_running_server_has_a_port():
    def ports(cloud: Cloud) -> set[str]:
        return {key.name for key in wanted(cloud) if key.kind == "port"}

    assert ports(CLOUD) == {port("eni-g"), port("eni-h"), port("eni-o")}
    assert ports(with_changed(CLOUD, "eni-h", server="")) == {port("eni-g"), port("eni-o")}
    assert ports(with_changed(CLOUD, "i-h", running=False)) == {port("eni-g"), port("eni-o")}
    assert ports(with_changed(CLOUD, "eni-h", segment="gone")) == {port("eni-g"), port("eni-o")}


def test_a_server_gets_its_address_and_one_default_route_as_by_dhcp():
    second = Nic("eni-g2", "hosts", NET[100], server="i-g", interface="ens6")
    cloud = replace(CLOUD, nics=(second, *CLOUD.nics))
    made = wanted(with_changed(cloud, "hosts", router=None))
    assert made[Key("port", SPACE, port("eni-g2"))][1:] == ("ens6", "10.1.0.100/25", table("hosts"), "")
    assert made[Key("port", SPACE, port("eni-g"))][1:] == ("ens5", "10.1.0.254/28", table("edge"), "10.1.0.241")
    made = wanted(cloud)
    assert made[Key("port", SPACE, port("eni-g2"))][4] == "10.1.0.1"
    assert made[Key("port", SPACE, port("eni-g"))][4] == ""


def test_the_router_answers_for_the_default_gateway_unless_that_is_a_server():
    assert Key("address", SPACE, "10.1.0.1") in wanted()
    made = wanted(with_changed(CLOUD, "hosts", router=NET[254]))
    assert Key("address", SPACE, "10.1.0.254") not in made
    assert made[Key("port", SPACE, port("eni-h"))][4] == "10.1.0.254"


def test_public_addresses_lead_to_the_domain_that_has_them_while_it_is_connected():
    def public(cloud: Cloud) -> set[str]:
        return {key.name for key in wanted(cloud) if key.kind == "route" and key.space == INTERNET_SPACE}

    assert public(CLOUD) == {"main 192.0.2.5/32"}
    assert public(replace(CLOUD, domains=(replace(DOMAIN, internet=False),))) == set()
    both = replace(CLOUD, domains=(replace(DOMAIN, masquerade=IPv4Address("192.0.2.9")),))
    assert public(both) == {"main 192.0.2.5/32", "main 192.0.2.9/32"}
    assert public(with_changed(CLOUD, "eni-g", public=None)) == set()


# --- the rules

NICS = {port(nic.name): nic for nic in CLOUD.nics}
SSH = Rule(accept=True, remote=IPv4Network("198.18.255.2/32"), protocol=6, ports=(22, 22))


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        (Rule(accept=True), ""),
        (Rule(accept=False), ""),
        (SSH, "ip saddr 198.18.255.2/32 meta l4proto 6 th dport 22"),
        (Rule(accept=True, protocol=17, ports=(1194, 1300)), "meta l4proto 17 th dport 1194-1300"),
        (Rule(accept=True, protocol=17, ports=(0, 65535)), "meta l4proto 17"),
        (Rule(accept=True, protocol=50), "meta l4proto 50"),
        (Rule(accept=True, protocol=1, ports=(8, 0)), "meta l4proto 1"),
        (Rule(accept=True, remote=IPv4Network("10.0.0.0/8")), "ip saddr 10.0.0.0/8"),
    ],
)
def test_a_rule_says_what_fits_it(rule, words):
    assert filters.conditions(rule, "saddr") == words


def test_the_first_rule_that_fits_decides_and_none_that_fits_refuses():
    nic = replace(HOST, inbound=((Rule(accept=False, protocol=1), Rule(accept=True, protocol=6), SSH),))
    text = filters.ruleset(DOMAIN, {"n1": nic})
    assert (
        "chain in0_n1 {\n    meta l4proto 1 drop\n    meta l4proto 6 return\n"
        "    ip saddr 198.18.255.2/32 meta l4proto 6 th dport 22 return\n    drop\n  }" in text
    )


def test_each_list_must_accept_and_one_that_accepts_all_costs_nothing():
    text = filters.ruleset(DOMAIN, {"n1": replace(HOST, inbound=((SSH,), ALL, ()), outbound=(ALL,))})
    assert "chain in0_n1" in text
    assert "chain in1_n1 {\n    drop\n  }" in text
    assert "in2_n1" not in text
    assert "out0_n1" not in text


def test_sources_and_destinations_are_checked_before_what_is_established_passes():
    text = filters.ruleset(DOMAIN, {"n1": HOST})
    assert "ip saddr { 10.1.0.4/32 } return\n    drop" in text
    assert "ip daddr { 10.1.0.4/32 } return\n    drop" in text
    forward = text[text.index("chain forward") :]
    assert forward.index("jump src_n1") < forward.index("jump dst_n1") < forward.index("ct state established")
    lifted = filters.ruleset(DOMAIN, {"n1": replace(HOST, sends=(ANYWHERE,), receives=(IPv4Network("10.0.0.0/8"),))})
    assert "src_n1" not in lifted
    assert "ip daddr { 10.0.0.0/8 } return" in lifted


def test_a_domain_that_is_not_connected_translates_nothing():
    text = filters.ruleset(replace(DOMAIN, internet=False), NICS)
    assert "nat" not in text
    assert "iifname" in text
    assert f'oifname "{filters.UPLINK}"' not in text


prefixes = st.tuples(st.integers(0, 2**32 - 1), st.integers(0, 32)).map(
    lambda pair: IPv4Network((pair[0] >> (32 - pair[1]) << (32 - pair[1]), pair[1]))
)
some_rules = st.builds(
    Rule,
    accept=st.booleans(),
    remote=prefixes,
    protocol=st.sampled_from([None, 1, 6, 17, 50]),
    ports=st.none() | st.tuples(st.integers(0, 65535), st.integers(0, 65535)).map(lambda pair: tuple(sorted(pair))),
)
lists = st.lists(st.lists(some_rules, max_size=4).map(tuple), max_size=3).map(tuple)
networks = st.lists(prefixes, max_size=3).map(tuple)


@st.composite
def nics(draw: st.DrawFn, number: int) -> Nic:
    return Nic(
        f"nic-{number}",
        draw(st.sampled_from(["edge", "hosts"])),
        NET[10 + number],
        server=draw(st.sampled_from(["i-g", "i-h", "i-o", ""])),
        interface=f"eth{number}",
        inbound=draw(lists),
        outbound=draw(lists),
        sends=draw(networks),
        receives=draw(networks),
        public=draw(st.sampled_from([None, BLOCKS["aws"][number]])),
    )


@st.composite
def clouds(draw: st.DrawFn) -> Cloud:
    domain = replace(
        DOMAIN, internet=draw(st.booleans()), masquerade=draw(st.sampled_from([None, IPv4Address("192.0.2.200")]))
    )
    via = st.sampled_from([INTERNET, NOWHERE, *(NET[10 + number] for number in range(4))])
    table_ = st.lists(st.builds(Route, prefixes, via), max_size=3, unique_by=lambda route: route.prefix).map(tuple)
    segments = [replace(segment, routes=draw(table_)) for segment in (EDGE, HOSTS)]
    servers = [replace(server, running=draw(st.booleans())) for server in CLOUD.servers if draw(st.booleans())]
    made = [draw(nics(number)) for number in range(draw(st.integers(0, 4)))]
    domains = (domain,) if draw(st.booleans()) else ()
    return Cloud(domains, tuple(segments), tuple(made), tuple(servers))


@pytest.mark.skipif(os.geteuid() != 0 or shutil.which("nft") is None, reason="needs root and nft")
@settings(max_examples=40)
@given(clouds())
def test_every_ruleset_is_one_that_nft_takes(cloud):
    texts = [value[0] for key, value in wanted(cloud).items() if key.kind == "filter"]
    for text in texts:
        done = subprocess.run(["unshare", "--net", "nft", "-c", "-f", "-"], input=text, capture_output=True, text=True)
        assert done.returncode == 0, (done.stderr, text)


# --- what lies between two states


def lines(plan: Plan) -> list[str]:
    return [f"{batch.space.split('.')[2]}: {line}" for batch in (*plan.unmake, *plan.fill) for line in batch.lines]


@given(clouds())
def test_nothing_lies_between_a_state_and_itself(cloud):
    plan = difference(wanted(cloud), wanted(cloud), INTERNET_SPACE)
    assert not plan.touched | plan.remade
    assert plan.unmake == plan.make == plan.fill == ()


def test_a_rule_that_changes_is_one_load_of_one_filter():
    new = with_changed(CLOUD, "eni-h", inbound=((SSH,),))
    plan = difference(wanted(), wanted(new), INTERNET_SPACE)
    assert plan.unmake == plan.make == ()
    (batch,) = plan.fill
    assert (batch.tool, batch.space) == ("nft", SPACE)


def test_a_route_that_changes_is_one_line():
    plan = difference(wanted(), wanted(with_changed(CLOUD, "hosts", routes=())), INTERNET_SPACE)
    assert [batch.lines for batch in plan.unmake] == [(f"route del 10.0.0.0/8 table {table('hosts')}",)]
    assert plan.fill == plan.make == ()
    plan = difference(wanted(with_changed(CLOUD, "hosts", routes=())), wanted(), INTERNET_SPACE)
    line = f"route replace 10.0.0.0/8 via 10.1.0.254 dev {port('eni-g')} onlink table {table('hosts')}"
    assert [batch.lines for batch in plan.fill] == [(line,)]


def test_what_rests_on_an_interface_that_is_made_anew_is_made_anew():
    known = {**wanted(), Key("port", SPACE, port("eni-g")): None}
    plan = difference(known, wanted(), INTERNET_SPACE)
    told = lines(plan)
    assert plan.make == ()
    assert any(f"link del {port('eni-g')}" in line for line in told)
    assert any("route replace 10.0.0.0/8 via 10.1.0.254" in line for line in told)
    assert not any(port("eni-h") in line and "replace" in line for line in told)


def test_links_to_another_internet_are_made_anew():
    plan = difference(wanted(internet="router-1"), wanted(internet="router-2"), INTERNET_SPACE)
    told = lines(plan)
    assert any(f"link add {filters.UPLINK} type veth" in line for line in told)
    assert any("_internet: route replace 192.0.2.5/32" in line for line in told)
    assert not any("link add n" in line for line in told)


@settings(max_examples=60)
@given(clouds(), clouds())
def test_the_way_to_a_state_leads_there_whatever_was_before(before, after):
    """Play the commands on a model of the kernel: what it then has is what was wanted."""
    kernel = Kernel()
    kernel.play(difference({}, wanted(before), INTERNET_SPACE))
    assert kernel.links() == links(before)
    kernel.play(difference(wanted(before), wanted(after), INTERNET_SPACE))
    assert kernel.links() == links(after)
    assert kernel.routes == expected_routes(after)
    assert kernel.filters == {key.space: value[0] for key, value in wanted(after).items() if key.kind == "filter"}


@settings(max_examples=60)
@given(clouds(), clouds(), st.data())
def test_the_way_to_a_state_leads_there_when_parts_are_doubtful(before, after, data):
    kernel = Kernel()
    kernel.play(difference({}, wanted(before), INTERNET_SPACE))
    there = wanted(before)
    doubtful = data.draw(st.sets(st.sampled_from(sorted(there)))) if there else set()
    for key in sorted(doubtful):  # some of it is not there at all
        if key.kind in {"port", "uplink"} and data.draw(st.booleans()):
            kernel.lose(key.space, key.name if key.kind == "port" else filters.UPLINK)
    kernel.play(difference({**there, **dict.fromkeys(doubtful)}, wanted(after), INTERNET_SPACE))
    assert kernel.links() == links(after)
    assert kernel.routes == expected_routes(after)


def links(cloud: Cloud) -> set[tuple[str, str]]:
    ends = set()
    for key, value in wanted(cloud).items():
        if key.kind == "port":
            ends |= {(key.space, key.name), (value[0], value[1])}
        elif key.kind == "uplink":
            ends |= {(key.space, filters.UPLINK), (INTERNET_SPACE, key.name)}
    return ends


def expected_routes(cloud: Cloud) -> dict[tuple[str, str], str]:
    return {(key.space, key.name): value[1] for key, value in wanted(cloud).items() if key.kind == "route"}


class Kernel:
    """As much of a kernel as the commands need; strict where they are not forced."""

    def __init__(self) -> None:
        self.spaces = {INTERNET_SPACE}
        self.peers: dict[tuple[str, str], tuple[str, str]] = {}
        self.routes: dict[tuple[str, str], str] = {}
        self.filters: dict[str, str] = {}

    def links(self) -> set[tuple[str, str]]:
        return set(self.peers)

    def lose(self, space: str, device: str) -> None:
        for end in {(space, device), self.peers.get((space, device), (space, device))} & set(self.peers):
            del self.peers[end]
            for (where, name), target in list(self.routes.items()):
                if where == end[0] and f"dev {end[1]}" in f"{target} ".replace(" onlink ", ""):
                    del self.routes[where, name]

    def play(self, plan: Plan) -> None:
        for space in plan.remade & self.spaces:
            for end in [end for end in self.peers if end[0] == space]:
                self.lose(*end)
            self.routes = {key: target for key, target in self.routes.items() if key[0] != space}
            self.filters.pop(space, None)
            self.spaces.discard(space)
        for batch in plan.unmake:
            assert batch.force
            assert batch.space not in plan.remade
            for line in batch.lines:
                self.run(batch.space, line, force=True)
        self.spaces |= {space for space, _ in plan.make}
        for batch in plan.fill:
            assert batch.space in self.spaces
            assert not batch.force
            if batch.tool == "nft":
                self.filters[batch.space] = batch.lines[0]
            else:
                for line in batch.lines:
                    self.run(batch.space, line, force=False)

    def run(self, space: str, line: str, *, force: bool) -> None:
        words = line.split()
        if words[:2] == ["link", "add"]:
            end, peer = (space, words[2]), (words[-1], words[7])
            assert peer[0] in self.spaces
            assert not {end, peer} & set(self.peers), line
            self.peers |= {end: peer, peer: end}
        elif words[:2] == ["link", "del"]:
            assert force or (space, words[2]) in self.peers
            self.lose(space, words[2])
        elif words[:2] == ["route", "replace"] and words[-2] == "table":
            device = words[words.index("dev") + 1] if "dev" in words else ""
            assert not device or (space, device) in self.peers, line
            kind = words[2] in {"unreachable", "blackhole"}
            prefix = words[3] if kind else words[2]
            target = words[2] if kind else " ".join(words[3:-2])
            self.routes[space, f"{words[-1]} {prefix}"] = target
        elif words[:2] == ["route", "del"]:
            assert force or (space, f"{words[-1]} {words[2]}") in self.routes
            self.routes.pop((space, f"{words[-1]} {words[2]}"), None)


# --- names

identifiers = st.text(min_size=1, max_size=80)


@given(identifiers, identifiers)
def test_any_identifier_has_names_of_its_own_that_fit_everywhere(one, other):
    for cloud in BLOCKS:
        names = CloudNames("clouds", cloud)
        server = names.server(one, label=other)
        assert len(server.site) <= 31
        assert len(server.machine) <= 63
        assert 0 < len(server.hostname) <= 63
        assert (server.namespace == names.server(other).namespace) == (one == other)
        assert server.namespace != names.domain(one)
        assert server.namespace.startswith(LabNames("clouds").prefix)
    assert len(port(one)) <= 15
    assert (port(one) == port(other)) == (one == other)
    assert 1000 <= int(table(one)) < 2**32


@pytest.mark.parametrize(
    ("label", "hostname"),
    [
        ("demo--aws-frankfurt--host1", "demo-aws-frankfurt-host1"),
        ("Ünï Code_1", "n-code-1"),
        ("", "aws-vm-"),
        ("---", "aws-vm-"),
        ("a" * 200, "a" * 63),
    ],
)
def test_a_machine_is_called_as_its_maker_called_it(label, hostname):
    assert NAMES.server("i-0abc123def456789a", label).hostname.startswith(hostname)


@pytest.mark.parametrize("name", ["", "a" * 40, "Clouds", "a_b", "../x", "a.b"])
def test_a_lab_with_an_impossible_name_is_refused(name):
    with pytest.raises(InputError, match="not a name"):
        CloudNames(name, "aws")
