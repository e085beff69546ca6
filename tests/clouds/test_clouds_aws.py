"""A site in AWS: what is made of it, what is repaired, what is removed; by boto3, over HTTP, in an emulated EC2."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import Any

import pytest

from proactive_tasks.clouds.provider import NoJournal
from proactive_tasks.lab.cloud.model import INTERNET, NOWHERE, Cloud
from proactive_tasks.overlay.errors import InputError
from tests.clouds.emulated_aws import (
    CONTROLLER,
    KEY,
    REGION,
    USER_DATA,
    Place,
    deploy,
    emulated_aws,
    fresh,
    left,
    lines,
    provider,
    site,
)
from tests.clouds.emulated_aws import order as order_of

ALL = IPv4Network("0.0.0.0/0")
WHOLE = order_of(site("whole", 7))


@pytest.fixture(scope="module")
def place() -> Iterator[Place]:
    with emulated_aws() as made:
        yield made


@pytest.fixture
def empty(place: Place) -> Iterator[Place]:
    """Nothing is there before, and whatever the test did, nothing of it after."""
    provider().release("presto", WHOLE.site, NoJournal(), lambda _line: None)
    assert left(place) == []
    place.trouble.calls.clear()
    yield place
    provider().release("presto", site(), NoJournal(), lambda _line: None)


@pytest.fixture
def whole(place: Place) -> Place:
    """A site that is deployed: each test leaves it so, and the next test that wants nothing there removes it."""
    deploy(WHOLE)
    return place


def test_a_dry_run_makes_no_writing_call_and_tells_each_call_of_the_deployment(empty: Place) -> None:
    driver, order = provider(), order_of(site())
    changes = driver.difference(order, driver.facts("presto", order.site))
    assert empty.written() == []
    deploy(order)
    assert [change.call.split("(")[0] for change in changes] == empty.written()
    assert "a-gateway" not in str(changes)
    assert KEY not in str(changes)


def test_a_site_is_provisioned_by_at_most_30_calls_none_of_them_twice(empty: Place) -> None:
    order = order_of(site())
    driver = fresh()
    facts = driver.facts("presto", order.site)
    driver.difference(order, facts)  # the workflow asks for the plan, too
    made = driver.apply(order, facts, NoJournal(), lambda _line: None)
    asked = [(call.body, call.method) for call in empty.trouble.calls]
    polls = empty.calls().count("DescribeInstances")
    assert len(asked) - polls == 27
    assert max(Counter(each for each in asked if b"Action=DescribeInstances&" not in each[0]).values()) == 1
    assert made.running
    assert made.public_address in IPv4Network("192.0.2.0/24")
    empty.trouble.calls.clear()
    assert lines(order) == []
    assert deploy(order) == made
    assert empty.written() == []


def test_the_network_is_told_what_the_layout_says(empty: Place) -> None:
    made = deploy(order_of(site()))
    cloud = empty.carried[-1]
    (domain,) = cloud.domains
    assert (domain.networks, domain.internet) == ((IPv4Network("10.1.0.0/24"),), True)
    by_network = {segment.network: segment for segment in cloud.segments}
    applications, gateways = by_network[IPv4Network("10.1.0.0/25")], by_network[IPv4Network("10.1.0.240/28")]
    assert {(route.prefix, route.via) for route in gateways.routes} == {(ALL, INTERNET)}
    to_gateway = IPv4Address("10.1.0.254")
    assert {(route.prefix, route.via) for route in applications.routes} == {
        (ALL, to_gateway),
        (IPv4Network("10.0.0.0/8"), to_gateway),
    }
    (nic,) = cloud.nics
    assert (nic.address, nic.public, nic.sends, nic.receives) == (to_gateway, made.public_address, (ALL,), (ALL,))
    admitted = {(rule.protocol, rule.ports, rule.remote) for rule in nic.inbound[0]}
    assert admitted == {
        (6, (22, 22), CONTROLLER),
        (6, (443, 443), ALL),
        (17, (1194, 9194), ALL),
        (17, (500, 500), ALL),
        (17, (4500, 4500), ALL),
        (50, None, ALL),
        (1, None, ALL),
        (None, None, IPv4Network("10.1.0.0/24")),
    }
    (server,) = cloud.servers
    assert (server.label, server.running, server.user_data) == ("presto--frankfurt--gateway", True, USER_DATA)


def test_address_and_interface_are_ready_before_the_instance_boots(empty: Place) -> None:
    empty.carried.clear()
    deploy(order_of(site()))
    first = next(cloud for cloud in empty.carried if cloud.servers)
    assert first.nics[0].public is not None
    assert first.nics[0].sends == (ALL,)
    assert any(route.via == INTERNET for segment in first.segments for route in segment.routes)


def test_the_instance_is_as_it_was_ordered(empty: Place) -> None:
    empty.app.account.placement_groups.add("near")
    options = {"instance_type": "c5.large", "availability_zone": f"{REGION}b", "placement_group": "near"}
    made = deploy(order_of(site(options=options)))
    (instance,) = _instances(empty, made.machine)
    assert instance["InstanceType"] == "c5.large"
    assert (instance["Placement"]["AvailabilityZone"], instance["Placement"]["GroupName"]) == (f"{REGION}b", "near")
    assert instance["MetadataOptions"]["HttpTokens"] == "required"
    assert instance["KeyName"] == "presto--frankfurt"
    (image,) = empty.client().describe_images(ImageIds=[instance["ImageId"]])["Images"]
    assert (image["Name"], image["OwnerId"]) == ("debian-12-amd64-20251006-2257", "136693071363")


def test_an_own_image_and_key_pair_are_taken_as_they_are(empty: Place) -> None:
    ec2 = empty.client()
    ec2.create_key_pair(KeyName="mine")
    image = ec2.describe_images(Filters=[{"Name": "name", "Values": ["debian-12-amd64-2024*"]}])["Images"][0]["ImageId"]
    made = deploy(order_of(site(options={"image": image, "key_pair": "mine"})))
    (instance,) = _instances(empty, made.machine)
    assert (instance["ImageId"], instance["KeyName"]) == (image, "mine")
    assert "DescribeImages" not in empty.calls()
    assert "ImportKeyPair" not in empty.calls()
    ec2.delete_key_pair(KeyName="mine")


def test_everything_made_is_named_and_tagged_by_the_call_that_makes_it(empty: Place) -> None:
    deploy(order_of(site(hosts=1)))
    provider().attach(order_of(site(hosts=1)), NoJournal(), lambda _line: None)
    assert "CreateTags" not in empty.calls()
    found = provider().leftovers("presto", [REGION])
    kinds = Counter(each.kind for each in found)
    assert kinds == {
        "VPC": 1,
        "subnet": 2,
        "Internet gateway": 1,
        "route table": 2,
        "security group": 2,
        "key pair": 1,
        "network interface": 2,
        "address": 1,
        "instance": 2,
        "volume": 2,
    }
    assert {(each.overlay, each.site, each.region) for each in found} == {("presto", "frankfurt", REGION)}
    assert provider().leftovers("another", [REGION]) == []
    assert provider().leftovers("", [REGION, REGION]) == found


def test_a_release_leaves_nothing(empty: Place) -> None:
    order, journal = order_of(site(hosts=2)), NoJournal()
    deploy(order, journal=journal)
    provider().attach(order, journal, lambda _line: None)
    begin = {
        "VPC": "vpc-",
        "Internet gateway": "igw-",
        "route table": "rtb-",
        "security group": "sg-",
        "key pair": "key-",
    }
    begin |= {"subnet": "subnet-", "network interface": "eni-", "address": "eipalloc-", "instance": "i-"}
    assert len(journal.entries) == 14
    assert all(identifier.startswith(begin[kind]) for (kind, _name), identifier in journal.entries.items())
    told: list[str] = []
    done = provider().release("presto", order.site, journal, told.append)
    assert left(empty) == []
    assert provider().leftovers("", [REGION]) == []
    assert done == told
    assert journal.entries == {}
    assert empty.carried[-1] == Cloud()
    empty.trouble.calls.clear()
    assert provider().release("presto", order.site, journal, told.append) == []
    assert empty.written() == []


def test_hosts_come_and_go(empty: Place) -> None:
    deploy(order_of(site()))
    driver, journal, said = provider(), NoJournal(), []
    up = driver.attach(order_of(site(hosts=3)), journal, said.append)
    assert [line.split(" (")[0] for line in up] == [f"instance presto--frankfurt--host{n}: make" for n in (1, 2, 3)]
    found = driver.hosts("presto", site(hosts=3))
    assert [(host.name, host.address, host.probe) for host in found] == [
        (f"frankfurt/host{n}", IPv4Address(f"10.1.0.{n + 3}"), None) for n in (1, 2, 3)
    ]
    nics = {nic.address: nic for nic in empty.carried[-1].nics}
    host = nics[IPv4Address("10.1.0.4")]
    assert (host.public, host.sends, host.receives) == (None, (), ())
    assert {(rule.protocol, rule.remote) for rule in host.inbound[0]} == {(None, IPv4Network("10.0.0.0/8")), (1, ALL)}
    empty.trouble.calls.clear()
    assert driver.attach(order_of(site(hosts=3)), journal, said.append) == []
    assert empty.written() == []
    down = driver.attach(order_of(site(hosts=1)), journal, said.append)
    assert sorted(down) == [f"instance presto--frankfurt--host{n}: terminate" for n in (2, 3)]
    assert [host.name for host in driver.hosts("presto", site())] == ["frankfurt/host1"]
    # One that comes again is another one, though the call is the same.
    assert len(driver.attach(order_of(site(hosts=2)), journal, said.append)) == 1
    assert [host.name for host in driver.hosts("presto", site())] == ["frankfurt/host1", "frankfurt/host2"]
    assert lines(order_of(site(hosts=2))) == []


def test_a_gateway_is_replaced_on_its_interface_with_its_addresses(empty: Place) -> None:
    order, journal = order_of(site()), NoJournal()
    before = deploy(order, journal=journal)
    assert provider().discard("presto", order.site, journal) == ["instance presto--frankfurt--gateway: terminate"]
    assert provider().facts("presto", order.site).gateway is None
    assert {route.via for segment in empty.carried[-1].segments for route in segment.routes} == {INTERNET, NOWHERE}
    assert len(lines(order)) == 1
    empty.trouble.calls.clear()
    after = deploy(order, journal=journal)
    assert empty.written() == ["RunInstances"]
    assert after.machine != before.machine
    assert after.public_address == before.public_address
    assert provider().discard("presto", site("another"), journal) == []


def test_sites_are_provisioned_side_by_side(empty: Place) -> None:
    orders = [order_of(site(f"at{n}", n, region=region)) for n, region in enumerate((REGION, REGION, "us-east-1"))]
    with ThreadPoolExecutor(len(orders)) as pool:
        made = list(pool.map(deploy, orders))
        assert len({facts.public_address for facts in made}) == len(orders)
        assert list(pool.map(lines, orders)) == [[], [], []]
        list(pool.map(lambda o: provider().release("presto", o.site, NoJournal(), lambda _line: None), orders))
    assert left(empty, [REGION, "us-east-1"]) == []


# Drift

Broken = Callable[[Any, Place], None]


def _one(ec2: Any, kind: str, key: str, part: str) -> Any:
    wanted = [{"Name": "tag:Name", "Values": [f"presto--whole{part}"]}]
    (found,) = getattr(ec2, f"describe_{kind}")(Filters=wanted)[key]
    return found


def _interface(ec2: Any) -> str:
    return str(_one(ec2, "network_interfaces", "NetworkInterfaces", "--gateway")["NetworkInterfaceId"])


def _group(ec2: Any, part: str = "--gateway") -> str:
    return str(_one(ec2, "security_groups", "SecurityGroups", part)["GroupId"])


def _table(ec2: Any, part: str) -> Any:
    return _one(ec2, "route_tables", "RouteTables", part)


def _instance(ec2: Any) -> str:
    states = [
        {"Name": "tag:Name", "Values": ["presto--whole--gateway"]},
        {"Name": "instance-state-name", "Values": ["running"]},
    ]
    return str(ec2.describe_instances(Filters=states)["Reservations"][0]["Instances"][0]["InstanceId"])


def _instances(place: Place, *identifiers: str) -> list[Any]:
    found = place.client().describe_instances(InstanceIds=list(identifiers))["Reservations"]
    return [each for reservation in found for each in reservation["Instances"]]


ESP = {"IpProtocol": "50", "IpRanges": [{"CidrIp": "0.0.0.0/0"}]}
TUNNELS = {"IpProtocol": "udp", "FromPort": 1194, "ToPort": 9194, "IpRanges": [{"CidrIp": "0.0.0.0/0"}]}


def _rule_removed(ec2: Any, _place: Place) -> None:
    ec2.revoke_security_group_ingress(GroupId=_group(ec2), IpPermissions=[TUNNELS, ESP])


def _egress_removed(ec2: Any, _place: Place) -> None:
    everything = [{"IpProtocol": "-1", "IpRanges": [{"CidrIp": "0.0.0.0/0"}]}]
    ec2.revoke_security_group_egress(GroupId=_group(ec2), IpPermissions=everything)


def _route_deleted(ec2: Any, _place: Place) -> None:
    table = _table(ec2, "--applications")["RouteTableId"]
    ec2.delete_route(RouteTableId=table, DestinationCidrBlock="10.0.0.0/8")


def _route_moved(ec2: Any, _place: Place) -> None:
    way = _one(ec2, "internet_gateways", "InternetGateways", "")["InternetGatewayId"]
    table = _table(ec2, "--applications")["RouteTableId"]
    ec2.replace_route(RouteTableId=table, DestinationCidrBlock="0.0.0.0/0", GatewayId=way)


def _table_taken_away(ec2: Any, _place: Place) -> None:
    for each in _table(ec2, "--applications")["Associations"]:
        ec2.disassociate_route_table(AssociationId=each["RouteTableAssociationId"])


def _check_on(ec2: Any, _place: Place) -> None:
    ec2.modify_network_interface_attribute(NetworkInterfaceId=_interface(ec2), SourceDestCheck={"Value": True})


def _check_on_by_the_instance(ec2: Any, _place: Place) -> None:
    ec2.modify_instance_attribute(InstanceId=_instance(ec2), SourceDestCheck={"Value": True})


def _other_group(ec2: Any, _place: Place) -> None:
    ec2.modify_network_interface_attribute(NetworkInterfaceId=_interface(ec2), Groups=[_group(ec2, "--hosts")])


def _address_taken_away(ec2: Any, _place: Place) -> None:
    ec2.disassociate_address(AssociationId=_one(ec2, "addresses", "Addresses", "--gateway")["AssociationId"])


def _address_released(ec2: Any, place: Place) -> None:
    _address_taken_away(ec2, place)
    ec2.release_address(AllocationId=_one(ec2, "addresses", "Addresses", "--gateway")["AllocationId"])


def _metadata_open(ec2: Any, _place: Place) -> None:
    ec2.modify_instance_metadata_options(InstanceId=_instance(ec2), HttpTokens="optional", HttpEndpoint="enabled")


def _stopped(ec2: Any, _place: Place) -> None:
    ec2.stop_instances(InstanceIds=[_instance(ec2)])


def _terminated(ec2: Any, _place: Place) -> None:
    ec2.terminate_instances(InstanceIds=[_instance(ec2)])


DRIFTS: list[tuple[Broken, list[str], list[str]]] = [
    (
        _rule_removed,
        ["security group presto--whole--gateway: admit udp 1194-9194 from 0.0.0.0/0 (tunnels); esp from 0.0."],
        ["AuthorizeSecurityGroupIngress"],
    ),
    (_egress_removed, ["security group presto--whole--gateway: let everything out"], ["AuthorizeSecurityGroupEgress"]),
    (_route_deleted, ["route 10.0.0.0/8 in presto--whole--applications: lead to the gateway"], ["CreateRoute"]),
    (
        _route_moved,
        ["route 0.0.0.0/0 in presto--whole--applications: lead to the gateway again, not to igw-"],
        ["ReplaceRoute"],
    ),
    (
        _table_taken_away,
        ["route table presto--whole--applications: associate with its subnet"],
        ["AssociateRouteTable"],
    ),
    (
        _check_on,
        ["network interface presto--whole--gateway: source/destination check off"],
        ["ModifyNetworkInterfaceAttribute"],
    ),
    (
        _check_on_by_the_instance,
        ["network interface presto--whole--gateway: source/destination check off"],
        ["ModifyNetworkInterfaceAttribute"],
    ),
    (
        _other_group,
        ["network interface presto--whole--gateway: into its security group"],
        ["ModifyNetworkInterfaceAttribute"],
    ),
    (_address_taken_away, ["address 192.0.2."], ["AssociateAddress"]),
    (
        _address_released,
        ["address presto--whole--gateway: make", "address presto--whole--gateway: give it to the gateway"],
        ["AllocateAddress", "AssociateAddress"],
    ),
    (
        _metadata_open,
        ["instance presto--whole--gateway: metadata with a token only (IMDSv2)"],
        ["ModifyInstanceMetadataOptions"],
    ),
    (_stopped, ["instance presto--whole--gateway: start"], ["StartInstances"]),
    (_terminated, ["instance presto--whole--gateway: make (t3.small"], ["RunInstances"]),
]


@pytest.mark.parametrize(("broken", "told", "calls"), DRIFTS, ids=[each[0].__name__.strip("_") for each in DRIFTS])
def test_drift_is_named_and_just_that_repaired(whole: Place, broken: Broken, told: list[str], calls: list[str]) -> None:
    before = whole.app.cloud()
    broken(whole.client(), whole)
    found = lines(WHOLE)
    assert len(found) == len(told)
    for line, wanted in zip(found, told, strict=True):
        assert line.startswith(wanted)
    whole.trouble.calls.clear()
    assert deploy(WHOLE).running
    assert list(dict.fromkeys(whole.written())) == calls  # a call may come twice while an instance is on its way down
    assert lines(WHOLE) == []
    after = whole.app.cloud()
    assert after.segments == before.segments
    assert [set(nic.inbound[0]) for nic in after.nics] == [set(nic.inbound[0]) for nic in before.nics]
    assert [replace(nic, inbound=(), server="", public=None) for nic in after.nics] == [
        replace(nic, inbound=(), server="", public=None) for nic in before.nics
    ]


def test_what_others_added_is_left_alone_and_what_we_want_no_more_goes(whole: Place) -> None:
    ec2 = whole.client()
    own = [{"IpProtocol": "tcp", "FromPort": 9100, "ToPort": 9100, "IpRanges": [{"CidrIp": "198.51.100.9/32"}]}]
    ec2.authorize_security_group_ingress(GroupId=_group(ec2), IpPermissions=own)
    assert lines(WHOLE) == []
    another = replace(WHOLE, controllers=(IPv4Network("203.0.113.8/32"),), routes=(IPv4Network("10.0.0.0/9"),))
    assert lines(another) == [
        "security group presto--whole--gateway: admit tcp 22 from 203.0.113.8/32 (SSH from a controller)",
        "security group presto--whole--gateway: no longer admit tcp from 203.0.113.7/32",
        "security group presto--whole--hosts: admit all from 10.0.0.0/9 (the overlay)",
        "security group presto--whole--hosts: no longer admit -1 from 10.0.0.0/8",
        "route 10.0.0.0/9 in presto--whole--applications: lead to the gateway",
        "route 10.0.0.0/8 in presto--whole--applications: remove, nothing of the overlay is there any more",
    ]
    deploy(another)
    assert lines(another) == []
    deploy(WHOLE)
    held = _one(ec2, "security_groups", "SecurityGroups", "--gateway")["IpPermissions"]
    assert 9100 in [rule.get("FromPort") for rule in held]
    ec2.revoke_security_group_ingress(GroupId=_group(ec2), IpPermissions=own)


def test_regions_are_apart(whole: Place) -> None:
    assert provider().facts("presto", site("whole", 7, region="us-east-1")).gateway is None
    assert provider().leftovers("presto", ["us-east-1"]) == []


# Adopted networks


class Adopted:
    """A VPC that is somebody's: a public and a private subnet, a peering of sorts in the private one's table."""

    def __init__(self, ec2: Any) -> None:
        self.ec2 = ec2
        self.vpc = ec2.create_vpc(CidrBlock="172.31.0.0/16")["Vpc"]["VpcId"]
        self.way = ec2.create_internet_gateway()["InternetGateway"]["InternetGatewayId"]
        ec2.attach_internet_gateway(InternetGatewayId=self.way, VpcId=self.vpc)
        self.public, self.private = (
            ec2.create_subnet(VpcId=self.vpc, CidrBlock=block)["Subnet"]["SubnetId"]
            for block in ("172.31.0.0/24", "172.31.1.0/24")
        )
        self.tables = [ec2.create_route_table(VpcId=self.vpc)["RouteTable"]["RouteTableId"] for _ in range(2)]
        for table, subnet in zip(self.tables, (self.public, self.private), strict=True):
            ec2.associate_route_table(RouteTableId=table, SubnetId=subnet)
        ec2.create_route(RouteTableId=self.tables[0], DestinationCidrBlock="0.0.0.0/0", GatewayId=self.way)
        ec2.create_route(RouteTableId=self.tables[1], DestinationCidrBlock="8.0.0.0/6", GatewayId=self.way)
        self.site = site(
            "adopted",
            9,
            prefixes=(IPv4Network("172.31.0.0/16"),),
            options={"vpc": self.vpc, "subnet": self.public, "route_tables": self.tables[1]},
        )
        self.before = self.state()

    def state(self) -> Any:
        tables = self.ec2.describe_route_tables(Filters=[{"Name": "vpc-id", "Values": [self.vpc]}])["RouteTables"]
        return sorted(
            (table["RouteTableId"], sorted(route["DestinationCidrBlock"] for route in table["Routes"]))
            for table in tables
        )

    def remove(self) -> None:
        for subnet in (self.public, self.private):
            self.ec2.delete_subnet(SubnetId=subnet)
        for table in self.tables:
            self.ec2.delete_route_table(RouteTableId=table)
        self.ec2.detach_internet_gateway(InternetGatewayId=self.way, VpcId=self.vpc)
        self.ec2.delete_internet_gateway(InternetGatewayId=self.way)
        self.ec2.delete_vpc(VpcId=self.vpc)


@pytest.fixture
def adopted(empty: Place) -> Iterator[Adopted]:
    made = Adopted(empty.client())
    yield made
    provider().release("presto", made.site, NoJournal(), lambda _line: None)
    assert made.state() == made.before
    made.remove()


def test_an_adopted_network_is_used_and_left_as_it_was(empty: Place, adopted: Adopted) -> None:
    order = order_of(replace(adopted.site, hosts=1))
    told = lines(order)
    assert (
        "route 10.0.0.0/8 in " + adopted.tables[1] + f": lead to the gateway; it shadows 8.0.0.0/6 to {adopted.way}"
        in told
    )
    made = deploy(order)
    assert not {"CreateVpc", "CreateSubnet", "CreateInternetGateway", "CreateRouteTable"} & set(empty.written())
    (nic,) = (nic for nic in empty.carried[-1].nics if nic.public == made.public_address)
    assert nic.segment == adopted.public
    assert provider().attach(order, NoJournal(), lambda _line: None) != []
    empty.trouble.calls.clear()
    assert lines(order) == []
    assert deploy(order) == made
    assert empty.written() == []
    provider().release("presto", adopted.site, NoJournal(), lambda _line: None)
    assert adopted.state() == adopted.before
    assert provider().leftovers("", [REGION]) == []


WRONG: list[tuple[Callable[[Adopted], dict[str, Any]], str]] = [
    (
        lambda _: {"prefixes": (IPv4Network("172.30.0.0/16"),)},
        "has 172.31.0.0/16, which is not among its prefixes; add",
    ),
    (
        lambda a: {"options": {**a.site.options, "vpc": "vpc-00000000000000000"}},
        "has no VPC vpc-00000000000000000; correct",
    ),
    (lambda a: {"options": {"vpc": a.vpc}}, r"has no subnet \(none named\); name one"),
    (lambda a: {"options": {**a.site.options, "subnet": "subnet-1"}}, "has no subnet subnet-1; name one"),
    (lambda a: {"options": {**a.site.options, "subnet": a.private}}, "has no route to an Internet gateway"),
    (lambda a: {"options": {**a.site.options, "route_tables": "rtb-1, rtb-2"}}, "has no route table rtb-1; correct"),
]


@pytest.mark.parametrize(("fields", "message"), WRONG)
def test_an_adopted_network_that_does_not_fit_is_refused_before_any_change(
    empty: Place, adopted: Adopted, fields: Callable[[Adopted], dict[str, Any]], message: str
) -> None:
    order = order_of(replace(adopted.site, **fields(adopted)))
    with pytest.raises(InputError, match=message):
        lines(order)
    with pytest.raises(InputError, match=message):
        deploy(order)
    assert empty.written() == []


def test_a_route_that_is_somebody_elses_is_not_replaced(empty: Place, adopted: Adopted) -> None:
    way = {"RouteTableId": adopted.tables[1], "DestinationCidrBlock": "10.0.0.0/8"}
    adopted.ec2.create_route(**way, GatewayId=adopted.way)
    for ask in (lines, deploy):
        with pytest.raises(InputError, match=rf"has a route to 10.0.0.0/8 already \({adopted.way}\); remove it"):
            ask(order_of(adopted.site))
    assert empty.written() == []
    adopted.ec2.delete_route(**way)


def test_the_policy_in_the_docs_grants_what_the_driver_calls_and_no_more() -> None:
    root = Path(__file__).parents[2]
    policy = json.loads((root / "docs" / "aws-policy.json").read_text())
    granted = {action for statement in policy["Statement"] for action in statement["Action"]}
    source = "".join(path.read_text() for path in (root / "proactive_tasks" / "clouds" / "aws").glob("*.py"))
    verbs = (
        "Allocate|Associate|Attach|Authorize|Create|Delete|Describe|Detach|Disassociate|Import|Modify|Release|Replace|"
        "Revoke|Run|Start|Terminate"
    )
    called = set(re.findall(rf'"((?:{verbs})[A-Z][A-Za-z]+)"', source)) - {
        "DeleteOnTermination",
        "AssociatePublicIpAddress",
    }
    assert granted == {f"ec2:{each}" for each in called} | {"ec2:CreateTags"}  # tags in creating calls want it, too
