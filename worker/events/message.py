"""The message around events: the names of tasks and lanes, and its opening into reflections and refusals.

Client and service agree here. A message never fails as a whole because of one event: each entry is read by itself.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from worker.errors import Rejected
from worker.events.envelope import Seal
from worker.events.reflection import MESSAGE_LIMIT, Reflection, identity, parse

ENRICH = "feltsense.enrich"
DELETE = "feltsense.delete"
ERASE = "feltsense.erase"
LIVE = "reflections"
BULK = "reflections.bulk"


@dataclass(frozen=True, kw_only=True, slots=True)
class Refusal:
    """Why one entry of a message (or all of it: `position` None) goes to `dead_letters`, named as well as it can be."""

    error: Rejected
    position: int | None = None
    id: str | None = None
    user_id: str | None = None


def unpack(args: Sequence[object], kwargs: Mapping[str, object]) -> list[object]:
    """The entries of the one list a task is called with. Raises `Rejected` for any other call, of any shape."""
    if len(args) != 1 or kwargs or not isinstance(args[0], list):
        raise Rejected("not_a_list", "the task takes one positional argument, a list")
    entries = args[0]
    if not entries:
        raise Rejected("empty_message", "the list is empty")
    if len(entries) > MESSAGE_LIMIT:
        raise Rejected("message_too_large", f"{len(entries)} entries, and at most {MESSAGE_LIMIT} are taken")
    return entries


def read(entries: Sequence[object], *, seal: Seal | None, now: datetime) -> list[Reflection | Refusal]:
    """Each entry as a reflection or its refusal, in order; with a `seal`, each must be an envelope of it."""
    return [_entry(entry, position, seal, now) for position, entry in enumerate(entries)]


def _entry(entry: object, position: int, seal: Seal | None, now: datetime) -> Reflection | Refusal:
    try:
        entry = seal.open(entry) if seal is not None else entry
        return parse(entry, now=now)
    except Rejected as error:
        id_, user_id = identity(entry)
        return Refusal(error=error.with_traceback(None), position=position, id=id_, user_id=user_id)


def identifiers(entries: Sequence[object]) -> list[str]:
    """The ids of a delete or erase message. Raises `Rejected` when one is no identifier: then nothing of it is done."""
    wrong = [position for position, entry in enumerate(entries) if identity({"id": entry})[0] is None]
    if wrong:
        raise Rejected("bad_id", f"entry {wrong[0]} of the list is not 1-128 visible characters")
    return [str(entry) for entry in entries]
