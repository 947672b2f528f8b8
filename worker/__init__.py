"""The journey of a reflection. Start with `worker/pipeline.py`."""

import os

# Before numpy is first imported. Products here are small; on several threads they cost five times the CPU
# and, when the cores are busy, twenty times the wait (measured on 64 x 426 by 426 x 100, float64).
for _library in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS"):
    os.environ.setdefault(_library, "1")
