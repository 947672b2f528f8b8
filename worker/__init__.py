"""The journey of a reflection. Start with `worker/pipeline.py`."""

import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from worker.pipeline import Pipeline as Pipeline

# Before numpy is first imported. Products here are small; on several threads they cost five times the CPU
# and, when the cores are busy, twenty times the wait (measured on 64 x 426 by 426 x 100, float64).
for _library in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS"):
    os.environ.setdefault(_library, "1")


def __getattr__(name: str) -> Any:
    """`worker.Pipeline`, for notebooks and tests; loaded when asked for, with the models' libraries."""
    if name == "Pipeline":
        from worker.pipeline import Pipeline

        return Pipeline
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
