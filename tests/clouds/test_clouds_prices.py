"""What sites cost, by a table that its user may edit."""

from __future__ import annotations

from ipaddress import IPv4Network

import pytest

from proactive_tasks.clouds import prices
from proactive_tasks.overlay.errors import InputError
from proactive_tasks.overlay.model import Origin, Site


def site(provider: str = "aws", region: str = "eu-central-1", hosts: int = 0, **options: str) -> Site:
    return Site(
        name="one", provider=provider, region=region, origin=Origin.FILE, deployment=0, index=256,
        subnet=IPv4Network("10.1.0.0/24"), asn=4200000256, hosts=hosts, options=options,
    )  # fmt: skip


def test_a_gateway_costs_its_machine_its_address_and_its_disk() -> None:
    found = prices.cost(site(), prices.load())
    table = prices.load().providers["aws"]
    assert found.items == (
        ("gateway (t3.small)", 0.024),
        ("public address", 0.005),
        ("disks (8 GB)", 0.0952 * 8 / 730),
    )
    assert found.hourly == pytest.approx(0.029 + 0.0952 * 8 / 730)
    assert found.egress_gb == table.price("eu-central-1", "egress_gb")


def test_hosts_cost_as_many_machines_and_disks() -> None:
    found = prices.cost(site(hosts=3, instance_type="t3.medium", host_instance_type="t3.micro"), prices.load())
    assert found.items[:2] == (("gateway (t3.medium)", 0.048), ("3 hosts (t3.micro)", pytest.approx(0.036)))
    assert found.items[3][0] == "disks (32 GB)"


def test_a_region_that_the_table_does_not_name_has_the_default_price() -> None:
    assert prices.cost(site(region="ap-east-1"), prices.load()).items[0] == ("gateway (t3.small)", 0.0208)


def test_what_has_no_price_makes_no_sum() -> None:
    found = prices.cost(site(instance_type="u-24tb1.metal"), prices.load())
    assert found.items[0] == ("gateway (u-24tb1.metal)", None)
    assert found.hourly is None
    assert prices.cost(site(provider="vcloud"), prices.load()).hourly is None


def test_the_user_s_own_table_takes_the_place_of_the_installed_one(monkeypatch, tmp_path) -> None:
    own = tmp_path / "prices.yaml"
    own.write_text(
        "{dated: 2026-01-31, currency: EUR, providers: {openstack: {source: us, machine: m1, host: m1, disk_gb: 0,"
        " regions: {default: {m1: 0.5, public_address: 0.25, egress_gb: 0}}}}}"
    )
    monkeypatch.setenv(prices.PRICES, str(own))
    assert prices.cost(site("openstack", "RegionOne"), prices.load()).hourly == 0.75


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("dated: [", "not YAML"),
        ("dated: 2026-01-31", "currency: Field required"),
        ("{dated: 2026-01-31, currency: EUR, providers: {aws: {disk_gb: -1}}}", r"providers\.aws"),
    ],
)
def test_a_table_that_is_none_is_refused_by_name(monkeypatch, tmp_path, text: str, message: str) -> None:
    own = tmp_path / "mine.yaml"
    own.write_text(text)
    monkeypatch.setenv(prices.PRICES, str(own))
    with pytest.raises(InputError, match=rf"mine\.yaml.*{message}"):
        prices.load()


def test_a_table_that_is_not_there_is_refused_by_name(monkeypatch) -> None:
    monkeypatch.setenv(prices.PRICES, "/nowhere/prices.yaml")
    with pytest.raises(InputError, match=r"/nowhere/prices\.yaml: No such file"):
        prices.load()
