"""scripts/install_node: the package on a node, in an environment of its own that tasks name by PYTHON_COMMAND."""

from __future__ import annotations

import os
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.scheduler.wheels import wheel

SCRIPT = Path(__file__).parents[2] / "scripts" / "install_node"
DEADLINE_S = 500


@pytest.fixture
def needed(tmp_path: Path) -> Path:
    """What the package needs, as far as this test's one does."""
    folder = tmp_path / "needed"
    wheel(folder, "py4j", "0.10.9.9", {"py4j/__init__.py": "", "py4j/java_gateway.py": ""})
    return folder


def package(folder: Path, version: str, code: str = "") -> Path:
    names = ("__init__", "scheduler/__init__", "scheduler/binding")
    files = {f"proactive_tasks/{name}.py": code for name in names}
    return wheel(folder, "proactive_network_overlay", version, files)


def install(needed: Path, *words: str | Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(needed)}
    return subprocess.run(
        [SCRIPT, *words], env=environment, capture_output=True, text=True, timeout=DEADLINE_S, stdin=subprocess.DEVNULL
    )


def test_a_node_gets_the_package_once_and_then_the_next_release_in_one_step(tmp_path: Path, needed: Path) -> None:
    prefix = tmp_path / "overlay"
    first = package(tmp_path / "first", "0.1.0")

    with ThreadPoolExecutor(2) as both:  # twice at once, one of them makes it
        done = list(both.map(lambda _: install(needed, "--prefix", prefix, "--wheel", first), range(2)))
    assert [each.returncode for each in done] == [0, 0], done[0].stderr + done[1].stderr
    assert {each.stdout for each in done} == {f"PYTHON_COMMAND={prefix}/current/bin/python3\n"}
    assert len([each for each in done if "making" in each.stderr]) == 1
    made = (prefix / "current").resolve()
    assert subprocess.run([prefix / "current/bin/python3", "-P", "-c", "import proactive_tasks, py4j"]).returncode == 0

    second = install(needed, "--prefix", prefix, "--wheel", package(tmp_path / "second", "0.2.0"))
    assert "proactive-network-overlay 0.2.0 on Python 3." in second.stderr
    assert second.stdout == done[0].stdout
    assert (prefix / "current").resolve() != made
    assert made.exists()  # for tasks that still run in it

    broken = package(tmp_path / "broken", "0.3.0", "raise ImportError('of what is not there')")
    third = install(needed, "--prefix", prefix, "--wheel", broken)
    assert third.returncode == 1
    assert "ImportError: of what is not there" in third.stderr
    assert f"what was installed of {broken} does not work" in third.stderr
    assert len(list((prefix / "versions").iterdir())) == 2
    assert install(needed, "--prefix", prefix, "--wheel", first).returncode == 0
    assert (prefix / "current").resolve() == made


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--wheel", "none.whl"], "--wheel none.whl: is no readable wheel"),
        (["--prefix", "here"], "--prefix here: give an absolute path"),
        (["--prefix", "/proc/overlay"], "/proc/overlay cannot be written by"),
        (["--python", "python2"], "Python 3.11 or newer is needed, python2 is not; name one with --python"),
        (["--extras", "a b"], "--extras a b: give names"),
        (["--prefix"], "--prefix wants a value"),
        (["--upgrade"], "--upgrade is not known; see --help"),
    ],
)
def test_wrong_words_are_refused_before_anything_is_made(needed: Path, words: list[str], told: str) -> None:
    done = install(needed, *words)
    assert done.returncode == 2
    assert done.stderr.startswith(f"install_node: {told}")
    assert len(done.stderr.splitlines()) == 1


def test_the_script_alone_asks_for_a_wheel(tmp_path: Path, needed: Path) -> None:
    alone = tmp_path / "scripts" / "install_node"
    alone.parent.mkdir()
    alone.write_text(SCRIPT.read_text("utf-8"))
    done = subprocess.run(["bash", alone], capture_output=True, text=True, timeout=DEADLINE_S)
    assert (done.returncode, done.stderr) == (
        2,
        "install_node: there is no clone around this script; name a wheel with --wheel\n",
    )
