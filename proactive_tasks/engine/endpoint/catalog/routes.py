"""The catalog's REST: the answers of a ProActive catalog 13.0.3, and import and export as 14.2 has them."""

from __future__ import annotations

import json
import re
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from proactive_tasks.engine.endpoint import uploads
from proactive_tasks.engine.endpoint.answers import RefusedRequestError
from proactive_tasks.engine.endpoint.catalog import archives
from proactive_tasks.engine.endpoint.catalog.records import Bucket, File, Filter, Item
from proactive_tasks.engine.endpoint.catalog.rules import GROUPS, CatalogError, User, missing
from proactive_tasks.engine.endpoint.catalog.store import Catalog

if TYPE_CHECKING:
    from proactive_tasks.engine.endpoint.app import Endpoint

MEDIA_TYPE = re.compile(r"[\w!#$&^.+-]+/[\w!#$&^.+-]+(\s*;.*)?", re.ASCII)
MULTIPART = "Unsupported Media Type, body does not have a correct value"
Handler = Callable[[Request], Awaitable[Response]]


def routes(endpoint: Endpoint) -> list[BaseRoute]:
    """The routes below /catalog."""
    answers = _Answers(endpoint, Catalog(endpoint.store))
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
    known: list[BaseRoute] = [Route(path, _refusing(handler), methods=[method]) for method, path, handler in table]
    every = ["GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"]
    return [*known, Route("/{path:path}", _unknown, methods=every)]


