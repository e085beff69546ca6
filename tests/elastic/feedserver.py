"""A small HTTP server with a feed and jobs, for the watcher's tests: neither a scheduler nor the embedded engine.

Its jobs do to the store what the real workflows' jobs would have done to it, as far as a watcher looks at that.
"""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

from proactive_tasks.overlay.model import Origin, SiteState
from proactive_tasks.overlay.spec import site_spec
from proactive_tasks.store import Store
from tests.elastic.feeds import Server


@dataclass
class Job:
    """A job as a watcher sees it."""

    id: int
    name: str
    variables: dict[str, str]
    status: str = "FINISHED"
    faulty: int = 0

    def info(self) -> dict[str, Any]:
        over = self.status in {"FINISHED", "KILLED", "CANCELED"}
        return {
            "jobId": {"id": self.id, "readableName": self.name},
            "status": self.status,
            "jobOwner": "admin",
            "totalNumberOfTasks": 1,
            "numberOfFaultyTasks": self.faulty,
            "numberOfFinishedTasks": int(over),
            "submittedTime": 1,
            "startTime": -1 if self.status == "PENDING" else 2,
            "finishedTime": 3 if over else -1,
            "variables": self.variables,
        }


@dataclass
class FeedServer:
    """What the tests set, and what was asked."""

    store: Store
    overlay: str
    feed: Server = field(default_factory=Server)
    jobs: list[Job] = field(default_factory=list)
    outcome: str = "done"  # of the next jobs: done, pending, faulty
    lose: bool = False  # the answers to submissions
    down: bool = False  # every request is answered with 503
    turned_away: int = 0  # requests so far, while it was down
    refuse: str = ""  # the message with which submissions are refused
    session: str = "s1"
    answers: list[Any] = field(default_factory=list)  # in the feed's place, as long as there are some
    logins: int = 0
    looked: int = 0
    url: str = ""

    def submit(self, link: str, variables: dict[str, str]) -> Job:
        name = link.split("/")[-2] if link.endswith("/raw") else link.rsplit("/", maxsplit=1)[-1]
        job = Job(len(self.jobs) + 1, name, variables, "PENDING")
        self.jobs.append(job)
        if self.outcome != "pending":
            self.carry_out(job)
        return job

    def carry_out(self, job: Job) -> None:
        """Do what the job was to do, unless jobs are to fail."""
        job.status, job.faulty = "FINISHED", int(self.outcome == "faulty")
        if job.faulty:
            return
        if job.name == "Scale_Out_Overlay":
            values = {key.lower(): job.variables[key] for key in ("PROVIDER", "REGION")}
            wanted = site_spec(name=job.variables["SITE"], **values, options=json.loads(job.variables["OPTIONS"]))
            self.store.bring_in(self.overlay, [wanted], Origin(job.variables["ORIGIN"]), "job")
            self.store.update_site(self.overlay, wanted.name, "job", state=SiteState.CONNECTED)
        else:
            for site in json.loads(job.variables["SITES"]):
                self.store.start_release(self.overlay, site, "job")
                self.store.drop_site(self.overlay, site, "job")

    def named(self, name: str) -> list[str]:
        """The sites of the jobs of a workflow."""
        return [
            job.variables.get("SITE") or ",".join(json.loads(job.variables["SITES"]))
            for job in self.jobs
            if job.name == name
        ]

    @property
    def out(self) -> list[str]:
        return self.named("Scale_Out_Overlay")

    @property
    def gone(self) -> list[str]:
        return self.named("Scale_In_Overlay")

    def answer(self, path: str, headers: Any, body: bytes) -> tuple[int, Any]:
        """Status and content; a status of 0 loses the answer."""
        if self.down:
            self.turned_away += 1
            return refused(503, "starting")
        if path == "/rest/scheduler/login":
            self.logins += 1
            return 200, self.session
        if headers.get("sessionid") != self.session:
            return refused(401, "You are not connected to the server, you should log on first")
        if path == "/rest/rm/monitoring":
            self.looked += 1
            return 200, self.answers.pop(0) if self.answers else self.feed.monitoring(int(headers["clientCounter"]))
        if path == "/rest/scheduler/jobs/body":
            return self.submitted(headers["link"], json.loads(body))
        if path == "/rest/scheduler/jobsinfo":
            return 200, {"list": [{"jobInfo": job.info()} for job in reversed(self.jobs)], "size": len(self.jobs)}
        return self.told(path.removeprefix("/rest/scheduler/jobs/"))

    def submitted(self, link: str, variables: dict[str, str]) -> tuple[int, Any]:
        if self.refuse:
            return refused(400, self.refuse)
        job = self.submit(link, variables)
        return (0, None) if self.lose else (200, {"id": job.id, "readableName": job.name})

    def told(self, path: str) -> tuple[int, Any]:
        number, _, what = path.partition("/")
        found = [job for job in self.jobs if str(job.id) == number]
        if not found:
            return refused(404, f"Unknown job {number}")
        if what == "info":
            return 200, found[0].info()
        status = "FAULTY" if found[0].faulty else "FINISHED"
        task = {"name": "Verify_Overlay", "taskInfo": {"taskId": {"id": 1}, "taskStatus": status}}
        return 200, {"list": [task], "size": 1}


def refused(status: int, message: str) -> tuple[int, Any]:
    return status, {"httpErrorCode": status, "errorMessage": message}


@contextmanager
def serving(store: Store, overlay: str) -> Iterator[FeedServer]:
    """The server, on a port of this machine's loopback."""
    state = FeedServer(store, overlay)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: Any) -> None:
            pass

        def handle_one_request(self) -> None:
            self.close_connection = True
            super().handle_one_request()

        def _do(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length") or 0))
            status, found = state.answer(urlsplit(self.path).path, self.headers, body)
            if not status:
                self.connection.shutdown(socket.SHUT_RDWR)  # the answer is lost
                return
            text = found if isinstance(found, str) else json.dumps(found)
            self.send_response(status)
            self.send_header("content-type", "text/plain" if isinstance(found, str) else "application/json")
            self.send_header("content-length", str(len(text.encode())))
            self.send_header("connection", "close")
            self.end_headers()
            self.wfile.write(text.encode())

        do_GET = do_POST = do_PUT = do_DELETE = _do  # noqa: N815

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.handle_error = lambda *_: None  # type: ignore[method-assign]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    state.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield state
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
