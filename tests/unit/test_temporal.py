"""Temporal features by hand on small timelines, and the strict cut at `as_of`."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from worker.events.timeline import TIMELINE_LIMIT, Moment, Timeline
from worker.features import sequence, temporal
from worker.features.schema import HISTORY, STATIC, TEMPORAL

NOW = datetime(2026, 11, 1, 12, tzinfo=UTC)


def moment(hours_ago, valence, *, self_valence=np.nan, name="a"):
    history = np.full(len(HISTORY), 0.5)
    history[HISTORY.index("text_valence")] = valence
    history[HISTORY.index("self_valence")] = self_valence
    history[HISTORY.index("self_arousal")] = self_valence
    return Moment(id=name, created_at=NOW - timedelta(hours=hours_ago), history=history)


def features(moments):
    history, ages = temporal.pad([Timeline.cut(moments, NOW, len(HISTORY))])
    row = temporal.extract(history, ages, np.zeros((1, len(STATIC))))[0]
    return dict(zip(TEMPORAL, row, strict=True))


def test_a_timeline_holds_only_what_lies_strictly_before():
    moments = [moment(hours, 0.1) for hours in (-5, 0, 1, 2)]
    assert len(Timeline.cut(moments, NOW, len(HISTORY)).times) == 2


def test_a_timeline_keeps_the_latest_in_order_of_time_then_id():
    moments = [moment(1 + n // 2, n / 200, name=f"{n:03d}") for n in range(TIMELINE_LIMIT + 20)]
    timeline = Timeline.cut(moments[::-1], NOW, len(HISTORY))
    assert len(timeline.times) == TIMELINE_LIMIT
    assert (np.diff(timeline.times) >= 0).all()
    assert timeline.history[-1, 0] == pytest.approx(1 / 200)


def test_an_empty_history_is_neutral_and_free_of_nan():
    row = features([])
    assert row["text_valence.last"] == row["text_valence.mean"] == 0.5
    assert row["log_count"] == row["text_valence.shift"] == row["bias_valence"] == 0
    assert np.isfinite(list(row.values())).all()


def test_ema_weighs_the_newest_most_and_starts_at_the_oldest():
    row = features([moment(3, 0.2), moment(2, 0.4), moment(1, 0.9)])
    assert row["text_valence.ema_3"] == pytest.approx(0.3 * 0.9 + 0.7 * (0.3 * 0.4 + 0.7 * 0.2))
    assert row["text_valence.ema_7"] == pytest.approx(0.7 * 0.9 + 0.3 * (0.7 * 0.4 + 0.3 * 0.2))
    assert row["text_valence.last"] == 0.9


def test_the_mean_is_shrunken_towards_neutral():
    row = features([moment(3, 0.2), moment(2, 0.4)])
    assert row["text_valence.mean"] == pytest.approx(
        (0.6 + temporal.SHRINKAGE * 0.5) / (2 + temporal.SHRINKAGE)
    )


def test_volatility_and_density_look_back_seven_days():
    row = features([moment(24 * 30, 0.0), moment(24 * 6, 0.2), moment(24, 0.6)])
    assert row["text_valence.volatility_7d"] == pytest.approx(np.std([0.2, 0.6], ddof=1))
    assert row["density_7d"] == pytest.approx(2 / 7)


def test_shift_is_positive_when_the_recent_days_are_better():
    assert features([moment(24 * 20, 0.1), moment(1, 0.8)])["text_valence.shift"] > 0.2


def test_missing_self_reports_are_left_out_not_counted_as_zero():
    row = features([moment(3, 0.2, self_valence=0.8), moment(1, 0.4)])
    assert row["self_valence.last"] == 0.8
    assert row["log_self_count"] == pytest.approx(np.log1p(1))
    assert row["bias_valence"] == pytest.approx(0.6 / (1 + temporal.SHRINKAGE))


def test_a_row_does_not_depend_on_its_batch():
    generator = np.random.default_rng(3)
    lines = [
        Timeline.cut([moment(1 + h, generator.random()) for h in range(n)], NOW, len(HISTORY))
        for n in range(0, 70, 7)
    ]
    static = generator.random((len(lines), len(STATIC)))
    together = temporal.extract(*temporal.pad(lines), static)
    alone = [temporal.extract(*temporal.pad([line]), static[[n]])[0] for n, line in enumerate(lines)]
    assert np.array_equal(together, np.array(alone))


def test_sequences_are_padded_before_the_oldest_and_masked():
    history, ages = temporal.pad([Timeline.cut([moment(2, 0.9, self_valence=0.7)], NOW, len(HISTORY))])
    padded = sequence.extract(history, ages, np.zeros((1, len(STATIC))))
    assert padded.mask[0].tolist() == [0.0] * 9 + [1.0]
    assert not padded.steps[0, :9].any()
    assert padded.steps[0, 9, HISTORY.index("text_valence")] == pytest.approx(0.4)
    assert padded.steps[0, 9, sequence.STEPS.index("has_self")] == 1.0
