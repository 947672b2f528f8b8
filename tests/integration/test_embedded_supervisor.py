"""A whole instance as its operator meets it: `up` in a process of its own, ended in every way there is."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
import redis

from tests.support.service import bundle  # noqa: F401  fixture
from worker.embedded import home
from worker.embedded.process import alive
from worker.embedded.supervisor import environment
from worker.errors import ServiceMissing
from worker.service.health import findings
from worker.service.readiness import answers, workers
from worker.settings import Settings

UP = "import sys; from rich.console import Console; from worker.settings import Settings\n"
UP += "from worker.embedded.supervisor import up; sys.exit(up(Settings(), Console(width=200)))"
READY_S, END_S = 90.0, 45.0
WORKER = "worker.service.celery_app:app worker"
CHILDREN = {"postgres", "valkey-server", "worker", "beat", "flower"}


class Instance:
    """`up` as a child; its output goes to a file, as to a terminal nobody reads."""

    def __init__(self, folder: Path, bundle: Path, **settings: str) -> None:
        self.run_dir = folder / "run"
        self.output = folder / "output"
        environment = os.environ | {
            "FELTSENSE_RUN_DIR": str(self.run_dir),
            "FELTSENSE_BUNDLE": str(bundle),
            "FELTSENSE_FLOWER_PORT": "0",
            "FELTSENSE_METRICS_PORT": "0",
        }
        environment |= {f"FELTSENSE_{name.upper()}": value for name, value in settings.items()}
        with self.output.open("wb") as sink:
            self.process = subprocess.Popen(
                [sys.executable, "-c", UP], env=environment, stdout=sink, stderr=sink, start_new_session=True
            )

    def ready(self) -> "Instance":
        until(lambda: self.process.poll() is not None or "Ctrl-C" in self.output.read_text(), READY_S)
        assert self.process.poll() is None, self.output.read_text()
        return self

    @property
    def addresses(self) -> dict[str, str]:
        return json.loads((self.run_dir / "feltsense.json").read_text())

    def holders(self) -> dict[int, str]:
        """Every process of the instance but the supervisor: pid and command of whoever holds the lock."""
        found = {}
        lock = str(self.run_dir / "lock")
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit() and int(entry.name) != self.process.pid:
                try:
                    if any(str(fd.readlink()) == lock for fd in (entry / "fd").iterdir()):
                        found[int(entry.name)] = (
                            (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
                        )
                except OSError:  # ended meanwhile
                    continue
        return found

    def end(self, how: signal.Signals) -> int:
        self.process.send_signal(how)
        return self.process.wait(END_S)


@pytest.fixture
def instance(tmp_path: Path, bundle: Path) -> Iterator[Instance]:
    made = Instance(tmp_path, bundle)
    yield made
    if made.process.poll() is None:
        made.process.kill()
        made.process.wait()
    until(lambda: not made.holders(), END_S)
    home.remove(made.run_dir / "postgres")


def until(holds, within_s: float) -> None:
    expires = time.monotonic() + within_s
    while not holds():
        assert time.monotonic() < expires, "it never held"
        time.sleep(0.05)


@pytest.mark.timeout(300)
def test_up_runs_everything_and_a_signal_ends_all_of_it_in_order(instance):
    addresses = instance.ready().addresses

    assert set(addresses) == {"broker_url", "database_url", "flower_url", "metrics_url"}
    assert (instance.run_dir / "feltsense.json").stat().st_mode & 0o777 == 0o600
    with psycopg.connect(addresses["database_url"]) as connection:
        assert connection.execute("SELECT count(*) FROM perceptions").fetchone() == (0,)
    assert redis.Redis.from_url(addresses["broker_url"]).ping()
    assert b"feltsense_events" in urllib.request.urlopen(addresses["metrics_url"]).read()
    until(lambda: listens(addresses["flower_url"]), 30)
    holders = instance.holders()
    commands = " ".join(holders.values())
    assert all(name in commands for name in CHILDREN), commands
    for secret in ("broker_url", "database_url"):
        password = addresses[secret].rpartition("@")[0].rpartition(":")[2]
        assert len(password) >= 20
        assert password not in commands
        assert password not in instance.output.read_text()

    settings = Settings(run_dir=instance.run_dir, bundle=Path(os.devnull))
    assert {f.name: f.ok for f in findings(settings)} == {
        "broker": True, "worker": True, "database": True, "schema": True, "devices": True, "encoder": True,
        "bundle": False,
    }  # fmt: skip

    second = subprocess.run(
        [sys.executable, "-c", UP],
        env=os.environ | {"FELTSENSE_RUN_DIR": str(instance.run_dir)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert second.returncode != 0
    assert f"already runs on {instance.run_dir} (pid {instance.process.pid})" in second.stderr
    assert not [pid for pid in holders if not alive(pid)], "the second one harmed the first"

    assert instance.end(signal.SIGINT) == 0
    assert not instance.holders()
    assert not (instance.run_dir / "feltsense.json").exists()
    logs = instance.run_dir / "logs"
    assert (
        "worker_closed" in (logs / "worker.log").read_text()
    )  # a warm shutdown, while its database still was there
    assert "database system is shut down" in (logs / "postgres.log").read_text()
    assert "ready to exit" in (logs / "valkey.log").read_text()


@pytest.mark.timeout(300)
def test_no_process_outlives_a_terminal_that_is_closed(instance):
    assert len(instance.ready().holders()) >= len(CHILDREN)
    assert instance.end(signal.SIGHUP) == 0
    assert not instance.holders()


@pytest.mark.timeout(300)
def test_no_process_outlives_a_supervisor_that_is_killed_and_every_row_and_message_does(
    instance,
    tmp_path,
    bundle,
):
    with psycopg.connect(instance.ready().addresses["database_url"]) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 1 AS value")
    redis.Redis.from_url(instance.addresses["broker_url"]).set("kept", "yes")
    assert len(instance.holders()) >= len(CHILDREN)

    assert instance.end(signal.SIGKILL) == -signal.SIGKILL

    until(lambda: not instance.holders(), 15)
    again = Instance(tmp_path, bundle).ready()
    try:
        with psycopg.connect(again.addresses["database_url"]) as connection:
            assert connection.execute("SELECT value FROM kept").fetchone() == (1,)
        assert redis.Redis.from_url(again.addresses["broker_url"]).get("kept") == b"yes"
    finally:
        assert again.end(signal.SIGTERM) == 0


@pytest.mark.timeout(300)
def test_a_server_that_dies_is_named_and_brings_the_instance_down(instance):
    os.kill(holder(instance.ready(), "valkey-server"), signal.SIGKILL)

    assert instance.process.wait(END_S) != 0
    assert not instance.holders()
    assert "valkey ended (status -9)" in instance.output.read_text()


@pytest.mark.timeout(300)
def test_a_worker_that_dies_or_stops_is_started_again(instance):
    instance.ready()
    for how, said in ((signal.SIGKILL, "ended (status -9)"), (signal.SIGSTOP, "hung and was killed")):
        before = holder(instance, WORKER)
        os.kill(before, how)
        until(lambda said=said: f"The worker {said}; starting it again." in instance.output.read_text(), 30)
        until(lambda before=before: holder(instance, WORKER) not in (None, before), 30)
        until(lambda: answers(instance.addresses["metrics_url"]), READY_S)
        until(lambda: workers(instance.addresses["broker_url"], timeout_s=0.5), READY_S)
    assert instance.end(signal.SIGINT) == 0


def holder(instance: Instance, name: str) -> int | None:
    """The pid of the instance's process of that name."""
    return next((pid for pid, command in instance.holders().items() if name in command), None)


