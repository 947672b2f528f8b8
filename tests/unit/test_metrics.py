"""Every metric against a hand-worked case, and against scikit-learn where that has it."""

from __future__ import annotations

import math

import numpy as np
import pytest
from sklearn import metrics as reference

from trainer.evaluate import metrics

RNG = np.random.default_rng(7)
TRUTH = RNG.random(400)
PREDICTED = np.round(0.5 * TRUTH + 0.5 * RNG.random(400), 1)  # rounded: many ties
OUTCOME = (TRUTH > 0.7).astype(float)


def test_auc_and_average_precision_count_ties_as_scikit_learn_does() -> None:
    assert metrics.auc(OUTCOME, PREDICTED) == pytest.approx(reference.roc_auc_score(OUTCOME, PREDICTED))
    assert metrics.average_precision(OUTCOME, PREDICTED) == pytest.approx(
        reference.average_precision_score(OUTCOME, PREDICTED)
    )


def test_a_score_that_says_nothing_has_auc_one_half_and_the_base_rate_as_precision() -> None:
    flat = np.zeros(400)
    assert metrics.auc(OUTCOME, flat) == 0.5
    assert metrics.average_precision(OUTCOME, flat) == pytest.approx(OUTCOME.mean())


def test_correlations_and_error_on_a_worked_case() -> None:
    assert metrics.pearson([0, 1, 2], [1, 3, 2]) == pytest.approx(0.5)
    assert metrics.spearman([0, 1, 2, 3], [1, 10, 100, 1000]) == pytest.approx(1.0)
    assert metrics.rmse([0, 0], [3, 4]) == pytest.approx(math.sqrt(12.5))


@pytest.mark.parametrize(
    "value",
    [
        metrics.pearson([], []),
        metrics.pearson([1.0], [1.0]),
        metrics.pearson([1.0, 1.0], [0.0, 1.0]),
        metrics.rmse([], []),
        metrics.auc([1, 1], [0.1, 0.2]),
        metrics.average_precision([0, 0], [0.1, 0.2]),
        metrics.macro_f1([], []),
        metrics.hierarchical_f1([], []),
        metrics.ece([], []),
        metrics.quantile_ece([], {0.1: []}),
        metrics.coverage([], [], []),
        metrics.composite_r([], [], []),
    ],
)
def test_a_metric_of_too_few_rows_is_nan_so_no_gate_can_pass_on_nothing(value: float) -> None:
    assert math.isnan(value)


def test_vectors_of_different_length_are_a_mistake_and_no_number() -> None:
    with pytest.raises(ValueError, match="one length"):
        metrics.rmse([1.0, 2.0], [1.0])


def test_macro_f1_is_scikit_learns_and_a_listed_class_that_nobody_names_counts_as_zero() -> None:
    truth = ["Sad", "Sad", "Happy", "Angry"]
    predicted = ["Sad", "Happy", "Happy", "Sad"]
    assert metrics.macro_f1(truth, predicted) == pytest.approx(
        reference.f1_score(truth, predicted, average="macro")
    )
    with_one_more = metrics.macro_f1(truth, predicted, ["Sad", "Happy", "Angry", "Fearful"])
    assert with_one_more == pytest.approx(metrics.macro_f1(truth, predicted) * 3 / 4)


@pytest.mark.parametrize(
    ("truth", "predicted", "expected"),
    [
        ([[["Sad", "Lonely"]]], [[["Sad", "Lonely"]]], 1.0),
        ([[["Sad", "Lonely"]]], [[["Sad", "Hurt"]]], 0.5),  # the core of two nodes is right
        ([[["Sad", "Lonely"]]], [[["Happy", "Joyful"]]], 0.0),
        ([[["Sad", "Lonely"]]], [[["Sad"]]], 2 / 3),  # precision 1, recall 1/2
        ([[["Sad", "Lonely"]]], [[]], 0.0),  # abstaining costs recall
        ([[["Sad"]], []], [[["Sad"]], [["Happy"]]], 2 / 3),  # an emotion where there is none costs precision
        ([[["Sad"], ["Angry"]]], [[["Angry"]]], 2 / 3),  # several true emotions: any of them is right
    ],
)
def test_hierarchical_f1_rewards_the_right_core_of_a_wrong_nuance(
    truth: list[list[list[str]]], predicted: list[list[list[str]]], expected: float
) -> None:
    assert metrics.hierarchical_f1(truth, predicted) == pytest.approx(expected)


def test_ece_is_small_for_honest_probabilities_and_the_shift_for_shifted_ones() -> None:
    rng = np.random.default_rng(1)
    honest = rng.random(60_000) * 0.5
    outcome = (rng.random(60_000) < honest).astype(float)
    assert metrics.ece(outcome, honest) < 0.01
    assert metrics.ece(outcome, honest + 0.3) == pytest.approx(0.3, abs=0.01)


