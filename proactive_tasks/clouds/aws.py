"""AWS as a provider: a site is a VPC, its gateway an EC2 instance with an Elastic IP; through boto3.

The VPC is the site's subnet. Routes of a VPC hold for whole subnets, the gateway's own packets included, so it has a
subnet of its own (the last /28) whose table leads to the Internet; the applications' table leads to its interface.
Interface and address are made before the instance: cloud-init needs the Internet at its first boot.
"""

from __future__ import annotations

import hashlib
import json
import socket
import threading
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address, IPv4Network
from typing import Any, TypeVar

from proactive_tasks.clouds import dialing
from proactive_tasks.clouds.naming import MANAGED_BY, resource, tags
from proactive_tasks.clouds.provider import (
    Change,
    GatewayFacts,
    GatewayOrder,
    HostProbe,
    Journal,
    Leftover,
    Progress,
    SiteFacts,
)
from proactive_tasks.clouds.security import ANYWHERE, Admitted, gateway_rules, host_rules
from proactive_tasks.clouds.steps import SECRET, BusyError, Noted, Steps, Taken, UnclearError, until
from proactive_tasks.overlay.errors import InputError, ProviderError
from proactive_tasks.overlay.model import Site
from proactive_tasks.overlay.numbering import assignable, subnets

try:
    import boto3
    import botocore.exceptions as refusals
    from botocore import xform_name
    from botocore.config import Config
except ImportError as error:
    raise InputError(f"provider aws: {error.name} is not installed; run: pip install 'boto3>=1.35'") from error

T = TypeVar("T")
Object = Mapping[str, Any]
"""A resource as the API describes it."""

DEBIAN = ("136693071363", "debian-12-amd64-*")
"""Who publishes Debian's images, and their names (https://wiki.debian.org/Cloud/AmazonEC2Image/Bookworm)."""

GATEWAY_TYPE, HOST_TYPE = "t3.small", "t3.micro"
CONNECT_S, READ_S, ATTEMPTS = 5, 30, 8
SETTLE_S = 20.0
"""How long something that was made may stay invisible (EC2 API, "Eventual consistency")."""
RUNNING_S, TERMINATED_S = 300.0, 600.0

DEAD = {"shutting-down", "terminated"}
STOPPED = {"stopping", "stopped"}


@dataclass(frozen=True, slots=True)
class _Kind:
    describe: str  # action
    answer: str  # where its answer holds the objects
    identifier: str
    type: str  # in TagSpecifications


KINDS: Mapping[str, _Kind] = {
    "VPC": _Kind("DescribeVpcs", "Vpcs", "VpcId", "vpc"),
    "subnet": _Kind("DescribeSubnets", "Subnets", "SubnetId", "subnet"),
    "Internet gateway": _Kind("DescribeInternetGateways", "InternetGateways", "InternetGatewayId", "internet-gateway"),
    "route table": _Kind("DescribeRouteTables", "RouteTables", "RouteTableId", "route-table"),
    "security group": _Kind("DescribeSecurityGroups", "SecurityGroups", "GroupId", "security-group"),
    "key pair": _Kind("DescribeKeyPairs", "KeyPairs", "KeyPairId", "key-pair"),
    "network interface": _Kind(
        "DescribeNetworkInterfaces", "NetworkInterfaces", "NetworkInterfaceId", "network-interface"
    ),
    "address": _Kind("DescribeAddresses", "Addresses", "AllocationId", "elastic-ip"),
    "instance": _Kind("DescribeInstances", "Reservations", "InstanceId", "instance"),
    "volume": _Kind("DescribeVolumes", "Volumes", "VolumeId", "volume"),
}

OUTSIDE = ("Internet gateway", "address", "key pair")
"""What can be there without the VPC."""
INSIDE = ("subnet", "route table", "security group", "network interface", "instance")

THROTTLED = {
    "RequestLimitExceeded",
    "Throttling",
    "ThrottlingException",
    "RequestThrottled",
    "TooManyRequestsException",
}
WAITING = {"DependencyViolation", "IncorrectInstanceState", "InvalidNetworkInterface.InUse", "InvalidIPAddress.InUse"}
"""Refusals of a removal, or of a change to an instance, that pass: something else is still on its way out or up."""
SETTLING = {
    f"{name}.NotFound"
    for name in (
        "InvalidVpcID",
        "InvalidSubnetID",
        "InvalidInternetGatewayID",
        "InvalidRouteTableID",
        "InvalidGroup",
        "InvalidNetworkInterfaceID",
        "InvalidAllocationID",
        "InvalidInstanceID",
        "InvalidKeyPair",
    )
}
"""Refusals of a call that follows another one's answer too fast: what that one made is not visible everywhere yet."""

