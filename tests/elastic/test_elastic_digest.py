"""What a feed means for an overlay: one scale-out for each site, and no scale-in that this server did not show."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Network
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proactive_tasks.overlay.model import Origin, Site, SiteState
from proactive_tasks.scheduler.elastic.digest import ATTEMPTS, Action, Feed, Memory, Presence, retry_s, review
from tests.elastic.feeds import Server, answer, node, source

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
GRACE = timedelta(seconds=5)
TABLE = {"aws-frankfurt": "aws-frankfurt", "campus": "campus", "a1": "a", "a2": "a"}


def site(name: str, origin: Origin = Origin.ELASTIC, state: SiteState = SiteState.CONNECTED) -> Site:
    return Site(name, "lab", "", origin, 0, 0, IPv4Network("10.250.0.0/24"), 1, state=state)


class Watch:
    """A watcher without a server: what it asks for is done at once, unless told otherwise."""

    def __init__(self, grace: timedelta = GRACE, *, confirm_all: bool = False) -> None:
        self.feed = Feed(TABLE.get)
        self.sites: dict[str, Site] = {"paris": site("paris", Origin.FILE)}
        self.memories: dict[str, Memory] = {}
        self.grace, self.confirm_all, self.now = grace, confirm_all, NOON
        self.done: list[tuple[Action, str]] = []
        self.notes: list[str] = []

    def take(self, given: Any, *, full: bool = False, seconds: float = 0) -> list[tuple[Action, str]]:
        """Digest an answer, and carry out what follows."""
        self.now += timedelta(seconds=seconds)
        found = self.feed.digest(given, full=full)
        self.notes += found.notes
        return self.decide() if full or not found.restarted else []

    def decide(self, seconds: float = 0) -> list[tuple[Action, str]]:
        self.now += timedelta(seconds=seconds)
        self.memories, decisions = review(
            self.feed, self.sites.values(), self.memories, now=self.now, grace=self.grace, confirm_all=self.confirm_all
        )
        for each in decisions:
            if each.action is Action.EXTEND:
                self.sites[each.site] = site(each.site)
            else:
                del self.sites[each.site]
        found = [(each.action, each.site) for each in decisions]
        self.done += found
        return found

    def poll(self, server: Server, seconds: float = 2) -> list[tuple[Action, str]]:
        """Ask a server as a watcher does."""
        counter = self.feed.counter
        asked = self.take(server.monitoring(counter), full=counter < 1, seconds=seconds)
        if self.feed.counter < 0:  # restarted
            asked = self.take(server.monitoring(-1), full=True)
        return asked

    def restart(self) -> None:
        """Begin anew with what was remembered, as a watcher that was killed."""
        shown = {name for name, memory in self.memories.items() if memory.shown}
        self.feed = Feed(TABLE.get, self.feed.counter, shown, dict(self.feed.landmarks))


EXTEND, SHRINK = Action.EXTEND, Action.SHRINK

LIFE: list[tuple[float, int, list[Any], list[Any]]] = [
    # seconds, latest counter, sources, nodes: two node sources, as a client that polls twice a second sees them
    (0.2, 615, [source("aws-frankfurt", "NODESOURCE_CREATED", 614)],
     [node("aws-frankfurt", "p0", "NODE_ADDED", "DEPLOYING", 615)]),
    (0.8, 616, [], [node("aws-frankfurt", "p1", "NODE_ADDED", "DEPLOYING", 616)]),
    (3.3, 622, [], [node("aws-frankfurt", "p1", "NODE_REMOVED", "DEPLOYING", 617, 616),
                    node("aws-frankfurt", "n1", "NODE_STATE_CHANGED", "FREE", 619, 618),
                    node("aws-frankfurt", "p0", "NODE_REMOVED", "DEPLOYING", 620, 615),
                    node("aws-frankfurt", "n0", "NODE_STATE_CHANGED", "FREE", 622, 621)]),
    (6.4, 625, [source("campus", "NODESOURCE_CREATED", 624)], [node("campus", "p0", "NODE_ADDED", "DEPLOYING", 625)]),
    (8.4, 626, [], [node("campus", "p0", "NODE_REMOVED", "DEPLOYING", 626, 625)]),
    (8.9, 628, [], [node("campus", "n0", "NODE_STATE_CHANGED", "FREE", 628, 627)]),
    (12.5, 629, [], [node("aws-frankfurt", "n1", "NODE_STATE_CHANGED", "FREE", 629, 618, tokens=["overlay-presto"])]),
    (14.0, 630, [], [node("aws-frankfurt", "n0", "NODE_STATE_CHANGED", "FREE", 630, 621, locked=True)]),
    (15.6, 631, [], [node("aws-frankfurt", "n0", "NODE_STATE_CHANGED", "FREE", 631, 621)]),
    (17.1, 632, [], [node("aws-frankfurt", "n1", "NODE_REMOVED", "FREE", 632, 618, tokens=["overlay-presto"])]),
    (18.7, 634, [source("campus", "NODESOURCE_SHUTDOWN", 634, "undeployed")],
     [node("campus", "n0", "NODE_REMOVED", "FREE", 633, 627)]),
    (21.8, 636, [source("campus", "NODESOURCE_CREATED", 635)],
     [node("campus", "p0", "NODE_ADDED", "DEPLOYING", 636, 625)]),
    (25.5, 639, [], [node("campus", "p0", "NODE_REMOVED", "DEPLOYING", 637, 625),
                     node("campus", "n2", "NODE_STATE_CHANGED", "FREE", 639, 638)]),
    (28.6, 640, [], [node("LocalNodes", "n3", "NODE_STATE_CHANGED", "BUSY", 640, 6)]),
    (34.2, 644, [source("aws-frankfurt", "NODESOURCE_REMOVED", 644)],
     [node("aws-frankfurt", "n0", "NODE_REMOVED", "FREE", 642, 621)]),
    (36.8, 647, [source("campus", "NODESOURCE_REMOVED", 647)],
     [node("campus", "n2", "NODE_REMOVED", "FREE", 645, 638)]),
]  # fmt: skip


def life(watch: Watch) -> Iterator[tuple[Action, str]]:
    """Two node sources over 45 s; the watcher looks twice a second, whether there is news or not."""
    local = [node("LocalNodes", f"n{n}", "NODE_STATE_CHANGED", "FREE", 602 + n, 3 * n + 6) for n in range(4)]
    yield from watch.take(answer(612, [source("LocalNodes", None, 0)], local), full=True)
    news = {round(at * 2): (latest, sources, nodes) for at, latest, sources, nodes in LIFE}
    latest = 612
    for tick in range(100):
        latest, sources, nodes = news.get(tick, (latest, [], []))
        yield from watch.take(answer(latest, sources, nodes), seconds=0.5)


def test_over_the_life_of_two_sources_it_scales_out_twice_and_in_twice() -> None:
    assert list(life(Watch(timedelta(seconds=8)))) == [
        (EXTEND, "aws-frankfurt"),
        (EXTEND, "campus"),
        (SHRINK, "aws-frankfurt"),
        (SHRINK, "campus"),
    ]


def test_a_grace_shorter_than_a_pause_takes_the_site_out_and_in_once_more() -> None:
    assert Counter(life(Watch(timedelta(seconds=2)))) == {
        (EXTEND, "aws-frankfurt"): 1,
        (SHRINK, "aws-frankfurt"): 1,
        (EXTEND, "campus"): 2,
        (SHRINK, "campus"): 2,
    }


def begun(*sources: str) -> tuple[Server, Watch]:
    """A server and a watcher that saw these sources come, with a node each."""
    server, watch = Server(), Watch()
    watch.poll(server)
    for name in sources:
        server.source(name)
        server.up(name, "n1")
    watch.poll(server)
    return server, watch


def test_an_answer_that_comes_again_changes_nothing() -> None:
    server, watch = begun("campus", "aws-frankfurt")
    server.up("campus", "n2")
    before = server.monitoring(watch.feed.counter)
    watch.take(before)
    server.down("campus", "n1", "n2")
    watch.poll(server)
    assert watch.poll(server, 100) == [(SHRINK, "campus")]
    counter = watch.feed.counter
    watch.feed.counter = before["latestCounter"]  # as if it were another's: the events themselves tell their age
    assert watch.take(before) == []
    assert "campus" not in watch.sites
    assert counter > before["latestCounter"]


def test_a_source_without_a_node_extends_already_and_so_does_a_placeholder_without_its_source() -> None:
    server, watch = begun()
    server.source("campus")
    server.event("aws-frankfurt", "p0", "NODE_ADDED", "DEPLOYING")
    assert watch.poll(server) == [(EXTEND, "aws-frankfurt"), (EXTEND, "campus")]


def test_a_source_that_is_only_defined_extends_nothing() -> None:
    server, watch = begun()
    server.source("campus", "NODESOURCE_DEFINED", "undeployed")
    assert watch.poll(server) == []


def test_a_burst_of_200_nodes_in_one_site_is_one_scale_out_and_two_sites_at_once_are_two() -> None:
    server, watch = begun()
    for name in ("a1", "a2", "campus"):
        server.source(name)
        server.up(name, *(f"n{n}" for n in range(200)))
    assert watch.poll(server) == [(EXTEND, "a"), (EXTEND, "campus")]
    assert watch.poll(server) == []


def test_a_site_of_two_sources_goes_with_the_last() -> None:
    server, watch = begun("a1", "a2", "campus")
    server.remove("a1")
    assert watch.poll(server, 100) == []
    server.remove("a2")
    assert watch.poll(server) == []
    assert watch.poll(server, 100) == [(SHRINK, "a")]


def test_flapping_nodes_cause_nothing() -> None:
    server, watch = begun("campus", "aws-frankfurt")
    for turn in range(50):
        server.down("campus", f"n{turn + 1}") if turn % 2 else server.up("campus", f"n{turn + 2}")
        assert watch.poll(server, 1) == []


def test_the_last_node_gone_from_a_living_source_shrinks_after_the_grace_and_the_next_one_extends_again() -> None:
    server, watch = begun("campus", "aws-frankfurt")
    server.down("campus", "n1")
    assert watch.poll(server) == []
    assert watch.poll(server, 4) == []
    assert watch.poll(server, 1) == [(SHRINK, "campus")]
    watch.restart()
    assert watch.poll(server) == []  # it is not taken for a new source that waits for its first node
    server.event("campus", "p5", "NODE_ADDED", "DEPLOYING")
    assert watch.poll(server) == [(EXTEND, "campus")]


def test_a_node_that_does_not_answer_keeps_its_site() -> None:
    server, watch = begun("campus", "aws-frankfurt")
    server.event("campus", "n1", "NODE_STATE_CHANGED", "DOWN")
    assert watch.poll(server, 1000) == []


def test_sites_of_the_file_and_of_a_plan_are_never_touched() -> None:
    server, watch = begun()
    watch.sites |= {"campus": site("campus", Origin.FILE, SiteState.ERROR), "a": site("a", Origin.PLAN)}
    for name in ("campus", "a1"):
        server.source(name)
        server.up(name, "n1")
    watch.poll(server)
    for name in ("campus", "a1"):
        server.remove(name)
    watch.poll(server, 1)
    watch.poll(server, 1000)
    assert watch.done == []


def test_nothing_is_scaled_in_for_a_server_that_was_restarted_until_it_showed_the_nodes() -> None:
    server, watch = begun("campus", "aws-frankfurt", "a1")
    server.restart()
    for _ in range(3):
        assert watch.poll(server, 1000) == []
    server.source("campus")
    server.up("campus", "n1")
    assert watch.poll(server) == []
    server.remove("campus")
    watch.poll(server)
    assert watch.poll(server, 1000) == [(SHRINK, "campus")]
    assert {"aws-frankfurt", "a"} <= set(watch.sites)


def test_a_restarted_server_is_known_by_its_nodes_though_its_counter_has_passed_the_old_one() -> None:
    server, watch = begun("campus", "aws-frankfurt")
    server.restart()
    for _ in range(200):
        server.up("LocalNodes", "n0")
    watch.restart()
    watch.take(server.monitoring(watch.feed.counter))
    watch.take(server.monitoring(-1), full=True, seconds=1000)
    assert watch.decide(1000) == []
    assert {"campus", "aws-frankfurt"} <= set(watch.sites)


def test_a_watcher_that_was_down_neither_misses_nor_repeats() -> None:
    server, watch = begun("campus", "aws-frankfurt")
    server.remove("campus")
    server.source("a1")
    server.up("a1", "n1")
    watch.restart()
    watch.take(server.monitoring(watch.feed.counter))
    watch.take(server.monitoring(-1), full=True)
    assert watch.done[2:] == [(EXTEND, "a")]
    assert watch.poll(server, 1000) == [(SHRINK, "campus")]
    watch.restart()
    assert watch.poll(server, 1000) == []


def test_never_all_sites_at_once_without_a_confirmation() -> None:
    server, watch = begun("campus", "aws-frankfurt")
    server.remove("campus")
    server.remove("aws-frankfurt")
    watch.poll(server)
    assert watch.poll(server, 1000) == []
    assert {name for name, memory in watch.memories.items() if memory.held} == {"campus", "aws-frankfurt"}
    watch.sites.pop("campus")  # by hand; the other one still waits
    assert watch.poll(server, 1000) == []
    watch.confirm_all = True
    assert watch.poll(server) == [(SHRINK, "aws-frankfurt")]


def test_the_only_site_goes_by_itself() -> None:
    server, watch = begun("campus")
    server.remove("campus")
    watch.poll(server)
    assert watch.poll(server, 1000) == [(SHRINK, "campus")]


def test_a_site_that_comes_back_is_no_longer_held() -> None:
    server, watch = begun("campus", "aws-frankfurt")
    for name in ("campus", "aws-frankfurt"):
        server.remove(name)
    watch.poll(server)
    watch.poll(server, 1000)
    server.source("campus")
    watch.poll(server)
    assert not watch.memories["campus"].held
    assert watch.memories["aws-frankfurt"].held


@pytest.mark.parametrize(
    "given_",
    [
        None,
        [],
        "text",
        {},
        {"latestCounter": "7", "nodeSource": [], "nodesEvents": []},
        {"latestCounter": 7, "nodeSource": None, "nodesEvents": []},
        answer(99, [None, 7, {}, source("campus", "NODESOURCE_PAINTED", 98)], [{"nodeUrl": 7}, [], "x"]),
        answer(99, [], [node("campus", "n1", "NODE_PAINTED", "FREE", 98)]),
        answer(99, [], [{**node("campus", "n1", None, "FREE", 98), "counter": None}]),
        answer(99, [], [{**node("campus", "n1", None, "FREE", 98), "eventType": ["NODE_ADDED"]}]),
    ],
)
def test_what_cannot_be_read_or_is_unknown_is_told_once_and_passed_over(given_: Any) -> None:
    _, watch = begun("aws-frankfurt")
    for _ in range(3):
        assert watch.take(given_) == []
    assert 1 <= len(watch.notes) == len(set(watch.notes)) <= 5
    assert all("\n" not in note and len(note) < 200 for note in watch.notes)
    assert set(watch.sites) == {"paris", "aws-frankfurt"}


def test_what_fails_is_tried_again_later_and_not_for_ever() -> None:
    server, watch = begun("campus", "aws-frankfurt")
    del watch.sites["campus"]
    for attempt in range(1, ATTEMPTS):
        watch.memories["campus"] = replace(watch.memories["campus"], attempts=attempt, asked_at=watch.now, stood=False)
        assert watch.poll(server, retry_s(attempt) - 1) == []
        assert watch.poll(server, 1) == [(EXTEND, "campus")]
        del watch.sites["campus"]
    watch.memories["campus"] = replace(watch.memories["campus"], attempts=ATTEMPTS, asked_at=watch.now)
    assert watch.poll(server, 1e6) == []
    server.remove("campus")
    watch.poll(server)
    server.source("campus")
    assert watch.poll(server) == [(EXTEND, "campus")]  # a new source is a new reason


def test_a_site_that_stood_is_not_brought_in_again_when_it_has_a_fault() -> None:
    server, watch = begun("campus")
    watch.memories["campus"] = replace(watch.memories["campus"], stood=True)
    watch.sites["campus"] = site("campus", state=SiteState.ERROR)
    assert watch.poll(server) == []
    watch.memories["campus"] = replace(watch.memories["campus"], stood=False)
    assert watch.poll(server) == [(EXTEND, "campus")]


SOURCES = ("aws-frankfurt", "campus", "a1", "a2", "stranger")
STEPS = st.one_of(
    st.tuples(st.just("source"), st.sampled_from(SOURCES)),
    st.tuples(st.just("remove"), st.sampled_from(SOURCES)),
    st.tuples(st.just("undeploy"), st.sampled_from(SOURCES)),
    st.tuples(st.sampled_from(["up", "down", "starting", "started", "lost"]), st.sampled_from(SOURCES)),
    st.tuples(st.sampled_from(["poll", "again", "full", "watcher restarts", "server restarts"]), st.just("")),
    st.tuples(st.sampled_from(["poll", "wait"]), st.sampled_from(["1", "100"])),
    st.tuples(st.just("remove"), st.sampled_from(["campus", "a1"])),
)


def happen(server: Server, what: str, name: str, pick: random.Random) -> None:
    number = f"n{pick.randrange(3)}"
    if what == "source":
        server.source(name)
    elif what == "remove":
        server.remove(name)
    elif what == "undeploy":
        server.source(name, "NODESOURCE_SHUTDOWN", "undeployed")
        server.down(name, *(each["nodeUrl"].rpartition("/")[2] for each in server.living(name)))
    elif what == "up":
        server.up(name, number)
    elif what == "down":
        server.down(name, number)
    elif what in {"starting", "lost"}:
        state = "DEPLOYING" if what == "starting" else "LOST"
        server.event(name, f"p{number}", "NODE_ADDED", state)
    elif what == "started":
        server.event(name, f"p{number}", "NODE_REMOVED", "DEPLOYING")


@settings(max_examples=400)
@given(st.lists(STEPS, min_size=15, max_size=40), st.integers(0, 9))
def test_whatever_happens_in_whatever_order_no_rule_is_broken(steps: list[tuple[str, str]], seed: int) -> None:
    (server, watch), pick = begun("campus", "a1"), random.Random(seed)
    shown = {"campus", "a"}  # by this server since it started
    last: tuple[int, Any] = (watch.feed.counter, server.monitoring(watch.feed.counter))
    for what, name in steps:
        standing = {each for each, held in watch.sites.items() if held.origin is Origin.ELASTIC}
        asked: list[tuple[Action, str]] = []
        if what == "poll":
            last = (watch.feed.counter, server.monitoring(watch.feed.counter))
            asked = watch.poll(server)
        elif what == "again":  # an answer that came already
            asked = watch.take(last[1], full=last[0] < 1)
        elif what == "full":
            asked = watch.take(server.monitoring(-1), full=True)
        elif what == "watcher restarts":
            watch.restart()
            if watch.feed.counter > 0:
                watch.take(server.monitoring(watch.feed.counter))
            asked = watch.take(server.monitoring(-1), full=True)
        elif what == "server restarts":
            server.restart()
            shown = set()
            asked = watch.poll(server)
        elif what == "wait":
            asked = watch.decide(float(name))
        else:
            happen(server, what, name, pick)
            if name in TABLE and what in {"up", "down", "remove", "undeploy"}:
                shown.add(TABLE[name])
        out = [each for action, each in asked if action is EXTEND]
        gone = [each for action, each in asked if action is SHRINK]
        assert len(out) == len(set(out))
        assert not {*out} & standing, "a site that stands is not brought in again"
        assert {*gone} <= standing, "only what a trigger brought goes"
        assert {*gone} <= shown, "only what this server has shown goes"
        assert len(standing) < 2 or {*gone} != standing, "never all at once"
        assert watch.sites["paris"].origin is Origin.FILE
    assert len(watch.feed.nodes) <= 5 * 6
    assert not watch.notes


@settings(max_examples=50)
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda inner: (
            st.lists(inner)
            | st.dictionaries(
                st.sampled_from(["latestCounter", "nodeSource", "nodesEvents", "nodeUrl", "counter", "sourceName"]),
                inner,
            )
        ),
    )
)
def test_no_answer_ends_it(given_: Any) -> None:
    watch = Watch()
    for full in (True, False):
        watch.take(given_, full=full)
    assert watch.done == []


def test_what_is_gone_is_forgotten() -> None:
    server, watch = Server(), Watch()
    watch.feed = Feed(lambda name: name if name.startswith("x") else None)
    for number in range(300):
        server.source(f"x{number}")
        server.up(f"x{number}", "n1")
        watch.poll(server)
        server.remove(f"x{number}")
        watch.poll(server)
        watch.poll(server, 10)
        server.sources.clear()
        server.nodes = {url: each for url, each in server.nodes.items() if "LocalNodes" in url}
    watch.poll(server)
    assert len(watch.done) == 600
    assert (watch.feed.nodes, watch.feed.sources, watch.feed.shown, watch.memories) == ({}, {}, set(), {})
    assert Presence.WANTED not in watch.feed.presences().values()
