"""The wire event (version 1) and its strict reading: bytes of an app become a `Reflection` or a `Rejected`."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, kw_only=True, slots=True)
class SelfReport:
    """The person's own check-in; valence and arousal 0-1, `emotion` a taxonomy path of 1-3 names."""

    valence: float | None = None
    arousal: float | None = None
    emotion: tuple[str, ...] | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Reflection:
    """A validated event. `text` is NFC, 1-10,000 characters; `created_at` is UTC; `utc_offset_min` is what the event said.

    `digest` is SHA-256 over the canonical content, so the same event twice is recognised and a changed one is not.
    """

    id: str
    user_id: str
    text: str
    created_at: datetime
    utc_offset_min: int
    lang: str | None = None
    device: str | None = None
    timezone: str | None = None
    self_report: SelfReport | None = None
    consent_training: bool = False
    revision: int = 1
    digest: bytes = b""
