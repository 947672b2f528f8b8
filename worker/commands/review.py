"""`feltsense review`: people read high-risk texts, two of them each, on a local page or in the terminal."""

from __future__ import annotations

import sys
from typing import Annotated, Any
from uuid import UUID

import typer

from worker.commands.configured import opened, settings
from worker.errors import UsageError

Name = Annotated[str, typer.Argument(metavar="NAME", help="A reviewer's account.")]
CaseId = Annotated[UUID, typer.Argument(metavar="CASE", help="As `next` names it.")]
Said = Annotated[str, typer.Argument(metavar="DECISION", help="act_now, watch or no_risk.")]
Flags = Annotated[
    list[str] | None,
    typer.Option("--flag", metavar="FLAG", help="What the text really contains; may repeat."),
]
Note = Annotated[
    bool, typer.Option("--note", help="Asks for a note; from a pipe it is what follows the first line.")
]


def commands(plain: dict[str, Any]) -> typer.Typer:
    """The sub-commands; `plain` is how every group of the program is made."""
    app = typer.Typer(help="Read high-risk texts, two people each, who do not know of each other.", **plain)
    for name, command in (
        ("serve", serve),
        ("add-reviewer", add_reviewer),
        ("close-reviewer", close_reviewer),
        ("next", next_),
        ("read", read),
        ("decide", decide),
        ("adjudicate", adjudicate),
        ("skip", skip),
        ("status", status),
        ("kappa", kappa),
    ):
        app.command(name)(command)
    log = typer.Typer(help="The reviewers' log.", **plain)
    log.command("verify")(log_verify)
    log.callback()(lambda: None)
    app.add_typer(log, name="log")
    return app


def serve() -> None:
    """Serve the review page on 127.0.0.1, in the foreground; Ctrl-C ends it.

    Reviewers log in with their name and password. From another machine: ssh -L 8765:127.0.0.1:8765.

    \b
    Example: FELTSENSE_REVIEW_PORT=8765 feltsense review serve
    """
    import asyncio

    from worker.review.page import serve as run

    chosen = settings()
    with opened(chosen) as store:
        store.ping()
        asyncio.run(run(store, chosen, lambda address: typer.echo(f"review page: {address}")))


def add_reviewer(name: Name) -> None:
    """Open a reviewer's account, or give it another password.

    The password is asked for, or read from standard input; 12 characters at least. Wants the owner of the
    tables.

    \b
    Example: feltsense review add-reviewer ann
    """
    from worker.review import passwords
    from worker.store import reviews

    kept = passwords.kept(_password(confirm=True))
    with opened(settings()) as store:
        new = reviews.add_reviewer(store, name, kept)
    typer.echo(f"{'opened the account' if new else 'changed the password'} of {name}")


def close_reviewer(name: Name) -> None:
    """End a reviewer's account. What they decided stays.

    \b
    Example: feltsense review close-reviewer ann
    """
    from worker.store import reviews

    with opened(settings()) as store:
        reviews.close_reviewer(store, name)
    typer.echo(f"closed the account of {name}; who is logged in gets no further text")


def next_(name: Name) -> None:
    """Take the next case and say what it is about, not yet what it says.

    \b
    Example: feltsense review next ann
    """
    from worker.store import reviews

    chosen = settings()
    levels = ("high",) if chosen.review_level == "high" else ("high", "medium")
    with opened(chosen) as store:
        reviewer = _logged_in(store, name)
        case = reviews.next_case(store, reviewer, levels=levels, cap=chosen.review_weekly_cap)
    if case is None:
        typer.echo("there is nothing for you to read now", err=True)
        return
    typer.echo(
        f"case {case.id}: {case.kind} of a text of {case.level} risk, for {', '.join(sorted(case.flags))}"
    )
    typer.echo(f"it may be hard to read; show it with: feltsense review read {name} {case.id}", err=True)


def read(name: Name, case: CaseId) -> None:
    """Show the text of a case in hand. It counts towards the week's limit.

    \b
    Example: feltsense review read ann 2f0c6a9e-0d3c-4a52-9a53-0f7f3a2f9f10
    """
    from worker.store import reviews

    chosen = settings()
    with opened(chosen) as store:
        found, text = reviews.open_text(store, case, _logged_in(store, name), cap=chosen.review_weekly_cap)
    typer.echo(text)
    for one in found.verdicts:
        note = f" ({one.note})" if one.note else ""
        typer.echo(
            f"a reader said {one.decision}: {', '.join(sorted(one.flags)) or 'no flag'}{note}", err=True
        )
    if chosen.review_help:
        typer.echo(chosen.review_help, err=True)


