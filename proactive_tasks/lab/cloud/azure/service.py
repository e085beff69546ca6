"""What the emulator answers: resources put, read, listed and deleted, machines switched, operations polled."""

from __future__ import annotations

import re
import uuid
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

from proactive_tasks.lab.cloud.azure import bodies, compute, network
from proactive_tasks.lab.cloud.azure.compute import DISK, SET
from proactive_tasks.lab.cloud.azure.network import ADDRESS, CHILDREN, GROUP, MACHINE, NIC, ROUTES, VNET
from proactive_tasks.lab.cloud.azure.state import (
    LOCATIONS,
    NAME,
    NAMES,
    SUBSCRIPTION,
    ArmError,
    Body,
    State,
    Thing,
    fresh,
    group_id,
)

RESOURCE_GROUP = "Microsoft.Resources/resourceGroups"
KINDS = {kind.lower(): kind for kind in (VNET, ROUTES, GROUP, ADDRESS, NIC, MACHINE, DISK, SET)}
TEARDOWN = (MACHINE, DISK, NIC, ADDRESS, VNET, GROUP, ROUTES, SET)
"""The order in which a group's resources go when the group is deleted."""

POWER = {"start": "running", "restart": "running", "poweroff": "stopped", "deallocate": "deallocated", "reapply": ""}
FILTER = re.compile(r"tagName eq '([^']*)' and tagValue eq '([^']*)'|resourceType eq '([^']*)'", re.IGNORECASE)


@dataclass(frozen=True)
class Call:
    """A request: its path without the subscription, in parts."""

    method: str
    parts: list[str]
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: Any


@dataclass(frozen=True)
class Reply:
    """An answer. `operation`: the long-running operation that goes on."""

    status: int
    body: Any = None
    operation: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)


