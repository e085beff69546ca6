"""The authority at work: what it issues is kept in the store, its key is sealed there."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from datetime import UTC, datetime

from proactive_tasks.overlay.model import Certificate, Site
from proactive_tasks.pki.authority import (
    SEAL_PURPOSE,
    Authority,
    certificate_due,
    issued_by,
    make_authority,
    renewal_due,
    revocations_due,
    sign_request,
    sign_revocations,
    validity,
)
from proactive_tasks.store import Store, records
from proactive_tasks.store.vault import Vault


def current(certificates: Iterable[Certificate]) -> dict[str, Certificate]:
    """Each site's newest certificate that is not revoked."""
    valid = [leaf for leaf in certificates if leaf.revoked_at is None]
    return {leaf.site: leaf for leaf in sorted(valid, key=lambda leaf: leaf.not_before)}


def issue(
    store: Store,
    overlay: str,
    vault: Callable[[str], Vault],
    actor: str,
    *,
    new_authority: bool = False,
    now: datetime | None = None,
) -> list[str]:
    """Issue what is due: authority, certificates, revocation lists. Returns a line for each; none when nothing is due.

    An authority gives way to the next in three steps, each at the next call after the one before is done: the new one
    is made, and the gateways trust both; when all do, it signs, and every leaf is issued anew; when the last leaf of
    the old one is past, that is forgotten. The vault is opened only when something is to be made or signed.

    Args:
        store: where what is issued is kept.
        overlay: whose.
        vault: opens the overlay's vault.
        actor: who stands in the events.
        new_authority: let the authority give way now, not only in the last third of its life.
        now: the moment that everything is judged by; by the clock unless given.
    """
    now = now or datetime.now(UTC)
    sites = store.sites(overlay)
    done = []
    authorities = store.authorities(overlay)
    settled = not authorities or authorities[-1] is _signer(authorities, sites)
    if not authorities or (settled and (new_authority or _ages(authorities[-1], now))):
        authorities.append(_next(store, overlay, vault, authorities, now, actor))
        done.append(f"authority {authorities[-1].number} of {overlay}: made")
    signer = _signer(authorities, sites)
    held = current(store.certificates(overlay))
    for site in sites:
        if site.ready and (why := _due(held.get(site.name), site, signer, now)):
            leaf = sign_request(_opened(signer, vault(overlay)), overlay, site.name, site.request, now)
            store.add_certificate(overlay, leaf, actor)
            done.append(f"certificate of {site.name}: issued until {leaf.not_after:%Y-%m-%d} ({why})")
    certificates = store.certificates(overlay)
    for authority in authorities:
        own = [leaf for leaf in certificates if issued_by(leaf, authority.certificate)]
        if authority.number < signer.number and all(leaf.not_after < now or leaf.revoked_at for leaf in own):
            store.drop_authority(overlay, authority.number, actor)
            done.append(f"authority {authority.number} of {overlay}: forgotten, its last certificate is past")
        elif why := revocations_due(authority.crl, own, now):
            signed = sign_revocations(_opened(authority, vault(overlay)), own, authority.crl_number + 1, now)
            record = replace(authority, crl=signed.pem, crl_number=signed.number, crl_next_update=signed.next_update)
            store.save_authority(overlay, record, actor)
            done.append(f"revocation list number {signed.number}: issued ({why})")
    return done


def _signer(authorities: Sequence[records.Authority], sites: Iterable[Site]) -> records.Authority:
    """The newest authority that every configured gateway trusts."""
    trusted = min((site.trusts for site in sites if site.trusts), default=authorities[-1].number)
    return next((each for each in reversed(authorities) if each.number <= trusted), authorities[0])


def _ages(authority: records.Authority, now: datetime) -> bool:
    return renewal_due(*validity(authority.certificate), now)


def _next(
    store: Store,
    overlay: str,
    vault: Callable[[str], Vault],
    authorities: Sequence[records.Authority],
    now: datetime,
    actor: str,
) -> records.Authority:
    number = authorities[-1].number + 1 if authorities else 1
    made = make_authority(overlay, now, number=number, algorithm=store.spec(overlay).key_algorithm)
    record = records.Authority(made.certificate, vault(overlay).seal(made.key, SEAL_PURPOSE), number)
    store.save_authority(overlay, record, actor)
    return record


def _due(leaf: Certificate | None, site: Site, signer: records.Authority, now: datetime) -> str:
    if why := certificate_due(leaf, site.request, now):
        return why
    if leaf is not None and not issued_by(leaf, signer.certificate):
        return f"authority {signer.number} signs now"
    return ""


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
