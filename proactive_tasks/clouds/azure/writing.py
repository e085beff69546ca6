"""Calls that change something in Azure, each as a step."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TypeVar

from proactive_tasks.clouds.azure.calls import Arm, Body
from proactive_tasks.clouds.azure.place import (
    Child,
    Kind,
    Place,
)
from proactive_tasks.clouds.steps import Noted, Steps, Taken, shown

T = TypeVar("T")

NOTHING: Body = {}
TOGETHER = 8  # how many calls go on at a time


def together(steps: Steps, jobs: Sequence[Callable[[], T]]) -> list[T]:
    """Do jobs that do not depend on one another: all at once, where they are really done."""
    if isinstance(steps, Noted) or len(jobs) < 2:
        return [job() for job in jobs]
    with ThreadPoolExecutor(min(len(jobs), TOGETHER)) as pool:
        return [future.result() for future in [pool.submit(job) for job in jobs]]


def put(
    arm: Arm, place: Place, kind: Kind, line: str, name: str, body: Body, steps: Steps, show: Body | None = None
) -> Body:
    """Make a resource, or make it so."""
    call = f"{kind.api}.begin_create_or_update"
    return steps.take(
        f"{kind.label} {name}: {line}",
        shown(call, resource_group_name=place.group, name=name, parameters=show or body),
        lambda: arm.done(f"{call}({name})", lambda: kind.on(arm).begin_create_or_update(place.group, name, body)),
        instead={**body, "id": place.id(kind, name), "name": name},
        makes=(kind.label, name),
    )


def child(
    arm: Arm,
    kind: Child,
    parent: tuple[str, str],
    name: str,
    line: str,
    inner: Body | None,
    steps: Steps,
    *,
    written: bool = False,
) -> None:
    """Put a child of a resource, or delete it: its parent is changed in nothing else.

    `written`: the journal keeps it, since its parent is not ours and does not go with the site.
    """
    verb = "begin_create_or_update" if inner is not None else "begin_delete"
    call, body = f"{kind.api}.{verb}", {} if inner is None else {"parameters": {"properties": inner}}
    do = partial(getattr(kind.on(arm), verb), *parent, name, *body.values())
    entry = (kind.label, "/".join((*parent, name)))
    steps.take(
        f"{kind.label} {name} of {parent[1]}: {line}",
        shown(call, resource_group_name=parent[0], parent=parent[1], name=name, **body),
        lambda: arm.done(f"{call}({parent[1]}/{name})", do, deleting=inner is None),
        instead=NOTHING,
        makes=entry if written and inner is not None else None,
    )
    if written and inner is None and isinstance(steps, Taken):
        steps.journal.gone(*entry)


def delete(arm: Arm, place: Place, kind: Kind, name: str, line: str, steps: Steps) -> None:
    """Delete a resource of the site's group."""
    call = f"{kind.api}.begin_delete"
    steps.take(
        f"{kind.label} {name}: {line}",
        shown(call, resource_group_name=place.group, name=name),
        lambda: arm.done(f"{call}({name})", lambda: kind.on(arm).begin_delete(place.group, name), deleting=True),
        instead=NOTHING,
    )
    if isinstance(steps, Taken):
        steps.journal.gone(kind.label, name)
