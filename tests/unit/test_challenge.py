"""What counts as worse, on which rows two bundles may be compared, and what is said then."""

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import numpy as np
import pytest

from trainer.data.labelled import OPERATOR, Labelled
from trainer.evaluate.bootstrap import Estimate
from trainer.evaluate.figures import Figure
from trainer.evaluate.slices import Slice
from trainer.promote import challenge
from trainer.promote.challenge import Verdict
from trainer.promote.policy import Gate, Policy
from trainer.splits import record
from worker.events.reflection import Reflection

START = datetime(2026, 1, 1, tzinfo=UTC)
RMSE = Gate(variable="valence", metric="RMSE", better="lower", tolerance=0.01)
COVERAGE = Gate(variable="valence", metric="coverage", better="near 0.80", tolerance=0.03, part_rows=700)
FORECAST = Gate(variable="expected_valence", metric="RMSE", better="lower", tolerance=0.01, part_rows=None)
AUC = Gate(variable="abuse", metric="AUC", better="higher", tolerance=0.02)


def figure(gate, value, *, spread=0.0, rows=500, people=50):
    """A figure whose resamples lie up to `spread` around it."""
    draws = value + spread * np.linspace(-1, 1, 301)
    estimate = Estimate(value=value, draws=draws, rows=rows, people=people)
    return Figure(
        by="all", slice="all", variable=gate.variable, metric=gate.metric, regime="", estimate=estimate
    )


def judged(gate, before, after, *, part="all", spread=0.0, **size):
    """The comparison of two figures: the champion's is certain."""
    name = (gate.variable, gate.metric)
    found = challenge._compared(
        Slice(by="all", name=part, rows=np.arange(1)),
        {name: figure(gate, before, **size)},
        {name: figure(gate, after, spread=spread, **size)},
        Policy(gates=(gate,)),
    )
    return next(found)


@pytest.mark.parametrize(
    ("gate", "before", "after", "more", "worse"),
    [
        (RMSE, 0.10, 0.15, {}, True),
        (RMSE, 0.10, 0.05, {}, False),
        (RMSE, 0.10, 0.109, {}, False),  # within the tolerance, however certain
        (RMSE, 0.10, 0.15, {"spread": 0.06}, False),  # beyond it, and perhaps chance
        (RMSE, 0.10, 0.115, {"part": "short"}, False),  # twice the tolerance on a part
        (RMSE, 0.10, 0.125, {"part": "short"}, True),
        (RMSE, 0.10, 0.30, {"rows": 29}, False),
        (RMSE, 0.10, 0.30, {"people": 4}, False),
        (RMSE, 0.10, float("nan"), {}, True),  # answers that are all alike
        (AUC, 0.80, 0.70, {}, True),
        (AUC, 0.70, 0.80, {}, False),
        (COVERAGE, 0.80, 0.70, {}, True),
        (COVERAGE, 0.80, 0.90, {}, True),
        (COVERAGE, 0.70, 0.88, {}, False),  # on the other side, and nearer
        (COVERAGE, 0.80, 0.50, {"part": "short", "rows": 600}, False),
        (COVERAGE, 0.80, 0.50, {"part": "short", "rows": 700}, True),
        (FORECAST, 0.10, 0.30, {}, True),
        (FORECAST, 0.10, 0.30, {"part": "short"}, False),
    ],
)
def test_worse_is_more_than_the_tolerance_and_more_than_chance(gate, before, after, more, worse):
    assert judged(gate, before, after, **more).worse == worse


def test_a_reason_names_the_figure_both_values_the_interval_and_the_rows():
    told = judged(RMSE, 0.10, 0.15, part="short", rows=123, people=45).told
    assert told == (
        "valence RMSE on short rows: 0.100 now, 0.150 with the challenger (123 rows, 45 people; gain -0.050,"
        " 95 % -0.050 to -0.050)"
    )


