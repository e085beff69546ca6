"""Cloud drivers: one file a provider, all behind `clouds.provider.Provider`."""

from __future__ import annotations

from importlib import import_module

from proactive_tasks.clouds.provider import Provider
from proactive_tasks.overlay.errors import InputError

DRIVERS = {
    "aws": ("proactive_tasks.clouds.aws.driver", "AwsProvider"),
    "azure": ("proactive_tasks.clouds.azure.driver", "AzureProvider"),
    "openstack": ("proactive_tasks.clouds.openstack.driver", "OpenStackProvider"),
    "edge": ("proactive_tasks.clouds.edge.driver", "EdgeProvider"),
    "lab": ("proactive_tasks.clouds.lab", "LabProvider"),
}
"""Provider name -> module and class; a driver's SDK is imported only when a site asks for it."""


def driver(provider: str) -> Provider:
    """The driver of a provider.

    Raises:
        InputError: this release has no driver for it.
    """
    if provider not in DRIVERS:
        raise InputError(f"provider {provider}: this release has no driver for it; use one of: {', '.join(DRIVERS)}")
    module, name = DRIVERS[provider]
    try:
        made: Provider = getattr(import_module(module), name)()
    except ModuleNotFoundError as error:
        lacking = (error.name or "").partition(".")[0]
        raise InputError(
            f"provider {provider}: its driver needs the Python package {lacking}, which is not installed; "
            "pip install proactive-network-overlay brings it"
        ) from error
    return made
