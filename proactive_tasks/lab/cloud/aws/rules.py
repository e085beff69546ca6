"""What AWS refuses and moto does not, and what of moto's answers AWS would not give.

Each rule names the page of the provider's documentation that it stands on: the EC2 API Reference (API), its table of
error codes (Errors), the VPC and EC2 User Guides. Rules read moto's state and write none of it but where they say so.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network
from typing import Any

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import load_ssh_public_key

MAX_USER_DATA = 16_384
"""API, RunInstances, UserData: limited to 16 KB before it is encoded."""

DESCRIPTION = re.compile(r"[A-Za-z0-9 ._\-:/()#,@\[\]+=&;{}!$*]{0,255}")
"""API, IpRange, Description."""

DEAD = {"shutting-down", "terminated"}


class RefusalError(Exception):
    """What the API answers instead."""

    def __init__(self, code: str, message: str, status: int = 400) -> None:
        super().__init__(f"{code}: {message}")
        self.code, self.message, self.status = code, message, status


@dataclass
class Account:
    """What tests can set: who may do what, and how much of it."""

    access_key: str
    denied: set[str] = field(default_factory=set)  # actions that a policy does not grant
    expired: bool = False  # the credentials' time is over
    placement_groups: set[str] = field(default_factory=set)
    fails_to_start: str = ""  # why the next instance ends right after its start
    quotas: dict[str, int] = field(
        default_factory=lambda: {"vpcs": 5, "addresses": 5, "gateways": 5, "vcpus": 64, "routes": 500}
    )
    """Of a region: Service Quotas, defaults of Amazon VPC and EC2 (vCPUs: of an account that is in use)."""


@dataclass
class Call:
    """A call of the EC2 query protocol. Rules may complete its parameters before moto sees them."""

    action: str
    region: str
    given: dict[str, str]
    backend: Any = field(repr=False)
    account: Account = field(repr=False)

    def get(self, name: str) -> str:
        """A parameter, or ""."""
        return self.given.get(name, "")

    def listed(self, name: str) -> list[str]:
        """A list: NAME.1, NAME.2, ..."""
        found = (
            (key.removeprefix(f"{name}."), value) for key, value in self.given.items() if key.startswith(f"{name}.")
        )
        return [value for number, value in sorted(found) if number.isdigit()]

    def numbered(self, name: str) -> list[str]:
        """The prefixes of a list of structures: NAME.1, NAME.2, ..."""
        found = {match[1] for key in self.given if (match := re.match(rf"({re.escape(name)}\.\d+)\.", key))}
        return sorted(found, key=lambda prefix: int(prefix.rsplit(".", 1)[1]))

    def tags(self, of: str) -> dict[str, str]:
        """The tags that it gives to resources of a type."""
        return {
            self.get(f"{tag}.Key"): self.get(f"{tag}.Value")
            for each in self.numbered("TagSpecification")
            if self.get(f"{each}.ResourceType") == of
            for tag in self.numbered(f"{each}.Tag")
        }


Rule = Callable[[Call], None]


def instances(backend: Any) -> Iterator[Any]:
    """All instances of a region, terminated ones included."""
    for reservation in backend.reservations.values():
        yield from reservation.instances


def taken(backend: Any, subnet: Any) -> set[str]:
    """The addresses of a subnet that interfaces have."""
    return {
        each["PrivateIpAddress"]
        for eni in backend.enis.values()
        if eni.subnet.id == subnet.id
        for each in eni.private_ip_addresses
    }


def mapped(backend: Any, vpc: str) -> bool:
    """Whether interfaces of a VPC have public addresses."""
    return any(address.eni is not None and address.eni.vpc_id == vpc for address in backend.addresses)


def attached(backend: Any, vpc: str) -> Any:
    """The Internet gateway of a VPC, or None."""
    return next((way for way in backend.internet_gateways.values() if way.vpc is not None and way.vpc.id == vpc), None)


def _groups(backend: Any) -> Iterator[Any]:
    for of_vpc in backend.groups.values():
        yield from of_vpc.values()


def nothing(_call: Call) -> None:
    """The rule of most calls: moto does as AWS does."""


def _depends(message: str) -> RefusalError:
    return RefusalError("DependencyViolation", message)


# Removals. Errors, DependencyViolation: "The specified object has dependent resources."


def delete_subnet(call: Call) -> None:
    """API, DeleteSubnet: "You must terminate all running instances in the subnet before you can delete the subnet"."""
    identifier = call.get("SubnetId")
    if any(eni.subnet.id == identifier for eni in call.backend.enis.values()):
        raise _depends(f"The subnet '{identifier}' has dependencies and cannot be deleted.")


def after_delete_subnet(call: Call) -> None:
    """VPC User Guide, "Subnet route tables": an association goes with its subnet."""
    for table in call.backend.route_tables.values():
        gone = [key for key, subnet in table._associations.items() if subnet == call.get("SubnetId")]  # noqa: SLF001
        for key in gone:
            del table._associations[key]  # noqa: SLF001


def delete_security_group(call: Call) -> None:
    """API, DeleteSecurityGroup: fails with DependencyViolation when associated with an interface or referenced."""
    identifier = call.get("GroupId")
    group = call.backend.get_security_group_from_id(identifier)
    if group is None:
        return
    if group.is_default:
        raise RefusalError(
            "CannotDelete", f'the specified group: "{identifier}" name: "default" cannot be deleted by a user'
        )
    used = any(identifier in [each.id for each in eni.group_set] for eni in call.backend.enis.values())
    named = any(
        rule.source_group.get("GroupId") == identifier
        for other in _groups(call.backend)
        if other.id != identifier
        for rule in (*other.ingress_rules, *other.egress_rules)
    )
    if used or named:
        raise _depends(f"resource {identifier} has a dependent object")


def detach_internet_gateway(call: Call) -> None:
    """API, DetachInternetGateway: "The VPC must not contain any running instances with Elastic IP addresses"."""
    if mapped(call.backend, call.get("VpcId")):
        raise _depends(
            f"Network {call.get('VpcId')} has some mapped public address(es). "
            "Please unmap those public address(es) before detaching the gateway."
        )


def release_address(call: Call) -> None:
    """API, ReleaseAddress: it must be disassociated first; otherwise InvalidIPAddress.InUse."""
    for address in call.backend.addresses:
        if address.allocation_id == call.get("AllocationId") and address.association_id:
            raise RefusalError("InvalidIPAddress.InUse", f"Address {address.public_ip} is in use.")


def delete_route_table(call: Call) -> None:
    """API, DeleteRouteTable: "You must disassociate the route table from any subnets"; "You can't delete the main"."""
    table = call.backend.route_tables.get(call.get("RouteTableId"))
    if table is not None and table.main_association_id:
        raise _depends(f"The routeTable '{table.id}' has dependencies and cannot be deleted.")


def disassociate_route_table(call: Call) -> None:
    """API, DisassociateRouteTable: the main association cannot be removed, only replaced."""
    identifier = call.get("AssociationId")
    if any(table.main_association_id == identifier for table in call.backend.route_tables.values()):
        raise RefusalError(
            "InvalidParameterValue", f"cannot disassociate the main route table association {identifier}"
        )


def delete_network_interface(call: Call) -> None:
    """Errors, InvalidNetworkInterface.InUse: detach it first."""
    eni = call.backend.enis.get(call.get("NetworkInterfaceId"))
    if eni is not None and eni.attachment_id:
        raise RefusalError("InvalidNetworkInterface.InUse", f"Network interface '{eni.id}' is currently in use.")


def after_delete_network_interface(call: Call) -> None:
    """EC2 User Guide, "Delete a network interface": it releases its addresses; an Elastic IP is disassociated."""
    free_addresses(call.backend)


def free_addresses(backend: Any) -> None:
    """Disassociate Elastic IPs of interfaces that are no more."""
    for address in backend.addresses:
        if address.eni is not None and address.eni.id not in backend.enis:
            address.eni = address.instance = address.association_id = None


def delete_vpc(call: Call) -> None:
    """API, DeleteVpc: "you must detach or delete all resources associated with the VPC before you can delete it"."""
    identifier, backend = call.get("VpcId"), call.backend
    held = (
        attached(backend, identifier) is not None
        or any(eni.vpc_id == identifier for eni in backend.enis.values())
        or any(not group.is_default for group in backend.groups.get(identifier, {}).values())
    )
    if held and identifier in backend.vpcs:
        raise _depends(f"The vpc '{identifier}' has dependencies and cannot be deleted.")


# Networks


def create_vpc(call: Call) -> None:
    """VPC User Guide, "Amazon VPC quotas": VPCs per Region."""
    if len(call.backend.vpcs) >= call.account.quotas["vpcs"]:
        raise RefusalError("VpcLimitExceeded", "The maximum number of VPCs has been reached.")


def create_internet_gateway(call: Call) -> None:
    """VPC User Guide, "Amazon VPC quotas": internet gateways per Region."""
    if len(call.backend.internet_gateways) >= call.account.quotas["gateways"]:
        raise RefusalError("InternetGatewayLimitExceeded", "The maximum number of internet gateways has been reached.")


def create_subnet(call: Call) -> None:
    """API, CreateSubnet: /28 to /16; "If you do not specify an Availability Zone, we choose one for you"."""
    try:
        network = IPv4Network(call.get("CidrBlock"))
    except ValueError:
        raise RefusalError(
            "InvalidParameterValue", f"Value ({call.get('CidrBlock')}) for parameter cidrBlock is invalid."
        ) from None
    if not 16 <= network.prefixlen <= 28:
        raise RefusalError("InvalidSubnet.Range", f"The CIDR '{network}' is invalid.")
    zones = [zone.name for zone in call.backend.zones[call.region]]
    zone = call.given.setdefault("AvailabilityZone", zones[0])
    if zone not in zones:
        raise RefusalError(
            "InvalidParameterValue",
            f"Value ({zone}) for parameter availabilityZone is invalid. Subnets can currently only be created in the "
            f"following availability zones: {', '.join(zones)}.",
        )


def after_create_subnet(call: Call) -> None:
    """VPC User Guide, "IP addressing": a subnet that is not a default one gives no public addresses by itself."""
    for of_zone in call.backend.subnets.values():
        for subnet in of_zone.values():
            if subnet.vpc_id == call.get("VpcId"):
                subnet.map_public_ip_on_launch = subnet.default_for_az = False


def attach_internet_gateway(call: Call) -> None:
    """VPC User Guide, "Internet gateways": a VPC has one at most."""
    if attached(call.backend, call.get("VpcId")) is not None:
        raise RefusalError(
            "Resource.AlreadyAssociated", f"Network {call.get('VpcId')} already has an internet gateway attached"
        )


def associate_route_table(call: Call) -> None:
    """API, AssociateRouteTable: both in the same VPC; a subnet has one table. Errors, Resource.AlreadyAssociated."""
    table = call.backend.get_route_table(call.get("RouteTableId"))
    subnet = call.backend.get_subnet(call.get("SubnetId"))
    if table.vpc_id != subnet.vpc_id:
        raise RefusalError(
            "InvalidParameterValue", f"Route table {table.id} and subnet {subnet.id} belong to different networks"
        )
    for other in call.backend.route_tables.values():
        if subnet.id in other._associations.values():  # noqa: SLF001
            raise RefusalError(
                "Resource.AlreadyAssociated", f"the specified association for subnet {subnet.id} exists already"
            )


def create_route(call: Call) -> None:
    """API, CreateRoute: the target is in the table's VPC; Errors, RouteAlreadyExists, RouteLimitExceeded."""
    table, to = call.backend.get_route_table(call.get("RouteTableId")), call.get("DestinationCidrBlock")
    if any(route.destination_cidr_block == to for route in table.routes):
        raise RefusalError("RouteAlreadyExists", f"The route identified by {to} already exists.")
    if len(table.routes) >= call.account.quotas["routes"]:
        raise RefusalError("RouteLimitExceeded", f"The maximum number of routes in {table.id} has been reached.")
    replace_route(call)


