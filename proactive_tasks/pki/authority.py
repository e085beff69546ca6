"""The overlay's certificate authority, as pure functions: no disk, no store, and the clock is an argument.

Profile: RFC 5280. Name constraints stand in the authority's certificate only; start dates lie ten minutes back, since
clocks differ; the revocation list outlives every leaf, since OpenVPN refuses all handshakes under an expired list.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from ipaddress import IPv4Network, IPv6Network
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from proactive_tasks.overlay.errors import PkiError
from proactive_tasks.overlay.model import Certificate

if TYPE_CHECKING:
    from collections.abc import Iterable

SEAL_PURPOSE = "certificate authority key"
"""The purpose under which the authority's key is sealed."""

BACKDATED = timedelta(minutes=10)
AUTHORITY_LIFE = timedelta(days=3650)
LEAF_LIFE = timedelta(days=90)
LIST_LIFE = timedelta(days=120)
_RSA_BITS = 3072
_LEAST_RSA_BITS = 2048

PrivateKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey


@dataclass(frozen=True, slots=True)
class Authority:
    """An authority that can sign. Its key is PKCS #8 DER: in memory only, sealed before it is stored."""

    certificate: str
    key: bytes

    def __repr__(self) -> str:
        return f"Authority(fingerprint={fingerprint(self.certificate)!r}, key=<redacted>)"


@dataclass(frozen=True, slots=True)
class RevocationList:
    """A signed revocation list."""

    pem: str
    number: int
    next_update: datetime


def make_authority(
    overlay: str, now: datetime, *, number: int = 1, algorithm: str = "ecdsa", life: timedelta = AUTHORITY_LIFE
) -> Authority:
    """A new authority for an overlay, its `number`th: ECDSA P-256, or RSA when `algorithm` is "rsa".

    Raises:
        PkiError: the algorithm is neither.
    """
    key = _new_key(algorithm)
    name = x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, overlay),
            x509.NameAttribute(NameOID.COMMON_NAME, f"{overlay} authority {number}"),
        ]
    )
    identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    builder = (
        _certificate(name, name, key.public_key(), now, life)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(authority=True), critical=True)
        .add_extension(identifier, critical=False)
        .add_extension(_authority_identifier(identifier), critical=False)
        .add_extension(_name_constraints(overlay), critical=True)
    )
    der = key.private_bytes(serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return Authority(_pem(builder.sign(key, hashes.SHA256())), der)


def sign_request(
    authority: Authority, overlay: str, site: str, request: str, now: datetime, *, life: timedelta = LEAF_LIFE
) -> Certificate:
    """A leaf for the gateway of `site`, from the PEM request that the gateway made.

    Raises:
        PkiError: the request is malformed, badly signed, made with a weak key or for another name.
    """
    public_key = check_request(site, request)
    issuer = x509.load_pem_x509_certificate(authority.certificate.encode())
    life = min(life, issuer.not_valid_after_utc - now)
    if life <= timedelta():
        raise PkiError(f"authority of overlay {overlay!r} has expired: make a new one before signing for {site!r}")
    subject = x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, overlay),
            x509.NameAttribute(NameOID.COMMON_NAME, site),
        ]
    )
    usages = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
    identifier = issuer.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    leaf = (
        _certificate(subject, issuer.subject, public_key, now, life)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(authority=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage(usages), critical=False)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(site)]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
        .add_extension(_authority_identifier(identifier), critical=False)
        .sign(_private_key(authority), hashes.SHA256())
    )
    return Certificate(
        serial=leaf.serial_number,
        site=site,
        pem=_pem(leaf),
        not_before=leaf.not_valid_before_utc,
        not_after=leaf.not_valid_after_utc,
    )


def sign_revocations(
    authority: Authority,
    certificates: Iterable[Certificate],
    number: int,
    now: datetime,
    *,
    life: timedelta = LIST_LIFE,
) -> RevocationList:
    """The list of those of `certificates` that are revoked; valid for `life`, and beyond the last living leaf.

    `number` is the number of the list (RFC 5280, 5.2.3): one more than that of the list before.
    """
    certificates = tuple(certificates)
    next_update = max([now + life, *(c.not_after + timedelta(days=1) for c in certificates)]).replace(microsecond=0)
    issuer = x509.load_pem_x509_certificate(authority.certificate.encode())
    identifier = issuer.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(issuer.subject)
        .last_update(now - BACKDATED)
        .next_update(next_update)
        .add_extension(x509.CRLNumber(number), critical=False)
        .add_extension(_authority_identifier(identifier), critical=False)
    )
    for certificate in sorted(certificates, key=lambda c: c.serial):
        if certificate.revoked_at is not None:
            builder = builder.add_revoked_certificate(
                x509.RevokedCertificateBuilder()
                .serial_number(certificate.serial)
                .revocation_date(certificate.revoked_at)
                .build()
            )
    signed = builder.sign(_private_key(authority), hashes.SHA256())
    return RevocationList(signed.public_bytes(serialization.Encoding.PEM).decode(), number, next_update)


def renewal_due(not_before: datetime, not_after: datetime, now: datetime) -> bool:
    """Whether a third of a life, or less, is left."""
    return not_after - now <= (not_after - not_before) / 3


