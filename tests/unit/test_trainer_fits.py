"""Each fit finds what was planted, on its own loss, and exports what it found."""

import numpy as np
import pytest
from scipy.sparse import csr_matrix
from sklearn.linear_model import LogisticRegression, Ridge

from trainer import plan as plans
from trainer.blend import gate
from trainer.blend.material import Material
from trainer.calibrate import interval, maps, thresholds
from trainer.export import openvino
from trainer.fit import boosted, linear, sequence
from trainer.oof.stack import stack
from trainer.plan import Net, Trees
from worker.blend.gate import blend
from worker.features.schema import CONTEXT, SEQUENCE_LENGTH
from worker.features.sequence import NOW, STEPS, Sequences
from worker.inference.temporal_net import TemporalNet


@pytest.fixture
def rng():
    return np.random.default_rng(5)


def test_ridge_equals_scikit_learn_with_weights(rng):
    x, y, weight = rng.normal(size=(80, 6)), rng.normal(size=(80, 2)), rng.random(80) + 0.1
    heads = linear.ridge(x, y, weight, penalty=0.3)

    other = Ridge(alpha=0.3 * weight.sum()).fit(x, y, sample_weight=weight)

    np.testing.assert_allclose(heads(x), other.predict(x), atol=1e-9)


def test_squared_descent_reaches_the_exact_ridge_on_sparse_rows(rng):
    x = rng.normal(size=(60, 8)) * (rng.random((60, 8)) < 0.5)
    y, weight = x @ rng.normal(size=(8, 1)) + 1.0, np.ones(60)

    found = linear.descend(csr_matrix(x), y, weight, loss="squared", penalty=0.05, steps=500)

    np.testing.assert_allclose(found(x), linear.ridge(x, y, weight, penalty=0.05)(x), atol=5e-3)


def test_logistic_descent_equals_scikit_learn(rng):
    x = rng.normal(size=(200, 4))
    y = (x @ np.array([2.0, -1.0, 0.0, 0.5]) + rng.normal(size=200) > 0).astype(float)

    found = linear.descend(x, y[:, None], np.ones(200), loss="logistic", penalty=0.01, steps=500)

    other = LogisticRegression(C=1 / (0.01 * 200), tol=1e-8).fit(x, y)
    np.testing.assert_allclose(found(x)[:, 0], other.decision_function(x), atol=0.02)


def test_softmax_descent_learns_shares_from_distributions():
    x = np.repeat(np.eye(2), 50, axis=0)
    y = np.repeat([[0.7, 0.2, 0.1], [0.1, 0.1, 0.8]], 50, axis=0)

    scores = linear.descend(x, y, np.ones(100), loss="softmax", penalty=1e-6, steps=500)(x)
    shares = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)

    np.testing.assert_allclose(shares, y, atol=0.01)


def test_trees_of_the_same_rows_and_seed_are_the_same_text(rng):
    x, y = rng.normal(size=(300, 5)), rng.random(300)
    first, again = (
        boosted.fit(x, y, np.ones(300), plan=Trees(rounds=10, least_rows=10), seed=3) for _ in range(2)
    )

    assert first == again


def test_the_gate_learns_from_context_which_base_to_believe(rng):
    context = rng.choice([-1.0, 1.0], size=(600, 1))
    truth = rng.random(600)
    noise = rng.random((600, 2))
    good_first = context[:, 0] > 0
    columns = {
        "a": np.where(good_first, truth, noise[:, 0]),
        "b": np.where(good_first, noise[:, 1], truth),
    }

    material = Material.of(("a", "b"), columns, truth, np.ones(600), context)
    found = gate.linear(material, penalty=1e-3)
    weights = found.weights(np.array([[1.0], [-1.0]]), np.ones((2, 2), dtype=bool))

    assert weights[0, 0] > 0.95
    assert weights[1, 1] > 0.95


def test_a_base_that_is_missing_where_it_would_help_does_not_disturb_the_gate(rng):
    truth = rng.random(400)
    columns = {"a": truth + rng.normal(0, 0.2, 400), "b": np.where(rng.random(400) < 0.5, truth, np.nan)}

    material = Material.of(("a", "b"), columns, truth, np.ones(400), np.zeros((400, 1)))
    found = gate.linear(material, penalty=1e-3)
    stacked = np.stack([columns["a"], columns["b"]], axis=1)
    weights = found.weights(np.zeros((400, 1)), np.isfinite(stacked))

    here = np.isfinite(columns["b"])
    np.testing.assert_allclose(blend(weights, stacked)[here], truth[here], atol=0.05)


