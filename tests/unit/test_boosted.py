"""Our evaluation of trees against LightGBM's own, and what is refused."""

import lightgbm as lgb
import numpy as np
import pytest

from worker.models.boosted import Boosted, TreesUnreadable


def fitted(**options):
    generator = np.random.default_rng(8)
    rows = generator.normal(size=(600, 7)).round(2)
    classes = options.get("num_class", 1)
    label = generator.integers(0, classes, 600) if classes > 1 else rows[:, 0] ** 2 + rows[:, 1]
    rounds = options.pop("rounds", 40)
    options = {"objective": "regression", "verbose": -1, "num_threads": 1, "min_data_in_leaf": 5, **options}
    return lgb.train(options, lgb.Dataset(rows, label), num_boost_round=rounds), rows


@pytest.mark.parametrize(
    "options",
    [
        {"num_leaves": 15},
        {"num_leaves": 64, "learning_rate": 0.3},
        {"num_leaves": 2, "rounds": 1},
        {"objective": "multiclass", "num_class": 7, "num_leaves": 8},
        {"min_data_in_leaf": 10_000},
    ],
    ids=["values", "deep", "one stump", "classes", "no split at all"],
)
def test_predictions_equal_lightgbm(options):
    booster, rows = fitted(**options)
    ours = Boosted.parse(booster.model_to_string()).predict(rows)
    np.testing.assert_allclose(ours, booster.predict(rows), rtol=0, atol=1e-12)


def test_scores_of_an_objective_of_our_own_stay_raw():
    rows = np.random.default_rng(4).normal(size=(500, 3))

    def objective(scores, _):
        return scores - np.stack([rows[:, 0], rows[:, 1] ** 2], axis=1), np.ones((500, 2))

    options = {"objective": objective, "num_class": 2, "num_leaves": 6, "verbose": -1, "num_threads": 1}
    booster = lgb.train(options, lgb.Dataset(rows, np.zeros(500)), num_boost_round=9)
    ours = Boosted.parse(booster.model_to_string())
    assert ours.raw
    np.testing.assert_allclose(ours.predict(rows), booster.predict(rows), rtol=0, atol=1e-12)


def test_a_value_on_the_threshold_goes_left_as_in_lightgbm():
    booster, rows = fitted(num_leaves=31)
    trees = Boosted.parse(booster.model_to_string())
    splits = np.flatnonzero(np.abs(trees.threshold) > 1e-30)  # LightGBM takes what is nearer to 0 for 0
    probes = np.repeat(rows[:1], len(splits), axis=0)
    probes[np.arange(len(splits)), trees.feature[splits]] = trees.threshold[splits]
    np.testing.assert_allclose(trees.predict(probes), booster.predict(probes), rtol=0, atol=1e-12)


def test_a_row_does_not_depend_on_its_batch():
    booster, rows = fitted(num_leaves=15)
    trees = Boosted.parse(booster.model_to_string())
    assert np.array_equal(trees.predict(rows), np.concatenate([trees.predict(row[None]) for row in rows]))


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: "not trees",
        lambda text: text.replace("objective=regression", "objective=poisson"),
        lambda text: text.replace("left_child=1", "left_child=x", 1),
        lambda text: text.replace("leaf_value=", "leaf_words=", 1),
        lambda text: text.replace("decision_type=2", "decision_type=1", 1),
        lambda text: text.replace("right_child=", "right_child=0 ", 1),
        lambda text: fitted(num_leaves=65)[0].model_to_string(),
    ],
    ids=[
        "prose",
        "objective",
        "a word for a number",
        "no leaves",
        "categorical",
        "a loop",
        "too many leaves",
    ],
)
def test_what_is_not_such_a_model_is_refused_by_name(tmp_path, damage):
    booster, _ = fitted(num_leaves=8)
    path = tmp_path / "valence.txt"
    path.write_text(damage(booster.model_to_string()))
    with pytest.raises(TreesUnreadable, match=r"valence\.txt"):
        Boosted.load(path)
