"""What a dead letter holds, read again: the events that can go back onto the queue, or why none can.

A letter of one event holds it as it came, sealed or not. A letter of a whole message holds the task's
arguments or the body; events are told apart only where it is a list of objects after all.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from worker.errors import Rejected
from worker.events.envelope import Seal, is_sealed
from worker.events.reflection import MESSAGE_LIMIT, parse

Event = dict[str, Any]


def event_in(payload: bytes, *, seal: Seal | None, now: datetime) -> Event:
    """The event of a letter, as it came. Raises `Rejected` when the worker would refuse it again, as far as
    can be known here: an envelope is opened only with its key."""
    raw = _decoded(payload)
    if is_sealed(raw):
        if seal is not None:
            parse(seal.open(raw), now=now)
    else:
        parse(raw, now=now)
    assert isinstance(raw, dict)  # an envelope is one, and `parse` takes nothing else
    return raw


def messages_in(payload: bytes) -> list[Sequence[Event]]:
    """The events of a whole message in parts of a message's size. Raises `Rejected` when none can be told
    apart."""
    raw = _decoded(payload)
    if isinstance(raw, dict) and "args" in raw:
        raw = [raw["args"], raw.get("kwargs")]
    entries = raw[0][0] if isinstance(raw, list) and _one_argument(raw) else None
    if isinstance(entries, dict):
        entries = [entries]
    if not isinstance(entries, list) or not entries or not all(isinstance(one, dict) for one in entries):
        raise Rejected("not_a_list", "the message holds no list of events; send it again from its source")
    return [entries[at : at + MESSAGE_LIMIT] for at in range(0, len(entries), MESSAGE_LIMIT)]


def legible(payload: bytes, key: str | None) -> str:
    """What a letter holds, for who asked to read it: an envelope opened where `key` (base64) opens it."""
    try:
        raw = _decoded(payload)
        if key is not None and is_sealed(raw):
            raw = Seal.of(key).open(raw)
    except Rejected:  # another key, or no JSON: then as it is
        return payload.decode("utf-8", "backslashreplace")
    return json.dumps(raw, indent=2, ensure_ascii=False).encode("utf-8", "backslashreplace").decode()


def _one_argument(call: list[Any]) -> bool:
    return (
        len(call) in (2, 3)  # [args, kwargs], and Celery's own body with a third part
        and isinstance(call[0], list)
        and len(call[0]) == 1
        and not call[1]
    )


def _decoded(payload: bytes) -> Any:
    try:
        return json.loads(payload)
    except (ValueError, RecursionError):  # they hold the text: they must not become a cause
        pass
    raise Rejected("bad_json", "what was parked is no JSON; send it again from its source")
