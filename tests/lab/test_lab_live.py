"""A lab with real machines: what it promises to those who use and break it."""

from __future__ import annotations

import json
import re
import socket
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from typer.testing import CliRunner

from proactive_tasks.clouds.lab import LabProvider
from proactive_tasks.clouds.provider import GatewayOrder, NoJournal, SiteFacts
from proactive_tasks.console.lab import lab_app
from proactive_tasks.lab import Lab, namespaces
from proactive_tasks.lab.names import STATE
from proactive_tasks.lab.namespaces import socket_in
from proactive_tasks.overlay.errors import InputError, OverlayError, UnknownObjectError


def silent(_line):
    """Nobody listens to progress here."""


def public(lab: Lab, site: str) -> str:
    status = lab.status(site)
    assert status
    return str(status.public_address)


def ping(lab: Lab, machine: str, address: str, *options: str) -> tuple[int, list[float]]:
    """Answers received and their times in ms; `options` say how many to send."""
    answer = lab.exec(machine, ["ping", "-n", "-q" if "-f" in options else "-n", "-W1", *options, address], timeout=30)
    received = re.search(r"(\d+) received", answer.stdout)
    times = [float(value) for value in re.findall(r"time=([\d.]+) ms", answer.stdout)]
    return int(received[1]) if received else 0, times


@contextmanager
def leg(lab: Lab, site: str, **changes: object) -> Iterator[None]:
    before = {name: getattr(lab.conditions(site), name) for name in changes}
    lab.link(site, **changes)
    try:
        yield
    finally:
        lab.link(site, **before)


def test_a_gateway_answers_by_its_known_host_key_and_cloud_init_has_done_its_work(lab, ssh):
    with ssh(lab.overlay, lab.status("east").public_address) as session:
        _, out, _ = session.exec_command(
            "cloud-init status --wait; cat /etc/overlay/seeded; ls /run/overlay-ready; hostname"
        )
        assert out.read().decode().split() == ["status:", "done", "yes", "/run/overlay-ready", "east"]


def test_its_system_is_whole(lab):
    answer = lab.exec("east/gateway", ["systemctl", "is-system-running", "--wait"])
    assert answer.stdout.strip() == "running", lab.exec("east/gateway", ["systemctl", "--failed", "--no-legend"]).stdout


def test_it_may_make_tunnels_rules_and_routes(lab):
    script = "ip tuntap add t0 mode tun && nft add table ip t && sysctl -qw net.ipv4.ip_forward=1 && ip link del t0"
    answer = lab.exec("east/gateway", ["sh", "-c", f"{script} && nft delete table ip t"])
    assert (answer.returncode, answer.stderr) == (0, "")


def test_gateways_reach_each_other_over_the_internet_and_hosts_their_gateway(lab):
    assert ping(lab, "east/gateway", public(lab, "west"), "-c1")[0] == 1
    assert ping(lab, "east/host1", "10.250.0.254", "-c1")[0] == 1


def test_no_machine_has_ipv6(lab):
    for machine in ("east/gateway", "east/host1"):
        assert lab.exec(machine, ["ip", "-6", "address"]).stdout == ""


def test_an_exit_code_is_handed_on(lab):
    assert lab.exec("east/gateway", ["sh", "-c", "exit 7"]).returncode == 7
    assert lab.exec("east/host1", ["sh", "-c", "exit 7"]).returncode == 7


def test_a_cut_parts_two_sites_and_nobody_else(lab):
    lab.cut("west", "east")
    try:
        assert lab.cuts() == [("east", "west")]
        assert ping(lab, "east/gateway", public(lab, "west"), "-c2", "-i.1")[0] == 0
        assert ping(lab, "controller", public(lab, "west"), "-c1")[0] == 1
    finally:
        lab.heal("east", "west")
    assert ping(lab, "east/gateway", public(lab, "west"), "-c1")[0] == 1


def test_delay_holds_each_way_and_the_machine_does_not_notice_the_change(lab):
    started = lab.exec("east/gateway", ["cat", "/proc/sys/kernel/random/boot_id", "/proc/1/stat"]).stdout
    with leg(lab, "east", delay_ms=20.0):
        received, times = ping(lab, "east/gateway", public(lab, "west"), "-c20", "-i.02")
        assert received == 20
        assert 40 <= min(times) <= 43
        answer = exchange(lab, 200_000)
        assert answer == 200_000, "TCP passes a relay: checksums and segments are made before it"
    assert min(ping(lab, "east/gateway", public(lab, "west"), "-c5", "-i.02")[1]) < 5
    assert (
        lab.exec("east/gateway", ["cat", "/proc/sys/kernel/random/boot_id", "/proc/1/stat"]).stdout[:36] == started[:36]
    )


def test_jitter_spreads_the_delay(lab):
    with leg(lab, "east", delay_ms=10.0, jitter_ms=5.0):
        _, times = ping(lab, "east/gateway", public(lab, "west"), "-c60", "-i.02")
        assert min(times) >= 10
        assert statistics.median(times) <= 33, "20 ms and at most 10 more, but for what a busy machine adds"
        assert statistics.stdev(times) > 1.5


