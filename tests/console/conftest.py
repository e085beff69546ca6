"""The command line in this process, on a store of its own."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from proactive_tasks.cli import main
from proactive_tasks.console import operations
from proactive_tasks.engine import run as engine
from proactive_tasks.overlay.model import Origin, SiteState
from proactive_tasks.overlay.spec import load_spec
from proactive_tasks.scheduler import EMBEDDED
from proactive_tasks.store import Store
from tests.commands import Said, call

PASSPHRASE = "correct horse battery staple"

SPEC = """
version: 1
overlay: clitest
sites:
  - {name: paris, provider: lab, prefixes: [172.16.0.0/24]}
  - {name: rome, provider: lab}
"""


Cli = Callable[..., Said]


def _outside_the_package(run: Callable[..., Any]) -> Callable[..., Any]:
    """Workflows of the package make machines: no test of the command line may get as far as starting one."""

    def guarded(source: Path, *arguments: Any, **options: Any) -> Any:
        assert source.parent.name != "workflows", f"{source.name} was started"
        return run(source, *arguments, **options)

    return guarded


@pytest.fixture
def store_file(tmp_path: Path) -> Path:
    return tmp_path / "store.db"


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], store_file: Path) -> Cli:
    monkeypatch.setenv("OVERLAY_STORE", f"sqlite:///{store_file}")
    monkeypatch.setenv("OVERLAY_PASSPHRASE", PASSPHRASE)
    monkeypatch.delenv("OVERLAY_PASSPHRASE_FILE", raising=False)
    monkeypatch.setenv(EMBEDDED, "true")
    monkeypatch.setattr(engine, "run", _outside_the_package(engine.run))
    operations.passphrase.cache_clear()

    def run(*arguments: object) -> Said:
        said = call(capsys, "overlayctl", main, *arguments)
        operations.passphrase.cache_clear()
        return said

    return run


@pytest.fixture(scope="session")
def made_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store that knows an overlay whose gateways were never made."""
    file = tmp_path_factory.mktemp("console") / "store.db"
    spec = load_spec(SPEC)
    with Store.open(f"sqlite:///{file}") as store:
        store.save_spec(spec, "test")
        store.bring_in(spec.overlay, spec.sites, Origin.FILE, "test")
        store.vault(spec.overlay, PASSPHRASE)
        store.update_site(spec.overlay, "rome", "test", state=SiteState.ERROR, error="it never came up")
    return file


@pytest.fixture
def overlay(cli: Cli, store_file: Path, made_once: Path) -> str:
    """The overlay that the store knows."""
    shutil.copy(made_once, store_file)
    return "clitest"


@pytest.fixture
def content(store_file: Path) -> Callable[[], list[str]]:
    """All rows of the store; none where it was not even made."""

    def dump() -> list[str]:
        if not store_file.exists():
            return []
        with closing(sqlite3.connect(store_file)) as connection:
            return list(connection.iterdump())

    return dump
