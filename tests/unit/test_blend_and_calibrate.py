"""Gate, blend, calibrators and intervals on numbers small enough to check by hand."""

import json

import numpy as np
import pytest
from sklearn.isotonic import IsotonicRegression

from worker.blend.gate import Gate, blend
from worker.blend.stack import combine
from worker.calibrate.interval import Interval
from worker.calibrate.maps import IDENTITY, Calibrator


def gate(slopes, bias=(0.0, 0.0)):
    slopes = np.array(slopes, dtype=float)
    width = len(slopes)
    return Gate(
        bases=("Lx", "Tm"), slopes=slopes, bias=np.array(bias), mean=np.zeros(width), scale=np.ones(width)
    )


def test_weights_sum_to_one_and_follow_the_context():
    weights = gate([[0.0, 2.0]]).weights(np.array([[-1.0], [0.0], [1.0]]), np.ones((3, 2), dtype=bool))
    assert np.allclose(weights.sum(axis=1), 1.0)
    assert weights[1].tolist() == [0.5, 0.5]
    assert weights[2, 1] == pytest.approx(1 / (1 + np.exp(-2)))


def test_a_missing_base_is_masked_never_filled_with_zero():
    columns = {"Lx": np.array([0.8, 0.8]), "Tm": np.array([0.4, np.nan])}
    result = combine(gate([[0.0, 0.0]]), IDENTITY, columns, np.zeros((2, 1)))
    assert result.after == pytest.approx([0.6, 0.8])
    assert result.provenance()[1]["weights"] == {"Lx": 1.0}


def test_a_base_absent_from_the_columns_is_masked_in_every_row():
    result = combine(gate([[0.0, 0.0]]), IDENTITY, {"Lx": np.array([0.3])}, np.zeros((1, 1)))
    assert result.after == pytest.approx([0.3])


def test_distributions_are_blended_class_by_class():
    both = np.array([[[0.2, 0.8], [0.6, 0.4]]])
    assert blend(np.array([[0.25, 0.75]]), both)[0] == pytest.approx([0.5, 0.5])


def test_isotonic_equals_scikit_learn_also_outside_its_range():
    generator = np.random.default_rng(2)
    x = generator.random(300)
    fitted = IsotonicRegression(out_of_bounds="clip").fit(x, x**2 + generator.normal(0, 0.2, 300))
    ours = Calibrator(kind="isotonic", x=fitted.X_thresholds_, y=fitted.y_thresholds_)
    probe = np.linspace(-0.5, 1.5, 501)
    assert np.array_equal(ours.apply(probe), fitted.predict(probe))


@pytest.mark.parametrize(
    ("calibrator", "score", "value"),
    [
        (
            Calibrator(kind="linear", x=np.zeros(0), y=np.array([0.0, 1.0]), slope=2.0, intercept=-0.5),
            0.5,
            0.5,
        ),
        (
            Calibrator(kind="linear", x=np.zeros(0), y=np.array([0.0, 1.0]), slope=2.0, intercept=-0.5),
            0.9,
            1.0,
        ),
        (Calibrator(kind="platt", x=np.zeros(0), y=np.zeros(0), slope=1.0, intercept=0.0), 0.0, 0.5),
        (IDENTITY, 0.3, 0.3),
    ],
)
def test_each_map_gives_its_formula(calibrator, score, value):
    assert calibrator.apply(np.array([score]))[0] == pytest.approx(value)


def test_temperature_flattens_a_distribution_and_keeps_its_sum():
    hot = Calibrator(kind="temperature", x=np.zeros(0), y=np.zeros(0), slope=2.0)
    flat = hot.apply(np.array([[0.9, 0.1]]))
    assert flat.sum() == pytest.approx(1.0)
    assert flat[0] == pytest.approx(np.array([3.0, 1.0]) / 4.0)


def test_an_interval_holds_its_value_and_stays_in_range():
    interval = Interval(
        edges=np.array([0.5]), below=np.array([0.1, 0.2]), above=np.array([0.3, 0.4]), lowest=0.0, highest=1.0
    )
    assert interval.around(np.array([0.05, 0.8])) == pytest.approx(np.array([[0.0, 0.35], [0.6, 1.0]]))


def test_everything_survives_its_json():
    parts = [
        (gate([[0.1, -0.2]]), Gate),
        (Calibrator(kind="isotonic", x=np.array([0.0, 1.0]), y=np.array([0.2, 0.9])), Calibrator),
        (
            Interval(edges=np.array([0.5]), below=np.ones(2), above=np.ones(2), lowest=-1.0, highest=1.0),
            Interval,
        ),
    ]
    for part, kind in parts:
        assert kind.from_json(json.loads(json.dumps(part.to_json()))).to_json() == part.to_json()