def test_loss_holds_each_way(lab):
    with leg(lab, "east", loss=0.1):
        received, _ = ping(lab, "west/gateway", public(lab, "east"), "-f", "-c1500")
    assert 0.76 < received / 1500 < 0.86, "0.9 there and 0.9 back"


def test_rate_holds_each_way(lab):
    with leg(lab, "west", rate_mbit=20.0):
        for sender, receiver in (("east", "west"), ("west", "east")):
            assert 15 <= udp_rate(lab, sender, receiver) <= 21


def test_down_passes_nothing_and_up_everything(lab):
    with leg(lab, "east", down=True):
        assert ping(lab, "east/gateway", public(lab, "west"), "-c1")[0] == 0
        with pytest.raises(OSError):  # noqa: PT011 - whichever way it fails
            LabProvider().dial(lab.overlay, lab.status("east").public_address, 22, 0.3)
    assert ping(lab, "east/gateway", public(lab, "west"), "-c1")[0] == 1


def test_a_ban_of_udp_spares_tcp_and_ping(lab):
    with leg(lab, "east", udp_blocked=True):
        assert udp_rate(lab, "west", "east", packets=20) == 0
        assert ping(lab, "east/gateway", public(lab, "west"), "-c1")[0] == 1
        assert exchange(lab, 1000) == 1000


def test_behind_a_nat_a_site_gets_out_and_only_ssh_gets_in(lab, ssh):
    with leg(lab, "east", nat=True, delay_ms=2.0):
        assert ping(lab, "east/gateway", public(lab, "west"), "-c2", "-i.1")[0] == 2
        assert "198.19." in lab.exec("east/gateway", ["ip", "-4", "-br", "address", "show", "wan"]).stdout
        with ssh(lab.overlay, lab.status("east").public_address) as session:
            assert session.exec_command("hostname")[1].read() == b"east\n"
        assert udp_rate(lab, "west", "east", packets=20) == 0
    assert udp_rate(lab, "west", "east", packets=20) > 0


def test_power_off_and_on_keeps_disk_and_address_and_nothing_else(lab, ssh, make_site, user_data):
    address = lab.status("west").public_address
    machine = "west/gateway"
    lab.exec(machine, ["sh", "-c", "echo kept > /root/note; ip tuntap add t0 mode tun; nft add table ip t"])
    lab.kill(machine)
    assert not lab.status("west").running
    with pytest.raises(InputError, match="off"):
        lab.exec(machine, ["true"])
    lab.boot(machine)
    with ssh(lab.overlay, address) as session:
        _, out, _ = session.exec_command("cat /root/note; ls /sys/class/net; nft list tables")
        assert out.read().decode().split() == ["kept", "lan", "lo", "wan"]
    assert ping(lab, "west/host1", "10.250.1.254", "-c1")[0] == 1


def test_a_second_apply_does_nothing(lab, make_site, user_data):
    order = GatewayOrder(lab.overlay, make_site("east", 0), user_data)
    provider = LabProvider()
    before = provider.facts(lab.overlay, order.site)
    assert provider.difference(order, before) == []
    lines: list[str] = []
    assert provider.apply(order, before, NoJournal(), lines.append) == before.gateway
    assert lines == []


def test_hosts_and_options_follow_the_order(lab, make_site, user_data):
    provider = LabProvider()
    more = GatewayOrder(lab.overlay, make_site("east", 0, hosts=3, rate_mbit=50.0), user_data)
    assert [change.line for change in provider.difference(more, SiteFacts(None))] == [
        "leg of east: - becomes 50 Mbit/s",
        "host east/host2: make",
        "host east/host3: make",
    ]
    provider.apply(more, SiteFacts(None), NoJournal(), silent)
    assert provider.difference(more, SiteFacts(None)) == []
    assert list(lab.hosts("east")) == ["east/host1", "east/host2", "east/host3"]
    assert ping(lab, "east/host3", "10.250.0.1", "-c1")[0] == 1
    provider.apply(GatewayOrder(lab.overlay, make_site("east", 0), user_data), SiteFacts(None), NoJournal(), silent)
    assert list(lab.hosts("east")) == ["east/host1"]
    assert lab.conditions("east").rate_mbit == 0


def run(*arguments: str) -> tuple[int, str, str]:
    result = CliRunner().invoke(lab_app, ["--" if not arguments else arguments[0], *arguments[1:]])
    error = str(result.exception) if isinstance(result.exception, OverlayError) else result.stderr
    return 2 if isinstance(result.exception, InputError) else result.exit_code, result.stdout, error


def test_ls_tells_machines_hosts_legs_and_cuts(lab):
    lab.cut("east", "west")
    code, out, _ = run("ls", "--overlay", lab.overlay, "--output", "json")
    lab.heal("east", "west")
    (answer,) = json.loads(out)
    assert code == 0
    assert answer["cuts"] == [["east", "west"]]
    assert [(site["site"], site["state"]) for site in answer["sites"]] == [("east", "running"), ("west", "running")]
    assert [machine["machine"] for machine in answer["sites"][0]["machines"]] == ["east/gateway", "east/host1"]
    code, out, _ = run("ls", "--overlay", lab.overlay)
    assert code == 0
    assert "east/host1 10.250.0.1" in out


