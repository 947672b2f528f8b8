"""The parity report as tables to read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from worker.inference.exports import TRADE

VARIABLES = ("valence", "arousal", "invoked", "expressed", "willingness", "congruence", "comparator")
SHOWN = 5
"""Metrics shown of each graph: those that changed most."""


def markdown(told: Mapping[str, Any]) -> str:
    """`parity.json` as a page."""
    limits, every = told["limits"], {**told["cpu"], **told["graphs"]}
    judged = {name: one for name, one in every.items() if "variables" in one}
    lines = [
        f"# Parity of bundle {told['model_version']}",
        "",
        f"On {told['rows']:,} rows of {told['people']:,} people ({', '.join(told['sources'])}), against "
        f"{told['reference']}. Graphs were run on the CPU; no GPU and no NPU was. The half-precision graph "
        "of the encoder is judged by torch with weights and layers' results rounded to halves.",
        "",
        f"Exact: no variable changes by more than {limits['variable']:g} in any row, no metric on "
        f"{limits['rows']:,} rows or more by more than {limits['metric']:g}. A trade was allowed by hand.",
        "",
        "| graph | for | verdict | int8 products | cosine mean / min | tuned: max difference | speed |",
        "|---|---|---|---|---|---|---|",
        *(_head(name, one) for name, one in every.items()),
        "",
        "Change of each variable: largest / 99 % / mean.",
        "",
        f"| graph | {' | '.join(VARIABLES)} | other path: invoked, expressed |",
        f"|---|{'---|' * (len(VARIABLES) + 1)}",
        *(_changes(name, one) for name, one in judged.items()),
        "",
        "The metrics that changed most.",
        "",
        "| graph | on | metric | rows | value | change | judged |",
        "|---|---|---|---|---|---|---|",
        *(line for name, one in judged.items() for line in _metrics(name, one)),
        "",
        *(line for one in every.values() for line in _reasons(one)),
    ]
    return "\n".join(lines)


def _head(name: str, one: Mapping[str, Any]) -> str:
    vectors, count, speed = one.get("vectors", {}), one["quantised"], one["speed beside bf16"]
    cosine = (
        f"{vectors['embedding cosine mean']:.5f} / {vectors['embedding cosine min']:.5f}" if vectors else ""
    )
    tuned = f"{vectors['tuned largest difference']:.4f}" if "tuned largest difference" in vectors else ""
    ints = "" if count is None else f"{count['int8_inputs']} of {count['products']}"
    return (
        f"| {name} | {', '.join(one['devices'])} | {one['verdict']} | {ints} | {cosine} | {tuned} | "
        f"{'' if speed is None else f'{speed:.2f}'} |"
    )


def _changes(name: str, one: Mapping[str, Any]) -> str:
    told = (one["variables"][variable] for variable in VARIABLES)
    cells = (f"{of['max']:.4f} / {of['p99']:.4f} / {of['mean']:.4f}" for of in told)
    paths = f"{one['paths']['invoked']:.1%}, {one['paths']['expressed']:.1%}"
    return f"| {name} | {' | '.join(cells)} | {paths} |"


def _metrics(name: str, one: Mapping[str, Any]) -> Iterator[str]:
    ordered = sorted(one["metrics"], key=lambda of: (not of["judged"], -abs(of["change"] or 0.0)))
    for of in ordered[:SHOWN]:
        value = "" if of["value"] is None else f"{of['value']:.4f}"
        change = "lost" if of["change"] is None else f"{of['change']:+.4f}"
        yield (
            f"| {name} | {of['slice']} | {of['variable']} {of['metric']} ({of['regime']}) | {of['rows']:,} | "
            f"{value} | {change} | {'yes' if of['judged'] else 'no'} |"
        )


def _reasons(one: Mapping[str, Any]) -> Iterator[str]:
    if one["reasons"]:
        word = "A trade" if one["verdict"] == TRADE else "Beyond the limits"
        yield f"- {word}: {'; '.join(one['reasons'])}"
