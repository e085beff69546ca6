"""`scripts/credentials`: third-party credentials at a scheduler, which tasks find by their keys.

Values come from a terminal without echo, from standard input, a file or the environment: never from an argument, which
every user of the machine could read.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from proactive_tasks.clouds.credentials import KEYS as CLOUD_KEYS
from proactive_tasks.console.connection import (
    DEFAULT_URL,
    DEFAULT_USER,
    CaFileOption,
    CredentialsFileOption,
    InsecureOption,
    UrlOption,
    UserOption,
    connect,
)
from proactive_tasks.console.output import Output, OutputOption, answer
from proactive_tasks.console.script import application, main
from proactive_tasks.overlay.errors import InputError

if TYPE_CHECKING:
    from proactive_tasks.scheduler.client import Scheduler

NAME = "credentials"
MAX_VALUE = 65_536
"""Bytes of a value: a private key has a few thousand."""

app = application(
    help="Keep third-party credentials at a scheduler: what the package's tasks find by key.",
    no_args_is_help=True,
    epilog="Example: scripts/credentials set OVERLAY_PASSPHRASE && scripts/credentials list",
)


@dataclass(frozen=True)
class Connection:
    """The options before the command, which all commands share."""

    url: str
    user: str
    credentials_file: Path | None
    ca_file: str
    insecure: bool

    @contextmanager
    def open(self) -> Iterator[Scheduler]:
        """The scheduler that they name."""
        with connect(self.url, self.user, self.credentials_file, self.ca_file, self.insecure) as scheduler:
            yield scheduler


@app.callback()
def options(
    context: typer.Context,
    url: UrlOption = DEFAULT_URL,
    user: UserOption = DEFAULT_USER,
    credentials_file: CredentialsFileOption = None,
    ca_file: CaFileOption = "",
    insecure: InsecureOption = False,
) -> None:
    """Take the options that all commands share."""
    context.obj = Connection(url, user, credentials_file, ca_file, insecure)


@app.command("set", epilog="Example: scripts/credentials set OVERLAY_PASSPHRASE --from-file passphrase.txt")
def set_one(
    context: typer.Context,
    key: Annotated[str, typer.Argument(help="Its key, e.g. OVERLAY_PASSPHRASE.")],
    from_file: Annotated[Path | None, typer.Option(metavar="FILE", help="The file that holds the value.")] = None,
    from_env: Annotated[str, typer.Option(metavar="NAME", help="The environment variable that holds it.")] = "",
) -> None:
    """Set a credential: its value is asked without echo, or read from standard input where that is no terminal."""
    if from_file and from_env:
        raise InputError("--from-file and --from-env: the value has one source; choose one")
    value = checked(key, _value(key, from_file, from_env))
    with context.obj.open() as scheduler:
        scheduler.put_credential(key, value)
    typer.echo(f"{key}: set at {context.obj.url}")


@app.command("set-all", epilog="Example: . ./clouds.env && scripts/credentials set-all")
def set_all(context: typer.Context) -> None:
    """Set every credential of this package that the environment holds under its key; leave the others alone."""
    values = {key: checked(key, value) for key in package_keys() if (value := _from_environment(key))}
    if not values:
        raise InputError(
            "the environment holds none of this package's credentials; export them, or set them one by one"
        )
    with context.obj.open() as scheduler:
        for key, value in values.items():
            scheduler.put_credential(key, value)
            typer.echo(f"{key}: set at {context.obj.url}")


@app.command("remove", epilog="Example: scripts/credentials remove AWS_SESSION_TOKEN")
def remove(context: typer.Context, key: Annotated[str, typer.Argument(help="Its key.")]) -> None:
    """Remove a credential."""
    with context.obj.open() as scheduler:
        if key not in (known := scheduler.credentials()):
            raise InputError(
                f"credential {key}: is not set at {context.obj.url}; set are: {', '.join(known) or 'none'}"
            )
        scheduler.remove_credential(key)
    typer.echo(f"{key}: removed from {context.obj.url}")


@app.command("list", epilog="Example: scripts/credentials list --output json")
def list_all(context: typer.Context, output: OutputOption = Output.TABLE) -> None:
    """Show which credentials are set, and which of them the overlay and its providers need; values are never shown."""
    from proactive_tasks.reports.tables import render, table

    with context.obj.open() as scheduler:
        known = scheduler.credentials()
    ready = providers(known)
    uses = purposes()
    rows = [(key, "set" if key in known else "-", uses[key]) for key in uses]
    rows += [(key, "set", "not of this package") for key in known if key not in uses]
    ways = [(name, "ready" if not lacking else f"lacks {', '.join(lacking)}") for name, lacking in ready.items()]
    answer(
        output,
        {
            "set": known,
            "providers": {name: {"ready": not lacking, "lacks": lacking} for name, lacking in ready.items()},
        },
        lambda: render(
            table("Credentials", ("key", "state", "what for"), rows), table("Providers", ("provider", "state"), ways)
        ),
    )


def package_keys() -> tuple[str, ...]:
    """The keys that the package's tasks look for."""
    from proactive_tasks.scheduler.binding import STORE_PASSWORD
    from proactive_tasks.scheduler.context import PASSPHRASE

    return (PASSPHRASE, STORE_PASSWORD, *CLOUD_KEYS)


