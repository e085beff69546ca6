"""What tasks make of jobs that are at work beside their own."""

from __future__ import annotations

import threading
from contextlib import ExitStack
from datetime import UTC, datetime
from ipaddress import IPv4Address

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from proactive_tasks import clouds
from proactive_tasks import configure_tunnel as configuring
from proactive_tasks import destroy_overlay as destroying
from proactive_tasks import maintain_overlay as maintaining
from proactive_tasks import provision_gateway as provisioning
from proactive_tasks import release_site as releasing
from proactive_tasks import replace_gateway as replacing
from proactive_tasks import verify_overlay as verifying
from proactive_tasks.clouds.provider import GatewayFacts, SiteFacts
from proactive_tasks.gateway import access
from proactive_tasks.gateway.config import render
from proactive_tasks.gateway.session import Interfaces
from proactive_tasks.overlay.errors import GatewayUnreachableError, PkiError, ProviderError
from proactive_tasks.overlay.model import LinkState, Origin, SiteState
from proactive_tasks.overlay.spec import SiteSpec, load_spec
from proactive_tasks.pki.issuing import current, issue, revoke
from proactive_tasks.probes.between import Unanswered
from proactive_tasks.scheduler.context import Context
from proactive_tasks.store import Store

SPEC = "{version: 1, overlay: trio, sites: []}"


class Driver:
    """A provider that notes what it is asked."""

    def __init__(self):
        self.asked = []
        self.meanwhile = lambda: None

    def release(self, _overlay, site, _journal, _progress):
        self.asked.append(f"release {site.name}")
        self.meanwhile()
        return [f"machine {site.name}"]

    def discard(self, _overlay, site, _journal):
        self.asked.append(f"discard {site.name}")
        self.meanwhile()
        return [f"machine {site.name}"]

    def facts(self, *_):
        return SiteFacts(None)

    def difference(self, *_):
        return []

    def apply(self, order, _facts, _journal, _progress):
        return GatewayFacts(order.site.name, True, IPv4Address("198.18.0.9"))

    def leftovers(self, overlay, _regions):
        return [f"a machine of {overlay}"]

    def hosts(self, *_):
        return []

    def controllers(self, _overlay):
        return []


def request_of(site):
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, site)])
    signed = x509.CertificateSigningRequestBuilder().subject_name(name).sign(key, hashes.SHA256())
    return signed.public_bytes(serialization.Encoding.PEM).decode()


@pytest.fixture
def driver(monkeypatch):
    made = Driver()
    monkeypatch.setattr(clouds, "driver", lambda _name: made)
    return made


@pytest.fixture
def context(tmp_path, driver):
    """Three connected sites that a trigger brought, with certificates and links."""
    with Store.open(f"sqlite:///{tmp_path}/store.db") as store:
        made = Context(store, passphrase=lambda: "pw", progress=lambda *_: None)
        store.save_spec(load_spec(SPEC), "test")
        store.bring_in("trio", [SiteSpec(name=name, provider="lab") for name in "abc"], Origin.ELASTIC, "test")
        access.ensure_key(store, "trio", made.vault)
        for number, name in enumerate("abc"):
            fields = {"request": request_of(name), "host_key": "a key", "host_key_seeded": False, "wan": "wan"}
            address = IPv4Address(f"198.18.0.{number + 1}")
            store.update_site(
                "trio", name, "test", state=SiteState.CONNECTED, public_address=address, lan="lan", **fields
            )
        issue(store, "trio", made.vault, "test")
        for link in store.plan_links("trio", "test"):
            store.update_link("trio", link.a, link.b, "test", state=LinkState.CONNECTED)
        yield made


