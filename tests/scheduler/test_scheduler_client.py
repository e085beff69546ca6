"""What the client sends for each wish, and what it makes of the answers."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import pytest
from lxml import etree

from proactive_tasks.overlay.errors import JobDeadlineError, SchedulerError, SchedulerInputError
from proactive_tasks.scheduler.client import Scheduler
from proactive_tasks.scheduler.client import scheduler as client
from proactive_tasks.scheduler.client.records import JobInfo, TaskInfo
from proactive_tasks.scheduler.client.submission import MAX_VARIABLE, MAX_WORKFLOW
from tests.scheduler.conftest import Connect
from tests.scheduler.servers import Answer, Asked, FakeServer, job_info, listed, listening, refusal, task_state

XML = b"""<?xml version="1.0" encoding="UTF-8"?>
<job xmlns="urn:proactive:jobdescriptor:3.13" name="Demo"><variables><variable name="SPEC" value="a" model="PA:X"/>
</variables><taskFlow/></job>"""
INFO, STATES = "/rest/scheduler/jobs/7/info", "/rest/scheduler/jobs/7/taskstates"

# Submission


def test_a_submission_has_the_workflow_first_and_the_variables_as_json(
    server: FakeServer, scheduler: Scheduler
) -> None:
    server.on("POST", "/rest/scheduler/submit", {"id": 7, "readableName": "Demo"})
    variables = {"SPEC": "version: 1\nsites: [Zürich; 東京]", "EMPTY": ""}
    assert scheduler.submit(XML, variables, {"NODE_SOURCE": "a b&c"}) == 7
    (asked,) = server.requests("POST", "/rest/scheduler/submit")
    file, given = asked.parts
    assert file == ("file", "application/xml", "workflow.xml", XML)
    assert given[:2] == ("variables", "application/json")
    assert json.loads(given[3]) == variables
    assert asked.query == {"NODE_SOURCE": "a b&c"}


def test_a_workflow_of_the_catalog_is_named_by_its_link(server: FakeServer, scheduler: Scheduler) -> None:
    server.on("POST", "/rest/scheduler/jobs/body", {"id": 8, "readableName": "Demo"})
    assert scheduler.submit_from_catalog("network-overlay", "My flow #1", {"N": "7"}, {"OWNER": "me"}) == 8
    (asked,) = server.requests("POST", "/rest/scheduler/jobs/body")
    link = f"{server.url}/catalog/buckets/network-overlay/resources/My%20flow%20%231/raw"
    assert (asked.headers["link"], asked.json, asked.query) == (link, {"N": "7"}, {"OWNER": "me"})


def test_without_variables_a_workflow_of_the_catalog_has_a_body_all_the_same(
    server: FakeServer, scheduler: Scheduler
) -> None:
    """The server takes an empty one for an error."""
    server.on("POST", "/rest/scheduler/jobs/body", {"id": 8, "readableName": "Demo"})
    scheduler.submit_from_catalog("network-overlay", "Demo")
    assert server.requests("POST", "/rest/scheduler/jobs/body")[0].json == {}


def test_a_refused_workflow_is_bad_input_in_the_servers_words(server: FakeServer, scheduler: Scheduler) -> None:
    said = "Variable 'N': Model PA:INTEGER[1,10]: Expected value should be in range [1‥10], received 11"
    named = f"org.ow2.proactive.scheduler.common.exception.JobValidationException: At [tag:job] : {said}"
    server.on("POST", "/rest/scheduler/submit", refusal(400, named, "JobCreationRestException"))
    with pytest.raises(SchedulerInputError, match="received 11") as error:
        scheduler.submit(XML, {"N": "11"})
    assert "JobValidationException" not in str(error.value)


@pytest.mark.parametrize("size", [MAX_VARIABLE + 1, 50 * MAX_VARIABLE])
def test_a_value_too_large_for_a_variable_is_refused_before_anything_is_sent(
    size: int, server: FakeServer, scheduler: Scheduler
) -> None:
    for submit in (scheduler.submit, scheduler.validate):
        with pytest.raises(
            SchedulerInputError, match=r"variable SPEC has \d+ bytes.*data space.*SPEC=user:overlay.yaml"
        ):
            submit(XML, {"SPEC": "x" * size})
    with pytest.raises(SchedulerInputError, match="data space"):
        scheduler.submit_from_catalog("network-overlay", "Demo", {"SPEC": "ü" * (size // 2 + 1)})
    assert not server.asked


def test_a_value_of_the_largest_size_is_sent(server: FakeServer, scheduler: Scheduler) -> None:
    server.on("POST", "/rest/scheduler/submit", {"id": 7, "readableName": "Demo"})
    assert scheduler.submit(XML, {"SPEC": "x" * MAX_VARIABLE}) == 7


@pytest.mark.parametrize(
    ("source", "said"), [(b"", "is empty"), (b" \n", "is empty"), (b"x" * (MAX_WORKFLOW + 1), "more than")]
)
def test_what_is_no_workflow_is_not_sent(source: bytes, said: str, server: FakeServer, scheduler: Scheduler) -> None:
    with pytest.raises(SchedulerInputError, match=said):
        scheduler.submit(source)
    assert not server.asked


def test_plain_values_are_validated_in_the_path(server: FakeServer, scheduler: Scheduler) -> None:
    server.on(
        "POST",
        "/rest/scheduler/validate;SPEC=a%20b;N=7",
        {
            "valid": False, "taskName": "T", "errorMessage": "At [tag:job] :\n no",
            "updatedVariables": {"N": "7", "NONE": None}, "updatedModels": {"N": "PA:INTEGER"},
        },
    )  # fmt: skip
    found = scheduler.validate(XML, {"SPEC": "a b", "N": "7"})
    assert (found.valid, found.message, found.task) == (False, "At [tag:job] : no", "T")
    assert (found.variables, found.models) == ({"N": "7", "NONE": ""}, {"N": "PA:INTEGER"})
    assert server.asked[-1].parts == [("file", "application/xml", "workflow.xml", XML)]


@pytest.mark.parametrize("value", ["a/b;c=d", "two\nlines", "日本", "x" * 3000])
def test_other_values_are_validated_within_the_document(value: str, server: FakeServer, scheduler: Scheduler) -> None:
    server.on("POST", "/rest/scheduler/validate", {"valid": True, "errorMessage": None})
    assert scheduler.validate(XML, {"SPEC": value}).valid
    document = etree.fromstring(server.asked[-1].parts[0][3])
    variable = document.find("{*}variables/{*}variable")
    assert variable is not None
    assert dict(variable.attrib) == {"name": "SPEC", "value": value, "model": "PA:X"}


def test_a_document_that_cannot_be_read_is_the_servers_to_judge(server: FakeServer, scheduler: Scheduler) -> None:
    server.on("POST", "/rest/scheduler/validate", {"valid": False, "errorMessage": "Unexpected EOF in prolog"})
    assert scheduler.validate(b"no xml", {"SPEC": "a/b"}).message == "Unexpected EOF in prolog"


# Jobs


def test_finished_is_not_success() -> None:
    assert JobInfo.of(job_info(7, "FINISHED", numberOfFinishedTasks=2)).succeeded
    for number in ("Faulty", "Failed", "InError"):
        assert not JobInfo.of(job_info(7, "FINISHED", **{f"numberOf{number}Tasks": 1})).succeeded
    for status in ("CANCELED", "KILLED", "FAILED", "RUNNING"):
        assert not JobInfo.of(job_info(7, status)).succeeded


def test_a_job_is_stuck_when_only_a_person_brings_it_to_its_end() -> None:
    assert JobInfo.of(job_info(7, "IN_ERROR")).stuck
    assert JobInfo.of(job_info(7, "PAUSED")).stuck
    assert not JobInfo.of(job_info(7, "STALLED")).stuck


def test_a_killed_task_has_no_negative_duration_and_no_time_it_never_had() -> None:
    killed = TaskInfo.of(task_state(0, "T", "ABORTED", executionDuration=-1795404198794))
    assert killed.duration_s == 0
    never = TaskInfo.of(task_state(0, "T", "NOT_STARTED"))
    assert (never.started, never.finished, never.host) == (None, None, "")


def test_tasks_of_all_pages_are_told_in_their_order(server: FakeServer, scheduler: Scheduler) -> None:
    states = [task_state(n, f"Configure_Tunnel*{n}", "FINISHED") for n in range(190)]
    shuffled = [*states[:100][::-1], *states[100:]]

    def page(asked: Asked) -> dict[str, object]:
        start = int(asked.query["offset"])
        return {"size": 190, "list": shuffled[start : start + int(asked.query["limit"])]}

    server.on("GET", STATES, {"size": 190, "list": shuffled[:50]})
    server.on("GET", f"{STATES}/paginated", page)
    assert [task.id for task in scheduler.tasks(7)] == list(range(190))


def test_the_last_jobs_are_as_many_as_asked_for(server: FakeServer, scheduler: Scheduler) -> None:
    infos = [{"jobid": str(n), "jobOwner": "admin", "jobInfo": job_info(n, "FINISHED")} for n in (9, 8, 7)]
    server.on("GET", "/rest/scheduler/jobsinfo", {"size": 411, "list": infos})
    assert [job.id for job in scheduler.jobs(2)] == [9, 8]
    assert server.asked[-1].query == {"index": "0", "limit": "2"}


@pytest.mark.parametrize(
    ("call", "path"),
    [
        ("kill", "kill"), ("pause", "pause"), ("resume", "resume"), ("restart_in_error", "restartAllInErrorTasks"),
    ],
)  # fmt: skip
def test_control_says_whether_it_changed_anything(
    call: str, path: str, server: FakeServer, scheduler: Scheduler
) -> None:
    server.on("PUT", f"/rest/scheduler/jobs/7/{path}", True, False)
    assert [getattr(scheduler, call)(7) for _ in range(2)] == [True, False]


def test_one_task_in_error_is_restarted_and_a_job_removed(server: FakeServer, scheduler: Scheduler) -> None:
    server.on("PUT", "/rest/scheduler/jobs/7/tasks/R%2A1/restartInErrorTask", True)
    server.on("DELETE", "/rest/scheduler/jobs/7", True)
    assert scheduler.restart_in_error(7, "R*1")
    assert scheduler.remove(7)


def test_a_signal_goes_with_or_without_variables(server: FakeServer, scheduler: Scheduler) -> None:
    server.on("POST", "/rest/scheduler/job/7/signals", ["go"])
    assert scheduler.signal(7, "go") == ["go"]
    assert scheduler.signal(7, "go", {"sv": "12"}) == ["go"]
    bare, full = server.requests("POST", ".*/signals")
    assert (bare.query, bare.body, bare.headers["content-type"]) == ({"signal": "go"}, b"", "application/octet-stream")
    assert full.json == {"sv": "12"}


@pytest.mark.parametrize("kind", ["SignalApiException", "SignalApiRestException"])
def test_a_signal_that_nobody_waits_for_is_bad_input(kind: str, server: FakeServer, scheduler: Scheduler) -> None:
    said = "org.ow2.SignalApiException: Job 7 is not ready to receive the signalName go"
    server.on("POST", "/rest/scheduler/job/7/signals", refusal(500, said, kind))
    with pytest.raises(SchedulerInputError, match="not ready to receive"):
        scheduler.signal(7, "go")


# Waiting


def test_a_wait_tells_every_change_and_ends_with_the_job(server: FakeServer, scheduler: Scheduler) -> None:
    server.on(
        "GET", INFO, job_info(7, "PENDING"), job_info(7, "RUNNING", numberOfRunningTasks=1), job_info(7, "FINISHED")
    )
    server.on("GET", STATES, listed(task_state(0, "T", "PENDING")), listed(task_state(0, "T", "RUNNING")),
              listed(task_state(0, "T", "FINISHED")))  # fmt: skip
    seen = []
    info = scheduler.wait(7, deadline_s=60, on_change=lambda job, tasks: seen.append((job.status, tasks[0].status)))
    assert info.status == "FINISHED"
    assert seen == [("PENDING", "PENDING"), ("RUNNING", "RUNNING"), ("FINISHED", "FINISHED")]


def test_a_wait_ends_at_its_deadline_and_leaves_the_job(server: FakeServer, scheduler: Scheduler) -> None:
    server.on("GET", INFO, job_info(7, "RUNNING", numberOfRunningTasks=1))
    with pytest.raises(JobDeadlineError, match=r"job 7: not over after 0\.5 s; it goes on"):
        scheduler.wait(7, deadline_s=0.5)
    assert not server.requests("PUT", ".*kill")


@pytest.mark.parametrize("waiting", ["SUBMITTED", "PAUSED"])
def test_a_wait_ends_with_a_job_that_waits_for_a_person(waiting: str, server: FakeServer, scheduler: Scheduler) -> None:
    """The server counts a task in error among those that run, and its children among the pending ones."""
    numbers = {"numberOfInErrorTasks": 1, "numberOfRunningTasks": 1, "numberOfPendingTasks": 1}
    server.on("GET", INFO, job_info(7, "PAUSED" if waiting == "PAUSED" else "IN_ERROR", **numbers))
    server.on("GET", STATES, listed(task_state(0, "T", "IN_ERROR"), task_state(1, "Child", waiting)))
    assert scheduler.wait(7, deadline_s=60).stuck


def test_a_wait_lets_the_other_tasks_of_a_job_in_error_go_on(server: FakeServer, scheduler: Scheduler) -> None:
    failed = task_state(0, "T", "IN_ERROR")
    server.on("GET", INFO, job_info(7, "IN_ERROR", numberOfInErrorTasks=1))
    states = ["PENDING", "RUNNING", "WAITING_ON_ERROR", "WAITING_ON_FAILURE", "FAULTY"]
    server.on("GET", STATES, *(listed(failed, task_state(1, "U", state)) for state in states))
    seen: list[str] = []
    assert scheduler.wait(7, deadline_s=60, on_change=lambda _, tasks: seen.append(tasks[1].status)).stuck
    assert seen == states


def test_a_wait_does_not_last_for_a_task_that_no_node_takes(
    server: FakeServer, scheduler: Scheduler, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "STILL_S", 0.5)
    server.on("GET", INFO, job_info(7, "IN_ERROR", numberOfInErrorTasks=1))
    server.on("GET", STATES, listed(task_state(0, "T", "IN_ERROR"), task_state(1, "U", "PENDING")))
    assert scheduler.wait(7, deadline_s=60).stuck


def test_a_wait_outlives_a_restart_of_the_server(connect: Connect) -> None:
    server = FakeServer()
    server.on("GET", INFO, job_info(7, "RUNNING", numberOfRunningTasks=1))
    with listening(server):
        scheduler, port = connect(server, patience_s=0.2), server.port
        scheduler.job(7)
        seen = threading.Event()
        found: list[JobInfo] = []
        waiting = threading.Thread(
            target=lambda: found.append(scheduler.wait(7, deadline_s=600, on_change=lambda *_: seen.set()))
        )
        server.on("GET", STATES, listed(task_state(0, "T", "RUNNING")))
        waiting.start()
        assert seen.wait(60)
        server.close()
        server.end_sessions()
        waiting.join(0.8)  # longer than the client's patience with one question
        assert waiting.is_alive()
        server.on("GET", INFO, job_info(7, "FINISHED"))
        server.listen(port)
        waiting.join(60)
    assert [info.status for info in found] == ["FINISHED"]


def test_a_wait_outlives_an_error_of_the_server_but_not_a_job_that_is_removed(
    server: FakeServer, scheduler: Scheduler
) -> None:
    failed = refusal(500, "org.hibernate.exception.LockAcquisitionException: could not execute", "RestException")
    server.on("GET", INFO, job_info(7, "RUNNING"), failed, failed, job_info(7, "FINISHED"))
    assert scheduler.wait(7, deadline_s=60).succeeded
    server.on("GET", INFO, job_info(7, "RUNNING"), refusal(404, "The job is unknown !", "UnknownJobRestException"))
    with pytest.raises(SchedulerInputError, match="unknown"):
        scheduler.wait(7, deadline_s=60)


def test_a_wait_outlives_a_server_that_takes_no_log_ins_yet(server: FakeServer, scheduler: Scheduler) -> None:
    server.on("GET", INFO, job_info(7, "RUNNING"), refusal(401, "not connected"), job_info(7, "FINISHED"))
    server.on("POST", "/rest/scheduler/login", server.log_in, refusal(500, "no active object"), server.log_in)
    assert scheduler.wait(7, deadline_s=60).succeeded


def test_a_wait_ends_with_a_server_that_errs_for_ever(
    server: FakeServer, scheduler: Scheduler, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "ERRING_S", 0.5)
    server.on("GET", INFO, job_info(7, "RUNNING"), refusal(500, "no database", "RestException"))
    for _ in range(2):  # the second time it errs from the beginning
        with pytest.raises(SchedulerError, match="HTTP 500: no database"):
            scheduler.wait(7, deadline_s=60)


# Results


def test_a_result_of_none_is_none_and_a_failed_ones_text_is_javas(server: FakeServer, scheduler: Scheduler) -> None:
    value = "/rest/scheduler/jobs/7/tasks/T/result/value"
    server.on("GET", value, Answer(204), Answer(200, "Failed to execute task: x\n at org...", "text/plain"))
    assert scheduler.value(7, "T") is None
    assert str(scheduler.value(7, "T")).startswith("Failed to execute task")


def test_a_download_is_the_bytes_as_they_are(server: FakeServer, scheduler: Scheduler) -> None:
    """Content-Encoding is not the document's business: what comes compressed by itself stays so."""
    base = "/rest/scheduler/jobs/7/tasks/Page/result"
    content = b"\x1f\x8b\x08 not to be decoded \xff"
    server.on("GET", f"{base}/download", Answer(200, content, "image/png"))
    server.on("GET", f"{base}/metadata", {"file.name": "plot.png", "content.type": "image/png"})
    found = scheduler.download(7, "Page")
    assert (found.content, found.content_type, found.file_name) == (content, "image/png", "plot.png")


