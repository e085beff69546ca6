"""The page on workflows names exactly what the job descriptors hold: files, variables, models, defaults, stages."""

from __future__ import annotations

from pathlib import Path

import pytest
from lxml import etree

TOP = Path(__file__).parents[2]
PAGE = (TOP / "docs" / "workflows.md").read_text()
NAMES = sorted(path.stem for path in (TOP / "workflows").glob("*.xml"))
LIKE_DEPLOYMENT = "Scale_Out_Overlay"


def job(name: str) -> etree._Element:
    return etree.parse(TOP / "workflows" / f"{name}.xml").getroot()


def tables(name: str) -> dict[str, list[list[str]]]:
    """The tables of a workflow's section, by the word over their first column."""
    section = PAGE.partition(f"\n## {name}\n")[2].partition("\n## ")[0]
    found = {}
    for part in section.split("\n\n"):
        head, *rows = [[cell.strip() for cell in line.strip("|").split(" |")] for line in part.strip().splitlines()]
        if part.startswith("|"):
            found[head[0]] = rows[1:]
    return found


def stages(name: str) -> list[str]:
    return [task.get("name", "") for task in job(name).iter("{*}task") if task.get("ref") is None]


def test_every_workflow_has_a_section_and_no_other_is_there() -> None:
    assert sorted(line[3:] for line in PAGE.splitlines() if line.startswith("## ") and "_" in line) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_variables_models_and_defaults_are_those_of_the_file(name: str) -> None:
    variables = {each.get("name"): each for each in job(name).iterfind("{*}variables/{*}variable")}
    rows = {row[0].strip("`"): row[1:] for row in tables(name)["variable"]}
    assert list(rows) == list(variables)
    for variable, (model, default, meaning) in rows.items():
        assert model.strip("`") == variables[variable].get("model", "any"), variable
        assert variable == "SPEC" or default.strip("`") == (variables[variable].get("value") or "empty"), variable
        assert meaning, variable


@pytest.mark.parametrize("name", NAMES)
def test_stages_are_those_of_the_file_in_their_order(name: str) -> None:
    if name == LIKE_DEPLOYMENT:
        assert stages(name) == stages("Deploy_Overlay")
        return
    told = [row[0] for row in tables(name)["stage"]]
    expected = stages(name)
    if "..." in told[-1]:  # from there on as in the deployment
        first = told.pop().split("`")[1]
        assert expected[len(told) :] == stages("Deploy_Overlay")[stages("Deploy_Overlay").index(first) :]
        expected = expected[: len(told)]
    assert [stage.strip("`") for stage in told] == expected
