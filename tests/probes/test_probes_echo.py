"""Echo probes by real packets between two network namespaces."""

from __future__ import annotations

import os
import subprocess
import threading
import time
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proactive_tasks.lab.namespaces import socket_in
from proactive_tasks.probes import echo

LEFT, RIGHT = f"tge-{os.getpid()}a", f"tge-{os.getpid()}b"


def ip(*arguments):
    subprocess.run(["ip", *arguments], check=True, timeout=10)


@pytest.fixture(scope="module")
def wire():
    """Two namespaces, 192.0.2.1 and 192.0.2.2, on a wire of 1400 bytes."""
    if os.geteuid():
        pytest.skip("network namespaces need root")
    try:
        for name in (LEFT, RIGHT):
            ip("netns", "add", name)
        ip("link", "add", "w0", "netns", LEFT, "type", "veth", "peer", "name", "w0", "netns", RIGHT)
        for name, address in ((LEFT, "192.0.2.1/24"), (RIGHT, "192.0.2.2/24")):
            ip("-n", name, "addr", "add", address, "dev", "w0")
            ip("-n", name, "link", "set", "w0", "up", "mtu", "1400")
        yield partial(socket_in, LEFT)
    finally:
        for name in (LEFT, RIGHT):
            subprocess.run(["ip", "netns", "del", name], check=False, timeout=10)


@given(st.binary(max_size=200))
def test_a_checksum_makes_a_packet_sum_to_nothing(payload):
    payload += b"\0" * (len(payload) % 2)
    assert echo.checksum(payload + echo.checksum(payload).to_bytes(2)) == 0


@given(st.binary(max_size=100))
def test_rubbish_is_no_reply(packet):
    reply = echo.echo_reply(packet)
    assert reply is None or len(packet) >= echo.IP_HEADER + echo.ICMP_HEADER


def test_those_who_answer_are_told_from_those_who_do_not(wire):
    answers = echo.reach_from(wire, ["192.0.2.2", "192.0.2.77"], 0.4)
    assert 0 < answers["192.0.2.2"] < 300
    assert answers["192.0.2.77"] is None


def test_one_who_answers_late_is_still_seen(wire):
    ip("-n", RIGHT, "link", "set", "w0", "down")
    timer = threading.Timer(0.3, ip, ("-n", RIGHT, "link", "set", "w0", "up"))
    timer.start()
    try:
        answers = echo.reach_from(wire, ["192.0.2.2"], 60)
    finally:
        timer.join()
    assert answers["192.0.2.2"] is not None


def test_no_time_is_lost_once_all_have_answered(wire):
    started = time.monotonic()
    assert None not in echo.reach_from(wire, ["192.0.2.2"], 60).values()
    assert time.monotonic() - started < 30


def test_round_trips_are_counted_and_timed(wire):
    with echo.open_echo("192.0.2.1", wire) as sock:
        samples = echo.round_trips(sock, "192.0.2.2", 10, 0.005)
        assert len(samples) == 10
        assert all(sample is not None and sample > 0 for sample in samples)
        assert echo.round_trips(sock, "192.0.2.77", 3, 0.005, 0.1) == [None] * 3


def test_the_path_mtu_is_found_to_the_byte(wire):
    with echo.open_echo("192.0.2.1", wire) as sock:
        assert echo.path_mtu(sock, "192.0.2.2", timeout_s=0.2) == 1400
        assert echo.path_mtu(sock, "192.0.2.77", timeout_s=0.05, tries=1) is None
