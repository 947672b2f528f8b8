"""Who is logged in on the review page, and how often a wrong password may be tried: in memory, so that a
restart logs everybody out."""

from __future__ import annotations

import secrets
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from worker.store.reviews import Case

IDLE_S = 30 * 60
LONGEST_S = 8 * 3600
_MOST = 1_000
_TRIES, _TRIES_OF_ALL, _WINDOW_S = 5, 50, 15 * 60


@dataclass(kw_only=True, slots=True)
class Session:
    """One browser's visit. `csrf` must come back with every form. `case` is in hand, `shown` once its text
    was asked for in this visit; `notice` and `urgent` (a case to act on) are told on the next page, once."""

    token: str
    csrf: str
    born: float
    seen: float
    reviewer: str | None = None
    case: Case | None = None
    shown: bool = False
    notice: str | None = None
    urgent: Case | None = None


class Sessions:
    """All visits by their cookie's token."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._open: dict[str, Session] = {}

    def find(self, token: str | None) -> Session | None:
        """The visit, unless it was idle or open for too long."""
        session = self._open.get(token) if token else None
        if session is None:
            return None
        now = self._now()
        if now - session.seen > IDLE_S or now - session.born > LONGEST_S:
            self.end(session)
            return None
        session.seen = now
        return session

    def begin(self, reviewer: str | None = None) -> Session:
        """A new visit with a token nobody could have known before."""
        while len(self._open) >= _MOST:
            self.end(min(self._open.values(), key=lambda one: one.seen))
        now = self._now()
        made = Session(
            token=secrets.token_urlsafe(32),
            csrf=secrets.token_urlsafe(32),
            born=now,
            seen=now,
            reviewer=reviewer,
        )
        self._open[made.token] = made
        return made

    def end(self, session: Session) -> None:
        self._open.pop(session.token, None)


@dataclass(kw_only=True, slots=True)
class Tries:
    """Wrong passwords of the last quarter of an hour: five for a name, fifty for all names together."""

    now: Callable[[], float] = time.monotonic
    _failed: deque[tuple[float, str]] = field(default_factory=deque)

    def wait_s(self, name: str) -> int:
        """Seconds until a password for `name` may be tried; 0: now."""
        now = self.now()
        while self._failed and now - self._failed[0][0] > _WINDOW_S:
            self._failed.popleft()
        own = [at for at, tried in self._failed if tried == name]
        waits = [0.0]
        if len(own) >= _TRIES:
            waits.append(own[-_TRIES] + _WINDOW_S - now)
        if len(self._failed) >= _TRIES_OF_ALL:
            waits.append(self._failed[-_TRIES_OF_ALL][0] + _WINDOW_S - now)
        return round(max(waits) + 0.5) if max(waits) > 0 else 0

    def failed(self, name: str) -> None:
        self._failed.append((self.now(), name))

    def passed(self, name: str) -> None:
        """The right password was given: what was tried before no longer counts for this name."""
        self._failed = deque((at, tried) for at, tried in self._failed if tried != name)
