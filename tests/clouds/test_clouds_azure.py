"""The Azure driver, by the official SDK over real HTTP, against our ARM emulator."""

from __future__ import annotations

import json
import math
import threading
from collections.abc import Callable, Iterator
from ipaddress import IPv4Address, IPv4Network
from typing import Any

import pytest

from proactive_tasks import clouds
from proactive_tasks.clouds.azure.calls import ENDPOINT, Patience, endpoint
from proactive_tasks.clouds.azure.compare import differences, merged
from proactive_tasks.clouds.azure.driver import AzureProvider
from proactive_tasks.lab.cloud.azure.emulator import environment
from proactive_tasks.lab.cloud.azure.state import SUBSCRIPTION
from proactive_tasks.overlay.errors import InputError, ProviderError
from proactive_tasks.overlay.model import Site
from tests.clouds.emulated_azure import DATA, ORDER, SHORT, SITE, Azure, azure, order, site
from tests.clouds.trouble import Answer

WHOLE = [
    "disks presto--paris--gateway",
    "networkInterfaces presto--paris--gateway",
    "networkSecurityGroups presto--paris--gateway",
    "networkSecurityGroups presto--paris--hosts",
    "publicIPAddresses presto--paris--gateway",
    "resourceGroups presto--paris",
    "routeTables presto--paris--routes",
    "virtualMachines presto--paris--gateway",
    "virtualNetworks presto--paris",
]


@pytest.fixture
def cloud(monkeypatch: pytest.MonkeyPatch) -> Iterator[Azure]:
    with azure() as made:
        for name, value in environment(made.trouble.url).items():
            monkeypatch.setenv(name, value)
        yield made


def put(cloud: Azure, kind: str, name: str, change: Callable[[dict[str, Any]], None]) -> None:
    """Change a resource behind the driver's back."""
    change(cloud.thing(kind, name).body["properties"])


def test_the_driver_is_found_by_its_providers_name() -> None:
    assert isinstance(clouds.driver("azure"), AzureProvider)


def test_a_site_is_made_in_few_calls_none_of_them_twice(cloud: Azure) -> None:
    gateway = cloud.deploy()
    calls = cloud.calls()
    assert len(calls) <= 25, [f"{c.method} {c.path}" for c in calls]
    written = [call.path for call in calls if call.method != "GET"]
    assert len(written) == len(set(written)) == 8
    assert cloud.names() == WHOLE
    assert (gateway.machine, gateway.running) == ("presto--paris--gateway", True)
    assert gateway.public_address == IPv4Address("198.51.100.1")
    assert cloud.thing("virtualMachines", "presto--paris--gateway").secret == DATA


def test_everything_bears_the_tags_and_the_disk_the_machines_name(cloud: Azure) -> None:
    cloud.deploy()
    for thing in cloud.app.state.things.values():
        tags = thing.body.get("tags") or {}
        assert thing.kind.endswith("disks") or {**tags, "overlay": "presto", "site": "paris"} == tags, thing.name
    nic = cloud.thing("networkInterfaces", "presto--paris--gateway").body["properties"]
    assert nic["enableIPForwarding"]
    assert nic["ipConfigurations"][0]["properties"]["privateIPAddress"] == "10.2.0.254"
    vm = cloud.thing("virtualMachines", "presto--paris--gateway").body["properties"]
    assert vm["osProfile"]["linuxConfiguration"]["disablePasswordAuthentication"]
    assert vm["storageProfile"]["osDisk"]["deleteOption"] == "Delete"
    assert vm["networkProfile"]["networkInterfaces"][0]["properties"]["deleteOption"] == "Detach"


def test_only_the_hosts_subnet_has_the_route_table(cloud: Azure) -> None:
    cloud.deploy()
    subnets = cloud.thing("virtualNetworks", "presto--paris").body["properties"]["subnets"]
    assert {s["name"]: (s["properties"]["addressPrefix"], "routeTable" in s["properties"]) for s in subnets} == {
        "applications": ("10.2.0.0/25", True),
        "gateway": ("10.2.0.240/28", False),
    }
    routes = cloud.thing("routeTables", "presto--paris--routes").body["properties"]["routes"]
    assert {r["properties"]["addressPrefix"]: r["properties"]["nextHopIpAddress"] for r in routes} == {
        "10.0.0.0/8": "10.2.0.254",
        "0.0.0.0/0": "10.2.0.254",
    }


def test_a_second_run_writes_nothing(cloud: Azure) -> None:
    cloud.deploy()
    cloud.calls()
    assert cloud.plan() == []
    cloud.deploy()
    calls = cloud.calls()
    assert [call.path for call in calls if call.method != "GET"] == []
    assert len(calls) == 16  # the facts, twice