def test_exec_hands_on_output_and_exit_code(lab):
    program = "from proactive_tasks.console.lab import lab_app; lab_app()"
    for machine in ("east/gateway", "east/host1"):
        command = ["exec", "--overlay", lab.overlay, machine, "--", "sh", "-c", "echo -- $0; exit 7", "a b;c"]
        done = subprocess.run([sys.executable, "-c", program, *command], capture_output=True, text=True, timeout=60)
        assert (done.returncode, done.stdout, done.stderr) == (7, "-- a b;c\n", "")


def test_link_takes_units(lab):
    _, out, _ = run("link", "east", "--delay", "1.5ms", "--rate", "100mbit", "--loss", "1%", "--overlay", lab.overlay)
    assert "delay 1.5 ms, 100 Mbit/s, loss 1.00%" in out
    _, out, _ = run("link", "east", "--delay", "0ms", "--rate", "0mbit", "--loss", "0%", "--overlay", lab.overlay)
    assert out.strip().endswith(": -")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("link", "east"), "nothing to change"),
        (("link", "nowhere", "--down"), "no such site"),
        (("link", "east", "--delay", "20"), "write a number and one of"),
        (("link", "east", "--delay", "20ms; reboot"), "write a number and one of"),
        (("link", "east", "--loss", "101%"), "not between"),
        (("link", "east", "--jitter", "5ms"), "more than the delay"),
        (("cut", "east", "east"), "two sites"),
        (("cut", "east", "nowhere"), "no such site"),
        (("kill", "east/host1"), "only a gateway"),
        (("boot", "east/gateway"), "runs already"),
        (("exec", "east", "true"), "SITE/gateway"),
        (("exec", "east/host9", "true"), "no such host"),
        (("exec", "../etc/gateway", "true"), "no site"),
    ],
)
def test_bad_input_changes_nothing_and_is_told_in_one_line(lab, arguments, message):
    before = [lab.status(site) for site in lab.sites()]
    files = sorted(STATE.glob(f"{lab.overlay}*"))
    code, _, error = run(arguments[0], "--overlay", lab.overlay, *arguments[1:])
    assert code == 2
    assert message in error
    assert "\n" not in error
    assert [lab.status(site) for site in lab.sites()] == before
    assert sorted(STATE.glob(f"{lab.overlay}*")) == files


def test_an_unknown_lab_is_told(lab):
    assert run("ls", "--overlay", "elsewhere")[0] == 2
    assert run("kill", "east/gateway", "--overlay", "no such; lab")[0] == 2


def test_a_namespace_that_is_not_there_is_told():
    with pytest.raises(UnknownObjectError, match="no-such-namespace"):
        namespaces.in_namespace("no-such-namespace", lambda: None)


def exchange(lab: Lab, size: int) -> int:
    """Bytes that west's gateway gets of `size` sent by TCP from east's."""
    with socket_in(lab.namespace("west/gateway")) as server, socket_in(lab.namespace("east/gateway")) as client:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        server.settimeout(60)
        client.settimeout(60)
        server.bind((public(lab, "west"), 7001))
        server.listen(1)
        client.connect((public(lab, "west"), 7001))
        receiver, _ = server.accept()
        with receiver:
            receiver.settimeout(60)
            got = 0
            data = b"x" * 50_000
            for _ in range(0, size, len(data)):
                client.sendall(data[: min(size, len(data))])
                wanted = got + min(size, len(data))
                while got < wanted:
                    got += len(receiver.recv(65536))
        return got


def udp_rate(lab: Lab, sender: str, receiver: str, packets: int = 4000) -> float:
    """Mbit/s that arrive of UDP sent at up to 110 Mbit/s."""
    public_address = public(lab, receiver)
    arrivals: list[float] = []
    sent = threading.Event()
    with (
        socket_in(lab.namespace(f"{sender}/gateway"), kind=socket.SOCK_DGRAM) as out,
        socket_in(lab.namespace(f"{receiver}/gateway"), kind=socket.SOCK_DGRAM) as into,
    ):
        into.setsockopt(socket.SOL_SOCKET, 33, 8 << 20)  # SO_RCVBUFFORCE
        into.bind(("0.0.0.0", 7002))
        into.settimeout(0.5)

        def receive() -> None:
            while True:
                try:
                    into.recv(2000)
                    arrivals.append(time.perf_counter())
                except TimeoutError:
                    if sent.is_set():
                        return

        thread = threading.Thread(target=receive)
        thread.start()
        for number in range(packets):
            out.sendto(b"x" * 1400, (public_address, 7002))
            if number % 10 == 9:
                time.sleep(0.001)
        sent.set()
        thread.join()
    return (len(arrivals) - 1) * 1442 * 8 / 1e6 / (arrivals[-1] - arrivals[0]) if len(arrivals) > 1 else 0.0
