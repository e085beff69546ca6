"""The emulated EC2 refuses what EC2 refuses, and tells its network what a VPC would do; asked by boto3, over HTTP."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from ipaddress import IPv4Address, IPv4Network
from typing import Any

import pytest
from botocore.exceptions import ClientError

from proactive_tasks.lab.cloud.model import INTERNET, NOWHERE, Cloud, Nic, Rule, Segment
from tests.clouds.emulated_aws import KEY, Place, emulated_aws

ANYWHERE = IPv4Network("0.0.0.0/0")


GATE = threading.Event()
"""Open: the network carries what it is told. Closed: it is still at it, and no instance gets on."""


@pytest.fixture(scope="module")
def place() -> Iterator[Place]:
    def carry(_cloud: Cloud) -> None:
        assert GATE.wait(60)

    GATE.set()
    with emulated_aws(carry) as made:
        yield made
    GATE.set()


@dataclass
class Net:
    """A VPC with a gateway's and a hosts' subnet, made by hand."""

    place: Place
    ec2: Any
    vpc: str
    subnet: str
    way: str
    table: str
    group: str
    image: str
    interface: str = ""
    address: str = ""
    association: str = ""
    instance: str = ""

    def run(self, **more: Any) -> str:
        network = more.pop("network", {"NetworkInterfaceId": self.interface})
        made = self.ec2.run_instances(
            ImageId=self.image,
            InstanceType="t3.small",
            MinCount=1,
            MaxCount=1,
            NetworkInterfaces=[{"DeviceIndex": 0, **network}],
            **more,
        )
        return str(made["Instances"][0]["InstanceId"])

    def state(self, instance: str) -> str:
        return str(self.described(instance)["State"]["Name"])

    def described(self, instance: str) -> Any:
        return self.ec2.describe_instances(InstanceIds=[instance])["Reservations"][0]["Instances"][0]

    def until(self, instance: str, state: str) -> None:
        end = time.monotonic() + 60
        while self.state(instance) != state:
            assert time.monotonic() < end
            time.sleep(0.02)

    def cloud(self) -> Cloud:
        return self.place.app.cloud()

    def segment(self) -> Segment:
        return next(each for each in self.cloud().segments if each.name == self.subnet)

    def nic(self) -> Nic:
        return next(each for each in self.cloud().nics if each.name == self.interface)


@pytest.fixture
def net(place: Place) -> Net:
    """A running instance on an interface with an Elastic IP, in an emulated AWS of its own."""
    GATE.set()
    place.app.reset()
    ec2 = place.client()
    vpc = ec2.create_vpc(CidrBlock="10.1.0.0/24")["Vpc"]["VpcId"]
    subnet = ec2.create_subnet(VpcId=vpc, CidrBlock="10.1.0.240/28")["Subnet"]["SubnetId"]
    way = ec2.create_internet_gateway()["InternetGateway"]["InternetGatewayId"]
    ec2.attach_internet_gateway(InternetGatewayId=way, VpcId=vpc)
    table = ec2.create_route_table(VpcId=vpc)["RouteTable"]["RouteTableId"]
    ec2.associate_route_table(RouteTableId=table, SubnetId=subnet)
    group = ec2.create_security_group(GroupName="gateway", Description="gateway", VpcId=vpc)["GroupId"]
    image = ec2.describe_images(Owners=["136693071363"])["Images"][0]["ImageId"]
    net = Net(place, ec2, vpc, subnet, way, table, group, image)
    eni = ec2.create_network_interface(SubnetId=subnet, PrivateIpAddress="10.1.0.254", Groups=[group])
    net.interface = eni["NetworkInterface"]["NetworkInterfaceId"]
    net.address = ec2.allocate_address(Domain="vpc")["AllocationId"]
    found = ec2.associate_address(AllocationId=net.address, NetworkInterfaceId=net.interface)
    net.association = found["AssociationId"]
    net.instance = net.run(UserData="#cloud-config\n", ClientToken="first")
    net.until(net.instance, "running")
    return net


def ip(net: Net, **more: Any) -> dict[str, Any]:
    return {"GroupId": net.group, "IpPermissions": [{"IpRanges": [{"CidrIp": "0.0.0.0/0"}], **more}]}


Deed = Callable[[Net], Any]
REFUSED: list[tuple[str, Deed]] = [
    ("DependencyViolation", lambda n: n.ec2.delete_subnet(SubnetId=n.subnet)),
    ("DependencyViolation", lambda n: n.ec2.delete_security_group(GroupId=n.group)),
    ("DependencyViolation", lambda n: n.ec2.detach_internet_gateway(InternetGatewayId=n.way, VpcId=n.vpc)),
    ("DependencyViolation", lambda n: n.ec2.delete_internet_gateway(InternetGatewayId=n.way)),
    ("DependencyViolation", lambda n: n.ec2.delete_vpc(VpcId=n.vpc)),
    ("DependencyViolation", lambda n: n.ec2.delete_route_table(RouteTableId=n.table)),
    ("DependencyViolation", lambda n: n.ec2.delete_route_table(RouteTableId=main(n)["RouteTableId"])),
    (
        "InvalidParameterValue",
        lambda n: n.ec2.disassociate_route_table(AssociationId=main(n)["Associations"][0]["RouteTableAssociationId"]),
    ),
    ("InvalidIPAddress.InUse", lambda n: n.ec2.release_address(AllocationId=n.address)),
    ("InvalidNetworkInterface.InUse", lambda n: n.ec2.delete_network_interface(NetworkInterfaceId=n.interface)),
    ("InvalidNetworkInterface.InUse", lambda n: n.run()),
    ("IdempotentParameterMismatch", lambda n: n.run(ClientToken="first", UserData="#!/bin/sh\n")),
    ("InvalidIPAddress.InUse", lambda n: interface(n, "10.1.0.254")),
    ("InvalidParameterValue", lambda n: interface(n, "10.1.0.4")),
    ("InvalidParameterValue", lambda n: interface(n, "10.1.0.243")),
    ("InvalidParameterValue", lambda n: interface(n, "10.1.0.255")),
    ("InvalidGroup.NotFound", lambda n: interface(n, "10.1.0.250", Groups=["sg-00000000000000000"])),
    ("InvalidIPAddress.InUse", lambda n: n.run(network={"SubnetId": n.subnet, "PrivateIpAddress": "10.1.0.254"})),
    ("InvalidKey.Format", lambda n: n.ec2.import_key_pair(KeyName="bad", PublicKeyMaterial=b"ssh-ed25519 nonsense")),
    ("InvalidKey.Format", lambda n: n.ec2.import_key_pair(KeyName="bad", PublicKeyMaterial=b"\xff\xfe")),
    ("InvalidParameterValue", lambda n: n.ec2.authorize_security_group_ingress(**ip(n, IpProtocol="udp"))),
    ("InvalidParameterValue", lambda n: n.ec2.authorize_security_group_ingress(**ip(n, IpProtocol="icmp"))),
    ("InvalidParameterValue", lambda n: n.ec2.authorize_security_group_ingress(**ip(n, IpProtocol="esp"))),
    ("InvalidSubnet.Conflict", lambda n: n.ec2.create_subnet(VpcId=n.vpc, CidrBlock="10.1.0.128/25")),
    ("InvalidSubnet.Range", lambda n: n.ec2.create_subnet(VpcId=n.vpc, CidrBlock="10.1.0.0/29")),
    (
        "Resource.AlreadyAssociated",
        lambda n: n.ec2.associate_route_table(RouteTableId=main(n)["RouteTableId"], SubnetId=n.subnet),
    ),
    ("Resource.AlreadyAssociated", lambda n: n.ec2.attach_internet_gateway(InternetGatewayId=another(n), VpcId=n.vpc)),
    ("InvalidParameterValue", lambda n: route(n, GatewayId=another(n))),
    ("RouteAlreadyExists", lambda n: [route(n, NetworkInterfaceId=n.interface) for _ in range(2)]),
    ("InvalidParameterValue", lambda n: n.ec2.run_instances(**plain(n), UserData="x" * 16385)),
    ("InvalidAMIID.NotFound", lambda n: n.ec2.run_instances(**{**plain(n), "ImageId": "ami-00000000"})),
    ("InvalidKeyPair.NotFound", lambda n: n.ec2.run_instances(**plain(n), KeyName="none")),
    ("Unsupported", lambda n: n.ec2.run_instances(**{**plain(n), "InstanceType": "c1.medium"})),
    ("CannotDelete", lambda n: n.ec2.delete_security_group(GroupId=default_group(n))),
]


def main(n: Net) -> Any:
    filters = [{"Name": "vpc-id", "Values": [n.vpc]}, {"Name": "association.main", "Values": ["true"]}]
    return n.ec2.describe_route_tables(Filters=filters)["RouteTables"][0]


def default_group(n: Net) -> str:
    filters = [{"Name": "vpc-id", "Values": [n.vpc]}, {"Name": "group-name", "Values": ["default"]}]
    return str(n.ec2.describe_security_groups(Filters=filters)["SecurityGroups"][0]["GroupId"])


def another(n: Net) -> str:
    return str(n.ec2.create_internet_gateway()["InternetGateway"]["InternetGatewayId"])


def interface(n: Net, address: str, **more: Any) -> Any:
    return n.ec2.create_network_interface(SubnetId=n.subnet, PrivateIpAddress=address, **more)["NetworkInterface"]


def route(n: Net, **target: str) -> None:
    n.ec2.create_route(RouteTableId=n.table, DestinationCidrBlock="10.0.0.0/8", **target)


def plain(n: Net) -> dict[str, Any]:
    return {"ImageId": n.image, "InstanceType": "t3.small", "MinCount": 1, "MaxCount": 1, "SubnetId": n.subnet}


def stop(n: Net) -> None:
    n.ec2.stop_instances(InstanceIds=[n.instance])


def detached(n: Net) -> None:
    n.ec2.disassociate_address(AssociationId=n.association)
    n.ec2.detach_internet_gateway(InternetGatewayId=n.way, VpcId=n.vpc)


def code_of(deed: Callable[[], Any]) -> str:
    with pytest.raises(ClientError) as told:
        deed()
    assert 400 <= told.value.response["ResponseMetadata"]["HTTPStatusCode"] < 500
    return str(told.value.response["Error"]["Code"])


def test_what_ec2_refuses_is_refused(net: Net) -> None:
    for number, (code, deed) in enumerate(REFUSED):
        assert code_of(partial(deed, net)) == code, number
    detached(net)
    GATE.clear()
    net.ec2.stop_instances(InstanceIds=[net.instance])
    assert code_of(lambda: net.ec2.start_instances(InstanceIds=[net.instance])) == "IncorrectInstanceState"
    GATE.set()
    bind = partial(net.ec2.associate_address, AllocationId=net.address, NetworkInterfaceId=net.interface)
    assert code_of(bind) == "Gateway.NotAttached"
    net.until(net.instance, "stopped")
    net.ec2.start_instances(InstanceIds=[net.instance])
    net.until(net.instance, "running")


def test_a_client_token_gives_the_same_instance(net: Net) -> None:
    assert net.run(UserData="#cloud-config\n", ClientToken="first") == net.instance
    assert len(net.ec2.describe_instances()["Reservations"]) == 1


def test_esp_is_a_protocol_without_ports(net: Net) -> None:
    net.ec2.authorize_security_group_ingress(**ip(net, IpProtocol="50"))
    assert net.nic().inbound == ((Rule(True, ANYWHERE, 50),),)
    again = partial(net.ec2.authorize_security_group_ingress, **ip(net, IpProtocol="50"))
    assert code_of(again) == "InvalidPermission.Duplicate"
    net.ec2.revoke_security_group_ingress(**ip(net, IpProtocol="50"))
    assert net.nic().inbound == ((),)


def test_a_call_with_one_rule_too_many_adds_none(net: Net) -> None:
    net.ec2.authorize_security_group_ingress(**ip(net, IpProtocol="-1"))
    both = [
        *ip(net, IpProtocol="tcp", FromPort=22, ToPort=22)["IpPermissions"],
        *ip(net, IpProtocol="-1")["IpPermissions"],
    ]
    deed = lambda: net.ec2.authorize_security_group_ingress(GroupId=net.group, IpPermissions=both)  # noqa: E731
    assert code_of(deed) == "InvalidPermission.Duplicate"
    assert net.nic().inbound == ((Rule(True),),)


def test_source_destination_check_is_one_flag(net: Net) -> None:
    assert net.nic().receives == ()
    net.ec2.modify_network_interface_attribute(NetworkInterfaceId=net.interface, SourceDestCheck={"Value": False})
    assert net.described(net.instance)["SourceDestCheck"] is False
    assert (net.nic().sends, net.nic().receives) == ((ANYWHERE,), (ANYWHERE,))
    net.ec2.modify_instance_attribute(InstanceId=net.instance, SourceDestCheck={"Value": True})
    (eni,) = net.ec2.describe_network_interfaces(NetworkInterfaceIds=[net.interface])["NetworkInterfaces"]
    assert eni["SourceDestCheck"] is True
    assert (net.nic().sends, net.nic().receives) == ((), ())


def test_a_termination_takes_time_and_takes_with_it_what_the_launch_made(net: Net) -> None:
    route(net, NetworkInterfaceId=net.interface)
    assert [each.via for each in net.segment().routes] == [IPv4Address("10.1.0.254")]
    GATE.clear()
    host = net.run(network={"SubnetId": net.subnet, "Groups": [net.group]})
    assert net.state(host) == "pending"
    GATE.set()
    net.until(host, "running")
    assert net.described(host)["PrivateIpAddress"] == "10.1.0.244"
    GATE.clear()
    net.ec2.terminate_instances(InstanceIds=[host, net.instance])
    assert net.state(host) == "shutting-down"
    assert (
        code_of(lambda: net.ec2.delete_network_interface(NetworkInterfaceId=net.interface))
        == "InvalidNetworkInterface.InUse"
    )
    assert net.cloud().servers == ()
    GATE.set()
    net.until(host, "terminated")
    net.until(net.instance, "terminated")
    (left,) = net.ec2.describe_network_interfaces()["NetworkInterfaces"]
    assert (left["NetworkInterfaceId"], left["Status"]) == (net.interface, "available")
    assert net.ec2.describe_volumes()["Volumes"] == []
    (table,) = net.ec2.describe_route_tables(RouteTableIds=[net.table])["RouteTables"]
    assert [each["State"] for each in table["Routes"]] == ["active", "blackhole"]
    assert [each.via for each in net.segment().routes] == [NOWHERE]
    # The address stays with the interface that stays, and is free when that goes.
    assert net.nic().public == IPv4Address("192.0.2.1")
    net.ec2.delete_network_interface(NetworkInterfaceId=net.interface)
    net.ec2.release_address(AllocationId=net.address)
    net.ec2.detach_internet_gateway(InternetGatewayId=net.way, VpcId=net.vpc)
    net.ec2.delete_subnet(SubnetId=net.subnet)
    net.ec2.delete_route_table(RouteTableId=net.table)
    net.ec2.delete_security_group(GroupId=net.group)
    net.ec2.delete_vpc(VpcId=net.vpc)
    assert net.cloud() == Cloud()


def test_a_stopped_server_is_told_as_one(net: Net) -> None:
    (server,) = net.cloud().servers
    assert (server.name, server.running, server.user_data) == (net.instance, True, b"#cloud-config\n")
    GATE.clear()
    stop(net)
    assert net.state(net.instance) == "stopping"
    GATE.set()
    assert [each.running for each in net.cloud().servers] == [False]
    net.until(net.instance, "stopped")
    assert net.nic().server == net.instance


def test_routes_are_those_of_the_subnets_table_or_of_the_main_one(net: Net) -> None:
    assert net.segment().router == IPv4Address("10.1.0.241")
    assert net.segment().routes == ()
    net.ec2.create_route(RouteTableId=main(net)["RouteTableId"], DestinationCidrBlock="0.0.0.0/0", GatewayId=net.way)
    assert net.segment().routes == ()
    (table,) = net.ec2.describe_route_tables(RouteTableIds=[net.table])["RouteTables"]
    net.ec2.disassociate_route_table(AssociationId=table["Associations"][0]["RouteTableAssociationId"])
    assert [(each.prefix, each.via) for each in net.segment().routes] == [(ANYWHERE, INTERNET)]
    (domain,) = net.cloud().domains
    assert domain.internet
    detached(net)
    (domain,) = net.cloud().domains
    assert not domain.internet
    assert [each.via for each in net.segment().routes] == [NOWHERE]
    assert net.nic().public is None


def test_groups_of_an_interface_add_up_and_name_each_other(net: Net) -> None:
    ec2 = net.ec2
    other = ec2.create_security_group(GroupName="other", Description="other", VpcId=net.vpc)["GroupId"]
    ec2.authorize_security_group_ingress(**ip(net, IpProtocol="tcp", FromPort=22, ToPort=22))
    pairs = [{"IpProtocol": "17", "FromPort": 500, "ToPort": 500, "UserIdGroupPairs": [{"GroupId": net.group}]}]
    ec2.authorize_security_group_ingress(GroupId=other, IpPermissions=pairs)
    assert code_of(lambda: ec2.delete_security_group(GroupId=net.group)) == "DependencyViolation"
    ec2.modify_network_interface_attribute(NetworkInterfaceId=net.interface, Groups=[net.group, other])
    assert set(net.nic().inbound[0]) == {
        Rule(True, ANYWHERE, 6, (22, 22)),
        Rule(True, IPv4Network("10.1.0.254/32"), 17, (500, 500)),
    }
    assert set(net.nic().outbound[0]) == {Rule(True)}
    ec2.modify_network_interface_attribute(NetworkInterfaceId=net.interface, Groups=[other])
    assert net.nic().inbound == ((),)  # nobody is in the group that it names


def test_public_addresses_are_unique_over_all_regions(net: Net) -> None:
    other = net.place.client("us-east-1")
    made = [other.allocate_address(Domain="vpc")["PublicIp"], net.ec2.allocate_address(Domain="vpc")["PublicIp"]]
    assert made == ["192.0.2.2", "192.0.2.3"]
    assert _zone(other) == "us-east-1a"
    assert len({segment.name for segment in net.cloud().segments}) == 2


def _zone(ec2: Any) -> str:
    vpc = ec2.create_vpc(CidrBlock="10.1.1.0/24")["Vpc"]["VpcId"]
    return str(ec2.create_subnet(VpcId=vpc, CidrBlock="10.1.1.0/25")["Subnet"]["AvailabilityZone"])


def test_quotas_permissions_and_credentials(net: Net) -> None:
    account = net.place.app.account
    account.quotas.update(vpcs=2, addresses=1, gateways=1, vcpus=2)
    assert code_of(lambda: net.ec2.create_vpc(CidrBlock="10.2.0.0/24")) == "VpcLimitExceeded"
    assert code_of(lambda: net.ec2.allocate_address(Domain="vpc")) == "AddressLimitExceeded"
    assert code_of(net.ec2.create_internet_gateway) == "InternetGatewayLimitExceeded"
    assert code_of(lambda: net.ec2.run_instances(**plain(net))) == "VcpuLimitExceeded"
    account.denied.add("DescribeVpcs")
    assert code_of(net.ec2.describe_vpcs) == "UnauthorizedOperation"
    account.expired = True
    assert code_of(net.ec2.describe_subnets) == "RequestExpired"
    account.expired, account.access_key = False, "AKIAANOTHER"
    assert code_of(net.ec2.describe_subnets) == "AuthFailure"


def test_a_network_that_does_not_carry_it_is_an_error_of_the_cloud() -> None:
    def carry(_cloud: Cloud) -> None:
        raise OSError("no namespaces here")

    with emulated_aws(carry) as place:
        ec2 = place.client()
        with pytest.raises(ClientError, match="no namespaces here") as told:
            ec2.import_key_pair(KeyName="k", PublicKeyMaterial=KEY.encode())
        assert told.value.response["ResponseMetadata"]["HTTPStatusCode"] == 500
