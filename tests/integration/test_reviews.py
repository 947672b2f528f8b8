"""Dual review on a real Postgres: two who do not know of each other, a third where they disagree, a cap, and
nothing unread in training."""

from __future__ import annotations

import dataclasses
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import orjson
import psycopg
import pytest
from pydantic import SecretStr

from tests.support.appraisals import VERSION, admit, appraisal, arrival, place, reflection, risk
from tests.support.database import everything
from tests.support.reviews import at_risk, read, reviewers
from trainer.data import labelled, operator
from trainer.errors import TrainerError
from worker.errors import UsageError
from worker.events.reflection import SelfReport
from worker.store import removal, retention, review_log, reviews
from worker.store.deliveries import accept
from worker.store.engine import Store
from worker.store.perceptions import settle
from worker.store.reviews import CapReached, ReviewRefused, Verdict

KEY = SecretStr("AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=")


def rows(url, query, *values):
    with psycopg.connect(url) as connection:
        return connection.execute(query, values).fetchall()


def reviewed(url):
    return dict(rows(url, "SELECT reflection_id, reviewed FROM risk_queue"))


def test_two_who_agree_settle_a_case_and_its_flags_become_a_label(store, database_url):
    at_risk(store, "a")
    reviewers(store, "ann", "bo")
    read(store, "ann", "act_now", "suicidal_ideation", "abuse")
    assert reviewed(database_url) == {"a": False}
    assert reviews.next_case(store, "ann") is None
    read(store, "bo", "act_now", "suicidal_ideation", "sarcasm")
    assert reviewed(database_url) == {"a": True}
    assert reviews.next_case(store, "bo") is None
    ((source, found),) = rows(database_url, "SELECT source, risk FROM labels")
    assert source == "reviewer"
    assert found == {  # abuse and sarcasm, of which one said so, are no label
        "suicidal_ideation": 1.0, "self_harm": 0.0, "harm_to_others": 0.0, "financial_coercion": 0.0,
        "sociopathic_cues": 0.0, "profanity": 0.0,
    }  # fmt: skip


def test_the_second_reader_is_told_nothing_that_the_first_was_not(store, database_url):
    at_risk(store, "a", "b")
    reviewers(store, "ann", "bo")
    first = reviews.next_case(store, "ann")
    reviews.open_text(store, first.id, "ann", cap=9)
    reviews.decide(store, first.id, "ann", Verdict(decision="no_risk", note="a secret of ann's"))
    second = reviews.next_case(store, "bo")  # the gravest comes first, read by one or by none
    assert second == first
    assert reviews.open_text(store, second.id, "bo", cap=9) == (first, "the words of a, revision 1")
    assert rows(database_url, "SELECT count(*) FROM risk_queue WHERE reviewed") == [(0,)]


def test_those_who_disagree_are_decided_between_by_a_third(store, database_url):
    at_risk(store, "a", "b")
    reviewers(store, "ann", "bo", "cy")
    read(store, "ann", "act_now", "self_harm", note="a plan and a date")
    read(store, "bo", "no_risk")
    # neither of the two may adjudicate: they get the other text
    assert reviews.next_case(store, "ann").reflection_id == "b"
    case = reviews.next_case(store, "cy")
    assert (case.reflection_id, case.kind, case.verdicts) == ("a", "adjudication", ())
    opened, text = reviews.open_text(store, case.id, "cy", cap=9)
    assert text == "the words of a, revision 1"
    assert [(v.decision, v.note) for v in opened.verdicts] == [
        ("act_now", "a plan and a date"),
        ("no_risk", None),
    ]
    with pytest.raises(ReviewRefused, match="adjudicated"):
        reviews.decide(store, case.id, "cy", Verdict(decision="watch"), kind="review")
    reviews.decide(store, case.id, "cy", Verdict(decision="watch", flags=frozenset({"self_harm"})))
    assert reviewed(database_url)["a"] is True
    assert rows(database_url, "SELECT decision, flags FROM review_cases WHERE settled_at IS NOT NULL") == [
        ("watch", ["self_harm"])
    ]
    ((found,),) = rows(database_url, "SELECT risk FROM labels")
    assert found == {flag: float(flag == "self_harm") for flag in found}
    assert len(found) == 8


