"""What a lab is made of, before anything is made."""

from __future__ import annotations

from ipaddress import IPv4Address
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proactive_tasks.clouds.lab import LabProvider
from proactive_tasks.lab import image, names, processes, requirements
from proactive_tasks.lab.names import LabNames
from proactive_tasks.lab.network import CONTROLLER, INSIDE, LEGS, OUTSIDE, Conditions, Leg, rules
from proactive_tasks.lab.state import LabState
from proactive_tasks.overlay.errors import InputError, UnknownObjectError

numbers = st.integers(1, LEGS)


@given(numbers, numbers)
def test_no_two_legs_share_an_address(one, other):
    def addresses(number: int) -> set[IPv4Address]:
        leg = Leg("a", number)
        return {leg.router, leg.public, leg.inside, leg.inside + 1}

    assert len(addresses(one)) == 4
    assert (one == other) == bool(addresses(one) & addresses(other))
    assert not addresses(one) & {CONTROLLER, CONTROLLER - 1}


@given(numbers)
def test_a_leg_lies_in_the_block_for_benchmarks(number):
    leg = Leg("a", number)
    assert leg.router in OUTSIDE
    assert leg.public in OUTSIDE
    assert leg.inside + 1 in INSIDE
    assert int(leg.router) % 4 == 1


@given(numbers)
def test_interface_names_fit_the_kernel(number):
    leg = Leg("a", number)
    assert max(map(len, (leg.interface, leg.loose, leg.upload))) <= 15


@given(st.builds(Conditions, delay_ms=st.floats(0, 100), loss=st.floats(0, 1), nat=st.booleans(), down=st.booleans()))
def test_a_leg_is_recorded_whole(conditions):
    leg = Leg("a", 7, conditions)
    assert Leg.recorded("a", leg.record()) == leg


def test_a_lab_without_faults_has_no_rule():
    body = rules({"a": Leg("a", 1), "b": Leg("b", 2)}, [])
    assert "drop" not in body


def test_rules_say_each_fault_in_both_directions():
    legs = {
        "a": Leg("a", 1, Conditions(loss=0.01)),
        "b": Leg("b", 2, Conditions(udp_blocked=True)),
        "c": Leg("c", 3, Conditions(down=True)),
    }
    lines = [line.strip() for line in rules(legs, [("a", "b"), ("a", "gone")]).splitlines() if "drop" in line]
    assert lines == [
        'iifname "l1" numgen random mod 1000000 < 10000 drop',
        'oifname "l1" numgen random mod 1000000 < 10000 drop',
        'iifname "l2" meta l4proto udp drop',
        'oifname "l2" meta l4proto udp drop',
        'iifname "l3" drop',
        'oifname "l3" drop',
        'iifname "l1" oifname "l2" drop',
        'iifname "l2" oifname "l1" drop',
    ]


@pytest.mark.parametrize(
    "options",
    [
        {"delay": 3},
        {"delay_ms": -1},
        {"delay_ms": "3"},
        {"jitter_ms": 1},
        {"loss": 2},
        {"rate_mbit": 0.01},
        {"rate_mbit": 1e9},
    ],
)
def test_options_that_no_leg_can_have_are_refused(options):
    with pytest.raises(InputError):
        Conditions.of(options)


@pytest.mark.parametrize("name", ["", "a b", "../a", "a.b", "a_b", "A", "-a", "a" * 32, "a;b", "ä", "a\n"])
def test_names_that_could_be_mistaken_for_others_are_refused(name):
    with pytest.raises(InputError):
        LabNames(name)
    with pytest.raises(InputError):
        LabNames("lab").site(name)


def test_the_longest_names_make_a_machine_name_that_systemd_takes():
    assert len(LabNames("a" * 31).site("b" * 31).machine) <= 64


def test_everything_that_is_missing_is_told_at_once(monkeypatch):
    monkeypatch.setattr(requirements.os, "geteuid", lambda: 1000)
    monkeypatch.setattr(requirements.shutil, "which", lambda _program: None)
    with pytest.raises(InputError) as refusal:
        requirements.require()
    for word in ("root", "sudo", "systemd-nspawn", "mmdebstrap", "apt-get install", "systemd-container"):
        assert word in str(refusal.value)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    ("entry", "kept"),
    [
        ("deb http://mirror.example/debian bookworm main", True),
        ("deb [signed-by=/k.gpg] http://mirror.example/debian-security bookworm-security main contrib", True),
        ("# deb http://mirror.example/debian bookworm main", False),
        ("deb-src http://mirror.example/debian bookworm main", False),
        ("deb https://vendor.example/apt vendor-bookworm main", False),
        ("deb https://vendor.example/apt nodistro main", False),
        ("Types: deb\nURIs: http://mirror.example\nSuites: bookworm bookworm-updates\nComponents: main", True),
        ("Types: deb\nURIs: http://mirror.example\nSuites: trixie\nComponents: main", False),
    ],
)
def test_the_image_comes_from_the_distributions_own_sources(entry, kept):
    assert image.is_of(entry, "bookworm") == kept


def test_the_image_names_no_registry():
    assert "://" not in Path(image.__file__).read_text()


def test_no_program_that_outlives_the_task_has_its_passphrase(tmp_path, monkeypatch):
    monkeypatch.setenv("OVERLAY_PASSPHRASE", "to-be-kept")
    seen = tmp_path / "seen"
    argv = ["sh", "-c", f"env >{seen}.new; mv {seen}.new {seen}; exec sleep 10"]
    pid = processes.start(argv, record=tmp_path / "pid", log=tmp_path / "log")
    try:
        processes.wait(seen.exists, 10, "the program does not start")
    finally:
        processes.end(pid, "10")
    assert "PATH=" in seen.read_text()
    assert "to-be-kept" not in seen.read_text()


def test_hosts_of_a_site_whose_gateway_has_lost_its_disk_are_still_there(make_site, tmp_path, monkeypatch):
    monkeypatch.setattr(names, "STATE", tmp_path)
    record = {"hosts": [1, 2], "subnet": "10.250.0.0/24", "gateway": "10.250.0.254"}  # and no disk
    LabState(LabNames("presto")).save("paris", record)
    found = LabProvider().hosts("presto", make_site("paris", 0))
    assert [(host.name, str(host.address)) for host in found] == [
        ("paris/host1", "10.250.0.1"),
        ("paris/host2", "10.250.0.2"),
    ]
    with pytest.raises(UnknownObjectError, match="paris"):  # removed by another job, say: the probe's affair
        found[0].probe([], 1)