def test_maps_of_results_are_text(server: FakeServer, scheduler: Scheduler) -> None:
    server.on("GET", "/rest/scheduler/jobs/7/resultmap", {"links": "2", "none": None})
    server.on("GET", "/rest/scheduler/jobs/7/result/value", {"Plan": "{links=[1, 2]}", "T": None})
    server.on("GET", "/rest/scheduler/jobs/7/tasks/results/precious/metadata", ["Page"])
    server.on("GET", "/rest/scheduler/jobs/7/livelog", Answer(200, "now\n", "text/plain"))
    assert scheduler.result_map(7) == {"links": "2"}
    assert scheduler.values(7) == {"Plan": "{links=[1, 2]}"}
    assert scheduler.precious(7) == ["Page"]
    assert scheduler.live_log(7) == "now\n"


# Third-party credentials


def test_credentials_of_13_0_go_by_path(server: FakeServer, scheduler: Scheduler) -> None:
    server.on("POST", "/rest/scheduler/credentials/A%2FKEY", Answer(204))
    server.on("DELETE", "/rest/scheduler/credentials/A%2FKEY", Answer(204))
    server.on("GET", "/rest/scheduler/credentials/", ["Z", "A/KEY"])
    scheduler.put_credential("A/KEY", "größe & co=1\n")
    assert server.asked[-1].form == [("value", "größe & co=1\n")]
    assert scheduler.credentials() == ["A/KEY", "Z"]
    scheduler.remove_credential("A/KEY")


