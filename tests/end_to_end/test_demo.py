"""The demo as a newcomer meets it: on the sample, on a file of their own, and ended in every way."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from worker.demo import SAMPLE
from worker.embedded import home
from worker.embedded.process import alive

ROOT = Path(__file__).parents[2]
DEMO = [sys.executable, "-m", "worker.demo"]
READY_S, END_S = 120.0, 45.0


class Demo:
    """The demo as a child, or as a grandchild of a shell in make's place."""

    def __init__(self, folder: Path, arguments: list[str], environment: dict[str, str]) -> None:
        self.run_dir = folder / "run"
        self.output = folder / "output"
        self.lock = self.run_dir / "demo" / "lock"
        given = os.environ | {"FELTSENSE_RUN_DIR": str(self.run_dir), "COLUMNS": "120"} | environment
        with self.output.open("wb") as sink:
            self.process = subprocess.Popen(
                arguments, cwd=ROOT, env=given, stdout=sink, stderr=sink, start_new_session=True
            )

    @property
    def said(self) -> str:
        return self.output.read_text()

    def holders(self) -> list[int]:
        """Every process of the demo that still runs, itself included."""
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                try:
                    if any(str(fd.readlink()) == str(self.lock) for fd in (entry / "fd").iterdir()):
                        found.append(int(entry.name))
                except OSError:  # ended meanwhile
                    continue
        return found


@pytest.fixture
def start(tmp_path: Path) -> Iterator:
    made = []

    def begin(*arguments: str, **environment: str) -> Demo:
        folder = tmp_path / str(len(made))
        folder.mkdir()
        made.append(Demo(folder, list(arguments), environment))
        return made[-1]

    yield begin
    for demo in made:
        for pid in demo.holders():
            os.kill(pid, signal.SIGKILL)
        if demo.process.poll() is None:
            demo.process.kill()
        demo.process.wait()
        home.remove(demo.run_dir / "demo" / "postgres")  # what a killed one leaves to the next


def until(holds, within_s: float, said=lambda: "it never held") -> None:
    expires = time.monotonic() + within_s
    while not holds():
        assert time.monotonic() < expires, said()
        time.sleep(0.05)


@pytest.mark.timeout(300)
def test_the_sample_becomes_rows_and_refusals_whose_sum_is_exact(start):
    demo = start(*DEMO)

    assert demo.process.wait(READY_S) == 0, demo.said

    assert not demo.holders()
    said = " ".join(demo.said.split())
    sums = re.search(
        r"(\d+) lines: (\d+) cannot be sent, (\d+) published\. Of these (\d+) are rows of (\d+) people, "
        r"(\d+) dead letters, and (\d+) duplicates or replaced revisions",
        said,
    )
    assert sums is not None, demo.said
    lines, unsent, published, rows, people, letters, others = map(int, sums.groups())
    assert lines == sum(1 for line in SAMPLE.read_bytes().splitlines() if line.strip()) == unsent + published
    assert published == rows + letters + others
    assert rows > 400
    assert 20 <= people <= 30
    for reason in (
        "bad_json",
        "missing_field",
        "unknown_field",
        "text_too_long",
        "lone_surrogate",
        "future_time",
    ):
        assert reason in said
    assert "enrichment_failed" not in said
    assert re.search(r"valence\s+[▁▂▃▄▅▆▇█ ]+\s+0\.\d\d to", said)
    assert re.search(r"\d+ reflections a second.+p50 \d+ ms, p95 \d+ ms", said)
    assert "feltsense up" in said
    left = {path.name for path in (demo.run_dir / "demo").iterdir()}
    assert left <= {"logs", "lock"}, left


@pytest.mark.timeout(300)
def test_a_file_of_ones_own_is_named_shown_and_not_quoted(start, tmp_path):
    file = tmp_path / "own.jsonl"
    event = {"user_id": "u-own", "text": "canary in the coal mine"}
    times = {f"own-{day}": f"2026-11-0{day}T08:00:00Z" for day in (1, 2, 3)}
    lines = [json.dumps(event | {"id": id_, "created_at": created_at}) for id_, created_at in times.items()]
    file.write_text("\n".join([*lines, "canary, no JSON"]))

    demo = start(*DEMO, str(file))

    assert demo.process.wait(READY_S) == 0, demo.said
    assert "u-own: 3 reflections" in demo.said
    assert "bad_json" in demo.said
    assert "canary" not in demo.said
    for log in (demo.run_dir / "demo" / "logs").iterdir():
        assert "canary" not in log.read_text(), log


def test_a_file_that_is_not_there_is_named(start, tmp_path):
    demo = start(*DEMO, str(tmp_path / "absent.jsonl"))
    assert demo.process.wait(60) == 2
    assert f"cannot read {tmp_path / 'absent.jsonl'}: No such file or directory" in " ".join(
        demo.said.split()
    )


@pytest.mark.timeout(300)
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGHUP, signal.SIGKILL], ids=lambda how: how.name)
def test_nothing_is_left_of_a_demo_that_is_stopped(start, how):
    demo = start(*DEMO)
    until(lambda: len(demo.holders()) >= 4, READY_S, lambda: demo.said)  # demo, Postgres, Valkey, worker

    demo.process.send_signal(how)

    assert demo.process.wait(END_S) == (-signal.SIGKILL if how is signal.SIGKILL else 130)
    until(lambda: not demo.holders(), 15)
    assert ("was stopped" in demo.said) == (how is not signal.SIGKILL)


@pytest.mark.timeout(300)
def test_nothing_is_left_of_a_demo_whose_make_and_shell_are_killed(start):
    """The outer shell stands for the user's, the inner one for make, which does not die with it."""
    inner = f"echo inner $$; MAKELEVEL=1 {' '.join(DEMO)}; true"
    demo = start("bash", "-c", f"bash -c '{inner}'; true")
    until(lambda: len(demo.holders()) >= 3, READY_S, lambda: demo.said)
    make = int(re.search(r"inner (\d+)", demo.said)[1])

    demo.process.kill()

    until(lambda: not demo.holders(), END_S)
    assert "was stopped" in demo.said
    until(lambda: not alive(make), 15)