def test_a_plan_names_every_call_and_no_secret(cloud: Azure) -> None:
    changes = cloud.driver.difference(ORDER, cloud.driver.facts("presto", SITE))
    assert [change.call.split("(")[0] for change in changes] == [
        "ResourceGroups.create_or_update",
        "NetworkSecurityGroups.begin_create_or_update",
        "NetworkSecurityGroups.begin_create_or_update",
        "PublicIPAddresses.begin_create_or_update",
        "RouteTables.begin_create_or_update",
        "VirtualNetworks.begin_create_or_update",
        "NetworkInterfaces.begin_create_or_update",
        "VirtualMachines.begin_create_or_update",
    ]
    assert cloud.writes() == []
    told = " ".join(f"{change.line} {change.call}" for change in changes)
    assert "'customData': '...'" in told
    assert "secret-word" not in told
    made = {change.line for change in changes}
    facts, lines = cloud.driver.facts("presto", SITE), []
    cloud.driver.apply(ORDER, facts, _Journal(), lines.append)
    assert set(lines) == made


class _Journal:
    """Keeps the order of what it is told."""

    def __init__(self) -> None:
        self.told: list[tuple[str, str, str]] = []

    def intend(self, kind: str, name: str) -> None:
        self.told.append(("intend", kind, name))

    def made(self, kind: str, name: str, identifier: str) -> None:
        assert identifier.startswith(f"/subscriptions/{SUBSCRIPTION}/resourceGroups/")
        self.told.append(("made", kind, name))

    def gone(self, kind: str, name: str) -> None:
        self.told.append(("gone", kind, name))

    def pending(self, *_: str) -> None:
        return None


def test_what_is_made_is_written_down_before_and_forgotten_when_it_is_gone(cloud: Azure) -> None:
    journal = _Journal()
    cloud.deploy(journal=journal)
    intended = [entry[1:] for entry in journal.told if entry[0] == "intend"]
    assert len(intended) == 8
    for entry in intended:
        assert journal.told.index(("intend", *entry)) < journal.told.index(("made", *entry))
    cloud.release(journal=journal)
    assert {entry[1:] for entry in journal.told if entry[0] == "gone"} >= set(intended)


DRIFT: dict[str, tuple[str, str, Callable[[dict[str, Any]], Any], str, list[str]]] = {
    "a rule of the gateway's security group removed": (
        "networkSecurityGroups",
        "presto--paris--gateway",
        lambda p: p["securityRules"].pop(0),
        "rule tcp-22-from-203.0.113.7-32 of presto--paris--gateway: repair: it is missing",
        ["PUT securityRules/tcp-22-from-203.0.113.7-32"],
    ),
    "a rule changed": (
        "networkSecurityGroups",
        "presto--paris--hosts",
        lambda p: p["securityRules"][0]["properties"].update(access="Deny"),
        "rule all-from-10.0.0.0-8 of presto--paris--hosts: repair: access is Deny, not Allow",
        ["PUT securityRules/all-from-10.0.0.0-8"],
    ),
    "the refusal below the rules removed": (
        "networkSecurityGroups",
        "presto--paris--gateway",
        lambda p: p["securityRules"].remove(next(r for r in p["securityRules"] if r["name"] == "deny-the-rest")),
        "rule deny-the-rest of presto--paris--gateway: repair: it is missing",
        ["PUT securityRules/deny-the-rest"],
    ),
    "a route deleted": (
        "routeTables",
        "presto--paris--routes",
        lambda p: p["routes"].pop(0),
        "route to-10.0.0.0-8 of presto--paris--routes: repair: it is missing",
        ["PUT routes/to-10.0.0.0-8"],
    ),
    "a route turned": (
        "routeTables",
        "presto--paris--routes",
        lambda p: p["routes"][1]["properties"].update(nextHopIpAddress="10.2.0.9"),
        "route to-0.0.0.0-0 of presto--paris--routes: repair: nextHopIpAddress is 10.2.0.9, not 10.2.0.254",
        ["PUT routes/to-0.0.0.0-0"],
    ),
    "forwarding off": (
        "networkInterfaces",
        "presto--paris--gateway",
        lambda p: p.update(enableIPForwarding=False),
        "interface presto--paris--gateway: repair: enableIPForwarding is False, not True",
        ["PUT networkInterfaces/presto--paris--gateway"],
    ),
    "the route table dissociated": (
        "virtualNetworks",
        "presto--paris",
        lambda p: p["subnets"][0]["properties"].pop("routeTable"),
        "subnet applications of presto--paris: repair: routeTable is none, not presto--paris--routes",
        ["PUT subnets/applications"],
    ),
    "the public address dissociated": (
        "networkInterfaces",
        "presto--paris--gateway",
        lambda p: p["ipConfigurations"][0]["properties"].pop("publicIPAddress"),
        "interface presto--paris--gateway: repair: publicIPAddress is none, not presto--paris--gateway",
        ["PUT networkInterfaces/presto--paris--gateway"],
    ),
    "the security group dissociated": (
        "networkInterfaces",
        "presto--paris--gateway",
        lambda p: p.pop("networkSecurityGroup"),
        "interface presto--paris--gateway: repair: networkSecurityGroup is none, not presto--paris--gateway",
        ["PUT networkInterfaces/presto--paris--gateway"],
    ),
}


