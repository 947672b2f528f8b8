"""Real clients: the examples as they stand, in Node and in Python, and rows read by plain SQL."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import psycopg
import pytest
import redis
from sqlalchemy import make_url

from tests.support.containers import missing
from tests.support.events import event
from tests.support.service import ROOT, Instance
from worker.store import roles
from worker.store.engine import Store

EXAMPLES = ROOT / "examples"
KEY = base64.b64encode(bytes(range(32))).decode()
TEXT = 'Aaj ka din theek tha, "bas" thoda thak gaya.\n मैं खुश हूँ 🙂'


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Node example with its packages, installed from its lock."""
    for program in ("node", "npm"):
        if shutil.which(program) is None:
            pytest.skip(missing(program))
    folder = tmp_path_factory.mktemp("node")
    for file in (EXAMPLES / "node").glob("*.*"):
        shutil.copy(file, folder)
    command = ["npm", "ci", "--no-audit", "--no-fund", "--ignore-scripts", "--loglevel", "error"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=100)
    if done.returncode != 0:
        pytest.skip(missing(f"celery-node (npm ci: {done.stderr.strip()[-200:]})"))
    return folder


@pytest.fixture(scope="module")
def sealed(shared: Instance, postgres: Any, template: str, tmp_path_factory: Any) -> Iterator[Instance]:
    """A worker that takes sealed events only, on a database of its own and the broker's second database."""
    name = postgres.create(template)
    broker = shared.broker_url.removesuffix("/0") + "/1"
    made = Instance(broker, postgres.url(name), shared.bundle, tmp_path_factory.mktemp("sealed"))
    made.start(event_key=KEY)
    yield made
    for worker in made.workers:
        worker.stop()
    postgres.drop(name)


def publish(
    to: Instance, command: Sequence[str | Path], events: Sequence[dict[str, Any]], **environment: str
) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("FELTSENSE_")}
    return subprocess.run(
        command,
        input="".join(json.dumps(one) + "\n" for one in events),
        env={**kept, "FELTSENSE_BROKER_URL": to.broker_url, **environment},
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip


def events(prefix: str, count: int) -> list[dict[str, Any]]:
    return [event(f"{prefix}-{n}", f"{prefix}-u{n % 2}", day=n % 28 + 1, text=TEXT) for n in range(count)]


def rows(of: Instance, prefix: str) -> int:
    query = "SELECT count(*) FROM current_perceptions WHERE reflection_id LIKE %s AND valence BETWEEN 0 AND 1"
    return int(of.rows(query, f"{prefix}-%")[0][0])


@pytest.mark.parametrize("queue", ["reflections", "reflections.bulk"])
def test_events_from_node_become_rows(shared, node, queue):
    prefix = f"node-{queue[-4:]}"
    done = publish(shared, ["node", node / "publish.mjs"], events(prefix, 70), FELTSENSE_QUEUE=queue)
    assert (done.returncode, done.stdout) == (0, f"70 events are on {queue}\n"), done.stderr
    shared.eventually(lambda: rows(shared, prefix) == 70)
    assert shared.rows("SELECT DISTINCT text FROM reflections WHERE id LIKE %s", f"{prefix}-%") == [(TEXT,)]


def test_events_sealed_in_node_are_opened(sealed, node):
    command = ["node", node / "publish.mjs"]
    done = publish(sealed, command, events("sealed", 3), FELTSENSE_EVENT_KEY=KEY)
    assert done.returncode == 0, done.stderr
    sealed.eventually(lambda: rows(sealed, "sealed") == 3)
    assert sealed.rows("SELECT DISTINCT text FROM reflections") == [(TEXT,)]
    other = base64.b64encode(bytes(32)).decode()
    publish(sealed, command, events("other", 1), FELTSENSE_EVENT_KEY=other)
    publish(sealed, command, events("open", 1))
    letters = "SELECT DISTINCT reason FROM dead_letters ORDER BY reason"
    sealed.eventually(lambda: sealed.rows(letters) == [("unreadable_seal",), ("unsealed",)])


def test_node_says_why_nothing_was_published_and_not_what(shared, node):
    away = Instance("redis://127.0.0.1:1/0", shared.database_url, shared.bundle, node)
    done = publish(away, ["node", node / "publish.mjs"], events("away", 1))
    assert done.returncode == 1
    assert "not published: connect ECONNREFUSED" in done.stderr
    with redis.Redis.from_url(shared.broker_url) as broker:
        broker.acl_setuser("reading", enabled=True, passwords=["+secret"], keys=["*"], commands=["+ping"])
    refused = make_url(shared.broker_url).set(username="reading", password="secret")
    away.broker_url = refused.render_as_string(hide_password=False)
    done = publish(away, ["node", node / "publish.mjs"], events("refused", 1))
    assert done.returncode == 1
    assert "not published: NOPERM" in done.stderr
    body = base64.b64encode(json.dumps([[events("refused", 1)], {}, {}], ensure_ascii=False).encode())
    assert body[20:60].decode() not in done.stderr


def test_node_needs_no_more_than_a_publishers_rights(shared, node):
    rules = next(
        line for line in (ROOT / "docs/valkey.acl").read_text().splitlines() if line.startswith("user publ")
    ).split()[2:]
    with redis.Redis.from_url(shared.broker_url) as broker:
        broker.execute_command("ACL", "SETUSER", "publisher", "reset", *rules)
    url = make_url(shared.broker_url).set(username="publisher", password="change-publisher")
    limited = Instance(url.render_as_string(hide_password=False), shared.database_url, shared.bundle, node)
    done = publish(limited, ["node", node / "publish.mjs"], events("limited", 1))
    assert done.returncode == 0, done.stderr
    shared.eventually(lambda: rows(shared, "limited") == 1)


@pytest.mark.parametrize("flags", [[], ["--msgpack"]], ids=["json", "msgpack"])
def test_events_from_python_become_rows(shared, flags):
    prefix = f"python{len(flags)}"
    command = [sys.executable, "-I", EXAMPLES / "python" / "publish.py", *flags]
    done = publish(shared, command, events(prefix, 70))
    assert (done.returncode, done.stdout) == (0, "70 events are on reflections\n"), done.stderr
    shared.eventually(lambda: rows(shared, prefix) == 70)


def test_a_reader_prints_a_persons_rows_and_no_text(shared):
    publish(shared, [sys.executable, "-I", EXAMPLES / "python" / "publish.py"], events("read", 4))
    shared.eventually(lambda: rows(shared, "read") == 4)
    with Store.open(shared.database_url, pool_size=1) as store:
        roles.apply(store)
    with psycopg.connect(shared.database_url) as connection:
        connection.execute("CREATE ROLE example_reader LOGIN PASSWORD 'secret' IN ROLE feltsense_reader")
    url = psycopg.conninfo.make_conninfo(shared.database_url, user="example_reader", password="secret")
    try:
        done = subprocess.run(
            [sys.executable, "-I", EXAMPLES / "python" / "read.py", "read-u0"],
            env={**os.environ, "FELTSENSE_DATABASE_URL": url},
            capture_output=True, text=True, check=False, timeout=30,
        )  # fmt: skip
    finally:
        with psycopg.connect(shared.database_url) as connection:
            connection.execute("DROP ROLE example_reader")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) == 2
    assert lines == sorted(lines)
    assert all("valence 0." in line for line in lines)
