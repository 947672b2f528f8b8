"""Lexical features: scope of negation and intensity, cues, and independence of rows."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.features.lexical import LEXICAL, extract
from worker.features.text import read

WORDS = (
    "i", "am", "not", "very", "happy", "sad", "khush", "nahi", "hoon", "bahut", "but", "lekin",
    "can't", "wait", ",", ".", "!", "😭", ":)", "maybe", "fuck",
)  # fmt: skip
REFLECTIONS = st.text(st.characters(exclude_categories=["Cs"]), max_size=200) | st.lists(
    st.sampled_from(WORDS), max_size=30
).map(" ".join)


def features(text: str) -> dict[str, float]:
    return dict(zip(LEXICAL, extract([read(text)])[0].tolist(), strict=True))


@pytest.mark.parametrize(
    ("text", "sign"),
    [
        ("I am happy", 1),
        ("I am not happy", -1),
        ("I'm not unhappy", 1),
        ("it isn't bad at all", 1),
        ("not sad but happy", 1),
        ("I don't feel good, just empty", -1),
        ("no energy", -1),
        ("I can't wait for tomorrow", 1),
        ("couldn't be happier", 1),
        ("not only tired", -1),
        ("main khush hoon", 1),
        ("main khush nahi hoon", -1),
        ("mujhe accha nahi lag raha", -1),
        ("udaas nahi hoon", 1),
        ("nahi yaar, bahut khush hoon", 1),
        ("thak gaya hoon, bahut pareshan", -1),
        ("मैं बहुत उदास हूँ", -1),
        ("kuch nahi", 0),
        ("we met at the station", 0),
        ("😍", 1),
        (":(", -1),
    ],
)
def test_valence_has_the_sign_a_reader_gives_it(text: str, sign: int) -> None:
    assert np.sign(features(text)["valence_sum"]) == sign


@pytest.mark.parametrize(
    ("weaker", "stronger"),
    [
        ("I am sad", "I am very sad"),
        ("I am a bit sad", "I am sad"),
        ("dukhi hoon", "bahut dukhi hoon"),
        ("I am not glad", "I am sad"),
    ],
)
def test_intensity_scales_valence(weaker: str, stronger: str) -> None:
    assert features(stronger)["valence_min"] < features(weaker)["valence_min"] < 0


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("so happy and glad", "joy"),
        ("I trust her", "trust"),
        ("darr lag raha hai", "fear"),
        ("scared and anxious", "fear"),
        ("what a shock, unexpected", "surprise"),
        ("main bahut udaas hoon", "sadness"),
        ("this is disgusting", "disgust"),
        ("gussa aa raha hai", "anger"),
        ("looking forward to it", "anticipation"),
        ("very very good", "intensifier"),
        ("thoda theek", "diminisher"),
        ("never again", "negation"),
        ("nahi", "negation"),
        ("not happy", "negated_valence"),
        ("shayad theek hai", "hedge"),
        ("I guess so", "hedge"),
        ("thanks, please", "politeness"),
        ("my own fault", "first_person"),
        ("mujhe bhi yaar", "first_person"),
        ("you know", "second_person"),
        ("unhone kaha tha", "third_person"),
        ("to be honest I feel numb", "disclosure"),
        ("mujhe lagta hai ki", "disclosure"),
        ("holy shit", "profanity_en"),
        ("chutiya hai kya", "profanity_hi"),
        ("wow!", "exclamation"),
        ("why?", "question"),
        ("well...", "ellipsis"),
        ("I am SO DONE", "caps"),
        ("sooooo", "elongation"),
        ("😀", "emoji"),
        ("😍", "emoji_valence"),
        ("😡", "emoji_arousal"),
        ("a b c", "log_words"),
        ("a b c", "words_per_sentence"),
        ("a b c", "type_token"),
        ("kya kar raha hai", "hinglish"),
        ("sad, lonely, tired", "word_list"),
        ("at 7 or 8", "numbers"),
        ("always everything", "absolutist"),
        ("yesterday it was", "past"),
        ("today it is", "present"),
        ("tomorrow I will", "future"),
        ("my family and friends", "social"),
        ("great", "valence_max"),
        ("great", "positive"),
        ("awful", "negative"),
        ("ecstatic", "arousal_max"),
        ("ecstatic", "arousal_mean"),
    ],
)
def test_a_feature_sees_what_it_is_named_after(text: str, name: str) -> None:
    assert features(text)[name] != 0
    assert features("table")[name] == 0 or name in (
        "log_words",
        "words_per_sentence",
        "type_token",
        "word_list",
    )


def test_main_is_first_person_in_hindi_and_not_in_english() -> None:
    assert features("the main reason")["first_person"] == 0
    assert features("main aaj ghar par hoon")["first_person"] > 0


def test_a_list_of_feelings_is_told_from_prose() -> None:
    assert features("tired, calm, at peace, happy")["word_list"] == 1
    assert features("I went home early, because I was tired of waiting for them")["word_list"] < 0.5


def test_names_are_unique_and_hold_what_the_schema_reads() -> None:
    assert len(set(LEXICAL)) == len(LEXICAL)
    assert {"log_words", "hinglish", "negation", "exclamation", "emoji", "hedge", "first_person"} <= set(
        LEXICAL
    )


def test_no_texts_give_no_rows() -> None:
    assert extract([]).shape == (0, len(LEXICAL))


@given(st.lists(REFLECTIONS, min_size=1, max_size=5))
def test_rows_are_finite_and_independent_of_their_batch(written: list[str]) -> None:
    texts = [read(text) for text in written]
    together = extract(texts)
    assert np.isfinite(together).all()
    assert np.array_equal(together, np.concatenate([extract([text]) for text in texts]))
    assert np.array_equal(together[::-1], extract(texts[::-1]))