@pytest.mark.parametrize("what", DRIFT)
def test_drift_is_named_and_just_that_is_repaired(cloud: Azure, what: str) -> None:
    kind, name, change, line, writes = DRIFT[what]
    cloud.deploy()
    put(cloud, kind, name, change)
    assert cloud.plan() == [line]
    cloud.calls()
    cloud.deploy()
    assert cloud.writes() == writes
    assert cloud.plan() == []


@pytest.mark.parametrize("state", ["stopped", "deallocated"])
def test_a_stopped_machine_is_started(cloud: Azure, state: str) -> None:
    cloud.deploy()
    cloud.thing("virtualMachines", "presto--paris--gateway").power = state
    facts = cloud.driver.facts("presto", SITE)
    assert facts.gateway is not None
    assert not facts.gateway.running
    assert cloud.plan() == [f"machine presto--paris--gateway: start, it is {state}"]
    cloud.calls()
    assert cloud.deploy().running
    assert cloud.writes() == ["POST presto--paris--gateway/start"]
    assert cloud.plan() == []


def test_an_unbound_public_address_is_no_address_of_the_gateway(cloud: Azure) -> None:
    cloud.deploy()
    put(cloud, "networkInterfaces", "presto--paris--gateway", DRIFT["the public address dissociated"][2])
    gateway = cloud.driver.facts("presto", SITE).gateway
    assert gateway is not None
    assert gateway.public_address is None
    assert cloud.deploy().public_address == IPv4Address("198.51.100.1")


def test_what_others_added_stays(cloud: Azure) -> None:
    cloud.deploy()
    rule = {"protocol": "Tcp", "access": "Allow", "direction": "Inbound", "priority": 300, "description": "theirs"}
    rule |= {f"{side}AddressPrefix": "*" for side in ("source", "destination")}
    rule |= {"sourcePortRange": "*", "destinationPortRange": "8080"}
    theirs = {"name": "theirs", "properties": rule}
    put(cloud, "networkSecurityGroups", "presto--paris--gateway", lambda p: p["securityRules"].append(theirs))
    cloud.thing("networkInterfaces", "presto--paris--gateway").body["tags"]["cost-centre"] = "7"
    assert cloud.plan() == []
    put(cloud, "networkInterfaces", "presto--paris--gateway", lambda p: p.update(enableIPForwarding=False))
    cloud.deploy()
    assert cloud.thing("networkInterfaces", "presto--paris--gateway").body["tags"]["cost-centre"] == "7"
    rules = cloud.thing("networkSecurityGroups", "presto--paris--gateway").body["properties"]["securityRules"]
    assert "theirs" in [rule["name"] for rule in rules]


def test_another_controller_changes_one_rule_each(cloud: Azure) -> None:
    cloud.deploy()
    wanted = order(controllers=(IPv4Network("203.0.113.8/32"),))
    assert cloud.plan(wanted) == [
        "rule tcp-22-from-203.0.113.7-32 of presto--paris--gateway: remove, no longer wanted",
        "rule tcp-22-from-203.0.113.8-32 of presto--paris--gateway: repair: it is missing",
    ]
    cloud.deploy(wanted)
    assert cloud.plan(wanted) == []


def test_another_sites_own_prefix_gets_a_route_and_loses_it(cloud: Azure) -> None:
    cloud.deploy()
    wanted = order(routes=(IPv4Network("10.0.0.0/8"), IPv4Network("172.31.0.0/16")))
    cloud.calls()
    cloud.deploy(wanted)
    assert "PUT routes/to-172.31.0.0-16" in cloud.writes()
    assert cloud.plan(wanted) == []
    cloud.deploy()
    assert "DELETE routes/to-172.31.0.0-16" in cloud.writes()
    assert cloud.plan() == []


