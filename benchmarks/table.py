"""What a benchmark found, beside what was asked: goals and their verdicts, and the table people read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

Report = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Goal:
    """A figure, what was asked of it, and whether it was reached; `value` None: not measured."""

    name: str
    value: float | None
    asked: float
    at_least: bool
    unit: str = ""

    @property
    def verdict(self) -> str:
        if self.value is None:
            return "not measured"
        return "met" if (self.value >= self.asked if self.at_least else self.value < self.asked) else "missed"

    def to_json(self) -> dict[str, Any]:
        sign = ">=" if self.at_least else "<"
        return {
            "goal": self.name,
            "value": self.value,
            "asked": f"{sign} {self.asked:g} {self.unit}".rstrip(),
            "verdict": self.verdict,
        }


def goals(report: Report) -> list[Goal]:
    """What issue and measurements say of each other."""

    def ratio(upper: str, lower: str) -> float | None:
        above, below = report.get(upper), report.get(lower)
        return None if above is None or not below else round(above / below, 2)

    def latency(load: str, part: str) -> float | None:
        found: float | None = (report.get("latency_ms") or {}).get(load, {}).get(part)
        return found

    found = [
        Goal(name="bulk / ceiling", value=ratio("bulk_per_s", "ceiling_per_s"), asked=0.6, at_least=True),
        Goal(name="bulk / naive peer", value=ratio("bulk_per_s", "naive_per_s"), asked=8, at_least=True),
        Goal(name="bulk / good peer", value=ratio("bulk_per_s", "peer_per_s"), asked=2.5, at_least=True),
        Goal(name="live / naive peer", value=ratio("live_per_s", "naive_per_s"), asked=5, at_least=True),
        Goal(
            name="own encoder / ceiling",
            value=ratio("encoder_per_s", "ceiling_per_s"),
            asked=1.3,
            at_least=True,
        ),
        Goal(name="p50 at 50 %", value=latency("50", "p50"), asked=15, at_least=False, unit="ms"),
        Goal(name="p99 at 50 %", value=latency("50", "p99"), asked=50, at_least=False, unit="ms"),
        Goal(name="p99 at 80 %", value=latency("80", "p99"), asked=100, at_least=False, unit="ms"),
        Goal(name="worker's memory", value=report.get("rss_mb"), asked=700, at_least=False, unit="MB"),
    ]
    for load, of in (report.get("naive_latency_ms") or {}).items():
        for part in ("p50", "p99"):
            name = f"{part} at {load} %, below the naive peer's"
            found.append(
                Goal(name=name, value=latency(load, part), asked=of[part], at_least=False, unit="ms")
            )
    return found


def show(report: Report, console: Console) -> None:
    """Rates with their spread, latencies, then the goals."""
    machine = report["machine"]
    console.print(
        f"{machine['model']}, {machine['cores']} cores, {', '.join(machine['flags'])}, "
        f"{machine['ram_gib']} GiB; "
        f"{machine['os']}; load before: {machine['load before'][0]}",
        highlight=False,
    )
    rates = _rates(report["rates"])
    for name, reason in report.get("not_measured", {}).items():
        rates.add_row(name, "-", "", "", "", reason)
    console.print(rates)
    times = _table("publish to row, ms", "a second", "p50", "p95", "p99", "max")
    for title, key in (("Feltsense, live", "latency_ms"), ("naive peer", "naive_latency_ms")):
        for load, of in (report.get(key) or {}).items():
            times.add_row(
                f"{title}, {load} % of its rate", f"{of['rate_per_s']:.0f}",
                *(f"{of[part]:.1f}" for part in ("p50", "p95", "p99", "max")),
            )  # fmt: skip
    console.print(times)
    asked = _table("goal", "measured", "asked", "verdict")
    for goal in goals(report):
        told = goal.to_json()
        value = "-" if goal.value is None else f"{goal.value:g} {goal.unit}".rstrip()
        asked.add_row(goal.name, value, told["asked"], goal.verdict)
    console.print(asked)


def show_part(name: str, part: Report, console: Console) -> None:
    """What one of the later parts found: a table of rates, or its single figures."""
    if all(isinstance(of, dict) and "median" in of and "events" in of for of in part.values()):
        console.print(_rates(part))
        return
    found = _table(name, "")
    for key, value in part.items():
        if not isinstance(value, dict | list):
            found.add_row(key, str(value))
        elif isinstance(value, dict):
            for inner, figure in value.items():
                if not isinstance(figure, dict | list):
                    found.add_row(f"{key}, {inner}", str(figure))
    console.print(found)


def _rates(of: Report) -> Table:
    rates = _table("reflections a second", "median", "min", "max", "events", "CPU ms")
    for name, rate in of.items():
        cpu = sum(ms for who, ms in rate.get("cpu_ms_an_event", {}).items() if who.startswith("worker"))
        rates.add_row(
            name, f"{rate['median']:.0f}", f"{rate['min']:.0f}", f"{rate['max']:.0f}", str(rate["events"]),
            f"{cpu:.2f}" if cpu else "",
        )  # fmt: skip
    return rates


def _table(first: str, *columns: str) -> Table:
    table = Table(box=SIMPLE_HEAD, padding=0)
    table.add_column(first)
    for name in columns:
        table.add_column(name, justify="right")
    return table
