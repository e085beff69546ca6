"""Follow the node sources of the scheduler that runs this task, and extend and shrink the overlay with them."""

from __future__ import annotations

import threading

from proactive_tasks.overlay.result import Result
from proactive_tasks.scheduler.context import Context
from proactive_tasks.scheduler.elastic.watching import BUCKET, Options, Watcher

KEPT = 100
"""So many of the last lines stand in the result."""


def watch_elastic(
    context: Context,
    *,
    overlay: str = "",
    run_minutes: int = 60,
    interval_s: float = 2.0,
    grace_s: int | None = None,
    confirm_all: bool = False,
    bucket: str = BUCKET,
    job_variables: dict[str, str] | None = None,
    single_node: bool = False,
    python_command: str = "",
    node_environment: str = "",
    container_image: str = "",
) -> Result:
    """Watch for a while; the job's next turn goes on from there, since all that is remembered is in the store.

    Args:
        context: the store, and the scheduler that runs this task.
        overlay: which.
        run_minutes: how long; 0: look once.
        interval_s: how often to look.
        grace_s: how long a site stays after its last node; None: as the specification says.
        confirm_all: all sites may go at once.
        bucket: of the catalog, where the workflows are.
        job_variables: of every job that is submitted.
        single_node: what this job runs by, its jobs do, too, unless `job_variables` says otherwise.
        python_command: the same.
        node_environment: the same.
        container_image: the same.

    Raises:
        InputError: the overlay has no table of node sources, or no scheduler runs this task.
        LeaseError: another watcher of this overlay runs.
    """
    lines: list[str] = []

    def tell(kind: str, line: str, **_values: object) -> None:
        lines.append(f"{kind}: {line}")
        del lines[:-KEPT]
        context.progress(50, line)

    overlay = context.overlay(overlay)
    own = {
        "SINGLE_NODE": "true" if single_node else "",
        "PYTHON_COMMAND": python_command,
        "NODE_ENVIRONMENT": node_environment,
        "CONTAINER_IMAGE": container_image,
    }
    variables = {name: value for name, value in own.items() if value} | (job_variables or {})
    options = Options(
        interval_s=interval_s, grace_s=grace_s, confirm_all=confirm_all, bucket=bucket, variables=variables
    )
    with context.scheduler() as scheduler:
        watcher = Watcher(context.store, overlay, scheduler, owner=context.job, tell=tell, options=options)
        watcher.run(threading.Event(), once=not run_minutes, seconds=60.0 * run_minutes)
    return Result("watch_elastic", facts={"overlay": overlay, "lines": lines})
