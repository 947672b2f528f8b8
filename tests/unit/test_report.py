"""What people see of a timeline: every number in its place, text only on demand, pictures that say what they
show."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from io import StringIO
from pathlib import Path

import pytest
from matplotlib.figure import Figure
from rich.console import Console, RenderableType

from worker.errors import UsageError
from worker.report import plot
from worker.report.timeline import local_time, sparkline, timeline_table, timeline_view

START = datetime(2026, 11, 1, 20, tzinfo=UTC)


@dataclass(frozen=True, kw_only=True)
class Row:
    reflection_id: str = "r-0"
    created_at: datetime = START
    utc_offset_min: int = 0
    self_valence: float | None = None
    self_arousal: float | None = None
    valence: float = 0.25
    arousal: float = 0.5
    invoked: Sequence[str] = ("Sad", "Lonely")
    expressed: Sequence[str] = ()
    willingness: float = 0.75
    congruence: float = 0.875
    comparator: float = -0.125
    expected_valence: float = 0.375
    intervals: dict[str, list[float]] = field(
        default_factory=lambda: {"valence": [0.1, 0.4], "arousal": [0.3, 0.7]}
    )
    risk_level: str = "none"


@dataclass(frozen=True, kw_only=True)
class Origin:
    timezone: str | None = None
    text: str | None = None
    sealed: str | None = None


def printed(view: RenderableType, width: int = 100) -> str:
    console = Console(file=StringIO(), width=width, force_terminal=False, color_system=None)
    console.print(view)
    return console.file.getvalue()  # type: ignore[attr-defined]  # the StringIO above


@pytest.mark.parametrize(
    ("values", "low", "high", "expected"),
    [
        ([], 0.0, 1.0, ""),
        ([0.0, 1.0], 0.0, 1.0, "▁█"),
        ([0.0, 0.125, 0.5, 0.99], 0.0, 1.0, "▁▂▅█"),
        ([-3.0, 7.0], 0.0, 1.0, "▁█"),
        ([0.0, None, 1.0], 0.0, 1.0, "▁ █"),
        ([-1.0, 0.0, 1.0], -1.0, 1.0, "▁▅█"),
    ],
)
def test_a_sparkline_has_one_bar_a_value_on_a_fixed_scale(
    values: Sequence[float | None], low: float, high: float, expected: str
) -> None:
    assert sparkline(values, low, high) == expected


def test_a_row_shows_its_seven_variables_and_the_persons_own_words_about_it() -> None:
    table = printed(timeline_table([Row(self_valence=0.5, risk_level="high")]))
    for shown in ("2026-11-01 20:00", "0.25/0.50", "Sad › Lonely", "-", "0.75", "0.88", "-0.12", "high"):
        assert shown in table


def test_a_table_fits_eighty_columns_with_every_number_whole() -> None:
    rows = [
        Row(invoked=("Happy", "Joyful", "Cheerful"), self_valence=0.5, self_arousal=0.5, risk_level="medium")
    ]
    table = printed(timeline_view("u-1", rows), width=80)
    assert "…" not in table
    assert "0.25/0.50 0.50/0.50" in table
    assert "Cheerful" in table


def test_text_is_shown_only_on_demand_and_its_escapes_are_not_run() -> None:
    origins = {"r-0": Origin(text="first \x1b[31mline\nnext [bold]x[/bold]"), "r-1": Origin()}
    rows = [Row(), Row(reflection_id="r-1"), Row(reflection_id="r-2")]
    assert "first" not in printed(timeline_view("u-1", rows, origins=origins))
    shown = printed(timeline_view("u-1", rows, origins=origins, with_text=True), width=160)
    assert "first  [31mline next [bold]x[/bold]" in shown
    assert "\x1b" not in shown
    assert shown.count("(not kept)") == 2
    locked = {"r-0": Origin(sealed="sealed with key 0a1b2c3d, which is not at hand")}
    assert "key 0a1b2c3d" in printed(timeline_view("u-1", rows, origins=locked, with_text=True), width=160)


def test_a_user_id_is_no_markup() -> None:
    assert "[red]u[/red]: 1 reflections" in printed(timeline_view("[red]u[/red]", [Row()]))


def test_the_last_reflections_are_shown_and_counted() -> None:
    rows = [Row(created_at=START + timedelta(days=day)) for day in range(5)]
    view = printed(timeline_view("u-1", rows, limit=2))
    assert "u-1: 2 of 5 reflections" in view
    assert "2026-11-04" in view
    assert "2026-11-03" not in view


def test_sparklines_leave_out_what_nobody_reported() -> None:
    assert "self-report" not in printed(timeline_view("u-1", [Row()]))
    assert "0.50 to 0.50" in printed(timeline_view("u-1", [Row(self_valence=0.5)]))


@pytest.mark.parametrize(
    ("origin", "offset", "clock"),
    [
        (None, 0, "20:00"),
        (None, 330, "01:30"),
        (Origin(timezone="Asia/Kolkata"), 0, "01:30"),
        (Origin(timezone="America/New_York"), 330, "15:00"),  # daylight saving ended that morning
        (Origin(timezone="Nowhere/Atall"), 330, "01:30"),
        (Origin(timezone=None), 330, "01:30"),
    ],
)
def test_local_time_is_the_writers(origin: Origin | None, offset: int, clock: str) -> None:
    origins = {"r-0": origin} if origin is not None else None
    moment = local_time(Row(utc_offset_min=offset), origins)
    assert moment == START
    assert moment.strftime("%H:%M") == clock


def test_the_picture_names_its_axes_and_everything_in_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[Figure] = []
    monkeypatch.setattr(plot, "Figure", lambda **options: drawn.append(Figure(**options)) or drawn[-1])
    rows = [
        Row(created_at=START + timedelta(days=n), self_valence=0.5 if n else None, risk_level=level)
        for n, level in enumerate(["none", "high", "low"])
    ]
    plot.plot_timeline("u-1", rows, tmp_path / "u.png")
    upper, lower = drawn[0].axes
    assert upper.get_ylabel().startswith("valence")
    assert lower.get_ylabel().startswith("arousal")
    assert lower.get_xlabel() == "local time"
    legend = upper.get_legend()
    assert legend is not None
    named = {text.get_text() for text in legend.get_texts()}
    assert named == {"80 % interval", "valence", "own check-in", "expected", "risk: low", "risk: high"}
    assert (tmp_path / "u.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("rows", "file", "message"),
    [
        ([], "a.png", "nothing to plot: no reflections of u-1"),
        ([Row()], "a.docx", "cannot draw .docx; write .png, .svg or .pdf"),
        ([Row()], "none/a.png", "a.png: No such file or directory"),
    ],
)
def test_a_picture_that_cannot_be_is_a_clear_error(
    tmp_path: Path, rows: Sequence[Row], file: str, message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        plot.plot_timeline("u-1", rows, tmp_path / file)
