"""What tasks make of links that gateways or machines report on."""

from __future__ import annotations

from contextlib import ExitStack
from datetime import UTC, datetime
from types import SimpleNamespace

import pytest

from proactive_tasks import configure_tunnel as configuring
from proactive_tasks import verify_overlay as verifying
from proactive_tasks.gateway.session import Applied
from proactive_tasks.overlay.errors import LinkError
from proactive_tasks.overlay.model import LinkState, Origin, SiteState
from proactive_tasks.overlay.spec import load_spec
from proactive_tasks.reports.overview import overview
from proactive_tasks.scheduler.context import Context
from proactive_tasks.store import Store

SPEC = (
    "{version: 1, overlay: pair, sites: [{name: a, provider: lab}, {name: b, provider: lab}, {name: c, provider: lab}]}"
)
PUT_BACK = {"link0": "did not come back within 10 s, put back as it was: said so"}


@pytest.fixture
def context(tmp_path):
    with Store.open(f"sqlite:///{tmp_path}/store.db") as store:
        spec = load_spec(SPEC)
        store.save_spec(spec, "test")
        store.bring_in("pair", spec.sites, Origin.FILE, "test")
        for name in "ab":
            store.update_site("pair", name, "test", state=SiteState.CONNECTED, request="a request")
        store.plan_links("pair", "test")
        yield Context(store)


class Gateway(ExitStack):
    """A session with a gateway that puts a link back."""

    def difference(self, _config):
        return ["restart overlay-openvpn@link0.service"]

    def apply(self, _config, phase):
        return Applied([], PUT_BACK if phase == 2 else {}, 0.1)


def test_a_link_that_was_put_back_fails_the_task_by_name(context, monkeypatch):
    links = SimpleNamespace(links=context.store.links("pair", "a"))
    for name, stands_in in (("open_session", Gateway()), ("view", links), ("render", None)):
        monkeypatch.setattr(configuring, name, lambda *_, it=stands_in: it)
    monkeypatch.setattr(configuring, "LISTENERS_WAIT_S", 0)
    with pytest.raises(LinkError, match="gateway a: link a--b did not come back within 10 s, put back as it was"):
        configuring.configure_tunnel(context, overlay="pair", site="a")
    site = context.store.site("pair", "a")
    assert (site.state, "put back" in site.error) == (SiteState.ERROR, True)


@pytest.mark.parametrize(
    ("known", "seen", "down", "state", "error"),
    [
        ("ab", "ab", {}, LinkState.CONNECTED, ""),
        ("ab", "ab", {"a--b": "b"}, LinkState.ERROR, "gateway b says that its tunnel does not stand"),
        ("ab", "a", {}, LinkState.ERROR, "no machine of b answers"),
        ("a", "a", {}, LinkState.PLANNED, ""),
    ],
    ids=["seen", "by a detour", "nobody to ask", "not yet configured"],
)
def test_a_link_is_connected_only_if_it_was_seen_to_be(context, known, seen, down, state, error):
    verifying._record(context, "pair", known, seen, [], down)
    (link,) = context.store.links("pair")
    assert (link.state, link.error) == (state, error)
    assert link.since is None or link.since < datetime.now(UTC)


@pytest.mark.parametrize(
    ("brought", "state", "error", "faults"),
    [
        (None, SiteState.ALLOCATED, "", 1),
        (["a", "b", "c"], SiteState.PROVISIONED, "", 1),
        (["a"], SiteState.ALLOCATED, "", 0),
        (["a"], SiteState.RELEASING, "", 0),
        (["a"], SiteState.ERROR, "no room", 1),
    ],
)
def test_a_job_is_not_judged_by_sites_that_others_bring_in(context, brought, state, error, faults):
    context.store.update_link("pair", "a", "b", "test", state=LinkState.CONNECTED)
    context.store.update_site("pair", "c", "test", state=state, error=error)
    assert len(overview(context.store, "pair").faults(brought)) == faults


@pytest.mark.parametrize(
    ("brought", "state", "faults"),
    [
        (["a", "c"], LinkState.CONNECTING, 0),  # another job has configured b, and is about to verify it
        (None, LinkState.CONNECTING, 1),
        (["a", "c"], LinkState.ERROR, 1),
    ],
)
def test_a_job_is_not_judged_by_links_that_others_are_about_to_verify(context, brought, state, faults):
    context.store.update_link("pair", "a", "b", "test", state=state)
    context.store.start_release("pair", "c", "test")
    context.store.drop_site("pair", "c", "test")
    assert len(overview(context.store, "pair").faults(brought)) == faults
