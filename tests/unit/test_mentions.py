"""An erasure takes a person's events out of any payload, and leaves everybody else's."""

import base64
import json

import pytest

from worker.events.envelope import Seal
from worker.store.mentions import clear

SEAL = Seal(key=bytes(32))
OTHER = Seal(key=bytes([1]) * 32)
MINE = {"id": "a", "user_id": "u-1", "text": "my words"}
YOURS = {"id": "b", "user_id": "u-17", "text": "your words"}
GANZ = "ü-größe"


def packed(value: object) -> bytes:
    return json.dumps(value).encode()


CASES = [
    # what the payload is, the payload, what is left (None: dropped), events that left
    ("a message of both", packed([[[MINE, YOURS]], {}]), packed([[[YOURS]], {}]), 1),
    ("nothing of theirs", packed([[[YOURS]], {}]), packed([[[YOURS]], {}]), 0),
    ("an id that begins like theirs", packed([[[YOURS, "u-10", "xu-1"]], {}]),
     packed([[[YOURS, "u-10", "xu-1"]], {}]), 0),
    ("several events", packed([[[MINE, YOURS, MINE]], {}]), packed([[[YOURS]], {}]), 2),
    ("the bare event", packed(MINE), None, 1),
    ("a list of ids", packed([[["u-1"]], {}]), None, 0),
    ("an id in a text", packed([[["said u-1, yes"]], {}]), None, 0),
    ("an id as a field's name", packed([{"u-1": 2}]), None, 0),
    ("sealed on the wire", packed([[[SEAL.seal(MINE), SEAL.seal(YOURS)]], {}]), "keeps the second", 1),
    ("a message in a message", packed({"body": base64.b64encode(packed([[[MINE]], {}])).decode()}), None, 0),
    ("another's message in a message", packed({"body": base64.b64encode(packed([[[YOURS]]])).decode()}),
     "unchanged", 0),
    ("broken JSON with it", packed([[[MINE]]])[:-3], None, 0),
    ("broken JSON without it", packed([[[YOURS]]])[:-3], "unchanged", 0),
    ("MessagePack", b"\x91\x82\xa2id\xa1a\xa7user_id\xa3u-1", None, 0),
    ("MessagePack of another", b"\x91\x82\xa2id\xa1a\xa7user_id\xa4u-17", "unchanged", 0),
    ("bytes of nothing", b"\xff\x00\xfe", "unchanged", 0),
]  # fmt: skip


@pytest.mark.parametrize(("payload", "left", "events"), [c[1:] for c in CASES], ids=[c[0] for c in CASES])
def test_a_payload_loses_what_is_theirs(payload, left, events):
    cleared = clear(payload, {"u-1"}, seal=SEAL)
    if left == "keeps the second":
        (args, _) = json.loads(cleared.payload)
        assert [SEAL.open(one) for one in args[0]] == [YOURS]
    elif left is None:
        assert cleared.payload is None
    else:
        expected = payload if left == "unchanged" else left
        same = cleared.payload == expected
        assert same or json.loads(cleared.payload) == json.loads(expected)
    assert (cleared.events, cleared.closed) == (events, False)


@pytest.mark.parametrize("escaped", [True, False], ids=["escaped", "as UTF-8"])
def test_an_id_beyond_ascii_is_found_in_what_is_no_json(escaped):
    payload = json.dumps([{"user_id": GANZ}], ensure_ascii=escaped).encode()[:-1]
    assert clear(payload, {GANZ}, seal=None).payload is None
    assert clear(payload, {"größ"}, seal=None).payload == payload or not escaped


def test_a_long_id_is_found_behind_a_length_that_looks_like_a_letter():
    long = "u" * 65  # MessagePack marks it with the byte 65, an A
    assert clear(b"\xd9\x41" + long.encode() + b"\xff", {long}, seal=None).payload is None


@pytest.mark.parametrize("seal", [None, OTHER], ids=["no key", "another key"])
def test_what_nobody_can_open_stays_and_is_said(seal):
    payload = packed([[[SEAL.seal(MINE)]], {}])
    cleared = clear(payload, {"u-1"}, seal=seal)
    assert (cleared.payload, cleared.closed) == (payload, True)
