"""Texts at rest: sealed with the person's key, opened with any of the operator's, and never in the way when
they do not open."""

import base64
import secrets
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import psycopg
import pytest
from pydantic import SecretStr

from tests.support.appraisals import VERSION, admit, enrich, reflection
from tests.support.database import everything
from trainer.data import operator
from worker.errors import UsageError
from worker.store import dead_letters, journal, letterbox, removal, reseal, unfinished
from worker.store.dead_letters import WHOLE_MESSAGE, DeadLetter
from worker.store.deliveries import Kind
from worker.store.engine import Store
from worker.store.leases import Lease
from worker.store.letterbox import Choice, Outcome
from worker.store.origins import origins_of
from worker.store.vault import Keyring, Locker, Unopenable, person_digest, place_of_text

CANARY = "canary words of one person"
OLD, NEW = (base64.b64encode(secrets.token_bytes(32)).decode() for _ in range(2))


def opened(url: str, *keys: str) -> Store:
    return Store.open(url, text_keys=SecretStr(",".join(keys)) if keys else None)


def rows(url: str, query: str) -> list[tuple[object, ...]]:
    with psycopg.connect(url) as connection:
        return connection.execute(query.encode()).fetchall()


def texts(store: Store, user_id: str = "u-1") -> dict[str, str | None]:
    return {key: one.text or one.sealed for key, one in origins_of(store, user_id, with_text=True).items()}


def test_with_a_key_no_table_holds_a_text_and_it_reads_back_as_written(database_url):
    letters = [
        DeadLetter(
            message_id="m", position=0, reason="x", detail="d", user_id="u-1", payload=CANARY.encode()
        ),
        DeadLetter(message_id="m", position=WHOLE_MESSAGE, reason="x", detail="d", payload=CANARY.encode()),
    ]
    with opened(database_url, NEW) as store:
        admit(store, [reflection("r", text=CANARY), reflection("s", "u-2", text=CANARY)])
        dead_letters.park(store, letters)
        held = everything(database_url)
        assert CANARY.encode() not in held
        assert CANARY.encode().hex().encode() not in held
        assert texts(store) == {"r": CANARY}
        assert [one.payload for one in dead_letters.rejected(store)] == [CANARY.encode()] * 2
        # one data key a person, and one for what names nobody
        assert rows(database_url, "SELECT cardinality(kids) FROM persons") == [(1,)] * 3


def test_an_edit_is_sealed_for_its_own_revision(database_url):
    with opened(database_url, NEW) as store:
        admit(store, [reflection("r", text="first")])
        admit(store, [reflection("r", text=CANARY, revision=2)])
        assert texts(store) == {"r": CANARY}


def test_without_a_key_nothing_changes_and_a_key_set_later_seals_what_comes_then(store, database_url):
    admit(store, [reflection("before", text=CANARY)])
    assert rows(database_url, "SELECT text, sealed FROM reflections") == [(CANARY, None)]
    with opened(database_url, NEW) as sealing:
        admit(sealing, [reflection("after", text=CANARY)])
        assert rows(database_url, "SELECT id FROM reflections WHERE text IS NULL") == [("after",)]
        assert texts(sealing) == {"before": CANARY, "after": CANARY}


def test_a_key_change_needs_no_text_written_again_and_reseal_ends_the_old_key(database_url):
    with opened(database_url, OLD) as store:
        admit(store, [reflection("old", text=CANARY), reflection("other", "u-2", text=CANARY)])
    with opened(database_url, NEW, OLD) as store:
        admit(store, [reflection("new", text=CANARY)])
        assert texts(store) == {"old": CANARY, "new": CANARY}
        before = rows(database_url, "SELECT id, sealed FROM reflections ORDER BY id")
        done = reseal.reseal(store)
        assert (done.persons, done.texts, dict(done.lost)) == (2, 0, {})
        assert rows(database_url, "SELECT id, sealed FROM reflections ORDER BY id") == before
    with opened(database_url, NEW) as store:
        assert texts(store) == {"old": CANARY, "new": CANARY}
    with opened(database_url, OLD) as store:
        assert "does not hold" in str(texts(store)["old"])


def test_reseal_seals_what_was_there_before_the_first_key(store, database_url):
    admit(store, [reflection(f"r{n}", f"u-{n % 3}", text=CANARY) for n in range(7)])
    dead_letters.park(
        store, [DeadLetter(message_id="m", position=WHOLE_MESSAGE, reason="x", detail="d", payload=b"canary")]
    )
    with opened(database_url, NEW) as sealing:
        done = reseal.reseal(sealing, at_once=2)
        assert (done.texts, done.payloads) == (7, 1)
        assert CANARY.encode() not in everything(database_url)
        assert texts(sealing) == {"r1": CANARY, "r4": CANARY}
        assert [one.payload for one in dead_letters.rejected(sealing)] == [b"canary"]
        again = reseal.reseal(sealing)
        assert (again.persons, again.texts, again.payloads) == (0, 0, 0)


