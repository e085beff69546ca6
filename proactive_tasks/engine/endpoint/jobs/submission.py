"""Jobs come in: from a file, from this endpoint's own catalog; or are only judged."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from starlette.routing import BaseRoute

from proactive_tasks.engine import descriptor
from proactive_tasks.engine.endpoint.answers import COMMON, REST, RefusedRequestError
from proactive_tasks.engine.endpoint.calls import WORKFLOW, Call, route
from proactive_tasks.engine.endpoint.jobs.known import job_of
from proactive_tasks.engine.endpoint.jobs.scheduling import SERVICES, Submission
from proactive_tasks.engine.workflow import RefusedError, Workflow

if TYPE_CHECKING:
    from proactive_tasks.engine.endpoint.shared import Endpoint

OBJECT = re.compile(r"/catalog/buckets/([^/]+)/resources/([^/]+)(?:/revisions/([^/]+))?/raw")
XML = ("application/xml", "text/xml")


def routes(endpoint: Endpoint) -> list[BaseRoute]:
    """The routes of submission and validation."""
    job = "/scheduler/jobs/{job}"
    posts = {
        "/scheduler/submit": lambda call: submit(call, from_file(call)),
        "/scheduler/validate": lambda call: validate(call, from_file(call)),
        "/scheduler/jobs": lambda call: submit(call, from_link(call)),
        "/scheduler/jobs/body": lambda call: submit(call, from_link(call, _variables(call.json()))),
        "/scheduler/validateurl": lambda call: validate(call, from_link(call)),
        "/scheduler/validateurl/body": lambda call: validate(call, from_link(call, _variables(call.json()))),
        f"{job}/resubmit/body": lambda call: submit(call, from_job(call, _variables(call.json()))),
        f"{job}/validate/body": lambda call: validate(call, from_job(call, _variables(call.json()))),
        f"{job}/validate": lambda call: validate(call, from_job(call)),
    }
    return [
        *(route(endpoint, "POST", path, handler, limit=WORKFLOW) for path, handler in posts.items()),
        route(endpoint, "GET", f"{job}/resubmit", lambda call: submit(call, from_job(call))),
    ]


# Where the workflow comes from


def from_file(call: Call) -> Submission:
    """The first part that is not `variables`; variables come in a part of that name and in the path."""
    variables: dict[str, str] = dict(call.matrix)
    source: bytes | None = None
    for part in call.parts():
        if part.name == "variables":
            variables |= _variables(_json(part.text))
        elif source is None:
            kind = part.content_type or "text/plain"
            if not any(each in kind for each in XML):
                charset = ";charset=us-ascii" if kind.startswith("text/") and "charset" not in kind else ""
                raise _refused(f"Unknown job descriptor type: {kind}{charset}")
            source = part.content
    if source is None:
        raise _refused("Unknown job descriptor type: no part of the body is a workflow")
    return Submission(source, variables, dict(call.query))


def from_link(call: Call, variables: dict[str, str] | None = None) -> Submission:
    """The workflow that the header `link` names, which must be in this endpoint's own catalog."""
    link = call.request.headers.get("link", "")
    if not link:
        raise _refused("Cannot create workflow without url")
    values = {**call.matrix, **(variables or {})}
    if call.content_type.startswith("multipart/"):
        for part in call.parts():
            values |= _variables(_json(part.text)) if part.name == "variables" else {}
    return Submission(_linked(call, link), values, dict(call.query))


def from_job(call: Call, variables: dict[str, str] | None = None) -> Submission:
    """The workflow of another job, with its variables where no others are given."""
    kept = call.endpoint.scheduling.kept(job_of(call, "resubmit").id)
    values = {**kept.variables, **call.matrix, **(variables or {})}
    return Submission(kept.source, values, {**kept.generic, **dict(call.query)})


def _linked(call: Call, link: str) -> bytes:
    """The content behind a link. Nothing but this endpoint's catalog is asked, so a link leads nowhere else."""
    url = urlsplit(link)
    here = urlsplit(call.endpoint.url)
    own = {call.request.headers.get("host", ""), here.netloc}
    match = OBJECT.fullmatch(url.path)
    if url.scheme not in ("http", "https") or url.netloc not in own or match is None:
        raise RefusedRequestError(
            404,
            f"Cannot access resource {link}: only objects of this endpoint's own catalog are submitted by link",
            "java.io.IOException",
        )
    bucket, name, revision = (None if word is None else unquote(word) for word in match.groups())
    try:
        return call.endpoint.catalog.raw(bucket or "", name or "", revision)
    except (RefusedRequestError, LookupError) as error:
        raise RefusedRequestError(404, f"Cannot access resource {link}: code 404", "java.io.IOException") from error


def _json(text: str) -> Any:
    import json

    try:
        return json.loads(text) if text.strip() else {}
    except (ValueError, RecursionError) as error:
        raise _refused(f"the part `variables` is not JSON: {error}") from error


def _variables(given: Any) -> dict[str, str]:
    """Variables out of JSON: names and texts."""
    if given is None:
        return {}
    if not isinstance(given, dict) or any(isinstance(value, (dict, list)) for value in given.values()):
        raise _refused("variables are a JSON object of names and texts")
    return {name: _text(value) for name, value in given.items() if value is not None}


def _text(value: Any) -> str:
    return ("true" if value else "false") if isinstance(value, bool) else str(value)


# What becomes of it


def submit(call: Call, submission: Submission) -> Any:
    """Take a job in."""
    scheduling = call.endpoint.scheduling
    try:
        workflow = submission.read()
        _check(call, workflow)
    except RefusedError as error:
        raise _refused(_server_text(error)) from error
    return {"id": scheduling.submit(call.user, submission, workflow), "readableName": workflow.name}


def _check(call: Call, workflow: Workflow) -> None:
    credentials = call.endpoint.scheduling.credentials.keys(call.user)
    descriptor.check(workflow, credentials, SERVICES, call.endpoint.catalog.object_fault)


def validate(call: Call, submission: Submission) -> Any:
    """Say whether a job would be taken in, and with which variables."""
    workflow: Workflow | None = None
    fault = trace = task = None
    try:
        workflow = submission.read()
        _check(call, workflow)
    except RefusedError as error:
        trace = _server_text(error)
        fault = str(error).partition(": ")[2]
        named = re.match(r"At \[task=([^\]]+)\]", fault)
        task = named[1] if named else None
    variables = workflow.variables if workflow else {}
    told = {
        "Variables": {name: each.value for name, each in variables.items()},
        "Models": {name: each.model for name, each in variables.items()},
        "Descriptions": {name: each.description for name, each in variables.items()},
        "Groups": {name: each.group for name, each in variables.items()},
        "Advanced": {name: each.advanced for name, each in variables.items()},
        "Hidden": {name: each.hidden for name, each in variables.items()},
    }
    return {
        "valid": fault is None,
        "taskName": task,
        "errorMessage": fault,
        "stackTrace": trace,
        **{f"updated{name}": values if workflow else None for name, values in told.items()},
    }


def _server_text(error: RefusedError) -> str:
    return COMMON + str(error)


def _refused(message: str) -> RefusedRequestError:
    return RefusedRequestError(400, message, f"{REST}JobCreationRestException")
