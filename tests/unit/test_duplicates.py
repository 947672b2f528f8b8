"""Near-duplicates are found whatever their case, order or number, and different texts stay apart."""

from __future__ import annotations

import random
import time

import numpy as np
import pytest

from trainer.data.duplicates import clusters

WORDS = (  # noqa: SIM905  # thirty quoted words read worse
    "morning walk river tea rain mother office deadline quiet dinner laughed tired window garden phone "
    "sister bus late warm letter cried music slow evening bread hopeful worry train dog winter"
).split()


def sentence(rng: random.Random, words: int) -> str:
    return " ".join(rng.choice(WORDS) + str(rng.randrange(90)) for _ in range(words))


def test_copies_share_the_first_ones_index_whatever_case_punctuation_and_spacing() -> None:
    texts = ["I feel calm today.", "So tired of the rain", "i feel CALM   today!!", "I feel calm today"]
    assert clusters(texts).tolist() == [0, 1, 0, 0]


@pytest.mark.parametrize(
    ("left", "right", "together"),
    [
        (
            "We walked along the river and home until it was dark.",
            "We walked along the river and home until it is dark.",
            True,
        ),
        (
            "We walked along the river until it was dark.",
            "RT: We walked along the river until it was dark",
            True,
        ),
        ("We walked along the river until it was dark.", "The meeting ran late and nobody listened.", False),
        ("calm, happy, tired", "calm, happy, tired.", True),
        ("ok", "no", False),
        ("😂😂", "😭😭", False),
        ("😂😂", "😂😂", True),
        ("आज मैं खुश हूँ", "आज मैं दुखी हूँ", False),
        ("...", "!!!", False),
    ],
)
def test_a_few_changed_characters_do_not_make_another_text(left: str, right: str, together: bool) -> None:
    found = clusters([left, right])
    assert bool(found[0] == found[1]) is together


def test_no_text_at_all_is_no_cluster() -> None:
    assert clusters([]).shape == (0,)


def test_light_edits_are_found_and_unrelated_texts_are_not_joined() -> None:
    rng = random.Random(3)
    originals = [sentence(rng, 25) for _ in range(300)]
    edited = [text.replace(text.split()[12], "changed") for text in originals]
    found = clusters(originals + edited)
    assert found[:300].tolist() == list(range(300))
    assert np.mean(found[300:] == np.arange(300)) > 0.99


def test_similarity_chains_into_one_cluster() -> None:
    words = sentence(random.Random(4), 30).split()
    chain = [" ".join(words[k : k + 24]) for k in range(6)]
    assert set(clusters(chain).tolist()) == {0}


def test_a_crowded_bucket_is_still_one_cluster() -> None:
    body = sentence(random.Random(5), 30)
    assert set(clusters([f"{body} {k}" for k in range(200)]).tolist()) == {0}


def test_the_result_is_the_same_every_time_and_chunking_does_not_show(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rng = random.Random(6)
    texts = [sentence(rng, rng.randrange(1, 30)) for _ in range(500)]
    whole = clusters(texts)
    monkeypatch.setattr("trainer.data.duplicates.CHUNK", 200)
    assert np.array_equal(clusters(texts), whole)


@pytest.mark.alone
def test_ten_thousand_texts_take_seconds() -> None:
    rng = random.Random(8)
    texts = [sentence(rng, 15) for _ in range(10_000)]
    begun = time.perf_counter()
    clusters(texts)
    assert time.perf_counter() - begun < 15  # 100,000 take under a minute
