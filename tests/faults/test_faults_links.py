"""What becomes of links when a certificate is revoked, the Internet is cut, or jobs overlap."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest

from proactive_tasks.configure_tunnel import configure_tunnel
from proactive_tasks.overlay.model import Link
from proactive_tasks.pki.issuing import issue, revoke
from proactive_tasks.scheduler.context import Context
from tests.overlays import Overlay, until


@pytest.fixture(scope="module")
def field(make_overlay: Callable[..., Overlay]) -> Overlay:
    overlay = make_overlay(["paris", "lyon", "nice"])
    overlay.deploy()
    return overlay


@contextmanager
def task_context(overlay: Overlay) -> Iterator[Context]:
    with overlay.store() as store:
        yield Context(store, passphrase=lambda: overlay.environment["OVERLAY_PASSPHRASE"])


def links(overlay: Overlay) -> dict[str, Link]:
    with overlay.store() as store:
        return {link.name: link for link in store.links(overlay.name)}


def stands(overlay: Overlay, site: str, link: Link) -> bool:
    return "Established" in overlay.exec(f"{site}/gateway", "birdc", "show", "protocols", link.interface)


def test_a_revoked_gateway_is_seen_gone_and_cannot_return(field: Overlay) -> None:
    nice = [link for link in links(field).values() if "nice" in {link.a, link.b}]
    ends = [(link.peer("nice"), link) for link in nice]
    assert all(stands(field, site, link) for site, link in ends)
    with task_context(field) as context:
        assert revoke(context.store, field.name, ["nice"], context.actor)
        issue(context.store, field.name, context.vault, context.actor)
        with ThreadPoolExecutor() as pool:
            list(pool.map(lambda site: configure_tunnel(context, overlay=field.name, site=site), ("paris", "lyon")))
        until(lambda: not any(stands(field, site, link) for site, link in ends), 60, "nice is locked out")

        field.exec("nice/gateway", "systemctl", "restart", *(f"overlay-openvpn@{link.interface}" for _, link in ends))
        for site, link in ends:
            journal = ("journalctl", "-u", f"overlay-openvpn@{link.interface}", "-o", "cat", "--no-pager")
            said = "certificate revoked"
            until(lambda: said in field.exec(f"{site}/gateway", *journal).lower(), 60, f"{site} refuses it")  # noqa: B023
        assert not any(stands(field, site, link) for site, link in ends)
        assert stands(field, "paris", links(field)["lyon--paris"])

        configure_tunnel(context, overlay=field.name, site="nice")  # with the certificate that took the old one's place
    until(lambda: all(stands(field, site, link) for site, link in ends), 60, "nice is back")


def test_a_link_that_traffic_makes_a_detour_around_is_not_called_connected(field: Overlay) -> None:
    field.lab.cut("paris", "lyon")
    try:
        until(lambda: not stands(field, "paris", links(field)["lyon--paris"]), 60, "the cut is noticed")
        told = field.ctl("measure", code=1)
        assert [cause for cause in told["causes"] if "lyon--paris" in cause]
        facts = told["tasks"]["Verify_Overlay"]["result"]["facts"]
        assert facts["pairs_ok"] == facts["pairs"] == 30
        states = {name: str(link.state) for name, link in links(field).items()}
        assert states == {"lyon--paris": "error", "lyon--nice": "connected", "nice--paris": "connected"}
    finally:
        field.lab.heal("paris", "lyon")
    assert field.ctl("measure")["succeeded"]


def test_a_scale_out_is_not_judged_by_one_that_began_later(field: Overlay) -> None:
    before = field.last_job()
    first = field.start("scale-out", "brest", "--provider", "lab", "--yes")
    until(lambda: field.running("Configure_Tunnel", before), 60, "the first configures tunnels")
    second = field.start("scale-out", "metz", "--provider", "lab", "--yes")
    for process in (first, second):
        _, err = process.communicate(timeout=200)
        assert process.returncode == 0, err[-3000:]
    assert str(links(field)["brest--metz"].state) == "connected"


def test_a_gateway_that_says_goodbye_is_back_by_itself(field: Overlay) -> None:
    """Power failures aside: shut down in order, what ran leaves traces of its own."""
    mine = [link for link in links(field).values() if "nice" in {link.a, link.b}]
    field.exec("nice/gateway", "systemctl", "--no-block", "poweroff")
    until(lambda: not field.lab.status("nice").running, 60, "it is off")
    field.lab.boot("nice/gateway")
    until(lambda: all(stands(field, link.peer("nice"), link) for link in mine), 60, "its links are back")
    stream = field.stream("paris", "nice")
    assert stream.stop().answers
