"""Every script of every workflow does the same behind a real JVM gateway as in the embedded engine.

The embedded engine runs the jobs of an overlay's life, one task at a time. Each script that it ran is then run again
behind py4j, with the same inputs in Java's own maps, against a store that went the same way; what both leave is
compared. Clouds and gateways are files (tests/scheduler/field.py): a script is on trial, not what its task does.
"""

from __future__ import annotations

import ast
import base64
import copy
import json
import os
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from proactive_tasks.console.server import PRELOAD
from proactive_tasks.engine import descriptor
from proactive_tasks.engine.observer import Silent
from proactive_tasks.engine.process import Execution, ForkServer
from proactive_tasks.engine.run import run
from proactive_tasks.engine.task import frames
from proactive_tasks.scheduler import EMBEDDED
from proactive_tasks.scheduler.context import PASSPHRASE
from proactive_tasks.scheduler.package import packaging
from proactive_tasks.store.database import Database
from tests.engine.conftest import task, workflow
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
    ("Reconfigure_Overlay", {}, True),
    # no scheduler answers these two: both engines' tasks say so, and Watch_Elastic goes on to its next turn
    ("Acquire_Nodes", {"SITE": "nice", "NODES": "1", "NODE_SOURCE": "campus"}, False),
    ("Watch_Elastic", {"RUN_MINUTES": "0"}, True),
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
        for key, value in environment(folder).items():
            patch.setenv(key, value)
        patch.delenv(EMBEDDED, raising=False)

        def heard(self: Execution) -> Any:
            messages = receive(self)
            for message in messages or ():
                server.records[-1].log += [(stream, line) for stream, line in message.get("log", ())]
                server.records[-1].outcome = message.get("outcome", server.records[-1].outcome)
            return messages

        patch.setattr(Execution, "receive", heard)
        with Database.open(f"sqlite:///{folder}/jobs.db") as database, Recorder() as server:
            for name, variables, succeeds in LIFE:
                before = len(server.records)
                job = run(
                    ROOT / "workflows" / f"{name}.xml", {"SINGLE_NODE": "true", **variables}, store=database,
                    server=server, nodes=1, credentials={PASSPHRASE: SECRET}, observer=Silent(),
                )  # fmt: skip
                new = server.records[before:]
                ran += [(name, record) for record in new]
                told = [line for record in new for line in record.lines("err")]
                assert (str(job.status) == "FINISHED") is succeeds, (name, variables, told[-5:])
        yield ran


@pytest.fixture(scope="module")
def cpython(harness: Java, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cpython]:
    with scripts(harness, tmp_path_factory.mktemp("scripts"), FIELD, *PRELOAD) as found:
        yield found


def test_the_life_of_an_overlay_runs_every_script_of_every_workflow(life: list[tuple[str, Recorded]]) -> None:
    ran = {phase["text"] for _, record in life for phase in record.specification["phases"].values()}
    assert {name for name, _ in life} == {file.stem for file in (ROOT / "workflows").glob("*.xml")}
    for file in sorted((ROOT / "workflows").glob("*.xml")):
        for each in descriptor.load(file, {}, [PASSPHRASE]).tasks.values():
            texts = [script.text for script in each.scripts.values()]
            texts += [each.executable.text] + ([each.flow.script.text] if each.flow else [])
            assert set(texts) <= ran, f"{file.stem}: {each.name}"


def test_behind_a_jvm_gateway_every_script_does_the_same(
    life: list[tuple[str, Recorded]], cpython: Cpython, tmp_path: Path
) -> None:
    base = {name: value for name, value in os.environ.items() if name != EMBEDDED} | environment(tmp_path)
    for file, record in life:
        specification, outcome = record.specification, record.outcome
        state = dict(specification["state"])
        progress = {"PA_TASK_PROGRESS_FILE": str(tmp_path / "progress")}
        variables = {**base, **specification["environment"], **progress}
        where = f"{file}: {specification['environment']['PA_TASK_NAME']}"
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


# The binding with tasks of the tests: behind a JVM gateway, and in the embedded engine's own bindings

EMPTY = {"genericInformation": ["m"], "resultMap": ["m"], "resultMetadata": ["m"], "results": [], "node": "node"}
SPACES = ("localspace", "cachespace", "userspace", "globalspace", "inputspace", "outputspace")
TRY = """
from tests.scheduler import tries
from proactive_tasks.scheduler.binding import call
result = call(tries.{name}, globals())
"""
Tried = Callable[..., Ran]


