"""A package as archives: one for `proactive-client -pkg`, one for a catalog's own import.

They hold the same objects. The one has a top folder of its own name and says what goes into the data space; the other
has METADATA.json at its root, and a catalog knows no other keys than these in it.
"""

from __future__ import annotations

import json
from typing import Any

from proactive_tasks.scheduler.package.packaging import Package, PackageObject
from proactive_tasks.scheduler.package.wheel import zipped

RESOURCES = "resources/catalog"
DATASPACE = "resources/dataspace"
KEYS = ("name", "slug", "short_description", "author", "version")


def for_client(package: Package) -> tuple[str, bytes]:
    """Name and content of the archive that `proactive-client -pkg` and a server's start scripts install."""
    files = _objects(package)
    metadata = _metadata(package)
    if package.files:
        paths = {f"{DATASPACE}/{package.slug}/{name}": content for name, content in package.files.items()}
        metadata["dataspace"] = {"target": "global", "files": sorted(paths)}
        files |= paths
    files["METADATA.json"] = _json(metadata)
    return f"{package.name}.zip", zipped({f"{package.name}/{path}": content for path, content in files.items()})


def for_import(package: Package) -> tuple[str, bytes]:
    """Name and content of the archive that a catalog of 13.1 or newer imports."""
    return f"{package.slug}-import.zip", zipped({**_objects(package), "METADATA.json": _json(_metadata(package))})


def _objects(package: Package) -> dict[str, bytes]:
    return {f"{RESOURCES}/{each.file}": each.content for each in package.objects}


def _metadata(package: Package) -> dict[str, Any]:
    return {
        "metadata": {key: package.metadata[key] for key in KEYS},
        "catalog": {
            "bucket": package.bucket,
            "userGroup": package.user_group,
            "objects": [_entry(package, each) for each in package.objects],
        },
    }


def _entry(package: Package, each: PackageObject) -> dict[str, Any]:
    return {
        "name": each.name,
        "metadata": {
            "kind": each.kind,
            "commitMessage": package.message,
            "contentType": each.content_type,
            "projectName": each.project,
            "tags": each.tags,
        },
        "file": f"{RESOURCES}/{each.file}",
    }


def _json(values: dict[str, Any]) -> bytes:
    return json.dumps(values, indent=2).encode() + b"\n"
