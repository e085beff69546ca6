"""Follows a scheduler's node sources, and has the overlay extended and shrunk with them. It waits for no node.

A node that waits for the overlay never gets free, and the overlay must not wait for it: so a source that is created, or
the placeholder of its first node, is reason enough.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from datetime import timedelta
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from proactive_tasks.overlay.errors import (
    InputError,
    SchedulerError,
    SchedulerInputError,
    SchedulerVersionError,
    StoreUnavailableError,
)
from proactive_tasks.overlay.spec import Elastic
from proactive_tasks.scheduler.elastic.asking import Requests, Tell
from proactive_tasks.scheduler.elastic.digest import ATTEMPTS, Decision, Feed, Memory, Presence, review
from proactive_tasks.store.base import now
from proactive_tasks.store.elastic import FeedPlace
from proactive_tasks.store.jobs import is_alive, this_process

if TYPE_CHECKING:
    from proactive_tasks.scheduler.client import Scheduler
    from proactive_tasks.store import Lease, Store

BUCKET = "network-overlay"

WATCHER = "watcher "
"""What the owners of locks begin with that are watchers' processes."""

WHOLE_S = 30.0
"""How often everything is asked for, not only what is new: a server may have been restarted without a trace."""

PLACE_S = 10.0
"""How often it is remembered how far the feed was read, where nothing else happens."""

FIRST_PAUSE_S, LONGEST_PAUSE_S = 2.0, 30.0
"""How long a server that does not answer is left alone."""

STARTING_S = 300.0
"""A server that is starting refuses logins: one that answered before is borne with for so long."""

LEASE_S, LEASE_WAIT_S = 15.0, 20.0

PATTERNS = 4096


@dataclass(frozen=True)
class Options:
    """How a watcher works. Without a grace period of its own the specification's holds.

    `renew`: what was given up is tried again, since somebody started the watcher anew.
    """

    interval_s: float = 2.0
    grace_s: int | None = None
    confirm_all: bool = False
    dry_run: bool = False
    renew: bool = False
    bucket: str = BUCKET
    workflows: Path | None = None  # a folder of them, in place of the catalog
    variables: Mapping[str, str] = field(default_factory=dict)