def _refusing(handler: Handler) -> Handler:
    async def answer(request: Request) -> Response:
        try:
            return await handler(request)
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

    def __init__(self, endpoint: Endpoint, catalog: Catalog) -> None:
        self._endpoint = endpoint
        self._catalog = catalog

    def _user(self, request: Request) -> User:
        """Who asks; requests that change something must have the header of the session."""
        named = request.headers.get("sessionid")
        if named is None and request.method not in ("GET", "HEAD"):
            raise CatalogError(401, "Unauthorized")
        if not named:
            raise CatalogError(401, "Could not validate empty sessionId")
        session = self._endpoint.sessions.find(named)
        if session is None:
            raise CatalogError(401, "SessionId is invalid")
        return User(session.user, GROUPS, named)

    async def buckets(self, request: Request) -> Response:
        user, asked = self._user(request), request.query_params
        found = await run_in_threadpool(
            self._catalog.buckets, user, asked.get("owner", ""), asked.get("bucketName", ""), _filter(request)
        )
        return JSONResponse([_bucket(bucket, "admin") for bucket in found])

    async def create_bucket(self, request: Request) -> Response:
        asked = await uploads.sent(request)
        name = _required(asked, "name")
        user = self._user(request)
        bucket = await run_in_threadpool(self._catalog.create_bucket, user, name, asked.get("owner"))
        return JSONResponse(_bucket(bucket), 201)

    async def remove_empty_buckets(self, request: Request) -> Response:
        await run_in_threadpool(self._catalog.remove_empty_buckets, self._user(request))
        return Response()

    async def bucket(self, request: Request) -> Response:
        user = self._user(request)
        bucket = await run_in_threadpool(self._catalog.bucket, user, request.path_params["bucket"])
        return JSONResponse(_bucket(bucket, "admin"))

    async def give_bucket(self, request: Request) -> Response:
        asked = await uploads.sent(request)
        owner, user = _required(asked, "owner"), self._user(request)
        bucket = await run_in_threadpool(self._catalog.give_bucket, user, request.path_params["bucket"], owner)
        return JSONResponse(_bucket(bucket))

    async def remove_bucket(self, request: Request) -> Response:
        user = self._user(request)
        bucket = await run_in_threadpool(self._catalog.remove_bucket, user, request.path_params["bucket"])
        return JSONResponse(_bucket(bucket))

    async def kinds(self, _request: Request) -> Response:
        return JSONResponse(await run_in_threadpool(self._catalog.kinds))

    async def content_types(self, _request: Request) -> Response:
        return JSONResponse(await run_in_threadpool(self._catalog.content_types))

    async def objects(self, request: Request) -> Response:
        user, bucket, asked = self._user(request), request.path_params["bucket"], request.query_params
        items = await run_in_threadpool(self._catalog.objects, user, bucket, _filter(request))
        named = asked.get("listObjectNamesForArchive")
        if named is not None:
            wanted = set(named.split(","))
            return await self._archive(user, [item for item in items if item.name in wanted], len(wanted))
        size, page = _number(request, "pageSize"), _number(request, "pageNo")
        if size:
            items = items[page * size : (page + 1) * size]
        return JSONResponse([_listed(request, item, "admin") for item in items])

    async def _archive(self, user: User, items: list[Item], wanted: int) -> Response:
        content = archives.packed(await run_in_threadpool(self._contents, user, items))
        return _zip(content, "archive", 200 if len(items) == wanted else 206)

    def _contents(self, user: User, items: list[Item]) -> list[tuple[Item, bytes]]:
        return [self._catalog.content(user, item.bucket, item.name) for item in items]

    async def add(self, request: Request) -> Response:
        asked, (file_name, content) = await _upload(request)
        kind, message = _required(asked, "kind"), _required(asked, "commitMessage")
        content_type = _required(asked, "objectContentType")
        user, bucket, name = self._user(request), request.path_params["bucket"], asked.find("name")
        project, tags = asked.get("projectName"), asked.get("tags")
        if name is None:
            await run_in_threadpool(self._catalog.bucket, user, bucket)
            files = archives.plain(content, kind, message, project, tags)
            items = await run_in_threadpool(self._catalog.bring, user, bucket, files)
        else:
            file = File(name, file_name, content, message, kind, content_type, project, tags)
            items = [await run_in_threadpool(self._catalog.add, user, bucket, file)]
        return JSONResponse({"object": [_listed(request, item) for item in items]}, 201)

    async def take_in(self, request: Request) -> Response:
        """Import an archive."""
        asked, (_, content) = await _upload(request)
        user, bucket = self._user(request), request.path_params["bucket"]
        known = {item.name: item for item in await run_in_threadpool(self._catalog.objects, user, bucket)}
        told = {key: asked.get(key) for key in ("kind", "commitMessage", "projectName", "tags") if asked.get(key)}
        if asked.get("isPlainZip").lower() == "true":
            message, project, tags = (told.get(key, "") for key in ("commitMessage", "projectName", "tags"))
            files = archives.plain(content, asked.find("kind"), message, project, tags, leave_out=archives.METADATA)
        else:
            files = await run_in_threadpool(archives.described, content, told, known)
        items = await run_in_threadpool(self._catalog.bring, user, bucket, files)
        return JSONResponse({"object": [_listed(request, item) for item in items]}, 201)

    async def export(self, request: Request) -> Response:
        if not request.headers.get("content-type", "").lower().startswith("application/json"):
            raise CatalogError(415, MULTIPART)
        names = _names(await uploads.body(request))
        user, bucket = self._user(request), request.path_params["bucket"]
        items = await run_in_threadpool(self._catalog.objects, user, bucket)
        if names:
            items = [item for item in items if item.name in names]
            if not items:
                raise CatalogError(404, f"Objects [{', '.join(names)}] not found or read-protected in bucket {bucket}")
        contents = await run_in_threadpool(self._contents, user, items)
        if request.query_params.get("isPlainZip", "").lower() == "true":
            return _zip(archives.packed(contents), bucket)
        return _zip(archives.exported(bucket, contents), bucket)

    async def object(self, request: Request) -> Response:
        user, place, committed = self._user(request), _place(request), _committed(request)
        item = await run_in_threadpool(self._catalog.object, user, *place, committed)
        return JSONResponse(_single(request, item, revision=committed is not None))

    async def raw(self, request: Request) -> Response:
        user, place, committed = self._user(request), _place(request), _committed(request)
        item, content = await run_in_threadpool(self._catalog.content, user, *place, committed)
        kind = item.content_type if MEDIA_TYPE.fullmatch(item.content_type) else "application/json"
        kind += "" if "charset" in kind.lower() else ";charset=UTF-8"
        headers = {"content-type": kind, "content-disposition": _disposition(item.file_name)}
        return Response(content, headers=headers)

    async def describe(self, request: Request) -> Response:
        asked = await uploads.sent(request)
        told = [asked.find(name) for name in ("kind", "contentType", "projectName")]
        item = await run_in_threadpool(self._catalog.describe, self._user(request), *_place(request), *told)
        return JSONResponse(_single(request, item))

    async def remove(self, request: Request) -> Response:
        item = await run_in_threadpool(self._catalog.remove, self._user(request), *_place(request))
        return JSONResponse({**_told(item), "links": [], "rights": None})

    async def dependencies(self, request: Request) -> Response:
        needs, callers = await run_in_threadpool(self._catalog.dependencies, self._user(request), *_place(request))
        told = [
            {
                "bucket_and_object_name": needed,
                "kind": kind or "N/A",
                "revision_commit_time": revision,
                "is_in_catalog": kind is not None,
            }
            for needed, revision, kind in needs
        ]
        return JSONResponse({"depends_on": told, "called_by": callers})

    async def revisions(self, request: Request) -> Response:
        items = await run_in_threadpool(self._catalog.revisions, self._user(request), *_place(request))
        return JSONResponse([_listed(request, item, "admin", revision=True) for item in items])

    async def revise(self, request: Request) -> Response:
        asked, (file_name, content) = await _upload(request)
        message = _required(asked, "commitMessage")
        user, (bucket, name) = self._user(request), _place(request)
        file = File(name, file_name, content, message, project=asked.get("projectName"), tags=asked.get("tags"))
        item = await run_in_threadpool(self._catalog.revise, user, bucket, file)
        return JSONResponse(_single(request, item, revision=True), 201)

    async def restore(self, request: Request) -> Response:
        committed = _committed(request) or 0
        item = await run_in_threadpool(self._catalog.restore, self._user(request), *_place(request), committed)
        return JSONResponse(_single(request, item, revision=True))