def purposes() -> Mapping[str, str]:
    """What each of them is for."""
    overlay = dict(
        zip(
            package_keys(),
            ("opens the overlay's keys: always needed", "the store's, if STORE names a user"),
            strict=False,
        )
    )
    clouds = {"AWS": "aws", "AZURE": "azure", "OS": "openstack", "OVERLAY": "edge"}
    return overlay | {key: f"provider {clouds[key.partition('_')[0]]}" for key in CLOUD_KEYS}


def providers(known: Collection[str]) -> dict[str, list[str]]:
    """What each provider lacks, by the way of logging in there that lacks the least."""
    from proactive_tasks.scheduler.client.needs import CLOUDS

    return {
        name: min(([key for key in way if key not in known] for way in ways), key=len) for name, ways in CLOUDS.items()
    }


def checked(key: str, value: str) -> str:
    """The value, if it is one.

    Raises:
        InputError: it is empty, too long, or no text.
    """
    if not value:
        raise InputError(f"credential {key}: the value is empty; to take it away: scripts/credentials remove {key}")
    if len(value.encode(errors="surrogatepass")) > MAX_VALUE:
        raise InputError(f"credential {key}: the value has more than {MAX_VALUE} bytes; is it the right file?")
    if "\0" in value:
        raise InputError(f"credential {key}: the value holds a NUL, hence is no text; is it the right file?")
    return value


def _value(key: str, file: Path | None, name: str) -> str:
    if file:
        return _read(key, file)
    if name:
        if not (found := os.environ.get(name, "")):
            raise InputError(f"credential {key}: environment variable {name} is empty or not set; export it")
        return found
    if sys.stdin.isatty():
        import getpass

        return getpass.getpass(f"value of {key}: ")
    return sys.stdin.read().removesuffix("\n").removesuffix("\r")


def _read(key: str, file: Path) -> str:
    """A file's text; the line end that an editor leaves belongs to a private key, and to nothing else."""
    try:
        if file.stat().st_size > MAX_VALUE:
            raise InputError(f"credential {key}: file {file} has more than {MAX_VALUE} bytes; is it the right one?")
        text = file.read_text(encoding="utf-8")
    except OSError as error:
        raise InputError(f"credential {key}: file {file}: {error.strerror}; check its name") from None
    except UnicodeDecodeError:
        raise InputError(f"credential {key}: file {file} is not UTF-8 text; is it the right one?") from None
    return text if "\n" in text.strip() else text.rstrip("\r\n")


def _from_environment(key: str) -> str:
    if found := os.environ.get(key, ""):
        return found
    path = os.environ.get(f"{key}_FILE", "")
    return _read(key, Path(path)) if path else ""


if __name__ == "__main__":
    main(app, NAME)
