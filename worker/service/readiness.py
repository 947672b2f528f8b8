"""Whether a worker has begun: what the supervisor waits for and `feltsense doctor` asks."""

from __future__ import annotations

import http.client
import urllib.request
from collections.abc import Callable
from typing import Any

from celery import Celery
from kombu.exceptions import OperationalError

from worker.errors import ServiceMissing
from worker.events.message import MODELS

PATIENCE_S = 2.0


def workers(broker: str, timeout_s: float) -> list[str]:
    """Names of the workers that answer a ping within `timeout_s` seconds: they take tasks.

    Raises `ServiceMissing` without a broker.
    """
    return [
        name
        for name, _ in _ask(broker, lambda app, line: app.control.ping(timeout=timeout_s, connection=line))
    ]


def _ask(broker: str, ask: Callable[[Celery, Any], list[dict[str, Any]]]) -> list[tuple[str, Any]]:
    app = Celery("feltsense.health", broker=broker, backend=None, set_as_current=False)
    app.conf.broker_transport_options = {"socket_connect_timeout": PATIENCE_S, "socket_timeout": PATIENCE_S}
    with app.connection_for_write() as connection:
        try:
            connection.ensure_connection(max_retries=1, interval_start=0.1, timeout=PATIENCE_S)
            replies = ask(app, connection)
        except (OperationalError, *connection.connection_errors, *connection.channel_errors) as error:
            raise ServiceMissing(
                f"broker {connection.as_uri()} does not answer ({type(error).__name__})"
            ) from error
    return [named for reply in replies for named in reply.items()]


def open_models(broker: str, timeout_s: float) -> dict[str, dict[str, str | None]]:
    """By worker that answers within `timeout_s` seconds: the version it is `serving` and the one it has
    `tried` beside, and the `trouble` of one that has none.

    Raises `ServiceMissing` without a broker.
    """

    def ask(app: Celery, line: Any) -> list[dict[str, Any]]:
        return app.control.broadcast(MODELS, reply=True, timeout=timeout_s, connection=line) or []

    return {name: told for name, told in _ask(broker, ask) if isinstance(told, dict)}


def screens_only(metrics_url: str) -> bool:
    """Whether the worker whose numbers are there has no models and only screens."""
    try:
        with urllib.request.urlopen(metrics_url, timeout=PATIENCE_S) as response:  # noqa: S310 - loopback
            return b"\nfeltsense_without_models 1.0" in response.read()
    except OSError:  # then it is not ready, which others tell
        return False


def answers(url: str) -> bool:
    """Whether an HTTP GET of `url` succeeds."""
    try:
        with urllib.request.urlopen(url, timeout=PATIENCE_S) as response:  # noqa: S310 - our own loopback address
            return bool(response.status == http.client.OK)
    except OSError:  # not listening yet is an answer too
        return False