@pytest.mark.parametrize("version", ["14.2.0", "13.0.9-of-another-form"])
def test_credentials_of_newer_servers_go_by_form_whatever_they_call_themselves(version: str, connect: Connect) -> None:
    with listening(FakeServer(version)) as server:
        server.on("POST", "/rest/scheduler/credentials/", Answer(204))
        server.on("DELETE", "/rest/scheduler/credentials/", Answer(204))
        scheduler = connect(server)
        scheduler.put_credential("KEY", "v")
        assert server.asked[-1].form == [("key", "KEY"), ("value", "v")]
        scheduler.remove_credential("KEY")
        assert server.asked[-1].query == {"key": "KEY"}


@pytest.mark.parametrize("key", ["", " ", "a\nb"])
def test_what_is_no_key_is_refused(key: str, scheduler: Scheduler) -> None:
    with pytest.raises(SchedulerInputError, match="credential key"):
        scheduler.put_credential(key, "v")


# Data spaces


def test_files_go_into_a_space_and_come_back(server: FakeServer, scheduler: Scheduler) -> None:
    path = "/rest/data/user/overlay%20x/sp%C3%A9c.yaml"
    server.on("PUT", path, Answer(201))
    server.on("GET", path, Answer(200, b"\0\xff", "application/octet-stream"))
    server.on("DELETE", path, Answer(204))
    scheduler.upload("user", "overlay x/spéc.yaml", b"\0\xff")
    assert (server.asked[-1].body, server.asked[-1].headers["content-type"]) == (b"\0\xff", "application/octet-stream")
    assert scheduler.download_file("user", "/overlay x/spéc.yaml") == b"\0\xff"
    scheduler.remove_file("user", "overlay x/spéc.yaml")


