"""The resource manager: node sources and their nodes, on which the embedded engine runs tasks.

All nodes are this machine. Those of a node source that is created pass through the states that a resource manager
shows of one that starts machines, so that whatever follows its feed sees here what it sees there.
"""

from __future__ import annotations

import copy
import random
import re
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass

from proactive_tasks.engine.endpoint.resources.feed import Answer, Feed, Node, Source
from proactive_tasks.overlay.errors import InputError
from proactive_tasks.store.node_sources import KeptSource, NodeSources

HOST = "127.0.0.1"
LOCAL = "LocalNodes"
DEPLOYING_S = 2.0
"""How long a node source that is created shows placeholders, as was seen."""

PORTS = (32768, 60999)  # told in URLs of nodes, listened on by nobody
LARGEST, LONGEST = 1000, 255
INFRASTRUCTURE = "org.ow2.proactive.resourcemanager.nodesource.infrastructure.LocalInfrastructure"
POLICY = "org.ow2.proactive.resourcemanager.nodesource.policy."
POLICIES = {f"{POLICY}StaticPolicy": "Static Policy", f"{POLICY}RestartDownNodesPolicy": "Restart Down Nodes Policy"}
NAME = re.compile(r"[^\s/:]([^/:]*[^\s/:])?")


class NodeSourceError(InputError):
    """A node source that cannot be made, changed or found; the message says why."""


@dataclass(frozen=True, slots=True)
class Definition:
    """What a node source is made of."""

    name: str
    infrastructure: str
    parameters: Sequence[str] = ()  # maxNodes, nodeTimeout, paProperties
    policy: str = f"{POLICY}StaticPolicy"
    policy_parameters: Sequence[str] = ()  # userAccessType, providerAccessType

    def check(self) -> None:
        """Refuse what is not there on this machine.

        Raises:
            NodeSourceError: with the name of what it is.
        """
        if not NAME.fullmatch(self.name) or len(self.name) > LONGEST:
            raise NodeSourceError(
                f"Node Source name '{self.name[:LONGEST]}' is not valid; take up to {LONGEST} characters, no / or :"
            )
        if self.infrastructure.rpartition(".")[2] != INFRASTRUCTURE.rpartition(".")[2]:
            raise NodeSourceError(
                f"Infrastructure '{self.infrastructure}': the embedded engine has no machines but its own; take "
                f"{INFRASTRUCTURE}"
            )
        if self.policy.rpartition(".")[2] not in {policy.rpartition(".")[2] for policy in POLICIES}:
            raise NodeSourceError(f"Policy '{self.policy}': not supported here; take {POLICY}StaticPolicy")
        if not re.fullmatch(r"[0-9]{1,4}", self._number) or not 1 <= int(self._number) <= LARGEST:
            raise NodeSourceError(f"maxNodes '{self._number}': give a number of nodes from 1 to {LARGEST}")

    @property
    def _number(self) -> str:
        return (self.parameters[0] if self.parameters else "").strip()

    @property
    def size(self) -> int:
        """How many nodes it has."""
        return int(self._number)

    @property
    def description(self) -> str:
        """The line that is shown of it."""
        name = next(title for policy, title in POLICIES.items() if policy.endswith(self.policy.rpartition(".")[2]))
        user, provider = (*self.policy_parameters[:2], "ME", "ME")[:2] if self.policy_parameters else ("ALL", "ME")
        return (
            f"Infrastructure: Local Infrastructure, Policy: {name} user access type [{user}], provider access type "
            f"[{provider}]"
        )


