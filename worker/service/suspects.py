"""A message that lost workers held is read by a child process before anybody else reads it.

From acceptance on the leases tell who is to blame (`worker.service.trials`). What ends or hangs a worker
before it, while it is opened, read or screened, is found here: the child says which event it begins with, and
so its end names the culprit, which is parked unread. All others go their ordinary way.
"""

from __future__ import annotations

import json
import resource
import signal
import subprocess
import sys
import threading
from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime

from worker.errors import Rejected
from worker.events import message
from worker.events.envelope import Seal
from worker.events.reflection import identity
from worker.service.faults import strike_early
from worker.service.intake import events_in
from worker.settings import Settings

HOW = "the worker ended or hung before the event was accepted"
STARTING_S, HANG_S = 120, 60
"""How long the child may take to begin, and for an event; it ends itself then."""
_ASKED_TO_END = {signal.SIGTERM, signal.SIGINT, signal.SIGHUP}
_one_at_a_time = threading.Lock()


@dataclass(frozen=True, kw_only=True, slots=True)
class Culprit:
    """An event that ended its reader: its place in the message, and what names it if it got so far."""

    place: int
    id: str | None = None
    user_id: str | None = None


class ExaminationFailed(Exception):
    """The child ended in a way that no event is to blame for."""


def examine(entry: bytes) -> dict[int, Culprit] | None:
    """The culprits of an entry of a list by place; None if it cannot even be opened.

    Raises `ExaminationFailed`.
    """
    culprits: dict[int, Culprit] = {}
    with _one_at_a_time:  # what a whole worker held may be suspect
        while True:
            done = subprocess.run(
                [sys.executable, "-m", __name__, *map(str, culprits)],
                input=entry, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=False,
                start_new_session=True,
            )  # fmt: skip
            if done.returncode == 0:
                return culprits
            if done.returncode > 0 or -done.returncode in _ASKED_TO_END:
                raise ExaminationFailed(done.returncode)
            said = [json.loads(line) for line in done.stdout.splitlines()]
            if not said:
                return None
            culprit = Culprit(**said[-1])
            culprits[culprit.place] = culprit


def main(spared: Collection[int]) -> None:
    """Reads the entry on standard input, but for the events at the places `spared`."""
    signal.alarm(STARTING_S)
    from worker.service.serving import looks  # not for a worker's beat, which needs no model

    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # its memory is somebody's text
    settings = Settings()
    seal = Seal.maybe(settings.wire_key)
    _, events = events_in(sys.stdin.buffer.read())
    payloads = [message.encoded(raw) for raw in events]
    for place, (raw, payload) in enumerate(zip(events, payloads, strict=True)):
        if place in spared:
            continue
        signal.alarm(HANG_S)
        _say(place=place)
        id_, user_id = _names(raw, seal)
        _say(place=place, id=id_, user_id=user_id)
        if settings.faults:
            strike_early(payload)
        read = message.read(raw, place, seal=seal, now=datetime.now(UTC))
        if read.reflection is not None:
            looks(None, [read.reflection])


def _names(raw: object, seal: Seal | None) -> tuple[str | None, str | None]:
    try:
        return identity(seal.open(raw) if seal is not None else raw)
    except Rejected:
        return None, None


def _say(**what: object) -> None:
    print(json.dumps(what), flush=True)  # noqa: T201  to the worker, not to a person


if __name__ == "__main__":
    main({int(place) for place in sys.argv[1:]})