class Watcher:
    """A watcher of one overlay.

    Args:
        store: the overlay's.
        overlay: which.
        scheduler: whose node sources, and who runs the workflows.
        owner: holds the lock that keeps a second watcher out.
        tell: is told what happens: a kind, one line, and values by name.
        options: how it works.
    """

    def __init__(
        self, store: Store, overlay: str, scheduler: Scheduler, *, owner: str, tell: Tell, options: Options
    ) -> None:
        self.store, self.overlay, self.scheduler = store, overlay, scheduler
        self.owner, self.tell, self.options = owner, tell, options
        self.requests = Requests(
            store, overlay, scheduler, self._submit, self._variables(), f"watcher {owner}"[:255], tell, set()
        )
        self._table = Elastic()
        self._feed = Feed(lambda _source: None)
        self._memories: dict[str, Memory] = {}
        self._whole_at = self._placed_at = float("-inf")
        self._placed: FeedPlace | None = None
        self._answered_at: float | None = None
        self._silent = False
        self._said: set[str] = set()

    def _variables(self) -> dict[str, str]:
        """Jobs work on the same store."""
        return {"STORE": self.store.public_url, **self.options.variables}

    def _submit(self, workflow: str, variables: Mapping[str, str]) -> int:
        if self.options.workflows is None:
            return self.scheduler.submit_from_catalog(self.options.bucket, workflow, variables)
        file = self.options.workflows / f"{workflow}.xml"
        try:
            source = file.read_bytes()
        except OSError as error:
            raise SchedulerInputError(f"workflow {file}: {error.strerror}; name the folder of the workflows") from None
        return self.scheduler.submit(source, variables)

    # The loop

    def run(self, stop: threading.Event, *, once: bool = False, seconds: float | None = None) -> None:
        """Watch until it is stopped; `once` looks once, `seconds` is an end.

        Raises:
            LeaseError: another watcher of this overlay runs, or took over.
            SchedulerInputError: the scheduler refuses this user or lacks a route.
            InputError: the overlay is gone, or has no table of node sources.
        """
        end = None if seconds is None else time.monotonic() + seconds
        with self._lock() as lease:
            self._begin()
            pause = self.options.interval_s
            while True:
                pause = self._try_round(lease, pause, patient=not once)
                left = float("inf") if end is None else end - time.monotonic()
                if once or left <= 0 or stop.wait(min(pause, left)):
                    break
            self._place(force=True)

    def _lock(self) -> AbstractContextManager[Lease | None]:
        if self.options.dry_run:
            return nullcontext()
        for holder in self.store.lease_owners():
            if _is_dead(holder):
                self.store.free_leases(holder)
        return self.store.lease(f"elastic/{self.overlay}", self.owner, ttl_s=LEASE_S, wait_s=LEASE_WAIT_S)

    def _begin(self) -> None:
        """Go on where the last watcher of the same server ended."""
        self._table = self._read_table()
        self._memories = self.requests.load()
        if self.options.renew and not self.options.dry_run:
            renewed = {
                name: replace(m, attempts=0) if m.attempts >= ATTEMPTS else m for name, m in self._memories.items()
            }
            self.requests.save(self._memories, renewed)
            self._memories = renewed
        place, server = self.store.feed_place(self.overlay), self.scheduler.url
        self._feed = Feed(self._site_of())
        if place is not None and place.server == server:
            self._feed.counter, self._feed.landmarks = place.counter, dict(place.landmarks)
            self._feed.shown = {name for name, memory in self._memories.items() if memory.shown}
        grace = self._grace().total_seconds()
        line = (
            f"overlay {self.overlay}: watching node sources of {server}, {_rows(self._table)} in its table, "
            f"grace {grace:.0f} s"
        )
        self.tell("watching", line, server=server)

    def _try_round(self, lease: Lease | None, pause: float, *, patient: bool) -> float:
        """One round; how long to wait for the next one."""
        try:
            if lease is not None:
                self.store.check_lease(lease)
            self.round()
        except (StoreUnavailableError, SchedulerError) as error:
            if not patient or self._is_final(error):
                raise
            if not self._silent:
                self.tell("silent", f"{error}; waiting for it")
            self._silent = True
            self._whole_at = float("-inf")  # it may be another one when it comes back
            return min(max(pause, FIRST_PAUSE_S) * 1.5, LONGEST_PAUSE_S)
        if self._silent:
            self.tell("answers", f"{self.scheduler.url} answers again")
        self._silent, self._answered_at = False, time.monotonic()
        return self.options.interval_s

    def _is_final(self, error: Exception) -> bool:
        """Whether waiting does not help: the password is wrong, a route is not there."""
        if isinstance(error, SchedulerVersionError):
            return True
        if not isinstance(error, SchedulerInputError):
            return False
        return self._answered_at is None or time.monotonic() - self._answered_at > STARTING_S

    # A round

    def round(self) -> list[Decision]:
        """Look once, and have done what follows; what was decided."""
        if (table := self._read_table()) != self._table:
            self._table = table
            self._feed.site_of = self._site_of()
            self._whole_at = float("-inf")
            self.tell("table", f"overlay {self.overlay}: its table of node sources has {_rows(table)} now")
        self._look()
        at = now()
        if not self.options.dry_run:
            known = self.requests.load()  # confirmations come from elsewhere
            self._memories = {name: self.requests.follow(memory, at) for name, memory in known.items()}
        before, sites = self._memories, self.store.sites(self.overlay)
        after, decisions = review(
            self._feed, sites, before, now=at, grace=self._grace(), confirm_all=self.options.confirm_all
        )
        self._memories = after
        self._tell_of(before, after)
        if self.options.dry_run:
            for each in decisions:
                self._say(
                    f"{each.action} {each.site}", str(each.action), f"would {each.action} {each.site}: {each.reason}"
                )
            return decisions
        self.requests.save(before, after)
        for each in decisions:
            memory = after[each.site]
            after[each.site] = self.requests.ask(each, memory, self._table.row(memory.source), at)
        self._place(force=bool(decisions))
        return decisions

    def _look(self) -> None:
        """Bring the feed up to date; from time to time, and whenever the server may be another one, by all there is."""
        whole = time.monotonic() - self._whole_at >= WHOLE_S
        if self._feed.counter > 0:
            answer = self.scheduler.resources.monitoring(self._feed.counter)
            whole = self._take(answer, full=False) or whole
        else:
            whole = True
        if whole:
            self._take(self.scheduler.resources.monitoring(-1), full=True)
            self._whole_at = time.monotonic()

    def _take(self, answer: Any, *, full: bool) -> bool:
        digest = self._feed.digest(answer, full=full)
        for note in digest.notes:
            self.tell("note", f"{self.scheduler.url}: {note}")
        if digest.restarted:
            line = f"{self.scheduler.url} was restarted: nothing is scaled in before it has shown its nodes again"
            self.tell("restarted", line)
        return digest.restarted

    def _tell_of(self, before: Mapping[str, Memory], after: Mapping[str, Memory]) -> None:
        presences = self._feed.presences()
        for name, memory in after.items():
            last = before.get(name) or Memory(name)
            if memory.absent_since is not None and last.absent_since is None and memory.stood:
                grace = self._grace().total_seconds()
                self.tell("absent", f"site {name}: its last node is gone; it stays for {grace:.0f} s", site=name)
            elif memory.absent_since is None and last.absent_since is not None:
                back = presences.get(name, (Presence.UNKNOWN, ""))[0] is Presence.WANTED
                self.tell(
                    "back", f"site {name}: {'has nodes again' if back else 'nothing is known of its nodes'}", site=name
                )
            if memory.stood and name not in presences:
                line = f"site {name}: the server has shown none of its nodes since it started; the site stays"
                self._say(f"unknown {name}", "unknown", line)
        held = sorted(name for name, memory in after.items() if memory.held)
        if held and held != sorted(name for name, memory in before.items() if memory.held):
            line = (
                f"all sites would go at once ({', '.join(held)}): nothing is removed without a confirmation; "
                f"scripts/watch_elastic --overlay {self.overlay} --confirm-all"
            )
            self.tell("held", line, sites=held)

    def _say(self, key: str, kind: str, line: str) -> None:
        if key not in self._said and len(self._said) < PATTERNS:
            self._said.add(key)
            self.tell(kind, line)

    def _place(self, *, force: bool = False) -> None:
        """Remember how far the feed was read: after what was decided by it."""
        if self.options.dry_run or (not force and time.monotonic() - self._placed_at < PLACE_S):
            return
        place = FeedPlace(self.scheduler.url, self._feed.counter, dict(self._feed.landmarks))
        if place != self._placed:
            self.store.save_feed_place(self.overlay, place)
            self._placed = place
        self._placed_at = time.monotonic()

    def _read_table(self) -> Elastic:
        table = self.store.spec(self.overlay).elastic
        if not table.sources:
            raise InputError(
                f"overlay {self.overlay}: its specification has no table of node sources; write elastic: {{sources: "
                "[{source: NAME, provider: PROVIDER, region: REGION}]} into it and deploy it (docs/elastic.md)"
            )
        return table

    def _site_of(self) -> Callable[[str], str | None]:
        table = self._table

        @lru_cache(maxsize=PATTERNS)
        def site_of(source: str) -> str | None:
            row = table.row(source)
            return row.site_of(source) if row is not None else None

        return site_of

    def _grace(self) -> timedelta:
        return timedelta(seconds=self._table.grace_s if self.options.grace_s is None else self.options.grace_s)


def _rows(table: Elastic) -> str:
    return "1 row" if len(table.sources) == 1 else f"{len(table.sources)} rows"


def process_owner() -> str:
    """This process, as the owner of a lock."""
    return f"{WATCHER}{this_process()}"


def _is_dead(owner: str) -> bool:
    """Whether the owner of a lock was a watcher on this machine that runs no more; of others nobody knows."""
    return owner.startswith(WATCHER) and not is_alive(owner.removeprefix(WATCHER), now())
