"""The seal of texts at rest: what the tables hold of a person opens with that person's data key only, and the
data key with the operator's key only.

Every person has a random data key. It is stored wrapped: AES-256-GCM under the operator's key, bound to the
person. A text or payload is sealed with the data key, bound to where it stands. So the operator's key can
change without a text being written again, and whoever deletes the data key has shredded every text of the
person, also those in a copy of the tables without the keys.

A sealed value is `01 | number of the data key | nonce (12) | AES-GCM data and tag`; a wrapped key is
`nonce | data and tag`.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from worker.errors import FeltsenseError, UsageError
from worker.events.envelope import KEY_BYTES, NONCE_BYTES, decode_key, key_id

FORMAT = 1
_HEADER = 2
_TEXT, _PAYLOAD, _KEY = b"feltsense.text.1", b"feltsense.payload.1", b"feltsense.key.1"
_NOTE = b"feltsense.note.1"


class Unopenable(FeltsenseError):
    """A stored text or payload that no key at hand opens; it stays as it is. The message names the key by its
    id."""

    exit_code = 3


@dataclass(frozen=True, kw_only=True, slots=True)
class Locker:
    """The data keys of one person as they are stored: each wrapped by the operator's key of that id.

    `person` is `person_digest` of the user id. More than one key: an operator's key was missing for a while.
    """

    person: bytes
    kids: Sequence[str] = ()
    wrapped: Sequence[bytes] = ()


class Keyring:
    """The operator's keys: the first wraps, each unwraps. Safe to share between threads."""

    def __init__(self, keys: Sequence[bytes]) -> None:
        self._ciphers = {key_id(key): AESGCM(key) for key in keys}
        self.kid = key_id(keys[0])

    @classmethod
    def of(cls, keys: str) -> Self:
        """The ring of comma-separated base64 keys. Raises `UsageError` unless each decodes to 32 bytes."""
        parts = [part.strip() for part in keys.split(",") if part.strip()]
        if not parts:
            raise UsageError("FELTSENSE_TEXT_KEYS names no key")
        return cls([decode_key(part, "a text key") for part in parts])

    @property
    def kids(self) -> list[str]:
        return list(self._ciphers)

    def opens(self, locker: Locker) -> bool:
        """Whether any of the person's data keys is wrapped under a key of the ring."""
        return any(kid in self._ciphers for kid in locker.kids)

    def sealing(self, locker: Locker) -> bytes | None:
        """The wrapped data key that `seal` uses, None if none opens."""
        held = zip(locker.kids, locker.wrapped, strict=True)
        return next((wrapped for kid, wrapped in held if kid in self._ciphers), None)

    def fresh(self, person: bytes) -> bytes:
        """A new data key for `person`, wrapped under the first key."""
        return self._wrap(secrets.token_bytes(KEY_BYTES), person)

    def rewrapped(self, locker: Locker) -> Locker:
        """The same data keys, under the first key where the old one is at hand."""
        kids, wrapped = list(locker.kids), list(locker.wrapped)
        for number, kid in enumerate(kids):
            if kid != self.kid and kid in self._ciphers:
                wrapped[number] = self._wrap(self._unwrap(locker, number), locker.person)
                kids[number] = self.kid
        return Locker(person=locker.person, kids=kids, wrapped=wrapped)

    def seal(self, locker: Locker, plain: bytes, place: bytes) -> bytes:
        """`plain` sealed for `place` with the first data key that opens. Raises `Unopenable` if none does."""
        number = next((n for n, kid in enumerate(locker.kids) if kid in self._ciphers), None)
        if number is None:
            raise Unopenable("no data key of the person opens")
        nonce = secrets.token_bytes(NONCE_BYTES)
        sealed = AESGCM(self._unwrap(locker, number)).encrypt(nonce, plain, place)
        return bytes((FORMAT, number)) + nonce + sealed

    def open(self, locker: Locker, sealed: bytes, place: bytes) -> bytes:
        """What was sealed for `place`. Raises `Unopenable` naming the cause."""
        number = sealed[1] if len(sealed) > _HEADER + NONCE_BYTES and sealed[0] == FORMAT else -1
        if number < 0:
            raise Unopenable("sealed in a form that this version does not know")
        if number >= len(locker.kids):
            raise Unopenable("sealed with a data key that is gone")
        nonce, data = sealed[_HEADER : _HEADER + NONCE_BYTES], sealed[_HEADER + NONCE_BYTES :]
        try:
            return AESGCM(self._unwrap(locker, number)).decrypt(nonce, data, place)
        except InvalidTag:
            raise Unopenable("the seal does not match its content") from None

    def _wrap(self, key: bytes, person: bytes) -> bytes:
        nonce = secrets.token_bytes(NONCE_BYTES)
        return nonce + self._ciphers[self.kid].encrypt(nonce, key, _KEY + person)

    def _unwrap(self, locker: Locker, number: int) -> bytes:
        kid, wrapped = locker.kids[number], locker.wrapped[number]
        if kid not in self._ciphers:
            raise Unopenable(f"sealed under key {kid}, which FELTSENSE_TEXT_KEYS does not hold")
        try:
            return self._ciphers[kid].decrypt(
                wrapped[:NONCE_BYTES], wrapped[NONCE_BYTES:], _KEY + locker.person
            )
        except InvalidTag:
            raise Unopenable(f"the data key wrapped under key {kid} is damaged") from None


def person_digest(user_id: str) -> bytes:
    """SHA-256 of a user id: what is kept of a person instead of the name. It can be guessed by trying."""
    return hashlib.sha256(user_id.encode("utf-8", "backslashreplace")).digest()


def place_of_text(id_: str, revision: int) -> bytes:
    """Where a text stands: a seal moved to another row does not open."""
    return b"\0".join((_TEXT, id_.encode(), str(revision).encode()))


def place_of_payload(message_id: str, position: int) -> bytes:
    """Where a dead letter's payload stands."""
    return b"\0".join((_PAYLOAD, message_id.encode(), str(position).encode()))


def place_of_note(id_: str, revision: int, reviewer: str) -> bytes:
    """Where a reviewer's note stands."""
    return b"\0".join((_NOTE, id_.encode(), str(revision).encode(), reviewer.encode()))
