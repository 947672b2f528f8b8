"""A real Prometheus, Debian's, on loopback."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.service import eventually
from worker.embedded.postgres import free_port
from worker.service.readiness import answers

CONFIG = Path(__file__).resolve().parents[2] / "monitoring" / "prometheus.yml"


def program(name: str) -> str:
    """The path of `prometheus` or `promtool`; skips where there is none, and fails in CI."""
    path = shutil.which(name)
    if path is None:
        remedy = f"no {name} is installed (apt-get install -y --no-install-recommends prometheus)"
        if os.environ.get("CI"):
            pytest.fail(remedy)
        pytest.skip(remedy)
    return path


@contextmanager
def prometheus(run_dir: Path, folder: Path) -> Iterator[str]:
    """Its address, while it scrapes the instance of `run_dir` by our configuration, but every second."""
    path = program("prometheus")
    folder.mkdir()
    text = CONFIG.read_text().replace("interval: 5s", "interval: 1s").replace("../run/", f"{run_dir}/")
    text = text.replace("rules.yml", str(CONFIG.parent / "rules.yml"))
    (folder / "prometheus.yml").write_text(text)
    url = f"http://127.0.0.1:{free_port()}"
    log = folder / "log"
    with log.open("wb") as sink:
        process = subprocess.Popen(
            [
                path, f"--config.file={folder / 'prometheus.yml'}", f"--storage.tsdb.path={folder / 'data'}",
                f"--web.listen-address={url.removeprefix('http://')}",
            ],
            stdout=sink, stderr=sink, stdin=subprocess.DEVNULL,
        )  # fmt: skip
    try:
        eventually(lambda: answers(f"{url}/-/ready"), 30, log.read_text)
        yield url
    finally:
        process.terminate()
        process.wait(30)