def test_a_folder_of_a_space_is_listed(server: FakeServer, scheduler: Scheduler) -> None:
    answer = {"directoryListing": ["d"], "fileListing": ["b", "a"], "fullListing": ["b", "d", "a"]}
    server.on("GET", "/rest/data/global/(network-overlay)?", answer)
    assert scheduler.list_files("global", "network-overlay") == ["a", "b", "d"]
    assert scheduler.list_files("global") == ["a", "b", "d"]
    assert server.asked[-1].query == {"comp": "list"}


def test_a_file_that_is_not_there_is_told(server: FakeServer, scheduler: Scheduler) -> None:
    server.on("GET", "/rest/data/user/none", Answer(404))
    with pytest.raises(SchedulerInputError, match="user space: none is not there"):
        scheduler.download_file("user", "none")


@pytest.mark.parametrize(
    ("space", "path"),
    [("scratch", "a"), ("user", "../admin/a"), ("user", "a/../../b"), ("global", "a//b"), ("user", ".")],
)
def test_no_path_leaves_its_space(space: str, path: str, server: FakeServer, scheduler: Scheduler) -> None:
    with pytest.raises(SchedulerInputError, match="data space"):
        scheduler.upload(space, path, b"")
    assert not server.asked


# The catalog


OBJECT = {
    "name": "My flow", "extension": "xml", "commit_time_raw": "1795404200501", "kind": "Workflow/standard",
    "bucket_name": "network-overlay", "project_name": "Network Overlay", "content_type": "application/xml",
    "commit_message": "0.1.0 abc", "username": "admin", "object_key_values": [],
}  # fmt: skip
OBJECTS = "/catalog/buckets/network-overlay/resources"