def parent(value: Any, *, error: str | None = None) -> dict[str, Any]:
    return {"id": "1", "name": "Before", "error": error, "value": value, "metadata": ["m"]}


@pytest.fixture(scope="module")
def forks(shared: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Recorder]:
    """A fork server that has started one task already: what it was given is the form of all others."""
    folder = tmp_path_factory.mktemp("forks")
    with pytest.MonkeyPatch.context() as patch, Recorder() as server:
        for name, value in shared.items():
            patch.setenv(name, value)
        with Database.open(f"sqlite:///{folder}/jobs.db") as database:
            run(workflow(task("First")), store=database, server=server)
        yield server


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """One store for all these tasks, which leave it as it is: a new one takes a second to make."""
    return environment(tmp_path_factory.mktemp("shared"))


@pytest.fixture(params=["a JVM gateway", "the embedded engine"])
def tried(
    request: pytest.FixtureRequest, cpython: Cpython, forks: Recorder, shared: dict[str, str], tmp_path: Path
) -> Tried:
    """Run a task of the tests in one of the two worlds."""

    def run_it(name: str, variables: dict[str, Any] | None = None, *parents: Any, **credentials: str) -> Ran:
        known = {"PA_TASK_NAME": "Try_It", "PA_JOB_ID": "7", "SINGLE_NODE": "true", **(variables or {})}
        state = {
            **EMPTY,
            "variables": ["m", *([key, value] for key, value in known.items())],
            "credentials": ["m", *([key, value] for key, value in credentials.items())],
            "results": list(parents),
            "progress": str(tmp_path / "progress"),
            "spaces": dict.fromkeys(SPACES, str(tmp_path)),
        }
        kept = {key: value for key, value in os.environ.items() if not key.startswith("OVERLAY_")}
        around = {**kept, **shared, "PYTHONPATH": str(ROOT)}
        if request.param == "a JVM gateway":
            return cpython.run(TRY.format(name=name), state, around)
        return in_the_engine(forks, TRY.format(name=name), state, shared, tmp_path)

    return run_it


def in_the_engine(forks: Recorder, text: str, state: dict[str, Any], around: dict[str, str], folder: Path) -> Ran:
    """The same script as a task of the embedded engine."""
    root = folder / "task"
    root.mkdir()
    specification = copy.deepcopy(forks.records[0].specification)
    specification |= {"root": str(root), "cwd": str(folder), "environment": around}
    specification["phases"]["task"]["text"] = text
    specification["state"] |= state
    printed: dict[str, list[str]] = {"out": [], "err": []}
    outcome: dict[str, Any] = {}
    with forks.start(specification) as connection:
        connection.setblocking(True)
        connection.settimeout(60)
        while message := frames.receive(connection):
            assert "fault" not in message, message
            for stream, line in message.get("log", ()):
                printed[stream].append(line)
            outcome = message.get("outcome", outcome)
    told = re.search(r"exit code (\d+)", outcome["error"] or "exit code 0")
    assert told, outcome
    names = {} if outcome["error"] else {"result": outcome["value"]}
    lines = [line for line in printed["err"] if "Failed to execute" not in line]
    return Ran(int(told[1]), "\n".join(printed["out"]), "\n".join(lines), {**outcome, "names": names})


def facts(ran: Ran) -> dict[str, Any]:
    assert ran.code == 0, ran.err
    found: dict[str, Any] = json.loads(ran.left["names"]["result"])["facts"]
    return found


def test_behind_a_jvm_gateway_a_task_that_failed_replicates_nothing_and_its_error_is_the_last(
    cpython: Cpython, tmp_path: Path
) -> None:
    """Its flow script runs all the same, and has the exception as `result`."""
    loaded = [descriptor.load(file, {}, [PASSPHRASE]) for file in (ROOT / "workflows").glob("*.xml")]
    flows = [each.flow for job in loaded for each in job.tasks.values() if each.flow]
    texts = {flow.script.text for flow in flows if flow.kind == "replicate"}
    assert texts
    state = {**EMPTY, "variables": ["m"], "credentials": ["m"], "spaces": {}, "result": ["x", "exit code 1"]}
    for text in texts:
        ran = cpython.run(text, state, dict(os.environ))
        assert (ran.code, ran.err, ran.left["names"]["runs"]) == (0, "", 0), text


