"""Archives of catalog objects: those with a METADATA.json, as strict as a catalog 14.2 about it, and plain ones."""

from __future__ import annotations

import io
import json
import mimetypes
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import PurePosixPath
from typing import Any

from proactive_tasks.engine.endpoint.catalog.records import File, Item
from proactive_tasks.engine.endpoint.catalog.rules import CatalogError

METADATA = "METADATA.json"
ENTRIES = 10_000
SIZE = 256_000_000
"""Of all entries together, unpacked."""

KEYS = {
    "archive": {"metadata", "catalog"},
    "metadata": {"name", "slug", "short_description", "author", "version"},
    "catalog": {"bucket", "userGroup", "objects"},
    "object": {"name", "file", "metadata"},
    "object's metadata": {"kind", "commitMessage", "contentType", "projectName", "tags"},
}
TYPES = {
    ".py": "text/x-python",
    ".cpy": "application/octet-stream",
    ".xml": "application/xml",
    ".groovy": "text/x-groovy",
    ".sh": "application/x-sh",
    ".yaml": "text/x-yaml",
    ".yml": "text/x-yaml",
    ".md": "text/x-web-markdown",
}


def described(archive: bytes, told: Mapping[str, str], known: Iterable[str]) -> list[File]:
    """The files of an archive with METADATA.json at its root.

    Whoever imports may tell the commit message, the project and the tags of all objects. Only of an object that is not
    `known` are kind, content type, project and tags of the archive taken, and then they must be there.

    Raises:
        CatalogError: with what the archive lacks or has too much; a catalog answers 500 without saying.
    """
    known = set(known)
    files = []
    with _opened(archive, 400) as opened:
        for entry in _objects(opened):
            where = f"object {entry['name']!r}"
            metadata = _mapping(entry, "metadata", where)
            _check_keys(metadata, "object's metadata", where)
            if any(not isinstance(value, str) for value in metadata.values()):
                raise _malformed(f"{where}: every value of its metadata is a text")
            lacks = [key for key in ("kind", "contentType", "projectName", "tags") if key not in {**metadata, **told}]
            if entry["name"] not in known and lacks:
                raise _malformed(f"{where}: its metadata lacks {', '.join(lacks)}, which a new object needs")
            own = {} if entry["name"] in known else metadata
            files.append(
                File(
                    entry["name"],
                    entry["file"],
                    _read(opened, entry["file"], where),
                    told.get("commitMessage") or metadata.get("commitMessage", ""),
                    own.get("kind") or told.get("kind"),
                    own.get("contentType"),
                    told.get("projectName") or own.get("projectName", ""),
                    told.get("tags") or own.get("tags", ""),
                )
            )
            known.add(entry["name"])
    return files


def plain(
    archive: bytes, kind: str | None, message: str, project: str, tags: str, *, leave_out: str = ""
) -> list[File]:
    """The files of any archive: named by their base names, of one kind, their content types guessed."""
    with _opened(archive, 422) as opened:
        entries = [entry for entry in opened.infolist() if not entry.is_dir() and entry.filename != leave_out]
        if not entries:
            raise CatalogError(422, "Malformed archive")
        files = []
        for entry in entries:
            path = PurePosixPath(entry.filename)
            name = "" if path.name.startswith(".") and path.name.count(".") == 1 else path.stem
            content = opened.read(entry)
            files.append(File(name, path.name, content, message, kind, _guess(path), project, tags))
        return files


def packed(objects: Iterable[tuple[Item, bytes]]) -> bytes:
    """A plain archive of objects."""
    return _archive({item.file_name: content for item, content in objects})


