"""What a workflow asks of whoever submits it: variables that it declares, credentials that its tasks look for."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from lxml import etree

from proactive_tasks.overlay.errors import SchedulerInputError
from proactive_tasks.scheduler.binding import STORE_PASSWORD
from proactive_tasks.scheduler.context import PASSPHRASE

OURS = "proactive_tasks.scheduler.binding"
"""Stands in every task script of the package."""

CLOUDS: Mapping[str, tuple[tuple[str, ...], ...]] = {
    "aws": (("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"),),
    "azure": (("AZURE_SUBSCRIPTION_ID", "AZURE_TENANT_ID", "AZURE_CLIENT_ID", "AZURE_CLIENT_SECRET"),),
    "openstack": (
        ("OS_AUTH_URL", "OS_USERNAME", "OS_PASSWORD", "OS_PROJECT_NAME"),
        ("OS_AUTH_URL", "OS_AUTH_TYPE", "OS_APPLICATION_CREDENTIAL_ID", "OS_APPLICATION_CREDENTIAL_SECRET"),
    ),
    "edge": (("OVERLAY_EDGE_KEY",),),
    "lab": ((),),
}
"""Credentials of each provider, in each of the ways in which one can log in there."""


@dataclass(frozen=True)
class Declared:
    """A workflow as far as a submission goes."""

    name: str
    variables: Mapping[str, str]
    models: Mapping[str, str]
    ours: bool

    def unknown(self, given: Collection[str]) -> list[str]:
        """Variables that it does not declare, but for those of a task (TASK:NAME); a scheduler takes any."""
        return [name for name in given if name not in self.variables and ":" not in name]

    def missing(self, given: Mapping[str, str], keys: Collection[str]) -> list[str]:
        """What its tasks will look for and not find among the credentials, each as a line for people."""
        values = {**self.variables, **given}
        found = []
        if self.ours and PASSPHRASE not in keys:
            found.append(f"{PASSPHRASE} is not set: it opens the overlay's keys")
        if self.ours and STORE_PASSWORD not in keys and needs_password(values.get("STORE", "")):
            found.append(f"{STORE_PASSWORD} is not set: STORE names a user without a password")
        found += [
            f"{values[name]} is not set: variable {name} names it"
            for name, model in self.models.items()
            if model.upper().startswith("PA:CREDENTIAL") and values[name] and values[name] not in keys
        ]
        return found


def declared(workflow: str, source: bytes) -> Declared:
    """Read a job descriptor; what is wrong with it otherwise is the scheduler's to say.

    Raises:
        SchedulerInputError: it is no XML, or no job.
    """
    try:
        root = etree.fromstring(source, etree.XMLParser(resolve_entities=False, no_network=True))
    except etree.XMLSyntaxError as error:
        raise SchedulerInputError(f"workflow {workflow}: is no XML: {error.msg}; correct it") from None
    if etree.QName(root).localname != "job":
        what = f"its root is <{etree.QName(root).localname}>; name a job descriptor"
        raise SchedulerInputError(f"workflow {workflow}: {what}")
    found = [each for each in root.iterfind("{*}variables/{*}variable") if each.get("name")]
    return Declared(
        name=str(root.get("name") or ""),
        variables={str(each.get("name")): str(each.get("value") or "") for each in found},
        models={str(each.get("name")): str(each.get("model")) for each in found if each.get("model")},
        ours=OURS.encode() in source,
    )


def needs_password(store: str) -> bool:
    """Whether a store's URL names a user and no password, as it should."""
    return bool(re.match(r"postgres\w*(\+\w+)?://[^/@:]+@", store))
