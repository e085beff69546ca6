"""A reconfiguration plan brings sites in and takes out those whose last instance goes: as tasks, and as a workflow."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from proactive_tasks.overlay.errors import InputError
from proactive_tasks.overlay.model import Origin, SiteState
from proactive_tasks.overlay.result import Result
from proactive_tasks.overlay.spec import load_spec
from proactive_tasks.pki.issuing import issue
from proactive_tasks.reconfigure_overlay import reconfigure_overlay
from proactive_tasks.retire_planned import retire_planned
from proactive_tasks.return_clouds import return_clouds
from proactive_tasks.scheduler.context import Context
from proactive_tasks.store import Store
from proactive_tasks.store.placements import PlacementBook
from tests.overlays import Overlay

ROOT = Path(__file__).parents[2]
WORKFLOW = str(ROOT / "workflows" / "Reconfigure_Overlay.xml")
SPEC = """
version: 1
overlay: presto
controllers: [203.0.113.7/32]
sites:
  - {name: home, provider: openstack, region: RegionOne}
"""
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJp6PvGyVQ0GZ5eF9NUTUjJ0Nd9dN8wh8KcXQxg0Qp1u"
CLOUDS = [
    {"CLOUD_NAME": "ireland", "CLOUD_TYPE": "aws", "AWS_DEFAULT_REGION": "eu-west-1", "AWS_SECRET_ACCESS_KEY": "hush"},
    {"CLOUD_NAME": "west", "CLOUD_TYPE": "Azure", "AZ_LOCATION": "westeurope", "SUBNET_ID": "as given"},
    {"CLOUD_NAME": "campus", "CLOUD_TYPE": "openstack", "OS_REGION_NAME": "RegionOne"},
]


def boot(fragment: str, cloud: str, region: str) -> dict[str, str]:
    return {"action": "boot", "fragment": fragment, "cloud": cloud, "region": region}


def delete(fragment: str, cloud: str, region: str) -> dict[str, str]:
    return {"action": "delete", "fragment": fragment, "cloudsrc": cloud, "regionsrc": region}


def migrate(fragment: str, source: tuple[str, str], target: tuple[str, str]) -> dict[str, str]:
    return {**delete(fragment, *source), **boot(fragment, *target), "action": "migrate"}


IRELAND, WEST, CAMPUS = ("amazon", "eu-west-1"), ("azure", "westeurope"), ("openstack", "RegionOne")


class Bench:
    """The tasks of the workflow, without the machines between them."""

    def __init__(self, store: Store) -> None:
        self.context = Context(store=store, actor="test", passphrase=lambda: "a passphrase for a test")
        spec = load_spec(SPEC)
        store.save_spec(spec, "test")
        store.bring_in("presto", spec.sites, Origin.FILE, "test")
        issue(store, "presto", self.context.vault, "test")
        self.connect()

    @property
    def store(self) -> Store:
        return self.context.store

    def connect(self, *but: str) -> None:
        for site in self.store.sites("presto"):
            if site.name not in but:
                self.store.update_site("presto", site.name, "test", state=SiteState.CONNECTED)

    def extend(self, *steps: dict[str, str], **more: Any) -> Result:
        given = {"plan": json.dumps(steps), "cloud_list": json.dumps(CLOUDS), **more}
        return reconfigure_overlay(self.context, overlay="presto", **given)

    def shrink(self, *steps: dict[str, str], **more: Any) -> Result:
        given = {"plan": json.dumps(steps), "cloud_list": json.dumps(CLOUDS), **more}
        return retire_planned(self.context, overlay="presto", **given)

    def carry_out(self, *steps: dict[str, str]) -> Result:
        """The whole workflow, and all goes well."""
        self.extend(*steps)
        self.connect()
        result = self.shrink(*steps)
        for name in self.leaving():
            self.store.drop_site("presto", name, "test")
        return result

    def sites(self) -> dict[str, Origin]:
        return {site.name: site.origin for site in self.store.sites("presto")}

    def leaving(self) -> list[str]:
        return [site.name for site in self.store.sites("presto") if site.state is SiteState.RELEASING]

    def content(self) -> Any:
        return (
            [(s.name, s.state, s.subnet, s.options) for s in self.store.sites("presto")],
            PlacementBook(self.store, "presto").placements(),
            len(self.store.events("presto", limit=1000)),
        )


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    with Store.open(f"sqlite:///{tmp_path}/store.db") as store:
        yield Bench(store)


def test_a_region_without_a_site_gets_one_of_origin_plan(bench: Bench) -> None:
    result = bench.extend(boot("a", *IRELAND), boot("b", *IRELAND), boot("c", *CAMPUS))
    assert bench.sites() == {"home": Origin.FILE, "aws-eu-west-1": Origin.PLAN}  # the campus has one already
    assert result.replicas == [{"overlay": "presto", "site": "aws-eu-west-1"}]
    assert result.facts["sites"] == {"aws eu-west-1": "aws-eu-west-1", "openstack regionone": "home"}
    assert result.facts["instances"] == {"aws eu-west-1": 2, "openstack regionone": 1}
    assert json.loads(result.variables["BROUGHT"]) == ["aws-eu-west-1"]


def test_the_same_plan_twice_changes_nothing(bench: Bench) -> None:
    plan = [boot("a", *IRELAND), boot("b", *WEST)]
    bench.carry_out(*plan)
    before = bench.content()
    result = bench.extend(*plan)
    assert not result.changed
    assert result.replicas == []
    assert not bench.shrink(*plan).changed
    assert bench.content() == before


def test_a_plan_whose_job_failed_is_completed_by_the_same_plan(bench: Bench) -> None:
    plan = [boot("a", *IRELAND)]
    bench.extend(*plan)  # and its gateway did not answer
    assert bench.extend(*plan).replicas == [{"overlay": "presto", "site": "aws-eu-west-1"}]
    assert bench.extend(*plan).facts["instances"] == {"aws eu-west-1": 1}


def test_a_site_goes_with_the_last_instance_of_its_region(bench: Bench) -> None:
    bench.carry_out(boot("a", *IRELAND), boot("b", *IRELAND))
    bench.carry_out(delete("a", *IRELAND))
    assert "aws-eu-west-1" in bench.sites()
    result = bench.carry_out(delete("b", *IRELAND))
    assert result.facts["leaving"] == ["aws-eu-west-1"]
    assert json.loads(result.variables["RELEASED"]) == ["aws eu-west-1"]
    assert bench.sites() == {"home": Origin.FILE}
    assert bench.carry_out(boot("a", *IRELAND)).facts["leaving"] == []  # it starts anew


def test_what_the_specification_brought_never_goes(bench: Bench) -> None:
    bench.carry_out(boot("a", *CAMPUS))
    assert bench.carry_out(delete("a", *CAMPUS)).facts["leaving"] == []
    assert bench.sites() == {"home": Origin.FILE}


def test_a_site_at_which_no_plan_booted_anything_stays(bench: Bench) -> None:
    bench.extend(boot("a", *IRELAND))
    bench.connect()
    result = bench.shrink(delete("z", *IRELAND))
    assert (result.facts["leaving"], result.warnings) == (
        [],
        ["plan, entry 1: z is not known to run at aws eu-west-1"],
    )


def test_a_migration_releases_its_source_only_when_its_destination_stands(bench: Bench) -> None:
    bench.carry_out(boot("a", *IRELAND))
    plan = migrate("a", IRELAND, WEST)
    bench.extend(plan)
    bench.connect("azure-westeurope")
    result = bench.shrink(plan)
    assert bench.leaving() == []
    assert result.warnings == ["no site leaves, since azure-westeurope does not stand yet; hand in the same plan again"]
    bench.extend(plan)
    bench.connect()
    assert bench.shrink(plan).facts["leaving"] == ["aws-eu-west-1"]
    assert bench.leaving() == ["aws-eu-west-1"]


def test_a_site_that_leaves_is_called_back_by_a_plan_that_needs_it(bench: Bench) -> None:
    bench.carry_out(boot("a", *IRELAND))
    bench.shrink(delete("a", *IRELAND))
    assert bench.leaving() == ["aws-eu-west-1"]
    bench.extend(boot("b", *IRELAND))
    assert bench.leaving() == []


def test_the_halves_of_a_plan_can_be_asked_for_one_by_one(bench: Bench) -> None:
    bench.carry_out(boot("a", *IRELAND))
    plan = migrate("a", IRELAND, WEST)
    bench.extend(plan, phase="extend")
    bench.connect()
    assert bench.shrink(plan, phase="extend").facts == {}
    assert bench.leaving() == []
    assert not bench.extend(plan, phase="shrink").changed
    assert bench.shrink(plan, phase="shrink").facts["instances"] == {"azure westeurope": 1}
    assert bench.leaving() == ["aws-eu-west-1"]


def test_each_cloud_of_the_list_can_have_a_site_before_there_is_a_plan(bench: Bench) -> None:
    bench.extend(every_cloud=True)
    assert list(bench.sites()) == ["home", "aws-eu-west-1", "azure-westeurope"]
    bench.connect()
    bench.carry_out(boot("a", *IRELAND))
    assert bench.shrink(delete("a", *IRELAND), every_cloud=True).facts["leaving"] == []


def test_a_dry_run_tells_and_changes_nothing(bench: Bench) -> None:
    bench.carry_out(boot("a", *IRELAND))
    before = bench.content()
    result = bench.extend(migrate("a", IRELAND, WEST), dry_run=True)
    assert result.difference == [
        "create site azure-westeurope (azure westeurope)",
        "delete site aws-eu-west-1 (aws eu-west-1)",
    ]
    bench.shrink(migrate("a", IRELAND, WEST), dry_run=True)
    assert bench.content() == before


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"plan": '[{"action": "boot"}]'}, "plan, entry 1, fragment: is missing"),
        ({"plan": json.dumps([boot("a", *IRELAND), {"action": "fly"}])}, "plan, entry 2"),
        ({"cloud_list": "[]"}, "plan, entry 1, cloud: aws eu-west-1 is not in CLOUD_LIST"),
        ({"site_options": {"ireland": {}}}, "SITE_OPTIONS, 'ireland': not a place"),
        ({"site_options": {"aws eu-west-1": {"zone": 1}}}, "SITE_OPTIONS, 'aws eu-west-1': zone: known are hosts"),
        ({"site_options": {"aws eu-west-1": {"options": {"zone": 1}}}}, "options.zone: unknown option"),
        ({"site_options": {"aws eu-west-1": {"options": 5}}}, "SITE_OPTIONS, 'aws eu-west-1': site, options: 5"),
        ({"plan": "global:plan.json"}, "asks the scheduler that runs it"),
    ],
)
def test_what_is_malformed_is_refused_in_one_line_and_changes_nothing(
    bench: Bench, more: dict[str, Any], words: str
) -> None:
    before = bench.content()
    with pytest.raises(InputError) as told:
        bench.extend(boot("a", *IRELAND), **more)
    assert words in str(told.value)
    assert "\n" not in str(told.value)
    assert bench.content() == before


def test_a_region_whose_gateways_nobody_could_reach_is_refused(bench: Bench) -> None:
    spec = load_spec(SPEC.replace("controllers: [203.0.113.7/32]\n", ""))
    bench.store.save_spec(spec, "test")
    with pytest.raises(InputError, match="site aws-eu-west-1: a gateway of aws is managed by SSH"):
        bench.extend(boot("a", *IRELAND))
    assert list(bench.sites()) == ["home"]


class Files:
    """The data spaces of a scheduler."""

    def __init__(self, **files: Any) -> None:
        self.files = files

    def download_file(self, space: str, path: str) -> bytes:
        return json.dumps(self.files[f"{space}_{path}"]).encode()


def test_plan_and_list_may_be_files_of_a_data_space(bench: Bench) -> None:
    files = Files(global_plan=[boot("a", *IRELAND)], user_clouds=CLOUDS)
    bench.context.scheduler = lambda: files  # type: ignore[assignment,return-value]
    bench.extend(plan="global:plan", cloud_list="user:clouds")
    assert "aws-eu-west-1" in bench.sites()


def returned(bench: Bench, *steps: dict[str, str], released: list[str] | None = None) -> Result:
    return return_clouds(
        bench.context,
        overlay="presto",
        plan=json.dumps(steps),
        cloud_list=json.dumps(CLOUDS),
        released=released,
    )


def made(bench: Bench, site: str, *resources: tuple[str, str, str]) -> None:
    journal = bench.store.journal("presto", site, "test")
    for kind, part, identifier in resources:
        name = "--".join(filter(None, ("presto", site, part)))
        journal.intend(kind, name)
        journal.made(kind, name, identifier)


def test_the_list_of_clouds_comes_back_with_the_subnet_of_each(bench: Bench) -> None:
    plan = [boot("a", *IRELAND), boot("b", *CAMPUS), boot("a", *CAMPUS)]
    bench.carry_out(*plan)
    made(bench, "aws-eu-west-1", ("subnet", "applications", "subnet-1"), ("subnet", "gateway", "subnet-2"))
    result = returned(bench, *plan)
    told = json.loads(result.variables["CLOUD_LIST"])
    assert [entry["SUBNET_ID"] for entry in told] == ["subnet-1", "as given", ""]
    assert [{**entry, "SUBNET_ID": 0} for entry in told] == [{**entry, "SUBNET_ID": 0} for entry in CLOUDS]
    networks = {site.name: str(site.subnet) for site in bench.store.sites("presto")}
    assert result.variables["network_a"] == f"{networks['aws-eu-west-1']},{networks['home']}"
    assert result.variables["network_b"] == networks["home"]
    assert result.variables["EDGE_GW_IPV4"] == ""


def test_what_a_job_keeps_of_the_list_holds_no_secret(bench: Bench) -> None:
    result = returned(bench)
    assert "hush" in result.variables["CLOUD_LIST"]  # as it came: whoever boots machines needs it
    assert "hush" not in result.to_json()
    assert "hush" not in json.dumps(result.result_map)
    assert set(result.result_map) == {"CLOUD_LIST", "EDGE_GW_IPV4"}


def test_the_subnet_of_a_site_that_left_is_not_handed_on(bench: Bench) -> None:
    told = json.loads(returned(bench, released=["azure westeurope"]).variables["CLOUD_LIST"])
    assert told[1]["SUBNET_ID"] == ""


def test_a_site_that_does_not_stand_has_no_subnet_to_offer(bench: Bench) -> None:
    bench.extend(boot("a", *IRELAND))
    made(bench, "aws-eu-west-1", ("subnet", "applications", "subnet-1"))
    result = returned(bench, boot("a", *IRELAND))
    assert json.loads(result.variables["CLOUD_LIST"])[0]["SUBNET_ID"] == ""
    assert result.variables["network_a"] == ""


def test_an_edge_device_with_an_address_gets_a_site_and_its_gateway_is_told(bench: Bench) -> None:
    plan = [boot("a", "edge", "Camera-7"), boot("b", "edge", "camera-8")]
    options = {"edge Camera-7": {"options": {"address": "198.51.100.20", "host_key": KEY}}}
    result = bench.extend(*plan, site_options=options)
    assert bench.sites()["edge-camera-7"] is Origin.PLAN
    assert result.warnings[0].startswith("edge device camera-8 has no site, and its address is not known")
    bench.connect()
    told = returned(bench, *plan).variables
    gateway = str(bench.store.site("presto", "edge-camera-7").gateway)
    assert (told["EDGE_GW_IPV4"], told["network_a"], told["network_b"]) == (gateway, gateway, "")


def ran(overlay: Overlay, plan: list[dict[str, str]], *more: str, code: int = 0) -> Any:
    given = [{"CLOUD_NAME": f"{r} lab", "CLOUD_TYPE": "lab", "LAB_REGION": r} for r in ("paris", "rome", "oslo")]
    hosts = {f"lab {entry['LAB_REGION']}": {"hosts": 1} for entry in given}
    values = {"PLAN": plan, "CLOUD_LIST": given, "SITE_OPTIONS": hosts}
    words = [word for key, value in values.items() for word in ("-v", f"{key}={json.dumps(value)}")]
    return overlay.ctl("run", WORKFLOW, "-v", f"OVERLAY={overlay.name}", *words, *more, code=code)


def test_a_plan_is_carried_out_on_living_gateways(make_overlay: Callable[..., Overlay]) -> None:
    overlay = make_overlay(["a"])
    overlay.deploy()
    here, there = ("lab", "paris"), ("lab", "rome")

    def told(answer: Any) -> Any:
        return answer["result_map"], [site["name"] for site in overlay.ctl("status")["sites"]]

    answer, sites = told(ran(overlay, [boot("x", *here), boot("y", *here)]))
    assert sites == ["a", "lab-paris"]
    subnets = [entry["SUBNET_ID"] for entry in json.loads(answer["CLOUD_LIST"])]
    assert re.fullmatch(r"10\.250\.\d+\.0/24", subnets[0])
    assert subnets[1:] == ["", ""]
    assert (answer["network_x"], answer["EDGE_GW_IPV4"]) == (subnets[0], "")
    answer, sites = told(ran(overlay, [migrate("x", here, there), delete("y", *here)]))
    assert sites == ["a", "lab-rome"]
    assert answer["links.csv"].count("a--lab-rome") == 2
    refused = ran(overlay, [{"action": "boot", "fragment": "z"}], code=1)
    assert "plan, entry 1, cloud: is missing, but 'boot' needs it; add it" in json.dumps(refused["tasks"]["Read_Plan"])
