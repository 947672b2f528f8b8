"""The sample's edge cases, by hand: other scripts and odd shapes, edits, contradictions, broken lines."""

from __future__ import annotations

import json
from typing import Any

from worker.events.reflection import TEXT_LIMIT

LONG_DAY = (
    "I promised myself to write everything down once, the whole day, without leaving the dull parts out. "
    "The kettle, the stairs, the wet umbrella, the woman on the bus who sang to her shopping bag. "
    "At noon I thought of my father and how he used to fold newspapers into hats, and I missed him, "
    "not sharply, more like a song from another room. Work was work. I answered what had to be answered. "
    "In the evening the light came in low and everything in the kitchen looked forgiven. "
)

EVENTS: tuple[dict[str, Any], ...] = (
    {"id": "r-ila-01", "user_id": "u-ila", "text": "😭😭💔", "created_at": "2026-09-19T22:10:00+05:30"},
    {"id": "r-ila-02", "user_id": "u-ila", "text": "🎉🥳❤️", "created_at": "2026-09-25T20:00:00+05:30"},
    {"id": "r-ila-03", "user_id": "u-ila", "text": "ok", "created_at": "2026-09-28T09:00:00+05:30"},
    {"id": "r-ila-04", "user_id": "u-ila", "text": "?", "created_at": "2026-10-02T09:00:00+05:30"},
    {
        "id": "r-ila-05",
        "user_id": "u-ila",
        "text": "सब ठीक है, बस थोड़ा थक गई हूँ।",
        "lang": "hi",
        "created_at": "2026-10-05T21:00:00+05:30",
    },
    {
        "id": "r-ila-06",
        "user_id": "u-ila",
        "text": "आज बहुत अकेला महसूस हो रहा है, किसी से बात करने का मन नहीं।",
        "lang": "hi",
        "created_at": "2026-10-09T23:15:00+05:30",
        "self_report": {"valence": 0.2, "arousal": 0.3, "emotion": ["Sad", "Lonely"]},
    },
    {
        "id": "r-ila-07",
        "user_id": "u-ila",
        "text": "Exam खत्म! finally आज चैन से सोऊँगी 😌",
        "created_at": "2026-10-16T19:30:00+05:30",
        "self_report": {"valence": 0.8},
    },
    {
        "id": "r-ila-08",
        "user_id": "u-ila",
        "text": "दीवाली पर पूरा घर रोशनी से भर गया, दादी हँस रही थीं, दिल खुश हो गया।",
        "created_at": "2026-11-08T22:00:00+05:30",
    },
    {
        "id": "r-ila-09",
        "user_id": "u-ila",
        "text": "I AM SO HAPPY I COULD SCREAM!!!!!! HOGAYA SELECTION YAARRRR",
        "created_at": "2026-11-12T12:00:00+05:30",
        "lang": "en",
    },
    {
        "id": "r-yusuf-01",
        "user_id": "u-yusuf",
        "text": "أشتاق إلى أمي كثيرا هذه الأيام، والبيت هادئ جدا بدونها.",
        "lang": "ar",
        "created_at": "2026-09-22T21:00:00+03:00",
        "timezone": "Asia/Riyadh",
    },
    {
        "id": "r-yusuf-02",
        "user_id": "u-yusuf",
        "text": "היום היה יום טוב, סוף סוף הצלחתי לנוח.",
        "lang": "he",
        "created_at": "2026-09-30T20:00:00+03:00",
    },
    {
        "id": "r-yusuf-03",
        "user_id": "u-yusuf",
        "text": "آج دل بہت اداس ہے",
        "lang": "ur",
        "created_at": "2026-10-07T20:30:00+03:00",
    },
    {
        "id": "r-yusuf-04",
        "user_id": "u-yusuf",
        "text": "Told \u202bصديقي\u202c the truth about the job. He hugged me. I feel ten kilos lighter.",
        "created_at": "2026-10-18T19:00:00+03:00",
    },
    {
        "id": "r-lucia-01",
        "user_id": "u-lucia",
        "text": "Hoy me siento muy sola en esta ciudad, echo de menos a mis hermanas y el ruido de casa.",
        "lang": "es",
        "created_at": "2026-09-24T22:00:00+02:00",
        "timezone": "Europe/Madrid",
    },
    {
        "id": "r-lucia-02",
        "user_id": "u-lucia",
        "text": "Heute war ein guter Tag, ich habe endlich wieder gelacht.",
        "lang": None,
        "created_at": "2026-10-01T22:00:00+02:00",
    },
    {
        "id": "r-lucia-03",
        "user_id": "u-lucia",
        "text": "今日は仕事で失敗して、とても落ち込んでいます。",
        "created_at": "2026-10-11T22:00:00+02:00",
    },
    {
        "id": "r-lucia-04",
        "user_id": "u-lucia",
        "text": "Cafe\u0301 with my sister, we laughed till the waiter laughed too.",
        "created_at": "2026-10-21T18:00:00+02:00",
    },
    {
        "id": "r-lucia-05",
        "user_id": "u-lucia",
        "text": "Itâ€™s strange, I donâ€™t feel sad any more, just quiet.",
        "created_at": "2026-10-30T18:00:00+01:00",
    },
    {
        "id": "r-omar-01",
        "user_id": "u-omar",
        "text": (LONG_DAY * 20)[:6_000],
        "created_at": "2026-10-04T23:30:00Z",
    },
    {
        "id": "r-omar-02",
        "user_id": "u-omar",
        "text": (LONG_DAY * 30)[: TEXT_LIMIT - 1] + ".",
        "created_at": "2026-10-14T23:30:00Z",
    },
    {
        "id": "r-omar-03",
        "user_id": "u-omar",
        "text": "first line\n\n\tsecond line, https://example.org/poem\n- one\n- two\nstill tired",
        "created_at": "2026-10-20T23:45:00Z",
        "device": "web",
    },
    {
        "id": "r-omar-04",
        "user_id": "u-omar",
        "text": "in Kathmandu now, the mountains make my worries look silly",
        "created_at": "2026-10-27T06:10:00+05:45",
        "timezone": "Asia/Kathmandu",
    },
    {
        "id": "r-omar-05",
        "user_id": "u-omar",
        "text": "morning coffee, hands steady again",
        "created_at": "2026-11-03T08:00:00+05:45",
    },
    {
        "id": "r-omar-06",
        "user_id": "u-omar",
        "text": "written in the same minute as the other one, from the laptop",
        "created_at": "2026-11-03T02:15:00Z",
    },
    {
        "id": "r-omar-07",
        "user_id": "u-omar",
        "text": "flew over the date line and lost a whole Tuesday, feels like a metaphor",
        "created_at": "2026-11-10T23:50:00-10:00",
        "timezone": "Pacific/Honolulu",
        "consent": {"training": True},
    },
)
"""Accepted, each in its own way unusual. Optional fields are left out on purpose."""

