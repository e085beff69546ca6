"""Our ARM emulator: what it refuses, shown by the official SDK, and what it hands on to the emulated network."""

from __future__ import annotations

import base64
import math
from collections.abc import Callable, Iterator
from ipaddress import IPv4Address, IPv4Network
from types import SimpleNamespace
from typing import Any

import pytest
from azure.core import MatchConditions
from azure.core.exceptions import HttpResponseError

from proactive_tasks.clouds.azure.calls import Arm as Clients
from proactive_tasks.lab.cloud.azure.bodies import problems
from proactive_tasks.lab.cloud.azure.compiled import compiled, rules, virtual_network
from proactive_tasks.lab.cloud.azure.emulator import environment, make_app
from proactive_tasks.lab.cloud.azure.network import GROUP, NIC, VNET
from proactive_tasks.lab.cloud.azure.state import SUBSCRIPTION, Limits, State, Thing
from proactive_tasks.lab.cloud.model import ANYWHERE, BLOCKS, INTERNET, NOWHERE, Route, Rule
from tests.clouds.emulated_azure import DATA, KEY, SHORT, Azure, azure

HERE = {"location": "westeurope"}
G = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/g/providers"


@pytest.fixture(scope="module")
def served() -> Iterator[Azure]:
    with azure(Limits(delay_s=0.0)) as made, pytest.MonkeyPatch.context() as patch:
        for name, value in environment(made.trouble.url).items():
            patch.setenv(name, value)
        yield made


@pytest.fixture
def api(served: Azure) -> Iterator[Clients]:
    """The SDK's clients, on a cloud that holds one group and one of each resource of a network."""
    served.app.state.things.clear()
    served.app.state.operations.clear()
    served.app.state.limits = Limits(delay_s=0.0)
    with Clients(SUBSCRIPTION, None, SHORT) as made:
        made.resources.resource_groups.create_or_update("g", HERE)
        network = made.network
        network.route_tables.begin_create_or_update("g", "rt", HERE).result()
        network.network_security_groups.begin_create_or_update("g", "sg", HERE).result()
        network.virtual_networks.begin_create_or_update("g", "net", net()).result()
        network.public_ip_addresses.begin_create_or_update("g", "ip", address()).result()
        network.network_interfaces.begin_create_or_update("g", "nic", interface()).result()
        yield made


def net(*subnets: tuple[str, str], space: tuple[str, ...] = ("10.2.0.0/24",)) -> dict[str, Any]:
    named = subnets or (("a", "10.2.0.0/25"), ("b", "10.2.0.128/28"))
    extra = {"routeTable": {"id": f"{G}/Microsoft.Network/routeTables/rt"}}
    extra["networkSecurityGroup"] = {"id": f"{G}/{GROUP}/sg"}
    inner = [
        {"name": name, "properties": {"addressPrefix": prefix, **(extra if name == "a" else {})}}
        for name, prefix in named
    ]
    return {**HERE, "properties": {"addressSpace": {"addressPrefixes": list(space)}, "subnets": inner}}


def address(**changes: Any) -> dict[str, Any]:
    return {**HERE, "sku": {"name": "Standard"}, "properties": {"publicIPAllocationMethod": "Static"}, **changes}


def interface(fixed: str = "", subnet: str = "a", public: str = "ip", **more: Any) -> dict[str, Any]:
    inner: dict[str, Any] = {"subnet": {"id": f"{G}/{VNET}/net/subnets/{subnet}"}}
    if fixed:
        inner |= {"privateIPAllocationMethod": "Static", "privateIPAddress": fixed}
    if public:
        inner["publicIPAddress"] = {"id": f"{G}/Microsoft.Network/publicIPAddresses/{public}"}
    return {**HERE, "properties": {"ipConfigurations": [{"name": "c", "properties": inner}], **more}}


