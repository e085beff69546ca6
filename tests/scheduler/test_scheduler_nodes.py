"""How the package reaches the node that runs a task: each of the three ways, and what a node without it says.

The environment script runs in a real Groovy with the bindings of a node, on the scheduler's own ForkEnvironment.
"""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from fnmatch import fnmatch
from pathlib import Path

import pytest

from proactive_tasks.engine import descriptor
from proactive_tasks.scheduler.package import packaging
from proactive_tasks.scheduler.package.wheel import build
from tests.scheduler.wheels import wheel

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "catalog" / "overlay_environment.groovy"
GROOVY = Path("/usr/share/java/groovy-all.jar")
DEADLINE_S = 500

LACKING = "the interpreter {} does not have the package: "
WAYS = ("NODE_ENVIRONMENT=installed", "NODE_ENVIRONMENT=wheel", "NODE_ENVIRONMENT=container")


def jars() -> str:
    package = importlib.util.find_spec("proactive")
    assert package is not None
    assert package.submodule_search_locations
    return f"{package.submodule_search_locations[0]}/java/lib/*:{GROOVY}"


def prepared(local: Path, *nodes: list[str], **environment: str) -> list[str]:
    """What the script makes of several nodes at once: a line each."""
    command = ["java", "-cp", jars(), str(Path(__file__).parent / "RunEnvironment.java"), str(SCRIPT), str(local)]
    found = subprocess.run(
        [*command, *(word for node in nodes for word in ("--", *node))],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
    )
    assert found.returncode == 0, found.stderr
    return [line for line in found.stdout.splitlines() if line.startswith(("OK", "FAILED"))]


@pytest.fixture
def local(tmp_path: Path) -> Path:
    """A task's local folder into which two releases of the package were copied, and what they need."""
    folder = tmp_path / "local"
    for version in ("0.9.2", "0.10.0"):
        wheel(
            folder / "network-overlay", "proactive_network_overlay", version,
            {"proactive_tasks/__init__.py": f"version = {version!r}"},
        )  # fmt: skip
    wheel(folder / "network-overlay", "py4j", "0.10.9.9", {"py4j/__init__.py": "", "py4j/java_gateway.py": ""})
    return folder


def test_an_interpreter_that_has_the_package_is_taken_and_any_other_node_names_the_three_ways(tmp_path: Path) -> None:
    bare = tmp_path / "bare"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", bare], check=True)
    nodes = {
        f"info.PYTHON_COMMAND={bare}/bin/python": f"{LACKING.format(bare / 'bin/python')}ModuleNotFoundError: ",
        "info.PYTHON_COMMAND=/no/such/python": f"{LACKING.format('/no/such/python')}it cannot be run (",
        "info.PYTHON_COMMAND=/usr/bin/false": f"{LACKING.format('/usr/bin/false')}exit code 1",
        "NODE_ENVIRONMENT=wheel": "no proactive_network_overlay-*.whl came with the task",
        "NODE_ENVIRONMENT=wheel info.PYTHON_COMMAND=/opt/python3": "it has to be a name, such as python3",
        "NODE_ENVIRONMENT=container": "CONTAINER_IMAGE is empty",
        "NODE_ENVIRONMENT=container CONTAINER_IMAGE=--privileged": "'--privileged' is not the name of an image",
        "NODE_ENVIRONMENT=vessel": "NODE_ENVIRONMENT is 'vessel'",
    }
    good, *bad = prepared(tmp_path, [f"info.PYTHON_COMMAND={sys.executable}"], *(words.split() for words in nodes))
    assert good == "OK {} [] null"
    for line, reason in zip(bad, nodes.values(), strict=True):
        assert line.startswith("FAILED node ")
        assert reason in line
        assert all(way in line for way in WAYS)


