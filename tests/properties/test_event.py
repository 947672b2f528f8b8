"""Whatever an app sends, an event is either read or refused with a known reason; nothing else can come
out."""

from __future__ import annotations

import json
import unicodedata
from datetime import UTC, datetime
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from worker.errors import Rejected
from worker.events import reflection
from worker.events.reflection import REASONS, parse

NOW = datetime(2026, 11, 22, tzinfo=UTC)
FIRST, LAST = datetime(1900, 1, 2), datetime(2026, 11, 21)  # noqa: DTZ001  hypothesis wants naive bounds
anything = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters(exclude_categories=()), max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
valid: dict[str, st.SearchStrategy[Any]] = {
    "schema": st.just(1),
    "id": st.from_regex(r"[!-~]{1,128}", fullmatch=True),
    "user_id": st.from_regex(r"[!-~]{1,20}", fullmatch=True),
    "text": st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=1, max_size=50).map(
        lambda t: t + "x"
    ),
    "created_at": st.datetimes(FIRST, LAST).map(lambda t: t.isoformat() + "+05:30"),
    "lang": st.sampled_from(["en", "hi-Latn", "hi", "ta", None]),
    "device": st.sampled_from(["mobile", "web", None]),
    "timezone": st.sampled_from(["Asia/Kolkata", "UTC", None]),
    "self_report": st.none()
    | st.fixed_dictionaries({}, optional={"valence": st.floats(0, 1), "arousal": st.floats(0, 1)}),
    "consent": st.fixed_dictionaries({}, optional={"training": st.booleans()}),
    "revision": st.integers(1, reflection.REVISION_LIMIT),
}
events = st.fixed_dictionaries(
    {name: valid[name] for name in reflection.REQUIRED},
    optional={name: value for name, value in valid.items() if name not in reflection.REQUIRED},
)


def outcome(raw: object) -> str | None:
    try:
        parse(raw, now=NOW)
    except Rejected as refused:
        return refused.reason
    return None


@given(anything | st.dictionaries(st.sampled_from(reflection.FIELDS), anything))
def test_any_json_is_read_or_refused(raw: object) -> None:
    assert outcome(raw) in (None, *REASONS)


@given(events, st.sampled_from(reflection.FIELDS), anything)
@settings(max_examples=300)
def test_one_broken_field_in_a_valid_event_is_read_or_refused(
    event: dict[str, Any], name: str, value: object
) -> None:
    assert outcome({**event, name: value}) in (None, *REASONS)


@given(events)
def test_a_valid_event_is_read_the_same_after_any_json_trip(event: dict[str, Any]) -> None:
    seen = parse(event, now=NOW)
    assert seen == parse(json.loads(json.dumps(event)), now=NOW)
    assert unicodedata.is_normalized("NFC", seen.text)
    assert seen.created_at.tzinfo is UTC
    assert seen.utc_offset_min == 330