def machine(**changes: Any) -> dict[str, Any]:
    profile = {
        "computerName": "vm",
        "adminUsername": "azureuser",
        "customData": base64.b64encode(DATA).decode(),
        "linuxConfiguration": {
            "disablePasswordAuthentication": True,
            "ssh": {"publicKeys": [{"path": "/home/azureuser/.ssh/authorized_keys", "keyData": KEY}]},
        },
        **changes.pop("osProfile", {}),
    }
    image = {"publisher": "Debian", "offer": "debian-12", "sku": "12-gen2", "version": "latest"}
    disk = {"name": "disk", "createOption": "FromImage", "deleteOption": "Delete", **changes.pop("osDisk", {})}
    properties = {
        "hardwareProfile": {"vmSize": "Standard_B1s"},
        "storageProfile": {"imageReference": image, "osDisk": disk},
        "osProfile": profile,
        "networkProfile": {"networkInterfaces": [{"id": f"{G}/{NIC}/nic"}]},
        **changes,
    }
    return {**HERE, "properties": properties}


def rule(**changes: Any) -> dict[str, Any]:
    inner = {
        "protocol": "Tcp",
        "sourceAddressPrefix": "*",
        "sourcePortRange": "*",
        "destinationAddressPrefix": "*",
        "destinationPortRange": "22",
        "access": "Allow",
        "priority": 100,
        "direction": "Inbound",
        **changes,
    }
    return {"name": f"r{inner['priority']}-{inner['destinationPortRange']}", "properties": inner}


def group(*given: dict[str, Any]) -> dict[str, Any]:
    return {**HERE, "properties": {"securityRules": list(given)}}


def table(*given: tuple[str, str, str]) -> dict[str, Any]:
    routes = [
        {
            "name": f"r{n}",
            "properties": {"addressPrefix": prefix, "nextHopType": hop, **({"nextHopIpAddress": a} if a else {})},
        }
        for n, (prefix, hop, a) in enumerate(given)
    ]
    return {**HERE, "properties": {"routes": routes}}


def putting(calls: str, name: str, body: dict[str, Any]) -> Callable[[Clients], Any]:
    def do(api: Clients) -> Any:
        client = api.compute if calls in {"virtual_machines", "disks"} else api.network
        return getattr(client, calls).begin_create_or_update("g", name, body).result()

    return do


def deleting(calls: str, *names: str) -> Callable[[Clients], Any]:
    def do(api: Clients) -> Any:
        client = api.compute if calls in {"virtual_machines", "disks"} else api.network
        return getattr(client, calls).begin_delete("g", *names).result()

    return do


def then(*steps: Callable[[Clients], Any]) -> Callable[[Clients], Any]:
    def do(api: Clients) -> None:
        for step in steps:
            step(api)

    return do


MACHINE = putting("virtual_machines", "vm", machine())