def test_reseal_without_a_key_is_refused(store):
    with pytest.raises(UsageError, match="FELTSENSE_TEXT_KEYS"):
        reseal.reseal(store)


@pytest.mark.parametrize("keys", [(), (NEW,)], ids=["no key", "another key"])
def test_with_the_key_lost_every_row_stays_and_work_goes_on(database_url, keys):
    given = reflection("r", text=CANARY)
    with opened(database_url, OLD) as store:
        admit(store, [given])
        dead_letters.park(
            store,
            [DeadLetter(message_id="m", position=0, reason="x", detail="d", user_id="u-1", payload=b"p")],
        )
    kid = Keyring.of(OLD).kid
    with opened(database_url, *keys) as store:
        said = texts(store)["r"]
        assert said is not None
        assert (kid in said) if keys else ("FELTSENSE_TEXT_KEYS is not set" in said)
        (letter,) = dead_letters.rejected(store)
        assert letter.sealed
        # the person's new text is sealed with a key of its own, and the old one is not touched
        admit(store, [reflection("s", at_min=1, text="new words")])
        assert texts(store)["s"] == "new words"
        if keys:
            assert dict(reseal.reseal(store).lost) == {kid: 1}
        # the broker brings the event again: its row is written, for the message holds the text
        assert admit(store, [given], message_id="m-2")[0].kind is Kind.REDELIVERED
        assert enrich(store, [given]).written == ("r",)
    with opened(database_url, *keys, OLD) as found:
        assert texts(found) == {"r": CANARY, "s": "new words"}
        assert [one.payload for one in dead_letters.rejected(found)] == [b"p"]


def test_the_reconciler_parks_what_it_cannot_open_and_resumes_the_rest(database_url):
    with opened(database_url, OLD) as store:
        admit(store, [reflection("locked", text=CANARY)])
    with opened(database_url, NEW) as store:
        admit(
            store, [reflection("open", "u-2", text="open words"), reflection("also", at_min=1, text="mine")]
        )
        found = unfinished.take(store, Lease(owner="w"), model_version=VERSION, grace_s=-1, limit=9)
        assert {one.reflection.id: one.reflection.text for one in found} == {
            "open": "open words",
            "also": "mine",
        }
        (letter,) = dead_letters.rejected(store)
        assert (letter.reflection_id, letter.reason) == ("locked", "text_unreadable")
        assert Keyring.of(OLD).kid in letter.detail
        assert journal.counts(store).deliveries == {"dead": 1, "accepted": 2}
    assert rows(database_url, "SELECT sealed IS NOT NULL FROM reflections WHERE id = 'locked'") == [(True,)]
    # with the key back, the event sent again is taken up like any other
    with opened(database_url, NEW, OLD) as store:
        sent = admit(store, [reflection("locked", text=CANARY)], message_id="m-2")
        assert sent[0].kind is Kind.REDELIVERED


def test_training_takes_what_opens_and_names_what_does_not(database_url, tmp_path):
    def consented(store: Store) -> None:
        with psycopg.connect(database_url) as connection:
            connection.execute("UPDATE reflections SET consent_training = true")

    out = tmp_path / "labels.jsonl"
    with opened(database_url, OLD) as store:
        admit(store, [reflection("locked", text=CANARY)])
    with opened(database_url, NEW) as store:
        admit(store, [reflection("open", "u-2", text="open words")])
        consented(store)
        done = operator.export(store, out, now=datetime.now(UTC) + timedelta(days=400))
    assert (done.events, len(done.refused)) == (1, 1)
    assert "locked" in done.refused[0]
    assert Keyring.of(OLD).kid in done.refused[0]
    assert b"open words" in out.read_bytes()


def test_many_workers_meeting_one_person_at_once_share_a_key_or_make_their_own(database_url):
    from concurrent.futures import ThreadPoolExecutor

    with opened(database_url, NEW) as store, ThreadPoolExecutor(8) as pool:
        given = [reflection(f"r{n}", f"u-{n % 2}", text=f"words {n}") for n in range(64)]
        list(pool.map(lambda n: admit(store, given[n : n + 4]), range(0, 64, 4)))
        assert {**texts(store, "u-0"), **texts(store, "u-1")} == {one.id: one.text for one in given}
        assert rows(database_url, "SELECT cardinality(kids) FROM persons") == [(1,)] * 2


