"""Dependencies, replication, branches and loops end as they do on a scheduler."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from proactive_tasks.engine import actions
from proactive_tasks.engine.workflow import Flow, Script
from tests.engine.conftest import task, variables

Ran = Callable[..., Any]
NAMES = "print([r.getTaskId().getReadableName() for r in results])"


def test_a_merge_sees_its_replicas_in_order(ran: Ran) -> None:
    ended = ran(
        task("Split", flow="replicate: runs = 3"),
        task("Work", 'result = variables.get("PA_TASK_REPLICATION") * 10', after="Split"),
        task("Merge", "result = [r.value() for r in results]", after="Work"),
    )
    assert ended.status == "FINISHED"
    assert ended.values["Merge"] == "[0, 10, 20]"
    assert set(ended.tasks) == {"Split", "Work", "Work*1", "Work*2", "Merge"}


def test_no_runs_skip_the_replicas_and_the_merge_sees_their_initiator(ran: Ran) -> None:
    ended = ran(
        task("Split", flow="replicate: runs = 0"), task("Work", after="Split"), task("Merge", NAMES, after="Work")
    )
    assert ended.tasks == {"Split": "FINISHED", "Work": "SKIPPED", "Merge": "FINISHED"}
    assert ended.printed("Merge") == ["['Split']"]


@pytest.mark.parametrize(
    ("decision", "fault"),
    [
        ("pass", "Script environment for REPLICATE action needs to define variable runs"),
        ("runs = -1", "REPLICATE action: value of variable runs cannot be negative"),
        ("raise KeyError(1)", "Failed to execute flow script: Python process execution has failed with exit code 1"),
    ],
)
def test_a_flow_script_without_a_decision_fails_its_task_and_the_flow_goes_on_unreplicated(
    ran: Ran, decision: str, fault: str
) -> None:
    ended = ran(task("Split", flow=f"replicate: {decision}"), task("Work", after="Split"), task("Merge", after="Work"))
    assert ended.status == "FINISHED"
    assert ended.tasks == {"Split": "FAULTY", "Work": "FINISHED", "Merge": "FINISHED"}
    assert ended.errors["Split"] == fault


@pytest.mark.parametrize(
    ("kind", "value", "decision"),
    [
        ("replicate", "2.7", 2),
        ("replicate", " 2 ", 2),
        ("replicate", True, "REPLICATE action: could not parse value for variable runs"),
        ("replicate", -0.5, "REPLICATE action: value of variable runs cannot be negative"),
        ("if", "Else", "else"),
        ("if", 1, "IF action: value for branch needs to be one of if or else"),
        ("if", None, "Environment for IF action needs to define variable branch"),
        ("loop", "TRUE", True),
        ("loop", 1, False),
        ("loop", "99 * * * *", False),
        ("loop", None, "Script environment for LOOP action needs to define variable loop"),
    ],
)
def test_a_decision_is_read_as_the_scheduler_reads_it(kind: str, value: Any, decision: Any) -> None:
    name = {"replicate": "runs", "if": "branch", "loop": "loop"}[kind]
    flow = Flow(kind, Script("cpython", "", None, (), 1))
    try:
        read = getattr(actions.read(flow, {name: value}, None, datetime.now(UTC)), name)
    except actions.ActionError as error:
        read = str(error)
    assert read == decision


def test_a_block_is_replicated_as_a_whole(ran: Ran) -> None:
    ended = ran(
        task("S", flow="replicate: runs = 2"),
        task("A", 'result = "a%s" % variables.get("PA_TASK_REPLICATION")', after="S", block="start"),
        task("B", 'result = results[0].value() + "b"', after="A", block="end"),
        task("M", "result = [r.value() for r in results]", after="B"),
    )
    assert ended.values["M"] == "[a0b, a1b]"


def test_the_branch_not_taken_is_skipped_with_all_that_hangs_on_it(ran: Ran) -> None:
    ended = ran(
        task("Q", flow='if target="Y" else="N" continuation="J": branch = "else"'),
        task("Y", block="start"),
        task("Y2", after="Y", block="end"),
        task("N"),
        task("J", NAMES),
        task("After", after="J"),
    )
    assert ended.status == "FINISHED"
    assert {name for name, status in ended.tasks.items() if status == "SKIPPED"} == {"Y", "Y2"}
    assert ended.printed("J") == ["['N']"]


def test_what_follows_a_branch_without_a_continuation_is_skipped_with_it(ran: Ran) -> None:
    ended = ran(task("Q", flow='if target="Y" else="N": branch = "if"'), task("Y"), task("N"), task("N2", after="N"))
    assert ended.tasks == {"Q": "FINISHED", "Y": "FINISHED", "N": "SKIPPED", "N2": "SKIPPED"}


def test_after_a_loop_only_its_last_iteration_is_seen(ran: Ran) -> None:
    ended = ran(
        task("Begin", "variables.put('n', (variables.get('n') or 0) + 1)", block="start"),
        task(
            "End",
            "result = variables.get('n')",
            after="Begin",
            block="end",
            flow='loop target="Begin": loop = variables.get("PA_TASK_ITERATION") < 2',
        ),
        task("Last", "print([(r.getTaskId().getReadableName(), r.value()) for r in results])", after="End"),
    )
    assert ended.printed("Last") == ["[('End#2', 3)]"]
    assert {"Begin#1", "End#1", "Begin#2", "End#2"} < set(ended.tasks)


def test_each_iteration_of_a_loop_replicates_anew(ran: Ran) -> None:
    ended = ran(
        task("S", block="start", flow="replicate: runs = 2"),
        task("W", 'result = variables.get("PA_TASK_NAME")', after="S"),
        task("J", "result = [r.value() for r in results]", after="W", block="end",
             flow='loop target="S": loop = variables.get("PA_TASK_ITERATION") < 1'),
    )  # fmt: skip
    assert ended.values["J"] == "[W, W*1]"
    assert ended.values["J#1"] == "[W#1, W#1*1]"


def test_of_two_parents_the_last_wins_for_every_variable_even_one_that_it_did_not_touch(ran: Ran) -> None:
    ended = ran(
        task("A", "variables.put('v', 'a')"),
        task("B", "variables.put('v', 'b')", after="A"),
        task("C", after="A"),
        task("BC", "print(variables.get('v'))", after="B C"),
        task("CB", "print(variables.get('v'))", after="C B"),
    )
    assert (ended.printed("BC"), ended.printed("CB")) == (["a"], ["b"])


def test_a_variable_reaches_descendants_only(ran: Ran) -> None:
    ended = ran(
        task("A", "variables.put('v', 1)"),
        task("B", "print(variables.get('v'))", after="A"),
        task("C", "print(variables.get('v'))"),
    )
    assert (ended.printed("B"), ended.printed("C")) == (["1"], ["None"])


def test_a_tasks_own_variables_reach_its_children_only_where_a_script_changed_them(ran: Ran) -> None:
    own = "".join(f'<variable name="{name}" value="own"/>' for name in "JKL")
    ended = ran(
        task("A", "print(variables.get('J'))\nvariables.put('L', 'put')", before=f"<variables>{own}</variables>"),
        task("B", "print([variables.get(name) for name in 'JKL'])", after="A"),
        head=variables(J="job"),
    )
    assert (ended.printed("A"), ended.printed("B")) == (["own"], ["['job', None, 'put']"])


def test_a_failed_task_still_hands_on_variables_and_runs_its_flow(ran: Ran) -> None:
    ended = ran(
        task("S", "variables.put('v', 7)\nraise ValueError()", flow="replicate: runs = 2"),
        task("W", "print(variables.get('v'))", after="S"),
        task("M", after="W"),
    )
    assert ended.tasks["S"] == "FAULTY"
    assert ended.printed("W*1") == ["7"]
    assert ended.status == "FINISHED"