class Service:
    """The API over a state. Whoever calls it holds the application's lock."""

    def __init__(self, state: State) -> None:
        self.state = state

    def answer(self, call: Call) -> Reply:
        """Carry out one call.

        Raises:
            ArmError: it is refused.
        """
        low = [part.lower() for part in call.parts]
        if low[:1] == ["providers"] and len(low) == 6 and low[4] in {"operations", "operationresults"}:
            return self._operation(low[5], results=low[4] == "operationresults")
        if low[:1] == ["providers"] and len(low) == 3:
            return self._listed(call, self.state.of(*filter(None, [KINDS.get("/".join(low[1:3]))])))
        if low == ["resources"]:
            return self._listed(call, self.state.of(*KINDS.values()), brief=True)
        if low == ["resourcegroups"]:
            return self._listed(call, self.state.of(RESOURCE_GROUP))
        if low[:1] == ["resourcegroups"] and len(low) == 2:
            return self._group(call)
        if low[:1] == ["resourcegroups"]:
            return self._inside(call, low)
        raise ArmError(404, "InvalidResourceType", f"The resource type of {'/'.join(call.parts)} is not known here.")

    def _inside(self, call: Call, low: list[str]) -> Reply:
        group = self.state.group(call.parts[1])
        if low[2:] == ["resources"]:
            return self._listed(call, self.state.within(group.name), brief=True)
        kind = KINDS.get("/".join(low[3:5])) if low[2] == "providers" else None
        if kind is None:
            raise ArmError(404, "InvalidResourceType", f"The type {'/'.join(call.parts[3:5])} is not known here.")
        if len(low) == 5:
            return self._listed(call, [t for t in self.state.within(group.name) if t.kind == kind])
        identifier = f"{group.id}/providers/{kind}/{call.parts[5]}"
        if len(low) == 6:
            return self._resource(call, group, kind, identifier)
        if kind == MACHINE and len(low) == 7:
            return self._machine(call, self._known(identifier), low[6])
        held = CHILDREN.get((kind, low[6]))
        if held is None:
            raise ArmError(404, "InvalidResourceType", f"{kind} has no {call.parts[6]} here.")
        parent = self._known(identifier)
        return self._child(call, parent, held, call.parts[7] if len(low) == 8 else "")

    # What every resource has in common.

    def permit(self, action: str, scope: str) -> None:
        """Refuse what a test denies."""
        if action in self.state.limits.denied:
            raise ArmError(
                403,
                "AuthorizationFailed",
                f"The client 'emulator' with object id '{uuid.UUID(int=0)}' does not have authorization to perform "
                f"action '{action}' over scope '{scope}' or the scope is invalid. If access was recently granted, "
                "please refresh your credentials.",
            )

    def _known(self, identifier: str) -> Thing:
        found = self.state.find(identifier)
        if found is None:
            raise ArmError(
                404,
                "ResourceNotFound",
                f"The Resource '{'/'.join(identifier.split('/')[6:])}' under resource group "
                f"'{identifier.split('/')[4]}' was not found. For more details please go to "
                "https://aka.ms/ARMResourceNotFoundFix",
            )
        return found

    def _checked(self, kind: str, body: Any) -> None:
        if not isinstance(body, dict):
            raise ArmError(
                400, "InvalidRequestContent", "The request content was invalid and could not be deserialized."
            )
        found = bodies.problems(kind, body)
        if found:
            raise ArmError(400, "InvalidRequestFormat", f"Cannot parse the request: {'; '.join(found)}.")
        tags = body.get("tags") or {}
        if len(tags) > 50 or any(len(key) > 512 or len(str(value)) > 256 for key, value in tags.items()):
            raise ArmError(400, "InvalidTag", "There are too many tags, or a tag is too long.")

    def _matches(self, call: Call, found: Thing | None) -> None:
        wanted = {name.lower(): value for name, value in call.headers.items()}
        if "if-match" in wanted and (found is None or wanted["if-match"] not in {found.etag, "*"}):
            raise ArmError(412, "PreconditionFailed", f"Precondition failed: the ETag is not {wanted['if-match']}.")
        if wanted.get("if-none-match") == "*" and found is not None:
            raise ArmError(412, "PreconditionFailed", f"Precondition failed: {found.id} is there already.")

    def _free(self, thing: Thing) -> None:
        """Nothing is at work on it, and its group is not on its way out."""
        group = self.state.find(group_id(thing.group))
        if group is not None and group.busy:
            raise ArmError(
                409,
                "ResourceGroupBeingDeleted",
                f"The resource group '{group.name}' is in deprovisioning state and cannot perform this operation.",
            )
        if thing.busy:
            raise ArmError(
                409,
                "AnotherOperationInProgress",
                f"Another operation on this or dependent resource is in progress. {thing.id} is in state "
                f"{thing.properties.get('provisioningState')}.",
            )

    def shown(self, thing: Thing, view: bool = False) -> Body:
        """A resource as an answer has it."""
        body = deepcopy(thing.body)
        body.setdefault("properties", {})
        body.update(id=thing.id, name=thing.name, type=thing.kind)
        if thing.etag:
            body["etag"] = thing.etag
        network.decorate(self.state, thing, body)
        if view and thing.kind == MACHINE:
            body["properties"]["instanceView"] = compute.instance_view(thing)
        return body

    def _listed(self, call: Call, things: Any, brief: bool = False) -> Reply:
        match = FILTER.search(call.query.get("$filter", ""))
        key, value, kind = match.groups() if match else (None, None, None)
        if call.query.get("$filter") and not match:
            raise ArmError(400, "InvalidFilterInQueryString", f"Invalid $filter {call.query['$filter']!r}.")
        view = call.query.get("$expand", "").lower() == "instanceview"
        found = []
        for thing in things:
            if key and (thing.body.get("tags") or {}).get(key) != value:
                continue
            if kind and thing.kind.lower() != kind.lower():
                continue
            body = self.shown(thing, view)
            found.append({k: body[k] for k in body if not brief or k not in {"properties", "etag"}})
        return Reply(200, {"value": found})

    # Resource groups.

    def _group(self, call: Call) -> Reply:
        name, scope = call.parts[1], group_id(call.parts[1])
        found = self.state.find(scope)
        if call.method == "PUT":
            self.permit(f"{RESOURCE_GROUP}/write", scope)
            return self._put_group(name, found, call.body)
        known = self.state.group(name)
        if call.method == "DELETE":
            self.permit(f"{RESOURCE_GROUP}/delete", scope)
            if not known.busy:
                self.state.begin(known, "Deleting", lambda: self._drop_group(known))
            return Reply(202, operation=known.busy)
        return Reply(200, self.shown(known))

    def _put_group(self, name: str, found: Thing | None, body: Any) -> Reply:
        self._checked(RESOURCE_GROUP, body)
        location = _place(body.get("location"))
        if location not in LOCATIONS:
            raise ArmError(
                400,
                "LocationNotAvailableForResourceGroup",
                f"The provided location '{body.get('location')}' is not available for resource group. List of "
                f"available regions is '{','.join(sorted(LOCATIONS))}'.",
            )
        if not NAMES[RESOURCE_GROUP].fullmatch(name):
            raise ArmError(400, "InvalidResourceGroup", f"The resource group name '{name}' is not valid.")
        if found is not None:
            self._free(found)
            if found.body["location"] != location:
                raise ArmError(
                    409,
                    "InvalidResourceGroupLocation",
                    f"Invalid resource group location '{location}'. The Resource group already exists in location "
                    f"'{found.body['location']}'.",
                )
        thing = found or Thing(group_id(name), RESOURCE_GROUP, name.lower(), name, {})
        thing.body = {**fresh(body), "location": location}
        thing.properties["provisioningState"] = "Succeeded"
        self.state.things[thing.id.lower()] = thing
        return Reply(200 if found else 201, self.shown(thing))

    def _drop_group(self, group: Thing) -> None:
        """The content goes in the right order; what a resource elsewhere uses stays, and the group with it."""
        inside = self.state.within(group.name)
        for thing in sorted(inside, key=lambda t: TEARDOWN.index(t.kind)):
            if self.state.find(thing.id) is None:
                continue  # a disk that went with its machine
            if thing.kind == MACHINE:
                compute.removed(self.state, thing)
            try:
                network.deletable(self.state, thing)
            except ArmError as refused:
                raise ArmError(
                    409,
                    "ResourceGroupDeletionBlocked",
                    f"Deletion of resource group '{group.name}' failed as resources with identifiers '{thing.id}' "
                    f"could not be deleted: {refused.message}",
                ) from None
            self.state.things.pop(thing.id.lower(), None)
        self.state.things.pop(group.id.lower(), None)

    # Resources.

    def _resource(self, call: Call, group: Thing, kind: str, identifier: str) -> Reply:
        if call.method == "GET":
            self.permit(f"{kind}/read", identifier)
            return Reply(200, self.shown(self._known(identifier), _expanded(call)))
        found = self.state.find(identifier)
        if call.method == "PUT":
            self.permit(f"{kind}/write", identifier)
            self._checked(kind, call.body)
            self._matches(call, found)
            return self._put(group, kind, identifier, found, fresh(call.body))
        if call.method == "DELETE":
            self.permit(f"{kind}/delete", identifier)
            if found is None:
                return Reply(204)
            self._matches(call, found)
            return self._delete(found)
        raise ArmError(405, "MethodNotAllowed", f"{call.method} is not known for {kind}.")

    def _put(self, group: Thing, kind: str, identifier: str, found: Thing | None, body: Body) -> Reply:
        name = identifier.rsplit("/", 1)[-1]
        if not NAMES.get(kind, NAME).fullmatch(name):
            raise ArmError(
                400, "InvalidResourceName", f"Resource name {name} is invalid: too long, or of wrong letters."
            )
        body["location"] = _place(body.get("location"))
        if body["location"] not in LOCATIONS:
            raise ArmError(
                400,
                "LocationNotAvailableForResourceType",
                f"The provided location '{body['location']}' is not available for resource type '{kind}'.",
            )
        thing = found or Thing(identifier, kind, group.name.lower(), name, {})
        self._free(thing)
        if found is not None and found.body["location"] != body["location"]:
            raise ArmError(409, "InvalidResourceLocation", f"The resource '{name}' already exists in another location.")
        return self._store(thing, found, body)

    def _store(self, thing: Thing, found: Thing | None, body: Body, child: str = "") -> Reply:
        """Check a body, take it, and start the operation that makes it true."""
        for key in network.BACKWARDS.get(thing.kind, ()):
            body["properties"].pop(key, None)
        if thing.kind == MACHINE:
            body["properties"].pop("instanceView", None)
            data = compute.machine(self.state, thing.id, found, body)
            thing.secret = thing.secret if data is None else data
            thing.power = thing.power or "running"
        elif thing.kind in network.PREPARE:
            network.PREPARE[thing.kind](self.state, thing.id, found, body)
            guid = (found or thing).properties.get("resourceGuid") or str(uuid.uuid4())
            body["properties"]["resourceGuid"] = guid
        thing.body, thing.etag = body, f'W/"{uuid.uuid4()}"'
        self.state.things[thing.id.lower()] = thing
        failure = self.state.limits.failing.get(thing.name) if thing.kind == MACHINE and found is None else None
        if failure and failure[0] != "OSProvisioningTimedOut":
            thing.power = ""  # it never ran
        doing = "Updating" if found else "Creating"
        operation = self.state.begin(thing, doing, lambda: None, failure)
        answer = self.shown(thing) if not child else {}
        return Reply(200 if found else 201, answer, operation)

    def _delete(self, thing: Thing) -> Reply:
        if thing.busy and thing.properties["provisioningState"] == "Deleting":
            return Reply(202, operation=thing.busy)
        self._free(thing)
        network.deletable(self.state, thing)
        compute.deletable(thing)

        def effect() -> None:
            if thing.kind == MACHINE:
                compute.removed(self.state, thing)
            self.state.things.pop(thing.id.lower(), None)

        return Reply(202, operation=self.state.begin(thing, "Deleting", effect))

    def _child(self, call: Call, parent: Thing, held: str, name: str) -> Reply:
        """A subnet, route or rule: it is put, read and deleted in its parent."""
        kind = f"{parent.kind}/{held}"
        children = self.shown(parent)["properties"].get(held, [])
        found = next((c for c in children if c["name"].lower() == name.lower()), None)
        scope = f"{parent.id}/{held}/{name}"
        if call.method == "GET":
            self.permit(f"{kind}/read", scope)
            if not name:
                return Reply(200, {"value": children})
            if found is None:
                raise ArmError(404, "NotFound", f"Resource {scope} not found.")
            return Reply(200, found)
        if call.method == "PUT":
            self.permit(f"{kind}/write", scope)
            self._checked(kind, call.body)
        elif call.method == "DELETE":
            self.permit(f"{kind}/delete", scope)
            if found is None:
                return Reply(204)
        else:
            raise ArmError(405, "MethodNotAllowed", f"{call.method} is not known for {kind}.")
        self._free(parent)
        body = deepcopy(parent.body)
        kept = [c for c in body["properties"].get(held, []) if c["name"].lower() != name.lower()]
        if call.method == "PUT":
            kept.append({"name": name, "properties": fresh(call.body)["properties"]})
        body["properties"][held] = kept
        stored = self._store(parent, parent, body, name)
        if call.method == "DELETE":
            return Reply(202, operation=stored.operation)
        made = next(c for c in parent.properties[held] if c["name"] == name)
        shown = deepcopy(made)
        shown["properties"]["provisioningState"] = "Updating"
        return Reply(200 if found else 201, shown, stored.operation)

    def _machine(self, call: Call, vm: Thing, verb: str) -> Reply:
        if call.method == "GET" and verb == "instanceview":
            return Reply(200, compute.instance_view(vm))
        if call.method != "POST" or verb not in POWER:
            raise ArmError(405, "MethodNotAllowed", f"{call.method} {verb} is not known for {vm.kind}.")
        self.permit(f"{vm.kind}/{verb}/action", vm.id)
        self._free(vm)
        vm.power = POWER[verb] or vm.power
        return Reply(202, operation=self.state.begin(vm, "Updating", lambda: None))

    # Operations.

    def _operation(self, identifier: str, *, results: bool) -> Reply:
        operation = self.state.operations.get(identifier)
        if operation is None:
            raise ArmError(404, "OperationNotFound", f"The operation {identifier} was not found.")
        error = {"code": operation.error[0], "message": operation.error[1]} if operation.error else None
        if results:
            if operation.status == "InProgress":
                return Reply(202, operation=identifier)
            return Reply(409, {"error": error}) if error else Reply(204)
        body = {"name": identifier, "status": operation.status, **({"error": error} if error else {})}
        return Reply(200, body, headers={"Retry-After": "0"} if operation.status == "InProgress" else {})


def _expanded(call: Call) -> bool:
    return call.query.get("$expand", "").lower() == "instanceview"


def _place(location: Any) -> str:
    """A location as ARM compares it: West Europe is westeurope."""
    return str(location or "").replace(" ", "").lower()


def operation_place(thing: str) -> str:
    """Where operations are polled."""
    return f"/subscriptions/{SUBSCRIPTION}/providers/Microsoft.Resources/locations/global/{thing}"