def replace_route(call: Call) -> None:
    """API, CreateRoute and ReplaceRoute: gateway or interface belong to the table's VPC."""
    table = call.backend.get_route_table(call.get("RouteTableId"))
    eni = call.backend.enis.get(call.get("NetworkInterfaceId"))
    way = call.backend.internet_gateways.get(call.get("GatewayId"))
    foreign = eni is not None and eni.vpc_id != table.vpc_id
    if foreign or (way is not None and attached(call.backend, table.vpc_id) is not way):
        target = call.get("NetworkInterfaceId") or call.get("GatewayId")
        raise RefusalError("InvalidParameterValue", f"route table {table.id} and {target} belong to different networks")


def blackhole(route: Any) -> str:
    """VPC User Guide, "Route table concepts": a route whose target is deleted or detached is a `blackhole`."""
    backend = route.route_table.ec2_backend
    if route.interface is not None:
        eni = backend.enis.get(route.interface.id)
        return "active" if eni is not None and eni.attachment_id else "blackhole"
    if route.instance is not None:
        return "blackhole" if route.instance.state in DEAD else "active"
    way = backend.internet_gateways.get(getattr(route.gateway, "id", ""))
    if str(getattr(route.gateway, "id", "")).startswith("igw-"):
        return "active" if way is not None and attached(backend, route.route_table.vpc_id) is way else "blackhole"
    return "active"


