"""What a run showed: the JSON beside the benchmarks' other results, and a table for people."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.chaos.account import Account

SHOWN = 20
DEAF = 3
NOT_TRIED = (
    "a step of the wall clock as running processes see it, which needs a preloaded library or the machine's"
    " own clock. clock-step moves the stored times instead (leases, acceptance, messages taken, expiries).",
    "a machine that loses its caches with its power. power-cut kills every process, and the kernel keeps"
    " what they wrote; Valkey runs with appendfsync always and Postgres with fsync on.",
)


def told(
    account: Account, rounds: Sequence[Mapping[str, Any]], *, plan: Mapping[str, Any], took_s: float
) -> dict[str, Any]:
    """The report as JSON; `recovery_s` has one number (None: never within the patience) a fault, in order."""
    return {
        "accepted": account.accepted,
        "rows": account.rows,
        "dead_letters": account.dead_letters,
        "lost": len(account.lost),
        "doubled": len(account.doubled),
        "partial": len(account.partial),
        "faults": len(rounds),
        "recovery_s": [one["recovery_s"] for one in rounds],
        "passed": account.balanced,
        "parked_without_cause": len(account.innocent),
        "not_parked": len(account.spared),
        "left_in_queue": account.queued,
        "differing": len(account.differing),
        "deaf_hosts": deaf(rounds),
        "refused_publishings": sum(one["refused_publishings"] for one in rounds),
        "recovery_by_kind": by_kind(rounds),
        "ids": {
            "lost": account.lost[:SHOWN],
            "doubled": account.doubled[:SHOWN],
            "partial": account.partial[:SHOWN],
            "parked_without_cause": account.innocent[:SHOWN],
            "not_parked": account.spared[:SHOWN],
            "differing": account.differing[:SHOWN],
        },
        "plan": dict(plan),
        "took_s": round(took_s, 1),
        "not_tried": NOT_TRIED,
        "rounds": [dict(one) for one in rounds],
    }


def by_kind(rounds: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, float | int | None]]:
    """Per kind of fault: how many, and the median and longest recovery in seconds, None where one never
    came."""
    kinds: dict[str, list[float | None]] = {}
    for one in rounds:
        kinds.setdefault(one["fault"]["kind"], []).append(one["recovery_s"])
    summary: dict[str, dict[str, float | int | None]] = {}
    for kind, seconds in sorted(kinds.items()):
        known = [one for one in seconds if one is not None]
        summary[kind] = {
            "faults": len(seconds),
            "median_s": round(statistics.median(known), 2) if known else None,
            "most_s": max(known) if len(known) == len(seconds) else None,
        }
    return summary


def deaf(rounds: Sequence[Mapping[str, Any]]) -> int:
    """How often a worker that was there all the time took nothing for `DEAF` rounds on end: one round may
    well go to the others alone."""
    found, silent = 0, dict[int, int]()
    for one in rounds:
        silent = {host: silent.get(host, 0) + 1 for host in one["idle_hosts"]}
        found += sum(length == DEAF for length in silent.values())
    return found


def show(report: Mapping[str, Any], console: Console) -> None:
    """The table and the verdict."""
    table = Table("fault", "times", "recovery, median", "longest", title=f"seed {report['plan']['seed']}")
    for kind, one in report["recovery_by_kind"].items():
        table.add_row(kind, str(one["faults"]), *(_seconds(one[name]) for name in ("median_s", "most_s")))
    console.print(table)
    console.print(
        f"accepted {report['accepted']} = rows {report['rows']} + dead letters {report['dead_letters']}"
        f" | lost {report['lost']}, doubled {report['doubled']}, partial {report['partial']}"
        f" | faults {report['faults']}"
        if report["passed"]
        else f"FAILED: accepted {report['accepted']}, rows {report['rows']}, dead letters"
        f" {report['dead_letters']}, lost {report['lost']}, doubled {report['doubled']}, partial"
        f" {report['partial']}; their ids are in the JSON",
        markup=False, highlight=False, soft_wrap=True,
    )  # fmt: skip
    for name, what in (
        ("parked_without_cause", "events that nothing was wrong with were parked"),
        ("not_parked", "events that had to be parked got a row"),
        ("differing", "rows differ from those of an in-order run without faults"),
        ("left_in_queue", "messages are left in the broker"),
        ("deaf_hosts", f"times a worker took nothing for {DEAF} rounds"),
    ):
        if report[name]:
            console.print(f"Look at this: {report[name]} {what}.", highlight=False)
    for limit in report["not_tried"]:
        console.print(f"Not tried: {limit}", highlight=False, style="dim")


def _seconds(value: float | None) -> str:
    return "not seen" if value is None else f"{value:.1f} s"
