"""The resource manager's REST, as a server 13.0.3 answers it."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import BaseRoute, Route

from proactive_tasks.engine.endpoint import uploads
from proactive_tasks.engine.endpoint.answers import NOT_CONNECTED, RefusedRequestError
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
    from proactive_tasks.engine.endpoint.app import Endpoint

VERSION = "13.0.3"
COMMON = "org.ow2.proactive.scheduler.common.exception."
LONGEST_WAIT_S = 600.0
FORM = 1_000_000
Handler = Callable[[Request], Awaitable[Response]]


def routes(endpoint: Endpoint) -> list[BaseRoute]:
    """The routes below /rest/rm; none where the endpoint's nodes have no resource manager."""
    if not isinstance(endpoint.resources, Resources):
        return []
    answers = _Answers(endpoint, endpoint.resources)
    table: list[tuple[str, str, Handler]] = [
        ("POST", "login", answers.log_in),
        ("POST", "disconnect", answers.disconnect),
        ("GET", "version", answers.version),
        ("GET", "url", answers.url),
        ("GET", "logins/sessionid/{session}", answers.login_of),
        ("GET", "logins/sessionid/{session}/userdata", answers.user_data),
        ("GET", "isactive", answers.is_active),
        ("GET", "state", answers.state),
        ("GET", "monitoring", answers.monitoring),
        ("GET", "monitoring/full", answers.everything),
        ("GET", "topology", answers.topology),
        ("GET", "model/hosts", answers.model_hosts),
        ("GET", "model/nodesources", answers.model_sources),
        ("GET", "model/tokens", answers.model_tokens),
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
    return [Route(f"/rm/{path}", handler, methods=[method]) for method, path, handler in table]


class _Answers:
    """A method for each route."""

    def __init__(self, endpoint: Endpoint, resources: Resources) -> None:
        self._sessions = endpoint.sessions
        self._resources = resources

    def _user(self, request: Request) -> str:
        session = self._sessions.find(request.headers.get("sessionid", ""))
        if session is None:
            raise RefusedRequestError(401, NOT_CONNECTED, f"{COMMON}NotConnectedException")
        return session.user

    # who asks

    async def log_in(self, request: Request) -> Response:
        asked = await uploads.sent(request, FORM)
        user, password = asked.get("username"), asked.get("password")
        kind = "javax.security.auth.login.LoginException"
        if not user or not password:
            raise RefusedRequestError(404, "Empty login/password", kind)
        session = await run_in_threadpool(self._sessions.log_in, user, password)
        if session is None:
            raise RefusedRequestError(404, "Authentication failed", kind)
        return PlainTextResponse(session.identifier)

    async def disconnect(self, request: Request) -> Response:
        self._user(request)
        self._sessions.close(request.headers.get("sessionid", ""))
        return Response(status_code=204)

    async def login_of(self, request: Request) -> Response:
        session = self._sessions.find(request.path_params["session"])
        return PlainTextResponse(session.user) if session else Response(status_code=204)

    async def user_data(self, request: Request) -> Response:
        session = self._sessions.find(request.path_params["session"])
        if session is None:
            return Response(status_code=204)
        return JSONResponse({"userName": session.user, "groups": [], "adminRoles": [], "filteredPermissions": []})

    async def version(self, _request: Request) -> Response:
        return PlainTextResponse(f'{{ "rm" : "{VERSION}", "rest" : "{VERSION}"}}')

    async def url(self, request: Request) -> Response:
        return PlainTextResponse(f"{request.url.scheme}://{request.url.netloc}")

    async def is_active(self, request: Request) -> Response:
        self._user(request)
        return JSONResponse(True)

    async def monitoring(self, request: Request) -> Response:
        self._user(request)
        counter = request.headers.get("clientCounter", "").strip() or "-1"
        if not re.fullmatch(r"[+-]?[0-9]{1,19}", counter):
            raise RefusedRequestError(400, f'For input string: "{counter}"', "java.lang.NumberFormatException")
        answer = self._resources.since(int(counter))
        return JSONResponse({"latestCounter": answer.latest, **told(answer.sources, answer.nodes)})

    async def everything(self, request: Request) -> Response:
        self._user(request)
        answer = self._resources.since(0)
        return JSONResponse(told(answer.sources, answer.nodes))

    async def state(self, request: Request) -> Response:
        self._user(request)
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
        return JSONResponse({"rmNodeUrls": urls, **urls, **numbers})

    async def topology(self, request: Request) -> Response:
        self._user(request)
        hosts = sorted({node.host for node in self._resources.nodes() if node.host})
        return JSONResponse({"distances": {host: {} for host in hosts}, "hosts": {host: f"/{host}" for host in hosts}})

    async def model_hosts(self, _request: Request) -> Response:
        return PlainTextResponse(model({node.host for node in self._resources.nodes() if node.host}))

    async def model_sources(self, _request: Request) -> Response:
        return PlainTextResponse(model({"Default"} | {source.name for source in self._resources.sources()}))

    async def model_tokens(self, _request: Request) -> Response:
        return PlainTextResponse(model(set(self._resources.tokens())))

    # node sources

    async def sources(self, request: Request) -> Response:
        self._user(request)
        return JSONResponse([source_told(source) for source in self._resources.sources()])

    async def infrastructures(self, request: Request) -> Response:
        self._user(request)
        return JSONResponse([plugin(INFRASTRUCTURE, "Deploys nodes on this machine", INFRASTRUCTURE_FIELDS)])

    async def policies(self, request: Request) -> Response:
        self._user(request)
        return JSONResponse([plugin(policy, title, POLICY_FIELDS) for policy, title in POLICIES.items()])

    async def mapping(self, request: Request) -> Response:
        self._user(request)
        return JSONResponse({INFRASTRUCTURE: list(POLICIES)})

    async def configuration(self, request: Request) -> Response:
        self._user(request)
        name = request.query_params.get("nodeSourceName", "")
        try:
            found = self._resources.definition(name)
        except NodeSourceError as error:
            raise RefusedRequestError(400, str(error), "java.lang.IllegalArgumentException") from error
        given = dict(zip(INFRASTRUCTURE_FIELDS[1:], found.parameters, strict=False))
        policy = dict(zip(POLICY_FIELDS, found.policy_parameters, strict=False))
        return JSONResponse(
            {
                "nodeSourceName": found.name,
                "nodesRecoverable": False,
                "infrastructurePluginDescriptor": plugin(found.infrastructure, "", INFRASTRUCTURE_FIELDS, given),
                "policyPluginDescriptor": plugin(found.policy, "", POLICY_FIELDS, policy),
            }
        )

    async def define(self, request: Request) -> Response:
        user, definition = self._user(request), await _definition(request)
        return _tried(lambda: self._resources.define(definition, user))

    async def create(self, request: Request) -> Response:
        user, definition = self._user(request), await _definition(request)
        return _tried(lambda: self._resources.define(definition, user, deploy=True))

    async def edit(self, request: Request) -> Response:
        self._user(request)
        definition = await _definition(request)
        return _tried(lambda: self._resources.edit(definition))

    async def deploy(self, request: Request) -> Response:
        user, asked = self._user(request), await uploads.sent(request, FORM)
        return _tried(lambda: self._resources.deploy(asked.get("nodeSourceName"), user))

    async def undeploy(self, request: Request) -> Response:
        self._user(request)
        asked = await uploads.sent(request, FORM)
        return _tried(lambda: self._resources.undeploy(asked.get("nodeSourceName"), preempt=_truth(asked, "preempt")))

    async def remove_source(self, request: Request) -> Response:
        self._user(request)
        asked = await uploads.sent(request, FORM)
        try:
            self._resources.remove_source(asked.get("name"), preempt=_truth(asked, "preempt"))
        except NodeSourceError as error:
            raise RefusedRequestError(400, str(error), "java.lang.IllegalArgumentException") from error
        return JSONResponse(True)

    async def acquire(self, request: Request) -> Response:
        self._user(request)
        asked = request.query_params
        number, timeout = asked.get("numbernodes", ""), asked.get("timeout", "600")
        for value in (number, timeout):
            if not re.fullmatch(r"[0-9]{1,9}", value):
                raise RefusedRequestError(400, f'For input string: "{value}"', "java.lang.NumberFormatException")
        wait_s = min(float(timeout), LONGEST_WAIT_S) if asked.get("sync", "false").lower() == "true" else 0.0
        try:
            nodes = await run_in_threadpool(
                self._resources.acquire, request.path_params["source"], int(number), wait_s=wait_s
            )
        except NodeSourceError as error:
            raise RefusedRequestError(400, str(error), "java.lang.IllegalArgumentException") from error
        return JSONResponse(nodes)

    # nodes

    async def is_available(self, request: Request) -> Response:
        self._user(request)
        node = self._resources.node(request.query_params.get("nodeurl", ""))
        return JSONResponse(node is not None and not node.is_placeholder)

    async def search(self, request: Request) -> Response:
        """Nodes have no tags here: all of them, or none with the tags that are asked for."""
        self._user(request)
        tags = request.query_params.getlist("tags")
        return JSONResponse([] if tags else [node.url for node in self._resources.nodes()])

    async def remove_node(self, request: Request) -> Response:
        self._user(request)
        asked = await uploads.sent(request, FORM)
        return JSONResponse(self._resources.remove_node(asked.get("url"), preempt=_truth(asked, "preempt")))

    async def release(self, request: Request) -> Response:
        """Nodes are given back by the jobs that have them: true for one that nobody has."""
        self._user(request)
        node = self._resources.node((await uploads.sent(request, FORM)).get("url"))
        return JSONResponse(node is not None and node.state == "FREE")

    async def lock(self, request: Request) -> Response:
        user, asked = self._user(request), await uploads.sent(request, FORM)
        return JSONResponse(self._resources.lock(asked.all("nodeurls"), user))

    async def unlock(self, request: Request) -> Response:
        self._user(request)
        return JSONResponse(self._resources.unlock((await uploads.sent(request, FORM)).all("nodeurls")))

    async def add_token(self, request: Request) -> Response:
        token = request.headers.get("token", "")
        return self._set_tokens(request, lambda tokens: [*tokens, token])

    async def remove_token(self, request: Request) -> Response:
        token = request.headers.get("token", "")
        return self._set_tokens(request, lambda tokens: [each for each in tokens if each != token])

    async def set_tokens(self, request: Request) -> Response:
        tokens = request.query_params.getlist("tokens")
        return self._set_tokens(request, lambda _tokens: tokens)

    def _set_tokens(self, request: Request, change: Callable[[list[str]], list[str]]) -> Response:
        self._user(request)
        url = request.headers.get("nodeurl", "")
        if not self._resources.set_tokens(url, lambda tokens: [token for token in change(tokens) if token]):
            kind = "org.ow2.proactive.resourcemanager.exception.RMNodeException"
            raise RefusedRequestError(404, f"Unknown node {url}", kind)
        return Response(status_code=204)


async def _definition(request: Request) -> Definition:
    asked = await uploads.sent(request, FORM)
    return Definition(
        asked.get("nodeSourceName"),
        asked.get("infrastructureType"),
        asked.all("infrastructureParameters"),
        asked.get("policyType"),
        asked.all("policyParameters"),
    )


def _tried(change: Callable[[], None]) -> Response:
    """A change of a node source: what is wrong is told in the answer, whose status is 200 all the same."""
    try:
        change()
    except NodeSourceError as error:
        return JSONResponse({"result": False, "errorMessage": str(error), "stackTrace": ""})
    return JSONResponse({"result": True, "errorMessage": "", "stackTrace": ""})


def _truth(asked: uploads.Sent, name: str) -> bool:
    return asked.get(name).lower() == "true"
