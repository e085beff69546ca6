"""What a resource manager's feed means for the overlay: pure, without a clock, a store or a server.

The feed is a state and not a log: of each node and node source it tells the last event that is newer than a counter.
A starting node shows the removal of its placeholder, the addition of the real node is mostly never seen, and a server
that was restarted knows nothing of what it had. So `Feed` keeps the states, and `review` compares them with the sites.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from proactive_tasks.overlay.model import Origin, Site, SiteState

RUNNING = frozenset({"FREE", "BUSY", "TO_BE_REMOVED", "DOWN"})
"""States of a node that is there. One that does not answer is not gone: the network that it needs must not go, too."""

STARTING = frozenset({"DEPLOYING", "CONFIGURING"})
"""States of a node that comes: its source wants the site already."""

PLACEHOLDERS = STARTING | {"LOST"}
"""States in which the end of a node is no node gone."""

NODE_EVENTS = frozenset({None, "NODE_ADDED", "NODE_STATE_CHANGED", "NODE_REMOVED"})
SOURCE_EVENTS = frozenset(
    {
        None,  # of a source that was there when the server started
        "NODESOURCE_DEFINED",
        "NODESOURCE_CREATED",
        "NODESOURCE_UPDATED",
        "NODESOURCE_NODES_ACQUISTION",  # the server's spelling
        "NODESOURCE_SHUTDOWN",
        "NODESOURCE_REMOVED",
    }
)
SOURCE_ENDS = frozenset({"NODESOURCE_SHUTDOWN", "NODESOURCE_REMOVED"})

LANDMARKS = 64
"""So many nodes, whoever's, tell whether a server is the one that was asked before."""

MOST_NOTES, LONGEST = 100, 1000


class Presence(StrEnum):
    """What a server says of a site's node sources."""

    WANTED = "wanted"  # a source has nodes, or will have some
    GONE = "gone"  # this server has shown that there were nodes, and there are none
    UNKNOWN = "unknown"  # this server has shown nothing of them since it started


@dataclass(frozen=True, slots=True)
class Node:
    """A node as it was last told of."""

    source: str
    state: str


@dataclass(frozen=True, slots=True)
class Source:
    """A node source's last event; `used` once it had a node: then it wants its site only while it has one."""

    deployed: bool
    counter: int
    used: bool = False


@dataclass(frozen=True, slots=True)
class Digest:
    """What there is to tell of an answer, and whether its server is another than before, of which nothing is known."""

    notes: tuple[str, ...] = ()
    restarted: bool = False


class _MalformedError(Exception):
    """Something that cannot be read, and why."""


