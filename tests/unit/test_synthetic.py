"""Synthetic people are many, various and deterministic, and their habits cause what can be read from them."""

from __future__ import annotations

import itertools
import json
from collections import Counter, defaultdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.feature_extraction.text import HashingVectorizer
from sklearn.linear_model import RidgeClassifier
from sklearn.metrics import f1_score

from trainer.data import synthetic
from trainer.data.synthetic.expression import agreement
from trainer.data.synthetic.grammar import POOLS, SHARED, grammar
from trainer.data.synthetic.mood import CATEGORIES
from trainer.data.synthetic.person import draw
from worker.events.reflection import parse
from worker.events.taxonomy import taxonomy
from worker.events.variables import FLAGS, LEVELS

SEED, COUNT = 7, 800
LEAST = {
    "sarcasm": 1200, "suicidal_ideation": 600, "self_harm": 400, "abuse": 800, "profanity": 1200,
    "sociopathic_cues": 400, "financial_coercion": 600,
    "harm_to_others": 300, "negation": 600, "counter": 600, "everyday": 3000,
}  # fmt: skip
RANGES = {
    "sarcasm": (0.2, 0.4, 0.4, 0.6, "none"),
    "suicidal_ideation": (0.0, 0.15, 0.6, 0.9, "high"),
    "self_harm": (0.05, 0.25, 0.5, 0.8, "high"),
    "abuse": (0.1, 0.3, 0.6, 0.85, "high"),
    "profanity": (0.25, 0.45, 0.55, 0.75, "none"),
    "sociopathic_cues": (0.15, 0.35, 0.3, 0.5, "medium"),
    "financial_coercion": (0.1, 0.3, 0.6, 0.85, "high"),
}

Events = list[dict[str, Any]]


@pytest.fixture(scope="module")
def events() -> Events:
    return list(synthetic.people(SEED, COUNT))


def category(event: dict[str, Any]) -> str:
    return str(event["cluster"].split("/")[0])


def values(events: Events, name: str) -> np.ndarray[Any, np.dtype[np.float64]]:
    return np.array([event["labels"][name] for event in events], dtype=np.float64)


def test_every_category_language_and_emotion_comes_often_enough(events: Events) -> None:
    categories = Counter(category(event) for event in events)
    assert all(categories[name] >= least for name, least in LEAST.items()), categories
    assert len({event["user_id"] for event in events}) == COUNT
    languages = Counter(event["cluster"].split("/")[1] for event in events)
    assert languages["en"] >= 3700
    assert languages["hi"] >= 1500
    assert {tuple(event["labels"]["invoked"]) for event in events} == set(taxonomy().paths(3))
    nuances = Counter(tuple(event["labels"]["invoked"][:2]) for event in events)
    assert min(nuances.values()) >= 30


def test_texts_are_distinct_and_of_all_lengths(events: Events) -> None:
    assert len({event["text"].casefold() for event in events}) >= 0.9 * len(events)
    words = np.array([len(event["text"].split()) for event in events])
    assert min((words <= 12).mean(), ((words > 12) & (words <= 120)).mean()) > 0.2
    assert (words > 120).mean() > 0.05
    assert not any("{" in event["text"] for event in events)


@pytest.mark.parametrize("name", RANGES)
def test_edge_cases_stay_in_their_ranges(events: Events, name: str) -> None:
    low, high, calm, stirred, level = RANGES[name]
    cases = [event for event in events if category(event) == name]
    assert all(low <= event["labels"]["valence"] <= high for event in cases)
    assert all(calm <= event["labels"]["arousal"] <= stirred for event in cases)
    assert all(
        event["labels"]["risk_level"] == level and event["labels"]["risk"][name] == 1 for event in cases
    )
    assert CATEGORIES[name].risk_level == level


def test_counter_examples_negation_and_everyday_entries_carry_no_risk(events: Events) -> None:
    harmless = [event for event in events if category(event) not in CATEGORIES]
    assert all(sum(event["labels"]["risk"].values()) == 0 for event in harmless)
    assert all(event["labels"]["risk_level"] == "none" for event in harmless)


