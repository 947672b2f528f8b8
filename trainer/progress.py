"""How far a rebuild is: a bar for the whole with the time left and one for its current step, or a line a
step where nobody watches a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from time import monotonic
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TaskID, TextColumn
from rich.text import Text

from trainer.plan import Plan
from worker.observability import training


def expected(plan: Plan, rows: int) -> dict[str, float]:
    """Seconds of each step on two cores, from the plan and the labelled rows, as measured. Only their ratios
    matter: what the run itself has taken so far sets the scale."""
    thousands = rows / 1000.0
    each = {
        "split": 0.35 * thousands,
        "extract features": 1.0 * thousands,
        **{
            f"search {name}": (0.15 + 0.03 * thousands) * trials
            for name, trials in plan.search.trials.items()
        },
        "cross-fit the text bases": (0.9 * thousands + _tuning(plan, thousands)) * plan.folds,
        "stack what one text tells": 0.3 * thousands,
        "cross-fit the timelines": 0.05 * thousands * (plan.folds + 1) * plan.net.epochs,
        "decide and measure": 0.2 * thousands,
        "refit on all rows": 1.0 * thousands + _tuning(plan, thousands),
        "prove and write": 10.0,
    }
    return {name: seconds for name, seconds in each.items() if seconds > 0}


def _tuning(plan: Plan, thousands: float) -> float:
    """Seconds of one fit of base Tr."""
    if plan.transformer is None:
        return 0.0
    rows = min(thousands, (plan.transformer.rows or 1e9) / 1000.0)
    return 1.6 * rows * plan.transformer.layers * plan.transformer.epochs


class Tell(Protocol):
    """Who wants to know how far a rebuild is, and may end it by raising."""

    def __call__(self, *, step: str, done: int, total: int, share: float) -> None: ...


class Steps:
    """The steps of one rebuild, one after the other. A step that `expected` does not name, or names a second
    time, adds its share when it comes."""

    def __init__(
        self,
        expected: Mapping[str, float],
        console: Console,
        bars: Progress | None,
        tell: Tell | None = None,
    ) -> None:
        self._tell = tell
        self._left = dict(expected)
        self._console = console
        self._bars = bars
        self._whole = None if bars is None else bars.add_task("all", total=sum(expected.values()))
        self._done = 0.0
        self._name: str | None = None
        self._weight = 0.0
        self._bar: TaskID | None = None
        self._total, self._advanced = 1, 0
        self._began = monotonic()

    def __call__(self, name: str, total: int) -> None:
        """End the step before and begin `name` of `total` units."""
        self.finish()
        self._name, self._total, self._advanced, self._began = name, max(total, 1), 0, monotonic()
        mean = sum(self._left.values()) / len(self._left) if self._left else 1.0
        self._weight = self._left.pop(name, mean)
        training.step_began(name)
        if self._bars is not None:
            self._bar = self._bars.add_task(name, total=total)
        self._show()

    def advance(self, done: int) -> None:
        """`done` more units of the current step."""
        self._advanced = min(self._advanced + done, self._total)
        if self._bars is not None and self._bar is not None:
            self._bars.update(self._bar, completed=self._advanced)
        self._show()

    def say(self, remark: str) -> None:
        """A line above the bars; never reflection text."""
        self._console.print(remark, markup=False, highlight=False, soft_wrap=True)

    def finish(self) -> None:
        """End the current step."""
        if self._name is None:
            return
        self._done += self._weight
        if self._bars is not None and self._bar is not None:
            self._bars.remove_task(self._bar)
        seconds = monotonic() - self._began
        training.step_ended(self._name, seconds)
        self.say(f"{self._name:<28} {seconds:8.1f} s")
        self._name, self._bar, self._weight, self._advanced = None, None, 0.0, 0
        self._show()

    def _show(self) -> None:
        done = self._done + self._weight * self._advanced / self._total
        total = self._done + self._weight + sum(self._left.values())
        if self._bars is not None and self._whole is not None:
            self._bars.update(self._whole, completed=done, total=total)
        if self._tell is not None and self._name is not None:
            share = round(done / total, 3) if total else 0.0
            self._tell(step=self._name, done=self._advanced, total=self._total, share=share)


class _Left(ProgressColumn):
    """Time left: what is to do, at the speed of what is done. Rich's own looks at the last half minute only,
    and steps differ."""

    def render(self, task: Task) -> Text:
        left = time_left(elapsed=task.elapsed or 0.0, done=task.completed, total=task.total or 0.0)
        if left is None:
            return Text("-:--:-- left")
        minutes, seconds = divmod(int(left), 60)
        return Text(f"{minutes // 60}:{minutes % 60:02}:{seconds:02} left")


class _Count(MofNCompleteColumn):
    """Units of a step; the whole is in seconds, which say nothing as a count."""

    def render(self, task: Task) -> Text:
        return Text("") if task.description == "all" else super().render(task)


def time_left(*, elapsed: float, done: float, total: float) -> float | None:
    """Seconds left, None before anything is done."""
    return elapsed / done * (total - done) if done > 0 else None


@contextmanager
def steps(console: Console, plan: Plan, rows: int, tell: Tell | None = None) -> Iterator[Steps]:
    """Steps of a rebuild of `rows` labelled rows by `plan`, shown on `console` and told to `tell`."""
    if not console.is_terminal:
        shown = Steps(expected(plan, rows), console, None, tell)
        yield shown
        shown.finish()
        return
    columns = (TextColumn("{task.description:<28}"), BarColumn(), _Count(), _Left())
    with Progress(*columns, console=console, transient=True) as bars:
        shown = Steps(expected(plan, rows), console, bars, tell)
        yield shown
        shown.finish()
