"""The vault: what is secret is sealed with a key that only the passphrase gives."""

from __future__ import annotations

import os

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from proactive_tasks.overlay.errors import SecretError

FORM = b"\x01"
NONCE = 12
SALT = 16
COST, BLOCK, PARALLEL = 1 << 15, 8, 1
"""Parameters of scrypt: 32 MB and some 0.1 s a guess (RFC 7914)."""


def new_salt() -> bytes:
    """A salt for a new vault."""
    return os.urandom(SALT)


def derive(passphrase: str, salt: bytes) -> bytes:
    """The key that a passphrase gives, slowly on purpose.

    Raises:
        SecretError: the passphrase is empty.
    """
    if not passphrase:
        raise SecretError("the overlay's passphrase is empty; set the credential OVERLAY_PASSPHRASE")
    return Scrypt(salt=salt, length=32, n=COST, r=BLOCK, p=PARALLEL).derive(passphrase.encode())


class Vault:
    """Seals and opens bytes under one derived key: AES-256-GCM with the purpose as associated data."""

    def __init__(self, key: bytes) -> None:
        self.key = key
        self._cipher = AESGCM(key)

    def seal(self, data: bytes, purpose: str) -> bytes:
        """Encrypt `data` so that it opens for this passphrase and this purpose only."""
        nonce = os.urandom(NONCE)
        return FORM + nonce + self._cipher.encrypt(nonce, data, purpose.encode())

    def open(self, sealed: bytes, purpose: str) -> bytes:
        """Decrypt what `seal` made.

        Raises:
            SecretError: another passphrase, another purpose, or damaged data.
        """
        nonce, body = sealed[1 : 1 + NONCE], sealed[1 + NONCE :]
        try:
            return self._cipher.decrypt(nonce, body, purpose.encode())
        except (InvalidTag, ValueError):
            raise SecretError(
                f"the sealed {purpose} does not open: the passphrase is wrong, or the data was damaged; "
                "pass the passphrase that the overlay was deployed with"
            ) from None

    def opens(self, sealed: bytes, purpose: str) -> bool:
        """Whether `sealed` was sealed with this key, for this purpose."""
        try:
            self.open(sealed, purpose)
        except SecretError:
            return False
        return True
