"""Which pipelines this worker has open: the one that serves, those it replaced until their last journey has
ended, and one that is tried beside it.

A journey begins with what serves at that moment and ends with it, so an exchange loses nothing and shows no
event two versions. At most two pipelines are open at once.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager

from worker.errors import FeltsenseError
from worker.events.reflection import Reflection
from worker.pipeline import Look, Pipeline, look
from worker.risk.level import THRESHOLDS
from worker.service import heap

ACQUAINTED = 20_000
"""Persons remembered of each kind; some megabytes."""


class NoModels(FeltsenseError):
    """The worker ends and still has no pipeline: what it holds goes back."""

    exit_code = 4
    retryable = True


class Served:
    """An open pipeline and how much is under way with it.

    `complete` says that no history is known to lack rows of its version; else `acquainted` are the persons
    whose history was seen to, and `take_owed` gives those who are still to be.
    """

    def __init__(self, pipeline: Pipeline) -> None:
        self.pipeline = pipeline
        self.version = pipeline.model_version
        self.complete = False
        self._acquainted: dict[str, None] = {}
        self._owed: dict[str, None] = {}
        self._under_way = 0
        self._lock = threading.Lock()

    @property
    def idle(self) -> bool:
        return not self._under_way

    def enter(self, count: int = 1) -> None:
        with self._lock:
            self._under_way += count

    def leave(self) -> None:
        with self._lock:
            self._under_way -= 1

    def strangers(self, users: Iterable[str]) -> list[str]:
        """Those of the users whose history nobody has seen to."""
        with self._lock:
            return [user for user in dict.fromkeys(users) if user not in self._acquainted]

    def acquaint(self, users: Iterable[str]) -> None:
        """Their history has been seen to."""
        with self._lock:
            self._acquainted.update(dict.fromkeys(users))
            while len(self._acquainted) > ACQUAINTED:
                del self._acquainted[next(iter(self._acquainted))]

    def owe(self, users: Iterable[str]) -> None:
        """Their history is to be seen to soon."""
        with self._lock:
            self._owed.update(dict.fromkeys(users))
            while len(self._owed) > ACQUAINTED:
                del self._owed[next(iter(self._owed))]

    def take_owed(self) -> list[str]:
        with self._lock:
            owed, self._owed = list(self._owed), {}
            return owed


def looks(served: Served | None, reflections: Sequence[Reflection]) -> list[Look]:
    """The first look with what serves, or, while nothing does, with the thresholds the worker comes with."""
    return served.pipeline.look(reflections) if served is not None else look(reflections, THRESHOLDS)


class Serving:
    """The worker's pipelines. Any thread may begin with one; one thread exchanges them."""

    def __init__(self, pipeline: Pipeline | None = None) -> None:
        self._current = Served(pipeline) if pipeline is not None else None
        self._tried: Served | None = None
        self._leaving: list[Served] = []
        self._changed = threading.Condition()
        self.trouble: str | None = None
        """Why no pipeline is open, for those who ask."""

    @property
    def version(self) -> str | None:
        """What new arrivals begin with; None while no pipeline is open."""
        current = self._current
        return None if current is None else current.version

    @property
    def tried(self) -> str | None:
        """The version that is open beside it, to be tried."""
        tried = self._tried
        return None if tried is None else tried.version

    @property
    def full(self) -> bool:
        """Whether no further pipeline may be opened now."""
        return sum(one is not None for one in (self._current, self._tried, *self._leaving)) > 1

    def begin(self, count: int = 1) -> Served | None:
        """What serves now, with `count` more under way: each calls `leave` at its end."""
        with self._changed:
            if self._current is not None:
                self._current.enter(count)
            return self._current

    def wait(self, count: int, ended: threading.Event) -> Served:
        """`begin`, as soon as a pipeline is open. Raises `NoModels` once `ended` is set before."""
        with self._changed:
            self._changed.wait_for(lambda: self._current is not None or ended.is_set())
        served = self.begin(count)
        if served is None:
            raise NoModels("the worker is closing and has had no models")
        return served

    def wake(self) -> None:
        """Those that wait look whether it is over."""
        with self._changed:
            self._changed.notify_all()

    @contextmanager
    def held(self) -> Iterator[Served | None]:
        """What serves now, kept open for the block."""
        served = self.begin()
        try:
            yield served
        finally:
            if served is not None:
                served.leave()

    @contextmanager
    def held_as(self, version: str | None) -> Iterator[Served | None]:
        """The open pipeline of this version and no other, for what is held cannot be closed; None where none
        is open."""
        with self._holding(lambda one: one.version == version and one not in self._leaving) as held:
            yield held[0] if held else None

    @contextmanager
    def all_held(self) -> Iterator[list[Served]]:
        """Every open pipeline, kept open for the block, the serving one first."""
        with self._holding(lambda _: True) as held:
            yield held

    @contextmanager
    def _holding(self, chosen: Callable[[Served], bool]) -> Iterator[list[Served]]:
        with self._changed:
            open_now = [one for one in (self._current, self._tried, *self._leaving) if one is not None]
            held = [one for one in open_now if chosen(one)]
            for one in held:
                one.enter()
        try:
            yield held
        finally:
            for one in held:
                one.leave()

    def peek(self) -> Served | None:
        """What serves now, for one who sees to it that it stays open."""
        return self._current

    def peek_tried(self) -> Served | None:
        """What is tried beside, likewise."""
        return self._tried

    def switch(self, pipeline: Pipeline) -> None:
        """From now on new arrivals begin with `pipeline`."""
        self.attempt(pipeline)
        self.promote()

    def attempt(self, pipeline: Pipeline) -> None:
        """Try `pipeline` beside what serves."""
        with self._changed:
            self._tried = Served(pipeline)

    def promote(self) -> None:
        """From now on new arrivals begin with what was tried beside; the old one leaves when nothing is under
        way with it."""
        with self._changed:
            assert self._tried is not None, "somebody tried it"
            if self._current is not None:
                self._leaving.append(self._current)
            self._current, self._tried, self.trouble = self._tried, None, None
            self._changed.notify_all()

    def withdraw(self) -> None:
        """Try none any more."""
        with self._changed:
            if self._tried is not None:
                self._leaving.append(self._tried)
            self._tried = None

    def retire(self) -> list[str]:
        """Close those that left and have nothing under way any more; their versions."""
        with self._changed:
            gone = [one for one in self._leaving if one.idle]
            self._leaving = [one for one in self._leaving if one not in gone]
        versions = []
        for one in gone:
            one.pipeline.close()
            versions.append(one.version)
        if gone:
            gone.clear()
            heap.trim()
        return versions

    def close(self) -> None:
        """Close them all; nothing may be under way."""
        with self._changed:
            every = [one for one in (self._current, self._tried, *self._leaving) if one is not None]
            self._current, self._tried, self._leaving = None, None, []
        for one in every:
            one.pipeline.close()