# Security groups

_PROTOCOLS = {"6": "tcp", "17": "udp", "1": "icmp"}


def permissions(call: Call) -> None:
    """API, IpPermission: ports for tcp and udp, type and code for icmp; any other protocol number has none.

    moto wants ports for each but "-1": those of other protocols are completed.
    """
    for each in call.numbered("IpPermissions"):
        protocol = call.get(f"{each}.IpProtocol")
        protocol = _PROTOCOLS.get(protocol, protocol)
        if protocol in {"tcp", "udp", "icmp"}:
            if not (call.get(f"{each}.FromPort") and call.get(f"{each}.ToPort")):
                raise RefusalError(
                    "InvalidParameterValue",
                    f"Invalid value for portRange. Must specify both from and to ports with {protocol.upper()}.",
                )
        elif protocol != "-1":
            if not protocol.isdigit() or int(protocol) > 255:
                raise RefusalError(
                    "InvalidParameterValue", f"Invalid value '{protocol}' for IP protocol. Unknown protocol."
                )
            call.given[f"{each}.FromPort"] = call.given[f"{each}.ToPort"] = "-1"
        for source in call.numbered(f"{each}.IpRanges"):
            if not DESCRIPTION.fullmatch(call.get(f"{source}.Description")):
                raise RefusalError("InvalidParameterValue", "Invalid rule description.")


