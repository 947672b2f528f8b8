"""Studies search where the plan says, go on after a kill as if nothing had happened, and change nothing that
is not better."""

import numpy as np
import pytest
from scipy.sparse import csr_matrix

from trainer import plan as plans
from trainer.blend.material import Material
from trainer.errors import TrainerError
from trainer.features.targets import Targets
from trainer.fit import linear
from trainer.hpo import forecast, gates, objective, spaces, study
from trainer.hpo.objective import Judged
from trainer.hpo.ridge import Moments, Ridges
from trainer.oof.timelines import Laid
from trainer.plan import Linear, Net, Plan, Trees
from worker.features.assemble import Features
from worker.features.schema import SEQUENCE_LENGTH, TEMPORAL
from worker.features.sequence import NOW, STEPS, Sequences

LINEAR = Linear(value=0.5, classes=0.01, flags=0.01, steps=8)
TRIALS = 14
SPACE = {
    "embedding.penalty": {"low": 0.01, "high": 10.0, "log": True},
    "trees.leaves": {"low": 2, "high": 31},
    "trees.learning_rate": {"choices": [0.05, 0.1]},
}


def plan_of(space=SPACE, trials=TRIALS, variable="valence", **search):
    return Plan.model_validate(
        {
            "name": "few",
            "folds": 3,
            "ngram_bits": 12,
            "ngram_rows": 1,
            "trees": Trees(rounds=5, class_rounds=3, least_rows=5),
            "ngrams": LINEAR,
            "embedding": LINEAR,
            "sources": {},
            "search": {"trials": {variable: trials}, "spaces": {variable: space}, **search},
        }
    )


class Bowl:
    """Three folds of rows whose loss is smallest at a penalty of 1 and 20 leaves; `dies` is the call and the
    fold that a Ctrl-C cuts off."""

    def __init__(self, dies=None, gain=1.0):
        self.calls, self.dies, self.gain = [], dies, gain

    def folds(self, plan, *, full):
        self.calls.append((plan.embedding.of("valence"), plan.trees.of("valence").leaves))
        penalty, leaves = self.calls[-1]
        off = self.gain * (np.log10(penalty) ** 2 + ((leaves - 20) / 20) ** 2)
        for number in range(3):
            if (len(self.calls), number) == self.dies:
                raise KeyboardInterrupt
            noise = np.random.default_rng(number).random(20)
            yield Judged(rows=np.arange(20) + 20 * number, losses=1 + off + noise, weight=np.ones(20))


def search(bowl, folder, plan=None, done=None):
    with study.storage(None, folder) as store:
        return study.tune(
            plan or plan_of(), "valence", bowl, np.arange(60), store=store, key="k" * 64,
            advance=(done if done is not None else []).append,
        )  # fmt: skip


def test_a_study_finds_what_is_better_and_the_first_trial_is_the_plans_own(tmp_path):
    bowl, plan = Bowl(), plan_of()
    tuned, verdict = search(bowl, tmp_path, plan)

    assert bowl.calls[0] == (0.5, 15)
    assert verdict.trials == TRIALS
    assert verdict.accepted
    assert 0 < verdict.gain[0] <= verdict.loss - verdict.tuned <= verdict.gain[1]
    assert verdict.own == {"embedding.penalty": 0.5, "trees.leaves": 15, "trees.learning_rate": 0.05}
    assert spaces.own(tuned, "valence") == verdict.best
    assert tuned.embedding.of("arousal") == 0.5
    assert Plan.model_validate(tuned.model_dump()) == tuned


@pytest.mark.parametrize("dies", [(1, 1), (2, 2), (7, 0), (TRIALS, 0)])
def test_a_study_cut_off_in_any_trial_ends_as_one_that_was_not(dies, tmp_path):
    for name in ("whole", "cut"):
        (tmp_path / name).mkdir()
    whole = Bowl()
    expected = search(whole, tmp_path / "whole")

    with pytest.raises(KeyboardInterrupt):
        search(Bowl(dies), tmp_path / "cut")
    again, done = Bowl(), []
    found = search(again, tmp_path / "cut", done=done)

    assert found == expected
    assert again.calls == whole.calls[dies[0] - 1 :]
    assert done[0] == dies[0] - 1
    assert sum(done) == TRIALS


def test_a_finished_study_is_not_searched_again(tmp_path):
    first = search(Bowl(), tmp_path)
    again = Bowl()

    assert search(again, tmp_path) == first
    assert len(again.calls) == 2  # the verdict: the plan's own and the best


