"""A small HTTP server that answers as a scheduler was seen to, and breaks where a test wants it to."""

from __future__ import annotations

import ipaddress
import json
import re
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email import message_from_bytes
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from tests.ports import free_port

USER, PASSWORD = "admin", "s3cret-and-nowhere-else"
NOT_CONNECTED = "You are not connected to the server, you should log on first"
EXCEPTIONS = "org.ow2.proactive_grid_cloud_portal.scheduler.exception."


@dataclass
class Asked:
    """A request as it came."""

    method: str
    path: str
    """With its escapes."""
    query: dict[str, str]
    headers: Any
    body: bytes

    @property
    def form(self) -> list[tuple[str, str]]:
        return parse_qsl(self.body.decode(), keep_blank_values=True)

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def parts(self) -> list[tuple[str, str, str | None, bytes]]:
        """Name, content type, file name and content of each part of a multipart body."""
        head = f"Content-Type: {self.headers['content-type']}\r\n\r\n".encode()
        message = message_from_bytes(head + self.body)
        return [
            (
                str(part.get_param("name", header="content-disposition")),
                part.get_content_type(),
                part.get_filename(),
                part.get_payload(decode=True),
            )
            for part in message.get_payload()
        ]


@dataclass
class Answer:
    status: int = 200
    body: Any = b""
    kind: str = ""
    headers: dict[str, str] = field(default_factory=dict)


LOST = Answer(0)
"""The connection is closed without an answer."""


def refusal(status: int, message: str, kind: str = "") -> Answer:
    """An error as the server words it."""
    body = {"httpErrorCode": status, "errorMessage": message, "stackTrace": "...", "exceptionClass": EXCEPTIONS + kind}
    return Answer(status, body)


def no_route(asked: Asked) -> Answer:
    return Answer(
        404,
        {
            "httpErrorCode": 404,
            "errorMessage": f"RESTEASY003210: Could not find resource for full path: http://here{asked.path}",
            "exceptionClass": "javax.ws.rs.NotFoundException",
        },
    )


Reply = Answer | Callable[[Asked], Any] | Any


class FakeServer:
    """Answers by the routes that a test sets; knows sessions, and one user."""

    def __init__(self, version: str = "13.0.3") -> None:
        self.asked: list[Asked] = []
        self.sessions: set[str] = set()
        self.logins = 0
        self.connections: set[Any] = set()
        self._routes: list[tuple[str, re.Pattern[str], list[Reply]]] = []
        self._http: _Server | None = None
        self.scheme, self.port = "http", 0
        versions = json.dumps({"scheduler": version, "rest": version})
        self.on("GET", "/rest/scheduler/version", Answer(200, versions, "application/octet-stream"))
        self.on("POST", "/rest/scheduler/login", self.log_in)
        self.on("PUT", "/rest/scheduler/disconnect", self._disconnect)

    @property
    def url(self) -> str:
        return f"{self.scheme}://127.0.0.1:{self.port}"

    def on(self, method: str, path: str, *replies: Reply) -> None:
        """What a path (a pattern, escapes and all) is answered with: each reply once, the last one always.

        A reply that is neither an Answer nor a function is JSON. What is set last counts.
        """
        self._routes.insert(0, (method, re.compile(path), list(replies)))

    def requests(self, method: str, path: str) -> list[Asked]:
        return [each for each in self.asked if each.method == method and re.fullmatch(path, each.path)]

    def end_sessions(self) -> None:
        self.sessions.clear()

    def log_in(self, asked: Asked) -> Answer:
        """A session, for the one user that there is."""
        if "urlencoded" in asked.headers["content-type"]:
            form = dict(asked.form)
            known = (form.get("username"), form.get("password")) == (USER, PASSWORD)
        else:
            known = [(name, content) for name, _, _, content in asked.parts] == [("credential", b"sealed")]
        if not known:
            return refusal(404, "Authentication failed")
        self.logins += 1
        session = f"session{self.logins}"
        self.sessions.add(session)
        return Answer(200, session, "text/plain")

    def _disconnect(self, asked: Asked) -> Answer:
        self.sessions.discard(asked.headers.get("sessionid", ""))
        return Answer(204)

    def answer(self, asked: Asked) -> Answer:
        self.asked.append(asked)
        replies = next((r for m, p, r in self._routes if m == asked.method and p.fullmatch(asked.path)), [no_route])
        open_to_all = asked.path in {"/rest/scheduler/version", "/rest/scheduler/login"}
        if not open_to_all and asked.headers.get("sessionid", "") not in self.sessions:
            return refusal(401, NOT_CONNECTED, "NotConnectedRestException")
        reply = replies.pop(0) if len(replies) > 1 else replies[0]
        if callable(reply):
            reply = reply(asked)
        return reply if isinstance(reply, Answer) else Answer(200, reply)

    def listen(self, port: int = 0, tls: ssl.SSLContext | None = None) -> None:
        self._http = _Server(("127.0.0.1", port or free_port()), _Handler)
        self._http.fake = self
        if tls:
            self.scheme = "https"
            self._http.socket = tls.wrap_socket(self._http.socket, server_side=True, do_handshake_on_connect=False)
        self.port = self._http.server_address[1]
        threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    def close(self) -> None:
        if self._http:
            self._http.shutdown()
            self._http.server_close()
            for connection in self.connections:
                _break(connection)
            self.connections.clear()
            self._http = None


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    fake: FakeServer

    def handle_error(self, *_: Any) -> None:
        """Clients that do not trust the certificate, and connections that a test broke."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def setup(self) -> None:
        super().setup()
        self.server.fake.connections.add(self.connection)

    def _handle(self) -> None:
        parts = urlsplit(self.path)
        answer = self.server.fake.answer(
            Asked(
                self.command,
                parts.path,
                dict(parse_qsl(parts.query, keep_blank_values=True)),
                self.headers,
                self.rfile.read(int(self.headers.get("content-length") or 0)),
            )
        )
        if answer is LOST:
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)
        else:
            self._send(answer)

    def _send(self, answer: Answer) -> None:
        body, kind = answer.body, answer.kind
        if not isinstance(body, bytes | str):
            body, kind = json.dumps(body), kind or "application/json"
        body = body.encode() if isinstance(body, str) else body
        self.send_response(answer.status)
        if kind:
            self.send_header("Content-Type", kind)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        if answer.status != 204:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if answer.status != 204:
            self.wfile.write(body)

    do_GET = do_POST = do_PUT = do_DELETE = _handle  # noqa: N815

    def log_message(self, *_: Any) -> None:
        pass


def _break(connection: socket.socket) -> None:
    """As the end of a server's process does."""
    with suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
    connection.close()


