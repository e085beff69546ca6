"""Who owns the locks that a task takes, and whether the job of another owner is over.

A lock is owned by a job, and numbers of jobs are unique to a scheduler, or to the store in which the embedded engine
keeps its records. So an owner's name says whose number it is, and only owners of the same are asked after: of others it
is not known whether they are dead, and their locks end by themselves.
"""

from __future__ import annotations

import hashlib
import os
import re
import socket
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from sqlalchemy import make_url

from proactive_tasks.overlay.errors import SchedulerInputError, SchedulerVersionError, UnknownObjectError
from proactive_tasks.scheduler import EMBEDDED
from proactive_tasks.store.database import Database
from proactive_tasks.store.jobs import INTERRUPTED, Jobs
from proactive_tasks.store.location import default_store_url

if TYPE_CHECKING:
    from proactive_tasks.scheduler.client import Scheduler

OWNER = re.compile(r"(?P<kind>scheduler job|job) (?P<number>\d+)(?: of (?P<whose>.+))?")
NOT_FOUND = 404
LONGEST = 200
"""Of a scheduler's URL; the store keeps owners of 255 characters."""


def owner(variables: Mapping[str, Any], store: str) -> str:
    """The name of the job that runs this task.

    Args:
        variables: the task's.
        store: URL of the store that holds the locks.
    """
    number = variables.get("PA_JOB_ID") or "-"
    whose = _whose(variables, store)
    kind = "job" if os.environ.get(EMBEDDED) else "scheduler job"
    return f"{kind} {number} of {whose}" if whose else f"{kind} {number}"


def _whose(variables: Mapping[str, Any], store: str) -> str:
    """The scheduler by its URL; of engines, the one of this very store needs no name."""
    if not os.environ.get(EMBEDDED):
        return str(variables.get("PA_SCHEDULER_REST_URL") or "")[:LONGEST].rstrip("/")
    own = default_store_url()
    if make_url(own).set(password=None) == make_url(store).set(password=None):
        return ""
    return f"{socket.gethostname()[:64]} {hashlib.sha256(own.encode()).hexdigest()[:8]}"


def is_over(
    variables: Mapping[str, Any], store: Database, url: str, scheduler: Callable[[], Scheduler]
) -> Callable[[str], bool]:
    """Answers whether the job of an owner is known to be over, for `Store.is_over`.

    Args:
        variables: the task's.
        store: the store that holds the locks.
        url: its URL.
        scheduler: connects to the scheduler that runs this task.
    """
    ours = _whose(variables, url)

    def over(name: str) -> bool:
        match = OWNER.fullmatch(name)
        if match is None or (match["whose"] or "") != ours:
            return False
        number, embedded = int(match["number"]), match["kind"] == "job"
        if embedded != bool(os.environ.get(EMBEDDED)):
            return False
        if not embedded:
            return bool(ours) and _over_at(scheduler, number)
        if not ours:
            return _over_in(store, number)
        with Database.open(default_store_url(), create=False) as records:
            return _over_in(records, number)

    return over


def _over_at(scheduler: Callable[[], Scheduler], number: int) -> bool:
    """A job that the scheduler has removed, or never knew, is over as well: its tasks run no more."""
    try:
        return scheduler().job(number).over
    except SchedulerVersionError:
        raise
    except SchedulerInputError as error:
        if error.status == NOT_FOUND:
            return True
        raise


def _over_in(records: Database, number: int) -> bool:
    """By the engine's own records; a job that is not there was not run by it."""
    try:
        job = Jobs(records).job(number)
    except UnknownObjectError:
        return False
    return job.finished is not None or job.status == INTERRUPTED
