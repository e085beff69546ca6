"""Jobs are submitted, run, and tell what they left."""

from __future__ import annotations

from tests.endpoints import Served
from tests.engine.conftest import task, workflow


def test_a_job_is_submitted_runs_and_answers(served: Served) -> None:
    job = served.submit(
        workflow(task("Plan", 'print("planned"); result = {"links": [1, 2]}'), task("Next", after="Plan"))
    )
    info = served.until(job)
    assert (info["status"], info["numberOfFinishedTasks"], info["numberOfFaultyTasks"]) == ("FINISHED", 2, 0)
    assert served.get(f"/jobs/{job}/tasks/Plan/result/value") == "{links=[1, 2]}"
    assert served.get(f"/jobs/{job}/tasks/Plan/result/log/all").endswith("] planned\n")
