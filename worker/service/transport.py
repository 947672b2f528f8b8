"""The wire under Celery: what is on a Redis list but is no message of Celery's becomes one that can be
parked.

kombu parses what it has already popped; on anything else than its own envelope the worker would end, the
entry lost.
"""

from __future__ import annotations

import base64
import json
import uuid
from typing import Any

from kombu.transport import TRANSPORT_ALIASES, redis

_ENCODINGS = (None, "base64", "utf-8")


class Channel(redis.Channel):
    """kombu's Redis channel, with every popped entry made readable."""

    def _create_client(self, asynchronous: bool = False) -> Any:
        client = super()._create_client(asynchronous)  # type: ignore[no-untyped-call]
        client.set_response_callback("BRPOP", _readable_pop)
        return client


class Transport(redis.Transport):
    """kombu's Redis transport on that channel."""

    Channel = Channel


def install() -> None:
    """Makes redis:// and rediss:// URLs of this process use it: a URL's scheme outweighs Celery's own
    setting."""
    for scheme in ("redis", "rediss"):
        TRANSPORT_ALIASES[scheme] = f"{__name__}:Transport"


def _readable_pop(popped: list[bytes] | None, **_: Any) -> tuple[bytes, bytes] | None:
    return (popped[0], readable(popped[1])) if popped else None


def readable(entry: bytes) -> bytes:
    """`entry` itself if kombu can read it, else a message without headers whose body it is."""
    try:
        message = json.loads(entry)
        properties = message["properties"]
        delivery = properties["delivery_info"]
        sound = (
            isinstance(properties["delivery_tag"], str)
            and isinstance(delivery["routing_key"], str)
            and isinstance(delivery["exchange"], str)
            and isinstance(message.get("headers"), dict)
            and isinstance(message["body"], str)
            and properties.get("body_encoding") in _ENCODINGS
        )
        if sound and properties.get("body_encoding") == "base64":
            base64.b64decode(message["body"])
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        sound = False
    return entry if sound else _wrapped(entry)


def _wrapped(entry: bytes) -> bytes:
    message = {
        "body": base64.b64encode(entry).decode(),
        "content-type": "application/json",
        "content-encoding": "utf-8",
        "headers": {},
        "properties": {
            "body_encoding": "base64",
            "delivery_tag": str(uuid.uuid4()),
            "delivery_info": {"exchange": "", "routing_key": ""},
        },
    }
    return json.dumps(message).encode()
