"""Devanagari becomes the Hindi people type in Latin letters."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.features.transliteration import transliterate


@pytest.mark.parametrize(
    ("written", "typed"),
    [
        ("आज मैं बहुत खुश हूँ।", "aaj main bahut khush hoon."),
        ("मुझे अच्छा नहीं लगता", "mujhe accha nahin lagta"),
        ("ज़िंदगी", "zindagi"),
        ("मतलब समझना", "matlab samajhna"),
        ("काम", "kaam"),
        ("और", "aur"),
        ("न", "na"),
        ("ज्ञान", "gyaan"),
        ("लड़का पढ़ाई", "ladka padhai"),
        ("१२", "12"),
        ("office में काम", "office mein kaam"),
    ],
)
def test_hindi_is_romanised_as_people_type_it(written: str, typed: str) -> None:
    assert transliterate(written) == typed


def test_latin_text_and_emoji_are_left_alone() -> None:
    assert transliterate("Kal milte hain, ok? 😀") == "Kal milte hain, ok? 😀"


@given(st.text(st.characters(min_codepoint=0x0900, max_codepoint=0x097F), max_size=60))
def test_any_order_of_devanagari_signs_is_survived(text: str) -> None:
    assert not any("\u0905" <= char <= "\u0939" for char in transliterate(text))
