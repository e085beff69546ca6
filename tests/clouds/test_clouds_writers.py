"""The guide for writers of drivers and back ends names every member of their Protocols."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from proactive_tasks.clouds.provider import Provider
from proactive_tasks.vpn.backend import Backend

GUIDE = (Path(__file__).parents[2] / "docs" / "backends.md").read_text()


@pytest.mark.parametrize(("heading", "protocol"), [("A tunnel back end", Backend), ("A cloud driver", Provider)])
def test_every_member_is_explained(heading: str, protocol: type) -> None:
    rows = GUIDE.partition(f"## {heading}\n")[2].partition("\n## ")[0].split("|---|---|\n")[1].split("\n\n")[0]
    told = re.findall(r"^\| `(\w+)", rows, re.MULTILINE)
    methods = [name for name in vars(protocol) if not name.startswith("_")]
    assert sorted(told) == sorted({*protocol.__annotations__, *methods})
