"""What a living overlay survives. One overlay of three sites; each test leaves it whole."""

from __future__ import annotations

import json
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import inspect, text

from tests.overlays import Overlay, until

PASSING = {"alembic_version", "jobs", "leases", "measurements"}
"""Tables that a run may write although nothing changes; those of jobs by the beginning of their name."""


@pytest.fixture(scope="module")
def field(make_overlay: Callable[..., Overlay]) -> Overlay:
    overlay = make_overlay(["paris", "lyon", "nice"])
    done = overlay.deploy()
    facts = done["tasks"]["Verify_Overlay"]["result"]["facts"]
    assert (facts["pairs"], facts["pairs_ok"]) == (30, 30)
    return overlay


def rows(overlay: Overlay) -> dict[str, Any]:
    with overlay.store() as store, store.read() as session:
        names = inspect(session.connection()).get_table_names()
        return {
            name: sorted(map(repr, session.execute(text(f'SELECT * FROM "{name}"')).all()))
            for name in names
            if not name.startswith(("job", "task", "log")) and name not in PASSING
        }


def files(overlay: Overlay, site: str) -> str:
    find = [
        "find",
        "/etc/overlay",
        "/etc/bird",
        "/etc/systemd/system",
        "/etc/ssh",
        "-type",
        "f",
        "-printf",
        "%p %i %T@\n",
    ]
    return overlay.exec(f"{site}/gateway", *find) + overlay.exec(
        f"{site}/gateway", "systemctl", "show", "overlay-*", "--property=Id,ActiveEnterTimestampMonotonic"
    )


def well(overlay: Overlay) -> bool:
    status = overlay.ctl("status")
    return not status["silent"] and all(link["state"] == "connected" for link in status["links"])


def test_a_rerun_with_nothing_to_change_writes_nothing_anywhere(field: Overlay) -> None:
    before = rows(field), [files(field, site) for site in field.sites]
    assert not any((task["result"] or {}).get("changed") for task in field.deploy()["tasks"].values())
    assert (rows(field), [files(field, site) for site in field.sites]) == before


