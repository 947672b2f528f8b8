"""A canary goes through everything that can happen to a reflection, and is looked for wherever anybody could
find it: with a key, the broker does not hold it either."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import psycopg
import pytest
import redis
from celery import Celery

from tests.support.database import Server
from tests.support.events import event
from tests.support.program import ROOT, feltsense
from tests.support.service import READY_S, Instance, Worker, bundle, eventually  # noqa: F401  a fixture
from tests.support.telltale_app import DAWDLES, SPOILS, STUMBLES
from worker.client.publisher import Publisher
from worker.embedded.postgres import free_port
from worker.embedded.valkey import Valkey
from worker.events.message import BULK

CANARY = "zanzibarcanary"
"""Nobody's word, in every text."""
BARE = "timbuktucanary"
"""In the texts of a client that knows no key and prints its arguments."""
KEY = base64.b64encode(bytes(range(32))).decode()
TELLTALE = "tests.support.telltale_app:app"
PAGES = ("/", "/workers", "/tasks", "/broker", "/metrics")
API = ("/api/tasks", "/api/workers?refresh=1", "/api/queues/length", "/api/task/types")


class Place:
    """A broker with its append-only file, a database, a worker and Flower; with or without a key."""

    def __init__(self, name: str, key: str | None, database_url: str, bundle: Path, folder: Path) -> None:
        self.name = name
        self.key = key
        self.folder = folder / name
        self.valkey = Valkey(self.folder / "valkey", log=self.folder / "logs" / "valkey.log")
        self.instance = Instance(self.valkey.start(), database_url, bundle, self.folder / "logs")
        self.client = redis.Redis.from_url(self.instance.broker_url)
        self.flower_url = ""
        self.flower: subprocess.Popen[bytes] | None = None
        self.worker: Worker | None = None
        self.said: list[bytes] = []

    @property
    def environment(self) -> dict[str, str]:
        key = {} if self.key is None else {"FELTSENSE_EVENT_KEY": self.key}
        return {
            "FELTSENSE_BROKER_URL": self.instance.broker_url,
            "FELTSENSE_DATABASE_URL": self.instance.database_url,
            "FELTSENSE_LOG_LEVEL": "debug",
            "FELTSENSE_DEBUG": "1",
            **key,
        }

    def start(self) -> None:
        key = {} if self.key is None else {"event_key": self.key}
        self.worker = self.instance.start(
            "--task-events", "--loglevel", "debug", ready=False, app=TELLTALE, log_level="debug", **key
        )
        port = free_port()
        self.flower_url = f"http://127.0.0.1:{port}"
        with (self.folder / "logs" / "flower.log").open("wb") as sink:
            self.flower = subprocess.Popen(
                [
                    sys.executable, "-m", "celery", "--app", "worker.service.celery_app:app", "flower",
                    "--address=127.0.0.1", f"--port={port}", "--logging=debug",
                ],
                cwd=ROOT, stdout=sink, stderr=sink, stdin=subprocess.DEVNULL,
                env={**os.environ, **self.environment, "FLOWER_UNAUTHENTICATED_API": "true"},
            )  # fmt: skip

    def ready(self) -> None:
        assert self.worker is not None
        self.worker.wait_ready()
        eventually(lambda: self.page("/healthcheck") == "OK", READY_S, lambda: self.logs()["flower.log"])
        eventually(
            lambda: self.page("/api/workers?refresh=1") not in ("", "{}"), 20, lambda: "Flower sees no worker"
        )

    def page(self, path: str) -> str:
        """A page of Flower's, empty while it does not answer; an error page is a page too."""
        try:
            with urllib.request.urlopen(self.flower_url + path, timeout=10) as answer:
                return str(answer.read().decode())
        except urllib.error.HTTPError as error:
            return error.read().decode()
        except (OSError, ValueError):
            return ""

    def metrics(self) -> str:
        assert self.worker is not None
        port = re.search(r'"metrics_port": (\d+)', self.worker.log)
        assert port
        with urllib.request.urlopen(f"http://127.0.0.1:{port[1]}/metrics") as answer:
            return str(answer.read().decode())

    def run(self, *arguments: str, stdin: bytes = b"") -> bytes:
        """A command of ours, at its most talkative; what it said."""
        done = feltsense(*arguments, cwd=self.folder, stdin=stdin, **self.environment)
        self.said.append(done.stdout + done.stderr)
        assert done.returncode in (0, 3), self.said[-1]
        return self.said[-1]

    def logs(self) -> dict[str, str]:
        files = [path for path in (self.folder / "logs").rglob("*") if path.is_file()]
        return {path.name: path.read_text("utf-8", "replace") for path in files}

    def keyspace(self) -> str:
        """All that the broker holds, keys and values, and what it remembers of commands."""
        values = [
            repr(self.client.dump(key)) + repr(_value(self.client, key)) for key in self.client.scan_iter()
        ]
        remembered = [
            repr(self.client.execute_command("COMMANDLOG", "GET", "-1", kind))
            for kind in ("slow", "large-request", "large-reply")
        ]
        return "".join((repr(self.client.keys()), *values, *remembered))

    def append_only(self) -> str:
        files = (self.folder / "valkey").rglob("*.aof")
        return "".join(path.read_bytes().decode("utf-8", "replace") for path in files)

    def rewrite(self) -> None:
        """The append-only file without its past, as the broker itself makes it from time to time."""
        before = {path.name for path in (self.folder / "valkey").rglob("*.aof")}
        self.client.bgrewriteaof()
        eventually(
            lambda: (
                not self.client.info("persistence")["aof_rewrite_in_progress"]
                and {path.name for path in (self.folder / "valkey").rglob("*.aof")}.isdisjoint(before)
            ),
            20, lambda: "the append-only file is not rewritten",
        )  # fmt: skip

    def stop(self) -> None:
        for process in (self.flower, self.worker and self.worker.process):
            if process is not None and process.poll() is None:
                process.send_signal(signal.SIGKILL)
                process.wait(20)
        self.valkey.stop()


