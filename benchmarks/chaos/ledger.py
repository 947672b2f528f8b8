"""What a run has done so far, on disk line by line: an interrupted one goes on with the round it was in."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

FILE = "ledger.jsonl"


class Ledger:
    """The finished rounds of a run in `folder`, for one plan (seed, events, faults, hosts and what shapes
    them)."""

    def __init__(self, folder: Path, plan: Mapping[str, Any]) -> None:
        self._path = folder / FILE
        self._plan = json.loads(json.dumps(plan))
        self.rounds: list[dict[str, Any]] = []

    def read(self) -> bool:
        """Take over what an interrupted run of the same plan has finished; False when there is none.

        A last line that a kill has torn is no finished round.
        """
        if not self._path.exists():
            return False
        lines = []
        for line in self._path.read_text("utf-8").splitlines():
            try:
                lines.append(json.loads(line))
            except ValueError:
                break
        if not lines or lines[0] != {"plan": self._plan}:
            return False
        self.rounds = [line["round"] for line in lines[1:]]
        self._write(*lines)
        return True

    def begin(self) -> None:
        """Start with no round."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._write({"plan": self._plan})

    def add(self, finished: Mapping[str, Any]) -> None:
        """Append a finished round; it is on the disk when this returns."""
        self.rounds.append(dict(finished))
        with self._path.open("a", encoding="utf-8") as ledger:
            ledger.write(json.dumps({"round": finished}) + "\n")
            ledger.flush()
            os.fsync(ledger.fileno())

    def _write(self, *lines: Mapping[str, Any]) -> None:
        partial = self._path.with_suffix(".partial")
        partial.write_text("".join(json.dumps(line) + "\n" for line in lines), "utf-8")
        partial.rename(self._path)
