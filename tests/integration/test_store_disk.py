"""Trouble with the database's disk is nobody's fault but the disk's: it is waited for, whatever its name."""

from __future__ import annotations

import resource

import pytest

from worker.embedded.postgres import Postgres
from worker.errors import ServiceMissing
from worker.store.engine import Store

LIMIT = 18 * 2**20
"""Above a segment of the write-ahead log (16 MB), whose failure would end the whole server."""
FILL = "INSERT INTO filler SELECT repeat('x', 7000) FROM generate_series(1, 3000)"


@pytest.fixture
def small_files(tmp_path):
    """A server none of whose files may grow beyond `LIMIT`."""
    server = Postgres(tmp_path / "home", log=tmp_path / "log")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (LIMIT, before[1]))
    try:
        url = server.start()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    yield url
    server.remove()


def test_a_file_that_may_not_grow_is_a_missing_service_and_parks_nobody(small_files):
    # EFBIG, as EDQUOT: Postgres has no SQLSTATE for them and says "internal error"
    with Store.open(small_files) as store:
        table = "CREATE TABLE filler (page text STORAGE PLAIN)"
        store.transact(lambda cursor: cursor.execute(table).rowcount)

        with pytest.raises(ServiceMissing, match="cannot use its disk") as failed:
            store.transact(lambda cursor: cursor.execute(FILL).rowcount)

        assert failed.value.retryable
        store.transact(lambda cursor: cursor.execute("DROP TABLE filler").rowcount)  # room again: it goes on
