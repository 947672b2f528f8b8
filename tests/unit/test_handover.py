"""Valence and arousal of a person: stage A's own blend until they have reported once, then base Tm."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from tests.support import bundles
from trainer.features.targets import Targets
from trainer.oof import timelines
from worker.blend.gate import DROPPED, Gate
from worker.events.reflection import Reflection, SelfReport
from worker.features.schema import CONTEXT, HISTORY, STATIC
from worker.pipeline import Pipeline
from worker.settings import Settings

START = datetime(2026, 10, 1, 8, tzinfo=UTC)
KINDS = ("valence", "arousal")
BASES = ("text", "Tm")
CLOSE = {"rel": 0, "abs": 1e-9}


def opened(folder, **gates):
    bundles.write(folder, gates=gates)
    settings = Settings(cache_dir=folder.parent / "cache", inference_threads=1, streams=1)
    return Pipeline.open(folder, settings)


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory):
    leads = Gate.constant(BASES, np.array([DROPPED, 0.0]), len(CONTEXT), kind="best")
    with opened(tmp_path_factory.mktemp("leads") / "tiny", valence=leads, arousal=leads) as it:
        yield it


@pytest.fixture(scope="module")
def before(tmp_path_factory):
    """A bundle from before there was such a base."""
    with opened(tmp_path_factory.mktemp("before") / "tiny") as it:
        yield it


def diary(*reports):
    return [
        Reflection(
            id=f"r-{n}",
            user_id="u",
            text=f"So tired of day {n}, but the evening was lovely.",
            created_at=START + timedelta(hours=9 * n),
            utc_offset_min=0,
            self_report=None if report is None else SelfReport(valence=report, arousal=1 - report),
        )
        for n, report in enumerate(reports)
    ]


def said(perception, kind):
    return float(perception.appraisal.trace.history[HISTORY.index(f"text_{kind}")])


@pytest.mark.parametrize("kind", KINDS)
def test_until_the_first_self_report_the_texts_own_blend_is_served(pipeline, kind):
    *rows, last = pipeline.perceive(diary(None, None, 0.9, None))
    for row in rows:  # alone, after a text, and with a report that is its own
        told = row.placement.provenance[kind]
        assert getattr(row.placement, kind) == said(row, kind)
        assert told["weights"] == {"text": 1.0}
        assert told["predictions"].keys() == {"text"}
    assert getattr(last.placement, kind) != said(last, kind)


@pytest.mark.parametrize("kind", KINDS)
def test_from_then_on_it_is_read_as_the_person_means_it(pipeline, kind):
    *_, last = pipeline.perceive(diary(0.9, 0.8, 0.9, None))
    *_, other = pipeline.perceive(diary(0.1, 0.2, 0.1, None))
    told = last.placement.provenance[kind]
    assert told["weights"] == {"text": 0.0, "Tm": 1.0}
    assert told["before"] == told["predictions"]["Tm"]
    assert getattr(last.placement, kind) != pytest.approx(getattr(other.placement, kind), **CLOSE)


@pytest.mark.parametrize("kind", KINDS)
def test_provenance_tells_what_the_texts_blend_is_made_of(pipeline, kind):
    for row in pipeline.perceive(diary(None, 0.2, None)):
        told = row.placement.provenance[kind]
        made = told["text"]
        assert made["predictions"].keys() == made["weights"].keys() == {"Lx", "Ng", "Eb"}
        whole = sum(made["weights"][base] * made["predictions"][base] for base in made["weights"])
        assert made["before"] == pytest.approx(whole, abs=2e-4)
        assert made["after"] == told["predictions"]["text"] == round(said(row, kind), 6)


def test_a_bundle_from_before_keeps_its_bases_and_reads_the_person_wherever_there_is_a_past(before):
    rows = before.perceive(diary(None, None))
    for kind in KINDS:
        assert "text" not in rows[1].placement.provenance[kind]
        assert rows[0].placement.provenance[kind]["weights"].keys() == {"Lx", "Ng", "Eb"}
        assert rows[1].placement.provenance[kind]["weights"].keys() == {"Lx", "Ng", "Eb", "Tm"}


def test_the_reading_is_learned_where_it_is_used_and_from_the_rest_next_to_nothing():
    rows = [replace(one, user_id=f"u-{n // 4}") for n, one in enumerate(diary(None, 0.2, None, 0.7) * 2)]
    known = np.full(8, 0.5)
    none, ones = np.empty((8, 0)), np.ones(8)
    goals = Targets(
        values=dict.fromkeys((*KINDS, "congruence", "willingness"), known),
        weight=dict.fromkeys((*KINDS, "congruence", "willingness"), ones),
        expressed=none, invoked=none, nuances={}, risk=none, dampened=ones, learned=ones > 0, native={},
    )  # fmt: skip
    laid = timelines.lay(rows, np.full((8, len(STATIC)), 0.5), history(rows), goals, np.arange(8) // 4)
    assert laid.evenly("valence").tolist() == [0, 1e-3, 1, 1] * 2 + [0, 1e-3, 1e-3, 1e-3] * 2


def history(rows):
    out = np.full((len(rows), len(HISTORY)), 0.5)
    for kind in KINDS:
        reports = [np.nan if one.self_report is None else getattr(one.self_report, kind) for one in rows]
        out[:, HISTORY.index(f"self_{kind}")] = reports
    return out
