"""What each value of a specification must hold true: a rule says what is wrong and what to do instead."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from ipaddress import IPv4Address, IPv4Network
from typing import TYPE_CHECKING, Any

from proactive_tasks.overlay.errors import SpecificationError
from proactive_tasks.overlay.numbering import PROVIDERS

if TYPE_CHECKING:
    from proactive_tasks.overlay.yamltext import Path

PRIVATE = tuple(IPv4Network(block) for block in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16"))
"""Address blocks for private use (RFC 1918)."""

SHARED = IPv4Network("100.64.0.0/10")
"""Addresses between carrier and customer (RFC 6598): nobody's LAN, hence good for tunnels."""

NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*", re.ASCII)
REGION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}", re.ASCII)
COMING = ("ipsec", "wireguard")

TEXT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/,@+= -]*", re.ASCII)
_WORD = (str, 1, 255)

OPTIONS: Mapping[str, Mapping[str, tuple[type, float, float]]] = {
    "aws": dict.fromkeys(
        (
            "instance_type",
            "image",
            "key_pair",
            "availability_zone",
            "placement_group",
            "dedicated_host",
            "host_instance_type",
            "host_image",
            "vpc",
            "subnet",
            "route_tables",
            "profile",
        ),
        _WORD,
    ),
    "azure": dict.fromkeys(
        (
            "vm_size",
            "image",
            "zone",
            "availability_set",
            "host_vm_size",
            "host_image",
            "resource_group",
            "vnet",
            "subnet",
            "route_tables",
            "subscription",
        ),
        _WORD,
    ),
    "openstack": dict.fromkeys(
        (
            "cloud",
            "flavor",
            "image",
            "availability_zone",
            "external_network",
            "auxiliary_network",
            "host_flavor",
            "host_image",
            "network",
            "subnet",
        ),
        _WORD,
    ),
    "edge": {
        **dict.fromkeys(("address", "user", "host_key", "lan", "lan_router"), _WORD),
        "port": (int, 1, 65_535),
        "nat": (bool, 0, 1),
    },
    "lab": {
        "delay_ms": (float, 0, 10_000),
        "jitter_ms": (float, 0, 10_000),
        "rate_mbit": (float, 0.1, 100_000),
        "loss": (float, 0, 1),
        "nat": (bool, 0, 1),
        "udp_blocked": (bool, 0, 1),
    },
}
"""The options that a site of a provider can have: type, least and greatest value, of a text its length.

`loss` is a share of 1; `route_tables` are names with commas between them. docs/clouds.md explains them all.
"""

REQUIRED: Mapping[str, Mapping[str, str]] = {
    "edge": {
        "address": "the IPv4 address at which its SSH answers",
        "host_key": "its line 'ssh-ed25519 AAAA...', as 'ssh-keyscan -t ed25519 localhost' on the host's own console "
        "shows it; it is never trusted on first use",
    },
}
"""The options that a site of a provider must have, and what each is."""

SHAPES = {
    "tuple_type": "list",
    "model_type": "mapping of keys to values",
    "mapping_type": "mapping of keys to values",
    "string_type": "text",
}
"""What pydantic calls by the names of Python's types, in YAML's words."""


class RuleError(SpecificationError):
    """A rule that does not hold, and where below the value that was checked."""

    def __init__(self, message: str, *path: str | int) -> None:
        super().__init__(message)
        self.path: Path = path


