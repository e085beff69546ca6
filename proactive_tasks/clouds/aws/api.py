"""The EC2 API of one region: its calls, what they find, and what their refusals mean."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from proactive_tasks.clouds.naming import MANAGED_BY, resource, tags
from proactive_tasks.clouds.steps import SECRET, BusyError, UnclearError
from proactive_tasks.overlay.errors import InputError, ProviderError

try:
    import boto3  # type: ignore[import-untyped]
    import botocore.exceptions as refusals  # type: ignore[import-untyped]
    from botocore import xform_name
    from botocore.config import Config  # type: ignore[import-untyped]
    from botocore.parsers import ResponseParserError  # type: ignore[import-untyped]
except ImportError as error:
    raise InputError(f"provider aws: {error.name} is not installed; run: pip install 'boto3>=1.35'") from error

Object = Mapping[str, Any]
"""A resource as the API describes it."""

CONNECT_S, READ_S, ATTEMPTS = 5, 30, 8

DEAD = {"shutting-down", "terminated"}
STOPPED = {"stopping", "stopped"}


@dataclass(frozen=True, slots=True)
class Kind:
    """How the API speaks of a kind of resource."""

    describe: str  # action
    answer: str  # where its answer holds the objects
    identifier: str
    type: str  # in TagSpecifications


KINDS: Mapping[str, Kind] = {
    "VPC": Kind("DescribeVpcs", "Vpcs", "VpcId", "vpc"),
    "subnet": Kind("DescribeSubnets", "Subnets", "SubnetId", "subnet"),
    "Internet gateway": Kind("DescribeInternetGateways", "InternetGateways", "InternetGatewayId", "internet-gateway"),
    "route table": Kind("DescribeRouteTables", "RouteTables", "RouteTableId", "route-table"),
    "security group": Kind("DescribeSecurityGroups", "SecurityGroups", "GroupId", "security-group"),
    "key pair": Kind("DescribeKeyPairs", "KeyPairs", "KeyPairId", "key-pair"),
    "network interface": Kind(
        "DescribeNetworkInterfaces", "NetworkInterfaces", "NetworkInterfaceId", "network-interface"
    ),
    "address": Kind("DescribeAddresses", "Addresses", "AllocationId", "elastic-ip"),
    "instance": Kind("DescribeInstances", "Reservations", "InstanceId", "instance"),
    "volume": Kind("DescribeVolumes", "Volumes", "VolumeId", "volume"),
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


class Api:
    """The EC2 API of one region, in the errors of this package."""

    def __init__(self, session: Any, region: str) -> None:
        def client(attempts: int) -> Any:
            retries = {"mode": "standard", "total_max_attempts": attempts}
            config = Config(connect_timeout=CONNECT_S, read_timeout=READ_S, retries=retries)
            made = session.client("ec2", region_name=region, config=config)
            made.meta.events.register("before-send.ec2", self._count)
            return made

        self.region, self.calls = region, 0
        self._steady, self._once = client(ATTEMPTS), client(1)

    def _count(self, **_: Any) -> None:
        self.calls += 1

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
        except (refusals.HTTPClientError, refusals.ConnectionError, ResponseParserError) as error:
            raise UnclearError(f"{text}: no answer ({error}); run this again") from error
        except refusals.BotoCoreError as error:
            raise ProviderError(f"{text}: {error}; correct what it names, then run this again") from error

    def look(self, kind: str, wanted: Mapping[str, str | Sequence[str]]) -> tuple[Object, ...]:
        """All resources of a kind that these filters let through."""
        of, page = KINDS[kind], ""
        filters = [{"Name": name, "Values": [of] if isinstance(of, str) else [*of]} for name, of in wanted.items()]
        found: list[Object] = []
        while True:
            more: dict[str, Any] = {"NextToken": page} if page else {}
            answer = self.call(of.describe, Filters=filters, **more)
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


def tags_of(of: Object) -> dict[str, str]:
    """A resource's tags."""
    return _tagged(of.get("Tags") or of.get("TagSet") or ())


def name_of(kind: str, of: Object) -> str:
    """A resource's name; its identifier if somebody took that tag away."""
    return tags_of(of).get("Name") or str(of[KINDS[kind].identifier])


def state(instance: Object) -> str:
    """The state of an instance; "" of anything else."""
    found = instance.get("State")  # a subnet's is a text
    return str(found["Name"]) if isinstance(found, Mapping) else ""


def alive(of: Object) -> bool:
    """Not an instance that is terminated, or about to be."""
    return state(of) not in DEAD


@dataclass(frozen=True, slots=True)
class Found:
    """What a region holds of a site, by kind; of an adopted network also what is not ours."""

    held: Mapping[str, tuple[Object, ...]]

    def one(self, kind: str, name: str) -> Object | None:
        """The living resource of this name that is ours."""
        return next((each for each in self.ours(kind) if tags_of(each).get("Name") == name and alive(each)), None)

    def ours(self, kind: str) -> list[Object]:
        """All that are ours."""
        return [each for each in self.held.get(kind, ()) if tags_of(each).get("managed-by") == MANAGED_BY]

    def instances(self) -> list[Object]:
        """All instances that are ours, dead ones included as long as they are told of."""
        return self.ours("instance")


@dataclass(frozen=True, slots=True)
class Names:
    """What the resources of a site are called."""

    overlay: str
    site: str

    def __call__(self, part: str = "") -> str:
        """The name of a part."""
        return resource(self.overlay, self.site, part)

    def all(self, hosts: int) -> list[str]:
        """Every name that a resource of a site with so many application hosts can have."""
        return [
            self(part) for part in ("", "gateway", "applications", "hosts", *(f"host{n + 1}" for n in range(hosts)))
        ]

    def specification(self, kind: str, name: str) -> dict[str, Any]:
        """A TagSpecification for what a call makes."""
        given = tags(self.overlay, self.site, name)
        return {"ResourceType": KINDS[kind].type, "Tags": [{"Key": k, "Value": v} for k, v in given.items()]}


def require_credentials() -> None:
    """Refuse where boto3 finds no credentials.

    Raises:
        InputError: there are none, and no profile that a site could name.
    """
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


def open_session(profile: str, whose: str) -> Any:
    """A session of boto3: its chain of credentials, or a profile.

    Raises:
        InputError: the profile is not known.
    """
    try:
        return boto3.Session(profile_name=profile or None)
    except refusals.BotoCoreError as error:
        raise InputError(f"{whose}: {error}; correct the option profile, or configure it (aws configure)") from error


def connect(session: Any, region: str, whose: str) -> Api:
    """The API of a region.

    Raises:
        InputError: the region is not known, or there is no way to make a client.
    """
    region = region or session.region_name or ""
    partitions = session.get_available_partitions()
    known = {each for of in partitions for each in session.get_available_regions("ec2", partition_name=of)}
    if not region:
        raise InputError(f"{whose}: in which region of AWS? Give it one, e.g. region: eu-central-1")
    if region not in known:
        raise InputError(f"{whose}: AWS has no region {region!r}; correct it, or update boto3 if it is a new one")
    try:
        return Api(session, region)
    except (refusals.BotoCoreError, ValueError) as error:  # an endpoint that is no URL, a broken configuration file
        raise InputError(f"{whose}: {error}; check the configuration of AWS on this machine") from error
