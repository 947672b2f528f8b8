"""The whole journey without any service: every variable, any order, history strictly from before, nothing
leaking between rows."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

import worker
from tests.support import bundles
from worker.errors import Rejected
from worker.events.reflection import Reflection, SelfReport, parse
from worker.events.taxonomy import taxonomy
from worker.events.variables import CORES, FLAGS, LEVELS
from worker.pipeline import Pipeline
from worker.settings import Settings

START = datetime(2026, 10, 1, 8, tzinfo=UTC)
SAID = (
    "Slept well, coffee in the sun, feeling light and grateful.",
    "Boss ne phir sabke saamne daanta, bahut gussa aa raha hai",
    "I don't want to be here anymore. Everyone would be better off without me.",
    "fine. whatever.",
    "😊🎉",
    "आज बहुत थक गया हूँ",
    "היום היה יום טוב",
    "Anxious, tired, hopeful, sore",
)


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bundle") / "tiny"
    bundles.write(folder)
    settings = Settings(
        cache_dir=tmp_path_factory.mktemp("cache"),
        inference_threads=1,
        streams=1,
        risk_thresholds={"sociopathic_cues": 0.9},
    )
    with Pipeline.open(folder, settings) as opened:
        yield opened


def reflections(people=3, each=12):
    return [
        Reflection(
            id=f"r-{person}-{n:02d}",
            user_id=f"u-{person}",
            text=SAID[(person + n) % len(SAID)] + (f" {n}" if n > 7 else ""),
            created_at=START + timedelta(hours=7 * n + person),
            utc_offset_min=330,
            timezone="Asia/Kolkata" if person else None,
            self_report=SelfReport(valence=(n % 5) / 4, arousal=0.5) if n % 3 == 0 else None,
        )
        for person in range(people)
        for n in range(each)
    ]


def numbers(perceptions):
    """Every number of a row, by id."""
    return {
        p.appraisal.reflection.id: np.array(
            [
                p.placement.valence, p.placement.arousal, p.placement.congruence, p.placement.comparator,
                p.placement.expected_valence, p.placement.expected_arousal, p.appraisal.willingness,
                *p.appraisal.invoked.cores.values(), *p.appraisal.expressed.cores.values(),
                *p.appraisal.risk.flags.values(),
                *(end for pair in p.intervals.values() for end in pair),
            ]
        )
        for p in perceptions
    }  # fmt: skip


def assert_same(row, other):
    """Equal to the last bits of a double-precision product, whose order of summation depends on the batch."""
    np.testing.assert_allclose(row, other, rtol=0, atol=1e-12)


def test_every_row_has_all_variables_in_their_ranges(pipeline):
    for perception in pipeline.perceive(reflections()):
        row = perception.to_json()
        for name in ("valence", "arousal", "willingness", "congruence"):
            low, high = row["intervals"][name]
            assert 0 <= low <= row[name] <= high <= 1
        assert row["comparator"] == row["valence"] - row["expected"]["valence"]
        for name in ("invoked", "expressed"):
            path = tuple(row[name]["path"])
            assert path == () or taxonomy().is_path(path)
            assert sum(row[name]["cores"].values()) == pytest.approx(1.0)
            assert list(row[name]["cores"]) == list(CORES)
        assert row["risk"]["level"] in LEVELS
        assert list(row["risk"]["flags"]) == list(FLAGS)
        assert row["model_version"] == pipeline.model_version
        assert row["provenance"]["devices"]["encoder"]["device"] == "CPU"
        assert row["provenance"]["temporal_device"]["device"] == "CPU"


def test_values_do_not_depend_on_order_or_company(pipeline):
    whole = reflections()
    together = numbers(pipeline.perceive(whole))
    shuffled = numbers(
        pipeline.perceive(np.random.default_rng(4).permutation(np.array(whole, dtype=object)).tolist())
    )
    for person in range(3):
        alone = numbers(pipeline.perceive([r for r in whole if r.user_id == f"u-{person}"]))
        for key, row in alone.items():
            assert_same(row, together[key])
            assert_same(row, shuffled[key])


def test_the_future_and_oneself_are_not_history(pipeline):
    whole = reflections(people=1)
    all_of_them = numbers(pipeline.perceive(whole))
    first_half = numbers(pipeline.perceive(whole[:6]))
    for key, row in first_half.items():
        assert_same(row, all_of_them[key])


def test_a_self_report_never_changes_its_own_row_but_does_change_later_ones(pipeline):
    whole = reflections(people=1)
    told = [replace(whole[0], self_report=SelfReport(valence=0.0, arousal=1.0)), *whole[1:]]
    before, after = numbers(pipeline.perceive(whole)), numbers(pipeline.perceive(told))
    assert_same(before["r-0-00"], after["r-0-00"])
    assert not np.array_equal(before["r-0-01"], after["r-0-01"])


def test_the_expectation_does_not_read_this_text(pipeline):
    whole = reflections(people=1)
    other = [*whole[:-1], replace(whole[-1], text="Best day of my life!!!")]
    last, changed = pipeline.perceive(whole)[-1], pipeline.perceive(other)[-1]
    assert last.placement.expected_valence == changed.placement.expected_valence
    assert last.placement.expected_arousal == changed.placement.expected_arousal
    assert last.placement.valence != changed.placement.valence


def test_two_at_the_same_moment_see_neither_each_other(pipeline):
    one, two = (replace(r, created_at=START) for r in reflections(people=1)[:2])
    both = numbers(pipeline.perceive([one, two]))
    assert_same(both[one.id], numbers(pipeline.perceive([one]))[one.id])
    assert_same(both[two.id], numbers(pipeline.perceive([two]))[two.id])


def test_an_unsupported_language_is_enriched_but_names_no_emotion(pipeline):
    row = pipeline.perceive([replace(reflections()[0], text=SAID[6])])[0].to_json()
    assert row["language_supported"] is False
    assert row["invoked"]["path"] == row["expressed"]["path"] == []
    assert 0 <= row["valence"] <= 1


def test_the_risk_floor_holds_whatever_the_models_say(pipeline):
    crisis = replace(reflections()[0], text=SAID[2])
    screened = pipeline.look([crisis])[0].risk
    row = pipeline.perceive([crisis])[0].appraisal.risk
    assert screened.level == "high"
    assert row.level == "high"
    for flag, score in screened.flags.items():
        assert row.flags[flag] >= score
        assert row.uncalibrated[flag] > screened.uncalibrated[flag] == score


def test_the_operators_thresholds_go_before_the_bundles_and_stand_in_the_row(pipeline):
    screened = pipeline.look(reflections()[:1])[0].risk
    row = pipeline.perceive(reflections()[:1])[0].appraisal.risk
    wanted = {flag: 0.9 if flag == "sociopathic_cues" else 0.5 for flag in FLAGS}
    assert screened.thresholds == row.thresholds == wanted


def test_nothing_gives_nothing(pipeline):
    assert pipeline.perceive([]) == []


def test_the_library_refuses_a_mapping_that_is_no_event(pipeline):
    assert worker.Pipeline is type(pipeline)
    with pytest.raises(Rejected, match="missing_field"):
        pipeline.perceive([{"id": "r-0-00", "user_id": "u-0", "text": SAID[0]}])


def test_a_mapping_and_its_reflection_are_perceived_alike(pipeline):
    event = {"id": "r-0-00", "user_id": "u-0", "text": SAID[0], "created_at": "2026-10-01T08:00:00+05:30"}
    read = parse(event, now=datetime.now(UTC))
    assert pipeline.perceive([event])[0].to_json() == pipeline.perceive([read])[0].to_json()


def test_a_row_names_its_bundle_and_how_far_each_variable_is_to_be_believed(pipeline):
    provenance = pipeline.perceive(reflections(people=1, each=1))[0].to_json()["provenance"]
    assert provenance["bundle"].startswith(pipeline.model_version)
    assert provenance["evidence"] == {"invoked": "synthetic"}
