"""The data spaces: files that jobs are given, and files that they leave."""

from __future__ import annotations

import contextlib
import gzip
import io
import mimetypes
import os
import re
import shutil
import tempfile
import zipfile
from collections.abc import Callable
from fnmatch import fnmatch
from pathlib import Path
from typing import TYPE_CHECKING, Any

from starlette.responses import FileResponse, Response
from starlette.routing import BaseRoute

from proactive_tasks.engine.endpoint.answers import RefusedRequestError
from proactive_tasks.engine.endpoint.calls import FILE, Call, route
from proactive_tasks.store.location import space

if TYPE_CHECKING:
    from proactive_tasks.engine.endpoint.shared import Endpoint

SPACES = re.compile(r"(user|global)(space)?", re.IGNORECASE)


def routes(endpoint: Endpoint) -> list[BaseRoute]:
    """The routes of data spaces, in both forms that the server has."""
    new, old = "/data/{space}/{file:path}", "/scheduler/dataspace/{space}{file:path}"
    return [
        route(endpoint, "PUT", new, upload, limit=FILE),
        route(endpoint, "POST", new, create),
        route(endpoint, "GET", new, fetch),
        route(endpoint, "DELETE", new, delete),
        route(endpoint, "POST", old, push, limit=FILE),
        route(endpoint, "GET", old, pull),
        route(endpoint, "DELETE", old, remove),
        route(endpoint, "GET", "/scheduler/userspace", lambda _call: [space("user").as_uri()]),
        route(endpoint, "GET", "/scheduler/globalspace", lambda _call: [space("global").as_uri()]),
    ]


def _bad(message: str) -> RefusedRequestError:
    return RefusedRequestError(400, message, "java.lang.IllegalArgumentException")


def _too_large(what: str) -> RefusedRequestError:
    return RefusedRequestError(413, f"{what} is larger than {FILE // 1_000_000} MB", "java.io.IOException")


def _place(call: Call, further: str = "") -> Path:
    """The path below a space that a request names; nothing leads out of the space, neither `..` nor a link.

    Raises:
        RefusedRequestError: an unknown space, or a path that leads out of it.
    """
    named = SPACES.fullmatch(call.path["space"])
    if named is None:
        raise _bad(f"Wrong dataspace name: {call.path['space'][:80]}; it is user or global")
    root = space(named[1].lower()).resolve()
    words = "/".join(word for word in (call.path["file"].strip("/"), further.strip("/")) if word)
    if "\0" in words:
        raise _bad("the path holds a NUL")
    place = (root / words).resolve()
    if place != root and root not in place.parents:
        raise RefusedRequestError(403, f"{words[:200]} lies outside the space", "java.nio.file.AccessDeniedException")
    return place


@contextlib.contextmanager
def _told(place: Path) -> Any:
    """What the machine refuses, as an answer."""
    try:
        yield
    except OSError as error:
        message = f"{place.name}: {error.strerror}; choose another path"
        raise RefusedRequestError(500, message, "java.io.IOException") from error


def _write(place: Path, fill: Callable[[Any], object]) -> None:
    """A file is there whole or not at all."""
    with _told(place):
        place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(dir=place.parent, prefix=".upload-")
        try:
            with os.fdopen(descriptor, "wb") as file:
                fill(file)
            Path(name).replace(place)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise


def upload(call: Call) -> Response:
    """Write a file; one that comes packed is unpacked, a zip becomes a folder."""
    place, encoding = _place(call), call.request.headers.get("content-encoding", "").lower()
    if place == _root(place):
        raise _bad("name a file below the space")
    if encoding == "gzip":
        _write(place, lambda file: _unpack(call.body, file))
    elif encoding == "zip":
        _unzip(call.body, place)
    else:
        _write(place, lambda file: file.write(call.body))
    return Response(status_code=201)


def _root(place: Path) -> Path:
    roots = [space(name).resolve() for name in ("user", "global")]
    return next(root for root in roots if place == root or root in place.parents)


def _unpack(packed: bytes, file: Any) -> None:
    size = 0
    try:
        with gzip.open(io.BytesIO(packed)) as source:
            while piece := source.read(1 << 16):
                size += len(piece)
                if size > FILE:
                    raise _too_large("the body, unpacked")
                file.write(piece)
    except (EOFError, gzip.BadGzipFile) as error:
        raise _bad(f"the body is not gzip: {error}") from error


