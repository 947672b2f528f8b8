"""The model card: what the bundle is for, on what evidence each variable stands, and where it should not be
believed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from trainer.evaluate import floors, report

TELLING = 0.02
"""A slice is shown where a base's mean weight differs this much from that over all rows."""
GRADES = {
    "measured": "trained and judged on people's or raters' own labels of this very thing",
    "proxy": "trained and judged on labels of something close to it",
    "synthetic": "trained and judged on the project's synthetic people only: a definition made to run, "
    "not evidence about people",
}
LIMITS = (
    "Made for short English and Hinglish self-reflections. No Hinglish corpus may ship: there, all evidence "
    "is synthetic.",
    "The people of SemEval-2026 are US service-industry workers checking in for a study; others may use "
    "words and scales differently.",
    "`expressed` is what readers of Reddit comments saw, mapped onto the taxonomy; of Strong they marked "
    "only pride.",
    "`willingness` is trained on emotional and informational disclosure (OffMyChest) and on synthetic "
    "people: call it disclosure.",
    "`invoked` and `congruence` have no public label that may ship. Where `expressed` labels stand in for "
    "missing `invoked` ones they count a tenth.",
    "Risk scores decide what a human reads first. They are no diagnosis, miss cases and raise false alarms.",
    "Figures are cross-fitted by person and near-duplicate text on the training sources, not on reserved "
    "test parts. The bases are refitted on all rows, so the bundle itself has seen these people: judge it on "
    "others.",
)


def write(facts: Mapping[str, Any]) -> str:
    """The card as markdown, from the manifest's facts."""
    lines = [
        f"# Model card: {facts['name']}",
        "",
        "A Feltsense bundle: heads on a frozen sentence encoder, hashed n-grams, lexical trees, a small "
        "temporal net, and the gates and calibrators over them. It reads a reflection and its writer's "
        "earlier ones.",
        "",
        "## Evidence",
        "",
        *(f"- **{grade}**: {meaning}" for grade, meaning in GRADES.items()),
        "",
        "| variable | evidence |",
        "|---|---|",
        *(f"| `{name}` | {grade} |" for name, grade in facts["evidence"].items()),
        "",
        "## Training data",
        "",
        "| source | rows | people | licence |",
        "|---|---|---|---|",
        *(f"| {one.name} | {one.rows:,} | {one.people:,} | {one.licence} |" for one in facts["data"]),
        "",
        *(f"- {note}" for note in facts["notes"]),
        "",
        "## Figures",
        "",
        "| on | figure | value |",
        "|---|---|---|",
        *(f"| {group} | {name} | {value:.3f} |" for group, name, value in report.plain(facts["metrics"])),
        "",
        *_floors(facts["metrics"]),
        *_weights(facts["metrics"].get("stacks", {})),
        f"Folds: {facts['leakage']['rows']:,} rows of {facts['leakage']['people']:,} people in "
        f"{facts['splits']['folds']} folds; no person, near-duplicate cluster or equal text lies in two.",
        "",
        "## Limits",
        "",
        *(f"- {limit}" for limit in LIMITS),
        "",
    ]
    return "\n".join(lines)


def _floors(metrics: Mapping[str, Any]) -> list[str]:
    if floors.GROUP not in metrics:
        return []
    return [
        "| floor | value | asked | verdict |",
        "|---|---|---|---|",
        *(
            f"| {one.floor.name} | {one.shown} | {one.floor.asked} | {one.word} |"
            for one in floors.judge(metrics)
        ),
        "",
    ]


def _weights(stacks: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """How much each base counts, by the records of `trainer.oof.stack`."""
    lines = []
    for name, record in stacks.items():
        slices: Mapping[str, Mapping[str, float]] = record["weights"]
        for where, weights in slices.items():
            whole = slices.get("all", {})
            off = max(abs(weight - whole.get(base, 0.0)) for base, weight in weights.items())
            if where == "all" or off >= TELLING:
                shown = ", ".join(f"{base} {weight:.2f}" for base, weight in weights.items())
                lines.append(f"| `{name}` | {record['gate']['kind']} | {where} | {shown} |")
    if not lines:
        return []
    return [
        "## Gate weights by slice",
        "",
        "| blend | gate | on | mean weights |",
        "|---|---|---|---|",
        *lines,
        "",
    ]