async def _upload(request: Request) -> tuple[uploads.Sent, tuple[str, bytes]]:
    """The fields of a form and its file."""
    if not uploads.is_multipart(request):
        raise CatalogError(415, MULTIPART)
    asked = await uploads.sent(request)
    if "file" not in asked.files:
        raise CatalogError(400, "Bad Request, missing part: the multipart body has no file of the name 'file'")
    return asked, asked.files["file"]


def _required(asked: uploads.Sent, name: str) -> str:
    value = asked.find(name)
    if value is None:
        raise missing(name)
    return value


def _filter(request: Request) -> Filter:
    asked = request.query_params
    names = ("kind", "contentType", "objectName", "objectTag", "projectName")
    return Filter(*(asked.get(name, "") for name in names))


def _place(request: Request) -> tuple[str, str]:
    return request.path_params["bucket"], request.path_params["name"]


def _committed(request: Request) -> int | None:
    named = request.path_params.get("committed")
    if named is None:
        return None
    if not re.fullmatch(r"[0-9]{1,18}", named):
        raise CatalogError(400, f"The commit time '{named}' is no number")
    return int(named)


def _number(request: Request, name: str) -> int:
    value = request.query_params.get(name) or "0"
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


def _links(request: Request, item: Item, *, revision: bool) -> dict[str, str]:
    relative = f"buckets/{quote(item.bucket, safe='')}/resources/{quote(item.name, safe='')}"
    if revision:
        relative += f"/revisions/{item.committed}"
    catalog = f"{request.url.scheme}://{request.url.netloc}{request.scope['root_path']}"
    return {"content": f"{catalog}/{relative}/raw", "relative": relative}


def _single(request: Request, item: Item, *, revision: bool = False) -> dict[str, Any]:
    links = {rel: {"href": href} for rel, href in _links(request, item, revision=revision).items()}
    return {**_told(item), "_links": links, "rights": "admin"}


def _listed(request: Request, item: Item, rights: str | None = None, *, revision: bool = False) -> dict[str, Any]:
    unset = dict.fromkeys(("hreflang", "media", "title", "type", "deprecation"))
    links = [{"rel": rel, "href": href, **unset} for rel, href in _links(request, item, revision=revision).items()]
    return {**_told(item), "links": links, "rights": rights}


def _zip(content: bytes, name: str, status: int = 200) -> Response:
    headers = {"content-disposition": _disposition(f"{name}.zip")}
    return Response(content, status, headers, media_type="application/zip")


def _disposition(name: str) -> str:
    """A download's name; what a header cannot hold is told in the encoded form of RFC 6266."""
    plain = re.sub(r'[^\x20-\x7e]|["\\]', "_", name)
    encoded = "" if plain == name else f"; filename*=UTF-8''{quote(name, safe='')}"
    return f'attachment; filename="{plain}"{encoded}'
