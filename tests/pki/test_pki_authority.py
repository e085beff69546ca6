"""The authority's certificates, judged by OpenSSL's own verify, by TLS handshakes and by properties."""

from __future__ import annotations

import socket
import ssl
import subprocess
import threading
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st

from proactive_tasks.overlay.errors import PkiError
from proactive_tasks.pki import authority as pki

NOW = datetime.now(UTC).replace(microsecond=0)
REFUSED = "(?i)verify failed|alert|closed|reset|broken pipe|eof"  # either end may see it first


def request_for(name, key=None):
    key = key or ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    digest = None if isinstance(key, ed25519.Ed25519PrivateKey) else hashes.SHA256()
    request = x509.CertificateSigningRequestBuilder().subject_name(subject).sign(key, digest)
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()
    return request.public_bytes(serialization.Encoding.PEM).decode(), pem


@pytest.fixture(scope="module")
def authority():
    return pki.make_authority("presto", NOW)


@pytest.fixture
def leaf(authority):
    return pki.sign_request(authority, "presto", "campus", request_for("campus")[0], NOW)


def verify(tmp_path, authority_pem, leaf_pem, *, revocations=None, at=NOW, options=()):
    (tmp_path / "authority.pem").write_text(authority_pem)
    (tmp_path / "leaf.pem").write_text(leaf_pem)
    command = ["openssl", "verify", "-x509_strict", "-attime", str(int(at.timestamp()))]
    command += ["-CAfile", str(tmp_path / "authority.pem"), *options]
    if revocations is not None:
        (tmp_path / "revoked.pem").write_text(revocations)
        command += ["-crl_check", "-CRLfile", str(tmp_path / "revoked.pem")]
    return subprocess.run([*command, str(tmp_path / "leaf.pem")], capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize("algorithm", ["ecdsa", "rsa"])
@pytest.mark.parametrize("purpose", ["sslserver", "sslclient"])
def test_openssl_accepts_a_leaf_strictly_and_for_both_roles(tmp_path, algorithm, purpose):
    made = pki.make_authority("presto", NOW, algorithm=algorithm)
    leaf = pki.sign_request(made, "presto", "campus", request_for("campus")[0], NOW)
    options = ("-purpose", purpose, "-verify_hostname", "campus")
    assert verify(tmp_path, made.certificate, leaf.pem, options=options).returncode == 0


def test_openssl_refuses_another_name_and_another_time(tmp_path, authority, leaf):
    wrong = verify(tmp_path, authority.certificate, leaf.pem, options=("-verify_hostname", "aws-frankfurt"))
    assert "hostname mismatch" in wrong.stderr.lower()
    assert verify(tmp_path, authority.certificate, leaf.pem, at=NOW - timedelta(minutes=9)).returncode == 0
    assert "not yet valid" in verify(tmp_path, authority.certificate, leaf.pem, at=NOW - timedelta(hours=1)).stderr
    assert "expired" in verify(tmp_path, authority.certificate, leaf.pem, at=NOW + timedelta(days=91)).stderr


def test_openssl_honours_the_revocation_list(tmp_path, authority, leaf):
    good = pki.sign_revocations(authority, [leaf], 1, NOW)
    assert verify(tmp_path, authority.certificate, leaf.pem, revocations=good.pem).returncode == 0
    bad = pki.sign_revocations(authority, [replace(leaf, revoked_at=NOW)], 2, NOW)
    assert "revoked" in verify(tmp_path, authority.certificate, leaf.pem, revocations=bad.pem).stderr


def test_openssl_refuses_every_leaf_under_an_expired_list(tmp_path, authority, leaf):
    old = pki.sign_revocations(authority, [], 1, NOW - timedelta(days=100), life=timedelta(days=10))
    assert "CRL has expired" in verify(tmp_path, authority.certificate, leaf.pem, revocations=old.pem).stderr


def test_name_constraints_bind_the_authority_to_its_overlay(tmp_path, authority):
    foreign = pki.sign_request(authority, "other", "campus", request_for("campus")[0], NOW)
    assert "permitted subtree violation" in verify(tmp_path, authority.certificate, foreign.pem).stderr
    certificate = x509.load_pem_x509_certificate(foreign.pem.encode())
    assert not [e for e in certificate.extensions if isinstance(e.value, x509.NameConstraints)]


def handshake(tmp_path, authority, server, client, *, server_name, revocations=None):
    """A TLS handshake in which both ends check the other; returns what the client saw of the server."""

    def context(role, name, pair):
        made = ssl.SSLContext(role)
        made.minimum_version = ssl.TLSVersion.TLSv1_3
        chain = tmp_path / f"{name}.pem"
        chain.write_text(pair[1] + pair[0].pem)
        made.load_cert_chain(chain)
        made.load_verify_locations(cadata=authority.certificate)
        made.verify_mode = ssl.CERT_REQUIRED
        if revocations:
            made.load_verify_locations(tmp_path / "revoked.pem")
            made.verify_flags |= ssl.VERIFY_CRL_CHECK_LEAF
        return made

    if revocations:
        (tmp_path / "revoked.pem").write_text(revocations)
    left, right = socket.socketpair()
    left.settimeout(60)
    right.settimeout(60)
    failures = []

    def serve():
        try:
            with context(ssl.PROTOCOL_TLS_SERVER, "server", server).wrap_socket(left, server_side=True) as stream:
                stream.sendall(b"x")
        except OSError as error:
            failures.append(error)
            left.close()

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        wrapped = context(ssl.PROTOCOL_TLS_CLIENT, "client", client).wrap_socket(right, server_hostname=server_name)
        with wrapped as stream:
            stream.recv(1)
            return stream.getpeercert()
    finally:
        right.close()
        thread.join(60)
        if failures:
            raise failures[0]


def pair(authority, name):
    request, key = request_for(name)
    return pki.sign_request(authority, "presto", name, request, NOW), key


def test_tls_handshakes_succeed_each_way(tmp_path, authority):
    a, b = pair(authority, "campus"), pair(authority, "edge-1")
    revocations = pki.sign_revocations(authority, [], 1, NOW).pem
    seen = handshake(tmp_path, authority, a, b, server_name="campus", revocations=revocations)
    assert seen["subjectAltName"] == (("DNS", "campus"),)
    assert handshake(tmp_path, authority, b, a, server_name="edge-1", revocations=revocations)


def test_a_handshake_fails_for_a_wrong_name_a_revoked_leaf_and_a_foreign_authority(tmp_path, authority):
    a, b = pair(authority, "campus"), pair(authority, "edge-1")
    with pytest.raises(OSError, match=REFUSED):
        handshake(tmp_path, authority, a, b, server_name="edge-1")
    revoked = pki.sign_revocations(authority, [replace(b[0], revoked_at=NOW)], 1, NOW).pem
    with pytest.raises(OSError, match=REFUSED):
        handshake(tmp_path, authority, a, b, server_name="campus", revocations=revoked)
    stranger = pair(pki.make_authority("presto", NOW), "edge-1")
    with pytest.raises(OSError, match=REFUSED):
        handshake(tmp_path, authority, a, stranger, server_name="campus")


@pytest.mark.parametrize(
    ("request_pem", "why"),
    [
        ("rubbish", "not a PEM"),
        (request_for("other")[0], "asks for the name"),
        (request_for("campus", ed25519.Ed25519PrivateKey.generate())[0], "weak or unknown"),
        (request_for("campus", rsa.generate_private_key(public_exponent=65537, key_size=1024))[0], "weak or unknown"),
    ],
)
def test_a_request_that_does_not_fit_is_refused(authority, request_pem, why):
    with pytest.raises(PkiError, match=why):
        pki.sign_request(authority, "presto", "campus", request_pem, NOW)


def test_a_request_signed_by_another_key_is_refused(authority):
    der = bytearray(x509.load_pem_x509_csr(request_for("campus")[0].encode()).public_bytes(serialization.Encoding.DER))
    der[-1] ^= 1
    forged = x509.load_der_x509_csr(bytes(der)).public_bytes(serialization.Encoding.PEM).decode()
    with pytest.raises(PkiError, match="not signed by its own key"):
        pki.sign_request(authority, "presto", "campus", forged, NOW)


def test_an_unknown_algorithm_is_refused():
    with pytest.raises(PkiError, match="use ecdsa or rsa"):
        pki.make_authority("presto", NOW, algorithm="dsa")


def test_no_leaf_outlives_its_authority(authority):
    _, end = pki.validity(authority.certificate)
    leaf = pki.sign_request(authority, "presto", "campus", request_for("campus")[0], end - timedelta(days=3))
    assert leaf.not_after == end
    with pytest.raises(PkiError, match="has expired"):
        pki.sign_request(authority, "presto", "campus", request_for("campus")[0], end)


def test_the_key_shows_in_no_representation(authority):
    assert authority.key.hex()[:16] not in repr(authority)
    assert str(authority.key)[2:20] not in repr(authority)


def test_a_leaf_is_due_for_each_reason_once(authority, leaf):
    request = request_for("campus")[0]
    assert pki.certificate_due(None, request, NOW) == "no certificate yet"
    assert pki.certificate_due(leaf, request, NOW) == "the gateway has a new key"
    own, _ = request_for("campus", key := ec.generate_private_key(ec.SECP256R1()))
    fresh = pki.sign_request(authority, "presto", "campus", own, NOW)
    assert pki.certificate_due(fresh, request_for("campus", key)[0], NOW) == ""
    assert "third" in pki.certificate_due(fresh, own, NOW + timedelta(days=61))
    assert pki.certificate_due(replace(fresh, revoked_at=NOW), own, NOW) == "certificate revoked"


def test_a_list_is_due_when_content_changes_a_leaf_outlives_it_or_it_ages(authority, leaf):
    assert pki.revocations_due("", [], NOW)
    made = pki.sign_revocations(authority, [leaf], 1, NOW)
    assert pki.revocations_due(made.pem, [leaf], NOW) == ""
    assert "content" in pki.revocations_due(made.pem, [replace(leaf, revoked_at=NOW)], NOW)
    assert "outlive" in pki.revocations_due(made.pem, [replace(leaf, not_after=NOW + timedelta(days=200))], NOW)
    assert "third" in pki.revocations_due(made.pem, [leaf], NOW + timedelta(days=85))


@given(lives=st.lists(st.integers(1, 4000), max_size=5), number=st.integers(1, 2**60))
def test_a_list_outlives_every_leaf_and_carries_its_number(authority, lives, number):
    leaves = [pki.Certificate(i + 1, f"s{i}", "", NOW, NOW + timedelta(days=d)) for i, d in enumerate(lives)]
    made = pki.sign_revocations(authority, leaves, number, NOW)
    assert all(made.next_update > leaf.not_after for leaf in leaves)
    parsed = x509.load_pem_x509_crl(made.pem.encode())
    assert parsed.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number == number
    assert parsed.next_update_utc == made.next_update


@given(life=st.integers(1, 10**9), age=st.floats(0, 1))
def test_renewal_is_due_exactly_in_the_last_third(life, age):
    end = NOW + timedelta(seconds=life)
    at = NOW + timedelta(seconds=life) * age
    assert pki.renewal_due(NOW, end, at) == (end - at <= timedelta(seconds=life) / 3)
