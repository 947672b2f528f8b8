"""The embedded servers by themselves: what they keep, whom they let in, what they say when they cannot."""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import psycopg
import pytest
import redis

from worker.embedded import home, process, rundir
from worker.embedded.postgres import Postgres, free_port
from worker.embedded.valkey import Valkey
from worker.errors import ServiceMissing

ROOT = os.geteuid() == 0
as_root = pytest.mark.skipif(not ROOT, reason="needs root")


everywhere = pytest.mark.parametrize("place", ["open", "closed"], indirect=True)


@pytest.fixture
def place(request) -> Iterator[Path]:
    """A folder of mode 0700, or with `everywhere` also one that every user can pass."""
    outer = Path(tempfile.mkdtemp(prefix="feltsense-test-", dir="/var/tmp"))
    outer.chmod(0o755 if getattr(request, "param", "closed") == "open" else 0o700)
    yield outer
    home.remove(outer / "postgres")
    shutil.rmtree(outer)


@pytest.fixture
def postgres(place: Path) -> Iterator[Postgres]:
    server = Postgres(place / "postgres", log=place / "logs" / "postgres.log")
    yield server
    server.remove()


@pytest.fixture
def valkey(tmp_path: Path) -> Iterator[Valkey]:
    server = Valkey(tmp_path / "valkey", log=tmp_path / "logs" / "valkey.log")
    yield server
    server.stop()


@everywhere
def test_postgres_keeps_its_rows_from_start_to_start(postgres, place):
    with psycopg.connect(postgres.start()) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 'row' AS value")
    postgres.stop()
    postgres.stop()
    assert postgres.process.ended == 0
    with psycopg.connect(Postgres(place / "postgres", log=postgres.process.log).start()) as connection:
        assert connection.execute("SELECT value FROM kept").fetchall() == [("row",)]


@everywhere
def test_postgres_is_private_and_never_root(postgres, place):
    url = postgres.start()
    folder = (place / "postgres").resolve()
    owner = Path(f"/proc/{postgres.process.pid}").stat().st_uid
    assert owner != 0
    assert (folder / "data").stat().st_mode & 0o777 == 0o700
    assert (folder / "data").stat().st_uid == owner
    assert (folder / "password").stat().st_mode & 0o777 == 0o600
    assert (place / "postgres").is_symlink() == (ROOT and not place.stat().st_mode & 0o001)
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(re.sub(":[^:@]+@", ":wrong@", url))
    with socket.socket() as elsewhere, pytest.raises(ConnectionRefusedError):
        elsewhere.connect(("127.0.0.2", postgres.process and int(url.rsplit(":", 1)[1].split("/")[0])))


def test_postgres_never_logs_the_values_it_refuses(postgres):
    with psycopg.connect(postgres.start(), autocommit=True) as connection:
        connection.execute("CREATE TABLE t (x text UNIQUE CHECK (length(x) < 20))")
        connection.execute("INSERT INTO t VALUES ('canary')")
        for statement in (
            "INSERT INTO t VALUES ('canary')",
            "INSERT INTO t VALUES ('canary canary canary canary')",
            "SELECT 'canary'::int",
            "SELECT '{canary'::jsonb",
            "SELECT canary",
        ):
            with pytest.raises(psycopg.Error):
                connection.execute(statement)
    postgres.stop()
    assert "canary" not in postgres.process.log.read_text()


@everywhere
def test_postgres_starts_over_a_postmaster_pid_that_only_looks_alive(postgres, place):
    postgres.start()
    pid_file = (place / "postgres").resolve() / "data" / "postmaster.pid"
    lines = pid_file.read_text().splitlines()
    postgres.process.kill()
    deadline = time.monotonic() + 10
    while any(process._folder_of(p) == pid_file.parent for p in process._processes("postgres")):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    with sleeping_as(pid_file.parent.stat().st_uid) as somebody:
        pid_file.write_text("\n".join([str(somebody), *lines[1:]]) + "\n")
        assert postgres.start()


def test_postgres_names_the_other_server_on_its_data(postgres, place, monkeypatch):
    monkeypatch.setattr(process, "PREDECESSOR_DEADLINE_S", 0.3)
    postgres.start()
    second = Postgres(place / "postgres", log=place / "logs" / "second.log")
    with pytest.raises(ServiceMissing, match=rf"pid {postgres.process.pid}\b"):
        second.start()
    with psycopg.connect(postgres.url) as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)


def test_postgres_names_the_port_that_is_taken(place):
    with listening() as port:
        server = Postgres(place / "postgres", log=place / "postgres.log", port=port)
        with pytest.raises(ServiceMissing, match=f"port {port} on 127.0.0.1 is taken"):
            server.start()
        assert server.process.ended is not None


@pytest.mark.parametrize("damaged", ["global/pg_control", "PG_VERSION"])
def test_postgres_names_the_folder_of_damaged_data(postgres, place, damaged):
    postgres.start()
    postgres.stop()
    file = (place / "postgres").resolve() / "data" / damaged
    file.write_bytes(b"?" * file.stat().st_size)
    with pytest.raises(
        ServiceMissing, match=f"{file.parents[damaged.count('/')]} cannot be used: .+delete it"
    ):
        postgres.start()


