"""A reconfiguration plan says which places need a site, and which have lost their last instance."""

from __future__ import annotations

import json
import re
from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proactive_tasks.overlay import checks
from proactive_tasks.overlay.errors import InputError
from proactive_tasks.overlay.reconfiguration import (
    CloudList,
    Instance,
    Move,
    Place,
    after_coming,
    after_going,
    deserted,
    digest,
    has_come,
    has_gone,
    moves,
    read_plan,
    site_name,
    without_secrets,
)

IRELAND, CAMPUS, DEVICE = Place("aws", "eu-west-1"), Place("openstack", "regionone"), Place("edge", "camera-7")
CLOUDS: list[dict[str, Any]] = [
    {
        "CLOUD_NAME": "ireland",
        "CLOUD_TYPE": "AWS",
        "SUBNET_ID": "",
        "AWS_DEFAULT_REGION": "eu-west-1",
        "AWS_ACCESS_KEY_ID": "AKIA1",
        "AWS_SECRET_ACCESS_KEY": "hush",
        "AWS_GOLDEN_IMAGE": "ami-1",
    },
    {"CLOUD_NAME": "campus", "CLOUD_TYPE": "openstack", "OS_REGION_NAME": "RegionOne", "OS_PASSWORD": "hush"},
]
BOOT = {
    "action": "boot",
    "start": 0,
    "end": 1,
    "fragment": "transcoder",
    "id": "0",
    "cloud": "amazon",
    "region": "eu-west-1",
    "type": "t2.small",
    "node": "processing_node_transcoder",
    "scalable": True,
    "docker": "docker run -e HOST=@network_db transcoder",
}
MIGRATE = {
    **BOOT,
    "action": "migrate",
    "cloud": "openstack",
    "region": "RegionOne",
    "cloudsrc": "amazon",
    "regionsrc": "eu-west-1",
}
DELETE = {
    "action": "delete",
    "fragment": "transcoder",
    "id": "0",
    "cloudsrc": "amazon",
    "regionsrc": "eu-west-1",
    "type": None,
}


def clouds(*entries: dict[str, Any]) -> CloudList:
    return CloudList(json.dumps(entries or CLOUDS))


def found(*steps: dict[str, Any]) -> list[Move]:
    return moves(read_plan(json.dumps(steps)), clouds())


def without(entry: dict[str, Any], key: str) -> dict[str, Any]:
    return {name: value for name, value in entry.items() if name != key}


def test_what_the_interpreter_writes_is_understood() -> None:
    assert found(BOOT, MIGRATE, DELETE) == [
        Move(1, "transcoder", "0", None, IRELAND),
        Move(2, "transcoder", "0", IRELAND, CAMPUS),
        Move(3, "transcoder", "0", IRELAND, None),
    ]


@pytest.mark.parametrize(
    ("step", "place"),
    [
        ({"cloud": "AWS"}, IRELAND),
        ({"cloud": "Ireland"}, IRELAND),
        ({"cloud": "campus", "region": "regionone"}, CAMPUS),
        ({"cloud": "edge", "region": "camera-7"}, DEVICE),
    ],
)
def test_a_place_is_named_by_kind_of_cloud_or_by_the_cloud_s_name(step: dict[str, str], place: Place) -> None:
    [move] = found({**BOOT, **step})
    assert move.target == place


def test_a_deletion_names_its_place_either_way() -> None:
    here = {"action": "delete", "fragment": "transcoder", "cloud": "amazon", "region": "eu-west-1"}
    [move] = found(here)
    assert (move.source, move.target) == (IRELAND, None)


