"""Certificates, the authority that signs them, and other sealed secrets."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime

from sqlalchemy import select

from proactive_tasks.overlay.errors import UnknownObjectError
from proactive_tasks.overlay.model import Certificate
from proactive_tasks.store.events import change, happened
from proactive_tasks.store.overlays import known
from proactive_tasks.store.records import Authority
from proactive_tasks.store.sites import Sites
from proactive_tasks.store.tables import AuthorityRow, CertificateRow, SecretRow


class Certificates(Sites):
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

    def authority(self, overlay: str) -> Authority | None:
        """The overlay's authority, if it has one yet."""
        with self.read() as session:
            known(session, overlay)
            row = session.get(AuthorityRow, overlay)
        if row is None:
            return None
        return Authority(row.certificate, row.sealed_key, row.crl, row.crl_number, row.crl_next_update)

    def save_authority(self, overlay: str, authority: Authority, actor: str) -> bool:
        """Record the authority, or its new list; whether anything differed."""
        with self.write(overlay) as session:
            known(session, overlay)
            row = session.get(AuthorityRow, overlay)
            if row is None:
                session.add(AuthorityRow(overlay=overlay, **asdict(authority)))
                happened(session, actor, overlay, "authority", overlay, "create", None, asdict(authority))
                return True
            before, after = change(row, asdict(authority))
            if after:
                happened(session, actor, overlay, "authority", overlay, "change", before, after)
            return bool(after)

    def put_secret(self, overlay: str, name: str, sealed: bytes, actor: str = "") -> bool:
        """Keep something that the overlay's vault sealed; whether it differed."""
        with self.write(overlay) as session:
            known(session, overlay)
            row = session.get(SecretRow, (overlay, name))
            if row is not None and row.sealed == sealed:
                return False
            if row is None:
                session.add(SecretRow(overlay=overlay, name=name, sealed=sealed))
            else:
                row.sealed = sealed
            happened(session, actor, overlay, "secret", name, "change" if row else "create")
            return True

    def secret(self, overlay: str, name: str) -> bytes | None:
        """What was kept under that name, still sealed."""
        with self.read() as session:
            known(session, overlay)
            row = session.get(SecretRow, (overlay, name))
        return None if row is None else row.sealed
