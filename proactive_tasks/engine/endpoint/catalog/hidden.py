"""Values of hidden variables: nobody reads them in the catalog's store, or downloads them."""

from __future__ import annotations

import os
import re

from cryptography.fernet import Fernet, InvalidToken
from lxml import etree

from proactive_tasks.engine.endpoint.catalog.rules import CatalogError
from proactive_tasks.overlay.errors import StoreUnavailableError
from proactive_tasks.store.location import state_directory

SEALED = re.compile(r"ENC\((.*)\)", re.DOTALL)


def seal(value: str) -> str:
    """The value as it is stored; one that is sealed already stays so."""
    return value if SEALED.fullmatch(value) else f"ENC({_cipher().encrypt(value.encode()).decode()})"


def reveal(workflow: bytes) -> bytes:
    """The workflow with the values of its hidden variables.

    Raises:
        CatalogError: another machine's endpoint has sealed a value.
    """
    if b"ENC(" not in workflow:
        return workflow
    parser = etree.XMLParser(strip_cdata=False, resolve_entities=False, no_network=True)
    root = etree.fromstring(workflow, parser)
    for variable in root.iter("{*}variable"):
        sealed = SEALED.fullmatch(variable.get("value", ""))
        if sealed and variable.get("model", "").strip().upper().startswith("PA:HIDDEN"):
            try:
                variable.set("value", _cipher().decrypt(sealed[1].encode()).decode())
            except InvalidToken:
                raise CatalogError(
                    400,
                    f"Variable '{variable.get('name')}' was sealed by another endpoint; store the workflow again with "
                    "the value, or give it at submission",
                ) from None
    return etree.tostring(root.getroottree(), encoding="UTF-8", xml_declaration=True)


def _cipher() -> Fernet:
    """The key of this user's endpoint, made at first use."""
    path = state_directory() / "catalog-key"
    try:
        try:
            descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
        except FileExistsError:
            return Fernet(path.read_bytes())
        key = Fernet.generate_key()
        with os.fdopen(descriptor, "wb") as file:
            file.write(key)
        return Fernet(key)
    except (OSError, ValueError) as error:
        raise StoreUnavailableError(
            f"{path}: {error}; make it readable, or remove it and store hidden values again"
        ) from error