def exported(bucket: str, objects: Iterable[tuple[Item, bytes]]) -> bytes:
    """An archive that `described` reads."""
    entries, files = [], {}
    for item, content in objects:
        file = f"resources/catalog/{item.file_name}"
        files[file] = content
        metadata = {
            "kind": item.kind,
            "commitMessage": item.message,
            "contentType": item.content_type,
            "projectName": item.project,
            "tags": item.tags,
        }
        entries.append({"name": item.name, "metadata": metadata, "file": file})
    told = {
        "metadata": {"name": bucket, "slug": bucket, "short_description": "", "author": "", "version": ""},
        "catalog": {"bucket": bucket, "userGroup": "", "objects": entries},
    }
    return _archive({METADATA: json.dumps(told, indent=2).encode(), **files})


def _archive(files: Mapping[str, bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return out.getvalue()


def _opened(archive: bytes, status: int) -> zipfile.ZipFile:
    try:
        opened = zipfile.ZipFile(io.BytesIO(archive))
    except (zipfile.BadZipFile, ValueError) as error:
        raise (CatalogError(422, "Malformed archive") if status == 422 else _malformed("it is no zip")) from error
    entries = opened.infolist()
    if len(entries) > ENTRIES or sum(entry.file_size for entry in entries) > SIZE:
        raise CatalogError(413, f"the archive holds more than {ENTRIES} entries, or more than {SIZE // 10**6} MB")
    if any(entry.flag_bits & 1 for entry in entries):
        raise CatalogError(status, "Malformed archive: its entries are encrypted")
    return opened


def _objects(opened: zipfile.ZipFile) -> list[dict[str, Any]]:
    """The objects that METADATA.json tells of."""
    if METADATA not in opened.namelist():
        raise _malformed(f"it has no {METADATA} at its root")
    try:
        told = json.loads(opened.read(METADATA))
    except (ValueError, RecursionError, zipfile.BadZipFile) as error:
        raise _malformed(f"{METADATA} is no JSON") from error
    if not isinstance(told, dict):
        raise _malformed(f"{METADATA} is no object")
    _check_keys(told, "archive", METADATA)
    if told.get("metadata") is not None:
        _check_keys(_mapping(told, "metadata", METADATA), "metadata", f"{METADATA}, metadata")
    catalog = _mapping(told, "catalog", METADATA)
    _check_keys(catalog, "catalog", f"{METADATA}, catalog")
    if not isinstance(catalog.get("bucket", ""), str):
        raise _malformed(f"{METADATA}, catalog: bucket is one name, not a list")
    objects = catalog.get("objects")
    if not isinstance(objects, list):
        raise _malformed(f"{METADATA}, catalog: objects is missing or no list")
    for number, entry in enumerate(objects, 1):
        where = f"{METADATA}, object {number}"
        if not isinstance(entry, dict):
            raise _malformed(f"{where}: is no object")
        _check_keys(entry, "object", where)
        if not all(isinstance(entry.get(key), str) for key in ("name", "file")):
            raise _malformed(f"{where}: name and file are missing or no texts")
    return objects


def _mapping(owner: Mapping[str, Any], key: str, where: str) -> dict[str, Any]:
    value = owner.get(key)
    if not isinstance(value, dict):
        raise _malformed(f"{where}: {key} is missing or no object")
    return value


def _check_keys(found: Mapping[str, Any], what: str, where: str) -> None:
    unknown = sorted(set(found) - KEYS[what])
    if unknown:
        raise _malformed(f"{where}: {', '.join(unknown)} not known here; take out what an import does not read")


def _read(opened: zipfile.ZipFile, name: str, where: str) -> bytes:
    """An entry's content. A catalog makes an object that cannot be read where there is no such entry."""
    try:
        return opened.read(name)
    except KeyError:
        raise _malformed(f"{where}: the archive has no file {name}") from None
    except (zipfile.BadZipFile, NotImplementedError) as error:
        raise _malformed(f"{where}: {name} cannot be read: {error}") from error


def _malformed(reason: str) -> CatalogError:
    return CatalogError(400, f"The archive cannot be imported: {reason}")


def _guess(path: PurePosixPath) -> str:
    suffix = path.suffix.lower()
    return TYPES.get(suffix) or mimetypes.types_map.get(suffix) or "application/octet-stream"
