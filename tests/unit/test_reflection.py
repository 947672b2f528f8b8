"""The wire event's contract as a table: what is read, what is refused, and that a refusal never repeats the
text."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from worker.errors import Rejected
from worker.events import reflection
from worker.events.reflection import REASONS, Reflection, SelfReport, identity, parse

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
EVENT: dict[str, Any] = {
    "schema": 1, "id": "01J", "user_id": "u-17", "text": "A quiet day.",
    "created_at": "2026-11-22T07:15:00+05:30",
}  # fmt: skip


def read(**fields: Any) -> Reflection:
    return parse({**EVENT, **fields}, now=NOW)


def refusal(raw: object) -> Rejected:
    with pytest.raises(Rejected) as caught:
        parse(raw, now=NOW)
    return caught.value


def test_a_full_event_is_read_into_utc_with_its_offset() -> None:
    seen = read(
        lang="hi-Latn", device="mobile", timezone="Asia/Kolkata", revision=2, consent={"training": True},
        self_report={"valence": 0.25, "arousal": 1, "emotion": ["Sad", "Lonely"]},
    )  # fmt: skip

    assert seen == Reflection(
        id="01J", user_id="u-17", text="A quiet day.",
        created_at=datetime(2026, 11, 22, 1, 45, tzinfo=UTC),
        utc_offset_min=330, lang="hi-Latn", device="mobile", timezone="Asia/Kolkata", revision=2,
        consent_training=True,
        self_report=SelfReport(valence=0.25, arousal=1.0, emotion=("Sad", "Lonely")), digest=seen.digest,
    )  # fmt: skip
    assert len(seen.digest) == 32


@pytest.mark.parametrize(
    ("field", "value", "expected"),
    [
        ("text", "🙃🙃", "🙃🙃"),
        ("text", "אני עייף היום", "אני עייף היום"),
        ("text", "आज मैं खुश हूँ", "आज मैं खुश हूँ"),
        ("text", "a", "a"),
        ("text", " \n kept as written \t", " \n kept as written \t"),
        ("text", "Cafe\u0301", "Café"),
        ("text", "e\u0301" * 10_000, "é" * 10_000),
        ("text", "\u200fשלום", "\u200fשלום"),
        ("lang", None, None),
        ("lang", "hi-latn", "hi-Latn"),
        ("lang", "pt-br", "pt-BR"),
        ("lang", "TA", "ta"),
        ("device", None, None),
        ("timezone", "America/Argentina/Buenos_Aires", "America/Argentina/Buenos_Aires"),
        ("self_report", None, None),
        ("self_report", {}, None),
        ("self_report", {"valence": None, "emotion": None}, None),
        ("self_report", {"valence": 0}, SelfReport(valence=0.0)),
        ("self_report", {"emotion": ["Angry"]}, SelfReport(emotion=("Angry",))),
        ("id", "é" * 128, "é" * 128),
        ("revision", 2**31 - 1, 2**31 - 1),
    ],
)
def test_a_valid_value_is_read(field: str, value: object, expected: object) -> None:
    assert getattr(read(**{field: value}), field) == expected


@pytest.mark.parametrize(
    ("written", "utc", "offset"),
    [
        ("2026-11-22T07:15:00Z", datetime(2026, 11, 22, 7, 15, tzinfo=UTC), 0),
        ("2026-11-22 07:15-0330", datetime(2026, 11, 22, 10, 45, tzinfo=UTC), -210),
        ("2026-11-22T07:15:00.123456789Z", datetime(2026, 11, 22, 7, 15, 0, 123456, tzinfo=UTC), 0),
        ("2026-11-23T12:00:00Z", datetime(2026, 11, 23, 12, 0, tzinfo=UTC), 0),
        ("1900-01-01T05:30:00+05:30", datetime(1900, 1, 1, tzinfo=UTC), 330),
        ("1969-07-20t20:17:00z", datetime(1969, 7, 20, 20, 17, tzinfo=UTC), 0),
    ],
)
def test_a_time_with_an_offset_is_read(written: str, utc: datetime, offset: int) -> None:
    seen = read(created_at=written)
    assert (seen.created_at, seen.utc_offset_min) == (utc, offset)


@pytest.mark.parametrize(
    ("fields", "reason", "field"),
    [
        ({"schema": 2, "extra": 1}, "unknown_schema", "schema"),
        ({"schema": True}, "unknown_schema", "schema"),
        ({"schema": None}, "unknown_schema", "schema"),
        ({"mood": 3}, "unknown_field", "mood"),
        ({"self_report": {"valence": 0.5, "joy": 1}}, "unknown_field", "self_report.joy"),
        ({"consent": {"research": True}}, "unknown_field", "consent.research"),
        ({"id": None}, "bad_type", "id"),
        ({"id": 17}, "bad_type", "id"),
        ({"id": ""}, "bad_id", "id"),
        ({"id": "a b"}, "bad_id", "id"),
        ({"id": "a\u00a0b"}, "bad_id", "id"),
        ({"id": "a\u200b"}, "bad_id", "id"),
        ({"id": "a\ud800"}, "bad_id", "id"),
        ({"id": "x" * 129}, "bad_id", "id"),
        ({"user_id": "a\n"}, "bad_user_id", "user_id"),
        ({"text": None}, "bad_type", "text"),
        ({"text": ["a"]}, "bad_type", "text"),
        ({"text": b"a"}, "bad_type", "text"),
        ({"text": ""}, "empty_text", "text"),
        ({"text": " \t\n\u3000"}, "blank_text", "text"),
        ({"text": "\u200b\u200d\ufeff \u2060"}, "blank_text", "text"),
        ({"text": "x" * 10_001}, "text_too_long", "text"),
        ({"text": "x" * 1_000_000}, "text_too_long", "text"),
        ({"text": "a\0b"}, "nul_in_text", "text"),
        ({"text": "a\ud83d"}, "lone_surrogate", "text"),
        ({"created_at": "2026-11-22T07:15:00"}, "naive_time", "created_at"),
        ({"created_at": "2026-11-23T12:00:01Z"}, "future_time", "created_at"),
        ({"created_at": "9999-12-31T23:59:59-12:00"}, "bad_time", "created_at"),
        ({"created_at": "0001-01-01T00:00:00+12:00"}, "bad_time", "created_at"),
        ({"created_at": "0001-01-01T00:00:00Z", "timezone": "America/New_York"}, "bad_time", "created_at"),
        ({"created_at": "1899-12-31T23:59:59Z"}, "bad_time", "created_at"),
        ({"created_at": "1900-01-01T05:29:59+05:30"}, "bad_time", "created_at"),
        ({"created_at": "2026-02-30T00:00:00Z"}, "bad_time", "created_at"),
        ({"created_at": "2026-11-22"}, "bad_time", "created_at"),
        ({"created_at": "yesterday"}, "bad_time", "created_at"),
        ({"created_at": "٢٠٢٦-11-22T00:00:00Z"}, "bad_time", "created_at"),
        ({"created_at": 1763795700}, "bad_type", "created_at"),
        ({"created_at": datetime(2026, 11, 22, tzinfo=UTC)}, "bad_type", "created_at"),
        ({"lang": "English, mostly"}, "bad_lang", "lang"),
        ({"lang": 1}, "bad_lang", "lang"),
        ({"device": "fridge"}, "bad_device", "device"),
        ({"device": ["web"]}, "bad_device", "device"),
        ({"timezone": "Mars/Olympus"}, "bad_timezone", "timezone"),
        ({"timezone": "../../etc/passwd"}, "bad_timezone", "timezone"),
        ({"timezone": {}}, "bad_timezone", "timezone"),
        ({"timezone": "localtime"}, "bad_timezone", "timezone"),
        ({"timezone": "Factory"}, "bad_timezone", "timezone"),
        ({"self_report": 0.5}, "bad_type", "self_report"),
        ({"self_report": {"valence": 1.01}}, "bad_self_report", "self_report.valence"),
        ({"self_report": {"valence": float("nan")}}, "bad_self_report", "self_report.valence"),
        ({"self_report": {"arousal": True}}, "bad_type", "self_report.arousal"),
        ({"self_report": {"emotion": []}}, "bad_self_report", "self_report.emotion"),
        ({"self_report": {"emotion": ["Lonely"]}}, "bad_self_report", "self_report.emotion"),
        ({"self_report": {"emotion": "Sad"}}, "bad_type", "self_report.emotion"),
        ({"consent": True}, "bad_consent", "consent"),
        ({"consent": {"training": 1}}, "bad_consent", "consent.training"),
        ({"revision": 0}, "bad_revision", "revision"),
        ({"revision": 2**31}, "bad_revision", "revision"),
        ({"revision": 1.0}, "bad_revision", "revision"),
        ({"revision": True}, "bad_revision", "revision"),
    ],
)
def test_a_broken_value_is_refused_with_its_reason(fields: dict[str, Any], reason: str, field: str) -> None:
    error = refusal({**EVENT, **fields})
    assert (error.reason, error.field) == (reason, field)
    assert error.reason in REASONS


@pytest.mark.parametrize("name", reflection.REQUIRED)
def test_a_missing_required_field_is_named(name: str) -> None:
    error = refusal({key: value for key, value in EVENT.items() if key != name})
    assert (error.reason, error.field) == ("missing_field", name)


@pytest.mark.parametrize("raw", [None, [], "text", 5, [EVENT], b"{}"])
def test_an_event_that_is_no_object_is_refused(raw: object) -> None:
    assert refusal(raw).reason == "bad_type"


def test_a_field_whose_name_could_be_text_is_not_repeated() -> None:
    error = refusal({**EVENT, "I told nobody about the canary": 1})
    assert error.reason == "unknown_field"
    assert "canary" not in str(error)


def test_a_refused_text_leaves_no_trace_in_the_error() -> None:
    error = refusal({**EVENT, "text": "canary \ud800"})
    assert "canary" not in repr(error)
    assert error.__cause__ is None
    assert error.__context__ is None


def test_the_digest_tells_content_from_writing() -> None:
    one = read(created_at="2026-11-22T07:15:00+05:30", self_report={"valence": 1})
    same = parse(
        dict(reversed(list({**EVENT, "self_report": {"valence": 1.0}, "lang": None}.items()))), now=NOW
    )
    assert one == same
    others = {read(text="other").digest, read(revision=2).digest, read(user_id="u").digest, read().digest}
    assert len(others | {one.digest}) == 5
    assert replace(one, digest=b"") != one


@pytest.mark.parametrize(
    ("raw", "named"),
    [
        ({"id": "a", "user_id": "u", "text": ""}, ("a", "u")),
        ({"id": "a b", "user_id": 3}, (None, None)),
        ([], (None, None)),
    ],
)
def test_a_broken_event_is_named_by_what_is_well_formed(
    raw: object, named: tuple[str | None, str | None]
) -> None:
    assert identity(raw) == named


def test_the_published_schema_has_the_same_fields_and_limits() -> None:
    schema = json.loads(Path(reflection.__file__).with_name("event.schema.json").read_text())
    fields = schema["properties"]
    assert tuple(fields) == reflection.FIELDS
    assert tuple(schema["required"]) == reflection.REQUIRED
    assert fields["schema"]["const"] == reflection.SCHEMA
    assert fields["id"]["maxLength"] == fields["user_id"]["maxLength"] == reflection.ID_LIMIT
    assert fields["text"]["maxLength"] == reflection.TEXT_LIMIT
    assert fields["revision"]["maximum"] == reflection.REVISION_LIMIT
    assert fields["device"]["enum"] == [*reflection.DEVICES, None]
    assert tuple(fields["self_report"]["properties"]) == reflection.SELF_REPORT_FIELDS
    assert tuple(fields["consent"]["properties"]) == reflection.CONSENT_FIELDS
    assert not any(
        part["additionalProperties"] for part in (schema, fields["self_report"], fields["consent"])
    )
