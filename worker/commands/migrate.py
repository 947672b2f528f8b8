"""`feltsense migrate`: the tables of an operator's own database, for containers and services without `up`."""

from __future__ import annotations

import typer

from worker.commands.configured import opened, settings


def migrate() -> None:
    """Bring the database's tables up to date, rows kept; again, or beside another, is harmless.

    \b
    Example: FELTSENSE_DATABASE_URL=postgresql://owner@10.0.0.5/feltsense feltsense migrate
    """
    from worker.store import schema

    with opened(settings()) as store:
        before = schema.present(store)
        store.migrate()
        typer.echo(f"schema: {before or 'empty'} -> {schema.present(store)}")