def _value(client: redis.Redis, key: bytes) -> Any:
    kind = client.type(key)
    return {
        b"list": lambda: client.lrange(key, 0, -1),
        b"hash": lambda: client.hgetall(key),
        b"zset": lambda: client.zrange(key, 0, -1),
        b"set": lambda: client.smembers(key),
        b"string": lambda: client.get(key),
    }[kind]()


@pytest.fixture
def places(
    postgres: Server,
    template: str,
    bundle: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[list[Place]]:
    (tmp_path / "tmp").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
    names = [postgres.create(template) for _ in range(2)]
    made = [
        Place("open", None, postgres.url(names[0]), bundle, tmp_path),
        Place("sealed", KEY, postgres.url(names[1]), bundle, tmp_path),
    ]
    yield made
    for place in made:
        place.stop()
    for name in names:
        postgres.drop(name)


def publish_many(place: Place) -> None:
    text = f"I told nobody about my {CANARY} and it hurts"
    events = [event(f"many-{n}", f"u{n % 5}", text=text, day=n % 20 + 1) for n in range(60)]
    with Publisher.connect(place.instance.broker_url, place.key) as publisher:
        publisher.publish_many(events, chunk=20)


def publish(place: Place) -> None:
    """What an app sends through our publisher: accepted, edited, refused, spoiling, stumbling, slow."""
    text = f"I told nobody about my {CANARY} and it hurts"
    with Publisher.connect(place.instance.broker_url, place.key) as publisher:
        publisher.publish(event("many-1", "u1", text=f"again {text}", revision=2))
        publisher.publish(event("spoils", text=f"{text} {SPOILS}"))
        publisher.publish(event("stumbles", text=f"{text} {STUMBLES}"))
        publisher.publish(event("dawdles", text=f"{text} {DAWDLES}"))
        publisher.publish(event("nul", text=f"{text}\0"))
        publisher.publish(event("field", mood=text))
        publisher.publish(event("many-2", "u2", text=f"contradicted {text}"), lane=BULK)


def publish_bare(place: Place) -> None:
    """What a client sends that knows nothing of us: Celery prints its arguments into the headers."""
    text = f"I told nobody about my {BARE} and it hurts"
    app = Celery(broker=place.instance.broker_url, set_as_current=False)
    send = {"name": "feltsense.enrich", "queue": "reflections"}
    app.send_task(args=[[event("bare-1", text=text)]], **send)
    app.send_task(args=[[event("bare-2", text=text)]], argsrepr=text, kwargsrepr=text, shadow=BARE, **send)
    app.send_task(args=[[event("bare-3", text=f"{text} {SPOILS}")]], **send)
    app.send_task(args=[event("bare-4", text=text)], **send)
    app.send_task(kwargs={"events": text}, **send)
    app.send_task(f"feltsense.{BARE}", args=[text], queue="reflections", task_id=f"a {BARE}")
    place.client.lpush("reflections", f"no message, but a {BARE}")


@pytest.mark.timeout(240)
def test_a_canary_is_found_only_where_text_belongs(places: list[Place], tmp_path: Path) -> None:
    open_, sealed = places
    for place in places:
        publish_many(place)
    # While it waits, the queue holds it exactly when there is no key.
    assert held(open_.keyspace())
    assert held(open_.append_only())
    assert not held(sealed.keyspace())
    for place in places:
        place.start()
    for place in places:
        place.ready()
    for place in places:
        publish(place)
        publish_bare(place)

    for place, rows, letters in ((open_, 64, 9), (sealed, 62, 11)):
        place.instance.wait_for(rows, letters, within_s=60)
        with psycopg.connect(place.instance.database_url) as connection:
            connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
        place.run("dead-letters", "list", "--limit", "100")
        place.run("dead-letters", "retry", "--all")
        line = json.dumps(event("cli", text=f"by file: {CANARY}")).encode()
        place.run("publish", "-", "--wait", stdin=line + b"\n" + line[:-9])
        place.instance.eventually(place.instance.idle)
    ((number,),) = open_.instance.rows("SELECT id FROM dead_letters LIMIT 1")
    open_.run("dead-letters", "show", str(number))

    for place in places:
        search(place)
    found = {path for path in (tmp_path / "tmp").rglob("*") if path.is_file() and held(path.read_bytes())}
    assert not found
    logs = (tmp_path.parent.parent / tmp_path.parent.name).glob("postgres*/log")
    assert not [path for path in logs if held(path.read_bytes())]


def search(place: Place) -> None:
    """Everywhere at one place; each thing searched is shown to hold what it should, so that it can fail."""
    instance = place.instance
    assert instance.rows("SELECT count(*) > 60 FROM reflections WHERE text LIKE %s", f"%{CANARY}%") == [
        (True,)
    ]
    assert b"enrichment_failed" in place.said[0]
    assert not [said for said in place.said if held(said)]

    tasks = json.loads(place.page("/api/tasks"))
    assert len(tasks) > 10
    assert {task["args"] for task in tasks.values()} <= {"(masked)", None}
    (name,) = json.loads(place.page("/api/workers"))
    single = [
        f"/{kind}/{task}" for task in map(urllib.parse.quote, tasks) for kind in ("task", "api/task/info")
    ]
    table = "/tasks/datatable?draw=1&start=0&length=100&search%5Bvalue%5D=&order%5B0%5D%5Bcolumn%5D=0"
    table += "&order%5B0%5D%5Bdir%5D=asc&columns%5B0%5D%5Bdata%5D=name"
    paths = (*PAGES, *API, *single, f"/worker/{urllib.parse.quote(name)}", table)
    pages = {path: place.page(path) for path in paths}
    assert "(masked)" in pages[single[0]]
    assert "masked" in pages[table]
    assert not [path for path, page in pages.items() if held(page)]

    metrics = place.metrics()
    assert 'feltsense_dead_letters_total{reason="enrichment_failed"}' in metrics
    assert not held(metrics)
    logs = place.logs()
    assert {"flower.log", "valkey.log", "worker-0.log"} <= logs.keys()
    for words in ("stage_failed", "RuntimeError", "Stumble"):
        assert words in logs["worker-0.log"], words
    assert not [name for name, log in logs.items() if held(log)]
    assert not [line for line in arguments() if held(line)]

    for (relation,) in instance.rows("SELECT tablename FROM pg_tables WHERE schemaname = 'public'"):
        hidden = {"reflections": "- 'text'", "dead_letters": "- 'payload'"}.get(relation, "")
        query = f"SELECT count(*) FROM {relation} t WHERE (to_jsonb(t) {hidden})::text ~ %s"
        assert instance.rows(query, f"{CANARY}|{BARE}") == [(0,)], relation

    assert not held(place.keyspace())
    if place.key is not None:
        assert not held(place.append_only(), [CANARY])
    assert held(place.append_only(), [BARE])
    place.rewrite()
    assert not held(place.append_only())


def forms(word: str) -> Iterator[bytes]:
    """How a word looks in bytes: as it is, in hexadecimal, and in base64 wherever it begins."""
    yield word.encode()
    yield word.encode().hex().encode()
    for ahead in range(3):
        coded = base64.b64encode(bytes(ahead) + word.encode())
        yield coded[4 if ahead else 0 : len(coded) // 4 * 4 - 4]


def held(what: str | bytes, words: Sequence[str] = (CANARY, BARE)) -> bool:
    raw = what if isinstance(what, bytes) else what.encode("utf-8", "replace")
    return any(form in raw for word in words for form in forms(word))


def arguments() -> Iterator[bytes]:
    """The command line and environment of every process."""
    for process in Path("/proc").iterdir():
        if process.name.isdigit():
            for part in ("cmdline", "environ"):
                with contextlib.suppress(OSError):  # ended meanwhile, or somebody else's
                    yield (process / part).read_bytes()


def test_the_search_would_find_it() -> None:
    for ahead in range(3):
        text = f"{'a' * ahead} {BARE} flies"
        assert held(text)
        assert held(base64.b64encode(text.encode()))
        assert not held(base64.b64encode(text.replace(BARE, "sparrow").encode()))
    assert any(b"pytest" in line for line in arguments())
