"""The table of node sources is read whole or refused by name, and says of each source which site is its."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proactive_tasks.overlay import checks
from proactive_tasks.overlay.errors import SpecificationError
from proactive_tasks.overlay.sources import matches, site_name
from proactive_tasks.overlay.spec import OverlaySpec, load_spec, site_spec

HEAD = "version: 1\noverlay: presto\nsites: [{name: paris, provider: lab}]\n"


def table(*rows: str, more: str = "") -> str:
    return HEAD + f"elastic:\n  grace_s: 60\n{more}  sources:\n" + "".join(f"    - {{{row}}}\n" for row in rows)


def test_a_table_is_read_and_survives_the_store_s_form() -> None:
    spec = load_spec(table("source: 'aws-*', provider: aws, region: eu-central-1", "source: campus, provider: lab"))
    assert spec.elastic.grace_s == 60
    assert [row.source for row in spec.elastic.sources] == ["aws-*", "campus"]
    assert OverlaySpec.model_validate(json.loads(spec.model_dump_json())) == spec
    assert load_spec(HEAD).elastic.grace_s == 300
    assert load_spec(HEAD).elastic.row("campus") is None


@pytest.mark.parametrize(
    ("source", "pattern", "site"),
    [
        ("aws-frankfurt", "aws-frankfurt", "frankfurt"),  # the exact name, though its row comes later
        ("aws-paris", "aws-*", "aws-paris"),
        ("aws-", "aws-*", "aws"),
        ("edge-1", "edge-?", "edges"),
        ("edge-10", None, None),
        ("LocalNodes", None, None),  # the server's own: no pattern takes it
        ("Campus_A", "Campus_?", "campus-a"),
    ],
)
def test_a_source_has_the_row_that_names_it_or_the_first_pattern(
    source: str, pattern: str | None, site: str | None
) -> None:
    spec = load_spec(
        table(
            "source: 'aws-*', provider: aws, region: eu-west-3",
            "source: aws-frankfurt, provider: aws, region: eu-central-1, site: frankfurt",
            "source: 'edge-?', provider: lab, site: edges",
            "source: 'Campus_?', provider: lab",
            "source: 'Local*', provider: lab",
        )
    )
    row = spec.elastic.row(source)
    assert (row and row.source, row and row.site_of(source)) == (pattern, site)


@pytest.mark.parametrize(
    ("rows", "where", "message"),
    [
        (["source: '', provider: lab"], "sources[0].source", "is not the name of a node source"),
        (['source: "a\\nb", provider: lab'], "sources[0].source", "is not the name of a node source"),
        (["source: a, provider: moon"], "sources[0].provider", "'moon' is not a provider"),
        (["source: a, provider: lab, colour: red"], "sources[0].colour", "unknown key"),
        (["source: a, provider: lab, options: {vpc: v}"], "sources[0].options.vpc", "unknown option"),
        (["source: a, provider: lab, site: Not_A_Site"], "sources[0].site", "is not a name"),
        (["source: a, provider: lab", "source: a, provider: aws"], "sources[1].source", "'a' is there twice"),
        (["source: a, provider: lab", "source: A, provider: aws"], "sources[1]", "both of site a, but differ in prov"),
        (
            ["source: 'a*', provider: lab, prefixes: [172.16.0.0/24]"],
            "sources[0].prefixes",
            "cannot all bring the same",
        ),
        (["source: a, provider: lab, prefixes: [10.1.0.0/7]"], "sources[0].prefixes[0]", "has bits set beyond"),
        (["source: a, provider: lab, prefixes: [100.64.3.0/24]"], "sources[0]", "overlaps transit_network"),
        (
            [
                "source: a, provider: lab, prefixes: [172.16.0.0/24]",
                "source: b, provider: lab, prefixes: [172.16.0.0/16]",
            ],
            "sources[1]",
            "172.16.0.0/16",
        ),
        (["source: a, provider: lab, hosts: 201"], "sources[0].hosts", "should be less than or equal to 200"),
        (["source: paris, provider: aws, region: eu-west-3"], "sources[0]", "site paris is among the sites already"),
        (["source: x, provider: edge"], "sources[0].options", "needs the option address"),
    ],
)
def test_a_bad_table_is_refused_by_name(rows: list[str], where: str, message: str) -> None:
    with pytest.raises(SpecificationError) as caught:
        load_spec(table(*rows))
    assert f"elastic.{where}: " in str(caught.value)
    assert message in str(caught.value)


def test_the_example_of_the_docs_loads() -> None:
    page = (Path(__file__).parents[2] / "docs" / "elastic.md").read_text()
    [example] = re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)
    assert load_spec(example).elastic.sources


def test_a_grace_period_has_bounds() -> None:
    with pytest.raises(SpecificationError, match=r"elastic\.grace_s: -1"):
        load_spec(HEAD + "elastic: {grace_s: -1}\n")


@given(st.text(min_size=1, max_size=80))
def test_whatever_a_source_is_called_its_site_has_a_name(source: str) -> None:
    assert site_spec(name=site_name(source), provider="lab").name == site_name(source)


@given(st.from_regex(checks.NAME, fullmatch=True).filter(lambda name: len(name) <= 31))
def test_a_source_that_is_called_as_a_site_can_be_gives_it_its_name(source: str) -> None:
    assert site_name(source) == source


@given(st.text(st.characters(codec="ascii"), max_size=12), st.text(st.characters(codec="ascii"), max_size=12))
def test_a_pattern_is_no_more_than_stars_and_question_marks(pattern: str, name: str) -> None:
    if "*" not in pattern and "?" not in pattern:
        assert matches(pattern, name) == (pattern == name)
    assert matches("*", name) == (name not in {"Default", "LocalNodes"})
