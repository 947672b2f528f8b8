"""What `feltsense tune` found, as a table for people."""

from __future__ import annotations

import math

from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from worker.tune.gain import Gain
from worker.tune.search import Choice, Outcome, Values, Verdict

MEASURED = {
    "encoder": "encoder alone",
    "steps": "pipeline alone",
    "bulk": "bulk lane, to rows",
    "single": "live lane, to rows",
    "live": "wait at half load",
}


def tuning_view(outcome: Outcome) -> Group:
    """Every setting with what was tried and what it gained, then the whole."""
    table = Table("setting", "before", "after", "gain", "95 %", "measured", box=SIMPLE_HEAD, padding=0)
    for choice in outcome.choices:
        table.add_row(
            Text(choice.factor.name),
            _values(choice.before),
            _values(choice.after),
            _found(choice),
            _interval(choice.gain),
            MEASURED[choice.factor.measure],
        )
    parts: list[RenderableType] = [table]
    parts += [Text(f"cannot run {failure}") for choice in outcome.choices for failure in choice.failures]
    if outcome.totals:
        whole = Table("all together", "against", "was", "is", "gain", "95 %", box=SIMPLE_HEAD, padding=0)
        for (reference, measure), gain in outcome.totals.items():
            shown = [_cost(measure, cost) for cost in (gain.before, gain.after)]
            whole.add_row(MEASURED[measure], reference, *shown, _ratio(gain.ratio), _interval(gain))
        parts.append(whole)
    return Group(*parts)


def told(choice: Choice) -> str:
    """One line, while the search goes on."""
    return f"{choice.factor.name} {_values(choice.after)}: {choice.verdict}, {_found(choice)}"


def _found(choice: Choice) -> str:
    best = "" if choice.best is None else _values(choice.best)
    ratio = choice.gain.ratio if choice.gain is not None else choice.glimpse
    match choice.verdict:
        case Verdict.late:
            return f"{best} {_ratio(ratio)}, not judged: no time" if best else "not judged: no time"
        case Verdict.offered:
            return f"{_ratio(ratio)} with {best}, which changes results: --allow-loss"
        case Verdict.taken:
            return _ratio(ratio)
        case Verdict.kept if choice.tried:
            seen = f"{choice.tried} tried, best {best} {_ratio(ratio)}"
            if choice.price is not None:
                return f"{seen}, but {MEASURED[str(choice.factor.guard)]} {_ratio(choice.price.ratio)}"
            return seen if choice.gain is None else f"{seen}: within noise"
    return "nothing else to try"


def _ratio(ratio: float | None) -> str:
    return "?" if ratio is None or math.isnan(ratio) else f"{ratio:.2f}x"


def _interval(gain: Gain | None) -> str:
    if gain is None or math.isinf(gain.high):
        return ""
    return f"{gain.low:.2f}-{gain.high:.2f}"


def _cost(measure: str, cost: float) -> str:
    return f"{1000 * cost:.1f} ms" if measure == "live" else f"{1 / cost:.0f}/s"


def _values(values: Values) -> str:
    return ", ".join(map(str, values.values()))
