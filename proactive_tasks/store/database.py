"""The database under the store: opening it, its schema's revision, and transactions that cannot pass each other."""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from sqlalchemy import Connection, Engine, create_engine, event, inspect, text
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError, OperationalError
from sqlalchemy.orm import Session

from proactive_tasks.overlay.errors import StoreUnavailableError

if TYPE_CHECKING:
    from types import TracebackType

BUSY_MS = 60_000
"""How long a writer waits for the others."""

CONNECT_S = 10

VERSIONS = Path(__file__).parent / "migrations" / "versions"

MIGRATION_LOCK = "proactive_tasks schema"


def head() -> str:
    """The schema's revision of this release: the newest migration's number."""
    return max(path.stem.split("_")[0] for path in VERSIONS.glob("[0-9]*_*.py"))


class Database:
    """A database with the schema of this release."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._writer = engine.execution_options(writes=True)
        self._open = threading.local()

    @classmethod
    def open(cls, url: str, *, create: bool = True, password: str | None = None) -> Self:
        """Connect, and bring the schema up to date.

        Args:
            url: `sqlite:////path/to/file` or `postgresql://user@host/database`.
            create: make the schema where there is none.
            password: of the database, where it shall not stand in the URL.

        Raises:
            StoreUnavailableError: no answer, read-only, or the schema of a newer release.
        """
        parsed = _parse(url, password)
        if parsed.get_backend_name() == "sqlite":
            _prepare_file(parsed, create=create)
        store = cls(_engine(parsed))
        try:
            store._bring_up_to_date(create=create)
        except BaseException:
            store.close()
            raise
        return store

    def close(self) -> None:
        """Let go of all connections."""
        self._engine.dispose()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    @property
    def url(self) -> str:
        """Where the store is, without its password."""
        return self._engine.url.render_as_string(hide_password=True)

    @property
    def public_url(self) -> str:
        """The same, for others to connect by: they bring the password."""
        return self._engine.url.set(password=None).render_as_string()

    @contextmanager
    def read(self) -> Iterator[Session]:
        """One consistent view of the store."""
        with self._translated(), Session(self._engine, expire_on_commit=False) as session:
            if self._postgresql:
                session.connection(execution_options={"isolation_level": "REPEATABLE READ"})
            yield session

    @contextmanager
    def write(self, lock: str = "") -> Iterator[Session]:
        """A transaction that sees every earlier one of the same `lock`, an overlay's name, and is seen by every later.

        SQLite has one writer at a time; PostgreSQL has an advisory lock for each overlay. Within a block of the same
        thread, further blocks of the same lock are part of its transaction.
        """
        outer: dict[str, Session] = self._open.__dict__.setdefault("sessions", {})
        if lock in outer:
            yield outer[lock]
            return
        with self._translated(), Session(self._writer, expire_on_commit=False) as session, session.begin():
            self._lock(session.connection(), lock)
            outer[lock] = session
            try:
                yield session
            finally:
                del outer[lock]

    @property
    def _postgresql(self) -> bool:
        return self._engine.dialect.name == "postgresql"

    def _lock(self, connection: Connection, lock: str) -> None:
        if self._postgresql:
            connection.execute(text("SELECT pg_advisory_xact_lock(hashtextextended(:lock, 0))"), {"lock": lock})

    @contextmanager
    def _translated(self) -> Iterator[None]:
        """Errors of the database as errors of the store."""
        try:
            yield
        except DBAPIError as error:
            raise self._unavailable(error) from error

    def _unavailable(self, error: DBAPIError) -> StoreUnavailableError:
        reason = str(error.orig).strip().splitlines()[0] if str(error.orig).strip() else type(error.orig).__name__
        if "readonly" in reason or "read-only" in reason:
            step = "give this user the right to write it"
        elif "locked" in reason or "lock timeout" in reason:
            step = "another process holds it; let that end and try again"
        elif "disk" in reason:  # SQLite: "database or disk is full", or "disk I/O error" where its log finds no room
            step = "make room on its disk, and see that this is sound"
        elif "unable to open" in reason or "not a database" in reason:
            step = "name a file of this package, or a new one in a folder where this user may write"
        elif isinstance(error, OperationalError):
            step = "check that it runs, its address and the credentials"
        else:
            step = "this is a fault of the package or of the database; see the cause"
        return StoreUnavailableError(f"store {self.url}: {reason}; {step}")

    def _bring_up_to_date(self, *, create: bool) -> None:
        with self._translated(), self._engine.connect() as connection:
            found = _revision(connection)
        if found == head():
            return
        if found is None and not create:
            raise StoreUnavailableError(f"store {self.url}: holds no overlays yet; deploy one first")
        if found is not None and found > head():
            raise StoreUnavailableError(
                f"store {self.url}: has schema {found}, this release knows {head()}; install the release that wrote it"
            )
        self._migrate()

    def _migrate(self) -> None:
        from proactive_tasks.store.migrations import upgrade

        with self._translated():
            if not self._postgresql:
                self._log_ahead()
            with self._writer.begin() as connection:
                self._lock(connection, MIGRATION_LOCK)
                if _revision(connection) != head():  # nobody was faster
                    upgrade(connection)

    def _log_ahead(self) -> None:
        """Let readers and the writer of a SQLite file pass each other.

        SQLite does not wait here for another process that writes, as one does that makes the same store at this moment.
        """
        from tenacity import Retrying, retry_if_exception, stop_after_delay, wait_random

        mode, stop, wait = "PRAGMA journal_mode=WAL", stop_after_delay(BUSY_MS / 1000), wait_random(0.01, 0.1)
        try:
            for attempt in Retrying(retry=retry_if_exception(_is_locked), stop=stop, wait=wait, reraise=True):
                with attempt, closing(self._engine.raw_connection()) as raw:  # outside transactions only
                    raw.cursor().execute(mode)
        except sqlite3.OperationalError as error:
            raise OperationalError(mode, None, error) from error


def _is_locked(error: BaseException) -> bool:
    return isinstance(error, sqlite3.OperationalError) and "locked" in str(error)


def _parse(url: str, password: str | None) -> URL:
    try:
        parsed = make_url(url)
    except ArgumentError:
        raise StoreUnavailableError(
            "the store's address is not a URL; write sqlite:////path/to/file or postgresql://user@host/database"
        ) from None
    if parsed.drivername in {"postgresql", "postgres"}:
        parsed = parsed.set(drivername="postgresql+psycopg")
    if parsed.get_backend_name() not in {"sqlite", "postgresql"}:
        raise StoreUnavailableError(
            f"store {parsed.render_as_string()}: {parsed.get_backend_name()} is not supported; use sqlite or postgresql"
        )
    return parsed if password is None else parsed.set(password=password)


def _prepare_file(url: URL, *, create: bool) -> None:
    """A file that only its owner reads, or a clear error."""
    if not url.database or url.database.startswith(":"):
        raise StoreUnavailableError("the store's address names no file; write sqlite:////path/to/file")
    if url.database.startswith("file:"):
        return  # an SQLite URI says itself how it is opened
    path = Path(url.database)
    if not create and not path.exists():
        raise StoreUnavailableError(f"store {path}: no such file; deploy an overlay first, or name another store")
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not path.exists():
            os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
    except OSError as error:
        raise StoreUnavailableError(
            f"store {path}: {error.strerror}; name a file in a directory where you may write"
        ) from error


def _engine(url: URL) -> Engine:
    if url.get_backend_name() == "sqlite":
        engine = create_engine(url, connect_args={"timeout": BUSY_MS / 1000})
        event.listen(engine, "connect", _on_sqlite_connect)
        event.listen(engine, "begin", _on_sqlite_begin)
        return engine
    settings = f"-c lock_timeout={BUSY_MS} -c idle_in_transaction_session_timeout={10 * BUSY_MS}"
    try:
        return create_engine(
            url, pool_size=2, pool_pre_ping=False, connect_args={"connect_timeout": CONNECT_S, "options": settings}
        )
    except (ModuleNotFoundError, NoSuchModuleError) as error:
        raise StoreUnavailableError(
            "PostgreSQL's driver is not installed; run: pip install 'proactive-network-overlay[postgresql]'"
        ) from error


def _on_sqlite_connect(connection: Any, record: object) -> None:  # noqa: ARG001 - SQLAlchemy passes it
    connection.isolation_level = None  # transactions begin where SQLAlchemy says, not where the driver guesses
    connection.execute("PRAGMA foreign_keys=ON")
    connection.execute("PRAGMA synchronous=NORMAL")  # in WAL mode this loses no consistency


def _on_sqlite_begin(connection: Any) -> None:
    writes = connection.get_execution_options().get("writes")
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def _revision(connection: Connection) -> str | None:
    """The schema's revision in the database; None where there is none."""
    if not inspect(connection).has_table("alembic_version"):
        return None
    return connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
