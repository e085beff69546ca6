"""The watcher as a workflow: a task of the scheduler that it watches asks that very scheduler."""

from __future__ import annotations

from pathlib import Path

from proactive_tasks.overlay.model import Origin
from proactive_tasks.overlay.spec import load_spec
from proactive_tasks.scheduler.client import Scheduler
from proactive_tasks.store import Store
from tests.endpoints import PASSWORD, USER, serving

WATCH = Path(__file__).parents[2] / "workflows" / "Watch_Elastic.xml"
SPEC = """
version: 1
overlay: presto
sites: [{name: paris, provider: lab}]
elastic: {sources: [{source: LocalNodes, provider: lab, site: attic}]}
"""
EMPTY = b"""<job xmlns="urn:proactive:jobdescriptor:3.13" name="Scale_Out_Overlay"><taskFlow><task name="Nothing">
<scriptExecutable><script><code language="cpython">result = 1</code></script></scriptExecutable></task></taskFlow>
</job>"""


def test_a_turn_submits_from_the_catalog_and_the_next_goes_on_from_there(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/store.db"
    with Store.open(url) as store:
        spec = load_spec(SPEC)
        store.save_spec(spec, "test")
        store.bring_in("presto", spec.sites, Origin.FILE, "test")
        with (
            serving(tmp_path, OVERLAY_STORE=url) as served,
            Scheduler(served.url, user=USER, password=lambda: PASSWORD) as scheduler,
        ):
            scheduler.catalog.create_bucket("network-overlay")
            scheduler.catalog.add(
                "network-overlay", "Scale_Out_Overlay", "Workflow/standard", EMPTY, "application/xml", "for a test"
            )
            for turn in range(2):
                job = scheduler.submit(WATCH.read_bytes(), {"RUN_MINUTES": "0", "JOB_VARIABLES": '{"SAMPLES": "3"}'})
                assert scheduler.wait(job, deadline_s=60).succeeded, scheduler.log(job)
                asked = [each for each in scheduler.jobs() if each.name == "Scale_Out_Overlay"]
                assert [(each.variables["SITE"], each.variables["SAMPLES"]) for each in asked] == [("attic", "3")]
                assert asked[0].variables["STORE"] == url, "a job of the watcher runs by what the watcher runs by"
                assert asked[0].variables["PYTHON_COMMAND"] == "python3"
                value = scheduler.value(job, "Watch_Elastic") or ""
                assert ("extend: site attic" in value) == (turn == 0)
                scheduler.wait(asked[0].id, deadline_s=60)
        assert (
            store.elastic_sites("presto")["attic"]["attempts"] == 1
        )  # the job made no site: told, and tried again later