_CREDENTIALS = "check the credentials (AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or a profile), then run this again"
_EXPIRED = "renew the credentials, then run this again: what was made is recorded"
_QUOTA = "raise the quota (Service Quotas) or remove what is not needed in this region, then run this again"
_TYPE = "choose another instance_type, availability_zone or region"
NEXT: Mapping[str, str] = {
    "UnauthorizedOperation": "grant ec2:{action} to these credentials (docs/clouds.md holds the policy)",
    "OptInRequired": "enable this region for the account, or choose another one",
    "AuthFailure": _CREDENTIALS,
    "InvalidClientTokenId": _CREDENTIALS,
    "SignatureDoesNotMatch": _CREDENTIALS,
    "ExpiredToken": _EXPIRED,
    "RequestExpired": _EXPIRED,
    "VpcLimitExceeded": _QUOTA,
    "AddressLimitExceeded": _QUOTA,
    "VcpuLimitExceeded": _QUOTA,
    "InstanceLimitExceeded": _QUOTA,
    "InternetGatewayLimitExceeded": _QUOTA,
    "RouteTableLimitExceeded": _QUOTA,
    "RouteLimitExceeded": _QUOTA,
    "RulesPerSecurityGroupLimitExceeded": _QUOTA,
    "InvalidAMIID.NotFound": "correct the option image: an image has another identifier in each region",
    "InvalidAMIID.Malformed": "correct the option image: it reads ami-...",
    "Unsupported": _TYPE,
    "InsufficientInstanceCapacity": _TYPE,
    "InvalidPlacementGroup.Unknown": "correct the option placement_group",
    "InvalidHostID.NotFound": "correct the option dedicated_host",
    "InvalidKeyPair.NotFound": "correct the option key_pair",
    "InvalidKeyPair.Duplicate": "remove that key pair, which is not this overlay's, or choose another name",
    "InvalidGroup.Duplicate": "remove that security group, which is not this overlay's, or choose another name",
    "InvalidSubnet.Conflict": "remove the subnet that has these addresses, then run this again",
    "InvalidIPAddress.InUse": "remove the interface that has this address, then run this again",
    "InvalidNetworkInterface.InUse": "another instance has this interface; remove it, then run this again",
    "DependencyViolation": "remove what still uses it, then run this again",
    "OperationNotPermitted": "switch its termination protection off, then run this again",
}


class AlreadyError(ProviderError):
    """What the call makes is there already."""


class _Api:
    """The EC2 API of one region, in the errors of this package."""

    def __init__(self, session: Any, region: str) -> None:
        def client(attempts: int) -> Any:
            retries = {"mode": "standard", "total_max_attempts": attempts}
            config = Config(connect_timeout=CONNECT_S, read_timeout=READ_S, retries=retries)
            return session.client("ec2", region_name=region, config=config)

        self.region = region
        self._steady, self._once = client(ATTEMPTS), client(1)

    def call(
        self,
        action: str,
        on: str = "",
        *,
        once: bool = False,
        fine: Collection[str] = (),
        busy: Collection[str] = (),
        **arguments: Any,
    ) -> Any:
        """One call.

        Args:
            action: as AWS spells it.
            on: the resource that it is about, for messages; see `said`.
            once: it must not be made again when nobody knows its outcome: what it makes would be there twice.
            fine: error codes that mean that nothing is left to do; the answer is then empty.
            busy: error codes that pass by themselves.
            arguments: of the call.

        Raises:
            InputError: no credentials.
            ProviderError: it was refused; `BusyError` and `UnclearError` where trying again is right.
        """
        client, text = self._once if once else self._steady, said(action, on, **arguments)
        try:
            return getattr(client, xform_name(action))(**arguments)
        except refusals.ClientError as error:
            told, status = error.response["Error"], error.response["ResponseMetadata"]["HTTPStatusCode"]
            code, message = told.get("Code", ""), told.get("Message", "")
            if code in fine or ("NotFound" in fine and code.endswith(".NotFound")):
                return {}
            step = NEXT.get(code, "correct what it names, then run this again").format(action=action)
            line = f"{text} refused: {code}: {message.rstrip('.')}; {step}"
            if code in THROTTLED or code in busy:
                raise BusyError(line) from error
            if status >= 500:
                raise UnclearError(f"{text} failed: {code}: {message}; run this again") from error
            raise ProviderError(line) from error
        except (
            refusals.NoCredentialsError,
            refusals.CredentialRetrievalError,
            refusals.PartialCredentialsError,
        ) as error:
            raise InputError(f"aws: {text}: {error}; {_CREDENTIALS}") from error
        except (refusals.EndpointConnectionError, refusals.ConnectTimeoutError) as error:
            raise BusyError(f"{text}: {error}; check the network and the endpoint, then run this again") from error
        except (refusals.HTTPClientError, refusals.ConnectionError) as error:
            raise UnclearError(f"{text}: no answer ({error}); run this again") from error
        except refusals.BotoCoreError as error:
            raise ProviderError(f"{text}: {error}; correct what it names, then run this again") from error

    def look(self, kind: str, **wanted: str | Sequence[str]) -> tuple[Object, ...]:
        """All resources of a kind that these filters let through; `tag_NAME` filters by a tag."""
        of, found, page = KINDS[kind], [], ""
        filters = [
            {
                "Name": f"tag:{name[4:]}" if name.startswith("tag_") else name.replace("_", "-"),
                "Values": [value] if isinstance(value, str) else list(value),
            }
            for name, value in wanted.items()
        ]
        while True:
            answer = self.call(of.describe, Filters=filters, **({"NextToken": page} if page else {}))
            objects = answer.get(of.answer, [])
            found += [each for entry in objects for each in entry["Instances"]] if kind == "instance" else objects
            page = answer.get("NextToken", "")
            if not page:
                return tuple(found)