def test_many_at_once_never_give_a_text_to_three_nor_twice_to_one(store, database_url):
    names = [f"r{n}" for n in range(6)]
    at_risk(store, *(f"t{n}" for n in range(8)))
    reviewers(store, *names)
    with Store.open(database_url, pool_size=6) as wide:
        start = threading.Barrier(len(names))

        def work(name):
            start.wait()
            while reviews.next_case(wide, name) is not None:
                read(wide, name, "watch")

        with ThreadPoolExecutor(len(names)) as pool:
            list(pool.map(work, names))
    assert rows(database_url, "SELECT count(*), count(DISTINCT (reflection_id, reviewer)) FROM reviews") == [
        (16, 16)
    ]
    assert set(reviewed(database_url).values()) == {True}
    assert review_log.verify(store).entries == 6 + 2 * 16


def test_a_case_in_hand_is_kept_and_comes_to_another_when_its_time_is_over(store, database_url):
    at_risk(store, "a")
    reviewers(store, "ann", "bo", "cy")
    case = reviews.next_case(store, "ann")
    reviews.open_text(store, case.id, "ann", cap=9)
    assert reviews.next_case(store, "ann").opened
    assert reviews.next_case(store, "bo") is not None
    assert reviews.next_case(store, "cy") is None
    with psycopg.connect(database_url) as connection:
        connection.execute("UPDATE review_claims SET until = now() WHERE reviewer = 'ann'")
    assert reviews.next_case(store, "cy").id == case.id
    with pytest.raises(ReviewRefused, match="not in your hands any more"):
        reviews.decide(store, case.id, "ann", Verdict(decision="watch"))


def test_a_skipped_text_comes_last_and_unread_is_no_exposure(store):
    at_risk(store, "a", "b")
    reviewers(store, "ann")
    first = reviews.next_case(store, "ann")
    reviews.skip(store, first.id, "ann")
    assert reviews.exposure(store, "ann").texts == 0
    with pytest.raises(ReviewRefused, match="ask for the next"):
        reviews.open_text(store, first.id, "ann", cap=9)
    second = reviews.next_case(store, "ann")
    assert (first.reflection_id, second.reflection_id) == ("a", "b")
    reviews.skip(store, second.id, "ann")
    again = reviews.next_case(store, "ann")
    assert (again.reflection_id, again.opened) == ("a", False)


def test_the_cap_refuses_the_next_text_says_when_and_counts_each_text_once(store, database_url):
    at_risk(store, "a", "b", "c")
    reviewers(store, "ann", "bo")
    first = reviews.next_case(store, "ann")
    reviews.open_text(store, first.id, "ann", cap=2)
    reviews.skip(store, first.id, "ann")
    read(store, "ann", "watch")
    with pytest.raises(CapReached, match="2 is the most"):
        reviews.next_case(store, "ann", cap=2)
    assert rows(database_url, "SELECT count(*) FROM review_claims WHERE skipped_at IS NULL") == [(0,)]
    third = reviews.next_case(store, "ann")
    with pytest.raises(CapReached, match=r"opened 2 texts within seven days, and 2 is the most.*UTC"):
        reviews.open_text(store, third.id, "ann", cap=2)
    reviews.skip(store, third.id, "ann")
    again = reviews.next_case(store, "ann")
    assert again.id == first.id
    reviews.open_text(store, again.id, "ann", cap=2)  # seen before: no further exposure
    seen = reviews.exposure(store, "ann")
    assert seen.texts == 2
    assert 6.9 < (seen.frees_at - datetime.now(UTC)).total_seconds() / 86400 <= 7
    assert reviews.exposure(store, "bo").texts == 0


def test_what_was_not_opened_cannot_be_decided_and_what_is_no_verdict_is_refused(store):
    at_risk(store, "a")
    reviewers(store, "ann")
    case = reviews.next_case(store, "ann")
    with pytest.raises(ReviewRefused, match="not opened"):
        reviews.decide(store, case.id, "ann", Verdict(decision="watch"))
    reviews.open_text(store, case.id, "ann", cap=9)
    for verdict, word in (
        (Verdict(decision="maybe"), "a decision is one of"),
        (Verdict(decision="watch", flags=frozenset({"sad"})), "'sad' is no flag"),
        (Verdict(decision="watch", note=" "), "a note has"),
        (Verdict(decision="watch", note="x" * 501), "a note has"),
    ):
        with pytest.raises(UsageError, match=word):
            reviews.decide(store, case.id, "ann", verdict)
    reviews.decide(store, case.id, "ann", Verdict(decision="watch"))
    with pytest.raises(ReviewRefused, match="not in your hands"):
        reviews.decide(store, case.id, "ann", Verdict(decision="no_risk"))