@pytest.mark.timeout(120)
def test_a_worker_without_a_bundle_screens_and_doctor_says_why(tmp_path):
    instance = Instance(tmp_path, tmp_path / "no-bundle")
    try:
        assert "The worker has no models" in instance.ready().output.read_text()
        urls = {name: instance.addresses[name] for name in ("broker_url", "database_url")}
        found = {one.name: one for one in findings(Settings(device_plan=("CPU",), **urls))}
        assert (found["worker"].ok, found["worker"].exit_code) == (False, 4)
        assert "has no models and only screens: bundle" in found["worker"].what
        assert "no-bundle" in found["worker"].what
    finally:
        assert instance.end(signal.SIGINT) == 0


@pytest.mark.parametrize("setting", ["flower_port", "metrics_port"])
def test_a_port_that_is_taken_is_named_with_its_setting_before_anything_starts(tmp_path, bundle, setting):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        instance = Instance(tmp_path, bundle, **{setting: str(port)})
        assert instance.process.wait(30) != 0
    assert f"port {port} on 127.0.0.1" in instance.output.read_text()
    assert f"FELTSENSE_{setting.upper()}" in instance.output.read_text()
    assert not (instance.run_dir / "postgres").exists()


def test_a_child_reads_exactly_the_settings_of_its_supervisor(tmp_path, monkeypatch):
    monkeypatch.setenv("FELTSENSE_CONCURRENCY", "3")
    chosen = Settings(
        run_dir=tmp_path / "a b",
        event_key="c2VjcmV0",
        store_text="drop",
        concurrency=5,
        max_wait_ms=1.5,
        device_plan=("NPU", "CPU"),
        flower=False,
        metrics_port=1234,
    )
    for name, value in environment(chosen).items():
        monkeypatch.setenv(name, value)
    assert Settings() == chosen


def test_doctor_names_what_is_missing_and_the_remedy(tmp_path):
    free = Settings(
        run_dir=tmp_path,
        bundle=tmp_path / "no-bundle",
        broker_url="redis://:secret@127.0.0.1:1/0",
        database_url="postgresql://feltsense:secret@127.0.0.1:1/feltsense",
    )
    found = {finding.name: finding for finding in findings(free)}
    assert [name for name, finding in found.items() if not finding.ok] == [
        "broker", "worker", "database", "schema", "bundle",
    ]  # fmt: skip
    assert all(finding.remedy for finding in found.values() if not finding.ok)
    assert found["broker"].exit_code == ServiceMissing.exit_code
    assert not [finding for finding in found.values() if "secret" in finding.what + finding.remedy]


def listens(url: str) -> bool:
    port = int(url.rpartition(":")[2])
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