@dataclass
class Feed:
    """What one server said so far of the node sources that a table is about.

    Args:
        site_of: the name of a node source's site; None for a source that no row is about.
        counter: how far an earlier watcher of this server had come.
        shown: sites of which this server has shown nodes since it started.
        landmarks: nodes by which the server is known again: their first and last counters.
    """

    site_of: Callable[[str], str | None]
    counter: int = -1
    shown: set[str] = field(default_factory=set)
    landmarks: dict[str, tuple[int, int]] = field(default_factory=dict)
    nodes: dict[str, Node] = field(default_factory=dict)
    sources: dict[str, Source] = field(default_factory=dict)
    _begun: bool = False  # everything was asked for once
    _told: set[str] = field(default_factory=set)

    def digest(self, answer: Any, *, full: bool) -> Digest:
        """Take an answer of the feed.

        Args:
            answer: as the server sent it.
            full: everything was asked for, not only what is newer than the counter.

        Returns:
            `restarted` where the counter went backwards, or known nodes are counted anew: what was known is forgotten
            then, and unless this answer was a full one, everything is to be asked for.
        """
        notes: list[str] = []
        try:
            latest = _number(answer, "latestCounter")
            nodes, sources = _listed(answer, "nodesEvents"), _listed(answer, "nodeSource")
        except _MalformedError as error:
            return Digest(tuple(self._once(f"an answer that cannot be read is passed over: {error}")))
        marks = _landmarks(nodes)
        restarted = self._is_another(marks) if full else latest < self.counter
        if restarted:
            self._forget()
            if not full:
                return Digest(restarted=True)
        if full:
            self._whole(nodes, sources, notes)
            self._begun = True
            self.landmarks = dict(sorted(marks.items())[:LANDMARKS])
        else:
            self._read(self._source, sources, self.counter, notes)
            self._read(self._node, nodes, self.counter, notes)
            self.landmarks.update({url: mark for url, mark in marks.items() if url in self.landmarks})
        self.counter = max(self.counter, latest)
        return Digest(tuple(notes), restarted)

    def presences(self) -> dict[str, tuple[Presence, str]]:
        """Of each site that the server told of, how it stands, and one of its sources that are still there."""
        running = {node.source for node in self.nodes.values() if node.state in RUNNING}
        starting = {node.source for node in self.nodes.values() if node.state in STARTING}
        found = dict.fromkeys(self.shown, (Presence.GONE, ""))
        for name in sorted({*self.sources, *running, *starting}):
            site = self.site_of(name)
            if site is None:
                continue
            source = self.sources.get(name) or Source(deployed=True, counter=-1, used=True)
            if name in running or (source.deployed and (name in starting or not source.used)):
                found[site] = (Presence.WANTED, name)
            elif not found.setdefault(site, (Presence.UNKNOWN, name))[1]:
                found[site] = (found[site][0], name)
        return found

    def forget(self, site: str) -> None:
        """A site and all its sources are gone: nothing is left to be said of them."""
        self.shown.discard(site)

    def _forget(self) -> None:
        self.nodes, self.sources, self.shown, self.landmarks, self.counter = {}, {}, set(), {}, -1

    def _is_another(self, marks: Mapping[str, tuple[int, int]]) -> bool:
        """Whether most of the nodes known from before are gone or counted anew; of a server without nodes nobody knows.

        Nodes that were seen to go are no landmarks any more.
        """
        known = self.landmarks
        same = sum(
            url in marks and marks[url][0] == first and marks[url][1] >= last for url, (first, last) in known.items()
        )
        there = sum(url in marks for url in known)
        return bool(known) and (not same or 2 * same < there)

    def _whole(self, nodes: list[Any], sources: list[Any], notes: list[str]) -> None:
        before, self.sources, self.nodes = self.sources, {}, {}
        self._read(self._source, sources, -1, notes)
        for name, source in self.sources.items():
            last, site = before.get(name), self.site_of(name)
            used = (
                not self._begun and site in self.shown
                if last is None
                else last.used and (last.deployed or not source.deployed)
            )
            self.sources[name] = replace(source, used=used)
        self._read(self._node, nodes, -1, notes)

    def _read(self, take: Callable[[Any, int], str], events: list[Any], since: int, notes: list[str]) -> None:
        for event in events:
            try:
                unknown = take(event, since)
            except _MalformedError as error:
                notes += self._once(f"an event that cannot be read is passed over: {error}")
            else:
                notes += self._once(f"events of the unknown type {unknown} are passed over") if unknown else ()

    def _once(self, line: str) -> list[str]:
        if line in self._told or len(self._told) >= MOST_NOTES:
            return []
        self._told.add(line)
        return [line]

    def _source(self, event: Any, since: int) -> str:
        """Take an event of a node source; its type, if that is unknown."""
        name, counter = _text(event, "sourceName"), _number(event, "counter")
        if (kind := _kind(event)) not in SOURCE_EVENTS:
            return _shown(kind)
        site = self.site_of(name)
        if site is None or counter <= since:
            return ""
        if kind in SOURCE_ENDS:
            self.shown.add(site)
        if kind == "NODESOURCE_REMOVED":
            self.sources.pop(name, None)
            return ""
        deployed, last = event.get("nodeSourceStatus") == "deployed", self.sources.get(name)
        # Deployed anew, it waits for its first node again.
        self.sources[name] = Source(
            deployed, counter, last is not None and last.used and (last.deployed or not deployed)
        )
        return ""

    def _node(self, event: Any, since: int) -> str:
        """Take an event of a node; its type, if that is unknown."""
        url, name, state = _text(event, "nodeUrl"), _text(event, "nodeSource"), _text(event, "nodeState")
        counter = _number(event, "counter")
        if (kind := _kind(event)) not in NODE_EVENTS:
            return _shown(kind)
        if kind == "NODE_REMOVED" and counter > since:
            self.landmarks.pop(url, None)
        site = self.site_of(name)
        if site is None or counter <= since:
            return ""
        if state not in PLACEHOLDERS:
            self.shown.add(site)
            if (source := self.sources.get(name)) is not None and not source.used:
                self.sources[name] = replace(source, used=True)
        if kind == "NODE_REMOVED":
            self.nodes.pop(url, None)
        else:
            self.nodes[url] = Node(name, state)
        return ""


def _listed(answer: Any, key: str) -> list[Any]:
    found = answer.get(key) if isinstance(answer, dict) else None
    if not isinstance(found, list):
        raise _MalformedError(f"it has no list {key}")
    return found


def _number(values: Any, key: str) -> int:
    found = values.get(key) if isinstance(values, dict) else None
    if type(found) is not int:
        raise _MalformedError(f"its {key} is no number")
    return found


def _text(values: Any, key: str) -> str:
    found = values.get(key) if isinstance(values, dict) else None
    if not isinstance(found, str) or not found or len(found) > LONGEST:
        raise _MalformedError(f"its {key} is no text")
    return found


def _kind(event: Mapping[str, Any]) -> str | None:
    found = event.get("eventType")
    if found is not None and not isinstance(found, str):
        raise _MalformedError("its eventType is no text")
    return found


def _shown(kind: Any) -> str:
    return ascii(kind)[:60]


