"""What installers make of a package's archive: the rules of `proactive-client -pkg` and of a catalog's own import."""

from __future__ import annotations

import json
import re
import zipfile
from collections.abc import Iterator, Mapping
from io import BytesIO
from typing import Any
from urllib.parse import quote_plus

KIND = re.compile(r"([a-zA-Z0-9][a-zA-Z0-9_. ;=+\-]{0,61}[a-zA-Z0-9]/?)+")
TAGS = re.compile(r"([a-zA-Z][\s0-9a-zA-Z-_./]+[,]*)*(?<!,)")

IMPORT_KEYS = {
    "": {"metadata", "catalog"},
    "metadata": {"name", "slug", "short_description", "author", "version"},
    "catalog": {"bucket", "userGroup", "objects"},
    "object": {"name", "file", "metadata"},
    "object.metadata": {"kind", "commitMessage", "contentType", "projectName", "tags"},
}


def files(archive: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(BytesIO(archive)) as opened:
        return {entry.filename: opened.read(entry) for entry in opened.infolist() if not entry.is_dir()}


def packed(content: Mapping[str, bytes]) -> bytes:
    buffer = BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for path, each in content.items():
            archive.writestr(path, each)
    return buffer.getvalue()


def client_faults(name: str, archive: bytes) -> list[str]:
    """Why `proactive-client -pkg` would not install an archive of that file name as it is meant, part by part."""
    return list(_client_faults(name, archive))


def _client_faults(name: str, archive: bytes) -> Iterator[str]:
    top, there = name.removesuffix(".zip"), files(archive)
    if not name.endswith(".zip") or "." in top:
        yield f"{name}: package dir extension not supported"
    if f"{top}/METADATA.json" not in there:
        yield f"{top}/METADATA.json (No such file or directory)"
        return
    if others := [path for path in there if not path.startswith(f"{top}/")]:
        yield f"{others}: beside the top folder"
    metadata = json.loads(there[f"{top}/METADATA.json"])
    yield from _client_space(top, metadata.get("dataspace") or {"target": "global", "files": []}, there)
    catalog = metadata["catalog"]
    for each in catalog["objects"]:
        yield from _client_object(top, each, there)
    messages = {each["metadata"].get("commitMessage") for each in catalog["objects"]}
    if len(messages) != 1 or "" in messages or None in messages:
        yield f"commit messages {messages}: an object whose last one begins otherwise is not updated"


def _client_space(top: str, space: Mapping[str, Any], there: Mapping[str, bytes]) -> Iterator[str]:
    if space["target"] != "global":
        yield f"target {space['target']}: written relative to the current directory"
    for file in space["files"]:
        if f"{top}/{file}" not in there:
            yield f"{file}: aborts before the bucket is made"
        if not file.startswith("resources/dataspace/") or ".." in file:
            yield f"{file}: leaves the data space"


def _client_object(top: str, each: dict[str, Any], there: Mapping[str, bytes]) -> Iterator[str]:
    name, said = each["name"], each["metadata"]
    if f"{top}/{each['file']}" not in there:
        yield f"{name}: its file is missing, which aborts with the objects before it stored"
    if quote_plus(name) != name:
        yield f"{name}: never found again, so never updated"
    for key in ("kind", "contentType"):
        if key not in said:
            yield f"{name}: {key} becomes null"
        elif " " in said[key] or not KIND.fullmatch(said[key]):
            yield f"{name}: {key} {said[key]!r} aborts the installation"


def import_faults(archive: bytes) -> list[str]:
    """Why a catalog of 14 would answer an import with anything but 201, or keep an object without content."""
    return list(_import_faults(archive))


def _import_faults(archive: bytes) -> Iterator[str]:
    there = files(archive)
    if "METADATA.json" not in there:
        yield "500: no METADATA.json at the root"
        return
    values = json.loads(there["METADATA.json"])
    yield from _unknown("", values)
    yield from _unknown("metadata", values.get("metadata", {}))
    yield from _unknown("catalog", values.get("catalog", {}))
    if not isinstance(values["catalog"].get("bucket", ""), str):
        yield "500: bucket is a list"
    for each in values["catalog"]["objects"]:
        yield from _unknown("object", each)
        yield from _unknown("object.metadata", each["metadata"])
        for key in IMPORT_KEYS["object.metadata"]:
            if not isinstance(each["metadata"].get(key), str):
                yield f"500: {each['name']}: {key} is no string"
        if not TAGS.fullmatch(str(each["metadata"].get("tags", ""))):
            yield f"400: {each['name']}: tags"
        if each["file"] not in there:
            yield f"{each['name']}: is made without content"


def _unknown(where: str, values: Mapping[str, Any]) -> Iterator[str]:
    for key in sorted(set(values) - IMPORT_KEYS[where]):
        yield f"500: unrecognised key {where}.{key}".replace(" .", " ")