def test_hosts_come_and_go(cloud: Azure) -> None:
    cloud.deploy()
    three = order(site(hosts=3))
    assert len(cloud.driver.attach(three, _Journal(), lambda _: None)) == 6
    hosts = {host.name: str(host.address) for host in cloud.driver.hosts("presto", SITE)}
    assert list(hosts) == ["paris/host1", "paris/host2", "paris/host3"]
    assert set(hosts.values()) == {"10.2.0.4", "10.2.0.5", "10.2.0.6"}
    for number in (1, 2, 3):
        nic = cloud.thing("networkInterfaces", f"presto--paris--host{number}").body["properties"]
        assert "publicIPAddress" not in nic["ipConfigurations"][0]["properties"]
        assert cloud.thing("virtualMachines", f"presto--paris--host{number}").secret == b""
    assert cloud.driver.attach(three, _Journal(), lambda _: None) == []
    cloud.thing("virtualMachines", "presto--paris--host1").power = "stopped"
    assert sorted(cloud.driver.attach(order(site(hosts=1)), _Journal(), lambda _: None)) == [
        "interface presto--paris--host2: remove",
        "interface presto--paris--host3: remove",
        "machine presto--paris--host1: start, it is stopped",
        "machine presto--paris--host2: remove",
        "machine presto--paris--host3: remove",
    ]
    assert cloud.plan() == []
    cloud.driver.attach(order(site(hosts=0)), _Journal(), lambda _: None)
    assert cloud.names() == WHOLE
    assert cloud.driver.hosts("presto", SITE) == []


def test_hosts_without_a_network_are_refused(cloud: Azure) -> None:
    with pytest.raises(ProviderError, match="provision its gateway first"):
        cloud.driver.attach(order(site(hosts=1)), _Journal(), lambda _: None)


def test_a_discarded_gateway_is_made_anew_at_the_same_addresses(cloud: Azure) -> None:
    before = cloud.deploy()
    machine = cloud.thing("virtualMachines", "presto--paris--gateway").body["properties"]["vmId"]
    assert cloud.driver.discard("presto", SITE, _Journal()) == ["machine presto--paris--gateway: remove"]
    assert cloud.driver.facts("presto", SITE).gateway is None
    assert [n for n in WHOLE if n not in cloud.names()] == [
        "disks presto--paris--gateway",
        "virtualMachines presto--paris--gateway",
    ]
    assert cloud.driver.discard("presto", SITE, _Journal()) == []
    cloud.calls()
    after = cloud.deploy(order(user_data=b"#cloud-config\n# another\n"))
    assert cloud.writes() == ["PUT virtualMachines/presto--paris--gateway"]
    assert after.public_address == before.public_address
    assert cloud.thing("virtualMachines", "presto--paris--gateway").body["properties"]["vmId"] != machine


def test_a_disk_that_a_crash_left_makes_way(cloud: Azure) -> None:
    cloud.deploy()
    disk = cloud.thing("disks", "presto--paris--gateway")
    cloud.driver.discard("presto", SITE, _Journal())
    disk.body.pop("managedBy", None)
    cloud.app.state.things[disk.id.lower()] = disk
    assert cloud.plan()[0].startswith("disk presto--paris--gateway: remove, left over")
    cloud.deploy()
    assert cloud.names() == WHOLE


def test_release_leaves_nothing_and_can_be_repeated(cloud: Azure) -> None:
    cloud.deploy()
    cloud.driver.attach(order(site(hosts=2)), _Journal(), lambda _: None)
    assert {entry.name for entry in cloud.driver.leftovers("presto", ["westeurope"])} >= {"presto--paris--gateway"}
    assert cloud.driver.leftovers("other", []) == []
    assert cloud.driver.leftovers("presto", ["eastus"]) == []
    cloud.release()
    assert cloud.names() == []
    assert cloud.carried[-1].servers == ()
    assert cloud.driver.leftovers("", []) == []
    assert cloud.release() == []


def test_a_group_of_that_name_without_our_tags_is_left_alone(cloud: Azure) -> None:
    cloud.deploy()
    cloud.thing("resourceGroups", "presto--paris").body["tags"] = {"owner": "somebody"}
    with pytest.raises(ProviderError, match=r"has not our tags .*option resource_group"):
        cloud.release()
    with pytest.raises(ProviderError, match="has not our tags"):
        cloud.driver.facts("presto", SITE)


# A group and a network that were there before.


