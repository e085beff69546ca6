"""The resource manager's REST, as a server 13.0.3 answers it."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from starlette.responses import PlainTextResponse
from starlette.routing import BaseRoute

from proactive_tasks.engine.endpoint import session_routes
from proactive_tasks.engine.endpoint.answers import COMMON, NOT_CONNECTED, RefusedRequestError
from proactive_tasks.engine.endpoint.calls import Call, Fields, Handler, route
from proactive_tasks.engine.endpoint.resources.answers import (
    INFRASTRUCTURE_FIELDS,
    POLICY_FIELDS,
    model,
    plugin,
    source_told,
    told,
)
from proactive_tasks.engine.endpoint.resources.manager import (
    INFRASTRUCTURE,
    POLICIES,
    Definition,
    NodeSourceError,
    Resources,
)

if TYPE_CHECKING:
    from proactive_tasks.engine.endpoint.shared import Endpoint

LONGEST_WAIT_S = 600.0


def routes(endpoint: Endpoint) -> list[BaseRoute]:
    """The routes below /rest/rm; none where the endpoint's nodes have no resource manager."""
    if not isinstance(endpoint.resources, Resources):
        return []
    answers = _Answers(endpoint.resources)
    for_everyone: list[tuple[str, str, Handler]] = [
        ("POST", "login", session_routes.log_in),
        ("GET", "version", answers.version),
        ("GET", "url", answers.url),
        ("GET", "logins/sessionid/{session}", answers.login_of),
        ("GET", "logins/sessionid/{session}/userdata", answers.user_data),
        ("GET", "model/hosts", answers.model_hosts),
        ("GET", "model/nodesources", answers.model_sources),
        ("GET", "model/tokens", answers.model_tokens),
    ]
    for_users: list[tuple[str, str, Handler]] = [
        ("POST", "disconnect", answers.disconnect),
        ("GET", "isactive", answers.is_active),
        ("GET", "state", answers.state),
        ("GET", "monitoring", answers.monitoring),
        ("GET", "monitoring/full", answers.everything),
        ("GET", "topology", answers.topology),
        ("GET", "infrastructures", answers.infrastructures),
        ("GET", "infrastructures/mapping", answers.mapping),
        ("GET", "policies", answers.policies),
        ("GET", "nodesource", answers.sources),
        ("POST", "nodesource", answers.define),
        ("POST", "nodesource/create", answers.create),
        ("POST", "nodesource/create/recovery", answers.create),
        ("PUT", "nodesource/edit", answers.edit),
        ("PUT", "nodesource/deploy", answers.deploy),
        ("PUT", "nodesource/undeploy", answers.undeploy),
        ("POST", "nodesource/remove", answers.remove_source),
        ("GET", "nodesource/configuration", answers.configuration),
        ("POST", "nodesource/{source}/nodes", answers.acquire),
        ("GET", "node/isavailable", answers.is_available),
        ("POST", "node/remove", answers.remove_node),
        ("POST", "node/release", answers.release),
        ("POST", "node/lock", answers.lock),
        ("POST", "node/unlock", answers.unlock),
        ("POST", "node/token", answers.add_token),
        ("DELETE", "node/token", answers.remove_token),
        ("POST", "node/tokens", answers.set_tokens),
        ("GET", "nodes/search", answers.search),
    ]
    table = [*for_everyone, *((method, path, _connected(handler)) for method, path, handler in for_users)]
    return [route(endpoint, method, f"/rm/{path}", handler, login=False) for method, path, handler in table]


def _connected(handler: Handler) -> Handler:
    """Refuses whoever has no session, in the words of the resource manager, which are not the scheduler's."""

    def answer(call: Call) -> Any:
        session = call.endpoint.sessions.find(call.request.headers.get("sessionid", ""))
        if session is None:
            raise RefusedRequestError(401, NOT_CONNECTED, f"{COMMON}NotConnectedException")
        call.session = session
        return handler(call)

    return answer


