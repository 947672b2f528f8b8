"""What happens to an arrival, on a real Postgres: admitted, recognised, parked, finished, removed."""

import os
import socket
import traceback
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, date, datetime

import numpy as np
import psycopg
import pytest

from tests.support.appraisals import VERSION, admit, appraisal, arrival, enrich, place, reflection, risk
from worker.bundle.people import digest_of
from worker.embedded.postgres import free_port
from worker.errors import BundleRefused, ServiceMissing, UsageError
from worker.events.reflection import Reflection
from worker.store import dead_letters, journal, leases, models, removal
from worker.store.dead_letters import WHOLE_MESSAGE, DeadLetter
from worker.store.deliveries import Kind, accept, local_day
from worker.store.engine import Store, StoreRefused
from worker.store.leases import Lease
from worker.store.perceptions import settle

CANARY = "canary words nobody may log"


def kinds(store: Store, given: list[Reflection], *, message_id: str = "m-1") -> list[Kind]:
    return [admission.kind for admission in admit(store, given, message_id=message_id)]


def one_of(url: str, query: str) -> object:
    with psycopg.connect(url) as connection:
        row = connection.execute(query.encode()).fetchone()
    return row and row[0]


ORIGINAL = reflection("r", at_min=1)
EDIT = reflection("r", at_min=1, revision=2)

ARRIVALS = [
    ("an unknown id", [], ORIGINAL, Kind.NEW),
    ("the same again before it is finished", [ORIGINAL], ORIGINAL, Kind.REDELIVERED),
    ("a higher revision", [ORIGINAL], EDIT, Kind.EDIT),
    ("a lower revision", [EDIT], ORIGINAL, Kind.STALE),
    ("other content under the same revision", [ORIGINAL], reflection("r", text="other"), Kind.CONFLICT),
    ("an edit that names another user", [ORIGINAL], reflection("r", "u-2", revision=2), Kind.CONFLICT),
    ("the same revision of another user", [ORIGINAL], reflection("r", "u-2"), Kind.CONFLICT),
]


@pytest.mark.parametrize(
    ("before", "event", "kind"), [case[1:] for case in ARRIVALS], ids=[c[0] for c in ARRIVALS]
)
@pytest.mark.parametrize("together", [False, True], ids=["in calls of their own", "in one call"])
def test_an_arrival_is_judged_by_what_came_before_it(store, before, event, kind, together):
    if together:
        assert kinds(store, [*before, event])[-1] is kind
    else:
        for earlier in before:
            admit(store, [earlier])
        assert kinds(store, [event], message_id="m-2") == [kind]


def test_a_finished_revision_is_done_and_its_perception_is_left_alone(store):
    admit(store, [ORIGINAL])
    enrich(store, [ORIGINAL])
    (before,) = journal.entries(store)
    assert kinds(store, [ORIGINAL], message_id="m-2") == [Kind.DONE]
    assert journal.entries(store) == [before]


def delivered(store, given, version, owner):
    """The admission of `given` by a worker of that name and version."""
    return accept(store, [arrival(given)], [], model_version=version, lane="live", lease=Lease(owner=owner))[
        0
    ]


def test_the_model_version_is_pinned_while_its_worker_is_alive_and_is_the_next_ones_after(store):
    assert delivered(store, ORIGINAL, VERSION, "one").kind is Kind.NEW
    held = delivered(store, ORIGINAL, "v2", "two")
    assert (held.kind, held.model_version) == (Kind.HELD, VERSION)
    leases.release(store, Lease(owner="one"))
    taken = delivered(store, ORIGINAL, "v2", "two")
    assert (taken.kind, taken.model_version, taken.attempts) == (Kind.REDELIVERED, "v2", 0)
    # the worker of the old version comes back, and writes nothing
    assert enrich(store, [ORIGINAL]).superseded == ("r",)
    assert journal.counts(store).deliveries == {"accepted": 1}
    edit = delivered(store, EDIT, "v3", "three")
    assert (edit.kind, edit.model_version) == (Kind.EDIT, "v3")


def expire(store):
    """Everybody's lease runs out."""
    store.transact(lambda cursor: cursor.execute("UPDATE deliveries SET lease_until = now() - interval '1s'"))