def test_the_isotonic_map_undoes_a_monotone_bend_without_ties(rng):
    score = rng.random(3000)
    target = np.clip(score**2 + rng.normal(0, 0.05, 3000), 0, 1)

    fitted = maps.value(score, target, np.ones(3000))
    mapped = fitted.apply(np.linspace(0.05, 0.95, 50))

    np.testing.assert_allclose(mapped, np.linspace(0.05, 0.95, 50) ** 2, atol=0.03)
    assert (np.diff(mapped) >= 0).all()


def test_few_rows_get_a_line_instead_of_a_staircase(rng):
    score = rng.random(50)

    assert maps.value(score, score, np.ones(50)).kind == "linear"


def test_temperature_cools_what_was_too_sure(rng):
    truth = rng.dirichlet(np.ones(4), size=500)
    too_sure = truth**3 / (truth**3).sum(axis=1, keepdims=True)

    fitted = maps.distribution(too_sure, truth, np.ones(500))

    assert fitted.slope == pytest.approx(3.0, rel=0.05)


def test_intervals_cover_four_of_five_also_where_the_spread_differs(rng):
    value = rng.random(6000)
    target = value + rng.normal(0, 1, 6000) * np.where(value > 0.5, 0.2, 0.02)
    fitted = interval.fit(value[:3000], target[:3000], np.ones(3000), None, lowest=-5, highest=5)

    ends = fitted.around(value[3000:], np.zeros(3000, dtype=np.intp))
    inside = (target[3000:] >= ends[:, 0]) & (target[3000:] <= ends[:, 1])

    for half in (value[3000:] < 0.5, value[3000:] >= 0.5):
        assert inside[half].mean() == pytest.approx(0.8, abs=0.04)


def test_stacked_values_of_a_fold_do_not_depend_on_its_own_labels(rng):
    fold = np.arange(400) % 4
    columns = {"a": rng.random(400), "b": rng.random(400)}
    target = 0.8 * columns["a"] + 0.2 * columns["b"]
    changed = np.where(fold == 0, 1 - target, target)
    context = rng.normal(size=(400, len(CONTEXT)))

    first, second = (
        stack(
            ("a", "b"),
            columns,
            goal,
            np.ones(400),
            context,
            fold,
            persons=np.arange(400) // 4,
            plan=plans.read("starter"),
            name="valence",
        )
        for goal in (target, changed)
    )

    np.testing.assert_array_equal(first.before[fold == 0], second.before[fold == 0])
    assert (first.before[fold == 1] != second.before[fold == 1]).any()


def test_an_unsure_row_names_no_core_and_a_neutral_one_neither():
    mass = np.array([[0.5, 0.1, 0.1, 0.1, 0.1, 0.0, 0.1], [0.15, 0.15, 0.15, 0.15, 0.1, 0.1, 0.2]])
    neutral = np.array([[0.3, 0.0, 0.0, 0.0, 0.0, 0.0, 0.7]])

    assert thresholds.named(mass, 0.3, 0.5).tolist() == [0, -1]
    assert thresholds.named(neutral, 0.1, 0.5).tolist() == [-1]


def test_the_exported_net_gives_what_the_fitted_one_does_and_learned_the_last_step(rng, tmp_path):
    steps = rng.normal(size=(600, SEQUENCE_LENGTH, len(STEPS))).astype(np.float32)
    mask = np.ones((600, SEQUENCE_LENGTH), dtype=np.float32)
    mask[:100, :4] = 0
    sequences = Sequences(steps=steps, mask=mask, now=np.zeros((600, len(NOW)), dtype=np.float32))
    target = np.full((600, 3), np.nan)
    target[:, 0] = 1 / (1 + np.exp(-steps[:, -1, 0]))

    net = sequence.fit_all(sequences, target, np.ones((600, 3)), plan=Net(epochs=15), seed=2)
    openvino.export(net, tmp_path / "temporal.xml")
    served = TemporalNet.open(tmp_path / "temporal.xml", plan=("CPU",), cache_dir=tmp_path)
    try:
        predicted = served.run(sequences).values
    finally:
        served.close()

    np.testing.assert_allclose(predicted, sequence.predict(net, sequences), atol=1e-5)
    for recurrent_then_attentive in (0, 3):
        assert np.corrcoef(predicted[:, recurrent_then_attentive], target[:, 0])[0, 1] > 0.7


def test_a_column_that_varies_by_rounding_only_carries_nothing():
    rng = np.random.default_rng(0)
    features = rng.normal(size=(200, 2)) * [1.0, 8e-9] + [0.0, 0.02]
    _, scale = linear.standardise(features, np.ones(200))
    assert scale[0] == pytest.approx(1.0, abs=0.2)
    assert scale[1] == 1.0