@contextmanager
def listening(fake: FakeServer, tls: ssl.SSLContext | None = None) -> Iterator[FakeServer]:
    fake.listen(tls=tls)
    try:
        yield fake
    finally:
        fake.close()


def certificate(folder: Path, *, address: str = "127.0.0.1") -> tuple[ssl.SSLContext, Path]:
    """A server's TLS by an authority that nobody knows; answers the context and the authority's file."""
    now = datetime.now(UTC)
    made = []
    for name, issuer in (("An Authority", None), ("A Server", 0)):
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
        by = made[issuer] if issuer is not None else (subject, key, None)
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(by[0])
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(hours=1))
            .not_valid_after(now + timedelta(hours=1))
            .add_extension(x509.BasicConstraints(ca=issuer is None, path_length=None), critical=True)
            .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(address))]), critical=False)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(by[1].public_key()), critical=False)
            .add_extension(
                x509.KeyUsage(True, False, False, False, False, issuer is None, issuer is None, False, False),
                critical=True,
            )
        )
        made.append((subject, key, builder.sign(by[1], hashes.SHA256())))
    authority, chain = folder / "authority.pem", folder / "server.pem"
    authority.write_bytes(made[0][2].public_bytes(serialization.Encoding.PEM))
    chain.write_bytes(
        made[1][2].public_bytes(serialization.Encoding.PEM)
        + made[1][1].private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(chain)
    return context, authority


def job_info(job: int, status: str, **values: Any) -> dict[str, Any]:
    """A job's `jobInfo` as the server tells it."""
    zero = ("Pending", "Running", "Finished", "Failed", "Faulty", "InError")
    return {
        "startTime": 1795404186386,
        "finishedTime": 1795404191007 if status in {"FINISHED", "CANCELED", "KILLED"} else -1,
        "submittedTime": 1795404186256,
        "status": status,
        "jobId": {"id": job, "readableName": "Deploy_Overlay"},
        "totalNumberOfTasks": 2,
        **{f"numberOf{name}Tasks": 0 for name in zero},
        "jobOwner": "admin",
        "genericInformation": {},
        "variables": {"SPEC": "..."},
        "resultMapPresent": False,
        "preciousTasks": [],
        **values,
    }


def task_state(number: int, name: str, status: str, **info: Any) -> dict[str, Any]:
    """A task's state as the server tells it."""
    ran = status not in {"PENDING", "SUBMITTED", "NOT_STARTED", "SKIPPED"}
    return {
        "name": name,
        "taskInfo": {
            "taskId": {"id": number, "readableName": name},
            "taskStatus": status,
            "startTime": 1795404186386 if ran else -1,
            "finishedTime": 1795404189232 if ran and status != "RUNNING" else -1,
            "executionDuration": 849,
            "executionHostName": "127.0.0.1 (local-0)" if ran else None,
            "numberOfExecutionLeft": 1,
            "progress": 100 if status == "FINISHED" else 0,
            **info,
        },
    }


def listed(*states: dict[str, Any]) -> dict[str, Any]:
    return {"size": len(states), "list": list(states)}