def test_an_attempt_counts_only_when_the_worker_that_had_begun_it_is_lost(store):
    def attempts(owner):
        admission = delivered(store, ORIGINAL, VERSION, owner)
        return admission.kind, admission.attempts

    assert attempts("one") == (Kind.NEW, 0)
    assert attempts("one") == (Kind.REDELIVERED, 0)  # the broker delivered it twice
    expire(store)
    assert attempts("one") == (Kind.REDELIVERED, 0)  # nobody else was there
    leases.release(store, Lease(owner="one"))
    assert attempts("two") == (Kind.REDELIVERED, 0)  # given back
    expire(store)
    assert attempts("three") == (Kind.REDELIVERED, 1)  # "two" was lost with it in hand
    expire(store)
    assert attempts("four") == (Kind.REDELIVERED, 1)  # "three" had not begun with the suspect
    leases.begin(store, [("r", 1)], Lease(owner="four"))
    expire(store)
    assert leases.extend(store, Lease(owner="four")) == 1
    assert attempts("five") == (Kind.HELD, 0)
    expire(store)
    assert attempts("five") == (Kind.REDELIVERED, 2)
    leases.begin(store, [("r", 1)], Lease(owner="five"))
    expire(store)
    assert attempts("six") == (Kind.EXHAUSTED, 3)


@pytest.mark.parametrize("first", ["row", "letter"])
def test_a_row_or_a_dead_letter_never_both(store, first):
    letter = DeadLetter(
        message_id="m-1", position=0, reason="enrichment_crashed", detail="d", reflection_id="r", revision=1,
        user_id="u-1",
    )  # fmt: skip
    admit(store, [ORIGINAL])
    for what in ("row", "letter") if first == "row" else ("letter", "row"):
        if what == "row":
            enrich(store, [ORIGINAL])
        else:
            dead_letters.park(store, [letter])
    assert (len(journal.entries(store)), len(dead_letters.rejected(store))) == (
        (1, 0) if first == "row" else (0, 1)
    )


def test_what_was_given_up_is_tried_again_by_another_message_only_and_loses_its_letter(store):
    admit(store, [ORIGINAL])
    dead_letters.park(
        store,
        [
            DeadLetter(
                message_id="m-1", position=0, reason="enrichment_failed", detail="d", reflection_id="r",
                revision=1, user_id="u-1",
            )
        ],
    )  # fmt: skip
    assert kinds(store, [ORIGINAL], message_id="m-1") == [Kind.PARKED]
    assert journal.counts(store).deliveries == {"dead": 1}
    assert kinds(store, [ORIGINAL], message_id="m-2") == [Kind.REDELIVERED]
    assert dead_letters.rejected(store) == []


def test_a_conflict_is_parked_with_its_reason_and_harms_no_neighbour(store):
    admit(store, [ORIGINAL])
    given = [
        reflection("a"),
        reflection("r", text="other"),
        reflection("r", "u-2", revision=2),
        reflection("b"),
    ]
    assert kinds(store, given, message_id="m-2") == [Kind.NEW, Kind.CONFLICT, Kind.CONFLICT, Kind.NEW]
    assert dead_letters.count(store) == {"conflicting_content": 1, "user_changed": 1}
    changed, conflicting = dead_letters.rejected(store, limit=10)
    assert (conflicting.message_id, conflicting.position, conflicting.payload) == ("m-2", 1, b'{"id":"r"}')
    assert (changed.reflection_id, changed.user_id, changed.field) == ("r", "u-2", "user_id")
    # and the stored reflection is untouched
    assert enrich(store, [ORIGINAL]).written == ("r",)


def test_a_message_delivered_twice_parks_its_rejects_once(store, database_url):
    letters = [
        DeadLetter(
            message_id="m", position=0, reason="unknown_field", detail="d", field="colour", payload=b"{}"
        ),
        DeadLetter(message_id="n", position=WHOLE_MESSAGE, reason="not_a_list", detail="d"),
    ]
    for _ in range(2):
        assert accept(store, [], letters, model_version=VERSION, lane="bulk") == []
    assert [letter.attempts for letter in dead_letters.rejected(store)] == [2, 2]


def test_identifiers_no_database_can_hold_are_parked_legibly(store):
    odd = DeadLetter(
        message_id="m",
        position=0,
        reason="unknown_field",
        detail="d",
        field="a\0b",
        user_id="\ud800" + "x" * 9000,
    )
    dead_letters.park(store, [odd])
    (letter,) = dead_letters.rejected(store)
    assert letter.field == "a\\x00b"
    assert letter.user_id is not None
    assert letter.user_id.startswith("\\ud800x")
    assert len(letter.user_id) < 600


