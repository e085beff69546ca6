"""A change on a machine whose units, BIRD and checks are played, in a folder that stands for its file system."""

from __future__ import annotations

import errno
import json
import threading
from pathlib import Path

import pytest

from proactive_tasks.gateway import bundle as changes
from proactive_tasks.gateway.bundle import Change
from proactive_tasks.gateway.machine import Machine, RefusedError, fingerprint

TUNNEL = "overlay-openvpn@link0.service"
ROUTING = "overlay-routing.service"
MANIFEST = changes.MANIFEST.lstrip("/")
FIREWALL = "overlay-firewall.service"


class Played(Machine):
    """Units start when told; a link stands while its unit runs, unless its file says `broken`."""

    def __init__(self, root):
        super().__init__(root)
        self.active = set()
        self.calls = []
        self.refuses = ""
        self.mute = False

    def run(self, *argv, **_):
        if argv[0] == "systemctl":
            return self._systemctl(argv[1], argv[2:])
        self.calls.append(argv[0])
        if self.refuses == argv[0]:
            raise RefusedError(f"{argv[0]}: line 1: nonsense")
        return ""

    def _systemctl(self, verb, names):
        if verb == "show":
            shown = [f"ActiveState={'active' if name in self.active else 'inactive'}" for name in names[2:]]
            return "\n\n".join(shown)
        self.calls += [f"{verb} {name}".strip() for name in names or [""]]
        if verb in {"start", "restart", "reload-or-restart"}:
            self.active |= set(names)
        if verb == "stop":
            self.active -= set(names)
        return ""

    def bird(self, command, **_):
        if command != "configure" or self.mute:
            return []
        self.calls.append("configure")
        return ["Reconfigured"]

    def established(self):
        file = self.path("/etc/overlay/openvpn/link0.conf")
        stands = TUNNEL in self.active and file.exists() and "broken" not in file.read_text()
        firewall = self.path("/etc/overlay/firewall.nft")
        return {"link0"} if stands and "closed" not in firewall.read_text() else set()


@pytest.fixture
def machine(tmp_path, monkeypatch):
    monkeypatch.setattr(changes, "_RETURN_S", 0.2)
    return Played(tmp_path)


def wanted(tunnel="one", firewall="open", certificate="leaf", *, routing="", with_tunnel=True, returns=True):
    def file(path, content, unit, act):
        digest = fingerprint(content.encode(), 0o644)
        units = [unit] if unit else []
        return {"path": path, "content": content, "digest": digest, "mode": 0o644, "units": units, "act": act}

    files = [
        file("/etc/overlay/firewall.nft", firewall, FIREWALL, "reload"),
        file("/etc/bird/bird.conf", routing or tunnel, ROUTING, "reload"),
    ]
    units = [{"name": name, "phase": 1, "interface": "", "returns": True} for name in (FIREWALL, ROUTING)]
    if with_tunnel:
        files.append(file("/etc/overlay/openvpn/link0.conf", tunnel, TUNNEL, "restart"))
        files.append(file("/etc/overlay/pki/certificate.pem", certificate, TUNNEL, "restart"))
        units.append({"name": TUNNEL, "phase": 2, "interface": "link0", "returns": returns})
    return {"files": files, "units": units, "settle_s": 0.01}


def tree(machine):
    return {
        str(path.relative_to(machine.root)): path.read_text()
        for path in machine.root.rglob("*")
        if path.is_file() and not path.is_symlink() and "run/" not in str(path)
    }


def test_a_second_change_finds_nothing_to_do(machine):
    assert Change(machine, wanted()).apply()["changed"]
    before, machine.calls = tree(machine), []
    assert Change(machine, wanted()).difference().lines() == []
    assert Change(machine, wanted()).apply()["changed"] == []
    assert (tree(machine), machine.calls) == (before, [])


