"""A small catalog in this process, with a scheduler's login and global space beside it; it knows the rules that matter.

Versions 13 and 14 are told apart where they differ: tags, and the import of archives.
"""

from __future__ import annotations

import email
import json
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from lxml import etree

from proactive_tasks.engine import descriptor
from proactive_tasks.engine.workflow import NotSupportedError, RefusedError
from tests.scheduler.archive_rules import files, import_faults

BUCKET = re.compile(r"[a-z][a-z0-9-]{1,61}[a-z0-9]")
SESSION, PASSWORD = "a-session", "secret"


class RefusalError(Exception):
    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass
class Revision:
    content: bytes
    message: str
    project: str
    tags: str
    at: int


@dataclass
class Stored:
    name: str
    bucket: str
    kind: str
    content_type: str
    extension: str
    revisions: list[Revision]

    def told(self) -> dict[str, Any]:
        last = self.revisions[-1]
        return {
            "name": self.name,
            "bucket_name": self.bucket,
            "kind": self.kind,
            "content_type": self.content_type,
            "extension": self.extension,
            "commit_message": last.message,
            "commit_time_raw": last.at,
            "project_name": last.project,
            "tags": last.tags,
            "username": "admin",
        }


@dataclass
class SmallCatalog:
    """What is stored, and the requests that changed something."""

    version: int = 13
    url: str = ""
    buckets: dict[str, dict[str, Stored]] = field(default_factory=dict)
    space: dict[str, bytes] = field(default_factory=dict)
    changes: list[str] = field(default_factory=list)
    refuse: set[str] = field(default_factory=set)
    clock: int = 1_700_000_000_000
    judge: Callable[[str], None] = lambda _: None
    """Is told every request first; what it raises is the answer, and of a ConnectionError there is none."""

    def put(self, bucket: str, name: str, values: dict[str, str], file_name: str, content: bytes) -> Stored:
        objects = self.bucket(bucket)
        if name in objects:
            raise RefusalError(409, f"Catalog Object with name '{name}' already exists in bucket: '{bucket}'")
        kind, content_type = values["kind"], values["objectContentType"]
        stored = Stored(name, bucket, kind, content_type, file_name.rpartition(".")[2], [])
        self.revise(stored, values, content)
        objects[name] = stored
        return stored

    def revise(self, stored: Stored, values: dict[str, str], content: bytes) -> None:
        if stored.name in self.refuse:
            raise RefusalError(422, "It was not possible to parse an object: At [tag:job] : no. at line 6 , column 63.")
        self.clock += 1
        tags = values.get("tags", "") if self.version >= 14 else ""
        project = values.get("projectName", "")
        if stored.kind.lower().startswith("workflow"):
            content = serialised(content, stored.name, stored.bucket, project, tags)
        stored.revisions.append(Revision(content, values["commitMessage"], project, tags, self.clock))

    def bucket(self, name: str) -> dict[str, Stored]:
        if name not in self.buckets:
            raise RefusalError(404, f"Cannot find bucket with bucketName : {name}")
        return self.buckets[name]

    def object(self, bucket: str, name: str) -> Stored:
        if name not in self.buckets.get(bucket, {}):
            told = f"Catalog Object is not found in bucket with name: '{bucket}' for object name: '{name}'"
            raise RefusalError(404, told)
        return self.buckets[bucket][name]

    def import_archive(self, bucket: str, archive: bytes) -> list[Stored]:
        if self.version < 14 or import_faults(archive):
            raise RefusalError(500, "Internal Server Error")
        there, made = files(archive), []
        for each in json.loads(there["METADATA.json"])["catalog"]["objects"]:
            said = each["metadata"]
            values = {**said, "objectContentType": said["contentType"]}
            if each["name"] in self.bucket(bucket):  # what METADATA.json says of project and tags is ignored then
                stored = self.object(bucket, each["name"])
                self.revise(stored, {"commitMessage": said["commitMessage"]}, there[each["file"]])
                made.append(stored)
            else:
                made.append(self.put(bucket, each["name"], values, each["file"], there[each["file"]]))
        return made


def serialised(content: bytes, name: str, bucket: str, project: str, tags: str) -> bytes:
    """A workflow as a catalog stores it: parsed, changed, and written with other blank space and without CDATA."""
    try:
        descriptor.load(content)
    except NotSupportedError:
        pass
    except RefusedError as error:
        raise RefusalError(422, f"It was not possible to parse an object: {error}") from error
    job = etree.fromstring(content)
    job.set("name", name)
    job.set("projectName", project)
    if tags:
        job.set("tags", tags)
    generic = job.find("{*}genericInformation")
    assert generic is not None
    known = {info.get("name", ""): info.get("value", "") for info in generic} | {
        "bucketName": bucket,
        "group": "public-objects",
    }
    for info in list(generic):
        generic.remove(info)
    for key in sorted(known, reverse=True):
        etree.SubElement(generic, f"{{{etree.QName(job).namespace}}}info", {"value": known[key], "name": key})
    etree.indent(job, space="    ")
    for element in job.iter():
        if not len(element) and element.text and element.text.strip():
            element.text = f"\n            {element.text}\n        "
    return etree.tostring(job, xml_declaration=True, encoding="UTF-8")


