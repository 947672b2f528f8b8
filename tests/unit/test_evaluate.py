"""What `feltsense evaluate` counts: each metric as metrics.py defines it, for all resamples at once; nobody's
future in anybody's past; no gate passed on nothing; a page that stands by itself."""

import dataclasses
import json
import math
import re
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from typer.testing import CliRunner

from tests.support import bundles
from trainer import cli
from trainer.calibrate import thresholds
from trainer.data import labelled, synthetic
from trainer.data.labelled import Labelled
from trainer.errors import TrainerError
from trainer.evaluate import ablation, canaries, gates, html, membership, metrics, references, slices, truth
from trainer.evaluate import evaluation as evaluating
from trainer.evaluate import judge as judging
from trainer.evaluate.bootstrap import Resampling
from trainer.evaluate.judge import ALONE, REPORTS, TEXTS, Table
from trainer.splits import record
from worker.bundle import reader
from worker.bundle.manifest import DataSource
from worker.events.reflection import Reflection, SelfReport
from worker.pipeline import Pipeline
from worker.settings import Settings

RNG = np.random.default_rng(5)
COUNT = 300
PEOPLE = [f"p{number}" for number in RNG.integers(25, size=COUNT)]
TRUTH = RNG.random(COUNT)
SAID = np.round(0.5 * TRUTH + 0.5 * RNG.random(COUNT), 1)
OUTCOME = TRUTH > 0.7
MASS = np.eye(7)[RNG.integers(7, size=COUNT)]
CHOSEN = RNG.integers(-1, 6, size=COUNT)
ENDS = np.stack([SAID - 0.2, SAID + 0.2], axis=1)
PATHS = [[("Sad", "Lonely")] if yes else [] for yes in OUTCOME]
GUESSES = [[("Sad", "Hurt")] if value > 0.4 else [] for value in SAID]
START = datetime(2026, 1, 1, tzinfo=UTC)

METRICS = {
    "rmse": (lambda s: s.rmse(TRUTH, SAID), lambda: metrics.rmse(TRUTH, SAID)),
    "pearson": (lambda s: s.pearson(TRUTH, SAID), lambda: metrics.pearson(TRUTH, SAID)),
    "composite r": (lambda s: s.composite(TRUTH, SAID), lambda: metrics.composite_r(TRUTH, SAID, PEOPLE)),
    "auc": (lambda s: s.auc(OUTCOME, SAID), lambda: metrics.auc(OUTCOME, SAID)),
    "average precision": (
        lambda s: s.average_precision(OUTCOME, SAID),
        lambda: metrics.average_precision(OUTCOME, SAID),
    ),
    "core F1": (lambda s: s.core_f1(MASS, CHOSEN), lambda: thresholds.core_f1(MASS, CHOSEN)),
    "hierarchical F1": (
        lambda s: s.hierarchical_f1(PATHS, GUESSES),
        lambda: metrics.hierarchical_f1(PATHS, GUESSES),
    ),
    "ece": (lambda s: s.ece(OUTCOME * 1.0, SAID), lambda: metrics.ece(OUTCOME * 1.0, SAID)),
    "quantile ece": (
        lambda s: s.quantile_ece(TRUTH, ENDS),
        lambda: metrics.quantile_ece(TRUTH, {0.1: ENDS[:, 0], 0.9: ENDS[:, 1]}),
    ),
    "coverage": (
        lambda s: s.share((ENDS[:, 0] <= TRUTH) & (ENDS[:, 1] >= TRUTH)),
        lambda: metrics.coverage(TRUTH, ENDS[:, 0], ENDS[:, 1]),
    ),
    "f1": (
        lambda s: s.f1(OUTCOME, SAID > 0.5),
        lambda: metrics.macro_f1(
            ["yes" if one else "no" for one in OUTCOME],
            ["yes" if one else "no" for one in SAID > 0.5],
            ["yes"],
        ),
    ),
}


