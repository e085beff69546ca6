"""HTTP to a server that refuses, breaks, forgets sessions, is another version or not trusted."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path

import pytest

from proactive_tasks.overlay.errors import (
    InputError,
    SchedulerError,
    SchedulerInputError,
    SchedulerUnreachableError,
    SchedulerVersionError,
)
from proactive_tasks.scheduler.client import Scheduler
from tests.scheduler.conftest import Connect
from tests.scheduler.servers import (
    LOST,
    NOT_CONNECTED,
    PASSWORD,
    Answer,
    Asked,
    FakeServer,
    certificate,
    job_info,
    listening,
    refusal,
)

INFO = "/rest/scheduler/jobs/7/info"
XML = b"<job/>"


@pytest.fixture
def job(server: FakeServer) -> FakeServer:
    server.on("GET", INFO, job_info(7, "RUNNING"))
    return server


def one_line(error: pytest.ExceptionInfo[SchedulerError], *words: str) -> None:
    text = str(error.value)
    assert "\n" not in text
    assert PASSWORD not in text
    for word in words:
        assert word in text


# Sessions


def test_it_logs_in_at_the_first_call_and_disconnects_at_the_end(job: FakeServer, connect: Connect) -> None:
    with connect(job) as scheduler:
        assert job.logins == 0
        assert scheduler.job(7).status == "RUNNING"
        assert scheduler.job(7).id == 7
        assert (job.logins, len(job.sessions)) == (1, 1)
    assert not job.sessions


def test_a_session_of_others_is_used_and_never_ended(job: FakeServer, connect: Connect) -> None:
    job.sessions.add("theirs")
    with connect(job, session="theirs") as scheduler:
        scheduler.job(7)
    assert (job.logins, job.sessions) == (0, {"theirs"})


def test_a_session_that_ended_is_renewed_and_the_request_repeated(job: FakeServer, scheduler: Scheduler) -> None:
    job.on("POST", "/rest/scheduler/submit", {"id": 8, "readableName": "x"})
    scheduler.job(7)
    job.end_sessions()
    assert scheduler.submit(XML) == 8
    assert job.logins == 2
    assert [len(each.parts) for each in job.requests("POST", "/rest/scheduler/submit")] == [2, 2]


def test_a_session_is_renewed_once_for_all_threads(job: FakeServer, scheduler: Scheduler) -> None:
    scheduler.job(7)
    job.end_sessions()
    threads = [threading.Thread(target=scheduler.job, args=(7,)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert job.logins == 2


def test_a_server_that_forgets_every_session_at_once_is_told_once(job: FakeServer, scheduler: Scheduler) -> None:
    job.on("GET", INFO, refusal(401, NOT_CONNECTED))
    with pytest.raises(SchedulerInputError) as error:
        scheduler.job(7)
    one_line(error, "log in again")
    assert len(job.requests("GET", INFO)) == 2


def test_without_a_password_an_ended_session_is_the_users_to_renew(job: FakeServer, connect: Connect) -> None:
    with pytest.raises(SchedulerInputError) as error:
        connect(job, user="", password=None, session="gone").job(7)
    one_line(error, "log in again")
    assert error.value.status == 401


def test_a_wrong_password_is_refused_in_one_line(server: FakeServer, connect: Connect) -> None:
    with pytest.raises(SchedulerInputError) as error:
        connect(server, password=lambda: "wrong").jobs()
    one_line(error, "user admin cannot log in", "Authentication failed")
    assert not isinstance(error.value, SchedulerVersionError)
    assert len(server.requests("POST", "/rest/scheduler/login")) == 1


def test_a_credentials_file_logs_in(job: FakeServer, connect: Connect, tmp_path: Path) -> None:
    file = tmp_path / "admin.cred"
    file.write_bytes(b"sealed")
    assert connect(job, user="", password=None, credentials=file).job(7).id == 7
    file.write_bytes(b"of another server")
    with pytest.raises(SchedulerInputError) as error:
        connect(job, credentials=file).job(7)
    one_line(error, str(file), "Authentication failed")
    with pytest.raises(SchedulerInputError, match="No such file"):
        connect(job, credentials=tmp_path / "none").job(7)


# A server that does not answer


def test_a_server_that_is_down_is_tried_for_a_while_and_told_once(connect: Connect) -> None:
    begun = time.monotonic()
    with pytest.raises(SchedulerUnreachableError) as error:
        connect("http://127.0.0.1:1", patience_s=0.5).jobs()
    one_line(error, "http://127.0.0.1:1 does not answer", "Connection refused", "check the URL")
    assert time.monotonic() - begun > 0.3


def test_a_host_that_is_unknown_is_told(connect: Connect) -> None:
    with pytest.raises(SchedulerUnreachableError) as error:
        connect("http://no-such-host.invalid", patience_s=0.2).jobs()
    one_line(error, "no-such-host.invalid does not answer")


@pytest.mark.parametrize("asks", ["GET", "POST"])
def test_a_server_that_comes_up_meanwhile_is_reached_by_any_request(asks: str, connect: Connect) -> None:
    """A refused connection means that nothing was sent: a submission may be tried again, too."""
    server = FakeServer()
    server.listen()
    server.on("GET", INFO, job_info(7, "RUNNING"))
    server.on("POST", "/rest/scheduler/submit", {"id": 8, "readableName": "x"})
    scheduler = connect(server, patience_s=60)
    scheduler.connect()
    port = server.port
    server.close()
    timer = threading.Timer(0.4, server.listen, (port,))
    timer.start()
    try:
        assert (scheduler.job(7).id if asks == "GET" else scheduler.submit(XML)) in {7, 8}
    finally:
        timer.join()
        server.close()


@pytest.mark.parametrize("broken", [LOST, Answer(503, "busy"), Answer(502, "<html>bad gateway</html>", "text/html")])
def test_a_question_whose_answer_is_lost_is_asked_again(
    broken: Answer, server: FakeServer, scheduler: Scheduler
) -> None:
    server.on("GET", INFO, broken, broken, job_info(7, "RUNNING"))
    assert scheduler.job(7).id == 7
    assert len(server.requests("GET", INFO)) == 3


def test_a_submission_whose_answer_is_lost_is_not_doubled(server: FakeServer, scheduler: Scheduler) -> None:
    server.on("POST", "/rest/scheduler/submit", LOST, {"id": 8, "readableName": "x"})
    scheduler.connect()
    with pytest.raises(SchedulerUnreachableError) as error:
        scheduler.submit(XML)
    one_line(error, "may have been carried out", "look before you repeat it")
    assert len(server.requests("POST", "/rest/scheduler/submit")) == 1


def test_what_may_be_done_twice_is_repeated(server: FakeServer, scheduler: Scheduler) -> None:
    server.on("PUT", "/rest/data/user/spec.yaml", LOST, Answer(201))
    server.on("POST", "/rest/scheduler/credentials/KEY", LOST, Answer(204))
    server.on("POST", "/rest/rm/node/token", LOST, Answer(204))
    scheduler.upload("user", "spec.yaml", b"version: 1\n")
    scheduler.put_credential("KEY", "value")
    scheduler.resources.add_token("pnp://node", "overlay-demo")
    assert [each.body for each in server.requests("PUT", ".*")] == [b"version: 1\n"] * 2


def test_a_server_that_is_busy_for_long_is_told(server: FakeServer, connect: Connect) -> None:
    server.on("GET", INFO, Answer(503, "busy"))
    with pytest.raises(SchedulerUnreachableError) as error:
        connect(server, patience_s=0.3).job(7)
    one_line(error, "HTTP 503")


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_server_that_hangs_is_not_waited_for_without_end(
    method: str, server: FakeServer, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    let_go = threading.Event()

    def hang(_: Asked) -> Answer:
        let_go.wait(60)
        return LOST

    server.on("GET", INFO, hang)
    server.on("POST", "/rest/scheduler/submit", hang)
    scheduler = connect(server, patience_s=0.1)
    scheduler.connect()
    monkeypatch.setattr("proactive_tasks.scheduler.client.rest.READ_S", 0.3)
    with pytest.raises(SchedulerUnreachableError) as error:
        scheduler.job(7) if method == "GET" else scheduler.submit(XML)
    let_go.set()
    one_line(error, "timed out", "does not answer" if method == "GET" else "look before you repeat it")


# What it refuses


def test_a_route_that_the_server_lacks_is_told_with_its_version(scheduler: Scheduler) -> None:
    with pytest.raises(SchedulerVersionError) as error:
        scheduler.catalog.import_archive("network-overlay", b"PK")
    one_line(error, "POST", "/catalog/buckets/network-overlay/resources/import", "13.0.3")


def test_a_verb_that_a_route_lacks_is_told_alike(server: FakeServer, scheduler: Scheduler) -> None:
    said = "RESTEASY003650: No resource method found for PUT, return 405 with Allow header"
    server.on("PUT", "/rest/scheduler/jobs/7/kill", refusal(405, said))
    with pytest.raises(SchedulerVersionError, match=r"13\.0\.3"):
        scheduler.kill(7)


def test_a_server_without_version_is_told_so(server: FakeServer, scheduler: Scheduler) -> None:
    server.on("GET", "/rest/scheduler/version", Answer(404, "<html/>", "text/html"))
    with pytest.raises(SchedulerVersionError, match="its version is not known"):
        scheduler.jobs()


def test_an_unknown_job_is_another_404(server: FakeServer, scheduler: Scheduler) -> None:
    said = "The job represented by this ID '7' is unknown !"
    named = f"org.ow2.proactive.scheduler.common.exception.UnknownJobException: {said}"
    server.on("GET", INFO, refusal(404, named, "UnknownJobRestException"))
    with pytest.raises(SchedulerInputError) as error:
        scheduler.job(7)
    assert type(error.value) is SchedulerInputError
    one_line(error, f": {said}")


@pytest.mark.parametrize(
    ("status", "said", "kind", "raised"),
    [
        (400, "a.b.CreationException: a.ValidException: At [tag:job] : no", "JobCreationRestException", InputError),
        (403, "org.x.PermissionException: admin's job", "PermissionRestException", InputError),
        (500, "task Nopenot found", "UnknownTaskRestException", InputError),
        (500, "java.lang.NullPointerException: ", "SchedulerRestException", SchedulerError),
    ],
)  # fmt: skip
def test_a_refusal_keeps_the_servers_words_without_its_classes(
    status: int, said: str, kind: str, raised: type[Exception], server: FakeServer, scheduler: Scheduler
) -> None:
    server.on("GET", INFO, refusal(status, said, kind))
    with pytest.raises(SchedulerError) as error:
        scheduler.job(7)
    assert isinstance(error.value, raised)
    assert isinstance(error.value, InputError) == (raised is InputError)
    assert (error.value.status, "Exception" in str(error.value)) == (status, False)
    one_line(error, INFO)


def test_an_answer_that_is_no_json_asks_whether_the_url_is_right(server: FakeServer, scheduler: Scheduler) -> None:
    server.on("GET", INFO, Answer(200, "<html>a portal</html>", "text/html"))
    with pytest.raises(SchedulerError) as error:
        scheduler.job(7)
    one_line(error, "text/html", "is the URL right?")


@pytest.mark.parametrize("answer", [{"status": "RUNNING"}, [], None, "text", {"jobId": 7}])
def test_an_answer_of_another_shape_is_told_with_the_version(
    answer: object, server: FakeServer, scheduler: Scheduler
) -> None:
    server.on("GET", INFO, Answer(200, json.dumps(answer), "application/json"))
    with pytest.raises(SchedulerError) as error:
        scheduler.job(7)
    one_line(error, "a shape that this client does not know", "13.0.3")


def test_a_url_where_no_scheduler_is_is_told(server: FakeServer, scheduler: Scheduler) -> None:
    server.on("POST", "/rest/scheduler/login", Answer(404, "<html>Not Found</html>", "text/html"))
    with pytest.raises(SchedulerInputError) as error:
        scheduler.jobs()
    one_line(error, "no scheduler answers there", "is the URL right?")


def test_a_redirection_is_not_followed_with_the_session(server: FakeServer, scheduler: Scheduler) -> None:
    server.on("GET", INFO, Answer(302, headers={"Location": "https://elsewhere.example/x"}))
    with pytest.raises(SchedulerInputError) as error:
        scheduler.job(7)
    one_line(error, "https://elsewhere.example/x", "--url")


@pytest.mark.parametrize("url", ["", "scheduler", "ftp://scheduler", "http://", "http://h:port", "http://h/?a=b"])
def test_what_is_no_url_is_refused(url: str, connect: Connect) -> None:
    with pytest.raises(SchedulerInputError, match="URL"):
        connect(url)


def test_a_password_in_the_url_is_refused_and_not_repeated(connect: Connect) -> None:
    with pytest.raises(SchedulerInputError) as error:
        connect(f"http://admin:{PASSWORD}@scheduler")
    one_line(error, "--user")


def test_the_url_may_end_as_in_the_servers_own_variables(job: FakeServer, connect: Connect) -> None:
    assert connect(f"{job.url}/rest/").job(7).id == 7


# Encodings


def test_answers_are_asked_for_as_they_are(job: FakeServer, scheduler: Scheduler) -> None:
    """The server compresses twice what it is asked to compress."""
    scheduler.job(7)
    assert {each.headers["accept-encoding"] for each in job.asked} == {"identity"}


@pytest.mark.parametrize(
    ("task", "escaped"), [("Provision*2", "Provision%2A2"), ("L#1*1", "L%231%2A1"), ("Prüfe x/y", "Pr%C3%BCfe%20x%2Fy")]
)
def test_names_of_tasks_are_one_segment(task: str, escaped: str, server: FakeServer, scheduler: Scheduler) -> None:
    server.on("GET", f"/rest/scheduler/jobs/7/tasks/{escaped}/result/value", Answer(200, "done", "text/plain"))
    assert scheduler.value(7, task) == "done"


def test_text_is_utf8_whatever_the_server_forgets_to_say(server: FakeServer, scheduler: Scheduler) -> None:
    server.on("GET", "/rest/scheduler/jobs/7/tasks/T/result/log/all", Answer(200, "Zürich ↔ 東京\n", "text/plain"))
    assert scheduler.log(7, "T") == "Zürich ↔ 東京\n"


def test_a_token_that_no_header_can_hold_is_refused(server: FakeServer, scheduler: Scheduler) -> None:
    with pytest.raises(SchedulerInputError, match="cannot be sent"):
        scheduler.resources.add_token("pnp://node", "two\r\nlines: x")


# TLS


@pytest.fixture
def secure(tmp_path: Path) -> object:
    context, authority = certificate(tmp_path)
    fake = FakeServer()
    fake.on("GET", INFO, job_info(7, "RUNNING"))
    with listening(fake, context):
        yield fake, str(authority)


def test_a_certificate_by_an_unknown_authority_is_refused_at_once(
    secure: tuple[FakeServer, str], connect: Connect
) -> None:
    server, _ = secure
    begun = time.monotonic()
    with pytest.raises(SchedulerInputError) as error:
        connect(server, patience_s=600).job(7)
    one_line(error, "is not trusted", "unable to get local issuer certificate", "--ca-file")
    assert time.monotonic() - begun < 60
    assert not server.asked


def test_its_authority_makes_it_trusted(secure: tuple[FakeServer, str], connect: Connect) -> None:
    server, authority = secure
    assert connect(server, verify=authority).job(7).id == 7


def test_any_certificate_is_taken_when_that_is_asked_for(secure: tuple[FakeServer, str], connect: Connect) -> None:
    server, _ = secure
    assert connect(server, verify=False).job(7).id == 7


def test_a_certificate_of_another_host_is_refused(tmp_path: Path, connect: Connect) -> None:
    context, authority = certificate(tmp_path, address="192.0.2.1")
    with listening(FakeServer(), context) as server, pytest.raises(SchedulerInputError) as error:
        connect(server, verify=str(authority)).jobs()
    one_line(error, "is not trusted", "127.0.0.1")


def test_a_file_of_authorities_that_is_none_is_refused(server: FakeServer, connect: Connect, tmp_path: Path) -> None:
    with pytest.raises(SchedulerInputError, match="is not there"):
        connect(server, verify=str(tmp_path / "none.pem"))
    (tmp_path / "empty.pem").write_text("no certificate")
    with pytest.raises(SchedulerInputError, match=r"empty\.pem"):
        connect(server.url.replace("http", "https"), verify=str(tmp_path / "empty.pem")).jobs()


def test_tls_to_a_port_without_it_is_told(server: FakeServer, connect: Connect) -> None:
    with pytest.raises(SchedulerInputError) as error:
        connect(server.url.replace("http", "https")).jobs()
    one_line(error, "no TLS with", "check the scheme")


def test_a_catalog_of_its_own_takes_the_same_session(job: FakeServer, connect: Connect) -> None:
    def buckets(asked: Asked) -> list[dict[str, object]]:
        return [{"name": "network-overlay", "owner": "GROUP:public-objects", "objectCount": 3}]

    with listening(FakeServer("14.2.0")) as catalog:
        catalog.sessions = job.sessions
        catalog.on("GET", "/cat/buckets", buckets)
        scheduler = connect(job, catalog_url=f"{catalog.url}/cat/")
        assert [each.name for each in scheduler.catalog.buckets()] == ["network-overlay"]
        job.end_sessions()
        assert scheduler.catalog.buckets()[0].objects == 3
        assert (job.logins, catalog.logins) == (2, 0)
        assert scheduler.catalog.link("b", "My flow") == f"{catalog.url}/cat/buckets/b/resources/My%20flow/raw"
