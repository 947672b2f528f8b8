"""Whether a running instance works: who answers on the broker, and the findings of `feltsense doctor`."""

from __future__ import annotations

from celery import Celery


def workers(broker_url: str, timeout_s: float) -> list[str]:
    """Names of the workers that answer a ping within `timeout_s`; a worker answers once it takes tasks."""
    app = Celery("feltsense.health", broker=broker_url, set_as_current=False)
    with app.connection_for_write() as connection:
        replies = app.control.ping(timeout=timeout_s, connection=connection)
    return [name for reply in replies for name in reply]
