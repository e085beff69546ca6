"""Leases: locks that end by themselves when their holder does."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from proactive_tasks.overlay.errors import LeaseError, OverlayError, StoreError
from proactive_tasks.store.elastic import Elastic
from proactive_tasks.store.records import Lease
from proactive_tasks.store.tables import LeaseRow

POLL_S = 0.1

ASK_S = (3.0, 10.0)
"""How long a holder is waited for before it is asked after, and how long until it is asked after again."""

log = logging.getLogger(__name__)


def _nobody_knows(_owner: str) -> bool:
    return False


class Leases(Elastic):
    """Locks by name.

    `is_over` says whether the job that owns a lock is known to be dead: then whoever waits for the lock frees it. It
    may raise an OverlayError when it cannot say; the lock's own end is waited for then.
    """

    is_over: Callable[[str], bool] = staticmethod(_nobody_knows)

    @contextmanager
    def lease(self, name: str, owner: str, *, ttl_s: float = 30, wait_s: float = 60) -> Iterator[Lease]:
        """Hold a lock for the length of a block; it is renewed meanwhile.

        Args:
            name: what is locked.
            owner: the job that locks it.
            ttl_s: how long the lock outlives a holder that died.
            wait_s: how long to wait for another holder.

        Raises:
            LeaseError: another holder kept it all the time; the message names it.
        """
        held = self._acquire(name, owner, ttl_s, wait_s)
        done = threading.Event()
        renewal = threading.Thread(target=self._renew, args=(held, ttl_s, done), name=f"lease {name}", daemon=True)
        renewal.start()
        try:
            yield held
        finally:
            done.set()
            renewal.join()
            self._let_go(held)

    def check_lease(self, lease: Lease) -> None:
        """Make sure that a lock is still held, before a step that must not be taken twice.

        Raises:
            LeaseError: it was lost; somebody else may be at work.
        """
        with self.read() as session:
            row = session.get(LeaseRow, lease.name)
            if row is None or row.fence != lease.fence or row.owner is None or row.expires_at <= self._clock(session):
                raise LeaseError(
                    f"lock {lease.name}: {lease.owner} lost it (it stood still for too long); run it again"
                )

    def lease_owners(self) -> set[str]:
        """Who holds a lock at present, or held one when it died."""
        with self.read() as session:
            return {owner for owner in session.scalars(select(LeaseRow.owner)) if owner is not None}

    def free_leases(self, owner: str) -> int:
        """Free every lock of a job that is known to be dead; how many there were."""
        with self.write() as session:
            freed = session.execute(update(LeaseRow).where(LeaseRow.owner == owner).values(owner=None))
            return int(getattr(freed, "rowcount", 0))

    def _acquire(self, name: str, owner: str, ttl_s: float, wait_s: float) -> Lease:
        deadline = time.monotonic() + wait_s
        ask_at = time.monotonic() + ASK_S[0]
        while True:
            with self.write(f"lease {name}") as session:
                row = session.get(LeaseRow, name)
                at = self._clock(session)
                if row is None:
                    row = LeaseRow(name=name, fence=0, owner=None, expires_at=0)
                    session.add(row)
                if row.owner is None or row.expires_at <= at:
                    row.owner, row.fence, row.expires_at = owner, row.fence + 1, at + ttl_s
                    return Lease(name, owner, row.fence)
                holder, left, fence = row.owner, row.expires_at - at, row.fence
            if time.monotonic() >= ask_at:
                ask_at = time.monotonic() + ASK_S[1]
                if self._is_dead(name, holder):
                    self._let_go(Lease(name, holder, fence))
                    continue
            if time.monotonic() >= deadline:
                raise LeaseError(
                    f"lock {name}: held by {holder} for another {left:.0f} s at least, waited {wait_s:g} s; "
                    "let that end and try again"
                )
            time.sleep(min(POLL_S, max(deadline - time.monotonic(), 0)))

    def _is_dead(self, name: str, holder: str) -> bool:
        try:
            dead = self.is_over(holder)
        except OverlayError as error:
            log.info("lock %s: whether %s is over cannot be told: %s", name, holder, error)
            return False
        if dead:
            log.warning("lock %s: %s is over and did not let go; freed", name, holder)
        return dead

    def _renew(self, lease: Lease, ttl_s: float, done: threading.Event) -> None:
        while not done.wait(ttl_s / 3):
            try:
                with self.write(f"lease {lease.name}") as session:
                    self._set(session, lease, expires_at=self._clock(session) + ttl_s)
            except StoreError as error:
                log.warning("lock %s could not be renewed: %s", lease.name, error)

    def _let_go(self, lease: Lease) -> None:
        with self.write(f"lease {lease.name}") as session:
            self._set(session, lease, owner=None)

    @staticmethod
    def _set(session: Session, lease: Lease, **values: object) -> None:
        """Change the row only if it is still this holder's."""
        ours = (LeaseRow.name == lease.name, LeaseRow.fence == lease.fence, LeaseRow.owner == lease.owner)
        session.execute(update(LeaseRow).where(*ours).values(**values))

    def _clock(self, session: Session) -> float:
        """Seconds since the epoch, by the one clock that all holders share."""
        if self._postgresql:
            return float(session.scalar(select(func.extract("epoch", func.clock_timestamp()))) or 0)
        return time.time()
