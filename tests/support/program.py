"""`feltsense` as a person runs it: a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

from worker import cli

ROOT = Path(cli.__file__).parents[1]


def feltsense(
    *arguments: str | Path, cwd: Path | None = None, stdin: bytes = b"", **environment: str
) -> subprocess.CompletedProcess[bytes]:
    """Run the program with only the FELTSENSE_* variables given, 100 columns wide, and no terminal.

    The exported encoder is shared: exporting it once more takes seconds.
    """
    kept = {name: value for name, value in os.environ.items() if not name.startswith("FELTSENSE_")}
    paths = os.pathsep.join([str(ROOT), kept.get("PYTHONPATH", "")])
    return subprocess.run(
        [sys.executable, "-m", "worker.cli", *map(str, arguments)],
        cwd=cwd,
        input=stdin,
        capture_output=True,
        timeout=100,
        env={
            **kept,
            "PYTHONPATH": paths,
            "FELTSENSE_CACHE_DIR": str(ROOT / ".cache"),
            "COLUMNS": "100",
            "FELTSENSE_TRAINER_GIVES_WAY": "false",
            **environment,
        },
        check=False,
    )


def needs_plugins() -> None:
    """Skip where the trainer's commands cannot be found: they come through installed entry points."""
    if not metadata.entry_points(group=cli.EXTENSIONS):
        if os.environ.get("CI"):
            pytest.fail("feltsense is not installed in this environment")
        pytest.skip("feltsense is not installed in this environment (make test installs it)")
