"""Brings a package into a catalog, object by object, and verifies what a catalog holds of it.

Every revision sent is one more, of the same content, too, and what is stored is not what was sent: so an object is
known again by its commit message, which holds version and digest, and else by its content.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum

from lxml import etree

from proactive_tasks.engine import descriptor
from proactive_tasks.engine.workflow import NotSupportedError
from proactive_tasks.overlay.errors import (
    InputError,
    SchedulerError,
    SchedulerInputError,
    SchedulerUnreachableError,
    SchedulerVersionError,
    WorkflowError,
)
from proactive_tasks.scheduler.client import Scheduler
from proactive_tasks.scheduler.client.catalog import CatalogObject
from proactive_tasks.scheduler.package.comparing import difference
from proactive_tasks.scheduler.package.packaging import Package, PackageObject

PUBLIC = "public-objects"
"""The group that owns a bucket for everybody; a catalog takes it by itself."""


class State(StrEnum):
    """What became of an object, or how it was found."""

    ADDED = "added"
    REVISED = "revised"
    PRESENT = "there already"
    REFUSED = "refused"
    SAME = "as packaged"
    MISSING = "missing"
    DIFFERENT = "different"
    EXTRA = "not of the package"


@dataclass(frozen=True)
class Outcome:
    """An object or file, and what became of it."""

    name: str
    kind: str
    state: State
    detail: str = ""
    counts: bool = True
    """Whether a fault of it makes the whole one."""


def chosen(package: Package, only: Collection[str]) -> list[PackageObject]:
    """The objects of these names, or all.

    Raises:
        InputError: the package has none of such a name.
    """
    names = {each.name for each in package.objects}
    if unknown := sorted(set(only) - names):
        near = [name for name in sorted(names) if any(word.lower() in name.lower() for word in unknown)]
        raise InputError(f"object {', '.join(unknown)}: not in the package; it has: {', '.join(near or sorted(names))}")
    return [each for each in package.objects if not only or each.name in only]


def check(objects: Collection[PackageObject]) -> None:
    """Judge every object as far as that is possible here.

    Raises:
        WorkflowError: one is refused; the message names it and the reason.
    """
    for each in objects:
        try:
            if each.workflow:
                with suppress(NotSupportedError):  # a scheduler may run what the embedded engine does not
                    descriptor.load(each.content)
            elif each.content_type == "text/x-python":
                compile(each.content, each.file, "exec")
            elif each.content_type == "application/xml":
                etree.fromstring(each.content, etree.XMLParser(resolve_entities=False, no_network=True))
        except (WorkflowError, SyntaxError, etree.XMLSyntaxError) as error:
            raise WorkflowError(f"object {each.name} ({each.file}): {error}; nothing was sent") from error


def bring(
    scheduler: Scheduler, package: Package, objects: Collection[PackageObject], *, dry_run: bool = False
) -> Iterator[Outcome]:
    """Add what the catalog lacks and revise what it has in another form.

    Raises:
        SchedulerError: the server cannot be asked, or the bucket cannot be made.
    """
    catalog, bucket = scheduler.catalog, package.bucket
    there = bucket in {each.name for each in catalog.buckets()}
    known = {each.name: each for each in catalog.objects(bucket)} if there else {}
    filled = bool(known)
    if not there and not dry_run:  # its first object follows at once: an empty bucket may be swept away by anybody
        _create_bucket(scheduler, package)
    for each in objects:
        outcome = _bring(scheduler, package, each, known.get(each.name), dry_run=dry_run)
        filled = filled or outcome.state is not State.REFUSED
        yield outcome
    if not there and not filled and not dry_run:
        catalog.remove_bucket(bucket)


def _create_bucket(scheduler: Scheduler, package: Package) -> None:
    owner = "" if package.user_group == PUBLIC else f"GROUP:{package.user_group}"
    try:
        scheduler.catalog.create_bucket(package.bucket, owner)
    except SchedulerInputError as error:
        if error.status != 409:
            raise
        raise SchedulerInputError(
            f"bucket {package.bucket}: it is there, but this user may not see it; have its owner grant it, "
            "or choose another with --bucket",
            error.status,
        ) from error


def _bring(
    scheduler: Scheduler, package: Package, wanted: PackageObject, found: CatalogObject | None, *, dry_run: bool
) -> Outcome:
    catalog, bucket, message = scheduler.catalog, package.bucket, package.message_for(wanted)
    state = State.ADDED if found is None else State.REVISED
    sent = (wanted.content, wanted.content_type, message, wanted.project, wanted.tags, wanted.file)
    try:
        if found is not None:
            if told := _other_sort(wanted, found):
                advice = "remove it there, or choose another bucket"
                return Outcome(wanted.name, wanted.kind, State.REFUSED, f"{told}, which no revision changes: {advice}")
            if found.message == message or not _difference(scheduler, bucket, wanted):
                return Outcome(wanted.name, wanted.kind, State.PRESENT, _project(wanted, found))
            if not dry_run:
                catalog.revise(bucket, wanted.name, *sent)
        elif not dry_run:
            catalog.add(bucket, wanted.name, wanted.kind, *sent)
    except SchedulerError as error:
        if not _of_the_object(error):
            raise
        return Outcome(wanted.name, wanted.kind, State.REFUSED, str(error))
    return Outcome(wanted.name, wanted.kind, state)


def _difference(scheduler: Scheduler, bucket: str, wanted: PackageObject) -> str:
    """How the content that is there differs; one that cannot be had, as after an import without its file, does."""
    try:
        return difference(wanted, scheduler.catalog.raw(bucket, wanted.name))
    except SchedulerError as error:
        if not _of_the_object(error):
            raise
        return f"its content cannot be had: {error}"


def _of_the_object(error: SchedulerError) -> bool:
    """Whether a catalog's refusal is about one object, so that the others may go on."""
    return not isinstance(error, SchedulerUnreachableError | SchedulerVersionError) and error.status not in {0, 401}


