"""Who should own the queue: Valkey, as it is, or a table in Postgres of which workers are only told?

`python -m benchmarks.handover [--events 20000]`: the same messages go from one process to another, (a) by the
product's own publisher and transport, taken and recorded by one script and acknowledged, (b) by an INSERT
with NOTIFY, taken by UPDATE over SELECT ... FOR UPDATE SKIP LOCKED and removed. Both take up to 128 messages
at once, and do nothing with them: what is measured is the handing over alone. Once durable against the loss
of a process, once against that of the machine. CPU is that of both processes and of the server.
"""

from __future__ import annotations

import json
import multiprocessing
import time
from collections.abc import Callable, Sequence
from typing import Any

import psycopg
from kombu import Connection, Exchange, Queue
from redis.connection import parse_url

from benchmarks import command
from benchmarks.alone import alone, parser
from benchmarks.context import Context
from benchmarks.load import repeated
from benchmarks.machine import cpu_s
from benchmarks.servers import serving
from worker.client.publisher import Publisher
from worker.embedded.valkey import Valkey
from worker.events.message import BULK

EVENTS = 20_000
HELD = 128
"""Messages taken at once: the worker's concurrency."""
ALONE = 10
"""Messages of one event are slower: so many times fewer events are sent in them."""
PATIENCE_S = 120.0

TABLE = """
CREATE TABLE queue (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, body bytea NOT NULL, owner text,
    lease_until timestamptz
);
CREATE INDEX queue_free_idx ON queue (id) WHERE owner IS NULL
"""
PUT = "INSERT INTO queue (body) VALUES (%b)"
TAKE = """
UPDATE queue q SET owner = 'one', lease_until = clock_timestamp() + interval '12 s'
FROM (SELECT id FROM queue WHERE owner IS NULL ORDER BY id LIMIT %s FOR UPDATE SKIP LOCKED) free
WHERE q.id = free.id RETURNING q.id, q.body
"""
REMOVE = "DELETE FROM queue WHERE id = ANY(%s)"

Event = dict[str, Any]
Work = Callable[..., None]


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--events", type=int, default=EVENTS)
    call = options.parse_args()
    report = alone(lambda context: measure(context, call.events), call, rounds=1)
    for one in report["runs"]:
        print(
            f"{one['queue']:<9}{one['survives']:<18}{one['chunk']:>3} events a message:"
            f" {one['per_s']:>8}/s, CPU us an event {one['cpu_us']} = {sum(one['cpu_us'].values()):.0f}"
        )