def test_objects_are_added_revised_read_and_removed(server: FakeServer, scheduler: Scheduler) -> None:
    server.on("POST", OBJECTS, Answer(201, {"object": [OBJECT]}))
    server.on("POST", f"{OBJECTS}/My%20flow/revisions", Answer(201, OBJECT))
    server.on("GET", f"{OBJECTS}/My%20flow", OBJECT)
    server.on("GET", f"{OBJECTS}/My%20flow/revisions", [OBJECT, OBJECT])
    server.on("GET", f"{OBJECTS}/My%20flow/(revisions/12/)?raw", Answer(200, b"<job/>", "application/xml"))
    server.on("GET", OBJECTS, [OBJECT])
    server.on("DELETE", f"{OBJECTS}/My%20flow", OBJECT)
    catalog = scheduler.catalog
    made = catalog.add(
        "network-overlay",
        "My flow",
        "Workflow/standard",
        b"<job/>",
        "application/xml",
        "first & last",
        "Network Overlay",
    )
    assert (made.name, made.revision, made.message, made.project) == (
        "My flow", 1795404200501, "0.1.0 abc", "Network Overlay",
    )  # fmt: skip
    assert server.asked[-1].query == {
        "name": "My flow", "kind": "Workflow/standard", "commitMessage": "first & last",
        "objectContentType": "application/xml", "projectName": "Network Overlay",
    }  # fmt: skip
    assert server.asked[-1].parts == [("file", "application/xml", "My flow.xml", b"<job/>")]
    catalog.revise("network-overlay", "My flow", b"<job/>", "application/xml", "second", tags="a,b")
    assert server.asked[-1].query == {"commitMessage": "second", "tags": "a,b"}
    assert catalog.object("network-overlay", "My flow").kind == "Workflow/standard"
    assert len(catalog.revisions("network-overlay", "My flow")) == 2
    assert catalog.raw("network-overlay", "My flow") == catalog.raw("network-overlay", "My flow", 12) == b"<job/>"
    assert [each.name for each in catalog.objects("network-overlay", "workflow")] == ["My flow"]
    assert server.asked[-1].query == {"kind": "workflow"}
    catalog.remove("network-overlay", "My flow")