def adopt(cloud: Azure, space: str = "172.31.0.0/16", routes: tuple[tuple[str, str], ...] = ()) -> Site:
    """Make a campus's group with a network and a route table; a site that adopts them."""
    with cloud.driver._arm(SUBSCRIPTION) as arm:
        arm.resources.resource_groups.create_or_update("campus", {"location": "westeurope"})
        table = {"routes": [_route(name, prefix) for name, prefix in routes]}
        network, here = arm.network, {"location": "westeurope"}
        network.route_tables.begin_create_or_update("campus", "main", {**here, "properties": table}).result()
        subnet = {"name": "lan", "properties": {"addressPrefix": "172.31.1.0/24"}}
        inner = {"addressSpace": {"addressPrefixes": [space]}, "subnets": [subnet]}
        network.virtual_networks.begin_create_or_update("campus", "net", {**here, "properties": inner}).result()
    cloud.calls()
    return site(
        prefixes=(IPv4Network("172.31.0.0/16"),),
        options={"vnet": "campus/net", "subnet": "lan", "route_tables": "main"},
    )


def _route(name: str, prefix: str) -> dict[str, Any]:
    return {"name": name, "properties": {"addressPrefix": prefix, "nextHopType": "None"}}


CAMPUS = ["resourceGroups campus", "routeTables main", "virtualNetworks net"]


def test_a_site_lives_in_an_adopted_network_and_leaves_it_as_it_was(cloud: Azure) -> None:
    adopted = adopt(cloud, routes=(("wide", "0.0.0.0/0"),))
    lines = cloud.plan(order(adopted))
    assert lines[-1] == (
        "route presto--paris--10.0.0.0-8 of main: put 10.0.0.0/8 to (its address); it takes traffic from route wide"
    )
    assert not any("virtual network" in line for line in lines)
    journal = _Journal()
    cloud.deploy(order(adopted), journal)
    assert ("made", "route", "campus/main/presto--paris--10.0.0.0-8") in journal.told
    routes = cloud.thing("routeTables", "main").body["properties"]["routes"]
    ours = [r["properties"] for r in routes if r["name"] == "presto--paris--10.0.0.0-8"]
    assert [route["nextHopIpAddress"] for route in ours] == ["172.31.1.4"]
    assert cloud.plan(order(adopted)) == []
    hosts = order(site(**{**vars_of(adopted), "hosts": 1}))
    cloud.driver.attach(hosts, _Journal(), lambda _: None)
    nic = cloud.thing("networkInterfaces", "presto--paris--host1").body["properties"]
    assert nic["networkSecurityGroup"]["id"].endswith("presto--paris--hosts")
    assert [entry.name for entry in cloud.driver.leftovers("presto", []) if entry.kind == "routes"]
    cloud.release(adopted, journal)
    assert ("gone", "route", "campus/main/presto--paris--10.0.0.0-8") in journal.told
    assert cloud.names() == CAMPUS
    assert [r["name"] for r in cloud.thing("routeTables", "main").body["properties"]["routes"]] == ["wide"]
    assert cloud.driver.leftovers("", []) == []


def vars_of(of: Site) -> dict[str, Any]:
    return {"prefixes": of.prefixes, "options": of.options}


def test_in_a_group_that_was_there_only_ours_is_removed(cloud: Azure) -> None:
    adopt(cloud)
    guest = site(options={"resource_group": "campus"}, hosts=1)
    cloud.deploy(order(guest))
    cloud.driver.attach(order(guest), _Journal(), lambda _: None)
    assert cloud.plan(order(guest)) == []
    assert len(cloud.names()) == len(WHOLE) - 1 + len(CAMPUS) + 3
    removed = cloud.release(guest)
    assert len(removed) == 9  # two machines with their disks, two interfaces, address, network, groups, table
    assert cloud.names() == CAMPUS
    assert cloud.release(guest) == []


def test_a_route_that_is_taken_is_refused(cloud: Azure) -> None:
    adopted = adopt(cloud, routes=(("theirs", "10.0.0.0/8"),))
    with pytest.raises(InputError, match=r"table main has a route for 10.0.0.0/8 already \(theirs\); remove it"):
        cloud.plan(order(adopted))


# Bad input: each one message, with the next step.

OPTIONS = {
    "no region": (site(region=""), "needs a region, such as westeurope"),
    "a subnet without its network": (site(options={"subnet": "lan"}), "vnet and subnet go together"),
    "a table without a network": (site(options={"route_tables": "main"}), "name it by vnet"),
    "zone and set": (site(options={"zone": "1", "availability_set": "x"}), "either zone or availability_set"),
    "an image that is none": (site(options={"image": "debian"}), "write PUBLISHER:OFFER:SKU:VERSION"),
    "a network without its group": (site(options={"vnet": "net", "subnet": "lan"}), "write it as GROUP/NAME"),
    "no such group": (site(options={"resource_group": "nowhere"}), "resource group nowhere is not there"),
    "a subscription by its name": (site(options={"subscription": "Pay-As-You-Go"}), "is not the id of a subscription"),
}


