"""Work beside the stages: a thread that runs while a block does, and is told when the block ends; once, or
again and again."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from types import TracebackType
from typing import Self

from worker.observability.logging import failure, logger


class Background(ABC):
    """Runs `_run` in a thread of its own for the length of a `with` block; it must return soon after
    `_closing` is set."""

    def __init__(self, name: str) -> None:
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closing.set()
        self._thread.join()

    @property
    def begun(self) -> bool:
        return self._thread.ident is not None

    @abstractmethod
    def _run(self) -> None: ...


class Periodic(Background):
    """Does `_work` every `every_s` seconds, the first time after `first_s`; what it raises is logged as
    `NAME_failed`, and the next time comes all the same."""

    def __init__(self, name: str, *, every_s: float, first_s: float) -> None:
        super().__init__(name)
        self._name = name
        self._every_s = every_s
        self._pause_s = first_s

    def _run(self) -> None:
        while not self._closing.wait(self._pause_s):
            self._pause_s = self._every_s
            try:
                self._work()
            except Exception as error:  # noqa: BLE001  this thread must outlive any
                logger.warning(f"{self._name}_failed", **failure(error))

    @abstractmethod
    def _work(self) -> None: ...
