"""Runs one job to its end: what `overlayctl run`, `deploy` and their like do."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from proactive_tasks.store.jobs import Jobs

from . import descriptor
from .driver import Driver
from .execution import Surroundings
from .job import Job, JobStatus
from .nodes import Slots
from .observer import Observer, Silent
from .process import ForkServer
from .records import Recorder

if TYPE_CHECKING:
    from proactive_tasks.store.database import Database

    from .workflow import Workflow

NODES = 8
"""How many tasks run at once."""


def run(
    source: Path | str | bytes,
    variables: Mapping[str, str] | None = None,
    *,
    store: Database,
    credentials: Mapping[str, str] | None = None,
    observer: Observer | None = None,
    nodes: int = NODES,
    preload: Sequence[str] = (),
    server: ForkServer | None = None,
    on_warning: Callable[[str], None] | None = None,
) -> Job:
    """Run a job descriptor to its end; SIGINT and SIGTERM kill the job.

    Args:
        source: the file, or the descriptor's own bytes.
        variables: values for the job's variables; one that is not declared is added, with a warning.
        store: where the job is recorded.
        credentials: what tasks find in `credentials`; handed over a socket, never by environment or argument.
        observer: who is told.
        nodes: how many tasks run at once.
        preload: modules that the tasks' processes have imported already.
        server: a fork server that was started earlier, with its own modules; it stays open.
        on_warning: takes warnings about the descriptor.

    Raises:
        RefusedError: the job descriptor is not accepted; nothing was run.
        StoreError: the store does not take the records.
    """
    with nullcontext(server) if server else ForkServer(preload) as forks:
        path = source if isinstance(source, bytes) else Path(source)
        workflow = descriptor.load(path, variables, credentials or {})
        for warning in workflow.warnings:
            if on_warning:
                on_warning(warning)
        name = "(bytes)" if isinstance(source, bytes) else str(Path(source).absolute())
        return JobRunner(workflow, name, store, forks, credentials or {}, observer or Silent(), nodes).run()


class JobRunner:
    """One job and an engine for it alone. `cancel` may be called from any thread or signal handler."""

    def __init__(
        self,
        workflow: Workflow,
        source: str,
        store: Database,
        server: ForkServer,
        credentials: Mapping[str, str],
        observer: Observer,
        nodes: int,
    ) -> None:
        jobs = Jobs(store)
        shown = {name: each.shown for name, each in workflow.variables.items()}
        self.job = Job(workflow, str(jobs.create(workflow.name, source, shown)))
        self.job.status = JobStatus.RUNNING
        self._observer, self._recorder = observer, Recorder(jobs)
        self._driver = Driver(Surroundings(server, Slots(nodes), self._recorder, observer, lambda _job: credentials))

    def cancel(self) -> None:
        """Kill the job: its tasks, and everything they started."""
        self._driver.call(self._driver.runs[int(self.job.number)].kill)

    def run(self) -> Job:
        """Run to the end."""
        self._recorder.enter(self.job)
        self._recorder.start()
        run = self._driver.enter(self.job)
        try:
            with _signals(self.cancel):
                while not run.still:
                    self._driver.step()
        finally:
            self._driver.close()
            self._recorder.close_job(self.job)
            self._recorder.close()
        self._observer.job_finished(self.job)
        return self.job


@contextmanager
def _signals(handler: Callable[[], None]) -> Iterator[None]:
    """Call the handler on SIGINT and SIGTERM; only the main thread can ask for that."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, lambda *_: handler()) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, previous in before.items():
            signal.signal(number, previous)


__all__ = ["JobRunner", "Observer", "Silent", "run"]