@pytest.mark.parametrize(
    ("minutes", "result", "loop"),
    [
        ("60", "{}", True),
        ("0", "{}", False),
        ("00", "{}", False),
        ("60", ["x", "exit code 1"], "* * * * *"),
        ("60", None, "* * * * *"),
        ("0", ["x", "exit code 1"], False),
    ],
)
def test_a_watcher_that_fails_at_once_does_not_spin(
    cpython: Cpython, minutes: str, result: object, loop: object
) -> None:
    [watch] = descriptor.load(ROOT / "workflows" / "Watch_Elastic.xml").tasks.values()
    assert watch.flow
    variables = ["m", ["RUN_MINUTES", minutes]]
    state = {**EMPTY, "variables": variables, "credentials": ["m"], "spaces": {}, "result": result}
    ran = cpython.run(watch.flow.script.text, state, dict(os.environ))
    assert (ran.code, ran.left["names"]["loop"]) == (0, loop), ran.err


REPLICAS = json.dumps({"replicas": [{"hosts": 1}, {"hosts": 2, "sites": ["x"]}]})


@pytest.mark.parametrize(
    ("variables", "parents", "expected"),
    [
        ({"HOSTS": "3", "SHARE": "0.25", "DRY_RUN": "True"}, [], {"hosts": 3, "share": 0.25, "dry_run": True}),
        ({"HOSTS": 3, "SHARE": 1, "DRY_RUN": True}, [], {"hosts": 3, "share": 1.0, "dry_run": True}),
        ({"DRY_RUN": "1", "MEASURE": "all", "COLOUR": "red"}, [], {"dry_run": True, "measure": "all", "colour": "red"}),
        (
            {"SITES": '["a", "b"]', "OPTIONS": '{"k": [1, null]}'},
            [],
            {"sites": ["a", "b"], "options": {"k": [1, None]}},
        ),
        ({"SITES": ["l", "a"], "OPTIONS": ["m", ["k", ["l", 1]]]}, [], {"sites": ["a"], "options": {"k": [1]}}),
        ({"HOSTS": "", "SITES": "", "OVERLAY": "", "COLOUR": ""}, [], {"hosts": 1, "sites": None, "colour": None}),
        ({"OVERLAY": "7", "TEXT": "true"}, [], {"overlay": "7", "text": "true"}),
        ({"TEXT": ["m", ["k", 1]]}, [], {"text": '{"k": 1}'}),
        ({"PA_TASK_REPLICATION": 1, "HOSTS": "9"}, [parent(REPLICAS)], {"hosts": 2, "sites": ["x"]}),
        ({"PA_TASK_REPLICATION": 0}, [parent(["m", ["replicas", ["l", ["m", ["hosts", 5]]]]])], {"hosts": 5}),
        ({"PA_TASK_REPLICATION": 5, "HOSTS": "9"}, [parent(REPLICAS)], {"hosts": 9}),
        ({"PA_TASK_REPLICATION": 0, "HOSTS": "9"}, [parent(None, error="it failed")], {"hosts": 9}),
        ({"PA_TASK_REPLICATION": 0, "HOSTS": "9"}, [parent('{"replicas": 7}')], {"hosts": 9}),
        ({"PA_TASK_REPLICATION": 0, "HOSTS": "9"}, [parent(["b", "AAA="])], {"hosts": 9}),
        ({"PA_TASK_REPLICATION": 0, "HOSTS": "9"}, [parent(REPLICAS), parent(REPLICAS)], {"hosts": 9}),
    ],
)
def test_arguments_are_typed_whatever_the_bindings_hold(
    tried: Tried, variables: dict[str, Any], parents: list[Any], expected: dict[str, Any]
) -> None:
    given = {name: value for name, (_, value) in facts(tried("take", variables, *parents)).items()}
    assert {name: given[name] for name in expected} == expected


@pytest.mark.parametrize(
    ("name", "variables", "told"),
    [
        ("need", {}, "variable SITE is missing; this task cannot do without it"),
        ("need", {"SITE": ""}, "variable SITE is missing; this task cannot do without it"),
        ("take", {"HOSTS": "many"}, "variable HOSTS: "),
        ("take", {"SITES": "{"}, "variable SITES: "),
        ("take", {"COLOUR": "green"}, "variable COLOUR: "),
        ("refused", {}, "site a: no room left"),
    ],
)
def test_an_error_ends_the_task_with_exit_code_1_and_one_line(
    tried: Tried, name: str, variables: dict[str, Any], told: str
) -> None:
    ran = tried(name, variables)
    assert ran.code == 1
    assert len(ran.err.strip().splitlines()) == 1
    assert ran.err.startswith(f"Try_It: {told}")
    assert "result" not in ran.left["names"]


