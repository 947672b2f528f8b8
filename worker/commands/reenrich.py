"""`feltsense reenrich`: rows of another model version for what was written before it."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Annotated

import typer

from worker.commands.configured import opened, settings
from worker.errors import UsageError

POLL_S = 1.0


def reenrich(
    version: Annotated[
        str | None, typer.Argument(metavar="[VERSION]", help="The version that serves when left out.")
    ] = None,
    since: Annotated[
        datetime | None,
        typer.Option(metavar="DATE", formats=["%Y-%m-%d"], help="Only what was written then or later (UTC)."),
    ] = None,
    user: Annotated[
        list[str] | None, typer.Option(metavar="USER", help="Only this user_id; may repeat.")
    ] = None,
    wait: Annotated[bool, typer.Option(help="Show how it goes until nothing is missing.")] = True,
) -> None:
    """Write rows of a model version for reflections that have none of it.

    The workers do it from the stored texts, behind all other work, and go on when they are started again;
    Ctrl-C only ends the looking on. Rows of other versions stay. VERSION is the one that serves, or the one
    that is tried beside it. The same call again changes nothing. Exit code 3 when some could not be done.

    \b
    Example: feltsense reenrich --since 2026-01-01
    """
    from worker.errors import REJECTED
    from worker.report.progress import bars
    from worker.store import models, reenrichments, stored
    from worker.store.stored import Wanted

    with opened(settings()) as store:
        open_now = [one.version for one in (models.serving(store), models.challenger(store)) if one]
        if not open_now:
            raise UsageError("no version serves yet; start a worker: feltsense up")
        chosen = version or open_now[0]
        if chosen not in open_now:
            raise UsageError(
                f"the workers have {' and '.join(open_now)} open, not {chosen}: promote it first"
            )
        wanted = Wanted(
            since=since.replace(tzinfo=UTC) if since else None, users=tuple(user) if user else None
        )
        total = stored.count(store, chosen, wanted)
        wish = reenrichments.ask(store, chosen, wanted)
        typer.echo(f"{total} reflections have no row of {chosen}", err=True)
        if not wait:
            return
        left = total
        with bars() as shown:
            while not reenrichments.finished(store, wish):
                left = stored.count(store, chosen, wanted)
                total = max(total, left)
                shown.tell("done again", total - left, total)
                time.sleep(POLL_S)
            left = stored.count(store, chosen, wanted)
            shown.tell("done again", total - left, total)
    typer.echo(
        f"{total - left} rows of {chosen} written, {left} could not be (see the worker's log)", err=True
    )
    raise typer.Exit(REJECTED if left else 0)
