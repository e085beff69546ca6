"""`scripts/watch_elastic`: extends and shrinks the overlay as the scheduler's node sources come and go."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from proactive_tasks.console.connection import (
    DEFAULT_URL,
    DEFAULT_USER,
    CaFileOption,
    CatalogUrlOption,
    CredentialsFileOption,
    InsecureOption,
    UrlOption,
    UserOption,
    connect,
)
from proactive_tasks.console.output import Output, OutputOption
from proactive_tasks.console.script import application, main
from proactive_tasks.overlay.errors import InputError, LeaseError
from proactive_tasks.scheduler.elastic.asking import Tell
from proactive_tasks.scheduler.elastic.watching import BUCKET, Options, Watcher, process_owner
from proactive_tasks.store import Store
from proactive_tasks.store.location import default_store_url

NAME = "watch_elastic"

STORE_PASSWORD = "OVERLAY_STORE_PASSWORD"  # noqa: S105 - the name of a variable, not one

app = application()


@app.command(epilog="Example: scripts/watch_elastic --url https://scheduler.example.org:8443 --overlay presto")
def watch(
    overlay: Annotated[str, typer.Option("--overlay", help="The overlay; default: the only one there is.")] = "",
    store: Annotated[
        str,
        typer.Option("--store", envvar="OVERLAY_STORE", help=f"URL of the store; its password is in {STORE_PASSWORD}."),
    ] = "",
    interval: Annotated[float, typer.Option(min=0.1, max=600, metavar="S", help="How often to look, in s.")] = 2.0,
    grace: Annotated[
        int | None,
        typer.Option(min=0, max=604_800, metavar="S", help="How long a site stays after its last node, in s."),
    ] = None,
    once: Annotated[bool, typer.Option("--once", help="Look once; the next run goes on from there.")] = False,
    confirm_all: Annotated[
        bool, typer.Option("--confirm-all", help="All sites may go at once; a watcher that runs already learns of it.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only tell what would be asked for.")] = False,
    bucket: Annotated[str, typer.Option(help="The catalog's bucket.")] = BUCKET,
    workflows: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Submit the workflows of this folder, not the catalog's.")
    ] = None,
    variable: Annotated[
        list[str] | None,
        typer.Option("-v", "--variable", metavar="NAME=VALUE", help="Of every job; as often as needed."),
    ] = None,
    url: UrlOption = DEFAULT_URL,
    user: UserOption = DEFAULT_USER,
    credentials_file: CredentialsFileOption = None,
    ca_file: CaFileOption = "",
    insecure: InsecureOption = False,
    catalog_url: CatalogUrlOption = "",
    output: OutputOption = Output.TABLE,
) -> None:
    """Follow node sources; submit Scale_Out_Overlay for a new one, Scale_In_Overlay when its last node is gone.

    Which node source belongs to which site says the table `elastic` of the specification (docs/elastic.md).
    Ctrl-C or SIGTERM ends it; the next run goes on from there.
    """
    options = Options(
        interval_s=interval,
        grace_s=grace,
        confirm_all=confirm_all,
        dry_run=dry_run,
        renew=True,
        bucket=bucket,
        workflows=workflows,
        variables=dict(map(_assignment, variable or ())),
    )
    tell = _teller(output)
    with (
        Store.open(store or default_store_url(), create=False, password=os.environ.get(STORE_PASSWORD)) as opened,
        connect(url, user, credentials_file, ca_file, insecure, catalog_url) as scheduler,
    ):
        overlay = _overlay(opened, overlay)
        confirmed = opened.confirm_elastic_sites(overlay, NAME) if confirm_all and not dry_run else []
        if confirmed:
            tell("confirmed", f"confirmed: {', '.join(confirmed)} may go", sites=confirmed)
        watcher = Watcher(opened, overlay, scheduler, owner=process_owner(), tell=tell, options=options)
        try:
            watcher.run(_stopped_by_signals(), once=once)
        except LeaseError:
            if not confirmed:
                raise
            tell("running", "a watcher runs already: it does the rest")


def _overlay(store: Store, name: str) -> str:
    from proactive_tasks.scheduler.context import Context

    return Context(store=store).overlay(name)


def _assignment(word: str) -> tuple[str, str]:
    name, equals, value = word.partition("=")
    if not equals or not name.isidentifier():
        raise InputError(f"-v {word[:60]!r}: write NAME=VALUE, e.g. -v SINGLE_NODE=true")
    return name, value


def _teller(output: Output) -> Tell:
    """A line for each thing that happens: text, or a JSON object."""

    def tell(kind: str, line: str, **values: Any) -> None:
        at = datetime.now(UTC)
        if output is Output.JSON:
            text = json.dumps({"at": at.isoformat(), "event": kind, "line": line, **values}, default=str)
        else:
            text = f"{at:%H:%M:%S} {line}"
        sys.stdout.write(text + "\n")
        sys.stdout.flush()

    return tell


def _stopped_by_signals() -> threading.Event:
    stop = threading.Event()
    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, lambda *_: stop.set())
    return stop


if __name__ == "__main__":
    main(app, NAME)
