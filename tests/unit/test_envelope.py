"""The seal opens with its key only, and says what is wrong without showing what is inside."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from worker.errors import Rejected, UsageError
from worker.events.envelope import Seal

KEY = base64.b64encode(bytes(range(32))).decode()
OTHER = base64.b64encode(bytes(32)).decode()
EVENT = {"id": "1", "text": "canary ज \ud800"}


def changed(**fields: Any) -> dict[str, Any]:
    return {**Seal.of(KEY).seal(EVENT), **fields}


def test_what_was_sealed_opens_to_the_same_event() -> None:
    assert Seal.of(KEY).open(Seal.of(KEY).seal(EVENT)) == EVENT


def test_the_envelope_shows_nothing_and_never_repeats_a_nonce() -> None:
    one, two = Seal.of(KEY).seal(EVENT), Seal.of(KEY).seal(EVENT)
    assert b"canary" not in base64.b64decode(one["data"])
    assert one["nonce"] != two["nonce"]
    assert one["data"] != two["data"]


@pytest.mark.parametrize(
    ("envelope", "reason"),
    [
        (EVENT, "unsealed"),
        ([], "unsealed"),
        (None, "unsealed"),
        (changed(sealed=2), "unreadable_seal"),
        (changed(extra=1), "unreadable_seal"),
        ({"sealed": 1}, "unreadable_seal"),
        (changed(kid="00000000"), "unreadable_seal"),
        (changed(nonce="!"), "unreadable_seal"),
        (changed(nonce="AAAA"), "unreadable_seal"),
        (changed(data=""), "unreadable_seal"),
        (changed(data=5), "unreadable_seal"),
        (changed(data="A" * 2_000_000), "unreadable_seal"),
        (changed(nonce=base64.b64encode(bytes(12)).decode()), "unreadable_seal"),
        (Seal.of(OTHER).seal(EVENT), "unreadable_seal"),
    ],
)
def test_an_envelope_that_does_not_open_is_refused(envelope: object, reason: str) -> None:
    with pytest.raises(Rejected) as caught:
        Seal.of(KEY).open(envelope)
    assert caught.value.reason == reason
    assert "canary" not in str(caught.value)


@pytest.mark.parametrize("key", ["", "short", base64.b64encode(bytes(31)).decode(), "!" * 44, "é" * 44])
def test_a_key_that_is_not_32_bytes_is_refused_without_repeating_it(key: str) -> None:
    with pytest.raises(UsageError) as caught:
        Seal.of(key)
    assert not key or key not in str(caught.value)
