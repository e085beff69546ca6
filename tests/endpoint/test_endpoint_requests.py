"""Who may ask, what comes in, and in which words it is refused."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.endpoints import PASSWORD, Served
from tests.engine.conftest import task, workflow

REST = "org.ow2.proactive_grid_cloud_portal.scheduler.exception."
HEAD = '<variables><variable name="N" value="5" model="PA:INTEGER[1,10]" description="How many" group="G"/></variables>'
FLOW = workflow(task("A", "result = variables.get('N')"), head=HEAD)


def error(answer: requests.Response) -> tuple[int, str]:
    body = answer.json()
    assert body["httpErrorCode"] == answer.status_code
    return answer.status_code, body["errorMessage"]


def xml(source: bytes = FLOW, kind: str = "application/xml") -> dict[str, Any]:
    return {"files": {"file": ("job.xml", source, kind)}}


# Sessions


@pytest.mark.parametrize(
    ("form", "message"),
    [
        ({"username": "admin", "password": "wrong"}, "Authentication failed"),
        ({"username": "nobody", "password": PASSWORD}, "Authentication failed"),
        ({"username": "admin"}, "Empty login/password"),
        ({}, "Empty login/password"),
    ],
)
@pytest.mark.parametrize("route", ["scheduler", "common"])
def test_who_does_not_know_the_password_is_not_let_in(
    served: Served, form: dict[str, str], message: str, route: str
) -> None:
    answer = requests.post(f"{served.url}/rest/{route}/login", data=form, timeout=30)
    assert error(answer) == (404, message)
    assert answer.json()["exceptionClass"] == "javax.security.auth.login.LoginException"


def test_a_credential_file_is_refused_clearly(served: Served) -> None:
    files = {"credential": ("admin.cred", b"RSA\n1024\nxyz", "application/octet-stream")}
    status, message = error(requests.post(f"{served.url}/rest/scheduler/login", files=files, timeout=30))
    assert (status, "no credential file" in message) == (404, True)


def test_a_session_is_kept_renewed_and_ended(served: Served) -> None:
    with requests.Session() as session:
        form = {name: (None, value) for name, value in (("username", "admin"), ("password", PASSWORD))}
        first = session.put(f"{served.url}/rest/scheduler/session", files=form, timeout=30).text
        session.headers["sessionid"] = first
        assert session.put(f"{served.url}/rest/scheduler/session", files=form, timeout=30).text == first
        assert session.get(f"{served.url}/rest/scheduler/logins/sessionid/{first}", timeout=30).text == "admin"
        assert session.get(f"{served.url}/rest/common/connected", timeout=30).json() is True
        assert session.put(f"{served.url}/rest/common/logout", timeout=30).status_code == 204
        assert session.get(f"{served.url}/rest/common/connected", timeout=30).json() is False
        status, message = error(session.get(f"{served.url}/rest/scheduler/isconnected", timeout=30))
        assert (status, message) == (401, "You are not connected to the server, you should log on first")


PATHS = ["jobs", "jobs/1", "jobs/1/result", "credentials/", "jobs/1/xml", "dataspace/user/x", "../data/user/x", "users"]


@pytest.mark.parametrize("path", PATHS)
def test_without_a_session_nothing_is_told(served: Served, path: str) -> None:
    url = f"{served.url}/rest/scheduler/{path}".replace("/scheduler/..", "")
    assert requests.get(url, timeout=30).status_code == 401


def test_the_version_is_told_to_everybody(served: Served) -> None:
    answer = requests.get(f"{served.url}/rest/scheduler/version", timeout=30)
    assert (answer.json(), answer.headers["content-type"]) == (
        {"scheduler": "13.0.3", "rest": "13.0.3"},
        "application/octet-stream",
    )


def test_an_unknown_route_is_told_from_an_unknown_job(served: Served) -> None:
    status, message = error(served.ask("GET", "/rest/scheduler/nothing/here?x=1"))
    assert (status, message) == (
        404,
        f"RESTEASY003210: Could not find resource for full path: {served.url}/rest/scheduler/nothing/here",
    )
    status, message = error(served.ask("GET", "/rest/scheduler/jobs/999999"))
    assert (status, "RESTEASY" in message) == (404, False)
    assert error(served.ask("GET", "/rest/scheduler/jobs/abc")) == (400, 'For input string: "abc"')
    assert error(served.ask("GET", "/rest/scheduler/jobs/99999999999"))[0] == 404


# Submission


def test_variables_come_in_the_path_as_a_part_and_an_unknown_one_is_added(served: Served) -> None:
    part = {"variables": (None, json.dumps({"M": "x=1;y/2 ü"}), "application/json")}
    answer = served.ask("POST", "/rest/scheduler/submit;N=7;P=a%3Bb%2Fc?GI=mine", files={**xml()["files"], **part})
    job = answer.json()["id"]
    info = served.until(job)
    assert info["variables"] == {"N": "7", "P": "a;b/c", "M": "x=1;y/2 ü"}
    assert info["genericInformation"] == {"GI": "mine"}
    detail = info["detailedVariables"]["N"]
    assert (detail["model"], detail["description"], detail["group"]) == ("PA:INTEGER[1,10]", "How many", "G")
    assert served.get(f"/jobs/{job}/tasks/A/result/value") == "7"
    assert b"jobdescriptor:dev" in served.ask("GET", f"/rest/scheduler/jobs/{job}/xml").content


def test_a_job_is_submitted_once_more_with_other_variables(served: Served) -> None:
    job = served.submit(FLOW, ";N=7")
    again = served.ask("POST", f"/rest/scheduler/jobs/{job}/resubmit/body", json={"N": 8}).json()["id"]
    assert served.until(again)["variables"] == {"N": "8"}


@pytest.mark.parametrize(
    ("words", "source", "kind", "message"),
    [
        (
            ";N=11",
            FLOW,
            "application/xml",
            "JobValidationException: At [tag:job] : Variable 'N': Model PA:INTEGER[1,10]",
        ),
        ("", FLOW.replace(b"taskFlow", b"flow"), "application/xml", 'Error: tag name "flow" is not allowed'),
        ("", b"no xml", "application/xml", "not well-formed XML"),
        ("", FLOW, "text/plain", "Unknown job descriptor type: text/plain;charset=us-ascii"),
        ("", workflow(task("A", before="<selection/>")), "text/xml", "Exception"),
        ("", workflow(task("A", "rmapi.connect()")), "text/xml", "NotSupported: rmapi in a script"),
    ],
)
def test_a_workflow_that_is_not_accepted_is_refused_with_the_reason(
    served: Served, words: str, source: bytes, kind: str, message: str
) -> None:
    answer = served.ask("POST", f"/rest/scheduler/submit{words}", **xml(source, kind))
    assert error(answer)[0] == 400
    assert message in error(answer)[1]
    assert answer.json()["exceptionClass"] == f"{REST}JobCreationRestException"


def test_a_credential_that_a_variable_names_must_be_there(served: Served) -> None:
    head = '<variables><variable name="K" value="PASS_KEY" model="PA:CREDENTIAL"/></variables>'
    source = workflow(task("A", "result = credentials.get(variables.get('K'))"), head=head)
    answer = served.ask("POST", "/rest/scheduler/submit", **xml(source))
    assert "Could not find the key named [PASS_KEY] in the third-party credentials" in error(answer)[1]
    put = served.ask("POST", "/rest/scheduler/credentials/PASS_KEY", data={"value": "s3cret é"})
    assert (put.status_code, "PASS_KEY" in served.get("/credentials/")) == (204, True)
    job = served.submit(source)
    served.until(job)
    assert served.get(f"/jobs/{job}/tasks/A/result/value") == "s3cret é"
    assert served.ask("DELETE", "/rest/scheduler/credentials/PASS_KEY").status_code == 204
    assert "PASS_KEY" not in served.get("/credentials/")


def test_validation_tells_the_variables_also_of_what_it_refuses(served: Served) -> None:
    good = served.ask("POST", "/rest/scheduler/validate;N=7", **xml()).json()
    assert (good["valid"], good["updatedVariables"], good["updatedGroups"]) == (True, {"N": "7"}, {"N": "G"})
    bad = served.ask("POST", "/rest/scheduler/validate;N=11", **xml()).json()
    assert (bad["valid"], bad["updatedVariables"]) == (False, {"N": "11"})
    assert bad["errorMessage"].endswith("Expected value should be in range [1\N{TWO DOT LEADER}10], received 11")
    broken = served.ask("POST", "/rest/scheduler/validate", **xml(FLOW.replace(b"taskFlow", b"flow"))).json()
    assert (broken["valid"], broken["updatedVariables"]) == (False, None)


@pytest.mark.parametrize(
    "link",
    [
        "file:///etc/passwd",
        "http://169.254.169.254/catalog/buckets/a/resources/b/raw",
        "{}/rest/scheduler/version",
        "{}/catalog/buckets/a/resources/../../../raw",
        "ftp://127.0.0.1/catalog/buckets/a/resources/b/raw",
        "{}/catalog/buckets/no-such/resources/b/raw",
    ],
)
def test_a_link_leads_nowhere_but_into_this_endpoints_catalog(served: Served, link: str) -> None:
    answer = served.ask("POST", "/rest/scheduler/jobs", headers={"link": link.format(served.url)})
    assert error(answer)[0] == 404
    assert error(answer)[1].startswith("Cannot access resource ")


def test_a_workflow_of_the_catalog_is_submitted_by_link(served: Served) -> None:
    base = f"{served.url}/catalog/buckets"
    served.session.post(base, params={"name": "linked-flows"}, timeout=30).raise_for_status()
    about = {"name": "Flow", "kind": "Workflow/standard", "commitMessage": "x", "objectContentType": "application/xml"}
    served.session.post(f"{base}/linked-flows/resources", params=about, timeout=30, **xml()).raise_for_status()
    link = {"link": f"{base}/linked-flows/resources/Flow/raw"}
    answer = served.ask("POST", "/rest/scheduler/jobs/body", json={"N": "7"}, headers=link)
    assert answer.status_code == 200, answer.text
    assert served.until(answer.json()["id"])["variables"]["N"] == "7"
    refused = served.ask("POST", "/rest/scheduler/jobs/body", json={"N": "70"}, headers=link)
    assert error(refused)[0] == 400


@pytest.mark.parametrize("body", [b"[1]", b"{", b'{"N": {}}', b"[" * 100_000])
def test_variables_that_are_no_map_are_refused(served: Served, body: bytes) -> None:
    headers = {"link": f"{served.url}/catalog/buckets/a/resources/b/raw", "content-type": "application/json"}
    assert error(served.ask("POST", "/rest/scheduler/jobs/body", data=body, headers=headers))[0] == 400


# Limits and broken bodies


def test_bodies_that_are_too_large_are_not_read(served: Served) -> None:
    assert error(served.ask("POST", "/rest/scheduler/submit", **xml(b" " * 10_000_001)))[0] == 413
    pieces = (b" " * 1_000_000 for _ in range(12))
    assert error(served.ask("POST", "/rest/scheduler/submit", data=pieces))[0] == 413
    with socket.create_connection(("127.0.0.1", int(served.url.rpartition(":")[2])), timeout=30) as raw:
        session = served.session.headers["sessionid"]
        raw.sendall(
            f"PUT /rest/data/user/big HTTP/1.1\r\nHost: x\r\nsessionid: {session!s}\r\n"
            "Content-Length: 100000001\r\n\r\n".encode()
        )
        assert raw.recv(100).startswith(b"HTTP/1.1 413 ")


def test_bodies_that_are_no_forms_are_refused(served: Served) -> None:
    for headers in ({}, {"content-type": "multipart/form-data"}, {"content-type": "application/xml"}):
        answer = served.ask("POST", "/rest/scheduler/submit", data=FLOW, headers=headers)
        assert answer.status_code == 415, answer.text
    broken = {"content-type": "multipart/form-data; boundary=xx"}
    for body in (b"--xx\r\nno header", b"--xx--", b"", b"garbage"):
        assert served.ask("POST", "/rest/scheduler/submit", data=body, headers=broken).status_code == 400


# The command


def serve(*words: str, folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [str(Path(sys.executable).parent / "overlayctl"), "serve", *words]
    surroundings = {"PATH": "/usr/bin:/bin", "HOME": str(folder), "XDG_STATE_HOME": str(folder), **environment}
    return subprocess.run(command, env=surroundings, capture_output=True, text=True, timeout=60, check=False)


def test_a_port_that_is_taken_is_one_line_and_exit_code_2(served: Served, tmp_path: Path) -> None:
    port = served.url.rpartition(":")[2]
    ended = serve("--port", port, folder=tmp_path, OVERLAY_ENDPOINT_PASSWORD="x")
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr == (
        f"overlayctl: 127.0.0.1 port {port}: Address already in use; choose another with --port or --host\n"
    )


def test_a_password_file_without_a_password_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    for name, reason in (("empty", "is empty"), ("none", "No such file")):
        ended = serve("--port", "0", "--password-file", str(tmp_path / name), folder=tmp_path)
        assert (ended.returncode, reason in ended.stderr, ended.stderr.count("\n")) == (2, True, 1)
