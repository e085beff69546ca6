"""The jobs of an endpoint: taken in, driven, and carried on after its end, whatever kind of end that was."""

from __future__ import annotations

import base64
import json
import logging
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from proactive_tasks.engine import descriptor, state
from proactive_tasks.engine.driver import Driver
from proactive_tasks.engine.execution import JobRun, Surroundings
from proactive_tasks.engine.job import PRIORITIES, Job, Task
from proactive_tasks.engine.records import Recorder, record
from proactive_tasks.engine.workflow import RefusedError, Variable, Workflow
from proactive_tasks.overlay.errors import SecretError, StoreError
from proactive_tasks.store.dead import free_dead_jobs
from proactive_tasks.store.endpoint_credentials import Credentials
from proactive_tasks.store.endpoint_jobs import EndpointJobs

if TYPE_CHECKING:
    from proactive_tasks.engine.endpoint.jobs.events import Events
    from proactive_tasks.engine.endpoint.sessions import Sessions
    from proactive_tasks.engine.nodes import Nodes
    from proactive_tasks.engine.process import ForkServer
    from proactive_tasks.store import Store
    from proactive_tasks.store.jobs import JobRecord
    from proactive_tasks.store.vault import Vault

DELAY_S = 0.01
"""How long news of a job may wait for more news before they are written: until then nobody sees them."""

