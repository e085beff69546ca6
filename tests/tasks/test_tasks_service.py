"""An action of a service tells the service automation the new state, and nobody where it is no action."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any, cast

import pytest

from proactive_tasks.overlay.errors import SchedulerError, SchedulerUnreachableError
from proactive_tasks.scheduler.context import Context
from proactive_tasks.store import Store
from proactive_tasks.tell_service import tell_service


class Automation:
    """A service automation with one instance, as its documents are said to look."""

    def __init__(self) -> None:
        self.instance: dict[str, Any] = {"id": 7, "service_id": "Network_Overlay", "instance_status": "VOID"}
        self.asked: list[tuple[str, str, str]] = []
        self.url = ""


@pytest.fixture
def automation() -> Iterator[Automation]:
    made = Automation()

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
            pass

        def do_GET(self) -> None:
            made.asked.append((self.command, self.path, self.headers.get("sessionid", "")))
            body = self.rfile.read(int(self.headers.get("content-length") or 0))
            known = self.path == "/cloud-automation-service/serviceInstances/7"
            if known and self.command == "PUT":
                made.instance = json.loads(body)
            self.send_response(200 if known else 404)
            self.end_headers()
            self.wfile.write(json.dumps(made.instance).encode() if known else b"no such instance")

        do_PUT = do_GET  # noqa: N815

    server = HTTPServer(("127.0.0.1", 0), Handler)
    made.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    yield made
    server.shutdown()
    server.server_close()
    thread.join()


class Connected:
    def __init__(self, url: str) -> None:
        self.url = url

    def connect(self) -> str:
        return "the-session"


def context(url: str) -> Context:
    return Context(store=cast("Store", None), scheduler=lambda: cast("Any", Connected(url)))


def test_the_state_is_set_with_the_session_of_the_job(automation: Automation) -> None:
    done = tell_service(context(automation.url), service_state="RUNNING", pca_instance_id=7, overlay="demo")
    path = "/cloud-automation-service/serviceInstances/7"
    assert automation.asked == [("GET", path, "the-session"), ("PUT", path, "the-session")]
    assert automation.instance == {"id": 7, "service_id": "Network_Overlay", "instance_status": "RUNNING"}
    assert (done.changed, done.facts) == (True, {"overlay": "demo", "state": "RUNNING"})


def test_a_state_that_is_so_already_is_left_alone(automation: Automation) -> None:
    automation.instance = {"instanceStatus": "RUNNING"}  # as another version calls it
    base = f"{automation.url}/cloud-automation-service/"
    done = tell_service(
        context("http://x"), service_state="RUNNING", pca_instance_id=7, pa_cloud_automation_rest_url=base
    )
    assert [method for method, _, _ in automation.asked] == ["GET"]
    assert not done.changed


def test_a_job_that_is_no_action_tells_nobody(automation: Automation) -> None:
    done = tell_service(context(automation.url), service_state="RUNNING")
    assert automation.asked == []
    assert done.warnings == ["this job is no action of a service: nobody is told"]


def test_what_the_service_refuses_is_told(automation: Automation) -> None:
    with pytest.raises(SchedulerError, match="serviceInstances/8: 404 no such instance"):
        tell_service(context(automation.url), service_state="RUNNING", pca_instance_id=8)


def test_a_service_that_is_not_there_is_told() -> None:
    with pytest.raises(SchedulerUnreachableError, match="no answer"):
        tell_service(context("http://127.0.0.1:9"), service_state="RUNNING", pca_instance_id=7)