def measure(context: Context, count: int) -> dict[str, Any]:
    """Events a second and CPU an event, by queue, durability and events a message."""
    runs: list[dict[str, Any]] = []
    with serving(context.folder / "handover") as servers:
        safe = Valkey(
            context.folder / "always", log=context.folder / "always.log", appendfsync="always"
        )  # fmt: skip
        try:
            always = safe.start()
            assert safe.process is not None
            for chunk, number in ((64, count), (1, count // ALONE)):
                events = repeated(context.events, number)
                for survives, url, pid in (
                    ("a killed process", servers.broker(0), servers.processes["valkey"].pid),
                    ("a lost machine", always, safe.process.pid),
                ):
                    context.say(f"Valkey, {chunk} a message, survives {survives}")
                    runs.append(
                        {"queue": "Valkey", "survives": survives, "chunk": chunk}
                        | _pass_on(_put_valkey, _take_valkey, url, pid, events, chunk)
                    )
                for survives, commit in (("a killed process", "off"), ("a lost machine", "on")):
                    context.say(f"Postgres, {chunk} a message, survives {survives}")
                    url = servers.database(f"queue_{chunk}_{commit}")
                    with psycopg.connect(url, autocommit=True) as connection:
                        connection.execute(TABLE)
                        name = url.rpartition("/")[2]
                        connection.execute(
                            f"ALTER DATABASE {name} SET synchronous_commit = {commit}".encode()
                        )
                    pid = servers.processes["postgres"].pid
                    runs.append(
                        {"queue": "Postgres", "survives": survives, "chunk": chunk}
                        | _pass_on(_put_postgres, _take_postgres, url, pid, events, chunk)
                    )
        finally:
            safe.remove()
    return {"runs": runs}


def _pass_on(
    put: Work, take: Work, url: str, server: int, events: Sequence[Any], chunk: int
) -> dict[str, Any]:
    """From the first message put to the last removed."""
    context = multiprocessing.get_context("spawn")
    ready, go, spent = context.Queue(), context.Event(), context.Queue()
    messages = [list(events[start : start + chunk]) for start in range(0, len(events), chunk)]
    processes = [
        context.Process(target=_process, args=(name, work, url, given, ready, go, spent), daemon=True)
        for name, work, given in (("publisher", put, messages), ("consumer", take, len(messages)))
    ]
    for process in processes:
        process.start()
    for _ in processes:
        ready.get(timeout=PATIENCE_S)
    before, began = cpu_s(server), time.perf_counter()
    go.set()
    used = dict(spent.get(timeout=PATIENCE_S) for _ in processes)
    seconds = time.perf_counter() - began
    used["server"] = cpu_s(server) - before
    for process in processes:
        process.join()
    return {
        "per_s": round(len(events) / seconds),
        "cpu_us": {name: round(1e6 * cpu / len(events), 1) for name, cpu in sorted(used.items())},
    }


def _process(name: str, work: Work, url: str, given: Any, ready: Any, go: Any, spent: Any) -> None:
    def begin() -> float:
        ready.put(name)
        go.wait()
        return time.process_time()

    began: list[float] = []
    work(url, given, lambda: began.append(begin()))
    spent.put((name, time.process_time() - began[0]))


def _put_valkey(url: str, messages: Sequence[Sequence[Event]], begin: Callable[[], None]) -> None:
    with Publisher.connect(url) as publisher:
        begin()
        for message in messages:
            publisher._send("feltsense.enrich", message, BULK)


def _take_valkey(url: str, count: int, begin: Callable[[], None]) -> None:
    at = parse_url(url)
    left = count
    with Connection(
        transport="worker.service.transport:Transport", hostname=at["host"], port=at["port"],
        password=at["password"], virtual_host=str(at.get("db", 0)),
    ) as connection:  # fmt: skip

        def taken(message: Any) -> None:
            nonlocal left
            message.ack()
            left -= 1

        channel = connection.channel()
        channel.basic_qos(0, HELD)
        queue = Queue(BULK, Exchange(BULK), routing_key=BULK)
        with connection.Consumer([queue], channel=channel, on_message=taken):
            begin()
            while left:
                connection.drain_events(timeout=PATIENCE_S)


def _put_postgres(url: str, messages: Sequence[Sequence[Event]], begin: Callable[[], None]) -> None:
    with psycopg.connect(url, autocommit=True, prepare_threshold=0) as connection:
        begin()
        for message in messages:
            with connection.transaction():
                connection.execute(PUT, (json.dumps(message).encode(),))
                connection.execute("NOTIFY queue")


def _take_postgres(url: str, count: int, begin: Callable[[], None]) -> None:
    left = count
    with (
        psycopg.connect(url, autocommit=True) as told,
        psycopg.connect(url, autocommit=True, prepare_threshold=0) as connection,
    ):
        told.execute("LISTEN queue")
        begin()
        while left:
            rows = connection.execute(TAKE, (HELD,), binary=True).fetchall()
            for _, body in rows:
                json.loads(body)  # as kombu's consumer reads the envelope
            if rows:
                connection.execute(REMOVE, ([key for key, _ in rows],))
                left -= len(rows)
            else:
                next(told.notifies(timeout=1.0, stop_after=1), None)


if __name__ == "__main__":
    command.run(main)
