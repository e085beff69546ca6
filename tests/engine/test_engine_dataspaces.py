"""Files that are copied before and after a task, as a scheduler's data spaces do it."""

from __future__ import annotations

import importlib.util
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from proactive_tasks.engine import descriptor
from proactive_tasks.engine.task.dataspaces import descent, glob
from proactive_tasks.engine.workflow import RefusedError
from proactive_tasks.store.location import space
from tests.engine.conftest import script, task, variables, workflow

Ran = Callable[..., Any]

PATTERNS = (
    "in/*.txt", "**/b", "**", "*", "in", "in/", "in/**", "**.txt", "{a,b}*", "{in/a,x/y}*", "[ab]*", "[!a]*", "a[*+]b",
    "regex:in/.*\\.txt", "glob:in/*", "a?c", "in//a.txt", "./in/a.txt", "IN/*.TXT", "**/in/**", "x/**/y", "/in/*.txt",
    "a,b", "a}", "a{b", "{a{b}}", "[a", "in/[a/b]", "a\\*b", "\\",
)  # fmt: skip
PATHS = (
    "b", "in", "in/a.txt", "in/b", "in/c/d.txt", "a.txt", "abc", ".hidden", "x/y", "x/1/y", "x/1/2/y", "in/.h.txt",
    "a+b", "a*b", "a,b", "a}", "in/c",
)  # fmt: skip


def files(kind: str, includes: str, mode: str, excludes: str = "") -> str:
    words = f' excludes="{excludes}"' if excludes else ""
    return f'<{kind}Files><files includes="{includes}"{words} accessMode="{mode}"/></{kind}Files>'


def after(name: str, text: str, last: str) -> str:
    """A task with an element behind its executable."""
    return task(name, text).replace("</task>", f"{last}</task>")


def put(where: str, **texts: str) -> Path:
    for name, text in texts.items():
        path = space(where) / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return space(where)


LISTING = """
import os
found = [os.path.relpath(os.path.join(folder, name)) for folder, _, names in os.walk(".") for name in names]
result = ",".join(sorted(found))
"""


def test_patterns_choose_what_the_schedulers_own_selector_chooses() -> None:
    package = importlib.util.find_spec("proactive")
    assert package is not None
    assert package.submodule_search_locations
    command = ["java", "-cp", f"{package.submodule_search_locations[0]}/java/lib/*"]
    program = str(Path(__file__).parent / "SelectFiles.java")
    found = subprocess.run([*command, program, *PATTERNS, "--", *PATHS], capture_output=True, text=True, check=True)
    theirs = dict(zip(PATTERNS, found.stdout.splitlines(), strict=True))
    assert {pattern: answers(pattern, theirs[pattern]) for pattern in PATTERNS} == theirs


def answers(pattern: str, theirs: str) -> str:
    """Ours in the same letters; a pattern that is none is one for neither."""
    line = ""
    for number, path in enumerate(PATHS):
        try:
            line += "M" if glob(pattern)(path) else "-"
        except ValueError:
            line += "-" if path == pattern else "X"
        # where the walk ends early is compared, where it goes on in vain is not
        ours, real = descent(pattern)(path), theirs[2 * number + 1]
        line += real if ours else "-"
    return line


def test_files_of_a_space_come_with_their_folders_and_variables_name_them(ran: Ran) -> None:
    put("user", in__a="1", in__b="2", in__deep__c="3", other="4")
    job = ran(
        task("A", LISTING, before=files("input", "in/${F}", "transferFromUserSpace")),
        task("B", LISTING, before=files("input", "**", "transferFromUserSpace", excludes="in/**")),
        task("C", LISTING, before=files("input", "in/**", "transferFromInputSpace")),
        head=variables(F="*"),
    )  # fmt: skip
    assert job.values == {"A": "in/a,in/b", "B": "other", "C": "in/a,in/b,in/deep/c"}


def test_what_a_parent_set_stands_in_the_pattern(ran: Ran) -> None:
    put("global", a="1", b="2")
    last = task("B", LISTING, after="A", before=files("input", "${WHICH}", "transferFromGlobalSpace"))
    job = ran(task("A", 'variables.put("WHICH", "b")'), last)
    assert job.values["B"] == "b"


def test_a_missing_file_is_a_warning_in_the_log_and_the_task_runs(ran: Ran) -> None:
    job = ran(task("A", "result = 1", before=files("input", "no/*.txt", "transferFromUserSpace")))
    assert job.status == "FINISHED"
    selector = "(transferFromUserSpace-FileSelector{includes=[no/*.txt], excludes=[]})"
    place = f"file://{space('user')}"
    assert job.printed("A") == [
        f"[DATASPACES-WARNING] No file is transferred from USER space at {place} for selector {selector}"
    ]