@pytest.mark.parametrize("what", OPTIONS)
def test_options_that_cannot_be_are_refused(cloud: Azure, what: str) -> None:
    wrong, message = OPTIONS[what]
    with pytest.raises(InputError, match=message) as refused:
        cloud.driver.facts("presto", wrong)
    assert str(refused.value).startswith("site paris: ")
    assert cloud.names() == []


def test_an_adopted_network_must_fit(cloud: Azure) -> None:
    adopted = adopt(cloud)
    cases = {
        "has 172.31.0.0/16, which the site does not name; add prefixes": site(options=adopted.options),
        "has no subnet dmz; it has: lan": site(prefixes=adopted.prefixes, options={**adopted.options, "subnet": "dmz"}),
        "virtual network campus/lost is not there": site(
            prefixes=adopted.prefixes, options={**adopted.options, "vnet": "campus/lost"}
        ),
        "route table campus/lost is not there": site(
            prefixes=adopted.prefixes, options={**adopted.options, "route_tables": "lost"}
        ),
        "is in westeurope, the site in eastus": site(
            region="eastus", prefixes=adopted.prefixes, options=adopted.options
        ),
    }
    for message, wrong in cases.items():
        with pytest.raises(InputError, match=message):
            cloud.driver.facts("presto", wrong)