def test_an_edit_wants_a_new_review_and_ends_the_old_one(store, database_url):
    at_risk(store, "a")
    reviewers(store, "ann", "bo")
    old = reviews.next_case(store, "ann")
    reviews.open_text(store, old.id, "ann", cap=9)
    read(store, "bo", "no_risk")
    at_risk(store, "a", revision=2)
    with pytest.raises(ReviewRefused, match="edited meanwhile"):
        reviews.decide(store, old.id, "ann", Verdict(decision="no_risk"))
    for name in ("ann", "bo"):
        case = read(store, name, "no_risk")
        assert (case.revision, case.id != old.id) == (2, True)
    assert reviewed(database_url) == {"a": True}
    at_risk(store, "a", revision=3)
    assert reviewed(database_url) == {"a": False}


def test_who_has_no_open_account_reads_nothing(store):
    at_risk(store, "a")
    reviewers(store, "ann")
    case = reviews.next_case(store, "ann")
    reviews.close_reviewer(store, "ann")
    assert reviews.password_of(store, "ann") is None
    for ask in (
        lambda: reviews.next_case(store, "ann"),
        lambda: reviews.next_case(store, "nobody"),
        lambda: reviews.open_text(store, case.id, "ann", cap=9),
    ):
        with pytest.raises(ReviewRefused, match="no open reviewer's account"):
            ask()
    with pytest.raises(UsageError, match="no reviewer 'nobody'"):
        reviews.close_reviewer(store, "nobody")
    for name in ("Ann", "", "operator", "a b", "-a", "ä"):
        with pytest.raises(UsageError, match="a reviewer's name"):
            reviews.add_reviewer(store, name, "x")


def test_sealed_texts_and_notes_are_opened_for_their_reader_only(database_url):
    with Store.open(database_url, text_keys=KEY) as store:
        at_risk(store, "a")
        reviewers(store, "ann", "bo", "cy")
        read(store, "ann", "act_now", note="their very words")
        read(store, "bo", "watch")
        found = everything(database_url)
        assert b"their very words" not in found
        assert b"the words of a" not in found
        case = reviews.next_case(store, "cy")
        opened, text = reviews.open_text(store, case.id, "cy", cap=9)
        assert text.startswith("the words of a")
        assert opened.verdicts[0].note == "their very words"
    with Store.open(database_url) as keyless:
        again = reviews.next_case(keyless, "cy")  # a lost key stops nobody from skipping
        reviews.skip(keyless, again.id, "cy")


def test_an_erasure_takes_cases_and_verdicts_and_leaves_the_log_whole(store, database_url):
    at_risk(store, "gone", "deleted", "stays")
    reviewers(store, "ann", "bo")
    for _ in range(3):
        read(store, "ann", "watch")
    cases = dict(rows(database_url, "SELECT reflection_id, id FROM review_cases"))
    before = review_log.verify(store)
    removal.erase(store, ["u-gone"])
    removal.delete(store, ["deleted"], {})
    for table in ("reviews", "review_cases"):
        assert rows(database_url, f"SELECT reflection_id FROM {table}") == [("stays",)]
    assert review_log.verify(store, head=before.head) == before
    assert reviews.exposure(store, "ann").texts == 3  # what was read was read
    # and nothing in any table leads from the log to whom it was about
    left = everything(database_url)
    assert b"u-gone" not in left
    assert str(cases["gone"]).encode() in left  # the log's own word for it


def test_retention_of_texts_takes_notes_too(store, database_url):
    at_risk(store, "a")
    reviewers(store, "ann")
    read(store, "ann", "watch", note="their very words")
    with psycopg.connect(database_url) as connection:
        connection.execute("UPDATE reflections SET received_at = now() - interval '9 days'")
        connection.execute("UPDATE deliveries SET state = 'done'")
    retention.forget(store, text_days=7, days=None)
    assert rows(database_url, "SELECT note, decision FROM reviews") == [(None, "watch")]
    assert reviews.next_case(store, "ann") is None