def said(action: str, on: str = "", /, **arguments: Any) -> str:
    """A call as one reads it, without secrets: ModifyNetworkInterfaceAttribute(SourceDestCheck=False) on eni-..."""
    words = []
    for name, value in arguments.items():
        if name == "TagSpecifications":
            words.append(f"Name={_tagged(value[0]['Tags']).get('Name', '')!r}")
        elif name in {"UserData", "PublicKeyMaterial"}:
            words.append(f"{name}={SECRET}")
        elif name not in {"ClientToken", "NextToken"} and value != on:
            shown = value["Value"] if isinstance(value, Mapping) and set(value) == {"Value"} else value
            words.append(f"{name}={shown!r}")
    return f"{action}({', '.join(words)})" + (f" on {on}" if on else "")


def _tagged(given: Iterable[Mapping[str, str]]) -> dict[str, str]:
    return {tag["Key"]: tag["Value"] for tag in given}


def _tags(of: Object) -> dict[str, str]:
    return _tagged(of.get("Tags") or of.get("TagSet") or ())


def _state(instance: Object) -> str:
    return str(instance.get("State", {}).get("Name", ""))


def _alive(of: Object) -> bool:
    return not ("InstanceId" in of and "State" in of and _state(of) in DEAD)


@dataclass(frozen=True, slots=True)
class Found:
    """What a region holds of a site, by kind; of an adopted network also what is not ours."""

    region: str
    held: Mapping[str, tuple[Object, ...]]

    def one(self, kind: str, name: str) -> Object | None:
        """The living resource of this name that is ours."""
        return next((each for each in self.ours(kind) if _tags(each).get("Name") == name and _alive(each)), None)

    def ours(self, kind: str) -> list[Object]:
        """All that are ours."""
        return [each for each in self.held.get(kind, ()) if _tags(each).get("managed-by") == MANAGED_BY]


@dataclass(frozen=True, slots=True)
class _Names:
    overlay: str
    site: str

    def __call__(self, part: str = "") -> str:
        return resource(self.overlay, self.site, part)

    def specification(self, kind: str, name: str) -> dict[str, Any]:
        """A TagSpecification for what a call makes."""
        given = tags(self.overlay, self.site, name)
        return {"ResourceType": KINDS[kind].type, "Tags": [{"Key": k, "Value": v} for k, v in given.items()]}