def decided(*comparisons, live=()):
    verdict = Verdict(
        decision="not enough data", better=False, champion="a", challenger="b", reasons=(),
        comparisons=comparisons,
    )  # fmt: skip
    return challenge._decided(verdict, live, Policy(gates=(RMSE, AUC)))


def test_one_worse_figure_refuses_whatever_the_others_are():
    better = judged(RMSE, 0.10, 0.05)
    assert decided(better).decision == "promote"
    assert decided(better).better
    refused = decided(better, judged(AUC, 0.8, 0.6, part="short"), judged(AUC, 0.8, 0.7))
    assert refused.decision == "refuse"
    assert [one.split(":")[0] for one in refused.reasons] == ["abuse AUC on short rows", "abuse AUC"]
    assert decided(better, live=("live: it misses people at risk",)).reasons == (
        "live: it misses people at risk",
    )


def test_not_proven_better_is_said_and_without_the_primary_figure_nothing_is_promoted():
    same = decided(judged(RMSE, 0.10, 0.10, spread=0.01))
    assert (same.decision, same.better) == ("promote", False)
    assert "not proven better" in same.reasons[0]
    assert "too few Hinglish rows to judge them apart" in same.remarks
    assert decided(judged(AUC, 0.7, 0.8)).decision == "not enough data"


def row(number, person, *, source=OPERATOR, text=None, day=0):
    words = np.random.default_rng(number).choice([*"abcdefghij"], (9, 6))
    reflection = Reflection(
        id=f"r{number}",
        user_id=person,
        text=text or " ".join("".join(one) for one in words),
        created_at=START + timedelta(days=day),
        utc_offset_min=0,
        consent_training=True,
    )
    return Labelled(reflection=reflection, labels={"valence": 0.5}, source=source)


@pytest.fixture
def bundle(tmp_path):
    """Trained on the first ten days of ann and ben."""
    seen = [
        row(n, person, day=n) for person, start in (("ann", 0), ("ben", 5)) for n in range(start, start + 5)
    ]
    count = np.arange(len(seen))
    kept = record.of(
        seen, part=np.full(len(seen), record.TRAIN), fold=count % 3, cluster=count, group=count,
        learned=np.ones(len(seen), dtype=bool), shared=np.zeros(len(seen), dtype=bool),
    )  # fmt: skip
    (tmp_path / record.NAME).write_bytes(kept.to_bytes())
    return SimpleNamespace(folder=tmp_path, manifest=SimpleNamespace(data=()))


def test_reserved_rows_are_strangers_and_recent_ones_newer_than_all_it_learned_from(bundle):
    rows = [
        row(50, "zoe", day=3),  # nobody it knows
        row(51, "ann", day=3),  # known, and no newer
        row(52, "ann", day=30),  # known, and newer
        row(53, "ann", day=30, text=row(2, "ann").reflection.text),  # a text it has learned from
        row(54, "ann", day=30, source="emobank"),  # newer by chance: a corpus has no now
    ]
    reserved, recent = challenge._unseen(bundle, rows)
    assert reserved.tolist() == [True, False, False, False, False]
    assert recent.tolist() == [False, False, True, False, False]


def test_without_a_record_the_sources_it_names_are_left_out(tmp_path):
    bundle = SimpleNamespace(
        folder=tmp_path, manifest=SimpleNamespace(data=(SimpleNamespace(name="emobank"),))
    )
    reserved, recent = challenge._unseen(bundle, [row(1, "ann", source="emobank"), row(2, "ann")])
    assert reserved.tolist() == [False, True]
    assert not recent.any()


def test_too_many_rows_are_thinned_by_whole_people():
    rows = [row(number, f"p{number % 40}") for number in range(400)]
    chosen = challenge._drawn(rows, np.ones(400, dtype=bool), 100)
    people = {one.reflection.user_id for one, kept in zip(rows, chosen, strict=True) if kept}
    assert chosen.sum() == 10 * len(people)
    assert 100 <= chosen.sum() <= 110
    assert challenge._drawn(rows, np.ones(400, dtype=bool), 400).all()
