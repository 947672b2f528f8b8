"""The serving benchmark from end to end, without the peers: real servers, a real worker, few texts."""

from pathlib import Path

import pytest

from benchmarks import bench, load
from benchmarks.context import Context
from worker.settings import Settings

ROOT = Path(__file__).parents[2]
TOP = {
    "ceiling_per_s", "naive_per_s", "peer_per_s", "live_per_s", "bulk_per_s", "latency_ms", "rss_mb",
}  # fmt: skip


@pytest.mark.alone
@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_contest_without_peers_measures_the_rest_and_says_why_they_are_missing(tmp_path):
    said = []
    ctx = Context(
        quick=True,
        rounds=1,
        events=load.events([load.SAMPLE], most=40),
        folder=tmp_path,
        settings=Settings(run_dir=tmp_path / "run", cache_dir=ROOT / ".cache", metrics_port=0),
        say=said.append,
    )

    report = bench.contest(ctx, 40, turn_s=1.0, latency_s=0.5, why_no_peers="no network")

    assert set(report) >= TOP
    for name in ("ceiling_per_s", "live_per_s", "bulk_per_s", "encoder_per_s", "rss_mb"):
        assert report[name] > 0
    assert report["naive_per_s"] is report["peer_per_s"] is None
    assert report["not_measured"] == {"naive_per_s": "no network", "peer_per_s": "no network"}
    assert set(report["latency_ms"]) == {"10", "50", "80"}
    for of in report["latency_ms"].values():
        assert of["rows"] == of["events"] > 0
        assert 0 < of["p50"] <= of["p99"] <= of["max"]
    assert report["encoder_cosine_to_ceiling"]["min"] > 0.99
    assert any("round 1 of 1" in line for line in said)
