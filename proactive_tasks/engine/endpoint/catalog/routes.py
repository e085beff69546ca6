"""The catalog's REST: the answers of a ProActive catalog 13.0.3, and import and export as 14.2 has them."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from proactive_tasks.engine.endpoint.answers import RefusedRequestError
from proactive_tasks.engine.endpoint.calls import FILE, Call, Fields, Handler, route
from proactive_tasks.engine.endpoint.catalog import archives
from proactive_tasks.engine.endpoint.catalog.records import Bucket, File, Filter, Item
from proactive_tasks.engine.endpoint.catalog.rules import GROUPS, CatalogError, User, missing
from proactive_tasks.engine.endpoint.catalog.store import Catalog
from proactive_tasks.engine.endpoint.multipart import Part

if TYPE_CHECKING:
    from proactive_tasks.engine.endpoint.shared import Endpoint

MEDIA_TYPE = re.compile(r"[\w!#$&^.+-]+/[\w!#$&^.+-]+(\s*;.*)?", re.ASCII)
MULTIPART = "Unsupported Media Type, body does not have a correct value"


def routes(endpoint: Endpoint) -> list[BaseRoute]:
    """The routes below /catalog."""
    answers = _Answers(Catalog(endpoint.store))
    bucket, objects = "/buckets/{bucket}", "/buckets/{bucket}/resources"
    one = objects + "/{name}"
    revision = one + "/revisions/{committed}"
    table: list[tuple[str, str, Handler]] = [
        ("GET", "/buckets", answers.buckets),
        ("POST", "/buckets", answers.create_bucket),
        ("DELETE", "/buckets", answers.remove_empty_buckets),
        ("GET", "/buckets/kinds", answers.kinds),
        ("GET", "/buckets/content-types", answers.content_types),
        ("GET", bucket, answers.bucket),
        ("PUT", bucket, answers.give_bucket),
        ("DELETE", bucket, answers.remove_bucket),
        ("GET", objects, answers.objects),
        ("POST", objects, answers.add),
        ("POST", objects + "/import", answers.take_in),
        ("POST", objects + "/export", answers.export),
        ("GET", one, answers.object),
        ("PUT", one, answers.describe),
        ("DELETE", one, answers.remove),
        ("GET", one + "/raw", answers.raw),
        ("GET", one + "/dependencies", answers.dependencies),
        ("GET", one + "/revisions", answers.revisions),
        ("POST", one + "/revisions", answers.revise),
        ("GET", revision, answers.object),
        ("PUT", revision, answers.restore),
        ("GET", revision + "/raw", answers.raw),
    ]
    known = [
        route(endpoint, method, path, _refusing(handler), limit=FILE, login=False) for method, path, handler in table
    ]
    every = ["GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"]
    return [*known, Route("/{path:path}", _unknown, methods=every)]


def _refusing(handler: Handler) -> Handler:
    def answer(call: Call) -> Any:
        try:
            return handler(call)
        except CatalogError as error:
            raise RefusedRequestError(error.status, str(error)) from error

    return answer


async def _unknown(request: Request) -> Response:
    """A path that a catalog does not serve, as its framework says it."""
    body = {
        "timestamp": datetime.now(UTC).isoformat(timespec="milliseconds"),
        "status": 404,
        "error": "Not Found",
        "message": "No message available",
        "path": request.url.path,
    }
    return JSONResponse(body, 404)


class _Answers:
    """A method for each route."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog

    def _user(self, call: Call) -> User:
        """Who asks; requests that change something must have the header of the session."""
        named = call.request.headers.get("sessionid")
        if named is None and call.request.method not in ("GET", "HEAD"):
            raise CatalogError(401, "Unauthorized")
        if not named:
            raise CatalogError(401, "Could not validate empty sessionId")
        session = call.endpoint.sessions.find(named)
        if session is None:
            raise CatalogError(401, "SessionId is invalid")
        return User(session.user, GROUPS, named)

    def buckets(self, call: Call) -> Any:
        user, asked = self._user(call), call.query
        found = self._catalog.buckets(user, asked.get("owner", ""), asked.get("bucketName", ""), _filter(call))
        return [_bucket(bucket, "admin") for bucket in found]

    def create_bucket(self, call: Call) -> Any:
        asked = call.asked()
        name = _required(asked, "name")
        user = self._user(call)
        bucket = self._catalog.create_bucket(user, name, asked.get("owner", ""))
        return JSONResponse(_bucket(bucket), 201)

    def remove_empty_buckets(self, call: Call) -> Any:
        self._catalog.remove_empty_buckets(self._user(call))
        return Response()

    def bucket(self, call: Call) -> Any:
        user = self._user(call)
        bucket = self._catalog.bucket(user, call.path["bucket"])
        return _bucket(bucket, "admin")

    def give_bucket(self, call: Call) -> Any:
        asked = call.asked()
        owner, user = _required(asked, "owner"), self._user(call)
        bucket = self._catalog.give_bucket(user, call.path["bucket"], owner)
        return _bucket(bucket)

    def remove_bucket(self, call: Call) -> Any:
        user = self._user(call)
        bucket = self._catalog.remove_bucket(user, call.path["bucket"])
        return _bucket(bucket)

    def kinds(self, _call: Call) -> Any:
        return self._catalog.kinds()

    def content_types(self, _call: Call) -> Any:
        return self._catalog.content_types()

    def objects(self, call: Call) -> Any:
        user, bucket, asked = self._user(call), call.path["bucket"], call.query
        items = self._catalog.objects(user, bucket, _filter(call))
        named = asked.get("listObjectNamesForArchive")
        if named is not None:
            wanted = set(named.split(","))
            return self._archive(user, [item for item in items if item.name in wanted], len(wanted))
        size, page = _number(call, "pageSize"), _number(call, "pageNo")
        if size:
            items = items[page * size : (page + 1) * size]
        return [_listed(call, item, "admin") for item in items]

    def _archive(self, user: User, items: list[Item], wanted: int) -> Response:
        content = archives.packed(self._contents(user, items))
        return _zip(content, "archive", 200 if len(items) == wanted else 206)

    def _contents(self, user: User, items: list[Item]) -> list[tuple[Item, bytes]]:
        return [self._catalog.content(user, item.bucket, item.name) for item in items]

    def add(self, call: Call) -> Any:
        asked, sent = _upload(call)
        kind, message = _required(asked, "kind"), _required(asked, "commitMessage")
        content_type = _required(asked, "objectContentType")
        user, bucket, name = self._user(call), call.path["bucket"], asked.get("name")
        project, tags = asked.get("projectName", ""), asked.get("tags", "")
        if name is None:
            self._catalog.bucket(user, bucket)
            files = archives.plain(sent.content, kind, message, project, tags)
            items = self._catalog.bring(user, bucket, files)
        else:
            file = File(name, sent.file_name, sent.content, message, kind, content_type, project, tags)
            items = [self._catalog.add(user, bucket, file)]
        return JSONResponse({"object": [_listed(call, item) for item in items]}, 201)

    def take_in(self, call: Call) -> Any:
        """Import an archive."""
        asked, sent = _upload(call)
        user, bucket = self._user(call), call.path["bucket"]
        known = {item.name: item for item in self._catalog.objects(user, bucket)}
        told = {key: asked[key] for key in ("kind", "commitMessage", "projectName", "tags") if asked.get(key)}
        if asked.get("isPlainZip", "").lower() == "true":
            message, project, tags = (told.get(key, "") for key in ("commitMessage", "projectName", "tags"))
            files = archives.plain(sent.content, asked.get("kind"), message, project, tags, leave_out=archives.METADATA)
        else:
            files = archives.described(sent.content, told, known)
        items = self._catalog.bring(user, bucket, files)
        return JSONResponse({"object": [_listed(call, item) for item in items]}, 201)

    def export(self, call: Call) -> Any:
        if not call.content_type.lower().startswith("application/json"):
            raise CatalogError(415, MULTIPART)
        names = _names(call.body)
        user, bucket = self._user(call), call.path["bucket"]
        items = self._catalog.objects(user, bucket)
        if names:
            items = [item for item in items if item.name in names]
            if not items:
                raise CatalogError(404, f"Objects [{', '.join(names)}] not found or read-protected in bucket {bucket}")
        contents = self._contents(user, items)
        if call.query.get("isPlainZip", "").lower() == "true":
            return _zip(archives.packed(contents), bucket)
        return _zip(archives.exported(bucket, contents), bucket)

    def object(self, call: Call) -> Any:
        user, place, committed = self._user(call), _place(call), _committed(call)
        item = self._catalog.object(user, *place, committed)
        return _single(call, item, revision=committed is not None)

    def raw(self, call: Call) -> Any:
        user, place, committed = self._user(call), _place(call), _committed(call)
        item, content = self._catalog.content(user, *place, committed)
        kind = item.content_type if MEDIA_TYPE.fullmatch(item.content_type) else "application/json"
        kind += "" if "charset" in kind.lower() else ";charset=UTF-8"
        headers = {"content-type": kind, "content-disposition": _disposition(item.file_name)}
        return Response(content, headers=headers)

    def describe(self, call: Call) -> Any:
        asked = call.asked()
        told = [asked.get(name) for name in ("kind", "contentType", "projectName")]
        item = self._catalog.describe(self._user(call), *_place(call), *told)
        return _single(call, item)

    def remove(self, call: Call) -> Any:
        item = self._catalog.remove(self._user(call), *_place(call))
        return {**_told(item), "links": [], "rights": None}

    def dependencies(self, call: Call) -> Any:
        needs, callers = self._catalog.dependencies(self._user(call), *_place(call))
        told = [
            {
                "bucket_and_object_name": needed,
                "kind": kind or "N/A",
                "revision_commit_time": revision,
                "is_in_catalog": kind is not None,
            }
            for needed, revision, kind in needs
        ]
        return {"depends_on": told, "called_by": callers}

    def revisions(self, call: Call) -> Any:
        items = self._catalog.revisions(self._user(call), *_place(call))
        return [_listed(call, item, "admin", revision=True) for item in items]

    def revise(self, call: Call) -> Any:
        asked, sent = _upload(call)
        message = _required(asked, "commitMessage")
        user, (bucket, name) = self._user(call), _place(call)
        project, tags = asked.get("projectName", ""), asked.get("tags", "")
        file = File(name, sent.file_name, sent.content, message, project=project, tags=tags)
        item = self._catalog.revise(user, bucket, file)
        return JSONResponse(_single(call, item, revision=True), 201)

    def restore(self, call: Call) -> Any:
        committed = _committed(call) or 0
        item = self._catalog.restore(self._user(call), *_place(call), committed)
        return _single(call, item, revision=True)