@as_root
def test_postgres_says_that_the_data_it_moved_outside_are_gone(postgres, place):
    (place / "postgres").symlink_to(place / "nowhere")
    with pytest.raises(ServiceMissing, match=f"{place / 'postgres'} is gone"):
        postgres.start()
    (place / "postgres").unlink()


def test_postgres_resumes_a_creation_that_was_killed(postgres, place):
    postgres.start()
    postgres.stop()
    folder = (place / "postgres").resolve()
    (folder / "data").rename(folder / "data.partial")
    (folder / "password").unlink()
    with psycopg.connect(postgres.start()) as connection:
        assert connection.execute("SELECT current_database()").fetchone() == ("feltsense",)


@as_root
def test_a_full_disk_stops_the_creation_of_a_database_with_its_reason():
    with small_disk(8) as disk, pytest.raises(ServiceMissing, match=f"the disk of {disk}.* is full"):
        Postgres(disk / "postgres", log=disk / "postgres.log").start()


@as_root
def test_a_full_disk_stops_the_start_of_a_database_with_its_reason_and_harms_no_row():
    with small_disk(90) as disk, ExitStack() as stack:
        server = Postgres(disk / "postgres", log=Path(tempfile.gettempdir()) / f"{disk.name}.log")
        stack.callback(server.stop)
        with psycopg.connect(server.start()) as connection:
            connection.execute("CREATE TABLE kept AS SELECT 1 AS value")
        server.stop()
        filler = disk / "filler"
        fill(filler)
        with pytest.raises(ServiceMissing, match=f"the disk of {disk}.* is full"):
            server.start()
        filler.unlink()
        with psycopg.connect(server.start()) as connection:
            assert connection.execute("SELECT value FROM kept").fetchone() == (1,)


@as_root
def test_a_full_disk_stops_the_broker_with_its_reason():
    with small_disk(1) as disk:
        fill(disk / "filler")
        with pytest.raises(ServiceMissing, match=f"the disk of {disk}.* is full"):
            Valkey(disk / "valkey", log=Path(tempfile.gettempdir()) / f"{disk.name}.log").start()


def test_a_folder_of_somebody_else_is_named(tmp_path):
    tmp_path.chmod(0o500)
    problems = as_nobody(
        lambda: Postgres(tmp_path / "postgres", log=tmp_path / "p.log").start(),
        lambda: Valkey(tmp_path / "valkey", log=tmp_path / "v.log").start(),
        lambda: rundir.claimed(tmp_path / "run").__enter__(),
    )
    for problem in problems:
        assert problem.startswith("ServiceMissing"), problem
        assert "ermission denied" in problem
        assert str(tmp_path) in problem


def test_valkey_keeps_the_queue_from_start_to_start(valkey):
    redis.Redis.from_url(valkey.start()).rpush("queue", "message")
    valkey.stop()
    valkey.stop()
    assert valkey.process.ended == 0
    client = redis.Redis.from_url(valkey.start())
    assert client.lrange("queue", 0, -1) == [b"message"]


def test_valkey_keeps_what_it_accepted_a_second_before_it_was_killed(valkey):
    redis.Redis.from_url(valkey.start()).rpush("queue", "message")
    valkey.process.kill()
    assert redis.Redis.from_url(valkey.start()).llen("queue") == 1


def test_valkey_is_private_and_configured_for_a_queue(valkey, tmp_path):
    client = redis.Redis.from_url(valkey.start())
    settings = (
        client.config_get("append*") | client.config_get("maxmemory-policy") | client.config_get("bind")
    )
    assert settings["appendonly"] == "yes"
    assert settings["appendfsync"] == "everysec"
    assert settings["maxmemory-policy"] == "noeviction"
    assert settings["bind"] == "127.0.0.1"
    password, port = re.fullmatch(r"redis://:(.+)@127\.0\.0\.1:(\d+)/0", valkey.url).groups()
    with pytest.raises(redis.AuthenticationError):
        redis.Redis(port=int(port), retry=None).ping()
    assert password.encode() not in Path(f"/proc/{valkey.process.pid}/cmdline").read_bytes()
    assert (tmp_path / "valkey" / "valkey.conf").stat().st_mode & 0o777 == 0o600


def test_valkey_names_the_port_that_is_taken(tmp_path):
    with listening() as port:
        server = Valkey(tmp_path / "valkey", log=tmp_path / "valkey.log", port=port)
        with pytest.raises(ServiceMissing, match=f"port {port} on 127.0.0.1 is taken"):
            server.start()


def test_valkey_names_the_folder_of_a_damaged_queue(valkey, tmp_path):
    client = redis.Redis.from_url(valkey.start())
    for number in range(50):
        client.rpush("queue", f"message {number}")
    valkey.stop()
    (log,) = (tmp_path / "valkey" / "appendonlydir").glob("*.incr.aof")
    written = bytearray(log.read_bytes())
    written[100:160] = b"!" * 60
    log.write_bytes(written)
    with pytest.raises(ServiceMissing, match=f"cannot read its append-only file in {tmp_path / 'valkey'}"):
        valkey.start()


