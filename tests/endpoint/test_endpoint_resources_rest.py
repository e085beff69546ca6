"""The resource manager's REST: the answers of a server 13.0.3."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
import requests

from proactive_tasks.engine.endpoint.resources.manager import INFRASTRUCTURE, POLICY, Resources
from tests.endpoint.parts import PASSWORD, Server, serve_parts

NODE = {
    *("timeStamp", "counter", "firstCounter", "nodeUrl", "nodeSource", "hostName", "nodeState", "previousNodeState"),
    *("nodeProvider", "nodeOwner", "description", "defaultJMXUrl", "proactiveJMXUrl", "lockTime", "nodeLocker"),
    *("usageInfo", "tokens", "key", "locked", "nodeInfo", "padname", "vnName", "vmname", "eventType", "rmurl"),
    "timeStampFormatted",
}
SOURCE = {
    *("timeStamp", "counter", "firstCounter", "nodeSourceName", "nodeSourceDescription", "additionalInformation"),
    *("nodeSourceAdmin", "nodeSourceStatus", "key", "sourceName", "sourceDescription", "eventType", "rmurl"),
    "timeStampFormatted",
}
CAMPUS = {
    "nodeSourceName": "campus",
    "infrastructureType": INFRASTRUCTURE,
    "infrastructureParameters": ["2", "30000", ""],
    "infrastructureFileParameters": [""],
    "policyType": f"{POLICY}StaticPolicy",
    "policyParameters": ["ALL", "ME"],
}


class Client:
    """A client of the resource manager with a session."""

    def __init__(self, server: Server) -> None:
        self.url = f"{server.url}/rest/rm/"
        self.http = requests.Session()
        self.http.headers["sessionid"] = server.log_in("admin", PASSWORD)
        self.resources: Resources = server.endpoint.resources

    def ask(self, method: str, path: str, **options: Any) -> requests.Response:
        return self.http.request(method, self.url + path, timeout=30, **options)

    def feed(self, counter: object = -1) -> Any:
        return self.ask("GET", "monitoring", headers={"clientCounter": str(counter)}).json()

    def create(self, **changes: Any) -> Any:
        return self.ask("POST", "nodesource/create", data={**CAMPUS, **changes}).json()

    def campus(self) -> list[str]:
        self.resources.hasten()
        return [each["nodeUrl"] for each in self.feed()["nodesEvents"] if each["nodeSource"] == "campus"]


@pytest.fixture
def rm(tmp_path: Any) -> Iterator[Client]:
    resources = Resources(2, deploying_s=3600)
    with serve_parts(tmp_path, resources) as server:
        yield Client(server)
    resources.close()


def test_whoever_is_not_connected_is_told_so(rm: Client) -> None:
    for method, path in (
        ("GET", "monitoring"),
        ("GET", "isactive"),
        ("POST", "nodesource/create"),
        ("POST", "node/lock"),
    ):
        answer = requests.request(method, rm.url + path, headers={"sessionid": "nobody"}, timeout=30)
        assert answer.status_code == 401
        assert answer.json()["errorMessage"] == "You are not connected to the server, you should log on first"
        assert answer.json()["exceptionClass"].endswith("NotConnectedException")


def test_a_session_of_the_resource_manager(rm: Client) -> None:
    wrong = requests.post(rm.url + "login", data={"username": "admin", "password": "no"}, timeout=30)
    assert (wrong.status_code, wrong.json()["errorMessage"]) == (404, "Authentication failed")
    empty = requests.post(rm.url + "login", data={"username": "admin"}, timeout=30)
    assert (empty.status_code, empty.json()["errorMessage"]) == (404, "Empty login/password")
    session = requests.post(rm.url + "login", data={"username": "admin", "password": PASSWORD}, timeout=30).text
    head = {"sessionid": session}
    assert requests.get(rm.url + "isactive", headers=head, timeout=30).json() is True
    assert rm.ask("GET", f"logins/sessionid/{session}").text == "admin"
    assert rm.ask("GET", "logins/sessionid/none").status_code == 204
    assert requests.post(rm.url + "disconnect", headers=head, timeout=30).status_code == 204
    assert requests.get(rm.url + "isactive", headers=head, timeout=30).status_code == 401


def test_what_the_feed_tells_of_nodes_and_sources(rm: Client) -> None:
    answer = rm.feed()
    assert answer.keys() == {"latestCounter", "nodeSource", "nodesEvents"}
    (source,) = answer["nodeSource"]
    assert source.keys() == SOURCE
    assert (source["nodeSourceStatus"], source["eventType"]) == ("deployed", None)
    assert source["timeStampFormatted"] == "1/1/70, 12:00 AM"
    assert all(node.keys() == NODE for node in answer["nodesEvents"])
    node = answer["nodesEvents"][0]
    assert re.fullmatch(r"pnp://127\.0\.0\.1:\d+/local-LocalNodes-0_0", node["nodeUrl"])
    assert (node["tokens"], node["locked"], node["lockTime"], node["nodeProvider"]) == ([], False, -1, "rm")
    assert re.fullmatch(r"\d+/\d+/\d\d, \d+:\d\d [AP]M", node["timeStampFormatted"])
    assert node["description"].startswith("Node local-LocalNodes-0_0\nURL: pnp://")
    full = rm.ask("GET", "monitoring/full").json()
    assert full == {key: answer[key] for key in ("nodeSource", "nodesEvents")}


def test_what_counters_of_clients_mean(rm: Client) -> None:
    everything = rm.feed()
    for counter in ("-1", "0", "", "100000"):
        assert rm.feed(counter) == everything
    assert rm.ask("GET", "monitoring").json() == everything
    latest = everything["latestCounter"]
    assert rm.feed(latest) == {"latestCounter": latest, "nodeSource": [], "nodesEvents": []}
    wrong = rm.ask("GET", "monitoring", headers={"clientCounter": "abc"})
    assert (wrong.status_code, wrong.json()["errorMessage"]) == (400, 'For input string: "abc"')
    assert wrong.json()["exceptionClass"] == "java.lang.NumberFormatException"


def test_a_node_source_lives_and_goes(rm: Client) -> None:
    counter = rm.feed()["latestCounter"]
    assert rm.create() == {"result": True, "errorMessage": "", "stackTrace": ""}
    answer = rm.feed(counter)
    (source,) = answer["nodeSource"]
    assert (source["sourceName"], source["eventType"], source["nodeSourceStatus"]) == (
        "campus",
        "NODESOURCE_CREATED",
        "deployed",
    )
    assert source["sourceDescription"] == (
        "Infrastructure: Local Infrastructure, Policy: Static Policy user access type [ALL], provider access type [ME]"
    )
    assert [(node["nodeUrl"], node["tokens"], node["vmname"]) for node in answer["nodesEvents"]] == [
        ("deploying://campus/local-campus-0_0", None, ""),
        ("deploying://campus/local-campus-0_1", None, ""),
    ]
    assert len(rm.campus()) == 2
    assert [each["sourceName"] for each in rm.ask("GET", "nodesource").json()] == ["LocalNodes", "campus"]
    answer = rm.ask("PUT", "nodesource/undeploy", data={"nodeSourceName": "campus", "preempt": "true"})
    assert answer.json()["result"] is True
    assert rm.campus() == []
    assert rm.ask("PUT", "nodesource/deploy", data={"nodeSourceName": "campus"}).json()["result"] is True
    assert len(rm.campus()) == 2
    assert rm.ask("POST", "nodesource/remove", data={"name": "campus", "preempt": "true"}).json() is True
    assert rm.ask("POST", "nodesource/remove", data={"name": "campus"}).status_code == 400


def test_a_source_is_defined_edited_and_then_deployed(rm: Client) -> None:
    assert rm.ask("POST", "nodesource", data={**CAMPUS, "nodesRecoverable": "false"}).json()["result"] is True
    assert rm.campus() == []
    changed = {**CAMPUS, "infrastructureParameters": ["3", "1", ""]}
    assert rm.ask("PUT", "nodesource/edit", data=changed).json()["result"] is True
    told = rm.ask("GET", "nodesource/configuration", params={"nodeSourceName": "campus"}).json()
    fields = {each["name"]: each["value"] for each in told["infrastructurePluginDescriptor"]["configurableFields"]}
    assert (told["nodeSourceName"], fields["maxNodes"], fields["nodeTimeout"]) == ("campus", "3", "1")
    rm.ask("PUT", "nodesource/deploy", data={"nodeSourceName": "campus"})
    assert len(rm.campus()) == 3


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"infrastructureType": "org.x.AzureInfrastructure"}, "Infrastructure 'org.x.AzureInfrastructure'"),
        ({"policyType": f"{POLICY}CronPolicy"}, f"Policy '{POLICY}CronPolicy'"),
        ({"infrastructureParameters": ["no"]}, "maxNodes 'no'"),
        ({"nodeSourceName": ""}, "Node Source name ''"),
        ({"nodeSourceName": "LocalNodes"}, "Node Source name already exist: LocalNodes"),
    ],
)
def test_what_is_not_there_is_refused_by_name(rm: Client, change: dict[str, Any], reason: str) -> None:
    answer = rm.create(**change)
    assert answer["result"] is False
    assert answer["errorMessage"].startswith(reason)


def test_tokens_of_nodes(rm: Client) -> None:
    assert rm.ask("GET", "model/tokens").text == "PA:REGEXP(^$)"
    url = rm.feed()["nodesEvents"][0]["nodeUrl"]
    counter = rm.feed()["latestCounter"]
    head = {"nodeurl": url, "token": "overlay-demo"}
    assert rm.ask("POST", "node/token", headers=head).status_code == 204
    (node,) = rm.feed(counter)["nodesEvents"]
    assert (node["eventType"], node["previousNodeState"], node["nodeState"], node["tokens"]) == (
        "NODE_STATE_CHANGED",
        "FREE",
        "FREE",
        ["overlay-demo"],
    )
    answer = rm.ask("GET", "model/tokens")
    assert (answer.text, answer.headers["content-type"].split(";")[0]) == ("PA:LIST(,overlay-demo)", "text/plain")
    assert rm.ask("DELETE", "node/token", headers=head).status_code == 204
    assert rm.ask("GET", "model/tokens").text == "PA:REGEXP(^$)"
    rm.ask("POST", "node/tokens", headers={"nodeurl": url}, params={"tokens": ["b", "a", "b"]})
    assert rm.ask("GET", "model/tokens").text == "PA:LIST(,a,b)"
    gone = rm.ask("POST", "node/token", headers={"nodeurl": "pnp://none", "token": "t"})
    assert (gone.status_code, gone.json()["errorMessage"]) == (404, "Unknown node pnp://none")


def test_nodes_are_locked_looked_at_and_removed(rm: Client) -> None:
    first, second = (each["nodeUrl"] for each in rm.feed()["nodesEvents"])
    assert rm.ask("POST", "node/lock", data={"nodeurls": [first, second]}).json() is True
    node = rm.feed()["nodesEvents"][0]
    assert (node["locked"], node["nodeLocker"], node["lockTime"] > 0) == (True, "admin", True)
    assert rm.ask("POST", "node/unlock", data={"nodeurls": [first, second]}).json() is True
    assert rm.ask("GET", "node/isavailable", params={"nodeurl": first}).json() is True
    assert rm.ask("POST", "node/release", data={"url": first}).json() is True
    assert rm.ask("POST", "node/remove", data={"url": first, "preempt": "true"}).json() is True
    assert rm.ask("POST", "node/remove", data={"url": first}).json() is False
    assert rm.ask("GET", "node/isavailable", params={"nodeurl": first}).json() is False
    assert rm.ask("GET", "nodes/search").json() == [second]
    assert rm.ask("GET", "nodes/search", params={"tags": "x"}).json() == []


def test_further_nodes_are_asked_for(rm: Client) -> None:
    asked = {"numbernodes": 1, "sync": "false", "timeout": 30}
    answer = rm.ask("POST", "nodesource/LocalNodes/nodes", params=asked, json={})
    assert (answer.status_code, answer.json()) == (200, [])
    rm.ask("POST", "node/remove", data={"url": rm.feed()["nodesEvents"][0]["nodeUrl"]})
    assert rm.ask("POST", "nodesource/LocalNodes/nodes", params=asked, json={}).json() == []
    rm.resources.hasten()
    assert len(rm.feed()["nodesEvents"]) == 2
    assert rm.ask("POST", "nodesource/none/nodes", params=asked).status_code == 400
    assert rm.ask("POST", "nodesource/LocalNodes/nodes", params={"numbernodes": "x"}).status_code == 400


def test_what_else_is_told(rm: Client) -> None:
    assert rm.ask("GET", "topology").json() == {"distances": {"127.0.0.1": {}}, "hosts": {"127.0.0.1": "/127.0.0.1"}}
    assert rm.ask("GET", "model/hosts").text == "PA:LIST(,127.0.0.1)"
    assert rm.ask("GET", "model/nodesources").text == "PA:LIST(,Default,LocalNodes)"
    assert rm.ask("GET", "version").text == '{ "rm" : "13.0.3", "rest" : "13.0.3"}'
    state = rm.ask("GET", "state").json()
    assert (state["totalNodesNumber"], state["freeNodesNumber"], len(state["aliveNodes"])) == (2, 2, 2)
    (infrastructure,) = rm.ask("GET", "infrastructures").json()
    assert infrastructure["pluginName"] == INFRASTRUCTURE
    fields = [field["name"] for field in infrastructure["configurableFields"]]
    assert fields == ["credentials", "maxNodes", "nodeTimeout", "paProperties"]
    policies = [policy["pluginName"] for policy in rm.ask("GET", "policies").json()]
    assert f"{POLICY}StaticPolicy" in policies
    assert rm.ask("GET", "infrastructures/mapping").json() == {INFRASTRUCTURE: policies}


def test_a_form_that_is_too_large_is_refused(rm: Client) -> None:
    assert rm.ask("POST", "node/lock", data={"nodeurls": "x" * 1_000_001}).status_code == 413
