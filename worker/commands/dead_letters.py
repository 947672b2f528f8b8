"""`feltsense dead-letters`: what was parked, why, and what becomes of it."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated, Any

import typer

from worker.commands.configured import opened, settings
from worker.errors import REJECTED, UsageError

if TYPE_CHECKING:
    from worker.store.letterbox import Choice

_AGE = re.compile(r"([0-9]{1,6})([smhd])")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}

Numbers = Annotated[
    list[int] | None, typer.Argument(metavar="[LETTER]...", help="Numbers from the list.", min=1)
]
Reasons = Annotated[
    list[str] | None, typer.Option("--reason", metavar="CODE", help="Parked for this reason; may repeat.")
]
User = Annotated[str | None, typer.Option(metavar="USER", help="Of this user_id.")]
Older = Annotated[str | None, typer.Option(metavar="AGE", help="Parked longer ago: 90s, 30m, 12h, 7d.")]
Newer = Annotated[str | None, typer.Option(metavar="AGE", help="Parked since then: 90s, 30m, 12h, 7d.")]
All = Annotated[bool, typer.Option("--all", help="Every letter that the other options leave.")]


def commands(plain: dict[str, Any]) -> typer.Typer:
    """The sub-commands; `plain` is how every group of the program is made."""
    app = typer.Typer(help="What was parked: look at it, send it again, or drop it.", **plain)
    for name, command in (("list", list_), ("show", show), ("retry", retry), ("drop", drop)):
        app.command(name)(command)
    return app


def list_(
    reason: Reasons = None,
    user: User = None,
    older: Older = None,
    newer: Newer = None,
    retried: Annotated[bool, typer.Option("--retried", help="Also those that were sent again.")] = False,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="So many at once.")] = 20,
    before: Annotated[int | None, typer.Option(metavar="LETTER", help="The page below this number.")] = None,
) -> None:
    """List dead letters, newest first.

    Only those that were not sent again, unless --retried. Never what somebody wrote.

    \b
    Example: feltsense dead-letters list --reason bad_time --newer 24h
    """
    from rich.console import Console

    from worker.client.addresses import database_url
    from worker.report.letters import letters_table
    from worker.store import letterbox
    from worker.store.engine import Store

    choice = _choice(None, reason, user, older, newer, retried=retried)
    with Store.open(database_url(settings()), pool_size=1) as store:
        reasons = letterbox.count(store, choice)
        letters = letterbox.page(store, choice, limit=limit, before=before)
    if letters:
        Console().print(letters_table(letters))
    by_reason = ", ".join(f"{count} {code}" for code, count in reasons.most_common())
    typer.echo(f"{_counted(reasons.total())}{': ' if by_reason else ''}{by_reason}", err=True)
    if len(letters) == limit:
        typer.echo(f"older ones: --before {letters[-1].id}", err=True)


def show(
    number: Annotated[int, typer.Argument(metavar="LETTER", help="A number from the list.", min=1)],
    text: Annotated[
        bool, typer.Option("--text", help="Also print the event, with what was written.")
    ] = False,
) -> None:
    """Show one dead letter.

    Its reason, whose it is and where it came from; the event itself only with --text, opened when it is
    sealed and FELTSENSE_EVENT_KEY is set.

    \b
    Example: feltsense dead-letters show 17
    """
    from rich.console import Console

    from worker.events.reflection import REASONS
    from worker.report.letters import letter_view
    from worker.store import letterbox

    found = settings()
    with opened(found) as store:
        letter = letterbox.one(store, number)
    if letter is None:
        raise UsageError(f"there is no dead letter {number}")
    Console().print(letter_view(letter, REASONS))
    if text and letter.sealed:
        raise UsageError("the event is sealed with a key that FELTSENSE_TEXT_KEYS does not hold")
    if text and letter.payload is not None:
        from worker.events.parked import legible

        typer.echo(legible(letter.payload, found.wire_key))


def retry(
    numbers: Numbers = None,
    reason: Reasons = None,
    user: User = None,
    older: Older = None,
    newer: Newer = None,
    all_: All = False,
    again: Annotated[bool, typer.Option("--again", help="Also those that were sent again before.")] = False,
    live: Annotated[bool, typer.Option("--live", help="In the live lane; else in the bulk lane.")] = False,
) -> None:
    """Send parked events again.

    Each goes onto the queue once, as message retry-LETTER, and its letter is marked. One that would be
    refused again stays and is named. A whole message goes where its events can be told apart.

    \b
    Example: feltsense dead-letters retry --reason enrichment_failed --newer 2h
    """
    from worker.client.retry import retry as run
    from worker.events.message import BULK, LIVE
    from worker.report.progress import bars
    from worker.store.letterbox import Outcome

    choice = _selected(numbers, reason, user, older, newer, all_=all_, retried=again or bool(numbers))
    with bars() as shown:
        done = run(
            choice,
            settings=settings(),
            lane=LIVE if live else BULK,
            again=again,
            say=shown.say,
            passed=lambda count, total: shown.tell("sent again", count, total),
        )
    sent, reopened = done.outcomes[Outcome.SENT], done.outcomes[Outcome.REOPENED]
    stay = done.refused + done.outcomes[Outcome.EMPTY] + done.outcomes[Outcome.CLOSED]
    typer.echo(
        f"{_counted(sent)} sent again"
        + (f", {done.outcomes[Outcome.SKIPPED]} had been before" if done.outcomes[Outcome.SKIPPED] else "")
        + (f", {reopened} given back to the worker from their stored rows" if reopened else "")
        + (f", {stay} cannot be" if stay else ""),
        err=True,
    )
    missing = _missing(numbers, done.outcomes.total() + done.refused)
    raise typer.Exit(REJECTED if stay or missing else 0)


def drop(
    numbers: Numbers = None,
    reason: Reasons = None,
    user: User = None,
    older: Older = None,
    newer: Newer = None,
    all_: All = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Delete dead letters for good.

    With the events in them, sent again or not. Asks first, unless --yes.

    \b
    Example: feltsense dead-letters drop --older 90d --yes
    """
    from worker.client.addresses import database_url
    from worker.report.progress import bars
    from worker.store import letterbox
    from worker.store.engine import Store

    choice = _selected(numbers, reason, user, older, newer, all_=all_, retried=True)
    with Store.open(database_url(settings()), pool_size=1) as store:
        total = letterbox.count(store, choice).total()
        if total and not yes:
            if not sys.stdin.isatty():
                raise UsageError(f"{_counted(total)} would be deleted; say --yes where nobody can be asked")
            if not typer.confirm(f"Delete {_counted(total)} with their events?", err=True):
                typer.echo("nothing is deleted", err=True)
                raise typer.Exit(0)
        gone = 0
        with bars() as shown:
            for some in letterbox.pages(store, choice):
                gone += letterbox.drop(store, some)
                shown.tell("deleted", gone, max(gone, total))
    typer.echo(f"{_counted(gone)} deleted", err=True)
    raise typer.Exit(REJECTED if _missing(numbers, gone) else 0)


