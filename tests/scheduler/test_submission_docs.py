"""docs/submission.md says what the scripts take: every option, and no other."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import typer
from typer.main import get_command

from proactive_tasks.console import credentials, submit
from proactive_tasks.console.connection import DEFAULT_URL, DEFAULT_USER
from proactive_tasks.overlay.errors import SchedulerError
from proactive_tasks.scheduler.client import Scheduler, rest
from proactive_tasks.scheduler.client.submission import MAX_VARIABLE, MAX_WORKFLOW

PAGE = (Path(__file__).parents[2] / "docs" / "submission.md").read_text()
OF_OTHERS = {"--fail-with-body", "--data-urlencode", "--rawfile"}


def options(app: typer.Typer) -> set[str]:
    command = get_command(app)
    found = [*command.params, *(p for sub in getattr(command, "commands", {}).values() for p in sub.params)]
    return {name for param in found for name in param.opts if name.startswith("--")} - {"--help"}


def test_every_option_is_told_and_no_other() -> None:
    told = set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", PAGE)) - OF_OTHERS
    known = options(submit.app) | options(credentials.app)
    assert told - known == set()
    assert known - told == {"--variable", "--generic"}  # told by their short names


def test_every_command_of_credentials_is_told() -> None:
    for name in getattr(get_command(credentials.app), "commands"):  # noqa: B009 - a group's, as mypy does not know
        assert f"`scripts/credentials {name}" in PAGE


@pytest.mark.parametrize("key", [key for key in credentials.package_keys() if key.startswith("OVERLAY")])
def test_the_packages_own_keys_are_told(key: str) -> None:
    assert f"`{key}`" in PAGE


def test_defaults_and_limits_are_those_of_the_code() -> None:
    assert f"`{DEFAULT_URL}`" in PAGE
    assert f"`{DEFAULT_USER}`" in PAGE
    assert f"{submit.BUCKET}`" in PAGE
    assert f"({submit.DEADLINE_S:.0f} s)" in PAGE
    assert f"{MAX_VARIABLE:,} bytes".replace(",", " ") in PAGE
    assert f"{MAX_WORKFLOW // 10**6} MB" in PAGE
    assert f"{rest.FIRST_PATIENCE_S:.0f} s at first, {rest.PATIENCE_S:.0f} s once" in PAGE


def test_the_errors_that_are_named_are_there() -> None:
    from proactive_tasks.overlay import errors

    named = set(re.findall(r"`(\w+Error)`", PAGE))
    assert {SchedulerError.__name__} < named
    for name in named:
        assert issubclass(getattr(errors, name), errors.OverlayError)


def test_the_python_example_calls_what_there_is() -> None:
    for name in re.findall(r"scheduler\.(\w+)\(", PAGE.partition("## In Python")[2]):
        assert callable(getattr(Scheduler, name))
