"""The scheduler's own parser, schema, models and flow checker judge every workflow; the embedded engine judges alike.

The parser, the schema, the validators and the flow checker are those of the `proactive` 13.0.3 wheel. Only how its
validators are looked up is ours (tests/java/JobValidatorRegistry.java): the original does not start on Java 9 or later.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from proactive_tasks.engine import descriptor
from proactive_tasks.engine.workflow import RefusedError
from tests.javaside import Java

ROOT = Path(__file__).parents[2]
FILES = sorted((ROOT / "workflows").glob("*.xml"))

each_workflow = pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)


def variant(name: str, *changes: tuple[str, str]) -> str:
    """One of our workflows with some of its text replaced, each at its first place."""
    text = (ROOT / "workflows" / f"{name}.xml").read_text()
    for old, new in changes:
        assert old in text, f"{name} holds no {old!r}"
        text = text.replace(old, new, 1)
    return text


def theirs(harness: Java, source: str, **values: str) -> str:
    """The scheduler's refusal: class and message; empty when it accepts."""
    answer = harness.ask("judge", source=source, variables=values)
    return f"{answer['exception']}: {answer['message']}" if "exception" in answer else ""


def ours(source: str, **values: str) -> str:
    """The embedded engine's refusal; empty when it accepts."""
    try:
        descriptor.load(source.encode(), values, ["OVERLAY_PASSPHRASE"])
    except RefusedError as refused:
        return str(refused)
    return ""


@each_workflow
def test_the_scheduler_and_the_embedded_engine_read_a_workflow_alike(harness: Java, file: Path) -> None:
    answer = harness.ask("judge", source=file.read_text(), variables={})
    assert "exception" not in answer, answer
    read = descriptor.load(file, {}, ["OVERLAY_PASSPHRASE"])
    assert answer["name"] == read.name == file.stem
    assert answer["project"] == read.project
    assert answer["priority"] == read.priority
    assert answer["variables"] == read.values()
    assert answer["generic"] == read.generic
    assert set(answer["tasks"]) == set(read.tasks)
    for name, theirs in answer["tasks"].items():
        mine = read.tasks[name]
        assert theirs["depends"] == list(mine.depends)
        assert theirs["on_error"] == mine.on_error
        assert theirs["walltime_ms"] == (mine.walltime or 0) * 1000
        assert theirs["executions"] == mine.executions
        assert theirs["precious"] == mine.precious
        assert theirs["generic"] == mine.generic
        assert theirs["variables"] == {each.name: each.value for each in mine.variables.values()}
        assert theirs["flow"] == (mine.flow.kind if mine.flow else None)
        assert theirs["block"] == mine.block


ATTACH, DEPLOY, DESTROY, MAINTAIN = "Attach_Hosts", "Deploy_Overlay", "Destroy_Overlay", "Maintain_Overlay"
MEASURE, REPAIR, SCALE_IN, SCALE_OUT = "Measure_Overlay", "Repair_Overlay", "Scale_In_Overlay", "Scale_Out_Overlay"

Case = tuple[str, str, list[tuple[str, str]], dict[str, str]]

