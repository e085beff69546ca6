"""What the emulator holds: groups, resources, operations under way, and the limits that a test sets."""

from __future__ import annotations

import re
import time
import uuid
from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

SUBSCRIPTION = "5ab0cafe-0000-4000-8000-00000000a2e5"

LOCATIONS = frozenset(
    {"australiaeast", "canadacentral", "centralindia", "centralus", "eastus", "eastus2", "francecentral"}
    | {"germanywestcentral", "italynorth", "japaneast", "koreacentral", "northeurope", "norwayeast", "polandcentral"}
    | {"southeastasia", "spaincentral", "swedencentral", "switzerlandnorth", "uksouth", "westeurope", "westus2"}
    | {"westus3"}
)

SIZES = {  # cores
    "Standard_B1s": 1,
    "Standard_B1ms": 1,
    "Standard_B2s": 2,
    "Standard_B2ms": 2,
    "Standard_B2ts_v2": 2,
    "Standard_D2s_v5": 2,
    "Standard_D4s_v5": 4,
    "Standard_F2s_v2": 2,
}

NAMES = {  # Microsoft's naming rules for Azure resources
    "Microsoft.Resources/resourceGroups": re.compile(r"[-\w.()]{0,89}[-\w()]", re.ASCII),
    "Microsoft.Network/virtualNetworks": re.compile(r"[A-Za-z0-9][-\w.]{0,62}\w", re.ASCII),
    "Microsoft.Compute/virtualMachines": re.compile(r"[A-Za-z0-9][-\w.]{0,62}\w|[A-Za-z0-9]", re.ASCII),
}
NAME = re.compile(r"[A-Za-z0-9]([-\w.]{0,78}\w)?", re.ASCII)

Body = dict[str, Any]


class ArmError(Exception):
    """A refusal: status, code and message as ARM sends them."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.status, self.code, self.message = status, code, message


@dataclass
class Thing:
    """A resource, or a resource group."""

    id: str
    kind: str
    group: str
    name: str
    body: Body
    etag: str = ""
    secret: bytes = field(default=b"", repr=False)  # custom data: no answer ever holds it
    power: str = ""  # of a machine
    busy: str = ""  # the operation that is at work on it

    @property
    def properties(self) -> Body:
        """Its properties, to be changed in place."""
        inner: Body = self.body.setdefault("properties", {})
        return inner


@dataclass
class Operation:
    """A long-running operation: over when its time has come."""

    id: str
    due: float
    effect: Callable[[], None]
    thing: Thing
    status: str = "InProgress"
    error: tuple[str, str] | None = None


@dataclass
class Limits:
    """What a test can set: quotas, refused actions, and machines that come to nothing."""

    cores: int = 1000
    addresses: int = 200
    sizes: dict[str, int] = field(default_factory=lambda: dict(SIZES))
    denied: set[str] = field(default_factory=set)  # such as Microsoft.Network/virtualNetworks/write
    failing: dict[str, tuple[str, str]] = field(default_factory=dict)  # machine -> code and message of its end
    delay_s: float = 0.05  # how long an operation takes; math.inf: until State.finish


@dataclass
class State:
    """Everything. Whoever touches it holds the application's lock."""

    limits: Limits = field(default_factory=Limits)
    things: dict[str, Thing] = field(default_factory=dict)  # by id in lower case
    operations: dict[str, Operation] = field(default_factory=dict)

    def of(self, *kinds: str) -> Iterator[Thing]:
        """The resources of these types."""
        return (thing for thing in list(self.things.values()) if thing.kind in kinds)

    def within(self, group: str) -> list[Thing]:
        """The resources of a group."""
        return [t for t in self.things.values() if t.group == group.lower() and t.kind.count("/") and not is_group(t)]

    def find(self, identifier: str) -> Thing | None:
        """By id, whatever its case."""
        return self.things.get(identifier.lower().rstrip("/"))

    def group(self, name: str) -> Thing:
        """A resource group.

        Raises:
            ArmError: it is not there.
        """
        found = self.find(group_id(name))
        if found is None:
            raise ArmError(404, "ResourceGroupNotFound", f"Resource group '{name}' could not be found.")
        return found

    def begin(self, thing: Thing, doing: str, effect: Callable[[], None], error: tuple[str, str] | None = None) -> str:
        """Start an operation on a resource; returns its id."""
        made = Operation(str(uuid.uuid4()), time.monotonic() + self.limits.delay_s, effect, thing, error=error)
        self.operations[made.id] = made
        thing.busy = made.id
        thing.properties["provisioningState"] = doing
        return made.id

    def finish(self) -> None:
        """Let the operations under way end now, however long they were to take."""
        for operation in list(self.operations.values()):
            operation.due = 0.0

    def advance(self) -> None:
        """End the operations whose time has come, in the order in which they began."""
        for operation in list(self.operations.values()):
            if operation.status == "InProgress" and time.monotonic() >= operation.due:
                operation.thing.busy = ""
                operation.thing.properties["provisioningState"] = "Failed" if operation.error else "Succeeded"
                try:
                    operation.effect()
                except ArmError as refused:
                    operation.error = (refused.code, refused.message)
                    operation.thing.properties["provisioningState"] = "Failed"
                operation.status = "Failed" if operation.error else "Succeeded"


def group_id(name: str) -> str:
    """The id of a resource group."""
    return f"/subscriptions/{SUBSCRIPTION}/resourceGroups/{name}"


def is_group(thing: Thing) -> bool:
    """Whether it is a resource group."""
    return thing.kind == "Microsoft.Resources/resourceGroups"


def reference(place: Any) -> str:
    """The id that a property refers to, in lower case; "" if it refers to nothing."""
    return str(place.get("id") or "").lower() if isinstance(place, dict) else ""


def fresh(body: Body) -> Body:
    """A copy of a request's body without what only answers have."""
    copied = deepcopy(body)
    for key in ("id", "name", "type", "etag"):
        copied.pop(key, None)
    copied.setdefault("properties", {})
    return copied
