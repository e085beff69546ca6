"""Credentials of the clouds out of a scheduler's third-party credentials, for the SDKs' own chains to find."""

from __future__ import annotations

import os
from collections.abc import Callable

KEYS = (
    "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN",
    "AZURE_SUBSCRIPTION_ID", "AZURE_TENANT_ID", "AZURE_CLIENT_ID", "AZURE_CLIENT_SECRET",
    "OS_AUTH_URL", "OS_USERNAME", "OS_PASSWORD", "OS_PROJECT_NAME", "OS_PROJECT_ID", "OS_USER_DOMAIN_NAME",
    "OS_PROJECT_DOMAIN_NAME", "OS_APPLICATION_CREDENTIAL_ID", "OS_APPLICATION_CREDENTIAL_SECRET", "OS_AUTH_TYPE",
    "OVERLAY_EDGE_KEY",
)  # fmt: skip
"""Third-party credentials that are looked for; each has the name of the environment variable that the SDK reads."""


def provide(credential: Callable[[str], str]) -> None:
    """Put the credentials that are there into this process's environment; what it has of others stays.

    A task has a process of its own, which ends with it; the programs that it starts on this machine do not inherit
    them (`lab.processes.environment`).
    """
    for key in KEYS:
        if found := credential(key):
            os.environ[key] = found
