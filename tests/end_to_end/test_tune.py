"""`feltsense tune` as a person runs it, on the real parts: short runs that can prove little and must break
nothing."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.support import bundles
from tests.support.program import ROOT, feltsense
from worker.events.lines import read
from worker.settings import Settings
from worker.tune.machine import SERVED, Machine
from worker.tune.tuning import TUNED

START = {name: Settings.model_fields[name].default for name in TUNED}
ENV = "# mine\nFELTSENSE_EVENT_KEY=MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=\nFELTSENSE_STREAMS=1 # one\n"


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bundle") / "tiny"
    bundles.write(folder)
    return folder


def test_a_dry_run_measures_everything_and_writes_nothing(tmp_path: Path, bundle: Path) -> None:
    (tmp_path / ".env").write_text(ENV)
    data = tmp_path / "events.jsonl"
    data.write_bytes(
        b'{"id":"a","user_id":"u","text":"CANARY so happy","created_at":"2026-01-01T00:00:00Z"}\n'
        b'{"id":"b","user_id":"u","text":"CANARY meh","created_at":"2026-01-02T00:00:00Z"}\nno event\n'
    )
    ran = feltsense(
        "tune", "--seconds", "6", "--dry-run", "--data", data, cwd=tmp_path, FELTSENSE_BUNDLE=str(bundle)
    )
    said = (ran.stdout + ran.stderr).decode()
    assert ran.returncode == 3, said  # the line that is no event
    for name in (
        "precision",
        "inference_threads",
        "streams",
        "token_budget",
        "max_batch_size",
        "max_wait_ms",
    ):
        assert name in said
    assert "nothing is written" in said
    assert "CANARY" not in said
    assert (tmp_path / ".env").read_text() == ENV
    assert not (tmp_path / "run" / "tune" / "postgres").exists()


def test_an_interrupted_run_leaves_the_settings(tmp_path: Path, bundle: Path) -> None:
    (tmp_path / ".env").write_text(ENV)
    running = subprocess.Popen(
        [sys.executable, "-m", "worker.cli", "tune", "--seconds", "90"],
        cwd=tmp_path,
        env={
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "FELTSENSE_CACHE_DIR": str(ROOT / ".cache"),
            "FELTSENSE_BUNDLE": str(bundle),
        },
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        # A suite that runs in the background has SIGINT ignored, and its children inherit that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    try:
        assert running.stderr is not None
        judged = next(line for line in running.stderr if line.startswith(b"precision"))
        running.send_signal(signal.SIGINT)
        said = running.communicate(timeout=60)[1].decode()
    finally:
        running.kill()
    assert running.returncode == 130, judged.decode() + said
    assert (tmp_path / ".env").read_text() == ENV


def test_a_run_that_ends_early_leaves_no_database(tmp_path: Path, bundle: Path) -> None:
    def interrupted(machine: Machine) -> None:
        machine.prepare("single", START)
        pid = (tmp_path / "tune" / "postgres" / "data" / "postmaster.pid").read_text().split()[0]
        servers.append(Path("/proc") / pid)
        assert servers[0].exists()
        raise KeyboardInterrupt

    servers: list[Path] = []
    with pytest.raises(KeyboardInterrupt), _machine(tmp_path, bundle) as machine:
        interrupted(machine)
    assert not servers[0].exists()
    assert not (tmp_path / "tune" / "postgres").exists()


def test_every_measure_is_a_cost_of_the_real_parts(tmp_path: Path, bundle: Path) -> None:
    with _machine(tmp_path, bundle) as machine:
        for measure in ("encoder", "steps", *SERVED):
            assert "CPU" in machine.prepare(measure, START)
            assert 0 < machine.cost(measure, START) < 30


def _machine(run_dir: Path, bundle: Path) -> Machine:
    lines = (ROOT / "samples" / "reflections.jsonl").read_bytes().splitlines()[:40]
    events = read(lines, now=datetime.now(UTC))
    rows = [(line.event, line.reflection) for line in events if line.event and line.reflection]
    settings = Settings(run_dir=run_dir, bundle=bundle, cache_dir=ROOT / ".cache")
    return Machine(settings, rows, seconds=4)
