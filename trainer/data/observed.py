"""Windows of live traffic out of Postgres, of those whose writers consented to training; texts are read and
let go."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainer.drift.window import REPORTED, SIDES, VALUES, Texts, Window, read
from worker.features import text
from worker.store.engine import Cursor, Store
from worker.store.persons import Opener
from worker.store.vault import Unopenable

MOST = 20_000
"""Newest rows of a window."""
TEXTS = 1_500
"""Of those, as many are read, drawn by chance."""

_COLUMNS = (
    "p.reflection_id, p.user_id, p.language, coalesce(r.device, 'unknown'), "
    + ", ".join(f"p.{name}" for name in VALUES)
    + ", "
    + ", ".join(f"(p.intervals->'{name}'->>{end})::float8" for name in REPORTED for end in (0, 1))
    + ", "
    + ", ".join(f"p.self_{name}" for name in REPORTED)
    + ", "
    + ", ".join(f"coalesce(p.{side}[1], '')" for side in SIDES)
    + ", p.risk_level"
)
_ROWS = f"""
SELECT {_COLUMNS} FROM consented_perceptions p JOIN reflections r ON r.id = p.reflection_id
WHERE p.model_version = %s AND p.received_at > %s AND p.received_at <= %s
ORDER BY p.received_at DESC, p.reflection_id LIMIT %s
"""  # noqa: S608 - our own column names
_TEXTS = """
SELECT id, revision, user_id, text, sealed, lang FROM reflections
WHERE id = ANY(%b::text[]) AND num_nonnulls(text, sealed) > 0
"""

Embed = Callable[[Sequence[str]], NDArray[np.float32]]


@dataclass(frozen=True, kw_only=True)
class Stretch:
    """After `since`, up to `until`, by arrival."""

    since: datetime
    until: datetime


def window(store: Store, model_version: str, stretch: Stretch, *, seed: int, embed: Embed) -> Window | None:
    """What `model_version` said in that time; None where it said nothing. `embed` turns normalised texts into
    vectors."""

    def work(cursor: Cursor) -> tuple[list[tuple[Any, ...]], list[tuple[int, text.Text]]]:
        # By time of arrival: the index there is a BRIN, which only a bitmap reads.
        cursor.execute("SET LOCAL enable_bitmapscan = on")
        cursor.execute("SET LOCAL enable_hashjoin = on")
        found = cursor.execute(_ROWS, (model_version, stretch.since, stretch.until, MOST)).fetchall()
        return found, _read(cursor, store, [row[0] for row in found], np.random.default_rng(seed))

    rows, opened = store.transact(work)
    if not rows:
        return None
    texts: Texts | None = None
    if opened:
        numbers = np.array([number for number, _ in opened], dtype=np.intp)
        texts = read([one for _, one in opened], numbers, embed([one.normal for _, one in opened]))
    return _window(rows, texts)


def _read(
    cursor: Cursor, store: Store, ids: Sequence[str], rng: np.random.Generator
) -> list[tuple[int, text.Text]]:
    """Some of the rows' texts, by row number; those that are dropped or that no key opens are left out."""
    chosen = rng.permutation(len(ids))[:TEXTS]
    number = {ids[at]: int(at) for at in chosen}
    rows = cursor.execute(_TEXTS, (list(number),)).fetchall()
    opener = Opener(cursor, store.keyring, {row[2] for row in rows})
    opened = []
    for key, revision, user_id, plain, sealed, lang in rows:
        try:
            words = opener.text(id=key, revision=revision, user_id=user_id, text=plain, sealed=sealed)
        except Unopenable:
            continue
        if words is not None:
            opened.append((number[key], text.read(words, lang)))
    return sorted(opened, key=lambda one: one[0])


def _window(rows: Sequence[tuple[Any, ...]], texts: Texts | None) -> Window:
    columns = iter(zip(*rows, strict=True))
    next(columns)  # the ids

    def names() -> NDArray[np.str_]:
        return np.array(next(columns), dtype=np.str_)

    def numbers() -> NDArray[np.float64]:
        return np.array([np.nan if one is None else one for one in next(columns)], dtype=np.float64)

    person, language, device = names(), names(), names()
    values = {name: numbers() for name in VALUES}
    ends = {name: (numbers(), numbers()) for name in REPORTED}
    reported = {name: numbers() for name in REPORTED}
    cores = {side: names() for side in SIDES}
    return Window(
        person=person,
        language=language,
        device=device,
        values=values,
        low={name: both[0] for name, both in ends.items()},
        high={name: both[1] for name, both in ends.items()},
        reported=reported,
        cores=cores,
        level=names(),
        texts=texts,
    )