@pytest.mark.parametrize("name", METRICS)
def test_a_vectorised_metric_is_the_scalar_one_with_an_interval_around_it(name):
    vectorised, scalar = METRICS[name]
    estimate = vectorised(Resampling(PEOPLE, np.random.default_rng(1)).sample(np.arange(COUNT)))
    assert estimate.value == pytest.approx(scalar(), abs=1e-9)
    assert estimate.low < estimate.value + 0.1
    assert estimate.high > estimate.value - 0.1
    assert estimate.low < estimate.high
    assert (estimate.rows, estimate.people) == (COUNT, len(set(PEOPLE)))


@pytest.mark.parametrize("name", ["auc", "composite r", "rmse", "pearson"])
def test_a_resample_counts_a_person_drawn_twice_as_two(name):
    resampling = Resampling(PEOPLE, np.random.default_rng(2), count=3)
    sample = resampling.sample(np.arange(COUNT))
    draw = METRICS[name][0](sample).draws[0]
    names = sorted(set(PEOPLE))
    rows, who = [], []
    for code, times in enumerate(sample.counts[1]):
        own = [at for at, person in enumerate(PEOPLE) if person == names[code]]
        for copy in range(times):
            rows += own
            who += [f"{code}.{copy}"] * len(own)
    scalar = {
        "auc": lambda: metrics.auc(OUTCOME[rows], SAID[rows]),
        "composite r": lambda: metrics.composite_r(TRUTH[rows], SAID[rows], who),
        "rmse": lambda: metrics.rmse(TRUTH[rows], SAID[rows]),
        "pearson": lambda: metrics.pearson(TRUTH[rows], SAID[rows]),
    }[name]()
    assert draw == pytest.approx(scalar, abs=1e-9)


def test_on_no_rows_every_metric_is_nan():
    sample = Resampling(PEOPLE, np.random.default_rng(1), count=5).sample(np.array([], dtype=np.intp))
    nothing, no = np.zeros(0), np.zeros(0, dtype=bool)
    for estimate in (
        sample.rmse(nothing, nothing),
        sample.pearson(nothing, nothing),
        sample.composite(nothing, nothing),
        sample.auc(no, nothing),
        sample.average_precision(no, nothing),
        sample.core_f1(np.zeros((0, 7)), np.zeros(0, dtype=int)),
        sample.hierarchical_f1([], []),
        sample.ece(nothing, nothing),
        sample.share([]),
    ):
        assert math.isnan(estimate.value)
        assert math.isnan(estimate.low)


def test_the_partial_correlation_is_that_of_what_the_third_leaves():
    last = RNG.random(COUNT)
    said, goal = SAID + 0.5 * last, TRUTH + 0.7 * last
    design = np.stack([np.ones(COUNT), last], axis=1)
    left = [values - design @ np.linalg.lstsq(design, values, rcond=None)[0] for values in (goal, said)]
    sample = Resampling(PEOPLE, np.random.default_rng(1), count=2).sample(np.arange(COUNT))
    assert sample.partial(goal, said, last).value == pytest.approx(metrics.pearson(*left))


def test_the_difference_of_two_figures_on_the_same_rows_is_paired():
    sample = Resampling(PEOPLE, np.random.default_rng(1)).sample(np.arange(COUNT))
    worse = SAID + 0.5 * (SAID - TRUTH)
    gap = sample.rmse(TRUTH, SAID).minus(sample.rmse(TRUTH, worse))
    assert gap.low < gap.value < gap.high < 0
    assert gap.high - gap.low < sample.rmse(TRUTH, worse).high - sample.rmse(TRUTH, worse).low


def row(number, person, *, hours=0.0, text="a day", report=None, source="own", cluster=None, **labels):
    reflection = Reflection(
        id=f"{number}",
        user_id=person,
        text=text,
        created_at=START + timedelta(hours=hours),
        utc_offset_min=0,
        self_report=report,
    )
    return Labelled(reflection=reflection, labels=labels, source=source, cluster=cluster)