def _other_sort(wanted: PackageObject, found: CatalogObject) -> str:
    """How the object that is there is of another sort; empty where it is not."""
    if found.kind.lower() != wanted.kind.lower():
        return f"it is there as {found.kind}"
    if found.content_type.lower() != wanted.content_type.lower():
        return f"it is there with the content type {found.content_type}"
    return ""


def _project(wanted: PackageObject, found: CatalogObject) -> str:
    """A word on an object's project, which some installers forget when they revise it; it is no fault."""
    return "" if found.project == wanted.project else f"its project is {found.project!r}"


def bring_files(scheduler: Scheduler, package: Package, *, dry_run: bool = False) -> Iterator[Outcome]:
    """Put the package's files into the global data space, unless they are there with this very content."""
    for name, content in package.files.items():
        path = f"{package.slug}/{name}"
        try:
            there = _file(scheduler, path)
            if there == content:
                yield Outcome(path, "global space", State.PRESENT)
                continue
            if not dry_run:
                scheduler.upload("global", path, content)
        except SchedulerError as error:
            if not _of_the_object(error):
                raise
            yield Outcome(path, "global space", State.REFUSED, str(error))
        else:
            yield Outcome(path, "global space", State.ADDED if there is None else State.REVISED)


def verify(scheduler: Scheduler, package: Package, objects: Collection[PackageObject]) -> Iterator[Outcome]:
    """Compare what the catalog holds with the package, whoever put it there; what else it holds is told, too."""
    catalog, bucket = scheduler.catalog, package.bucket
    there = bucket in {each.name for each in catalog.buckets()}
    known = {each.name: each for each in catalog.objects(bucket)} if there else {}
    for wanted in objects:
        found = known.get(wanted.name)
        if found is None:
            where = f"bucket {bucket}" if there else f"there is no bucket {bucket}"
            yield Outcome(wanted.name, wanted.kind, State.MISSING, where)
            continue
        if told := _other_sort(wanted, found) or _difference(scheduler, bucket, wanted):
            yield Outcome(wanted.name, wanted.kind, State.DIFFERENT, told)
        else:
            yield Outcome(wanted.name, wanted.kind, State.SAME, _project(wanted, found))
    names = {each.name for each in package.objects}
    for name in sorted(set(known) - names):
        yield Outcome(name, known[name].kind, State.EXTRA, counts=False)


def verify_files(scheduler: Scheduler, package: Package) -> Iterator[Outcome]:
    """Compare the package's files with those in the global data space.

    One that is missing is told and no fault: only tasks whose NODE_ENVIRONMENT is `wheel` want it.
    """
    for name, content in package.files.items():
        path = f"{package.slug}/{name}"
        try:
            there = _file(scheduler, path)
        except SchedulerInputError as error:
            yield Outcome(path, "global space", State.MISSING, str(error), counts=False)
            continue
        if there is None:
            told = "only tasks with NODE_ENVIRONMENT=wheel want it"
            yield Outcome(path, "global space", State.MISSING, told, counts=False)
        elif there != content:
            digest = hashlib.sha256(there).hexdigest()[:12]
            yield Outcome(path, "global space", State.DIFFERENT, f"{len(there)} bytes are there, sha256:{digest}")
        else:
            yield Outcome(path, "global space", State.SAME)


def _file(scheduler: Scheduler, path: str) -> bytes | None:
    """A file of the global space; None where it is not."""
    try:
        return scheduler.download_file("global", path)
    except SchedulerInputError as error:
        if error.status != 404 or isinstance(error, SchedulerVersionError):
            raise
        return None