def test_what_a_task_leaves_is_copied_also_when_it_fails(ran: Ran) -> None:
    leave = "import os; os.mkdir('out'); open('out/f.txt', 'w').write('kept'); "
    output = files("output", "out/*.txt", "transferToUserSpace")
    job = ran(after("A", leave + "raise SystemExit(3)", output), after("B", "pass", output))
    assert job.tasks == {"A": "FAULTY", "B": "FINISHED"}
    assert (space("user") / "out/f.txt").read_text() == "kept"
    assert "[DATASPACES-WARNING] No file is transferred to USER space at file://" in job.printed("B")[0]


def test_the_next_task_finds_in_the_global_space_what_one_left_there(ran: Ran) -> None:
    job = ran(
        after("A", "open('report', 'w').write('x' * 100000)", files("output", "report", "transferToGlobalSpace")),
        task("B", "result = len(open('report').read())", after="A",
             before=files("input", "report", "transferFromGlobalSpace")),
    )  # fmt: skip
    assert job.values["B"] == "100000"
    assert [path.name for path in space("global").iterdir()] == ["report"]


def test_a_task_whose_time_is_over_leaves_nothing(ran: Ran) -> None:
    text = "open('f', 'w'); import time; time.sleep(60)"
    job = ran(after("A", text, files("output", "*", "transferToUserSpace")).replace('"A"', '"A" walltime="1"'))
    assert job.tasks == {"A": "FAULTY"}
    assert list(space("user").iterdir()) == []


def test_cached_files_lie_in_the_nodes_cache_and_not_with_the_task(ran: Ran) -> None:
    put("user", in__a="1")
    read = LISTING + "result += '|' + open(cachespace + '/in/a').read()"
    job = ran(task("A", read, before=files("input", "in/*", "cacheFromUserSpace")))
    assert job.values["A"] == "|1"
    put("user", in__a="22")
    job = ran(task("A", read, before=files("input", "in/*", "cacheFromUserSpace")))
    assert job.values["A"] == "|22"


def test_of_two_spaces_the_users_file_goes_before_the_shared_one(ran: Ran) -> None:
    put("user", a="mine")
    put("global", a="ours")
    both = (
        '<inputFiles><files includes="a" accessMode="transferFromUserSpace"/>'
        '<files includes="a" accessMode="transferFromGlobalSpace"/></inputFiles>'
    )
    job = ran(task("A", "result = open('a').read()", before=both))
    assert job.values["A"] == "mine"
    assert "will be copied instead of" in job.printed("A")[0]


def test_what_cannot_be_copied_fails_the_task_before_its_script(ran: Ran) -> None:
    job = ran(task("A", "print('ran')", before=files("input", "[a", "transferFromUserSpace")))
    assert job.tasks == {"A": "FAULTY"}
    assert "ran" not in job.printed("A")
    assert job.errors["A"].startswith("Exception(s) occurred when transferring files: ")
    put("user", file="")
    job = ran(
        after("A", "import os; os.mkdir('file'); open('file/x', 'w')", files("output", "**", "transferToUserSpace"))
    )
    assert job.tasks == {"A": "FAULTY"}


def test_nothing_is_copied_for_access_mode_none_and_an_unknown_one_is_refused(ran: Ran) -> None:
    put("user", a="1")
    assert ran(task("A", LISTING, before=files("input", "*", "none"))).values["A"] == ""
    with pytest.raises(RefusedError, match=r"At \[task=A\] : Unknow input access mode : \$\{M\}"):
        descriptor.load(workflow(task("A", before=files("input", "*", "${M}"))), {"M": "none"})


ENVIRONMENT = (Path(__file__).parents[2] / "catalog/overlay_environment.groovy").read_text("utf-8")


def groovy(text: str) -> bytes:
    inside = f"<forkEnvironment><envScript>{script(text, 'groovy')}</envScript></forkEnvironment>"
    return workflow(task("A", before=inside))


def test_the_script_that_brings_the_package_to_a_node_is_left_aside_as_tasks_have_it() -> None:
    assert descriptor.load(groovy(ENVIRONMENT)).tasks["A"].scripts == {}
    for other in ("println 1", ENVIRONMENT + "println 1"):
        with pytest.raises(RefusedError, match="script language 'groovy' at line"):
            descriptor.load(groovy(other))