def test_dialers_start_in_the_second_phase_only(machine):
    Change(machine, wanted(), phase=1).apply()
    assert TUNNEL not in machine.active
    assert not machine.enabled(TUNNEL)
    files = ["write /etc/overlay/openvpn/link0.conf", "write /etc/overlay/pki/certificate.pem"]
    assert Change(machine, wanted()).apply()["changed"] == [*files, f"start {TUNNEL}", f"enable {TUNNEL}"]
    assert TUNNEL in machine.active


def test_only_the_unit_of_a_changed_file_is_touched(machine):
    Change(machine, wanted()).apply()
    machine.calls = []
    Change(machine, wanted(firewall="open wider")).apply()
    assert machine.calls == ["nft", f"reload {FIREWALL}"]


def test_units_start_at_boot(machine):
    Change(machine, wanted()).apply()
    links = {path.name for path in machine.path("/etc/systemd/system/multi-user.target.wants").iterdir()}
    assert links == {TUNNEL, ROUTING, FIREWALL}


def test_what_is_no_longer_wanted_goes(machine):
    Change(machine, wanted()).apply()
    Change(machine, wanted(with_tunnel=False)).apply()
    assert TUNNEL not in machine.active
    assert not machine.path("/etc/overlay/openvpn/link0.conf").exists()
    assert not machine.enabled(TUNNEL)
    assert Change(machine, wanted(with_tunnel=False)).difference().lines() == []


@pytest.mark.parametrize("program", ["nft", "bird"])
def test_a_configuration_that_is_refused_changes_nothing(machine, program):
    Change(machine, wanted()).apply()
    before, machine.refuses, machine.calls = tree(machine), program, []
    with pytest.raises(RefusedError, match=r"nothing was changed: .*: line 1: nonsense"):
        Change(machine, wanted("two", "open wider")).apply()
    assert tree(machine) == before
    assert not [call for call in machine.calls if call.startswith(("restart", "reload", "configure"))]


def test_a_full_disk_changes_nothing(machine, monkeypatch):
    Change(machine, wanted()).apply()
    before, stage = tree(machine), Machine.stage

    def full(path, content, mode):
        if path.name == "certificate.pem":
            raise OSError(errno.ENOSPC, "No space left on device")
        return stage(path, content, mode)

    monkeypatch.setattr(machine, "stage", full)
    with pytest.raises(RefusedError, match="nothing was changed: its disk is full"):
        Change(machine, wanted("two", certificate="fresh")).apply()
    assert tree(machine) == before
    assert machine.established() == {"link0"}


@pytest.mark.parametrize("call", ["hardlink_to", "replace"])
def test_a_disk_that_fills_while_files_are_switched_is_put_back(machine, monkeypatch, call):
    Change(machine, wanted()).apply()
    before, does, met = tree(machine), getattr(Path, call), []

    def full(path, target):
        if str(target).endswith("certificate.pem") and not met:
            met.append(target)
            raise OSError(errno.ENOSPC, "No space left on device")
        return does(path, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, call, full)
        with pytest.raises(RefusedError, match=r"its disk is full.*stands as before"):
            Change(machine, wanted("two", certificate="fresh")).apply()
    assert tree(machine) == {**before, MANIFEST: tree(machine)[MANIFEST]}
    assert machine.established() == {"link0"}
    Change(machine, wanted("two", certificate="fresh")).apply()
    assert machine.path("/etc/overlay/pki/certificate.pem").read_text() == "fresh"


def test_a_change_waits_for_one_whose_controller_is_dead(machine):
    later = threading.Thread(target=lambda: Change(machine, wanted()).apply())
    with machine.alone():
        later.start()
        later.join(0.2)
        assert later.is_alive()
        assert machine.calls == []
    later.join(60)
    assert machine.established() == {"link0"}