def test_of_two_first_deployments_at_once_both_have_the_same_ssh_key(context):
    store, both = context.store, threading.Barrier(2)
    store.save_spec(load_spec("{version: 1, overlay: duo, sites: []}"), "test")

    def vault(overlay):  # both have seen that there is no key when the first is kept
        both.wait(60)
        return context.vault(overlay)

    context.vault("duo")
    kept = []
    threads = [threading.Thread(target=lambda: kept.append(access.ensure_key(store, "duo", vault))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sorted(kept) == [False, True]


def test_a_gateway_is_configured_without_links_to_sites_that_leave(context):
    context.store.start_release("trio", "c", "test")
    wanted = configuring.view(context, "trio", "a")
    assert [link.name for link in wanted.links] == ["a--b"]
    assert "link1" not in "".join(file.content for file in render(wanted).files)


def test_a_link_has_to_come_back_again_once_it_stood_with_the_new_certificate_of_its_peer(context):
    def returning():
        wanted = configuring.view(context, "trio", "a")
        return {link.name for link, unit in zip(wanted.links, render(wanted).units[3:], strict=True) if unit.returns}

    context.store.update_link("trio", "a", "c", "test", since=datetime.now(UTC))
    assert returning() == {"a--b", "a--c"}
    revoke(context.store, "trio", ["c"], "test")
    issue(context.store, "trio", context.vault, "test")
    assert returning() == {"a--b"}
    context.store.update_link("trio", "a", "c", "test", since=datetime.now(UTC))
    assert returning() == {"a--b", "a--c"}


def test_a_gateway_that_was_off_when_its_certificate_was_issued_gets_it_the_next_time(context):
    result = maintaining.maintain_overlay(context, overlay="trio")
    assert not result.changed
    assert [replica["site"] for replica in result.replicas] == ["a", "b", "c"]


def test_a_site_that_another_job_released_or_wants_again_is_left_alone(context, driver):
    context.store.start_release("trio", "c", "test")
    assert releasing.release_site(context, overlay="trio", site="c").changed
    assert not releasing.release_site(context, overlay="trio", site="c").changed
    context.store.start_release("trio", "b", "test")
    context.store.bring_in("trio", [SiteSpec(name="b", provider="lab")], Origin.ELASTIC, "test")
    assert not releasing.release_site(context, overlay="trio", site="b").changed
    assert driver.asked == ["release c"]


def test_a_site_that_is_called_back_while_it_is_released_keeps_its_numbers(context, driver):
    context.store.start_release("trio", "b", "test")
    before = context.store.site("trio", "b").subnet
    again = [SiteSpec(name="b", provider="lab")]
    driver.meanwhile = lambda: context.store.bring_in("trio", again, Origin.ELASTIC, "another job")
    assert releasing.release_site(context, overlay="trio", site="b").changed
    site = context.store.site("trio", "b")
    assert (site.subnet, site.state) == (before, SiteState.ALLOCATED)


def test_providers_of_released_sites_are_asked_for_what_is_left_too(context):
    releasing.all_sites(context, overlay="trio")
    for name in "abc":
        releasing.release_site(context, overlay="trio", site=name)
    with pytest.raises(ProviderError, match="a machine of trio"):
        destroying.destroy_overlay(context, overlay="trio")
    assert context.store.overlays() == ["trio"]


def test_no_certificate_is_issued_for_the_key_of_a_gateway_that_is_being_replaced(context, driver):
    before = current(context.store.certificates("trio"))["c"]
    driver.meanwhile = lambda: issue(context.store, "trio", context.vault, "another job")
    replacing.replace_gateway(context, overlay="trio", site="c")
    leaves = [leaf for leaf in context.store.certificates("trio") if leaf.site == "c"]
    assert [leaf.serial for leaf in leaves] == [before.serial]
    assert leaves[0].revoked_at is not None


def test_a_request_that_nobody_should_sign_is_its_own_site_s_fault(context, monkeypatch):
    class Captured(ExitStack):
        def ready(self, _deadline_s):
            pass

        def interfaces(self, *_, **_more):
            return Interfaces("wan", "lan", "", bears_address=False)

        def make_key(self, *_):
            return request_of("a")

    monkeypatch.setattr(provisioning, "open_session", lambda *_: Captured())
    context.store.update_site("trio", "c", "test", request="")
    with pytest.raises(PkiError, match="'c' asks for the name"):
        provisioning.provision_gateway(context, overlay="trio", site="c")
    assert context.store.site("trio", "c").state is SiteState.ERROR
    assert not context.store.site("trio", "c").ready


class Gateway(ExitStack):
    """A session with a gateway that goes off after it was probed."""

    def reach(self, targets, **_):
        return dict.fromkeys(targets, 1.0)

    def established(self):
        raise GatewayUnreachableError("gateway 198.18.0.1: the connection broke")


def test_a_gateway_that_goes_off_while_it_is_asked_is_told_of_by_its_links(context, monkeypatch):
    monkeypatch.setattr(verifying, "GatewaySession", Gateway)
    monkeypatch.setattr(verifying, "open_session", lambda *_: Gateway())
    verifying.verify_overlay(context, overlay="trio")
    assert {link.state for link in context.store.links("trio")} == {LinkState.ERROR}


def test_a_site_that_begins_to_leave_while_all_are_probed_is_not_missed(context, monkeypatch):
    def probed(*_):
        context.store.start_release("trio", "c", "another job")
        context.store.plan_links("trio", "another job")
        return [Unanswered("a/gateway", "c/gateway", ""), Unanswered("a/gateway", "b/gateway", "")]

    monkeypatch.setattr(verifying, "GatewaySession", Gateway)
    monkeypatch.setattr(verifying, "open_session", lambda *_: Gateway())
    monkeypatch.setattr(verifying, "unanswered", probed)
    result = verifying.verify_overlay(context, overlay="trio")
    assert result.warnings == ["a/gateway does not reach b/gateway"]
    assert (result.facts["pairs"], result.facts["pairs_ok"]) == (2, 1)


def test_user_data_is_the_same_at_every_try_until_the_gateway_was_met(context):
    context.store.update_site("trio", "c", "test", request="", host_key="", host_key_seeded=True)
    tries = [provisioning._seed(context, "trio", context.store.site("trio", "c")) for _ in range(2)]
    assert tries[0] == tries[1]
    context.store.update_site("trio", "c", "test", host_key="")  # as for a machine that is replaced
    assert provisioning._seed(context, "trio", context.store.site("trio", "c")) != tries[0]
    assert all(b"PRIVATE" not in repr(event).encode() for event in context.store.events("trio"))