REFUSED: dict[str, tuple[Callable[[Clients], Any], int, str]] = {
    "an unknown property": (
        putting("network_interfaces", "x", interface(enableIpForwarding=True)),
        400,
        "InvalidRequestFormat",
    ),
    "a wrong type": (
        putting("network_interfaces", "x", interface(enableIPForwarding="yes")),
        400,
        "InvalidRequestFormat",
    ),
    "a word that is none": (
        putting("route_tables", "x", table(("10.0.0.0/8", "Appliance", ""))),
        400,
        "InvalidRequestFormat",
    ),
    "another region": (putting("route_tables", "x", {"location": "mars"}), 400, "LocationNotAvailableForResourceType"),
    "a move": (putting("route_tables", "rt", {"location": "eastus"}), 409, "InvalidResourceLocation"),
    "a bad name": (putting("route_tables", "-x-", HERE), 400, "InvalidResourceName"),
    "a machine's name of 65 letters": (putting("virtual_machines", "v" * 65, machine()), 400, "InvalidResourceName"),
    "no address space": (putting("virtual_networks", "xx", HERE), 400, "MissingAddressSpace"),
    "bits beyond the prefix": (
        putting("virtual_networks", "xx", net(space=("10.2.0.1/24",))),
        400,
        "InvalidCIDRNotation",
    ),
    "an address space that overlaps itself": (
        putting("virtual_networks", "xx", net(space=("10.2.0.0/24", "10.2.0.128/25"))),
        400,
        "AddressSpacesOverlap",
    ),
    "a subnet outside": (putting("virtual_networks", "xx", net(("s", "10.3.0.0/25"))), 400, "NetcfgInvalidSubnet"),
    "a subnet too small": (putting("virtual_networks", "xx", net(("s", "10.2.0.0/30"))), 400, "NetcfgInvalidSubnet"),
    "subnets that overlap": (
        putting("virtual_networks", "xx", net(("s", "10.2.0.0/25"), ("t", "10.2.0.64/26"))),
        400,
        "NetcfgSubnetRangesOverlap",
    ),
    "a subnet dropped in use": (
        putting("virtual_networks", "net", net(("b", "10.2.0.128/28"))),
        400,
        "InUseSubnetCannotBeDeleted",
    ),
    "a prefix changed in use": (
        putting("virtual_networks", "net", net(("a", "10.2.0.0/26"))),
        400,
        "InUsePrefixCannotBeDeleted",
    ),
    "a route without its next hop": (
        putting("route_tables", "x", table(("10.0.0.0/8", "VirtualAppliance", ""))),
        400,
        "InvalidIPAddressFormat",
    ),
    "two routes for a prefix": (
        putting("route_tables", "x", table(("10.0.0.0/8", "None", ""), ("10.0.0.0/8", "Internet", ""))),
        400,
        "RouteConflict",
    ),
    "two rules of one priority": (
        putting("network_security_groups", "x", group(rule(), rule(destinationPortRange="80"))),
        400,
        "SecurityRuleConflict",
    ),
    "a priority below 100": (
        putting("network_security_groups", "x", group(rule(priority=99))),
        400,
        "SecurityRuleInvalidPriority",
    ),
    "ports of ESP": (
        putting("network_security_groups", "x", group(rule(protocol="Esp"))),
        400,
        "SecurityRuleInvalidPortRange",
    ),
    "a source that is none": (
        putting("network_security_groups", "x", group(rule(sourceAddressPrefix="10.0.0.1/8"))),
        400,
        "SecurityRuleInvalidAddressPrefix",
    ),
    "an address of the Basic kind": (
        putting("public_ip_addresses", "x", address(sku={"name": "Basic"})),
        400,
        "BasicSkuPublicIPNotSupported",
    ),
    "a dynamic Standard address": (
        putting("public_ip_addresses", "x", address(properties={"publicIPAllocationMethod": "Dynamic"})),
        400,
        "StandardSkuPublicIPAddressesMustBeStatic",
    ),
    "an address outside the subnet": (
        putting("network_interfaces", "x", interface("10.2.0.200", public="")),
        400,
        "PrivateIPAddressNotInSubnet",
    ),
    "a reserved address": (
        putting("network_interfaces", "x", interface("10.2.0.3", public="")),
        400,
        "PrivateIPAddressInReservedRange",
    ),
    "the last address": (
        putting("network_interfaces", "x", interface("10.2.0.127", public="")),
        400,
        "PrivateIPAddressInReservedRange",
    ),
    "an address in use": (
        putting("network_interfaces", "x", interface("10.2.0.4", public="")),
        400,
        "PrivateIPAddressInUse",
    ),
    "a public address in use": (putting("network_interfaces", "x", interface()), 400, "PublicIPAddressInUse"),
    "a subnet that is not there": (
        putting("network_interfaces", "x", interface(subnet="z", public="")),
        400,
        "InvalidResourceReference",
    ),
    "a public address that is not there": (
        putting("network_interfaces", "x", interface(public="z")),
        400,
        "InvalidResourceReference",
    ),
    "deleting a subnet in use": (deleting("subnets", "net", "a"), 400, "InUseSubnetCannotBeDeleted"),
    "deleting a network in use": (deleting("virtual_networks", "net"), 400, "InUseSubnetCannotBeDeleted"),
    "deleting a route table in use": (deleting("route_tables", "rt"), 400, "InUseRouteTableCannotBeDeleted"),
    "deleting a security group in use": (
        deleting("network_security_groups", "sg"),
        400,
        "InUseNetworkSecurityGroupCannotBeDeleted",
    ),
    "deleting an address in use": (deleting("public_ip_addresses", "ip"), 400, "PublicIPAddressCannotBeDeleted"),
    "deleting an interface in use": (then(MACHINE, deleting("network_interfaces", "nic")), 400, "NicInUse"),
    "deleting a disk in use": (then(MACHINE, deleting("disks", "disk")), 409, "OperationNotAllowed"),
    "a second machine on an interface": (then(MACHINE, putting("virtual_machines", "x", machine())), 409, "NicInUse"),
    "a size that is not offered": (
        putting("virtual_machines", "x", machine(hardwareProfile={"vmSize": "Standard_X1"})),
        409,
        "SkuNotAvailable",
    ),
    "an image that is not there": (
        putting("virtual_machines", "x", machine(storageProfile={"imageReference": {"publisher": "Debian"}})),
        404,
        "PlatformImageNotFound",
    ),
    "the user root": (
        putting("virtual_machines", "x", machine(osProfile={"adminUsername": "root"})),
        400,
        "InvalidParameter",
    ),
    "custom data in clear": (
        putting("virtual_machines", "x", machine(osProfile={"customData": "#!"})),
        400,
        "InvalidParameter",
    ),
    "custom data of 64 KB": (
        putting("virtual_machines", "x", machine(osProfile={"customData": base64.b64encode(bytes(65_536)).decode()})),
        400,
        "InvalidParameter",
    ),
    "other custom data later": (
        then(MACHINE, putting("virtual_machines", "vm", machine(osProfile={"customData": "eA=="}))),
        409,
        "PropertyChangeNotAllowed",
    ),
    "a disk left over": (
        then(
            putting("virtual_machines", "vm", machine(osDisk={"deleteOption": "Detach"})),
            deleting("virtual_machines", "vm"),
            MACHINE,
        ),
        409,
        "ConflictingUserInput",
    ),
    "a group that is not there": (
        lambda api: api.network.route_tables.begin_create_or_update("lost", "x", HERE).result(),
        404,
        "ResourceGroupNotFound",
    ),
    "a resource that is not there": (lambda api: api.network.route_tables.get("g", "lost"), 404, "ResourceNotFound"),
    "a group in no region": (
        lambda api: api.resources.resource_groups.create_or_update("x", {"location": "mars"}),
        400,
        "LocationNotAvailableForResourceGroup",
    ),
    "a group moved": (
        lambda api: api.resources.resource_groups.create_or_update("g", {"location": "eastus"}),
        409,
        "InvalidResourceGroupLocation",
    ),
}


