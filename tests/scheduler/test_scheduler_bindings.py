"""Every script of every workflow does the same behind a real JVM gateway as in the embedded engine.

The embedded engine runs the jobs of an overlay's life, one task at a time. Each script that it ran is then run again
behind py4j, with the same inputs in Java's own maps, against a store that went the same way; what both leave is
compared. Clouds and gateways are files (tests/scheduler/field.py): a script is on trial, not what its task does.
"""

from __future__ import annotations

import base64
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from proactive_tasks.console.server import PRELOAD
from proactive_tasks.engine import descriptor
from proactive_tasks.engine.observer import Silent
from proactive_tasks.engine.process import Execution, ForkServer
from proactive_tasks.engine.run import run
from proactive_tasks.scheduler import EMBEDDED
from proactive_tasks.scheduler.context import PASSPHRASE
from proactive_tasks.store.database import Database
from tests.javaside import Java
from tests.scheduler.cpython import Cpython, Ran, scripts

ROOT = Path(__file__).parents[2]
FIELD = "tests.scheduler.field"
SECRET = "a passphrase for a test"
SPEC = "{version: 1, overlay: demo, sites: [{name: paris, provider: lab}, {name: lyon, provider: lab}]}"

# an overlay's life: which workflow, with which variables, and whether its job ends FINISHED
LIFE: list[tuple[str, dict[str, str], bool]] = [
    ("Deploy_Overlay", {"SPEC": SPEC, "DRY_RUN": "True"}, True),
    ("Deploy_Overlay", {"SPEC": SPEC}, True),
    ("Attach_Hosts", {"SITE": "lyon", "HOSTS": "2"}, True),
    ("Measure_Overlay", {"SAMPLES": "5"}, True),
    ("Maintain_Overlay", {"CRON": "", "NEW_AUTHORITY": "1"}, True),
    ("Scale_Out_Overlay", {"SITE": "nice", "HOSTS": "0"}, True),
    ("Repair_Overlay", {"SITE": "nice"}, True),
    ("Monitor_Overlay", {"CRON": ""}, True),
    ("Scale_Out_Overlay", {"SITE": "broken"}, False),
    ("Scale_In_Overlay", {"SITES": '["mars"]'}, False),
    ("Scale_In_Overlay", {"SITES": '["nice", "broken"]'}, True),
    ("Destroy_Overlay", {"OVERLAY": "demo"}, True),
]

# volatile between two runs of the same script: moments, certificates' numbers, keys, folders, how long something took
VOLATILE = re.compile(
    r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d(\.\d+)?)?(Z|\+00:00| UTC)?|\b[0-9a-f]{16,}\b|\d+\.\d+ s\b|/\S*/script-\d+/\S*|"
    r"/\S*overlay-job-\S*|base64,[A-Za-z0-9+/=]+"
)


def scrubbed(value: Any) -> Any:
    """A value without what is volatile; JSON strings and documents as what they hold, maps without their order."""
    if isinstance(value, str):
        try:
            held = json.loads(value)
        except ValueError:
            held = None
        return scrubbed(held) if isinstance(held, (dict, list)) else VOLATILE.sub("~", value)
    if isinstance(value, list) and value[:1] == ["m"]:
        return {str(key): scrubbed(item) for key, item in value[1:]}
    if isinstance(value, list) and value[:1] == ["b"]:
        return ["b", VOLATILE.sub("~", base64.b64decode(value[1]).decode("utf-8", "replace"))]
    if isinstance(value, dict):
        return {key: scrubbed(item) for key, item in value.items()}
    return [scrubbed(item) for item in value] if isinstance(value, list) else value


class Recorded:
    """One task execution of the embedded engine: what it was given, what it printed and left."""

    def __init__(self, specification: dict[str, Any]) -> None:
        self.specification = specification
        self.log: list[tuple[str, str]] = []
        self.outcome: dict[str, Any] = {}

    def lines(self, stream: str) -> list[str]:
        return [line for which, line in self.log if which == stream and line.strip()]


class Recorder(ForkServer):
    """Starts the engine's tasks and keeps what they are given."""

    def __init__(self) -> None:
        super().__init__([FIELD, *PRELOAD])
        self.records: list[Recorded] = []

    def start(self, specification: dict[str, Any]) -> Any:
        self.records.append(Recorded(specification))
        return super().start(specification)


def environment(folder: Path) -> dict[str, str]:
    """What the tasks of one of the two worlds find: a store, a field and a state folder of its own."""
    return {
        "OVERLAY_STORE": f"sqlite:///{folder}/store.db",
        "FIELD": str(folder / "field"),
        "XDG_STATE_HOME": str(folder / "state"),
    }