def test_earlier_values_know_neither_ties_nor_the_future_nor_what_is_missing():
    rows = [row(0, "ann", hours=9), row(1, "ann", hours=0), row(2, "ann", hours=5), row(3, "ann", hours=5)]
    values = np.array([[0.4], [1.0], [np.nan], [0.2]])
    found = truth.earlier(rows, values)
    np.testing.assert_allclose(found.mean[:, 0], [(1.0 + 0.2 + 1.0) / 4, 0.5, 2 / 3, 2 / 3])
    np.testing.assert_allclose(found.last[:, 0], [0.2, np.nan, 1.0, 1.0])
    np.testing.assert_allclose(found.count[:, 0], [2, 0, 1, 1])


def test_densities_are_reflections_a_week_and_one_moment_is_no_timeline():
    week = 24 * 7
    rows = [
        *(row(at, "daily", hours=24 * at) for at in range(14)),
        *(row(20 + at, "weekly", hours=week * at) for at in range(4)),
        *(row(30 + at, "monthly", hours=4 * week * at) for at in range(3)),
        row(40, "once"),
        row(41, "undated"),
        row(42, "undated"),
    ]
    found = slices.densities(rows)
    assert [found[0], found[14], found[18], found[21], found[22]] == [
        "> 3",
        "1-3",
        "< 1",
        "no timeline",
        "no timeline",
    ]


def test_isear_words_that_the_taxonomy_cannot_tell_apart_are_one_class():
    rows = [
        row(at, f"p{at}", source="isear", isear=word)
        for at, word in enumerate(["shame", "guilt", "disgust", "joy"])
    ]
    said = [("Sad", "Guilty", "Ashamed"), ("Sad",), ("Angry", "Disgusted"), ()]
    words, known, found = truth.native("isear", rows, said)
    assert "shame or guilt" in words
    named = [[words[at] if at >= 0 else None for at in side.tolist()] for side in (known, found)]
    assert named == [
        ["shame or guilt", "shame or guilt", "disgust", "joy"],
        ["shame or guilt", "sadness", "disgust", None],
    ]


