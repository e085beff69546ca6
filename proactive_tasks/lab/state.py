"""What a lab remembers: one file for what its sites share, one a site."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any
from uuid import uuid4

from proactive_tasks.lab import files, namespaces, network
from proactive_tasks.lab.names import LabNames
from proactive_tasks.lab.network import Leg
from proactive_tasks.overlay.errors import UnknownObjectError


class LabState:
    """The state of one lab, shared by all processes that work on it."""

    def __init__(self, names: LabNames) -> None:
        self._names = names
        self._file = names.folder / "lab.json"

    @contextlib.contextmanager
    def changing(self) -> Iterator[dict[str, Any]]:
        """The lab's state, locked, its router in place; afterwards saved, and the router's rules made after it."""
        with files.locked(self._names.lock):
            self._names.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            state = {"legs": {}, "cuts": [], **self.read()}
            shared = (self._names.internet, self._names.controller)
            if "router" not in state or not all(map(namespaces.exists, shared)):
                state.pop("router", None)
                files.write(self._file, state)
                network.build_internet(self._names)
                before, state["router"] = "", uuid4().hex  # a name for this router: legs to another one are none
            else:
                before = repr(state)
            yield state
            if repr(state) != before:  # the rules first: a crash in between is made good by asking again
                network.set_rules(self._names, self.legs(state).values(), [(a, b) for a, b in state["cuts"]])
                files.write(self._file, state)

    def read(self) -> dict[str, Any]:
        """What the sites share: legs, cuts, the router's name."""
        return files.read(self._file)

    def legs(self, state: Mapping[str, Any] | None = None) -> dict[str, Leg]:
        """The legs by site."""
        records = (self.read() if state is None else state).get("legs", {})
        return {site: Leg.recorded(site, record) for site, record in records.items()}

    def leg(self, site: str, state: Mapping[str, Any] | None = None) -> Leg:
        """A site's leg.

        Raises:
            UnknownObjectError: the lab has no such site.
        """
        leg = self.legs(state).get(site)
        if leg is None:
            raise UnknownObjectError(f"site {site}: the lab of {self._names.overlay} has no such site; see 'lab ls'")
        return leg

    def record(self, site: str) -> dict[str, Any]:
        """What is known of a site; whoever changes it holds the site's lock."""
        return files.read(self._names.site(site).folder / "site.json")

    def save(self, site: str, record: dict[str, Any]) -> None:
        """Replace what is known of a site."""
        self._names.site(site).folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        files.write(self._names.site(site).folder / "site.json", record)

    def forget_disk(self, site: str) -> None:
        """From here on the site has no machine, however much of its disk is still there."""
        record = self.record(site)
        if record.pop("user_data_digest", None):
            self.save(site, record)


def wiring(state: Mapping[str, Any], leg: Leg) -> list[Any]:
    """What must be as it was for a leg to be intact: its router, and the shape between it and the gateway."""
    return [state.get("router"), *leg.conditions.shape]
