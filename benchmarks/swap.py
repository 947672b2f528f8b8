"""What an exchange of bundles takes in a worker: memory and processor time to open one beside another, and
what is left of it when the old one has gone.

`python -m benchmarks.swap [DIR]` goes to and fro between the starter bundle and DIR (the starter again, when
left out: then both share the encoder, as all bundles with equal tuned layers do).
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

from benchmarks import command
from worker.observability import logging
from worker.pipeline import Pipeline
from worker.service import heap
from worker.service.serving import Serving
from worker.service.swap import rehearse
from worker.settings import Settings

TURNS = 3


def main() -> None:
    logging.configure("warning")
    heap.limit()
    settings = Settings()
    other = Path(sys.argv[1]) if len(sys.argv) > 1 else None
    serving = Serving()
    try:
        _exchange(serving, None, settings)
        for _ in range(TURNS):
            _exchange(serving, other, settings)
            _exchange(serving, None, settings)
    finally:
        serving.close()


def _exchange(serving: Serving, folder: Path | None, settings: Settings) -> None:
    current = serving.peek()
    beside = None if current is None else current.pipeline
    used, began = time.process_time(), time.perf_counter()
    pipeline = Pipeline.open(folder, settings, beside=beside)
    shared = beside is not None and beside.fork == pipeline.fork
    if not shared:
        for _ in pipeline.warm():
            pass
    rehearse(pipeline)
    used, took = time.process_time() - used, time.perf_counter() - began
    both = _resident_mb()
    serving.switch(pipeline)
    del current, beside, pipeline
    serving.retire()
    print(
        f"{serving.version}: {'encoder shared' if shared else 'encoder of its own'},"
        f" {used:.1f} s of CPU ({took:.1f} s), {both:.0f} MB with the old one, {_resident_mb():.0f} MB after"
    )


def _resident_mb() -> float:
    return int(Path("/proc/self/status").read_text().partition("VmRSS:")[2].split()[0]) / 1024


if __name__ == "__main__":
    command.run(main)
