"""A proxy in front of an emulated API: it counts the calls, and makes trouble where a test wants it."""

from __future__ import annotations

import http.client
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import NamedTuple
from urllib.parse import urlsplit

HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding", "content-length", "host", "te", "upgrade"}


class Request(NamedTuple):
    """A call as it came."""

    number: int  # from 0, in order of arrival
    method: str
    path: str  # with the query
    headers: dict[str, str]
    body: bytes


class Answer(NamedTuple):
    """An answer that the API did not give."""

    status: int
    headers: dict[str, str]
    body: bytes


RESET = "reset"  # the connection breaks before the API sees the call
LOST = "lost"  # the API carries it out, and the connection breaks before its answer
Verdict = Answer | str | None
Judge = Callable[[Request], Verdict]
"""None lets a call pass. A judge may also block, or end a process, before it answers."""


@dataclass
class Trouble:
    """What the proxy saw and does."""

    url: str = ""
    calls: list[Request] = field(default_factory=list)
    judge: Judge = lambda _request: None
    after: Callable[[Request], None] = lambda _request: (
        None
    )  # called when the API has answered, before the client hears


@contextmanager
def trouble(upstream: str) -> Iterator[Trouble]:
    """A proxy on a free port of the loopback interface, in front of a plain HTTP API."""
    made, lock, place = Trouble(), threading.Lock(), urlsplit(upstream)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True  # else each answer waits 40 ms between its head and its body

        def log_message(self, *_: object) -> None:
            pass

        def handle_any(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            with lock:
                request = Request(len(made.calls), self.command, self.path, dict(self.headers.items()), body)
                made.calls.append(request)
            verdict = made.judge(request)
            if verdict == RESET:
                self.close_connection = True
                self.connection.close()
                return
            answer = verdict if isinstance(verdict, Answer) else self.forwarded(request)
            if verdict == LOST:
                self.close_connection = True
                self.connection.close()
                return
            try:
                self.send_response(answer.status)
                for name, value in answer.headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(answer.body)))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(answer.body)
            except (BrokenPipeError, ConnectionResetError):
                self.close_connection = True

        def forwarded(self, request: Request) -> Answer:
            connection = http.client.HTTPConnection(place.hostname or "", place.port, timeout=60)
            try:
                headers = {name: value for name, value in request.headers.items() if name.lower() not in HOP_BY_HOP}
                headers["Host"] = self.headers.get("Host", place.netloc)
                connection.request(request.method, place.path.rstrip("/") + request.path, request.body, headers)
                response = connection.getresponse()
                body = response.read()
                kept = {name: value for name, value in response.getheaders() if name.lower() not in HOP_BY_HOP}
            finally:
                connection.close()
            made.after(request)
            return Answer(response.status, kept, body)

        do_GET = do_PUT = do_POST = do_DELETE = do_PATCH = do_HEAD = handle_any  # noqa: N815 - http.server's names

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    made.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield made
    finally:
        server.shutdown()
        server.server_close()
        thread.join(60)
