"""Many processes at once: nobody gets what another one has."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from proactive_tasks.overlay.errors import LeaseError
from proactive_tasks.overlay.model import Origin, SiteState
from proactive_tasks.overlay.spec import SiteSpec, load_spec
from proactive_tasks.store import Store
from proactive_tasks.store.tables import LeaseRow

EMPTY = "version: 1\noverlay: presto\n"

FORKED = """
import os, sys
from proactive_tasks.overlay.model import Origin, SiteState
from proactive_tasks.overlay.spec import SiteSpec
from proactive_tasks.store import Store

start_read, start_write = os.pipe()
children = []
for number in range(int(sys.argv[2])):
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            os.close(start_write)
            os.read(start_read, 1)
            with Store.open(sys.argv[1]) as store:
                name = f"site{number}"
                store.bring_in("presto", [SiteSpec(name=name, provider="lab")], Origin.ELASTIC, name)
                if len(sys.argv) > 3:
                    store.update_site("presto", name, name, state=SiteState.PROVISIONED)
                    store.plan_links("presto", name)
            status = 0
        finally:
            os._exit(status)
    children.append(pid)
os.close(start_write)
sys.exit(sum(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) != 0 for pid in children))
"""

HOLDER = """
import sys, time
from proactive_tasks.store import Store
with Store.open(sys.argv[1]) as store, store.lease("gateway", sys.argv[2], ttl_s=float(sys.argv[3])) as lease:
    print(lease.fence, flush=True)
    sys.stdin.read()
"""


def run(store_url: str, *arguments: str) -> None:
    subprocess.run([sys.executable, "-c", FORKED, store_url, *arguments], check=True, timeout=120)


def test_fifty_processes_at_once_get_fifty_subnets(store: Store, store_url: str) -> None:
    store.save_spec(load_spec(EMPTY), "test")
    run(store_url, "50")
    sites = store.sites("presto")
    assert sorted(site.deployment for site in sites) == list(range(50))
    assert len({site.subnet for site in sites}) == 50


def test_a_new_store_waits_for_another_that_makes_it_at_the_same_moment(tmp_path: Path) -> None:
    """SQLite changes no file's mode while somebody writes, and does not wait for that by itself."""
    file = tmp_path / "store.db"
    with closing(sqlite3.connect(file, check_same_thread=False)) as other:
        other.execute("BEGIN IMMEDIATE")
        timer = threading.Timer(0.3, other.rollback)
        timer.start()
        try:
            with Store.open(f"sqlite:///{file}") as store:
                assert store.overlays() == []
        finally:
            timer.join()


def test_of_scale_outs_at_once_the_later_makes_the_link_between_them(store: Store, store_url: str) -> None:
    store.save_spec(load_spec(EMPTY), "test")
    run(store_url, "6", "links")
    links = store.links("presto")
    assert len(links) == 15
    assert sorted(link.index for link in links) == list(range(15))
    assert len({(link.listener, link.port) for link in links}) == 15


def test_an_empty_store_is_made_once_by_whoever_comes_first(store_url: str) -> None:
    script = "import sys; from proactive_tasks.store import Store; Store.open(sys.argv[1]).close()"
    processes = [subprocess.Popen([sys.executable, "-c", script, store_url], stderr=subprocess.PIPE) for _ in range(4)]
    for process in processes:
        _, errors = process.communicate(timeout=120)
        assert process.returncode == 0, errors.decode()


def holder(store_url: str, owner: str, ttl_s: float) -> subprocess.Popen[bytes]:
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, store_url, owner, str(ttl_s)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    assert process.stdout.readline().strip().isdigit()
    return process


def end_of_lock(store: Store) -> float:
    with store.read() as session:
        row = session.get(LeaseRow, "gateway")
        assert row is not None
        return row.expires_at


def test_a_lock_has_one_holder_whom_the_error_names(store: Store, store_url: str) -> None:
    process = holder(store_url, "job 7", 600)
    with pytest.raises(LeaseError, match="held by job 7"), store.lease("gateway", "job 8", wait_s=0.2):
        pytest.fail("two holders at once")
    process.communicate(b"", timeout=30)
    with store.lease("gateway", "job 8", wait_s=60) as lease:
        assert lease.fence == 2


