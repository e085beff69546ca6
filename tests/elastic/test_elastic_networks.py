"""Where a further machine of a site is to be started the journal tells, or the network that the site adopted."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from proactive_tasks.cli import app
from proactive_tasks.clouds.provider import NetworkFacts
from proactive_tasks.overlay.model import Origin
from proactive_tasks.overlay.spec import load_spec
from proactive_tasks.scheduler.context import Context
from proactive_tasks.store import Store

VNET = "/subscriptions/s/resourceGroups/presto--w/providers/Microsoft.Network/virtualNetworks/presto--w"
MADE = {
    "aws": [("VPC", "", "vpc-1"), ("subnet", "applications", "subnet-1"), ("subnet", "gateway", "subnet-2")],
    "azure": [("virtual network", "", VNET)],
    "openstack": [("network", "network", "net-1"), ("subnet", "network", "sub-1"), ("network", "auxiliary", "net-2")],
    "lab": [],
}
FOUND = {
    "aws": NetworkFacts("vpc-1", "subnet-1"),
    "azure": NetworkFacts(VNET, f"{VNET}/subnets/applications"),
    "openstack": NetworkFacts("net-1", "sub-1"),
    "lab": NetworkFacts("10.250.0.0/24", "10.250.0.0/24"),
}


def brought(store: Store, provider: str, options: dict[str, Any]) -> Context:
    site = {"name": "w", "provider": provider, "region": "r" if provider != "lab" else "", "options": options}
    spec = load_spec(json.dumps({"version": 1, "overlay": "presto", "sites": [site]}))
    store.save_spec(spec, "test")
    store.bring_in("presto", spec.sites, Origin.FILE, "test")
    return Context(store=store)


@pytest.fixture
def store(tmp_path: Path) -> Any:
    with Store.open(f"sqlite:///{tmp_path}/store.db") as opened:
        yield opened


@pytest.mark.parametrize("provider", MADE)
def test_what_the_overlay_made_is_found_in_the_journal(store: Store, provider: str) -> None:
    context = brought(store, provider, {})
    assert provider == "lab" or context.network("presto", "w") == NetworkFacts("", "")  # nothing is made yet
    journal = store.journal("presto", "w", "test")
    for kind, part, identifier in MADE[provider]:
        name = "--".join(filter(None, ("presto", "w", part)))
        journal.intend(kind, name)
        journal.made(kind, name, identifier)
    assert context.network("presto", "w") == FOUND[provider]


@pytest.mark.parametrize(
    ("provider", "options", "found"),
    [
        ("aws", {"vpc": "vpc-9", "subnet": "subnet-9"}, NetworkFacts("vpc-9", "subnet-9")),
        ("openstack", {"network": "campus", "subnet": "lan"}, NetworkFacts("campus", "lan")),
    ],
)
def test_of_an_adopted_network_it_is_what_the_site_names(
    store: Store, provider: str, options: dict[str, str], found: NetworkFacts
) -> None:
    assert brought(store, provider, options).network("presto", "w") == found


def test_of_an_adopted_azure_network_it_is_the_subnet_s_whole_id(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AZURE_SUBSCRIPTION_ID", "00000000-0000-0000-0000-000000000001")
    found = brought(store, "azure", {"resource_group": "g", "vnet": "shared/lan", "subnet": "apps"}).network(
        "presto", "w"
    )
    assert found.subnet == f"{found.network}/subnets/apps"
    assert found.network.endswith("/resourceGroups/shared/providers/Microsoft.Network/virtualNetworks/lan")


def test_the_command_line_lists_them(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OVERLAY_STORE", store.url)
    brought(store, "lab", {})
    answer = CliRunner().invoke(app, ["networks", "--output", "json"])
    [row] = json.loads(answer.stdout)
    expected = {
        "site": "w",
        "provider": "lab",
        "region": "",
        "NETWORK_ID": "10.250.0.0/24",
        "SUBNET_ID": "10.250.0.0/24",
    }
    assert row == expected
    assert "10.250.0.0/24" in CliRunner().invoke(app, ["networks"]).stdout
