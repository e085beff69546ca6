"""One endpoint for all tests that do not end it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.endpoints import Served, serving


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(tmp_path_factory.mktemp("endpoint")) as running:
        yield running
