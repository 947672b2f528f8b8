"""The figures and floors of a rebuild: thresholds come from other people, truth from the corpus as it was
imported, and a floor nothing was measured for is not passed."""

import dataclasses
import itertools
import json
import math
from datetime import UTC, datetime, timedelta
from io import StringIO

import numpy as np
import pytest
from rich.console import Console

from trainer import plan as plans
from trainer.data import mappings
from trainer.data.labelled import Labelled
from trainer.evaluate import decisions, floors, metrics, report
from trainer.evaluate.corpora_figures import SOURCES
from trainer.evaluate.predicted import Predicted
from trainer.export import card
from trainer.features import targets as goals
from trainer.oof.appraisal import Appraised
from trainer.oof.decision import Decided
from trainer.oof.placement import Placed
from trainer.oof.stack import Stacked
from worker.events.reflection import Reflection
from worker.events.taxonomy import taxonomy
from worker.events.variables import FLAGS
from worker.features.schema import TEMPORAL

START = datetime(2026, 1, 1, tzinfo=UTC)
PER_PERSON, PER_SOURCE = 4, 120
GOEMOTIONS = sorted(mappings.load("goemotions"))
ISEAR = ("anger", "disgust", "fear", "guilt", "joy", "sadness", "shame")
PLAN = plans.read("research").model_copy(update={"native": ("goemotions", "isear")})


def paths(mapping, word):
    path = mappings.load(mapping)[word]
    return [path] if path else []


def split(number):
    return "dev" if number % 3 == 0 else "train"


