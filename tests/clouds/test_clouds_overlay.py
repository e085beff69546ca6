"""One overlay over emulated clouds and a lab: what is taken away breaks the ping, and a deployment repairs it.

Each setting is taken away by the provider's own SDK, behind the overlay's back, as a person at a console would.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from proactive_tasks.lab import Lab
from proactive_tasks.lab.requirements import missing
from proactive_tasks.provision_gateway import provision_gateway
from proactive_tasks.scheduler.context import Context
from proactive_tasks.store import Store
from tests.overlays import until
from tests.ports import free_port

NAME = f"span-{os.getpid()}"
CLOUDS = ("aws", "azure", "openstack")
SITES = {
    "paris": "provider: lab, hosts: 1",
    "frankfurt": "provider: aws, region: eu-central-1, hosts: 1",
    "westeu": "provider: azure, region: westeurope, hosts: 1",
    "campus": "provider: openstack, region: RegionOne, hosts: 1",
}
ANSWER_S = 60.0
PUBLIC = ("192.0.2.", "198.51.100.", "203.0.113.")
ONCE = ("-c2", "-i0.3", "-W1")


class Span:
    """The overlay, as its user and the providers' consoles see it."""

    def __init__(self, folder: Any) -> None:
        self.file = folder / "overlay.yaml"
        lines = ["version: 1", f"overlay: {NAME}", "bfd: {interval_ms: 50, multiplier: 10}"]
        lines += ["controllers: [198.18.255.2/32]", "sites:"]
        lines += [f"  - {{name: {name}, {rest}}}" for name, rest in SITES.items()]
        self.file.write_text("\n".join(lines) + "\n")
        self.url = f"sqlite:///{folder}/store.db"
        os.environ.update({"OVERLAY_STORE": self.url, "OVERLAY_PASSPHRASE": "a passphrase for a test"})

    def ctl(self, *words: str, fine: tuple[int, ...] = (0,), seconds: float = 280) -> Any:
        argv = [sys.executable, "-m", "proactive_tasks.cli", *words, "--output", "json"]
        done = subprocess.run(
            argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=seconds, check=False
        )
        assert done.returncode in fine, f"{words}: exit {done.returncode}\n{done.stderr[-4000:]}"
        return json.loads(done.stdout)

    def servers(self) -> dict[str, Any]:
        return {each["label"]: each for each in self.ctl("lab", "cloud", "ls", "--lab", NAME)["servers"]}

    def answers(self, target: str) -> bool:
        """Whether an address answers the host in the lab."""
        return Lab(NAME).exec("paris/host1", ["ping", *ONCE, target]).returncode == 0

    def reach(self, site: str) -> bool:
        """Whether the host of a site and the one in the lab reach each other: a filter with a state has two sides."""
        return self.answers(host(self, site)) and self.sends(site, host_in_lab(self))

    def sends(self, site: str, target: str) -> bool:
        """Whether an address answers the host of a site."""
        words = ["lab", "cloud", "exec", "--lab", NAME, f"{NAME}--{site}--host1", "--", "ping", *ONCE, target]
        argv = [sys.executable, "-m", "proactive_tasks.cli", *words]
        return subprocess.run(argv, capture_output=True, timeout=60, check=False).returncode == 0

    def repaired(self, site: str) -> list[str]:
        """What the provisioning task had to do, and did."""
        with Store.open(self.url) as store:
            context = Context(store, passphrase=lambda: "a passphrase for a test", progress=lambda *_: None)
            return provision_gateway(context, overlay=NAME, site=site).difference


@pytest.fixture(scope="module")
def span(tmp_path_factory) -> Iterator[Span]:
    if missing():
        pytest.skip(f"needs a machine that can carry a lab; it lacks {'; '.join(missing())}")
    before = dict(os.environ)
    made = Span(tmp_path_factory.mktemp("span"))
    ports = {cloud: str(free_port()) for cloud in CLOUDS}
    with ExitStack() as stack:
        stack.callback(lambda: (os.environ.clear(), os.environ.update(before)))
        stack.callback(lambda: Lab(NAME).destroy())
        proxy = str(free_port())
        for cloud in CLOUDS:
            stack.callback(made.ctl, "lab", "cloud", cloud, "down", "--lab", NAME)
            words = ["--lab", NAME, "--proxy-port", proxy]
            words += [] if cloud == "openstack" else ["--port", ports[cloud]]
            os.environ.update(made.ctl("lab", "cloud", cloud, "up", *words, seconds=900))
        done = made.ctl("deploy", str(made.file), "--yes")
        assert done["tasks"]["Verify_Overlay"]["result"]["facts"]["pairs_ok"] > 0
        yield made
        made.ctl("destroy", "--overlay", NAME, "--yes")
        for cloud in CLOUDS:
            assert made.ctl("orphans", "--provider", cloud) == []
        assert made.servers() == {}
    assert Lab(NAME).leftovers() == []


