"""How a script finds its scheduler: options and environment alike, and the password never as an argument."""

from __future__ import annotations

import os
import sys
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from proactive_tasks.overlay.errors import SchedulerInputError

if TYPE_CHECKING:
    from proactive_tasks.scheduler.client import Scheduler

PASSWORD = "PROACTIVE_PASSWORD"  # noqa: S105 - the name of a variable, not one
"""Environment variable with the password; `..._FILE` names a file that holds it."""

DEFAULT_URL, DEFAULT_USER = "http://localhost:8080", "admin"

UrlOption = Annotated[str, typer.Option("--url", envvar="PROACTIVE_URL", metavar="URL", help="The server.")]
UserOption = Annotated[str, typer.Option("--user", envvar="PROACTIVE_USER", metavar="NAME", help="Who logs in.")]
CredentialsFileOption = Annotated[
    Path | None,
    typer.Option(
        "--credentials-file",
        envvar="PROACTIVE_CREDENTIALS_FILE",
        metavar="FILE",
        help="Encrypted credentials in place of a user and a password.",
    ),
]
CaFileOption = Annotated[
    str,
    typer.Option("--ca-file", envvar="PROACTIVE_CA_FILE", metavar="FILE", help="Authorities of the server's TLS, PEM."),
]
InsecureOption = Annotated[bool, typer.Option("--insecure", help="Accept any certificate: for trials only.")]
CatalogUrlOption = Annotated[
    str,
    typer.Option(
        "--catalog-url", envvar="PROACTIVE_CATALOG_URL", metavar="URL", help="The catalog; default: URL/catalog."
    ),
]


def connect(
    url: str = DEFAULT_URL,
    user: str = DEFAULT_USER,
    credentials_file: Path | None = None,
    ca_file: str = "",
    insecure: bool = False,
    catalog_url: str = "",
) -> Scheduler:
    """The scheduler that the options name; it logs in when it is first asked for something.

    Raises:
        SchedulerInputError: the options do not go together, or a file is not there.
    """
    from proactive_tasks.scheduler.client import Scheduler

    if ca_file and insecure:
        raise SchedulerInputError("--ca-file and --insecure: one verifies, the other does not; choose one")
    user, url = user or DEFAULT_USER, url or DEFAULT_URL
    return Scheduler(
        url,
        user=user,
        password=cache(lambda: password_of(user, url)),  # asked once, though a session may have to be renewed
        credentials=credentials_file,
        verify=ca_file or not insecure,
        catalog_url=catalog_url,
    )


def password_of(user: str, url: str) -> str:
    """The password from the environment or the file that it names, else asked on the terminal.

    Raises:
        SchedulerInputError: it is nowhere.
    """
    if found := os.environ.get(PASSWORD):
        return found
    if path := os.environ.get(f"{PASSWORD}_FILE"):
        try:
            found = Path(path).read_text(encoding="utf-8").rstrip("\r\n")
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
            raise SchedulerInputError(f"password file {path}: {reason}; name another in {PASSWORD}_FILE") from None
        if not found:
            raise SchedulerInputError(f"password file {path}: is empty; write the password of {user} into it")
        return found
    if not sys.stdin.isatty():
        raise SchedulerInputError(
            f"the password of {user} at {url} is missing: put it into the environment as {PASSWORD}, "
            f"or into a file that {PASSWORD}_FILE names"
        )
    import getpass

    return getpass.getpass(f"password of {user} at {url}: ")