def test_of_several_tasks_at_once_one_makes_the_environment_of_the_wheel_and_all_take_it(
    local: Path, tmp_path: Path
) -> None:
    cache = tmp_path / "cache"

    def node(tasks: int) -> list[str]:
        return prepared(
            local, *[["NODE_ENVIRONMENT=wheel", "info.PYTHON_COMMAND=python3"]] * tasks,
            OVERLAY_NODE_CACHE=str(cache), PIP_NO_INDEX="1",
        )  # fmt: skip

    with ThreadPoolExecutor(2) as machines:  # two nodes of one machine, each with three tasks
        lines = [line for found in machines.map(node, (3, 3)) for line in found]
    assert len(lines) == 6
    (made,) = {match[1] for line in lines if (match := re.search(r"VIRTUAL_ENV=([^,}]+)", line))}
    assert all(f"PATH={made}/bin:" in line for line in lines)
    assert Path(made).is_symlink()
    assert len([entry for entry in cache.iterdir() if (entry / "bin").exists() and not entry.is_symlink()]) == 1
    code = "import proactive_tasks; print(proactive_tasks.version)"
    assert subprocess.check_output([f"{made}/bin/python3", "-P", "-c", code], text=True) == "0.10.0\n"

    stamp = Path(made).resolve().stat().st_mtime_ns
    assert node(1) == lines[:1]
    assert Path(made).resolve().stat().st_mtime_ns == stamp


def test_what_pip_cannot_get_is_told_and_nothing_half_made_is_left(local: Path, tmp_path: Path) -> None:
    for file in (local / "network-overlay").glob("py4j*"):
        file.unlink()
    cache = tmp_path / "cache"
    (line,) = prepared(local, ["NODE_ENVIRONMENT=wheel"], OVERLAY_NODE_CACHE=str(cache), PIP_NO_INDEX="1")
    assert "pip failed: ERROR: No matching distribution found for py4j" in line
    assert [entry.suffix for entry in cache.iterdir()] == [".lock"]


def test_a_container_is_given_the_tasks_folder_and_the_nodes_classes(tmp_path: Path) -> None:
    home, local, tools = (tmp_path / name for name in ("home", "local", "tools"))
    for folder in (home, local, tools):
        folder.mkdir()
    asked = tmp_path / "asked"
    (tools / "docker").write_text(f'#!/bin/sh\necho "$*" >>{asked}\ntest "$1" != image\n')
    (tools / "docker").chmod(0o755)
    (line,) = prepared(
        local,
        ["NODE_ENVIRONMENT=container", "CONTAINER_IMAGE=registry.example/overlay:0.1", f"PA_SCHEDULER_HOME={home}"],
        PATH=f"{tools}:{os.environ['PATH']}",
    )
    command = line.partition("[")[2].partition("]")[0].split(", ")
    assert command[:2] == ["docker", "run"]
    assert command[-1] == "registry.example/overlay:0.1"
    assert command[command.index("--user") + 1] == f"{os.getuid()}:{os.getgid()}"
    assert {f"{local}:{local}", f"{home}:{home}"} <= set(command)
    assert line.endswith("] /usr")
    assert asked.read_text().splitlines() == [
        "image inspect registry.example/overlay:0.1",
        "pull --quiet registry.example/overlay:0.1",
    ]


def test_the_script_stands_in_a_workflow_as_it_is() -> None:
    assert "]]>" not in SCRIPT.read_text("utf-8")


def test_the_images_recipe_copies_the_wheel_that_the_package_carries_and_its_steps_are_shell() -> None:
    recipe = (ROOT / "catalog/container/Dockerfile").read_text("utf-8").replace("\\\n", " ")
    steps = [line.partition(" ")[::2] for line in recipe.splitlines() if line and not line.startswith("#")]
    assert [word for word, _ in steps] == ["FROM", "RUN", "COPY", "RUN", "ENV", "WORKDIR"]
    for word, rest in steps:
        if word == "COPY":
            assert fnmatch(build(ROOT)[0], rest.split()[0])
        if word == "RUN":
            subprocess.run(["sh", "-n"], input=rest, text=True, check=True)


def test_a_packaged_workflow_carries_the_script_and_the_embedded_engine_leaves_it_aside() -> None:
    package = packaging.load(ROOT, with_wheel=False)
    (deploy,) = [each for each in package.objects if each.name == "Deploy_Overlay"]
    assert b"OverlayEnvironment" in deploy.content
    loaded = descriptor.load(deploy.content)
    assert all("environment" not in task.scripts for task in loaded.tasks.values())
    assert {files.includes for task in loaded.tasks.values() for files in task.inputs} == {"network-overlay/*.whl"}