FEELS = SelfReport(valence=0.1, arousal=0.9)


def consented(key, user_id="u-1", **more):
    return dataclasses.replace(reflection(key, user_id, **more), self_report=FEELS, consent_training=True)


def exported(store, tmp_path):
    out = tmp_path / "mine.jsonl"
    done = operator.export(store, out, now=datetime(2026, 11, 22, tzinfo=UTC))
    return done, {
        row.reflection.id: row for row in labelled.load([out], now=datetime(2026, 11, 22, tzinfo=UTC))
    }


def test_unreviewed_high_risk_text_cannot_enter_training(store, database_url, tmp_path):
    high = [consented("screened"), consented("perceived", at_min=5), consented("safe", at_min=9)]
    accept(
        store,
        [arrival(one, position=n, screen=risk("high" if n == 0 else "none", 0.9 * (n == 0)))
         for n, one in enumerate(high)],
        [], model_version=VERSION, lane="live",
    )  # fmt: skip
    settle(
        store, [appraisal(high[1], level="high", score=0.8), appraisal(high[2])], place,
        model_version=VERSION, timings=[{}] * 2,
    )  # fmt: skip
    done, found = exported(store, tmp_path)
    assert (set(found), done.unreviewed) == ({"safe"}, 2)
    reviewers(store, "ann", "bo")
    read(store, "ann", "watch", "suicidal_ideation")
    assert set(exported(store, tmp_path)[1]) == {"safe"}  # one reader is not two
    read(store, "bo", "watch", "suicidal_ideation")
    done, found = exported(store, tmp_path)
    assert (set(found), done.unreviewed) == ({"safe", "screened"}, 1)
    assert found["screened"].labels["risk"]["suicidal_ideation"] == 1.0
    # an edit of what was reviewed is unread again
    edit = arrival(consented("screened", revision=2), message_id="m-2", screen=risk("high", 0.9))
    accept(store, [edit], [], model_version=VERSION, lane="live")
    assert set(exported(store, tmp_path)[1]) == {"safe"}


def test_when_all_that_could_be_exported_waits_for_review_it_says_so(store, tmp_path):
    accept(store, [arrival(consented("a"), screen=risk("high", 0.9))], [], model_version=VERSION, lane="live")
    with pytest.raises(TrainerError, match=r"1 high-risk .* not been reviewed"):
        exported(store, tmp_path)


def test_a_reviewers_word_about_an_earlier_revision_does_not_come_back(store, database_url, tmp_path):
    admit(store, [consented("a")])
    rows_before = (
        "INSERT INTO labels (reflection_id, source, user_id, willingness) VALUES ('a', 'reviewer', 'u-1', .1)"
    )
    with psycopg.connect(database_url) as connection:
        connection.execute(rows_before)
    edit = arrival(consented("a", revision=2), message_id="m-2", screen=risk("high", 0.9))
    accept(store, [edit], [], model_version=VERSION, lane="live")
    reviewers(store, "ann", "bo")
    for name in ("ann", "bo"):
        read(store, name, "no_risk")
    found = exported(store, tmp_path)[1]["a"].labels
    assert "willingness" not in found
    assert set(found["risk"].values()) == {0.0}


def test_the_log_has_every_action_and_no_text(store, database_url):
    at_risk(store, "a", "b")
    reviewers(store, "ann", "bo", "cy")
    read(store, "ann", "act_now", "self_harm", note="words of a note")
    read(store, "bo", "watch")
    read(store, "cy", "no_risk")
    reviews.skip(store, reviews.next_case(store, "ann").id, "ann")
    reviews.close_reviewer(store, "cy")
    entries = rows(database_url, "SELECT actor, action, detail FROM review_log ORDER BY seq")
    assert [(actor, action) for actor, action, _ in entries] == [
        *[("operator", "account_opened")] * 3,
        ("ann", "opened"), ("ann", "decided"), ("bo", "opened"), ("bo", "decided"),
        ("cy", "opened"), ("cy", "adjudicated"), ("ann", "skipped"), ("operator", "account_closed"),
    ]  # fmt: skip
    assert orjson.loads(entries[4][2]) == {"decision": "act_now", "flags": ["self_harm"]}
    assert not any("words" in detail for *_, detail in entries)


