"""A rebuild that was cut off goes on where it was, and never with somebody else's results."""

import dataclasses
import signal
import subprocess
import sys
from datetime import UTC, datetime

import numpy as np
import pytest
from rich.console import Console
from scipy.sparse import csr_matrix

from trainer import checkpoint, progress
from trainer.data.labelled import Labelled
from trainer.errors import TrainerError
from trainer.plan import Linear, Plan
from worker.events.reflection import Reflection
from worker.models.heads import DenseHeads

LINEAR = Linear(value=0.5, classes=0.01, flags=0.01)
PLAN = Plan(name="few", folds=3, ngrams=LINEAR, embedding=LINEAR, sources={})
STEPS = ("features", "fold-0", "fold-1", "net-0", "refit")


class Job:
    """Steps that build on one another; `dies` is the step that a Ctrl-C cuts off."""

    def __init__(self, dies=None):
        self.dies, self.ran = dies, []

    def run(self, folder, key="k", said=None):
        said = [] if said is None else said
        with checkpoint.opened(folder / "bundle", key=key, say=said.append) as kept:
            value = np.array([1.0])
            for name in STEPS:
                value = kept.keep(name, lambda name=name, value=value: self._make(name, value))["value"]
        return value

    def _make(self, name, value):
        self.ran.append(name)
        if name == self.dies:
            raise KeyboardInterrupt
        return {"value": value * 3 + len(name)}


