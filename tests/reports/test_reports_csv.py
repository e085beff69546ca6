"""The links as CSV: units in the header, a row a direction, and no cell that a spreadsheet would calculate."""

from __future__ import annotations

import csv
import dataclasses
from io import StringIO

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proactive_tasks.reports.csvtext import COLUMNS, harmless, links_csv
from tests.reports.sample import overview


def rows(text: str) -> list[list[str]]:
    return list(csv.reader(StringIO(text)))


def test_there_is_a_row_for_each_link_and_direction() -> None:
    view = overview(4)
    head, *body = rows(links_csv(view))
    assert tuple(head) == COLUMNS
    assert [(row[1], row[2]) for row in body] == [(each.source, each.target) for each in view.directions]
    assert {len(row) for row in body} == {len(COLUMNS)}
    first = view.directions[0]
    assert [float(cell) for cell in body[0][6:12]] == pytest.approx(
        [first.rtt, first.rtt_outside, first.loss, first.loss_outside, first.path_mtu, first.path_mtu_outside], rel=1e-5
    )


def test_figures_name_their_unit() -> None:
    assert all("(" in column for column in COLUMNS[5:12])


def test_what_was_not_measured_is_empty() -> None:
    assert rows(links_csv(overview(2, measured=False)))[1][6:12] == [""] * 6


@pytest.mark.parametrize("cell", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1"])
def test_a_cell_that_would_be_calculated_is_made_text(cell: str) -> None:
    view = overview(2, error=cell)
    assert rows(links_csv(view))[1][-1] == f"'{cell}"


@given(st.text())
def test_no_cell_begins_like_a_formula_and_all_else_stays_as_it_is(cell: str) -> None:
    made = harmless(cell)
    assert not made.startswith(("=", "+", "-", "@", "\t", "\r"))
    assert made.removeprefix("'") == cell.removeprefix("'")


@given(st.text(alphabet=st.characters(exclude_categories=["Cs", "Cc"])))
def test_commas_quotes_and_lines_stay_in_their_cell(error: str) -> None:
    view = overview(2, error="x")
    view = dataclasses.replace(view, links=[dataclasses.replace(view.links[0], error=f'a,"b"\n{error}')])
    assert rows(links_csv(view))[1][-1] == f'a,"b"\n{error}'
