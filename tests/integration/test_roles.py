"""The database's roles, tried: what each can do is its work, and what it may not do is refused."""

import uuid
from collections.abc import Iterator
from datetime import UTC, datetime

import psycopg
import pytest
from psycopg import sql
from pydantic import SecretStr
from sqlalchemy import make_url

from tests.support.appraisals import VERSION, admit, arrival, enrich, place, reflection, risk
from tests.support.program import feltsense
from tests.support.reviews import read, reviewers
from trainer.data import operator
from worker.errors import ServiceMissing
from worker.store import (
    dead_letters,
    journal,
    models,
    reenrichments,
    removal,
    repairs,
    reseal,
    retention,
    review_log,
    reviews,
    roles,
    slots,
    standing,
    stored,
    unfinished,
)
from worker.store.dead_letters import WHOLE_MESSAGE, DeadLetter
from worker.store.deliveries import accept
from worker.store.engine import Store, StoreRefused
from worker.store.leases import Lease

KEY = SecretStr("AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=")
CANARY = "canary words of one person"


@pytest.fixture
def logins(store: Store, database_url: str) -> Iterator[dict[str, str]]:
    """The URL of a user in each role, by the role's short name."""
    roles.apply(store)
    urls, names = {}, []
    with psycopg.connect(database_url) as connection:
        for role in roles.NAMES:
            name = f"{role}_{uuid.uuid4().hex[:8]}"
            names.append(name)
            connection.execute(
                sql.SQL("CREATE ROLE {} LOGIN PASSWORD 'secret' IN ROLE {}").format(
                    sql.Identifier(name), sql.Identifier(role)
                )
            )
            url = make_url(database_url).set(username=name, password="secret")
            urls[role.removeprefix("feltsense_")] = url.render_as_string(hide_password=False)
    yield urls
    with psycopg.connect(database_url) as connection:
        for name in names:
            connection.execute(sql.SQL("DROP OWNED BY {}").format(sql.Identifier(name)))
            connection.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(name)))


@pytest.fixture
def filled(store: Store, database_url: str) -> None:
    """A person who consented to training, one who did not, and one at risk."""
    given = [reflection("yes", "u-yes", text=CANARY), reflection("no", "u-no"), reflection("risk", "u-risk")]
    admit(store, given[:2])
    accept(store, [arrival(given[2], screen=risk("high", 0.9))], [], model_version=VERSION, lane="live")
    enrich(store, given[:2])
    models.register(store, VERSION, digest="d", manifest={})
    with psycopg.connect(database_url) as connection:
        connection.execute("UPDATE reflections SET consent_training = true WHERE id = 'yes'")
        for key in ("yes", "no"):
            connection.execute(
                "INSERT INTO labels (reflection_id, source, user_id, valence)"
                " VALUES (%s, 'annotator', 'u', .5)",
                (key,),
            )


def test_the_worker_can_do_all_of_its_work(logins, filled, tmp_path):
    with Store.open(logins["worker"], text_keys=KEY) as store:
        given = [reflection("a", at_min=5), reflection("b", at_min=2), reflection("c", at_min=200 * 1440)]
        admit(store, given)
        for one in given:
            enrich(store, [one])
        admit(store, [reflection("a", at_min=5, text="other")])
        dead_letters.park(
            store, [DeadLetter(message_id="w", position=WHOLE_MESSAGE, reason="x", detail="d", payload=b"p")]
        )
        assert dead_letters.rejected(store)[0].payload == b"p"
        admit(store, [reflection("late", "u-2")])
        assert unfinished.take(store, Lease(owner="w"), model_version=VERSION, grace_s=-1, limit=9)
        removal.delete(store, ["b"], {VERSION: place})
        assert repairs.catch_up(store, place, model_version=VERSION) > 0
        models.register(store, "v2", digest="e", manifest={})
        models.activate(store, "v2")
        reenrichments.ask_all(store, "v2")
        wish = reenrichments.oldest(store, "v2")
        assert wish is not None
        assert stored.count(store, "v2", wish.wanted) > 0
        assert reenrichments.finish(store, wish, 0)
        assert reenrichments.complete(store, "v2")
        reseal.reseal(store)
        retention.forget(store, text_days=1, days=1)
        held = slots.claim(store, "w", datetime.now(UTC), "w-1", fresh=True)
        assert held is not None
        assert slots.renew(store, held, {})
        assert slots.finish(store, held, "done", {})
        slots.prune(store, days=1)
        assert removal.erase(store, ["u-1"]).reflections == 3
        assert journal.counts(store).persons == 4
        for look in (
            standing.unfinished,
            standing.unowned,
            standing.letters,
            standing.risks,
            standing.repairs,
        ):
            look(store)
        for look in (standing.pace, standing.serving, standing.rebuilds, standing.slots, standing.size):
            look(store)
        assert standing.overdue(store, text_days=1, days=1)["reflections"] == 0


