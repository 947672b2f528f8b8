"""How messages enter the worker: whatever any client put on the queue becomes a call that Celery can handle.

Celery writes undecodable bodies into its log, shows the arguments that a foreign client printed into the
headers, and ends the worker on some malformed ones. So each message is rewritten before Celery sees it: its
own headers keep only its task and id, its arguments are masked, and a message that is no call of ours becomes
the call that parks it. Links, chains, `eta` and `expires` are not taken over: a reflection is enriched on
arrival, and nothing runs after it.
"""

from __future__ import annotations

import hashlib
import json
import re
from base64 import b64decode
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from celery.worker.consumer import Consumer
from celery.worker.request import Request
from kombu.message import Message

from worker.errors import Rejected
from worker.events.message import DELETE, ENRICH, ERASE, unpack
from worker.service.transport import readable
from worker.service.upkeep import RECONCILE, RETENTION

TASKS = (ENRICH, DELETE, ERASE)
"""What clients call."""
_KNOWN = (*TASKS, RECONCILE, RETENTION)
MASK = "(masked)"
_ID = re.compile(r"[!-~]{1,155}")
"""Foreign task ids that are kept: those that cannot be somebody's sentence."""


class MaskedRequest(Request):
    """A request whose arguments no remote command can ask for (`celery inspect active` shows them
    otherwise)."""

    def info(self, safe: bool = False) -> dict[str, Any]:  # noqa: ARG002  always the masked form
        return {**super().info(safe=True)}


class Intake(Consumer):
    """Celery's consumer, behind the rewriting of messages."""

    def create_task_handler(self, *args: Any, **kwargs: Any) -> Callable[[Message], None]:
        handle = super().create_task_handler(*args, **kwargs)

        def on_message(message: Message) -> None:
            if (message.delivery_info or {}).get("suspect"):
                hand_unread(message)
            else:
                rewrite(message)
            handle(message)

        return on_message


def rewrite(message: Message) -> None:
    """Puts a call of a task that this worker has in the place of whatever the message holds."""
    headers = message.headers if isinstance(message.headers, dict) else {}
    body = message.body
    # Half a surrogate pair is no text, and still has to be parked.
    body = body.encode("utf-8", "surrogatepass") if isinstance(body, str) else bytes(body or b"")
    digest = hashlib.sha256(body).hexdigest()
    try:
        task, id_, args, kwargs = _call(headers, message.payload)
        refusal = None
    except Rejected as error:
        refusal = [error.reason, error.detail]
        id_ = headers.get("id")
        task, args, kwargs = ENRICH, [body], {}
    except Exception as error:  # noqa: BLE001  decoders raise what they like; the reason says which
        refusal = ["bad_json", f"the body cannot be decoded ({type(error).__name__})"]
        id_ = headers.get("id")
        task, args, kwargs = ENRICH, [body], {}
    named = isinstance(id_, str) and _ID.fullmatch(id_)
    _put(message, task, id_ if named else digest[:32], digest, args, kwargs, refusal=refusal)


def hand_unread(message: Message) -> None:
    """Puts a call in the place of an entry that lost workers held: the entry itself is its argument."""
    entry = bytes(message.body)
    digest = hashlib.sha256(entry).hexdigest()
    _put(message, ENRICH, digest[:32], digest, [entry], {}, suspect=True)


def taken(entry: bytes) -> Message:
    """An entry of a list as Celery's consumer is given it, rewritten."""
    told = json.loads(readable(entry))
    body = told["body"]
    if told["properties"].get("body_encoding") == "base64":
        body = b64decode(body)
    message = Message(  # type: ignore[no-untyped-call]
        body=body, headers=told["headers"], properties=told["properties"],
        content_type=told.get("content-type"), content_encoding=told.get("content-encoding"),
        accept={"application/json", "application/x-msgpack"},
    )  # fmt: skip
    rewrite(message)
    return message


def id_of(headers: Mapping[str, Any]) -> str:
    """What a rewritten message is known by."""
    return f"{headers['id']}/{headers['digest']}"


def events_in(entry: bytes) -> tuple[str, list[object]]:
    """The id of an entry's message, and its raw events; none of what is no message of events."""
    call = taken(entry)
    found: list[object] = []
    if call.headers["task"] == ENRICH and not call.headers["refusal"]:
        with suppress(Rejected):  # parked in its turn
            found = unpack(call.payload["args"], call.payload["kwargs"])
    return id_of(call.headers), found


def _put(
    message: Message, task: object, id_: object, digest: str, args: object, kwargs: object, **more: object
) -> None:
    message.headers = {
        "task": task,
        "id": id_,
        "argsrepr": MASK,
        "kwargsrepr": MASK,
        # A client may give two messages one id: what is parked is known by the id and the content.
        "digest": digest[:16],
        **more,
    }
    # The hybrid form of Celery's protocol: already decoded, so the body is read once, and its `embed` part is
    # dropped.
    message._decoded_cache = {"args": args, "kwargs": kwargs}


def _call(headers: Mapping[str, Any], payload: object) -> tuple[str, object, list[object], dict[str, object]]:
    task, id_ = headers.get("task"), headers.get("id")
    args: object
    kwargs: object
    if task is not None:
        if not isinstance(payload, list | tuple) or len(payload) != 3:
            raise Rejected("not_a_list", "the body is not [args, kwargs, embed] of Celery's protocol 2")
        args, kwargs, _ = payload
    elif isinstance(payload, dict):
        task, id_, args, kwargs = (
            payload.get("task"),
            payload.get("id"),
            payload.get("args"),
            payload.get("kwargs"),
        )
    else:
        raise Rejected("unknown_task", "the message names no task")
    if task not in _KNOWN:
        raise Rejected("unknown_task", f"the tasks here are {', '.join(TASKS)}")
    if not isinstance(args, list | tuple) or not isinstance(kwargs or {}, dict):
        raise Rejected("not_a_list", "the task takes one positional argument, a list")
    return task, id_, list(args), dict(kwargs or {})  # type: ignore[call-overload]  # checked above
