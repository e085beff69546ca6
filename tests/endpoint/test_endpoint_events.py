"""Clients on the WebSocket hear of their jobs and tasks."""

from __future__ import annotations

import json
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from tests.endpoints import Served
from tests.engine.conftest import task, workflow


def listen(served: Served, session: str | None = None) -> ClientConnection:
    url = served.url.replace("http://", "ws://") + "/rest/scheduler/events"
    return connect(url, additional_headers={"sessionid": session or str(served.session.headers["sessionid"])})


def subscribed(served: Served, socket: ClientConnection, *kinds: str) -> None:
    """Subscribe to these kinds of events, or to all, and wait until that has been heard: a job's events come."""
    socket.send(json.dumps({"myEventsOnly": True, "events": kinds}))
    while True:
        served.until(served.submit(workflow(task("A"))))
        try:
            socket.recv(timeout=0.5)
        except TimeoutError:
            continue
        return


def test_a_client_hears_of_a_job_from_its_submission_to_its_end(served: Served) -> None:
    with listen(served) as socket:
        subscribed(served, socket)
        job = served.submit(workflow(task("A", "progress.set(50)"), task("B", "1/0", after="A")))
        served.until(job)
        events = heard_of(socket, job)
    kinds = [event["schedulerEvent"] for event in events if event["schedulerEvent"] != "TASK_PROGRESS"]
    assert kinds == [
        "JOB_SUBMITTED",
        "JOB_PENDING_TO_RUNNING",
        *["TASK_PENDING_TO_RUNNING", "TASK_RUNNING_TO_FINISHED"] * 2,
        "JOB_RUNNING_TO_FINISHED",
    ]
    assert events[0]["action"] == "JOB_SUBMITTED"
    assert events[0]["data"]["jobInfo"]["jobId"]["id"] == job
    last = events[-1]
    assert (last["action"], last["data"]["status"], last["data"]["numberOfFaultyTasks"]) == (
        "JOB_STATE_UPDATED", "FINISHED", 1)  # fmt: skip
    ended = [event for event in events if event["schedulerEvent"] == "TASK_RUNNING_TO_FINISHED"]
    assert [event["action"] for event in ended] == ["TASK_STATE_UPDATED"] * 2
    assert [event["data"]["taskStatus"] for event in ended] == ["FINISHED", "FAULTY"]


def heard_of(socket: ClientConnection, job: int) -> list[dict[str, Any]]:
    """The events of one job, to its end."""
    found: list[dict[str, Any]] = []
    while not found or found[-1]["schedulerEvent"] != "JOB_RUNNING_TO_FINISHED":
        event = json.loads(socket.recv(timeout=30))
        data = event["data"]
        number = (data.get("jobId") or data.get("jobInfo", {}).get("jobId") or {}).get("id")
        if number == job:
            found.append(event)
    return found


def test_only_the_kinds_that_were_asked_for_come(served: Served) -> None:
    with listen(served) as socket:
        subscribed(served, socket, "JOB_SUBMITTED")
        job = served.submit(workflow(task("A")))
        served.until(job)
        last = served.submit(workflow(task("A")))
        numbers = []
        while last not in numbers:
            event = json.loads(socket.recv(timeout=30))
            assert event["schedulerEvent"] == "JOB_SUBMITTED"
            numbers.append(event["data"]["id"])
        assert job in numbers


def test_without_a_session_nobody_listens(served: Served) -> None:
    with pytest.raises((InvalidStatus, ConnectionClosed)), listen(served, "nobody") as socket:
        socket.recv(timeout=30)


@pytest.mark.parametrize("text", ["no json", "[1]", '{"events": 5}'])
def test_a_subscription_that_is_none_ends_the_connection(served: Served, text: str) -> None:
    with listen(served) as socket:
        socket.send(text)
        with pytest.raises(ConnectionClosed):
            socket.recv(timeout=30)