def _landmarks(nodes: Iterable[Any]) -> dict[str, tuple[int, int]]:
    """First and last counter of each node that is there, by its URL: a server counts anew when it starts."""
    return {
        event["nodeUrl"]: (event["firstCounter"], event["counter"])
        for event in nodes
        if isinstance(event, dict)
        and isinstance(event.get("nodeUrl"), str)
        and type(event.get("firstCounter")) is int
        and type(event.get("counter")) is int
        and event.get("nodeState") in RUNNING
        and event.get("eventType") != "NODE_REMOVED"
    }


# --- what is to be done


class Action(StrEnum):
    """What a watcher asks for."""

    EXTEND = "extend"
    SHRINK = "shrink"


@dataclass(frozen=True, slots=True)
class Memory:
    """What is remembered of a site. `request` names what was asked for last; `job` is empty while nobody knows it."""

    site: str
    source: str = ""
    shown: bool = False  # the server has shown nodes of it since it started
    absent_since: datetime | None = None
    held: bool = False  # its removal waits for a confirmation
    confirmed: bool = False
    action: Action | None = None  # what was asked for and has not ended
    request: str = ""
    job: int | None = None
    asked_at: datetime | None = None  # or when it failed
    attempts: int = 0  # that failed since the last success
    error: str = ""  # of the last one
    stood: bool = False  # it was brought in: what becomes of it since is others' to repair


@dataclass(frozen=True, slots=True)
class Decision:
    """A site, what is to become of it, and why."""

    action: Action
    site: str
    reason: str


ATTEMPTS = 5
"""So often is asked for the same thing that fails."""

FIRST_RETRY_S, LONGEST_RETRY_S = 10.0, 600.0


def retry_s(attempts: int) -> float:
    """How long after an attempt the next one is made."""
    return min(FIRST_RETRY_S * 2.0 ** max(attempts - 1, 0), LONGEST_RETRY_S)


def review(
    feed: Feed,
    sites: Iterable[Site],
    memories: Mapping[str, Memory],
    *,
    now: datetime,
    grace: timedelta,
    confirm_all: bool = False,
) -> tuple[dict[str, Memory], list[Decision]]:
    """What is to be asked for now, and what is to be remembered.

    Args:
        feed: what the server said.
        sites: those of the overlay.
        memories: what was remembered, by site.
        now: the present moment.
        grace: how long a site stays after its last node.
        confirm_all: all sites of origin `elastic` may go at once.
    """
    presences, standing = feed.presences(), {site.name: site for site in sites}
    kept: dict[str, Memory] = {}
    decisions: list[Decision] = []
    for name in sorted({*presences, *memories}):
        presence, source = presences.get(name, (Presence.UNKNOWN, ""))
        site = standing.get(name)
        memory = memories.get(name) or Memory(name)
        if site is None and memory.action is None and not source and presence is not Presence.WANTED:
            feed.forget(name)
            continue
        kept[name] = _seen(memory, presence, source, name in feed.shown, now)
        if site is not None and site.origin is not Origin.ELASTIC:
            continue
        if presence is Presence.WANTED and _may_try(kept[name], now) and (why := _lacking(site, kept[name])):
            decisions.append(Decision(Action.EXTEND, name, f"node source {source}: {why}"))
    due = [
        name
        for name, memory in kept.items()
        if memory.absent_since is not None
        and now - memory.absent_since >= grace
        and _is_elastic(standing.get(name))
        and _may_try(memory, now)
    ]
    staying = {n for n, site in standing.items() if _is_elastic(site) and site.state is not SiteState.RELEASING}
    at_once = len(staying) > 1 and staying <= {*due}
    for name in due:
        confirmed = kept[name].confirmed or confirm_all
        held = not confirmed and (at_once or kept[name].held)
        kept[name] = replace(kept[name], held=held, confirmed=confirmed)
        if not held:
            since = kept[name].absent_since
            decisions.append(Decision(Action.SHRINK, name, f"no node since {since:%H:%M:%S} UTC"))
    return kept, decisions


def _seen(memory: Memory, presence: Presence, source: str, shown: bool, now: datetime) -> Memory:
    memory = replace(memory, source=source or memory.source, shown=shown)
    gone = presence is Presence.GONE
    if gone == (memory.absent_since is not None):
        return memory
    changed = replace(memory, absent_since=now if gone else None, held=False, confirmed=False)
    return changed if memory.action is not None else replace(changed, attempts=0, error="")


def _may_try(memory: Memory, now: datetime) -> bool:
    """Whether nothing of the site is under way, and enough time has passed since it failed."""
    if memory.action is not None or memory.attempts >= ATTEMPTS:
        return False
    pause = timedelta(seconds=retry_s(memory.attempts))
    return not memory.attempts or memory.asked_at is None or now - memory.asked_at >= pause


def _lacking(site: Site | None, memory: Memory) -> str:
    """Why a site is to be brought in; empty if it stands, or stood."""
    if site is None:
        return "its site is not there"
    if site.state is SiteState.CONNECTED or (memory.stood and site.state is not SiteState.RELEASING):
        return ""
    return f"its site is no further than {site.state}"


def _is_elastic(site: Site | None) -> bool:
    return site is not None and site.origin is Origin.ELASTIC