@pytest.mark.parametrize(
    ("steps", "words"),
    [
        ("{", "plan: not JSON"),
        ('{"action": "boot"}', "plan: a JSON dict is not a JSON list"),
        ('["boot"]', "plan, entry 1: a JSON str is not a JSON object"),
        ([BOOT, without(BOOT, "action")], "plan, entry 2, action: is missing"),
        (
            [{**BOOT, "action": "suspend"}],
            "plan, entry 1, action: 'suspend' is not an action; use boot, migrate, delete",
        ),
        ([{**BOOT, "action": None}], "plan, entry 1, action: None is not an action"),
        ([without(BOOT, "fragment")], "plan, entry 1, fragment: is missing"),
        ([{**BOOT, "fragment": "a b"}], "plan, entry 1, fragment: 'a b' is not the name of a fragment"),
        ([{**BOOT, "id": []}], "plan, entry 1, id: [] is not an identifier"),
        ([without(BOOT, "region")], "plan, entry 1, region: is missing, but 'boot' needs it; add it"),
        ([{**BOOT, "cloud": ""}], "plan, entry 1, cloud: is missing"),
        ([{**BOOT, "cloud": 7}], "plan, entry 1, cloud: 7 is not a word"),
        ([without(MIGRATE, "cloudsrc")], "plan, entry 1, cloudsrc: is missing, but 'migrate' needs it"),
        ([BOOT, without(DELETE, "regionsrc")], "plan, entry 2, regionsrc: is missing, but 'delete' needs it"),
        ([{"action": "delete", "fragment": "x"}], "plan, entry 1, cloud: is missing, but 'delete' needs it"),
        ([{**BOOT, "region": "eu west"}], "plan, entry 1, region: 'eu west' is not a region"),
        ([{**BOOT, "region": "us-east-1"}], "plan, entry 1, cloud: aws us-east-1 is not in CLOUD_LIST"),
        ([{**BOOT, "cloud": "gce"}], "plan, entry 1, cloud: 'gce' is neither a kind of cloud"),
        ([{**BOOT, "cloud": "campus"}], "the cloud campus of CLOUD_LIST is at RegionOne, not at eu-west-1"),
    ],
)
def test_a_malformed_plan_is_refused_by_entry_and_key(steps: Any, words: str) -> None:
    text = steps if isinstance(steps, str) else json.dumps(steps)
    with pytest.raises(InputError) as told:
        moves(read_plan(text), clouds())
    assert words in str(told.value)
    assert "\n" not in str(told.value)


@pytest.mark.parametrize(
    ("entries", "words"),
    [
        ("[", "CLOUD_LIST: not JSON"),
        ("{}", "CLOUD_LIST: a JSON dict is not a JSON list"),
        ([CLOUDS[0], without(CLOUDS[1], "CLOUD_NAME")], "CLOUD_LIST, entry 2, CLOUD_NAME: is missing"),
        (
            [{**CLOUDS[0], "CLOUD_TYPE": "gce"}],
            "CLOUD_LIST, entry 1, CLOUD_TYPE: 'gce' is not a kind of cloud; use one of",
        ),
        ([without(CLOUDS[0], "AWS_DEFAULT_REGION")], "CLOUD_LIST, entry 1, AWS_DEFAULT_REGION: is missing; add it"),
        ([{**CLOUDS[1], "OS_REGION_NAME": "a b"}], "CLOUD_LIST, entry 1, OS_REGION_NAME: 'a b' is not a region"),
        ([{**CLOUDS[0], "SUBNET_ID": 7}], "CLOUD_LIST, entry 1, SUBNET_ID: 7 is not a word"),
        ([*CLOUDS, CLOUDS[0]], "CLOUD_LIST, entries 1 and 3: both are aws eu-west-1"),
    ],
)
def test_a_malformed_list_of_clouds_is_refused_by_entry_and_key(entries: Any, words: str) -> None:
    with pytest.raises(InputError) as told:
        CloudList(entries if isinstance(entries, str) else json.dumps(entries))
    assert words in str(told.value)
    assert "\n" not in str(told.value)
    assert "hush" not in str(told.value)


def test_the_list_comes_back_as_it_was_but_for_the_subnets() -> None:
    back = clouds().with_subnets({IRELAND: "subnet-1"})
    assert back == [{**CLOUDS[0], "SUBNET_ID": "subnet-1"}, {**CLOUDS[1], "SUBNET_ID": ""}]
    assert [list(entry)[: len(given)] for entry, given in zip(back, CLOUDS, strict=True)] == [list(e) for e in CLOUDS]
    kept = clouds({**CLOUDS[0], "SUBNET_ID": "subnet-9"}).with_subnets({})
    assert kept[0]["SUBNET_ID"] == "subnet-9"


def test_what_only_the_clouds_are_to_know_is_left_out() -> None:
    shown = without_secrets(CLOUDS)
    assert "hush" not in json.dumps(shown)
    assert shown[0]["AWS_ACCESS_KEY_ID"] == "AKIA1"  # an identifier, which the interpreter shows as well


def run(before: dict[Instance, int], *steps: dict[str, Any]) -> dict[Instance, int]:
    changes = found(*steps)
    return after_going(after_coming(before, changes), changes)[0]


