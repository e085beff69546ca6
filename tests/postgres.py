"""A pytest plugin: a PostgreSQL of the test session's own, and a store on each kind of database.

The cluster lives in a temporary directory, listens on a Unix socket only, and is owned by the user `postgres` when the
tests run as root, since PostgreSQL refuses to run as root.
"""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
import uuid
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import psycopg
import pytest

from proactive_tasks.store import Store

DEADLINE_S = 60


def _binaries() -> Path:
    """Where Debian keeps the newest PostgreSQL's programs."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name))
    if not found:
        pytest.fail("PostgreSQL is not installed; run: apt-get install postgresql")
    return found[-1]


def _run(*command: str | Path, user: str) -> None:
    found = subprocess.run(
        [str(part) for part in command],
        user=user,
        group=pwd.getpwnam(user).pw_gid,
        cwd="/",
        env={"LC_ALL": "C.UTF-8"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=DEADLINE_S,
        check=False,
        text=True,
    )
    assert found.returncode == 0, found.stdout


@contextmanager
def cluster(password: str = "") -> Iterator[str]:
    """A running PostgreSQL; its URL, to which a database's name is to be appended as `dbname`.

    With a password, every connection has to show it.
    """
    bin_, user = _binaries(), "postgres" if os.geteuid() == 0 else pwd.getpwuid(os.geteuid()).pw_name
    home = Path(tempfile.mkdtemp(prefix="pg-", dir="/tmp"))  # a socket's path is short
    data = home / "data"
    try:
        shutil.chown(home, user)
        words: list[str | Path] = ["-A", "trust"]
        if password:
            (home / "password").write_text(password)
            shutil.chown(home / "password", user)
            words = ["-A", "scram-sha-256", "--pwfile", home / "password"]
        _run(bin_ / "initdb", "-D", data, "-U", "postgres", *words, "-E", "UTF8", "--no-sync", user=user)
        settings = f"-k {home} -c listen_addresses= -c fsync=off -c max_connections=120 -c shared_buffers=16MB"
        _run(bin_ / "pg_ctl", "-D", data, "-l", home / "log", "-o", settings, "-w", "start", user=user)
        try:
            yield f"host={home} user=postgres"
        finally:
            _run(bin_ / "pg_ctl", "-D", data, "-m", "immediate", "-w", "stop", user=user)
    finally:
        shutil.rmtree(home, ignore_errors=True)


@pytest.fixture(scope="session")
def postgresql() -> Iterator[str]:
    """The session's cluster, started when first asked for."""
    with cluster() as address:
        yield address


@pytest.fixture
def new_postgresql_url(postgresql: str) -> Iterator[Callable[[], str]]:
    """Makes an empty database, as often as it is called; the URL of that."""
    host = postgresql.split(maxsplit=1)[0].removeprefix("host=")
    names: list[str] = []
    with closing(psycopg.connect(f"{postgresql} dbname=postgres", autocommit=True)) as connection:

        def make() -> str:
            names.append(f"t{uuid.uuid4().hex}")
            connection.execute(f"CREATE DATABASE {names[-1]}".encode())
            return f"postgresql://postgres@/{names[-1]}?host={host}"

        yield make
        for name in names:
            connection.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())


@pytest.fixture
def postgresql_url(new_postgresql_url: Callable[[], str]) -> str:
    """The URL of an empty database."""
    return new_postgresql_url()


@pytest.fixture(params=["sqlite", "postgresql"])
def store_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of an empty store, on each kind of database."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/store.db"
    url: str = request.getfixturevalue("postgresql_url")
    return url


@pytest.fixture
def store(store_url: str) -> Iterator[Store]:
    """An empty store, on each kind of database."""
    with Store.open(store_url) as opened:
        yield opened


@pytest.fixture
def open_store(store_url: str) -> Callable[[], Store]:
    """Opens the same store once more."""
    return lambda: Store.open(store_url)
