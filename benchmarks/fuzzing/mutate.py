"""Wrong input made from right input: seeded changes to values and to bytes, most small, some monstrous."""

from __future__ import annotations

import copy
import json
from datetime import UTC, datetime
from random import Random
from typing import Any

MARK = "pelikanzwirn"
"""In every text, and in nothing else: whoever repeats a text repeats it."""

EVENT: dict[str, Any] = {
    "schema": 1,
    "id": "01J8-0001",
    "user_id": "u-17",
    "text": f"Aaj ka din theek tha, {MARK} 🙂",
    "created_at": "2026-11-22T07:15:00+05:30",
    "lang": "hi-Latn",
    "device": "mobile",
    "timezone": "Asia/Kolkata",
    "self_report": {"valence": 0.25, "arousal": 0.6, "emotion": ["Sad", "Lonely"]},
    "consent": {"training": True},
    "revision": 1,
}
LABELLED: dict[str, Any] = {
    **EVENT,
    "labels": {
        "valence": 0.5,
        "invoked": [["Sad"], ["Angry"]],
        "expressed": ["Happy"],
        "risk": {"self_harm": 0.0},
        "emotional_disclosure": 1,
        "state_change_valence": -0.5,
        "is_words": True,
        "split": "train",
        "goemotions": ["joy"],
        "cluster": "c-1",
    },
    "source": "synthetic",
    "cluster": "c-1",
}
NASTY: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 2, 0.5, -0.0, 1e308, float("inf"), float("-inf"), float("nan"), 2**31,
    2**63, 2**64, -(2**200), "", " ", "\0", "\ud800", "\udfff", "a" * 129, "\u200b", "\u202eabc",
    "e\u0301" * 30, "ﷺ" * 8, "मैं ठीक हूँ", "\ufeff", "nan", "null", "1", "0001-01-01T00:00:00Z",
    "9999-12-31T23:59:59-23:59", "2026-02-30T00:00:00Z", "2026-11-22T07:15:00", "2026-11-22T24:00:00+00:00",
    "2026-11-22T07:15:60Z", "localtime", "../../etc/passwd", "en-" + "x" * 9, "%s%n", "{}", [], {}, [[]],
    [None], {"": None}, ["Sad", "Sad"], [1], (),
)  # fmt: skip
STRANGE = ("extra", "", "Text", "a b", "\0", "\ud800", "x" * 300, "__class__", "sealed")
"""Names of fields that are none."""
FOREIGN: tuple[Any, ...] = (b"\xff\x00", datetime(2026, 11, 22, tzinfo=UTC), {1: 2}, {None: "x"}, {b"k": 1})
"""What MessagePack can bring and JSON cannot."""
TOKENS = (
    b"\0", b"\xff\xfe", b"\xef\xbb\xbf", b"\xed\xa0\x80", b"\\ud800", b"\\u0000", b"NaN", b"Infinity", b"-",
    b"1e999", b"9" * 400, b'"', b"'", b"{", b"}", b"[", b"]", b",", b":", b"\\", b"\n", b"\r\n", b"null",
    b"true", b"\xc1", b"<!--", b"]]>", b"&lt;", b"=", b"0x", b"PK\x03\x04", b"\x93NUMPY",
    b"(9999999999999,)", b"object", b"|O",
)  # fmt: skip


def value(random: Random, *, foreign: bool = False) -> Any:
    """A value of any kind; now and then deep, or long."""
    dice = random.random()
    if dice < 0.01:
        return nested(random.choice((10, 300, 3000)))
    if dice < 0.02:
        return random.choice(("x", "é", "🙂", "\u0301", " ")) * random.choice((10_001, 40_001))
    if foreign and dice < 0.2:
        return copy.deepcopy(random.choice(FOREIGN))
    return copy.deepcopy(random.choice(NASTY))


def nested(depth: int) -> list[Any]:
    inner: list[Any] = []
    for _ in range(depth):
        inner = [inner]
    return inner


def tree(random: Random, base: Any, *, foreign: bool = False) -> Any:
    """`base` with 0 to 4 changes at random places; `base` stays as it is."""
    try:
        changed = copy.deepcopy(base)
    except RecursionError:  # an earlier change made it deep
        return nested(3000)
    for _ in range(random.choice((0, 1, 1, 1, 2, 4))):
        place = _inside(random, changed)
        if place is None:
            return value(random, foreign=foreign)
        _change(random, place, foreign=foreign)
    return changed


def _inside(random: Random, root: Any) -> Any:
    """A dict or list somewhere in `root`."""
    if not isinstance(root, dict | list):
        return None
    place = root
    while True:
        children = place.values() if isinstance(place, dict) else place
        inner = [child for child in children if isinstance(child, dict | list) and child]
        if not inner or random.random() < 0.5:
            return place
        place = random.choice(inner)


def _change(random: Random, place: Any, *, foreign: bool) -> None:
    new = value(random, foreign=foreign)
    if isinstance(place, list):
        at = random.randrange(len(place) + 1)
        many = 1 if isinstance(new, list | dict) else random.choice((1, 1, 2, 300))  # lists of lists explode
        place[at : at + random.randrange(2)] = [new] * many
        return
    key = random.choice(list(place)) if place else "x"
    match random.randrange(4):
        case 0:
            place.pop(key, None)
        case 1:
            place[
                random.choice(("extra", "", "Text", "a b", "\0", "\ud800", "x" * 300, "__class__", "sealed"))
            ] = new
        case 2 if isinstance(place.get(key), str) and key != "text":
            place[key] = place[key] + random.choice(("\0", " ", "\ud800", "x" * 200, "\n"))
        case _:
            place[key] = new


def spoiled(random: Random, data: bytes) -> bytes:
    """`data` with 1 to 6 changes: bits, cuts, repetitions, pieces from elsewhere."""
    changed = bytearray(data)
    for _ in range(random.choice((1, 1, 2, 3, 6))):
        at = random.randrange(len(changed) + 1)
        span = random.choice((1, 1, 2, 8, 64, 1024))
        match random.randrange(7):
            case 0 if changed:
                changed[min(at, len(changed) - 1)] ^= 1 << random.randrange(8)
            case 1:
                del changed[at : at + span]
            case 2:
                changed[at:at] = changed[at : at + span] * random.choice((1, 1, 50))
            case 3:
                del changed[at:]
            case 4:
                changed[at : at + random.choice((0, len(TOKENS)))] = random.choice(TOKENS)
            case 5:
                changed[at:at] = random.choice((b"[", b'{"a":', b"<a>", b"(")) * random.choice((1, 20, 5000))
            case _:
                changed[at : at + span] = random.randbytes(span)
    return bytes(changed)


def encoded(what: Any) -> bytes:
    """The JSON a careless client would write, with NaN and half surrogates as they are."""
    try:
        text = json.dumps(what, default=repr, skipkeys=True, ensure_ascii=False)
    except RecursionError:
        return b"[" * 5000 + b"]" * 5000
    return text.encode("utf-8", "surrogatepass")
