"""The rules of machines: what a virtual machine may be, its disk, its power."""

from __future__ import annotations

import base64
import binascii
import re
import uuid

from proactive_tasks.lab.cloud.azure.network import MACHINE, NIC, existing, machine_of, refuse
from proactive_tasks.lab.cloud.azure.state import Body, State, Thing, group_id, reference

DISK = "Microsoft.Compute/disks"
SET = "Microsoft.Compute/availabilitySets"

IMAGES = {
    "debian": {"debian-12": ("12", "12-gen2"), "debian-11": ("11", "11-gen2"), "debian-13": ("13", "13-gen2")},
    "canonical": {"ubuntu-24_04-lts": ("server", "server-gen1")},
}
"""Publisher, offer and skus, in lower case, of the images that this cloud offers."""

FORBIDDEN = frozenset({"admin", "administrator", "backup", "console", "guest", "root", "server", "test", "user"})
"""Names that Azure refuses for the first user, in part."""

MAX_CUSTOM_DATA = 65_535
KEY = re.compile(r"(ssh-rsa|ssh-ed25519) [A-Za-z0-9+/=]+( .*)?")


def machine(state: State, identifier: str, old: Thing | None, body: Body) -> bytes | None:
    """Check a machine and put into its body what the server decides; returns the custom data it is made with."""
    inner = body["properties"]
    size = str(inner.get("hardwareProfile", {}).get("vmSize", ""))
    _size(state, size, old, str(body.get("location")))
    if body.get("zones") and inner.get("availabilitySet"):
        raise refuse(
            "BadRequest", f"Virtual machine {identifier} cannot have both an availability zone and an availability set."
        )
    existing(state, inner.get("availabilitySet"), SET, identifier)
    _interfaces(state, identifier, inner)
    if old is not None:
        _unchanged(old, inner)
        return None
    _image(inner)
    data = _profile(identifier, inner)
    _make_disk(state, identifier, body)
    inner["vmId"] = str(uuid.uuid4())
    return data


def _size(state: State, size: str, old: Thing | None, location: str) -> None:
    if size not in state.limits.sizes:
        raise refuse(
            "SkuNotAvailable",
            f"The requested VM size for resource 'Following SKUs have failed for Capacity Restrictions: {size}' is "
            f"currently not available in location '{location}'. Please try another size or deploy to a different "
            "location or different zone.",
            409,
        )
    if old is None:
        used = sum(state.limits.sizes.get(vm.properties["hardwareProfile"]["vmSize"], 1) for vm in state.of(MACHINE))
        if used + state.limits.sizes[size] > state.limits.cores:
            raise refuse(
                "QuotaExceeded",
                "Operation could not be completed as it results in exceeding approved Total Regional Cores quota. "
                f"Location: {location}, Current Limit: {state.limits.cores}, Current Usage: {used}, Additional "
                f"Required: {state.limits.sizes[size]}.",
                409,
            )


def _interfaces(state: State, identifier: str, inner: Body) -> None:
    entries = inner.get("networkProfile", {}).get("networkInterfaces") or []
    if not entries:
        raise refuse("InvalidParameter", "Required parameter 'networkProfile' is missing (null).")
    for entry in entries:
        nic = existing(state, entry, NIC, identifier)
        other = machine_of(state, nic) if nic else None
        if nic is None or (other is not None and other.id.lower() != identifier.lower()):
            raise refuse(
                "NicInUse", f"Network Interface {entry.get('id')} is used by {other.id if other else 'nothing'}.", 409
            )


def _image(inner: Body) -> None:
    image = inner.get("storageProfile", {}).get("imageReference") or {}
    words = [str(image.get(key, "")) for key in ("publisher", "offer", "sku", "version")]
    skus = IMAGES.get(words[0].lower(), {}).get(words[1].lower(), ())
    if words[2].lower() not in skus or not words[3]:
        raise refuse(
            "PlatformImageNotFound",
            f"The platform image '{':'.join(words)}' is not available. Verify that all fields in the storage profile "
            "are correct.",
            404,
        )