def test_trials_worse_than_most_are_pruned_after_a_fold(tmp_path):
    plan = plan_of(trials=25)
    _, verdict = search(Bowl(), tmp_path, plan)

    assert verdict.trials == 25
    assert 3 < verdict.pruned < 20


def test_settings_that_are_not_better_do_not_enter_the_plan(tmp_path):
    plan = plan_of()
    kept, verdict = search(Bowl(gain=0.0), tmp_path, plan)

    assert not verdict.accepted
    assert kept == plan


def test_a_gain_of_one_person_with_many_rows_is_no_gain():
    rng = np.random.default_rng(2)
    before = 1 + rng.normal(0, 0.1, 300)
    better_for_all = before - 0.1 + rng.normal(0, 0.05, 300)
    better_for_one = before - np.where(np.arange(300) < 100, 0.3, 0.0) + rng.normal(0, 0.05, 300)
    persons = ["many"] * 100 + [f"p{row // 10}" for row in range(200)]

    assert study.accept(before, better_for_all, persons)
    assert not study.accept(before, better_for_one, persons)
    assert study.accept(before, better_for_one, [str(row) for row in range(300)])


def test_the_same_seed_gives_the_same_trials_and_another_seed_others(tmp_path):
    for name in ("a", "b", "c"):
        (tmp_path / name).mkdir()
    first, again, other = Bowl(), Bowl(), Bowl()
    search(first, tmp_path / "a")
    search(again, tmp_path / "b")
    search(other, tmp_path / "c", plan_of().model_copy(update={"seed": 8}))

    assert first.calls == again.calls
    assert first.calls[1:] != other.calls[1:]


def test_a_database_that_cannot_be_used_is_named_by_its_setting_and_never_with_its_password(tmp_path):
    url = "postgresql+psycopg://someone:secret@127.0.0.1:1/none?connect_timeout=2"
    with (
        pytest.raises(TrainerError, match="FELTSENSE_TRAINER_STUDY_URL") as caught,
        study.storage(url, tmp_path),
    ):
        pytest.fail("opened")

    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("variable", "space", "trials", "said"),
    [
        ("valence", {"trees.leafs": {"low": 2, "high": 31}}, 3, "valence has no parameter trees.leafs"),
        ("invoked", {"trees.leaves": {"low": 2, "high": 31}}, 3, "invoked has no parameter trees.leaves"),
        ("mood", SPACE, 3, "mood is not a variable"),
        ("valence", {"trees.leaves": {"low": 31, "high": 2}}, 3, "low 31 must be below high 2"),
        ("valence", {"trees.leaves": {"low": 2}}, 3, "give low and high, or choices"),
        ("valence", {"trees.leaves": {"low": 2, "high": 4, "step": 1}}, 3, "Extra inputs"),
        ("valence", {"trees.leaves": {"low": 20, "high": 31}}, 3, "leaves out the plan's own 15"),
        ("valence", {"trees.leaves": {"choices": [15]}}, 3, "two or more"),
        ("valence", {"embedding.penalty": {"low": 0, "high": 1, "log": True}}, 3, "must be above 0"),
        ("valence", {"embedding.penalty": {"low": 0.1, "high": 1, "per_decade": 2}}, 3, "needs log"),
        ("valence", {}, 3, "search.spaces.valence is empty"),
        ("valence", SPACE, -1, "-1 trials"),
    ],
)
def test_a_space_that_cannot_be_searched_is_refused_with_the_reason(variable, space, trials, said, tmp_path):
    path = tmp_path / "plan.toml"
    lines = ['name = "few"', "[ngrams]", "value=1", "classes=1", "flags=1", "[embedding]"]
    lines += ["value=0.5", "classes=1", "flags=1", "[sources]", "[search.trials]", f"{variable} = {trials}"]
    for name, one in space.items():
        lines.append(f'[search.spaces.{variable}."{name}"]')
        lines += [f"{key} = {str(value).lower()}" for key, value in one.items()]
    path.write_text("\n".join(lines))

    with pytest.raises(TrainerError, match=said):
        plans.read(path)


def test_values_per_decade_count_from_the_plans_own_so_that_they_recur():
    ranged = spaces.Range(low=0.01, high=10.0, log=True, per_decade=2)

    class Trial:
        def suggest_float(self, name, low, high, log):
            return self.value

    trial = Trial()
    drawn = set()
    for trial.value in np.geomspace(0.01, 10, 200):
        drawn.add(ranged.draw(trial, "x", 0.5))
    trial.value = 0.5

    assert ranged.draw(trial, "x", 0.5) == 0.5
    assert len(drawn) == 7


