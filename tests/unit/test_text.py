"""Reading: normalisation, tokens and counts of one text."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.features.text import read


@pytest.mark.parametrize(
    ("written", "normal"),
    [
        ("I ' ve been fine , don ' t worry .", "I've been fine, don't worry."),
        ("I do n't know", "I do n't know".replace(" n't", "n't")),
        ("so   much\t space", "so much space"),
        ("first\r\n\r\n second line", "first\nsecond line"),
        ("see https://example.org/a?b=c and www.example.org now", "see [url] and [url] now"),
        ("@ravi told me, mail a.b@example.org", "@user told me, mail [mail]"),
        ("coffee @ 5 with Asha", "coffee @ 5 with Asha"),
        ("tea &amp; rain &lt;3", "tea & rain <3"),
        ("soooo happyyyy!!!!!!", "soo happyy!!!"),
        ("I’m “fine”… really", 'I\'m "fine"... really'),
        ("I canâ€™t sleep", "I can't sleep"),
        ("𝓱𝓪𝓹𝓹𝔂 ｄａｙ", "happy day"),
        ("zero\u200bwidth \ufeffhere", "zerowidth here"),
        ("मैं खुश हूँ", "main khush hoon"),
        ("", ""),
        ("\x00 \x01", ""),
    ],
)
def test_normal_form(written: str, normal: str) -> None:
    assert read(written).normal == normal


def test_words_are_lowercased_and_drawn_out_ones_shortened() -> None:
    text = read("SOOOO happyyyy, goooood yaaaar don't Www")
    assert text.words == ("so", "happy", "good", "yaar", "don't", "ww")
    assert text.elongations == 5


def test_tokens_keep_punctuation_emoji_and_lines_in_order() -> None:
    text = read("Sad :( 😭😭\ntired... 12:30?!")
    assert text.tokens == ("sad", ":(", "😭", "😭", "\n", "tired", "...", "12:30", "?!")
    assert text.emoji == (":(", "😭", "😭")


def test_counts_are_of_the_text_as_written() -> None:
    text = read("WOW!!!!!! Really?? I'm OK... 3 times… ok.")
    got = (text.exclamations, text.questions, text.ellipses, text.caps, text.numbers, text.sentences)
    assert got == (6, 2, 2, 2, 1, 5)


def test_placeholders_are_no_words() -> None:
    assert read("@ravi https://example.org a@example.org ok").words == ("ok",)


@pytest.mark.parametrize(
    ("written", "pictures", "names"),
    [
        ("👍🏽", ("👍",), ("thumbs up sign",)),
        ("❤️ ☺️", ("❤", "☺"), ("heavy black heart", "white smiling face")),
        ("❤️‍🔥", ("❤\u200d🔥",), ("heavy black heart",)),
        ("xD :D <3", ("xd", ":d", "<3"), ("xd", ":d", "<3")),
        ("boxD note:Dear", (), ()),
    ],
)
def test_pictures_are_found_and_named(
    written: str, pictures: tuple[str, ...], names: tuple[str, ...]
) -> None:
    text = read(written)
    assert text.emoji == pictures
    assert text.emoji_names == names


@given(
    st.text(st.characters(exclude_categories=["Cs"]), max_size=400),
    st.sampled_from([None, "en", "hi", "hi-Latn"]),
)
def test_no_string_makes_reading_fail(written: str, lang: str | None) -> None:
    text = read(written, lang)
    assert text.words == tuple(token for token in text.tokens if token in text.words)
    assert text.sentences >= 1
    assert 0.0 <= text.language.hinglish <= 1.0
    assert read(written, lang) == text


@pytest.mark.parametrize(
    "part",
    [
        "a",
        "ab ",
        "aabb",
        "' ",
        "a@",
        ". ",
        "😭\u200d",
        "क्",
        "&amp",
        "http://",
        ": (",
        "a'",
        "â€™",
        " ",
        "..!",
    ],
)
def test_ten_thousand_characters_of_anything_are_quick(part: str) -> None:
    written = (part * 10_000)[:10_000]
    read(part)
    began = time.process_time()
    read(written)
    assert time.process_time() - began < 0.2  # measured 1-40 ms; quadratic work would take seconds
