"""A part of the benchmark by itself: `python -m benchmarks.<part>`, with the options all parts share."""

from __future__ import annotations

import argparse
import json
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.context import Context, Part
from benchmarks.load import SAMPLE, events
from worker.settings import Settings


def parser(description: str | None) -> argparse.ArgumentParser:
    """The shared options."""
    made = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    made.add_argument(
        "--data", type=Path, nargs="+", default=[SAMPLE], help="event lines (JSONL) or folders of corpora"
    )
    made.add_argument("--quick", action="store_true", help="a small part of the work, for a first look")
    made.add_argument("--bundle", type=Path, help="another bundle than the starter")
    made.add_argument("--folder", type=Path, help="where the databases lie meanwhile; else the system's")
    made.add_argument("--out", type=Path, help="where to write the figures as JSON")
    return made


def alone(part: Part, call: argparse.Namespace, *, rounds: int) -> dict[str, Any]:
    """The figures of one part, written to `--out` too."""
    chosen = {} if call.bundle is None else {"bundle": call.bundle.absolute()}
    # Never the operator's own services, and in the open: what is measured is this instance alone.
    own: dict[str, Any] = {"broker_url": None, "database_url": None, "event_key": None, "metrics_port": 0}
    with tempfile.TemporaryDirectory(prefix="feltsense-bench-", dir=call.folder) as folder:
        context = Context(
            quick=call.quick,
            rounds=rounds,
            events=events(call.data),
            folder=Path(folder),
            settings=Settings(run_dir=Path(folder) / "run", flower=False, **own, **chosen),
            say=partial(print, flush=True),
        )
        report = part(context)
    if call.out is not None:
        call.out.parent.mkdir(parents=True, exist_ok=True)
        call.out.write_text(json.dumps(report, indent=2) + "\n")
    return report
