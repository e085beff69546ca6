"""Asks a scheduler to extend or shrink an overlay, exactly once each time, and follows what becomes of it.

Before a job is submitted its request is written down, with a word of its own that the job bears as variable REQUEST.
Whoever finds a request without a job, after a crash or a lost answer, looks for the job that bears the word, and asks
again only when there is none. The workflows are idempotent by the site's name besides.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from proactive_tasks.overlay.errors import (
    SchedulerError,
    SchedulerInputError,
    SchedulerUnreachableError,
    SchedulerVersionError,
)
from proactive_tasks.overlay.model import Origin, SiteState
from proactive_tasks.overlay.spec import SourceSpec
from proactive_tasks.scheduler.client.rest import NO_SESSION
from proactive_tasks.scheduler.elastic.digest import ATTEMPTS, Action, Decision, Memory, retry_s

if TYPE_CHECKING:
    from proactive_tasks.scheduler.client import JobInfo, Scheduler
    from proactive_tasks.store import Store

WORKFLOWS: Mapping[Action, str] = {Action.EXTEND: "Scale_Out_Overlay", Action.SHRINK: "Scale_In_Overlay"}

SETTLE = timedelta(seconds=15)
"""How long after a lost answer the job may take to show."""

SLOW = timedelta(seconds=60)
"""A job that no node took for so long is told of."""

LOOK_BACK = 200
"""So many of the last jobs are looked through for one whose number is not known."""

Tell = Callable[..., None]
"""Takes the kind of what happened, one line, and values by name."""


def request_variables(overlay: str, action: Action, site: str, row: SourceSpec | None, source: str) -> dict[str, str]:
    """The variables of the workflow that does what was decided."""
    if action is Action.SHRINK or row is None:
        return {"OVERLAY": overlay, "SITES": json.dumps([site]), "ORIGIN": str(Origin.ELASTIC)}
    return {
        "OVERLAY": overlay,
        "SITE": site,
        "PROVIDER": row.provider,
        "REGION": row.region,
        "HOSTS": str(row.hosts),
        "PREFIXES": json.dumps([str(prefix) for prefix in row.prefixes]),
        "OPTIONS": json.dumps(dict(row.options)),
        "ORIGIN": str(Origin.ELASTIC),
        "NODE_SOURCE": source,
    }


@dataclass
class Requests:
    """The requests of one overlay's watcher.

    Args:
        store: where they are remembered.
        overlay: whose.
        scheduler: who is asked.
        submit: submits a workflow, by its name, with variables.
        further: variables of all jobs, beside those that a request has.
        actor: stands in the events of the store.
        tell: is told what happens.
    """

    store: Store
    overlay: str
    scheduler: Scheduler
    submit: Callable[[str, Mapping[str, str]], int]
    further: Mapping[str, str]
    actor: str
    tell: Tell
    told: set[tuple[str, int]]

    def load(self) -> dict[str, Memory]:
        """What is remembered, by site."""
        rows = self.store.elastic_sites(self.overlay)
        return {name: Memory(**{**row, "action": _action(row["action"])}) for name, row in rows.items()}

    def save(self, before: Mapping[str, Memory], after: Mapping[str, Memory]) -> None:
        """Remember what became different; a memory that is missing after is forgotten."""
        changed: dict[str, Mapping[str, Any] | None] = {
            name: asdict(memory) for name, memory in after.items() if memory != before.get(name)
        }
        changed |= {name: None for name in before if name not in after}
        if changed:
            self.store.save_elastic_sites(self.overlay, changed, self.actor)

    def _kept(self, before: Memory, after: Memory) -> Memory:
        self.save({before.site: before}, {after.site: after})
        return after

    # Asking

    def ask(self, decision: Decision, memory: Memory, row: SourceSpec | None, now: datetime) -> Memory:
        """Submit what was decided; what is remembered of the site from now on."""
        word = f"{decision.action}-{decision.site}-{uuid.uuid4().hex[:12]}"
        asked = replace(memory, action=decision.action, request=word, job=None, asked_at=now)
        self._kept(memory, asked)
        variables = request_variables(self.overlay, decision.action, decision.site, row, asked.source)
        workflow = WORKFLOWS[decision.action]
        try:
            job = self.submit(workflow, {**variables, **self.further, "REQUEST": word})
        except SchedulerUnreachableError:
            raise  # nobody knows whether it was submitted: whoever comes next looks for it
        except SchedulerInputError as error:
            return self._failed(asked, f"{workflow} was refused: {error}", now)
        except SchedulerError as error:
            self.tell("unclear", f"site {decision.site}: {workflow}: {error}", site=decision.site)
            return asked
        self.tell(
            str(decision.action),
            f"site {decision.site}: {decision.reason}; job {job} {workflow}",
            site=decision.site,
            job=job,
            reason=decision.reason,
        )
        return self._kept(asked, replace(asked, job=job))

    # Following

    def follow(self, memory: Memory, now: datetime) -> Memory:
        """See how a request stands; what is remembered of the site from now on. Never waits."""
        if memory.action is None:
            return memory
        if memory.job is None:
            memory = self._find(memory, now)
            if memory.job is None or memory.action is None:
                return memory
        job = memory.job
        assert job is not None  # noqa: S101 - it was found
        try:
            info = self.scheduler.job(job)
        except SchedulerInputError as error:
            if error.status == NO_SESSION or isinstance(error, SchedulerVersionError):
                raise  # which says nothing of the job
            if self._done(memory):
                return self._succeeded(memory)
            return self._failed(memory, f"job {job} is not known any more ({error})", now)
        if not info.over:
            self._tell_of_waiting(memory, info, now)
            return memory
        if self._done(memory):
            return self._succeeded(memory)
        return self._failed(memory, self._why(info), now)

    def _done(self, memory: Memory) -> bool:
        """Whether the overlay is as it was asked to be: the store says so, whatever else the job did or failed to do.

        It is looked at when the job is known to be over: before that it may have been on its way.
        """
        site = next((each for each in self.store.sites(self.overlay) if each.name == memory.site), None)
        if memory.action is Action.SHRINK:
            return site is None
        return site is not None and site.state is SiteState.CONNECTED

    def _find(self, memory: Memory, now: datetime) -> Memory:
        """The job that bears the request's word, if it was submitted at all."""
        for info in self.scheduler.jobs(LOOK_BACK):
            if info.name not in WORKFLOWS.values():
                continue
            variables = info.variables or self.scheduler.job(info.id).variables
            if variables.get("REQUEST") == memory.request:
                self.tell("found", f"site {memory.site}: job {info.id} was submitted", site=memory.site, job=info.id)
                return self._kept(memory, replace(memory, job=info.id))
        if memory.asked_at is not None and now - memory.asked_at < SETTLE:
            return memory
        return self._failed(memory, "it was not submitted: the answer is lost, and no job has its word", now)

    def _tell_of_waiting(self, memory: Memory, info: JobInfo, now: datetime) -> None:
        if info.stuck and self._first("stuck", info.id):
            line = f"site {memory.site}: job {info.id} is {info.status} and waits for a person"
            self.tell("stuck", line, site=memory.site, job=info.id)
        waits = info.started is None and memory.asked_at is not None and now - memory.asked_at > SLOW
        if waits and self._first("pending", info.id):
            line = (
                f"site {memory.site}: job {info.id} is {info.status}, no node takes it; "
                "the overlay's own workflows need a node without a token"
            )
            self.tell("pending", line, site=memory.site, job=info.id)

    def _first(self, what: str, job: int) -> bool:
        new = (what, job) not in self.told
        self.told.add((what, job))
        return new

    def _why(self, info: JobInfo) -> str:
        failed = [f"{task.name} {task.status}" for task in self.scheduler.tasks(info.id) if not task.fine]
        tail = f" ({', '.join(failed[:4])})" if failed else ", but its site is not as it should be"
        return f"job {info.id} {info.status}{tail}; scripts/submit --logs {info.id} shows all"

    def _succeeded(self, memory: Memory) -> Memory:
        out = memory.action is Action.EXTEND
        line = f"site {memory.site}: {'stands' if out else 'is gone'}; job {memory.job} is over"
        self.tell("extended" if out else "shrunk", line, site=memory.site, job=memory.job)
        self._forget(memory)
        return self._kept(memory, replace(memory, action=None, attempts=0, error="", stood=out))

    def _failed(self, memory: Memory, error: str, now: datetime) -> Memory:
        attempts = memory.attempts + 1
        again = f"again in {retry_s(attempts):.0f} s" if attempts < ATTEMPTS else self._given_up(memory, attempts)
        line = f"site {memory.site}: {error}; attempt {attempts} of {ATTEMPTS}, {again}"
        self.tell("failed", line, site=memory.site, job=memory.job, attempts=attempts)
        self._forget(memory)
        failed = replace(memory, action=None, attempts=attempts, error=error, asked_at=now)
        return self._kept(memory, failed)

    def _forget(self, memory: Memory) -> None:
        self.told = {key for key in self.told if key[1] != memory.job}

    def _given_up(self, memory: Memory, attempts: int) -> str:
        by_hand = "scale-out" if memory.action is Action.EXTEND else "scale-in"
        return f"given up after {attempts}: repair the cause, then start the watcher anew, or use overlayctl {by_hand}"


def _action(word: str | None) -> Action | None:
    return Action(word) if word else None
