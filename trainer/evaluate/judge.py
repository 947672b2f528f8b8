"""What a bundle says about labelled rows, in arrays: the table every figure of an evaluation is counted on.

The worker's own pipeline reads, encodes and appraises each text once, then places it three times: as a
stranger's only reflection, after the person's earlier texts, and after their earlier self-reports as well.
A second appraisal of shuffled texts (each row gets the text of another row of its source) shows what is left
without the text. Neither texts nor perceptions are kept, only numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainer.data.labelled import Labelled
from worker.events.perception import Appraisal, Emotion, Placement, Trace
from worker.events.timeline import Timeline, timelines
from worker.events.variables import CORES, FLAGS
from worker.features.schema import HISTORY
from worker.inference.lanes import Encoded
from worker.pipeline import BATCH, Pipeline, Readings

Column = NDArray[Any]
Rows = NDArray[np.intp]
Progress = Callable[[str, int, int], None]
"""(stage, rows done, rows in all)."""

ALONE, TEXTS, REPORTS = "text alone", "with earlier texts", "with earlier self-reports"
REGIMES = (ALONE, TEXTS, REPORTS)
APPRAISED = ("willingness", "expressed", "invoked")
PLACED = ("valence", "arousal", "congruence", "expected_valence", "expected_arousal")
_SELF = [HISTORY.index("self_valence"), HISTORY.index("self_arousal")]


@dataclass(frozen=True, kw_only=True)
class Table:
    """Columns of one length: a variable by its name ([n], emotions [n, 7]: cores, then none), its 80 %
    interval as `<name>.interval` [n, 2], its blend as `<name>.before`, each base as `<name>.of.<base>` and
    `<name>.weight.<base>` (NaN and 0 where the base was missing)."""

    columns: Mapping[str, Column]

    def __getitem__(self, name: str) -> Column:
        return self.columns[name]

    def __contains__(self, name: str) -> bool:
        return name in self.columns

    def __len__(self) -> int:
        return len(next(iter(self.columns.values())))

    def bases(self, name: str) -> tuple[str, ...]:
        """The bases that took part in at least one row."""
        start = f"{name}.of."
        return tuple(column.removeprefix(start) for column in self.columns if column.startswith(start))

    def weights(self, name: str) -> NDArray[np.float64]:
        """[n, bases], 0 for a missing base."""
        return np.stack([self.columns[f"{name}.weight.{base}"] for base in self.bases(name)], axis=1)

    def predictions(self, name: str) -> NDArray[np.float64]:
        """[n, bases] or [n, bases, k], NaN for a missing base."""
        return np.stack([self.columns[f"{name}.of.{base}"] for base in self.bases(name)], axis=1)

    def take(self, rows: Rows) -> Table:
        return Table(columns={name: column[rows] for name, column in self.columns.items()})

    def over(self, other: Table, rows: Rows) -> Table:
        """This table with `rows` replaced by those of `other`, which are as many."""
        columns = {}
        for name in dict.fromkeys((*self.columns, *other.columns)):
            like = other.columns.get(name, self.columns.get(name))
            assert like is not None
            whole = self.columns.get(name, _absent(name, len(self), like)).copy()
            whole[rows] = other.columns.get(name, _absent(name, len(rows), like))
            columns[name] = whole
        return Table(columns=columns)


def joined(parts: Sequence[Table]) -> Table:
    """One table after the other; a column that a part lacks is missing there."""
    columns = {}
    for name in dict.fromkeys(name for part in parts for name in part.columns):
        like = next(part[name] for part in parts if name in part)
        columns[name] = np.concatenate(
            [part.columns.get(name, _absent(name, len(part), like)) for part in parts]
        )
    return Table(columns=columns)


def _absent(name: str, count: int, like: Column) -> Column:
    return np.full((count, *like.shape[1:]), 0.0 if ".weight." in name else np.nan)


@dataclass(frozen=True, kw_only=True)
class Judged:
    """Row i of every table belongs to `rows[i]`. `appraised` has also `flags` [n, 8], `level`, `language`,
    `supported`, `<emotion>.path` (tuples), `lexical` and `vectors`. `earlier` [n]: how many reflections the
    person's timeline held before the row."""

    rows: Sequence[Labelled]
    appraised: Table
    placed: Mapping[str, Table]
    shuffled: Table
    placed_shuffled: Mapping[str, Table]
    earlier: NDArray[np.int64]


