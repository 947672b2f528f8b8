"""Searches a variable's settings: trials by Optuna, kept in a database, and a verdict on what won.

The same plan, rows and seed give the same trials, killed and resumed or not: each trial's sampler is seeded
by how many were finished before it, and a trial that a kill cut off is drawn again.
"""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from numpy.typing import NDArray
from optuna.pruners import MedianPruner
from optuna.samplers import TPESampler
from optuna.storages import BaseStorage, RDBStorage
from optuna.trial import FixedTrial, FrozenTrial, Trial, TrialState

from trainer.blend.paired import paired
from trainer.errors import TrainerError
from trainer.hpo import spaces
from trainer.hpo.objective import Objective
from trainer.hpo.spaces import Value
from trainer.plan import Plan

Floats = NDArray[np.float64]

DRAWN = 10
"""Trials drawn at random before the sampler (TPE, Bergstra et al. 2011) learns from them; the first is the
plan's own settings."""
WATCHED = 6
"""Whole trials before one whose running loss is above the median of theirs is pruned."""
RESAMPLES = 1000


@dataclass(frozen=True, kw_only=True)
class Tuning:
    """What a study of one variable tried. `own` and `best` are settings by parameter, `loss` and `tuned`
    their losses on unseen rows, `gain` the 95 % interval of `loss - tuned` over resampled people. Only
    `accepted` settings enter the plan."""

    variable: str
    trials: int
    pruned: int
    own: dict[str, Value]
    best: dict[str, Value]
    loss: float
    tuned: float
    gain: tuple[float, float]
    accepted: bool

    def record(self) -> dict[str, Any]:
        """For the manifest's and the report's `tuning`."""
        return {name: value for name, value in asdict(self).items() if name != "variable"}


class _Unsynced(sqlite3.Connection):
    """Leaves writing to the system: nothing is lost when the process is killed, and twenty writes a trial do
    not wait for the disk. A crash of the machine costs the study."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.execute("PRAGMA synchronous = OFF")


@contextmanager
def storage(url: str | None, folder: Path) -> Iterator[BaseStorage]:
    """Where studies are kept: the database at `url`, or a file in `folder`.

    The file is SQLite: what a kill leaves half-written is rolled back, where a journal would end in a torn
    line. Raises `TrainerError` for a database that cannot be used.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    address = url or f"sqlite:///{folder / 'studies.sqlite'}"
    try:
        kept = RDBStorage(address, engine_kwargs=None if url else {"connect_args": {"factory": _Unsynced}})
    except Exception as error:
        # The driver's message may hold the password of the address.
        raise TrainerError(
            f"the studies' database cannot be used ({type(error).__name__}): FELTSENSE_TRAINER_STUDY_URL "
            "names a database of its own, such as postgresql+psycopg://user:password@host/studies"
        ) from error
    try:
        yield kept
    finally:
        kept.remove_session()
        kept.engine.dispose()


def tune(
    plan: Plan,
    variable: str,
    objective: Objective,
    people: Sequence[Any] | NDArray[Any],
    *,
    store: BaseStorage,
    key: str,
    judge: Objective | None = None,
    advance: Callable[[int], None],
    spread: Callable[[str, Sequence[int]], None] | None = None,
) -> tuple[Plan, Tuning]:
    """The plan with the best settings of `variable`, if they are better than its own, and what was tried.

    `people` [n] names each row's person, `key` what the study depends on (`checkpoint.key_of`), `judge` the
    rows of a validation part; without one the verdict is on the folds' own unseen rows. `advance` is told of
    trials done, `trials` in all. `spread` has trials of a study, by its name and their numbers, computed
    elsewhere; the first, of the plan's own settings, is always done here.
    """
    name = f"{plan.name} {variable} {key[:16]}"
    study = _opened(store, name)
    for left in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        study.tell(left.number, state=TrialState.FAIL)
    own = spaces.own(plan, variable)
    done = len(_finished(study))
    advance(done)
    for number in range(done, plan.search.trials[variable]):
        if number > 0 and spread is not None:
            spread(name, range(number, plan.search.trials[variable]))
            break
        if number == 0 and not study.get_trials(deepcopy=False, states=(TrialState.WAITING,)):
            study.enqueue_trial(own)
        attempt(store, name, plan, variable, objective, number)
        advance(1)
    best = _best(study, plan, variable)
    tuned = spaces.applied(plan, variable, best)
    before, after = (_whole(judge or objective, recipe) for recipe in (plan, tuned))
    gain = _gain(before.losses, after.losses, before.weight, np.asarray(people)[before.rows], plan.seed)
    accepted = best != own and gain[0] > 0
    finished = _finished(study)
    verdict = Tuning(
        variable=variable,
        trials=len(finished),
        pruned=sum(trial.state == TrialState.PRUNED for trial in finished),
        own=own,
        best=best,
        loss=before.mean,
        tuned=after.mean,
        gain=gain,
        accepted=accepted,
    )
    return (tuned if accepted else plan), verdict