def authorize(call: Call) -> None:
    """API, AuthorizeSecurityGroupIngress; Errors, InvalidPermission.Duplicate: nothing of the call is carried out."""
    permissions(call)
    group = call.backend.get_security_group_from_id(call.get("GroupId"))
    if group is None:
        raise RefusalError("InvalidGroup.NotFound", f"The security group '{call.get('GroupId')}' does not exist")
    rules = group.egress_rules if call.action.endswith("Egress") else group.ingress_rules
    held = {(rule.ip_protocol, rule.from_port, rule.to_port, rule.ip_range.get("CidrIp")) for rule in rules}
    for each in call.numbered("IpPermissions"):
        protocol = call.get(f"{each}.IpProtocol")
        protocol = _PROTOCOLS.get(protocol, protocol)
        ports: tuple[int | None, int | None] = (None, None)
        if protocol != "-1":
            ports = (int(call.get(f"{each}.FromPort")), int(call.get(f"{each}.ToPort")))
        for source in call.numbered(f"{each}.IpRanges"):
            key = (protocol, *ports, call.get(f"{source}.CidrIp"))
            if key in held:
                raise RefusalError(
                    "InvalidPermission.Duplicate",
                    f'the specified rule "peer: {key[3]}, {protocol.upper()}, from port: {ports[0]}, '
                    f'to port: {ports[1]}, ALLOW" already exists',
                )
            held.add(key)


# Interfaces and addresses


def _address(call: Call, subnet: Any, wanted: str) -> None:
    """VPC User Guide, "Subnet CIDR blocks": the first four addresses and the last are AWS's own."""
    try:
        address = IPv4Address(wanted)
    except ValueError:
        raise RefusalError("InvalidParameterValue", f"invalid value for parameter address: {wanted}") from None
    network = subnet.cidr
    if address not in network:
        raise RefusalError("InvalidParameterValue", "Address does not fall within the subnet's address range")
    if int(address) - int(network.network_address) < 4 or address == network.broadcast_address:
        raise RefusalError("InvalidParameterValue", "Address is in subnet's reserved address range")
    if wanted in taken(call.backend, subnet):
        raise RefusalError("InvalidIPAddress.InUse", f"Address {wanted} is in use.")