@pytest.mark.parametrize("what", REFUSED)
def test_it_refuses(api: Clients, what: str) -> None:
    do, status, code = REFUSED[what]
    with pytest.raises(HttpResponseError) as refused:
        do(api)
    assert refused.value.error is not None
    assert (refused.value.status_code, refused.value.error.code) == (status, code)


def test_long_running_operations_end_when_their_time_has_come(api: Clients, served: Azure) -> None:
    served.app.limits.delay_s = math.inf
    poller = api.network.route_tables.begin_create_or_update("g", "late", HERE)
    assert poller.status() == "InProgress"
    assert api.network.route_tables.get("g", "late").as_dict()["properties"]["provisioningState"] == "Creating"
    with pytest.raises(HttpResponseError) as refused:
        api.network.route_tables.begin_create_or_update("g", "late", HERE)
    assert refused.value.error is not None
    assert refused.value.error.code == "AnotherOperationInProgress"
    served.app.state.finish()
    assert poller.result().as_dict()["properties"]["provisioningState"] == "Succeeded"


def test_what_is_not_ready_cannot_be_used(api: Clients, served: Azure) -> None:
    served.app.limits.delay_s = math.inf
    late = api.network.public_ip_addresses.begin_create_or_update("g", "late", address())
    with pytest.raises(HttpResponseError, match="not in Succeeded state"):
        api.network.network_interfaces.begin_create_or_update("g", "x", interface(public="late"))
    served.app.state.finish()
    late.result()


