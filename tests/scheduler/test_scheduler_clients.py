"""The scheduler's own clients against the embedded engine's endpoint: its Java client and ProActiveGateway, 13.0.3."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.endpoints import Served, serving
from tests.engine.conftest import task, variables, workflow
from tests.javaside import Java
from tests.overlays import until

ROOT = Path(__file__).parents[2]
DEADLINE_S = 180.0
WAIT_MS = 150_000
VALUES = {
    "Text": ("result = 'text ' + variables.get('V')", ["String", "text 2"]),
    "Number": ("result = 7", ["Integer", 7]),
    "Large": ("result = 2**40", ["Long", 2**40]),
    "Fraction": ("result = 0.25", ["Double", 0.25]),
    "Truth": ("result = True", ["Boolean", True]),
    "Map": ("result = {'a': [1, None, True]}", ["HashMap", ["m", ["a", ["l", 1, None, True]]]]),
    "List": ("result = [1, 'x', {}]", ["ArrayList", ["l", 1, "x", ["m"]]]),
    "Bytes": ("result = b'\\x00bytes'", ["byte[]", ["b", "AGJ5dGVz"]]),
    "Nothing": ("result = None", ["null", None]),
    "Unset": ("print('no result')", ["Boolean", True]),
}
"""A task's script, and its result as the Java client has it."""


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(tmp_path_factory.mktemp("served")) as found:
        yield found


@pytest.fixture(scope="module")
def stored(served: Served) -> str:
    """The name of a workflow in the bucket `clients` of the endpoint's catalog."""
    bucket = {"name": "clients", "owner": "GROUP:public-objects"}
    assert served.ask("POST", "/catalog/buckets", params=bucket).status_code == 201
    source = workflow(task("A", "result = 'from the catalog ' + variables.get('V')"), head=variables(V="1"))
    fields = {
        "name": "Stored",
        "projectName": "tests",
        "kind": "Workflow/standard",
        "commitMessage": "first",
        "objectContentType": "application/xml",
    }
    part = {"file": ("job.xml", source, "application/xml")}
    answer = served.ask("POST", "/catalog/buckets/clients/resources", params=fields, files=part)
    assert answer.status_code == 201, answer.text
    return "Stored"


class Client:
    """The scheduler's Java client: what it answers, or which exception it throws."""

    def __init__(self, java: Java) -> None:
        self._java = java

    def __call__(self, verb: str, **values: Any) -> Any:
        answer = self._java.ask(verb, DEADLINE_S, **values)
        assert "error" not in answer, f"{verb}: {answer}\n{self._java.log()}"
        return answer["answer"]

    def refused(self, verb: str, **values: Any) -> str:
        answer = self._java.ask(verb, DEADLINE_S, **values)
        assert "error" in answer, answer
        return f"{answer['error']}: {answer['message']}"