def test_a_living_holder_keeps_its_lock_beyond_the_time_it_was_given_for(store: Store, store_url: str) -> None:
    process, before = holder(store_url, "job 7", 6), end_of_lock(store)
    while end_of_lock(store) == before:  # it renews it long before its time is over
        time.sleep(0.05)
    with pytest.raises(LeaseError, match="held by job 7"), store.lease("gateway", "job 8", wait_s=0):
        pytest.fail("two holders at once")
    process.communicate(b"", timeout=30)


def test_the_lock_of_a_holder_that_was_killed_is_free_when_its_time_is_over(store: Store, store_url: str) -> None:
    process = holder(store_url, "job 7", 1)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate(timeout=30)
    with store.lease("gateway", "job 8", wait_s=60) as lease:
        assert lease.fence == 2


def test_the_locks_of_a_job_known_to_be_dead_are_free_at_once(store: Store, store_url: str) -> None:
    process = holder(store_url, "job 7", 600)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate(timeout=30)
    assert store.free_leases("job 7") == 1
    with store.lease("gateway", "job 8", wait_s=0) as lease:
        assert lease.fence == 2


def test_a_holder_that_lost_its_lock_learns_it_and_does_not_take_it_back(
    store: Store, open_store: Callable[[], Store]
) -> None:
    with store.lease("gateway", "late", ttl_s=600) as late:
        store.check_lease(late)
        store.free_leases("late")
        with open_store() as other, other.lease("gateway", "next", wait_s=0) as following:
            assert following.fence > late.fence
            with pytest.raises(LeaseError, match="lost it"):
                store.check_lease(late)
    with open_store() as other, other.lease("gateway", "last", wait_s=0) as last:
        assert last.fence == 3


def test_links_keep_their_numbers_while_sites_come_and_go(store: Store) -> None:
    store.save_spec(load_spec(EMPTY), "test")

    def come(*names: str) -> None:
        store.bring_in("presto", [SiteSpec(name=name, provider="lab") for name in names], Origin.ELASTIC, "test")
        for name in names:
            store.update_site("presto", name, "test", state=SiteState.PROVISIONED)

    come("delta", "alpha", "charlie")
    first = {link.name: link for link in store.plan_links("presto", "test")}
    assert {link.listener for link in first.values()} == {"delta", "alpha"}
    store.start_release("presto", "alpha", "test")
    assert [link.name for link in store.plan_links("presto", "test")] == ["charlie--delta"]
    store.drop_site("presto", "alpha", "test")
    come("bravo")
    second = {link.name: link for link in store.plan_links("presto", "test")}
    assert second["charlie--delta"] == first["charlie--delta"]
    assert sorted(link.index for link in second.values()) == [0, 1, 2]
    assert json.dumps(sorted(second)) == '["bravo--charlie", "bravo--delta", "charlie--delta"]'


@pytest.mark.parametrize(
    ("older", "newer", "listener"),
    [(False, False, "older"), (True, False, "newer"), (True, True, "older"), (False, True, "older")],
)
def test_the_older_site_listens_unless_only_it_is_behind_nat(
    store: Store, older: bool, newer: bool, listener: str
) -> None:
    store.save_spec(load_spec(EMPTY), "test")
    for name, nat in (("older", older), ("newer", newer)):
        store.bring_in("presto", [SiteSpec(name=name, provider="lab", options={"nat": nat})], Origin.ELASTIC, "test")
        store.update_site("presto", name, "test", state=SiteState.PROVISIONED)
    [link] = store.plan_links("presto", "test")
    assert link.listener == listener


def test_a_site_without_a_gateway_has_no_link_yet_and_one_in_error_keeps_its_own(store: Store) -> None:
    store.save_spec(load_spec(EMPTY), "test")
    names = ("one", "two", "three")
    store.bring_in("presto", [SiteSpec(name=name, provider="lab") for name in names], Origin.ELASTIC, "test")
    for name in ("one", "two"):
        store.update_site("presto", name, "test", state=SiteState.PROVISIONED, request="pem")
    assert [link.name for link in store.plan_links("presto", "test")] == ["one--two"]
    store.update_site("presto", "two", "test", state=SiteState.ERROR)
    store.update_site("presto", "three", "test", state=SiteState.PROVISIONED)
    assert [link.name for link in store.plan_links("presto", "test")] == ["one--three", "one--two", "three--two"]
    store.update_site("presto", "two", "test", state=SiteState.ALLOCATED)
    assert len(store.plan_links("presto", "test")) == 3
