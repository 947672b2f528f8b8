"""Dead letters as an operator handles them: listed without text, sent again once, dropped when asked."""

from __future__ import annotations

import base64
import os
import pty
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import psycopg
import pytest
import redis

from tests.support.events import event
from tests.support.program import ROOT, feltsense
from tests.support.service import Instance, bundle, shared  # noqa: F401  fixtures
from worker import cli
from worker.client.publisher import Publisher
from worker.events.envelope import Seal
from worker.events.message import BULK, encoded
from worker.store import letterbox
from worker.store.dead_letters import WHOLE_MESSAGE, DeadLetter, park
from worker.store.engine import Store
from worker.store.letterbox import Letter, Outcome

SECRET = "a sentence nobody but its writer may read"
KEY = base64.b64encode(bytes(range(32))).decode()


@dataclass(frozen=True, kw_only=True)
class Done:
    returncode: int
    stdout: str
    stderr: str


Run = Callable[..., Done]


@pytest.fixture
def run(
    shared: Instance,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Run:
    """`feltsense dead-letters ...` in this process: the same program without an interpreter's start."""

    def program(*arguments: str, **environment: str) -> Done:
        with monkeypatch.context() as patched:
            for name, value in ({"COLUMNS": "160"} | urls(shared) | environment).items():
                patched.setenv(name, value)
            patched.setattr(sys, "argv", ["feltsense", "dead-letters", *arguments])
            capsys.readouterr()
            with pytest.raises(SystemExit) as ended:
                cli.main()
        said = capsys.readouterr()
        return Done(returncode=int(ended.value.code or 0), stdout=said.out, stderr=said.err)

    return program


def urls(instance: Instance) -> dict[str, str]:
    return {"FELTSENSE_BROKER_URL": instance.broker_url, "FELTSENSE_DATABASE_URL": instance.database_url}


def parked(store: Store, name: str, *, raw: Any = None, position: int = 0, **fields: Any) -> int:
    """A letter in the store; its number."""
    raw = event(name, "u-letters", text=SECRET) if raw is None else raw
    facts = {"reason": "enrichment_failed", "detail": "appraise: ValueError", "reflection_id": name}
    facts |= {"revision": 1, "user_id": "u-letters", "payload": encoded(raw)} | fields
    park(store, [DeadLetter(message_id=f"m-{name}", position=position, **facts)])
    query = "SELECT id FROM dead_letters WHERE message_id = %s"
    ((number,),) = store.transact(lambda cursor: cursor.execute(query, (f"m-{name}",)).fetchall())
    return int(number)


@pytest.fixture
def letters(shared: Instance) -> Store:
    shared.eventually(shared.idle)  # what an earlier test sent
    with psycopg.connect(shared.database_url) as connection:
        connection.execute("DELETE FROM dead_letters")
    with Store.open(shared.database_url, pool_size=2) as store:
        yield store


def test_the_list_filters_pages_and_never_shows_text(letters: Store, shared: Instance, run: Run) -> None:
    for n in range(5):
        parked(letters, f"list-{n}", user_id=f"u-{n % 2}", reason="bad_time" if n % 2 else "bad_lang")
    old = parked(letters, "list-old")
    shared_sql = "UPDATE dead_letters SET parked_at = now() - interval '3 days' WHERE id = %s RETURNING id"
    letters.transact(lambda cursor: cursor.execute(shared_sql, (old,)))

    def listed(*options: str) -> tuple[str, str]:
        done = run("list", *options)
        assert done.returncode == 0, done.stderr
        assert SECRET not in done.stdout + done.stderr
        return done.stdout, done.stderr

    table, said = listed()
    assert [f"list-{n}" in table for n in (*range(5), "old")] == [True] * 6
    assert said == "6 dead letters: 3 bad_lang, 2 bad_time, 1 enrichment_failed\n"
    assert listed("--reason", "bad_time")[1] == "2 dead letters: 2 bad_time\n"
    assert listed("--user", "u-0", "--newer", "1h")[1] == "3 dead letters: 3 bad_lang\n"
    assert listed("--older", "2d")[1] == "1 dead letter: 1 enrichment_failed\n"
    assert listed("--user", "nobody")[1] == "0 dead letters\n"
    first, said = listed("--limit", "4")
    second, _ = listed("--limit", "4", *said.splitlines()[1].removeprefix("older ones: ").split())
    assert [f"list-{n}" in first for n in (*range(5), "old")] == [False, False, True, True, True, True]
    assert [f"list-{n}" in second for n in (*range(5), "old")] == [True, True, False, False, False, False]


def test_one_letter_is_shown_and_its_text_only_when_asked_for(
    letters: Store, shared: Instance, run: Run
) -> None:
    plain = parked(letters, "show-1")
    sealed = parked(letters, "show-2", raw=Seal.of(KEY).seal(event("show-2", text=SECRET)))

    def shown(*arguments: str, **environment: str) -> str:
        done = run("show", *arguments, **environment)
        assert done.returncode == 0, done.stderr
        return done.stdout

    about = shown(str(plain))
    assert SECRET not in about
    assert "The event was accepted, and a stage of the pipeline failed on it alone." in about
    assert SECRET in shown(str(plain), "--text")
    assert SECRET not in shown(str(sealed), "--text")
    assert SECRET in shown(str(sealed), "--text", FELTSENSE_EVENT_KEY=KEY)


def test_a_retry_enriches_once_however_often_it_is_asked_for(
    letters: Store, shared: Instance, run: Run
) -> None:
    good, hopeless = parked(letters, "again-1"), parked(letters, "again-2", raw=event("again-2", text=" "))
    without_text = parked(letters, "again-3", payload=None)
    whole = [event(f"again-w{n}", "u-whole", text="fine") for n in range(300)]
    many = parked(letters, "again-w", raw=[[whole], {}], position=WHOLE_MESSAGE, reason="message_too_large")
    strange = parked(letters, "again-x", raw="no call", position=WHOLE_MESSAGE, reason="bad_json")

    done = run("retry", "--all")

    said = done.stderr
    assert done.returncode == 3, said
    assert SECRET not in said
    assert said.splitlines() == [
        f"letter {hopeless}: blank_text: `text` has no visible character.",
        f"letter {without_text}: its text was not kept; publish the event again from its source",
        f"letter {strange}: not_a_list: the message holds no list of events; send it again from its source",
        "2 dead letters sent again, 3 cannot be",
    ]
    rows = "SELECT count(*) FROM perceptions WHERE reflection_id LIKE %s"
    shared.eventually(lambda: shared.rows(rows, "again-%") == [(301,)])
    marked = "SELECT id FROM dead_letters WHERE retried_at IS NOT NULL ORDER BY id"
    assert shared.rows(marked) == [(good,), (many,)]

    for _ in range(2):
        once_more = run("retry", str(good))
        assert once_more.returncode == 0
        assert once_more.stderr == "0 dead letters sent again, 1 had been before\n"
    forced = run("retry", str(good), "--again")
    assert forced.stderr == "1 dead letter sent again\n"
    shared.eventually(shared.idle)
    assert shared.rows(rows, "again-%") == [(301,)]
    assert shared.count("dead_letters") == 5


def test_two_retries_at_once_and_one_whose_database_is_lost_send_an_event_once(
    letters: Store, shared: Instance
) -> None:
    number = parked(letters, "race-1")
    outcomes, sent = [], []

    def send(letter: Letter) -> None:
        # While this one sends, the other passes by; nobody waits for anybody.
        outcomes.append(letterbox.send_again(letters, number, sent.append))
        sent.append(letter)

    assert letterbox.send_again(letters, number, send) is Outcome.SENT
    assert outcomes == [Outcome.SKIPPED]
    assert len(sent) == 1
    assert SECRET not in repr(sent)

    lost = parked(letters, "race-2")
    end = """
        SELECT pg_terminate_backend(pid) FROM pg_stat_activity
        WHERE query LIKE %s AND pid <> pg_backend_pid()
    """
    with Publisher.connect(shared.broker_url) as publisher:

        def publish_and_lose(letter: Letter) -> None:
            publisher.resend([orjson.loads(letter.payload or b"")], message_id=f"retry-{letter.id}")
            shared.rows(end, "%FOR UPDATE SKIP LOCKED%")

        with pytest.raises(Exception, match="Postgres at"):
            letterbox.send_again(letters, lost, publish_and_lose)
        assert (
            letterbox.send_again(
                letters,
                lost,
                lambda letter: publisher.resend(
                    [orjson.loads(letter.payload or b"")], message_id=f"retry-{letter.id}"
                ),
            )
            is Outcome.SENT
        )
    shared.eventually(shared.idle)
    shared.eventually(
        lambda: shared.rows("SELECT 1 FROM perceptions WHERE reflection_id = 'race-2'") == [(1,)]
    )
    assert shared.rows("SELECT attempts FROM dead_letters WHERE id = %s", lost) == [(1,)]
    assert shared.count("dead_letters") == 2


def test_a_letter_without_its_event_goes_back_to_the_reconciler_if_the_row_has_the_text(
    letters: Store, shared: Instance, run: Run
) -> None:
    with Publisher.connect(shared.broker_url) as publisher:
        publisher.publish(event("row-1", "u-row"))
    shared.eventually(lambda: shared.rows("SELECT 1 FROM perceptions WHERE reflection_id = 'row-1'"))
    with psycopg.connect(shared.database_url) as connection:
        connection.execute("UPDATE deliveries SET state = 'dead', attempts = 3 WHERE reflection_id = 'row-1'")
    number = parked(letters, "row-1", payload=None)

    done = run("retry", "--user", "u-letters")

    assert done.returncode == 0, done.stderr
    assert "0 dead letters sent again, 1 given back to the worker from their stored rows" in done.stderr
    assert shared.rows("SELECT 1 FROM dead_letters WHERE id = %s", number) == []
    state = "SELECT state IN ('accepted', 'done'), attempts FROM deliveries WHERE reflection_id = 'row-1'"
    assert shared.rows(state) == [(True, 0)]


def test_an_event_that_had_been_accepted_has_its_row_or_its_letter_never_both(
    letters: Store, shared: Instance, run: Run
) -> None:
    with Publisher.connect(shared.broker_url) as publisher:
        publisher.publish(event("back-1", "u-letters", text=SECRET))
    row = "SELECT 1 FROM perceptions WHERE reflection_id = 'back-1'"
    shared.eventually(lambda: shared.rows(row))
    with psycopg.connect(shared.database_url) as connection:
        connection.execute(
            "UPDATE deliveries SET state = 'dead', attempts = 3 WHERE reflection_id = 'back-1'"
        )
        connection.execute("DELETE FROM perceptions WHERE reflection_id = 'back-1'")
    number = parked(letters, "back-1")

    assert run("retry", str(number)).stderr == "1 dead letter sent again\n"

    shared.eventually(lambda: shared.rows(row))
    assert shared.count("dead_letters") == 0
    assert run("retry", str(number)).stderr.endswith("1 of these numbers belong to no dead letter\n")


def test_a_retry_seals_what_was_parked_unsealed(letters: Store, shared: Instance, run: Run) -> None:
    open_, sealed = (
        parked(letters, "seal-1", reason="unsealed"),
        Seal.of(KEY).seal(event("seal-2", text=SECRET)),
    )
    parked(letters, "seal-2", raw=sealed, reason="unreadable_seal")
    done = run("retry", str(open_), FELTSENSE_EVENT_KEY=KEY)
    assert done.returncode == 0, done.stderr
    # This worker has no key: the envelope comes back as a letter of its own, whose message names the first.
    query = "SELECT reason, payload FROM dead_letters WHERE message_id LIKE %s"
    shared.eventually(lambda: shared.rows(query, f"retry-{open_}/%"))
    ((reason, payload),) = shared.rows(query, f"retry-{open_}/%")
    assert (reason, SECRET.encode() in bytes(payload)) == ("unknown_field", False)
    as_it_was = run("retry", "--reason", "unreadable_seal")
    assert as_it_was.returncode == 0, as_it_was.stderr
    shared.eventually(lambda: shared.rows("SELECT 1 FROM dead_letters WHERE payload = %s", encoded(sealed)))


def test_dropping_asks_first(letters: Store, shared: Instance, run: Run, tmp_path: Path) -> None:
    numbers = [parked(letters, f"drop-{n}") for n in range(3)]
    environment = {**os.environ, **urls(shared), "PYTHONPATH": str(ROOT)}

    def asked(answer: bytes) -> tuple[int, bytes]:
        outer, inner = pty.openpty()
        command = [sys.executable, "-m", "worker.cli", "dead-letters", "drop", str(numbers[0])]
        process = subprocess.Popen(
            command, cwd=tmp_path, env=environment, stdin=inner, stdout=inner, stderr=subprocess.PIPE
        )
        os.write(outer, answer)
        _, said = process.communicate(timeout=60)
        os.close(outer)
        os.close(inner)
        return process.returncode, said

    assert asked(b"n\n")[0] == 0
    assert shared.count("dead_letters") == 3
    code, said = asked(b"y\n")
    assert (code, said.endswith(b"1 dead letter deleted\n")) == (0, True)
    nobody = run("drop", "--all")
    assert nobody.returncode == 2
    assert "2 dead letters would be deleted; say --yes where nobody can be asked" in nobody.stderr
    gone = run("drop", *map(str, numbers), "--yes")
    assert gone.returncode == 3
    assert gone.stderr.splitlines() == [
        "2 dead letters deleted",
        "1 of these numbers belong to no dead letter",
    ]
    assert shared.count("dead_letters") == 0


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["show", "999999"], 2, "there is no dead letter 999999"),
        (["show", "none"], 2, "Invalid value"),
        (["list", "--reason", "boredom"], 2, "'boredom' is no reason; those that are: bad_json"),
        (["list", "--older", "soon"], 2, "--older: an age is a number and s, m, h or d"),
        (["list", "--before", "0"], 0, "0 dead letters"),
        (["retry"], 2, "say which: numbers from the list"),
        (["drop"], 2, "say which: numbers from the list"),
        (["drop", "1", "--all"], 2, "--all leaves no choice"),
        (["retry", "999999"], 3, "1 of these numbers belong to no dead letter"),
        (["drop", "999999", "--yes"], 3, "1 of these numbers belong to no dead letter"),
        (["drop", "--reason", "bad_json"], 0, "0 dead letters deleted"),
    ],
)
def test_every_way_to_ask_wrongly_is_one_line(
    letters: Store, shared: Instance, run: Run, arguments: list[str], code: int, message: str
) -> None:
    done = run(*arguments)
    assert (done.returncode, "Traceback" in done.stderr) == (code, False), done.stderr
    assert message in done.stderr


def test_without_services_the_missing_one_is_named(tmp_path: Path) -> None:
    absent = feltsense("dead-letters", "list", cwd=tmp_path)
    assert absent.returncode == 4
    assert b"start `feltsense up`, or set FELTSENSE_DATABASE_URL" in absent.stderr


def test_a_retry_without_a_broker_marks_nothing(letters: Store, shared: Instance, run: Run) -> None:
    number = parked(letters, "broker-1")
    environment = urls(shared) | {"FELTSENSE_BROKER_URL": "redis://127.0.0.1:1/0"}
    done = run("retry", str(number), **environment)
    assert done.returncode == 4
    assert "@127.0.0.1:1/0 does not answer" in done.stderr
    assert shared.rows("SELECT retried_at FROM dead_letters WHERE id = %s", number) == [(None,)]
    assert redis.Redis.from_url(shared.broker_url).llen(BULK) == 0