def test_no_subscription_is_refused(cloud: Azure, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AZURE_SUBSCRIPTION_ID")
    with pytest.raises(InputError, match="set AZURE_SUBSCRIPTION_ID or the site's option subscription"):
        cloud.driver.facts("presto", SITE)
    assert cloud.driver.facts("presto", site(options={"subscription": SUBSCRIPTION})).gateway is None


def deny(*actions: str) -> Callable[[Azure], None]:
    return lambda cloud: cloud.app.limits.denied.update(actions)


def limit(**values: Any) -> Callable[[Azure], None]:
    def change(cloud: Azure) -> None:
        for name, value in values.items():
            setattr(cloud.app.limits, name, value)

    return change


def take_address(cloud: Azure) -> None:
    """Somebody else's interface has the gateway's address; the network is made, and nothing more."""
    cloud.app.limits.denied.add("Microsoft.Network/networkInterfaces/write")
    with pytest.raises(ProviderError):
        cloud.deploy()
    cloud.app.limits.denied.clear()
    with cloud.driver._arm(SUBSCRIPTION) as arm:
        subnet = arm.network.subnets.get("presto--paris", "presto--paris", "gateway").id
        inner = {"privateIPAllocationMethod": "Static", "privateIPAddress": "10.2.0.254", "subnet": {"id": subnet}}
        body = {"location": "westeurope", "properties": {"ipConfigurations": [{"name": "x", "properties": inner}]}}
        arm.network.network_interfaces.begin_create_or_update("presto--paris", "squatter", body).result()


REFUSALS: dict[str, tuple[Callable[[Azure], None], dict[str, Any], str]] = {
    "no permission": (
        deny("Microsoft.Network/virtualNetworks/write"),
        {},
        (
            r"VirtualNetworks.begin_create_or_update\(presto--paris\) refused: AuthorizationFailed: .*; "
            r"grant Microsoft.Network/virtualNetworks/write to these credentials"
        ),
    ),
    "unknown region": (
        lambda _cloud: None,
        {"region": "middleearth"},
        (
            r"ResourceGroups.create_or_update\(presto--paris\) refused: LocationNotAvailableForResourceGroup: .*; "
            "set the site's region"
        ),
    ),
    "quota of cores": (limit(cores=0), {}, "QuotaExceeded: .*Current Limit: 0.*; ask for a higher quota"),
    "quota of addresses": (
        limit(addresses=0),
        {},
        (
            r"PublicIPAddresses.begin_create_or_update\(presto--paris--gateway\) refused: PublicIPCountLimitReached: "
            ".*; ask for a higher quota"
        ),
    ),
    "a size that is not offered": (
        lambda _cloud: None,
        {"options": {"vm_size": "Standard_M832ixs"}},
        (
            r"VirtualMachines.begin_create_or_update\(presto--paris--gateway\) refused: SkuNotAvailable: .*; "
            "set option vm_size"
        ),
    ),
    "no such image": (
        lambda _cloud: None,
        {"options": {"image": "Debian:debian-99:99:latest"}},
        r"PlatformImageNotFound: The platform image 'Debian:debian-99:99:latest' is not available.*; set option image",
    ),
    "the address is taken": (
        take_address,
        {},
        (
            r"NetworkInterfaces.begin_create_or_update\(presto--paris--gateway\) refused: PrivateIPAddressInUse: "
            ".*squatter; the gateway's address must be free"
        ),
    ),
    "no such subscription": (
        lambda _cloud: None,
        {"options": {"subscription": "00000000-0000-0000-0000-000000000009"}},
        "SubscriptionNotFound: .*; correct AZURE_SUBSCRIPTION_ID",
    ),
}


@pytest.mark.parametrize("what", REFUSALS)
def test_a_refusal_names_object_call_answer_and_next_step(cloud: Azure, what: str) -> None:
    prepare, changes, message = REFUSALS[what]
    prepare(cloud)
    with pytest.raises(ProviderError, match=message) as refused:
        cloud.deploy(order(site(**changes)))
    assert "\n" not in str(refused.value)
    assert "secret-word" not in str(refused.value)
    cloud.app.limits.denied.clear()
    cloud.app.limits.cores = cloud.app.limits.addresses = 100
    if "subscription" not in what:
        cloud.release()  # in whatever state it is
    assert cloud.names() == []


def test_what_was_made_before_a_refusal_is_gone_on_with(cloud: Azure) -> None:
    deny("Microsoft.Compute/virtualMachines/write")(cloud)
    with pytest.raises(ProviderError, match=r"grant Microsoft.Compute/virtualMachines/write"):
        cloud.deploy()
    cloud.app.limits.denied.clear()
    assert cloud.plan() == ["machine presto--paris--gateway: make (Standard_B1s)"]
    cloud.deploy()
    assert cloud.names() == WHOLE


def test_a_token_that_expires_half_way_is_named(cloud: Azure) -> None:
    body = json.dumps({"error": {"code": "ExpiredAuthenticationToken", "message": "The access token expiry UTC time."}})
    answer = Answer(401, {"Content-Type": "application/json"}, body.encode())
    cloud.trouble.judge = lambda call: answer if call.method == "PUT" and "virtualNetworks" in call.path else None
    with pytest.raises(
        ProviderError, match=r"VirtualNetworks.*ExpiredAuthenticationToken.*; log in again \(az login\)"
    ):
        cloud.deploy()
    cloud.trouble.judge = lambda _call: None
    cloud.deploy()
    assert cloud.names() == WHOLE


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("AllocationFailed", "Azure has no room for it now: try later"),
        ("OSProvisioningTimedOut", "the machine runs but did not report in time"),
    ],
)
def test_a_machine_that_fails_is_told_and_gone_on_with(cloud: Azure, code: str, message: str) -> None:
    cloud.app.limits.failing["presto--paris--gateway"] = (code, "Provisioning failed.")
    with pytest.raises(ProviderError, match=rf"VirtualMachines.*{code}: Provisioning failed; {message}"):
        cloud.deploy()
    assert cloud.driver.facts("presto", SITE).gateway is not None
    cloud.app.limits.failing.clear()
    cloud.deploy()
    assert cloud.plan() == []


def test_what_never_ends_has_a_deadline(cloud: Azure) -> None:
    cloud.app.limits.delay_s = 60
    driver = AzureProvider(Patience(poll_s=0.01, operation_s=0.2))
    with pytest.raises(ProviderError, match=r"not finished within 0 s; run this again, it goes on"):
        driver.apply(ORDER, driver.facts("presto", SITE), _Journal(), lambda _: None)


def test_a_busy_resource_is_waited_for(cloud: Azure) -> None:
    cloud.deploy()
    put(cloud, "networkInterfaces", "presto--paris--gateway", lambda p: p.update(enableIPForwarding=False))
    facts = cloud.driver.facts("presto", SITE)
    with cloud.driver._arm(SUBSCRIPTION) as arm:
        cloud.app.limits.delay_s = math.inf
        nic = arm.network.network_interfaces.get("presto--paris", "presto--paris--gateway")
        arm.network.network_interfaces.begin_create_or_update("presto--paris", "presto--paris--gateway", nic)
        cloud.app.limits.delay_s = 0.01
        threading.Timer(0.1, cloud.app.state.finish).start()
        cloud.driver.apply(ORDER, facts, _Journal(), lambda _: None)
    assert cloud.plan() == []


