"""`feltsense models`, `rollback` and `shadow`: which bundle serves, and going back to one; `promote`, which
compares, is the trainer's."""

from __future__ import annotations

import sys
from typing import Annotated, Any

import typer

from worker.commands.configured import opened, settings
from worker.errors import UsageError

Reason = Annotated[str | None, typer.Option(metavar="WHY", help="Kept in the history.")]


def commands(plain: dict[str, Any]) -> typer.Typer:
    """The commands; `plain` is how every group of the program is made."""
    app = typer.Typer(**plain)
    for command in (models, rollback, shadow):
        app.command()(command)
    return app


def models(
    history: Annotated[bool, typer.Option("--history", help="What served when, and why.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="All of it as JSON, every event included.")] = False,
) -> None:
    """Show the model versions this database knows.

    Which serves, which is tried beside it, since when, where each lies, and the last decision about it.

    \b
    Example: feltsense models --history
    """
    import orjson
    from rich.console import Console

    from worker.report.models import history_view, models_json, models_view
    from worker.store import models as registry

    with opened(settings()) as store:
        known, events = registry.listed(store), registry.history(store)
    if as_json:
        typer.echo(orjson.dumps(models_json(known, events), option=orjson.OPT_INDENT_2).decode())
        return
    Console(width=None if sys.stdout.isatty() else 150).print(
        history_view(events) if history else models_view(known)
    )


def rollback(
    to: Annotated[
        str | None, typer.Option(metavar="VERSION", help="Instead of the one that served before.")
    ] = None,
    reason: Reason = None,
) -> None:
    """Let the version serve again that served before.

    Workers take it between two batches. What was rolled back is left behind: a second rollback goes further
    back, never forth again. With --to the same call twice is one.

    \b
    Example: feltsense rollback --reason "calls everything sad"
    """
    from worker.store import models as registry

    with opened(settings()) as store:
        present = registry.active(store)
        if to is None:
            before = registry.previous(store)
            if before is None:
                raise UsageError("nothing served before: name a version with --to; see feltsense models")
            to = before.version
        detail = {"by": "rollback", "from": present} | ({"reason": reason} if reason else {})
        changed = registry.activate(store, to, kind="rolled_back", detail=detail, over=present)
    typer.echo(f"{to} serves again, instead of {present}" if changed else f"{to} serves already")


def shadow(
    version: Annotated[
        str | None, typer.Argument(metavar="[VERSION]", help="A registered version; see feltsense models.")
    ] = None,
    off: Annotated[bool, typer.Option("--off", help="Try none.")] = False,
) -> None:
    """Try a version beside the serving one.

    Workers let it perceive live reflections too, into rows of its own that no reader's view prefers;
    `feltsense promote` then counts how the two compare on them.

    \b
    Example: feltsense shadow 3f2a9c81d0b7
    """
    from worker.store import models as registry

    if (version is None) != off:
        raise UsageError("name one version, or --off")
    with opened(settings()) as store:
        registry.shadow(store, version)
    typer.echo("no version is tried" if version is None else f"{version} is tried beside the serving one")
