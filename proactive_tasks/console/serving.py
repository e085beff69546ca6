"""`overlayctl serve`: the embedded engine's endpoint."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import typer

from proactive_tasks.console.output import Output
from proactive_tasks.console.server import fork_server
from proactive_tasks.store.location import default_store_url


def serve(*, host: str, port: int, user: str, password_file: Path | None, nodes: int, output: Output) -> None:
    """Serve until it is ended.

    Raises:
        InputError: the port is taken, or the password's file cannot be read.
    """
    import json

    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    with fork_server() as server:
        from proactive_tasks.engine.endpoint.serve import PASSWORD, is_loopback, password
        from proactive_tasks.engine.endpoint.serve import serve as run
        from proactive_tasks.store import Store

        word, file = password(password_file)
        os.environ.pop(PASSWORD, None)
        if not is_loopback(host):
            typer.echo(
                f"warning: whoever reaches {host} can log in over plain HTTP; put a proxy that speaks TLS before it, "
                "or serve on 127.0.0.1",
                err=True,
            )

        def say(line: str) -> None:
            if output is Output.JSON:
                typer.echo(json.dumps({"url": line.removeprefix("serving "), "user": user, "pid": os.getpid()}))
                return
            typer.echo(line)
            typer.echo(f"user {user}, password in {file}" if file else f"user {user}", err=True)

        with Store.open(default_store_url()) as store:
            run(store, server, host=host, port=port, users={user: word}, nodes=nodes, say=say)