def test_labels_are_whole_and_on_the_taxonomy(events: Events) -> None:
    tree = taxonomy()
    for event in events:
        labels = event["labels"]
        assert tree.is_path(tuple(labels["invoked"]))
        assert len(labels["invoked"]) == 3
        assert labels["expressed"] == [] or tree.is_path(tuple(labels["expressed"]))
        assert all(0.0 <= labels[name] <= 1.0 for name in ("valence", "arousal", "willingness", "congruence"))
        assert tuple(labels["risk"]) == FLAGS
        assert labels["risk_level"] in LEVELS
        assert event["source"] == "synthetic"


def test_every_event_without_its_labels_is_a_valid_wire_event(events: Events) -> None:
    now = datetime(2026, 11, 1, tzinfo=UTC)
    for event in events:
        wire = {name: value for name, value in event.items() if name not in ("labels", "source", "cluster")}
        parse(json.loads(json.dumps(wire)), now=now)
    assert len({event["id"] for event in events}) == len(events)


def test_masking_lowers_congruence_and_willingness_and_venting_raises_it(events: Events) -> None:
    masked = [event for event in events if category(event) == "mask"]
    shown = [event for event in events if category(event) == "everyday"]
    assert len(masked) >= 400
    assert values(masked, "congruence").mean() < 0.35 < 0.85 < values(shown, "congruence").mean()
    assert values(masked, "willingness").mean() < 0.2 < 0.5 < values(shown, "willingness").mean()
    assert values(masked, "valence").mean() < 0.4, "the feeling behind the mask is unpleasant"
    pleasant = [event["labels"]["expressed"][0] in ("Happy", "Strong", "Peaceful") for event in masked]
    assert np.mean(pleasant) > 0.6
    for event in masked:
        felt, face = (tuple(event["labels"][name]) for name in ("invoked", "expressed"))
        assert event["labels"]["congruence"] == pytest.approx(agreement(felt, face), abs=0.2)


def test_a_hedge_lowers_willingness_and_a_vague_entry_shows_nothing(events: Events) -> None:
    hedged = [event for event in events if len(event["labels"]["expressed"]) == 2]
    vague = [event for event in events if category(event) == "vague"]
    shown = [e for e in events if category(e) == "everyday" and len(e["labels"]["expressed"]) == 3]
    means = [values(part, "willingness").mean() for part in (vague, hedged, shown)]
    assert means[0] + 0.1 < means[1] < means[2] - 0.2
    assert values(hedged, "congruence").mean() < values(shown, "congruence").mean() - 0.05
    assert all(not event["labels"]["expressed"] and event["labels"]["invoked"] for event in vague)


def test_habits_belong_to_people(events: Events) -> None:
    """Given people who mask, then masks stand on their pages and on nobody else's; so with the vague."""
    habit = {index: draw(SEED, index).habit for index in range(COUNT)}
    for kind, name in (("mask", "masking"), ("vague", "hedging")):
        writers = {int(event["user_id"][-4:]) for event in events if category(event) == kind}
        assert {habit[writer] for writer in writers} == {name}


def test_an_earlier_mood_says_something_about_the_next(events: Events) -> None:
    persons = defaultdict(list)
    for event in events:
        persons[event["user_id"]].append(event)
    pairs = [
        pair
        for life in persons.values()
        for pair in itertools.pairwise(values(life, "valence") - values(life, "valence").mean())
    ]
    assert np.corrcoef(np.array(pairs).T)[0, 1] > 0.25
    for life in persons.values():
        times = [datetime.fromisoformat(event["created_at"]) for event in life]
        assert times == sorted(times)
        assert len(set(times)) == len(times)


def test_self_reports_are_near_the_truth_but_not_the_truth(events: Events) -> None:
    reported = [event for event in events if event["self_report"] is not None]
    error = np.array([event["self_report"]["valence"] for event in reported]) - values(reported, "valence")
    assert len(reported) > 0.2 * len(events)
    assert 0.04 < error.std() < 0.1
    assert abs(error.mean()) < 0.02


