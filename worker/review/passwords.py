"""Reviewers' passwords: what is stored of one, and whether another is the same."""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets

from worker.errors import UsageError

SHORTEST, LONGEST = 12, 200
_LOG2_N, _R, _P = 15, 8, 3
"""scrypt's cost: 32 MiB, some tenths of a second; OWASP's password storage cheat sheet names it."""
_MEMORY = 64 * 1024 * 1024


def kept(password: str) -> str:
    """What is stored: `scrypt$log2(n)$r$p$salt$key`, salt and key in base64. Raises UsageError for one that
    is too short or too long."""
    if not SHORTEST <= len(password) <= LONGEST:
        raise UsageError(f"a password has {SHORTEST}-{LONGEST} characters")
    salt = secrets.token_bytes(16)
    parts = (salt, _derived(password, salt, _LOG2_N, _R, _P))
    encoded = (base64.b64encode(part).decode() for part in parts)
    return "$".join(("scrypt", str(_LOG2_N), str(_R), str(_P), *encoded))


def same(password: str, stored: str | None) -> bool:
    """Whether `stored` was made of `password`. None (no such account) takes as long and is never the same."""
    if stored is None or len(password) > LONGEST:
        _derived("", bytes(16), _LOG2_N, _R, _P)
        return False
    _, n, r, p, salt, key = stored.split("$")
    found = _derived(password, base64.b64decode(salt), int(n), int(r), int(p))
    return hmac.compare_digest(found, base64.b64decode(key))


def _derived(password: str, salt: bytes, log2_n: int, r: int, p: int) -> bytes:
    return hashlib.scrypt(
        password.encode("utf-8", "surrogatepass"),
        salt=salt,
        n=1 << log2_n,
        r=r,
        p=p,
        maxmem=_MEMORY,
        dklen=32,
    )
