"""Which gate is kept, on out-of-fold columns whose best combination is known."""

import json

import numpy as np
import pytest

from trainer import plan as plans
from trainer.blend import boosted, choose, weights
from trainer.blend import gate as gates
from trainer.blend.material import Material
from trainer.blend.paired import paired
from trainer.calibrate import choose as calibrators
from trainer.calibrate import interval
from trainer.oof.stack import stack
from trainer.splits.ledger import Ledger
from worker.blend.gate import Gate
from worker.calibrate import slices
from worker.features.schema import CONTEXT

PLAN = plans.read("starter")
ROWS = 3000


def material(noise, *, classes=0, missing=None, seed=5):
    """`noise` gives each base's error by the context [n, len(CONTEXT)]; distributions where `classes`."""
    generator = np.random.default_rng(seed)
    context = generator.normal(size=(ROWS, len(CONTEXT)))
    columns = {}
    if classes:
        truth = generator.integers(0, classes, ROWS)
        target = np.eye(classes)[truth]
        for base, size in noise.items():
            logits = 2.0 * target + generator.normal(size=(ROWS, classes)) * size(context)[:, None]
            columns[base] = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    else:
        target = generator.random(ROWS)
        for base, size in noise.items():
            columns[base] = target + generator.normal(size=ROWS) * size(context)
    if missing:
        columns[missing][: ROWS // 2] = np.nan
    return Material.of(tuple(noise), columns, target, np.ones(ROWS), context)


def even(size):
    return lambda context: np.full(len(context), size)


def switching(low, high, column):
    """Small where a context column is positive."""
    return lambda context: np.where(context[:, column] > 0, low, high)


def band(low, high, column):
    """Small where a context column is near 0: nothing a line can tell."""
    return lambda context: np.where(np.abs(context[:, column]) < 0.7, low, high)


FOLD = np.arange(ROWS) % 5
PEOPLE = np.arange(ROWS) // 10


@pytest.mark.parametrize(
    ("noise", "kinds"),
    [
        ({"Lx": even(0.2), "Ng": even(0.2), "Eb": even(0.2)}, {"plain"}),
        ({"Lx": even(0.03), "Ng": even(0.5)}, {"best", "constant"}),
        ({"Lx": even(0.1), "Ng": even(0.2), "Eb": even(0.3)}, {"constant"}),
        ({"Lx": switching(0.05, 0.4, 1), "Ng": switching(0.4, 0.05, 1)}, {"linear", "boosted"}),
        ({"Lx": band(0.05, 0.4, 3), "Ng": band(0.4, 0.05, 3)}, {"boosted"}),
    ],
    ids=["all alike", "one is enough", "unlike", "told by a sign", "told by a band"],
)
def test_the_gate_is_no_freer_than_the_data_asks_for(noise, kinds):
    chosen = choose.choose(material(noise), FOLD, PEOPLE, PLAN)
    assert chosen.record["kind"] in kinds
    assert chosen.gate.kind == chosen.record["kind"]
    assert chosen.record["loss"][chosen.gate.kind] <= chosen.record["loss"]["plain"]


def test_distributions_are_gated_by_cross_entropy():
    noise = {"Lx": band(0.3, 3.0, 3), "Ng": band(3.0, 0.3, 3)}
    chosen = choose.choose(material(noise, classes=4), FOLD, PEOPLE, PLAN)
    assert chosen.gate.kind == "boosted"
    assert chosen.before.sum(axis=1) == pytest.approx(np.ones(ROWS))


def test_trees_survive_the_bundle_and_say_the_same():
    data = material({"Lx": band(0.05, 0.4, 3), "Ng": even(0.2), "Tm": even(0.1)}, missing="Tm")
    gate = boosted.fit(data, plan=PLAN.gates, seed=1)
    kept = Gate.from_json(json.loads(json.dumps(gate.to_json())), gate.trees)
    weight = kept.weights(data.context, data.available.T)
    assert np.array_equal(weight, gate.weights(data.context, data.available.T))
    assert weight.sum(axis=1) == pytest.approx(np.ones(ROWS))
    assert not weight[: ROWS // 2, 2].any()
    assert boosted.fit(data, plan=PLAN.gates, seed=1).trees == gate.trees


@pytest.mark.parametrize(
    "rows",
    [np.arange(ROWS) < 40, np.arange(ROWS) < 170, np.ones(ROWS, dtype=bool)],
    ids=["too few to split", "hardly any split", "no context"],
)
def test_trees_that_cannot_split_leave_constant_weights(rows):
    data = material({"Lx": even(0.1), "Ng": even(0.3)})
    if rows.all():
        data.context[:] = 0.0
    elif rows.sum() > 100:
        data.context[:170] = np.arange(170)[:, None] < 9
    data = data.rows(rows)
    found = boosted.fit(data, plan=PLAN.gates, seed=1)
    constant = gates.constant(data)
    assert found.weights(data.context, data.available.T) == pytest.approx(
        constant.weights(data.context, data.available.T), abs=0.05
    )


@pytest.mark.parametrize("classes", [0, 4])
def test_slopes_are_the_derivatives_of_the_loss(classes):
    data = material({"Lx": even(0.2), "Ng": even(0.4), "Tm": even(0.3)}, classes=classes, missing="Tm")
    scores = np.random.default_rng(2).normal(size=data.available.shape)
    mixed = data.softmax(scores)
    slopes = data.slopes(mixed, data.mix(mixed))
    step = 1e-6
    for base in range(3):
        nudged = scores.copy()
        nudged[base] += step
        rise = data.losses(data.mix(data.softmax(nudged))) - data.losses(data.mix(mixed))
        assert slopes[base] == pytest.approx(rise / step, abs=1e-4)


def test_a_base_that_misses_rows_is_weighed_where_it_is():
    data = material({"Lx": even(0.4), "Tm": even(0.05)}, missing="Tm")
    blended = data.blend(gates.best(data))
    assert np.array_equal(blended[: ROWS // 2], data.columns[0, : ROWS // 2])
    assert blended[ROWS // 2 :] == pytest.approx(data.columns[1, ROWS // 2 :])


@pytest.mark.parametrize(("gain", "people", "sure"), [(0.02, 300, True), (0.02, 3, False), (0.0, 300, False)])
def test_a_gain_counts_by_people_not_by_rows(gain, people, sure):
    generator = np.random.default_rng(6)
    who = np.arange(ROWS) % people
    first = generator.random(ROWS)
    second = first - gain + 0.05 * generator.normal(size=people)[who]
    found = paired(first, second, np.ones(ROWS), who)
    assert (found.high < 0) == sure
    assert found.low < found.difference < found.high


def test_the_report_tells_weights_by_slice_and_leaves_out_what_the_gate_cannot_see():
    data = material({"Lx": even(0.1), "Tm": even(0.2)}, missing="Tm")
    data.context[:, CONTEXT.index("log_words")] = np.where(np.arange(ROWS) % 2, np.log1p(5), np.log1p(50))
    data.context[:, CONTEXT.index("hinglish")] = 0.0
    found = weights.by_slice(gates.plain(data), data)
    assert found["all"] == {"Lx": 0.75, "Tm": 0.25}
    assert {"short", "medium"} <= found.keys()
    assert not {"long", "English", "Hindi or mixed"} & found.keys()


def test_only_the_gates_asked_for_are_compared_and_the_leading_base_is_followed_where_it_is():
    data = material({"text": even(0.3), "Tm": even(0.1)}, missing="Tm")
    columns = {"text": data.columns[0], "Tm": np.where(data.available[1], data.columns[1], np.nan)}
    ledger = Ledger(ROWS)
    found = stack(
        ("text", "Tm"), columns, data.target, np.ones(ROWS), data.context, FOLD,
        persons=PEOPLE, plan=PLAN, name="valence", ledger=ledger, kinds=("best",), inputs=("base/personal",),
    )  # fmt: skip
    told = found.record["gate"]
    assert told["loss"].keys() == {"best"}
    assert told["kind by fold"] == ["best"] * 5
    lacking = ~data.available[1]
    assert np.array_equal(found.before[lacking], columns["text"][lacking])
    assert np.allclose(found.before[~lacking], columns["Tm"][~lacking], rtol=0, atol=1e-12)
    read = {(entry.level, entry.inputs) for entry in ledger.entries}
    assert read == {("gate", ("base/personal",)), ("calibrator", ())}


def test_a_stack_whose_second_base_no_row_has_is_its_first():
    data = material({"text": even(0.3)})
    found = stack(
        ("text", "Tm"), {"text": data.columns[0], "Tm": np.full(ROWS, np.nan)}, data.target, np.ones(ROWS),
        data.context, FOLD, persons=PEOPLE, plan=PLAN, name="valence", kinds=("best",),
    )  # fmt: skip
    assert found.gate.bases == ("text",)
    assert np.array_equal(found.before, data.columns[0])


def test_a_stack_learns_from_weighted_rows_and_tells_the_ledger():
    data = material({"Lx": even(0.1), "Ng": even(0.3), "Tm": even(0.1)})
    weight = np.where(np.arange(ROWS) < 400, 0.0, 1.0)
    columns = {"Lx": data.columns[0], "Ng": data.columns[1], "Ll": np.full(ROWS, np.nan)}
    ledger = Ledger(ROWS)
    found = stack(
        ("Lx", "Ng", "Ll"), columns, np.where(weight > 0, data.target, np.nan), weight, data.context, FOLD,
        persons=PEOPLE, plan=PLAN, name="valence", ledger=ledger,
    )  # fmt: skip
    assert found.gate.bases == ("Lx", "Ng")
    assert np.isfinite(found.after).all()
    assert {(entry.level, entry.name) for entry in ledger.entries} == {
        ("gate", "valence"),
        ("calibrator", "valence"),
    }
    for entry in ledger.entries:
        assert not (entry.trained & entry.predicted).any()
        assert not entry.trained[:400].any()


def test_intervals_cover_every_slice_and_a_rare_one_borrows_from_its_language():
    generator = np.random.default_rng(9)
    count = 16_000
    where = generator.choice(slices.COUNT, size=count, p=[0.3, 0.2, 0.3, 0.18, 0.01, 0.01])
    spread = np.array([0.05, 0.2, 0.1, 0.02, 0.1, 0.02])[where]
    value = generator.random(count)
    target = value + generator.normal(size=count) * spread
    learned, judged = np.arange(count) < count // 2, np.arange(count) >= count // 2
    fitted = interval.fit(
        value[learned], target[learned], np.ones(count // 2), where[learned], lowest=-2, highest=2
    )
    ends = fitted.around(value[judged], where[judged])
    inside = (target[judged] >= ends[:, 0]) & (target[judged] <= ends[:, 1])
    for number in range(4):
        assert inside[where[judged] == number].mean() == pytest.approx(0.8, abs=0.03), slices.name(number)
    mean_width = [np.diff(ends[where[judged] == number]).mean() for number in range(slices.COUNT)]
    assert mean_width[0] < mean_width[4] < mean_width[2]  # long English: of all English
    assert mean_width[3] < mean_width[5] < mean_width[1]


@pytest.mark.parametrize(
    ("bend", "kind"),
    [(lambda x: x, "identity"), (lambda x: 0.3 + 0.4 * x, "linear"), (lambda x: x**4, "isotonic")],
    ids=["nothing to mend", "too wide", "bent"],
)
def test_a_calibrator_is_no_freer_than_the_data_asks_for(bend, kind):
    generator = np.random.default_rng(3)
    before = generator.random(ROWS)
    target = bend(before) + generator.normal(0, 0.05, ROWS)
    found = calibrators.choose(before, target, np.ones(ROWS), FOLD)
    assert found.calibrator.kind == kind
    assert np.abs(found.after - bend(before)).mean() < 0.02