BROKEN = [
    ("moved to another row", lambda sealed: (sealed, place_of_text("s", 1))),
    ("moved to another revision", lambda sealed: (sealed, place_of_text("r", 2))),
    ("a changed byte", lambda sealed: (sealed[:-1] + bytes([sealed[-1] ^ 1]), place_of_text("r", 1))),
    ("cut short", lambda sealed: (sealed[:9], place_of_text("r", 1))),
    ("of another form", lambda sealed: (b"\2" + sealed[1:], place_of_text("r", 1))),
    ("of a data key that is gone", lambda sealed: (b"\1\7" + sealed[2:], place_of_text("r", 1))),
    ("empty", lambda sealed: (b"", place_of_text("r", 1))),
]


@pytest.mark.parametrize("change", [case[1] for case in BROKEN], ids=[case[0] for case in BROKEN])
def test_a_seal_opens_where_it_was_made_and_nowhere_else(change):
    ring = Keyring.of(NEW)
    person = person_digest("u-1")
    locker = Locker(person=person, kids=[ring.kid], wrapped=[ring.fresh(person)])
    sealed = ring.seal(locker, CANARY.encode(), place_of_text("r", 1))
    assert ring.open(locker, sealed, place_of_text("r", 1)) == CANARY.encode()
    with pytest.raises(Unopenable):
        ring.open(locker, *change(sealed))
    stolen = Locker(person=person_digest("u-2"), kids=locker.kids, wrapped=locker.wrapped)
    with pytest.raises(Unopenable):  # nor with a key made for somebody else
        ring.open(stolen, sealed, place_of_text("r", 1))


@pytest.mark.parametrize("keys", ["", " , ", "short", f"{NEW},abc"], ids=["none", "empty", "short", "one"])
def test_what_is_no_key_is_refused_without_being_repeated(database_url, keys):
    with pytest.raises(UsageError) as refused:
        Store.open(database_url, text_keys=SecretStr(keys))
    assert NEW not in str(refused.value)


def test_a_sealed_letter_is_sent_again_opened_and_stays_without_its_key(database_url):
    with opened(database_url, OLD) as store:
        admit(store, [reflection("r", text=CANARY)])
        accepted = {"reflection_id": "r", "revision": 1, "user_id": "u-1"}
        letter = DeadLetter(
            message_id="m", position=0, reason="enrichment_failed", detail="d", payload=b"event", **accepted
        )
        empty = DeadLetter(message_id="n", position=0, reason="enrichment_failed", detail="d", **accepted)
        dead_letters.park(store, [letter, empty])
        numbers = {one.message_id: one.id for one in letterbox.page(store, Choice(), limit=9)}
    sent = []
    with opened(database_url, NEW) as store:
        shown = letterbox.one(store, numbers["m"])
        assert shown is not None
        assert shown.sealed
        assert letterbox.send_again(store, numbers["m"], sent.append) is Outcome.CLOSED
    with opened(database_url, NEW, OLD) as store:
        shown = letterbox.one(store, numbers["m"])
        assert shown is not None
        assert (shown.payload, shown.sealed) == (b"event", False)
        assert letterbox.send_again(store, numbers["m"], sent.append) is Outcome.SENT
        assert letterbox.send_again(store, numbers["n"], sent.append) is Outcome.REOPENED
    assert [one.payload for one in sent] == [b"event"]


def test_what_was_remembered_of_a_person_is_checked_before_it_is_used(database_url):
    with opened(database_url, OLD) as worker, opened(database_url, NEW, OLD) as other:
        admit(worker, [reflection("a", text="one")])
        reseal.reseal(other)  # the worker remembers the key as it was wrapped before
        with opened(database_url, NEW, OLD) as restarted:
            restarted.acquaintances.remember(worker.acquaintances.find(person_digest("u-1")))
            admit(restarted, [reflection("b", at_min=1, text="two")])
            assert restarted.acquaintances.find(person_digest("u-1")).kids == [Keyring.of(NEW).kid]
        # and with only the old key left to it, the worker makes the person a key that it opens
        admit(worker, [reflection("c", at_min=2, text="three")])
        assert texts(other) == {"a": "one", "b": "two", "c": "three"}
        # after an erasure by somebody else, what is remembered seals nothing
        removal.erase(other, ["u-1"])
        now = datetime.now(UTC) + timedelta(seconds=1)
        admit(other, [replace(reflection("d", text="four"), created_at=now)])
        assert [one.kind for one in admit(worker, [reflection("e", text="five")])] == [Kind.ERASED]
        assert texts(other) == {"d": "four"}
