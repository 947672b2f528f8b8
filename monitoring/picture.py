"""The dashboard as a picture, where no Grafana is at hand: asks a running Prometheus each panel's questions
over the last minutes and draws the answers.

    python -m monitoring.picture http://127.0.0.1:9090 dashboard.png [MINUTES]
"""

from __future__ import annotations

import io
import json
import re
import sys
import time
import urllib.parse
import urllib.request
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from monitoring.dashboard import COLUMNS, ROWS

WINDOW = "1m"
"""What Grafana would put in the place of $__rate_interval."""
POINTS = 200


def ask(url: str, path: str, **given: object) -> list[dict[str, Any]]:
    """A Prometheus' answer. Raises `OSError` where it has none."""
    query = urllib.parse.urlencode({name: str(value) for name, value in given.items()})
    with urllib.request.urlopen(f"{url}/api/v1/{path}?{query}", timeout=20) as answer:  # noqa: S310 - its own
        told = json.load(answer)
    found: list[dict[str, Any]] = told["data"]["result"]
    return found


def bound(expr: str) -> str:
    """The question with a window in it."""
    return expr.replace("$__rate_interval", WINDOW)


def draw(url: str, out: Path, *, start: float, end: float) -> None:
    """Draw every panel that has an answer between two Unix times."""
    from matplotlib.dates import ConciseDateFormatter
    from matplotlib.figure import Figure
    from PIL import Image

    span = {"start": start, "end": end, "step": max(1.0, (end - start) / POINTS)}
    drawn = []
    for panel in (panel for row in ROWS for panel in row.panels):
        series = [
            (_named(asked.legend, one["metric"]), one["values"])
            for asked in panel.asks
            for one in ask(url, "query_range", query=bound(asked.expr), **span)
        ]
        if series:
            drawn.append((panel, series))
    rows = -(-len(drawn) // COLUMNS)
    figure = Figure(figsize=(5 * COLUMNS, 2.6 * rows), layout="constrained")
    axes = list(figure.subplots(rows, COLUMNS, squeeze=False).flat)
    for axis, (panel, series) in zip(axes, drawn, strict=False):
        for name, values in series:
            at = [datetime.fromtimestamp(moment, UTC) for moment, _ in values]
            axis.plot(at, [float(value) for _, value in values], label=name, linewidth=1)
        axis.set_title(f"{panel.title} ({panel.unit})", fontsize=9)
        axis.margins(y=0.35)
        axis.set_ylim(bottom=0)
        axis.tick_params(labelsize=7)
        axis.xaxis.set_major_formatter(ConciseDateFormatter(axis.xaxis.get_major_locator()))
        axis.xaxis.get_offset_text().set_fontsize(7)
        axis.legend(fontsize=6, loc="upper left")
    for axis in axes[len(drawn) :]:
        axis.set_visible(False)
    out.parent.mkdir(parents=True, exist_ok=True)
    drawing = io.BytesIO()
    figure.savefig(drawing, dpi=64)
    with Image.open(drawing) as picture:
        picture.convert("RGB").quantize(128, method=Image.Quantize.MAXCOVERAGE).save(out, optimize=True)


def _named(legend: str, labels: dict[str, str]) -> str:
    return re.sub(r"\{\{(\w+)\}\}", lambda match: labels.get(match[1], ""), legend).strip()


def main(url: str, out: str, minutes: str = "15") -> None:
    """The command."""
    end = time.time()
    draw(url, Path(out), start=end - 60 * float(minutes), end=end)


if __name__ == "__main__":
    if not 3 <= len(sys.argv) <= 4:
        sys.exit(str(__doc__))
    main(*sys.argv[1:])
