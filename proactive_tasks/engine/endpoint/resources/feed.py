"""What the resource manager tells of nodes and node sources: of each the last that happened, with a counter.

It is a state and no log: who asks with the counter of an earlier answer is told of each node and source that has
changed since, once, as it stands now; who comes new is told of all that are there.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field

REMOVED = 10_000
"""So many nodes that are gone are remembered."""


@dataclass(slots=True)
class Change:
    """The last that happened to a node or a node source."""

    event: str | None = None
    counter: int = 0
    first: int = 0  # the counter of the first that happened
    stamp: int = 0  # milliseconds since the epoch


@dataclass(slots=True)
class Source:
    """A node source."""

    name: str
    description: str
    admin: str
    size: int
    deployed: bool = False
    deployments: int = 0
    leaving: str = ""  # what happens when its last node is gone: undeploy or remove
    last: Change = field(default_factory=Change)

    @property
    def gone(self) -> bool:
        """Whether it was removed."""
        return self.last.event == "NODESOURCE_REMOVED"


@dataclass(slots=True)
class Node:
    """A node, or the placeholder of one that is being deployed: that has no tokens yet, and no machine."""

    url: str
    name: str
    source: str
    provider: str
    host: str = ""
    machine: str = ""
    state: str = ""
    previous: str | None = None
    tokens: list[str] | None = None
    owner: str | None = None
    usage: dict[str, str] | None = None
    locker: str | None = None
    locked_at: int = -1
    last: Change = field(default_factory=Change)

    @property
    def gone(self) -> bool:
        """Whether it was removed."""
        return self.last.event == "NODE_REMOVED"

    @property
    def is_placeholder(self) -> bool:
        """Whether it stands for a node that is yet to come."""
        return self.tokens is None


@dataclass(frozen=True, slots=True)
class Answer:
    """What a client is told: the counter to ask with the next time, and what has changed."""

    latest: int
    sources: list[Source]
    nodes: list[Node]


class Feed:
    """The nodes and sources, each with the last that happened to it. Whoever uses it holds a lock."""

    def __init__(self) -> None:
        self.counter = 0
        self._sources: dict[str, Source] = {}
        self._nodes: dict[str, Node] = {}
        self._gone: dict[str, None] = {}

    def add_source(self, source: Source) -> None:
        """Enter a node source."""
        self._sources[source.name] = source

    def source(self, name: str) -> Source | None:
        """The node source of that name, unless it was removed."""
        found = self._sources.get(name)
        return None if found is None or found.gone else found

    def sources(self) -> list[Source]:
        """The node sources that are there, by name."""
        return sorted((each for each in self._sources.values() if not each.gone), key=lambda each: each.name)

    def node(self, url: str) -> Node | None:
        """The node of that URL, unless it was removed."""
        found = self._nodes.get(url)
        return None if found is None or found.gone else found

    def nodes(self, source: str | None = None) -> Iterator[Node]:
        """The nodes that are there, in the order in which they came."""
        return (each for each in list(self._nodes.values()) if not each.gone and source in (None, each.source))

    def of_source(self, source: Source, event: str) -> None:
        """Something happened to a node source."""
        self._note(source.last, event)
        source.last.stamp = _now()

    def added(self, node: Node, state: str) -> Node:
        """A node or a placeholder came; one that was there before under the same URL keeps its first counter."""
        before = self._nodes.pop(node.url, None)
        self._gone.pop(node.url, None)
        if before is not None:
            node.last.first = before.last.first
        self._nodes[node.url] = node
        node.state = state
        self._note(node.last, "NODE_ADDED")
        node.last.stamp = _now()
        return node

    def changed(self, node: Node, state: str | None = None) -> None:
        """A node's state changed, or with None only what else is told of it."""
        node.previous, node.state = node.state, state or node.state
        self._note(node.last, "NODE_STATE_CHANGED")
        if state is not None:
            node.last.stamp = _now()

    def removed(self, node: Node) -> None:
        """A node or a placeholder went."""
        node.previous = node.state
        self._note(node.last, "NODE_REMOVED")
        node.last.stamp = _now()
        self._gone[node.url] = None
        if len(self._gone) > REMOVED:
            oldest = next(iter(self._gone))
            del self._gone[oldest], self._nodes[oldest]

    def since(self, counter: int) -> Answer:
        """What has happened since a client's counter; everything that is there to one who has none of this feed."""
        if 0 < counter <= self.counter:
            sources = [each for each in self._sources.values() if each.last.counter > counter]
            nodes = [each for each in self._nodes.values() if each.last.counter > counter]
        else:
            counter = 0
            sources = [each for each in self._sources.values() if not each.gone]
            nodes = [each for each in self._nodes.values() if not each.gone]
        sources.sort(key=lambda each: each.last.counter)
        nodes.sort(key=lambda each: each.last.counter)
        counters = [each.last.counter for each in sources] + [each.last.counter for each in nodes]
        latest = max([counter, *counters])
        return Answer(latest, sources, nodes)

    def _note(self, change: Change, event: str) -> None:
        self.counter += 1
        change.event, change.counter = event, self.counter
        change.first = change.first or self.counter


def _now() -> int:
    return time.time_ns() // 1_000_000
