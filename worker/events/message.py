"""The message around events: the names of tasks and lanes, and its opening into reflections and refusals.

Client and service agree here. A message never fails as a whole because of one event: each entry is read by
itself.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import orjson

from worker.errors import Rejected
from worker.events.envelope import Seal
from worker.events.reflection import MESSAGE_LIMIT, Reflection, identity, parse

ENRICH = "feltsense.enrich"
DELETE = "feltsense.delete"
ERASE = "feltsense.erase"
MODELS = "feltsense_models"
"""The question to workers which models they have open."""
LIVE = "reflections"
BULK = "reflections.bulk"
TOO_DEEP = b'"nested too deeply to be kept"'
"""The payload of what no encoder can write."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """One event of a message: its `position`, its bytes as they came (still sealed, if sealed), and its
    reflection, or else why it has none and what names it."""

    position: int
    payload: bytes
    reflection: Reflection | None = None
    refused: Rejected | None = None
    id: str | None = None
    user_id: str | None = None


def unpack(args: Sequence[object], kwargs: Mapping[str, object]) -> list[object]:
    """The entries of the one list a task is called with. Raises `Rejected` for any other call, of any
    shape."""
    if len(args) != 1 or kwargs or not isinstance(args[0], list):
        raise Rejected("not_a_list", "the task takes one positional argument, a list")
    entries = args[0]
    if not entries:
        raise Rejected("empty_message", "the list is empty")
    if len(entries) > MESSAGE_LIMIT:
        raise Rejected("message_too_large", f"{len(entries)} entries, and at most {MESSAGE_LIMIT} are taken")
    return entries


def read(raw: object, position: int, *, seal: Seal | None, now: datetime) -> Entry:
    """The entry at `position`, received at `now`; with a `seal`, `raw` must be an envelope of it."""
    payload = encoded(raw)
    try:
        raw = seal.open(raw) if seal is not None else raw
        return Entry(position=position, payload=payload, reflection=parse(raw, now=now))
    except Rejected as error:
        id_, user_id = identity(raw)
        # Its frames hold the text; a refusal is kept until the message is done.
        refused = error.with_traceback(None)
        return Entry(position=position, payload=payload, refused=refused, id=id_, user_id=user_id)


def encoded(raw: object) -> bytes:
    """The JSON of anything a message can hold; what is no JSON (MessagePack has bytes and dates) becomes its
    repr, and what is nested beyond every reader is not kept."""
    try:
        return orjson.dumps(raw)
    except (
        TypeError
    ):  # lone surrogates, foreign keys, big numbers: the lenient encoder has an answer for each
        pass
    try:
        return json.dumps(raw, default=repr, skipkeys=True).encode("ascii")
    except RecursionError:
        return TOO_DEEP


def identifiers(entries: Sequence[object]) -> list[str]:
    """The ids of a delete or erase message. Raises `Rejected` when one is no identifier: nothing of it is
    done."""
    for position, entry in enumerate(entries):
        if identity({"id": entry})[0] is None:
            raise Rejected("bad_id", f"entry {position} of the list is not 1-128 visible characters")
    return [str(entry) for entry in entries]