def _selected(
    numbers: list[int] | None, reasons: list[str] | None, user: str | None, older: str | None,
    newer: str | None, *, all_: bool, retried: bool,
) -> Choice:  # fmt: skip
    """The letters that were named, one way or another. Raises `UsageError` when none were."""
    filtered = reasons or user is not None or older is not None or newer is not None
    if not (numbers or filtered or all_):
        raise UsageError("say which: numbers from the list, --reason, --user, --older, --newer, or --all")
    if numbers and all_:
        raise UsageError("--all leaves no choice: name letters or say --all")
    return _choice(numbers or None, reasons, user, older, newer, retried=retried)


def _choice(
    numbers: Sequence[int] | None,
    reasons: Sequence[str] | None = None,
    user: str | None = None,
    older: str | None = None,
    newer: str | None = None,
    *,
    retried: bool,
) -> Choice:
    from worker.events.reflection import REASONS
    from worker.store.letterbox import Choice

    for code in reasons or ():
        if code not in REASONS:
            raise UsageError(f"{code!r} is no reason; those that are: {', '.join(REASONS)}")
    return Choice(
        ids=numbers,
        reasons=reasons or None,
        user_id=user,
        older=_age(older, "--older"),
        newer=_age(newer, "--newer"),
        retried=retried,
    )


def _age(value: str | None, option: str) -> timedelta | None:
    if value is None:
        return None
    match = _AGE.fullmatch(value)
    if match is None:
        raise UsageError(f"{option}: an age is a number and s, m, h or d, such as 30m or 7d")
    return timedelta(**{_UNITS[match[2]]: int(match[1])})


def _missing(numbers: Sequence[int] | None, met: int) -> int:
    """How many of the letters that were named by number were not there to be handled."""
    missing = len(set(numbers or ())) - met if numbers else 0
    if missing > 0:
        typer.echo(f"{missing} of these numbers belong to no dead letter", err=True)
    return max(missing, 0)


def _counted(count: int) -> str:
    return f"{count} dead letter{'' if count == 1 else 's'}"
