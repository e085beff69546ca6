"""What a site wants, in AWS's words: rules of security groups, routes, lines that tell of a step."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from ipaddress import IPv4Network
from typing import Any

from proactive_tasks.clouds.aws.api import Object
from proactive_tasks.clouds.security import ANYWHERE, Admitted

_PROTOCOLS = {"tcp": "tcp", "udp": "udp", "icmp": "icmp", "esp": "50", "all": "-1"}
RuleKey = tuple[str, int | None, int | None, str]


def key(rule: Admitted) -> RuleKey:
    """A rule as AWS tells two of them apart."""
    first, last = rule.ports or ((-1, -1) if rule.protocol == "icmp" else (None, None))
    return _PROTOCOLS[rule.protocol], first, last, str(rule.source)


def rule_line(rule: Admitted) -> str:
    """A rule as one reads it."""
    ports = "" if rule.ports is None else f" {'-'.join(map(str, dict.fromkeys(rule.ports)))}"
    return f"{rule.protocol}{ports} from {rule.source} ({rule.reason})"


def permission_of(protocol: str, first: int | None, last: int | None, source: str, reason: str = "") -> dict[str, Any]:
    """An IpPermission from the parts of a key."""
    ports = {} if first is None else {"FromPort": first, "ToPort": last}
    told = {"Description": reason} if reason else {}
    return {"IpProtocol": protocol, **ports, "IpRanges": [{"CidrIp": source, **told}]}


def permission(rule: Admitted) -> dict[str, Any]:
    """An IpPermission."""
    return permission_of(*key(rule), rule.reason)


def admitted(permissions: Iterable[Object]) -> dict[RuleKey, str]:
    """Rules by prefix, and the description of each."""
    found: dict[RuleKey, str] = {}
    for each in permissions:
        protocol = {"6": "tcp", "17": "udp", "1": "icmp"}.get(each["IpProtocol"]) or str(each["IpProtocol"])
        with_ports = protocol in {"tcp", "udp", "icmp"}
        first, last = (each.get("FromPort"), each.get("ToPort")) if with_ports else (None, None)
        for source in each.get("IpRanges", ()):
            found[protocol, first, last, source["CidrIp"]] = source.get("Description", "")
    return found


def listed(words: str) -> list[str]:
    """Words with commas between them."""
    return [word.strip() for word in words.split(",") if word.strip()]


def detail(arguments: Mapping[str, Any]) -> str:
    """What of a call's arguments tells most about what it makes."""
    told = [
        arguments[name] for name in ("CidrBlock", "PrivateIpAddress", "InstanceType", "ImageId") if name in arguments
    ]
    return f" ({', '.join(told)})" if told else ""


def target_of(route: Object) -> str:
    """Where a route leads."""
    targets = (
        "GatewayId",
        "NetworkInterfaceId",
        "InstanceId",
        "NatGatewayId",
        "TransitGatewayId",
        "VpcPeeringConnectionId",
    )
    return next((str(route[key]) for key in targets if route.get(key)), "nowhere")


def shadows(prefix: IPv4Network, routes: Iterable[Object]) -> str:
    """Routes of others that a new one takes traffic from; the way to the Internet is not told."""
    wider = [
        f"{route['DestinationCidrBlock']} to {target_of(route)}"
        for route in routes
        if route["DestinationCidrBlock"] != str(ANYWHERE)
        and prefix.subnet_of(IPv4Network(route["DestinationCidrBlock"]))
    ]
    return f"; it shadows {', '.join(wider)}" if wider else ""
