"""`feltsense metrics` and `feltsense status`: for Prometheus and for a person at a terminal."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Annotated

import typer

from worker.commands.configured import settings

PAUSE_S = 2.0


def metrics() -> None:
    """Serve the numbers of broker and database for Prometheus, until a signal.

    Queues, ages, dead letters, risk waiting, backlogs and the serving model, also while no worker lives;
    `feltsense up` starts one by itself.

    \b
    Example: FELTSENSE_EXPORTER_PORT=9465 feltsense metrics
    """
    import time

    from worker.interruption import insist, stoppable
    from worker.observability import logging
    from worker.service.exporter import serving

    chosen = settings()
    logging.configure(chosen.log_level)
    try:
        with stoppable(), serving(chosen):
            while True:
                insist()
                time.sleep(0.5)
    except KeyboardInterrupt:
        raise typer.Exit(0) from None


def status(
    watch: Annotated[bool, typer.Option("--watch", help="Look again every two seconds.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="For programs: an object a line.")] = False,
) -> None:
    """Show how everything stands, on one screen.

    Services, workers, queues and ages, the last minute's rates and latencies, dead letters, risk waiting, the
    serving model, rebuilds and devices. Exit code 4 when something is down.

    \b
    Example: feltsense status --watch
    """
    import time

    import orjson
    from rich.console import Console
    from rich.live import Live

    from worker.report.status import status_view
    from worker.service.status import look

    chosen = settings()

    def told() -> int:
        found = look(chosen)
        if as_json:
            typer.echo(orjson.dumps(found.to_json()).decode())
        elif live is not None:
            live.update(status_view(found), refresh=True)
        else:
            Console().print(status_view(found))
        return found.exit_code

    live = Live(auto_refresh=False, screen=True) if watch and not as_json else None
    if not watch:
        raise typer.Exit(told())
    try:
        with live or nullcontext():
            while True:
                told()
                time.sleep(PAUSE_S)
    except KeyboardInterrupt:
        raise typer.Exit(0) from None