def test_an_unmodified_application_talks_across_sites(field: Overlay, tmp_path: Path) -> None:
    binaries = max(Path("/usr/lib/postgresql").glob("*/bin"))
    data = tmp_path / "data"
    subprocess.run(["install", "-d", "-o", "postgres", str(data)], check=True)
    for folder in (tmp_path, *tmp_path.parents[:2]):
        folder.chmod(0o755)
    setup = [binaries / "initdb", "-D", data, "-A", "trust", "-U", "app", "--no-sync"]
    subprocess.run(["runuser", "-u", "postgres", "--", *map(str, setup)], check=True, capture_output=True)
    with (data / "pg_hba.conf").open("a") as rules:
        rules.write("host all all 10.0.0.0/8 trust\n")
    server = ["runuser", "-u", "postgres", "--", binaries / "postgres", "-D", data, "-c", "listen_addresses=*"]
    server += ["-c", f"unix_socket_directories={data}", "-c", "port=5433"]
    inside = ["ip", "netns", "exec", field.lab.namespace("lyon/host1"), *map(str, server)]
    process = subprocess.Popen(inside, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        query = "SELECT sum(length(v)) FROM (SELECT repeat(md5(i::text), 64) AS v FROM generate_series(1, 4000) i) t"
        words = ["psql", "-h", field.host("lyon"), "-p", "5433", "-U", "app"]
        words += ["-d", "dbname=postgres connect_timeout=10", "-Atc"]
        psql = ["ip", "netns", "exec", field.lab.namespace("paris/host1"), *words]

        def answers() -> bool:
            return subprocess.run([*psql, "SELECT 1"], capture_output=True, timeout=60, check=False).returncode == 0

        until(answers, 60, "the server answers across the overlay")
        assert subprocess.run([*psql, query], capture_output=True, text=True, check=True).stdout.strip() == "8192000"
        rows_query = "SELECT repeat(md5(i::text), 64) FROM generate_series(1, 4000) i"
        big = subprocess.run([*psql, rows_query], capture_output=True, timeout=60, check=True).stdout
        assert len(big) == 4000 * (32 * 64 + 1)
    finally:
        process.terminate()
        process.wait(timeout=60)


def test_restored_where_nothing_is_known_the_living_overlay_is_found_unchanged(field: Overlay, tmp_path: Path) -> None:
    elsewhere = f"sqlite:///{tmp_path}/elsewhere.db"
    process = field.start("backup", str(tmp_path / "backup"))
    assert process.wait(timeout=60) == 0, process.stderr and process.stderr.read()
    process.communicate()
    restored = field.start("restore", str(tmp_path / "backup"), store=elsewhere)
    _, err = restored.communicate(timeout=60)
    assert restored.returncode == 0, err
    assert field.ctl("plan", str(field.file), "--detailed-exitcode", store=elsewhere)["changes"] == 0
    assert b"PRIVATE KEY" not in (tmp_path / "elsewhere.db").read_bytes()


def test_a_rebooted_gateway_returns_by_itself(field: Overlay) -> None:
    field.lab.kill("nice/gateway")
    field.lab.boot("nice/gateway")
    until(lambda: well(field), 60, "tunnels and routes are back")


def test_ssh_that_is_refused_for_a_while_only_delays(field: Overlay) -> None:
    rule = "add table inet refused; add chain inet refused in { type filter hook input priority -10; }; "
    rule += "add rule inet refused in tcp dport 22 reject with tcp reset"
    field.exec("lyon/gateway", "nft", rule)
    back = threading.Timer(8, lambda: field.exec("lyon/gateway", "nft", "delete table inet refused"))
    back.start()
    try:
        assert field.deploy()["succeeded"]
    finally:
        back.join()


def test_a_gateway_that_dies_while_tunnels_are_configured_is_named_and_the_others_go_on(field: Overlay) -> None:
    before = field.last_job()
    process = field.start("scale-out", "brest", "--provider", "lab", "--yes", "--output", "json")
    until(lambda: field.running("Configure_Tunnel", before), 60, "tunnels are configured")
    field.lab.kill("nice/gateway")
    out, err = process.communicate(timeout=200)
    assert process.returncode == 1, err
    answer = json.loads(out)
    assert answer["status"] != "FINISHED"
    assert any("nice: " in cause for cause in answer["causes"])
    links = {link["name"]: link["state"] for link in field.ctl("status")["links"]}
    assert {name for name, state in links.items() if state == "connected"} == {
        "brest--lyon",
        "brest--paris",
        "lyon--paris",
    }
    field.lab.boot("nice/gateway")
    assert field.ctl("scale-out", "brest", "--provider", "lab", "--yes")["succeeded"]
    assert field.ctl("scale-in", "brest", "--yes")["succeeded"]


def test_an_authority_gives_way_to_the_next_while_the_overlay_lives(field: Overlay) -> None:
    stream = field.stream("paris", "lyon")
    made = field.ctl("maintain", "--new-authority")
    assert any("authority 2" in line for line in made["tasks"]["Maintain_Overlay"]["result"]["difference"])
    assert field.ctl("maintain")["succeeded"]
    assert field.ctl("maintain")["tasks"]["Maintain_Overlay"]["result"]["difference"] == ["nothing is due"]
    until(lambda: well(field), 60, "every link is connected under the new authority")
    shown = field.exec(
        "paris/gateway", "openssl", "x509", "-in", "/etc/overlay/pki/certificate.pem", "-noout", "-issuer"
    )
    assert "authority 2" in shown
    assert stream.stop().longest_gap_ms < 60_000


def test_a_gateway_whose_disk_is_lost_is_replaced_and_the_others_do_not_notice(field: Overlay) -> None:
    with field.store() as store:
        before = store.site(field.name, "nice")
        old = [leaf.serial for leaf in store.certificates(field.name) if leaf.site == "nice" and not leaf.revoked_at]
    stream = field.stream("paris", "lyon")
    field.lab.kill("nice/gateway", disk=True)
    assert field.ctl("replace", "nice", "--yes")["succeeded"]
    assert stream.stop().lost == 0
    with field.store() as store:
        after = store.site(field.name, "nice")
        revoked = {leaf.serial for leaf in store.certificates(field.name) if leaf.revoked_at}
    assert (after.subnet, after.public_address) == (before.subnet, before.public_address)
    assert after.host_key != before.host_key
    assert set(old) <= revoked


def test_two_scale_outs_at_once_make_the_link_between_them_too(field: Overlay) -> None:
    processes = [field.start("scale-out", name, "--provider", "lab", "--yes") for name in ("tours", "metz")]
    for process in processes:
        _, err = process.communicate(timeout=200)
        assert process.returncode == 0, err[-3000:]
    links = {link["name"]: link["state"] for link in field.ctl("status")["links"]}
    assert links["metz--tours"] == "connected"
    assert field.ctl("scale-in", "tours", "metz", "--yes")["succeeded"]


def test_a_full_disk_is_named_and_the_link_stays_as_it_was(field: Overlay) -> None:
    small = "cp -a /etc/overlay /run/kept && mount -t tmpfs -o size=128k tmpfs /etc/overlay && "
    small += "cp -a /run/kept/. /etc/overlay/ && { head -c 1M /dev/zero > /etc/overlay/full; true; }"
    field.exec("lyon/gateway", "sh", "-c", small)
    stream = field.stream("paris", "lyon")
    try:
        failed = field.ctl("scale-out", "dijon", "--provider", "lab", "--yes", code=1)
        assert any("lyon" in cause and "disk is full" in cause for cause in failed["causes"])
        assert stream.stop().lost == 0
    finally:
        field.exec("lyon/gateway", "umount", "/etc/overlay")
    assert field.ctl("scale-out", "dijon", "--provider", "lab", "--yes")["succeeded"]
    assert field.ctl("scale-in", "dijon", "--yes")["succeeded"]


def test_one_site_without_any_link_is_a_deployment_like_any_other(make_overlay: Callable[..., Overlay]) -> None:
    done = make_overlay(["alone"]).deploy()
    assert done["status"] == "FINISHED"
    assert done["tasks"]["Measure_Link"]["status"] == "SKIPPED"


def test_a_star_carries_traffic_between_its_rays(make_overlay: Callable[..., Overlay]) -> None:
    star = make_overlay(["hub", "ray-a", "ray-b"], "topology: star\nhub: hub")
    facts = star.deploy()["tasks"]["Verify_Overlay"]["result"]["facts"]
    assert facts["pairs"] == facts["pairs_ok"] == 30
    assert [link["name"] for link in star.ctl("status")["links"]] == ["hub--ray-a", "hub--ray-b"]
    assert star.ctl("destroy", "--overlay", star.name, "--yes")["succeeded"]