@pytest.fixture(scope="module")
def life(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[tuple[str, Recorded]]]:
    """The jobs of LIFE under the embedded engine, one task after the other: every execution, by its workflow."""
    folder = tmp_path_factory.mktemp("embedded")
    ran: list[tuple[str, Recorded]] = []
    receive = Execution.receive
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment(folder).items():
            patch.setenv(name, value)
        patch.delenv(EMBEDDED, raising=False)

        def heard(self: Execution) -> Any:
            messages = receive(self)
            for message in messages or ():
                server.records[-1].log += [(stream, line) for stream, line in message.get("log", ())]
                server.records[-1].outcome = message.get("outcome", server.records[-1].outcome)
            return messages

        patch.setattr(Execution, "receive", heard)
        with Database.open(f"sqlite:///{folder}/jobs.db") as database, Recorder() as server:
            for workflow, variables, succeeds in LIFE:
                before = len(server.records)
                job = run(
                    ROOT / "workflows" / f"{workflow}.xml", {"SINGLE_NODE": "true", **variables}, store=database,
                    server=server, nodes=1, credentials={PASSPHRASE: SECRET}, observer=Silent(),
                )  # fmt: skip
                new = server.records[before:]
                ran += [(workflow, record) for record in new]
                told = [line for record in new for line in record.lines("err")]
                assert (str(job.status) == "FINISHED") is succeeds, (workflow, variables, told[-5:])
        yield ran


@pytest.fixture(scope="module")
def cpython(harness: Java, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cpython]:
    with scripts(harness, tmp_path_factory.mktemp("scripts"), FIELD, *PRELOAD) as found:
        yield found


def test_the_life_of_an_overlay_runs_every_script_of_every_workflow(life: list[tuple[str, Recorded]]) -> None:
    ran = {(name, phase["text"]) for name, record in life for phase in record.specification["phases"].values()}
    for file in sorted((ROOT / "workflows").glob("*.xml")):
        if file.stem in NEEDS_A_SCHEDULER:
            continue
        for task in descriptor.load(file, {}, [PASSPHRASE]).tasks.values():
            texts = [script.text for script in task.scripts.values()]
            texts += [task.executable.text] + ([task.flow.script.text] if task.flow else [])
            for text in texts:
                assert (file.stem, text) in ran, f"{file.stem}: {task.name}"


NEEDS_A_SCHEDULER: dict[str, str] = {}
"""Workflows whose tasks ask the scheduler that runs them: why they are not among these."""


def test_behind_a_jvm_gateway_every_script_does_the_same(
    life: list[tuple[str, Recorded]], cpython: Cpython, tmp_path: Path
) -> None:
    base = {name: value for name, value in os.environ.items() if name != EMBEDDED} | environment(tmp_path)
    for workflow, record in life:
        specification, outcome = record.specification, record.outcome
        state = dict(specification["state"])
        progress = {"PA_TASK_PROGRESS_FILE": str(tmp_path / "progress")}
        variables = {**base, **specification["environment"], **progress}
        where = f"{workflow}: {specification['environment']['PA_TASK_NAME']}"
        assert list(specification["phases"]) in (["task"], ["task", "flow"]), where
        ran = cpython.run(specification["phases"]["task"]["text"], state, variables)
        _same(where, ran, record, flow=False)
        state |= {name: ran.left[name] for name in ("variables", "resultMap", "resultMetadata")}
        if "flow" in specification["phases"]:
            state["result"] = ran.left["names"].get("result")
            flow = cpython.run(specification["phases"]["flow"]["text"], state, variables)
            assert flow.code == 0, f"{where}: {flow.err}"
            handed = {name: value for name, value in flow.left["names"].items() if name != "result"}
            assert handed == {name: value for name, value in outcome["flow"].items() if name != "result"}, where
            ran = flow
        for name in ("variables", "resultMap", "resultMetadata"):
            assert scrubbed(ran.left[name]) == scrubbed(outcome[name]), f"{where}: {name}"


def _same(where: str, ran: Ran, record: Recorded, *, flow: bool) -> None:
    """Exit code, result and what was printed."""
    error = record.outcome["error"]
    told = re.search(r"exit code (\d+)", error or "exit code 0")
    assert told, error
    assert ran.code == int(told[1]), f"{where}: {ran.err}"
    assert scrubbed(ran.left["names"].get("result")) == scrubbed(record.outcome["value"]), where
    lines = [line for line in ran.err.splitlines() if line.strip()]
    assert scrubbed(lines) == scrubbed([line for line in record.lines("err") if "Failed to execute" not in line]), where
    assert scrubbed([line for line in ran.out.splitlines() if line.strip()])[-3:] == scrubbed(record.lines("out"))[-3:]