def tampered(url, statement):
    """The owner of the tables takes the trigger away, does it, and puts it back."""
    with psycopg.connect(url) as connection:
        connection.execute("ALTER TABLE review_log DISABLE TRIGGER ALL")
        connection.execute(statement)
        connection.execute("ALTER TABLE review_log ENABLE TRIGGER ALL")


@pytest.mark.parametrize(
    ("statement", "word"),
    [
        ("UPDATE review_log SET detail = '{}' WHERE seq = 4", "entry 4 .* changed"),
        ("UPDATE review_log SET actor = 'bo' WHERE seq = 3", "entry 3 .* changed"),
        ("UPDATE review_log SET at = at + interval '1 us' WHERE seq = 3", "entry 3 .* changed"),
        ("DELETE FROM review_log WHERE seq = 2", "entry 2 .* missing"),
        ("UPDATE review_log SET seq = seq + 100 WHERE seq >= 3", "entry 3 .* missing"),
        (
            "UPDATE review_log SET detail = '{}', hash = sha256(previous || convert_to(concat_ws(E'\\n', seq,"
            " (extract(epoch FROM at) * 1000000)::bigint, actor, action, coalesce(case_id::text, ''), '{}'),"
            " 'UTF8')) WHERE seq = 3",
            "entry 4 .* does not follow",
        ),
    ],
)  # fmt: skip
def test_a_changed_log_is_found_and_the_first_broken_entry_named(store, database_url, statement, word):
    at_risk(store, "a", "b")
    reviewers(store, "ann")
    read(store, "ann", "watch")
    read(store, "ann", "watch")
    assert review_log.verify(store).entries == 5
    tampered(database_url, statement)
    with pytest.raises(review_log.ChainBroken, match=word):
        review_log.verify(store)


def test_a_log_whose_end_was_cut_off_is_found_by_the_head_noted_before(store, database_url):
    reviewers(store, "ann", "bo", "cy")
    noted = review_log.verify(store).head
    tampered(database_url, "DELETE FROM review_log WHERE seq = 3")
    assert review_log.verify(store).entries == 2
    with pytest.raises(review_log.ChainBroken, match="ends at entry 2, but 3 was noted"):
        review_log.verify(store, head=noted)
    reviewers(store, "dee")
    with pytest.raises(review_log.ChainBroken, match=r"entry 3 .* is not the one that was noted"):
        review_log.verify(store, head=noted)
    for wrong in ("3", "x:00", "0:" + "00" * 32, "3:zz"):
        with pytest.raises(UsageError, match="NUMBER:HASH"):
            review_log.verify(store, head=wrong)


@pytest.mark.parametrize(
    "statement", ["UPDATE review_log SET detail = ''", "DELETE FROM review_log", "TRUNCATE review_log"]
)
def test_even_the_owner_of_the_tables_changes_no_entry(store, database_url, statement):
    reviewers(store, "ann")
    with psycopg.connect(database_url) as connection, pytest.raises(psycopg.errors.RestrictViolation):
        connection.execute(statement)


def test_whoever_inserts_an_entry_does_not_choose_its_place(store, database_url):
    reviewers(store, "ann")
    with psycopg.connect(database_url) as connection:
        connection.execute(
            "INSERT INTO review_log (seq, at, actor, action, detail, previous, hash)"
            " VALUES (77, '2020-01-01', 'x', 'y', '{}', '', '')"
        )
    assert review_log.verify(store).entries == 2


def test_a_medium_case_is_offered_only_where_it_is_asked_for(store):
    at_risk(store, "m", level="medium")
    at_risk(store, "h")
    reviewers(store, "ann")
    assert reviews.next_case(store, "ann").reflection_id == "h"
    read(store, "ann", "watch")
    assert reviews.next_case(store, "ann") is None
    assert reviews.next_case(store, "ann", levels=("high", "medium")).reflection_id == "m"


def test_what_waits_is_counted_without_a_word_of_who_said_what(store):
    at_risk(store, "a", "b", "c")
    reviewers(store, "ann", "bo")
    read(store, "ann", "watch")
    assert (reviews.waiting(store).reading, reviews.waiting(store).disputed) == (3, 0)
    read(store, "bo", "no_risk")
    found = reviews.waiting(store)
    assert (found.reading, found.disputed, found.settled) == (2, 1, 0)