@pytest.fixture(scope="module")
def world():
    """Ninety texts of thirty people whose embedding tells valence, and counts the expressed emotion."""
    rng = np.random.default_rng(5)
    rows = 90
    dense = rng.normal(size=(rows, 812))
    counts = csr_matrix(rng.poisson(0.3, size=(rows, 256)).astype(np.float64))
    valence = np.clip(0.5 + 0.1 * dense[:, 0] + rng.normal(0, 0.05, rows), 0, 1)
    expressed = np.eye(7)[counts[:, :7].toarray().argmax(axis=1)]
    weight = rng.random(rows) + 0.5
    weight[::10] = 0.0
    targets = Targets(
        learned=np.arange(rows) % 15 != 0,
        values={"valence": valence},
        expressed=expressed,
        invoked=expressed[:, :6],
        nuances={},
        native={},
        risk=np.zeros((rows, 8)),
        weight=dict.fromkeys(("valence", "expressed", "invoked"), weight * (np.arange(rows) % 15 != 0)),
        dampened=np.ones(rows),
    )
    features = Features(
        lexical=rng.normal(size=(rows, 10)), counts=counts, dense=dense, micros=np.zeros((rows, 6, 6, 6))
    )
    return features, targets, np.arange(rows) // 3 % 3


def objective_of(world, variable):
    features, targets, fold = world
    return objective.Texts(variable, features, targets, objective.folds_of(features, targets, fold))


def test_ridge_from_shared_sums_equals_ridge_for_every_penalty():
    rng = np.random.default_rng(4)
    x, y, weight = rng.normal(3, 2, size=(60, 5)), rng.random(60), rng.random(60)
    scale = x.std(axis=0)
    found = Ridges(Moments.of(x[:20], y[:20], weight[:20]) + Moments.of(x[20:], y[20:], weight[20:]), scale)

    for penalty in (0.01, 1.0, 30.0):
        expected = linear.ridge((x - 1) / scale, y[:, None], weight, penalty=penalty)((x - 1) / scale)
        np.testing.assert_allclose(found.heads(penalty)(x), expected, atol=1e-9)


@pytest.mark.parametrize("variable", ["valence", "expressed", "invoked"])
def test_held_out_losses_are_those_of_models_that_never_saw_the_rows(variable, world):
    features, targets, fold = world
    plan = plan_of()
    parts = list(objective_of(world, variable).folds(plan, full=True))

    assert [set(fold[part.rows]) for part in parts] == [{0}, {1}, {2}]
    assert all((part.weight > 0).all() and np.isfinite(part.losses).all() for part in parts)

    # Labels of fold 0 decide its own losses, and nothing that is predicted for it.
    flipped = {"valence": 1 - targets.values["valence"]}
    mine = fold == 0
    changed = Targets(
        **{
            **{name: getattr(targets, name) for name in Targets.__dataclass_fields__},
            "values": {"valence": np.where(mine, flipped["valence"], targets.values["valence"])},
            "expressed": np.where(mine[:, None], targets.expressed[:, ::-1], targets.expressed),
            "invoked": np.where(mine[:, None], targets.invoked[:, ::-1], targets.invoked),
        }
    )
    other = list(objective_of((features, changed, fold), variable).folds(plan, full=True))
    if variable == "valence":
        goal, turned = targets.values["valence"][parts[0].rows], flipped["valence"][parts[0].rows]
        predicted = [goal + sign * np.sqrt(parts[0].losses) for sign in (1, -1)]
        found = [turned + sign * np.sqrt(other[0].losses) for sign in (1, -1)]
        same = [np.isclose(a, b, atol=1e-9) for a in predicted for b in found]
        assert np.any(same, axis=0).all()
    assert not np.allclose(parts[1].losses, other[1].losses)


def test_the_same_settings_are_never_fitted_twice(world, monkeypatch):
    fitted = []
    for module, name in ((objective.boosted, "fit"), (objective.linear, "descend")):
        real = getattr(module, name)
        monkeypatch.setattr(
            module, name, lambda *a, _real=real, _name=name, **k: fitted.append(_name) or _real(*a, **k)
        )
    searched = objective_of(world, "valence")
    plan = plan_of()
    first = list(searched.folds(plan, full=False))
    again = list(searched.folds(spaces.applied(plan, "valence", {"embedding.penalty": 3.0}), full=False))

    assert fitted.count("fit") == 3
    assert fitted.count("descend") == 3
    assert first[0].losses.tolist() != again[0].losses.tolist()


