"""`feltsense tune`: the search against planted truths, and the environment file it writes."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from io import StringIO
from pathlib import Path

import numpy as np
import pytest
from dotenv import dotenv_values

from worker.embedded.rundir import claimed, held
from worker.errors import DeviceFailed, UsageError
from worker.report.tuning import told, tuning_view
from worker.settings import Settings
from worker.tune import envfile
from worker.tune.gain import gain_of
from worker.tune.search import OVERRUN, Choice, Factor, Outcome, Search, Values, Verdict
from worker.tune.tuning import LOSSY, TUNED, factors

LANES = Factor(
    name="lanes",
    candidates=[{"streams": 1}, {"streams": 2}, {"streams": 4}],
    measure="encoder",
    totals=["bulk"],
)
WAIT = Factor(
    name="wait",
    candidates=[{"wait": 0}, {"wait": 2}, {"wait": 5}],
    measure="live",
    guard="single",
    totals=["bulk", "live"],
)
INT8 = Factor(
    name="precision", candidates=[{"precision": "int8"}], measure="encoder", totals=["bulk"], lossy=True
)
START = {"streams": 2, "wait": 2, "precision": "auto"}


class Planted:
    """A machine whose every cost is known, with seeded noise and a clock of its own.

    `speeds` are factors on the cost by measure, setting and value; `broken` values fail to open, `aliases`
    run as another value.
    """

    def __init__(
        self,
        speeds: Mapping[str, Mapping[tuple[str, object], float]],
        *,
        noise: float = 0.03,
        seed: int = 1,
        broken: object = None,
        aliases: Mapping[object, object] | None = None,
    ) -> None:
        self._speeds = speeds
        self._generator = np.random.default_rng(seed)
        self._noise = noise
        self._broken = broken
        self._aliases = aliases or {}
        self.now = 0.0
        self.measured: list[tuple[str, dict[str, object]]] = []

    def prepare(self, measure: str, values: Values) -> str:
        self.now += 0.5
        if self._broken in values.values():
            raise DeviceFailed("it has no such thing")
        return repr({name: self._aliases.get(value, value) for name, value in values.items()})

    def cost(self, measure: str, values: Values) -> float:
        self.now += 0.4
        self.measured.append((measure, dict(values)))
        cost = 0.004
        for item in values.items():
            cost *= self._speeds.get(measure, {}).get(item, 1.0)
        return cost * float(np.exp(self._generator.normal(0, self._noise)))

    def release(self, keep: Values) -> None:
        self.now += 0.1


def searched(
    bench: Planted,
    listed: Sequence[Factor] = (LANES, WAIT),
    *,
    seconds: float = 100,
    allow_loss: bool = False,
    references: Mapping[str, Values] | None = None,
) -> Outcome:
    told_of: list[Choice] = []
    search = Search(
        bench,
        seconds=seconds,
        clock=lambda: bench.now,
        allow_loss=allow_loss,
        measured=lambda: None,
        judged=told_of.append,
    )
    outcome = search.run(listed, START, references=references or {})
    assert told_of == list(outcome.choices)
    assert "setting" in shown(outcome)
    assert all(told(choice) for choice in told_of)
    return outcome


def shown(outcome: Outcome) -> str:
    from rich.console import Console

    console = Console(width=120, file=StringIO())
    console.print(tuning_view(outcome))
    return console.file.getvalue()


def test_the_planted_best_is_found_and_its_gain_is_the_planted_one() -> None:
    faster = {("streams", 1): 1.2, ("streams", 4): 0.8}
    bench = Planted({"encoder": faster, "bulk": faster, "live": {("wait", 0): 0.5}})
    outcome = searched(bench)
    assert outcome.chosen == {"streams": 4, "wait": 0, "precision": "auto"}
    assert outcome.beats
    lanes, wait = outcome.choices
    assert (lanes.verdict, wait.verdict) == (Verdict.taken, Verdict.taken)
    assert lanes.gain is not None
    assert wait.gain is not None
    assert lanes.gain.low < 1.25 < lanes.gain.high
    assert wait.gain.low < 2 < wait.gain.high
    assert outcome.totals["before", "bulk"].ratio == pytest.approx(1.25, rel=0.05)
    assert outcome.totals["before", "live"].ratio == pytest.approx(2, rel=0.05)


def test_equal_settings_stay_whatever_the_noise_says() -> None:
    outcomes = [searched(Planted({}, noise=0.08, seed=seed)) for seed in range(100)]
    # A duel errs once in forty at most, and what it let through has to prove itself again.
    assert sum(outcome.chosen != START for outcome in outcomes) <= 6
    assert sum(outcome.beats for outcome in outcomes) <= 1


@pytest.mark.parametrize(
    ("speed", "noise", "verdict"),
    [
        (0.995, 0.0, Verdict.kept),  # less than is worth a line
        (0.98, 0.0, Verdict.taken),
        (0.9, 0.02, Verdict.taken),
        (0.97, 0.15, Verdict.kept),  # drowned
        (1.2, 0.02, Verdict.kept),
    ],
)
def test_a_change_must_gain_more_than_its_noise(speed: float, noise: float, verdict: Verdict) -> None:
    bench = Planted({"encoder": {("streams", 4): speed}, "bulk": {("streams", 4): speed}}, noise=noise)
    assert searched(bench, [LANES]).choices[0].verdict is verdict


@pytest.mark.parametrize("seconds", [0.1, 2, 5, 20, 60, 100, 1000])
def test_the_time_is_kept(seconds: float) -> None:
    bench = Planted({"encoder": {("streams", 4): 0.8}, "live": {("wait", 0): 0.5}})
    outcome = searched(bench, seconds=seconds)
    opening = 3 * 0.5 * 2 + 4 * 0.5 + 3 * 0.1
    assert bench.now <= (1 + OVERRUN) * seconds + opening + 4 * 0.4  # a round under way is finished
    if seconds <= 5:
        assert outcome.chosen == START
        assert {choice.verdict for choice in outcome.choices} <= {Verdict.late, Verdict.kept}


@pytest.mark.parametrize(
    ("allowed", "verdict", "precision"),
    [(False, Verdict.offered, "auto"), (True, Verdict.taken, "int8")],
)
def test_what_changes_results_is_offered_and_chosen_only_on_request(
    allowed: bool, verdict: Verdict, precision: str
) -> None:
    faster = {("precision", "int8"): 0.6}
    outcome = searched(Planted({"encoder": faster, "bulk": faster}), [INT8], allow_loss=allowed)
    assert outcome.choices[0].verdict is verdict
    assert outcome.chosen["precision"] == precision
    assert outcome.beats is allowed
    assert outcome.choices[0].gain is not None
    assert outcome.choices[0].gain.ratio == pytest.approx(1 / 0.6, rel=0.05)
    assert ("--allow-loss" in shown(outcome)) is not allowed


def test_a_gain_that_costs_the_guard_is_refused() -> None:
    bench = Planted({"live": {("wait", 0): 0.5}, "single": {("wait", 0): 1.3}})
    outcome = searched(bench, [WAIT])
    assert outcome.choices[0].verdict is Verdict.kept
    assert outcome.chosen == START


def test_choices_that_do_not_help_the_whole_beat_nothing() -> None:
    bench = Planted({"encoder": {("streams", 4): 0.7}, "bulk": {("streams", 4): 1.1}})
    outcome = searched(bench, [LANES])
    assert outcome.choices[0].verdict is Verdict.taken
    assert outcome.totals["before", "bulk"].high < 1
    assert not outcome.beats


def test_a_whole_that_is_better_in_one_thing_and_worse_in_another_beats_nothing() -> None:
    bench = Planted({"live": {("wait", 0): 0.5}, "bulk": {("wait", 0): 1.2}})
    outcome = searched(bench, [WAIT])
    assert outcome.chosen["wait"] == 0
    assert not outcome.beats


def test_the_whole_is_measured_against_the_defaults_too_where_they_differ() -> None:
    faster = {("streams", 4): 0.8, ("streams", 1): 1.5}
    bench = Planted({"encoder": faster, "bulk": faster})
    outcome = searched(bench, [LANES], references={"defaults": {**START, "streams": 1}})
    assert outcome.totals["defaults", "bulk"].ratio == pytest.approx(1.5 / 0.8, rel=0.05)
    assert set(searched(bench, [LANES], references={"defaults": START}).totals) == {("before", "bulk")}


def test_a_candidate_that_cannot_run_is_named_and_the_others_are_tried() -> None:
    faster = {("streams", 4): 0.8}
    outcome = searched(Planted({"encoder": faster, "bulk": faster}, broken=1), [LANES])
    assert outcome.choices[0].failures == ["1: it has no such thing"]
    assert outcome.chosen["streams"] == 4
    assert "cannot run 1: it has no such thing" in shown(outcome)


def test_the_same_thing_under_another_name_is_not_measured() -> None:
    bench = Planted({}, aliases={4: 2, 1: 2})
    outcome = searched(bench, [LANES])
    assert bench.measured == []
    assert (outcome.choices[0].tried, outcome.choices[0].verdict) == (0, Verdict.kept)


def test_sides_are_interleaved_and_take_turns_in_going_first() -> None:
    faster = {("streams", 4): 0.8}
    bench = Planted({"encoder": faster, "bulk": faster})
    searched(bench, [replace(LANES, candidates=[{"streams": 4}])])
    order = [values["streams"] for measure, values in bench.measured if measure == "encoder"]
    assert order[:8] == [2, 4, 4, 2, 2, 4, 2, 4]  # three rounds of looking, then the duel begins anew


@pytest.mark.parametrize(("pairs", "rank"), [(5, None), (6, 0), (8, 0), (9, 1), (12, 2), (15, 3), (20, 5)])
def test_the_interval_is_that_of_the_sign_test(pairs: int, rank: int | None) -> None:
    ratios = [1 + at / 100 for at in range(pairs)]
    gain = gain_of(ratios[::-1], [1.0] * pairs)
    if rank is None:
        assert (gain.low, gain.high) == (0.0, math.inf)
        assert not gain.proven
    else:
        assert (gain.low, gain.high) == (ratios[rank], ratios[-1 - rank])
    assert gain.ratio == pytest.approx(np.median(ratios))


@pytest.mark.parametrize("cores", [1, 2, 3, 8, 64])
@pytest.mark.parametrize("rate", [5.0, 100.0, 10_000.0])
def test_every_factor_offers_values_that_the_settings_take(cores: int, rate: float) -> None:
    names: list[str] = []
    for factor in factors(cores=cores, rate=rate, on_cpu=True):
        default = {name: Settings.model_fields[name].default for name in factor.candidates[0]}
        assert factor.lossy or default in factor.candidates
        for candidate in factor.candidates:
            assert candidate.keys() == default.keys()
            Settings(**candidate)
            assert candidate == default or candidate.get("inference_threads", 0) <= cores
            assert factor.lossy is (candidate.get("precision") in LOSSY)
        names += [name for name in default if name not in names]
    assert sorted(names) == sorted(TUNED)


def test_another_device_than_the_cpu_has_no_lanes_to_tune() -> None:
    assert not any("streams" in one.name for one in factors(cores=2, rate=100, on_cpu=False))


NEW = {"FELTSENSE_STREAMS": "2"}


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("", "FELTSENSE_STREAMS=2\n"),
        ("A=1\n", "A=1\nFELTSENSE_STREAMS=2\n"),
        ("A=1", "A=1\nFELTSENSE_STREAMS=2\n"),
        ("A=1\r\n", "A=1\r\nFELTSENSE_STREAMS=2\r\n"),
        ("FELTSENSE_STREAMS=4", "FELTSENSE_STREAMS=2"),
        ("FELTSENSE_STREAMS=4 # four\nB=2\n", "FELTSENSE_STREAMS=2 # four\nB=2\n"),
        ("  export FELTSENSE_STREAMS = '4'\n", "  export FELTSENSE_STREAMS = 2\n"),
        ('FELTSENSE_STREAMS="4 #x" # y\n', "FELTSENSE_STREAMS=2 # y\n"),
        ("FELTSENSE_STREAMS=4 5\n", "FELTSENSE_STREAMS=2\n"),
        ("FELTSENSE_STREAMS=\n", "FELTSENSE_STREAMS=2\n"),
        ("feltsense_streams=4\n", "feltsense_streams=2\n"),
        ("FELTSENSE_STREAMS=4\nFELTSENSE_STREAMS=5\n", "FELTSENSE_STREAMS=2\nFELTSENSE_STREAMS=2\n"),
        ("# FELTSENSE_STREAMS=4\n", "# FELTSENSE_STREAMS=4\nFELTSENSE_STREAMS=2\n"),
        ("FELTSENSE_STREAMS_X=4\n", "FELTSENSE_STREAMS_X=4\nFELTSENSE_STREAMS=2\n"),
        ('A="\nFELTSENSE_STREAMS=4\n"\n', 'A="\nFELTSENSE_STREAMS=4\n"\nFELTSENSE_STREAMS=2\n'),
        ("=?\nA=1\n", "=?\nA=1\nFELTSENSE_STREAMS=2\n"),
    ],
)
def test_only_the_chosen_lines_of_a_file_change(before: str, after: str) -> None:
    assert envfile.rewritten(before, NEW) == after
    assert envfile.rewritten(after, NEW) == after
    read = {name.upper(): value for name, value in dotenv_values(stream=StringIO(after)).items()}
    assert read["FELTSENSE_STREAMS"] == "2"


def test_the_settings_read_what_was_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in TUNED:
        monkeypatch.delenv(f"FELTSENSE_{name.upper()}", raising=False)
    assert envfile.write(Path(".env"), {"FELTSENSE_MAX_WAIT_MS": "0.5", "FELTSENSE_PRECISION": "f32"})
    assert (Settings().max_wait_ms, Settings().precision) == (0.5, "f32")
    assert not envfile.write(Path(".env"), {"FELTSENSE_MAX_WAIT_MS": "0.5"})


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o664])
def test_a_file_keeps_its_mode_and_a_link_stays_a_link(tmp_path: Path, mode: int) -> None:
    real, link = tmp_path / "real", tmp_path / ".env"
    real.write_text("FELTSENSE_EVENT_KEY=c2VjcmV0\n")
    real.chmod(mode)
    link.symlink_to(real)
    envfile.write(link, NEW)
    assert link.is_symlink()
    assert real.stat().st_mode & 0o777 == mode
    assert real.read_text() == "FELTSENSE_EVENT_KEY=c2VjcmV0\nFELTSENSE_STREAMS=2\n"
    assert sorted(path.name for path in tmp_path.iterdir()) == [".env", "real"]


def test_a_new_file_is_its_owners_only(tmp_path: Path) -> None:
    envfile.write(tmp_path / ".env", NEW)
    assert (tmp_path / ".env").stat().st_mode & 0o777 == 0o600


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="needs to run as root")
def test_root_leaves_a_file_to_its_owner(tmp_path: Path) -> None:
    file = tmp_path / ".env"
    file.write_text("")
    os.chown(file, 1234, 1235)
    envfile.write(file, NEW)
    assert (file.stat().st_uid, file.stat().st_gid) == (1234, 1235)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: path.mkdir(), "Is a directory"),
        (lambda path: path.write_bytes(b"\xff"), "it is not UTF-8"),
        (lambda path: path.symlink_to("/nowhere/else/.env"), "its folder is not writable"),
    ],
)
def test_a_file_that_cannot_be_changed_is_named_before_anything_is_measured(
    tmp_path: Path, make, message: str
) -> None:
    make(tmp_path / ".env")
    with pytest.raises(UsageError, match=message):
        envfile.check(tmp_path / ".env")


def test_a_running_instance_is_noticed_and_not_disturbed(tmp_path: Path) -> None:
    assert not held(tmp_path)
    with claimed(tmp_path):
        assert held(tmp_path)
    assert not held(tmp_path)
