"""How a command ends: errors that the package raises on purpose are told in one line; the exit code says whose."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any, NoReturn

import typer

from proactive_tasks.overlay.errors import InputError, OverlayError

DONE, FAILED, BAD_INPUT, INTERRUPTED = 0, 1, 2, 130
SETTINGS = {"help_option_names": ["-h", "--help"]}


def application(**settings: Any) -> typer.Typer:
    """A script's command line, with what is the same in all of them."""
    return typer.Typer(
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        add_completion=False,
        context_settings=SETTINGS,
        **settings,
    )


def main(app: typer.Typer, name: str, arguments: Sequence[str] | None = None) -> NoReturn:
    """Run a command line: exit 0 done, 1 failed, 2 bad input."""
    try:
        for word in sys.argv[1:] if arguments is None else arguments:
            _check_word(word)
        app(arguments, prog_name=name)
    except OverlayError as error:
        tell(name, str(error))
        sys.exit(BAD_INPUT if isinstance(error, InputError) else FAILED)
    sys.exit(DONE)


def tell(name: str, message: str) -> None:
    """One line on standard error."""
    typer.echo(f"{name}: {' '.join(message.split())}", err=True)


def _check_word(word: str) -> None:
    try:
        word.encode()
    except UnicodeEncodeError as error:
        raise InputError(f"argument {ascii(word)[:60]}: is not UTF-8 text; write it in UTF-8") from error
