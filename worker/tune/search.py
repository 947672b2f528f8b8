"""The search of `feltsense tune`: one factor after the other, each change proven by a duel.

First every candidate is looked at in a few rounds, then the best of them fights what stands in fresh,
interleaved pairs; only those count, so the luckiest of many candidates gains nothing. Measuring is the
bench's part: this file sees costs and a clock.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from statistics import median
from typing import Protocol

from worker.errors import DeviceFailed
from worker.tune.gain import PAIRS_LEAST, Gain, gain_of

Values = Mapping[str, object]
"""Settings by their field names."""

PAIRS_MOST = 60
ROUNDS_MOST = 3
OVERRUN = 0.15
"""How much longer than it was given the search may take, so that what it found does not miss its proof."""
LOOK_SHARE = 0.3
"""Part of a factor's time for looking at all candidates."""


class Bench(Protocol):
    """What measures. Costs are seconds (of work or of waiting) a reflection: less is better."""

    def prepare(self, measure: str, values: Values) -> str:
        """Open and warm what `values` need; says what really runs: equal words, equal things. Raises
        `DeviceFailed` where it cannot run."""

    def cost(self, measure: str, values: Values) -> float:
        """One measurement, seconds a reflection."""

    def release(self, keep: Values) -> None:
        """Close what `keep` does not need."""


@dataclass(frozen=True, kw_only=True)
class Factor:
    """Settings tried together; `candidates` give each of them a value.

    `guard` must not get worse when `measure` gets better. If one is taken, the whole is judged by `totals`
    too. A `lossy` factor changes results: it is only measured, unless loss was allowed.
    """

    name: str
    candidates: Sequence[Values]
    measure: str
    totals: Sequence[str]
    weight: float = 1.0
    guard: str | None = None
    lossy: bool = False


class Verdict(StrEnum):
    """How a factor ended."""

    taken = "taken"
    kept = "kept"
    offered = "offered"
    late = "late"
    """No time was left to prove it."""


@dataclass(frozen=True, kw_only=True)
class Choice:
    """What became of a factor: `best` of the candidates against `before`.

    `glimpse` is its ratio in the look, `gain` what the duel found, `price` what it cost the guard if that was
    too much; None where there was none.
    """

    factor: Factor
    verdict: Verdict
    before: Values
    best: Values | None = None
    gain: Gain | None = None
    price: Gain | None = None
    glimpse: float | None = None
    tried: int = 0
    failures: Sequence[str] = ()

    @property
    def after(self) -> Values:
        return self.best if self.verdict is Verdict.taken and self.best is not None else self.before


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """The choices, and the whole of them against each reference by its name and measure.

    `beats`: the whole is better than where the search began, and worse in nothing.
    """

    start: Values
    chosen: Values
    choices: Sequence[Choice]
    totals: Mapping[tuple[str, str], Gain] = field(default_factory=dict)
    beats: bool = False


