"""`feltsense metrics` and `feltsense status`: for Prometheus and for a person at a terminal."""

from __future__ import annotations

import typer

from worker.commands.configured import settings


def metrics() -> None:
    """Serve the numbers of broker and database for Prometheus, until a signal.

    Queues, ages, dead letters, risk waiting, backlogs and the serving model, also while no worker lives;
    `feltsense up` starts one by itself.

    \\b
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
