"""Gate, blend, calibrators and intervals on numbers small enough to check by hand."""

import json

import lightgbm as lgb
import numpy as np
import pytest
from sklearn.isotonic import IsotonicRegression

from worker.blend.gate import DROPPED, Gate, blend
from worker.blend.stack import combine
from worker.calibrate import slices
from worker.calibrate.interval import BEYOND, Interval
from worker.calibrate.maps import IDENTITY, Calibrator
from worker.features.schema import STATIC


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


def interval(edges, below, above):
    return Interval(
        edges=np.array(edges), below=np.array(below), above=np.array(above), lowest=0.0, highest=1.0
    )


def test_an_interval_holds_its_value_and_stays_in_range():
    one = interval([[0.5]], [[0.1, 0.2]], [[0.3, 0.4]])
    ends = one.around(np.array([0.05, 0.8]), np.array([5, 0]))
    assert ends == pytest.approx(np.array([[0.0, 0.35], [0.6, 1.0]]))


def test_an_interval_takes_the_bins_of_the_rows_own_slice():
    two = interval([[0.5], [BEYOND]], [[0.1, 0.2], [0.3, 0.3]], [[0.1, 0.2], [0.0, 0.0]])
    ends = two.around(np.array([0.6, 0.6, 0.5]), np.array([0, 1, 0]))
    assert ends == pytest.approx(np.array([[0.4, 0.8], [0.3, 0.6], [0.3, 0.7]]))


def test_an_interval_written_before_there_were_slices_is_one_for_all():
    old = {"edges": [0.5], "below": [0.1, 0.2], "above": [0.3, 0.4], "lowest": 0.0, "highest": 1.0}
    ends = Interval.from_json(old).around(np.array([0.2, 0.8]), np.array([0, 3]))
    assert ends == pytest.approx(np.array([[0.1, 0.5], [0.6, 1.0]]))


@pytest.mark.parametrize(
    ("words", "hinglish", "name"),
    [
        (0, 0.0, "short, English"),
        (12, 0.1, "short, English"),
        (13, 0.0, "medium, English"),
        (120, 0.15, "medium, Hindi or mixed"),
        (121, 1.0, "long, Hindi or mixed"),
    ],
)
def test_a_slice_is_told_by_words_and_share_of_hindi(words, hinglish, name):
    static = np.zeros((1, len(STATIC)))
    static[0, STATIC.index("log_words")] = np.log1p(words)
    static[0, STATIC.index("hinglish")] = hinglish
    assert slices.name(int(slices.number(static)[0])) == name


def test_a_dropped_base_counts_only_where_the_others_are_missing():
    only = Gate.constant(("Lx", "Tm"), np.array([DROPPED, 0.0]), 1, kind="best")
    columns = {"Lx": np.array([0.8, 0.8]), "Tm": np.array([0.4, np.nan])}
    kept = Gate.from_json(json.loads(json.dumps(only.to_json())))
    assert combine(kept, IDENTITY, columns, np.zeros((2, 1))).after == pytest.approx([0.4, 0.8])


def test_a_gate_written_before_there_were_kinds_is_linear():
    old = {name: value for name, value in gate([[0.0]]).to_json().items() if name not in ("kind", "trees")}
    assert Gate.from_json(old).kind == "linear"


def test_a_gate_is_refused_whose_trees_are_missing_or_not_its_own():
    data = {**gate([[0.0]]).to_json(), "trees": True}
    with pytest.raises(ValueError, match="belong together"):
        Gate.from_json(data)
    values = lgb.train(
        {"objective": "regression", "verbose": -1, "num_threads": 1},
        lgb.Dataset(np.arange(80.0)[:, None], np.arange(80.0)),
        num_boost_round=1,
    )
    with pytest.raises(ValueError, match="one score a base"):
        Gate.from_json(data, values.model_to_string())


def test_everything_survives_its_json():
    parts = [
        (gate([[0.1, -0.2]]), Gate),
        (Calibrator(kind="isotonic", x=np.array([0.0, 1.0]), y=np.array([0.2, 0.9])), Calibrator),
        (interval([[0.5]], [[1.0, 1.0]], [[1.0, 1.0]]), Interval),
    ]
    for part, kind in parts:
        assert kind.from_json(json.loads(json.dumps(part.to_json()))).to_json() == part.to_json()