# what is wrong, with which workflow, what of its text becomes what, and the values given with it
BROKEN: list[Case] = [
    ("unknown element in a job", DEPLOY, [("<taskFlow>", "<notes/><taskFlow>")], {}),
    ("unknown element in a task", DEPLOY, [("<depends>", "<after/><depends>")], {}),
    (
        "misspelt executable",
        DEPLOY,
        [("<scriptExecutable>", "<scriptExecutableX>"), ("</scriptExecutable>", "</scriptExecutableX>")],
        {},
    ),
    (
        "two executables",
        ATTACH,
        [
            (
                "</scriptExecutable>",
                "</scriptExecutable><nativeExecutable><staticCommand value='true'/></nativeExecutable>",
            )
        ],
        {},
    ),
    (
        "generic information before the description",
        MEASURE,
        [("  <description>", "  <genericInformation><info name='a' value='b'/></genericInformation><description>")],
        {},
    ),
    (
        "variables after the description",
        ATTACH,
        [("  <taskFlow>", "  <variables><variable name='X' value='1'/></variables><taskFlow>")],
        {},
    ),
    (
        "depends behind the executable",
        DESTROY,
        [
            (
                "</scriptExecutable>\n      <controlFlow>",
                "</scriptExecutable><depends><task ref='Release_Site'/></depends>\n      <controlFlow>",
            )
        ],
        {},
    ),
    (
        "a control flow before the executable",
        DESTROY,
        [("<scriptExecutable>", "<controlFlow block='none'/><scriptExecutable>")],
        {},
    ),
    ("no task flow", ATTACH, [("<taskFlow>", "<taskFlows>"), ("</taskFlow>", "</taskFlows>")], {}),
    ("unknown attribute of the job", DEPLOY, [(' priority="normal"', ' priority="normal" tags="overlay"')], {}),
    ("unknown attribute of a task", DEPLOY, [(' walltime="5:00"', ' walltime="5:00" timeout="5"')], {}),
    ("unknown attribute of a variable", DEPLOY, [('name="DRY_RUN"', 'name="DRY_RUN" type="bool"')], {}),
    ("unknown attribute of code", DEPLOY, [('<code language="cpython">', '<code language="cpython" version="3">')], {}),
    ("job without a name", DEPLOY, [(' name="Deploy_Overlay"', "")], {}),
    ("job name of one letter", DEPLOY, [(' name="Deploy_Overlay"', ' name="D"')], {}),
    ("task without a name", DEPLOY, [('name="Issue_Certs" ', "")], {}),
    ("variable without a value", DEPLOY, [('<variable name="DRY_RUN" value="false"', '<variable name="DRY_RUN"')], {}),
    ("variable without a name", DEPLOY, [('<variable name="DRY_RUN" value="false"', '<variable value="false"')], {}),
    ("info without a value", DEPLOY, [('<info name="group" value="public-objects"/>', '<info name="group"/>')], {}),
    ("code without a language", DEPLOY, [('<code language="cpython">', "<code>")], {}),
    ("depends without a ref", DEPLOY, [('<task ref="Allocate_Subnet"/>', "<task/>")], {}),
    ("depends on nothing", DEPLOY, [('<task ref="Allocate_Subnet"/>', "")], {}),
    ("loop without a target attribute", MAINTAIN, [('<loop target="Maintain_Overlay">', "<loop>")], {}),
    (
        "task without an executable",
        ATTACH,
        [("<scriptExecutable>", "<!-- <scriptExecutable>"), ("</scriptExecutable>", "</scriptExecutable> -->")],
        {},
    ),
    ("task name with a space", DEPLOY, [('name="Verify_Overlay"', 'name="Verify Overlay"')], {}),
    ("task name with a hash", DEPLOY, [('name="Verify_Overlay"', 'name="Verify#1"')], {}),
    ("variable name with a space", DEPLOY, [('name="SAMPLES"', 'name="SAM PLES"')], {}),
    ("info name with a space", DEPLOY, [('<info name="group"', '<info name="the group"')], {}),
    ("priority", DEPLOY, [('priority="normal"', 'priority="urgent"')], {}),
    (
        "onTaskError of the job",
        DEPLOY,
        [
            (
                'projectName="Network Overlay" priority="normal" onTaskError="continueJobExecution"',
                'projectName="Network Overlay" priority="normal" onTaskError="stop"',
            )
        ],
        {},
    ),
    (
        "onTaskError of a task",
        DEPLOY,
        [('"Allocate_Subnet" onTaskError="cancelJob"', '"Allocate_Subnet" onTaskError="cancel"')],
        {},
    ),
    ("walltime of zero minutes", DEPLOY, [('walltime="5:00"', 'walltime="00:05"')], {}),
    ("walltime with a unit", DEPLOY, [('walltime="5:00"', 'walltime="5min"')], {}),
    ("walltime with 70 seconds", DEPLOY, [('walltime="5:00"', 'walltime="5:70"')], {}),
    ("retry delay", DEPLOY, [('taskRetryDelay="2"', 'taskRetryDelay="soon"')], {}),
    ("number of executions in words", DEPLOY, [('maxNumberOfExecution="2"', 'maxNumberOfExecution="twice"')], {}),
    ("number of executions of the job", DEPLOY, [('maxNumberOfExecution="1"', 'maxNumberOfExecution="0"')], {}),
    ("number of executions negative", DEPLOY, [('maxNumberOfExecution="2"', 'maxNumberOfExecution="-1"')], {}),
    ("precious", DEPLOY, [('preciousResult="true"', 'preciousResult="yes"')], {}),
    ("advanced", DEPLOY, [('advanced="true"', 'advanced="maybe"')], {}),
    ("block", MAINTAIN, [('block="start"', 'block="begin"')], {}),
    (
        "unknown namespace",
        DEPLOY,
        [('xmlns="urn:proactive:jobdescriptor:3.13"', 'xmlns="urn:proactive:jobdescriptor:3.99"')],
        {},
    ),
    (
        "schema of a later release",
        DEPLOY,
        [('xmlns="urn:proactive:jobdescriptor:3.13"', 'xmlns="urn:proactive:jobdescriptor:3.14"')],
        {},
    ),
    ("no namespace", DEPLOY, [('xmlns="urn:proactive:jobdescriptor:3.13"', "")], {}),
    ("duplicate task", DEPLOY, [('name="Verify_Overlay"', 'name="Issue_Certs"')], {}),
    ("unknown dependency", DEPLOY, [('<task ref="Issue_Certs"/>', '<task ref="Issue_Certificates"/>')], {}),
    ("two unknown dependencies", DEPLOY, [('<task ref="Issue_Certs"/>', '<task ref="Zz"/><task ref="Yy"/>')], {}),
    (
        "a task that waits for itself",
        ATTACH,
        [("      <scriptExecutable>", "<depends><task ref='Attach_Hosts'/></depends><scriptExecutable>")],
        {},
    ),
    ("cycle", DEPLOY, [('<task ref="Provision_Gateway"/>', '<task ref="Report_Overlay"/>')], {}),
    (
        "a cycle beside a start",
        DEPLOY,
        [('<task ref="Provision_Gateway"/>', '<task ref="Provision_Gateway"/><task ref="Report_Overlay"/>')],
        {},
    ),
    ("replicate without a merge", DESTROY, [('<task ref="Release_Site"/>', '<task ref="Leaving_Sites"/>')], {}),
    (
        "replicate whose target has two parents",
        DEPLOY,
        [('<task ref="Issue_Certs"/>', '<task ref="Issue_Certs"/><task ref="Allocate_Subnet"/>')],
        {},
    ),
    (
        "loop to a task that is not there",
        MAINTAIN,
        [('<loop target="Maintain_Overlay">', '<loop target="Maintain">')],
        {},
    ),
    ("loop over tasks that are no block", MAINTAIN, [(' block="start"', ' block="none"')], {}),
    ("block that never ends", MAINTAIN, [(' block="end"', "")], {}),
    ("end of a block that never starts", MEASURE, [("<controlFlow>", '<controlFlow block="end">')], {}),
    ("start of a block that never ends", MEASURE, [("<controlFlow>", '<controlFlow block="start">')], {}),
    (
        "if without its branches",
        MEASURE,
        [("<replicate>", "<if target='Nn' else='Mm'>"), ("</replicate>", "</if>")],
        {},
    ),
    (
        "if whose branch has dependencies",
        MEASURE,
        [("<replicate>", "<if target='Measure_Link' else='Report_Overlay'>"), ("</replicate>", "</if>")],
        {},
    ),
    (
        "if with one target twice",
        MEASURE,
        [("<replicate>", "<if target='Measure_Link' else='Measure_Link'>"), ("</replicate>", "</if>")],
        {},
    ),
    ("boolean", DEPLOY, [('name="DRY_RUN" value="false"', 'name="DRY_RUN" value="no"')], {}),
    ("boolean given", DEPLOY, [], {"DRY_RUN": "perhaps"}),
    ("integer", DEPLOY, [('name="SAMPLES" value="20"', 'name="SAMPLES" value="many"')], {}),
    ("integer given with a space", DEPLOY, [], {"SAMPLES": " 7 "}),
    ("integer out of range", DEPLOY, [], {"SAMPLES": "1001"}),
    ("fraction", DEPLOY, [], {"SAMPLES": "1.5"}),
    ("range upside down", DEPLOY, [("PA:INTEGER[1,1000]", "PA:INTEGER[1000,1]")], {}),
    ("range of words", DEPLOY, [("PA:INTEGER[1,1000]", "PA:INTEGER[a,b]")], {}),
    ("list", SCALE_OUT, [], {"PROVIDER": "gcp"}),
    ("list by default", MEASURE, [('name="MEASURE" value="all"', 'name="MEASURE" value="some"')], {}),
    ("regular expression", REPAIR, [], {"SITE": "Lost_Site"}),
    (
        "regular expression that is none",
        REPAIR,
        [("PA:REGEXP([a-z]([a-z0-9-]{0,29}[a-z0-9])?)", "PA:REGEXP([a-z)")],
        {},
    ),
    ("json", SCALE_IN, [], {"SITES": "[a, b]"}),
    ("json cut short", SCALE_IN, [], {"SITES": '["a"'}),
    ("cron", MAINTAIN, [], {"CRON": "every night"}),
    ("cron out of range", MAINTAIN, [], {"CRON": "0 33 * * *"}),
    ("empty where something must be", DEPLOY, [], {"SPEC": " "}),
    ("unknown model", DEPLOY, [("PA:BOOLEAN", "PA:CIDR")], {}),
    ("model that may not be optional", DEPLOY, [("PA:NOT_EMPTY_STRING", "PA:NOT_EMPTY_STRING?")], {}),
    (
        "model without its parameter",
        SCALE_OUT,
        [("PA:LIST(aws,azure,openstack,cloudstack,vcloud,edge,lab)", "PA:LIST")],
        {},
    ),
    ("spel", DEPLOY, [("PA:INTEGER[1,1000]", "PA:SPEL(#value > 100)")], {}),
    (
        "datetime",
        DEPLOY,
        [('value="20" model="PA:INTEGER[1,1000]"', 'value="tomorrow" model="PA:DATETIME(yyyy-MM-dd)"')],
        {},
    ),
    ("url", DEPLOY, [("PA:NOT_EMPTY_STRING", "PA:URL")], {"SPEC": "db"}),
    ("uri", DEPLOY, [("PA:NOT_EMPTY_STRING", "PA:URI")], {"SPEC": "a b"}),
    (
        "a task's variable",
        DEPLOY,
        [("<depends>", "<variables><variable name='N' value='x' model='PA:INTEGER'/></variables><depends>")],
        {},
    ),
    (
        "variables in a circle",
        DEPLOY,
        [
            ('name="STORE" value=""', 'name="STORE" value="${PYTHON_COMMAND}"'),
            ('name="PYTHON_COMMAND" value="python3"', 'name="PYTHON_COMMAND" value="${STORE}"'),
        ],
        {},
    ),
]

