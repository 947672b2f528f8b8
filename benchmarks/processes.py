"""One worker process on all threads against two on half of them each, on the same broker and database.

`python -m benchmarks.processes [--data FILE|FOLDER...] [--quick]`.
"""

from __future__ import annotations

from typing import Any

from benchmarks import command
from benchmarks.alone import alone, parser
from benchmarks.context import Context
from benchmarks.lanes import instance
from benchmarks.load import repeated
from benchmarks.rounds import Entrant, interleaved, summary
from benchmarks.servers import serving

EVENTS, EVENTS_QUICK = 4000, 1000
TURN_S = 15.0
WARM = 200


def measure(ctx: Context) -> dict[str, Any]:
    """Rates of both lanes by number of worker processes, interleaved."""
    half = max(1, ctx.settings.inference_threads // 2)
    halved = ctx.settings.model_copy(update={"inference_threads": half, "streams": 1})
    events = repeated(ctx.events, EVENTS_QUICK if ctx.quick else EVENTS)
    with (
        serving(ctx.folder / "processes") as servers,
        instance(servers, ctx.settings, ctx.folder, name="one", broker=1) as one,
        instance(servers, halved, ctx.folder, name="two", broker=2, workers=2) as two,
    ):
        lanes = (one.bulk, two.bulk, one.live, two.live)
        entrants = [Entrant(contestant=lane, most_s=TURN_S) for lane in lanes]
        turns = interleaved(entrants, events, ctx.rounds, WARM, ctx.say)
    return {name: summary(runs) for name, runs in turns.items()}


def main() -> None:
    call = parser(__doc__).parse_args()
    for name, rates in alone(measure, call, rounds=1 if call.quick else 3).items():
        print(f"{rates['median']:>8.1f}/s  {name}, CPU ms each {rates['cpu_ms_an_event']}")


if __name__ == "__main__":
    command.run(main)
