"""Calls a task with typed arguments out of a scheduler's bindings, and hands its result back.

The script of a task in a job descriptor is

    from proactive_tasks import provision_gateway
    from proactive_tasks.scheduler.binding import call
    result = call(provision_gateway.provision_gateway, globals())

and works alike whether the bindings are py4j's views of Java maps or the embedded engine's. Nothing is taken for
granted of their types: a scheduler's `variables.get` ignores its default, and every declared variable is a string.
"""

from __future__ import annotations

import contextlib
import inspect
import io
import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence, Set
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_type_hints

from pydantic import TypeAdapter, ValidationError

from proactive_tasks.clouds.credentials import provide
from proactive_tasks.overlay.errors import InputError, OverlayError, SchedulerError, StoreUnavailableError
from proactive_tasks.overlay.result import Result
from proactive_tasks.scheduler import EMBEDDED
from proactive_tasks.scheduler.context import PASSPHRASE, VAULT_KEY, Context, passphrase_of
from proactive_tasks.scheduler.owners import is_over, owner
from proactive_tasks.store import Store
from proactive_tasks.store.location import default_store_url

if TYPE_CHECKING:
    from proactive_tasks.scheduler.client import Scheduler

STORE_PASSWORD = "OVERLAY_STORE_PASSWORD"  # noqa: S105 - the name of a credential, not one

PROGRESS_FILE = "PA_TASK_PROGRESS_FILE"

PATIENCE_S = 3.0
"""How long the scheduler is tried for word of another job; the lock that is waited for ends by itself, too."""


def call(task: Callable[..., Result], bindings: Mapping[str, Any]) -> str | bytes:
    """Run a task and return what the scheduler is to keep: a JSON string, or the document of a preview.

    Errors that the package raises on purpose end the process with exit code 1 and one line; others with a traceback.
    """
    variables = bindings["variables"]
    name = str(variables.get("PA_TASK_NAME") or task.__name__)
    _speak_any_tongue()
    try:
        provide(lambda key: _credential(bindings, key))
        url = _store_url(bindings)
        with Store.open(url) as store:
            store.is_over = is_over(variables, store, url, lambda: _scheduler(bindings, PATIENCE_S))
            context = Context(
                store=store,
                actor=f"job {variables.get('PA_JOB_ID') or '-'} {name}",
                job=owner(variables, url),
                passphrase=lambda: passphrase_of({PASSPHRASE: _credential(bindings, PASSPHRASE)}),
                vault_key=bytes.fromhex(_credential(bindings, VAULT_KEY)),
                progress=lambda percent, line: _progress(bindings, percent, line),
                scheduler=lambda: _scheduler(bindings),
            )
            outcome = task(context, **arguments(task, bindings))
            if calls := context.calls():
                outcome.facts["api_calls"] = calls
    except OverlayError as error:
        print(f"{name}: {' '.join(str(error).split())}", file=sys.stderr, flush=True)
        sys.exit(1)
    return _hand_back(outcome, bindings)


def arguments(task: Callable[..., Result], bindings: Mapping[str, Any]) -> dict[str, Any]:
    """The keyword arguments of a task: its share of the replication first, then variables of the same name.

    Raises:
        InputError: a value does not fit its type, or a required one is missing.
    """
    share = _share(bindings)
    variables = bindings["variables"]
    types = get_type_hints(task)
    found: dict[str, Any] = {}
    for name, parameter in inspect.signature(task).parameters.items():
        if parameter.kind is not inspect.Parameter.KEYWORD_ONLY:
            continue
        value = share.get(name)
        if value is None:
            value = variables.get(name.upper())
        if value is None or value == "":
            if parameter.default is inspect.Parameter.empty:
                raise InputError(f"variable {name.upper()} is missing; this task cannot do without it")
            continue
        found[name] = _typed(name, value, types[name])
    return found


def _share(bindings: Mapping[str, Any]) -> dict[str, Any]:
    """This replica's arguments, as the task that asked for the replication listed them."""
    index = bindings["variables"].get("PA_TASK_REPLICATION")
    parents = list(bindings.get("results") or [])
    if index is None or len(parents) != 1 or parents[0].hadException():
        return {}
    value = plain(parents[0].value())
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError:
            return {}
    replicas = value.get("replicas") if isinstance(value, dict) else None
    if not isinstance(replicas, list) or not 0 <= int(index) < len(replicas):
        return {}
    share = replicas[int(index)]
    return share if isinstance(share, dict) else {}