def test_a_link_that_does_not_come_back_is_put_back_alone(machine):
    Change(machine, wanted()).apply()
    done = Change(machine, wanted("broken", "open wider")).apply()
    assert list(done["failed"]) == ["link0"]
    assert machine.path("/etc/overlay/openvpn/link0.conf").read_text() == "one"
    assert machine.path("/etc/overlay/firewall.nft").read_text() == "open wider"
    assert machine.established() == {"link0"}
    assert f"restart {TUNNEL}" in Change(machine, wanted("two", "open wider")).difference().lines()


def test_a_dialer_that_does_not_come_back_is_put_back_after_both_phases(machine):
    Change(machine, wanted()).apply()
    assert Change(machine, wanted("broken"), phase=1).apply()["failed"] == {}
    assert machine.established() == {"link0"}
    assert "put back as it was" in Change(machine, wanted("broken")).apply()["failed"]["link0"]
    assert machine.path("/etc/overlay/openvpn/link0.conf").read_text() == "one"
    assert machine.established() == {"link0"}


def test_routing_that_does_not_take_its_configuration_is_no_success(machine):
    Change(machine, wanted()).apply()
    before, machine.mute = tree(machine), True
    with pytest.raises(RefusedError, match=r"BIRD does not answer.*stands as before"):
        Change(machine, wanted(routing="two")).apply()
    assert tree(machine) == before
    machine.mute = False
    assert Change(machine, wanted(routing="two")).apply()["changed"]


def test_a_link_that_was_to_go_starts_at_boot_again_when_the_change_is_undone(machine):
    Change(machine, wanted()).apply()
    machine.mute = True
    with pytest.raises(RefusedError, match="stands as before"):
        Change(machine, wanted(routing="two", with_tunnel=False)).apply()
    assert TUNNEL in machine.active
    assert machine.enabled(TUNNEL)


def test_a_peer_that_is_locked_out_is_not_waited_for(machine):
    Change(machine, wanted()).apply()
    assert Change(machine, wanted("broken", returns=False)).apply()["failed"] == {}
    assert machine.path("/etc/overlay/openvpn/link0.conf").read_text() == "broken"


def test_a_firewall_that_cuts_every_link_is_put_back(machine):
    Change(machine, wanted()).apply()
    before = tree(machine)
    with pytest.raises(RefusedError, match=r"came back.*stands as before"):
        Change(machine, wanted(firewall="closed")).apply()
    assert tree(machine) == before
    assert machine.calls[-1] == f"reload-or-restart {FIREWALL}"


def test_a_restart_that_a_dead_session_owed_is_made_good(machine, monkeypatch):
    Change(machine, wanted()).apply()
    monkeypatch.setattr(Change, "_act", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        Change(machine, wanted("two")).apply()
    monkeypatch.undo()
    machine.calls = []
    assert f"restart {TUNNEL}" in Change(machine, wanted("two")).difference().lines()
    Change(machine, wanted("two")).apply()
    assert f"restart {TUNNEL}" in machine.calls
    assert Change(machine, wanted("two")).difference().lines() == []


def test_after_a_boot_nothing_is_restarted_that_runs_with_the_wanted_files(machine):
    Change(machine, wanted()).apply()
    machine.path("/run/overlay/applied.json").unlink()
    assert Change(machine, wanted()).difference().lines() == []
    assert f"restart {TUNNEL}" in Change(machine, wanted("two")).difference().lines()


def test_no_staged_or_old_file_stays(machine):
    Change(machine, wanted()).apply()
    Change(machine, wanted("two", "open wider", "fresh")).apply()
    assert not [name for name in tree(machine) if "overlay-new" in name or "overlay-old" in name]
    manifest = json.loads(machine.path(changes.MANIFEST).read_text())
    assert manifest["units"] == sorted([TUNNEL, ROUTING, FIREWALL])


def test_a_file_is_written_with_its_mode_whatever_the_umask(tmp_path):
    Machine(tmp_path).write("/a/b", "text", 0o640)
    assert Path(tmp_path, "a/b").stat().st_mode & 0o7777 == 0o640