def test_an_event_given_up_after_acceptance_is_dead_until_it_is_sent_again(store):
    admit(store, [ORIGINAL])
    dead_letters.park(
        store,
        [
            DeadLetter(
                message_id="m-1", position=0, reason="failed", detail="d", reflection_id="r", revision=1
            )
        ],
    )
    assert journal.counts(store).deliveries == {"dead": 1}
    assert kinds(store, [ORIGINAL], message_id="m-2") == [Kind.REDELIVERED]
    enrich(store, [ORIGINAL])
    assert journal.counts(store).deliveries == {"done": 1}


def test_the_risk_screen_is_committed_before_any_perception(store, database_url):
    screened = arrival(ORIGINAL, screen=risk("high", 0.9))
    accept(store, [screened], [], model_version=VERSION, lane="live")
    assert one_of(database_url, "SELECT source || level || score FROM risk_queue") == "screenhigh0.9"


@pytest.mark.parametrize(("level", "queued"), [("none", 0), ("low", 0), ("medium", 1), ("high", 1)])
def test_a_reviewer_sees_the_medium_and_the_high_before_any_perception(store, database_url, level, queued):
    accept(store, [arrival(ORIGINAL, screen=risk(level, 0.5))], [], model_version=VERSION, lane="live")
    assert one_of(database_url, "SELECT count(*) FROM risk_queue") == queued


def test_the_row_holds_every_value_exactly(store, database_url):
    admit(store, [ORIGINAL])
    settle(store, [appraisal(ORIGINAL)], place, model_version=VERSION, timings=[{"encode": 0.1 + 0.2}])
    (entry,) = journal.timeline_of(store, "u-1")
    given = appraisal(ORIGINAL)
    assert entry.willingness == given.willingness
    assert entry.comparator == entry.valence - entry.expected_valence
    assert (entry.invoked, entry.expressed) == (["Sad", "Lonely"], [])
    assert entry.emotions == {"invoked": given.invoked.to_json(), "expressed": given.expressed.to_json()}
    assert entry.intervals["willingness"] == [0.1, 0.9]
    assert entry.timings == {"encode": 0.1 + 0.2}
    assert (entry.self_valence, entry.self_arousal, entry.self_emotion) == (0.25, None, ["Sad", "Lonely"])
    assert entry.provenance["bundle"] == "b" * 64
    assert entry.created_at == ORIGINAL.created_at
    kept = one_of(database_url, "SELECT history FROM traces")
    assert np.array_equal(np.frombuffer(kept, "<f8"), given.trace.history, equal_nan=True)


def test_a_repair_replaces_only_what_depends_on_the_history(store):
    later = reflection("later", at_min=10)
    admit(store, [later])
    enrich(store, [later])
    (before,) = journal.entries(store)
    admit(store, [ORIGINAL])
    assert enrich(store, [ORIGINAL]).repaired == ("later",)
    after = journal.entries(store)[1]
    assert after.repaired_at is not None
    assert after.valence != before.valence
    assert after.provenance["history"] == 1
    for name in ("willingness", "invoked", "risk", "emotions", "enriched_at", "timings", "revision"):
        assert getattr(after, name) == getattr(before, name)
    assert after.provenance["bundle"] == before.provenance["bundle"]
    assert after.intervals["willingness"] == before.intervals["willingness"]


def test_an_appraisal_of_an_outdated_revision_is_superseded(store):
    admit(store, [ORIGINAL])
    admit(store, [EDIT])
    settled = enrich(store, [ORIGINAL])
    assert (settled.written, settled.superseded) == ((), ("r",))
    assert enrich(store, [EDIT, ORIGINAL]).written == ("r",)
    assert journal.entries(store)[0].revision == 2
    assert journal.counts(store).deliveries == {"done": 2}


def test_versions_of_a_model_have_histories_of_their_own(store):
    earlier, later = reflection("a", at_min=0), reflection("b", at_min=1)
    admit(store, [earlier, later])
    enrich(store, [earlier])
    settle(store, [appraisal(later)], place, model_version="v2", timings=[{}], again=True)
    assert [entry.provenance["history"] for entry in journal.entries(store)] == [0, 0]


def test_readers_get_the_active_version_or_else_the_latest(store):
    admit(store, [ORIGINAL])
    enrich(store, [ORIGINAL])
    settle(store, [appraisal(ORIGINAL)], place, model_version="v2", timings=[{}], again=True)
    assert [entry.model_version for entry in journal.entries(store)] == ["v2"]
    models.register(store, VERSION, digest="d1", manifest={})
    models.register(store, "v2", digest="d2", manifest={})
    models.activate(store, VERSION)
    assert [entry.model_version for entry in journal.entries(store)] == [VERSION]
    models.activate(store, "v2")
    assert models.active(store) == "v2"
    assert [entry.model_version for entry in journal.entries(store)] == ["v2"]