def test_the_trainer_reads_what_was_consented_to_and_nothing_else(logins, filled, tmp_path):
    with Store.open(logins["trainer"]) as store:
        done = operator.export(store, tmp_path / "labels.jsonl")
        assert (done.events, done.people) == (1, 1)
        slots.begin(store, {"t": datetime.now(UTC)})
        assert slots.claim(store, "t", datetime.now(UTC), "t-1", fresh=True) is not None
    with psycopg.connect(logins["trainer"]) as connection:
        assert connection.execute("SELECT id FROM reflections").fetchall() == [("yes",)]
        assert connection.execute("SELECT reflection_id FROM labels").fetchall() == [("yes",)]
        connection.execute(
            "INSERT INTO training_runs (slot, plan, state, model_version) VALUES ('s', '{}', 'done', 'v1')"
        )


def test_a_reader_sees_values_without_a_text_and_a_reviewer_the_texts_at_risk(logins, filled):
    with psycopg.connect(logins["reader"]) as connection:
        seen = connection.execute("SELECT reflection_id FROM current_perceptions").fetchall()
        assert {key for (key,) in seen} == {"yes", "no"}
        assert len(connection.execute("SELECT * FROM daily_mood").fetchall()) == 2
    with psycopg.connect(logins["reviewer"]) as connection:
        assert connection.execute("SELECT id FROM reflections").fetchall() == [("risk",)]
        assert connection.execute("SELECT reflection_id FROM risk_queue").fetchall() == [("risk",)]
        connection.execute(
            "INSERT INTO labels (reflection_id, source, user_id, valence) VALUES ('risk', 'reviewer', 'u', 0)"
        )


def test_the_reviewers_tool_can_do_all_of_its_work(store, logins, filled):
    reviewers(store, "ann", "bo", "cy")
    edit = arrival(reflection("risk", "u-risk", revision=2), message_id="m-2", screen=risk("high", 0.9))
    accept(store, [edit], [], model_version=VERSION, lane="live")
    with Store.open(logins["reviewer"]) as tool:
        reviews.skip(tool, reviews.next_case(tool, "ann").id, "ann")
        read(tool, "ann", "watch", "abuse", note="a note")
        read(tool, "bo", "no_risk")
        read(tool, "cy", "act_now")
        assert (reviews.waiting(tool).settled, len(reviews.pairs(tool))) == (1, 1)
        assert reviews.password_of(tool, "ann") is not None
        assert review_log.verify(tool).entries == 3 + 7


def test_the_trainer_does_not_see_high_risk_before_two_have_read_it(store, database_url, logins, filled):
    with psycopg.connect(database_url) as connection:
        connection.execute("UPDATE reflections SET consent_training = true")
        connection.execute(
            "INSERT INTO labels (reflection_id, source, user_id, valence)"
            " VALUES ('risk', 'annotator', 'u', .5)"
        )

    def seen():
        with psycopg.connect(logins["trainer"]) as connection:
            texts = connection.execute("SELECT id FROM reflections WHERE text IS NOT NULL").fetchall()
            labels = connection.execute("SELECT DISTINCT reflection_id FROM labels").fetchall()
        return {key for (key,) in texts}, {key for (key,) in labels}

    assert seen() == ({"yes", "no"}, {"yes", "no"})
    reviewers(store, "ann", "bo")
    read(store, "ann", "watch")
    assert seen() == ({"yes", "no"}, {"yes", "no"})
    read(store, "bo", "watch")
    assert seen() == ({"yes", "no", "risk"}, {"yes", "no", "risk"})


def test_the_migrator_owns_a_database_of_its_own_making(postgres, logins):
    name = postgres.create()
    try:
        with psycopg.connect(postgres.url(name)) as connection:
            connection.execute("GRANT CREATE ON SCHEMA public TO feltsense_migrator")
        url = make_url(logins["migrator"]).set(database=name).render_as_string(hide_password=False)
        with Store.open(url) as store:
            store.migrate()
            admit(store, [reflection("a")])
    finally:
        postgres.drop(name)