def test_people_keep_to_their_pool_so_person_and_cluster_split_into_independent_groups(
    events: Events,
) -> None:
    """Given union-find over (person, cluster), then as many components remain as there are pools."""
    parent: dict[str, str] = {}

    def root(node: str) -> str:
        while parent.setdefault(node, node) != node:
            node = parent[node]
        return node

    for event in events:
        parent[root(event["user_id"])] = root(event["cluster"])
    assert len({root(event["user_id"]) for event in events}) == POOLS


def test_the_same_seed_gives_the_same_people_however_many_and_another_seed_others(tmp_path: Path) -> None:
    assert synthetic.write(tmp_path / "a.jsonl", 12, SEED) == synthetic.write(tmp_path / "b.jsonl", 12, SEED)
    assert (tmp_path / "a.jsonl").read_bytes() == (tmp_path / "b.jsonl").read_bytes()
    twelve = list(synthetic.people(SEED, 12))
    assert list(itertools.islice(synthetic.people(SEED, 40), len(twelve))) == twelve
    other = {event["text"] for event in synthetic.people(SEED + 1, 12)}
    assert len(other & {event["text"] for event in twelve}) <= 0.05 * len(twelve)


@pytest.mark.parametrize("lang", ["en", "hi"])
def test_every_line_of_the_grammar_fills_and_names_a_node(lang: str) -> None:
    words, rng = grammar(lang), np.random.default_rng(0)
    lines = [line for group in (*words.sections.values(), *words.feelings.values()) for line in group]
    assert len({line.cluster for line in lines}) == len(lines)
    for line in lines:
        assert "{" not in words.fill(line.text.replace("{word}", "glad"), rng)
        assert not line.path or taxonomy().is_path(line.path)
    assert {line.path for group in words.feelings.values() for line in group} == set(taxonomy().paths(3))


@pytest.mark.parametrize(("lang", "least"), [("en", 6), ("hi", 4)])
def test_there_are_many_ways_to_say_each_thing(lang: str, least: int) -> None:
    words = grammar(lang)
    micros = Counter(line.path for group in words.feelings.values() for line in group)
    assert min(micros.values()) >= least
    edges = [*CATEGORIES, "negation", "counter", "mask"]
    assert {name: len(words.sections[name]) for name in edges if len(words.sections[name]) < 40} == {}


@pytest.mark.parametrize("lang", ["en", "hi"])
def test_no_two_pools_share_a_telling_line_and_each_can_say_everything(lang: str) -> None:
    words = grammar(lang)
    for name in words.sections.keys() - set(SHARED):
        pools = [{line.text for line in words.section(name, pool)} for pool in range(POOLS)]
        assert all(pools), name
        assert sum(map(len, pools)) == len(set.union(*pools)) == len(words.sections[name]), name
    for core, nuance in taxonomy().paths(2):
        pools = [{line.text for line in words.feeling(core, nuance, pool)} for pool in range(POOLS)]
        assert min(map(len, pools)) >= 2
        assert sum(map(len, pools)) == len(set.union(*pools))


def test_what_is_shown_can_be_read_from_phrases_never_seen_and_not_from_shuffled_texts(
    events: Events,
) -> None:
    """Given a linear model of words fitted on eight pools, then it reads the core shown by the other two."""
    some = [event for event in events[::3] if event["labels"]["expressed"]]
    features = HashingVectorizer(ngram_range=(1, 2), n_features=2**13).transform(e["text"] for e in some)
    core = np.array([event["labels"]["expressed"][0] for event in some])
    unseen = np.array([draw(SEED, int(event["user_id"][-4:])).pool in (0, 1) for event in some])
    model = RidgeClassifier(solver="sparse_cg").fit(features[~unseen], core[~unseen])
    read = model.predict(features[unseen])
    assert f1_score(core[unseen], read, average="macro") > 0.42
    assert f1_score(np.random.default_rng(0).permutation(core[unseen]), read, average="macro") < 0.3