# the same, why the two do not say the same, and what the scheduler's code says; nothing: it is not its parser's part
TOLD_APART: list[tuple[Case, str, str]] = [
    (
        (
            "START_AT of a job",
            DEPLOY,
            [('<info name="group" value="public-objects"/>', '<info name="START_AT" value="tomorrow"/>')],
            {},
        ),
        "the scheduler's core reads START_AT when it takes a job in; its jar is in no package",
        "",
    ),
    (
        (
            "START_AT of a task",
            DEPLOY,
            [('<info name="DISABLE_PTK" value="true"/>', '<info name="START_AT" value="2026-11-23 10:00"/>')],
            {},
        ),
        "the same",
        "",
    ),
    (
        ("not XML", DEPLOY, [("</job>", "")], {}),
        "both say that it is no XML, in the words of two XML parsers",
        "XML document structures must start and end within the same entity.",
    ),
    (
        (
            "a bare ampersand",
            DEPLOY,
            [
                ("subnet for each site", "subnet & gateway"),
                ("<![CDATA[\nBrings", "Brings"),
                ("OVERLAY_PASSPHRASE.\n  ]]>", "OVERLAY_PASSPHRASE.\n"),
            ],
            {},
        ),
        "the same",
        "The entity name must immediately follow the '&' in the entity reference.",
    ),
    (
        ("entities", DEPLOY, [("<job ", '<!DOCTYPE job [<!ENTITY a "b">]><job ')], {}),
        "the embedded engine takes no document type declaration, so that no entity is read or expanded",
        "",
    ),
]