def _free(call: Call, subnet: Any) -> str:
    """API, CreateNetworkInterface, PrivateIpAddress: "If you don't specify one, Amazon EC2 selects one for you"."""
    used = taken(call.backend, subnet)
    first, last = int(subnet.cidr.network_address) + 4, int(subnet.cidr.broadcast_address)
    for number in range(first, last):
        if str(IPv4Address(number)) not in used:
            return str(IPv4Address(number))
    raise RefusalError("InsufficientFreeAddressesInSubnet", f"subnet {subnet.id} has no free address")


def _known_groups(call: Call, identifiers: list[str], vpc: str) -> None:
    for each in identifiers:
        group = call.backend.get_security_group_from_id(each)
        if group is None:
            raise RefusalError("InvalidGroup.NotFound", f"The security group '{each}' does not exist")
        if vpc and group.vpc_id != vpc:
            raise RefusalError(
                "InvalidParameter", f"Security group {each} and its subnet belong to different networks."
            )


def create_network_interface(call: Call) -> None:
    """API, CreateNetworkInterface."""
    subnet = call.backend.get_subnet(call.get("SubnetId"))
    _known_groups(call, call.listed("SecurityGroupId"), subnet.vpc_id)
    _address(call, subnet, call.given.setdefault("PrivateIpAddress", _free(call, subnet)))


def modify_network_interface_attribute(call: Call) -> None:
    """API, ModifyNetworkInterfaceAttribute."""
    eni = call.backend.get_network_interface(call.get("NetworkInterfaceId"))
    _known_groups(call, call.listed("SecurityGroupId"), eni.vpc_id)


def after_modify_network_interface_attribute(call: Call) -> None:
    """API, ModifyInstanceAttribute, SourceDestCheck: it is the flag of the instance's (primary) interface."""
    eni = call.backend.enis[call.get("NetworkInterfaceId")]
    if eni.instance is not None and eni.device_index == 0:
        eni.instance.source_dest_check = eni.source_dest_check


def modify_instance_attribute(call: Call) -> None:
    """EC2 User Guide, "Change the instance type": only of a stopped instance."""
    instance = call.backend.get_instance(call.get("InstanceId"))
    if call.get("InstanceType.Value") and instance.state != "stopped":
        raise RefusalError("IncorrectInstanceState", f"The instance '{instance.id}' is not in the 'stopped' state.")


def after_modify_instance_attribute(call: Call) -> None:
    """One flag: see `after_modify_network_interface_attribute`."""
    wanted = call.get("SourceDestCheck.Value")
    if wanted and 0 in (nics := call.backend.get_instance(call.get("InstanceId")).nics):
        nics[0].source_dest_check = wanted.lower() == "true"
        call.backend.get_instance(call.get("InstanceId")).source_dest_check = nics[0].source_dest_check


def allocate_address(call: Call) -> None:
    """EC2 User Guide, "Elastic IP addresses", quota: 5 per Region."""
    if len(call.backend.addresses) >= call.account.quotas["addresses"]:
        raise RefusalError("AddressLimitExceeded", "The maximum number of addresses has been reached.")


def associate_address(call: Call) -> None:
    """API, AssociateAddress; Errors, Gateway.NotAttached and Resource.AlreadyAssociated."""
    backend = call.backend
    if call.get("InstanceId"):
        eni = backend.get_instance(call.get("InstanceId")).nics[0]
    else:
        eni = backend.get_network_interface(call.get("NetworkInterfaceId"))
    if attached(backend, eni.vpc_id) is None:
        raise RefusalError("Gateway.NotAttached", f"Network {eni.vpc_id} is not attached to any internet gateway")
    other = next((each for each in backend.addresses if each.eni is not None and each.eni.id == eni.id), None)
    if other is not None and other.allocation_id != call.get("AllocationId"):
        if call.get("AllowReassociation") != "true":
            raise RefusalError("Resource.AlreadyAssociated", f"resource {eni.id} is already associated with an address")
        other.eni = other.instance = other.association_id = None
    moved = next((each for each in backend.addresses if each.allocation_id == call.get("AllocationId")), None)
    if (
        moved is not None
        and moved.eni is not None
        and moved.eni.id != eni.id
        and call.get("AllowReassociation") == "true"
    ):
        moved.eni.public_ip = None  # moto forgets to take it from where it was