def test_a_model_version_is_one_bundle(store):
    assert models.active(store) is None
    models.register(store, VERSION, digest="d1", manifest={"format": 1})
    models.register(store, VERSION, digest="d1", manifest={"format": 1})
    with pytest.raises(BundleRefused):
        models.register(store, VERSION, digest="other", manifest={})
    with pytest.raises(UsageError):
        models.activate(store, "unknown")


def test_the_history_of_models_says_what_served_when(store):
    # given two versions, the second tried beside the first and then promoted
    assert models.register(store, VERSION, digest="d1", manifest={}, location="/bundles/one")
    assert models.activate(store, VERSION)
    assert not models.activate(store, VERSION), "it serves already"
    assert models.register(store, "v2", digest="d2", manifest={}, location="/bundles/two")
    assert not models.register(store, "v2", digest="d2", manifest={}), "it is known"
    assert models.previous(store) is None
    with pytest.raises(UsageError):
        models.shadow(store, VERSION)
    models.shadow(store, "v2")
    tried = models.challenger(store)
    assert tried is not None
    assert (tried.version, tried.location) == ("v2", "/bundles/two")

    # when it is promoted, and taken back
    models.activate(store, "v2", detail={"by": "a test"})
    assert models.challenger(store) is None
    before = models.previous(store)
    assert before is not None
    models.activate(store, before.version, kind="rolled_back")

    # then the history says all of it, newest first
    assert [(event.version, event.kind) for event in models.history(store)] == [
        (VERSION, "rolled_back"), ("v2", "promoted"), ("v2", "shadowed"), ("v2", "registered"),
        (VERSION, "promoted"), (VERSION, "registered"),
    ]  # fmt: skip
    assert models.history(store)[1].detail == {"by": "a test"}
    serving = models.serving(store)
    assert serving is not None
    assert serving.version == VERSION


def test_daily_mood_counts_by_the_writers_own_day(store, database_url):
    # given 19:00 and 18:00 UTC, which is after and before midnight in Kolkata
    given = [reflection("a", at_min=11 * 60), reflection("b", at_min=10 * 60)]
    admit(store, given)
    enrich(store, given)
    with psycopg.connect(database_url) as connection:
        days = connection.execute("SELECT day, reflections FROM daily_mood ORDER BY day").fetchall()
    assert days == [(date(2026, 11, 1), 1), (date(2026, 11, 2), 1)]


@pytest.mark.parametrize("zone", [None, "Nowhere/Land", "../etc/passwd"])
def test_without_a_known_time_zone_the_offset_gives_the_day(zone):
    evening = replace(
        reflection("a"), created_at=datetime(2026, 1, 1, 23, tzinfo=UTC), timezone=zone, utc_offset_min=120
    )
    assert local_day(evening) == date(2026, 1, 2)


def test_the_risk_queue_puts_the_unreviewed_first_then_the_graver_then_the_higher_score(store, database_url):
    levels = {
        "a": ("medium", 0.95),
        "b": ("high", 0.6),
        "c": ("high", 0.8),
        "d": ("low", 0.99),
        "e": ("high", 0.99),
    }
    given = [reflection(key, at_min=n) for n, key in enumerate(levels)]
    admit(store, given)
    appraisals = [appraisal(one, level=levels[one.id][0], score=levels[one.id][1]) for one in given]
    settle(store, appraisals, place, model_version=VERSION, timings=[{}] * 5)
    with psycopg.connect(database_url) as connection:
        connection.execute(
            "INSERT INTO reviews (reflection_id, revision, reviewer, decision) VALUES ('e', 1, 'x', 'called')"
        )
        queue = [key for (key,) in connection.execute("SELECT reflection_id FROM risk_queue").fetchall()]
    assert queue == ["c", "b", "a", "e"]


def test_deleting_leaves_a_tombstone_no_redelivery_can_wake(store, database_url):
    given = [reflection("a", at_min=0), reflection("b", at_min=1)]
    admit(store, given)
    enrich(store, given)
    deleted = removal.delete(store, ["a"], {VERSION: place})
    assert (deleted.ids, deleted.repaired) == (("a",), ("b",))
    assert kinds(store, [given[0], reflection("a", revision=9)]) == [Kind.STALE, Kind.STALE]
    assert enrich(store, [given[0]]).superseded == ("a",)
    assert one_of(database_url, "SELECT count(*) FROM reflections WHERE id = 'a' AND text IS NULL") == 1
    assert one_of(database_url, "SELECT count(*) FROM perceptions WHERE reflection_id = 'a'") == 0
    assert removal.delete(store, ["a"], {}).ids == ()


