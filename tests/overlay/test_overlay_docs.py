"""The specification reference says what the models say: fields, defaults, bounds, and examples that load."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from proactive_tasks.overlay.checks import OPTIONS
from proactive_tasks.overlay.errors import SpecificationError
from proactive_tasks.overlay.numbering import PROVIDERS, assignable, gateway
from proactive_tasks.overlay.spec import Bfd, Elastic, OverlaySpec, SiteSpec, SourceSpec, load_spec
from proactive_tasks.overlay.topology import TOPOLOGIES

PAGE = (Path(__file__).parents[2] / "docs" / "specification.md").read_text()
HEAD = "version: 1\noverlay: presto\n"
MODELS = {"Overlay": OverlaySpec, "Bfd": Bfd, "Site": SiteSpec, "Elastic": Elastic, "Source": SourceSpec}


def table(heading: str) -> list[list[str]]:
    """The cells of the first table under a heading, without its head."""
    section = PAGE.partition(f"# {heading}\n\n")[2].split("\n#")[0]
    rows = next(part for part in section.split("\n\n") if part.startswith("|")).splitlines()[2:]
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]


def plain(cell: str) -> str:
    return cell.strip("`")


def shown(field: FieldInfo) -> str:
    """A default as the page writes it."""
    if field.is_required():
        return "required"
    value: Any = field.get_default(call_default_factory=True)
    if isinstance(value, BaseModel):
        return "see below"
    if value is None or isinstance(value, str | int | tuple | dict):
        return value if isinstance(value, str) and value else json.dumps(value)
    return str(value)


def limits(field: FieldInfo) -> set[int]:
    return {getattr(each, side) for each in field.metadata for side in ("ge", "le") if hasattr(each, side)}


@pytest.mark.parametrize("heading", MODELS)
def test_every_field_is_there_with_its_default_and_bounds(heading: str) -> None:
    fields = MODELS[heading].model_fields
    rows = {plain(row[0]): row for row in table(heading)}
    assert list(rows) == list(fields)
    for name, field in fields.items():
        assert plain(rows[name][2]) == shown(field), name
        assert limits(field) <= {int(number) for number in re.findall(r"\d+", rows[name][3])}, name


@pytest.mark.parametrize("provider", OPTIONS)
def test_every_option_of_a_site_is_there_with_its_bounds(provider: str) -> None:
    article = "a" if provider == "lab" else "an"
    rows = {plain(row[0]): row for row in table(f"Options of {article} {provider} site")}
    assert list(rows) == list(OPTIONS[provider])
    for name, (kind, low, high) in OPTIONS[provider].items():
        assert rows[name][1] == {bool: "boolean", float: "number", int: "whole number", str: "text"}[kind]
        assert kind in {bool, str} or rows[name][3].startswith(f"{low:g} to {high:g}")


def test_the_numbering_plan_s_table_holds() -> None:
    split = load_spec(HEAD).split
    rows = {plain(row[0]): row[1:] for row in table("Numbering plan")}
    assert list(rows) == list(PROVIDERS)
    for name, (number, subnet, last, _, hosts) in rows.items():
        first = split.subnet(name, 0)
        assert [number, subnet, last] == [str(PROVIDERS[name]), str(first), str(gateway(first))]
        assert int(hosts) == len(assignable(name, first))


def test_other_settings_give_the_subnets_that_the_page_names() -> None:
    _, _, rest = PAGE.partition("The same plan in other networks:\n\n")
    for row in rest.split("\n\n")[0].splitlines()[2:]:
        settings, bits, subnet = (cell.strip() for cell in row.strip("|").split("|"))
        split = load_spec(HEAD + "\n".join(re.findall(r"`([^`]+)`", settings))).split
        assert bits == f"{split.provider_bits}, {split.deployment_bits}, {split.host_bits}"
        assert subnet == str(split.subnet("lab", 1))


def test_every_topology_is_there() -> None:
    assert [plain(row[0]) for row in table("Topologies")] == list(TOPOLOGIES)


def test_the_examples_load() -> None:
    examples = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
    assert examples
    for example in examples:
        assert load_spec(example).sites


@pytest.mark.parametrize(("written", "answer"), [(plain(row[0]), plain(row[1])) for row in table("Errors")])
def test_an_error_reads_as_the_page_says(written: str, answer: str) -> None:
    head = "overlay: presto\n" if written.startswith("version") else HEAD
    text = written + "\n" + head if written.startswith("version") else head + written
    with pytest.raises(SpecificationError) as error:
        load_spec(text)
    assert str(error.value) == f"specification, {answer}"