def describe_tags(call: Call) -> None:
    """API, DescribeTags: of resources that are there; moto keeps what it knew of deleted ones."""
    backend = call.backend
    there = {
        "vpc": backend.vpcs,
        "subnet": {subnet.id for of_zone in backend.subnets.values() for subnet in of_zone.values()},
        "igw": backend.internet_gateways,
        "rtb": backend.route_tables,
        "sg": {group.id for group in _groups(backend)},
        "eni": backend.enis,
        "eipalloc": {address.allocation_id for address in backend.addresses},
        "key": {pair.id for pair in backend.key_pairs.values()},
        "vol": backend.volumes,
    }
    for identifier in list(backend.tags):
        kind = identifier.partition("-")[0]
        if kind in there and identifier not in there[kind]:
            del backend.tags[identifier]


# Instances


def import_key_pair(call: Call) -> None:
    """API, ImportKeyPair; Errors, InvalidKey.Format."""
    try:
        load_ssh_public_key(base64.b64decode(call.get("PublicKeyMaterial"), validate=True))
    except (ValueError, binascii.Error, UnsupportedAlgorithm):
        raise RefusalError("InvalidKey.Format", "Key is not in valid OpenSSH public key format") from None


def run_instances(call: Call) -> None:
    """API, RunInstances: what it names must exist, be offered, be free, and fit into the quota."""
    backend, image = call.backend, call.get("ImageId")
    if not re.fullmatch(r"ami-[0-9a-f]+", image):
        raise RefusalError("InvalidAMIID.Malformed", f'Invalid id: "{image}" (expecting "ami-...")')
    if image not in backend.amis:
        raise RefusalError("InvalidAMIID.NotFound", f"The image id '[{image}]' does not exist")
    if call.get("KeyName") and call.get("KeyName") not in backend.key_pairs:
        raise RefusalError("InvalidKeyPair.NotFound", f"The key pair '{call.get('KeyName')}' does not exist")
    try:
        if len(base64.b64decode(call.get("UserData"), validate=True)) > MAX_USER_DATA:
            raise RefusalError("InvalidParameterValue", "User data is limited to 16384 bytes")
    except binascii.Error:
        raise RefusalError("InvalidUserData.Malformed", "Invalid BASE64 encoding of user data.") from None
    _placement(call)
    _offered(call, _interfaces(call))


def _placement(call: Call) -> None:
    """EC2 User Guide, "Placement groups" and "Dedicated Hosts"."""
    group, host = call.get("Placement.GroupName"), call.get("Placement.HostId")
    if group and group not in call.account.placement_groups:
        raise RefusalError("InvalidPlacementGroup.Unknown", f"The Placement Group '{group}' is unknown.")
    if host and host not in call.backend.hosts:
        raise RefusalError("InvalidHostID.NotFound", f"The dedicated host '{host}' does not exist")


def _interfaces(call: Call) -> str:
    """Check and complete its interfaces; the Availability Zone in which they are."""
    zone = ""
    for each in call.numbered("NetworkInterface"):
        if identifier := call.get(f"{each}.NetworkInterfaceId"):
            eni = call.backend.get_network_interface(identifier)
            if eni.attachment_id:
                raise RefusalError("InvalidNetworkInterface.InUse", f"Interface: [{identifier}] in use.")
            if call.get(f"{each}.DeleteOnTermination") == "true":
                raise RefusalError(
                    "InvalidParameterCombination", "DeleteOnTermination is for interfaces that the launch makes"
                )
            subnet = eni.subnet
        else:
            subnet = call.backend.get_subnet(call.get(f"{each}.SubnetId"))
            _known_groups(call, call.listed(f"{each}.SecurityGroupId"), subnet.vpc_id)
            wanted = call.given.setdefault(f"{each}.PrivateIpAddress", _free(call, subnet))
            _address(call, subnet, wanted)
        zone = subnet.availability_zone
    return zone


