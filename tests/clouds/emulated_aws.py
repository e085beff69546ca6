"""The emulated AWS in this process, behind a proxy that counts and makes trouble; and sites to put into it."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import lru_cache
from ipaddress import IPv4Network
from typing import Any
from unittest import mock
from urllib.parse import parse_qs

import boto3
from botocore.config import Config
from werkzeug.serving import WSGIRequestHandler, make_server

from proactive_tasks.clouds.aws.driver import AwsProvider
from proactive_tasks.clouds.provider import GatewayFacts, GatewayOrder, Journal, NoJournal
from proactive_tasks.lab.cloud.aws import emulator as aws
from proactive_tasks.lab.cloud.emulator import Carry
from proactive_tasks.lab.cloud.model import Cloud
from proactive_tasks.overlay.model import Origin, Site
from tests.clouds.trouble import Request, Trouble, trouble

REGION = "eu-central-1"
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJwz3LVrMX8y1EwaLGUYzBCaz2Uv8A3ZFlG7vGLZ0qVw"
USER_DATA = b"#cloud-config\nhostname: a-gateway\n"
OVERLAY = IPv4Network("10.0.0.0/8")
CONTROLLER = IPv4Network("203.0.113.7/32")


def site(name: str = "frankfurt", deployment: int = 0, **fields: Any) -> Site:
    index = 256 + deployment
    made = Site(
        name=name,
        provider="aws",
        region=REGION,
        origin=Origin.FILE,
        deployment=deployment,
        index=index,
        subnet=IPv4Network((0x0A000000 + (index << 8), 24)),
        asn=4_200_000_000 + index,
    )
    return replace(made, **fields)


def order(of: Site, **fields: Any) -> GatewayOrder:
    made = GatewayOrder("presto", of, USER_DATA, routes=(OVERLAY,), controllers=(CONTROLLER,), ssh_key=KEY)
    return replace(made, **fields)


def provider() -> AwsProvider:
    """The driver of this place; one, since making boto3's clients takes longer than most tests."""
    return _provider(os.environ["AWS_ENDPOINT_URL"])


@lru_cache(1)
def _provider(_url: str) -> AwsProvider:
    return fresh()


def fresh(**fields: float) -> AwsProvider:
    """A driver that has seen nothing yet."""
    return AwsProvider(**{"settle_s": 0.3, "poll_s": 0.02, "patience_s": 20.0, **fields})  # type: ignore[arg-type]


def action(request: Request) -> str:
    return parse_qs(request.body.decode()).get("Action", [""])[0]


def writes(request: Request) -> bool:
    return not action(request).startswith("Describe")


@dataclass
class Place:
    """An emulated AWS, what was asked of it, and what its network was told last."""

    app: aws.EmulatedAws
    trouble: Trouble
    carried: list[Cloud] = field(default_factory=list)

    def client(self, region: str = REGION) -> Any:
        """Somebody else's client, who does not go through the proxy's trouble."""
        if region not in self.clients:
            config = Config(retries={"total_max_attempts": 1})
            self.clients[region] = boto3.client("ec2", region_name=region, endpoint_url=self.url, config=config)
        return self.clients[region]

    url: str = ""
    clients: dict[str, Any] = field(default_factory=dict)

    def calls(self) -> list[str]:
        return [action(request) for request in self.trouble.calls]

    def written(self) -> list[str]:
        return [action(request) for request in self.trouble.calls if writes(request)]


@contextmanager
def serving(app: aws.EmulatedAws) -> Iterator[str]:
    """Its URL, while it is served."""
    server = make_server("127.0.0.1", 0, app, threaded=True, request_handler=_Quiet)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join(60)


@contextmanager
def emulated_aws(carry: Carry | None = None) -> Iterator[Place]:
    carried: list[Cloud] = []
    app = aws.make_app(carry or carried.append)
    with serving(app) as url, trouble(url) as made, mock.patch.dict(os.environ, aws.environment(made.url)):
        yield Place(app, made, carried, url)


class _Quiet(WSGIRequestHandler):
    protocol_version = "HTTP/1.1"

    def log(self, *_: object) -> None:
        pass


def deploy(
    of: GatewayOrder, by: AwsProvider | None = None, journal: Journal | None = None, lines: list[str] | None = None
) -> GatewayFacts:
    """What provision_gateway does with a driver."""
    driver = by or provider()
    facts = driver.facts(of.overlay, of.site)
    told = lines if lines is not None else []
    return driver.apply(of, facts, journal or NoJournal(), told.append)


def lines(of: GatewayOrder, by: AwsProvider | None = None) -> list[str]:
    """What a deployment would do."""
    driver = by or provider()
    return [change.line for change in driver.difference(of, driver.facts(of.overlay, of.site))]


def left(place: Place, regions: Sequence[str] = (REGION,)) -> list[str]:
    """What AWS still tells of by all calls that tell of something, but for default VPCs and terminated instances."""
    found: list[str] = []
    for region in regions:
        ec2 = place.client(region)
        default = [each["VpcId"] for each in ec2.describe_vpcs()["Vpcs"] if each["IsDefault"]]
        for entries, key in (
            (ec2.describe_vpcs()["Vpcs"], "VpcId"),
            (ec2.describe_subnets()["Subnets"], "SubnetId"),
            (ec2.describe_route_tables()["RouteTables"], "RouteTableId"),
            (ec2.describe_security_groups()["SecurityGroups"], "GroupId"),
            (ec2.describe_network_interfaces()["NetworkInterfaces"], "NetworkInterfaceId"),
        ):
            found += [each[key] for each in entries if each["VpcId"] not in default]
        found += [each["InternetGatewayId"] for each in ec2.describe_internet_gateways()["InternetGateways"]]
        found += [each["AllocationId"] for each in ec2.describe_addresses()["Addresses"]]
        found += [each["KeyName"] for each in ec2.describe_key_pairs()["KeyPairs"]]
        found += [each["VolumeId"] for each in ec2.describe_volumes()["Volumes"]]
        found += [
            each["InstanceId"]
            for reservation in ec2.describe_instances()["Reservations"]
            for each in reservation["Instances"]
            if each["State"]["Name"] != "terminated"
        ]
        found += [each["ResourceId"] for each in ec2.describe_tags()["Tags"] if not each["ResourceId"].startswith("i-")]
    return found