def certificate_due(certificate: Certificate | None, request: str, now: datetime) -> str:
    """Why a site needs a new leaf: a few words, or "" when it needs none."""
    if certificate is None:
        return "no certificate yet"
    if certificate.revoked_at is not None:
        return "certificate revoked"
    if _public_bytes(x509.load_pem_x509_certificate(certificate.pem.encode()).public_key()) != _public_bytes(
        _request(certificate.site, request).public_key()
    ):
        return "the gateway has a new key"
    if renewal_due(certificate.not_before, certificate.not_after, now):
        return f"a third of its life is left, until {certificate.not_after:%Y-%m-%d}"
    return ""


def revocations_due(pem: str, certificates: Iterable[Certificate], now: datetime) -> str:
    """Why a new revocation list is needed: a few words, or "" when the list `pem` still does."""
    if not pem:
        return "no revocation list yet"
    known = x509.load_pem_x509_crl(pem.encode())
    certificates = tuple(certificates)
    revoked = {c.serial for c in certificates if c.revoked_at is not None}
    if revoked != {entry.serial_number for entry in known}:
        return "its content changes"
    next_update = known.next_update_utc
    if next_update is None or any(c.not_after >= next_update for c in certificates if c.revoked_at is None):
        return "a leaf would outlive it"
    if renewal_due(known.last_update_utc, next_update, now):
        return f"a third of its life is left, until {next_update:%Y-%m-%d}"
    return ""


def issued_by(certificate: Certificate, authority: str) -> bool:
    """Whether a leaf bears the key identifier of this authority (PEM)."""
    leaf = x509.load_pem_x509_certificate(certificate.pem.encode())
    named = leaf.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value.key_identifier
    issuer = x509.load_pem_x509_certificate(authority.encode())
    return named == issuer.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest


def validity(pem: str) -> tuple[datetime, datetime]:
    """Start and end of a certificate's life."""
    certificate = x509.load_pem_x509_certificate(pem.encode())
    return certificate.not_valid_before_utc, certificate.not_valid_after_utc


def fingerprint(pem: str) -> str:
    """SHA-256 of a certificate, hexadecimal."""
    return x509.load_pem_x509_certificate(pem.encode()).fingerprint(hashes.SHA256()).hex()


def _new_key(algorithm: str) -> PrivateKey:
    if algorithm == "ecdsa":
        return ec.generate_private_key(ec.SECP256R1())
    if algorithm == "rsa":
        return rsa.generate_private_key(public_exponent=65537, key_size=_RSA_BITS)
    raise PkiError(f"key algorithm {algorithm!r} is not known: use ecdsa or rsa")


def _private_key(authority: Authority) -> PrivateKey:
    key = serialization.load_der_private_key(authority.key, password=None)
    if not isinstance(key, ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey):
        raise PkiError("the authority's key is neither ECDSA nor RSA: was another secret stored in its place?")
    return key


def _request(site: str, pem: str) -> x509.CertificateSigningRequest:
    try:
        return x509.load_pem_x509_csr(pem.encode())
    except ValueError as error:
        raise PkiError(f"request of site {site!r} is not a PEM certificate request: {error}") from error


def check_request(site: str, pem: str) -> ec.EllipticCurvePublicKey | rsa.RSAPublicKey:
    """The public key of a request that may be signed for `site`.

    Raises:
        PkiError: the request is malformed, badly signed, made with a weak key or for another name.
    """
    request = _request(site, pem)
    names = [attribute.value for attribute in request.subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
    if names != [site]:
        raise PkiError(f"request of site {site!r} asks for the name {names}: make the gateway's request anew")
    try:
        valid = request.is_signature_valid
    except InvalidSignature:  # pragma: no cover - older releases of cryptography answer by exception
        valid = False
    if not valid:
        raise PkiError(f"request of site {site!r} is not signed by its own key: make the gateway's request anew")
    key = request.public_key()
    if isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, ec.SECP256R1 | ec.SECP384R1):
        return key
    if isinstance(key, rsa.RSAPublicKey) and key.key_size >= _LEAST_RSA_BITS:
        return key
    raise PkiError(f"request of site {site!r} has a weak or unknown key: use ECDSA P-256 or RSA of 2048 bits and more")


def _certificate(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePublicKey | rsa.RSAPublicKey,
    now: datetime,
    life: timedelta,
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - BACKDATED)
        .not_valid_after(now + life)
    )


def _key_usage(*, authority: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not authority,
        key_cert_sign=authority,
        crl_sign=authority,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _name_constraints(overlay: str) -> x509.NameConstraints:
    """Only subjects of this overlay, and no addresses: sites are named by their names."""
    organization = x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, overlay)])
    return x509.NameConstraints(
        permitted_subtrees=[x509.DirectoryName(organization)],
        excluded_subtrees=[x509.IPAddress(IPv4Network("0.0.0.0/0")), x509.IPAddress(IPv6Network("::/0"))],
    )


def _authority_identifier(identifier: x509.SubjectKeyIdentifier) -> x509.AuthorityKeyIdentifier:
    return x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier)


def _public_bytes(key: object) -> bytes:
    if not isinstance(key, ec.EllipticCurvePublicKey | rsa.RSAPublicKey):
        return b""
    return key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)


def _pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(serialization.Encoding.PEM).decode()