def _offered(call: Call, zone: str) -> None:
    """Errors, Unsupported and VcpuLimitExceeded."""
    from moto.ec2.models.instance_types import INSTANCE_TYPE_OFFERINGS, INSTANCE_TYPES

    size = call.get("InstanceType") or "m1.small"
    if size not in INSTANCE_TYPES:
        raise RefusalError("InvalidParameterValue", f"Invalid value '{size}' for InstanceType.")
    place, offered = ("availability-zone", zone) if zone else ("region", call.region)
    if not any(
        each["InstanceType"] == size and each["Location"] == offered
        for each in INSTANCE_TYPE_OFFERINGS[place].get(call.region, [])
    ):
        raise RefusalError(
            "Unsupported",
            f"Your requested instance type ({size}) is not supported in your requested Availability Zone ({offered}).",
        )

    def vcpus(of: str) -> int:
        return int(INSTANCE_TYPES.get(of, {}).get("VCpuInfo", {}).get("DefaultVCpus", 1))

    used = sum(vcpus(each.instance_type) for each in instances(call.backend) if each.state in {"pending", "running"})
    limit = call.account.quotas["vcpus"]
    if used + vcpus(size) * int(call.get("MinCount") or 1) > limit:
        raise RefusalError(
            "VcpuLimitExceeded",
            f"You have requested more vCPU capacity than your current vCPU limit of {limit} allows for the instance "
            "bucket that the specified instance type belongs to.",
        )


def after_run_instances(call: Call, made: list[Any]) -> None:
    """API, InstanceNetworkInterfaceSpecification: an interface made at launch goes with its instance, and has tags."""
    for instance in made:
        for each in call.numbered("NetworkInterface"):
            eni = instance.nics[int(call.get(f"{each}.DeviceIndex") or 0)]
            if not call.get(f"{each}.NetworkInterfaceId"):
                eni.delete_on_termination = call.get(f"{each}.DeleteOnTermination") != "false"
                eni.add_tags(call.tags("network-interface"))
        if 0 in instance.nics:
            instance.source_dest_check = instance.nics[0].source_dest_check
            instance.placement.zone = instance.nics[0].subnet.availability_zone
        instance.placement.group_name = call.get("Placement.GroupName")
        instance.placement.tenancy = call.get("Placement.Tenancy") or "default"


def start_instances(call: Call) -> None:
    """API, StartInstances; Errors, IncorrectInstanceState."""
    for identifier in call.listed("InstanceId"):
        instance = call.backend.get_instance(identifier)
        if instance.state in {"stopping", *DEAD}:
            raise RefusalError(
                "IncorrectInstanceState",
                f"The instance '{identifier}' is not in a state from which it can be started.",
            )


def stop_instances(call: Call) -> None:
    """API, StopInstances; Errors, IncorrectInstanceState."""
    for identifier in call.listed("InstanceId"):
        if call.backend.get_instance(identifier).state in DEAD:
            raise RefusalError(
                "IncorrectInstanceState", f"This instance '{identifier}' is not in a state to be stopped."
            )


BEFORE: Mapping[str, Rule] = {
    "AllocateAddress": allocate_address,
    "AssociateAddress": associate_address,
    "AssociateRouteTable": associate_route_table,
    "AttachInternetGateway": attach_internet_gateway,
    "AuthorizeSecurityGroupEgress": authorize,
    "AuthorizeSecurityGroupIngress": authorize,
    "CreateInternetGateway": create_internet_gateway,
    "CreateNetworkInterface": create_network_interface,
    "CreateRoute": create_route,
    "CreateSubnet": create_subnet,
    "CreateVpc": create_vpc,
    "DeleteNetworkInterface": delete_network_interface,
    "DeleteRouteTable": delete_route_table,
    "DeleteSecurityGroup": delete_security_group,
    "DeleteSubnet": delete_subnet,
    "DeleteVpc": delete_vpc,
    "DescribeTags": describe_tags,
    "DetachInternetGateway": detach_internet_gateway,
    "DisassociateRouteTable": disassociate_route_table,
    "ImportKeyPair": import_key_pair,
    "ModifyInstanceAttribute": modify_instance_attribute,
    "ModifyNetworkInterfaceAttribute": modify_network_interface_attribute,
    "ReleaseAddress": release_address,
    "ReplaceRoute": replace_route,
    "RevokeSecurityGroupEgress": permissions,
    "RevokeSecurityGroupIngress": permissions,
    "RunInstances": run_instances,
    "StartInstances": start_instances,
    "StopInstances": stop_instances,
}
"""What is checked before moto carries a call out."""

AFTER: Mapping[str, Rule] = {
    "CreateSubnet": after_create_subnet,
    "DeleteNetworkInterface": after_delete_network_interface,
    "DeleteSubnet": after_delete_subnet,
    "ModifyInstanceAttribute": after_modify_instance_attribute,
    "ModifyNetworkInterfaceAttribute": after_modify_network_interface_attribute,
}
"""What is put right after it."""
