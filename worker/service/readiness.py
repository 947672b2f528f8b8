"""Whether a worker has begun: what the supervisor waits for and `feltsense doctor` asks."""

from __future__ import annotations

import http.client
import urllib.request

from celery import Celery
from kombu.exceptions import OperationalError

from worker.errors import ServiceMissing

PATIENCE_S = 2.0


def workers(broker: str, timeout_s: float) -> list[str]:
    """Names of the workers that answer a ping within `timeout_s` seconds: they take tasks.

    Raises `ServiceMissing` without a broker.
    """
    app = Celery("feltsense.health", broker=broker, backend=None, set_as_current=False)
    app.conf.broker_transport_options = {"socket_connect_timeout": PATIENCE_S, "socket_timeout": PATIENCE_S}
    with app.connection_for_write() as connection:
        try:
            connection.ensure_connection(max_retries=1, interval_start=0.1, timeout=PATIENCE_S)
            replies = app.control.ping(timeout=timeout_s, connection=connection)
        except (OperationalError, *connection.connection_errors, *connection.channel_errors) as error:
            raise ServiceMissing(
                f"broker {connection.as_uri()} does not answer ({type(error).__name__})"
            ) from error
    return [name for reply in replies for name in reply]


def answers(url: str) -> bool:
    """Whether an HTTP GET of `url` succeeds."""
    try:
        with urllib.request.urlopen(url, timeout=PATIENCE_S) as response:  # noqa: S310 - our own loopback address
            return bool(response.status == http.client.OK)
    except OSError:  # not listening yet is an answer too
        return False
