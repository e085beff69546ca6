"""A store keeps what it is told, writes only what differs, and says clearly why it cannot."""

from __future__ import annotations

import stat
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text

from proactive_tasks.overlay.errors import (
    InputError,
    LeaseError,
    NumberingError,
    SecretError,
    StoreUnavailableError,
    UnknownObjectError,
)
from proactive_tasks.overlay.model import Certificate, LinkState, Measurement, Origin, SiteState
from proactive_tasks.overlay.spec import OverlaySpec, SiteSpec, load_spec
from proactive_tasks.store import Authority, Store
from proactive_tasks.store.backup import backup, restore
from proactive_tasks.store.database import head

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)

SPEC = """
version: 1
overlay: presto
sites:
  - {name: paris, provider: lab, hosts: 2}
  - {name: rome, provider: lab, options: {nat: true}}
  - {name: oslo, provider: aws, region: eu-north-1, prefixes: [172.16.0.0/24]}
"""


def deployed(store: Store, spec: OverlaySpec | None = None, *, state: SiteState = SiteState.PROVISIONED) -> OverlaySpec:
    spec = spec or load_spec(SPEC)
    store.save_spec(spec, "test")
    store.bring_in(spec.overlay, spec.sites, Origin.FILE, "test")
    for site in spec.sites:
        store.update_site(spec.overlay, site.name, "test", state=state)
    return spec


def grown(spec: OverlaySpec, **changes: object) -> OverlaySpec:
    return OverlaySpec.model_validate({**spec.model_dump(mode="json"), **changes})


def test_sites_get_the_lowest_free_deployment_of_their_provider(store: Store) -> None:
    deployed(store)
    found = {site.name: (str(site.subnet), site.index, site.asn) for site in store.sites("presto")}
    assert found == {
        "paris": ("10.250.0.0/24", 250 << 8, 4_200_064_000),
        "rome": ("10.250.1.0/24", 250 << 8 | 1, 4_200_064_001),
        "oslo": ("10.1.0.0/24", 1 << 8, 4_200_000_256),
    }


def test_what_is_there_already_writes_no_row_and_no_event(store: Store) -> None:
    spec = deployed(store)
    links = store.plan_links("presto", "test")
    certificate = Certificate(1 << 159, "paris", "pem", NOON, NOON + timedelta(days=1))
    store.add_certificate("presto", certificate, "test")
    store.save_authority("presto", Authority("pem", b"sealed"), "test")
    store.add_secret("presto", "ssh", b"sealed")
    events = store.events("presto", limit=1000)
    assert not store.save_spec(spec, "test")
    store.bring_in("presto", spec.sites, Origin.FILE, "test")
    assert store.plan_links("presto", "test") == links
    assert not store.update_site("presto", "paris", "test", state=SiteState.PROVISIONED)
    assert not store.update_link("presto", "rome", "paris", "test", state=LinkState.PLANNED)
    assert not store.add_certificate("presto", certificate, "test")
    assert not store.save_authority("presto", Authority("pem", b"sealed"), "test")
    assert not store.add_secret("presto", "ssh", b"sealed")
    assert store.events("presto", limit=1000) == events


def test_every_change_is_an_event_with_what_differed(store: Store) -> None:
    deployed(store)
    store.update_site("presto", "paris", "ann", public_address=IPv4Address("198.18.0.1"), hosts=2)
    event = store.events("presto")[-1]
    assert (event.actor, event.kind, event.name, event.action) == ("ann", "site", "paris", "change")
    assert (event.before, event.after) == ({"public_address": None}, {"public_address": "198.18.0.1"})


def test_a_bring_in_that_fails_for_one_site_changes_nothing(store: Store) -> None:
    deployed(store)
    before = store.sites("presto"), store.allocations("presto"), store.events("presto")
    new = [SiteSpec(name="bonn", provider="lab"), SiteSpec(name="bern", provider="lab", prefixes=["172.16.0.0/25"])]
    with pytest.raises(NumberingError, match=r"bern.*172\.16\.0\.0/25 overlaps 172\.16\.0\.0/24 of site oslo"):
        store.bring_in("presto", new, Origin.ELASTIC, "test")
    assert (store.sites("presto"), store.allocations("presto"), store.events("presto")) == before


def test_what_is_done_within_one_write_is_done_together_or_not_at_all(store: Store) -> None:
    spec = load_spec(SPEC.replace("hosts: 2", "hosts: 2, prefixes: [172.16.0.0/25]").replace("[172.16.0.0/24]", "[]"))
    overlapping = SiteSpec(name="x", provider="lab", prefixes=["172.16.0.0/24"])

    def deploy() -> None:
        with store.write("presto"):
            store.save_spec(spec, "test")
            store.bring_in("presto", spec.sites[:2], Origin.FILE, "test")
            store.bring_in("presto", [overlapping], Origin.FILE, "test")

    with pytest.raises(NumberingError):
        deploy()
    assert store.overlays() == []
    assert store.events() == []