@pytest.mark.parametrize("dies", STEPS)
def test_whatever_step_is_cut_off_the_second_run_ends_alike_and_repeats_no_finished_step(dies, tmp_path):
    whole = Job().run(tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        Job(dies).run(tmp_path / "cut")

    again = Job()
    value = again.run(tmp_path / "cut")

    np.testing.assert_array_equal(value, whole)
    assert again.ran == list(STEPS[STEPS.index(dies) :])
    assert not (tmp_path / "cut" / ".bundle.work").exists()


def test_after_sigkill_in_the_middle_of_writing_a_file_the_step_is_made_again(tmp_path):
    code = f"""
import os, numpy as np
from pathlib import Path
from trainer import checkpoint
save = np.savez
def torn(path, **arrays):
    save(path, **arrays)
    with open(path, "r+b") as file:
        file.truncate(100)
    os.kill(os.getpid(), 9)
with checkpoint.opened(Path({str(tmp_path / "bundle")!r}), key="k", say=print) as kept:
    kept.keep("first", lambda: np.arange(5))
    np.savez = torn
    kept.keep("second", lambda: np.arange(900))
"""
    killed = subprocess.run([sys.executable, "-c", code], check=False)
    assert killed.returncode == -signal.SIGKILL

    made = []
    with checkpoint.opened(tmp_path / "bundle", key="k", say=made.append) as kept:
        np.testing.assert_array_equal(kept.keep("first", lambda: made.append("first")), np.arange(5))
        kept.keep("second", lambda: made.append("second"))

    assert "first" not in made
    assert "second" in made


def test_another_plan_or_other_rows_start_anew_and_say_so(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        Job("net-0").run(tmp_path, key="old")

    said, again = [], Job()
    again.run(tmp_path, key="new", said=said)

    assert again.ran == list(STEPS)
    assert any("starting anew" in line for line in said)


@pytest.mark.parametrize("damage", [b"", b"PK\x03\x04nonsense", None])
def test_a_damaged_file_is_named_and_its_step_made_again(damage, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        Job("refit").run(tmp_path)
    path = tmp_path / ".bundle.work" / "fold-1.npz"
    path.write_bytes(path.read_bytes()[:200] if damage is None else damage)

    said, again = [], Job()
    value = again.run(tmp_path, said=said)

    assert again.ran == ["fold-1", "refit"]
    assert any("fold-1.npz is damaged" in line for line in said)
    np.testing.assert_array_equal(value, Job().run(tmp_path / "whole"))


def test_two_trainings_of_one_bundle_do_not_mix(tmp_path):
    with (
        checkpoint.opened(tmp_path / "bundle", key="k", say=print),
        pytest.raises(TrainerError, match="another process"),
        checkpoint.opened(tmp_path / "bundle", key="k", say=print),
    ):
        pytest.fail("opened twice")


def test_what_is_kept_comes_back_as_it_was(tmp_path):
    heads = DenseHeads(
        targets=("a", "b"), weights=np.eye(2), bias=np.zeros(2), mean=np.ones(2), scale=np.ones(2)
    )
    kept = {
        "heads": heads,
        "counts": csr_matrix(np.diag([0, 1, 2])),
        "columns": {"valence": {"Lx": np.array([0.1, np.nan])}},
        "mixed": (1, 2.5, None, True, "text", [float("nan"), np.float64(3.0)]),
        "turned": np.arange(12.0).reshape(3, 4).T[:, ::2],
        3: "a key that is a number",
    }
    fresh = checkpoint.Checkpoint(tmp_path, print).keep("step", lambda: kept)
    loaded = checkpoint.Checkpoint(tmp_path, print).keep("step", lambda: pytest.fail("made again"))

    for one in (fresh, loaded):
        assert isinstance(one["heads"], DenseHeads)
        assert one["heads"].targets == ("a", "b")
        np.testing.assert_array_equal(one["heads"].weights, np.eye(2))
        np.testing.assert_array_equal(one["counts"].toarray(), np.diag([0, 1, 2]))
        np.testing.assert_array_equal(one["columns"]["valence"]["Lx"], [0.1, np.nan])
        assert one["mixed"][:5] == (1, 2.5, None, True, "text")
        assert np.isnan(one["mixed"][5][0])
        assert one[3] == "a key that is a number"
    assert fresh["turned"].strides == loaded["turned"].strides


@pytest.mark.parametrize("value", [object(), np.array([object()]), {1, 2}])
def test_what_no_file_can_hold_without_pickle_is_refused(value, tmp_path):
    with checkpoint.opened(tmp_path / "b", key="k", say=print) as kept, pytest.raises(TypeError):
        kept.keep("step", lambda: value)


def test_the_key_follows_the_plan_and_every_label_but_not_the_day():
    row = Labelled(
        reflection=Reflection(
            id="a", user_id="p", text="fine", created_at=datetime(2024, 1, 1, tzinfo=UTC), utc_offset_min=0
        ),
        labels={"valence": 0.5},
        source="x",
    )
    key = checkpoint.key_of(PLAN, [row])

    assert key == checkpoint.key_of(PLAN, [row])
    assert key != checkpoint.key_of(PLAN.model_copy(update={"seed": 8}), [row])
    assert key != checkpoint.key_of(PLAN, [dataclasses.replace(row, labels={"valence": 0.6})])
    assert key != checkpoint.key_of(PLAN, [row, row])


def test_without_a_terminal_every_step_is_a_line_with_its_seconds(tmp_path):
    with (tmp_path / "log").open("w") as log, progress.steps(Console(file=log), PLAN, 1000) as step:
        step("split", 1)
        step("extract features", 10)
        step.advance(10)

    lines = (tmp_path / "log").read_text().splitlines()
    assert [line.split("  ")[0] for line in lines] == ["split", "extract features"]
    assert all(line.endswith(" s") for line in lines)


def test_the_time_left_counts_on_the_speed_so_far():
    assert progress.time_left(elapsed=30.0, done=10.0, total=40.0) == 90.0
    assert progress.time_left(elapsed=0.0, done=0.0, total=40.0) is None


def test_on_a_terminal_the_whole_and_the_time_left_are_shown(tmp_path):
    with (tmp_path / "log").open("w") as log:
        console = Console(file=log, force_terminal=True, width=100)
        with progress.steps(console, PLAN, 1000) as step:
            step("split", 2)
            step.advance(1)

    shown = (tmp_path / "log").read_text()
    assert "all" in shown
    assert " left" in shown
