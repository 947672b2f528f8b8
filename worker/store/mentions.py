"""Whose events are in a payload that nobody has told apart: what an erasure takes out of messages parked
whole.

Such a payload is any bytes a client sent. What can be read as JSON loses the person's events only; what
merely mentions the person is dropped as a whole, for half of an unknown form is no message either.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from worker.errors import Rejected
from worker.events.envelope import Seal

_WORD = rb"[A-Za-z0-9_.@-]"
_UNMARKED = 31
"""Longest id that MessagePack marks with a byte outside ASCII; before a longer one stands its length, which
may look like part of a word."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Cleared:
    """A payload without the persons' events (None: dropped as a whole), how many `events` left it, and
    whether something `closed` was in it: an event under a seal that does not open here."""

    payload: bytes | None
    events: int = 0
    closed: bool = False


def clear(payload: bytes, user_ids: Collection[str], *, seal: Seal | None) -> Cleared:
    """`payload` without what is of these persons; events sealed on the wire are read with `seal`."""
    try:
        parsed = orjson.loads(payload)
    except orjson.JSONDecodeError:
        return Cleared(payload=None if _mentions(payload, user_ids) else payload)
    sweep = _Sweep(user_ids, seal)
    kept = sweep.without(parsed)
    if sweep.found:  # outside an event: in an id list, a foreign field, a body inside the body
        return Cleared(payload=None, events=sweep.events, closed=sweep.closed)
    whole = orjson.dumps(kept) if sweep.events else payload
    return Cleared(payload=whole, events=sweep.events, closed=sweep.closed)


class _Sweep:
    """One walk through a payload."""

    def __init__(self, user_ids: Collection[str], seal: Seal | None) -> None:
        self._user_ids = user_ids
        self._seal = seal
        self.events = 0
        self.closed = False
        self.found = False

    def without(self, value: Any) -> Any:
        """`value` less the persons' events; anything else of theirs makes `found` true."""
        if isinstance(value, list):
            return [self.without(item) for item in value if not self._theirs(item)]
        if isinstance(value, dict):
            self.found |= self._theirs(value) or any(name in self._user_ids for name in value)
            return {name: self.without(item) for name, item in value.items()}
        if isinstance(value, str):
            self.found |= value in self._user_ids or _mentions(_decoded(value), self._user_ids)
        return value

    def _theirs(self, item: object) -> bool:
        if not isinstance(item, dict):
            return False
        event = self._opened(item) if "sealed" in item and "data" in item else item
        theirs = isinstance(event, dict) and _is_one_of(event, self._user_ids)
        self.events += theirs
        return theirs

    def _opened(self, envelope: Mapping[str, Any]) -> object:
        try:
            if self._seal is not None:
                return self._seal.open(envelope)
        except Rejected:
            pass  # another key, or damaged: it stays, and the erasure says so
        self.closed = True
        return None


def _is_one_of(event: Mapping[str, Any], user_ids: Collection[str]) -> bool:
    user_id = event.get("user_id")
    return isinstance(user_id, str) and user_id in user_ids


def _decoded(text: str) -> bytes:
    """What a string may carry: a text quoted whole, or base64 of one (a foreign message's body)."""
    raw = text.encode("utf-8", "backslashreplace")
    try:
        return raw + b" " + base64.b64decode(raw, validate=True)
    except (binascii.Error, ValueError):
        return raw


def _mentions(raw: bytes, user_ids: Collection[str]) -> bool:
    return any(
        re.search(_bounded(form), raw)
        for user_id in user_ids
        for form in {user_id.encode("utf-8", "backslashreplace"), _ascii_escaped(user_id)}
    )


def _ascii_escaped(user_id: str) -> bytes:
    """The id as a JSON encoder that keeps to ASCII writes it."""
    return "".join(c if c < "\x7f" else _escape(c) for c in user_id).encode("ascii", "backslashreplace")


def _escape(character: str) -> str:
    units = character.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[at : at + 2].hex()}" for at in range(0, len(units), 2))


def _bounded(form: bytes) -> bytes:
    left = rb"(?<!" + _WORD + rb")" if len(form) <= _UNMARKED else b""
    return left + re.escape(form) + rb"(?!" + _WORD + rb")"