@contextmanager
def small_catalog(version: int = 13) -> Iterator[SmallCatalog]:
    catalog = SmallCatalog(version)
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"catalog": catalog}))
    server.daemon_threads = True
    catalog.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield catalog
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    catalog: SmallCatalog
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # head and body at once: two small writes wait for one another

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        pass

    def do_GET(self) -> None:
        self._answer()

    do_POST = do_PUT = do_DELETE = do_GET  # noqa: N815

    def _answer(self) -> None:
        parts = urlsplit(self.path)
        self.values = {key: found[0] for key, found in parse_qs(parts.query, keep_blank_values=True).items()}
        self.body = self.rfile.read(int(self.headers.get("content-length") or 0))
        path = [unquote(each) for each in parts.path.strip("/").split("/")]
        try:
            self.catalog.judge(f"{self.command} {parts.path}")
            status, content = self._route(path)
        except ConnectionError:
            self.close_connection = True
            return
        except RefusalError as error:
            status = error.status
            content = {"httpErrorCode": status, "errorMessage": str(error), "stackTrace": "..."}
        if self.command != "GET" and status < 300 and path[:2] != ["rest", "scheduler"]:
            self.catalog.changes.append(f"{self.command} {parts.path}")
        raw = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        self.send_header(
            "content-type", "application/octet-stream" if isinstance(content, bytes) else "application/json"
        )
        self.send_header("content-length", str(len(raw)))
        self.end_headers()
        self.wfile.write(raw)

    def _route(self, path: list[str]) -> tuple[int, Any]:
        if path == ["rest", "scheduler", "login"]:
            if PASSWORD not in self.body.decode():
                raise RefusalError(404, "Authentication failed")
            return 200, SESSION.encode()
        if path == ["rest", "scheduler", "version"]:
            return 200, {"scheduler": "13.0.3", "rest": "13.0.3"}
        if self.headers.get("sessionid") != SESSION:
            raise RefusalError(401, "SessionId is invalid")
        if path[:2] == ["rest", "data"]:
            return self._data("/".join(path[3:]))
        if path[:2] == ["catalog", "buckets"]:
            return self._buckets(path[2:])
        return 200, b""

    def _data(self, path: str) -> tuple[int, Any]:
        if self.command == "PUT":
            self.catalog.space[path] = self.body
            return 201, b""
        if path not in self.catalog.space:
            raise RefusalError(404, f"File not found: {path}")
        return 200, self.catalog.space[path]

    def _buckets(self, path: list[str]) -> tuple[int, Any]:
        catalog = self.catalog
        match self.command, *path:
            case ["GET"]:
                found = catalog.buckets.items()
                return 200, [{"name": k, "owner": "GROUP:public-objects", "objectCount": len(v)} for k, v in found]
            case ["POST"]:
                name = self.values["name"]
                if not BUCKET.fullmatch(name):
                    raise RefusalError(400, f"The bucket name: '{name}' is not valid")
                catalog.buckets[name] = {}
                return 201, {"name": name, "owner": "GROUP:public-objects", "objectCount": 0}
            case ["DELETE", bucket]:
                del catalog.buckets[bucket]
                return 200, {}
            case ["GET", bucket, "resources"]:
                return 200, [each.told() for each in catalog.bucket(bucket).values()]
            case ["POST", bucket, "resources"]:
                file_name, content = self._file()
                return 201, {
                    "object": [catalog.put(bucket, self.values["name"], self.values, file_name, content).told()]
                }
            case ["POST", bucket, "resources", "import"]:
                return 201, {"object": [each.told() for each in catalog.import_archive(bucket, self._file()[1])]}
            case ["GET", bucket, "resources", name, "raw"]:
                return 200, catalog.object(bucket, name).revisions[-1].content
            case ["POST", bucket, "resources", name, "revisions"]:
                stored = catalog.object(bucket, name)
                catalog.revise(stored, self.values, self._file()[1])
                return 201, stored.told()
        raise RefusalError(404, "no such route")

    def _file(self) -> tuple[str, bytes]:
        head = f"Content-Type: {self.headers['content-type']}\r\n\r\n".encode()
        for part in email.message_from_bytes(head + self.body).get_payload():
            if part.get_param("name", header="content-disposition") == "file":
                return str(part.get_filename()), part.get_payload(decode=True)
        raise RefusalError(415, "Unsupported Media Type, body does not have a correct value")