@pytest.fixture(scope="module")
def client(served: Served, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    with Java("Client", tmp_path_factory.mktemp("client")) as java:
        found = Client(java)
        assert "404" in found.refused("init", url=served.url, user=served.user, password="wrong")
        assert found("init", url=served.url, user=served.user, password=served.password) is True
        yield found
        assert found("disconnect") is False
        assert "not initialized" in found.refused("credentials")


def submitted(client: Client, folder: Path, *tasks: str, **values: str) -> str:
    path = folder / "job.xml"
    path.write_bytes(workflow(*tasks, head=variables(V="1")))
    return str(client("submit", file=str(path), variables=values))


def test_the_java_client_gets_every_kind_of_result(client: Client, tmp_path: Path) -> None:
    tasks = [task(name, script) for name, (script, _) in VALUES.items()]
    job = submitted(client, tmp_path, *tasks, task("Fails", "raise ValueError('no')"), V="2")
    found = client("wait", job=job, ms=WAIT_MS)
    assert found["failed"] == ["Fails"]
    assert {name: found["values"][name] for name in VALUES} == {name: value for name, (_, value) in VALUES.items()}
    for name, (_, value) in VALUES.items():
        assert client("task", job=job, task=name) == value
    assert "exit code 1" in client("task", job=job, task="Fails")[1]
    assert client("info", job=job) == {"status": "FINISHED", "total": 11, "finished": 11, "faulty": 1}
    assert client("finished", job=job) is True
    state = client("state", job=job)
    assert (state["name"], state["owner"], state["status"]) == ("Test_Job", "admin", "FINISHED")
    assert state["tasks"] == {**dict.fromkeys(VALUES, "FINISHED"), "Fails": "FAULTY"}
    assert client("result", job=job)["values"]["Map"] == VALUES["Map"][1]
    assert "<variable" in client("content", job=job)


def test_the_java_client_reads_what_a_job_put_into_its_result_map(client: Client, tmp_path: Path) -> None:
    job = submitted(client, tmp_path, task("A", "resultMap.put('k', 'v'); resultMap.put('n', 3)"))
    found = client("wait", job=job, ms=WAIT_MS)["map"]
    assert found[0] == "m"
    assert sorted(key for key, _ in found[1:]) == ["k", "n"]


def test_the_java_client_submits_from_the_catalog(client: Client, served: Served, stored: str) -> None:
    given = {"url": served.url, "bucket": "clients", "variables": {"V": "9"}}
    job = client("submit_from_catalog", name=stored, **given)
    assert client("wait", job=job, ms=WAIT_MS)["values"]["A"] == ["String", "from the catalog 9"]
    assert "404" in client.refused("submit_from_catalog", name="Missing", **given)


def test_the_java_client_kills_and_removes_a_job(client: Client, tmp_path: Path) -> None:
    job = submitted(client, tmp_path, task("A", "import time; time.sleep(600)"))
    until(lambda: client("state", job=job)["tasks"] == {"A": "RUNNING"}, DEADLINE_S, "the task runs")
    assert "Timeout" in client.refused("wait_task", job=job, task="A", ms=300)
    assert client("finished", job=job) is False
    assert client("kill", job=job) is True
    until(lambda: client("state", job=job)["status"] == "KILLED", DEADLINE_S, "the job is killed")
    assert client("kill", job=job) is False
    assert client("remove", job=job) is True
    assert "404" in client.refused("state", job=job)


def test_the_java_client_is_refused_what_a_scheduler_refuses(client: Client, tmp_path: Path) -> None:
    path = tmp_path / "job.xml"
    path.write_bytes(workflow(task("A", after="A")))
    assert "400" in client.refused("submit", file=str(path), variables={})
    path.write_bytes(
        workflow(task("A"), head='<variables><variable name="N" value="1" model="PA:INTEGER"/></variables>')
    )
    assert "400" in client.refused("submit", file=str(path), variables={"N": "x"})
    assert "404" in client.refused("state", job="999999")
    assert "404" in client.refused("result", job="999999")


def test_the_java_client_keeps_third_party_credentials(client: Client, tmp_path: Path) -> None:
    assert client("put_credential", key="TOKEN", value="geheim") is True
    assert client("credentials") == ["TOKEN"]
    job = submitted(client, tmp_path, task("A", "result = credentials.get('TOKEN')[::-1]"))
    assert client("wait", job=job, ms=WAIT_MS)["values"]["A"] == ["String", "mieheg"]
    assert client("remove_credential", key="TOKEN") is True
    assert client("credentials") == []
    assert client("user") == "admin"


def test_the_java_client_brings_files_into_the_user_s_space(client: Client, tmp_path: Path) -> None:
    (tmp_path / "sent").write_text("a file")
    assert client("push", file=str(tmp_path / "sent")) is True
    assert client("pull", file=str(tmp_path / "received")) is True
    assert (tmp_path / "received").read_text() == "a file"
    assert client("delete_file") is True
    assert client.refused("pull", file=str(tmp_path / "again"))


def test_the_python_gateway_submits_follows_and_reads_a_job(served: Served, stored: str, tmp_path: Path) -> None:
    path = tmp_path / "job.xml"
    path.write_bytes(
        workflow(
            task("A", "print('hello', variables.get('V')); result = 'text ' + variables.get('V')"),
            task("B", "result = 7", after="A"),
            task("C", "raise ValueError('no')", after="B"),
            head=variables(V="1"),
        )
    )
    job = {"text": 2}
    answers = through_the_gateway(
        served,
        ["connect", served.user, served.password],
        ["isConnected"],
        ["submitWorkflowFromFile", str(path), {"V": "2"}],
        ["getJobResult", job],
        ["isJobFinished", job],
        ["getJobState", job],
        ["getJobInfo", job],
        ["getTaskResult", job, "A"],
        ["getTaskResult", job, "C"],
        ["printJobOutput", job],
        ["printTaskOutput", job, "A"],
        ["submitWorkflowFromCatalog", "clients", stored, {"V": "3"}],
        ["getJobResult", {"text": 11}],
        ["submitWorkflowFromFile", str(tmp_path / "none.xml")],
        ["disconnect"],
        ["isConnected"],
        ["reconnect"],
        ["isConnected"],
        ["disconnect"],
        ["terminate"],
    )
    assert [answers[n]["answer"] for n in (1, 4, 5)] == [True, True, "Test_Job"]
    assert answers[3]["answer"].splitlines() == ["text 2", "7", "None"]
    assert "JobInfoImpl" in answers[6]["answer"]
    assert answers[7]["answer"] == "text 2"
    assert "exit code 1" in answers[8]["answer"]
    assert "hello 2" in answers[9]["answer"]
    assert answers[10]["answer"].strip() == "hello 2"
    assert answers[12]["answer"] == "from the catalog 3"
    assert "No such file" in answers[13]["message"]
    assert [answers[n]["answer"] for n in (15, 17)] == [False, True]
    assert "error" not in answers[19]


def test_the_python_gateway_is_refused_with_a_wrong_password(served: Served) -> None:
    [answer] = through_the_gateway(served, ["connect", served.user, "wrong"])
    assert answer["error"] == "Py4JJavaError"
    assert "404" in answer["message"]


def through_the_gateway(served: Served, *calls: list[Any]) -> list[dict[str, Any]]:
    """What the gateway's calls answered or raised, one after the other, in a process of its own."""
    program = [sys.executable, str(ROOT / "tests" / "scheduler" / "gateway_client.py")]
    order = json.dumps({"url": served.url, "calls": calls})
    done = subprocess.run(program, input=order, capture_output=True, text=True, timeout=3 * DEADLINE_S)
    assert done.returncode == 0, done.stderr[-4000:]
    found: list[dict[str, Any]] = json.loads(done.stdout.splitlines()[-1])
    return found