def test_a_known_site_keeps_its_numbers_and_takes_new_settings(store: Store) -> None:
    spec = deployed(store)
    before = store.site("presto", "paris")
    [after] = store.bring_in("presto", [SiteSpec(name="paris", provider="lab", hosts=5)], Origin.FILE, "test")
    assert (after.subnet, after.asn, after.origin, after.hosts) == (before.subnet, before.asn, Origin.FILE, 5)
    with pytest.raises(InputError, match="release it first"):
        store.bring_in("presto", [SiteSpec(name="paris", provider="aws")], Origin.FILE, "test")
    assert spec.site("paris") is not None


def test_a_trigger_changes_no_site_of_the_file(store: Store) -> None:
    spec = deployed(store)
    before = store.sites("presto")
    asked = spec.sites[0].model_copy(update={"hosts": 9})
    with pytest.raises(InputError, match=r"site paris: is the specification's"):
        store.bring_in("presto", [asked], Origin.ELASTIC, "test")
    assert store.sites("presto") == before


def test_a_released_subnet_rests_but_its_own_site_may_come_back(store: Store) -> None:
    deployed(store)
    paris = store.site("presto", "paris")
    store.start_release("presto", "paris", "test")
    store.drop_site("presto", "paris", "test")
    [bonn] = store.bring_in("presto", [SiteSpec(name="bonn", provider="lab")], Origin.ELASTIC, "test")
    assert bonn.deployment == 2
    [again] = store.bring_in("presto", [SiteSpec(name="paris", provider="lab")], Origin.FILE, "test")
    assert again.subnet == paris.subnet


def test_without_a_cooldown_the_lowest_subnet_is_given_again(store: Store) -> None:
    deployed(store, grown(load_spec(SPEC), cooldown_s=0))
    store.drop_site("presto", "paris", "test")
    [bonn] = store.bring_in("presto", [SiteSpec(name="bonn", provider="lab")], Origin.ELASTIC, "test")
    assert bonn.deployment == 0


def test_the_numbering_of_living_sites_cannot_change(store: Store) -> None:
    spec = deployed(store)
    with pytest.raises(InputError, match=r"network, .*providers\.lab cannot change while there are sites"):
        store.save_spec(grown(spec, network="10.0.0.0/9", providers={"lab": 9}), "test")
    assert store.save_spec(grown(spec, bfd={"interval_ms": 50}), "test")
    assert store.spec("presto").bfd.interval_ms == 50


def test_an_overlay_is_forgotten_but_its_events_and_resting_subnets(store: Store) -> None:
    spec = deployed(store)
    with pytest.raises(InputError, match="still has sites"):
        store.drop_overlay("presto", "test")
    for site in spec.sites:
        store.drop_site("presto", site.name, "test")
    store.drop_overlay("presto", "test")
    assert store.overlays() == []
    assert store.events("presto")[-1].action == "delete"
    assert {str(a.prefix) for a in store.allocations("presto")} == {"10.250.0.0/24", "10.250.1.0/24", "10.1.0.0/24"}
    with pytest.raises(UnknownObjectError, match="there is none"):
        store.sites("presto")


def test_unknown_objects_are_named_with_what_is_there(store: Store) -> None:
    deployed(store)
    with pytest.raises(UnknownObjectError, match=r"overlay 'other'.*presto"):
        store.spec("other")
    with pytest.raises(UnknownObjectError, match=r"site 'lyon'.*paris, rome, oslo"):
        store.site("presto", "lyon")
    with pytest.raises(UnknownObjectError, match=r"overlay 'other'.*presto"):
        store.update_link("other", "paris", "lyon", "test", listening=True)
    assert not store.update_link("presto", "paris", "lyon", "test", listening=True)  # dropped by another job, say
    with pytest.raises(InputError, match="subnet cannot be set"):
        store.update_site("presto", "paris", "test", subnet="10.0.0.0/8")


def test_certificates_and_the_authority_come_back_as_they_were(store: Store) -> None:
    deployed(store)
    leaf = Certificate((1 << 160) - 1, "paris", "pem", NOON, NOON + timedelta(days=90))
    assert store.add_certificate("presto", leaf, "test")
    assert store.certificates("presto") == [leaf]
    assert store.revoke("presto", leaf.serial, NOON, "test")
    assert not store.revoke("presto", leaf.serial, NOON, "test")
    assert store.certificates("presto")[0].revoked_at == NOON
    assert store.authorities("presto") == []
    first, second = (Authority("pem", b"sealed", number, "crl", 7, NOON) for number in (1, 2))
    assert store.save_authority("presto", second, "test")
    assert store.save_authority("presto", first, "test")
    assert not store.save_authority("presto", first, "test")
    assert store.authorities("presto") == [first, second]
    assert store.drop_authority("presto", 1, "test")
    assert not store.drop_authority("presto", 1, "test")
    assert store.authorities("presto") == [second]