COMMAND_S = 30.0
PAUSE_S = 1.0
PURPOSE = "endpoint's job"
SERVICES = ("schedulerapi",)
"""Of the scheduler's services in scripts, those that an endpoint has."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Submission:
    """What somebody asks to be run."""

    source: bytes
    variables: Mapping[str, str]
    generic: Mapping[str, str]

    def read(self) -> Workflow:
        """The workflow, its values not checked yet.

        Raises:
            RefusedError: it is not accepted.
        """
        workflow = descriptor.read(self.source, self.variables)
        return replace(workflow, generic={**workflow.generic, **self.generic})


class Scheduling:
    """The jobs; its methods may be called from any thread."""

    def __init__(
        self, store: Store, server: ForkServer, nodes: Nodes, vault: Vault, sessions: Sessions, events: Events
    ) -> None:
        self.records, self.credentials = EndpointJobs(store), Credentials(store, vault)
        self.vault = vault
        self.system: dict[str, str] = {}  # variables that every task gets: where the endpoint is reached
        self._store, self._sessions, self._events = store, sessions, events
        self._recorder = Recorder(self.records, delay_s=DELAY_S, seal=self._seal)
        events.follow(self.records, self._recorder)
        self._tokens: dict[str, str] = {}
        self._on_end: dict[int, threading.Event] = {}
        self._driver = Driver(
            Surroundings(
                server, nodes, self._recorder, events, lambda job: self.credentials.of(job.user), self._service
            )
        )
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._drive, name="jobs", daemon=True)

    # Begin and end

    def start(self) -> None:
        """Carry on what is there, and take jobs."""
        free_dead_jobs(self._store)
        for job in self.records.adopt():
            self._store.free_leases(f"job {job.id}")  # of the tasks that died with the endpoint before
            self._carry_on(job)
        self._recorder.start()
        self._thread.start()

    def stop(self) -> None:
        """Kill what runs, and write the rest: the next start carries on."""
        self._stopping.set()
        self._driver.wake()
        self._thread.join()
        self._driver.close()
        self._recorder.close()

    def _carry_on(self, found: JobRecord) -> None:
        try:
            workflow = self.kept(found.id).read()
            rows = self.records.results(found.id)
            tasks = [(task, self.vault.open(sealed or b"", PURPOSE)) for task, sealed in rows]
            job = state.restore(workflow, found, tasks, self.system)
        except (SecretError, RefusedError, KeyError, ValueError) as error:
            log.error("job %d cannot be carried on, it counts as killed: %s", found.id, error)  # noqa: TRY400
            self.records.write(found.id, {"status": "KILLED", "finished": found.submitted})
            return
        self._recorder.enter(job, {task.number for task, _ in rows})
        self._driver.enter(job)

    # Jobs come in

    def submit(self, user: str, submission: Submission, workflow: Workflow) -> int:
        """Take a job in whose workflow has been checked; it is not lost from now on."""
        kept = {
            "source": base64.b64encode(submission.source).decode("ascii"),
            "variables": dict(submission.variables),
            "generic": dict(submission.generic),
        }
        number = self.records.create(
            workflow.name,
            "(submitted)",
            {name: each.shown for name, each in workflow.variables.items()},
            user=user,
            status="PENDING",
            shown=self._shown(workflow),
            sealed=self.vault.seal(json.dumps(kept).encode(), PURPOSE),
        )
        job = Job(workflow, str(number), user, self.system)
        tasks = [record(task, self._seal(task)) for task in job.tasks]
        self.records.write(number, {}, tasks)
        for task in job.tasks:
            task.changed = False

        def enter() -> None:
            self._recorder.enter(job, {task.number for task in tasks})
            self._driver.enter(job)
            self._events.job_submitted(job)

        self._driver.call(enter).result(COMMAND_S)
        return number

    def _shown(self, workflow: Workflow) -> dict[str, Any]:
        return {
            "priority": workflow.priority if workflow.priority in PRIORITIES else "normal",
            "project": workflow.project,
            "description": workflow.description,
            "generic": workflow.generic,
            "tasks": len(workflow.tasks),
            "variables": {name: self._shown_variable(each) for name, each in workflow.variables.items()},
        }

    def _shown_variable(self, variable: Variable) -> dict[str, Any]:
        value = variable.shown
        if variable.is_secret:
            value = f"ENC({base64.b64encode(self.vault.seal(variable.value.encode(), PURPOSE)).decode('ascii')})"
        return {
            "name": variable.name,
            "value": value,
            "model": variable.model or None,
            "description": variable.description,
            "group": variable.group,
            "advanced": variable.advanced,
            "hidden": variable.hidden,
        }

    def kept(self, job: int) -> Submission:
        """What a job was submitted with."""
        kept = json.loads(self.vault.open(self.records.sealed(job), PURPOSE))
        return Submission(base64.b64decode(kept["source"]), kept["variables"], kept["generic"])

    def opened(self, sealed: bytes | None) -> bytes | None:
        """What is sealed of a task."""
        return None if sealed is None else self.vault.open(sealed, PURPOSE)

    # What somebody may ask of a job

    def command(self, number: int, asked: Callable[[JobRun], bool], event: str = "") -> bool:
        """Ask something of a job; False where nothing came of it. What came of it is written when this returns."""

        def carry_out() -> tuple[bool, threading.Event | None]:
            run = self._driver.runs.get(number)
            if run is None or not asked(run):
                return False, None
            run.touch()
            if event:
                self._events.job_changed(run.job, event)
            return True, self._recorder.flushed(run.job)

        done, written = self._driver.call(carry_out).result(COMMAND_S)
        if written is not None:
            written.wait(COMMAND_S)
        return done

    def set_priority(self, found: JobRecord, priority: str) -> None:
        """Put a job before or behind others."""
        self.records.set_priority(found.id, {**(found.shown or {}), "priority": priority})

        def change() -> None:
            run = self._driver.runs.get(found.id)
            if run is not None:
                run.job.priority = priority
                self._driver.sort()

        self._driver.call(change).result(COMMAND_S)

    def remove(self, number: int) -> bool:
        """Forget a job; one that runs is killed first."""
        ended = threading.Event()

        def end() -> None:
            run = self._driver.runs.get(number)
            if run is None:
                ended.set()
                return
            run.kill()
            self._on_end[number] = ended

        self._driver.call(end).result(COMMAND_S)
        if not ended.wait(COMMAND_S):
            return False
        self.records.remove(number)
        return True

    # The thread of the jobs

    def _drive(self) -> None:
        while not self._stopping.is_set():
            try:
                for run in [run for run in self._driver.runs.values() if run.over]:
                    self._end(run)
                self._driver.step()
            except Exception:
                log.exception("the jobs' thread goes on after a fault")
                self._stopping.wait(PAUSE_S)

    def _end(self, run: JobRun) -> None:
        job = run.job
        self._driver.leave(run)
        ended = self._on_end.pop(int(job.number), threading.Event())

        def written() -> None:
            self._events.job_finished(job)
            ended.set()

        self._recorder.close_job(job, written)
        try:
            self._store.free_leases(f"job {job.number}")  # a task that was killed let go of nothing
        except StoreError as error:
            log.warning("locks of job %s: %s; they end by themselves", job.number, error)

    def _seal(self, task: Task) -> bytes:
        return self.vault.seal(state.pack(task), PURPOSE)

    def _service(self, job: Job) -> dict[str, str]:
        """What a task's `schedulerapi` answers: a session of the job's owner."""
        session = self._sessions.find(self._tokens.get(job.user, "")) or self._sessions.open(job.user)
        self._tokens[job.user] = session.identifier
        return {"session": session.identifier, "user": job.user}
