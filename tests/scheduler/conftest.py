"""A server of each test's own, and clients of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from proactive_tasks.scheduler.client import Scheduler
from tests.scheduler.servers import PASSWORD, USER, FakeServer, listening

PATIENCE_S = 30.0

Connect = Callable[..., Scheduler]


@pytest.fixture
def server() -> Iterator[FakeServer]:
    with listening(FakeServer()) as fake:
        yield fake


@pytest.fixture
def connect() -> Iterator[Connect]:
    """Makes clients, and ends them with the test."""
    with ExitStack() as stack:

        def make(server: FakeServer | str, **options: Any) -> Scheduler:
            url = server if isinstance(server, str) else server.url
            known = {"user": USER, "password": lambda: PASSWORD, "patience_s": PATIENCE_S} | options
            return stack.enter_context(Scheduler(url, **known))

        yield make


@pytest.fixture
def scheduler(server: FakeServer, connect: Connect) -> Scheduler:
    return connect(server)