@pytest.mark.parametrize("late", [Authority("other", b"other"), Authority("pem", b"sealed", 1, "other", 7, NOON)])
def test_who_issues_beside_another_does_not_undo_what_that_one_recorded(store: Store, late: Authority) -> None:
    deployed(store)
    authority = Authority("pem", b"sealed", 1, "crl", 7, NOON)
    store.save_authority("presto", authority, "test")
    with pytest.raises(LeaseError, match="another job"):
        store.save_authority("presto", late, "test")
    assert store.authorities("presto") == [authority]
    assert store.save_authority("presto", Authority("pem", b"sealed", 1, "crl", 8, NOON), "test")


def test_a_secret_that_machines_were_made_with_stays(store: Store) -> None:
    deployed(store)
    assert store.add_secret("presto", "ssh", b"first")
    assert not store.add_secret("presto", "ssh", b"second")
    assert store.secret("presto", "ssh") == b"first"


def test_a_site_that_leaves_does_so_whatever_ends_meanwhile_until_it_is_wanted_again(store: Store) -> None:
    spec = deployed(store)
    store.start_release("presto", "paris", "test")
    for state in (SiteState.CONNECTED, SiteState.ERROR):  # as a task does that had begun before
        store.update_site("presto", "paris", "test", state=state, error="late")
        assert store.site("presto", "paris").state is SiteState.RELEASING
    assert store.site("presto", "paris").error == "late"
    store.bring_in("presto", spec.sites, Origin.FILE, "test")
    assert store.site("presto", "paris").state is SiteState.ALLOCATED


def test_the_latest_measurement_of_each_direction_is_found(store: Store) -> None:
    deployed(store)
    figures = [
        Measurement("paris--rome", source, "rtt", inside, value, "ms", "echo", NOON, "job")
        for value in (20.0, 10.0)
        for source in ("paris", "rome")
        for inside in (True, False)
    ]
    store.add_measurements("presto", figures)
    assert store.latest_measurements("presto") == sorted(figures[4:], key=lambda m: (m.source, m.inside))


def test_the_vault_opens_for_the_first_passphrase_only(store: Store) -> None:
    deployed(store)
    sealed = store.vault("presto", "right").seal(b"key", "ca")
    assert store.vault("presto", "right").open(sealed, "ca") == b"key"
    with pytest.raises(SecretError, match="another passphrase"):
        store.vault("presto", "wrong")
    with pytest.raises(SecretError, match="empty"):
        store.vault("presto", "")
    with pytest.raises(SecretError):
        store.vault("presto", "right").open(sealed, "ssh")


def test_a_key_that_was_derived_before_opens_the_vault_and_another_s_is_passed_over(store: Store) -> None:
    deployed(store)
    vault = store.vault("presto", "right")
    sealed = vault.seal(b"key", "ca")
    assert store.vault("presto", "not asked for", vault.key).open(sealed, "ca") == b"key"
    assert store.vault("presto", "right", bytes(32)).open(sealed, "ca") == b"key"
    with pytest.raises(SecretError, match="another passphrase"):
        store.vault("presto", "wrong", bytes(32))


def test_no_secret_stands_in_events_or_in_the_file_in_clear(tmp_path: Path) -> None:
    with Store.open(f"sqlite:///{tmp_path}/s.db") as store:
        deployed(store)
        vault = store.vault("presto", "pass-phrase")
        store.add_secret("presto", "ssh", vault.seal(b"private-key", "ssh"))
        store.save_authority("presto", Authority("pem", vault.seal(b"private-key", "ca")), "test")
        assert "sealed" in store.events("presto")[-1].after["sealed_key"]
    for file in tmp_path.iterdir():
        assert b"private-key" not in file.read_bytes()
        assert b"pass-phrase" not in file.read_bytes()
        assert stat.S_IMODE(file.stat().st_mode) & 0o077 == 0