def judge(
    pipeline: Pipeline, rows: Sequence[Labelled], unseen: NDArray[np.bool_], *, seed: int, tell: Progress
) -> Judged:
    """Perceive `rows`; only the `unseen` [n] are judged, the others of their people are history.

    Raises what the pipeline raises.
    """
    people = {row.reflection.user_id for row, new in zip(rows, unseen, strict=True) if new}
    kept = np.flatnonzero([row.reflection.user_id in people for row in rows])
    rows, judged = [rows[at] for at in kept.tolist()], np.flatnonzero(unseen[kept])
    traces: dict[str, list[Trace]] = {}
    tables = {}
    for name, (found, left) in _appraise(pipeline, rows, seed=seed, tell=tell).items():
        traces[name], tables[name] = left, found.take(judged)
    silent = {name: [_silent(trace) for trace in found] for name, found in traces.items()}
    placed = {}
    for name, own in traces.items():
        with_reports, with_texts = _timelines(own), _timelines(silent[name])
        items: dict[str, list[tuple[Trace, Timeline]]] = {
            ALONE: [(own[at], Timeline.cut((), own[at].created_at, len(HISTORY))) for at in judged.tolist()],
            TEXTS: [(own[at], with_texts[at]) for at in judged.tolist()],
            REPORTS: [(own[at], with_reports[at]) for at in judged.tolist()],
        }
        placed[name] = _place(pipeline, items, stage=f"place ({name} texts)", tell=tell)
    earlier = np.array([len(timeline.times) for timeline in _timelines(traces["own"])], dtype=np.int64)
    return Judged(
        rows=[rows[at] for at in judged.tolist()],
        appraised=tables["own"],
        placed=placed["own"],
        shuffled=tables["shuffled"],
        placed_shuffled=placed["shuffled"],
        earlier=earlier[judged],
    )


def _appraise(
    pipeline: Pipeline, rows: Sequence[Labelled], *, seed: int, tell: Progress
) -> dict[str, tuple[Table, list[Trace]]]:
    """Stage A of every row with its own and with another's text, in the order of `rows`."""
    parts = _batches([row.source for row in rows], seed)
    found: dict[str, list[Table]] = {"own": [], "shuffled": []}
    traces: dict[str, list[Trace]] = {"own": [], "shuffled": []}
    done = 0

    def started(part: Rows) -> tuple[Rows, Readings, Future[Encoded]]:
        readings = pipeline.read([rows[at].reflection for at in part])
        return part, readings, pipeline.encode(readings)

    waiting = started(parts[0]) if parts else None
    for following in [*parts[1:], None]:
        assert waiting is not None
        part, readings, future = waiting
        encoded = future.result()
        waiting = None if following is None else started(following)
        turned = np.roll(np.arange(len(part)), 1)
        for name, read, seen in (
            ("own", readings, encoded),
            ("shuffled", _exchanged(readings, turned), replace(encoded, vectors=encoded.vectors[turned])),
        ):
            appraisals = pipeline.appraise(read, seen)
            features: dict[str, Column] = (
                {"lexical": read.lexical, "vectors": seen.vectors} if name == "own" else {}
            )
            found[name].append(Table(columns={**_appraised(appraisals), **features}))
            traces[name] += [appraisal.trace for appraisal in appraisals]
        done += len(part)
        tell("appraise", done, len(rows))
    back = np.argsort(np.concatenate(parts), kind="stable")
    return {name: (joined(found[name]).take(back), [traces[name][at] for at in back]) for name in found}