def test_a_stale_etag_is_refused(api: Clients) -> None:
    found = api.compute.virtual_machines
    MACHINE(api)
    etag = found.get("g", "vm").as_dict()["etag"]
    body = machine()
    found.begin_create_or_update("g", "vm", body, etag=etag, match_condition=MatchConditions.IfNotModified).result()
    with pytest.raises(HttpResponseError) as refused:
        found.begin_create_or_update("g", "vm", body, etag=etag, match_condition=MatchConditions.IfNotModified)
    assert refused.value.status_code == 412


def test_quotas_hold(api: Clients, served: Azure) -> None:
    served.app.limits.addresses = 1
    with pytest.raises(HttpResponseError, match="Cannot create more than 1 public IP addresses"):
        putting("public_ip_addresses", "x", address())(api)
    served.app.limits.cores = 0
    with pytest.raises(HttpResponseError, match="Current Limit: 0, Current Usage: 0, Additional Required: 1"):
        MACHINE(api)


def test_a_denied_action_is_refused_by_its_name(api: Clients, served: Azure) -> None:
    served.app.limits.denied.add("Microsoft.Compute/virtualMachines/start/action")
    MACHINE(api)
    with pytest.raises(HttpResponseError, match=r"'Microsoft.Compute/virtualMachines/start/action'"):
        api.compute.virtual_machines.begin_start("g", "vm")


def test_no_answer_holds_custom_data(api: Clients, served: Azure) -> None:
    MACHINE(api)
    assert served.thing("virtualMachines", "vm").secret == DATA
    shown = api.compute.virtual_machines.get("g", "vm", expand="instanceView").as_dict()
    assert "customData" not in str(shown)
    codes = [status["code"] for status in shown["properties"]["instanceView"]["statuses"]]
    assert codes == ["ProvisioningState/succeeded", "PowerState/running"]


def test_who_uses_what_is_told(api: Clients) -> None:
    MACHINE(api)
    assert (
        api.network.network_interfaces.get("g", "nic").as_dict()["properties"]["virtualMachine"]["id"].endswith("/vm")
    )
    assert "ipConfiguration" in api.network.public_ip_addresses.get("g", "ip").as_dict()["properties"]
    assert len(api.network.route_tables.get("g", "rt").as_dict()["properties"]["subnets"]) == 1
    defaults = api.network.network_security_groups.get("g", "sg").as_dict()["properties"]["defaultSecurityRules"]
    assert [entry["name"] for entry in defaults][:3] == [
        "AllowVnetInBound",
        "AllowAzureLoadBalancerInBound",
        "DenyAllInBound",
    ]


def test_a_machine_takes_its_disk_with_it_or_leaves_it(api: Clients, served: Azure) -> None:
    MACHINE(api)
    deleting("virtual_machines", "vm")(api)
    assert "disks disk" not in served.names()
    putting("virtual_machines", "vm", machine(osDisk={"deleteOption": "Detach"}))(api)
    deleting("virtual_machines", "vm")(api)
    assert "disks disk" in served.names()
    assert "networkInterfaces nic" in served.names()


def test_a_group_goes_with_its_content_unless_others_use_it(api: Clients, served: Azure) -> None:
    MACHINE(api)
    api.resources.resource_groups.create_or_update("other", HERE)
    guest = interface(public="")
    api.network.network_interfaces.begin_create_or_update("other", "guest", guest).result()
    with pytest.raises(HttpResponseError, match="could not be deleted: Subnet a is in use"):
        api.resources.resource_groups.begin_delete("g").result()
    api.network.network_interfaces.begin_delete("other", "guest").result()
    api.resources.resource_groups.begin_delete("g").result()
    assert served.names() == ["resourceGroups other"]