def test_buckets_are_made_and_listed(server: FakeServer, scheduler: Scheduler) -> None:
    bucket = {"owner": "GROUP:public-objects", "name": "network-overlay", "objectCount": 0, "rights": None}
    server.on("POST", "/catalog/buckets", Answer(201, bucket), refusal(409, "The bucket ... already exists"))
    server.on("GET", "/catalog/buckets", [bucket])
    server.on("DELETE", "/catalog/buckets/network-overlay", bucket)
    assert scheduler.catalog.create_bucket("network-overlay").objects == 0
    assert server.asked[-1].query == {"name": "network-overlay"}
    with pytest.raises(SchedulerInputError) as error:
        scheduler.catalog.create_bucket("network-overlay", "GROUP:admins")
    assert error.value.status == 409
    assert scheduler.catalog.buckets()[0].owner == "GROUP:public-objects"
    scheduler.catalog.remove_bucket("network-overlay")


def test_an_archive_goes_in_and_out(server: FakeServer, scheduler: Scheduler) -> None:
    server.on("POST", f"{OBJECTS}/import", Answer(201, {"object": [OBJECT, OBJECT]}))
    server.on("POST", f"{OBJECTS}/export", Answer(200, b"PK", "application/zip"))
    assert len(scheduler.catalog.import_archive("network-overlay", b"PK")) == 2
    assert server.asked[-1].parts[0][0] == "file"
    assert scheduler.catalog.export("network-overlay", ["My flow"]) == b"PK"
    assert server.asked[-1].json == ["My flow"]


