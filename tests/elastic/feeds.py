"""A resource manager's feed in short words, for tests: what a server of that kind would answer."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

Short = tuple[Any, ...]


def node(
    source: str, url: str, kind: str | None, state: str, counter: int, first: int = 0, **more: Any
) -> dict[str, Any]:
    """A node's event."""
    scheme = "deploying://" if state == "DEPLOYING" or url.startswith("p") else "pnp://127.0.0.1:45419/"
    return {
        "nodeUrl": f"{scheme}{source}/{url}",
        "nodeSource": source,
        "hostName": "127.0.0.1",
        "nodeState": state,
        "previousNodeState": None,
        "eventType": kind,
        "counter": counter,
        "firstCounter": first or counter,
        "tokens": None if state == "DEPLOYING" else [],
        "locked": False,
        **more,
    }


def source(name: str, kind: str | None, counter: int, status: str = "deployed") -> dict[str, Any]:
    """A node source's event."""
    return {"sourceName": name, "nodeSourceStatus": status, "eventType": kind, "counter": counter}


def answer(latest: int, sources: Iterable[Any] = (), nodes: Iterable[Any] = ()) -> dict[str, Any]:
    """An answer of the feed."""
    return {"latestCounter": latest, "nodeSource": [*sources], "nodesEvents": [*nodes]}


class Server:
    """What a resource manager would show of sources and nodes, and how it counts."""

    def __init__(self) -> None:
        self.restart()

    def restart(self) -> None:
        """Begin anew: nothing is known, and counters start from one."""
        self.counter = 0
        self.sources: dict[str, dict[str, Any]] = {}
        self.nodes: dict[str, dict[str, Any]] = {}
        self.event("LocalNodes", "n0", "NODE_STATE_CHANGED", "FREE")

    def event(self, of: str, url: str, kind: str | None, state: str) -> None:
        """Something happens to a node."""
        self.counter += 1
        made = node(of, url, kind, state, self.counter)
        if (last := self.nodes.get(made["nodeUrl"])) is not None:
            made["firstCounter"] = last["firstCounter"]
        self.nodes[made["nodeUrl"]] = made

    def up(self, of: str, *names: str) -> None:
        """Nodes run."""
        for name in names:
            self.event(of, name, "NODE_STATE_CHANGED", "FREE")

    def down(self, of: str, *names: str) -> None:
        """Nodes are removed."""
        for name in names:
            self.event(of, name, "NODE_REMOVED", "FREE")

    def source(self, name: str, kind: str = "NODESOURCE_CREATED", status: str = "deployed") -> None:
        """Something happens to a node source."""
        self.counter += 1
        self.sources[name] = source(name, kind, self.counter, status)

    def remove(self, name: str) -> None:
        """A source goes, with all its nodes."""
        for each in self.living(name):
            self.counter += 1
            self.nodes[each["nodeUrl"]] = {**each, "eventType": "NODE_REMOVED", "counter": self.counter}
        self.source(name, "NODESOURCE_REMOVED")

    def living(self, name: str) -> list[dict[str, Any]]:
        """The nodes of a source."""
        nodes = self.nodes.values()
        return [each for each in nodes if each["nodeSource"] == name and each["eventType"] != "NODE_REMOVED"]

    def monitoring(self, counter: int = -1) -> dict[str, Any]:
        """The answer to a client that has come so far."""
        everything = counter < 1 or counter > self.counter
        sources = [each for each in self.sources.values() if everything or each["counter"] > counter]
        nodes = [each for each in self.nodes.values() if everything or each["counter"] > counter]
        if everything:
            sources = [each for each in sources if each["eventType"] != "NODESOURCE_REMOVED"]
            nodes = [each for each in nodes if each["eventType"] != "NODE_REMOVED"]
            counter = 0
        latest = max([counter, *(each["counter"] for each in (*sources, *nodes))])
        return answer(latest, sources, nodes)
