"""What is refused before anything runs, and in which words."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from proactive_tasks.engine import cron, descriptor, models
from proactive_tasks.engine.workflow import RefusedError
from tests.engine.conftest import script, task, variables, workflow

Ran = Callable[..., Any]


def generic(**values: str) -> str:
    infos = "".join(f'<info name="{name}" value="{value}"/>' for name, value in values.items())
    return f"<genericInformation>{infos}</genericInformation>"


def refusal(source: bytes | Path, **values: str) -> str:
    with pytest.raises(RefusedError) as caught:
        descriptor.load(source, values)
    return str(caught.value)


@pytest.mark.parametrize(
    ("source", "text"),
    [
        (workflow(), "Uncompleted job: At least one task must be defined."),
        (workflow(task("A", after="A")), "Invalid taskflow: Unreachable task; context: A"),
        (workflow(task("A"), task("A")), 'Error: "A" is used as an ID value more than once. at line'),
        (workflow(task("A", after="Z")), 'Error: "Z" is referenced by an IDREF, but not defined. at line'),
        (workflow(task("A", walltime="00:03")), 'At [task=A] : Error: attribute "walltime" has a bad value at '),
        (workflow(task("A b")), 'does not satisfy the "ID" type'),
        (workflow(task("A", bogus="1")), 'Error: unexpected attribute "bogus"'),
        (workflow(task("A", before="<foo/>")), 'Error: tag name "foo" is not allowed. Possible tag names are: <'),
        (workflow(task("A"), priority="urgent"), "Possible values are: high,highest,low,lowest,normal, and more"),
        (workflow(task("A"), head="<variables><variable name='X'/></variables>"), 'is missing "value" attribute'),
        (workflow('<task name="A"/>'), "Uncompleted task: At least the Executable element must be define."),
        (workflow(task("A", flow="replicate: runs = 1"), task("B", after="A")), "No merge point for REPLICATE block"),
        (workflow(task("A", flow='loop target="Z": loop = 1')), "LOOP action has no target; context: A"),
        (workflow(task("A", block="end")), "Unmatched end block; context: A"),
        (workflow(task("A", flow='loop target="": loop = 1')), "LOOP action has no target; context: A"),
        (workflow(task("A"), task("B"), task("C", after="A B", flow='loop target="C": loop = False')),
         "The Target of a LOOP must have only one dependency; context: C"),
        (workflow(task("A", flow='if target="B" else="C" continuation="F": branch = "if"'),
                  task("B", flow='if target="D" else="E": branch = "if"'), *map(task, "CDEF")),
         "IF action target is not a Task Block; context: B"),
        (workflow(task("A", maxNumberOfExecution=0)), "The number of execution must be a non negative integer (>0) !"),
        (workflow(task("A"), maxNumberOfExecution="${M}"), 'At [tag:job/taskFlow] : For input string: "${M}"'),
        (workflow(task("A", maxNumberOfExecution="${M}"), head=variables(M="")), 'For input string: ""'),
        (workflow(task("A" * 256)), "The name is too long, it must have 255 chars length max"),
        (workflow(task("A"), head=variables(X="${Y}", Y="${X}")), "property interpolation of ${Y}: Y->X"),
        (workflow(task("A", before="<variables/>")), "Error: uncompleted content model. expecting: <variable> at line"),
        (workflow(task("A"), head="<description><b/></description>"), '"b" was found where no element may occur'),
        (workflow(task("A"), head=generic(START_AT="2026-01-01 10:00")), 'is malformed at " 10:00"'),
        (workflow(task("A"), head=generic(START_AT="tomorrow")), '"tomorrow" is malformed at "omorrow"'),
        (b"<job", "not well-formed XML"),
        (b"", "not well-formed XML"),
        (b"<job/>", "Schemas.getLocation()"),
        (workflow(task("A")).replace(b"3.13", b"9.9"), "Schemas.getLocation()"),
        (b" " * 10_000_001, "larger than 10 MB"),
    ],
)  # fmt: skip
def test_an_invalid_workflow_is_refused_with_the_schedulers_text(source: bytes, text: str) -> None:
    assert text in refusal(source)


def test_a_script_file_is_read_when_the_workflow_is_submitted(tmp_path: Path, ran: Ran) -> None:
    (tmp_path / "there.cpy").write_text("result = 7")
    xml = '<task name="A"><scriptExecutable><script><file path="{}"/></script></scriptExecutable></task>'
    assert ran(xml.format(tmp_path / "there.cpy")).values["A"] == "7"
    assert "Unable to read script : /none.cpy" in refusal(workflow(xml.format("/none.cpy")))


def test_an_error_policy_through_a_variable_is_not_checked_and_counts_as_none() -> None:
    loaded = descriptor.load(workflow(task("A", onTaskError="${NONE}"), onTaskError="cancelJob"))
    assert loaded.tasks["A"].on_error == "cancelJob"


def test_entities_are_neither_expanded_nor_fetched(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("secret")
    bomb = b'<!DOCTYPE job [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]>' + workflow(task("A", "&b;"))
    external = f'<!DOCTYPE job [<!ENTITY x SYSTEM "{secret}">]>'.encode() + workflow(task("A"))
    assert "document type declaration" in refusal(bomb)
    assert "document type declaration" in refusal(external)


@pytest.mark.parametrize(
    ("source", "what"),
    [
        (workflow(f'<task name="A"><scriptExecutable>{script("1", "groovy")}</scriptExecutable></task>'), "'groovy'"),
        (workflow('<task name="A"><javaExecutable class="x.Y"/></task>'), "<javaExecutable>"),
        (workflow(task("A", before=f"<selection>{script('selected = True')}</selection>")), "<selection>"),
        (workflow(task("A", runAsMe="true")), 'runAsMe="true"'),
        (workflow(task("A", before='<parallel numberOfNodes="2"/>')), 'numberOfNodes="2"'),
        (workflow(task("A", "x = 1\nrmapi.connect()")), "rmapi"),
    ],
)
def test_what_is_not_supported_is_refused_by_name_and_line(source: bytes, what: str) -> None:
    text = refusal(source)
    assert what in text
    assert "line " in text
    assert "the embedded engine does not support it" in text


def test_a_service_is_refused_at_the_line_of_its_use() -> None:
    assert "at line 3" in refusal(workflow(task("A", "x = 1\nrmapi.connect()")))


def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    assert "No such file" in refusal(tmp_path / "none.xml")


@pytest.mark.parametrize(
    ("model", "value", "fault"),
    [
        ("PA:INTEGER", " 7", "Invalid value, Integer value expected but received ' 7'"),
        ("pa:integer[1,10]", "11", "Expected value should be in range [1‥10], received 11"),
        ("PA:INTEGER?", "", None),
        ("PA:INTEGER?", " ", None),
        ("PA:URL?", " ", "  is not a valid URL."),
        ("PA:INTEGER[5]", "4", "Expected value should be in range [5‥+∞), received 4"),
        ("PA:FLOAT", "1e39", "Invalid value , Float value expected but received '1e39', Value is infinite"),
        ("PA:DOUBLE", "1e39", None),
        ("PA:DOUBLE", "\u0663", "Invalid value, Double value expected but received '\u0663'"),
        ("PA:LIST(a,b,)", "", "Expected value should be one of [a, b], received ''"),
        (r"PA:REGEXP(\w+)", "é", r"Expected value should match regular expression \w+ , received é"),
        (r"PA:REGEXP(\p{Alpha}[\p{Digit}]\z)", "a1", None),
        (r"PA:REGEXP((?<n>a)\Q.\E)", "a.", None),
        ("PA:REGEXP(a{,2})", "a", "Illegal repetition near index 2\na{,2}\n  ^"),
        ("PA:DATETIME(yyyyMMdd)", "20240131", None),
        ("PA:DATETIME(yyyy-MM-dd)", " 2024- 1-31", None),
        ("PA:DATETIME(yyyy-MM-dd)[2024-12-31]", "2025-01-01", None),
        (
            "PA:DATETIME(yyyy)[24]",
            "9",
            "Expected value should be in range [Mon Jan 01 00:00:00 UTC 24‥+∞), received Thu Jan 01 00:00:00 UTC 9",
        ),
        ("PA:URI", "a[b]", "a[b] is not a valid URI."),
        ("PA:URL", "http://[::1]:80/a", None),
        ("PA:URL", "http://x:port", "http://x:port is not a valid URL."),
        ("PA:SPEL(T(Integer).parseInt(#value) % 2 eq 0 and #value.substring(0, 1) ne '3')", "10", None),
        ("PA:SPEL(valid = -7 / 2 == -3 && -7 % 2 == -1)", "", None),
        ("PA:SHORT", "40000", "Invalid value, Short value expected but received '40000'"),
        ("PA:FLOAT", "1e3", None),
        ("PA:BOOLEAN", "TRUE", None),
        ("PA:BOOLEAN", "yes", "Invalid value, Boolean value expected but received 'yes'"),
        ("PA:LIST(a, b)", "b", None),
        ("PA:LIST(a, b)", " b", "Expected value should be one of [a, b], received ' b'"),
        ("PA:REGEXP([a-z]+)", "ab1", "Expected value should match regular expression [a-z]+ , received ab1"),
        ("PA:JSON", "nope", "Invalid JSON: Unrecognized token 'nope': was expecting "),
        ("PA:CRON", "61 * * * *", None),
        ("PA:NOT_EMPTY_STRING", " ", "Expected value should not be blank."),
        ("PA:DATETIME(yyyy-MM-dd)", "2024-13-01", None),
        ("PA:URI", "a b", "a b is not a valid URI."),
        ("PA:URL", "x", "x is not a valid URL."),
        ("PA:CREDENTIAL", "K", "Could not find the key named [K] in the third-party credentials"),
        ("INTEGER", "x", None),
        ("PA:SPEL(#value matches '[0-9]+' and T(Integer).parseInt(#value) < 10)", "9", None),
        ("PA:SPEL(#value.length() > 3)", "ab", "SPEL expression returned false, received ab"),
        ("PA:SPEL(T(java.lang.Long).parseLong(#value) > 3)", "x", 'For input string: "x"'),
        ("PA:SPEL(variables['x'].y)", "1", "The embedded engine does not support 'y' in a SPEL expression"),
    ],
)
def test_a_model_takes_and_refuses_what_the_scheduler_does(model: str, value: str, fault: str | None) -> None:
    found = models.validate(model, value)
    if model == "PA:CRON":
        assert found is not None
        assert "value out of range" in found
    else:
        assert found == fault


def test_an_unknown_model_is_refused() -> None:
    head = '<variables><variable name="X" value="1" model="PA:NOSUCH"/></variables>'
    assert "Variable 'X': Model PA:NOSUCH: Unrecognized type" in refusal(workflow(task("A"), head=head))


def test_an_override_is_checked_and_an_unknown_variable_is_added_with_a_warning(ran: Ran) -> None:
    head = '<variables><variable name="N" value="1" model="PA:INTEGER"/></variables>'
    assert "received 'x'" in refusal(workflow(task("A"), head=head), N="x")
    warnings: list[str] = []
    ended = ran(
        task("A", "print(variables.get('NEW'), type(variables.get('N')).__name__)"),
        head=head,
        values={"NEW": "n"},
        on_warning=warnings.append,
    )
    assert ended.printed("A") == ["n str"]
    assert warnings == ["variable 'NEW' is not declared by the workflow: added"]


def test_a_tasks_variables_may_refer_to_one_another_and_models_see_only_them(ran: Ran) -> None:
    own = '<variables><variable name="A" value="$B$J"/><variable name="B" value="1"/>{}</variables>'
    model = '<variable name="{}" value="12" model="PA:SPEL(variables[\'{}\'] == #value)"/>'
    before = own.format(model.format("C", "A"))
    assert ran(task("A", "print(variables.get('A'))", before=before), head=variables(J="2")).printed("A") == ["12"]
    before = own.format(model.format("C", "J"))
    text = refusal(workflow(task("T", before=before), head=variables(J="12")))
    assert "Task 'T': Variable 'C': Model PA:SPEL" in text


def test_a_chain_of_variables_may_be_long() -> None:
    chain = {f"V{number}": f"${{V{number + 1}}}" for number in range(8)}
    assert descriptor.load(workflow(task("A"), head=variables(**chain, V8="end"))).values()["V0"] == "end"


def test_inherited_is_true_only_when_it_says_so(ran: Ran) -> None:
    own = '<variables><variable name="V" value="own" inherited="{}"/></variables>'
    code = "print(variables.get('V'))"
    ended = ran(task("A", code, before=own.format("true")), task("B", code, before=own.format("1")),
                head=variables(V="job"))  # fmt: skip
    assert (ended.printed("A"), ended.printed("B")) == (["job"], ["own"])


def test_variables_are_put_into_values_and_attributes_but_not_into_code(ran: Ran) -> None:
    ended = ran(
        task("A", "print('${W} $W', variables.get('V'), genericInformation.get('G'))", walltime="${W}",
             before='<genericInformation><info name="G" value="$PA_TASK_NAME ${NONE}"/></genericInformation>'),
        head=variables(W="60", V="v${W}"),
    )  # fmt: skip
    assert ended.printed("A") == ["${W} $W v60 A ${NONE}"]
    assert ended.job.tasks[0].spec.walltime == 60


def test_a_hidden_value_reaches_the_task_and_not_the_store(ran: Ran, database: Any) -> None:
    from proactive_tasks.store.jobs import Jobs

    head = '<variables><variable name="P" value="geheim" model="PA:HIDDEN"/></variables>'
    ended = ran(task("A", "print(variables.get('P')[::-1])"), head=head)
    assert ended.printed("A") == ["mieheg"]
    assert "geheim" not in json.dumps(Jobs(database).job(int(ended.job.number)).variables)


def test_the_password_of_a_url_reaches_the_task_and_not_the_store(ran: Ran, database: Any) -> None:
    from proactive_tasks.store.jobs import Jobs

    head = '<variables><variable name="STORE" value="postgresql://overlay:geheim@db/overlay"/></variables>'
    ended = ran(task("A", "print(variables.get('STORE')[21:27][::-1])"), head=head)
    assert ended.printed("A") == ["mieheg"]
    shown = Jobs(database).job(int(ended.job.number)).variables
    assert shown == {"STORE": "postgresql://overlay:******@db/overlay"}


@pytest.mark.parametrize(
    ("expression", "following"),
    [
        ("* * * * *", "2026-02-27 12:31"),
        ("0 0 L * *", "2026-02-28 00:00"),
        ("*/20 9-17 * * mon|0 0 1 1 *", "2026-03-02 09:00"),
        ("30 12 29 2 *", "2028-02-29 12:30"),
        ("0 22-3 * * sat-mon", "2026-02-28 00:00"),
        ("31,,33 * * * *|", "2026-02-27 12:31"),
    ],
)
def test_a_cron_expression_knows_its_next_minute(expression: str, following: str) -> None:
    moment = cron.parse(expression).after(datetime(2026, 2, 27, 12, 30, 5, tzinfo=UTC))
    assert moment is not None
    assert moment.strftime("%Y-%m-%d %H:%M") == following