def _batches(sources: Sequence[str], seed: int) -> list[Rows]:
    """Rows of one source each, in random order, so that the neighbour in a batch is anybody."""
    rng = np.random.default_rng(seed)
    names = np.array(sources)
    parts: list[Rows] = []
    for name in dict.fromkeys(sources):
        mine = rng.permutation(np.flatnonzero(names == name))
        parts += np.array_split(mine, -(-len(mine) // BATCH))
    return parts


def _exchanged(readings: Readings, turned: Rows) -> Readings:
    """The same reflections with each other's texts."""
    return replace(
        readings,
        texts=[readings.texts[at] for at in turned],
        lexical=readings.lexical[turned],
        counts=readings.counts[turned],
        screens=readings.screens[turned],
        tokens=[readings.tokens[at] for at in turned],
    )


def _silent(trace: Trace) -> Trace:
    history = trace.history.copy()
    history[_SELF] = np.nan
    return replace(trace, history=history)


def _timelines(traces: Sequence[Trace]) -> list[Timeline]:
    return timelines([trace.user_id for trace in traces], [trace.moment for trace in traces], len(HISTORY))


def _place(
    pipeline: Pipeline,
    items: Mapping[str, Sequence[tuple[Trace, Timeline]]],
    *,
    stage: str,
    tell: Progress,
) -> dict[str, Table]:
    """Stage B by regime; a row without a past is the same in all three and is placed once."""
    later = np.flatnonzero([len(timeline.times) > 0 for _, timeline in items[REPORTS]])
    total, done = len(items[ALONE]) + 2 * len(later), 0

    def place(part: Sequence[tuple[Trace, Timeline]]) -> Iterable[Table]:
        nonlocal done
        for start in range(0, len(part), BATCH):
            chunk = part[start : start + BATCH]
            yield Table(columns=_placed(pipeline.place(chunk)))
            done += len(chunk)
            tell(stage, done, total)

    alone = joined(list(place(items[ALONE])))
    found = {ALONE: alone}
    for regime in (TEXTS, REPORTS):
        chosen = [items[regime][at] for at in later.tolist()]
        found[regime] = alone.over(joined(list(place(chosen))), later) if chosen else alone
    return found


def _appraised(appraisals: Sequence[Appraisal]) -> dict[str, Column]:
    columns: dict[str, Column] = {
        "willingness": np.array([one.willingness for one in appraisals]),
        "willingness.interval": np.array([one.willingness_interval for one in appraisals]),
        "flags": np.array([[one.risk.flags[flag] for flag in FLAGS] for one in appraisals]),
        "level": np.array([one.risk.level for one in appraisals], dtype=object),
        "language": np.array([one.language for one in appraisals], dtype=object),
        "supported": np.array([one.language_supported for one in appraisals]),
    }
    for name in ("expressed", "invoked"):
        emotions: list[Emotion] = [getattr(one, name) for one in appraisals]
        columns[name] = np.array([_classes(one) for one in emotions])
        paths = np.empty(len(emotions), dtype=object)
        paths[:] = [one.path for one in emotions]
        columns[f"{name}.path"] = paths
    return columns | _stacks(APPRAISED, [one.provenance for one in appraisals])


def _classes(emotion: Emotion) -> list[float]:
    return [(1 - emotion.neutral) * emotion.cores[core] for core in CORES] + [emotion.neutral]


def _placed(placements: Sequence[Placement]) -> dict[str, Column]:
    columns: dict[str, Column] = {}
    for name in (*PLACED, "comparator"):
        columns[name] = np.array([getattr(one, name) for one in placements])
        columns[f"{name}.interval"] = np.array([one.intervals[name] for one in placements])
    return columns | _stacks(PLACED, [one.provenance for one in placements])


def _stacks(names: Iterable[str], provenance: Sequence[Mapping[str, Any]]) -> dict[str, Column]:
    """Every base's predictions and weights, from what the rows themselves say."""
    columns: dict[str, Column] = {}
    for name in names:
        told = [one[name] for one in provenance]
        columns[f"{name}.before"] = np.array([one["before"] for one in told])
        missing = np.full_like(columns[f"{name}.before"][0], np.nan)
        for base in dict.fromkeys(base for one in told for base in one["predictions"]):
            columns[f"{name}.of.{base}"] = np.array([one["predictions"].get(base, missing) for one in told])
            columns[f"{name}.weight.{base}"] = np.array([one["weights"].get(base, 0.0) for one in told])
    return columns