def test_a_group_that_is_being_removed_is_waited_for(cloud: Azure) -> None:
    cloud.deploy()
    cloud.app.limits.delay_s = math.inf
    with cloud.driver._arm(SUBSCRIPTION) as arm:
        arm.resources.resource_groups.begin_delete("presto--paris")
    cloud.app.limits.delay_s = 0.01
    facts, lines = cloud.driver.facts("presto", SITE), []
    planned = [change.line for change in cloud.driver.difference(ORDER, facts)]
    assert planned[0] == "resource group presto--paris: wait until its removal is over"
    threading.Timer(0.1, cloud.app.state.finish).start()
    cloud.driver.apply(ORDER, facts, _Journal(), lines.append)
    assert sorted(lines) == sorted(planned)
    assert cloud.names() == WHOLE


def test_nobody_there_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ENDPOINT, "http://127.0.0.1:9")
    monkeypatch.setenv("AZURE_SUBSCRIPTION_ID", SUBSCRIPTION)
    driver = AzureProvider(Patience(retries=1, backoff_s=0.01, read_s=0.3))
    with pytest.raises(ProviderError, match=r"ResourceGroups.get\(presto--paris\): no connection: .*; check"):
        driver.facts("presto", SITE)


def test_without_credentials_it_says_how_to_log_in(cloud: Azure, monkeypatch: pytest.MonkeyPatch) -> None:
    from azure.identity import CredentialUnavailableError

    class Nobody:
        def get_token_info(self, *_: Any, **__: Any) -> None:
            raise CredentialUnavailableError("none of\nthese worked")

        get_token = get_token_info

    monkeypatch.setenv(ENDPOINT, "https://127.0.0.1:9")
    driver = AzureProvider(SHORT)
    driver.__dict__["_credential"] = Nobody()
    with pytest.raises(ProviderError, match="no credentials: none of these worked; log in with az login"):
        driver.facts("presto", SITE)


@pytest.mark.parametrize(
    ("url", "answer"),
    [
        ("", ("https://management.azure.com", False)),
        ("https://management.chinacloudapi.cn/", ("https://management.chinacloudapi.cn", False)),
        ("http://127.0.0.1:7777", ("http://127.0.0.1:7777", True)),
        ("http://[::1]:7777", ("http://[::1]:7777", True)),
        ("http://localhost:7777", ("http://localhost:7777", True)),
        ("http://management.azure.com", None),
        ("http://10.0.0.1:7777", None),
        ("ftp://127.0.0.1", None),
        ("management.azure.com", None),
        ("https://127.0.0.1:x", None),
    ],
)
def test_plain_http_is_for_this_machine_only(monkeypatch: pytest.MonkeyPatch, url: str, answer: Any) -> None:
    monkeypatch.setenv(ENDPOINT, url)
    if answer is None:
        with pytest.raises(InputError, match=ENDPOINT):
            endpoint()
    else:
        assert endpoint() == answer


def test_long_names_stay_within_azures_limits(cloud: Azure) -> None:
    long = site(name="b" * 31)
    wanted = order(long, overlay="a" * 31)
    driver = cloud.driver
    driver.apply(wanted, driver.facts(wanted.overlay, long), _Journal(), lambda _: None)
    driver.attach(order(site(name="b" * 31, hosts=1), overlay="a" * 31), _Journal(), lambda _: None)
    assert driver.difference(wanted, driver.facts(wanted.overlay, long)) == []
    assert len(driver.hosts(wanted.overlay, long)) == 1
    driver.release(wanted.overlay, long, _Journal(), lambda _: None)
    assert cloud.names() == []


@pytest.mark.parametrize(
    ("wanted", "found", "told"),
    [
        ({"a": 1}, {"a": 1, "b": 2}, []),
        ({"a": {"id": "/x/Y"}}, {"a": {"id": "/X/y", "etag": 1}}, []),
        ({"a": {"id": "/x/y"}}, {}, ["a is none, not y"]),
        ([{"name": "one", "v": 1}], [{"name": "two"}, {"name": "ONE", "v": 2}], ["v is 2, not 1"]),
        (["10.0.0.0/8"], ["10.0.0.0/8", "x"], [" is ['10.0.0.0/8', 'x'], not ['10.0.0.0/8']"]),
        ({"a": {"properties": {"b": False}}}, {"a": None}, ["b is none, not False"]),
    ],
)
def test_only_what_is_wanted_is_compared(wanted: Any, found: Any, told: list[str]) -> None:
    assert list(differences(wanted, found)) == told
    assert list(differences(wanted, merged(found, wanted))) == []
