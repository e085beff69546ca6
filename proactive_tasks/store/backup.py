"""Backups: the whole store as one encrypted file, from which a fresh machine carries on."""

from __future__ import annotations

import base64
import json
import os
import zlib
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from enum import StrEnum
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import Any

from sqlalchemy import Integer, LargeBinary, Table, func, insert, select
from sqlalchemy.orm import Session

from proactive_tasks.overlay.errors import InputError, SecretError
from proactive_tasks.store import (
    Store,
    catalog,  # noqa: F401 - defines tables
    jobs,  # noqa: F401
)
from proactive_tasks.store.base import Base, Moment
from proactive_tasks.store.database import head
from proactive_tasks.store.vault import SALT, Vault, derive, new_salt

MAGIC = b"network overlay backup 1\n"
LEFT_OUT = frozenset({"leases"})
"""Locks are of the machine that holds them."""


def backup(store: Store, path: Path, passphrase: str) -> None:
    """Write the whole store, encrypted, to a new file that only its owner reads.

    Raises:
        InputError: the file is there already, or cannot be written.
        SecretError: the passphrase is empty.
    """
    salt = new_salt()
    vault = Vault(derive(passphrase, salt))
    with store.read() as session:
        tables = {table.name: list(_rows(session, table)) for table in _tables()}
    content = json.dumps({"revision": head(), "tables": tables}, separators=(",", ":")).encode()
    sealed = vault.seal(zlib.compress(content), "backup")
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(MAGIC + salt + sealed)
            file.flush()
            os.fsync(file.fileno())
    except FileExistsError:
        raise InputError(f"backup {path}: is there already; name a new file") from None
    except OSError as error:
        raise InputError(f"backup {path}: {error.strerror}; name a file in a directory where you may write") from error


def restore(store: Store, path: Path, passphrase: str) -> None:
    """Fill an empty store from a backup; all of it or nothing.

    Raises:
        InputError: the file is not a backup that this release reads, or the store is not empty.
        SecretError: the passphrase is not the backup's.
    """
    content = _content(path, passphrase)
    if content["revision"] > head():
        raise InputError(
            f"backup {path}: has schema {content['revision']}, this release knows {head()}; "
            "install the release that wrote it"
        )
    with store.write("restore") as session:
        for table in _tables():
            if session.execute(select(table).limit(1)).first() is not None:
                raise InputError(f"store {store.url}: is not empty (it has {table.name}); restore into a new one")
        for table in _tables():
            if rows := content["tables"].get(table.name):
                session.execute(insert(table), [_parsed(table, row) for row in rows])
                _continue_numbering(session, table)


def _content(path: Path, passphrase: str) -> Any:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError(f"backup {path}: {error.strerror}; check its name and permissions") from error
    if not data.startswith(MAGIC):
        raise InputError(f"backup {path}: is not a backup of this package; name another file")
    salt, sealed = data[len(MAGIC) : len(MAGIC) + SALT], data[len(MAGIC) + SALT :]
    try:
        return json.loads(zlib.decompress(Vault(derive(passphrase, salt)).open(sealed, "backup")))
    except SecretError as error:
        raise SecretError(f"backup {path}: the passphrase is wrong or empty, or the file was damaged") from error


def _tables() -> Iterable[Table]:
    """The tables, those first that others refer to."""
    return [table for table in Base.metadata.sorted_tables if table.name not in LEFT_OUT]


def _rows(session: Session, table: Table) -> Iterator[dict[str, Any]]:
    for row in session.execute(select(table)).mappings():
        yield {str(name): _plain(value) for name, value in row.items()}


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, IPv4Address | IPv4Network | StrEnum):
        return str(value)
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    return value


def _parsed(table: Table, row: dict[str, Any]) -> dict[str, Any]:
    """A row for the database; columns' types take addresses and words as text."""
    return {name: None if value is None else _parser(table, name)(value) for name, value in row.items()}


def _parser(table: Table, column: str) -> Callable[[Any], Any]:
    kind = table.columns[column].type
    if isinstance(kind, Moment):
        return datetime.fromisoformat
    if isinstance(kind, LargeBinary):
        return base64.b64decode
    return lambda value: value


def _continue_numbering(session: Session, table: Table) -> None:
    """PostgreSQL counts on from the highest number that was restored; SQLite does so by itself."""
    column = table.autoincrement_column
    if column is None or not isinstance(column.type, Integer) or session.get_bind().dialect.name != "postgresql":
        return
    sequence = session.scalar(select(func.pg_get_serial_sequence(table.name, column.name)))
    if sequence is not None:
        session.execute(select(func.setval(sequence, select(func.max(column)).scalar_subquery())))
