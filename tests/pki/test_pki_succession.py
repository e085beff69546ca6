"""An authority gives way to the next: at every step each gateway can verify every other, by OpenSSL's own word."""

from __future__ import annotations

import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from proactive_tasks.overlay.model import Origin, SiteState
from proactive_tasks.overlay.spec import load_spec
from proactive_tasks.pki.authority import AUTHORITY_LIFE, LEAF_LIFE
from proactive_tasks.pki.issuing import current, issue
from proactive_tasks.store import Store

NOW = datetime.now(UTC).replace(microsecond=0)
SPEC = "version: 1\noverlay: presto\nsites: [{name: paris, provider: lab}, {name: rome, provider: lab}]\n"


def request_for(name: str) -> str:
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    builder = x509.CertificateSigningRequestBuilder().subject_name(subject)
    signed = builder.sign(ec.generate_private_key(ec.SECP256R1()), hashes.SHA256())
    return signed.public_bytes(serialization.Encoding.PEM).decode()


class Overlay:
    """Two gateways that hold what they were last configured with, and the store behind them."""

    def __init__(self, store: Store, folder: Path) -> None:
        self.store, self.folder = store, folder
        self.vault = store.vault("presto", "pw")
        self.holds: dict[str, tuple[str, str, str]] = {}
        self.calls = 0

    def issue(self, at: datetime = NOW, *, new_authority: bool = False) -> list[str]:
        self.calls += 1
        at += timedelta(seconds=self.calls)  # no two leaves of a site are of one second
        return issue(self.store, "presto", lambda _overlay: self.vault, "test", new_authority=new_authority, now=at)

    def configure(self, *sites: str) -> None:
        authorities = self.store.authorities("presto")
        leaves = current(self.store.certificates("presto"))
        for site in sites:
            trusted = "".join(each.certificate for each in authorities), "".join(each.crl for each in authorities)
            self.holds[site] = (*trusted, leaves[site].pem)
            self.store.update_site("presto", site, "test", state=SiteState.CONNECTED, trusts=authorities[-1].number)

    def all_verify(self, at: datetime = NOW) -> bool:
        """Whether each gateway verifies the other's leaf, against what it holds itself."""
        return all(self._verifies(a, b, at) for a in self.holds for b in self.holds if a != b)

    def _verifies(self, verifier: str, shown: str, at: datetime) -> bool:
        files = dict(zip(("authority", "revoked"), self.holds[verifier], strict=False)) | {"leaf": self.holds[shown][2]}
        for name, text in files.items():
            (self.folder / name).write_text(text)
        command = ["openssl", "verify", "-x509_strict", "-crl_check", "-attime", str(int(at.timestamp()))]
        command += ["-CAfile", "authority", "-CRLfile", "revoked", "leaf"]
        return subprocess.run(command, cwd=self.folder, capture_output=True, timeout=60, check=False).returncode == 0

    @property
    def numbers(self) -> list[int]:
        return [authority.number for authority in self.store.authorities("presto")]


@pytest.fixture
def overlay(store: Store, tmp_path: Path) -> Overlay:
    spec = load_spec(SPEC)
    store.save_spec(spec, "test")
    store.bring_in("presto", spec.sites, Origin.FILE, "test")
    for site in ("paris", "rome"):
        store.update_site("presto", site, "test", state=SiteState.PROVISIONED, request=request_for(site))
    made = Overlay(store, tmp_path)
    assert made.issue()
    made.configure("paris", "rome")
    assert made.all_verify()
    assert made.issue() == []
    return made


def test_an_authority_gives_way_step_by_step_and_no_handshake_fails_meanwhile(overlay: Overlay) -> None:
    assert "authority 2 of presto: made" in overlay.issue(new_authority=True)
    assert overlay.all_verify()
    overlay.configure("paris")  # rome is late: nothing is signed by what it does not trust yet
    assert overlay.all_verify()
    assert overlay.issue(new_authority=True) == []
    overlay.configure("rome")
    assert [line for line in overlay.issue() if "authority 2 signs now" in line and line.startswith("certificate of ")]
    overlay.configure("rome")
    assert overlay.all_verify()  # one has its new leaf, the other not yet
    overlay.configure("paris")
    assert overlay.all_verify()
    assert overlay.issue() == []
    assert overlay.numbers == [1, 2]


def test_the_old_authority_is_forgotten_when_its_last_certificate_is_past(overlay: Overlay) -> None:
    overlay.issue(new_authority=True)
    overlay.configure("paris", "rome")
    overlay.issue()
    overlay.configure("paris", "rome")
    later = NOW + LEAF_LIFE + timedelta(days=1)
    overlay.issue(later - timedelta(days=2))
    assert overlay.numbers == [1, 2]
    assert any("authority 1 of presto: forgotten" in line for line in overlay.issue(later))
    assert overlay.numbers == [2]
    overlay.configure("paris", "rome")
    assert overlay.all_verify(later)


def test_an_authority_in_the_last_third_of_its_life_gives_way_by_itself(overlay: Overlay) -> None:
    assert not any("authority" in line for line in overlay.issue(NOW + AUTHORITY_LIFE * 0.6))
    assert "authority 2 of presto: made" in overlay.issue(NOW + AUTHORITY_LIFE * 0.7)


def test_a_gateway_that_joins_meanwhile_holds_nothing_back(overlay: Overlay) -> None:
    overlay.issue(new_authority=True)
    spec = load_spec(SPEC.replace("]", ", {name: oslo, provider: lab}]"))
    overlay.store.save_spec(spec, "test")
    overlay.store.bring_in("presto", spec.sites, Origin.FILE, "test")
    overlay.store.update_site("presto", "oslo", "test", state=SiteState.PROVISIONED, request=request_for("oslo"))
    overlay.issue()
    overlay.configure("paris", "rome", "oslo")
    assert overlay.all_verify()
    overlay.issue()
    overlay.configure("oslo")
    assert overlay.all_verify()