def shown(value: object) -> str:
    """A value fit for a message: one line, short, printable."""
    text = ascii(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def version(value: object) -> object:
    """The one version of the language that this release reads."""
    if type(value) is not int or value != 1:
        raise RuleError(f"{shown(value)} is not a version that this release reads; write 'version: 1'")
    return value


def name(value: str) -> str:
    """A name that is safe in file names, host names, interface descriptions and certificates."""
    if len(value) > 31 or not NAME.fullmatch(value):
        raise RuleError(
            f"{shown(value)} is not a name; use 1 to 31 of a-z, 0-9 and single '-', a letter first and no '-' last"
        )
    return value


def region(value: str) -> str:
    """A provider's word for a place."""
    if value and not REGION.fullmatch(value):
        raise RuleError(f"{shown(value)} is not a region; use 1 to 63 letters, digits, '.', '_' and '-'")
    return value


def provider(value: str) -> str:
    """A provider that the numbering plan knows."""
    if value not in PROVIDERS:
        raise RuleError(f"{shown(value)} is not a provider; use one of {', '.join(sorted(PROVIDERS))}")
    return value


def backend(value: str) -> str:
    """A back end of the tunnels that can be used."""
    if value in COMING:
        raise RuleError(f"the back end {value} is not available yet; use openvpn")
    if value != "openvpn":
        raise RuleError(f"{shown(value)} is not a back end; use openvpn")
    return value


def prefix(value: object) -> IPv4Network:
    """An IPv4 prefix in the form 10.0.0.0/8."""
    if isinstance(value, IPv4Network):
        return value
    if not isinstance(value, str):
        raise RuleError(f"{shown(value)} is not an IPv4 prefix; write one like '10.0.0.0/8'")
    try:
        loose = IPv4Network(value, strict=False)
    except ValueError:
        raise RuleError(f"{shown(value)} is not an IPv4 prefix; write one like '10.0.0.0/8'") from None
    if "/" in value and str(loose.network_address) != value.split("/")[0]:
        raise RuleError(f"{shown(value)} has bits set beyond its length; write {loose}")
    return loose


def private(value: IPv4Network) -> IPv4Network:
    """The overlay's own network: private addresses only."""
    if not any(value.subnet_of(block) for block in PRIVATE):
        raise RuleError(f"{value} is not private; take it from {', '.join(map(str, PRIVATE))}")
    return value


def transit(value: IPv4Network) -> IPv4Network:
    """The tunnels' own network: private or shared addresses, at least one /31."""
    if not any(value.subnet_of(block) for block in (*PRIVATE, SHARED)):
        raise RuleError(f"{value} is neither private nor shared; take it from {SHARED} or a private block")
    if value.prefixlen == 32:
        raise RuleError(f"{value} holds no tunnel: each takes two addresses; take a larger one")
    return value


def lan(value: IPv4Network) -> IPv4Network:
    """A network that a site may bring: unicast, and not half of the Internet."""
    first = value.network_address
    if value.prefixlen < 8 or first.is_multicast or first.is_loopback or first.is_link_local or first.is_reserved:
        raise RuleError(f"{value} cannot be a site's network; name the site's own unicast prefixes, /8 or longer")
    if first.is_unspecified or int(first) >> 24 == 0:
        raise RuleError(f"{value} cannot be a site's network; name the site's own unicast prefixes")
    return value


def options(of: str, given: Mapping[str, Any]) -> None:
    """The options of a site against what its provider offers."""
    known = OPTIONS.get(of, {})
    for key, value in given.items():
        if key not in known:
            offered = f"known are {', '.join(known)}" if known else f"a site of {of} has none"
            raise RuleError(f"unknown option; {offered}", "options", key)
        kind, low, high = known[key]
        if kind is bool:
            if not isinstance(value, bool):
                raise RuleError(f"{shown(value)} is not a truth value; write true or false", "options", key)
        elif kind is str:
            if not isinstance(value, str) or len(value) > high or not TEXT.fullmatch(value):
                raise RuleError(f"{shown(value)} is not a word of the provider's; correct it", "options", key)
        elif kind is int and not isinstance(value, int):
            raise RuleError(f"{shown(value)} is not a whole number; correct it", "options", key)
        elif isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
            raise RuleError(f"{shown(value)} is not a number from {low:g} to {high:g}; correct it", "options", key)
    if of in _TOGETHER:
        _TOGETHER[of](given)


def leg(given: Mapping[str, Any]) -> None:
    """The options of a lab's site, taken together."""
    if (jitter := given.get("jitter_ms", 0)) > (delay := given.get("delay_ms", 0)):
        raise RuleError(f"{jitter} is more than delay_ms {delay}; lower it, or raise the delay", "options", "jitter_ms")


def edge(given: Mapping[str, Any]) -> None:
    """The options of an edge host, which is there already: where it is, and which key it shows."""
    for key, way in REQUIRED["edge"].items():
        if not given.get(key):
            raise RuleError(f"a site of provider edge needs the option {key}: {way}", "options")
    for key in ("address", "lan_router"):
        try:
            IPv4Address(given.get(key, "0.0.0.0"))  # noqa: S104 - stands for none
        except ValueError:
            raise RuleError(f"{shown(given[key])} is not an IPv4 address; correct it", "options", key) from None
    words = given["host_key"].split()
    if len(words) < 2 or words[0] != "ssh-ed25519":
        raise RuleError(f"not an ed25519 key; give {REQUIRED['edge']['host_key']}", "options", "host_key")


_TOGETHER: Mapping[str, Callable[[Mapping[str, Any]], None]] = {"edge": edge, "lab": leg}


def describe(problem: Mapping[str, Any]) -> tuple[Path, str]:
    """Where a problem that pydantic found lies, and a message with the next step."""
    path: Path = tuple(part for part in problem["loc"] if part != "[key]")
    error = problem.get("ctx", {}).get("error")
    if isinstance(error, RuleError):
        return (*path, *error.path), str(error)
    if problem["type"] == "extra_forbidden":
        return path, "unknown key; remove it or correct its spelling (docs/specification.schema.json lists all keys)"
    if problem["type"] == "missing":
        return path, "is missing; add it"
    if problem["type"] in SHAPES:
        return path, f"{shown(problem['input'])} is not a {SHAPES[problem['type']]}; write it as one"
    return path, f"{shown(problem['input'])}: {problem['msg'][0].lower()}{problem['msg'][1:]}; correct it"


def dotted(path: Path) -> str:
    """A path as one reads it: sites[2].name."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{shown(part)[1:-1]}"
    return text.removeprefix(".")
