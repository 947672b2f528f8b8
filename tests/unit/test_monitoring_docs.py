"""What is served and what is alerted on is told in docs/monitoring.md, and nothing else is."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from prometheus_client import REGISTRY

from worker.inference import llm
from worker.observability import metrics, training
from worker.service import exporter

ROOT = Path(__file__).parents[2]
DOCS = (ROOT / "docs" / "monitoring.md").read_text()
RULES = (ROOT / "monitoring" / "rules.yml").read_text()
DASHBOARD = (ROOT / "monitoring" / "dashboard.json").read_text()
EXPORTER = Path(exporter.__file__).read_text()
TOLD = set(re.findall(r"`(feltsense_[a-z0-9_]+)", DOCS))
SERVED = {
    f"{family.name}_total" if family.type == "counter" else family.name
    for family in REGISTRY.collect()
    if family.name.startswith("feltsense_")
} | {
    f"{name}_total" if kind == "Counter" else name
    for kind, name in re.findall(
        r'(Counter|Gauge|_gauge)(?:MetricFamily)?\(\s*"(feltsense_[a-z_]+)"', EXPORTER
    )
}


def test_every_metric_is_told_and_every_told_metric_is_served() -> None:
    assert metrics.MODEL
    assert training.DRIFT
    assert llm.Asker
    assert len(SERVED) > 50
    assert TOLD == SERVED


def test_every_question_of_rules_and_dashboard_names_a_metric_that_is_served() -> None:
    asked = set(re.findall(r"feltsense_[a-z0-9_]+", RULES + DASHBOARD))
    assert {re.sub(r"_(bucket|sum|count)$", "", name) for name in asked} <= SERVED


@pytest.mark.parametrize("alert", re.findall(r"alert: (\w+)", RULES))
def test_every_alert_has_a_remedy_and_its_severity_in_the_docs_and_a_test(alert: str) -> None:
    rule = RULES.split(f"alert: {alert}\n")[1].split("- alert:")[0]
    severity = re.search(r"severity: (\w+)", rule)
    assert severity
    assert re.search(rf"^\| {alert} \| {severity[1]} \| .{{20,}} \|$", DOCS, re.MULTILINE)
    tested = (ROOT / "monitoring" / "rules.test.yml").read_text()
    assert tested.count(f"alertname: {alert}\n") == 2
