"""Before and behind the first reflections: the encoder runs each of its shapes once, so that no reflection
pays for one that was never seen.

A worker that waited for all shapes would serve seconds later; the shapes of a lone text are enough to begin.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

from worker.observability.logging import failure, logger
from worker.service.background import Background


class Warmup(Background):
    """Takes `steps` (each runs a shape and gives its batch size, small ones first): `begin` those of one
    text, a thread the others while the block runs."""

    def __init__(self, steps: Iterator[int]) -> None:
        super().__init__("warmup")
        self._steps = steps

    def begin(self) -> None:
        """Run the shapes of a lone text (and the first of a pair)."""
        for size in self._steps:
            if size > 1:
                return

    def _run(self) -> None:
        began = started = time.perf_counter()
        shapes = 0
        try:
            for _ in self._steps:
                shapes += 1
                # Half the time is left to the reflections that come meanwhile.
                if self._closing.wait(time.perf_counter() - started):
                    return
                started = time.perf_counter()
        except Exception as error:  # noqa: BLE001  an unwarmed shape only costs its first text more
            logger.warning("warmup_failed", **failure(error))
        else:
            logger.info("worker_warm", shapes=shapes, seconds=round(time.perf_counter() - began, 2))