def host(span: Span, site: str) -> str:
    return str(span.servers()[f"{NAME}--{site}--host1"]["private"][0])


def host_in_lab(span: Span) -> str:
    with Store.open(span.url) as store:
        return str(store.site(NAME, "paris").subnet.network_address + 1)


def aws() -> Any:
    import boto3

    return boto3.client("ec2", region_name="eu-central-1")


def _aws_one(ec2: Any, what: str, answer: str, part: str) -> Any:
    filters = [{"Name": "tag:Name", "Values": [f"{NAME}--frankfurt{part}"]}]
    [found] = getattr(ec2, f"describe_{what}")(Filters=filters)[answer]
    return found


def _aws_route(part: str) -> Callable[[], None]:
    def take() -> None:
        ec2 = aws()
        table = _aws_one(ec2, "route_tables", "RouteTables", part)
        for route in table["Routes"]:
            if route.get("GatewayId") != "local":
                ec2.delete_route(RouteTableId=table["RouteTableId"], DestinationCidrBlock=route["DestinationCidrBlock"])

    return take


def _aws_check() -> None:
    ec2 = aws()
    interface = _aws_one(ec2, "network_interfaces", "NetworkInterfaces", "--gateway")["NetworkInterfaceId"]
    ec2.modify_network_interface_attribute(NetworkInterfaceId=interface, SourceDestCheck={"Value": True})


def _aws_group(part: str) -> Callable[[], None]:
    def take() -> None:
        ec2 = aws()
        group = _aws_one(ec2, "security_groups", "SecurityGroups", part)
        ec2.revoke_security_group_ingress(GroupId=group["GroupId"], IpPermissions=group["IpPermissions"])

    return take


def _aws_address() -> None:
    ec2 = aws()
    ec2.disassociate_address(AssociationId=_aws_one(ec2, "addresses", "Addresses", "--gateway")["AssociationId"])


def _aws_stop() -> None:
    ec2 = aws()
    filters = [{"Name": "tag:Name", "Values": [f"{NAME}--frankfurt--gateway"]}]
    [reservation] = ec2.describe_instances(Filters=filters)["Reservations"]
    ec2.stop_instances(InstanceIds=[reservation["Instances"][0]["InstanceId"]])


GROUP = f"{NAME}--westeu"


def azure() -> Any:
    from proactive_tasks.clouds.azure.calls import Arm, Patience

    return Arm(os.environ["AZURE_SUBSCRIPTION_ID"], None, Patience(poll_s=0.1)).network


def _azure_table() -> None:
    network = azure()
    subnet = network.subnets.get(GROUP, GROUP, "applications")
    subnet.route_table = None
    network.subnets.begin_create_or_update(GROUP, GROUP, "applications", subnet).result()


def _azure_routes() -> None:
    network = azure()
    [table] = network.route_tables.list(GROUP)
    for route in list(table.routes):
        network.routes.begin_delete(GROUP, table.name, route.name).result()


def _azure_forwarding() -> None:
    network = azure()
    nic = network.network_interfaces.get(GROUP, f"{GROUP}--gateway")
    nic.enable_ip_forwarding = False
    network.network_interfaces.begin_create_or_update(GROUP, nic.name, nic).result()


def _azure_group(part: str) -> Callable[[], None]:
    def take() -> None:
        network = azure()
        group = network.network_security_groups.get(GROUP, f"{GROUP}--{part}")
        group.security_rules = [rule for rule in group.security_rules if rule.access == "Deny"]
        network.network_security_groups.begin_create_or_update(GROUP, group.name, group).result()

    return take


def _azure_address() -> None:
    network = azure()
    nic = network.network_interfaces.get(GROUP, f"{GROUP}--gateway")
    nic.ip_configurations[0].public_ip_address = None
    network.network_interfaces.begin_create_or_update(GROUP, nic.name, nic).result()


def openstack() -> Any:
    import openstack as sdk

    return sdk.connect()


def _neutron_port(of: Any, part: str) -> Any:
    return of.network.find_port(f"{NAME}--campus--{part}", ignore_missing=False)


def _neutron_pairs() -> None:
    with openstack() as of:
        of.network.update_port(_neutron_port(of, "lan"), allowed_address_pairs=[])


