"""Overlays: what is wanted of each, in versions."""

from __future__ import annotations

from typing import Any

from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from proactive_tasks.overlay.errors import InputError, SecretError, UnknownObjectError
from proactive_tasks.overlay.spec import OverlaySpec
from proactive_tasks.store.base import now
from proactive_tasks.store.events import Events, happened
from proactive_tasks.store.tables import (
    AllocationRow,
    AuthorityRow,
    CertificateRow,
    ElasticFeedRow,
    ElasticSiteRow,
    LinkRow,
    MeasurementRow,
    OverlayRow,
    PlacementRow,
    ResourceRow,
    SecretRow,
    SiteRow,
    SpecificationRow,
    TokenRow,
)
from proactive_tasks.store.vault import Vault, derive, new_salt

FIXED = ("network", "transit_network", "provider_bits", "deployment_bits", "host_bits", "providers")
"""What the numbers of living sites rest on."""

CHECK = b"this passphrase opens this overlay"


class Overlays(Events):
    """Overlays and their specifications."""

    def save_spec(self, spec: OverlaySpec, actor: str) -> bool:
        """Record what is wanted, as a new version if it differs from the last; whether it did.

        Raises:
            InputError: the numbering plan of living sites would change.
        """
        document = spec.model_dump(mode="json")
        with self.write(spec.overlay) as session:
            overlay = session.get(OverlayRow, spec.overlay)
            last = None if overlay is None else latest_version(session, spec.overlay)
            if last is not None and last.document == document:
                return False
            if last is not None:
                _refuse_renumbering(session, spec, OverlaySpec.model_validate(last.document))
            if overlay is None:
                session.add(OverlayRow(name=spec.overlay, arrivals=0))
                session.flush()
            session.add(
                SpecificationRow(
                    overlay=spec.overlay,
                    number=last.number + 1 if last else 1,
                    at=now(),
                    actor=actor,
                    document=document,
                )
            )
            before, after = _differing(last.document if last else {}, document)
            happened(
                session, actor, spec.overlay, "overlay", spec.overlay, "change" if last else "create", before, after
            )
            return True

    def spec(self, overlay: str) -> OverlaySpec:
        """What is wanted of an overlay, by its last version.

        Raises:
            UnknownObjectError: no such overlay.
        """
        with self.read() as session:
            return wanted(session, overlay)

    def overlays(self) -> list[str]:
        """The names of all overlays that are there."""
        with self.read() as session:
            return list(session.scalars(select(OverlayRow.name).order_by(OverlayRow.name)))

    def drop_overlay(self, overlay: str, actor: str) -> None:
        """Forget an overlay whose sites are all gone: all but its events and the subnets that cool down.

        Raises:
            UnknownObjectError: no such overlay.
            InputError: it still has sites.
        """
        with self.write(overlay) as session:
            known(session, overlay)
            left = list(session.scalars(select(SiteRow.name).where(SiteRow.overlay == overlay).limit(5)))
            if left:
                raise InputError(f"overlay {overlay}: still has sites ({', '.join(left)}); release them first")
            for table in (
                PlacementRow,
                ResourceRow,
                LinkRow,
                CertificateRow,
                AuthorityRow,
                SecretRow,
                MeasurementRow,
                SpecificationRow,
                ElasticFeedRow,
                ElasticSiteRow,
                TokenRow,
            ):
                session.execute(delete(table).where(table.overlay == overlay))
            session.execute(delete(OverlayRow).where(OverlayRow.name == overlay))
            session.execute(
                delete(AllocationRow).where(AllocationRow.overlay == overlay, AllocationRow.released_at.is_(None))
            )
            happened(session, actor, overlay, "overlay", overlay, "delete")

    def vault(self, overlay: str, passphrase: str, key: bytes = b"") -> Vault:
        """The vault that seals the overlay's secrets. Its first use settles the passphrase.

        Args:
            overlay: whose.
            passphrase: what its key is derived from.
            key: one that was derived before, to save the time; passed over if it is not this vault's.

        Raises:
            UnknownObjectError: no such overlay.
            SecretError: the passphrase is empty, or another than at first.
        """
        with self.read() as session:
            row = known(session, overlay)
        if row.salt is None:
            salt = new_salt()
            fresh = Vault(derive(passphrase, salt))
            with self.write(overlay) as session:
                row = known(session, overlay)
                if row.salt is None:  # nobody was faster
                    row.salt, row.check = salt, fresh.seal(CHECK, "check")
                    return fresh
        if key and (derived := Vault(key)).opens(row.check or b"", "check"):
            return derived
        vault = Vault(derive(passphrase, row.salt or b""))
        if not vault.opens(row.check or b"", "check"):
            raise SecretError(
                f"overlay {overlay}: was deployed with another passphrase; set that one as OVERLAY_PASSPHRASE"
            )
        return vault


def known(session: Session, overlay: str) -> OverlayRow:
    """The overlay's row, or an error that names the overlays that are there."""
    row = session.get(OverlayRow, overlay)
    if row is None:
        there = list(session.scalars(select(OverlayRow.name).order_by(OverlayRow.name).limit(10)))
        hint = f"there are: {', '.join(there)}" if there else "there is none; deploy one first"
        raise UnknownObjectError(f"overlay {overlay!a}: not in the store; {hint}")
    return row


def latest_version(session: Session, overlay: str) -> SpecificationRow | None:
    """The last version of what is wanted."""
    query = select(SpecificationRow).where(SpecificationRow.overlay == overlay)
    return session.scalars(query.order_by(SpecificationRow.number.desc()).limit(1)).first()


def wanted(session: Session, overlay: str) -> OverlaySpec:
    """What is wanted of an overlay."""
    known(session, overlay)
    row = latest_version(session, overlay)
    if row is None:
        raise UnknownObjectError(f"overlay {overlay}: has no specification; deploy one")
    return OverlaySpec.model_validate(row.document)


def _differing(before: dict[str, Any], after: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    keys = [key for key in after if before.get(key) != after[key]]
    return {key: before[key] for key in keys if key in before}, {key: after[key] for key in keys}


def _refuse_renumbering(session: Session, spec: OverlaySpec, last: OverlaySpec) -> None:
    """The numbers of a living overlay stay: every address and route in use rests on them."""
    living = session.execute(
        select(SiteRow.provider, func.min(SiteRow.name))
        .where(SiteRow.overlay == spec.overlay)
        .group_by(SiteRow.provider)
    ).all()
    if not living:
        return
    old, new = last.split, spec.split
    changed = [key for key in FIXED[:-1] if getattr(last, key) != getattr(spec, key) and key != "deployment_bits"]
    if old.deployment_bits != new.deployment_bits:
        changed.append("deployment_bits")
    changed += [f"providers.{name}" for name, _ in living if old.providers[name] != new.providers[name]]
    if changed:
        raise InputError(
            f"overlay {spec.overlay}: {', '.join(changed)} cannot change while there are sites; "
            "keep the old value, or destroy the overlay and deploy it anew"
        )