def test_power_is_carried_on(api: Clients, served: Azure) -> None:
    MACHINE(api)
    (server,) = served.app.cloud().servers
    assert (server.label, server.running, server.user_data) == ("vm", True, DATA)
    api.compute.virtual_machines.begin_deallocate("g", "vm").result()
    assert [s.running for s in served.app.cloud().servers] == [False]
    api.compute.virtual_machines.begin_start("g", "vm").result()
    assert served.app.cloud().servers == (server,)
    deleting("virtual_machines", "vm")(api)
    assert served.app.cloud().servers == ()
    MACHINE(api)
    assert served.app.cloud().servers[0].name != server.name  # another machine, with a disk of its own


@pytest.mark.parametrize(
    ("path", "headers", "status"),
    [
        ("/subscriptions/x/resourcegroups?api-version=1", {}, "401"),
        (f"/subscriptions/{SUBSCRIPTION}/resourcegroups", {"HTTP_AUTHORIZATION": "Bearer x"}, "400"),
        ("/subscriptions/x/resourcegroups?api-version=1", {"HTTP_AUTHORIZATION": "Bearer x"}, "404"),
        (f"/subscriptions/{SUBSCRIPTION}/moons?api-version=1", {"HTTP_AUTHORIZATION": "Bearer x"}, "404"),
        (f"/subscriptions/{SUBSCRIPTION}/resourcegroups?api-version=1", {"HTTP_AUTHORIZATION": "Bearer x"}, "200"),
    ],
)
def test_a_call_needs_token_version_and_subscription(path: str, headers: dict[str, str], status: str) -> None:
    answers: list[str] = []
    place, _, query = path.partition("?")
    environ = {"REQUEST_METHOD": "GET", "PATH_INFO": place, "QUERY_STRING": query, "wsgi.url_scheme": "http"}
    content = SimpleNamespace(read=lambda _n: b"")
    app = make_app(lambda _cloud: None)
    list(app({**environ, **headers, "wsgi.input": content}, lambda line, _headers: answers.append(line)))  # type: ignore[arg-type]
    assert answers[0].startswith(status)


@pytest.mark.parametrize(
    ("kind", "body", "found"),
    [
        (NIC, interface(enableIPForwarding=True), []),
        (NIC, interface(enableIpForwarding=True), ["properties.enableIpForwarding: unknown property"]),
        (NIC, {"tags": "x"}, ["tags: not an object"]),
        (VNET, {"properties": {"subnets": {}}}, ["properties.subnets: not a list"]),
        (VNET, {"properties": {"addressSpace": {"addressPrefixes": [1]}}}, None),
        ("Microsoft.Resources/resourceGroups", {"location": "x", "sku": 1}, ["sku: unknown property"]),
    ],
)
def test_bodies_are_judged_by_the_sdks_types(kind: str, body: dict[str, Any], found: list[str] | None) -> None:
    told = problems(kind, body)
    assert told == found if found is not None else len(told) == 1


# What is handed on to the emulated network: tables.

SPACE = [IPv4Network("10.2.0.0/24")]


def thing(kind: str, name: str, properties: dict[str, Any]) -> Thing:
    return Thing(f"{G}/{kind}/{name}", kind, "g", name, {**HERE, "properties": properties})


def state(*things: Thing) -> State:
    return State(things={t.id.lower(): t for t in things})


def subnet(name: str = "a", prefix: str = "10.2.0.0/25", **more: Any) -> dict[str, Any]:
    return {"id": f"{G}/{VNET}/net/subnets/{name}", "name": name, "properties": {"addressPrefix": prefix, **more}}


def network(*subnets: dict[str, Any], space: str = "10.2.0.0/24") -> Thing:
    return thing(VNET, "net", {"addressSpace": {"addressPrefixes": [space]}, "subnets": list(subnets)})


UNROUTED = ("10.0.0.0/8", "100.64.0.0/10", "172.16.0.0/12", "192.168.0.0/16")


