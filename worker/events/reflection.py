"""The wire event (version 1) and its strict reading: bytes of an app become a `Reflection` or a `Rejected`.

First step of the journey. `event.schema.json` beside this file publishes the same contract for other
languages.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from zoneinfo import available_timezones

import orjson

from worker.errors import Rejected
from worker.events.taxonomy import taxonomy

SCHEMA = 1
TEXT_LIMIT = 10_000
ID_LIMIT = 128
MESSAGE_LIMIT = 256
"""Most events in one message."""
AHEAD_LIMIT = timedelta(hours=24)
EARLIEST = datetime(1900, 1, 1, tzinfo=UTC)
"""No reflection is older; near the year 1 a local time may not exist at all."""
REVISION_LIMIT = 2**31 - 1
DEVICES = ("mobile", "web")
REQUIRED = ("id", "user_id", "text", "created_at")
FIELDS = ("schema", *REQUIRED, "lang", "device", "timezone", "self_report", "consent", "revision")
SELF_REPORT_FIELDS = ("valence", "arousal", "emotion")
CONSENT_FIELDS = ("training",)

REASONS: Mapping[str, str] = {
    "bad_json": "The line or message body is not valid JSON or MessagePack.",
    "not_a_list": "The task's argument is not one list of events (or ids).",
    "empty_message": "The list holds no event.",
    "message_too_large": f"The list holds more than {MESSAGE_LIMIT} entries.",
    "unknown_task": "The message names a task that this worker does not have.",
    "unsealed": "A key is configured and the event came without its seal.",
    "unreadable_seal": "The envelope cannot be opened: another key, a changed byte, a missing part.",
    "bad_type": "The field (or the event) has the wrong JSON type.",
    "unknown_schema": "The event's schema version is not one this worker reads.",
    "unknown_field": "The event has a field that the contract does not know.",
    "missing_field": "A required field is absent.",
    "bad_id": f"`id` is not 1-{ID_LIMIT} visible characters.",
    "bad_user_id": f"`user_id` is not 1-{ID_LIMIT} visible characters.",
    "empty_text": "`text` has no character.",
    "blank_text": "`text` has no visible character.",
    "text_too_long": f"`text` is longer than {TEXT_LIMIT} characters after NFC.",
    "nul_in_text": "`text` holds the NUL character, which Postgres cannot store.",
    "lone_surrogate": "A string holds half of a surrogate pair, which is no character.",
    "bad_time": "`created_at` is not an ISO 8601 date and time from 1900 on.",
    "naive_time": "`created_at` carries no offset from UTC.",
    "future_time": "`created_at` lies more than 24 hours ahead.",
    "bad_lang": "`lang` is not a language code such as en, hi-Latn or hi.",
    "bad_device": "`device` is not mobile, web or null.",
    "bad_timezone": "`timezone` is not a name of the IANA time zone database.",
    "bad_self_report": "`self_report` holds a value outside 0-1 or an emotion that is no taxonomy path.",
    "bad_consent": "`consent` is not an object with the boolean `training`.",
    "bad_revision": f"`revision` is not a whole number from 1 to {REVISION_LIMIT}.",
    "conflicting_content": "The same id and revision came before with other content.",
    "user_changed": "The same id came before from another user.",
    "person_erased": "The event was written before its person was erased; nothing of it is kept.",
    "text_unreadable": "The event was accepted and never finished, and no key opens its stored text.",
    "enrichment_failed": "The event was accepted, and a stage of the pipeline failed on it alone.",
    "enrichment_crashed": "Three workers crashed or hung on the event, the last with nothing else in hand.",
}
"""Stable codes of `dead_letters.reason` and what each one means."""

_TIME = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ][0-9]{2}:[0-9]{2}(?::[0-9]{2}(?:[.,][0-9]{1,9})?)?"
    r"([Zz]|[+-][0-9]{2}:?[0-9]{2})?"
)
_LANG = re.compile(r"([A-Za-z]{2,8})((?:-[A-Za-z0-9]{1,8}){0,3})")
_NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_KNOWN = frozenset(FIELDS)


@dataclass(frozen=True, kw_only=True, slots=True)
class SelfReport:
    """The person's own check-in; valence and arousal 0-1, `emotion` a taxonomy path of 1-3 names."""

    valence: float | None = None
    arousal: float | None = None
    emotion: tuple[str, ...] | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Reflection:
    """A validated event. `text` is NFC, 1-10,000 characters; `created_at` is UTC; `utc_offset_min` is what
    the event said.

    `digest` is SHA-256 over the canonical content, so the same event twice is recognised and a changed one is
    not.
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


def parse(raw: object, *, now: datetime) -> Reflection:
    """The reflection that the decoded event `raw` describes, received at `now` (aware).

    Raises `Rejected` with a code of `REASONS`; its detail names fields and lengths and never quotes the
    event.
    """
    if type(raw) is not dict:
        raise Rejected("bad_type", f"the event is {_kind(raw)}, not an object")
    schema = raw.get("schema", SCHEMA)
    if type(schema) is not int or schema != SCHEMA:
        raise Rejected("unknown_schema", f"this worker reads schema {SCHEMA}", field="schema")
    if not raw.keys() <= _KNOWN:
        raise _unknown(raw, _KNOWN, "")
    for name in REQUIRED:
        if name not in raw:
            raise Rejected("missing_field", f"{name} is required", field=name)
    id_ = _identifier(raw["id"], "id")
    user_id = _identifier(raw["user_id"], "user_id")
    text = _text(raw["text"])
    created_at, utc_offset_min = _instant(raw["created_at"], now)
    lang = _lang(raw.get("lang"))
    device = _device(raw.get("device"))
    timezone = _timezone(raw.get("timezone"))
    self_report = _self_report(raw.get("self_report"))
    consent = _consent(raw.get("consent"))
    revision = raw.get("revision", 1)
    if type(revision) is not int or not 1 <= revision <= REVISION_LIMIT:
        raise Rejected("bad_revision", REASONS["bad_revision"], field="revision")
    content = (
        id_,
        user_id,
        text,
        created_at,
        utc_offset_min,
        lang,
        device,
        timezone,
        self_report,
        consent,
        revision,
    )
    return Reflection(
        id=id_,
        user_id=user_id,
        text=text,
        created_at=created_at,
        utc_offset_min=utc_offset_min,
        lang=lang,
        device=device,
        timezone=timezone,
        self_report=self_report,
        consent_training=consent,
        revision=revision,
        # An array in the dataclass' order: canonical without sorting keys, since no content is a mapping.
        digest=hashlib.sha256(orjson.dumps(content)).digest(),
    )


def identity(raw: object) -> tuple[str | None, str | None]:
    """The (id, user_id) of an event that may be broken, each None unless well-formed: names a dead letter."""

    def well_formed(value: object) -> str | None:
        return value if isinstance(value, str) and _visible(value) else None

    return (
        (well_formed(raw.get("id")), well_formed(raw.get("user_id")))
        if isinstance(raw, dict)
        else (None, None)
    )


def _visible(value: str) -> bool:
    # isprintable() is False for control, format, surrogate, unassigned and every separator but the plain
    # space.
    return 0 < len(value) <= ID_LIMIT and value.isprintable() and " " not in value


def _identifier(value: object, name: str) -> str:
    if type(value) is not str:
        raise Rejected("bad_type", f"{name} is {_kind(value)}, not a string", field=name)
    if not _visible(value):
        raise Rejected(f"bad_{name}", REASONS[f"bad_{name}"], field=name)
    return value


def _text(value: object) -> str:
    if type(value) is not str:
        raise Rejected("bad_type", f"text is {_kind(value)}, not a string", field="text")
    if not value:
        raise Rejected("empty_text", REASONS["empty_text"], field="text")
    # No canonical composition shortens a string more than fourfold; longer input is not worth normalising.
    if len(value) > 4 * TEXT_LIMIT:
        raise Rejected("text_too_long", f"text has {len(value)} characters before NFC", field="text")
    if not value.isascii():
        if not _encodable(value):
            raise Rejected("lone_surrogate", REASONS["lone_surrogate"], field="text")
        value = unicodedata.normalize("NFC", value)
    if len(value) > TEXT_LIMIT:
        raise Rejected("text_too_long", f"text has {len(value)} characters", field="text")
    if "\0" in value:
        raise Rejected("nul_in_text", REASONS["nul_in_text"], field="text")
    bare = value.strip()
    if not bare or not (bare[0].isprintable() or any(c.isprintable() and c != " " for c in bare)):
        raise Rejected("blank_text", REASONS["blank_text"], field="text")
    return value


def _encodable(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:  # its message and object hold the text: it must not become a cause
        return False
    return True


def _instant(value: object, now: datetime) -> tuple[datetime, int]:
    if type(value) is not str:
        raise Rejected("bad_type", f"created_at is {_kind(value)}, not a string", field="created_at")
    match = _TIME.fullmatch(value)
    if match is None:
        raise Rejected("bad_time", REASONS["bad_time"], field="created_at")
    if match[1] is None:
        raise Rejected("naive_time", REASONS["naive_time"], field="created_at")
    try:
        local = datetime.fromisoformat(value.upper())
        instant = local.astimezone(UTC)
    except (ValueError, OverflowError):
        raise Rejected(
            "bad_time", "created_at names a date or time that does not exist", field="created_at"
        ) from None
    if instant < EARLIEST:
        raise Rejected("bad_time", f"created_at lies before {EARLIEST.year}", field="created_at")
    if instant - now > AHEAD_LIMIT:
        raise Rejected("future_time", REASONS["future_time"], field="created_at")
    offset = local.utcoffset()
    assert offset is not None  # the pattern demanded one
    return instant, int(offset.total_seconds()) // 60


def _lang(value: object) -> str | None:
    if value is None or value == "en" or value == "hi-Latn" or value == "hi":
        return value
    match = _LANG.fullmatch(value) if type(value) is str else None
    if match is None:
        raise Rejected("bad_lang", REASONS["bad_lang"], field="lang")
    # BCP 47 casing: language lower, Script title, REGION upper; so hi-latn is hi-Latn.
    cased = (
        p.title() if len(p) == 4 else p.upper() if len(p) == 2 else p.lower() for p in match[2].split("-")[1:]
    )
    return "-".join((match[1].lower(), *cased))


def _device(value: object) -> str | None:
    if value is None or (type(value) is str and value in DEVICES):
        return value
    raise Rejected("bad_device", REASONS["bad_device"], field="device")


@cache
def _timezones() -> frozenset[str]:
    # Files of the machine in the same folder, no places: `localtime` is whatever the machine is set to.
    return frozenset(available_timezones()) - {"Factory", "localtime"}


def _timezone(value: object) -> str | None:
    if value is None or (type(value) is str and value in _timezones()):
        return value
    raise Rejected("bad_timezone", REASONS["bad_timezone"], field="timezone")


def _self_report(value: object) -> SelfReport | None:
    if value is None:
        return None
    if type(value) is not dict:
        raise Rejected("bad_type", f"self_report is {_kind(value)}, not an object", field="self_report")
    if not value.keys() <= set(SELF_REPORT_FIELDS):
        raise _unknown(value, frozenset(SELF_REPORT_FIELDS), "self_report.")
    valence = _unit(value.get("valence"), "self_report.valence")
    arousal = _unit(value.get("arousal"), "self_report.arousal")
    emotion = _emotion(value.get("emotion"))
    if valence is None and arousal is None and emotion is None:
        return None
    return SelfReport(valence=valence, arousal=arousal, emotion=emotion)


def _unit(value: object, field: str) -> float | None:
    if value is None:
        return None
    if type(value) is not float and type(value) is not int:
        raise Rejected("bad_type", f"{field} is {_kind(value)}, not a number", field=field)
    if not 0 <= value <= 1:  # NaN compares False and is refused too
        raise Rejected("bad_self_report", f"{field} is not between 0 and 1", field=field)
    return float(value) + 0.0  # -0.0 becomes 0.0


def _emotion(value: object) -> tuple[str, ...] | None:
    field = "self_report.emotion"
    if value is None:
        return None
    if type(value) is not list or not all(type(name) is str for name in value):
        raise Rejected("bad_type", f"{field} is not a list of strings", field=field)
    path = tuple(value)
    if not 1 <= len(path) <= 3 or not taxonomy().is_path(path):
        raise Rejected("bad_self_report", f"{field} is no path of the taxonomy", field=field)
    return path


def _consent(value: object) -> bool:
    if value is None:
        return False
    if type(value) is not dict:
        raise Rejected("bad_consent", REASONS["bad_consent"], field="consent")
    if not value.keys() <= set(CONSENT_FIELDS):
        raise _unknown(value, frozenset(CONSENT_FIELDS), "consent.")
    training = value.get("training", False)
    if type(training) is not bool:
        raise Rejected("bad_consent", REASONS["bad_consent"], field="consent.training")
    return training


def _unknown(raw: Mapping[object, object], known: frozenset[str], prefix: str) -> Rejected:
    names = sorted(str(key) for key in raw if key not in known)
    # A key that is no plain name could be text in the wrong place: it is not repeated.
    shown = [prefix + name for name in names[:5] if _NAME.fullmatch(name)]
    detail = f"unknown: {', '.join(shown)}" if shown else "a field whose name is no plain name"
    return Rejected("unknown_field", detail, field=shown[0] if shown else None)


def _kind(value: object) -> str:
    kinds = {
        type(None): "null",
        bool: "a boolean",
        int: "a number",
        float: "a number",
        str: "a string",
        list: "a list",
    }
    return kinds.get(type(value), "an object" if isinstance(value, dict) else "no JSON value")