def _upload(call: Call) -> tuple[Fields, Part]:
    """The fields of a form and its file."""
    if not call.content_type.lower().startswith("multipart/form-data"):
        raise CatalogError(415, MULTIPART)
    file = next((part for part in call.parts() if part.name == "file" and part.file_name), None)
    if file is None:
        raise CatalogError(400, "Bad Request, missing part: the multipart body has no file of the name 'file'")
    return call.asked(), file


def _required(asked: Fields, name: str) -> str:
    value = asked.get(name)
    if value is None:
        raise missing(name)
    return value


def _filter(call: Call) -> Filter:
    asked = call.query
    names = ("kind", "contentType", "objectName", "objectTag", "projectName")
    return Filter(*(asked.get(name, "") for name in names))


def _place(call: Call) -> tuple[str, str]:
    return call.path["bucket"], call.path["name"]


def _committed(call: Call) -> int | None:
    named = call.path.get("committed")
    if named is None:
        return None
    if not re.fullmatch(r"[0-9]{1,18}", named):
        raise CatalogError(400, f"The commit time '{named}' is no number")
    return int(named)


def _number(call: Call, name: str) -> int:
    value = call.query.get(name) or "0"
    if not re.fullmatch(r"[0-9]{1,9}", value):
        raise CatalogError(400, f"The parameter {name}: '{value[:40]}' is no number")
    return int(value)