@everywhere
def test_both_servers_end_with_a_parent_that_was_killed_and_start_again(place):
    script = (
        "import sys, time; from pathlib import Path\n"
        "from worker.embedded.postgres import Postgres; from worker.embedded.valkey import Valkey\n"
        "here = Path(sys.argv[1])\n"
        "servers = [Postgres(here / 'postgres', log=here / 'p.log')]\n"
        "servers += [Valkey(here / 'valkey', log=here / 'v.log')]\n"
        "[s.start() for s in servers]\n"
        "print(*(s.process.pid for s in servers), flush=True); time.sleep(60)\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", script, place], stdout=subprocess.PIPE, text=True)
    pids = [int(word) for word in parent.stdout.readline().split()]
    assert len(pids) == 2
    parent.kill()
    parent.wait()
    parent.stdout.close()
    for server in (
        Postgres(place / "postgres", log=place / "p.log"),
        Valkey(place / "valkey", log=place / "v.log"),
    ):
        server.start()
        server.stop()
    assert not [pid for pid in pids if process.alive(pid)]
    assert "database system was shut down" in (place / "p.log").read_text()  # orderly, not by recovery


def test_a_folder_has_one_supervisor_and_waits_for_the_children_of_a_killed_one(tmp_path, monkeypatch):
    with rundir.claimed(tmp_path) as lock:
        claim = rundir.claimed(tmp_path)
        with pytest.raises(ServiceMissing, match=rf"already runs on {tmp_path} \(pid {os.getpid()}\)"):
            claim.__enter__()
        child = process.Process("child", ["sleep", "60"], log=tmp_path / "child.log", keep_open=(lock,))
        child.start()
    (tmp_path / "lock").write_text("999999999")
    monkeypatch.setattr(rundir, "ENDING_DEADLINE_S", 0.3)
    with pytest.raises(ServiceMissing, match="still run"), rundir.claimed(tmp_path):
        pass
    child.kill()
    with rundir.claimed(tmp_path):
        assert (tmp_path / "lock").read_text() == str(os.getpid())


def test_a_child_that_ignores_its_signal_is_killed_at_the_deadline(tmp_path):
    child = process.Process("child", ["sh", "-c", "trap '' TERM; echo up; sleep 60"], log=tmp_path / "log")
    child.start()
    while "up" not in child.tail():
        time.sleep(0.02)
    assert child.stop(0.2) is False
    assert child.ended == -signal.SIGKILL


def test_a_program_that_is_not_there_is_named(tmp_path):
    with pytest.raises(ServiceMissing, match="no-such-program"):
        process.Process("child", [tmp_path / "no-such-program"], log=tmp_path / "log").start()


@contextmanager
def listening() -> Iterator[int]:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", free_port()))
        taken.listen()
        yield taken.getsockname()[1]


@contextmanager
def sleeping_as(uid: int) -> Iterator[int]:
    sleeper = subprocess.Popen(["sleep", "60"], user=uid if ROOT else None)
    yield sleeper.pid
    sleeper.kill()
    sleeper.wait()


@contextmanager
def small_disk(megabytes: int) -> Iterator[Path]:
    disk = Path(tempfile.mkdtemp(prefix="feltsense-disk-", dir="/var/tmp"))
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m,mode=755", "tmpfs", disk], capture_output=True
    )
    if mounted.returncode != 0:
        disk.rmdir()
        pytest.skip("tmpfs cannot be mounted here")
    try:
        yield disk
    finally:
        subprocess.run(["umount", "--lazy", disk], check=True)
        disk.rmdir()


def fill(path: Path) -> None:
    with path.open("wb", buffering=0) as file:
        block = b"\0" * 65536
        while block:
            try:
                file.write(block)
            except OSError:
                block = block[: len(block) // 2]


def as_nobody(*calls) -> list[str]:
    """What each call raises when this process may not write: in a fork without root's rights."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        if ROOT:
            os.setgroups([])
            os.setgid(65534)
            os.setuid(65534)
        for call in calls:
            try:
                call()
                said = "no error"
            except Exception as error:  # noqa: BLE001  told to the parent, which judges it
                said = f"{type(error).__name__}: {error}"
            os.write(writer, said.replace("\n", " ").encode() + b"\n")
        os._exit(0)
    os.close(writer)
    os.waitpid(child, 0)
    with os.fdopen(reader) as told:
        return told.read().splitlines()


def test_a_database_that_is_still_recovering_is_not_called_unusable(place):
    server = Postgres(place / "postgres", log=place / "log")
    server.start()
    server.process.kill()
    with pytest.raises(ServiceMissing, match=r"not ready after 0 s.*start again to go on"):
        server.start(deadline_s=0)
    with psycopg.connect(server.start()) as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)
    server.stop()
