"""The worker's application, but a stage that meets a marked text fails in the words of that text, as a
careless library would: for good, or the first time only; or it dawdles."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from worker.errors import FeltsenseError
from worker.events.reflection import Reflection
from worker.pipeline import Pipeline
from worker.service.celery_app import app

SPOILS, STUMBLES, DAWDLES = "(spoils)", "(stumbles)", "(dawdles)"
DAWDLE_S = 1.2


class Stumble(FeltsenseError):
    """Fails in somebody's words, and is worth another try."""

    retryable = True


class Telltale:
    """`Pipeline.read`, troubled by marks."""

    def __init__(self) -> None:
        self._read = Pipeline.read
        self._stumbled: set[str] = set()

    def __call__(self, pipeline: Pipeline, reflections: Sequence[Reflection], *looks: Any) -> Any:
        for reflection in reflections:
            if DAWDLES in reflection.text:
                time.sleep(DAWDLE_S)
            if STUMBLES in reflection.text and reflection.id not in self._stumbled:
                self._stumbled.add(reflection.id)
                raise Stumble(reflection.text)
            if SPOILS in reflection.text:
                try:
                    int(reflection.text)
                except ValueError as error:
                    raise RuntimeError(f"cannot read {reflection.text!r}", reflection) from error
        return self._read(pipeline, reflections, *looks)


telltale = Telltale()
Pipeline.read = lambda self, *args: telltale(self, *args)  # type: ignore[method-assign, assignment]

__all__ = ["app"]