def test_ece_bins_hold_equally_many_rows() -> None:
    # 30 rows, 15 bins of 2: each bin is off by exactly its own probability's distance from 1/2.
    probability = np.repeat(np.linspace(0.1, 0.9, 15), 2)
    outcome = np.tile([0.0, 1.0], 15)
    assert metrics.ece(outcome, probability) == pytest.approx(np.abs(probability - 0.5).mean())


def test_quantile_ece_and_coverage_of_a_right_and_of_a_narrow_interval() -> None:
    rng = np.random.default_rng(2)
    centre = rng.random(60_000)
    truth = centre + rng.normal(size=60_000) * 0.1
    z = 1.2815515655446004  # the normal's .9 quantile
    right = {0.1: centre - 0.1 * z, 0.9: centre + 0.1 * z}
    assert metrics.coverage(truth, right[0.1], right[0.9]) == pytest.approx(0.8, abs=0.01)
    assert metrics.quantile_ece(truth, right) < 0.01
    narrow = {level: (bound + centre) / 2 for level, bound in right.items()}
    assert metrics.coverage(truth, narrow[0.1], narrow[0.9]) < 0.55
    assert metrics.quantile_ece(truth, narrow) > 0.1


def test_a_quantile_on_which_truths_fall_is_right_when_its_level_lies_in_between() -> None:
    truth = np.array([0.0] * 30 + [0.5] * 70)  # a scale of three steps; 30 % lie on the end of the range
    assert metrics.quantile_ece(truth, {0.1: np.zeros(100)}, bins=1) == 0.0
    assert metrics.quantile_ece(truth, {0.1: np.full(100, 0.2)}, bins=1) == pytest.approx(0.2)
    assert metrics.quantile_ece(truth, {0.9: np.full(100, 0.2)}, bins=1) == pytest.approx(0.6)


def test_composite_r_joins_the_persons_own_correlations_and_that_of_their_means() -> None:
    # two persons: own r are 1 and -1 (mean 0); their means rise together (r = 1, clipped)
    truth = [0.0, 0.2, 0.8, 1.0]
    predicted = [0.1, 0.3, 0.9, 0.7]
    persons = ["a", "a", "b", "b"]
    result = metrics.composite(truth, predicted, persons)
    assert result.within == pytest.approx(0.0, abs=1e-12)
    assert result.between == pytest.approx(1.0)
    assert result.value == pytest.approx(math.tanh(math.atanh(1 - 1e-9) / 2))


def test_composite_r_skips_persons_whose_truth_is_flat_and_counts_a_flat_prediction_as_zero() -> None:
    truth = [0.0, 1.0, 0.5, 0.5, 0.2, 0.4, 0.9]
    predicted = [0.0, 1.0, 0.1, 0.9, 0.3, 0.3, 0.8]
    persons = [1, 1, 2, 2, 3, 3, 4]  # 1: r 1; 2: flat truth; 3: flat prediction; 4: one row
    assert metrics.composite(truth, predicted, persons).within == pytest.approx(0.5)


def test_composite_r_is_the_mean_of_plain_pearsons_on_random_data() -> None:
    persons = RNG.integers(12, size=400)
    own = [metrics.pearson(TRUTH[persons == k], PREDICTED[persons == k]) for k in range(12)]
    assert metrics.composite(TRUTH, PREDICTED, persons).within == pytest.approx(np.mean(own))


def test_paired_bootstrap_sees_a_real_difference_and_none_between_equals() -> None:
    persons = np.repeat(np.arange(40), 10)
    noisy = TRUTH + RNG.normal(size=400) * 0.3
    close = TRUTH + RNG.normal(size=400) * 0.1

    def negative_rmse(truth, predicted, _persons) -> float:  # type: ignore[no-untyped-def]
        return -metrics.rmse(truth, predicted)

    verdict = metrics.paired_bootstrap(
        negative_rmse, TRUTH, noisy, close, persons, np.random.default_rng(0), samples=200
    )
    assert 0 < verdict.low < verdict.difference < verdict.high
    assert verdict.better == 1.0
    same = metrics.paired_bootstrap(
        metrics.composite_r, TRUTH, noisy, noisy, persons, np.random.default_rng(0), samples=20
    )
    assert (same.difference, same.low, same.high, same.better) == (0.0, 0.0, 0.0, 0.0)


def test_the_bootstrap_draws_persons_and_not_rows() -> None:
    # One person holds all the error of `first`: resampling persons leaves it out about a third of the time.
    persons = np.repeat(np.arange(10), 10)
    truth = np.zeros(100)
    first = np.where(persons == 0, 1.0, 0.0)
    verdict = metrics.paired_bootstrap(
        lambda t, p, _: -metrics.rmse(t, p),
        truth,
        first,
        truth,
        persons,
        np.random.default_rng(0),
        samples=500,
    )
    assert verdict.better == pytest.approx(1 - 0.9**10, abs=0.07)
