"""The rebuild of a soak, in a process of its own: `python -m benchmarks.soak.rebuild FILE RESERVED OUT`.

The instance's own consented labels and a labelled file in, a small bundle out, which is compared with the
serving one and tried beside it (`trainer.promote.switch.consider`), as the scheduled rebuild does. Prints the
outcome as JSON. The database is FELTSENSE_DATABASE_URL.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from rich.console import Console

from benchmarks import command
from benchmarks.challengers import PLAN
from trainer import rebuild
from trainer.data import labelled, operator
from trainer.data.labelled import OPERATOR
from trainer.plan import Source
from trainer.promote import switch
from trainer.settings import TrainerSettings
from worker.commands.configured import opened
from worker.courtesy import give_way
from worker.settings import Settings

OWN = 120
"""Rows of the instance's own, of whole people, that the rebuild learns from."""


def main() -> None:
    file, reserved, out = (Path(one) for one in sys.argv[1:4])
    settings, trainer = Settings(), TrainerSettings()
    give_way()  # as the trainer does
    with opened(settings) as store:
        own = operator.rows(store)
        sources = {**PLAN.sources, OPERATOR: Source(cap=OWN)}
        plan = PLAN.model_copy(update={"name": "soak", "ship": False, "sources": sources})
        rebuild.fit([*labelled.load([file]), *own], plan, out, Console(quiet=True), trainer)
        rows = operator.joined(labelled.load([reserved]), own)
        done = switch.consider(store, settings, out, rows=rows, automatic=False)
    told = {"version": done.version, "done": done.done, "own_rows": len(own)}
    if done.verdict is not None:
        told |= {"decision": done.verdict.decision, "reasons": list(done.verdict.reasons)}
    print(json.dumps(told))


if __name__ == "__main__":
    command.run(main)