def test_an_archive_that_the_catalog_does_not_like_says_what_that_may_mean(
    server: FakeServer, scheduler: Scheduler
) -> None:
    server.on("POST", f"{OBJECTS}/import", refusal(500, "Internal Server Error"))
    with pytest.raises(SchedulerError, match="add the objects one by one"):
        scheduler.catalog.import_archive("network-overlay", b"PK")


@pytest.mark.parametrize("name", ["", ".", ".."])
def test_a_name_that_no_url_can_hold_is_refused(name: str, scheduler: Scheduler) -> None:
    with pytest.raises(SchedulerInputError, match="no URL can hold it"):
        scheduler.catalog.object("network-overlay", name)


# The resource manager


def test_the_feed_is_handed_on_as_it_is(server: FakeServer, scheduler: Scheduler) -> None:
    feed = {"latestCounter": 763, "nodeSource": [], "nodesEvents": [{"nodeUrl": "pnp://x", "nodeState": "FREE"}]}
    server.on("GET", "/rest/rm/monitoring", feed)
    server.on("GET", "/rest/rm/monitoring/full", {"nodeSource": [], "nodesEvents": []})
    assert scheduler.resources.monitoring(12) == feed
    assert server.asked[-1].headers["clientCounter"] == "12"
    assert scheduler.resources.monitoring_full()["nodesEvents"] == []