def _names(body: bytes) -> list[str]:
    try:
        names = json.loads(body or b"[]")
    except (ValueError, RecursionError):
        names = None
    if names == "":
        return []
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise CatalogError(400, "The body is a list of the names of objects: [] for all of them")
    return names


def _bucket(bucket: Bucket, rights: str | None = None) -> dict[str, Any]:
    told = {"owner": bucket.owner, "name": bucket.name, "objectCount": bucket.objects, "rights": rights}
    return {**told, "tenant": None, "links": []}


def _told(item: Item) -> dict[str, Any]:
    moment = datetime.fromtimestamp(item.committed / 1000, UTC)
    fraction = f".{item.committed % 1000:03d}".rstrip("0").rstrip(".")
    return {
        "name": item.name,
        "extension": item.extension,
        "commit_time_raw": str(item.committed),
        "kind": item.kind,
        "bucket_name": item.bucket,
        "project_name": item.project,
        "tags": item.tags,
        "commit_time": f"{moment:%Y-%m-%dT%H:%M:%S}{fraction}",
        "content_type": item.content_type,
        "commit_message": item.message,
        "username": item.user,
        "object_key_values": item.key_values,
        "variables_order": item.variables,
    }


def _links(call: Call, item: Item, *, revision: bool) -> dict[str, str]:
    relative = f"buckets/{quote(item.bucket, safe='')}/resources/{quote(item.name, safe='')}"
    if revision:
        relative += f"/revisions/{item.committed}"
    catalog = f"{call.request.url.scheme}://{call.request.url.netloc}{call.request.scope['root_path']}"
    return {"content": f"{catalog}/{relative}/raw", "relative": relative}


def _single(call: Call, item: Item, *, revision: bool = False) -> dict[str, Any]:
    links = {rel: {"href": href} for rel, href in _links(call, item, revision=revision).items()}
    return {**_told(item), "_links": links, "rights": "admin"}


def _listed(call: Call, item: Item, rights: str | None = None, *, revision: bool = False) -> dict[str, Any]:
    unset = dict.fromkeys(("hreflang", "media", "title", "type", "deprecation"))
    links = [{"rel": rel, "href": href, **unset} for rel, href in _links(call, item, revision=revision).items()]
    return {**_told(item), "links": links, "rights": rights}


def _zip(content: bytes, name: str, status: int = 200) -> Response:
    headers = {"content-disposition": _disposition(f"{name}.zip")}
    return Response(content, status, headers, media_type="application/zip")


def _disposition(name: str) -> str:
    """A download's name; what a header cannot hold is told in the encoded form of RFC 6266."""
    plain = re.sub(r'[^\x20-\x7e]|["\\]', "_", name)
    encoded = "" if plain == name else f"; filename*=UTF-8''{quote(name, safe='')}"
    return f'attachment; filename="{plain}"{encoded}'
