"""Certificates, the authority that signs them, and other sealed secrets."""

from __future__ import annotations

from dataclasses import asdict, fields
from datetime import datetime

from sqlalchemy import select

from proactive_tasks.overlay.errors import LeaseError, UnknownObjectError
from proactive_tasks.overlay.model import Certificate
from proactive_tasks.store.events import change, happened
from proactive_tasks.store.overlays import known
from proactive_tasks.store.records import Authority
from proactive_tasks.store.resources import Resources
from proactive_tasks.store.tables import AuthorityRow, CertificateRow, SecretRow


class Certificates(Resources):
    """What the authority issued, and its own key, sealed."""

    def add_certificate(self, overlay: str, certificate: Certificate, actor: str) -> bool:
        """Record a leaf; whether it was new."""
        with self.write(overlay) as session:
            known(session, overlay)
            if session.get(CertificateRow, (overlay, str(certificate.serial))) is not None:
                return False
            values = asdict(certificate)
            number = str(values.pop("serial"))
            session.add(CertificateRow(overlay=overlay, number=number, **values))
            after = {"serial": number, "not_after": certificate.not_after}
            happened(session, actor, overlay, "certificate", certificate.site, "create", None, after)
            return True

    def certificates(self, overlay: str) -> list[Certificate]:
        """All leaves ever issued, the oldest first."""
        query = select(CertificateRow).where(CertificateRow.overlay == overlay)
        with self.read() as session:
            known(session, overlay)
            return [
                Certificate(int(row.number), row.site, row.pem, row.not_before, row.not_after, row.revoked_at)
                for row in session.scalars(query.order_by(CertificateRow.not_before, CertificateRow.number))
            ]

    def revoke(self, overlay: str, serial: int, at: datetime, actor: str) -> bool:
        """Mark a leaf as revoked; whether it was not so before.

        Raises:
            UnknownObjectError: no such leaf.
        """
        with self.write(overlay) as session:
            known(session, overlay)
            row = session.get(CertificateRow, (overlay, str(serial)))
            if row is None:
                raise UnknownObjectError(f"certificate {serial:x}: not of overlay {overlay}; list its certificates")
            if row.revoked_at is not None:
                return False
            row.revoked_at = at
            happened(
                session,
                actor,
                overlay,
                "certificate",
                row.site,
                "change",
                {"serial": row.number, "revoked_at": None},
                {"serial": row.number, "revoked_at": at},
            )
            return True

    def authorities(self, overlay: str) -> list[Authority]:
        """The overlay's authorities, the oldest first: none before the first certificate, two while they change."""
        query = select(AuthorityRow).where(AuthorityRow.overlay == overlay).order_by(AuthorityRow.number)
        with self.read() as session:
            known(session, overlay)
            return [
                Authority(**{field.name: getattr(row, field.name) for field in fields(Authority)})
                for row in session.scalars(query)
            ]

    def save_authority(self, overlay: str, authority: Authority, actor: str) -> bool:
        """Record an authority, or its new list; whether anything differed.

        Raises:
            LeaseError: somebody else recorded one meanwhile; no two lists have the same number.
        """
        name = f"{overlay} {authority.number}"
        with self.write(overlay) as session:
            known(session, overlay)
            row = session.get(AuthorityRow, (overlay, authority.number))
            if row is None:
                session.add(AuthorityRow(overlay=overlay, **asdict(authority)))
                happened(session, actor, overlay, "authority", name, "create", None, asdict(authority))
                return True
            before, after = change(row, asdict(authority))
            if after and authority.crl_number <= before.get("crl_number", authority.crl_number):
                raise LeaseError(f"overlay {overlay}: another job made its authority or a revocation list; run again")
            if after:
                happened(session, actor, overlay, "authority", name, "change", before, after)
            return bool(after)

    def drop_authority(self, overlay: str, number: int, actor: str) -> bool:
        """Forget an authority that has given way; whether it was there."""
        with self.write(overlay) as session:
            known(session, overlay)
            row = session.get(AuthorityRow, (overlay, number))
            if row is None:
                return False
            session.delete(row)
            happened(session, actor, overlay, "authority", f"{overlay} {number}", "delete")
            return True

    def add_secret(self, overlay: str, name: str, sealed: bytes, actor: str = "") -> bool:
        """Keep something that the overlay's vault sealed, unless somebody was faster; whether it is kept.

        A secret that is there stays: machines were made with it.
        """
        with self.write(overlay) as session:
            known(session, overlay)
            if session.get(SecretRow, (overlay, name)) is not None:
                return False
            session.add(SecretRow(overlay=overlay, name=name, sealed=sealed))
            happened(session, actor, overlay, "secret", name, "create")
            return True

    def drop_secret(self, overlay: str, name: str, actor: str = "") -> None:
        """Forget a secret that has served its purpose."""
        with self.write(overlay) as session:
            row = session.get(SecretRow, (overlay, name))
            if row is not None:
                session.delete(row)
                happened(session, actor, overlay, "secret", name, "delete")

    def secret(self, overlay: str, name: str) -> bytes | None:
        """What was kept under that name, still sealed."""
        with self.read() as session:
            known(session, overlay)
            row = session.get(SecretRow, (overlay, name))
        return None if row is None else row.sealed