class Search:
    """A run of the search, bounded by `seconds` from now, but for the round under way and the last proof."""

    def __init__(
        self, bench: Bench, *, seconds: float, clock: Callable[[], float], allow_loss: bool,
        measured: Callable[[], None], judged: Callable[[Choice], None],
    ) -> None:  # fmt: skip
        self._bench = bench
        self._clock = clock
        self._ends = clock() + seconds
        self._latest = self._ends + OVERRUN * seconds
        self._allow_loss = allow_loss
        self._measured = measured
        self._judged = judged

    def run(
        self,
        factors: Sequence[Factor],
        start: Values,
        *,
        references: Mapping[str, Values],
        final: float = 3.0,
    ) -> Outcome:
        """Decide factor by factor from `start`, then measure all choices together against `start` and the
        `references`; `final` is that last comparison's weight beside the factors'."""
        chosen = dict(start)
        choices: list[Choice] = []
        for at, factor in enumerate(factors):
            weights = final + sum(one.weight for one in factors[at:])
            choice = self._try(factor, chosen, share=factor.weight / weights)
            choices.append(choice)
            chosen.update(choice.after)
            self._judged(choice)
            self._bench.release(chosen)
        outcome = Outcome(start=dict(start), chosen=chosen, choices=choices)
        return self._confirm(outcome, references) if chosen != outcome.start else outcome

    def _try(self, factor: Factor, standing: Values, share: float) -> Choice:
        before = {name: standing[name] for name in factor.candidates[0]}
        if self._clock() >= self._ends:
            return Choice(factor=factor, verdict=Verdict.late, before=before)
        rivals, failures = self._rivals(factor, standing, before)
        kept = Choice(
            factor=factor, verdict=Verdict.kept, before=before, tried=len(rivals), failures=failures
        )
        began = self._clock()
        if not rivals and began < self._ends:
            return kept
        until = began + (self._ends - began) * share
        if began >= until:
            return replace(kept, verdict=Verdict.late)
        best, glimpse, measurements = self._look(factor, standing, rivals, until)
        kept = replace(kept, best=best, glimpse=glimpse)
        if glimpse <= 1:
            return kept
        # A duel may run over, but what comes after it needs most of what is left.
        latest = until + (self._ends - until) / 3
        if self._clock() + 2 * PAIRS_LEAST * (self._clock() - began) / measurements > latest:
            return replace(kept, verdict=Verdict.late)
        entrants = [standing, {**standing, **best}]
        (gain,) = self._duel([factor.measure], entrants, until, latest)[factor.measure]
        fought = replace(kept, gain=gain)
        if gain.pairs < PAIRS_LEAST:
            return replace(fought, verdict=Verdict.late)
        if not gain.proven:
            return fought
        if factor.guard is not None:
            for values in entrants:
                self._bench.prepare(factor.guard, values)
            (price,) = self._duel([factor.guard], entrants, self._clock(), latest)[factor.guard]
            if price.pairs < PAIRS_LEAST:
                return replace(fought, verdict=Verdict.late)
            if price.worse:
                return replace(fought, price=price)
        allowed = self._allow_loss or not factor.lossy
        return replace(fought, verdict=Verdict.taken if allowed else Verdict.offered)

    def _rivals(self, factor: Factor, standing: Values, before: Values) -> tuple[list[Values], list[str]]:
        """The candidates that run and are not what stands, or each other, under another name."""
        known = {self._bench.prepare(factor.measure, standing)}
        rivals: list[Values] = []
        failures: list[str] = []
        for candidate in factor.candidates:
            if dict(candidate) == before or self._clock() >= self._ends:
                continue
            try:
                runs = self._bench.prepare(factor.measure, {**standing, **candidate})
            except DeviceFailed as error:
                failures.append(f"{', '.join(map(str, candidate.values()))}: {error}")
                continue
            if runs not in known:
                known.add(runs)
                rivals.append(candidate)
        return rivals, failures

    def _look(
        self, factor: Factor, standing: Values, rivals: Sequence[Values], until: float
    ) -> tuple[Values, float, int]:
        """The most promising rival, how many times cheaper than what stands it looked, and the number of
        measurements."""
        began = self._clock()
        entrants: list[Values] = [standing, *({**standing, **rival} for rival in rivals)]
        costs: list[list[float]] = [[] for _ in entrants]
        for turn in range(ROUNDS_MOST):
            if turn and self._clock() - began > LOOK_SHARE * (until - began):
                break
            self._round(factor.measure, entrants, costs, turn)
        ratios = [
            median(one / other for one, other in zip(costs[0], rival, strict=True)) for rival in costs[1:]
        ]
        at = max(range(len(ratios)), key=ratios.__getitem__)
        return rivals[at], ratios[at], len(entrants) * len(costs[0])

    def _duel(
        self, measures: Sequence[str], entrants: Sequence[Values], until: float, latest: float
    ) -> dict[str, list[Gain]]:
        """The last entrant against each of the others, by measure: rounds `until` a time, but for the fewest
        that can prove anything until the `latest`."""
        costs: dict[str, list[list[float]]] = {name: [[] for _ in entrants] for name in measures}
        for turn in range(PAIRS_MOST):
            if self._clock() >= (until if turn >= PAIRS_LEAST else latest):
                break
            for name in measures:
                self._round(name, entrants, costs[name], turn)
        return {name: [gain_of(one, rows[-1]) for one in rows[:-1]] for name, rows in costs.items()}

    def _round(
        self, measure: str, entrants: Sequence[Values], costs: Sequence[list[float]], turn: int
    ) -> None:
        """Each entrant once, in an order that changes: what drifts or comes second must not decide."""
        order = range(len(entrants))
        for at in order if turn % 2 == 0 else reversed(order):
            costs[at].append(self._bench.cost(measure, entrants[at]))
            self._measured()

    def _confirm(self, outcome: Outcome, references: Mapping[str, Values]) -> Outcome:
        """All choices together against where the search began, and against the references that differ."""
        taken = [choice.factor for choice in outcome.choices if choice.verdict is Verdict.taken]
        measures = list(dict.fromkeys(name for factor in taken for name in factor.totals))
        others = {n: v for n, v in references.items() if v not in (outcome.start, outcome.chosen)}
        totals: dict[tuple[str, str], Gain] = {}
        # What decides comes first; the references get what time is left.
        for at, (name, values) in enumerate({"before": outcome.start, **others}.items()):
            if totals and self._clock() >= self._ends:
                break
            entrants = [values, outcome.chosen]
            for measure in measures:
                for one in entrants:
                    self._bench.prepare(measure, one)
            now = self._clock()
            until = now + (self._ends - now) / (1 + len(others) - at)
            gains = self._duel(measures, entrants, until, self._latest)
            totals |= {(name, measure): gain for measure, (gain,) in gains.items() if gain.pairs}
        own = [gain for (name, _), gain in totals.items() if name == "before"]
        return replace(
            outcome,
            totals=totals,
            beats=any(gain.proven for gain in own) and not any(gain.high < 1 for gain in own),
        )