def _neutron_group(part: str) -> Callable[[], None]:
    def take() -> None:
        with openstack() as of:
            group = of.network.find_security_group(f"{NAME}--campus--{part}", ignore_missing=False)
            for rule in of.network.security_group_rules(security_group_id=group.id, direction="ingress"):
                of.network.delete_security_group_rule(rule)

    return take


def _neutron_routes() -> None:
    with openstack() as of:
        subnet = of.network.find_subnet(f"{NAME}--campus--network", ignore_missing=False)
        of.network.update_subnet(subnet, host_routes=[], gateway_ip=None)


def _neutron_address() -> None:
    with openstack() as of:
        [address] = of.network.ips(port_id=_neutron_port(of, "wan").id)
        of.network.update_ip(address, port_id=None)


def _nova_stop() -> None:
    with openstack() as of:
        server = of.compute.find_server(f"{NAME}--campus--gateway", ignore_missing=False)
        of.compute.stop_server(server)
        of.compute.wait_for_server(of.compute.get_server(server), status="SHUTOFF", wait=60)


FORGOTTEN: list[tuple[str, str, Callable[[], None]]] = [
    ("frankfurt", "routes of the hosts' subnet", _aws_route("--applications")),
    ("frankfurt", "the gateway's route to the Internet", _aws_route("--gateway")),
    ("frankfurt", "source/destination check", _aws_check),
    ("frankfurt", "what the hosts' group admits", _aws_group("--hosts")),
    ("frankfurt", "what the gateway's group admits", _aws_group("--gateway")),
    ("frankfurt", "the public address", _aws_address),
    ("frankfurt", "the instance", _aws_stop),
    ("westeu", "the hosts' route table", _azure_table),
    ("westeu", "the routes in it", _azure_routes),
    ("westeu", "IP forwarding", _azure_forwarding),
    ("westeu", "what the hosts' group admits", _azure_group("hosts")),
    ("westeu", "what the gateway's group admits", _azure_group("gateway")),
    ("westeu", "the public address", _azure_address),
    ("campus", "the address pair of the gateway's port", _neutron_pairs),
    ("campus", "what the hosts' group admits", _neutron_group("hosts")),
    ("campus", "what the gateway's group admits", _neutron_group("gateway")),
    ("campus", "the routes of the site's subnet", _neutron_routes),
    ("campus", "the floating address", _neutron_address),
    ("campus", "the server", _nova_stop),
]


@pytest.mark.parametrize(("site", "what", "take"), FORGOTTEN, ids=[f"{site}: {what}" for site, what, _ in FORGOTTEN])
def test_what_is_taken_away_breaks_the_ping_and_a_deployment_repairs_just_that(span, site, what, take) -> None:
    until(lambda: span.reach(site), ANSWER_S, f"{site} to be reached before anything is taken")
    take()
    until(lambda: not span.reach(site), ANSWER_S, f"without {what}, {site} to be cut off")
    done = span.repaired(site)
    assert done
    assert all(f"{NAME}--{site}" in line or any(block in line for block in PUBLIC) for line in done), done
    until(lambda: span.reach(site), 2 * ANSWER_S, f"{site} to be reached again; done: {done}")
    assert span.repaired(site) == []


def test_hosts_reach_each_other_and_the_internet_by_their_gateway(span) -> None:
    assert span.sends("frankfurt", host(span, "westeu"))
    assert span.sends("westeu", host(span, "frankfurt"))
    assert span.sends("westeu", "198.18.255.2")
    assert span.sends("frankfurt", "198.18.255.2")


def test_a_host_can_be_added_and_taken_away(span) -> None:
    done = span.ctl("hosts", "frankfurt", "2", "--overlay", NAME, "--yes")
    assert done["succeeded"]
    second = str(span.servers()[f"{NAME}--frankfurt--host2"]["private"][0])
    until(lambda: span.answers(second), ANSWER_S, "the second host to answer")
    span.ctl("hosts", "frankfurt", "1", "--overlay", NAME, "--yes")
    assert f"{NAME}--frankfurt--host2" not in span.servers()


def test_the_plan_names_what_drifted_and_nothing_else(span) -> None:
    assert span.ctl("plan", "--overlay", NAME)["gateways"] == []
    _aws_check()
    [line] = span.ctl("plan", "--overlay", NAME)["gateways"]
    assert line == f"network interface {NAME}--frankfurt--gateway: source/destination check off"
    assert span.repaired("frankfurt") == [line]


def test_a_second_deployment_writes_nothing(span) -> None:
    done = span.ctl("deploy", str(span.file), "--yes")
    changes = [line for task in done["tasks"].values() for line in (task["result"] or {}).get("difference", [])]
    assert changes == []