def test_a_place_is_deserted_when_its_last_instance_is_gone_and_not_before() -> None:
    two = run({}, BOOT, {**BOOT, "fragment": "db"})
    assert deserted(two) == set()
    one = run(two, DELETE)
    assert deserted(one) == set()
    assert deserted(run(one, {**DELETE, "fragment": "db"})) == {IRELAND}


def test_a_migration_boots_there_and_deletes_here() -> None:
    after = run(run({}, BOOT), MIGRATE)
    assert deserted(after) == {IRELAND}
    assert after[Instance(CAMPUS, "transcoder", "0")] == 1
    same = {**MIGRATE, "cloud": "amazon", "region": "eu-west-1"}  # within a region
    assert deserted(run(run({}, BOOT), same)) == set()


def test_a_place_that_nobody_booted_at_is_never_deserted() -> None:
    after, warnings = after_going({}, found(DELETE))
    assert deserted(after) == set()
    assert warnings == ["plan, entry 1: transcoder is not known to run at aws eu-west-1"]


def test_several_instances_of_one_fragment_count_each() -> None:
    three = run({}, BOOT, BOOT, {**BOOT, "id": 1})
    assert sum(three.values()) == 3
    assert deserted(run(three, DELETE, DELETE)) == set()
    assert deserted(run(three, DELETE, DELETE, {**DELETE, "id": "1"})) == {IRELAND}


STEPS = st.lists(
    st.tuples(st.sampled_from(["boot", "delete", "migrate"]), st.sampled_from("ab"), st.booleans()), max_size=12
)


@given(STEPS)
def test_counts_never_go_below_zero_and_a_plan_that_was_carried_out_is_known_to_be(steps: list[Any]) -> None:
    here, there = ("amazon", "eu-west-1"), ("openstack", "RegionOne")
    placements: dict[Instance, int] = {}
    expected: Counter[tuple[str, bool]] = Counter()
    for action, fragment, first in steps:
        source, target = (here, there) if first else (there, here)
        step = {"action": action, "fragment": fragment}
        if action != "delete":
            step |= {"cloud": target[0], "region": target[1]}
            expected[fragment, not first] += 1
        if action != "boot":
            step |= {"cloudsrc": source[0], "regionsrc": source[1]}
            expected[fragment, first] = max(0, expected[fragment, first] - 1)
        changes = found(step)
        come = after_coming(placements, changes)
        assert has_come(come, changes)
        placements = after_going(come, changes)[0]
        assert has_gone(placements, changes) == (action == "boot" or not expected[fragment, first])
    assert all(count >= 0 for count in placements.values())
    assert {(one.fragment, one.place == IRELAND): n for one, n in placements.items() if n} == +expected
    assert deserted(placements).isdisjoint(one.place for one, count in placements.items() if count)


PLACES = st.builds(
    Place,
    st.sampled_from(["aws", "azure", "openstack", "edge", "lab"]),
    st.from_regex(checks.REGION, fullmatch=True).map(str.lower),
)


@given(st.lists(PLACES, unique=True, max_size=20))
def test_a_site_s_name_is_valid_and_tells_its_place_from_all_others(places: list[Place]) -> None:
    names = [site_name(place) for place in places]
    assert [checks.name(name) for name in names] == names
    assert names == [site_name(place) for place in places]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize(
    ("place", "name"),
    [
        (IRELAND, "aws-eu-west-1"),
        (CAMPUS, "openstack-regionone"),
        (Place("openstack", "region_one"), "openstack-region-one-######"),
        (Place("azure", "a" * 40), "azure-aaaaaaaaaaaaaaaaaa-######"),
    ],
)
def test_a_site_is_named_after_cloud_and_region(place: Place, name: str) -> None:
    pattern = re.escape(name).replace(re.escape("######"), "[0-9a-f]{6}")
    assert re.fullmatch(pattern, site_name(place))


def test_a_site_whose_name_another_has_gets_a_digest() -> None:
    assert re.fullmatch(r"aws-eu-west-1-[0-9a-f]{6}", site_name(IRELAND, ["aws-eu-west-1"]))


def test_a_plan_is_the_same_however_it_is_indented() -> None:
    assert digest(json.dumps([BOOT])) == digest(json.dumps([dict(reversed(BOOT.items()))], indent=2))
    assert digest(json.dumps([BOOT])) != digest(json.dumps([DELETE]))
