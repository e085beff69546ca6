"""What the resources of a site are called in any cloud, and by which tags they are found again."""

from __future__ import annotations

MANAGED_BY = "proactive-network-overlay"


def resource(overlay: str, site: str, part: str = "") -> str:
    """The deterministic name of a site's resource: overlay, site and part, at most 80 characters (Azure's limit).

    Names hold letters, digits and single '-', so a double '-' keeps the three apart.
    """
    return "--".join(filter(None, (overlay, site, part)))


def tags(overlay: str, site: str, name: str = "") -> dict[str, str]:
    """The tags of a site's resource."""
    found = {"overlay": overlay, "site": site, "managed-by": MANAGED_BY}
    return {"Name": name, **found} if name else found