def named(case: Any) -> str:
    return str(case[0] if isinstance(case[0], str) else case[0][0])


def plain(refusal: str) -> str:
    """A refusal without the JSON reader's place, which holds the address of a Java object."""
    return re.sub(r" \((?:from|for [A-Z]+ starting at) \[Source: [^\]]*\]\)|\n at \[Source: [^\]]*\]", "", refusal)


def test_there_are_enough_broken_variants() -> None:
    assert len(BROKEN) >= 40
    assert len({named(case) for case in BROKEN}) == len(BROKEN)


@pytest.mark.parametrize("case", BROKEN, ids=named)
def test_a_broken_workflow_is_refused_in_the_schedulers_own_words(harness: Java, case: Case) -> None:
    _, name, changes, values = case
    source = variant(name, *changes)
    refusal = theirs(harness, source, **values)
    assert refusal, "the scheduler takes it"
    assert ours(source, **values) == plain(refusal)


@pytest.mark.parametrize("known", TOLD_APART, ids=named)
def test_what_the_two_tell_in_other_words_is_known(harness: Java, known: tuple[Case, str, str]) -> None:
    (_, name, changes, values), _reason, says = known
    source = variant(name, *changes)
    refusal = theirs(harness, source, **values)
    assert says in refusal
    assert bool(says) == bool(refusal)
    assert ours(source, **values) not in ("", plain(refusal))
