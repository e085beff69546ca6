"""Every step for a site in AWS, said once: its network, its gateway, its hosts."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from ipaddress import IPv4Address, IPv4Network
from typing import Any

from proactive_tasks.clouds.aws.api import (
    KINDS,
    SETTLING,
    STOPPED,
    Api,
    Found,
    Names,
    Object,
    alive,
    said,
    state,
)
from proactive_tasks.clouds.aws.words import (
    admitted,
    detail,
    key,
    listed,
    permission,
    permission_of,
    rule_line,
    shadows,
    target_of,
)
from proactive_tasks.clouds.provider import GatewayOrder
from proactive_tasks.clouds.security import ANYWHERE, Admitted, gateway_rules, host_rules
from proactive_tasks.clouds.steps import Steps
from proactive_tasks.overlay.errors import InputError, ProviderError
from proactive_tasks.overlay.numbering import assignable, subnets

GATEWAY_TYPE, HOST_TYPE = "t3.small", "t3.micro"


@dataclass
class SiteSteps:
    """Every step for a site, once: taken or only noted."""

    api: Api
    order: GatewayOrder
    found: Found
    steps: Steps
    names: Names
    find: Callable[[str, str], Object | None]  # looks for what a call with an unclear outcome made: kind, name
    image: Callable[[], str]  # the newest Debian 12
    _tables: list[tuple[Object, str, tuple[IPv4Network, ...]]] = field(default_factory=list)
    """Route tables that lead to the gateway: as found, what each is called, and which prefixes."""

    def gateway(self) -> tuple[Object, Object]:
        """All steps for the site's network and gateway; its instance and its address."""
        site = self.order.site
        vpc, subnet = self._adopted() if site.options.get("vpc") else self._network()
        group = self._group(vpc, "gateway", gateway_rules(site, self.order.controllers))
        self._group(vpc, "hosts", host_rules(self.order.routes))
        interface = self._interface(subnet, group)
        address = self._address(interface)
        self._routes(interface)
        return self._instance(interface), address

    # One step, and one that makes something

    def _take(self, line: str, action: str, on: str = "", *, fine: Collection[str] = (), **arguments: Any) -> Object:
        busy = SETTLING | {"IncorrectInstanceState"}
        call = partial(self.api.call, action, on, fine=fine, busy=busy, **arguments)
        return self.steps.take(line, said(action, on, **arguments), call, instead={})

    def _make(
        self, kind: str, part: str, action: str, answer: str = "", also: Sequence[str] = (), **arguments: Any
    ) -> Object:
        """What is there of this kind and name, or else the answer of the call that makes it."""
        name = self.names(part)
        if (held := self.found.one(kind, name)) is not None:
            return held
        arguments["TagSpecifications"] = [self.names.specification(each, name) for each in (kind, *also)]

        def identified(made: Object) -> Object:
            return {**made, "Identifier": made[KINDS[kind].identifier]}  # for the journal

        def make() -> Object:
            busy = SETTLING | {"InvalidNetworkInterface.InUse"}
            if arguments.get("KeyName") == self.order.site.options.get("key_pair", ""):
                busy -= {"InvalidKeyPair.NotFound"}  # the user's own: it is not on its way, it is not there
            told = self.api.call(action, once=True, busy=busy, **arguments)
            return identified(told["Instances"][0] if kind == "instance" else told[answer] if answer else told)

        def find() -> Object | None:
            found = self.find(kind, name)
            return identified(found) if found is not None else None

        return self.steps.take(
            f"{kind} {name}: make" + detail(arguments),
            said(action, **arguments),
            make,
            instead={KINDS[kind].identifier: f"({kind} {name})"},
            makes=(kind, name),
            find=find,
        )

    # The network

    def _network(self) -> tuple[str, str]:
        """The site's own VPC and the gateway's subnet."""
        site = self.order.site
        lower, upper = subnets(site.subnet)
        vpc = self._make("VPC", "", "CreateVpc", "Vpc", CidrBlock=str(site.subnet))
        if vpc.get("CidrBlock", str(site.subnet)) != str(site.subnet):
            raise ProviderError(
                f"VPC {vpc['VpcId']} has {vpc['CidrBlock']}, but site {site.name} has {site.subnet}: it is left from "
                "an earlier life; remove the site (overlayctl scale-in), then deploy it again"
            )
        within = {"VpcId": vpc["VpcId"]}
        zone = {"AvailabilityZone": site.options["availability_zone"]} if "availability_zone" in site.options else {}
        applications = self._make(
            "subnet", "applications", "CreateSubnet", "Subnet", CidrBlock=str(lower), **within, **zone
        )
        if chosen := applications.get("AvailabilityZone"):
            zone = {"AvailabilityZone": chosen}  # both in one zone: traffic between zones costs
        gateway = self._make("subnet", "gateway", "CreateSubnet", "Subnet", CidrBlock=str(upper), **within, **zone)
        way = self._make("Internet gateway", "", "CreateInternetGateway", "InternetGateway")
        if not any(each["VpcId"] == vpc["VpcId"] for each in way.get("Attachments", ())):
            identifier = way["InternetGatewayId"]
            self._take(
                f"Internet gateway {self.names()}: attach to the VPC",
                "AttachInternetGateway",
                identifier,
                fine={"Resource.AlreadyAssociated"},
                InternetGatewayId=identifier,
                VpcId=vpc["VpcId"],
            )
        for part, subnet in (("gateway", gateway), ("applications", applications)):
            table = self._make("route table", part, "CreateRouteTable", "RouteTable", **within)
            if not any(each.get("SubnetId") == subnet["SubnetId"] for each in table.get("Associations", ())):
                self._take(
                    f"route table {self.names(part)}: associate with its subnet",
                    "AssociateRouteTable",
                    table["RouteTableId"],
                    fine={"Resource.AlreadyAssociated"},
                    RouteTableId=table["RouteTableId"],
                    SubnetId=subnet["SubnetId"],
                )
            if part == "gateway":
                self._lead(table, self.names(part), ANYWHERE, "GatewayId", way["InternetGatewayId"])
            else:
                self._tables.append((table, self.names(part), (ANYWHERE, *self.order.routes)))
        return vpc["VpcId"], gateway["SubnetId"]

    def _adopted(self) -> tuple[str, str]:
        """The same of a VPC that is there: nothing of it is changed but routes in the tables that the site names."""
        site = self.order.site
        vpc = next(iter(self.found.held["VPC"]), None)
        if vpc is None:
            raise InputError(
                f"site {site.name}: region {self.api.region} has no VPC {site.options['vpc']}; correct the option vpc"
            )
        blocks = [IPv4Network(each["CidrBlock"]) for each in vpc.get("CidrBlockAssociationSet", ())]
        foreign = [each for each in blocks or [IPv4Network(vpc["CidrBlock"])] if each not in site.prefixes]
        if foreign:
            raise InputError(
                f"site {site.name}: its VPC {vpc['VpcId']} has {', '.join(map(str, foreign))}, which is not among its "
                f"prefixes; add prefixes: [{', '.join(map(str, foreign))}]"
            )
        wanted = site.options.get("subnet", "")
        subnet = next((each for each in self.found.held["subnet"] if each["SubnetId"] == wanted), None)
        if subnet is None:
            raise InputError(
                f"site {site.name}: VPC {vpc['VpcId']} has no subnet {wanted or '(none named)'}; "
                "name one that leads to the Internet by the option subnet"
            )
        tables = {each["RouteTableId"]: each for each in self.found.held["route table"]}
        self._public(subnet["SubnetId"], tables.values())
        for identifier in listed(site.options.get("route_tables", "")):
            if identifier not in tables:
                raise InputError(
                    f"site {site.name}: VPC {vpc['VpcId']} has no route table {identifier}; "
                    "correct the option route_tables"
                )
            self._free(tables[identifier])
            self._tables.append((tables[identifier], identifier, tuple(self.order.routes)))
        return vpc["VpcId"], subnet["SubnetId"]

    def _public(self, subnet: str, tables: Iterable[Object]) -> None:
        """The gateway's subnet must lead to an Internet gateway."""
        own = [each for each in tables if any(one.get("SubnetId") == subnet for one in each["Associations"])]
        main = [each for each in tables if any(one.get("Main") for one in each["Associations"])]
        routes = [route for each in (own or main)[:1] for route in each["Routes"]]
        if not any(
            route.get("DestinationCidrBlock") == str(ANYWHERE) and str(route.get("GatewayId", "")).startswith("igw-")
            for route in routes
        ):
            raise InputError(
                f"site {self.order.site.name}: subnet {subnet} has no route to an Internet gateway, but the gateway "
                "needs one; name a public subnet by the option subnet"
            )

    def _free(self, table: Object) -> None:
        """A route that is somebody else's cannot be ours, too: a release would not bring it back."""
        own = self.found.one("network interface", self.names("gateway")) or {}
        wanted = {str(prefix) for prefix in self.order.routes}
        for route in table.get("Routes", ()):
            to = route.get("DestinationCidrBlock", "")
            if to in wanted and route.get("State") != "blackhole" and target_of(route) != own.get("NetworkInterfaceId"):
                raise InputError(
                    f"site {self.order.site.name}: route table {table['RouteTableId']} has a route to {to} already "
                    f"({target_of(route)}); remove it, or leave the table out of the option route_tables"
                )

    # Routes

    def _routes(self, interface: Object) -> None:
        """What leads to the gateway; a route of ours that is not wanted any more goes."""
        target = interface["NetworkInterfaceId"]
        for table, name, prefixes in self._tables:
            for prefix in prefixes:
                self._lead(table, name, prefix, "NetworkInterfaceId", target)
            for route in table.get("Routes", ()):
                to = route.get("DestinationCidrBlock", "")
                if route.get("NetworkInterfaceId") == target and to not in map(str, prefixes):
                    self._take(
                        f"route {to} in {name}: remove, nothing of the overlay is there any more",
                        "DeleteRoute",
                        table["RouteTableId"],
                        fine={"InvalidRoute.NotFound"},
                        RouteTableId=table["RouteTableId"],
                        DestinationCidrBlock=to,
                    )

    def _lead(self, table: Object, name: str, prefix: IPv4Network, by: str, target: str) -> None:
        routes = {
            each["DestinationCidrBlock"]: each for each in table.get("Routes", ()) if "DestinationCidrBlock" in each
        }
        held = routes.get(str(prefix))
        if held is not None and held.get(by) == target:
            return
        arguments = {"RouteTableId": table["RouteTableId"], "DestinationCidrBlock": str(prefix), by: target}
        goal = "the gateway" if by == "NetworkInterfaceId" else "the Internet"
        if held is not None:
            line = f"route {prefix} in {name}: lead to {goal} again, not to {target_of(held)}"
            self._take(line, "ReplaceRoute", table["RouteTableId"], **arguments)
            return
        shadowed = shadows(prefix, routes.values()) if self.order.site.options.get("vpc") else ""
        line = f"route {prefix} in {name}: lead to {goal}{shadowed}"
        self._take(line, "CreateRoute", table["RouteTableId"], fine={"RouteAlreadyExists"}, **arguments)

    # Security groups

    def _group(self, vpc: str, part: str, wanted: Sequence[Admitted]) -> str:
        name = self.names(part)
        group = self._make(
            "security group",
            part,
            "CreateSecurityGroup",
            VpcId=vpc,
            GroupName=name,
            Description=f"{name} of an overlay",
        )
        identifier, held = str(group["GroupId"]), admitted(group.get("IpPermissions", ()))
        missing = [rule for rule in wanted if key(rule) not in held]
        if missing:
            self._take(
                f"security group {name}: admit {'; '.join(map(rule_line, missing))}",
                "AuthorizeSecurityGroupIngress",
                identifier,
                fine={"InvalidPermission.Duplicate"},
                GroupId=identifier,
                IpPermissions=[permission(rule) for rule in missing],
            )
        # A rule that bears one of our reasons was made by us, for what is wanted no more; others' rules stay.
        reasons = {rule.reason for rule in (*gateway_rules(self.order.site, [ANYWHERE]), *host_rules([ANYWHERE]))}
        known = {key(rule) for rule in wanted}
        stale = [rule for rule, reason in held.items() if reason in reasons and rule not in known]
        if stale:
            self._take(
                f"security group {name}: no longer admit {'; '.join(f'{rule[0]} from {rule[3]}' for rule in stale)}",
                "RevokeSecurityGroupIngress",
                identifier,
                fine={"InvalidPermission.NotFound"},
                GroupId=identifier,
                IpPermissions=[permission_of(*rule) for rule in stale],
            )
        everything = ("-1", None, None, str(ANYWHERE))
        if "IpPermissionsEgress" in group and everything not in admitted(group["IpPermissionsEgress"]):
            self._take(
                f"security group {name}: let everything out",
                "AuthorizeSecurityGroupEgress",
                identifier,
                fine={"InvalidPermission.Duplicate"},
                GroupId=identifier,
                IpPermissions=[permission_of(*everything)],
            )
        return identifier

    # The gateway's interface, address and instance

    def _interface(self, subnet: str, group: str) -> Object:
        site, name = self.order.site, self.names("gateway")
        fixed = {} if site.options.get("vpc") else {"PrivateIpAddress": str(site.gateway)}
        interface = self._make(
            "network interface",
            "gateway",
            "CreateNetworkInterface",
            "NetworkInterface",
            SubnetId=subnet,
            Groups=[group],
            Description=name,
            **fixed,
        )
        identifier = interface["NetworkInterfaceId"]
        if interface.get("SourceDestCheck", True):
            self._take(
                f"network interface {name}: source/destination check off",
                "ModifyNetworkInterfaceAttribute",
                identifier,
                NetworkInterfaceId=identifier,
                SourceDestCheck={"Value": False},
            )
        if "Groups" in interface and group not in [each["GroupId"] for each in interface["Groups"]]:
            self._take(
                f"network interface {name}: into its security group",
                "ModifyNetworkInterfaceAttribute",
                identifier,
                NetworkInterfaceId=identifier,
                Groups=[group],
            )
        return interface

    def _address(self, interface: Object) -> Object:
        address = self._make("address", "gateway", "AllocateAddress", Domain="vpc")
        if address.get("NetworkInterfaceId") != interface["NetworkInterfaceId"]:
            self._take(
                f"address {address.get('PublicIp', self.names('gateway'))}: give it to the gateway",
                "AssociateAddress",
                address["AllocationId"],
                AllocationId=address["AllocationId"],
                NetworkInterfaceId=interface["NetworkInterfaceId"],
                AllowReassociation=True,
            )
        return address

    def _instance(self, interface: Object) -> Object:
        options = self.order.site.options
        held = self.found.one("instance", self.names("gateway"))
        if held is not None:
            return self._kept(held, "gateway")
        placement = {}  # the zone is that of the interface's subnet
        if group := options.get("placement_group"):
            placement["GroupName"] = group
        if host := options.get("dedicated_host"):
            placement |= {"HostId": host, "Tenancy": "host"}
        more: dict[str, Any] = {"Placement": placement} if placement else {}
        if self.order.user_data:
            more["UserData"] = self.order.user_data.decode()
        return self._run(
            "gateway",
            options.get("image"),
            options.get("instance_type", GATEWAY_TYPE),
            {"NetworkInterfaceId": interface["NetworkInterfaceId"]},
            **more,
        )

    def _kept(self, instance: Object, part: str) -> Object:
        """An instance that is there: it runs, and its metadata wants a token."""
        identifier, name = instance["InstanceId"], self.names(part)
        if instance.get("MetadataOptions", {}).get("HttpTokens") != "required":
            self._take(
                f"instance {name}: metadata with a token only (IMDSv2)",
                "ModifyInstanceMetadataOptions",
                identifier,
                InstanceId=identifier,
                HttpTokens="required",
                HttpEndpoint="enabled",
            )
        if state(instance) in STOPPED:
            self._take(f"instance {name}: start", "StartInstances", identifier, InstanceIds=[identifier])
        return instance

    def _run(
        self, part: str, image: str | None, size: str, interface: Object, also: Sequence[str] = (), **more: Any
    ) -> Object:
        dead = sorted(each["InstanceId"] for each in self.found.instances() if not alive(each))
        pair = self.order.site.options.get("key_pair") or self._key_pair()
        arguments = {
            "ImageId": image or self.image(),
            "InstanceType": size,
            "MinCount": 1,
            "MaxCount": 1,
            **({"KeyName": pair} if pair else {}),
            "NetworkInterfaces": [{"DeviceIndex": 0, **interface}],
            "MetadataOptions": {"HttpTokens": "required", "HttpEndpoint": "enabled"},
            **more,
        }
        # The same call is the same instance, also after a crash; after the death of that one it is another call.
        seed = json.dumps([self.names(part), dead, arguments], sort_keys=True)
        token = hashlib.sha256(seed.encode()).hexdigest()
        return self._make("instance", part, "RunInstances", also=("volume", *also), ClientToken=token, **arguments)

    def _key_pair(self) -> str:
        """The overlay's SSH key as a key pair; user-data authorises it anyway."""
        if not self.order.ssh_key:
            return ""
        name, material = self.names(), self.order.ssh_key.encode()
        self._make("key pair", "", "ImportKeyPair", KeyName=name, PublicKeyMaterial=material)
        return name

    # Application hosts

    def hosts(self) -> list[str]:
        """Make those that lack, start those that are stopped; the identifiers of all that are wanted."""
        site = self.order.site
        adopted, options = bool(site.options.get("vpc")), site.options
        room = assignable("aws", site.subnet)
        if site.hosts > len(room) and not adopted:
            raise InputError(f"site {site.name}: {site.hosts} hosts, but {site.subnet} holds {len(room)}; lower it")
        group = self.found.one("security group", self.names("hosts"))
        subnet: Any = self.found.one("subnet", self.names("applications"))
        if adopted:
            subnet = {"SubnetId": options.get("subnet", "")}
        if site.hosts and (group is None or subnet is None):
            raise ProviderError(f"site {site.name}: it has no network for application hosts yet; deploy it first")
        made = []
        for n in range(1, site.hosts + 1):
            held = self.found.one("instance", self.names(f"host{n}"))
            if held is None and group is not None:
                address = {} if adopted else {"PrivateIpAddress": str(IPv4Address(room[n - 1]))}
                held = self._run(
                    f"host{n}",
                    options.get("host_image"),
                    options.get("host_instance_type", HOST_TYPE),
                    {
                        "SubnetId": subnet["SubnetId"],
                        "Groups": [group["GroupId"]],
                        "AssociatePublicIpAddress": False,
                        "DeleteOnTermination": True,
                        **address,
                    },
                    also=("network interface",),
                )
            elif held is not None:
                self._kept(held, f"host{n}")
            if held is not None:
                made.append(held["InstanceId"])
        return made
