"""The serving benchmark's own arithmetic, and its ceiling on a handful of texts."""

import ast
import io
import json
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from benchmarks import latency, load, rounds, table
from benchmarks.encoders import Ceiling, agreement
from benchmarks.machine import machine
from benchmarks.rounds import Entrant, Run
from worker.errors import UsageError
from worker.inference.encoder import Encoder
from worker.settings import Settings

ROOT = Path(__file__).parents[2]
TEXTS = ["Tired.", "Aaj ka din theek tha, bas thoda thak gaya.", "I called my sister and we laughed. " * 9]


class Steady:
    """A contestant of a known rate that remembers its turns."""

    def __init__(self, name, rate, diary):
        self.name = name
        self.rate = rate
        self.diary = diary

    def run(self, events, tag):
        self.diary.append((self.name, tag, [event["id"] for event in events]))
        return Run(events=len(events), seconds=len(events) / self.rate, cpu_s={"worker 1": 0.5})


def events_of(count):
    return load.repeated([{"id": "a", "user_id": "u", "text": "fine"}], count)


@pytest.mark.parametrize(
    ("number", "expected"),
    [(0, ["a", "b", "c"]), (1, ["b", "c", "a"]), (2, ["c", "a", "b"]), (3, ["a", "b", "c"])],
)
def test_every_round_begins_with_another_contestant(number, expected):
    assert rounds.order(["a", "b", "c"], number) == expected


def test_all_take_turns_on_the_same_texts_and_a_slow_one_on_fewer():
    diary = []
    entrants = [
        Entrant(contestant=Steady("fast", 1000, diary), most_s=1.0),
        Entrant(contestant=Steady("slow", 20, diary), most_s=1.0),
    ]

    turns = rounds.interleaved(entrants, events_of(100), 2, 5, lambda _: None)

    counted = [(name, tag, len(ids)) for name, tag, ids in diary if tag.startswith("r")]
    assert counted == [("fast", "r0", 100), ("slow", "r0", 20), ("slow", "r1", 20), ("fast", "r1", 100)]
    assert {name: [run.rate for run in runs] for name, runs in turns.items()} == {
        "fast": [1000, 1000],
        "slow": [20, 20],
    }


def test_a_summary_tells_median_spread_and_processor_time():
    turns = [Run(events=10, seconds=s, cpu_s={"worker 1": s / 2}) for s in (1.0, 0.5, 2.0)]

    told = rounds.summary(turns)

    assert (told["median"], told["min"], told["max"]) == (10.0, 5.0, 20.0)
    assert told["rounds"] == [10.0, 20.0, 5.0]
    assert told["cpu_ms_an_event"] == {"worker 1": 50.0}


def test_events_fed_again_are_other_peoples(tmp_path):
    good = {
        "id": "r",
        "user_id": "u",
        "text": "fine",
        "created_at": "2026-11-01T08:00:00Z",
        "labels": {"valence": 1},
    }
    file = tmp_path / "events.jsonl"
    file.write_text("\n".join([json.dumps(good), "no json", "7", json.dumps({**good, "text": " "})]))

    (found,) = load.events([file])
    first, second = load.repeated([found], 2)
    again = load.tagged([first], "r1")[0]

    assert "labels" not in found
    assert len({first["id"], second["id"], again["id"]}) == 3
    assert len({first["user_id"], second["user_id"], again["user_id"]}) == 3
    file.write_text("no json")
    with pytest.raises(UsageError, match="no valid event"):
        load.events([file])


def test_arrivals_ascend_and_keep_their_rate():
    moments = latency.schedule(50.0, 20.0, seed=1)

    assert len(moments) == 1000
    assert np.all(np.diff(moments) > 0)
    assert moments[-1] == pytest.approx(20.0, rel=0.15)


REPORT = {
    "ceiling_per_s": 800.0,
    "naive_per_s": 50.0,
    "peer_per_s": 200.0,
    "live_per_s": 240.0,
    "bulk_per_s": 520.0,
    "encoder_per_s": 1040.0,
    "rss_mb": 710.0,
    "latency_ms": {"50": {"rate_per_s": 120, "p50": 12.0, "p95": 30.0, "p99": 60.0, "max": 90.0}},
    "naive_latency_ms": {"50": {"rate_per_s": 25, "p50": 40.0, "p95": 60.0, "p99": 80.0, "max": 90.0}},
    "rates": {
        "(e) bulk": {
            "median": 520.0,
            "min": 500.0,
            "max": 530.0,
            "events": 10,
            "cpu_ms_an_event": {"worker 1": 2},
        }
    },
}


def test_goals_are_judged_by_their_figures_and_never_without_them():
    verdicts = {goal.name: (goal.value, goal.verdict) for goal in table.goals(REPORT)}

    assert verdicts["bulk / ceiling"] == (0.65, "met")
    assert verdicts["bulk / naive peer"] == (10.4, "met")
    assert verdicts["live / naive peer"] == (4.8, "missed")
    assert verdicts["own encoder / ceiling"] == (1.3, "met")
    assert verdicts["worker's memory"] == (710.0, "missed")
    assert verdicts["p50 at 50 %"] == (12.0, "met")
    assert verdicts["p99 at 50 %"] == (60.0, "missed")
    assert verdicts["p99 at 50 %, below the naive peer's"] == (60.0, "met")
    assert verdicts["p99 at 80 %"] == (None, "not measured")

    alone = {**REPORT, "naive_per_s": None, "peer_per_s": None, "naive_latency_ms": None}
    verdicts = {goal.name: goal.verdict for goal in table.goals(alone)}
    assert verdicts["bulk / naive peer"] == verdicts["bulk / good peer"] == "not measured"


def test_the_table_says_what_was_measured_and_what_was_not():
    console = Console(width=120, record=True, file=io.StringIO())

    table.show({**REPORT, "machine": machine(), "not_measured": {"peer_per_s": "no network"}}, console)

    shown = console.export_text()
    for part in ("(e) bulk", "520", "no network", "bulk / ceiling", "0.65", ">= 0.6", "met", "missed"):
        assert part in shown


def test_the_ceiling_and_our_own_encoder_give_the_same_embeddings():
    ceiling = Ceiling()
    run = ceiling.run([{"text": text} for text in TEXTS * 20], "r0")
    settings = Settings(cache_dir=ROOT / ".cache")
    own = Encoder.open(cache_dir=settings.cache_dir, plan=("CPU",), threads=1, streams=1)

    cosines = agreement(ceiling, own, TEXTS)
    own.close()

    assert run.events == 60
    assert run.rate > 0
    assert ceiling.facts["precision"] in ("bf16", "f32")
    assert cosines["min"] > 0.99


def test_the_peers_never_import_the_project():
    for file in (ROOT / "benchmarks" / "peers").glob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not {name.partition(".")[0] for name in names} & {"worker", "trainer", "benchmarks"}
