"""The authority at work: what it issues is kept in the store, its key is sealed there."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import UTC, datetime

from proactive_tasks.overlay.model import Certificate
from proactive_tasks.pki.authority import (
    SEAL_PURPOSE,
    Authority,
    certificate_due,
    make_authority,
    revocations_due,
    sign_request,
    sign_revocations,
)
from proactive_tasks.store import Store, records
from proactive_tasks.store.vault import Vault


def certificates_due(store: Store, overlay: str, now: datetime) -> dict[str, str]:
    """The ready sites that need a certificate, and why; no secret is needed to tell."""
    held = current(store.certificates(overlay))
    return {
        site.name: why
        for site in store.sites(overlay)
        if site.ready and (why := certificate_due(held.get(site.name), site.request, now))
    }


def current(certificates: Iterable[Certificate]) -> dict[str, Certificate]:
    """Each site's newest certificate that is not revoked."""
    valid = [leaf for leaf in certificates if leaf.revoked_at is None]
    return {leaf.site: leaf for leaf in sorted(valid, key=lambda leaf: leaf.not_before)}


def issue(store: Store, overlay: str, vault: Callable[[str], Vault], actor: str) -> list[str]:
    """Issue what is due: authority, certificates, revocation list. Returns a line for each; none when nothing is due.

    The vault is opened only when something is to be signed.
    """
    now = datetime.now(UTC)
    known = store.authority(overlay)
    due = certificates_due(store, overlay, now)
    done = []
    if known is None:
        made = make_authority(overlay, now)
        known = records.Authority(made.certificate, vault(overlay).seal(made.key, SEAL_PURPOSE))
        store.save_authority(overlay, known, actor)
        done.append(f"authority of {overlay}: made")
    authority: Authority | None = None
    requests = {site.name: site.request for site in store.sites(overlay)}
    for name, why in due.items():
        authority = authority or _opened(known, vault(overlay))
        leaf = sign_request(authority, overlay, name, requests[name], now)
        store.add_certificate(overlay, leaf, actor)
        done.append(f"certificate of {name}: issued until {leaf.not_after:%Y-%m-%d} ({why})")
    certificates = store.certificates(overlay)
    if why := revocations_due(known.crl, certificates, now):
        authority = authority or _opened(known, vault(overlay))
        signed = sign_revocations(authority, certificates, known.crl_number + 1, now)
        record = records.Authority(known.certificate, known.sealed_key, signed.pem, signed.number, signed.next_update)
        store.save_authority(overlay, record, actor)
        done.append(f"revocation list number {signed.number}: issued ({why})")
    return done


def revoke(store: Store, overlay: str, sites: Iterable[str], actor: str) -> list[str]:
    """Revoke every certificate of some sites; the list that says so is issued by `issue`."""
    now = datetime.now(UTC)
    leaving = set(sites)
    done = []
    for leaf in store.certificates(overlay):
        if leaf.site in leaving and leaf.revoked_at is None:
            store.revoke(overlay, leaf.serial, now, actor)
            done.append(f"certificate of {leaf.site}, serial {leaf.serial:x}: revoked")
    return done


def _opened(record: records.Authority, vault: Vault) -> Authority:
    return Authority(record.certificate, vault.open(record.sealed_key, SEAL_PURPOSE))