@pytest.mark.parametrize(
    ("routes", "space", "expected"),
    [
        ((), "10.2.0.0/24", {"0.0.0.0/0": INTERNET, **dict.fromkeys(UNROUTED, NOWHERE)}),
        ((), "192.168.0.0/16", {"0.0.0.0/0": INTERNET, **dict.fromkeys(UNROUTED[:3], NOWHERE)}),
        (
            (("0.0.0.0/0", "VirtualAppliance", "10.2.0.254"),),  # does not cover what is routed to nowhere
            "10.2.0.0/24",
            {"0.0.0.0/0": IPv4Address("10.2.0.254"), **dict.fromkeys(UNROUTED, NOWHERE)},
        ),
        (
            (("10.0.0.0/8", "VirtualAppliance", "10.2.0.254"), ("172.16.0.0/12", "Internet", "")),
            "10.2.0.0/24",
            {
                "0.0.0.0/0": INTERNET,
                "10.0.0.0/8": IPv4Address("10.2.0.254"),
                "100.64.0.0/10": NOWHERE,
                "172.16.0.0/12": INTERNET,
                "192.168.0.0/16": NOWHERE,
            },
        ),
        (
            (("8.8.8.8/32", "None", ""), ("10.0.0.0/8", "VnetLocal", "")),
            "10.2.0.0/24",
            {"0.0.0.0/0": INTERNET, "8.8.8.8/32": NOWHERE, **dict.fromkeys(UNROUTED[1:], NOWHERE)},
        ),
    ],
)
def test_user_routes_override_azures(routes: Any, space: str, expected: dict[str, Any]) -> None:
    rt = thing("Microsoft.Network/routeTables", "rt", table(*routes)["properties"])
    prefix = "192.168.0.0/24" if space.startswith("192") else "10.2.0.0/25"
    made = compiled(state(rt, network(subnet(prefix=prefix, routeTable={"id": rt.id}), space=space)))
    (segment,) = made.segments
    assert segment.router == segment.network.network_address + 1
    assert {str(route.prefix): route.via for route in segment.routes} == expected
    assert made.domains[0].internet
    assert made.domains[0].masquerade is None  # no way out without a public address


SSH = Rule(accept=True, protocol=6, ports=(22, 22))
NOTHING, EVERYTHING = Rule(accept=False), Rule(accept=True)
LOCAL = Rule(accept=True, remote=SPACE[0])
BALANCER = Rule(accept=True, remote=IPv4Network("168.63.129.16/32"))


@pytest.mark.parametrize(
    ("given", "local", "expected"),
    [
        ((), SPACE, [LOCAL, BALANCER, NOTHING]),
        ((rule(),), SPACE, [SSH, LOCAL, BALANCER, NOTHING]),
        (
            (rule(priority=200), rule(priority=100, access="Deny")),
            SPACE,
            [Rule(False, protocol=6, ports=(22, 22)), SSH],
        ),
        # A default route to an appliance: the tag means the whole Internet, and a refusal below the rules saves it.
        ((rule(),), [ANYWHERE], [SSH, EVERYTHING]),
        (
            (rule(), rule(priority=4096, protocol="*", destinationPortRange="*", access="Deny")),
            [ANYWHERE],
            [SSH, NOTHING],
        ),
        ((rule(protocol="Esp", destinationPortRange="*"),), SPACE, [Rule(True, protocol=50)]),
        ((rule(protocol="Icmp", destinationPortRange="*"),), SPACE, [Rule(True, protocol=1)]),
        (
            (rule(protocol="Udp", destinationPortRange="1194-9194"),),
            SPACE,
            [Rule(True, protocol=17, ports=(1194, 9194))],
        ),
        ((rule(protocol="*"),), SPACE, [SSH, Rule(True, protocol=17, ports=(22, 22))]),
        (
            (rule(sourceAddressPrefix="203.0.113.7/32"),),
            SPACE,
            [Rule(True, IPv4Network("203.0.113.7/32"), 6, (22, 22))],
        ),
        ((rule(destinationAddressPrefix="10.2.0.9/32"),), SPACE, [LOCAL]),  # not this interface
        ((rule(direction="Outbound"),), SPACE, [LOCAL]),
    ],
)
def test_rules_decide_by_priority_with_azures_below_them(given: Any, local: Any, expected: list[Rule]) -> None:
    sg = thing(GROUP, "sg", group(*given)["properties"])
    made = rules(sg, "Inbound", IPv4Address("10.2.0.4"), local)
    assert list(made[: len(expected)]) == expected


