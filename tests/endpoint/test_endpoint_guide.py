"""docs/scheduler.md leads from an empty endpoint to an overlay and back, command by command as it stands there."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from proactive_tasks.clouds.lab import LabProvider
from proactive_tasks.lab.lab import Lab
from proactive_tasks.lab.requirements import missing
from tests.endpoints import Served, serving
from tests.postgres import cluster

pytestmark = [
    pytest.mark.skipif(bool(missing()), reason=f"no lab here: {', '.join(missing())}"),
    pytest.mark.timeout(900),
]

TOP = Path(__file__).parents[2]
GUIDE = (TOP / "docs" / "scheduler.md").read_text()
STEPS = dict(re.findall(r"^## (\d+)\. .+?\n(.+?)(?=^## )", GUIDE, re.MULTILINE | re.DOTALL))
PASSWORD, STORE_PASSWORD = "a password of the endpoint", "a password of the database"


@pytest.fixture
def endpoint(tmp_path: Path) -> Iterator[Served]:
    try:
        with serving(tmp_path, user="admin", password=PASSWORD) as served:
            yield served
    finally:
        Lab("guide").destroy()
        assert LabProvider().leftovers("guide", []) == []


def test_the_guide_leads_from_an_empty_server_to_an_overlay_and_back(endpoint: Served, tmp_path: Path) -> None:
    (tmp_path / ".proactive-password").write_text(PASSWORD)
    (tmp_path / "passphrase").write_text("a passphrase of the guide\n")
    (tmp_path / "store-password").write_text(f"{STORE_PASSWORD}\n")
    (tmp_path / "overlay.yaml").write_text(re.findall(r"```yaml\n(.+?)```", STEPS["6"], re.DOTALL)[0])
    with cluster(STORE_PASSWORD) as database:
        host = database.split()[0].removeprefix("host=")
        here = {  # what is each user's own
            "http://localhost:8080": endpoint.url,
            "postgresql://overlay@db.example.org/overlay": f"postgresql://postgres@/postgres?host={host}",
            "/opt/network-overlay/current/bin/python3": sys.executable,
        }
        told = [run(commands, here, tmp_path) for commands in re.findall(r"```sh\n(.+?)```", GUIDE, re.DOTALL)]
    assert len(told) == 10
    assert re.search(r"network_camera\W+10\.250\.\d+\.0/24", told[-2])
    saved = {path.name for path in (tmp_path / "results").iterdir()}
    assert saved == {"report_overlay.html", "result_map.json"}
    documents = json.loads((tmp_path / "results" / "result_map.json").read_text())
    assert {"links.csv", "overlay.json"} <= set(documents)


ENVIRONMENT: dict[str, str] = {}
"""What the guide exports, for the blocks that follow."""


def run(commands: str, here: dict[str, str], folder: Path) -> str:
    """One block of the guide, in a shell that has what earlier blocks exported; what it printed."""
    for general, own in here.items():
        commands = commands.replace(general, own)
    commands = re.sub("^scripts/", f"{TOP}/scripts/", commands, flags=re.MULTILINE)
    script = f"set -eu\n{commands}\nenv -0 > {folder}/exported\n"
    surroundings = {**os.environ, **ENVIRONMENT, "HOME": str(folder), "OVERLAY_STORE_PASSWORD": STORE_PASSWORD}
    done = subprocess.run(
        ["bash", "-c", script], cwd=folder, env=surroundings, capture_output=True, text=True, timeout=600, check=False
    )
    assert done.returncode == 0, f"{commands}\n{done.stdout}\n{done.stderr}"
    words = dict(word.split("=", 1) for word in (folder / "exported").read_text().split("\0") if word)
    ENVIRONMENT.update({name: value for name, value in words.items() if re.match("PROACTIVE_|STORE$|PYTHON_", name)})
    return done.stdout
