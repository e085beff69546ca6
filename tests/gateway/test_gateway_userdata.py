"""User-data: what is in it, and what is shown of it."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
import yaml

from proactive_tasks.gateway import userdata
from proactive_tasks.overlay.errors import InputError

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIExample"


@pytest.fixture
def document(make_site):
    private, _ = userdata.new_host_key()
    return userdata.user_data("presto", make_site(0), KEY, private, ["192.0.2.0/24"])


def test_it_is_cloud_config_of_modest_size(document):
    assert document.startswith(b"#cloud-config\n")
    assert len(document) < 16_000  # what AWS takes
    config = yaml.safe_load(document)
    assert config["ssh_authorized_keys"] == [KEY]
    assert {file["path"] for file in config["write_files"]} >= {
        "/etc/overlay/firewall.nft",
        "/etc/ssh/sshd_config.d/10-overlay.conf",
    }


def test_the_seeded_host_key_is_the_one_that_was_made(make_site):
    private, public = userdata.new_host_key()
    config = yaml.safe_load(userdata.user_data("presto", make_site(0), KEY, private, []))
    assert config["ssh_keys"] == {"ed25519_private": private, "ed25519_public": public}


def test_a_host_key_of_another_kind_is_refused(make_site):
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1()).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption()
    )
    with pytest.raises(InputError, match="not ed25519"):
        userdata.user_data("presto", make_site(0), KEY, key.decode(), [])


def test_an_image_with_the_packages_needs_no_network(document, tmp_path):
    """The install step, with the programs' paths moved to a folder where all are, or one lacks."""
    [[_, _, step]] = yaml.safe_load(document)["runcmd"]
    for program in userdata.PACKAGES.values():
        there = tmp_path / program.lstrip("/")
        there.parent.mkdir(parents=True, exist_ok=True)
        there.symlink_to("/bin/true")
        step = step.replace(f"test -x {program}", f"test -x {there}")
    for name in ("apt-get", "nft"):
        fake = tmp_path / "bin" / name
        fake.parent.mkdir(exist_ok=True)
        fake.write_text(f"#!/bin/sh\necho {name} $1 >> {tmp_path}/asked\n")
        fake.chmod(0o755)
    environment = {"PATH": f"{tmp_path}/bin:/usr/bin:/bin"}
    subprocess.run(["sh", "-c", step], check=True, timeout=60, env=environment)
    assert not (tmp_path / "asked").exists()
    (tmp_path / "usr/sbin/bird").unlink()
    subprocess.run(["sh", "-c", step], check=True, timeout=60, env=environment)
    assert (tmp_path / "asked").read_text().splitlines() == ["apt-get update", "apt-get install", "nft -f"]


def test_cloud_init_itself_accepts_it(document, tmp_path):
    images = sorted(Path("/var/cache/overlay-lab").glob("image-*/usr/bin/cloud-init"))
    if not images:
        pytest.skip("no lab image, hence no cloud-init, on this machine")
    file = tmp_path / "user-data"
    file.write_bytes(document)
    root = images[0].parents[2]
    command = [
        "unshare",
        "--mount",
        "sh",
        "-c",
        'mount --bind "$1" "$2/mnt" && chroot "$2" cloud-init schema --config-file /mnt/user-data',
        "sh",
    ]
    done = subprocess.run([*command, str(tmp_path), str(root)], capture_output=True, text=True, timeout=60)
    assert "Valid cloud-config" in done.stdout, done.stdout + done.stderr
