"""The forms of an answer, and the options that commands share."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from proactive_tasks.overlay.errors import InputError, OverlayError


class Output(StrEnum):
    """The forms of an answer."""

    TABLE = "table"
    JSON = "json"


OutputOption = Annotated[Output, typer.Option("--output", "-o", help="Form of the answer on standard output.")]
YesOption = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask before changes.")]


def answer(output: Output, values: Any, table: Callable[[], str]) -> None:
    """Print an answer in the form that was asked for; `table` makes the text only if it is wanted."""
    text = json.dumps(values, indent=2, default=str) if output is Output.JSON else table().rstrip("\n")
    try:
        typer.echo(text)
    except BrokenPipeError:
        raise  # nobody reads on: typer ends the command
    except OSError as error:
        with Path(os.devnull).open("wb") as nothing:
            os.dup2(nothing.fileno(), sys.stdout.fileno())  # what is left of it is not tried again at the end
        raise OverlayError(f"standard output: {error.strerror}; the answer was not written, ask again") from error


def confirm(question: str, *, yes: bool) -> None:
    """Ask before a change; without a terminal, `--yes` must have been given."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise InputError("this changes the overlay, and there is no terminal to ask on: add --yes")
    if not typer.confirm(question, err=True):
        raise typer.Exit(1)