def test_trials_fit_trees_on_few_rows_and_the_verdict_on_all(world, monkeypatch):
    sizes = []
    real = objective.boosted.fit
    monkeypatch.setattr(objective.boosted, "fit", lambda x, *a, **k: sizes.append(len(x)) or real(x, *a, **k))
    plan = plan_of()
    plan = plan.model_copy(update={"search": plan.search.model_copy(update={"tree_rows": 30})})
    searched = objective_of(world, "valence")
    list(searched.folds(plan, full=False))
    list(searched.folds(plan, full=True))

    assert sizes[:3] == [30, 30, 30]
    assert min(sizes[3:]) > 30


def test_rows_of_a_validation_part_are_judged_by_models_of_the_train_part_only(world):
    features, targets, fold = world
    parts = np.where(fold == 2, 1, 0)
    judge = objective.Texts(
        "valence", features, targets, objective.folds_of(features, targets, parts, tested=[1])
    )
    (held,) = judge.folds(plan_of(), full=True)

    assert set(fold[held.rows]) == {2}


@pytest.fixture
def laid():
    rng = np.random.default_rng(3)
    rows, names = 60, ("valence", "arousal", "congruence")
    numbers = rng.normal(size=(rows, len(TEMPORAL)))
    return Laid(
        row=np.arange(rows),
        numbers=numbers,
        own=rng.normal(size=(rows, 4)),
        steps=Sequences(
            steps=rng.normal(size=(rows, SEQUENCE_LENGTH, len(STEPS))).astype(np.float32),
            mask=np.ones((rows, SEQUENCE_LENGTH), dtype=np.float32),
            now=np.zeros((rows, len(NOW)), dtype=np.float32),
        ),
        known=np.arange(rows) % 5 > 0,
        diary=np.arange(rows) % 10 > 0,
        fold=np.arange(rows) % 3,
        target={name: np.clip(0.5 + 0.2 * numbers[:, 0], 0, 1) for name in names},
        weight=dict.fromkeys(names, np.ones(rows)),
        dampened=np.ones(rows),
    )


def test_the_forecast_is_judged_on_people_with_a_past_and_nets_are_fitted_once_a_setting(laid, monkeypatch):
    fitted = []
    real = forecast.sequence.fit_all
    monkeypatch.setattr(forecast.sequence, "fit_all", lambda *a, **k: fitted.append(1) or real(*a, **k))
    searched, plan = forecast.Forecasts(laid), plan_of()
    plan = plan.model_copy(update={"net": Net(hidden=4, epochs=1)})
    loose = list(searched.folds(plan, full=False))
    tight = list(searched.folds(spaces.applied(plan, "comparator", {"forecast_penalty": 1e3}), full=False))

    assert len(fitted) == 3
    for number, part in enumerate(loose):
        assert set(part.rows % 3) == {number}
        assert laid.diary[part.rows].all()
    assert np.concatenate([p.losses for p in loose]).mean() < np.concatenate([p.losses for p in tight]).mean()


def test_gates_are_judged_by_their_share_of_the_plain_averages_loss():
    rng = np.random.default_rng(6)
    truth = rng.random(300)
    columns = {"good": truth + rng.normal(0, 0.02, 300), "bad": rng.random(300)}
    material = Material.of(tuple(columns), columns, truth, np.ones(300), rng.normal(size=(300, 2)))
    stack = gates.Stack(material=material, fold=np.arange(300) % 3, row=np.arange(300))
    parts = list(gates.Gates({"valence": stack}).folds(plan_of(), full=True))

    assert [set(part.rows % 3) for part in parts] == [{0}, {1}, {2}]
    assert np.concatenate([part.losses for part in parts]).mean() < 0.2


@pytest.mark.parametrize("name", ["quick", "starter", "full", "research"])
def test_every_plan_of_the_project_is_read_and_its_spaces_hold_its_own_values(name):
    assert plans.read(name).name == name


def test_the_full_plan_runs_the_trials_of_the_design():
    trials = plans.read("full").search.trials
    names = ("valence", "arousal", "invoked", "expressed", "willingness", "congruence", "comparator")

    assert [trials[name] for name in names] == [80, 80, 60, 60, 60, 40, 40]
