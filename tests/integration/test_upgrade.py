"""The schema changes under a working worker: it waits while that does not fit, and parks nobody."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import load, upgrade


@pytest.mark.timeout(240)
def test_all_migrations_down_and_up_under_load_lose_double_and_park_nothing(
    bundle: Path, tmp_path: Path
) -> None:
    said: list[str] = []
    report = upgrade.run(
        tmp_path, commit=None, texts=load.events([load.SAMPLE]), rate=20, dwell_s=0.5, say=said.append,
        bundle=bundle, bottom="0003",
    )  # fmt: skip
    assert report["passed"], report
    assert report["accepted"] == report["rows"] + report["dead_letters"] > 100
    assert {step["step"].rpartition(" ")[0] for step in report["steps"][1:]} == {"down to", "up to"}
    assert "no old worker" in said[0]
