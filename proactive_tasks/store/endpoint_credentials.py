"""Third-party credentials of an endpoint's users, sealed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import LargeBinary, String, delete, select
from sqlalchemy.orm import Mapped, mapped_column

from proactive_tasks.store.base import Base

if TYPE_CHECKING:
    from proactive_tasks.store.database import Database
    from proactive_tasks.store.vault import Vault


class CredentialRow(Base):
    """A credential."""

    __tablename__ = "endpoint_credential"

    user: Mapped[str] = mapped_column(String(255), primary_key=True)
    key: Mapped[str] = mapped_column(String(255), primary_key=True)
    sealed: Mapped[bytes] = mapped_column(LargeBinary)


class Credentials:
    """Keys and values by user; the values sealed with the endpoint's key."""

    def __init__(self, database: Database, vault: Vault) -> None:
        self._database, self._vault = database, vault

    def of(self, user: str) -> dict[str, str]:
        """A user's credentials, in clear."""
        with self._database.read() as session:
            rows = session.scalars(select(CredentialRow).where(CredentialRow.user == user))
            return {row.key: self._vault.open(row.sealed, _purpose(row.user, row.key)).decode() for row in rows}

    def keys(self, user: str) -> list[str]:
        """The names of a user's credentials."""
        query = select(CredentialRow.key).where(CredentialRow.user == user).order_by(CredentialRow.key)
        with self._database.read() as session:
            return list(session.scalars(query))

    def put(self, user: str, key: str, value: str) -> None:
        """Set a credential."""
        sealed = self._vault.seal(value.encode(), _purpose(user, key))
        with self._database.write("credentials") as session:
            session.merge(CredentialRow(user=user, key=key, sealed=sealed))

    def remove(self, user: str, key: str) -> None:
        """Take a credential away, if it is there."""
        ours = (CredentialRow.user == user, CredentialRow.key == key)
        with self._database.write("credentials") as session:
            session.execute(delete(CredentialRow).where(*ours))


def _purpose(user: str, key: str) -> str:
    return f"credential {key} of {user}"