LABELS = {
    "semeval2026": lambda i, u: {"valence": u, "arousal": 1 - u},
    "emobank": lambda i, u: {"valence": u, "arousal": u**2, "split": split(i)},
    "goemotions": lambda i, u: {
        "goemotions": [GOEMOTIONS[i % 28]],
        "expressed": paths("goemotions", GOEMOTIONS[i % 28]),
        "split": split(i),
    },
    "offmychest": lambda i, u: {
        "emotional_disclosure": int(u > 0.6),
        "informational_disclosure": int(u > 0.4),
        "willingness": (int(u > 0.6) + int(u > 0.4)) / 2,
    },
    "sentimix": lambda i, u: {"polarity": i % 3 / 2, "split": split(i // 3)},
    "isarcasm": lambda i, u: {"risk": {"sarcasm": int(i % 4 == 0)}, "rephrase": i % 4 == 1},
    "cssrs": lambda i, u: {"risk": {"suicidal_ideation": int(u > 0.7)}},
    "isear": lambda i, u: {"isear": ISEAR[i % 7], "invoked": paths("isear", ISEAR[i % 7])},
    "synthetic": lambda i, u: {
        "valence": u,
        "arousal": u,
        "congruence": u,
        "invoked": [("Sad", "Lonely", "Isolated")],
        "expressed": [("Sad", "Lonely")] if i % 2 else [],
        "risk": dict.fromkeys(FLAGS, int(u > 0.5)),
    },
}


def rows_of(*sources):
    rng = np.random.default_rng(3)
    return [
        Labelled(
            reflection=Reflection(
                id=f"{source}-{number}",
                user_id=f"{source}-p{number // PER_PERSON}",
                text=f"{source} {number}",
                created_at=START + timedelta(days=number),
                utc_offset_min=0,
            ),
            labels=LABELS[source](number, round(float(rng.random()), 3)),
            source=source,
            cluster=f"case{number % 2}/x" if source == "synthetic" else None,
        )
        for source in sources
        for number in range(PER_SOURCE)
    ]


def material(rows, seed=0):
    """The arguments of `report.measure`: real labels beside predictions that know a little of them. Fitted
    parts, which no figure reads, are left empty."""
    rng = np.random.default_rng(seed)
    count = len(rows)
    told = goals.extract(rows, PLAN, taxonomy())

    def near(truth, noise=0.3):
        return np.nan_to_num(truth, nan=0.5) + noise * rng.random(np.shape(truth))

    def classes(mass):
        found = near(mass, 1.5)
        return found / found.sum(axis=-1, keepdims=True)

    def stacked(after):
        return Stacked(gate=None, calibrator=None, before=after, after=after, record={})

    columns = {name: {"Eb": near(told.values[name])} for name in ("valence", "arousal")}
    columns |= {
        f"{name}.nuance": {"mean": rng.normal(size=(count, 6, 6))} for name in ("expressed", "invoked")
    }
    columns |= {
        name: {base: classes(native.mass) for base in ("Ng", "Eb")} for name, native in told.native.items()
    }
    appraised = Appraised(
        static=None, history=None, emotion=None,
        stacks={
            **{f"text_{name}": stacked(columns[name]["Eb"]) for name in ("valence", "arousal")},
            **{name: stacked(classes(getattr(told, name))) for name in ("expressed", "invoked")},
            "willingness": stacked(near(told.values["willingness"])),
        },
    )  # fmt: skip
    labelled = np.flatnonzero(np.isfinite(told.values["valence"]))
    row = np.concatenate([labelled, labelled])
    target = {name: told.values[name][row] for name in ("valence", "arousal", "congruence")}
    placed = Placed(
        row=row,
        numbers=rng.random((len(row), len(TEMPORAL))) + 0.1,
        reported=np.arange(len(row)) < len(labelled),
        known=np.ones(len(row), dtype=bool),
        diary=np.ones(len(row), dtype=bool),
        fold=np.zeros(len(row), dtype=np.int64),
        target=target,
        weight=target,
        stacks={
            **{name: stacked(near(value)) for name, value in target.items()},
            **{f"expected_{name}": stacked(near(target[name])) for name in ("valence", "arousal")},
        },
        forecast=None, personal=None, net=None,
    )  # fmt: skip
    covered = {"coverage": 0.8, "effective rows": 40.0, "quantile ECE": 0.02}
    decided = Decided(
        intervals={}, ends={}, coverage={"valence": {"all": covered, "short": covered}}, flags={},
        risk=np.clip(near(told.risk, 0.9), 0.0, 1.9) / 1.9, risk_thresholds={}, thresholds={},
        nuance_temperature={"expressed": 1.0, "invoked": 1.0},
    )  # fmt: skip
    return rows, told, columns, appraised, placed, decided


@pytest.fixture(scope="module")
def everything():
    return material(rows_of(*LABELS))


@pytest.fixture(scope="module")
def predicted(everything):
    return Predicted.of(*everything)


def figures(got, source):
    return SOURCES[source](got, np.array([row.source == source for row in got.rows]))


@pytest.fixture(scope="module")
def measured(everything):
    return report.measure(*everything)


# Floors


@pytest.mark.parametrize(
    ("direction", "value", "word"),
    [
        ("least", 0.61, "passed"),
        ("least", 0.60, "passed"),
        ("least", 0.59, "MISSED"),
        ("least", math.nan, "no rows"),
        ("below", 0.59, "passed"),
        ("below", 0.60, "MISSED"),
        ("below", math.nan, "no rows"),
    ],
)
def test_a_floor_is_passed_only_by_a_number_on_its_side(direction, value, word):
    floor = floors.Floor(name="it", group="on", figure="r", limit=0.6, direction=direction)
    verdict = floors.Verdict(floor=floor, value=value)

    assert (verdict.word, verdict.passed) == (word, word == "passed")


@pytest.mark.parametrize("metrics", [{}, {"cssrs": {}}, {"cssrs": {"suicidal ideation AUC": None}}])
def test_a_floor_without_its_figure_says_no_rows_and_is_kept_as_null(metrics):
    verdicts = floors.judge(metrics)
    kept = json.loads(json.dumps(floors.record(verdicts), allow_nan=False))

    assert {one.word for one in verdicts} == {"no rows"}
    assert not any(one.passed for one in verdicts)
    assert kept["C-SSRS posts suicidal ideation AUC"] == [None, 0.84]


def test_every_floor_finds_its_figure_where_its_source_is_among_the_rows(measured):
    assert {one.floor.name for one in floors.judge(measured) if not math.isfinite(one.value)} == set()
    assert list(measured["floors"]) == [one.name for one in floors.FLOORS]


# Thresholds


def planted(seed):
    rng = np.random.default_rng(seed)
    return rng, rng.integers(0, decisions.FOLDS, 200)


DECISIONS = {
    "a flag": lambda rng, truth, fold: decisions.raised(rng.random(200), truth > 0.5, fold),
    "several classes": lambda rng, truth, fold: decisions.several(
        rng.random((200, 3)), np.stack([truth > 0.5, truth > 0.2, truth < 0.3], axis=1), fold
    ),
    "three grades": lambda rng, truth, fold: decisions.grades(
        rng.random(200), np.digitize(truth, (0.3, 0.6)), fold
    ),
    "a core": lambda rng, truth, fold: decisions.emotions(
        rng.dirichlet(np.ones(7), 200), np.eye(7)[(truth * 7).astype(int)], np.ones(200, dtype=bool),
        rng.dirichlet(np.ones(6), (200, 6)), np.eye(36)[(truth * 36).astype(int)], fold,
    ).core,
}  # fmt: skip


@pytest.mark.parametrize("name", DECISIONS)
def test_a_folds_own_labels_do_not_change_its_decisions_but_those_of_others(name):
    changed = False
    for seed in range(2):
        fold, truth = planted(seed)[1], np.random.default_rng(100 + seed).random(200)
        other = np.where(fold == 2, 0.9 * (1 - truth), truth)
        first, second = (DECISIONS[name](planted(seed)[0], labels, fold) for labels in (truth, other))

        np.testing.assert_array_equal(first[fold == 2], second[fold == 2])
        changed |= bool((first != second).any())
    assert changed


def test_the_threshold_is_the_score_of_the_best_f1():
    rng = np.random.default_rng(1)
    score = np.round(rng.random(60), 1)
    truth = score + rng.normal(size=60) > 0.8

    def f1(limit):
        return 2 * (truth & (score >= limit)).sum() / (truth.sum() + (score >= limit).sum())

    assert f1(decisions.threshold(score, truth)) == max(f1(limit) for limit in np.unique(score))
    assert not decisions.raised(score, np.zeros(60, dtype=bool), np.arange(60) % 3).any()


def test_the_cuts_are_those_of_the_best_macro_f1():
    rng = np.random.default_rng(2)
    value = rng.random(300)
    truth = np.digitize(value + 0.2 * rng.normal(size=300), (0.25, 0.8))
    edges = np.quantile(value, np.arange(1, decisions.STEPS) / decisions.STEPS)

    def score(pair):
        return metrics.macro_f1(truth.tolist(), np.digitize(value, pair).tolist(), [0, 1, 2])

    best = max(score(pair) for pair in itertools.combinations(edges[::2], 2))
    assert score(decisions.cuts(value, truth)) >= best
    assert decisions.cuts(value, truth) == pytest.approx((0.25, 0.8), abs=0.12)


def test_folds_hold_whole_people_and_all_are_used():
    people = [f"p{number % 23}" for number in range(200)]
    fold = decisions.deal(people)

    assert len(set(zip(people, fold.tolist(), strict=True))) == 23
    assert set(fold.tolist()) == set(range(decisions.FOLDS))


def test_where_nobody_else_is_labelled_nothing_is_named():
    mass = np.full((3, 7), 1 / 7)
    found = decisions.emotions(
        mass, mass, np.zeros(3, dtype=bool), np.full((3, 6, 6), 1 / 6), np.zeros((3, 36)), np.array([0, 1, 2])
    )

    assert found.core.tolist() == found.nuance.tolist() == [-1, -1, -1]


# Figures


@pytest.mark.parametrize("name", LABELS)
def test_every_source_has_figures(predicted, name):
    found = figures(predicted, name)

    assert found
    assert all(math.isfinite(value) for value in found.values())


def test_only_sources_among_the_rows_have_a_group():
    found = report.measure(*material(rows_of("cssrs", "emobank")))

    assert set(found) == {"cssrs", "emobank", "calibration", "intervals", "floors"}
    assert all(math.isfinite(value) for _, _, value in report.plain(found))


def test_correlations_are_with_the_imported_label_not_with_the_plans_stretched_one(everything, measured):
    rows, told, _, appraised, *_ = everything
    here = np.array([row.source == "emobank" for row in rows])
    raw = [row.labels["valence"] for row in rows if row.source == "emobank"]
    said = appraised.stacks["text_valence"].after[here]

    assert measured["emobank"]["valence r, all"] == metrics.pearson(raw, said)
    assert measured["emobank"]["valence r, all"] != metrics.pearson(told.values["valence"][here], said)


def test_sarcasm_is_judged_on_the_tweets_and_again_with_their_sincere_rephrases(predicted):
    fooled = predicted.decided.risk.copy()
    for number, row in enumerate(predicted.rows):
        if row.source == "isarcasm":
            score = 1.0 if row.labels["rephrase"] else row.labels["risk"]["sarcasm"] * 0.5
            fooled[number, FLAGS.index("sarcasm")] = score
    decided = dataclasses.replace(predicted.decided, risk=fooled)
    found = figures(dataclasses.replace(predicted, decided=decided), "isarcasm")

    assert found["sarcasm F1, tweets"] == found["sarcasm AUC, tweets"] == 1.0
    assert found["sarcasm F1, tweets and rephrases"] < 1.0
    assert found["sarcasm AUC, tweets and rephrases"] < 1.0


def test_a_forecast_that_knows_beats_the_earlier_mean_and_one_that_repeats_it_does_not(predicted):
    placed = predicted.placed
    ends = []
    for after in (placed.target["valence"], placed.numbers[:, TEMPORAL.index("self_valence.mean")]):
        stacked = dataclasses.replace(placed.stacks["expected_valence"], after=after)
        these = dataclasses.replace(placed, stacks={**placed.stacks, "expected_valence": stacked})
        found = figures(dataclasses.replace(predicted, placed=these), "semeval2026")
        ends.append(found["valence forecast's RMSE less the earlier mean's, upper end of 95 %"])

    assert ends[0] < 0
    assert ends[1] == 0


# Tables


def text_of(renderable):
    page = StringIO()
    Console(file=page, width=200).print(renderable)
    return page.getvalue()


def test_the_tables_leave_nested_groups_out_and_say_which_floors_are_missed(measured):
    nested = {"stacks": {"valence": {"gate": {"kind": "linear"}, "weights": {"all": {"Eb": 1.0}}}}}
    shown = text_of(report.table(measured | nested | {"parity": 0.25, "coverage by slice": {"valence": {}}}))

    assert "valence coverage, short" in shown
    assert "linear" not in shown
    assert "parity" not in shown
    assert "no rows" in text_of(floors.table(floors.judge({})))
    assert "MISSED" in text_of(floors.table(floors.judge({"isear": {"macro-F1 of 7 labels": 0.5}})))


def test_the_card_tells_floors_and_the_gates_weights_where_a_slice_differs(measured):
    weights = {
        "all": {"Ng": 0.4, "Eb": 0.6},
        "short": {"Ng": 0.6, "Eb": 0.4},
        "long": {"Ng": 0.405, "Eb": 0.595},
    }
    facts = {
        "name": "it", "evidence": {}, "data": [], "notes": [], "splits": {"folds": 5},
        "leakage": {"rows": 1, "people": 1},
        "metrics": measured | {"stacks": {"valence": {"gate": {"kind": "linear"}, "weights": weights}}},
    }  # fmt: skip
    shown = card.write(facts)

    assert "| `valence` | linear | all | Ng 0.40, Eb 0.60 |" in shown
    assert "| `valence` | linear | short | Ng 0.60, Eb 0.40 |" in shown
    assert "| long |" not in shown
    assert "| ISEAR macro-F1, native 7 |" in shown