def _profile(identifier: str, inner: Body) -> bytes:
    """The first user and the custom data, which leaves the body."""
    profile = inner.get("osProfile") or {}
    user, computer = str(profile.get("adminUsername", "")), str(profile.get("computerName", ""))
    linux = profile.get("linuxConfiguration") or {}
    if not computer or len(computer) > 64 or "_" in computer:
        raise refuse("InvalidParameter", f"The computer name {computer!r} of {identifier} is not valid.")
    if not user or user.lower() in FORBIDDEN:
        raise refuse("InvalidParameter", f"The Admin Username specified is not allowed: {user!r}.")
    keys = (linux.get("ssh") or {}).get("publicKeys") or []
    if linux.get("disablePasswordAuthentication") and not keys:
        raise refuse(
            "InvalidParameter", "Authentication using either SSH or by user name and password must be enabled."
        )
    for key in keys:
        if key.get("path") != f"/home/{user}/.ssh/authorized_keys" or not KEY.fullmatch(str(key.get("keyData", ""))):
            raise refuse("InvalidParameter", f"The SSH public key at {key.get('path')} is not acceptable.")
    profile.pop("adminPassword", None)
    try:
        data = base64.b64decode(profile.pop("customData", None) or "", validate=True)
    except (binascii.Error, ValueError):
        raise refuse("InvalidParameter", "Custom data in OSProfile must be in Base64 encoding.") from None
    if len(data) > MAX_CUSTOM_DATA:
        raise refuse("InvalidParameter", "Custom data in OSProfile is too long: at most 64 KB.")
    return data


def _unchanged(old: Thing, inner: Body) -> None:
    """What a machine was made with cannot be changed later."""
    profile = dict(inner.get("osProfile") or {})
    data = base64.b64decode(profile.pop("customData", None) or "")
    if data and data != old.secret:
        raise refuse("PropertyChangeNotAllowed", "Changing property 'osProfile.customData' is not allowed.", 409)
    was = old.properties.get("osProfile") or {}
    if any(was.get(key) != value for key, value in profile.items()):
        raise refuse("PropertyChangeNotAllowed", "Changing property 'osProfile' is not allowed.", 409)
    image, made_of = inner.get("storageProfile", {}).get("imageReference"), old.properties["storageProfile"]
    if image and image != made_of.get("imageReference"):
        raise refuse("PropertyChangeNotAllowed", "Changing property 'imageReference' is not allowed.", 409)
    if inner.get("osProfile"):
        inner["osProfile"].pop("customData", None)
    inner["storageProfile"], inner["vmId"] = made_of, old.properties["vmId"]


def _make_disk(state: State, identifier: str, body: Body) -> None:
    group, name = identifier.split("/")[4], identifier.rsplit("/", 1)[-1]
    disk = body["properties"]["storageProfile"].setdefault("osDisk", {})
    label = str(disk.setdefault("name", f"{name}_OsDisk_1_{uuid.uuid4().hex}"))
    place = f"{group_id(group)}/providers/{DISK}/{label}"
    if state.find(place) is not None:
        raise refuse(
            "ConflictingUserInput",
            f"Disk {label} already exists in resource group {group.upper()}. Only CreateOption.Attach is supported.",
            409,
        )
    disk.setdefault("createOption", "FromImage")
    disk.setdefault("deleteOption", "Detach")
    made = {"location": body["location"], "properties": {"diskState": "Attached", "provisioningState": "Succeeded"}}
    state.things[place.lower()] = Thing(place, DISK, group.lower(), label, {**made, "managedBy": identifier})
    disk["managedDisk"] = {"id": place}


def disk_of(state: State, vm: Thing) -> Thing | None:
    """A machine's disk."""
    return state.find(reference(vm.properties["storageProfile"]["osDisk"].get("managedDisk")))


def removed(state: State, vm: Thing) -> None:
    """What happens to a machine's disk and interfaces when it is deleted."""
    disk = disk_of(state, vm)
    if disk is not None:
        disk.body.pop("managedBy", None)
        disk.properties["diskState"] = "Unattached"
        if vm.properties["storageProfile"]["osDisk"].get("deleteOption") == "Delete":
            state.things.pop(disk.id.lower(), None)
    for entry in vm.properties.get("networkProfile", {}).get("networkInterfaces", []):
        if entry.get("properties", {}).get("deleteOption") == "Delete":
            state.things.pop(reference(entry), None)


def deletable(thing: Thing) -> None:
    """Refuse to delete a disk in use."""
    if thing.kind == DISK and thing.body.get("managedBy"):
        raise refuse("OperationNotAllowed", f"Disk {thing.name} is attached to VM {thing.body['managedBy']}.", 409)


def instance_view(vm: Thing) -> Body:
    """A machine as it runs."""
    state = str(vm.properties.get("provisioningState", "")).lower()
    codes = [f"ProvisioningState/{state}", *([f"PowerState/{vm.power}"] if vm.power else [])]
    return {"statuses": [{"code": code, "level": "Info", "displayStatus": code.split("/")[1]} for code in codes]}
