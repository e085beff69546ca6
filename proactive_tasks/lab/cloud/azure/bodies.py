"""Is a request's body one that the API knows? The SDK's wheels carry the types of all requests: they judge."""

from __future__ import annotations

import types
from collections.abc import Mapping
from enum import Enum
from functools import cache
from types import ModuleType
from typing import Any, NotRequired, Required, Union, get_args, get_origin

import azure.mgmt.compute.models as compute_models
import azure.mgmt.compute.types as compute_types
import azure.mgmt.network.models as network_models
import azure.mgmt.network.types as network_types
from typing_extensions import get_type_hints, is_typeddict

GROUP = frozenset({"id", "name", "type", "location", "tags", "properties", "managedBy"})
"""What a resource group can have: the SDK has a model of it, but no TypedDict."""

OPEN = frozenset({"VirtualMachineSizeTypes"})

TYPES: Mapping[str, tuple[ModuleType, ModuleType, str]] = {
    "Microsoft.Network/virtualNetworks": (network_types, network_models, "VirtualNetwork"),
    "Microsoft.Network/virtualNetworks/subnets": (network_types, network_models, "Subnet"),
    "Microsoft.Network/routeTables": (network_types, network_models, "RouteTable"),
    "Microsoft.Network/routeTables/routes": (network_types, network_models, "Route"),
    "Microsoft.Network/networkSecurityGroups": (network_types, network_models, "NetworkSecurityGroup"),
    "Microsoft.Network/networkSecurityGroups/securityRules": (network_types, network_models, "SecurityRule"),
    "Microsoft.Network/publicIPAddresses": (network_types, network_models, "PublicIPAddress"),
    "Microsoft.Network/networkInterfaces": (network_types, network_models, "NetworkInterface"),
    "Microsoft.Compute/virtualMachines": (compute_types, compute_models, "VirtualMachine"),
    "Microsoft.Compute/disks": (compute_types, compute_models, "Disk"),
    "Microsoft.Compute/availabilitySets": (compute_types, compute_models, "AvailabilitySet"),
}


def problems(kind: str, body: Any) -> list[str]:
    """What is wrong with the body of a request that puts a resource of this type; empty if nothing is.

    Unknown properties, wrong types, values that an enumeration does not have. What the types call required is not
    asked for: they say so of properties that only answers have.
    """
    if kind == "Microsoft.Resources/resourceGroups":
        return [f"{key}: unknown property" for key in body if key not in GROUP]
    module, models, name = TYPES[kind]
    return _check(getattr(module, name), body, "", module, models)


def _check(wanted: Any, value: Any, path: str, module: ModuleType, models: ModuleType) -> list[str]:
    origin = get_origin(wanted)
    if value is None or wanted is Any:
        return []
    if origin in {Required, NotRequired}:
        return _check(get_args(wanted)[0], value, path, module, models)
    if origin in {Union, types.UnionType}:
        return _either(get_args(wanted), value, path, module, models)
    if origin is list:
        if not isinstance(value, list):
            return [f"{path}: not a list"]
        inner = get_args(wanted)[0]
        return [p for n, item in enumerate(value) for p in _check(inner, item, f"{path}[{n}]", module, models)]
    if origin is dict:
        return [] if isinstance(value, dict) else [f"{path}: not an object"]
    if is_typeddict(wanted):
        return _object(wanted, value, path, module, models)
    if wanted in {str, bool, int, float}:
        fits = isinstance(value, wanted) and (wanted is bool or not isinstance(value, bool))
        return [] if fits else [f"{path}: {type(value).__name__} where {wanted.__name__} is wanted"]
    return []


def _either(choices: tuple[Any, ...], value: Any, path: str, module: ModuleType, models: ModuleType) -> list[str]:
    words = [str(w.value) for c in choices if _closed(c) for w in c]
    if words:
        known = isinstance(value, str) and value.lower() in {word.lower() for word in words}
        return [] if known else [f"{path}: {value!r} is none of {', '.join(words[:8])}"]
    found = [_check(c, value, path, module, models) for c in choices if c is not type(None)]
    return min(found, key=len)


def _closed(choice: Any) -> bool:
    """Whether the API knows no other words than these: of machine sizes the SDK lists only those of long ago."""
    return isinstance(choice, type) and issubclass(choice, Enum) and choice.__name__ not in OPEN


def _object(wanted: Any, value: Any, path: str, module: ModuleType, models: ModuleType) -> list[str]:
    if not isinstance(value, dict):
        return [f"{path or 'body'}: not an object"]
    hints, found = _hints(wanted, module, models), []
    for key, inner in value.items():
        place = f"{path}.{key}".lstrip(".")
        if key not in hints:
            found.append(f"{place}: unknown property")
        else:
            found += _check(hints[key], inner, place, module, models)
    return found


@cache
def _hints(wanted: Any, module: ModuleType, models: ModuleType) -> dict[str, Any]:
    return get_type_hints(wanted, {**vars(models), **vars(module)}, include_extras=True)
