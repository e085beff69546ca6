"""Parts of the endpoint on a port of their own: catalog and resource manager without the scheduler."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import requests
import uvicorn
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.routing import Mount

from proactive_tasks.engine.endpoint import answers
from proactive_tasks.engine.endpoint.catalog import routes as catalog_routes
from proactive_tasks.engine.endpoint.catalog.store import Catalog
from proactive_tasks.engine.endpoint.resources import routes as resource_routes
from proactive_tasks.engine.endpoint.sessions import Sessions
from proactive_tasks.store.database import Database

PASSWORD = "only for tests"


@dataclass
class Server:
    """Parts that are served, and what stands behind them."""

    host: str
    port: int
    folder: Path
    endpoint: Any

    @property
    def url(self) -> str:
        return f"http://{self.host}:{self.port}"

    @property
    def catalog(self) -> Catalog:
        return Catalog(self.endpoint.store)

    def log_in(self, user: str, password: str) -> str:
        session = self.endpoint.sessions.log_in(user, password)
        assert session is not None
        return session.identifier


@contextlib.contextmanager
def serve_parts(folder: Path, resources: Any = None) -> Iterator[Server]:
    """Serve the parts from this process until the block ends."""
    with contextlib.ExitStack() as stack:
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        # the resource manager needs no store, and making one takes a second
        database = None if resources else stack.enter_context(Database.open(f"sqlite:///{folder}/store.db"))
        patch.setenv("XDG_STATE_HOME", str(folder / "state"))
        endpoint = SimpleNamespace(store=database, sessions=Sessions({"admin": PASSWORD}), resources=resources)
        routes = [
            Mount("/rest", routes=resource_routes.routes(endpoint)),
            Mount("/catalog", routes=catalog_routes.routes(endpoint)),
        ]
        application = Starlette(
            routes=routes,
            exception_handlers={
                answers.RefusedRequestError: answers.refused,
                HTTPException: answers.unknown_route,
            },
        )
        # the protocol is named, else asyncio leaves Nagle's algorithm on, and every answer waits for 40 ms
        listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        server = uvicorn.Server(uvicorn.Config(application, log_level="warning", lifespan="off"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            deadline = time.monotonic() + 60
            while not server.started:
                assert thread.is_alive()
                assert time.monotonic() < deadline
                time.sleep(0.01)
            yield Server("127.0.0.1", listener.getsockname()[1], folder, endpoint)
        finally:
            server.should_exit = True
            thread.join(60)
            listener.close()


WORKFLOW = """<?xml version="1.0" encoding="UTF-8"?>
<!-- kept -->
<job xmlns="urn:proactive:jobdescriptor:3.13" name="%s" %s>
  <variables>
    <variable name="N" value="5" model="PA:INTEGER[1,10]"/>
    <variable name="SPEC" value="x" model="PA:NOT_EMPTY_STRING"
              description="What is wanted" group="Overlay" advanced="true"/>
  </variables>
  <description><![CDATA[Says hello]]></description>
  %s
  <taskFlow>
    <task name="Plan"><scriptExecutable><script>
      <code language="cpython"><![CDATA[print(1 < 2)]]></code>
    </script></scriptExecutable></task>
  </taskFlow>
</job>
"""


def workflow(name: str = "In_The_File", attributes: str = "", generic: str = "") -> str:
    return WORKFLOW % (name, attributes, generic)


FLOW = {"kind": "Workflow/standard", "commitMessage": "first", "objectContentType": "application/xml"}
SCRIPT = {"kind": "Script/task", "commitMessage": "first", "objectContentType": "text/x-python"}


class Client:
    """A client of the catalog with a session."""

    def __init__(self, server: Server) -> None:
        self.url = f"{server.url}/catalog"
        self.http = requests.Session()
        self.http.headers["sessionid"] = server.log_in("admin", PASSWORD)

    def ask(self, method: str, path: str, **options: Any) -> requests.Response:
        return self.http.request(method, self.url + path, timeout=30, **options)

    def add(self, name: str, content: str | bytes, **told: Any) -> requests.Response:
        file_name = told.pop("file_name", "file.xml")
        return self.ask(
            "POST",
            told.pop("path", "/buckets/probe/resources"),
            params={"name": name, **told} if name else told,
            files={"file": (file_name, content)},
        )

    def text(self, path: str) -> str:
        return self.ask("GET", f"/buckets/probe/resources/{path}").text


def client_of(server: Server) -> Iterator[Client]:
    """A client of a catalog that has one bucket, `probe`; at the end nothing stays."""
    client = Client(server)
    assert client.ask("POST", "/buckets", params={"name": "probe"}).status_code == 201
    yield client
    for bucket in client.ask("GET", "/buckets").json():
        objects = f"/buckets/{bucket['name']}/resources"
        for item in client.ask("GET", objects).json():
            client.ask("DELETE", f"{objects}/{requests.utils.quote(item['name'], safe='')}")
        client.ask("DELETE", f"/buckets/{bucket['name']}")


def error(answer: requests.Response) -> tuple[int, str]:
    """Status and text of a refusal."""
    body = answer.json()
    assert body["httpErrorCode"] == answer.status_code
    return answer.status_code, body["errorMessage"]