def decide(name: Name, case: CaseId, decision: Said, flags: Flags = None, note: Note = False) -> None:
    """Give your verdict on a case you have read; nobody changes it any more.

    Without --flag the text contains nothing that is flagged.

    \b
    Example: feltsense review decide ann 2f0c6a9e-0d3c-4a52-9a53-0f7f3a2f9f10 watch --flag abuse
    """
    _decide(name, case, decision, flags, note, kind="review")


def adjudicate(name: Name, case: CaseId, decision: Said, flags: Flags = None, note: Note = False) -> None:
    """Decide between two readers who disagree, as a third.

    \b
    Example: feltsense review adjudicate cy 2f0c6a9e-0d3c-4a52-9a53-0f7f3a2f9f10 act_now --flag self_harm
    """
    _decide(name, case, decision, flags, note, kind="adjudication")


def skip(name: Name, case: CaseId) -> None:
    """Give a case in hand back; somebody else reads it.

    \b
    Example: feltsense review skip ann 2f0c6a9e-0d3c-4a52-9a53-0f7f3a2f9f10
    """
    from worker.store import reviews

    with opened(settings()) as store:
        reviews.skip(store, case, _logged_in(store, name))
    typer.echo("skipped")


def status() -> None:
    """Say how many high-risk texts wait to be read, and since when.

    \b
    Example: feltsense review status
    """
    from worker.store import reviews

    with opened(settings()) as store:
        left = reviews.waiting(store)
    since = f", the oldest since {left.oldest:%Y-%m-%d %H:%M} UTC" if left.oldest else ""
    typer.echo(
        f"{left.reading} wait for readers, {left.disputed} for a third opinion, {left.settled} are settled"
        f"{since}"
    )


def kappa() -> None:
    """Say how far the two blind readers agree: raw agreement, and Cohen's kappa.

    Of the texts that both have read and that are still there, all together and for each two reviewers.

    \b
    Example: feltsense review kappa
    """
    from worker.review import agreement
    from worker.store import reviews

    with opened(settings()) as store:
        pairs = reviews.pairs(store)
    known = agreement.overall(pairs)
    if known is None:
        typer.echo("no text has two verdicts yet", err=True)
        return
    typer.echo(_told("all", known))
    for names, one in agreement.by_pair(pairs).items():
        typer.echo(_told(" and ".join(names), one))


def log_verify(
    head: Annotated[
        str | None,
        typer.Option(metavar="NUMBER:HASH", help="What this command printed before: it must be in the log."),
    ] = None,
) -> None:
    """Compute the log's chain again and name the first entry that does not fit (exit code 3).

    Keep the head it prints somewhere else: with it, a log whose end was cut off is found too.

    \b
    Example: feltsense review log verify
    """
    from worker.store import review_log

    with opened(settings()) as store:
        found = review_log.verify(store, head=head)
    typer.echo(f"ok: {found.entries} entries, head {found.head}")


def _decide(name: str, case: UUID, decision: str, flags: list[str] | None, note: bool, *, kind: Any) -> None:
    from worker.store import reviews

    chosen = settings()
    with opened(chosen) as store:
        reviewer = _logged_in(store, name)
        said: Any = decision
        verdict = reviews.Verdict(decision=said, flags=frozenset(flags or ()), note=_note() if note else None)
        found = reviews.decide(store, case, reviewer, verdict, kind=kind)
    typer.echo("saved")
    if decision == "act_now":
        typer.echo(
            f"act now, do not wait for another reader: person {found.user_id},"
            f" reflection {found.reflection_id}",
            err=True,
        )
        if chosen.review_help:
            typer.echo(chosen.review_help, err=True)


def _logged_in(store: Any, name: str) -> str:
    from worker.review import passwords
    from worker.store import reviews

    if not passwords.same(_password(), reviews.password_of(store, name)):
        raise reviews.ReviewRefused("name and password do not belong together")
    return name


def _password(*, confirm: bool = False) -> str:
    """From the terminal without showing it, or the first line of standard input; never from arguments."""
    if sys.stdin.isatty():
        return str(typer.prompt("password", hide_input=True, confirmation_prompt=confirm, err=True))
    line = sys.stdin.readline().rstrip("\r\n")
    if not line:
        raise UsageError("standard input holds no password; its first line is to be one")
    return line


def _note() -> str:
    if sys.stdin.isatty():
        return str(typer.prompt("note", err=True))
    return sys.stdin.read().strip()


def _told(whose: str, known: Any) -> str:
    of_chance = (
        f"kappa {known.kappa:.2f}" if known.kappa is not None else "kappa undefined (one decision only)"
    )
    return f"{whose}: {known.texts} texts, {known.raw:.0%} agree, {of_chance}"
