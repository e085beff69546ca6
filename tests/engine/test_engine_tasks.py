"""What a task's scripts find, hand over and leave behind."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.engine.conftest import held, script, task, variables

Ran = Callable[..., Any]


@pytest.mark.parametrize(
    ("code", "text"),
    [
        ("result = None", None),
        ("pass", "true"),
        ("result = 1e10", "1.0E10"),
        ("result = 0.0001", "1.0E-4"),
        ("result = 100.0", "100.0"),
        ("result = (1, 'a', None)", "[1, a, null]"),
        ("result = {'x': True}", "{x=true}"),
        ("result = {'site': 'a', 'i': 0, 'ab': 1}", "{ab=1, site=a, i=0}"),
        ("result = {3, 1, 2}", "[1, 2, 3]"),
        ("result = 1\nimport sys\nsys.exit(0)", "true"),
    ],
)
def test_a_result_is_shown_as_java_shows_it(ran: Ran, code: str, text: str | None) -> None:
    assert ran(task("T", code)).values["T"] == text


@pytest.mark.parametrize(
    "code", ["result = 2**70", "result = object()", "import datetime\nresult = datetime.date(2020, 1, 1)", "exit(3)"]
)
def test_a_result_that_java_cannot_hold_fails_the_task(ran: Ran, code: str) -> None:
    ended = ran(task("T", code))
    assert ended.tasks["T"] == "FAULTY"
    assert ended.status == "FINISHED"


def test_collections_of_other_tasks_are_javas_not_pythons(ran: Ran) -> None:
    ended = ran(
        task("A", "result = {'l': [1, 2]}\nvariables.put('d', {'k': [1]})"),
        task(
            "B",
            "import json\n"
            "v = results[0].value()\n"
            "print(type(v).__name__, isinstance(v, dict), v['l'][1], list(v['l']), dict(v), v['none'])\n"
            "variables.get('d').put('new', 1)\n"
            "variables['d']['k'].append(2)\n"
            "print(variables.get('missing', 'default'), 'missing' in variables)\n"
            "try:\n    json.dumps(v)\n"
            "except TypeError as e:\n    print(e)",
            after="A",
        ),
        task("C", "print(variables.get('d'))", after="B"),
    )
    assert ended.printed("B") == [
        "JavaMap False 2 [1, 2] {'l': [1, 2]} None",
        "None False",
        "Object of type JavaMap is not JSON serializable",
    ]
    assert ended.printed("C") == ["{'new': 1, 'k': [1, 2]}"]


def test_a_traceback_tells_the_line_as_the_scheduler_does_and_starts_at_the_script(ran: Ran) -> None:
    printed = ran(task("T", "x = 1\nraise ValueError('boom')")).printed("T")
    assert printed[0] == "Traceback (most recent call last):"
    assert "line 9" in printed[1]  # three lines of the script, six before it
    assert "ValueError: boom" in printed


def test_future_imports_are_refused_as_behind_the_schedulers_lines(ran: Ran) -> None:
    ended = ran(task("T", "from __future__ import annotations"))
    assert any("from __future__ imports must occur at the beginning" in line for line in ended.printed("T"))


def test_a_script_runs_in_a_folder_of_its_own_that_is_gone_afterwards(ran: Ran) -> None:
    ended = ran(task("T", "import os\nprint(os.getcwd() == localspace, os.listdir('.'))\nresult = localspace"))
    assert ended.printed("T") == ["True []"]
    assert not Path(str(ended.values["T"])).exists()


def test_credentials_reach_the_task_but_neither_its_environment_nor_its_arguments(ran: Ran) -> None:
    code = (
        "import os\nsecret = credentials.get('KEY')\nprint(secret[::-1], credentials.get('NONE'))\n"
        "seen = open('/proc/self/environ').read() + open('/proc/self/cmdline').read() + str(dict(os.environ))\n"
        "print(secret in seen)"
    )
    assert ran(task("T", code), credentials={"KEY": "s3cret"}).printed("T") == ["terc3s None", "False"]


def test_bash_gets_variables_and_credentials_and_its_result_is_its_exit_code(ran: Ran) -> None:
    bash = script('echo "$variables_V $credentials_KEY"; env | grep -c credentials; exit 0', "bash")
    ended = ran(
        f'<task name="B"><scriptExecutable>{bash}</scriptExecutable></task>',
        f'<task name="F"><scriptExecutable>{script("exit 4", "bash")}</scriptExecutable></task>',
        head=variables(V="it's"),
        credentials={"KEY": "a 'quoted' one"},
    )
    assert ended.printed("B") == ["it's a 'quoted' one", "0"]
    assert (ended.values["B"], ended.tasks["F"]) == ("0", "FAULTY")


def test_a_native_command_gets_its_variables_as_arguments(ran: Ran) -> None:
    arguments = '<arguments><argument value="${V} $V"/><argument value="$PA_TASK_NAME"/></arguments>'
    command = f'<nativeExecutable><staticCommand value="echo">{arguments}</staticCommand></nativeExecutable>'
    ended = ran(f'<task name="N">{command}</task>', head=variables(V="x; y"))
    assert ended.printed("N") == ["x; y x; y N"]


def test_a_native_command_finds_variables_in_its_environment(ran: Ran) -> None:
    arguments = '<arguments><argument value="variables_V"/></arguments>'
    command = f'<nativeExecutable><staticCommand value="printenv">{arguments}</staticCommand></nativeExecutable>'
    assert ran(f'<task name="N">{command}</task>', head=variables(V="x; y")).printed("N") == ["x; y"]


def test_a_script_that_reads_its_input_waits_until_its_walltime(ran: Ran) -> None:
    ended = ran(task("T", "try:\n    input()\nexcept EOFError:\n    print('end')", walltime=1))
    assert ended.tasks["T"] == "FAULTY"
    assert ended.printed("T") == ["Walltime of 1000 ms reached on task T"]


def test_another_interpreter_gets_the_same_bindings(ran: Ran, tmp_path: Path) -> None:
    other = tmp_path / "other-python"
    other.symlink_to(sys.executable)
    other = tmp_path / "wrapper"
    other.write_text(f'#!/bin/sh\nWRAPPED=yes exec {sys.executable} "$@"\n')
    other.chmod(0o755)
    info = f'<genericInformation><info name="PYTHON_COMMAND" value="{other}"/></genericInformation>'
    code = "import os\nprint(os.environ['WRAPPED'], variables.get('V'))\nvariables.put('V', [1])\nresult = {'a': 1}"
    ended = ran(task("T", code), task("U", "print(variables.get('V'))", after="T"), head=variables(V="v") + info)
    assert ended.printed("T") == ["yes v"]
    assert ended.printed("U") == ["[1]"]
    assert ended.values["T"] == "{a=1}"


def test_an_interpreter_that_is_not_there_fails_the_task_with_its_name(ran: Ran) -> None:
    info = '<genericInformation><info name="PYTHON_COMMAND" value="/no/such/python"/></genericInformation>'
    ended = ran(task("T"), head=info)
    assert 'Cannot run program "/no/such/python"' in ended.errors["T"]


def test_scripts_around_a_task_run_in_order_and_share_variables(ran: Ran) -> None:
    body = "<pre>{}</pre><scriptExecutable>{}</scriptExecutable><controlFlow><replicate>{}</replicate></controlFlow>"
    body += "<post>{}</post><cleaning>{}</cleaning>"
    steps = [f"print({n!r}, variables.get('s'))\nvariables.put('s', {n!r})" for n in ("pre", "main", "flow", "post")]
    steps[2] += "\nruns = 1"
    clean = (
        "open('/tmp/' + variables.get('PA_JOB_NAME') + '-never', 'w') if False else print('clean')\nraise ValueError"
    )
    filled = body.format(*map(script, steps), script(clean))
    ended = ran(f'<task name="T">{filled}</task>', task("W", after="T"), task("M", after="W"))
    assert ended.printed("T") == ["pre None", "main pre", "post main", "flow post"]
    assert ended.tasks["T"] == "FINISHED"


def test_an_environment_script_and_the_fork_environment_set_variables_of_the_process(ran: Ran) -> None:
    fork = (
        '<forkEnvironment><SystemEnvironment><variable name="A" value="${V}-1"/></SystemEnvironment><envScript>'
        + script('forkEnvironment.addSystemEnvironmentVariable("B", "from script")')
        + "</envScript></forkEnvironment>"
    )
    ended = ran(task("T", "import os\nprint(os.environ['A'], os.environ['B'])", before=fork), head=variables(V="v"))
    assert ended.printed("T") == ["v-1 from script"]


def test_results_maps_and_metadata_are_kept(ran: Ran) -> None:
    ended = ran(
        task("A", "resultMap.put('n', 3)\nresultMetadata.put('content.type', 'text/html')\nresult = b'<b>'"),
        task("B", "print(resultMap, results[0].getMetadata().get('content.type'), results[0].value())", after="A"),
    )
    assert ended.job.result_map == {"n": "3"}
    assert ended.printed("B") == ["{} text/html b'<b>'"]


def test_progress_is_reported_by_binding_and_by_file(ran: Ran, told: Path) -> None:
    code = (
        f"progress.set(30)\n{held(told / 'T 30')}"
        f"open(os.environ['PA_TASK_PROGRESS_FILE'], 'w').write('60')\n{held(told / 'T 60')}"
    )
    assert ran(task("T", code)).log.progress == [30, 60]


def test_what_a_python_task_leaves_running_is_killed_at_its_end(ran: Ran) -> None:
    code = (
        "import subprocess\np = subprocess.Popen(['sleep', '600'], start_new_session=True)\nresult = p.pid\n"
        "subprocess.Popen(['setsid', 'sh', '-c', 'sleep 600 & sleep 600'])"
    )
    before = time.monotonic()
    ended = ran(task("T", code))
    assert time.monotonic() - before < 30
    assert not Path(f"/proc/{ended.values['T']}").exists()


def test_much_output_and_a_big_result_come_through(ran: Ran) -> None:
    code = (
        "for i in range(20000):\n    print(i, 'x' * 50)\nprint('no newline at the end', end='')\nresult = 'y' * 3000000"
    )
    ended = ran(task("T", code))
    assert len(ended.printed("T")) == 20001
    assert ended.printed("T")[-1] == "no newline at the end"
    assert len(str(ended.values["T"])) == 3000000


def test_a_script_may_fork_threads_and_end_hard(ran: Ran) -> None:
    code = "import threading, os\nt = threading.Thread(target=lambda: print('thread'))\nt.start()"
    ended = ran(task("T", code), task("U", "import os\nos._exit(5)"), task("V", "import os\nos.kill(os.getpid(), 9)"))
    assert ended.printed("T") == ["thread"]
    assert "exit code 5" in ended.errors["U"]
    assert "exit code 137" in ended.errors["V"]
