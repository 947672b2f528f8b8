"""Tables that are as full as after years, in minutes: rows in the shape of real ones, by binary COPY.

Ids are random as UUIDs are, so every index grows as it would have; people write in turn, so a person's rows
lie scattered over the tables.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import psycopg
from psycopg import sql

TABLES = {
    "reflections": "id",
    "traces": "reflection_id",
    "perceptions": "reflection_id",
    "deliveries": "reflection_id",
}
"""The tables a reflection leaves a row in, parents first, and the column that names it there."""
CHUNK = 1 << 20

_FASTER = ("max_wal_size = '16GB'", "synchronous_commit = off", "full_page_writes = off", "fsync = off")


@dataclass(frozen=True, kw_only=True)
class People:
    """`count` people named `<name>-0`, `<name>-1`, ... with `each` reflections, the last one at `until`."""

    name: str
    count: int
    each: int
    until: datetime
    apart: timedelta = timedelta(hours=1)

    @property
    def rows(self) -> int:
        return self.count * self.each


def fill(seed_url: str, url: str, people: Sequence[People], say: Callable[[str], None]) -> None:
    """Give the database at `url` rows of `people`, shaped as those of `seed_url` (at least one there); both
    belong to a superuser, and to nobody else meanwhile."""
    with psycopg.connect(url, autocommit=True) as target, psycopg.connect(seed_url) as seed:
        _tune(target, _FASTER)
        # The keys are right by construction: checking each would take longer than writing it.
        target.execute("SET session_replication_role = replica")
        shapes = _shapes(seed, target)
        for group in people:
            for table in TABLES:
                _copy(url, target, table, group, shapes)
            say(f"{group.rows} rows of each table for {group.count} people")
        for table in TABLES:
            target.execute(sql.SQL("DROP TABLE {}").format(_shape(table)))
        target.execute("VACUUM ANALYZE")
        _tune(target, [])
        target.execute("CHECKPOINT")


def _tune(connection: psycopg.Connection, settings: Sequence[str]) -> None:
    connection.execute("ALTER SYSTEM RESET ALL")
    for setting in settings:
        connection.execute(f"ALTER SYSTEM SET {setting}".encode())
    connection.execute("SELECT pg_reload_conf()")


def _shape(table: str) -> sql.Identifier:
    return sql.Identifier(f"shape_{table}")


def _shapes(seed: psycopg.Connection, target: psycopg.Connection) -> int:
    """Copies the seed's rows, numbered from 0 in the order of their ids, into tables beside; how many."""
    count = 0
    for table, key in TABLES.items():
        target.execute(
            sql.SQL("CREATE UNLOGGED TABLE {} AS SELECT 0::bigint AS number, * FROM {} WITH NO DATA").format(
                _shape(table), sql.Identifier(table)
            )
        )
        query = sql.SQL(
            "COPY (SELECT row_number() OVER (ORDER BY {}) - 1, * FROM {}) TO STDOUT (FORMAT binary)"
        )
        with (
            seed.cursor() as reading,
            target.cursor() as writing,
            reading.copy(query.format(sql.Identifier(key), sql.Identifier(table))) as rows,
            writing.copy(sql.SQL("COPY {} FROM STDIN (FORMAT binary)").format(_shape(table))) as into,
        ):
            for part in rows:
                into.write(part)
        row = target.execute(sql.SQL("SELECT count(*) FROM {}").format(_shape(table))).fetchone()
        count = min(count or int(row[0]), int(row[0])) if row else 0
    return count


def _copy(url: str, target: psycopg.Connection, table: str, group: People, shapes: int) -> None:
    key = TABLES[table]
    made = {
        key: sql.SQL("md5({} || n)::uuid::text").format(sql.Literal(f"{group.name}-")),
        "user_id": sql.SQL("{} || n % {}").format(sql.Literal(f"{group.name}-"), sql.Literal(group.count)),
        "created_at": sql.SQL("{}::timestamptz - ({} - n / {}) * {}::interval").format(
            sql.Literal(group.until),
            sql.Literal(group.each - 1),
            sql.Literal(group.count),
            sql.Literal(group.apart),
        ),
    }
    columns = [
        name
        for (name,) in target.execute(
            "SELECT column_name FROM information_schema.columns WHERE table_schema = 'public'"
            " AND table_name = %s ORDER BY ordinal_position",
            (table,),
        )
    ]
    picked = [made.get(name) or sql.Identifier("s", name) for name in columns]
    query = sql.SQL(
        "COPY (SELECT {} FROM generate_series(0::bigint, {}) n JOIN {} s ON s.number = n % {})"
        " TO STDOUT (FORMAT binary)"
    ).format(sql.SQL(", ").join(picked), sql.Literal(group.rows - 1), _shape(table), sql.Literal(shapes))
    into = sql.SQL("COPY {} ({}) FROM STDIN (FORMAT binary)").format(
        sql.Identifier(table), sql.SQL(", ").join(map(sql.Identifier, columns))
    )
    with (
        psycopg.connect(url) as source,
        source.cursor() as reading,
        target.cursor() as writing,
        reading.copy(query) as rows,
        writing.copy(into) as sink,
    ):
        pending = bytearray()
        for part in rows:
            pending += part
            if len(pending) >= CHUNK:
                sink.write(bytes(pending))
                pending.clear()
        sink.write(bytes(pending))
