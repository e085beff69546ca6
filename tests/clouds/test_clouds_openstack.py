"""The driver of OpenStack against the real control plane; servers are noted, not booted."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import Any

import pytest

from proactive_tasks.clouds.openstack.driver import OpenStackProvider
from proactive_tasks.clouds.provider import NoJournal
from proactive_tasks.clouds.steps import SECRET
from proactive_tasks.lab.cloud.model import ANYWHERE, BLOCKS, INTERNET, Route
from proactive_tasks.overlay.errors import ProviderError
from proactive_tasks.overlay.model import Site
from tests.clouds.openstack_plane import (
    ADMIN,
    CONTROLLER,
    NETWORK,
    OVERLAY,
    USER_DATA,
    Plane,
    cloud,
    deploy,
    order,
    plane,
    site,
    watched,
)
from tests.clouds.trouble import Answer, Request, Verdict

__all__ = ["cloud", "plane"]
pytestmark = pytest.mark.timeout(1800)  # a first installation is among it

MAX_CALLS = 35
UNAUTHORIZED = Answer(401, {"Content-Type": "application/json"}, b'{"error": {"message": "token expired"}}')


def quiet(_line: str) -> None:
    pass


@pytest.fixture
def provider(cloud: Plane) -> OpenStackProvider:
    return OpenStackProvider(settle_s=1.0)


@pytest.fixture
def released(cloud: Plane, provider: OpenStackProvider) -> Iterator[Callable[[Site], Site]]:
    """Sites that are gone after the test, and nothing with them that stays."""
    sites = []

    def keep(of: Site) -> Site:
        sites.append(of)
        return of

    yield keep
    for of in sites:
        provider.release(OVERLAY, of, NoJournal(), quiet)
    assert provider.leftovers(OVERLAY, ["RegionOne"]) == []
    assert [line for line in cloud.holdings() if f" {OVERLAY}--" in line] == []


def test_a_site_is_made_by_few_calls_and_made_again_by_none(
    cloud: Plane, released: Callable[[Site], Site], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paris = released(site())
    with watched(cloud, tmp_path) as seen, monkeypatch.context() as patch:
        patch.setenv("OS_CLIENT_CONFIG_FILE", str(seen.cloud))
        provider = OpenStackProvider()
        facts = provider.facts(OVERLAY, paris)
        planned = provider.difference(order(paris, USER_DATA), facts)
        assert not seen.writes
        done: list[str] = []
        made = provider.apply(order(paris, USER_DATA), facts, NoJournal(), done.append)
        server_made = next(
            n for n, call in enumerate(seen.proxies[-1].calls) if call.method == "POST" and "/servers" in call.path
        )
        polls = [call for call in seen.proxies[-1].calls[server_made:] if "/servers/detail" in call.path]
        print(f"API calls of a site: {len(seen.calls) - len(polls)} and {len(polls)} polls")
        assert len(seen.calls) - len(polls) <= MAX_CALLS
        assert provider.calls == len(seen.calls)
        distinct = {(n, c.method, c.path, c.body) for n, proxy in enumerate(seen.proxies) for c in proxy.calls}
        assert len(distinct) == len(seen.calls) - len(polls)  # no call twice
        assert done == [change.line for change in planned]
        assert len(seen.writes) == len(planned) == len([change for change in planned if change.call])

        seen.forget()
        facts = provider.facts(OVERLAY, paris)
        assert facts.gateway == made
        assert made.public_address in BLOCKS["openstack"]
        assert provider.difference(order(paris), facts) == []
        assert provider.apply(order(paris), facts, NoJournal(), quiet) == made
        assert not seen.writes

    assert not any(USER_DATA.decode() in f"{change}{change.call}" for change in planned)
    assert any(f"user_data={SECRET}" in change.call for change in planned)

    told = cloud.told()
    (server,) = told.servers
    assert (server.label, server.user_data, server.running) == ("presto--paris--gateway", USER_DATA, True)
    wan, lan = sorted(told.nics, key=lambda nic: nic.interface)
    assert (wan.interface, wan.public, wan.sends) == ("ens3", made.public_address, ())
    assert (lan.interface, lan.address, lan.sends, lan.public) == ("ens4", paris.gateway, (ANYWHERE,), None)
    inner = next(segment for segment in told.segments if segment.network == paris.subnet)
    assert inner.router == paris.gateway
    assert set(inner.routes) == {Route(NETWORK, paris.gateway), Route(ANYWHERE, paris.gateway)}
    outer = next(segment for segment in told.segments if segment.name == wan.segment)
    assert outer.routes == (Route(ANYWHERE, INTERNET),)
    assert {domain.internet for domain in told.domains} == {True, False}


@pytest.fixture(scope="class")
def lyon(plane: Plane) -> Iterator[Site]:
    of = site("lyon", index=769)
    with pytest.MonkeyPatch.context() as patch:
        for name, value in plane.environment.items():
            patch.setenv(name, value)
        deploy(OpenStackProvider(), of)
        yield of
        OpenStackProvider().release(OVERLAY, of, NoJournal(), quiet)
    assert [line for line in plane.holdings() if "--lyon--" in line] == []


class TestOneSite:
    """What happens to a site that is there."""

    def test_drift_is_named_and_just_that_is_repaired(
        self, cloud: Plane, provider: OpenStackProvider, lyon: Site
    ) -> None:
        with contextlib.closing(cloud.connection(ADMIN)) as admin:
            network = admin.network
            names = {one.name: one for look in (network.networks, network.subnets, network.ports) for one in look()}
            (group,) = network.security_groups(name="presto--lyon--gateway")
            (rule,) = [r for r in group.security_group_rules if r["protocol"] == "esp"]
            network.delete_security_group_rule(rule["id"])
            network.update_subnet(names["presto--lyon--network"].id, host_routes=[])
            network.update_port(names["presto--lyon--lan"].id, allowed_address_pairs=[])
            network.set_tags(names["presto--lyon--wan"], ["mine"])
            (server,) = admin.compute.servers(all_projects=True, name="presto--lyon--gateway")
            admin.compute.stop_server(server)
            admin.compute.wait_for_server(server, "SHUTOFF", interval=1, wait=60)
            (address,) = network.ips(description="presto--lyon--gateway")
            network.update_ip(address, port_id=None)
        made, planned = deploy(provider, lyon)
        assert planned == [
            "security group presto--lyon--gateway: add esp from 0.0.0.0/0",
            "port presto--lyon--lan: set address pair 0.0.0.0/0",
            "subnet presto--lyon--network: set routes by the gateway",
            "floating IP presto--lyon--gateway: set to port presto--lyon--wan",
            "server presto--lyon--gateway: start",
            "port presto--lyon--wan: tag",
        ]
        assert made.running
        assert made.public_address == IPv4Address(address.floating_ip_address)
        assert deploy(provider, lyon)[1] == []
        with contextlib.closing(cloud.connection()) as own:
            assert "mine" in own.network.get_port(names["presto--lyon--wan"].id).tags  # somebody else's stays

    def test_a_controller_that_is_none_any_more_loses_its_rule(self, provider: OpenStackProvider, lyon: Site) -> None:
        moved = order(lyon, controllers=(IPv4Network("198.51.100.9/32"),))
        lines = [change.line for change in provider.difference(moved, provider.facts(OVERLAY, lyon))]
        assert lines == [
            "security group presto--lyon--gateway: add tcp 22-22 from 198.51.100.9/32",
            f"security group presto--lyon--gateway: remove rule 'SSH from a controller' from {CONTROLLER}",
        ]

    @pytest.mark.usefixtures("lyon")
    def test_hosts_come_and_go_by_their_number(self, cloud: Plane, provider: OpenStackProvider) -> None:
        two, one, none = (site("lyon", index=769, hosts=n) for n in (2, 1, 0))
        assert provider.attach(order(two), NoJournal(), quiet) == [
            "host presto--lyon--host1: made",
            "host presto--lyon--host2: made",
        ]
        assert provider.attach(order(two), NoJournal(), quiet) == []
        probes = provider.hosts(OVERLAY, two)
        assert [probe.name for probe in probes] == ["lyon/host1", "lyon/host2"]
        assert all(probe.address in two.subnet for probe in probes)
        told = cloud.told()
        hosts = [nic for nic in told.nics if nic.address in {probe.address for probe in probes}]
        assert [(nic.public, nic.sends) for nic in hosts] == [(None, ())] * 2
        assert provider.attach(order(one), NoJournal(), quiet) == ["host presto--lyon--host2: removed"]
        assert provider.attach(order(none), NoJournal(), quiet) == ["host presto--lyon--host1: removed"]
        assert not [line for line in cloud.holdings() if re.search(r"--host\d", line)]

    def test_a_gateway_that_is_discarded_leaves_its_addresses(self, provider: OpenStackProvider, lyon: Site) -> None:
        before = provider.facts(OVERLAY, lyon).gateway
        assert before is not None
        assert provider.discard(OVERLAY, lyon, NoJournal()) == ["server presto--lyon--gateway: removed with its disk"]
        assert provider.discard(OVERLAY, lyon, NoJournal()) == []
        made, planned = deploy(provider, lyon)
        assert planned == ["server presto--lyon--gateway: make (m1.small, debian-12-genericcloud-amd64)"]
        assert made.public_address == before.public_address
        assert made.machine != before.machine

    def test_a_token_that_expired_half_way_is_renewed_and_one_that_cannot_be_is_named(
        self, cloud: Plane, lyon: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        expired, closed = [True], False

        def judge(request: Request) -> Verdict:
            if request.path.startswith("/v2.0/networks") and (expired or closed):
                expired.clear()
                return UNAUTHORIZED
            return UNAUTHORIZED if closed and request.path.endswith("/auth/tokens") else None

        with watched(cloud, tmp_path, judge) as seen, monkeypatch.context() as patch:
            patch.setenv("OS_CLIENT_CONFIG_FILE", str(seen.cloud))
            provider = OpenStackProvider()
            assert provider.facts(OVERLAY, lyon).gateway is not None
            assert len([call for call in seen.calls if call.path.endswith("/auth/tokens")]) == 2
            closed = True
            with pytest.raises(ProviderError, match=r"ListNetworks\(\) refused: 401: .*correct user, password"):
                provider.facts(OVERLAY, lyon)


def test_an_adopted_network_gets_routes_and_is_given_back_as_it_was(
    cloud: Plane, provider: OpenStackProvider, released: Callable[[Site], Site]
) -> None:
    with contextlib.closing(cloud.connection()) as own:
        network = own.network.create_network(name="campus")
        others = [{"destination": "172.20.0.0/16", "nexthop": "172.31.7.9"}]
        subnet = own.network.create_subnet(
            name="campus", network_id=network.id, ip_version=4, cidr="172.31.7.0/24", host_routes=others
        )
        try:
            campus = site("campus", index=771, prefixes=("172.31.7.0/24",), network="campus", hosts=1)
            made, _ = deploy(provider, campus)
            assert made.public_address
            provider.attach(order(campus), NoJournal(), quiet)
            (host,) = provider.hosts(OVERLAY, campus)
            assert host.address in IPv4Network("172.31.7.0/24")
            (lan,) = own.network.ports(name="presto--campus--lan")
            hop = lan.fixed_ips[0]["ip_address"]
            routes = own.network.get_subnet(subnet.id).host_routes
            assert sorted(map(str, routes)) == sorted(
                map(str, [*others, {"destination": str(NETWORK), "nexthop": hop}])
            )
            assert deploy(provider, campus)[1] == []
            removed = provider.release(OVERLAY, campus, NoJournal(), quiet)
            assert f"subnet campus: routes by {hop} removed" in removed
            assert own.network.get_subnet(subnet.id).host_routes == others
            assert provider.release(OVERLAY, campus, NoJournal(), quiet) == []
        finally:
            provider.release(OVERLAY, campus, NoJournal(), quiet)
            own.network.delete_network(network.id)


BAD = {
    "external_network": ({"external_network": "intranet"}, "intranet: is not one of them"),
    "image": ({"image": "plan9"}, "image plan9: there is none"),
    "flavor": ({"flavor": "x9.mega"}, "flavor x9.mega: there is none"),
    "no prefix": ({"auxiliary_network": "nonsense"}, "is not an IPv4 prefix"),
    "too small": ({"auxiliary_network": "192.168.254.0/30"}, "too small"),
    "overlap": ({"auxiliary_network": "10.200.0.0/24"}, "overlaps 10.0.0.0/8"),
    "network": ({"network": "nowhere"}, "network nowhere: there is none"),
    "cloud": ({"cloud": "cumulus"}, "cumulus"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_options_are_refused_before_anything_is_made(cloud: Plane, provider: OpenStackProvider, case: str) -> None:
    options, words = BAD[case]
    of = site("bad", index=780, **options)
    with pytest.raises(ValueError, match=words) as refused:
        provider.difference(order(of, USER_DATA), provider.facts(OVERLAY, of))
    assert "option" in str(refused.value) or "write" in str(refused.value) or "take" in str(refused.value)
    assert not [line for line in cloud.holdings() if "--bad--" in line]


def test_a_region_that_is_none_is_refused_by_those_that_are(cloud: Plane, provider: OpenStackProvider) -> None:
    from dataclasses import replace

    with pytest.raises(ValueError, match="RegionOne"):
        provider.facts(OVERLAY, replace(site(), region="Mars"))


def test_wrong_credentials_are_named(
    cloud: Plane, provider: OpenStackProvider, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import yaml

    clouds = cloud.clouds
    clouds["overlay-lab"]["auth"]["password"] = "wrong-and-secret"
    (tmp_path / "clouds.yaml").write_text(yaml.safe_dump({"clouds": clouds}))
    monkeypatch.setenv("OS_CLIENT_CONFIG_FILE", str(tmp_path / "clouds.yaml"))
    with pytest.raises(ProviderError, match=r"Authenticate\(\) refused: 401: .*correct user, password") as refused:
        provider.facts(OVERLAY, site())
    assert "wrong-and-secret" not in str(refused.value)


QUOTAS: dict[str, tuple[dict[str, int], str]] = {
    "networks": ({"networks": 0}, r"CreateNetworks\(.*\) refused: 409: .*[Qq]uota.*raise the project's quota"),
    "floating IPs": ({"floating_ips": 0}, r"CreateFloatingIp\(.*\) refused: 409: .*[Qq]uota"),
    "security group rules": ({"security_group_rules": 8}, r"CreateSecurityGroupRules\(.*\) refused: 409: .*[Qq]uota"),
    "cores": ({"cores": 0}, r"CreateServer\(.*presto--full--gateway.*\) refused: 403: Quota exceeded for cores"),
}


@pytest.mark.parametrize("what", QUOTAS)
def test_a_quota_that_is_used_up_is_named_and_what_was_made_goes_on(
    cloud: Plane, provider: OpenStackProvider, released: Callable[[Site], Site], what: str
) -> None:
    limits, words = QUOTAS[what]
    full = released(site("full", index=781))
    with contextlib.closing(cloud.connection(ADMIN)) as admin:
        project = admin.identity.find_project("overlay").id
        service: Any = admin.compute if what == "cores" else admin.network
        update = service.update_quota_set if what == "cores" else service.update_quota
        before = {"networks": 100, "floating_ips": 50, "security_group_rules": 100, "cores": 20}
        update(project, **limits)
        try:
            with pytest.raises(ProviderError, match=words):
                deploy(provider, full)
        finally:
            update(project, **{key: before[key] for key in limits})
    deploy(provider, full)


def test_an_address_that_is_taken_is_named(
    cloud: Plane, provider: OpenStackProvider, released: Callable[[Site], Site]
) -> None:
    taken = released(site("taken", index=782))
    deploy(provider, taken)
    with contextlib.closing(cloud.connection()) as own:
        provider.discard(OVERLAY, taken, NoJournal())
        (lan,) = own.network.ports(name="presto--taken--lan")
        own.network.delete_port(lan)
        squatter = own.network.create_port(
            network_id=lan.network_id,
            fixed_ips=[{"subnet_id": lan.fixed_ips[0]["subnet_id"], "ip_address": "10.3.14.254"}],
        )
        with pytest.raises(
            ProviderError, match=r"CreatePorts\(presto--taken--lan\) refused: 409: .*10\.3\.14\.254.*free what"
        ):
            deploy(provider, taken)
        own.network.delete_port(squatter)
    deploy(provider, taken)


def test_a_server_that_ends_in_error_tells_why_and_is_made_anew(
    cloud: Plane, provider: OpenStackProvider, released: Callable[[Site], Site]
) -> None:
    with contextlib.closing(cloud.connection(ADMIN)) as admin:
        huge = admin.compute.create_flavor(name="x1.huge", ram=9_000_000, vcpus=1, disk=5)
        try:
            admin.compute.update_quota_set(admin.identity.find_project("overlay").id, ram=10_000_000)
            with pytest.raises(ProviderError, match=r"CreateServer\(.*\) ended in ERROR \(No valid host"):
                deploy(provider, released(site("error", index=783, flavor="x1.huge")))
        finally:
            admin.compute.delete_flavor(huge)
    made, planned = deploy(provider, site("error", index=783))
    assert made.running
    assert planned[0].startswith("server presto--error--gateway: remove, it never ran (No valid host")


def test_a_user_without_the_role_is_refused_at_the_first_writing_call(
    cloud: Plane, provider: OpenStackProvider, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import yaml

    clouds = cloud.clouds
    with contextlib.closing(cloud.connection(ADMIN)) as admin:
        identity = admin.identity
        user = identity.create_user(name="onlooker", password="looks-only", domain_id="default")
        identity.assign_project_role_to_user(identity.find_project("overlay"), user, identity.find_role("reader"))
        clouds["overlay-lab"]["auth"] |= {"username": "onlooker", "password": "looks-only"}
        (tmp_path / "clouds.yaml").write_text(yaml.safe_dump({"clouds": clouds}))
        monkeypatch.setenv("OS_CLIENT_CONFIG_FILE", str(tmp_path / "clouds.yaml"))
        try:
            with pytest.raises(
                ProviderError, match=r"CreateNetworks\(.*\) refused: 403: .*give the user the role 'member'"
            ):
                deploy(provider, site("bad", index=780))
        finally:
            identity.delete_user(user)
