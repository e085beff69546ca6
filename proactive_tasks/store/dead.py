"""Locks of the dead: a job that ended, or whose engine was killed, let go of nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from proactive_tasks.overlay.errors import UnknownObjectError
from proactive_tasks.store.jobs import INTERRUPTED, Jobs

if TYPE_CHECKING:
    from proactive_tasks.store.leases import Leases

PREFIX = "job "


def free_dead_jobs(store: Leases) -> None:
    """Free the locks of jobs that ended or whose engine was killed, so that the next need not wait for them."""
    jobs = Jobs(store)
    for owner in store.lease_owners():
        number = owner.removeprefix(PREFIX)
        if not owner.startswith(PREFIX) or not number.isdecimal():
            continue  # a scheduler's, which numbers its jobs on its own
        try:
            job = jobs.job(int(number))
        except UnknownObjectError:
            continue
        if job.finished is not None or job.status == INTERRUPTED:
            store.free_leases(owner)
