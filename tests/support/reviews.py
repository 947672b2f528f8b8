"""High-risk texts and reviewers for tests of the dual review."""

from __future__ import annotations

from functools import cache

from tests.support.appraisals import VERSION, arrival, reflection, risk
from worker.review import passwords
from worker.store import reviews
from worker.store.deliveries import accept
from worker.store.engine import Store

PASSWORD = "correct horse battery"


@cache
def _kept() -> str:
    return passwords.kept(PASSWORD)


def reviewers(store: Store, *names: str) -> None:
    """Accounts of these names, each with PASSWORD."""
    for name in names:
        reviews.add_reviewer(store, name, _kept())


def at_risk(store: Store, *keys: str, level: str = "high", revision: int = 1) -> None:
    """Reflections of these ids, each of a person of its own, whose screen calls them `level`; earlier keys
    have the higher score."""
    given = [
        arrival(
            reflection(key, f"u-{key}", revision=revision, text=f"the words of {key}, revision {revision}"),
            message_id=f"m-{key}-{revision}",
            screen=risk(level, 0.99 - 0.01 * n),
        )
        for n, key in enumerate(keys)
    ]
    accept(store, given, [], model_version=VERSION, lane="live")


def read(store: Store, reviewer: str, decision: str, *flags: str, note: str | None = None) -> reviews.Case:
    """This reviewer takes the next case, opens it and decides."""
    case = reviews.next_case(store, reviewer)
    assert case is not None, f"nothing to read for {reviewer}"
    reviews.open_text(store, case.id, reviewer, cap=1000)
    return reviews.decide(
        store, case.id, reviewer, reviews.Verdict(decision=decision, flags=frozenset(flags), note=note)
    )