def test_an_error_that_nobody_thought_of_brings_its_traceback(tried: Tried) -> None:
    ran = tried("broken")
    assert ran.code == 1
    assert "Traceback" in ran.err
    assert ran.err.rstrip().endswith("ValueError: nobody thought of this")


def test_a_credential_is_found_by_its_key_and_missed_by_name(tried: Tried) -> None:
    assert facts(tried("key", {}, **{PASSPHRASE: SECRET}))["passphrase"] == SECRET
    ran = tried("key", {})
    assert ran.code == 1
    assert PASSPHRASE in ran.err
    assert len(ran.err.strip().splitlines()) == 1


def test_each_script_of_the_package_runs_by_itself_and_finds_its_variables(
    cpython: Cpython, shared: dict[str, str]
) -> None:
    """As in a workflow of one's own, where no overlay is yet: one line says so."""
    package = packaging.load(ROOT, with_wheel=False)
    known = {"PA_TASK_NAME": "Our_Own", "SINGLE_NODE": "true", "OVERLAY": "nowhere", "SITE": "a", "LINK": "a--b"}
    known |= {"SITES": '["a"]', "PLAN": "[]", "CLOUD_LIST": "[]", "NODE_SOURCE": "x", "NODES": "1"}
    state = {**EMPTY, "variables": ["m", *map(list, known.items())], "credentials": ["m"], "spaces": {}}
    scripts = [each for each in package.objects if each.kind == packaging.TASK_SCRIPT]
    for each in scripts:
        ran = cpython.run(each.content.decode(), state, {**os.environ, **shared})
        assert ran.code == 1, each.name
        assert re.fullmatch(r"Our_Own: overlay 'nowhere'(:| is) not in the store; .*\n", ran.err), each.name


def test_what_java_has_no_counterpart_for_never_reaches_the_result(tried: Tried) -> None:
    ran = tried("odd")
    assert facts(ran) == {
        "at": "2026-01-02 00:00:00+00:00",
        "address": "10.0.0.1",
        "10.0.0.2": {"set": ["a", "b"], "tuple": [1, 2]},
        "nan": None,
        "infinite": None,
        "large": 2**80,
        "colour": "red",
        "bytes": "b'x'",
    }
    assert ["COUNT", "3"] in ran.left["variables"]
    assert ran.left["resultMap"] == ["m", ["n", "4"]]


def test_a_preview_comes_as_bytes_with_its_type_and_the_result_in_the_map(tried: Tried, tmp_path: Path) -> None:
    ran = tried("shown")
    assert ran.code == 0, ran.err
    assert ran.left["names"]["result"] == ["b", base64.b64encode("<p>é</p>".encode()).decode()]
    metadata = {"content.type": "text/html", "file.name": "shown.html", "file.extension": "html"}
    assert dict(ran.left["resultMetadata"][1:]) == metadata
    assert json.loads(dict(ran.left["resultMap"][1:])["shown"])["warnings"] == ["mind the gap"]
    assert ran.out.splitlines() == ["half way ┃ done", "  a line"]
    assert ran.err.splitlines() == ["warning: mind the gap"]


def test_a_script_runs_alike_in_an_interpreter_of_its_own(harness: Java, cpython: Cpython, tmp_path: Path) -> None:
    around = {**os.environ, **environment(tmp_path), "PYTHONPATH": str(ROOT)}
    around["PYTHONIOENCODING"] = "latin-1"  # of a node whose locale has no letters for the frame of a table
    state = {**EMPTY, "variables": ["m", ["SINGLE_NODE", "true"]], "credentials": ["m"], "spaces": {}}
    ran = Cpython(harness, tmp_path, [sys.executable]).run(TRY.format(name="shown"), state, around)
    assert ran.code == 0, ran.err
    assert ran.out.splitlines()[0] == "half way \\u2503 done"


def test_no_task_ends_its_process_as_if_nothing_were_wrong() -> None:
    """By sys.exit(0) at its end a script loses its result: the scheduler's engine reads it behind the script."""
    for file in [
        *(ROOT / "proactive_tasks").glob("[!c]*.py"),
        *(ROOT / "proactive_tasks").glob("c[!l]*.py"),
        *(ROOT / "proactive_tasks" / "scheduler").glob("*.py"),
    ]:
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in ("sys.exit", "exit", "quit", "os._exit"):
                assert [ast.unparse(each) for each in node.args] == ["1"], f"{file.name}:{node.lineno}"
