"""What `make demo` publishes: `samples/reflections.jsonl`, hand-written stories, synthetic people, oddities.

`python -m trainer.data.synthetic.sample` writes it anew; the same code gives the same bytes. Wire events
only, no labels.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np

from trainer.data.synthetic.grammar import FOLDER, path_of, read_sections
from trainer.data.synthetic.oddities import CONTRADICTIONS, EDITS, EVENTS, REJECTED
from trainer.data.synthetic.person import draw
from trainer.data.synthetic.population import entries

SAMPLE = Path("samples/reflections.jsonl")
SEED = 2026
LAST = datetime(2026, 11, 20, tzinfo=UTC)
"""The youngest entry of the sample."""
USUAL = {"everyday": 27, "negation": 1, "counter": 2}
GROWN: tuple[tuple[str, str, str, dict[str, int]], ...] = (
    ("arjun", "hi", "plain", {"sarcasm": 2, "profanity": 1}),
    ("bea", "en", "venting", {"profanity": 3, "sarcasm": 1}),
    ("chitra", "hi", "masking", {"abuse": 2, "financial_coercion": 1}),
    ("dev", "hi", "venting", {"profanity": 3, "harm_to_others": 1}),
    ("ella", "en", "hedging", {"sarcasm": 1}),
    ("farah", "hi", "hedging", {"financial_coercion": 2}),
    ("george", "en", "masking", {"suicidal_ideation": 1}),
    ("hana", "en", "plain", {"self_harm": 1}),
    ("ishaan", "hi", "masking", {"suicidal_ideation": 1, "self_harm": 1}),
    ("june", "en", "plain", {"sarcasm": 3}),
    ("karan", "hi", "plain", {"sociopathic_cues": 1}),
)
"""Name, language, habit and edge cases of the people grown from the grammar."""
BESIDE = ("labels", "source", "cluster")
"""What a labelled event has beside the wire event."""
ENTRY = re.compile(r"(\d\d-\d\d) (\d\d:\d\d)(?: (\.\d+) (\.\d+)(?: (\w[\w >]*))?)? \| (.+)")


def stories() -> Iterator[dict[str, Any]]:
    """The events of the hand-written people, in their order."""
    for heading, rows in read_sections(FOLDER / "arcs.txt").items():
        name, lang, zone, device = heading.split()
        for number, row in enumerate(rows, 1):
            match = ENTRY.fullmatch(row)
            if match is None:
                raise ValueError(f"arcs.txt, {name}, entry {number}: not 'MM-DD HH:MM [v a [path]] | text'")
            day, time, valence, arousal, emotion, text = match.groups()
            event = {
                "schema": 1,
                "id": f"r-{name}-{number:02d}",
                "user_id": f"u-{name}",
                "text": text,
                "created_at": datetime.fromisoformat(f"2026-{day} {time}")
                .replace(tzinfo=ZoneInfo(zone))
                .isoformat(),
                "lang": lang,
                "device": device,
                "timezone": zone,
            }
            if valence is not None:
                report: dict[str, Any] = {"valence": float(valence), "arousal": float(arousal)}
                event["self_report"] = {**report, "emotion": list(path_of(emotion))} if emotion else report
            yield event


def grown() -> Iterator[dict[str, Any]]:
    """The events of synthetic people with names, some six weeks each."""
    seen: set[str] = set()
    for index, (name, lang, habit, edge) in enumerate(GROWN):
        person = dataclasses.replace(
            draw(SEED, index),
            user_id=f"u-{name}",
            pool=None,
            lang=lang,
            habit=habit,
            rest=(0.62, 0.45) if habit != "masking" else (0.4, 0.48),
            timezone="Asia/Kolkata" if lang == "hi" else draw(SEED, index).timezone,
            gap_days=1.6,
            reports=0.4,
            entries={**USUAL, **edge},
        )
        events = list(entries(person, np.random.default_rng([SEED, index]), seen, f"r-{name}"))
        later = LAST - timedelta(days=index) - datetime.fromisoformat(events[-1]["created_at"])
        for event in events:
            local = datetime.fromisoformat(event["created_at"]).replace(tzinfo=ZoneInfo(person.timezone))
            wire = {field: value for field, value in event.items() if field not in BESIDE}
            yield {**wire, "created_at": (local + timedelta(days=later.days)).isoformat()}


def lines() -> list[str]:
    """The sample's lines, by time, except what comes late, twice, edited, contradictory or broken."""
    events = sorted(
        [*stories(), *grown(), *EVENTS], key=lambda e: (datetime.fromisoformat(e["created_at"]), e["id"])
    )
    for position in range(30, len(events) - 60, 60):
        events.insert(position + 35, events.pop(position))
    events += [*EDITS, *(event for _, event in CONTRADICTIONS), *events[5:-1:120]]
    rows = [json.dumps(event, ensure_ascii=False) for event in events]
    for number, (_, broken) in enumerate(REJECTED, 1):
        rows.insert(number * 31, broken)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(prog="trainer.data.synthetic.sample", description=__doc__)
    parser.add_argument("--out", type=Path, default=SAMPLE)
    parser.parse_args().out.write_text("\n".join(lines()) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