def _unzip(packed: bytes, place: Path) -> None:
    try:
        archive = zipfile.ZipFile(io.BytesIO(packed))
    except zipfile.BadZipFile as error:
        raise _bad(f"the body is no zip archive: {error}") from error
    with archive:
        members = [member for member in archive.infolist() if not member.is_dir()]
        if sum(member.file_size for member in members) > FILE:
            raise _too_large("the body, unpacked")
        for member in members:
            target = (place / member.filename).resolve()
            if place not in target.parents:
                raise _bad(f"{member.filename[:200]} leads out of the archive's folder")
            content = archive.read(member)
            _write(target, lambda file, content=content: file.write(content))  # type: ignore[misc]


def create(call: Call) -> Response:
    """Make an empty file or a folder: the form says which in `mimetype`."""
    form = call.form()
    place = _place(call, form.get("pathname", ""))
    if form.get("mimetype", "") in ("application/folder", "inode/directory", ""):
        with _told(place):
            place.mkdir(mode=0o700, parents=True, exist_ok=True)
    else:
        _write(place, lambda file: file.write(b""))
    return Response(status_code=200)


def fetch(call: Call) -> Response | dict[str, Any]:
    """A file, a folder as a zip archive, or, with `comp=list`, what is in a folder."""
    place = _place(call)
    if not place.exists():
        return Response(status_code=404)
    if call.query.get("comp") == "list":
        if not place.is_dir():
            raise _bad(f"{place.name} is no folder")
        return _listing(call, place)
    return _zipped(place) if place.is_dir() else _file(place)


def _listing(call: Call, place: Path) -> dict[str, Any]:
    """Names below a folder: those in it, or those that fit one of the patterns in `includes`."""
    includes, excludes = (call.query.getlist(name) for name in ("includes", "excludes"))
    deep = any("/" in pattern or "**" in pattern for pattern in includes)
    entries = sorted(place.rglob("*") if deep else place.iterdir())
    names = {entry.relative_to(place).as_posix(): entry for entry in entries if not entry.name.startswith(".upload-")}
    wanted = [
        name
        for name in names
        if (not includes or any(fnmatch(name, pattern.replace("**/", "*")) for pattern in includes))
        and not any(fnmatch(name, pattern.replace("**/", "*")) for pattern in excludes)
    ]
    return {
        "directoryListing": [name for name in wanted if names[name].is_dir()],
        "fileListing": [name for name in wanted if names[name].is_file()],
        "fullListing": wanted,
    }


def _file(place: Path) -> Response:
    kind = mimetypes.guess_type(place.name)[0] if place.suffix not in (".yaml", ".yml") else None
    return FileResponse(place, media_type=kind or "application/octet-stream")


def _zipped(place: Path) -> Response:
    files = [file for file in sorted(place.rglob("*")) if file.is_file() and not file.is_symlink()]
    if sum(file.stat().st_size for file in files) > FILE:
        raise _too_large(f"{place.name}; fetch its files one by one: it")
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in files:
            archive.write(file, file.relative_to(place).as_posix())
    return Response(packed.getvalue(), media_type="application/zip")


def _delete(place: Path) -> bool:
    if not place.exists():
        return False
    with _told(place):
        if place.is_dir():
            shutil.rmtree(place)
        else:
            place.unlink()
    return True


def delete(call: Call) -> Response:
    """Remove a file or a folder with all that is in it."""
    place = _place(call)
    if place == _root(place):
        raise _bad("name a file below the space")
    return Response(status_code=204 if _delete(place) else 404)


# The older form


def push(call: Call) -> bool:
    """Write a file that comes as a part of a form."""
    parts = {part.name: part for part in call.parts()}
    if "fileName" not in parts or "fileContent" not in parts:
        raise _bad("the form has no fields fileName and fileContent")
    place, content = _place(call, parts["fileName"].text), parts["fileContent"].content
    _write(place, lambda file: file.write(content))
    return True


def pull(call: Call) -> Response | list[str]:
    """A file; of a folder, the names in it."""
    place = _place(call)
    if not place.exists():
        raise RefusedRequestError(404, f"{place.name}: there is no such file", "java.io.FileNotFoundException")
    if place.is_dir():
        names = "".join(f"{entry.name}\n" for entry in sorted(place.iterdir()))
        return Response(names, media_type="application/octet-stream")
    return FileResponse(place, media_type="application/octet-stream")


def remove(call: Call) -> bool:
    """Remove a file or a folder."""
    place = _place(call)
    if place == _root(place):
        raise _bad("name a file below the space")
    return _delete(place)
