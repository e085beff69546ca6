"""The report is one page that stands alone: tables and plots, light or dark, and nothing in it is taken for markup."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from datetime import timedelta
from html.parser import HTMLParser
from pathlib import Path

import pytest
from lxml import etree

from proactive_tasks.console.server import LATER
from proactive_tasks.overlay.model import LinkState, Origin
from proactive_tasks.overlay.spec import load_spec
from proactive_tasks.report_overlay import report_overlay
from proactive_tasks.reports.overview import Overview
from proactive_tasks.reports.page import page
from proactive_tasks.reports.plots import MOST_BARS, MOST_SITES, MOST_VALUES, plots
from proactive_tasks.scheduler.context import Context
from proactive_tasks.store import Store
from tests.reports.sample import overview

SVG = "{http://www.w3.org/2000/svg}"
NASTY = "<script>alert('x')</script> & \"more\""


class Elements(HTMLParser):
    """The elements of a page, their attributes, and its text."""

    def __init__(self, document: bytes) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.text = ""
        self.feed(document.decode())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]

    def handle_data(self, data: str) -> None:
        self.text += data


def test_a_page_has_a_plot_for_each_metric_and_says_in_words_what_it_shows() -> None:
    drawn = plots(overview(5))
    assert [plot.title for plot in drawn] == [
        "Round-trip time inside the tunnels, ms",
        "Loss inside the tunnels, %",
        "Path MTU inside the tunnels, bytes",
        "Round-trip time inside and outside the tunnels, ms",
        "State of the links",
    ]
    for plot in drawn:
        root = etree.fromstring(plot.svg)
        assert root.get("role") == "img"
        assert plot.words in root.get("aria-label", "")
        assert root.findtext(f"{SVG}title") == root.get("aria-label")


def test_a_page_stands_alone_and_follows_the_reader_s_colours() -> None:
    document = page(overview(4))
    found = Elements(document)
    assert "script" not in found.tags
    assert [value for name, value in found.attributes if name in {"src", "data"}] == []
    links = [value for name, value in found.attributes if name.endswith("href")]
    assert [link for link in links if not link.startswith("#")] == []
    assert b"prefers-color-scheme: dark" in document
    assert b"currentColor" in document
    assert b"#010203" not in document
    assert b"@import" not in document
    assert b"url(http" not in document


def test_identifiers_of_several_plots_do_not_clash() -> None:
    found = Elements(page(overview(6)))
    names = [value for name, value in found.attributes if name == "id"]
    assert len(set(names)) == len(names)
    used = {value[1:] for name, value in found.attributes if name == "xlink:href"}
    assert used <= set(names)


def test_whatever_comes_from_outside_is_escaped() -> None:
    view = overview(3, error=NASTY)
    view = dataclasses.replace(view, sites=[dataclasses.replace(view.sites[0], region=NASTY), *view.sites[1:]])
    found = Elements(page(view))
    assert "script" not in found.tags
    assert found.text.count(NASTY) == 2  # the region, and the fault


@pytest.mark.parametrize("count", [2, MOST_VALUES, MOST_VALUES + 1, MOST_SITES])
def test_a_matrix_has_a_cell_for_each_direction(count: int) -> None:
    matrix = etree.fromstring(plots(overview(count))[0].svg)
    [cells] = [group for group in matrix.iter(f"{SVG}g") if group.get("id", "").startswith("rtt-PolyCollection")]
    assert len(cells.findall(f".//{SVG}path")) == count * (count - 1) + 3  # and the legend's
    words = [text.text for text in matrix.iter(f"{SVG}text")]
    assert sum(word is not None and word.endswith(" ms") for word in words) == 3  # what the colours mean
    figures = [word for word in words if word and word.replace(".", "").isdecimal()]
    assert len(figures) == (count * (count - 1) if count <= MOST_VALUES else 0)


def test_of_many_sites_the_distributions_are_drawn() -> None:
    drawn = plots(overview(MOST_SITES + 1))
    assert [plot.title for plot in drawn] == [
        "Round-trip time, distribution, ms",
        "Loss, distribution, %",
        "Path MTU, distribution, bytes",
        "Round-trip time inside and outside the tunnels, ms",
        "State of the links",
    ]
    assert f"the {MOST_BARS} of 465 links" in drawn[3].words
    assert sum(len(plot.svg) for plot in drawn) < 200_000


def test_a_plot_without_figures_is_left_out() -> None:
    assert plots(overview(1)) == []
    assert [plot.title for plot in plots(overview(3, measured=False))] == ["State of the links"]


def test_a_link_in_error_is_told_by_more_than_its_colour() -> None:
    [*_, states] = plots(overview(3, error="cut"))
    assert states.words == "2 connected; 1 error"
    words = [text.text for text in etree.fromstring(states.svg).iter(f"{SVG}text")]
    assert words.count("!") == 2  # a direction each
    assert words.count("c") == 4


def test_the_same_figures_make_the_same_page() -> None:
    assert page(overview(4)) == page(overview(4))


def test_only_drawing_loads_what_draws(tmp_path: Path) -> None:
    code = (
        "import sys, proactive_tasks.report_overlay, proactive_tasks.cli\n"
        "assert not {'matplotlib', 'numpy'} & set(sys.modules)\n"
        "import importlib, time\n"
        f"for name in {LATER!r}: importlib.import_module(name)\n"
        "before = set(sys.modules)\n"
        "from tests.reports.sample import overview\n"
        "from proactive_tasks.reports.plots import plots\n"
        "plots(overview(3))\n"
        "late = {name for name in set(sys.modules) - before if name.startswith(('matplotlib', 'numpy'))}\n"
        "print(sorted(late))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, cwd=Path.cwd())
    assert done.returncode == 0, done.stderr
    assert done.stdout.count(",") < 5, done.stdout  # LATER names nearly all of it


def stored(store: Store) -> Overview:
    """An overlay in a store, as well as can be."""
    view = overview(2)
    spec = load_spec(
        "{version: 1, overlay: presto, sites: [{name: paris, provider: lab}, {name: rome, provider: lab}]}"
    )
    store.save_spec(spec, "test")
    store.bring_in("presto", spec.sites, Origin.FILE, "test")
    for site in spec.sites:
        store.update_site("presto", site.name, "test", state=view.sites[0].state, request="x")
    for link in store.plan_links("presto", "test"):
        since = view.at - timedelta(hours=1)
        store.update_link("presto", link.a, link.b, "test", state=LinkState.CONNECTED, since=since)
    return view


def test_a_job_s_result_map_gets_links_and_overlay(tmp_path: Path) -> None:
    with Store.open(f"sqlite:///{tmp_path}/store.db") as store:
        stored(store)
        result = report_overlay(Context(store=store), overlay="presto")
    assert {"links.csv", "overlay.json", "NETWORK_ID_paris", "SUBNET_ID_rome"} <= set(result.result_map)
    assert json.loads(result.result_map["overlay.json"])["links"][0]["name"] == "paris--rome"
    assert result.result_map["links.csv"].count("\r\n") == 3
    assert result.preview is not None
    assert result.preview[0] == "text/html"
    assert "links.csv" not in result.to_json()
