"""Who may use the endpoint, and who is connected."""

from __future__ import annotations

import hashlib
import hmac
import secrets
import threading
import time
from dataclasses import dataclass

from starlette.requests import HTTPConnection

from proactive_tasks.engine.endpoint.answers import not_connected

LIFE_S = 3600.0
"""A session ends after this long without a request."""


@dataclass(slots=True)
class Session:
    """A user's session."""

    identifier: str
    user: str
    used: float


class Sessions:
    """The users with their passwords, and their sessions, which end with the endpoint."""

    def __init__(self, passwords: dict[str, str]) -> None:
        self._salt = secrets.token_bytes(16)
        self._known = {user: self._digest(password) for user, password in passwords.items()}
        self._sessions: dict[str, Session] = {}
        self._lock = threading.Lock()
        self.nobody = Session("", "", 0.0)

    def _digest(self, password: str) -> bytes:
        return hashlib.scrypt(password.encode(), salt=self._salt, n=2**12, r=8, p=1)

    def log_in(self, user: str, password: str) -> Session | None:
        """A new session, or None for a wrong user or password."""
        given, known = self._digest(password), self._known.get(user)
        if not hmac.compare_digest(given, known or b"") or known is None:
            return None
        return self.open(user)

    def open(self, user: str) -> Session:
        """A session without a password: for the tasks of this user's jobs."""
        session = Session(secrets.token_hex(24), user, time.monotonic())
        with self._lock:
            self._sessions = {key: each for key, each in self._sessions.items() if _alive(each)}
            self._sessions[session.identifier] = session
        return session

    def find(self, identifier: str) -> Session | None:
        """The session of that identifier; to ask for it prolongs it."""
        with self._lock:
            session = self._sessions.get(identifier)
            if session is None or not _alive(session):
                return None
            session.used = time.monotonic()
            return session

    def close(self, identifier: str) -> None:
        """End a session."""
        with self._lock:
            self._sessions.pop(identifier, None)

    def of(self, request: HTTPConnection) -> Session:
        """The session that a request names in its header `sessionid`.

        Raises:
            RefusedRequestError: none, or one that has ended.
        """
        session = self.find(request.headers.get("sessionid", ""))
        if session is None:
            raise not_connected()
        return session


def _alive(session: Session) -> bool:
    return time.monotonic() - session.used < LIFE_S