class Resources:
    """Node sources and nodes; the `Nodes` of the jobs. Every method may be called by any thread."""

    def __init__(self, nodes: int, *, deploying_s: float = DEPLOYING_S, kept: NodeSources | None = None) -> None:
        """Start with a node source `LocalNodes` of that many nodes; others take `deploying_s` to come up.

        Those that were `kept` come back, with new nodes.
        """
        self._lock = threading.RLock()
        self._feed = Feed()
        self._watchers: list[Callable[[], None]] = []
        self._timers: set[threading.Timer] = set()
        self._changed = threading.Condition(self._lock)
        self._deploying_s = deploying_s
        self._definitions: dict[str, Definition] = {}
        local = Definition(LOCAL, INFRASTRUCTURE, (str(nodes),), f"{POLICY}RestartDownNodesPolicy", ("ALL", "ALL"))
        with self._lock:
            self._definitions[LOCAL] = local
            source = Source(LOCAL, local.description, "rm", nodes, deployed=True)
            self._feed.add_source(source)
            self._come_up(source, self._placeholders(source, nodes, "rm"))
            self._kept: NodeSources | None = None
            for each in kept.all() if kept else ():
                self.define(Definition(**each.definition), each.admin, deploy=each.deployed)
            self._kept = kept

    def close(self) -> None:
        """Wait for no node any more."""
        with self._lock:
            timers, self._timers = self._timers, set()
        for timer in timers:
            timer.cancel()

    def hasten(self) -> None:
        """Have all nodes that are being deployed come up now."""
        with self._lock:
            timers, self._timers = self._timers, set()
        for timer in timers:
            timer.cancel()
            timer.function(*timer.args)

    # for jobs

    def take(
        self, generic: Mapping[str, str], user: str | None = None, usage: Mapping[str, str] | None = None
    ) -> str | None:
        """A free node for a task with this generic information, which is the task's until it is given back.

        A task that names a NODE_ACCESS_TOKEN gets a node with that token, one that names none a node without tokens;
        NODE_SOURCE names the node source. `usage` is what the node then shows of the task.
        """
        token, source = generic.get("NODE_ACCESS_TOKEN", ""), generic.get("NODE_SOURCE", "")
        with self._lock:
            for node in self._feed.nodes(source or None):
                if node.state != "FREE" or node.locker is not None or node.tokens is None:
                    continue
                if token in node.tokens if token else not node.tokens:
                    node.owner, node.usage = user, None if usage is None else dict(usage)
                    self._feed.changed(node, "BUSY")
                    return node.url
        return None

    def give_back(self, node: str) -> None:
        """A task has left its node."""
        with self._changing():
            found = self._feed.node(node)
            if found is None or found.state not in ("BUSY", "TO_BE_REMOVED"):
                return  # it was removed under the task
            found.owner = found.usage = None
            if found.state == "TO_BE_REMOVED":
                self._remove(found)
            else:
                self._feed.changed(found, "FREE")

    def source_of(self, node: str) -> str:
        """The node source of a node; empty if it was removed meanwhile."""
        with self._lock:
            found = self._feed.node(node)
            return "" if found is None else found.source

    def watch(self, changed: Callable[[], None]) -> Callable[[], None]:
        """Have it told when a node may have become free; answers how to end that."""
        with self._lock:
            self._watchers.append(changed)

        def end() -> None:
            with self._lock:
                self._watchers.remove(changed)

        return end

    # node sources

    def sources(self) -> list[Source]:
        """The node sources."""
        with self._lock:
            return copy.deepcopy(self._feed.sources())

    def definition(self, name: str) -> Definition:
        """What a node source is made of."""
        with self._lock:
            return self._definitions[self._source(name).name]

    def define(self, definition: Definition, user: str, *, deploy: bool = False) -> None:
        """A new node source.

        Raises:
            NodeSourceError: it is there already, or asks for what is not there.
        """
        definition.check()
        with self._lock:
            if self._feed.source(definition.name) is not None:
                raise NodeSourceError(f"Node Source name already exist: {definition.name}")
            source = Source(definition.name, definition.description, user, definition.size)
            self._definitions[source.name] = definition
            self._feed.add_source(source)
            self._feed.of_source(source, "NODESOURCE_DEFINED")
            if deploy:
                self._deploy(source, user)
            self._keep(source)

    def edit(self, definition: Definition) -> None:
        """Change a node source that is not deployed."""
        definition.check()
        with self._lock:
            source = self._source(definition.name)
            if source.deployed:
                raise NodeSourceError(f"Node Source {source.name} is deployed; undeploy it before it is edited")
            self._definitions[source.name] = definition
            source.size, source.description = definition.size, definition.description
            self._feed.of_source(source, "NODESOURCE_UPDATED")
            self._keep(source)

    def deploy(self, name: str, user: str) -> None:
        """Have a node source's nodes come."""
        with self._lock:
            source = self._source(name)
            if not source.deployed:
                self._deploy(source, user)
                self._keep(source)

    def undeploy(self, name: str, *, preempt: bool = False) -> None:
        """Have a node source's nodes go; busy ones only if `preempt`, else when their tasks have left them."""
        self._leave(name, "undeploy", preempt=preempt)

    def remove_source(self, name: str, *, preempt: bool = False) -> None:
        """Remove a node source, with its nodes as `undeploy` does."""
        self._leave(name, "remove", preempt=preempt)

    def acquire(self, name: str, number: int, *, wait_s: float = 0.0) -> list[str]:
        """Have up to `number` further nodes come, as far as the source has room; answers those up within `wait_s`."""
        with self._lock:
            source = self._source(name)
            if not source.deployed:
                raise NodeSourceError(f"Node Source {name} is not deployed; deploy it first")
            room = min(number, source.size - sum(1 for _ in self._feed.nodes(name)))
            names = self._start(source, room, source.admin) if room > 0 else set()

            def come() -> list[str]:
                return [each.url for each in self._feed.nodes(name) if not each.is_placeholder and each.name in names]

            self._changed.wait_for(lambda: len(come()) == len(names), timeout=wait_s)
            return come()

    # nodes

    def nodes(self) -> list[Node]:
        """The nodes, placeholders among them."""
        with self._lock:
            return copy.deepcopy(list(self._feed.nodes()))

    def node(self, url: str) -> Node | None:
        """A node."""
        with self._lock:
            return copy.deepcopy(self._feed.node(url))

    def remove_node(self, url: str, *, preempt: bool = False) -> bool:
        """Have a node go, a busy one at once only if `preempt`; whether there is one."""
        with self._changing():
            node = self._feed.node(url)
            if node is not None:
                self._let_go(node, preempt=preempt)
            return node is not None

    def set_tokens(self, url: str, change: Callable[[list[str]], Iterable[str]]) -> bool:
        """Change a node's tokens; whether there is such a node."""
        with self._changing():
            node = self._feed.node(url)
            if node is None or node.tokens is None:
                return False
            node.tokens = list(dict.fromkeys(change(list(node.tokens))))
            self._feed.changed(node)
            return True

    def lock(self, urls: Iterable[str], user: str) -> bool:
        """Keep tasks from nodes; whether all of them are there and were not locked."""
        return self._set_lock(urls, user)

    def unlock(self, urls: Iterable[str]) -> bool:
        """Let tasks have nodes again; whether all of them are there and were locked."""
        return self._set_lock(urls, None)

    # what is told

    def since(self, counter: int) -> Answer:
        """What a client is told that has this counter from an earlier answer; 0 for none."""
        with self._lock:
            return copy.deepcopy(self._feed.since(counter))

    def tokens(self) -> list[str]:
        """The tokens that nodes have."""
        with self._lock:
            return sorted({token for node in self._feed.nodes() for token in node.tokens or ()})

    # with the lock

    @contextmanager
    def _changing(self) -> Iterator[None]:
        """The lock; when it is let go, those who wait for a node look again."""
        with self._lock:
            yield
            self._changed.notify_all()
            watchers = list(self._watchers)
        for changed in watchers:
            changed()

    def _source(self, name: str) -> Source:
        source = self._feed.source(name)
        if source is None:
            raise NodeSourceError(f"Node Source {name} does not exist; GET /rm/nodesource lists them")
        return source

    def _keep(self, source: Source) -> None:
        """Have the next start bring a node source back as it is; `LocalNodes` is as large as that start says."""
        if self._kept is None or source.name == LOCAL:
            return
        if source.gone:
            self._kept.remove(source.name)
        else:
            made = asdict(self._definitions[source.name])
            self._kept.put(KeptSource(source.name, source.admin, source.deployed, made))

    def _deploy(self, source: Source, user: str) -> None:
        source.deployed, source.leaving, source.deployments = True, "", 0
        self._feed.of_source(source, "NODESOURCE_CREATED")
        self._start(source, source.size, user)

    def _start(self, source: Source, number: int, user: str) -> set[str]:
        placeholders = self._placeholders(source, number, user)
        timer = threading.Timer(self._deploying_s, self._arrive, (source, placeholders))
        timer.daemon = True
        self._timers.add(timer)
        timer.start()
        return {placeholder.name for placeholder in placeholders}

    def _placeholders(self, source: Source, number: int, user: str) -> list[Node]:
        first = f"local-{source.name}-{source.deployments}"
        source.deployments += 1
        names = [first] if number == 1 else [f"{first}_{index}" for index in range(number)]
        return [
            self._feed.added(Node(f"deploying://{source.name}/{name}", name, source.name, user), "DEPLOYING")
            for name in names
        ]

    def _arrive(self, source: Source, placeholders: list[Node]) -> None:
        with self._changing():
            self._timers = {timer for timer in self._timers if timer is not threading.current_thread()}
            self._come_up(source, placeholders)

    def _come_up(self, source: Source, placeholders: list[Node]) -> None:
        port = random.randint(*PORTS)  # noqa: S311 - a name, not a secret
        for placeholder in placeholders:
            if placeholder.gone or self._feed.node(placeholder.url) is not placeholder:
                continue  # removed meanwhile, or its source
            self._feed.removed(placeholder)
            url = f"pnp://{HOST}:{port}/{placeholder.name}"
            machine = f"pnp://{HOST}:{port}/PA_JVM{port}"
            node = self._feed.added(
                Node(url, placeholder.name, source.name, "rm", HOST, machine, tokens=[]), "CONFIGURING"
            )
            self._feed.changed(node, "FREE")

    def _leave(self, name: str, how: str, *, preempt: bool) -> None:
        with self._changing():
            source = self._source(name)
            source.leaving = how
            for node in list(self._feed.nodes(name)):
                self._let_go(node, preempt=preempt)
            self._settle(source)

    def _let_go(self, node: Node, *, preempt: bool) -> None:
        if node.state == "BUSY" and not preempt:
            self._feed.changed(node, "TO_BE_REMOVED")
        elif preempt or node.state != "TO_BE_REMOVED":
            self._remove(node)

    def _remove(self, node: Node) -> None:
        self._feed.removed(node)
        source = self._feed.source(node.source)
        if source is not None:
            self._settle(source)

    def _settle(self, source: Source) -> None:
        """What was asked of a node source happens when its last node is gone."""
        if not source.leaving or source.gone or next(self._feed.nodes(source.name), None) is not None:
            return
        leaving, source.leaving = source.leaving, ""
        if source.deployed:
            source.deployed = leaving == "remove"  # a source that is removed still says that it is deployed
            self._feed.of_source(source, "NODESOURCE_SHUTDOWN")
        if leaving == "remove":
            self._feed.of_source(source, "NODESOURCE_REMOVED")
            self._definitions.pop(source.name, None)
        self._keep(source)

    def _set_lock(self, urls: Iterable[str], user: str | None) -> bool:
        done = True
        with self._changing():
            for url in urls:
                node = self._feed.node(url)
                if node is None or (node.locker is None) == (user is None):
                    done = False
                    continue
                node.locker, node.locked_at = user, -1 if user is None else time.time_ns() // 1_000_000
                self._feed.changed(node)
        return done
