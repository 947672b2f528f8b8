"""Before a batch is read: what its persons wrote last and has no row yet of the version the batch began with.
It is done again with the batch, since it is the batch's history."""

from __future__ import annotations

from collections.abc import Sequence

from worker.events.reflection import Reflection
from worker.features.schema import SEQUENCE_LENGTH
from worker.service.journey import Journey
from worker.service.serving import Served
from worker.store.engine import Store
from worker.store.stored import earlier

LIVE_MOST, BULK_MOST = SEQUENCE_LENGTH, 256
"""Most reflections done again with a batch of that lane (of a live one, those of one person); whose are more
waits for `Reenricher`."""


def recall(store: Store, served: Served, batch: Sequence[Journey], *, crowded: bool) -> list[Reflection]:
    """The last `SEQUENCE_LENGTH` before each event of a new person, as far as they lack a row; while it is
    `crowded`, a live batch leaves all of them for later.

    Nothing for suspects and for what has failed: that must stand alone. Raises `ServiceMissing`.
    """
    fresh = [one for one in batch if not one.attempts and not one.recalled]
    if served.complete or not fresh:
        return []
    strangers = served.strangers(one.reflection.user_id for one in fresh)
    of_person: dict[str, list[Reflection]] = {user: [] for user in strangers}
    moments = [
        (one.reflection.user_id, one.reflection.created_at)
        for one in fresh
        if one.reflection.user_id in of_person
    ]
    if moments:
        for reflection in earlier(store, moments, served.version, last=SEQUENCE_LENGTH):
            of_person[reflection.user_id].append(reflection)
    most = BULK_MOST
    if batch[0].message.live:
        most = 0 if crowded else LIVE_MOST
    history: list[Reflection] = []
    for user, own in of_person.items():
        if own and len(history) + len(own) > most:
            served.owe([user])
        else:
            history += own
            served.acquaint([user])
    for one in fresh:
        one.recalled = True
    return history
