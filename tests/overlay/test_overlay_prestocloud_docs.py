"""What the page on PrEstoCloud shows is what is read and written."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from proactive_tasks.overlay.errors import InputError
from proactive_tasks.overlay.reconfiguration import (
    KINDS,
    REGION_KEYS,
    SECRET,
    CloudList,
    Place,
    moves,
    read_plan,
    site_name,
)
from proactive_tasks.overlay.spec import site_spec

PAGE = (Path(__file__).parents[2] / "docs" / "prestocloud.md").read_text()
PLAN, CLOUDS, OPTIONS, LAB = re.findall(r"```json\n(.+?)```", PAGE, re.DOTALL)


def test_the_plan_of_the_page_needs_just_the_clouds_of_the_page() -> None:
    found = moves(read_plan(PLAN), CloudList(CLOUDS))
    assert [(move.fragment, move.source, move.target) for move in found] == [
        ("transcoder", None, Place("aws", "eu-west-1")),
        ("database", Place("azure", "westeurope"), Place("openstack", "regionone")),
        ("detector", Place("azure", "westeurope"), None),
    ]
    for name in re.findall(r"`((?:aws|openstack)-[a-z0-9-]+)`", PAGE):
        assert name in {site_name(move.target) for move in found if move.target}


def test_the_lab_of_the_page_is_a_list_of_clouds() -> None:
    assert [str(cloud.place) for cloud in CloudList(LAB).clouds] == ["lab paris", "lab rome"]


def test_the_options_of_the_page_are_those_of_a_site() -> None:
    for place, fields in json.loads(OPTIONS).items():
        provider, region = place.split()
        site_spec(name=site_name(Place(provider, region.lower())), provider=provider, region=region, **fields)


def test_the_refusal_of_the_page_is_the_real_one() -> None:
    steps: list[dict[str, Any]] = json.loads(PLAN)
    del steps[2]["regionsrc"]
    with pytest.raises(InputError) as told:
        read_plan(json.dumps(steps[::2]))
    assert f"Read_Plan: {told.value}\n" in PAGE


def test_the_page_names_every_kind_and_its_region_s_key() -> None:
    assert dict(re.findall(r"^\| `(\w+)` \| `(\w+)` \|$", PAGE, re.MULTILINE)) == REGION_KEYS
    assert all(f"`{kind}`" in PAGE for kind in KINDS)


def test_the_page_names_what_is_taken_for_a_secret() -> None:
    [words] = re.findall(r"keys that look like secrets \(([^)]*)\)", PAGE)
    assert all(SECRET.search(word) for word in re.findall(r"`([A-Z]+)`", words))
    assert not SECRET.search("AWS_ACCESS_KEY_ID")
