"""`feltsense work`: one worker under watch, for containers and services that bring broker and database."""

from __future__ import annotations

import typer

from worker.commands.configured import settings


def work() -> None:
    """Run one worker on a broker and a database of yours, in the foreground.

    One that ends or hangs is started again, up to 30 times in 10 minutes.

    \b
    Example: FELTSENSE_BROKER_URL=redis://10.0.0.5 FELTSENSE_DATABASE_URL=postgresql://... feltsense work
    """
    from rich.console import Console

    from worker.embedded.supervisor import work as run

    raise typer.Exit(run(settings(), Console(stderr=True)))
