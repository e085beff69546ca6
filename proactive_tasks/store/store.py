"""The store of the overlay's state."""

from __future__ import annotations

import contextlib

from sqlalchemy.orm import configure_mappers

from proactive_tasks.overlay.model import Origin, Site
from proactive_tasks.overlay.spec import OverlaySpec
from proactive_tasks.store.leases import Leases


class Store(Leases):
    """The state of all overlays, in SQLite or PostgreSQL.

    Every method is one transaction. Every change writes an event; a call that changes nothing writes nothing.
    """

    def rehearse(self, spec: OverlaySpec) -> list[Site]:
        """The sites of `spec` as a deployment would bring them in: it does so in a transaction that is then undone.

        Raises:
            InputError: living sites would be renumbered or moved, no room is left, or prefixes overlap.
        """
        with contextlib.suppress(_RehearsedError), self.write(spec.overlay):
            self.save_spec(spec, "rehearsal")
            brought = self.bring_in(spec.overlay, spec.sites, Origin.FILE, "rehearsal")
            raise _RehearsedError
        return brought


class _RehearsedError(Exception):
    """Undoes the transaction of a rehearsal."""


configure_mappers()  # now and once, not in every process that is forked from this one
