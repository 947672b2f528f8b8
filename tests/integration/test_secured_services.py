"""A whole worker on a broker with users and a database with roles, both behind TLS: it works with the rights
it was given, and who has none is refused."""

import base64
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest
import redis
from sqlalchemy import make_url

from tests.support.events import event
from tests.support.service import ROOT, Instance
from tests.support.tls import certificate, relay
from worker.client.publisher import Publisher
from worker.embedded.valkey import Valkey
from worker.errors import ServiceMissing
from worker.store import roles
from worker.store.engine import Store

KEY = base64.b64encode(bytes(32)).decode()
ACL = ROOT / "docs" / "valkey.acl"


@dataclass(frozen=True, kw_only=True)
class Secured:
    """URLs by user, the certificate and a client of the broker's own administrator."""

    worker: str
    publisher: str
    database: str
    ca: Path
    plain_port: int
    admin: redis.Redis


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, redis.Redis]]:
    folder = tmp_path_factory.mktemp("secured")
    server = Valkey(folder / "valkey", log=folder / "log")
    url = server.start()
    admin = redis.Redis.from_url(url)
    admin.ping()
    for line in ACL.read_text().splitlines():
        if line.startswith("user "):
            _, name, *rules = line.split()
            admin.execute_command("ACL", "SETUSER", name, "reset" if name != "default" else "off", *rules)
    yield url, admin
    server.stop()


@pytest.fixture
def secured(broker, store: Store, database_url: str, tmp_path: Path) -> Iterator[Secured]:
    url, admin = broker
    files = certificate(tmp_path / "tls")
    roles.apply(store)
    database = make_url(database_url)
    with psycopg.connect(database_url) as connection:
        connection.execute("CREATE ROLE secured LOGIN PASSWORD 'secret' IN ROLE feltsense_worker")
    with (
        relay(make_url(url).port or 0, files) as broker_port,
        relay(database.port or 0, files, postgres=True) as database_port,
    ):
        of = f"127.0.0.1:{broker_port}/0?ssl_cert_reqs=required&ssl_ca_certs={files[0]}"
        yield Secured(
            worker=f"rediss://worker:change-worker@{of}",
            publisher=f"rediss://publisher:change-publisher@{of}",
            database=f"postgresql://secured:secret@127.0.0.1:{database_port}/{database.database}"
            f"?sslmode=verify-full&sslrootcert={files[0]}",
            ca=files[0],
            plain_port=make_url(url).port or 0,
            admin=admin,
        )
    with psycopg.connect(database_url) as connection:
        connection.execute("DROP OWNED BY secured")
        connection.execute("DROP ROLE secured")


def test_a_worker_does_its_work_with_the_least_rights_over_tls(secured, database_url, bundle, tmp_path):
    secured.admin.execute_command("ACL", "LOG", "RESET")
    # the test looks at the rows as the owner; the worker logs in as what it may be
    instance = Instance(secured.worker, database_url, bundle, tmp_path)
    worker = instance.start("--task-events", database_url=secured.database, text_keys=KEY)
    try:
        with Publisher.connect(secured.publisher) as publisher:
            publisher.publish(event("live"))
            publisher.publish_many([event(f"bulk-{n}", "u-2", day=n) for n in (1, 2, 3)])
            instance.eventually(lambda: instance.count("perceptions") == 4)
            publisher.delete(["bulk-1"])
            instance.eventually(lambda: instance.count("perceptions") == 3)
            assert instance.rows("SELECT count(text), count(sealed) FROM reflections") == [(0, 3)]
            publisher.erase(["u-2"])
            instance.eventually(lambda: instance.count("perceptions") == 1)
            publisher.publish(event("late", "u-2", day=4))  # written before the erasure, it comes after
            instance.eventually(
                lambda: (
                    instance.rows("SELECT reason, user_id, payload FROM dead_letters")
                    == [("person_erased", None, None)]
                )
            )
            assert instance.count("perceptions") == 1
    finally:
        worker.stop()
    denied = [(entry["username"], entry["object"]) for entry in secured.admin.acl_log()]
    assert denied == []
    assert "change-worker" not in worker.log
    assert "secret" not in worker.log


DENIED = [
    ("publisher", ("LRANGE", "reflections", "0", "-1")),
    ("publisher", ("RPOP", "reflections")),
    ("publisher", ("BRPOP", "reflections", "1")),
    ("publisher", ("HGETALL", "unacked")),
    ("publisher", ("SET", "other", "x")),
    ("publisher", ("DEL", "reflections")),
    ("publisher", ("SUBSCRIBE", "/0.celeryev/worker.heartbeat")),
    *[
        (user, command)
        for user in ("publisher", "worker")
        for command in (
            ("KEYS", "*"),
            ("CONFIG", "GET", "requirepass"),
            ("FLUSHALL",),
            ("ACL", "LIST"),
            ("MONITOR",),
            ("CLIENT", "KILL", "ID", "1"),
            ("SHUTDOWN", "NOSAVE"),
            ("GET", "somebody-elses"),
        )
    ],
]


def test_what_a_user_of_the_broker_may_not_do_is_refused(secured):
    for user, command in DENIED:
        client = redis.Redis.from_url(getattr(secured, user))
        with pytest.raises((redis.exceptions.NoPermissionError, redis.exceptions.ResponseError)) as refused:
            client.execute_command(*command)
        assert "permission" in str(refused.value), (user, command)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda url: url.replace("change-publisher", "wrong"), "a wrong password"),
        (lambda url: url.replace("publisher:change-publisher", "default:x"), "the default user"),
        (lambda url: url.split("&ssl_ca_certs")[0], "a certificate nobody vouches for"),
        (lambda url: url.replace("rediss://", "redis://").split("?")[0], "no TLS"),
    ],
    ids=["a wrong password", "the default user", "an unknown certificate", "no TLS"],
)
def test_a_broker_that_does_not_know_us_or_that_we_do_not_know_is_refused(secured, change, why):
    with pytest.raises(ServiceMissing) as refused, Publisher.connect(change(secured.publisher)):
        pytest.fail(f"connected with {why}")
    assert "change-publisher" not in str(refused.value)


@pytest.mark.parametrize(
    "change",
    [
        lambda url: url.split("&sslrootcert")[0] + "&sslrootcert=/nowhere.pem",
        lambda url: url.split("?")[0] + "?sslmode=disable",
        lambda url: url.replace(":secret@", ":wrong@"),
    ],
    ids=["an unknown certificate", "no TLS", "a wrong password"],
)
def test_a_database_that_cannot_be_trusted_is_refused_without_the_password(secured, change):
    with Store.open(change(secured.database)) as store, pytest.raises(ServiceMissing) as refused:
        store.ping()
    assert "secret" not in str(refused.value)
