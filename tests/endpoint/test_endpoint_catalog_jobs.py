"""Jobs, catalog and nodes together: in the endpoint as it is served."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from proactive_tasks.engine.endpoint.resources.manager import INFRASTRUCTURE, POLICY
from tests.endpoints import Served

JOB = """<?xml version="1.0" encoding="UTF-8"?>
<job xmlns="urn:proactive:jobdescriptor:3.13" name="%s">
  <variables>%s</variables>
  %s
  <taskFlow><task name="T"><scriptExecutable><script>
    <code language="cpython"><![CDATA[result = str(variables.get("V"))]]></code>
  </script></scriptExecutable></task></taskFlow>
</job>"""
PLAIN = '<variable name="V" value="x"/>'


def workflow(name: str = "Job", variables: str = PLAIN, **generic: str) -> bytes:
    told = "".join(f'<info name="{key}" value="{value}"/>' for key, value in generic.items())
    return (JOB % (name, variables, told and f"<genericInformation>{told}</genericInformation>")).encode()


def told(kind: str) -> dict[str, str]:
    return {"kind": kind, "commitMessage": "m", "objectContentType": "application/xml"}


@pytest.fixture
def bucket(served: Served) -> Iterator[str]:
    path = "/catalog/buckets/with-jobs"
    assert served.ask("POST", "/catalog/buckets", params={"name": "with-jobs"}).status_code == 201
    yield f"{path}/resources"
    for item in served.ask("GET", f"{path}/resources").json():
        served.ask("DELETE", f"{path}/resources/{item['name']}")
    assert served.ask("DELETE", path).status_code == 200


def add(served: Served, bucket: str, name: str, content: bytes, kind: str = "Workflow/standard") -> None:
    files = {"file": (f"{name}.xml", content)}
    answer = served.ask("POST", bucket, params={"name": name, **told(kind)}, files=files)
    assert answer.status_code == 201, answer.text


def by_link(served: Served, bucket: str, name: str) -> Any:
    answer = served.ask("POST", "/rest/scheduler/jobs", headers={"link": f"{served.url}{bucket}/{name}/raw"})
    assert answer.status_code == 200, answer.text
    return answer.json()


def result(served: Served, job: int) -> str:
    served.until(job, "FINISHED")
    return str(served.get(f"/jobs/{job}/tasks/T/result/value"))


def test_a_job_submitted_by_link_has_its_objects_name_and_place(served: Served, bucket: str) -> None:
    add(served, bucket, "Linked", workflow())
    job = by_link(served, bucket, "Linked")
    assert job["readableName"] == "Linked"
    served.until(job["id"], "FINISHED")
    generic = served.get(f"/jobs/{job['id']}/info")["genericInformation"]
    assert generic == {"group": "public-objects", "bucketName": "with-jobs"}


def test_a_hidden_value_of_the_catalog_reaches_the_task(served: Served, bucket: str) -> None:
    add(served, bucket, "Hidden", workflow(variables='<variable name="V" value="s3cret" model="PA:HIDDEN"/>'))
    assert "s3cret" not in served.ask("GET", f"{bucket}/Hidden/raw").text
    assert result(served, by_link(served, bucket, "Hidden")["id"]) == "s3cret"


def test_a_variable_that_names_an_object_is_judged_by_the_catalog(served: Served, bucket: str) -> None:
    add(served, bucket, "Other", workflow())
    model = '<variable name="V" value="with-jobs/%s" model="PA:CATALOG_OBJECT(%s)"/>'
    job = served.submit(workflow(variables=model % ("Other", "workflow")))
    assert result(served, job) == "with-jobs/Other"
    for name, kind, fault in (
        ("None", "workflow", "Catalog object [with-jobs/None] does not exist."),
        ("Other", "script", "Catalog object [with-jobs/Other] does not match the expected kind [script]."),
    ):
        files = {"file": ("job.xml", workflow(variables=model % (name, kind)), "application/xml")}
        answer = served.ask("POST", "/rest/scheduler/submit", files=files)
        assert answer.status_code == 400
        assert answer.json()["errorMessage"].endswith(
            f"At [tag:job] : Variable 'V': Model PA:CATALOG_OBJECT({kind}): {fault}"
        )


def events(served: Served, source: str) -> list[dict[str, Any]]:
    told = served.ask("GET", "/rest/rm/monitoring/full").json()["nodesEvents"]
    return [node for node in told if node["nodeSource"] == source]


def until_free(served: Served, source: str) -> str:
    import time

    deadline = time.monotonic() + 60
    while not any(node["nodeState"] == "FREE" for node in events(served, source)):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return str(events(served, source)[0]["nodeUrl"])


def test_jobs_go_where_their_token_and_node_source_send_them(served: Served) -> None:
    form = {
        "nodeSourceName": "with-jobs",
        "infrastructureType": INFRASTRUCTURE,
        "infrastructureParameters": ["1", "30000", ""],
        "policyType": f"{POLICY}StaticPolicy",
        "policyParameters": ["ALL", "ME"],
    }
    assert served.ask("POST", "/rest/rm/nodesource/create", data=form).json()["result"] is True
    job = served.submit(workflow(NODE_SOURCE="with-jobs"))  # waits until its node is there
    served.until(job, "FINISHED")
    url = until_free(served, "with-jobs")
    head = {"nodeurl": url, "token": "overlay-demo"}
    with_token = served.submit(workflow(NODE_ACCESS_TOKEN="overlay-demo"))
    without = served.submit(workflow())
    served.until(without, "FINISHED")
    assert served.get(f"/jobs/{with_token}/info")["status"] == "PENDING"
    assert served.ask("POST", "/rest/rm/node/token", headers=head).status_code == 204
    served.until(with_token, "FINISHED")
    kept_off = served.submit(workflow(NODE_SOURCE="with-jobs"))
    served.until(served.submit(workflow()), "FINISHED")
    assert served.get(f"/jobs/{kept_off}/info")["status"] == "PENDING"
    assert served.ask("DELETE", "/rest/rm/node/token", headers=head).status_code == 204
    served.until(kept_off, "FINISHED")
    gone = served.ask("POST", "/rest/rm/nodesource/remove", data={"name": "with-jobs", "preempt": "true"})
    assert gone.json() is True