EDITS: tuple[dict[str, Any], ...] = (
    {
        "id": "r-maya-07",
        "user_id": "u-maya",
        "revision": 2,
        "text": "Nothing left in the tank. Jo made toast, I ate it standing up and slept in my clothes.",
        "created_at": "2026-10-05T23:59:00+01:00",
    },
    {
        "id": "r-daniel-08",
        "user_id": "u-daniel",
        "revision": 3,
        "text": "Went running at 11pm in the rain to get rid of the anger. It stayed, but it got tired.",
        "created_at": "2026-10-07T23:30:00-04:00",
    },
    {
        "id": "r-daniel-08",
        "user_id": "u-daniel",
        "revision": 2,
        "text": "So angry I went running at 11pm in the rain.",
        "created_at": "2026-10-07T23:30:00-04:00",
    },
)
"""Higher revisions of ids of the hand-written stories; revision 3 arrives before revision 2."""

CONTRADICTIONS: tuple[tuple[str, dict[str, Any]], ...] = (
    (
        "conflicting_content",
        {
            "id": "r-sofia-03",
            "user_id": "u-sofia",
            "text": "This is another text under an id and revision that are taken.",
            "created_at": "2026-09-28T05:05:00+02:00",
        },
    ),
    (
        "user_changed",
        {
            "id": "r-tom-02",
            "user_id": "u-someone-else",
            "text": "This id belongs to another person.",
            "created_at": "2026-09-17T17:50:00+10:00",
            "revision": 2,
        },
    ),
)
"""Well-formed by themselves, refused beside what came before, with the reason."""


def _broken(**changes: object) -> str:
    event = {
        "schema": 1,
        "id": "r-broken",
        "user_id": "u-broken",
        "text": "A quiet day.",
        "created_at": "2026-10-15T10:00:00Z",
    }
    return json.dumps({name: value for name, value in {**event, **changes}.items() if value is not None})


REJECTED: tuple[tuple[str, str], ...] = (
    ("bad_json", '{"schema": 1, "id": "r-broken-01", "user_id": "u-broken", "text": "cut off in the mid'),
    ("bad_type", '["r-broken-02", "u-broken", "a list is no event"]'),
    ("missing_field", _broken(id="r-broken-03", text=None)),
    ("unknown_field", _broken(id="r-broken-04", mood="good")),
    ("empty_text", _broken(id="r-broken-05", text="")),
    ("blank_text", _broken(id="r-broken-06", text=" \n\t\u00a0 ")),
    ("text_too_long", _broken(id="r-broken-07", text="a" * (TEXT_LIMIT + 1))),
    ("nul_in_text", _broken(id="r-broken-08", text="before\0after")),
    ("lone_surrogate", _broken(id="r-broken-09", text="half a smile \ud83d")),
    ("naive_time", _broken(id="r-broken-10", created_at="2026-10-15T10:00:00")),
    ("future_time", _broken(id="r-broken-11", created_at="2062-10-15T10:00:00Z")),
    ("bad_time", _broken(id="r-broken-12", created_at="yesterday evening")),
    ("unknown_schema", _broken(id="r-broken-13", schema=2)),
    ("bad_self_report", _broken(id="r-broken-14", self_report={"valence": 7})),
    ("bad_timezone", _broken(id="r-broken-15", timezone="Mars/Olympus")),
    ("bad_user_id", _broken(id="r-broken-16", user_id="two words")),
)  # fmt: skip
"""Reason and line, for every line of the sample that is no event."""