FORBIDDEN = {
    "worker": [
        "CREATE TABLE x (y int)",
        "ALTER TABLE reflections ADD COLUMN x int",
        "DROP TABLE traces",
        "TRUNCATE reflections CASCADE",
        "SELECT * FROM training_runs",
        "DELETE FROM model_versions",
        "INSERT INTO reviews (reflection_id, revision, reviewer, decision) VALUES ('risk', 1, 'x', 'y')",
        "UPDATE reviews SET decision = 'x'",
        "INSERT INTO review_log (actor, action, detail) VALUES ('x', 'y', '{}')",
        "SELECT password FROM reviewers",
        "UPDATE review_cases SET decision = 'watch'",
        "INSERT INTO labels (reflection_id, source, user_id) VALUES ('no', 'reviewer', 'u')",
        "UPDATE labels SET valence = 1",
        "UPDATE alembic_version SET version_num = 'x'",
        "CREATE ROLE x",
        "ALTER TABLE reflections DISABLE ROW LEVEL SECURITY",
        "DROP POLICY trainer_consented ON reflections",
        "COPY reflections TO PROGRAM 'cat'",
    ],
    "trainer": [
        "DELETE FROM slots",
        "UPDATE reflections SET consent_training = true",
        "DELETE FROM reflections",
        "INSERT INTO labels (reflection_id, source, user_id) VALUES ('yes', 'reviewer', 'u')",
        "UPDATE labels SET valence = 1",
        "SELECT * FROM dead_letters",
        "SELECT * FROM reviews",
        "SELECT * FROM review_log",
        "SELECT * FROM risk_queue",
        "SELECT * FROM perceptions",
        "UPDATE persons SET kids = '{}'",
        "CREATE TABLE x (y int)",
        "SET ROLE feltsense_worker",
    ],
    "reader": [
        "SELECT text FROM reflections",
        "SELECT * FROM perceptions",
        "SELECT * FROM risk_queue",
        "SELECT payload FROM dead_letters",
        "SELECT * FROM persons",
        "SELECT * FROM labels",
        "SELECT * FROM reviews",
        "SELECT * FROM review_log",
        "SELECT * FROM awaiting_review",
        "CREATE TABLE x (y int)",
        "CREATE TEMP TABLE x (y int)",
    ],
    "reviewer": [
        "UPDATE reviews SET decision = 'x'",
        "DELETE FROM reviews",
        "UPDATE review_log SET detail = ''",
        "DELETE FROM review_log",
        "TRUNCATE review_log",
        "ALTER TABLE review_log DISABLE TRIGGER ALL",
        "INSERT INTO reviewers (name, password) VALUES ('eve', 'x')",
        "UPDATE reviewers SET password = 'x'",
        "DELETE FROM review_cases",
        "DELETE FROM labels",
        "INSERT INTO labels (reflection_id, source, user_id) VALUES ('risk', 'self_report', 'u')",
        "UPDATE reflections SET text = 'x'",
        "SELECT payload FROM dead_letters",
        "UPDATE perceptions SET risk_level = 'none'",
        "SELECT * FROM training_runs",
        "UPDATE persons SET kids = '{}'",
    ],
    "migrator": [
        "CREATE ROLE x",
        "SELECT * FROM reflections",  # of a database that somebody else migrated
        "COPY (SELECT 1) TO PROGRAM 'cat'",
    ],
}


@pytest.mark.parametrize("role", FORBIDDEN)
def test_what_a_role_may_not_do_is_refused(logins, filled, role):
    for statement in FORBIDDEN[role]:
        with (
            psycopg.connect(logins[role]) as connection,
            pytest.raises(psycopg.errors.InsufficientPrivilege),
        ):
            connection.execute(statement.encode())


def test_every_table_and_view_is_somebodys_work(store, database_url, logins):
    # given a schema that grows, a table that no role was given is one that nobody thought of
    with psycopg.connect(database_url) as connection:
        found = connection.execute(
            """
            SELECT relname FROM pg_class
            WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'v') AND NOT EXISTS (
                SELECT FROM aclexplode(relacl) a JOIN pg_roles r ON r.oid = a.grantee
                WHERE starts_with(r.rolname, 'feltsense_')
            )
            """
        ).fetchall()
    assert found == []


def test_granting_again_takes_back_what_was_given_beside_it(store, database_url, logins):
    with psycopg.connect(database_url) as connection:
        connection.execute("GRANT SELECT ON reflections TO feltsense_reader")
    roles.apply(store)
    with (
        psycopg.connect(logins["reader"]) as connection,
        pytest.raises(psycopg.errors.InsufficientPrivilege),
    ):
        connection.execute("SELECT text FROM reflections")


def test_the_command_prints_the_statements_or_runs_them(store, database_url):
    printed = feltsense("roles")
    assert printed.stdout.decode() == roles.SQL
    applied = feltsense("roles", "--apply", FELTSENSE_DATABASE_URL=database_url)
    assert applied.returncode == 0, applied.stderr
    assert b"feltsense_reviewer" in applied.stdout


def test_who_may_not_grant_is_told_so(logins):
    with Store.open(logins["worker"]) as store, pytest.raises((StoreRefused, ServiceMissing)):
        roles.apply(store)
