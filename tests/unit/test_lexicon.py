"""The lexicon files load into consistent tables."""

import pytest

from worker.features.language import _vocabulary
from worker.features.lexicon import CUES, EMOTIONS, inflections, lexicon, rows, spellings


@pytest.mark.parametrize(
    ("word", "rule", "forms"),
    [
        ("worry", "v", ["worries", "worried", "worrying"]),
        ("love", "v", ["loves", "loved", "loving"]),
        ("hug", "V", ["hugs", "hugged", "hugging"]),
        ("happy", "e", ["happily", "happiness", "happier", "happiest"]),
        ("sad", "e", ["sadly", "sadness", "sadder", "saddest"]),
        ("gentle", "a", ["gently", "gentleness"]),
        ("loss", "n", ["losses"]),
        ("fine", "", []),
    ],
)
def test_inflections_follow_english_spelling(word: str, rule: str, forms: list[str]) -> None:
    assert inflections(word, rule) == forms


def test_hinglish_spellings_vary_in_vowels_and_v() -> None:
    assert {"pareshaan", "pareshan"} <= spellings("pareshaan")
    assert {"waah", "vah"} <= spellings("waah")


def test_every_grade_lies_in_its_range() -> None:
    for table in (lexicon().english, lexicon().hinglish):
        for entry in table.values():
            assert -1 <= entry.valence <= 1
            assert -1 <= entry.arousal <= 1
            assert all(0 <= i < len(EMOTIONS) for i, _ in entry.emotions)
            assert all(0 <= i < len(CUES) and 0 < weight <= 1 for i, weight in entry.cues)
    assert all(-1 <= number <= 1 for pair in lexicon().emoji.values() for number in pair)


def test_the_lexicons_are_as_large_as_promised() -> None:
    assert sum(entry.affect for entry in lexicon().english.values()) > 1_500
    assert sum(len(row[3].split()) for row in rows("affect_hi.tsv")) > 400
    assert sum(len(row[1].split()) for row in rows("languages.tsv") if row[0] == "hindi") > 400


@pytest.mark.parametrize("word", ["main", "mere", "to", "us", "the"])
def test_a_homograph_is_hindi_in_the_hinglish_table_only(word: str) -> None:
    first_person = CUES.index("first_person")
    english, hinglish = lexicon().english.get(word), lexicon().hinglish.get(word)
    assert english is None or first_person not in dict(english.cues) or word == "us"
    if word in ("main", "mere"):
        assert hinglish is not None
        assert first_person in dict(hinglish.cues)


def test_harmless_words_are_no_profanity() -> None:
    swear = {CUES.index("profanity_en"), CUES.index("profanity_hi")}
    for word in (
        "african",
        "angry",
        "abortion",
        "drug",
        "sexual",
        "welfare",
        "suicide",
        "bc",
        "mc",
        "sala",
        "because",
    ):
        entry = lexicon().hinglish.get(word)
        assert entry is None or not swear & {cue for cue, _ in entry.cues}, word


def test_no_frequent_word_of_another_language_is_taken_for_hindi() -> None:
    kinds = _vocabulary().kinds
    assert kinds["khush"] != kinds["happy"]
    assert kinds["the"] == kinds["us"] != kinds["main"]


@pytest.mark.parametrize(
    "name",
    [
        "affect_en.tsv",
        "affect_hi.tsv",
        "cues.tsv",
        "emoji.tsv",
        "emoji_own.tsv",
        "languages.tsv",
        "profanity.tsv",
    ],
)
def test_every_file_names_its_licence_and_source(name: str) -> None:
    from importlib.resources import files

    head = files("worker.features").joinpath("lexicons", name).read_text(encoding="utf-8").split("\n")[:5]
    assert any("Licence:" in line for line in head)
    assert any("Source:" in line for line in head)
