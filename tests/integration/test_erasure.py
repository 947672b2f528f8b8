"""Erasing a person: nothing of theirs stays in any table, and nothing of before comes back."""

import base64
import json
import secrets
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import psycopg
import pytest
from pydantic import SecretStr

from tests.support.appraisals import VERSION, admit, arrival, enrich, reflection
from tests.support.database import everything
from tests.support.program import feltsense
from worker.bundle.people import people_of
from worker.events.envelope import Seal
from worker.store import dead_letters, journal, models, reenrichments, removal, retention
from worker.store.dead_letters import WHOLE_MESSAGE, DeadLetter
from worker.store.deliveries import Kind, accept
from worker.store.engine import Store
from worker.store.stored import Wanted

CANARY = "canary words of one person"
KEY = SecretStr(base64.b64encode(secrets.token_bytes(32)).decode())
GONE, STAYS = "gone-person", "staying-person"


def rows(url: str, query: str) -> list[tuple[object, ...]]:
    with psycopg.connect(url) as connection:
        return connection.execute(query.encode()).fetchall()


def whole(payload: object, message_id: str = "whole", position: int = WHOLE_MESSAGE) -> DeadLetter:
    body = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
    return DeadLetter(
        message_id=message_id, position=position, reason="message_too_large", detail="d", payload=body
    )


def parked(message_id: str) -> DeadLetter:
    return DeadLetter(
        message_id=message_id, position=0, reason="x", detail="d", user_id=GONE, payload=CANARY.encode()
    )


@pytest.mark.parametrize("keys", [None, KEY], ids=["plain", "sealed"])
def test_an_erasure_leaves_no_word_and_no_name_in_any_table(database_url, keys):
    mine = {"id": "x", "user_id": GONE, "text": CANARY}
    yours = {"id": "y", "user_id": STAYS, "text": "other words"}
    given = [reflection("a", GONE, text=CANARY), reflection("b", STAYS, text="other words")]
    with Store.open(database_url, text_keys=keys) as store:
        admit(store, given)
        enrich(store, given)
        letters = [
            DeadLetter(
                message_id="m", position=0, reason="x", detail="d", user_id=GONE, payload=CANARY.encode()
            ),
            whole([[[mine, yours]], {}], "both"),
            whole(json.dumps([[mine]]).encode()[:-1], "broken"),
            whole([[[yours]], {}], "theirs"),
        ]
        dead_letters.park(store, letters)
        gone = removal.erase(store, [GONE])
        assert (gone.reflections, gone.letters, len(gone.cleared), gone.closed) == (1, 1, 2, ())
        held = everything(database_url)
        for word in (CANARY, GONE):
            assert word.encode() not in held
            assert word.encode().hex().encode() not in held
        left = {letter.message_id: letter.payload for letter in dead_letters.rejected(store)}
        assert json.loads(left["both"] or b"") == [[[yours]], {}]
        assert left["broken"] is None
        assert json.loads(left["theirs"] or b"") == [[[yours]], {}]
        assert [person.user_id for person in journal.users(store)] == [STAYS]
    assert rows(database_url, "SELECT count(*) FROM persons WHERE erased_at IS NOT NULL AND kids = '{}'") == [
        (1,)
    ]


def test_what_was_written_before_is_refused_and_what_is_written_after_is_taken(store, database_url):
    admit(store, [reflection("a", GONE)])
    removal.erase(store, [GONE])
    now = datetime.now(UTC)
    new = replace(reflection("new", GONE, text="back again"), created_at=now + timedelta(seconds=1))
    old = replace(reflection("old", GONE, text=CANARY), created_at=now - timedelta(minutes=1))
    given = [old, new, reflection("b", STAYS)]
    assert [one.kind for one in admit(store, given, message_id="m-2")] == [Kind.ERASED, Kind.NEW, Kind.NEW]
    (letter,) = dead_letters.rejected(store)
    assert (letter.reason, letter.reflection_id) == ("person_erased", "old")
    assert (letter.user_id, letter.payload) == (None, None)
    assert rows(database_url, "SELECT id FROM reflections ORDER BY id") == [("b",), ("new",)]


def test_a_letter_parked_after_the_erasure_names_nobody_unless_they_came_back(store):
    late = DeadLetter(
        message_id="m", position=0, reason="x", detail="d", user_id=GONE, payload=CANARY.encode()
    )
    admit(store, [reflection("a", GONE)])
    removal.erase(store, [GONE])
    dead_letters.park(store, [late])
    (letter,) = dead_letters.rejected(store)
    assert (letter.user_id, letter.payload) == (None, None)
    admit(store, [replace(reflection("new", GONE), created_at=datetime.now(UTC) + timedelta(seconds=1))])
    dead_letters.park(store, [replace(late, message_id="m-2")])
    assert dead_letters.rejected(store)[0].user_id == GONE


def test_arrivals_and_an_erasure_at_the_same_time_leave_nothing_from_before(store, database_url):
    admit(store, [reflection("first", GONE)])
    given = [arrival(reflection(f"r{n}", GONE, at_min=n), message_id=f"m-{n}") for n in range(60)]

    def send(one):
        accept(store, [one], [], model_version=VERSION, lane="live")

    with ThreadPoolExecutor(6) as pool:
        sent = [pool.submit(send, one) for one in given[:30]]
        erased = pool.submit(removal.erase, store, [GONE])
        sent += [pool.submit(send, one) for one in given[30:]]
        for one in (*sent, erased):
            one.result()
    # all were written before the erasure: those that were in time went with it, the others were refused
    assert rows(database_url, "SELECT count(*) FROM reflections") == [(0,)]
    assert erased.result().reflections - 1 + dead_letters.count(store)["person_erased"] == 60


