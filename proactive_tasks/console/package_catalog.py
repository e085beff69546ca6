"""`scripts/package_catalog`: build the two archives of the catalog package."""

from __future__ import annotations

import zipfile
from io import BytesIO
from pathlib import Path
from typing import Annotated, Any

import typer

from proactive_tasks.console import script
from proactive_tasks.console.output import Output, answer
from proactive_tasks.overlay.errors import InputError

NAME = "package_catalog"

app = script.application()


@app.command(epilog="Example: scripts/package_catalog --output dist")
def package_catalog(
    folder: Annotated[
        Path, typer.Option("--output", "-o", metavar="DIR", help="Where to write them; made if it is not there.")
    ] = Path("dist"),
    bucket: Annotated[str, typer.Option(metavar="NAME", help="The bucket that the objects are for.")] = "",
    wheel: Annotated[bool, typer.Option("--wheel/--no-wheel", help="With this package's wheel for the nodes.")] = True,
    as_json: Annotated[bool, typer.Option("--json", help="List what is in them as JSON.")] = False,
) -> None:
    """Build the archive for `proactive-client -pkg` and the one for a catalog's import, and list what is in them."""
    from proactive_tasks.scheduler.package import archives, importing, packaging

    package = packaging.load(packaging.checkout(), bucket, with_wheel=wheel)
    importing.check(package.objects)
    written: dict[Path, bytes] = {}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in (archives.for_client(package), archives.for_import(package)):
            (folder / name).write_bytes(content)
            written[folder / name] = content
    except OSError as error:
        raise InputError(f"{error.filename}: {error.strerror}; name another folder with --output DIR") from error
    listed = [_listing(path, content) for path, content in written.items()]
    answer(Output.JSON if as_json else Output.TABLE, listed, lambda: "\n".join(_table(each) for each in listed))


def _listing(path: Path, content: bytes) -> dict[str, Any]:
    with zipfile.ZipFile(BytesIO(content)) as archive:
        files = {entry.filename: entry.file_size for entry in archive.infolist()}
    return {"archive": str(path), "bytes": len(content), "files": files}


def _table(listing: dict[str, Any]) -> str:
    from proactive_tasks.reports.tables import render, table

    title = f"{listing['archive']}: {len(listing['files'])} files, {listing['bytes']} bytes"
    return render(table(title, ("file", "bytes"), list(listing["files"].items())))


if __name__ == "__main__":
    script.main(app, NAME)