def attempt(
    store: BaseStorage, name: str, plan: Plan, variable: str, objective: Objective, number: int
) -> None:
    """Trial `number` of the study `name`, whoever computes the others."""
    study = _opened(store, name)
    study.sampler = TPESampler(
        seed=_seed(plan.seed, variable, number), n_startup_trials=DRAWN, constant_liar=False
    )
    _try(study, study.ask(), plan, variable, objective)


def _opened(store: BaseStorage, name: str) -> optuna.Study:
    return optuna.create_study(
        storage=store,
        study_name=name,
        load_if_exists=True,
        pruner=MedianPruner(n_startup_trials=WATCHED, n_warmup_steps=0),
    )


def accept(
    default_losses: Floats, tuned_losses: Floats, persons: Sequence[Any] | NDArray[Any], *, seed: int = 0
) -> bool:
    """Whether tuned settings are better: the 95 % interval of the mean gain [n] over resampled people lies
    above 0."""
    even = np.ones(len(default_losses))
    return _gain(default_losses, tuned_losses, even, persons, seed)[0] > 0


def _gain(
    before: Floats, after: Floats, weight: Floats, persons: Sequence[Any] | NDArray[Any], seed: int
) -> tuple[float, float]:
    found = paired(before, after, weight, persons, seed=seed, resamples=RESAMPLES)
    return -found.high, -found.low


@dataclass(frozen=True, kw_only=True)
class _Losses:
    rows: NDArray[np.intp]
    losses: Floats
    weight: Floats

    @property
    def mean(self) -> float:
        return float(np.average(self.losses, weights=self.weight))


def _whole(objective: Objective, plan: Plan) -> _Losses:
    parts = list(objective.folds(plan, full=True))
    return _Losses(
        rows=np.concatenate([part.rows for part in parts]),
        losses=np.concatenate([part.losses for part in parts]),
        weight=np.concatenate([part.weight for part in parts]),
    )


def _try(study: optuna.Study, trial: Trial, plan: Plan, variable: str, objective: Objective) -> None:
    recipe = spaces.applied(plan, variable, spaces.draw(trial, plan, variable))
    loss = mass = 0.0
    for step, part in enumerate(objective.folds(recipe, full=False)):
        loss, mass = loss + float(part.weight @ part.losses), mass + float(part.weight.sum())
        trial.report(loss / mass, step)
        if trial.should_prune():
            study.tell(trial, state=TrialState.PRUNED)
            return
    study.tell(trial, loss / mass)


def _finished(study: optuna.Study) -> list[FrozenTrial]:
    return study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.PRUNED))


def _best(study: optuna.Study, plan: Plan, variable: str) -> dict[str, Value]:
    whole = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    best = min(whole, key=lambda trial: (trial.values[0], trial.number))
    return spaces.draw(FixedTrial(best.params), plan, variable)


def _seed(seed: int, variable: str, number: int) -> int:
    return int.from_bytes(hashlib.sha256(f"{seed} {variable} {number}".encode()).digest()[:4])