def test_deleting_names_the_versions_it_could_not_repair(store):
    given = [reflection("a", at_min=0), reflection("b", at_min=1)]
    admit(store, given)
    enrich(store, given)
    assert removal.delete(store, ["a"], {}).unrepaired_versions == (VERSION,)


def test_erasing_a_person_leaves_no_row_of_theirs_and_names_the_bundles(store, database_url):
    theirs, others = reflection("a", "gone"), reflection("b", "stays")
    admit(store, [theirs, others])
    enrich(store, [theirs, others])
    admit(store, [reflection("a", "gone", text="other")], message_id="m-2")
    models.register(store, VERSION, digest="d", manifest={}, people=digest_of("gone") + digest_of("x"))
    with psycopg.connect(database_url) as connection:
        connection.execute(
            "INSERT INTO labels (reflection_id, source, user_id) VALUES ('a', 'reviewer', 'gone')"
        )
        connection.execute(
            "INSERT INTO reviews (reflection_id, revision, reviewer, decision) VALUES ('a', 1, 'x', 'called')"
        )
    erased = removal.erase(store, ["gone", "nobody"])
    assert (erased.reflections, erased.trained_versions) == (1, (VERSION,))
    for table in ("reflections", "traces", "perceptions", "deliveries", "dead_letters", "labels", "reviews"):
        key = "id" if table == "reflections" else "reflection_id"
        assert one_of(database_url, f"SELECT count(*) FROM {table} WHERE {key} = 'a'") == 0, table
    assert [person.user_id for person in journal.users(store)] == ["stays"]
    # and what was on its way meanwhile is not written
    assert enrich(store, [theirs]).superseded == ("a",)


def test_with_text_dropped_nothing_of_it_reaches_the_database(database_url):
    with Store.open(database_url, keep_text=False) as store:
        admit(store, [reflection("r", text=CANARY)])
        letter = DeadLetter(message_id="m", position=0, reason="x", detail="d", payload=CANARY.encode())
        dead_letters.park(store, [letter])
    assert one_of(database_url, "SELECT count(text) FROM reflections") == 0
    assert one_of(database_url, "SELECT count(payload) FROM dead_letters") == 0


def test_concurrent_upserts_of_the_same_rows_do_not_deadlock(store):
    # given eight threads that send the same reflections of many persons, each in its own order
    given = [reflection(f"r{n}", f"u-{n % 9}", at_min=float(n)) for n in range(60)]

    def run(seed: int) -> None:
        random = np.random.default_rng(seed)
        for turn in range(4):
            some = [given[n] for n in random.permutation(60)[:40]]
            revised = [replace(one, revision=one.revision + int(random.integers(3))) for one in some]
            admissions = admit(store, revised, message_id=f"m-{seed}-{turn}")
            enrich(store, [one for one, a in zip(revised, admissions, strict=True) if a.to_enrich])

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(run, range(8)))
    found = journal.counts(store)
    assert (found.perceived, found.persons) == (60, 9)
    assert set(found.deliveries) == {"done"}


def test_a_placement_out_of_range_refuses_the_batch_and_stores_nothing_of_it(store):
    admit(store, [ORIGINAL])

    def broken(asked):
        return [replace(one, valence=1.5) for one in place(asked)]

    with pytest.raises(StoreRefused, match=r"SQLSTATE 23514 perceptions perceptions_valence_check"):
        settle(store, [appraisal(ORIGINAL)], broken, model_version=VERSION, timings=[{}])
    assert journal.entries(store) == []
    assert enrich(store, [ORIGINAL]).written == ("r",)


def test_what_place_raises_passes_through_and_stores_nothing(store):
    admit(store, [ORIGINAL])

    def broken(asked):
        raise ArithmeticError

    with pytest.raises(ArithmeticError):
        settle(store, [appraisal(ORIGINAL)], broken, model_version=VERSION, timings=[{}])
    assert enrich(store, [ORIGINAL]).written == ("r",)


