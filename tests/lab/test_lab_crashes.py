"""A process killed in the middle of its work leaves nothing that the next call does not complete or remove."""

from __future__ import annotations

import pickle
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from proactive_tasks.clouds.lab import LabProvider
from proactive_tasks.clouds.provider import GatewayOrder, NoJournal, SiteFacts
from proactive_tasks.lab import namespaces, processes
from proactive_tasks.lab.names import LabNames

APPLY = """
import pickle, sys
from proactive_tasks.clouds.lab import LabProvider
from proactive_tasks.clouds.provider import NoJournal, SiteFacts
order = pickle.load(sys.stdin.buffer)
LabProvider().apply(order, SiteFacts(None), NoJournal(), lambda line: print(line, flush=True))
"""


def apply_until(order: GatewayOrder, seconds: float) -> None:
    """Have another process apply the order, and kill it so long after its first line of progress."""
    with subprocess.Popen([sys.executable, "-c", APPLY], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin
        assert process.stdout
        pickle.dump(order, process.stdin)
        process.stdin.close()
        process.stdout.readline()
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)


def silent(_line):
    """Nobody listens to progress here."""


def test_apply_completes_what_killed_ones_began_and_release_removes_it(lab_of, ssh, make_site, user_data):
    with lab_of("lt-crash") as lab:
        order = GatewayOrder(lab.overlay, make_site("torn", 3, hosts=2, delay_ms=1.0, nat=True), user_data)
        for moment in (0.0, 0.02, 0.05, 0.08, 0.11, 0.15, 0.2, 0.3):
            apply_until(order, moment)
        facts = LabProvider().apply(order, SiteFacts(None), NoJournal(), silent)
        with ssh(lab.overlay, facts.public_address) as session:
            assert session.exec_command("cat /etc/overlay/seeded")[1].read() == b"yes\n"
        assert lab.exec("torn/host2", ["ping", "-c1", "-W9", "10.250.3.254"]).returncode == 0
        LabProvider().release(lab.overlay, order.site, NoJournal(), silent)
        assert LabProvider().facts(lab.overlay, order.site).gateway is None
        assert lab.leftovers() == []


@pytest.mark.parametrize("moment", [0.01, 0.06, 0.12, 0.25])
def test_release_alone_removes_what_a_killed_apply_left(lab_of, make_site, user_data, moment):
    with lab_of("lt-crash") as lab:
        order = GatewayOrder(lab.overlay, make_site("torn", 3), user_data)
        apply_until(order, moment)
        LabProvider().release(lab.overlay, order.site, NoJournal(), silent)
        assert lab.leftovers() == []


def test_destroy_removes_a_lab_whose_state_is_lost(lab_of, make_site, user_data):
    with lab_of("lt-lost") as lab:
        order = GatewayOrder(lab.overlay, make_site("gone", 4, delay_ms=1.0), user_data)
        LabProvider().apply(order, SiteFacts(None), NoJournal(), silent)
        for file in ("lab.json", "gone/site.json", "gone/machine.pid", "gone/relay.pid"):
            (LabNames(lab.overlay).folder / file).unlink()
        assert lab.destroy()
        assert lab.leftovers() == []


def test_a_router_that_vanished_is_made_again_with_every_leg(lab_of, ssh, make_site, user_data):
    with lab_of("lt-router") as lab:
        order = GatewayOrder(lab.overlay, make_site("solid", 5), user_data)
        facts = LabProvider().apply(order, SiteFacts(None), NoJournal(), silent)
        namespaces.delete(LabNames(lab.overlay).internet)
        assert LabProvider().apply(order, SiteFacts(None), NoJournal(), silent) == facts
        with ssh(lab.overlay, facts.public_address) as session:
            assert session.exec_command("hostname")[1].read() == b"solid\n"


def test_a_switch_that_vanished_is_made_again_under_a_running_machine(lab_of, make_site, user_data):
    with lab_of("lt-switch") as lab:
        order = GatewayOrder(lab.overlay, make_site("flat", 5), user_data)
        LabProvider().apply(order, SiteFacts(None), NoJournal(), silent)
        namespaces.delete(LabNames(lab.overlay).site("flat").lan)
        LabProvider().apply(order, SiteFacts(None), NoJournal(), silent)
        assert lab.exec("flat/host1", ["ping", "-c1", "-W9", "10.250.5.254"]).returncode == 0


def test_a_destroyed_disk_is_a_machine_that_is_gone_and_a_new_one_has_its_address(lab_of, ssh, make_site, user_data):
    with lab_of("lt-disk") as lab:
        order = GatewayOrder(lab.overlay, make_site("worn", 6), user_data)
        before = LabProvider().apply(order, SiteFacts(None), NoJournal(), silent)
        lab.kill("worn/gateway", disk=True)
        assert LabProvider().facts(lab.overlay, order.site).gateway is None
        assert LabProvider().apply(order, SiteFacts(None), NoJournal(), silent).public_address == before.public_address
        with ssh(lab.overlay, before.public_address):
            pass


def test_sites_made_and_removed_at_once_do_not_disturb_each_other(lab_of, make_site):
    with lab_of("lt-many") as lab, ThreadPoolExecutor(4) as pool:
        orders = [GatewayOrder(lab.overlay, make_site(f"site-{n}", n), b"#cloud-config\n") for n in range(4)]
        provider = LabProvider()
        facts = list(pool.map(lambda order: provider.apply(order, SiteFacts(None), NoJournal(), silent), orders))
        assert len({fact.public_address for fact in facts}) == 4
        again = pool.submit(provider.apply, orders[0], SiteFacts(None), NoJournal(), silent)
        list(pool.map(lambda order: provider.release(lab.overlay, order.site, NoJournal(), silent), orders[1:]))
        assert again.result() == facts[0]
        assert lab.sites() == ["site-0"]


def test_a_process_that_becomes_another_program_is_not_taken_for_one_that_is_gone():
    again = '[ "$1" = 0 ] && exec sleep 600; exec sh -c "$0" "$0" $(($1 - 1))'
    with subprocess.Popen(["sh", "-c", again, again, "100"]) as process:
        try:
            while (words := processes.arguments(process.pid)) != ["sleep", "600"]:
                assert words
        finally:
            process.kill()
    assert processes.arguments(process.pid) == []


def test_the_image_is_built_anew_where_a_builder_was_killed(tmp_path, monkeypatch):
    from proactive_tasks.lab import image

    monkeypatch.setattr(image, "CACHE", tmp_path)
    half = tmp_path / f"image-{image.digest()}.new-killed"
    half.mkdir()
    (half / "half").touch()
    built: list[bool] = []

    def bootstrap(root, progress):
        assert list(root.iterdir()) == []
        assert not half.exists()
        built.append(True)

    monkeypatch.setattr(image, "_bootstrap", bootstrap)
    monkeypatch.setattr(image, "customise", lambda _root: None)
    with ThreadPoolExecutor(2) as pool:
        assert len(set(pool.map(lambda _: image.ensure(silent), range(2)))) == 1
    assert built == [True]