def plain(value: Any) -> Any:
    """A value of the bindings as Python's own: py4j's maps, lists, arrays and sets are neither dict nor list."""
    if isinstance(value, (str, bytes, bytearray)):
        return value
    if isinstance(value, Mapping):
        return {key: plain(value[key]) for key in value}
    if isinstance(value, (Sequence, Set)):
        return [plain(item) for item in value]
    return value


def _typed(name: str, value: Any, wanted: Any) -> Any:
    adapter: TypeAdapter[Any] = TypeAdapter(wanted)
    value = plain(value)
    if isinstance(value, (dict, list)) and wanted is str:
        value = json.dumps(value)  # a task in between may have read a text that is JSON
    try:
        if isinstance(value, str) and wanted is not str:
            try:
                return adapter.validate_json(value)
            except ValidationError:
                return adapter.validate_python(value)  # "True", "1" and the like, as a form writes them
        return adapter.validate_python(value)
    except ValidationError as error:
        raise InputError(f"variable {name.upper()}: {error.errors()[0]['msg']}, got {str(value)[:80]!r}") from None


def _credential(bindings: Mapping[str, Any], key: str) -> str:
    credentials = bindings.get("credentials")
    return str((credentials.get(key) if credentials is not None else None) or "")


def _scheduler(bindings: Mapping[str, Any], patience_s: float | None = None) -> Scheduler:
    """The scheduler that runs this task, with the session that it gives the job's owner."""
    url, api = str(bindings["variables"].get("PA_SCHEDULER_REST_URL") or ""), bindings.get("schedulerapi")
    if not url or api is None:
        raise InputError("this task asks the scheduler that runs it, and none does: submit its workflow to one")
    from proactive_tasks.scheduler.client import Scheduler

    try:
        api.connect()
        session = str(api.getSession())
    except Exception as error:  # whatever Java's side throws comes as a class of py4j's
        raise SchedulerError(f"{url}: no session for this task: {' '.join(str(error).split())[:200]}") from error
    return Scheduler(
        url.removesuffix("/").removesuffix("/rest"),
        session=session,
        catalog_url=str(bindings["variables"].get("PA_CATALOG_REST_URL") or ""),
        patience_s=patience_s,
    )


def _store_url(bindings: Mapping[str, Any]) -> str:
    url = str(bindings["variables"].get("STORE") or os.environ.get("OVERLAY_STORE") or default_store_url())
    if url.startswith("sqlite"):
        if os.environ.get(EMBEDDED) or str(bindings["variables"].get("SINGLE_NODE")).lower() == "true":
            return url
        raise StoreUnavailableError(
            "the store is SQLite, which tasks on several nodes cannot share: set STORE to a PostgreSQL URL, "
            "or SINGLE_NODE to true if all tasks run on one node"
        )
    password = _credential(bindings, STORE_PASSWORD)
    if not password:
        return url
    from sqlalchemy import make_url

    return make_url(url).set(password=password).render_as_string(hide_password=False)


def _progress(bindings: Mapping[str, Any], percent: int, line: str) -> None:
    """Tell the task's log, and the scheduler: by the file that it names for that, else by its object."""
    print(line, flush=True)
    with contextlib.suppress(Exception):  # no task fails because nobody is told how far it is
        path = os.environ.get(PROGRESS_FILE) or bindings["variables"].get(PROGRESS_FILE)
        if path:
            Path(str(path)).write_text(str(percent), encoding="ascii")
        elif (progress := bindings.get("progress")) is not None:
            progress.set(percent)


def _speak_any_tongue() -> None:
    """What the node's locale cannot write is written by its number: no task fails for the frame of a table."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _hand_back(outcome: Result, bindings: Mapping[str, Any]) -> str | bytes:
    for line in outcome.difference:
        print(f"  {line}")
    for name, value in outcome.variables.items():
        bindings["variables"].put(str(name), str(value))
    for name, value in outcome.result_map.items():
        bindings["resultMap"].put(str(name), str(value))
    for warning in outcome.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    if outcome.preview is None:
        return outcome.to_json()
    content_type, document = outcome.preview
    metadata = bindings["resultMetadata"]
    extension = content_type.rsplit("/", 1)[-1]
    metadata.put("content.type", content_type)
    metadata.put("file.name", f"{outcome.task}.{extension}")
    metadata.put("file.extension", extension)
    bindings["resultMap"].put(outcome.task, outcome.to_json())
    return document
