"""`scripts/import_catalog`: bring the package into a catalog, or verify what a catalog holds of it."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer

from proactive_tasks.console import script
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
from proactive_tasks.console.output import Output, OutputOption, answer
from proactive_tasks.overlay.errors import InputError

if TYPE_CHECKING:
    from proactive_tasks.scheduler.client import Scheduler
    from proactive_tasks.scheduler.package.importing import Outcome
    from proactive_tasks.scheduler.package.packaging import Package, PackageObject

NAME = "import_catalog"
DIFFERS = 3
"""Exit code of a verification that found a fault."""

app = script.application()


@app.command(epilog="Example: scripts/import_catalog --url https://scheduler.example.org:8443 --user admin")
def import_catalog(
    url: UrlOption = DEFAULT_URL,
    user: UserOption = DEFAULT_USER,
    credentials_file: CredentialsFileOption = None,
    ca_file: CaFileOption = "",
    insecure: InsecureOption = False,
    catalog_url: CatalogUrlOption = "",
    bucket: Annotated[
        str,
        typer.Option(
            metavar="NAME", help="The bucket; references inside the objects follow. Default: network-overlay."
        ),
    ] = "",
    only: Annotated[
        list[str] | None, typer.Option("--only", metavar="NAME", help="Only this object; may be repeated.")
    ] = None,
    wheel: Annotated[
        bool, typer.Option("--wheel/--no-wheel", help="With this package's wheel, into the global data space.")
    ] = True,
    verify: Annotated[
        bool, typer.Option("--verify", help="Change nothing: compare, and exit with 3 on a fault.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Change nothing: tell what would be done.")] = False,
    output: OutputOption = Output.TABLE,
) -> None:
    """Add or revise the package's objects in a catalog, one by one; what is there already is left alone.

    Exit code 0: all is there. 1: an object was refused, or the server failed. 2: bad input, nothing was sent. 3: what
    is there is not what is in the package (--verify).
    """
    from proactive_tasks.scheduler.package import importing, packaging

    if verify and dry_run:
        raise InputError("--verify and --dry-run: both change nothing, but one compares, the other plans; choose one")
    package = packaging.load(packaging.checkout(), bucket, with_wheel=wheel and not only)
    objects = importing.chosen(package, only or ())
    if not verify:
        importing.check(objects)
    begun = time.monotonic()
    with connect(url, user, credentials_file, ca_file, insecure, catalog_url) as scheduler:
        found = _told(_all(scheduler, package, objects, verify=verify, dry_run=dry_run), len(objects), begun)
    seconds = time.monotonic() - begun
    answer(output, _as_json(package, found, seconds, url), lambda: _table(package, found, seconds, dry_run=dry_run))
    _end(found)


def _all(
    scheduler: Scheduler, package: Package, objects: list[PackageObject], *, verify: bool, dry_run: bool
) -> Iterator[Outcome]:
    from proactive_tasks.scheduler.package import importing

    if verify:
        yield from importing.verify(scheduler, package, objects)
        yield from importing.verify_files(scheduler, package)
    else:
        yield from importing.bring(scheduler, package, objects, dry_run=dry_run)
        yield from importing.bring_files(scheduler, package, dry_run=dry_run)


def _told(outcomes: Iterator[Outcome], number: int, begun: float) -> list[Outcome]:
    """Tell each as it comes, on standard error."""
    found = []
    for each in outcomes:
        found.append(each)
        detail = f": {each.detail}" if each.detail else ""
        count = f"{min(len(found), number)}/{number}"
        print(
            f"{time.monotonic() - begun:6.2f}  {count:>7}  {each.state}  {each.name}{detail}",
            file=sys.stderr,
            flush=True,
        )
    return found


def _as_json(package: Package, found: list[Outcome], seconds: float, url: str) -> dict[str, Any]:
    return {
        "url": url,
        "bucket": package.bucket,
        "version": package.version,
        "seconds": round(seconds, 2),
        "counts": Counter(str(each.state) for each in found),
        "objects": [
            {"name": each.name, "kind": each.kind, "state": str(each.state), "detail": each.detail} for each in found
        ],
    }


def _table(package: Package, found: list[Outcome], seconds: float, *, dry_run: bool) -> str:
    from proactive_tasks.reports.tables import render, table

    counts = ", ".join(f"{count} {state}" for state, count in Counter(str(each.state) for each in found).items())
    title = f"{package.bucket}, version {package.version}: {counts}; {seconds:.2f} s"
    rows = [(each.name, each.kind, each.state, each.detail) for each in found]
    return render(table(f"{title} (nothing was changed)" if dry_run else title, ("object", "kind", "state", ""), rows))


def _end(found: list[Outcome]) -> None:
    from proactive_tasks.scheduler.package.importing import State

    refused = [each for each in found if each.state is State.REFUSED]
    for each in refused:
        script.tell(NAME, f"{each.name} was refused: {each.detail}")
    if refused:
        raise typer.Exit(script.FAILED)
    faults = [each for each in found if each.counts and each.state in {State.MISSING, State.DIFFERENT}]
    for each in faults:
        script.tell(NAME, f"{each.name} is {each.state}: {each.detail}; import it again")
    if faults:
        raise typer.Exit(DIFFERS)


if __name__ == "__main__":
    script.main(app, NAME)