@pytest.mark.parametrize("target", ["sqlite", "postgresql"])
def test_a_backup_restored_elsewhere_is_the_same_living_overlay(
    store: Store, target: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    spec = deployed(store, state=SiteState.CONNECTED)
    for link in store.plan_links("presto", "test"):
        store.update_link("presto", link.a, link.b, "test", state=LinkState.CONNECTED, since=NOON)
    store.save_authority("presto", Authority("pem", store.vault("presto", "pw").seal(b"key", "ca")), "test")
    store.add_certificate("presto", Certificate(1 << 150, "paris", "pem", NOON, NOON), "test")
    store.add_measurements("presto", [Measurement("paris--rome", "rome", "rtt", True, 1.5, "ms", "echo", NOON)])
    backup(store, tmp_path / "file", "secret")
    assert b"paris" not in (tmp_path / "file").read_bytes()
    url = f"sqlite:///{tmp_path}/new.db" if target == "sqlite" else request.getfixturevalue("new_postgresql_url")()
    with Store.open(url) as fresh:
        with pytest.raises(SecretError, match="wrong"):
            restore(fresh, tmp_path / "file", "guess")
        restore(fresh, tmp_path / "file", "secret")
        assert fresh.difference(spec).empty
        for read in ("sites", "links", "certificates", "latest_measurements", "allocations", "authorities", "events"):
            assert getattr(fresh, read)("presto") == getattr(store, read)("presto"), read
        (authority,) = fresh.authorities("presto")
        assert fresh.vault("presto", "pw").open(authority.sealed_key, "ca") == b"key"
        fresh.update_site("presto", "paris", "test", error="numbers of events go on")
        with pytest.raises(InputError, match="not empty"):
            restore(fresh, tmp_path / "file", "secret")


def test_what_is_no_backup_is_refused(tmp_path: Path) -> None:
    with Store.open(f"sqlite:///{tmp_path}/s.db") as store:
        (tmp_path / "other").write_bytes(b"other")
        with pytest.raises(InputError, match="not a backup"):
            restore(store, tmp_path / "other", "pw")
        with pytest.raises(InputError, match="No such file"):
            restore(store, tmp_path / "none", "pw")
        with pytest.raises(InputError, match="there already"):
            backup(store, tmp_path / "other", "pw")


def test_opening_a_current_store_runs_no_migration(store: Store, store_url: str) -> None:
    script = "import sys; from proactive_tasks.store import Store; Store.open(sys.argv[1]).close();"
    script += "print('alembic' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", script, store_url], capture_output=True, text=True, timeout=60)
    assert (run.stdout, run.stderr) == ("False\n", "")


def test_a_schema_of_a_newer_release_is_refused(store: Store, store_url: str) -> None:
    with store.write() as session:
        session.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(StoreUnavailableError, match=f"schema 9999, this release knows {head()}"):
        Store.open(store_url)


def test_a_database_that_does_not_answer_is_named_without_its_password(tmp_path: Path) -> None:
    with pytest.raises(StoreUnavailableError, match="check that it runs") as caught:
        Store.open(f"postgresql://ann:hidden@/overlay?host={tmp_path}")
    assert "hidden" not in str(caught.value)


def test_a_store_that_cannot_be_written_says_so(tmp_path: Path) -> None:
    Store.open(f"sqlite:///{tmp_path}/s.db").close()
    with Store.open(f"sqlite:///file:{tmp_path}/s.db?mode=ro&uri=true") as store:
        assert store.overlays() == []
        with pytest.raises(StoreUnavailableError, match="right to write"):
            store.save_spec(load_spec(SPEC), "test")


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("nothing", "not a URL"),
        ("sqlite://", "names no file"),
        ("mysql://host/x", "not supported"),
        ("sqlite:////proc/none/store.db", "may write"),
    ],
)
def test_an_address_that_is_no_store_is_refused(url: str, message: str) -> None:
    with pytest.raises(StoreUnavailableError, match=message):
        Store.open(url)


def test_a_file_that_is_no_store_is_refused(tmp_path: Path) -> None:
    (tmp_path / "s.db").write_text("nothing of the kind " * 100)
    with pytest.raises(StoreUnavailableError, match="not a database"):
        Store.open(f"sqlite:///{tmp_path}/s.db")
    with pytest.raises(StoreUnavailableError, match="no such file"):
        Store.open(f"sqlite:///{tmp_path}/none.db", create=False)


def test_the_migrations_make_exactly_the_tables_of_the_code(store: Store, store_url: str) -> None:
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext
    from alembic.script import ScriptDirectory

    from proactive_tasks.store import catalog, endpoint_credentials, jobs, node_sources, tables  # noqa: F401 - they define the tables
    from proactive_tasks.store.base import Base
    from proactive_tasks.store.migrations import configuration

    engine = create_engine(store_url.replace("postgresql:", "postgresql+psycopg:"))
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": False})
        assert compare_metadata(context, Base.metadata) == []
    engine.dispose()
    assert ScriptDirectory.from_config(configuration()).get_current_head() == head()
