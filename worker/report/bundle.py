"""A bundle's manifest for people: `feltsense bundle show`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from worker.bundle.manifest import Manifest


def bundle_view(facts: Manifest) -> Group:
    """Version, data with licences, evidence grade and metrics; nothing that is not in the manifest."""
    head = Table.grid(padding=(0, 2))
    for name, value in (
        ("bundle", facts.name),
        ("model version", facts.model_version),
        ("made", facts.created_at),
        ("encoder", f"{facts.encoder.name} ({facts.encoder.digest[:12]})"),
        ("taxonomy", facts.taxonomy),
        ("feature schema", facts.feature_schema[:12]),
        ("files", str(len(facts.files))),
        ("may be shipped", "yes" if all(source.may_ship for source in facts.data) else "no"),
    ):
        head.add_row(name, Text(value))
    data = _table("data", "rows", "people", "licence", "may ship")
    for source in facts.data:
        ships = "yes" if source.may_ship else "no"
        data.add_row(Text(source.name), str(source.rows), str(source.people), Text(source.licence), ships)
    evidence = _table("variable", "evidence")
    for variable, grade in facts.evidence.items():
        evidence.add_row(Text(variable), Text(grade))
    metrics = _table("metric", "value")
    for name, value in _flat(facts.metrics):
        metrics.add_row(Text(name), Text(f"{value:.3f}" if isinstance(value, float) else str(value)))
    parts: list[RenderableType] = [head, data, evidence]
    parts += [metrics] if facts.metrics else []
    parts += [Text(f"- {note}") for note in facts.notes]
    return Group(*parts)


def _table(*columns: str) -> Table:
    return Table(*columns, box=SIMPLE_HEAD, padding=0)


def _flat(values: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    rows: list[tuple[str, Any]] = []
    for name, value in values.items():
        if isinstance(value, Mapping):
            rows += _flat(value, f"{prefix}{name}.")
        else:
            rows.append((prefix + name, value))
    return rows