def test_a_refusal_never_quotes_what_was_written(store):
    refused = replace(reflection("r", text=CANARY), revision=0)
    with pytest.raises(StoreRefused) as caught:
        admit(store, [refused])
    shown = "".join(traceback.format_exception(caught.value))
    assert CANARY not in shown
    assert caught.value.__context__ is None
    assert "reflections_revision_check" in str(caught.value)
    # nor when the driver itself refuses
    with pytest.raises(StoreRefused) as caught:
        admit(store, [reflection("r", text=CANARY + "\0")])
    assert CANARY not in "".join(traceback.format_exception(caught.value))


def test_an_absent_database_is_named_without_its_password():
    port = free_port()
    with Store.open(f"postgresql://me:sesame@127.0.0.1:{port}/mine") as store:
        for call in (store.ping, store.migrate):
            with pytest.raises(ServiceMissing, match=f"127.0.0.1:{port}") as caught:
                call()
            assert "sesame" not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize(
    "url", ["redis://me:sesame@host/0", "sesame", "postgresql://me:sesame@host:port/x", ""]
)
def test_another_kind_of_url_is_a_usage_error(url):
    with pytest.raises(UsageError) as caught:
        Store.open(url)
    assert "sesame" not in str(caught.value)


def test_a_lost_connection_is_replaced_at_the_next_call(store, postgres):
    store.ping()
    with psycopg.connect(postgres.url("postgres"), autocommit=True) as admin:
        admin.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE pid <> pg_backend_pid() AND usename IS NOT NULL"
        )
    store.ping()


def test_a_connection_lost_in_mid_transaction_is_a_missing_service(store):
    with pytest.raises(ServiceMissing):
        store.transact(lambda cursor: cursor.execute("SELECT pg_terminate_backend(pg_backend_pid())"))
    store.ping()


def test_latencies_run_from_acceptance_to_the_committed_row(store):
    started = datetime.now(UTC)
    given = [reflection(f"r{n}") for n in range(5)]
    admit(store, given)
    assert journal.latencies(store) == []
    enrich(store, given)
    assert len(journal.latencies(store, since=started)) == 5
    assert all(0 <= seconds < 60 for seconds in journal.latencies(store))


def test_counts_and_users_add_up(store):
    given = [reflection(f"r{n}", f"u-{n % 2}", at_min=n) for n in range(5)]
    admit(store, given)
    enrich(store, given[:4])
    found = journal.counts(store)
    assert (found.persons, found.reflections, found.perceived, found.deleted) == (2, 5, 4, 0)
    assert found.deliveries == {"done": 4, "accepted": 1}
    first, second = journal.users(store)
    assert (first.user_id, first.reflections, second.reflections) == ("u-0", 3, 2)
    assert first.first == given[0].created_at


def test_both_ends_give_up_a_peer_that_vanished_without_a_word(store):
    def asked(cursor):
        with socket.socket(fileno=os.dup(cursor.connection.fileno())) as line:
            client = [
                line.getsockopt(socket.IPPROTO_TCP, name)
                for name in (socket.TCP_KEEPIDLE, socket.TCP_USER_TIMEOUT)
            ]
        server = [
            cursor.execute(f"SHOW {name}").fetchone()[0]
            for name in ("tcp_keepalives_idle", "tcp_user_timeout")
        ]
        return client, server

    assert store.transact(asked) == ([10, 20_000], ["10", "20000"])


def test_readers_get_a_row_of_a_version_that_never_served_only_where_there_is_no_other(store):
    admit(store, [ORIGINAL])
    for version in (VERSION, "new", "tried"):
        models.register(store, version, digest=version, manifest={})
    models.activate(store, VERSION)
    settle(store, [appraisal(ORIGINAL)], place, model_version=VERSION, timings=[{}])
    models.activate(store, "new")
    models.shadow(store, "tried")
    settle(store, [appraisal(ORIGINAL)], place, model_version="tried", timings=[{}], again=True)
    assert [entry.model_version for entry in journal.entries(store)] == [VERSION]
    models.shadow(store, None)
    assert [entry.model_version for entry in journal.entries(store)] == [VERSION]
    settle(store, [appraisal(ORIGINAL)], place, model_version="new", timings=[{}], again=True)
    assert [entry.model_version for entry in journal.entries(store)] == ["new"]


def test_what_was_parked_gets_no_row_of_another_version(store):
    admit(store, [ORIGINAL])
    give_up = "UPDATE deliveries SET state = 'dead'"
    store.transact(lambda cursor: cursor.execute(give_up))
    assert not settle(
        store, [appraisal(ORIGINAL)], place, model_version="v2", timings=[{}], again=True
    ).written
    assert journal.entries(store) == []
