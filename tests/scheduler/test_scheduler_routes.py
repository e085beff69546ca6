"""Every route that the endpoint serves and the client calls is one of the scheduler's: its own annotations say so.

The interfaces of rest-api-13.0.3.jar carry the paths, verbs and parameters by which the server is made and the
scheduler's clients call it.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple, get_type_hints

import pytest
from starlette.routing import Mount, Route

from proactive_tasks.engine.endpoint.app import application
from proactive_tasks.engine.endpoint.resources.manager import Resources
from proactive_tasks.engine.endpoint.shared import Endpoint
from proactive_tasks.scheduler.client import Scheduler
from proactive_tasks.scheduler.client.rest import Rest
from tests.javaside import Java

NOT_ANNOTATED = {
    ("GET", "/scheduler/events"): "a WebSocket, which the scheduler serves beside these interfaces",
    ("GET", "/scheduler/version"): "the server answers it beside these interfaces: seen on a server 13.0.3",
}
"""Routes that the endpoint serves and these interfaces do not hold, and where they come from."""


class Known(NamedTuple):
    """What the annotations allow on one route."""

    query: frozenset[str]
    form: frozenset[str]
    header: frozenset[str]
    any_query: bool
    any_matrix: bool


def shape(path: str) -> str:
    """A path with `{}` for what varies; a pattern that allows one text only is that text."""
    found, depth, name = "", 0, ""
    for letter in path:
        depth += letter == "{"
        if depth:
            name += letter
        else:
            found += letter
        depth -= letter == "}"
        if name and not depth:
            pattern = name[1:-1].partition(":")[2]
            found += pattern if re.fullmatch(r"[\w/]{2,}", pattern) and pattern != "path" else "{}"
            name = ""
    return re.sub("/+", "/", found)


@pytest.fixture(scope="module")
def annotated(harness: Java) -> dict[tuple[str, str], Known]:
    routes: dict[tuple[str, str], Known] = {}
    for route in harness.ask("routes")["routes"]:
        key = (route["verb"], shape(route["path"]))
        given = route["parameters"]
        before = routes.get(key, Known(frozenset(), frozenset(), frozenset(), False, False))
        routes[key] = Known(
            before.query | set(given["query"]),
            before.form | set(given["form"]),
            before.header | {name.lower() for name in given["header"]},
            before.any_query or route["any_query"],
            before.any_matrix or route["any_matrix"],
        )
    return routes


def test_the_interfaces_are_read(annotated: dict[tuple[str, str], Known]) -> None:
    assert len(annotated) > 150
    assert annotated["GET", "/rm/monitoring"].header == {"sessionid", "clientcounter"}
    assert annotated["POST", "/scheduler/submit"].any_matrix
    assert "signal" in annotated["POST", "/scheduler/job/{}/signals"].query


def served() -> Iterator[tuple[str, str]]:
    """Verb and path of every route below /rest."""
    parts: dict[str, Any] = {name: SimpleNamespace() for name in inspect.signature(Endpoint).parameters}
    parts |= {"resources": Resources.__new__(Resources), "url": ""}

    def walk(routes: Any, above: str) -> Iterator[tuple[str, str]]:
        for route in routes:
            if isinstance(route, Mount):
                yield from walk(route.routes, above + route.path)
            else:
                verbs = route.methods if isinstance(route, Route) and route.methods else {"GET"}
                yield from ((verb, above + route.path) for verb in verbs)

    for verb, path in walk(application(Endpoint(**parts)).routes, ""):
        if path.startswith("/rest/"):
            yield verb, path.removeprefix("/rest")


def test_every_route_that_the_endpoint_serves_is_one_of_the_schedulers(
    annotated: dict[tuple[str, str], Known],
) -> None:
    bare = {(verb, path.rstrip("/")) for verb, path in {*annotated, *NOT_ANNOTATED}}
    routes = {(verb, shape(path)) for verb, path in served()}
    assert len(routes) > 100
    assert {path for _, path in routes if path.startswith("/rm/")}
    unknown = {
        (verb, path)
        for verb, path in routes - set(annotated)
        # every GET brings a HEAD along, and the scheduler's server takes a path with or without a last slash
        if ("GET" if verb == "HEAD" else verb, path.rstrip("/")) not in bare
    }
    assert not unknown


class StopError(Exception):
    """Ends a call of the client once it is written down."""


class Call(NamedTuple):
    """What the client asked for."""

    made_by: str
    verb: str
    path: str
    options: dict[str, Any]


def _sample(hint: Any) -> Any:
    text = str(hint)
    if hint is bool:
        return True
    for kind, value in (("Mapping[str", {"A": "b"}), ("dict[", {"A": "b"}), ("Sequence[", ["a"]), ("tuple[", ["a"])):
        if kind in text:
            return value
    for kind, value in (("bytes", b"<job/>"), ("int", 1), ("float", 1.0), ("Path", Path("/dev/null"))):
        if re.search(rf"\b{kind}\b", text):
            return value
    return "user" if hint is str else None


def _called(patch: pytest.MonkeyPatch) -> list[Call]:
    """The first request of every method of the client, each with arguments of its types."""
    calls: list[Call] = []
    maker = ""

    def call(_self: Rest, method: str, path: str, **options: Any) -> Any:
        if path == "/rest/scheduler/version" and maker != "version":  # a form of this release is wanted
            return SimpleNamespace(content=b'{"scheduler": "13.0.3", "rest": "13.0.3"}', status_code=200)
        calls.append(Call(maker, method, path, options))
        raise StopError

    patch.setattr(Rest, "call", call)
    scheduler = Scheduler("http://localhost:1", session="a session")
    for part in (scheduler, scheduler.catalog, scheduler.resources):
        for maker, method in inspect.getmembers(part, inspect.ismethod):
            if maker.startswith("_") or maker in ("close", "connect", "wait", "link"):
                continue
            hints = get_type_hints(method)
            given = {
                name: _sample(hints[name])
                for name, parameter in inspect.signature(method).parameters.items()
                if parameter.kind is not inspect.Parameter.VAR_KEYWORD and hints.get(name) is not None
            }
            try:
                method(**given)
            except StopError:
                pass
            else:
                pytest.fail(f"{maker} asks for nothing")
    return calls


def _names(pairs: Any) -> set[str]:
    return set(pairs) if isinstance(pairs, Mapping) else {name for name, _ in pairs or ()}


def test_every_call_of_the_client_is_one_of_the_schedulers(
    annotated: dict[tuple[str, str], Known], monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = _called(monkeypatch)
    made = {call.made_by for call in calls}
    assert {"submit", "job", "value", "put_credential", "upload", "monitoring", "add_token"} <= made
    patterns = [
        (verb, re.compile(re.escape(path).replace(r"\{\}", "[^;]*?" if "{}{}" in path else "[^/;]+")), known)
        for (verb, path), known in annotated.items()
    ]
    for call in calls:
        path, _, matrix = call.path.partition(";")
        if path.startswith("/catalog"):
            continue  # another service, whose interfaces are in no package
        path = path.removeprefix("/rest")
        if (call.verb, path) in NOT_ANNOTATED:
            continue
        found = [
            known
            for verb, pattern, known in patterns
            if verb == call.verb and (pattern.fullmatch(path) or (path.startswith("/data/") and pattern.match(path)))
        ]
        assert found, f"{call.made_by}: {call.verb} {call.path}"
        known = next((each for each in found if _fits(call, each, matrix)), None)
        assert known, f"{call.made_by}: {call.verb} {call.path} {call.options}: none of {found}"


def _fits(call: Call, known: Known, matrix: str) -> bool:
    """Whether a route has all parameters of a call."""
    headers = {name.lower() for name in call.options.get("headers") or ()} - {"content-type", "accept"}
    return (
        (known.any_query or _names(call.options.get("params")) <= known.query)
        and (_names(call.options.get("form")) <= known.form)
        and headers <= known.header | {"accept-encoding"}
        and (not matrix or known.any_matrix)
    )