class _Answers:
    """A method for each route."""

    def __init__(self, resources: Resources) -> None:
        self._resources = resources

    # who asks

    def disconnect(self, call: Call) -> None:
        call.endpoint.sessions.close(call.session.identifier)

    def login_of(self, call: Call) -> Any:
        session = call.endpoint.sessions.find(call.path["session"])
        return PlainTextResponse(session.user) if session else None

    def user_data(self, call: Call) -> Any:
        session = call.endpoint.sessions.find(call.path["session"])
        if session is None:
            return None
        return {"userName": session.user, "groups": [], "adminRoles": [], "filteredPermissions": []}

    def version(self, _call: Call) -> Any:
        return PlainTextResponse(f'{{ "rm" : "{session_routes.VERSION}", "rest" : "{session_routes.VERSION}"}}')

    def url(self, call: Call) -> Any:
        return PlainTextResponse(f"{call.request.url.scheme}://{call.request.url.netloc}")

    def is_active(self, _call: Call) -> Any:
        return True

    def monitoring(self, call: Call) -> Any:
        counter = call.request.headers.get("clientCounter", "").strip() or "-1"
        if not re.fullmatch(r"[+-]?[0-9]{1,19}", counter):
            raise RefusedRequestError(400, f'For input string: "{counter}"', "java.lang.NumberFormatException")
        answer = self._resources.since(int(counter))
        return {"latestCounter": answer.latest, **told(answer.sources, answer.nodes)}

    def everything(self, _call: Call) -> Any:
        answer = self._resources.since(0)
        return told(answer.sources, answer.nodes)

    def state(self, _call: Call) -> Any:
        nodes = self._resources.nodes()
        alive = [node.url for node in nodes if not node.is_placeholder]
        free = [node.url for node in nodes if node.state == "FREE"]
        every = [node.url for node in nodes]
        urls = {"allNodes": every, "aliveNodes": alive, "freeNodes": free}
        numbers = {
            "totalNodesNumber": len(every),
            "totalAliveNodesNumber": len(alive),
            "freeNodesNumber": len(free),
            "maxNumberOfNodes": None,
        }
        return {"rmNodeUrls": urls, **urls, **numbers}

    def topology(self, _call: Call) -> Any:
        hosts = sorted({node.host for node in self._resources.nodes() if node.host})
        return {"distances": {host: {} for host in hosts}, "hosts": {host: f"/{host}" for host in hosts}}

    def model_hosts(self, _call: Call) -> Any:
        return PlainTextResponse(model({node.host for node in self._resources.nodes() if node.host}))

    def model_sources(self, _call: Call) -> Any:
        return PlainTextResponse(model({"Default"} | {source.name for source in self._resources.sources()}))

    def model_tokens(self, _call: Call) -> Any:
        return PlainTextResponse(model(set(self._resources.tokens())))

    # node sources

    def sources(self, _call: Call) -> Any:
        return [source_told(source) for source in self._resources.sources()]

    def infrastructures(self, _call: Call) -> Any:
        return [plugin(INFRASTRUCTURE, "Deploys nodes on this machine", INFRASTRUCTURE_FIELDS)]

    def policies(self, _call: Call) -> Any:
        return [plugin(policy, title, POLICY_FIELDS) for policy, title in POLICIES.items()]

    def mapping(self, _call: Call) -> Any:
        return {INFRASTRUCTURE: list(POLICIES)}

    def configuration(self, call: Call) -> Any:
        name = call.query.get("nodeSourceName", "")
        try:
            found = self._resources.definition(name)
        except NodeSourceError as error:
            raise RefusedRequestError(400, str(error), "java.lang.IllegalArgumentException") from error
        given = dict(zip(INFRASTRUCTURE_FIELDS[1:], found.parameters, strict=False))
        policy = dict(zip(POLICY_FIELDS, found.policy_parameters, strict=False))
        return {
            "nodeSourceName": found.name,
            "nodesRecoverable": False,
            "infrastructurePluginDescriptor": plugin(found.infrastructure, "", INFRASTRUCTURE_FIELDS, given),
            "policyPluginDescriptor": plugin(found.policy, "", POLICY_FIELDS, policy),
        }

    def define(self, call: Call) -> Any:
        definition = _definition(call)
        return _tried(lambda: self._resources.define(definition, call.user))

    def create(self, call: Call) -> Any:
        definition = _definition(call)
        return _tried(lambda: self._resources.define(definition, call.user, deploy=True))

    def edit(self, call: Call) -> Any:
        definition = _definition(call)
        return _tried(lambda: self._resources.edit(definition))

    def deploy(self, call: Call) -> Any:
        name = call.asked().get("nodeSourceName", "")
        return _tried(lambda: self._resources.deploy(name, call.user))

    def undeploy(self, call: Call) -> Any:
        asked = call.asked()
        return _tried(
            lambda: self._resources.undeploy(asked.get("nodeSourceName", ""), preempt=_truth(asked, "preempt"))
        )

    def remove_source(self, call: Call) -> Any:
        asked = call.asked()
        try:
            self._resources.remove_source(asked.get("name", ""), preempt=_truth(asked, "preempt"))
        except NodeSourceError as error:
            raise RefusedRequestError(400, str(error), "java.lang.IllegalArgumentException") from error
        return True

    def acquire(self, call: Call) -> Any:
        asked = call.query
        number, timeout = asked.get("numbernodes", ""), asked.get("timeout", "600")
        for value in (number, timeout):
            if not re.fullmatch(r"[0-9]{1,9}", value):
                raise RefusedRequestError(400, f'For input string: "{value}"', "java.lang.NumberFormatException")
        wait_s = min(float(timeout), LONGEST_WAIT_S) if asked.get("sync", "false").lower() == "true" else 0.0
        try:
            return self._resources.acquire(call.path["source"], int(number), wait_s=wait_s)
        except NodeSourceError as error:
            raise RefusedRequestError(400, str(error), "java.lang.IllegalArgumentException") from error

    # nodes

    def is_available(self, call: Call) -> Any:
        node = self._resources.node(call.query.get("nodeurl", ""))
        return node is not None and not node.is_placeholder

    def search(self, call: Call) -> Any:
        """Nodes have no tags here: all of them, or none with the tags that are asked for."""
        tags = call.query.getlist("tags")
        return [] if tags else [node.url for node in self._resources.nodes()]

    def remove_node(self, call: Call) -> Any:
        asked = call.asked()
        return self._resources.remove_node(asked.get("url", ""), preempt=_truth(asked, "preempt"))

    def release(self, call: Call) -> Any:
        """Nodes are given back by the jobs that have them: true for one that nobody has."""
        node = self._resources.node(call.asked().get("url", ""))
        return node is not None and node.state == "FREE"

    def lock(self, call: Call) -> Any:
        return self._resources.lock(call.asked().getlist("nodeurls"), call.user)

    def unlock(self, call: Call) -> Any:
        return self._resources.unlock(call.asked().getlist("nodeurls"))

    def add_token(self, call: Call) -> Any:
        token = call.request.headers.get("token", "")
        return self._set_tokens(call, lambda tokens: [*tokens, token])

    def remove_token(self, call: Call) -> Any:
        token = call.request.headers.get("token", "")
        return self._set_tokens(call, lambda tokens: [each for each in tokens if each != token])

    def set_tokens(self, call: Call) -> Any:
        tokens = call.query.getlist("tokens")
        return self._set_tokens(call, lambda _tokens: tokens)

    def _set_tokens(self, call: Call, change: Callable[[list[str]], list[str]]) -> None:
        url = call.request.headers.get("nodeurl", "")
        if not self._resources.set_tokens(url, lambda tokens: [token for token in change(tokens) if token]):
            kind = "org.ow2.proactive.resourcemanager.exception.RMNodeException"
            raise RefusedRequestError(404, f"Unknown node {url}", kind)


def _definition(call: Call) -> Definition:
    asked = call.asked()
    return Definition(
        asked.get("nodeSourceName", ""),
        asked.get("infrastructureType", ""),
        asked.getlist("infrastructureParameters"),
        asked.get("policyType", ""),
        asked.getlist("policyParameters"),
    )


def _tried(change: Callable[[], None]) -> Any:
    """A change of a node source: what is wrong is told in the answer, whose status is 200 all the same."""
    try:
        change()
    except NodeSourceError as error:
        return {"result": False, "errorMessage": str(error), "stackTrace": ""}
    return {"result": True, "errorMessage": "", "stackTrace": ""}


def _truth(asked: Fields, name: str) -> bool:
    return asked.get(name, "").lower() == "true"