def test_node_sources_are_made_and_removed(server: FakeServer, scheduler: Scheduler) -> None:
    server.on("POST", "/rest/rm/nodesource/create", {"result": True}, {"result": False, "errorMessage": "exists"})
    server.on("POST", "/rest/rm/nodesource/remove", {"result": True})
    server.on("GET", "/rest/rm/nodesource", [{"sourceName": "campus"}])
    resources = scheduler.resources
    kinds = ("a.LocalInfrastructure", "a.StaticPolicy")
    resources.create_node_source("campus", *kinds, infrastructure_parameters=["2", "30000", ""],
                                 infrastructure_files=["cred"], policy_parameters=["ALL", "ME"])  # fmt: skip
    assert server.asked[-1].form == [
        ("nodeSourceName", "campus"), ("infrastructureType", "a.LocalInfrastructure"),
        ("infrastructureParameters", "2"), ("infrastructureParameters", "30000"), ("infrastructureParameters", ""),
        ("infrastructureFileParameters", "cred"), ("policyType", "a.StaticPolicy"),
        ("policyParameters", "ALL"), ("policyParameters", "ME"),
    ]  # fmt: skip
    with pytest.raises(SchedulerError, match="campus: not created: exists"):
        resources.create_node_source("campus", *kinds)
    assert resources.node_sources() == [{"sourceName": "campus"}]
    assert resources.remove_node_source("campus", preempt=True)
    assert server.asked[-1].form == [("name", "campus"), ("preempt", "true")]


def test_nodes_get_tokens_and_lose_them(server: FakeServer, scheduler: Scheduler) -> None:
    server.on("POST", "/rest/rm/node/token", Answer(204))
    server.on("DELETE", "/rest/rm/node/token", Answer(204))
    server.on("GET", "/rest/rm/model/tokens", *(Answer(200, text, "text/plain") for text in (
        "PA:LIST(,overlay-demo,b)", "PA:REGEXP(^$)")))  # fmt: skip
    scheduler.resources.add_token("pnp://h:1/n", "overlay-demo")
    asked = server.asked[-1]
    assert (asked.headers["nodeurl"], asked.headers["token"]) == ("pnp://h:1/n", "overlay-demo")
    scheduler.resources.remove_token("pnp://h:1/n", "overlay-demo")
    assert [scheduler.resources.tokens() for _ in range(2)] == [["overlay-demo", "b"], []]


def test_nodes_are_asked_for(server: FakeServer, scheduler: Scheduler) -> None:
    server.on("POST", "/rest/rm/nodesource/Site-a/nodes", [])
    server.on("GET", "/rest/rm/topology", {"distances": {}, "hosts": {}})
    server.on("POST", "/rest/rm/node/remove", True)
    assert scheduler.resources.acquire("Site-a", 2, 30) == []
    asked = server.asked[-1]
    assert (asked.query, asked.json) == ({"numbernodes": "2", "sync": "false", "timeout": "30"}, {})
    assert scheduler.resources.topology() == {"distances": {}, "hosts": {}}
    assert scheduler.resources.remove_node("pnp://h:1/n")


def test_the_version_is_known_without_a_session(server: FakeServer, connect: Connect, tmp_path: Path) -> None:
    assert connect(server, user="", password=None).version() == {"scheduler": "13.0.3", "rest": "13.0.3"}
    assert not server.logins