def test_a_dry_run_counts_and_changes_nothing(store, database_url):
    admit(store, [reflection("a", GONE)])
    before = everything(database_url)
    assert removal.erase(store, [GONE], dry_run=True).reflections == 1
    assert everything(database_url) == before


def test_events_sealed_on_the_wire_are_found_with_their_key_and_named_without(store):
    seal = Seal(key=bytes(32))
    dead_letters.park(store, [whole([[[seal.seal({"user_id": GONE, "text": CANARY})]], {}])])
    without = removal.erase(store, [GONE])
    assert (without.cleared, len(without.closed)) == ((), 1)
    found = removal.erase(store, [GONE], seal=seal)
    assert (found.cleared, found.closed) == (without.closed, ())


def bundle_of(folder, *people):
    """A folder with the split record of a bundle that learned from these people, and was not from `other`."""
    from trainer.splits.record import digests

    folder.mkdir(parents=True)
    (folder / "manifest.json").write_text("{}")
    everybody = [*people, "test-person"]
    np.savez(
        folder / "splits.npz",
        user=digests(everybody),
        learned=np.array([True] * len(people) + [False]),
        part=np.array([0] * len(people) + [2]),
    )
    return folder


def test_the_command_names_every_bundle_at_hand_that_was_trained_on_them(store, database_url, tmp_path):
    mine = bundle_of(tmp_path / "bundles" / "mine", GONE, STAYS)
    bundle_of(tmp_path / "bundles" / "theirs", STAYS)
    models.register(store, "v-mine", digest="d", manifest={}, people=people_of(mine))
    models.register(store, "v-theirs", digest="e", manifest={}, people=people_of(tmp_path / "bundles/theirs"))
    admit(store, [reflection("a", GONE)])
    told = feltsense(
        "erase", GONE, "--bundles", str(tmp_path / "bundles"), FELTSENSE_DATABASE_URL=database_url
    )
    assert told.returncode == 0, told.stderr
    assert b"1 reflections" in told.stdout
    assert b"model version v-mine" in told.stdout
    assert f"bundle {mine}".encode() in told.stdout
    assert b"theirs" not in told.stdout
    never = feltsense(
        "erase", "test-person", "--bundles", str(tmp_path / "bundles"), FELTSENSE_DATABASE_URL=database_url
    )
    assert b"no bundle at hand was trained on them" in never.stdout


def aged(url: str, days: int, table: str, column: str, key: str) -> None:
    with psycopg.connect(url) as connection:
        connection.execute(
            f"UPDATE {table} SET {column} = now() - make_interval(days => %s)".encode()
            + (b" WHERE " + key.encode() if key else b""),
            (days,),
        )


@pytest.mark.parametrize("keys", [None, KEY], ids=["plain", "sealed"])
def test_retention_drops_texts_first_and_rows_later_and_never_what_is_unfinished(database_url, keys):
    with Store.open(database_url, text_keys=keys) as store:
        given = [reflection(key, at_min=n) for n, key in enumerate(("oldest", "old", "new"))]
        admit(store, [*given, reflection("open", "u-2")])
        enrich(store, given)
        dead_letters.park(store, [whole([1], f"m-{n}") for n in range(3)])
        aged(database_url, 400, "reflections", "received_at", "id IN ('oldest', 'open')")
        aged(database_url, 40, "reflections", "received_at", "id = 'old'")
        aged(database_url, 400, "dead_letters", "parked_at", "message_id = 'm-0'")
        aged(database_url, 40, "dead_letters", "parked_at", "message_id = 'm-1'")
        before = journal.entries(store)
        counted = retention.count(store, text_days=30, days=365)
        assert (counted.reflections, counted.letters, counted.texts, counted.payloads) == (1, 1, 2, 2)
        gone = retention.forget(store, text_days=30, days=365, at_once=1)
        assert (gone.reflections, gone.letters, gone.texts, gone.payloads) == (1, 1, 1, 1)
        kept = "SELECT id, num_nonnulls(text, sealed) FROM reflections ORDER BY id"
        assert rows(database_url, kept) == [("new", 1), ("old", 0), ("open", 1)]
        assert rows(database_url, "SELECT message_id, payload IS NULL FROM dead_letters ORDER BY 1") == [
            ("m-1", True), ("m-2", False),
        ]  # fmt: skip
        # forgetting is no correction: later rows stay as they were
        assert journal.entries(store) == before[1:]
        assert not retention.forget(store, text_days=30, days=365)


def test_the_retention_command_does_as_the_settings_say(store, database_url):
    admit(store, [reflection("a")])
    enrich(store, [reflection("a")])
    aged(database_url, 400, "reflections", "received_at", "")
    nothing = feltsense("retention", FELTSENSE_DATABASE_URL=database_url)
    assert nothing.returncode == 2
    asked = {"FELTSENSE_DATABASE_URL": database_url, "FELTSENSE_RETENTION_DAYS": "365"}
    assert b"1 reflections" in feltsense("retention", "--dry-run", **asked).stdout
    assert journal.counts(store).reflections == 1
    assert b"1 reflections" in feltsense("retention", **asked).stdout
    assert journal.counts(store).reflections == 0


def test_an_erasure_takes_the_person_out_of_wishes_for_another_version(store, database_url):
    models.register(store, "v2", digest="d", manifest={})
    reenrichments.ask(store, "v2", Wanted(users=(GONE,)))
    both = reenrichments.ask(store, "v2", Wanted(users=(GONE, STAYS)))
    removal.erase(store, [GONE])
    assert GONE not in str(rows(database_url, "SELECT * FROM reenrichments"))
    wish = reenrichments.oldest(store, "v2")
    assert wish is not None
    assert (wish.id, wish.wanted.users) == (both, (STAYS,))
