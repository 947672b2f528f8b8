"""What is fuzzed: each reader with what it is given, and the names by which it may refuse.

A target returns the name of the outcome. Whatever else it raises is a defect: an error nobody named, or one
that repeats the text.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from typing import Any

import msgpack

from benchmarks.fuzzing import mutate
from benchmarks.fuzzing.mutate import EVENT, LABELLED, MARK
from worker.errors import Rejected

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
READ = "read"
KEY = base64.b64encode(bytes(range(32))).decode()
KINDS = ("json", "json", "json", "x-msgpack", "x-python-serialize", "x-yaml", "data", "nonsense")
ACCEPTED = frozenset({"application/json", "application/x-msgpack"})
Case = Callable[[Random], str]


class Defect(Exception):
    """What came out is no outcome: an unknown reason, or a refusal that quotes the text."""


@dataclass(frozen=True, kw_only=True)
class Target:
    """`share` of all cases; `open` makes the function that runs one case, given a folder of its own."""

    share: float
    open: Callable[[Path], Case]


def named(error: Rejected) -> str:
    from worker.events.reflection import REASONS

    if error.reason not in REASONS:
        raise Defect(f"reason {error.reason} is not in REASONS")
    if MARK in str(error) or MARK in (error.field or ""):
        raise Defect(f"{error.reason} quotes the text")
    return error.reason


def _entry(raw: object, seal: Any) -> str:
    from worker.events.message import read

    entry = read(raw, 0, seal=seal, now=NOW)
    assert isinstance(entry.payload, bytes)
    if entry.refused is None:
        assert entry.reflection is not None
        return READ
    return named(entry.refused)


def event(_: Path) -> Case:
    """An entry of a message, as JSON or MessagePack decoded it."""
    return lambda random: _entry(mutate.tree(random, EVENT, foreign=True), None)


def sealed(_: Path) -> Case:
    """An envelope, changed outside or inside."""
    from worker.events.envelope import Seal

    seal = Seal.of(KEY)

    def case(random: Random) -> str:
        if random.random() < 0.5:
            return _entry(mutate.tree(random, seal.seal(EVENT), foreign=True), seal)
        try:
            envelope = seal.seal(mutate.tree(random, EVENT))
        except RecursionError:  # a publisher's, who holds such a thing
            return "not sealed"
        if random.random() < 0.5:
            name = random.choice(("nonce", "data"))
            envelope[name] = base64.b64encode(
                mutate.spoiled(random, base64.b64decode(envelope[name]))
            ).decode()
        return _entry(envelope, seal)

    return case


def _line(random: Random, base: Mapping[str, Any]) -> bytes:
    line = mutate.encoded(mutate.tree(random, base))
    return mutate.spoiled(random, line) if random.random() < 0.4 else line


def line(_: Path) -> Case:
    """A line of a file of `feltsense publish`."""
    from worker.events.lines import read

    def case(random: Random) -> str:
        outcomes = [
            READ if one.refused is None else named(one.refused)
            for one in read(_line(random, random.choice((EVENT, LABELLED))).split(b"\n"), now=NOW)
        ]
        return outcomes[-1] if outcomes else "blank"

    return case


def labelled(_: Path) -> Case:
    """A line of a file of `feltsense train`."""
    from trainer.data.labelled import read
    from trainer.errors import RowRefused

    def case(random: Random) -> str:
        try:
            read(_line(random, LABELLED).replace(b"\n", b" "), now=NOW)
        except Rejected as error:
            return named(error)
        except RowRefused as error:
            if MARK in str(error):
                raise Defect("a row's refusal quotes the text") from None
            return "row refused"
        return READ

    return case


def _task(message: Any) -> str:
    """What the consumer and the task make of a message: `Intake`, then `Job.run` up to the service."""
    from worker.events import message as messages
    from worker.service import intake

    intake.rewrite(message)
    assert message.headers["task"] in intake.TASKS
    assert {message.headers["argsrepr"], message.headers["kwargsrepr"]} == {intake.MASK}
    if MARK in repr(message.headers):
        raise Defect("the headers quote the text")
    if message.headers["refusal"]:
        return named(Rejected(*message.headers["refusal"]))
    body = message._decoded_cache
    args, kwargs = body["args"], body["kwargs"]
    try:
        entries = messages.unpack(args, kwargs)
        if message.headers["task"] != messages.ENRICH:
            messages.identifiers(entries)
            return READ
    except Rejected as error:
        assert isinstance(messages.encoded([args, kwargs]), bytes)
        return named(error)
    return [_entry(raw, None) for raw in entries[:3]][-1]


def _message(random: Random) -> tuple[bytes, str, dict[str, Any]]:
    """A body, its content type, and headers as clients send them."""
    name = random.choice(
        ("feltsense.enrich", "feltsense.enrich", "feltsense.delete", "feltsense.erase", "other")
    )
    args: Any = [["01J8-0001", "u-17"]] if name in ("feltsense.delete", "feltsense.erase") else [[EVENT]]
    body: Any = [args, {}, {"callbacks": None, "errbacks": None, "chain": None, "chord": None}]
    headers: dict[str, Any] = {
        "task": name,
        "id": "4c2b",
        "lang": "py",
        "argsrepr": f"([{MARK}],)",
        "retries": 0,
    }
    if random.random() < 0.2:
        body, headers = {"task": name, "id": "4c2b", "args": args, "kwargs": {}}, {}
    kind = random.choice(
        ("json", "json", "json", "x-msgpack", "x-python-serialize", "x-yaml", "data", "nonsense")
    )
    body, headers = mutate.tree(random, body, foreign=kind == "x-msgpack"), mutate.tree(random, headers)
    if kind == "x-msgpack":
        try:
            raw = msgpack.packb(body, default=repr)
        except (ValueError, OverflowError, TypeError, RecursionError):
            raw = b"\xc1"
    else:
        raw = mutate.encoded(body)
    return (mutate.spoiled(random, raw) if random.random() < 0.3 else raw), f"application/{kind}", headers


def message(_: Path) -> Case:
    """A message as the transport hands it over: any body, headers and content type."""
    from kombu.message import Message

    def case(random: Random) -> str:
        body, kind, headers = _message(random)
        encoding = random.choice(("utf-8", "binary", "nonsense", None))
        return _task(
            Message(body, content_type=kind, content_encoding=encoding, headers=headers, accept=ACCEPTED)
        )

    return case


def _listed(random: Random) -> bytes:
    """An entry of a Redis list, made by kombu or by anybody."""
    body, kind, headers = _message(random)
    sound = random.random() < 0.2  # else hardly any survives all three changes
    if sound:
        whole = [[[mutate.tree(random, EVENT)]], {}, None]
        body, kind, headers = (
            mutate.encoded(whole),
            "application/json",
            {"task": "feltsense.enrich", "id": "a"},
        )
    entry = {
        "body": base64.b64encode(body).decode(),
        "content-type": kind,
        "content-encoding": "utf-8",
        "headers": headers,
        "properties": {
            "body_encoding": "base64",
            "delivery_tag": "t-1",
            "delivery_info": {"exchange": "", "routing_key": "reflections"},
            "delivery_mode": 2,
            "priority": 0,
        },
    }
    raw = mutate.encoded(entry if sound else mutate.tree(random, entry))
    return mutate.spoiled(random, raw) if random.random() < 0.4 else raw


def wire(_: Path) -> Case:
    """An entry of a list as the consumer takes it."""
    from kombu import Connection
    from kombu.transport.virtual import Message

    from worker.service.transport import readable

    channel = Connection("memory://").channel()

    def case(random: Random) -> str:
        made = Message(json.loads(readable(_listed(random))), channel=channel)
        made.accept = ACCEPTED
        return _task(made)

    return case


def waiting(_: Path) -> Case:
    """An entry of a list as the lookout reads it where it lies."""
    from worker.service.lookout import opened

    def case(random: Random) -> str:
        id_, entries = opened(_listed(random), seal=None)
        if MARK in id_:
            raise Defect("the message's id quotes the text")
        return READ if entries else "left to its turn"

    return case


def parked(_: Path) -> Case:
    """What a dead letter holds, when it is to be sent again."""
    from worker.events.parked import event_in, legible, messages_in

    def case(random: Random) -> str:
        whole = random.random() < 0.5
        payload = mutate.encoded(mutate.tree(random, [[[EVENT]], {}] if whole else EVENT))
        payload = mutate.spoiled(random, payload) if random.random() < 0.3 else payload
        assert isinstance(legible(payload, KEY), str)
        try:
            if whole:
                assert all(1 <= len(part) <= 256 for part in messages_in(payload))
            else:
                event_in(payload, seal=None, now=NOW)
        except Rejected as error:
            return named(error)
        return READ

    return case