def test_outbound_rules_judge_destinations() -> None:
    sg = thing(GROUP, "sg", group(rule(direction="Outbound", destinationAddressPrefix="8.8.8.8/32"))["properties"])
    made = rules(sg, "Outbound", IPv4Address("10.2.0.4"), SPACE)
    assert made[0] == Rule(True, IPv4Network("8.8.8.8/32"), 6, (22, 22))
    assert made[1] == LOCAL
    beyond = [entry.remote for entry in made[2:-1]]
    assert sum(n.num_addresses for n in beyond) == 2**32 - 256
    assert not any(n.overlaps(SPACE[0]) for n in beyond)
    assert made[-1] == NOTHING


@pytest.mark.parametrize(
    ("routes", "expected"),
    [
        ((), ["10.2.0.0/24"]),
        ((("10.0.0.0/8", "VirtualAppliance", "10.2.0.254"),), ["10.0.0.0/8"]),
        ((("0.0.0.0/0", "VirtualAppliance", "10.2.0.254"),), ["0.0.0.0/0"]),
        ((("0.0.0.0/0", "Internet", ""),), ["10.2.0.0/24"]),
    ],
)
def test_the_tag_virtualnetwork_holds_what_user_routes_send_to_an_appliance(routes: Any, expected: list[str]) -> None:
    given = [route["properties"] for route in table(*routes)["properties"]["routes"]]
    assert list(map(str, virtual_network(SPACE, given))) == expected


def test_an_interface_has_the_lists_of_its_subnet_and_its_own() -> None:
    first = thing(GROUP, "first", group(rule())["properties"])
    second = thing(GROUP, "second", group(rule(destinationPortRange="80"))["properties"])
    nic = thing(NIC, "nic", interface(public="", networkSecurityGroup={"id": second.id})["properties"])
    nic.properties["ipConfigurations"][0]["properties"]["privateIPAddress"] = "10.2.0.4"
    net_ = network(subnet(networkSecurityGroup={"id": first.id}))
    (made,) = compiled(state(first, second, net_, nic)).nics
    assert [entries[0].ports for entries in made.inbound] == [(22, 22), (80, 80)]
    assert (made.address, made.interface, made.server, made.sends, made.receives) == (
        IPv4Address("10.2.0.4"),
        "eth0",
        "",
        (),
        (),
    )
    nic.properties["enableIPForwarding"] = True
    (made,) = compiled(state(first, second, net_, nic)).nics
    assert (made.sends, made.receives) == ((ANYWHERE,), (ANYWHERE,))


def test_without_a_security_group_a_public_address_is_closed_to_the_internet() -> None:
    ip = thing("Microsoft.Network/publicIPAddresses", "ip", {"ipAddress": "198.51.100.9"})
    nic = thing(NIC, "nic", interface()["properties"])
    nic.properties["ipConfigurations"][0]["properties"]["privateIPAddress"] = "10.2.0.4"
    (made,) = compiled(state(network(subnet()), ip, nic)).nics
    assert made.inbound == ((LOCAL,),)
    assert made.public in BLOCKS["azure"]
    nic.properties["ipConfigurations"][0]["properties"].pop("publicIPAddress")
    (made,) = compiled(state(network(subnet()), ip, nic)).nics
    assert made.inbound == ((EVERYTHING,),)


def test_routes_are_in_the_order_of_their_prefixes() -> None:
    (segment,) = compiled(state(network(subnet()))).segments
    assert list(segment.routes) == sorted(segment.routes, key=lambda route: route.prefix)
    assert segment.routes[0] == Route(ANYWHERE, INTERNET)