@dataclass
class AwsProvider:
    """Sites in AWS. See `provider.Provider`."""

    name: str = "aws"
    settle_s: float = SETTLE_S
    poll_s: float = 2.0
    patience_s: float = 180.0
    _apis: dict[tuple[str, str], _Api] = field(default_factory=dict, repr=False)
    _images: dict[str, str] = field(default_factory=dict, repr=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def check(self) -> None:
        """There must be credentials, or a profile that a site can name."""
        try:
            session = boto3.Session()
            missing = session.get_credentials() is None and not session.available_profiles
        except refusals.BotoCoreError as error:
            raise InputError(f"aws: {error}; {_CREDENTIALS}") from error
        if missing:
            raise InputError(
                "aws: no credentials; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or configure a profile (aws "
                "configure) or a role; docs/clouds.md holds the permissions that they need"
            )

    def facts(self, overlay: str, site: Site) -> SiteFacts:
        """What is there for this site."""
        found, name = self._look(overlay, site), resource(overlay, site.name, "gateway")
        instance = found.one("instance", name)
        if instance is None:
            return SiteFacts(None, found)
        address, interface = found.one("address", name), found.one("network interface", name)
        bound = address and interface and address.get("NetworkInterfaceId") == interface["NetworkInterfaceId"]
        public = IPv4Address(address["PublicIp"]) if address and bound else None
        return SiteFacts(GatewayFacts(instance["InstanceId"], _state(instance) not in STOPPED, public), found)

    def difference(self, order: GatewayOrder, facts: SiteFacts) -> list[Change]:
        """What `apply` would do."""
        noted = Noted()
        self._work(order, facts.found, noted).gateway()
        return noted.changes

    def apply(self, order: GatewayOrder, facts: SiteFacts, journal: Journal, progress: Progress) -> GatewayFacts:
        """Make what lacks, repair what differs, start what is stopped."""
        found = self._settled(order, facts.found, journal)
        work = self._work(order, found, self._taken(journal, progress))
        if facts.gateway is None and order.user_data and found.one("instance", work.names("gateway")):
            # Made by a run that was cut off, and not visible when this one looked: its keys are nobody's now.
            self.discard(order.overlay, order.site, journal)
            work = self._work(order, self._look(order.overlay, order.site), work.steps)
        instance, address = work.gateway()
        self._await_running([instance["InstanceId"]], work.api)
        return GatewayFacts(instance["InstanceId"], True, IPv4Address(address["PublicIp"]))

    def attach(self, order: GatewayOrder, journal: Journal, progress: Progress) -> list[str]:
        """Bring the site's application hosts to the number wanted."""
        found = self._settled(order, self._look(order.overlay, order.site), journal)
        taken = self._taken(journal, progress)
        work = self._work(order, found, taken)
        self._await_running(work.hosts(), work.api)
        surplus = work.surplus()
        self._terminate(surplus, work.api, taken, journal)
        return [change.line for change in taken.changes]

    def discard(self, overlay: str, site: Site, journal: Journal) -> list[str]:
        """Terminate the gateway's instance; its disk goes with it, its interface and address stay."""
        found, taken = self._look(overlay, site), self._taken(journal, lambda _line: None)
        name = resource(overlay, site.name, "gateway")
        doomed = [each for each in found.ours("instance") if _tags(each).get("Name") == name]
        self._terminate(doomed, self._api(site), taken, journal)
        return [change.line for change in taken.changes]

    def release(self, overlay: str, site: Site, journal: Journal, progress: Progress) -> list[str]:
        """Remove everything of the site; of an adopted network only our routes."""
        api, found, taken = self._api(site), self._look(overlay, site), self._taken(journal, progress)
        self._terminate(found.ours("instance"), api, taken, journal)
        _Removal(api, found, taken, journal).all()
        until(lambda: self._remaining(overlay, site), TERMINATED_S, f"site {site.name}: all removed", self.poll_s)
        names = _Names(overlay, site.name)
        parts = ["", "gateway", "applications", "hosts", *(f"host{n + 1}" for n in range(site.hosts))]
        for kind in KINDS:
            for part in parts:
                journal.gone(kind, names(part))
        return [change.line for change in taken.changes]

    def leftovers(self, overlay: str, regions: Sequence[str]) -> list[Leftover]:
        """Everything with our tags in these regions; a terminated instance that is still told of does not count."""
        wanted = {"tag_managed-by": MANAGED_BY, **({"tag_overlay": overlay} if overlay else {})}
        found = []
        for region in dict.fromkeys(regions):
            api = self._api_of("", region, "overlay " + (overlay or "any"))
            for kind, of in KINDS.items():
                for each in api.look(kind, **wanted):
                    if kind == "instance" and _state(each) == "terminated":
                        continue
                    its = _tags(each)
                    name = its.get("Name") or each[of.identifier]
                    found.append(
                        Leftover(self.name, api.region, its.get("overlay", ""), its.get("site", ""), kind, name)
                    )
        return found

    def dial(self, overlay: str, address: IPv4Address, port: int, timeout: float) -> socket.socket:  # noqa: ARG002
        """Connect through the Internet; an OSError is for the caller to retry."""
        return dialing.dial(address, port, timeout)

    def hosts(self, overlay: str, site: Site) -> list[HostProbe]:
        """The site's application hosts: targets, since nobody has a way into them from here."""
        names, held = _Names(overlay, site.name), self._mine(overlay, site, "instance")
        known = {_tags(each).get("Name", ""): each for each in held if _alive(each)}
        return [
            HostProbe(f"{site.name}/host{n}", IPv4Address(known[names(f"host{n}")]["PrivateIpAddress"]), None)
            for n in range(1, len(known) + site.hosts + 1)
            if names(f"host{n}") in known
        ]

    def controllers(self, overlay: str) -> Sequence[str]:  # noqa: ARG002
        """None: gateways see whatever address the controller has in the Internet."""
        return []

    # What the above share

    def _api(self, site: Site) -> _Api:
        return self._api_of(str(site.options.get("profile", "")), site.region, f"site {site.name}")

    def _api_of(self, profile: str, region: str, whose: str) -> _Api:
        with self._lock:
            if (profile, region) not in self._apis:
                self._apis[profile, region] = _connect(profile, region, whose)
            return self._apis[profile, region]

    def _taken(self, journal: Journal, progress: Progress) -> Taken:
        return Taken(journal, progress, identifier=_identifier, patience_s=self.patience_s)

    def _work(self, order: GatewayOrder, found: Found, steps: Steps) -> _Work:
        return _Work(self, self._api(order.site), order, found, steps, _Names(order.overlay, order.site.name))

    def _mine(self, overlay: str, site: Site, kind: str, **more: str) -> tuple[Object, ...]:
        ours = {"tag_managed-by": MANAGED_BY, "tag_overlay": overlay, "tag_site": site.name}
        return self._api(site).look(kind, **ours, **more)

    def _look(self, overlay: str, site: Site) -> Found:
        """One look at everything: each kind once, and what can only be in a VPC not at all without one."""
        api, vpc = self._api(site), str(site.options.get("vpc", ""))
        held = {"VPC": api.look("VPC", vpc_id=vpc) if vpc else self._mine(overlay, site, "VPC")}
        for kind in (*OUTSIDE, *(INSIDE if held["VPC"] else ())):
            whole = vpc and kind in {"subnet", "route table"}
            held[kind] = api.look(kind, vpc_id=vpc) if whole else self._mine(overlay, site, kind)
        return Found(api.region, held)

    def _settled(self, order: GatewayOrder, found: Found, journal: Journal) -> Found:
        """Look again while something that a run before this one may have made can still be invisible."""
        names = _Names(order.overlay, order.site.name)
        parts = ["", "gateway", "applications", "hosts", *(f"host{n + 1}" for n in range(order.site.hosts))]
        pending = [
            (kind, names(part), at + timedelta(seconds=self.settle_s))
            for kind in KINDS
            for part in parts
            if (at := journal.pending(kind, names(part))) is not None
        ]

        def look() -> Found | None:
            nonlocal found
            now = datetime.now(UTC)
            if not any(end > now and found.one(kind, name) is None for kind, name, end in pending):
                return found
            found = self._look(order.overlay, order.site)
            return None

        waiting = f"site {order.site.name}: what an earlier run made shows up"
        return until(look, self.settle_s + 60, waiting, min(1.0, self.poll_s)) if pending else found

    def find(self, order: GatewayOrder, kind: str, name: str) -> Object | None:
        """Look for what a call with an unclear outcome made, until it would have to be visible."""

        def look() -> Object | None:
            return Found("", {kind: self._mine(order.overlay, order.site, kind, tag_Name=name)}).one(kind, name)

        try:
            return until(look, self.settle_s, name, min(1.0, self.poll_s))
        except (BusyError, UnclearError):
            raise
        except ProviderError:
            return None  # it was not made

    def image(self, api: _Api) -> str:
        """The newest Debian 12 image of the region."""
        if api.region not in self._images:
            owner, name = DEBIAN
            filters = [{"Name": "name", "Values": [name]}, {"Name": "state", "Values": ["available"]}]
            images = api.call("DescribeImages", Owners=[owner], Filters=filters)["Images"]
            if not images:
                raise InputError(
                    f"region {api.region}: DescribeImages finds no image {name} of owner {owner} (Debian); "
                    "name one by the option image"
                )
            newest: Object = max(images, key=lambda image: str(image["CreationDate"]))
            self._images[api.region] = newest["ImageId"]
        return self._images[api.region]

    def _states(self, api: _Api, identifiers: Sequence[str]) -> dict[str, Object]:
        """Instances by identifier; none where the API does not answer just now."""
        with suppress(BusyError, UnclearError):
            return {each["InstanceId"]: each for each in api.look("instance", instance_id=identifiers)}
        return {}

    def _await_running(self, identifiers: Sequence[str], api: _Api) -> None:
        def running() -> bool | None:
            states = self._states(api, identifiers)
            for each in states.values():
                if _state(each) in DEAD:
                    reason = each.get("StateReason", {}).get("Message") or each.get("StateTransitionReason", "")
                    raise ProviderError(
                        f"instance {each['InstanceId']} ended right after its start ({_state(each)}): {reason}; "
                        "correct what it names, then run this again"
                    )
            return True if all(_state(states.get(each, {})) == "running" for each in identifiers) else None

        if identifiers:
            until(running, RUNNING_S, f"instance {', '.join(identifiers)} runs", self.poll_s)

    def _terminate(self, doomed: Iterable[Object], api: _Api, taken: Taken, journal: Journal) -> None:
        doomed = [each for each in doomed if _state(each) != "terminated"]
        for each in doomed:
            if _alive(each):
                identifier = each["InstanceId"]
                taken.take(
                    f"instance {_tags(each)['Name']}: terminate",
                    said("TerminateInstances", identifier),
                    lambda it=identifier: api.call("TerminateInstances", it, fine={"NotFound"}, InstanceIds=[it]),
                    instead={},
                )

        def gone() -> bool | None:
            states = self._states(api, identifiers)
            if any(_state(each) != "terminated" for each in states.values()):
                return None
            return True if states or not api.look("instance", instance_id=identifiers) else None

        if identifiers := [each["InstanceId"] for each in doomed]:
            until(gone, TERMINATED_S, f"instance {', '.join(identifiers)} is terminated", self.poll_s)
        for each in doomed:
            journal.gone("instance", _tags(each)["Name"])

    def _remaining(self, overlay: str, site: Site) -> bool | None:
        """True when nothing of ours is told of any more."""
        with suppress(BusyError, UnclearError):
            found = self._look(overlay, site)
            if not any(_alive(each) for kind in KINDS for each in found.ours(kind)):
                return True
        return None


def _identifier(made: Object) -> str:
    return next((str(made[of.identifier]) for of in KINDS.values() if of.identifier in made), "made")


def _connect(profile: str, region: str, whose: str) -> _Api:
    """The API of a region.

    Raises:
        InputError: the profile or the region is not known.
    """
    try:
        session = boto3.Session(profile_name=profile or None)
        region = region or session.region_name or ""
        partitions = session.get_available_partitions()
        known = {each for of in partitions for each in session.get_available_regions("ec2", partition_name=of)}
        if not region:
            raise InputError(f"{whose}: in which region of AWS? Give it one, e.g. region: eu-central-1")
        if region not in known:
            raise InputError(f"{whose}: AWS has no region {region!r}; correct it, or update boto3 if it is a new one")
        return _Api(session, region)
    except refusals.ProfileNotFound as error:
        raise InputError(f"{whose}: {error}; correct the option profile, or configure it (aws configure)") from error
    except (refusals.BotoCoreError, ValueError) as error:
        raise InputError(f"{whose}: {error}; check the configuration of AWS on this machine") from error


@dataclass
class _Work:
    """Every step for a site, once: taken or only noted."""

    driver: AwsProvider
    api: _Api
    order: GatewayOrder
    found: Found
    steps: Steps
    names: _Names

    def gateway(self) -> tuple[Object, Object]:
        """All steps for the site's network and gateway; its instance and its address."""
        site = self.order.site
        vpc, subnet, zone = self._adopted() if site.options.get("vpc") else self._network()
        group = self._group(vpc, "gateway", gateway_rules(site, self.order.controllers))
        self._group(vpc, "hosts", host_rules(self.order.routes))
        interface = self._interface(subnet, group)
        address = self._address(interface)
        self._routes(interface)
        return self._instance(interface, zone), address

    # One step, and one that makes something

    def _take(self, line: str, action: str, on: str = "", *, fine: Collection[str] = (), **arguments: Any) -> Object:
        call: Callable[[], Object] = lambda: self.api.call(  # noqa: E731
            action, on, fine=fine, busy=SETTLING | {"IncorrectInstanceState"}, **arguments
        )
        return self.steps.take(line, said(action, on, **arguments), call, instead={})

    def _make(
        self, kind: str, part: str, action: str, answer: str = "", also: Sequence[str] = (), **arguments: Any
    ) -> Object:
        """What is there of this kind and name, or else the answer of the call that makes it."""
        name = self.names(part)
        if (held := self.found.one(kind, name)) is not None:
            return held
        arguments["TagSpecifications"] = [self.names.specification(each, name) for each in (kind, *also)]

        def make() -> Object:
            busy = SETTLING | {"InvalidNetworkInterface.InUse"}
            if arguments.get("KeyName") == self.order.site.options.get("key_pair", ""):
                busy -= {"InvalidKeyPair.NotFound"}  # the user's own: it is not on its way, it is not there
            made = self.api.call(action, once=True, busy=busy, **arguments)
            if kind == "instance":
                return made["Instances"][0]  # type: ignore[no-any-return]
            return made[answer] if answer else made  # type: ignore[no-any-return]

        return self.steps.take(
            f"{kind} {name}: make" + _detail(arguments),
            said(action, **arguments),
            make,
            instead={KINDS[kind].identifier: f"({kind} {name})"},
            makes=(kind, name),
            find=lambda: self.driver.find(self.order, kind, name),
        )

    # The network

    def _network(self) -> tuple[str, str, str]:
        """The site's own VPC: its identifier, the gateway's subnet, and the zone of both subnets."""
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
                self._tables = [(table, self.names(part), (ANYWHERE, *self.order.routes))]
        return vpc["VpcId"], gateway["SubnetId"], str(gateway.get("AvailabilityZone", ""))

    _tables: list[tuple[Object, str, tuple[IPv4Network, ...]]] = field(default_factory=list)
    """Route tables that lead to the gateway: as found, what it is called, and which prefixes."""

    def _adopted(self) -> tuple[str, str, str]:
        """A VPC that is there: nothing of it is changed but routes in the tables that the site names."""
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
        for identifier in _listed(site.options.get("route_tables", "")):
            if identifier not in tables:
                raise InputError(
                    f"site {site.name}: VPC {vpc['VpcId']} has no route table {identifier}; "
                    "correct the option route_tables"
                )
            self._tables.append((tables[identifier], identifier, tuple(self.order.routes)))
        return vpc["VpcId"], subnet["SubnetId"], str(subnet.get("AvailabilityZone", ""))

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
        adopted = bool(self.order.site.options.get("vpc"))
        if held is not None and adopted and held.get("State") != "blackhole":
            raise InputError(
                f"site {self.order.site.name}: route table {name} has a route to {prefix} already ({_target(held)}); "
                "remove it, or leave the table out of the option route_tables"
            )
        arguments = {"RouteTableId": table["RouteTableId"], "DestinationCidrBlock": str(prefix), by: target}
        goal = "the gateway" if by == "NetworkInterfaceId" else "the Internet"
        if held is not None:
            line = f"route {prefix} in {name}: lead to {goal} again, not to {_target(held)}"
            self._take(line, "ReplaceRoute", table["RouteTableId"], **arguments)
            return
        line = f"route {prefix} in {name}: lead to {goal}" + (_shadows(prefix, routes.values()) if adopted else "")
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
        identifier, held = str(group["GroupId"]), _admitted(group.get("IpPermissions", ()))
        missing = [rule for rule in wanted if _key(rule) not in held]
        if missing:
            self._take(
                f"security group {name}: admit {'; '.join(map(_rule, missing))}",
                "AuthorizeSecurityGroupIngress",
                identifier,
                fine={"InvalidPermission.Duplicate"},
                GroupId=identifier,
                IpPermissions=[_permission(rule) for rule in missing],
            )
        # A rule that bears one of our reasons was made by us, for what is wanted no more; others' rules stay.
        reasons = {rule.reason for rule in (*gateway_rules(self.order.site, [ANYWHERE]), *host_rules([ANYWHERE]))}
        stale = [key for key, reason in held.items() if reason in reasons and key not in map(_key, wanted)]
        if stale:
            self._take(
                f"security group {name}: no longer admit {'; '.join(f'{key[0]} from {key[3]}' for key in stale)}",
                "RevokeSecurityGroupIngress",
                identifier,
                fine={"InvalidPermission.NotFound"},
                GroupId=identifier,
                IpPermissions=[_permission_of(*key) for key in stale],
            )
        everything = ("-1", None, None, str(ANYWHERE))
        if "IpPermissionsEgress" in group and everything not in _admitted(group["IpPermissionsEgress"]):
            self._take(
                f"security group {name}: let everything out",
                "AuthorizeSecurityGroupEgress",
                identifier,
                fine={"InvalidPermission.Duplicate"},
                GroupId=identifier,
                IpPermissions=[_permission_of(*everything)],
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

    def _instance(self, interface: Object, zone: str) -> Object:
        options = self.order.site.options
        held = self.found.one("instance", self.names("gateway"))
        if held is not None:
            return self._kept(held, "gateway")
        placement = {
            key: value
            for key, value in (
                ("GroupName", options.get("placement_group")),
                ("HostId", options.get("dedicated_host")),
                ("Tenancy", "host" if options.get("dedicated_host") else None),
                ("AvailabilityZone", zone if options.get("availability_zone") else None),
            )
            if value
        }
        data = {"UserData": self.order.user_data.decode()} if self.order.user_data else {}
        return self._run(
            "gateway",
            options.get("image"),
            options.get("instance_type", GATEWAY_TYPE),
            {"NetworkInterfaceId": interface["NetworkInterfaceId"]},
            **({"Placement": placement} if placement else {}),
            **data,
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
        if _state(instance) in STOPPED:
            self._take(f"instance {name}: start", "StartInstances", identifier, InstanceIds=[identifier])
        return instance

    def _run(
        self, part: str, image: str | None, size: str, interface: Object, also: Sequence[str] = (), **more: Any
    ) -> Object:
        dead = sorted(each["InstanceId"] for each in self.found.ours("instance") if not _alive(each))
        key = self.order.site.options.get("key_pair") or self._key()
        arguments = {
            "ImageId": image or self.driver.image(self.api),
            "InstanceType": size,
            "MinCount": 1,
            "MaxCount": 1,
            **({"KeyName": key} if key else {}),
            "NetworkInterfaces": [{"DeviceIndex": 0, **interface}],
            "MetadataOptions": {"HttpTokens": "required", "HttpEndpoint": "enabled"},
            **more,
        }
        # The same call is the same instance, also after a crash; after the death of that one it is another call.
        seed = json.dumps([self.names(part), dead, arguments], sort_keys=True)
        token = hashlib.sha256(seed.encode()).hexdigest()
        return self._make("instance", part, "RunInstances", also=("volume", *also), ClientToken=token, **arguments)

    def _key(self) -> str:
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

    def surplus(self) -> list[Object]:
        """Hosts that are there and not wanted."""
        wanted = {self.names("gateway"), *(self.names(f"host{n + 1}") for n in range(self.order.site.hosts))}
        return [each for each in self.found.ours("instance") if _tags(each).get("Name") not in wanted]


@dataclass
class _Removal:
    """Everything of a site but its instances, in the order in which AWS lets go of it."""

    api: _Api
    found: Found
    taken: Taken
    journal: Journal

    def all(self) -> None:
        """Remove it."""
        ours = self.found.ours
        self._routes()
        for each in ours("address"):
            if bound := each.get("AssociationId"):
                self._change("address", each, "take it from the gateway", "DisassociateAddress", AssociationId=bound)
            self._remove("address", each, "ReleaseAddress", AllocationId=each["AllocationId"])
        for each in ours("network interface"):
            identifier = each["NetworkInterfaceId"]
            self._remove("network interface", each, "DeleteNetworkInterface", NetworkInterfaceId=identifier)
        for each in ours("route table"):
            for one in each.get("Associations", ()):
                self._change(
                    "route table",
                    each,
                    "take it from its subnet",
                    "DisassociateRouteTable",
                    AssociationId=one["RouteTableAssociationId"],
                )
            self._remove("route table", each, "DeleteRouteTable", RouteTableId=each["RouteTableId"])
        for each in ours("subnet"):
            self._alone(each, "subnet-id", each["SubnetId"])
            self._remove("subnet", each, "DeleteSubnet", SubnetId=each["SubnetId"])
        for each in ours("security group"):
            self._unlink(each)
        for each in ours("security group"):
            self._remove("security group", each, "DeleteSecurityGroup", GroupId=each["GroupId"])
        for each in ours("Internet gateway"):
            identifier = each["InternetGatewayId"]
            for one in each.get("Attachments", ()):
                self._change(
                    "Internet gateway",
                    each,
                    "detach from the VPC",
                    "DetachInternetGateway",
                    InternetGatewayId=identifier,
                    VpcId=one["VpcId"],
                )
            self._remove("Internet gateway", each, "DeleteInternetGateway", InternetGatewayId=identifier)
        for each in ours("VPC"):
            self._remove("VPC", each, "DeleteVpc", VpcId=each["VpcId"])
        for each in ours("key pair"):
            self._remove("key pair", each, "DeleteKeyPair", KeyName=each["KeyName"])

    def _routes(self) -> None:
        """Routes of an adopted network that lead to our interface."""
        mine = {each["NetworkInterfaceId"] for each in self.found.ours("network interface")}
        for table in self.found.held.get("route table", ()):
            if table in self.found.ours("route table"):
                continue
            for route in table.get("Routes", ()):
                if route.get("NetworkInterfaceId") in mine:
                    identifier, to = table["RouteTableId"], route["DestinationCidrBlock"]
                    self._do(
                        f"route {to} in {identifier}: remove",
                        "DeleteRoute",
                        identifier,
                        RouteTableId=identifier,
                        DestinationCidrBlock=to,
                    )

    def _alone(self, subnet: Object, by: str, identifier: str) -> None:
        """Whatever else is in the subnet is not ours to remove, and would only let the removal wait in vain."""
        others = self.api.call("DescribeNetworkInterfaces", Filters=[{"Name": by, "Values": [identifier]}])
        foreign = [each for each in others["NetworkInterfaces"] if _tags(each).get("managed-by") != MANAGED_BY]
        if foreign:
            words = ", ".join(
                each["NetworkInterfaceId"]
                + (
                    f" of instance {each['Attachment']['InstanceId']}"
                    if each.get("Attachment", {}).get("InstanceId")
                    else ""
                )
                for each in foreign
            )
            raise ProviderError(
                f"subnet {_tags(subnet)['Name']} ({identifier}) holds what is not this overlay's: {words}; "
                "remove it, then run this again"
            )

    def _unlink(self, group: Object) -> None:
        """Rules by which groups name each other, made by hand, keep both from going."""
        for action, where in (
            ("RevokeSecurityGroupIngress", "IpPermissions"),
            ("RevokeSecurityGroupEgress", "IpPermissionsEgress"),
        ):
            named = [
                {key: rule[key] for key in ("IpProtocol", "FromPort", "ToPort") if key in rule}
                | {"UserIdGroupPairs": [{"GroupId": pair["GroupId"]} for pair in rule["UserIdGroupPairs"]]}
                for rule in group.get(where, ())
                if rule.get("UserIdGroupPairs")
            ]
            if named:
                self._change(
                    "security group",
                    group,
                    "drop what names groups",
                    action,
                    GroupId=group["GroupId"],
                    IpPermissions=named,
                )

    def _change(self, kind: str, of: Object, what: str, action: str, **arguments: Any) -> None:
        self._do(f"{kind} {_tags(of)['Name']}: {what}", action, str(of[KINDS[kind].identifier]), **arguments)

    def _remove(self, kind: str, of: Object, action: str, **arguments: Any) -> None:
        self._change(kind, of, "remove", action, **arguments)
        self.journal.gone(kind, _tags(of)["Name"])

    def _do(self, line: str, action: str, on: str, **arguments: Any) -> None:
        fine = {"NotFound", "Gateway.NotAttached", "InvalidPermission.NotFound"}
        self.taken.take(
            line,
            said(action, on, **arguments),
            lambda: self.api.call(action, on, fine=fine, busy=WAITING, **arguments),
            instead={},
        )


# Rules in AWS's words

_PROTOCOLS = {"tcp": "tcp", "udp": "udp", "icmp": "icmp", "esp": "50", "all": "-1"}
RuleKey = tuple[str, int | None, int | None, str]


def _key(rule: Admitted) -> RuleKey:
    first, last = rule.ports or ((-1, -1) if rule.protocol == "icmp" else (None, None))
    return _PROTOCOLS[rule.protocol], first, last, str(rule.source)


def _rule(rule: Admitted) -> str:
    ports = "" if rule.ports is None else f" {'-'.join(map(str, dict.fromkeys(rule.ports)))}"
    return f"{rule.protocol}{ports} from {rule.source} ({rule.reason})"


def _permission_of(protocol: str, first: int | None, last: int | None, source: str, reason: str = "") -> dict[str, Any]:
    ports = {} if first is None else {"FromPort": first, "ToPort": last}
    told = {"Description": reason} if reason else {}
    return {"IpProtocol": protocol, **ports, "IpRanges": [{"CidrIp": source, **told}]}


def _permission(rule: Admitted) -> dict[str, Any]:
    return _permission_of(*_key(rule), rule.reason)


def _admitted(permissions: Iterable[Object]) -> dict[RuleKey, str]:
    """Rules by prefix, and the description of each."""
    found = {}
    for each in permissions:
        protocol = {"6": "tcp", "17": "udp", "1": "icmp"}.get(each["IpProtocol"], each["IpProtocol"])
        with_ports = protocol in {"tcp", "udp", "icmp"}
        first, last = (each.get("FromPort"), each.get("ToPort")) if with_ports else (None, None)
        for source in each.get("IpRanges", ()):
            found[protocol, first, last, source["CidrIp"]] = source.get("Description", "")
    return found


# What lines tell


def _listed(words: str) -> list[str]:
    return [word.strip() for word in words.split(",") if word.strip()]


def _detail(arguments: Mapping[str, Any]) -> str:
    told = [arguments[key] for key in ("CidrBlock", "PrivateIpAddress", "InstanceType", "ImageId") if key in arguments]
    return f" ({', '.join(told)})" if told else ""


def _target(route: Object) -> str:
    keys = (
        "GatewayId",
        "NetworkInterfaceId",
        "InstanceId",
        "NatGatewayId",
        "TransitGatewayId",
        "VpcPeeringConnectionId",
    )
    return next((str(route[key]) for key in keys if route.get(key)), "nowhere")


def _shadows(prefix: IPv4Network, routes: Iterable[Object]) -> str:
    """Routes of others that a new one takes traffic from: those that hold its prefix, but for the way to the Internet."""
    wider = [
        f"{route['DestinationCidrBlock']} to {_target(route)}"
        for route in routes
        if route["DestinationCidrBlock"] != str(ANYWHERE)
        and prefix.subnet_of(IPv4Network(route["DestinationCidrBlock"]))
    ]
    return f"; it shadows {', '.join(wider)}" if wider else ""
