"""The endpoint's resource manager: nodes, node sources and the feed that tells of them."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from proactive_tasks.engine.endpoint.resources.feed import Answer, Node
from proactive_tasks.engine.endpoint.resources.manager import (
    INFRASTRUCTURE,
    POLICY,
    Definition,
    NodeSourceError,
    Resources,
)


@pytest.fixture
def resources() -> Iterator[Resources]:
    """Two local nodes; what is deployed comes up when the test says so."""
    resources = Resources(2, deploying_s=3600)
    yield resources
    resources.close()


def source(name: str, nodes: int) -> Definition:
    return Definition(name, INFRASTRUCTURE, (str(nodes), "30000", ""), f"{POLICY}StaticPolicy", ("ALL", "ME"))


def create(resources: Resources, name: str, nodes: int, user: str = "admin") -> list[str]:
    resources.define(source(name, nodes), user, deploy=True)
    resources.hasten()
    return [node.url for node in resources.nodes() if node.source == name]


class Client:
    """Somebody who follows the feed."""

    def __init__(self, resources: Resources, counter: int = -1) -> None:
        self.resources, self.counter = resources, counter

    def ask(self) -> Answer:
        answer = self.resources.since(self.counter)
        self.counter = answer.latest
        return answer

    def news(self) -> list[tuple[str, ...]]:
        answer = self.ask()
        sources = [(each.name, str(each.last.event), shown(each.deployed)) for each in answer.sources]
        return sources + [
            (each.name, str(each.last.event), f"{each.previous} -> {each.state}") for each in answer.nodes
        ]


def shown(deployed: bool) -> str:
    return "deployed" if deployed else "undeployed"


def states(resources: Resources) -> dict[str, str]:
    return {node.name: node.state for node in resources.nodes()}


# what the feed tells


def test_a_new_client_sees_local_nodes_that_were_there_from_the_start(resources: Resources) -> None:
    answer = resources.since(-1)
    (local,) = answer.sources
    assert (local.name, local.last.event, local.last.counter, local.last.stamp) == ("LocalNodes", None, 0, 0)
    assert local.description == (
        "Infrastructure: Local Infrastructure, Policy: Restart Down Nodes Policy user access type [ALL], provider "
        "access type [ALL]"
    )
    assert [(node.name, node.state) for node in answer.nodes] == [
        ("local-LocalNodes-0_0", "FREE"),
        ("local-LocalNodes-0_1", "FREE"),
    ]
    assert answer.latest == answer.nodes[-1].last.counter
    assert all(node.last.first < node.last.counter for node in answer.nodes)
    assert all(node.url.startswith("pnp://127.0.0.1:") for node in answer.nodes)


def test_the_life_of_a_node_source_as_a_poller_sees_it(resources: Resources) -> None:
    client = Client(resources)
    client.ask()
    resources.define(source("frankfurt", 2), "admin", deploy=True)
    assert client.news() == [
        ("frankfurt", "NODESOURCE_CREATED", "deployed"),
        ("local-frankfurt-0_0", "NODE_ADDED", "None -> DEPLOYING"),
        ("local-frankfurt-0_1", "NODE_ADDED", "None -> DEPLOYING"),
    ]
    resources.hasten()
    # nobody sees the NODE_ADDED of a real node: what happened last is what is told
    assert client.news() == [
        ("local-frankfurt-0_0", "NODE_REMOVED", "DEPLOYING -> DEPLOYING"),
        ("local-frankfurt-0_0", "NODE_STATE_CHANGED", "CONFIGURING -> FREE"),
        ("local-frankfurt-0_1", "NODE_REMOVED", "DEPLOYING -> DEPLOYING"),
        ("local-frankfurt-0_1", "NODE_STATE_CHANGED", "CONFIGURING -> FREE"),
    ]
    assert client.news() == []
    first, second = [node.url for node in resources.nodes() if node.source == "frankfurt"]
    resources.set_tokens(second, lambda tokens: [*tokens, "overlay-demo"])
    assert client.news() == [("local-frankfurt-0_1", "NODE_STATE_CHANGED", "FREE -> FREE")]
    resources.lock([first], "admin")
    (locked,) = client.ask().nodes
    assert (locked.state, locked.previous, locked.locker, locked.locked_at > 0) == ("FREE", "FREE", "admin", True)
    resources.unlock([first])
    (locked,) = client.ask().nodes
    assert (locked.locker, locked.locked_at) == (None, -1)
    resources.remove_node(second)
    (gone,) = client.ask().nodes
    assert (gone.last.event, gone.previous, gone.state, gone.tokens) == (
        "NODE_REMOVED",
        "FREE",
        "FREE",
        ["overlay-demo"],
    )
    resources.undeploy("frankfurt")
    assert client.news() == [
        ("frankfurt", "NODESOURCE_SHUTDOWN", "undeployed"),
        ("local-frankfurt-0_0", "NODE_REMOVED", "FREE -> FREE"),
    ]
    resources.deploy("frankfurt", "admin")
    assert client.news()[0] == ("frankfurt", "NODESOURCE_CREATED", "deployed")
    resources.hasten()
    client.ask()
    resources.remove_source("frankfurt")
    assert client.news() == [
        ("frankfurt", "NODESOURCE_REMOVED", "deployed"),
        ("local-frankfurt-0_0", "NODE_REMOVED", "FREE -> FREE"),
        ("local-frankfurt-0_1", "NODE_REMOVED", "FREE -> FREE"),
    ]


def test_counters_step_as_those_of_a_server(resources: Resources) -> None:
    start = resources.since(-1).latest
    resources.define(source("campus", 1), "admin", deploy=True)
    answer = resources.since(start)
    # defined and created, then the placeholder
    assert [(each.last.first - start, each.last.counter - start) for each in answer.sources] == [(1, 2)]
    assert [(each.last.first - start, each.last.counter - start) for each in answer.nodes] == [(3, 3)]
    resources.hasten()
    answer = resources.since(answer.latest)
    # the placeholder's end, then the node's coming and its becoming free
    assert [(each.last.first - start, each.last.counter - start) for each in answer.nodes] == [(3, 4), (5, 6)]
    resources.remove_source("campus")
    answer = resources.since(answer.latest)
    assert [each.last.counter - start for each in answer.nodes] == [7]
    assert [each.last.counter - start for each in answer.sources] == [9]  # shut down before it is removed


def test_a_placeholder_that_comes_again_keeps_its_url_and_its_first_counter(resources: Resources) -> None:
    create(resources, "campus", 1)
    before = resources.since(1)
    old = next(node for node in before.nodes if node.is_placeholder and node.source == "campus")
    (old_url,) = [node.url for node in before.nodes if not node.is_placeholder and node.source == "campus"]
    resources.undeploy("campus")
    resources.deploy("campus", "admin")
    new = next(node for node in resources.nodes() if node.source == "campus")
    assert (new.url, new.last.first, new.previous) == (old.url, old.last.first, None)
    resources.hasten()
    (new_url,) = [node.url for node in resources.nodes() if node.source == "campus"]
    assert new_url.rpartition("/")[2] == old_url.rpartition("/")[2]


def test_tokens_and_locks_leave_the_moment_of_the_last_state_alone(resources: Resources) -> None:
    node = resources.nodes()[0]
    time.sleep(0.01)  # two moments in milliseconds shall differ
    resources.set_tokens(node.url, lambda _tokens: ["t"])
    resources.lock([node.url], "admin")
    assert resources.nodes()[-1].last.stamp >= node.last.stamp
    (after,) = [each for each in resources.nodes() if each.url == node.url]
    assert after.last.stamp == node.last.stamp
    assert after.last.counter > node.last.counter


@pytest.mark.parametrize("counter", [-1, 0, 1_000_000])
def test_who_has_no_counter_of_this_feed_is_told_everything_that_is_there(resources: Resources, counter: int) -> None:
    create(resources, "campus", 1)
    resources.remove_source("campus")
    answer = resources.since(counter)
    assert [each.name for each in answer.sources] == ["LocalNodes"]
    assert len(answer.nodes) == 2
    assert answer.latest == max(node.last.counter for node in answer.nodes)


def test_counters_go_backwards_between_clients(resources: Resources) -> None:
    client = Client(resources)
    create(resources, "campus", 1)
    client.ask()
    resources.remove_source("campus")
    client.ask()
    assert resources.since(-1).latest < client.counter
    assert resources.since(client.counter).latest == client.counter
    assert client.news() == []


def test_an_undeployed_source_is_still_told_of(resources: Resources) -> None:
    create(resources, "campus", 1)
    resources.undeploy("campus")
    told = {each.name: shown(each.deployed) for each in resources.since(-1).sources}
    assert told == {"LocalNodes": "deployed", "campus": "undeployed"}


def test_a_source_that_goes_while_its_nodes_are_deployed_takes_the_placeholders_with_it(resources: Resources) -> None:
    client = Client(resources)
    resources.define(source("campus", 2), "admin", deploy=True)
    client.ask()
    resources.remove_source("campus")
    assert client.news() == [
        ("campus", "NODESOURCE_REMOVED", "deployed"),
        ("local-campus-0_0", "NODE_REMOVED", "DEPLOYING -> DEPLOYING"),
        ("local-campus-0_1", "NODE_REMOVED", "DEPLOYING -> DEPLOYING"),
    ]
    resources.hasten()
    assert client.news() == []


def test_nodes_come_by_themselves_after_a_while() -> None:
    resources = Resources(1, deploying_s=0.05)
    came = threading.Event()
    resources.watch(came.set)
    resources.define(source("campus", 200), "admin", deploy=True)
    assert came.wait(60)
    assert sum(node.state == "FREE" for node in resources.nodes()) == 201
    resources.close()


def test_many_nodes_that_are_gone_are_forgotten_at_last(resources: Resources) -> None:
    for _ in range(11):
        resources.define(source("campus", 1000), "admin", deploy=True)
        resources.remove_source("campus")
        assert len(resources._feed._nodes) <= 2 + 1000 + 10_000


# nodes for tasks


def test_a_task_has_a_node_until_it_gives_it_back(resources: Resources) -> None:
    told = threading.Event()
    end = resources.watch(told.set)
    client = Client(resources)
    client.ask()
    usage = {"JOB_ID": "7", "JOB_NAME": "One", "TASK_ID": "0", "TASK_NAME": "T"}
    node = resources.take({}, "admin", usage)
    assert node is not None
    (busy,) = client.ask().nodes
    assert (busy.previous, busy.state, busy.owner, busy.usage) == ("FREE", "BUSY", "admin", usage)
    assert resources.take({}) is not None
    assert resources.take({}) is None
    assert not told.is_set()
    resources.give_back(node)
    assert told.is_set()
    (free,) = [each for each in client.ask().nodes if each.url == node]
    assert (free.previous, free.state, free.owner, free.usage) == ("BUSY", "FREE", None, None)
    assert resources.take({}) == node
    end()
    told.clear()
    resources.give_back(node)
    assert not told.is_set()


def test_tokens_keep_tasks_from_nodes_and_nodes_from_tasks(resources: Resources) -> None:
    first, second = (node.url for node in resources.nodes())
    resources.set_tokens(first, lambda _tokens: ["overlay-demo"])
    assert resources.tokens() == ["overlay-demo"]
    assert resources.take({"NODE_ACCESS_TOKEN": "other"}) is None
    assert resources.take({}) == second
    assert resources.take({}) is None
    assert resources.take({"NODE_ACCESS_TOKEN": "overlay-demo"}) == first
    resources.give_back(first)
    resources.set_tokens(first, lambda _tokens: [])
    assert resources.take({"NODE_ACCESS_TOKEN": "overlay-demo"}) is None
    assert resources.take({}) == first


def test_a_task_may_name_its_node_source(resources: Resources) -> None:
    (campus,) = create(resources, "campus", 1)
    assert resources.take({"NODE_SOURCE": "none"}) is None
    assert resources.take({"NODE_SOURCE": "campus"}) == campus
    assert resources.take({"NODE_SOURCE": "campus"}) is None
    assert resources.take({"NODE_SOURCE": "LocalNodes"}) != campus


def test_no_task_runs_on_a_node_that_is_locked_or_deployed(resources: Resources) -> None:
    first, second = (node.url for node in resources.nodes())
    assert resources.lock([first, second], "admin")
    assert not resources.lock([first], "admin")
    resources.define(source("campus", 1), "admin", deploy=True)
    assert resources.take({}) is None
    assert resources.unlock([second])
    assert not resources.unlock([second, "pnp://none"])
    assert resources.take({}) == second
    resources.hasten()
    assert str(resources.take({})).endswith("local-campus-0")


def test_a_busy_node_goes_when_its_task_has_left_it(resources: Resources) -> None:
    client = Client(resources)
    (url,) = create(resources, "campus", 1)
    client.ask()
    assert resources.take({"NODE_SOURCE": "campus"}) == url
    resources.remove_source("campus")
    (node,) = client.ask().nodes
    assert (node.previous, node.state) == ("BUSY", "TO_BE_REMOVED")
    assert [each.name for each in resources.sources()] == ["LocalNodes", "campus"]
    resources.give_back(url)
    assert client.news() == [
        ("campus", "NODESOURCE_REMOVED", "deployed"),
        ("local-campus-0", "NODE_REMOVED", "TO_BE_REMOVED -> TO_BE_REMOVED"),
    ]


def test_a_busy_node_goes_at_once_when_it_must(resources: Resources) -> None:
    (url,) = create(resources, "campus", 1)
    assert resources.take({"NODE_SOURCE": "campus"}) == url
    assert resources.remove_node(url, preempt=True)
    assert not resources.remove_node(url)
    resources.give_back(url)
    assert resources.node(url) is None


def test_further_nodes_come_only_as_far_as_the_source_has_room(resources: Resources) -> None:
    first, _ = create(resources, "campus", 2)
    assert resources.acquire("campus", 1) == []
    assert states(resources).keys() == {
        "local-LocalNodes-0_0",
        "local-LocalNodes-0_1",
        "local-campus-0_0",
        "local-campus-0_1",
    }
    resources.remove_node(first)
    assert resources.acquire("campus", 5) == []
    assert states(resources)["local-campus-1"] == "DEPLOYING"
    resources.hasten()
    assert states(resources)["local-campus-1"] == "FREE"


def test_who_acquires_nodes_may_wait_for_them() -> None:
    resources = Resources(1, deploying_s=0.05)
    resources.define(source("campus", 2), "admin", deploy=True)
    (placeholder, *_) = [node.url for node in resources.nodes() if node.source == "campus"]
    resources.remove_node(placeholder)
    assert [url.rpartition("/")[2] for url in resources.acquire("campus", 1, wait_s=20)] == ["local-campus-1"]
    resources.close()


def test_nodes_are_taken_once_however_many_ask() -> None:
    resources = Resources(50)
    with ThreadPoolExecutor(8) as pool:
        taken = list(pool.map(lambda _: resources.take({}), range(80)))
    urls = [url for url in taken if url]
    assert len(urls) == len(set(urls)) == 50
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(resources.give_back, urls))
    assert all(node.state == "FREE" for node in resources.nodes())


# what is refused


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (Definition("", INFRASTRUCTURE, ("1",)), "Node Source name '' is not valid"),
        (Definition("a/b", INFRASTRUCTURE, ("1",)), "Node Source name 'a/b' is not valid"),
        (Definition("aws", "org.x.AWSEC2Infrastructure", ("1",)), "'org.x.AWSEC2Infrastructure': the embedded engine"),
        (Definition("a", INFRASTRUCTURE, ("1",), f"{POLICY}CronPolicy"), "CronPolicy': not supported here"),
        (Definition("a", INFRASTRUCTURE, ()), "maxNodes '': give a number of nodes from 1 to 1000"),
        (Definition("a", INFRASTRUCTURE, ("many",)), "maxNodes 'many'"),
        (Definition("a", INFRASTRUCTURE, ("1001",)), "maxNodes '1001'"),
        (Definition("LocalNodes", INFRASTRUCTURE, ("1",)), "Node Source name already exist: LocalNodes"),
    ],
)
def test_a_node_source_that_is_not_there_is_refused_by_name(
    resources: Resources, wrong: Definition, message: str
) -> None:
    with pytest.raises(NodeSourceError, match=message.replace("(", r"\(")):
        resources.define(wrong, "admin", deploy=True)
    assert [each.name for each in resources.sources()] == ["LocalNodes"]


def test_only_a_source_that_is_undeployed_is_edited(resources: Resources) -> None:
    create(resources, "campus", 1)
    with pytest.raises(NodeSourceError, match="campus is deployed; undeploy it"):
        resources.edit(source("campus", 3))
    resources.undeploy("campus")
    resources.edit(source("campus", 3))
    resources.deploy("campus", "admin")
    assert sum(node.source == "campus" for node in resources.nodes()) == 3
    with pytest.raises(NodeSourceError, match="Node Source none does not exist"):
        resources.deploy("none", "admin")


def test_a_placeholder_has_no_tokens_and_no_machine(resources: Resources) -> None:
    resources.define(source("campus", 1), "alice", deploy=True)
    placeholder = next(node for node in resources.nodes() if node.source == "campus")
    assert placeholder == Node(
        "deploying://campus/local-campus-0",
        "local-campus-0",
        "campus",
        "alice",
        state="DEPLOYING",
        last=placeholder.last,
    )
    assert placeholder.is_placeholder
    assert not resources.set_tokens(placeholder.url, lambda _tokens: ["t"])