def test_references_are_out_of_fold_by_person():
    people = [f"p{at // 4}" for at in range(120)]
    texts = [f"word{at // 4} " * 3 + "other" for at in range(120)]
    goal = np.repeat(RNG.random(30), 4)  # a person's words tell all about them, and nothing about others
    fold = references.folds(people)
    assert all(len(set(fold[4 * at : 4 * at + 4])) == 1 for at in range(30))
    task = references.Task(kind="values", truth=goal[:, None])
    found = references.out_of_fold(texts, np.eye(30)[np.arange(120) // 4], fold, {"v": task})["v"]
    assert abs(metrics.pearson(goal, found[references.TFIDF][:, 0])) < 0.6
    assert metrics.rmse(goal, found[references.AVERAGE][:, 0]) > 0.8 * goal.std()


def test_without_a_base_its_weight_goes_to_the_others_and_missing_ones_stay_out():
    table = Table(
        columns={
            "valence.of.Lx": np.array([0.2, 0.2, 0.2]),
            "valence.weight.Lx": np.array([0.5, 0.25, 0.0]),
            "valence.of.Ng": np.array([0.6, 0.6, 0.6]),
            "valence.weight.Ng": np.array([0.3, 0.75, 0.0]),
            "valence.of.Tm": np.array([1.0, np.nan, 0.8]),
            "valence.weight.Tm": np.array([0.2, 0.0, 1.0]),
        }
    )
    rows = np.arange(3)
    np.testing.assert_allclose(ablation.without(table, "valence", "Lx", rows), [0.76, 0.6, 0.8])
    np.testing.assert_allclose(ablation.without(table, "valence", "Tm", rows), [0.35, 0.5, 0.4])


def test_no_gate_passes_on_nothing():
    found = gates.judge([], [])
    assert len(found) > 20
    assert not any(gate.passed for gate in found)
    assert {gate.verdict for gate in found} == {"failed: no rows"}


@pytest.mark.parametrize(
    ("better", "passed"), [([True, True], True), ([True, False], False), ([None], False)]
)
def test_a_model_no_better_with_the_text_than_with_shuffled_text_fails(better, passed):
    checks = [canaries.Canary(name="shuffled", detail="", passed=one, text=True) for one in better]
    gate = next(one for one in gates.judge([], checks) if "shuffled" in one.name)
    assert gate.passed is passed


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def people(tmp_path_factory):
    """Synthetic people who say how they feel now and then."""
    path = tmp_path_factory.mktemp("people") / "synthetic.jsonl"
    synthetic.write(path, people=12, seed=11)
    return labelled.load([path])


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bundle") / "tiny"
    bundles.write(folder)
    return folder


@pytest.fixture(scope="module")
def settings(cache):
    return Settings(cache_dir=cache, device_plan=("CPU",), temporal_device_plan=("CPU",))


@pytest.fixture(scope="module")
def judged(bundle, people, settings):
    rows = people
    with Pipeline.open(bundle, settings) as pipeline:
        return judging.judge(pipeline, rows, np.ones(len(rows), dtype=bool), seed=1, tell=lambda *_: None)


def test_the_three_regimes_are_what_the_worker_itself_would_have_said(bundle, judged, people, settings):
    events = [one.reflection for one in people]
    silent = [dataclasses.replace(one, self_report=None) for one in events]
    strangers = [dataclasses.replace(one, user_id=f"{at}") for at, one in enumerate(silent)]
    with Pipeline.open(bundle, settings) as pipeline:
        for regime, chosen in ((ALONE, strangers), (TEXTS, silent), (REPORTS, events)):
            said = {one.appraisal.reflection.id: one for one in pipeline.perceive(chosen)}
            for name in ("valence", "arousal", "congruence", "expected_valence", "comparator"):
                expected = [getattr(said[one.id].placement, name) for one in events]
                np.testing.assert_allclose(judged.placed[regime][name], expected, rtol=0, atol=1e-12)
        assert [said[one.id].appraisal.expressed.path for one in events] == list(
            judged.appraised["expressed.path"]
        )
    assert not np.array_equal(judged.placed[TEXTS]["valence"], judged.placed[REPORTS]["valence"])


def test_the_bases_and_weights_of_the_table_make_up_the_blend(judged):
    for table, name in ((judged.placed[REPORTS], "valence"), (judged.appraised, "expressed")):
        weights, predictions = table.weights(name), np.nan_to_num(table.predictions(name))
        shaped = weights.reshape(weights.shape + (1,) * (predictions.ndim - 2))
        np.testing.assert_allclose((shaped * predictions).sum(axis=1), table[f"{name}.before"], atol=1e-3)


def test_a_shuffled_row_keeps_everything_but_its_text(judged):
    moved = ~np.isclose(judged.shuffled["willingness"], judged.appraised["willingness"])
    assert moved.mean() > 0.8
    assert sorted(judged.shuffled["willingness"]) == pytest.approx(
        sorted(judged.appraised["willingness"]), abs=0.2
    )


def test_rows_the_bundle_has_seen_are_left_out_and_an_unknown_membership_is_said(bundle, people, tmp_path):
    facts = reader.load(bundle).manifest
    assert not membership.examine(bundle, facts, people).known
    source = DataSource(name="synthetic", rows=9, people=3, fingerprint="", licence="none", may_ship=True)
    facts = facts.model_copy(update={"data": [source]})
    unknown = membership.examine(bundle, facts, people)
    assert unknown.unseen.all()
    assert "membership is unknown" in unknown.remark

    seen, count = (
        [one for one in people if one.reflection.user_id == people[0].reflection.user_id],
        len(people),
    )
    numbers = np.arange(len(seen))
    kept = record.of(
        seen,
        part=np.full(len(seen), record.TRAIN),
        fold=numbers % 3,
        cluster=numbers,
        group=numbers,
        learned=np.ones(len(seen), dtype=bool),
        shared=np.zeros(len(seen), dtype=bool),
    )
    (tmp_path / record.NAME).write_bytes(kept.to_bytes())
    found = membership.examine(tmp_path, facts, people)
    assert found.known
    assert not found.unseen[[one in seen for one in people]].any()
    assert found.left_out == {"synthetic": count - int(found.unseen.sum())}
    with pytest.raises(TrainerError, match="nothing to judge"):
        membership.examine(tmp_path, facts, seen)
    with pytest.raises(TrainerError, match="nothing to judge"):
        membership.examine(bundle, facts, [])


@pytest.fixture(scope="module")
def done(bundle, people, settings):
    return evaluating.evaluate(bundle, people, settings=settings, tell=lambda *_: None)


def test_the_report_is_whole_finite_or_says_no_rows_and_names_nobody(done, people, tmp_path):
    page, numbers = html.write(done, tmp_path / "report")
    told, text = json.loads(numbers.read_bytes()), page.read_text()

    assert told["coverage"]["rows"] == len(people)
    measured = {(one["variable"], one["metric"]) for one in told["figures"] if one["by"] == "all"}
    assert {
        ("valence", "RMSE"), ("arousal", "r"), ("expected_valence", "partial r given the last"),
        ("expressed", "core macro-F1"), ("invoked", "hierarchy-aware F1"), ("invoked", "path validity"),
        ("congruence", "RMSE"), ("valence", "coverage"), ("comparator", "quantile ECE"),
        ("willingness", "RMSE"),
    } <= measured  # fmt: skip
    beside = next(
        one
        for one in told["figures"]
        if (one["by"], one["variable"], one["metric"]) == ("source", "valence", "RMSE")
    )
    assert {"TF-IDF", "MiniLM", "their average", "label mean", "category mean"} <= beside["references"].keys()
    missing = next(one for one in told["gates"] if "OffMyChest" in one["gate"])
    assert (missing["value"], missing["passed"], missing["verdict"]) == (None, False, "failed: no rows")
    valid = next(one for one in told["gates"] if one["gate"] == "expressed path validity")
    assert (valid["value"], valid["passed"]) == (1.0, True)
    assert {one["base"] for one in told["ablation"]} >= {"Lx", "Ng", "Eb", "Tm"}
    assert all(0.99 < sum(one["weights"].values()) < 1.01 for one in told["gate_weights"])

    assert "<html" in text
    assert not re.search(r"\bnan\b", re.sub(r"base64,[^\"]*", "", text).lower())
    assert not re.search(r"(src|href)=\"(?!data:|#)", text)  # nothing is fetched from anywhere
    for one in people:
        assert one.reflection.user_id not in text + numbers.read_text()
        assert len(one.reflection.text) < 25 or one.reflection.text not in text + numbers.read_text()


def test_the_command_exits_with_3_only_where_gates_are_asked_for(bundle, done, cache, tmp_path, monkeypatch):
    monkeypatch.setenv("FELTSENSE_CACHE_DIR", str(cache))
    data = tmp_path / "few.jsonl"
    synthetic.write(data, people=3, seed=99)
    arguments = ["evaluate", str(bundle), "--data", str(data), "--report", str(tmp_path / "report")]
    first = CliRunner().invoke(cli.commands, arguments)
    assert first.exit_code == 0, first.output
    assert (tmp_path / "report" / "report.html").is_file()
    monkeypatch.setattr(evaluating, "evaluate", lambda *_, **__: done)  # the same again, without the wait
    assert CliRunner().invoke(cli.commands, [*arguments, "--gate"]).exit_code == 3


def test_self_reports_are_history_of_the_truth_too():
    rows = [
        row(0, "ann", hours=0, report=SelfReport(valence=0.9, arousal=None, emotion=None), valence=0.9),
        row(1, "ann", hours=1, valence=0.1),
    ]
    found = truth.Truth.of(rows)
    before = truth.earlier(rows, found.reports)
    assert before.last[1, 0] == 0.9
    assert before.count.tolist() == [[0, 0], [1, 0]]
