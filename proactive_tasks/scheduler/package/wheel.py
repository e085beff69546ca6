"""This package as a wheel, for the nodes of a scheduler: written by rule, so that the same files give the same bytes.

A wheel is a zip with the files, their metadata and a list of digests (PEP 427); nothing here is compiled, so no build
tool is needed, and none has to be fetched.
"""

from __future__ import annotations

import base64
import hashlib
import io
import re
import tomllib
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from proactive_tasks.overlay.errors import InputError

SUFFIXES = {".py", ".typed", ".xml", ".j2", ".c", ".yaml", ".txt"}
"""What the package consists of; setup.py says the same."""

MOMENT = (1980, 1, 1, 0, 0, 0)
"""The date of every file in an archive: the first that a zip can hold."""

PACKAGE = "proactive_tasks"
BESIDE = {"workflows": "*.xml", "catalog": "*.groovy"}
"""What stands beside the package in a checkout, and within it where it is installed."""


def build(top: Path) -> tuple[str, bytes]:
    """Name and content of the wheel of the checkout at `top`.

    Raises:
        InputError: there is no checkout.
    """
    try:
        project: dict[str, Any] = tomllib.loads((top / "pyproject.toml").read_text("utf-8"))["project"]
        readme = (top / project["readme"]).read_bytes()
    except OSError as error:
        raise InputError(
            f"{error.filename}: {error.strerror}; the wheel is built from a checkout of the project"
        ) from error
    name, version = re.sub(r"[-_.]+", "_", project["name"]), project["version"]
    files = dict(_sources(top))
    info = f"{name}-{version}.dist-info"
    for licence in project["license-files"]:
        files[f"{info}/licenses/{licence}"] = (top / licence).read_bytes()
    files[f"{info}/METADATA"] = _metadata(project).encode() + b"\n" + readme
    files[f"{info}/WHEEL"] = (
        b"Wheel-Version: 1.0\nGenerator: proactive-network-overlay\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    )
    entries = [f"{command} = {place}" for command, place in sorted(project.get("scripts", {}).items())]
    files[f"{info}/entry_points.txt"] = "\n".join(["[console_scripts]", *entries, ""]).encode()
    files[f"{info}/top_level.txt"] = f"{PACKAGE}\n".encode()
    record = [f"{path},sha256={_digest(content)},{len(content)}" for path, content in sorted(files.items())]
    files[f"{info}/RECORD"] = "\n".join([*record, f"{info}/RECORD,,", ""]).encode()
    return f"{name}-{version}-py3-none-any.whl", zipped(files)


def zipped(files: dict[str, bytes]) -> bytes:
    """A zip of these files, by path: sorted, all of one date and mode."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for path in sorted(files):
            entry = zipfile.ZipInfo(path, MOMENT)
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.create_system = 3
            entry.external_attr = 0o100644 << 16
            archive.writestr(entry, files[path], compresslevel=9)
    return buffer.getvalue()


def _sources(top: Path) -> Iterable[tuple[str, bytes]]:
    for path in sorted((top / PACKAGE).rglob("*")):
        if path.is_file() and path.suffix in SUFFIXES and "__pycache__" not in path.parts:
            yield path.relative_to(top).as_posix(), path.read_bytes()
    for folder, pattern in BESIDE.items():
        for path in sorted((top / folder).glob(pattern)):
            yield f"{PACKAGE}/{folder}/{path.name}", path.read_bytes()


def _metadata(project: dict[str, Any]) -> str:
    lines = [
        "Metadata-Version: 2.4",
        f"Name: {project['name']}",
        f"Version: {project['version']}",
        f"Summary: {project['description']}",
        f"License-Expression: {project['license']}",
        *(f"License-File: {each}" for each in project["license-files"]),
        f"Requires-Python: {project['requires-python']}",
        *(f"Requires-Dist: {each}" for each in project["dependencies"]),
    ]
    for extra, needs in project.get("optional-dependencies", {}).items():
        lines.append(f"Provides-Extra: {extra}")
        lines += [f'Requires-Dist: {each}; extra == "{extra}"' for each in needs]
    lines.append("Description-Content-Type: text/markdown")
    return "\n".join(lines) + "\n"


def _digest(content: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
