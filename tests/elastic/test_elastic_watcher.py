"""The watcher asks for each site once, whatever crashes, is lost or does not answer."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from proactive_tasks.overlay.errors import InputError, LeaseError, SchedulerInputError, SchedulerUnreachableError
from proactive_tasks.overlay.model import Origin, SiteState
from proactive_tasks.overlay.spec import load_spec
from proactive_tasks.scheduler.client import Scheduler
from proactive_tasks.scheduler.elastic import asking, watching
from proactive_tasks.scheduler.elastic.digest import ATTEMPTS
from proactive_tasks.scheduler.elastic.watching import Options, Watcher
from proactive_tasks.store import Store
from tests.elastic.feeds import answer, node, source
from tests.elastic.feedserver import FeedServer, refused, serving

TABLE = """
version: 1
overlay: presto
sites: [{name: paris, provider: lab}]
elastic:
  grace_s: 0
  sources:
    - {source: campus, provider: lab, region: attic, hosts: 1, prefixes: [172.16.0.0/24], options: {delay_ms: 3}}
    - {source: "aws-*", provider: lab}
"""


def until(ready: Callable[[], Any], seconds: float = 60) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := ready()):
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)
    return found


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Store]:
    with Store.open(f"sqlite:///{tmp_path}/store.db") as store:
        spec = load_spec(TABLE)
        store.save_spec(spec, "test")
        store.bring_in("presto", spec.sites, Origin.FILE, "test")
        store.update_site("presto", "paris", "test", state=SiteState.CONNECTED)
        yield store


@pytest.fixture
def server(opened: Store) -> Iterator[FeedServer]:
    with serving(opened, "presto") as state:
        yield state


class Trial:
    """A watcher in this process, a round at a time."""

    def __init__(self, server: FeedServer, **options: Any) -> None:
        self.lines: list[tuple[str, str]] = []
        self.scheduler = Scheduler(server.url, user="admin", password=lambda: "pw", patience_s=0.2)
        self.watcher = Watcher(
            server.store,
            "presto",
            self.scheduler,
            owner="test",
            tell=lambda kind, line, **_values: self.lines.append((kind, line)),
            options=Options(interval_s=0.02, **options),
        )
        self.watcher._begin()

    def rounds(self, number: int = 1) -> None:
        for _ in range(number):
            self.watcher.round()

    def kinds(self) -> list[str]:
        return [kind for kind, _ in self.lines]


@pytest.fixture
def trial(server: FeedServer) -> Iterator[Trial]:
    made = Trial(server)
    yield made
    made.scheduler.close()


def up(server: FeedServer, *names: str, nodes: int = 1) -> None:
    for name in names:
        server.feed.source(name)
        server.feed.up(name, *(f"n{number}" for number in range(nodes)))


def test_a_new_source_is_one_scale_out_with_the_row_s_values_and_its_end_one_scale_in(
    trial: Trial, server: FeedServer
) -> None:
    trial.rounds(2)
    assert server.jobs == []
    up(server, "campus", nodes=200)
    trial.rounds(3)
    [job] = server.jobs
    assert job.name == "Scale_Out_Overlay"
    values = dict(job.variables)
    assert values.pop("REQUEST").startswith("extend-campus-")
    assert values.pop("STORE") == server.store.url
    assert values == {
        "OVERLAY": "presto",
        "SITE": "campus",
        "PROVIDER": "lab",
        "REGION": "attic",
        "HOSTS": "1",
        "PREFIXES": '["172.16.0.0/24"]',
        "OPTIONS": '{"delay_ms": 3}',
        "ORIGIN": "elastic",
        "NODE_SOURCE": "campus",
    }
    server.feed.remove("campus")
    trial.rounds(4)
    assert (server.out, server.gone) == (["campus"], ["campus"])
    assert [site.name for site in server.store.sites("presto")] == ["paris"]
    assert trial.kinds() == ["watching", "extend", "extended", "absent", "shrink", "shrunk"]
    assert server.store.elastic_sites("presto") == {}
    events = [(event.name, event.action) for event in server.store.events("presto") if event.kind == "elastic"]
    assert events == [("campus", "extend"), ("campus", "shrink")]


def test_two_sites_at_once_are_two_jobs_and_both_at_once_away_wait_for_a_confirmation(
    trial: Trial, server: FeedServer
) -> None:
    up(server, "campus", "aws-1")
    trial.rounds(2)
    assert sorted(server.out) == ["aws-1", "campus"]
    for name in ("campus", "aws-1"):
        server.feed.remove(name)
    trial.rounds(5)
    assert server.gone == []
    assert trial.kinds().count("held") == 1
    assert server.store.confirm_elastic_sites("presto", "somebody") == ["aws-1", "campus"]
    trial.rounds(2)
    assert sorted(server.gone) == ["aws-1", "campus"]


@pytest.mark.parametrize("arrives", [True, False])
def test_a_lost_answer_neither_doubles_nor_loses_a_scale_out(
    trial: Trial, server: FeedServer, monkeypatch: pytest.MonkeyPatch, arrives: bool
) -> None:
    monkeypatch.setattr(asking, "SETTLE", timedelta(0))
    trial.rounds()
    up(server, "campus")
    server.lose = arrives
    if not arrives:
        monkeypatch.setattr(trial.scheduler, "submit_from_catalog", _lost)
    with pytest.raises(SchedulerUnreachableError):
        trial.rounds()
    monkeypatch.undo()
    monkeypatch.setattr(asking, "SETTLE", timedelta(0))
    monkeypatch.setattr("proactive_tasks.scheduler.elastic.digest.FIRST_RETRY_S", 0.0)
    server.lose = False
    trial.rounds(4)
    assert server.out == ["campus"]
    assert ("found" in trial.kinds()) == arrives


def _lost(*_arguments: Any, **_more: Any) -> int:
    raise SchedulerUnreachableError("lost")


def test_what_is_refused_is_tried_again_later_and_given_up_in_the_end(
    trial: Trial, server: FeedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    trial.rounds()
    up(server, "campus")
    server.refuse = "no such bucket"
    trial.rounds(3)
    assert trial.kinds().count("failed") == 1  # the next attempt comes later
    monkeypatch.setattr("proactive_tasks.scheduler.elastic.digest.FIRST_RETRY_S", 0.0)
    trial.rounds(2 * ATTEMPTS)
    failed = [line for kind, line in trial.lines if kind == "failed"]
    assert len(failed) == ATTEMPTS
    assert "no such bucket" in failed[0]
    assert "given up after 5" in failed[-1]
    server.refuse = ""
    trial.rounds(2)
    assert server.jobs == []
    again = Trial(server, renew=True)  # somebody started it anew
    again.rounds(2)
    assert server.out == ["campus"]


def test_a_job_that_is_over_without_its_site_counts_as_failed_and_names_its_task(
    trial: Trial, server: FeedServer
) -> None:
    trial.rounds()
    up(server, "campus")
    server.outcome = "faulty"
    trial.rounds(2)
    [line] = [line for kind, line in trial.lines if kind == "failed"]
    assert "job 1 FINISHED (Verify_Overlay FAULTY)" in line
    assert "again in 10 s" in line


def test_a_job_that_ends_while_the_watcher_looks_has_not_failed(trial: Trial, server: FeedServer) -> None:
    server.outcome = "pending"
    up(server, "campus")
    trial.rounds()
    plain = server.answer

    def ends_now(path: str, headers: Any, body: bytes) -> tuple[int, Any]:
        if path.endswith("/info"):
            server.outcome = "done"
            server.carry_out(server.jobs[0])
        return plain(path, headers, body)

    server.answer = ends_now  # type: ignore[method-assign]
    trial.rounds()
    assert trial.kinds()[-1] == "extended"
    assert "failed" not in trial.kinds()


def test_it_waits_for_no_node_and_tells_of_a_job_that_none_takes(
    trial: Trial, server: FeedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asking, "SLOW", timedelta(0))
    trial.rounds()
    server.outcome = "pending"
    up(server, "campus")
    trial.rounds(5)
    up(server, "aws-1")
    trial.rounds(5)
    assert server.out == ["campus", "aws-1"]
    assert trial.kinds().count("pending") == 2
    server.feed.remove("campus")  # while its job runs: it is awaited
    trial.rounds(3)
    assert server.gone == []
    server.outcome = "done"
    server.carry_out(server.jobs[0])
    trial.rounds(2)
    assert server.gone == ["campus"]


def test_an_outage_is_told_once_and_an_ended_session_renewed(
    server: FeedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watching, "FIRST_PAUSE_S", 0.02)
    monkeypatch.setattr(watching, "LONGEST_PAUSE_S", 0.05)
    trial, stop = Trial(server), threading.Event()
    thread = threading.Thread(target=trial.watcher.run, args=(stop,), daemon=True)
    thread.start()
    until(lambda: server.looked > 2)
    server.down = True
    until(lambda: "silent" in trial.kinds())
    server.feed.restart()
    server.session = "s2"
    up(server, "campus")
    for_long = server.turned_away + 10
    until(lambda: server.turned_away > for_long)
    assert trial.kinds().count("silent") == 1
    server.down = False
    until(lambda: server.out == ["campus"])
    until(lambda: "extended" in trial.kinds())
    stop.set()
    thread.join(60)
    assert not thread.is_alive()
    assert server.logins == 2
    assert trial.kinds().count("answers") == 1


def test_a_job_is_not_given_up_for_a_log_in_that_a_starting_server_refuses(trial: Trial, server: FeedServer) -> None:
    server.outcome = "pending"
    up(server, "campus")
    trial.rounds()
    plain = server.answer

    def refuses(path: str, headers: Any, body: bytes) -> tuple[int, Any]:
        if path == "/rest/scheduler/login":
            return refused(404, "Authentication failed")
        return refused(401, "not connected") if path.endswith("/info") else plain(path, headers, body)

    server.answer = refuses  # type: ignore[method-assign]
    with pytest.raises(SchedulerInputError, match="cannot log in"):
        trial.rounds()
    server.answer = plain  # type: ignore[method-assign]
    server.carry_out(server.jobs[0])
    trial.rounds()
    assert (server.out, trial.kinds()[-1]) == (["campus"], "extended")
    assert "failed" not in trial.kinds()


def test_a_wrong_user_ends_it_and_so_does_an_overlay_without_a_table(server: FeedServer, opened: Store) -> None:
    trial = Trial(server)
    trial.watcher.scheduler = Scheduler(server.url, session="another's")
    with pytest.raises(SchedulerInputError, match="not connected"):
        trial.watcher.run(threading.Event())
    opened.save_spec(load_spec("version: 1\noverlay: presto\nsites: [{name: paris, provider: lab}]\n"), "test")
    with pytest.raises(InputError, match="no table of node sources"):
        trial.watcher.run(threading.Event())


def test_a_second_watcher_is_kept_out(server: FeedServer, opened: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watching, "LEASE_WAIT_S", 0.3)
    with opened.lease("elastic/presto", watching.process_owner()), pytest.raises(LeaseError, match="elastic/presto"):
        Trial(server).watcher.run(threading.Event(), once=True)


def test_a_table_that_changes_is_read_anew(trial: Trial, server: FeedServer, opened: Store) -> None:
    up(server, "campus", "later")
    trial.rounds(2)
    assert server.out == ["campus"]
    opened.save_spec(load_spec(TABLE + "    - {source: later, provider: lab}\n"), "test")
    trial.rounds(2)
    assert server.out == ["campus", "later"]


def test_a_dry_run_tells_once_and_leaves_everything_as_it_was(server: FeedServer, opened: Store) -> None:
    trial = Trial(server, dry_run=True)
    up(server, "campus")
    trial.rounds(3)
    assert [line for kind, line in trial.lines if kind == "extend"] == [
        "would extend campus: node source campus: its site is not there"
    ]
    assert (server.jobs, opened.elastic_sites("presto"), opened.feed_place("presto")) == ([], {}, None)


def test_nothing_is_scaled_in_after_a_restart_of_the_server_and_of_the_watcher(
    server: FeedServer, opened: Store
) -> None:
    first = Trial(server)
    up(server, "campus", "aws-1")
    first.rounds(2)
    first.watcher._place(force=True)
    server.feed.restart()
    second = Trial(server)
    second.rounds(4)
    assert server.gone == []
    assert "unknown" in second.kinds()


# --- as a process


def started(server: FeedServer, *words: str) -> subprocess.Popen[str]:
    environment = {**os.environ, "PROACTIVE_PASSWORD": "pw", "PROACTIVE_URL": server.url}
    argv = [sys.executable, "-m", "proactive_tasks.console.watch_elastic", "--store", server.store.url]
    return subprocess.Popen(
        [*argv, "--interval", "0.1", "--output", "json", *words],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def told(process: subprocess.Popen[str]) -> list[str]:
    out, err = process.communicate(timeout=120)
    assert err == ""
    return [json.loads(line)["event"] for line in out.splitlines()]


def test_killed_between_request_and_record_it_does_not_ask_again(server: FeedServer) -> None:
    up(server, "aws-1")
    server.lose = True  # the job is there, its answer never comes
    gate = threading.Event()
    plain = server.answer

    def held(path: str, headers: Any, body: bytes) -> tuple[int, Any]:
        found = plain(path, headers, body)
        if path == "/rest/scheduler/jobs/body":
            gate.wait(120)
        return found

    server.answer = held  # type: ignore[method-assign]
    process = started(server)
    until(lambda: server.out == ["aws-1"])
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=60)
    gate.set()
    server.answer, server.lose = plain, False  # type: ignore[method-assign]
    up(server, "campus")
    process = started(server)
    until(lambda: "campus" in server.out)
    until(lambda: all(row["action"] is None for row in server.store.elastic_sites("presto").values()))
    process.send_signal(signal.SIGTERM)
    events = told(process)
    assert process.returncode == 0
    assert sorted(server.out) == ["aws-1", "campus"]
    assert "found" in events


def test_run_once_after_once_it_goes_on_where_it_ended(server: FeedServer) -> None:
    up(server, "campus", "aws-1")
    assert set(told(started(server, "--once"))) == {"watching", "extend"}
    server.feed.remove("campus")
    assert set(told(started(server, "--once"))) == {"watching", "extended", "absent", "shrink"}
    assert (sorted(server.out), server.gone) == (["aws-1", "campus"], ["campus"])


def test_a_wrong_option_is_told_in_one_line(server: FeedServer) -> None:
    process = started(server, "--overlay", "nowhere")
    _, err = process.communicate(timeout=120)
    assert (process.returncode, err.count("\n")) == (2, 1)
    assert "nowhere" in err


# --- reach


def burst(server: FeedServer, turns: int) -> None:
    """Answers of 100 events each: nodes come, and in the next answer they go."""
    counter = server.feed.counter
    for turn in range(turns):
        kind, sources = "NODE_REMOVED" if turn % 2 else "NODE_STATE_CHANGED", []
        if not turn:
            sources = [source("campus", "NODESOURCE_CREATED", counter + 1)]
        events = [
            node("campus", f"n{counter}-{turn // 2}-{number}", kind, "FREE", counter + 100 * turn + number + 1)
            for number in range(100)
        ]
        server.answers.append(answer(counter + 100 * (turn + 1), sources, events))


def test_ten_thousand_events_are_digested_in_flat_memory(trial: Trial, server: FeedServer) -> None:
    import tracemalloc

    trial.rounds()
    burst(server, 100)
    for _ in range(100):
        trial.watcher._take(trial.scheduler.resources.monitoring(1), full=False)
    assert len(trial.watcher._feed.nodes) == 0
    tracemalloc.start()
    server.feed.counter = trial.watcher._feed.counter
    burst(server, 20)
    answers, server.answers = server.answers, []
    before = tracemalloc.get_traced_memory()[0]
    for each in answers:
        trial.watcher._take(each, full=False)
    held = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    assert held < 50_000
