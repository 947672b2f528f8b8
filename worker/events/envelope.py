"""The seal of an event on the wire: with a key configured, the broker and everything that looks at it see no
text.

A sealed event is `{"sealed": 1, "kid": K, "nonce": N, "data": D}` in the place of the event in the message:
AES-256-GCM (NIST SP 800-38D) over the event as UTF-8 JSON, associated data `feltsense.event.1`, a fresh
random 96-bit nonce for each event; N and D (ciphertext and 16-byte tag) are standard base64, K the first 8
hex digits of the key's SHA-256.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import secrets
from collections.abc import Mapping
from typing import Any, Self, TypeGuard

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from worker.errors import Rejected, UsageError

FIELDS = ("sealed", "kid", "nonce", "data")
ASSOCIATED = b"feltsense.event.1"
KEY_BYTES = 32
NONCE_BYTES = 12
DATA_LIMIT = 1 << 20
"""Most base64 characters of `data`: well above the longest valid event, escaped."""


class Seal:
    """Seals and opens events with one key. Safe to share between threads."""

    def __init__(self, *, key: bytes) -> None:
        self._cipher = AESGCM(key)
        self.kid = key_id(key)

    @classmethod
    def of(cls, key: str) -> Self:
        """The seal of a base64 key. Raises `UsageError` unless it decodes to 32 bytes; the message does not
        repeat it."""
        return cls(key=decode_key(key, "the event key"))

    @classmethod
    def maybe(cls, key: str | None) -> Self | None:
        """The same where there is a key."""
        return None if key is None else cls.of(key)

    def seal(self, event: Mapping[str, Any]) -> dict[str, Any]:
        """The envelope around `event`. Raises TypeError or ValueError for a value that is no JSON."""
        nonce = secrets.token_bytes(NONCE_BYTES)
        # ASCII escapes carry a lone surrogate too, so that the worker refuses it by name instead of the
        # publisher failing.
        data = self._cipher.encrypt(nonce, json.dumps(event).encode("ascii"), ASSOCIATED)
        return {
            "sealed": 1,
            "kid": self.kid,
            "nonce": base64.b64encode(nonce).decode(),
            "data": base64.b64encode(data).decode(),
        }

    def open(self, envelope: object) -> object:
        """The event inside. Raises `Rejected`: `unsealed` when it is no envelope, `unreadable_seal` when it
        does not open."""
        if not is_sealed(envelope):
            raise Rejected("unsealed", "this installation takes sealed events only")
        if envelope.keys() != set(FIELDS) or envelope["sealed"] != 1:
            raise Rejected(
                "unreadable_seal", f"an envelope has exactly the fields {', '.join(FIELDS)}, and sealed is 1"
            )
        nonce, data = _decoded(envelope["nonce"], "nonce"), _decoded(envelope["data"], "data")
        if envelope["kid"] != self.kid:
            raise Rejected(
                "unreadable_seal", f"sealed with another key; this worker has {self.kid}", field="kid"
            )
        if len(nonce) != NONCE_BYTES:
            raise Rejected("unreadable_seal", f"the nonce is not {NONCE_BYTES} bytes", field="nonce")
        try:
            plain = self._cipher.decrypt(nonce, data, ASSOCIATED)
        except InvalidTag:
            raise Rejected("unreadable_seal", "the seal does not match its content", field="data") from None
        try:
            event: object = json.loads(plain)
        except (ValueError, RecursionError):  # UnicodeDecodeError is a ValueError; both hold the text
            event = _Unreadable
        if event is _Unreadable:
            raise Rejected("bad_json", "the sealed content is no JSON", field="data")
        return event


def is_sealed(event: object) -> TypeGuard[dict[str, Any]]:
    """Whether this is meant as an envelope, readable or not: no event has a field of that name."""
    return isinstance(event, dict) and "sealed" in event


def key_id(key: bytes) -> str:
    """What a key is called where it must be named: the first 8 hex digits of its SHA-256."""
    return hashlib.sha256(key).hexdigest()[:8]


def decode_key(key: str, name: str) -> bytes:
    """The 32 bytes of a base64 key. Raises `UsageError`, which says `name` and never the key."""
    try:
        raw = base64.b64decode(key, validate=True)
    except (binascii.Error, ValueError):
        raw = b""
    if len(raw) != KEY_BYTES:
        raise UsageError(f"{name} is not base64 of 32 bytes; make one with: openssl rand -base64 32")
    return raw


class _Unreadable:
    """Marks content that did not decode, so that the error is raised outside the handler that saw the
    text."""


def _decoded(value: object, name: str) -> bytes:
    if isinstance(value, str) and len(value) <= DATA_LIMIT:
        try:
            return base64.b64decode(value, validate=True)
        except (binascii.Error, ValueError):
            pass  # refused below, without the value
    raise Rejected("unreadable_seal", f"{name} is no base64", field=name)
