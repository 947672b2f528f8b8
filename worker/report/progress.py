"""Progress bars and remarks of long commands: on standard error, bars only where somebody is looking."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn


class Bars:
    """One bar a stage, made at its first `tell`."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._tasks: dict[str, TaskID] = {}

    def tell(self, stage: str, done: int, total: int | None) -> None:
        """`done` of `total` units of `stage` are finished; `total` None while it is not known."""
        task = self._tasks.get(stage)
        if task is None:
            task = self._tasks[stage] = self._progress.add_task(stage, total=total)
        self._progress.update(task, completed=done, total=total)

    def say(self, remark: str) -> None:
        """A line above the bars, printed as it is; never reflection text."""
        self._progress.console.print(remark, markup=False, highlight=False, soft_wrap=True)


@contextmanager
def bars() -> Iterator[Bars]:
    """Bars while the block runs; they vanish with it."""
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        yield Bars(progress)
