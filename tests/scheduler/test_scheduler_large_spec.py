"""A specification that is too large for a variable comes out of a data space."""

from __future__ import annotations

from pathlib import Path

import pytest

from proactive_tasks.allocate_subnet import allocate_subnet
from proactive_tasks.overlay.errors import InputError, SchedulerInputError, SpecificationError
from proactive_tasks.scheduler.client import Scheduler
from proactive_tasks.scheduler.client.dataspace import named
from proactive_tasks.scheduler.context import Context
from proactive_tasks.store import Store
from tests.scheduler.servers import Answer, FakeServer

SPEC = "version: 1\noverlay: large\nsites: [{name: paris, provider: lab}, {name: rome, provider: lab}]\n"


@pytest.mark.parametrize("place", ["user:specs/overlay.yaml", " global:specs/overlay.yaml\n"])
def test_a_specification_is_fetched_from_a_data_space(
    place: str, server: FakeServer, scheduler: Scheduler, tmp_path: Path
) -> None:
    server.on("GET", f"/rest/data/{place.strip().replace(':', '/')}", Answer(200, SPEC, "application/octet-stream"))
    with Store.open(f"sqlite:///{tmp_path / 'store.db'}") as store:
        context = Context(store=store, scheduler=lambda: scheduler)
        found = allocate_subnet(context, spec=place, dry_run=True)
    assert [line for line in found.difference if "site" in line] != []
    assert any("rome" in line for line in found.difference)


def test_a_file_that_is_not_there_or_no_text_is_told(server: FakeServer, scheduler: Scheduler, tmp_path: Path) -> None:
    server.on("GET", "/rest/data/user/none.yaml", Answer(404))
    server.on("GET", "/rest/data/user/bytes.yaml", Answer(200, b"\xff\xfe", "application/octet-stream"))
    with Store.open(f"sqlite:///{tmp_path / 'store.db'}") as store:
        context = Context(store=store, scheduler=lambda: scheduler)
        with pytest.raises(SchedulerInputError, match=r"user space: none\.yaml is not there"):
            allocate_subnet(context, spec="user:none.yaml", dry_run=True)
        with pytest.raises(SpecificationError, match=r"user:bytes\.yaml: not UTF-8"):
            allocate_subnet(context, spec="user:bytes.yaml", dry_run=True)
        with pytest.raises(InputError, match="the scheduler that runs it, and none does"):
            allocate_subnet(Context(store=store), spec="user:none.yaml", dry_run=True)


@pytest.mark.parametrize("text", [SPEC, "user: x", "users:x", "user:", "user:a\nb: c", "file:x"])
def test_a_specification_is_not_taken_for_a_place(text: str) -> None:
    assert named(text) is None
