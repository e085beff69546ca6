"""A gateway's configuration: golden files, and what nftables and BIRD themselves say of it."""

from __future__ import annotations

import os
import shutil
import subprocess
from ipaddress import IPv4Network
from pathlib import Path

import pytest

from proactive_tasks.gateway import config
from proactive_tasks.overlay.errors import InputError

GOLDEN = Path(__file__).parent / "golden"


def contents(view):
    return {file.path: file.content for file in config.render(view).files}


def golden(name):
    """Compare with a golden file; OVERLAY_GOLDEN=write makes them anew, for review in the difference."""

    def check(text):
        path = GOLDEN / name
        if os.environ.get("OVERLAY_GOLDEN") == "write":
            path.write_text(text)
        assert text == path.read_text()

    return check


@pytest.mark.parametrize(
    ("path", "name"),
    [
        (config.FIREWALL, "firewall.nft"),
        (config.ROUTING, "bird.conf"),
        ("/etc/overlay/openvpn/link0.conf", "link0.conf"),
        ("/etc/systemd/system/overlay-network.service", "overlay-network.service"),
        ("/etc/systemd/system/overlay-routing.service", "overlay-routing.service"),
        ("/etc/systemd/system/overlay-openvpn@.service", "overlay-openvpn@.service"),
    ],
)
def test_a_gateway_of_three_has_the_golden_files(make_view, path, name):
    golden(name)(contents(make_view())[path])


def test_a_dialer_has_the_golden_file(make_view):
    golden("link0-dialer.conf")(contents(make_view(1))["/etc/overlay/openvpn/link0.conf"])


def test_the_same_view_gives_the_same_bytes(make_view):
    assert config.render(make_view()) == config.render(make_view())


def test_dialers_are_of_phase_two(make_view):
    phases = {unit.interface: unit.phase for unit in config.render(make_view(1)).units if unit.interface}
    assert phases == {"link0": 2, "link2": 1}


def test_a_further_site_changes_only_what_names_it(make_view):
    before, after = contents(make_view(count=3)), contents(make_view(count=4))
    changed = {path for path in after if before.get(path) != after[path]}
    # link1 and link2 change hands in this numbering by name; in a store indexes stay
    assert changed >= {config.FIREWALL, config.ROUTING}
    assert not [path for path in changed if "systemd" in path or "pki" in path]


def test_a_revoked_certificate_changes_the_file_of_that_link_alone(make_view):
    before, after = contents(make_view()), contents(make_view(revoked={"campus": [4660]}))
    assert {path for path in after if before[path] != after[path]} == {"/etc/overlay/openvpn/link0.conf"}
    assert "1234 of campus is revoked" in after["/etc/overlay/openvpn/link0.conf"]


def test_a_peer_behind_nat_is_admitted_from_anywhere(make_site, make_view):
    sites = [make_site(0), make_site(1, options={"nat": True}), make_site(2)]
    rules = contents(make_view(sites=sites))[config.FIREWALL]
    assert '"wan" udp dport 1195 accept' in rules
    assert '"wan" ip saddr 198.18.0.3 udp dport 1196 accept' in rules


def test_a_site_without_links_is_a_gateway_like_any_other(make_view):
    rendered = config.render(make_view(count=1))
    assert not [unit for unit in rendered.units if unit.interface]
    assert config.FIREWALL in {file.path for file in rendered.files}


def test_an_unknown_back_end_is_refused_by_name(make_view):
    import dataclasses

    view = make_view()
    odd = dataclasses.replace(view, links=[dataclasses.replace(view.links[0], backend="pigeon")])
    with pytest.raises(InputError, match="pigeon"):
        config.render(odd)


VIEWS = {
    "mesh": {},
    "alone": {"count": 1},
    "without controllers": {"spec": "version: 1\noverlay: presto\n"},
}


@pytest.mark.parametrize("fields", VIEWS.values(), ids=VIEWS)
def test_nftables_and_bird_accept_what_is_rendered(make_view, make_site, tmp_path, fields):
    if os.geteuid() or not shutil.which("nft") or not shutil.which("bird"):
        pytest.skip("needs root, nft and bird")
    sites = [make_site(each) for each in range(fields.get("count", 3))]
    sites[0] = make_site(0, prefixes=(IPv4Network("192.168.7.0/24"), IPv4Network("172.20.0.0/16")))
    files = contents(make_view(sites=sites, **fields))
    for path, command in (
        (config.FIREWALL, ["unshare", "--net", "nft", "--check", "--file"]),
        (config.ROUTING, ["bird", "-p", "-c"]),
    ):
        file = tmp_path / Path(path).name
        file.write_text(files[path])
        done = subprocess.run([*command, str(file)], capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr


def test_nftables_accepts_the_first_firewall(tmp_path):
    if os.geteuid() or not shutil.which("nft"):
        pytest.skip("needs root and nft")
    for controllers in ([], ["192.0.2.0/24", "192.0.2.128/25"]):
        rules = next(file for file in config.initial_files(controllers) if file.path == config.FIREWALL)
        file = tmp_path / "firewall.nft"
        file.write_text(rules.content)
        command = ["unshare", "--net", "nft", "--check", "--file", str(file)]
        assert subprocess.run(command, timeout=60).returncode == 0
