"""A worker process from start to end: bundle loaded and warmed, store and stages open, numbers served, all
drained."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from typing import Self

from worker.client.recall import recall
from worker.errors import UsageError
from worker.events import message
from worker.events.envelope import Seal
from worker.events.message import LIVE, Entry
from worker.observability import metrics, spans, tracing
from worker.observability.logging import logger
from worker.service.faults import strike, strike_early
from worker.service.heartbeat import Heartbeat
from worker.service.lookout import Lookout
from worker.service.reenrich import Reenricher
from worker.service.repair import Repair
from worker.service.serving import Serving
from worker.service.stages import Stages
from worker.service.swap import Swapper
from worker.service.tryout import Tryout
from worker.settings import Settings
from worker.store import removal
from worker.store.dead_letters import WHOLE_MESSAGE, DeadLetter
from worker.store.engine import Store


class Service:
    """What the tasks of one worker process call. Open it with `Service.open`."""

    def __init__(
        self, *, store: Store, stages: Stages, seal: Seal | None, broker_url: str | None,
        faults: Callable[[bytes], None] | None = None,
    ) -> None:  # fmt: skip
        self.store = store
        self.stages = stages
        self.seal = seal
        self._broker_url = broker_url
        self._faults = faults

    @classmethod
    @contextmanager
    def open(cls, settings: Settings) -> Iterator[Self]:
        """A service, warm enough to begin, while the block runs; at its end the stages finish what they hold.

        Without a bundle or a device that can be used now it opens all the same, and only screens until it
        has them. Raises `UsageError`, `ServiceMissing`.
        """
        if settings.database_url is None:
            raise UsageError(
                "FELTSENSE_DATABASE_URL is not set; `feltsense up` starts an embedded Postgres and sets it"
            )
        seal = Seal.maybe(settings.wire_key)
        started = time.perf_counter()
        with ExitStack() as opened:
            store = opened.enter_context(
                Store.open(
                    settings.database_url,
                    keep_text=settings.store_text == "keep",
                    text_keys=settings.text_keys,
                )
            )
            store.ping()
            serving = Serving()
            opened.callback(serving.close)
            stages = Stages(
                serving,
                store,
                max_batch_size=settings.max_batch_size,
                max_wait_ms=settings.max_wait_ms,
                lease_s=settings.lease_s,
                stall_s=settings.stall_s,
                faults=strike if settings.faults else None,
            )
            swapper = Swapper(stages, store, settings)
            swapper.begin()
            opened.enter_context(tracing.sending(settings.otlp_endpoint))
            # Behind the stages at the end: what they cannot finish is given back.
            opened.enter_context(Heartbeat(store, stages.lease, lambda: not stages.progress.stalled()))
            opened.enter_context(stages)
            if settings.broker_url is not None:
                opened.enter_context(Lookout(store, serving, settings.broker_url, seal=seal))
            opened.enter_context(Repair(store, serving))
            opened.enter_context(Reenricher(stages, store, automatic=settings.reenrich))
            if settings.shadow_traffic:
                opened.enter_context(Tryout(stages, store, share=settings.shadow_traffic))
            opened.enter_context(swapper)
            port = opened.enter_context(
                metrics.served(settings.metrics_port, "worker", settings.run_dir, host=settings.metrics_host)
            )
            logger.info(
                "worker_opened",
                seconds=round(time.perf_counter() - started, 2),
                metrics_port=port,
                **(served.pipeline.facts() if (served := serving.peek()) is not None else {}),
            )
            yield cls(
                store=store, stages=stages, seal=seal, broker_url=settings.broker_url,
                faults=strike_early if settings.faults else None,
            )  # fmt: skip

    def read(self, raw: object, place: int) -> Entry:
        """The entry at `place` of a message, received now."""
        with self.stages.progress.computing():
            if self._faults is not None:
                self._faults(message.encoded(raw))
            return message.read(raw, place, seal=self.seal, now=datetime.now(UTC))

    def enrich(self, entries: Sequence[Entry], *, message_id: str, lane: str) -> dict[str, int]:
        """`Stages.enrich`, counted."""
        metrics.MESSAGES.labels("enrich", lane).inc()
        started = time.perf_counter()
        with metrics.IN_FLIGHT.track_inprogress():
            tally = self.stages.enrich(entries, message_id=message_id, lane=lane)
        metrics.MESSAGE_SECONDS.labels(lane).observe(time.perf_counter() - started)
        spans.record("message", started, size=len(entries), live=lane == LIVE)
        for outcome, count in tally.items():
            metrics.EVENTS.labels(outcome).inc(count)
        return tally

    def delete(self, ids: Sequence[str]) -> dict[str, int]:
        """Removes reflections, and places again what their history had touched."""
        metrics.MESSAGES.labels("delete", LIVE).inc()
        with self.stages.serving.all_held() as open_now:
            gone = removal.delete(self.store, ids, {one.version: one.pipeline.place for one in open_now})
        if gone.unrepaired_versions:
            logger.warning("rows_unrepaired", model_versions=gone.unrepaired_versions)
        return {"deleted": len(gone.ids), "repaired": len(gone.repaired)}

    def erase(self, user_ids: Sequence[str]) -> dict[str, int]:
        """Removes everything about these people, and names the bundles trained on them."""
        metrics.MESSAGES.labels("erase", LIVE).inc()
        gone = removal.erase(self.store, user_ids, seal=self.seal)
        queued = recall(self._broker_url, user_ids, seal=self.seal) if self._broker_url is not None else None
        logger.info(
            "people_erased",
            people=len(user_ids),
            trained_versions=gone.trained_versions,
            letters_closed=gone.closed,
            events_recalled=queued.events if queued is not None else 0,
        )
        return {"erased": gone.reflections, "trained_versions": len(gone.trained_versions)}

    def park_message(
        self, message_id: str, reason: str, detail: str, *, payload: bytes, field: str | None = None
    ) -> dict[str, int]:
        """Parks a message as a whole: no event of it could be told apart, or its list was refused."""
        logger.warning("message_parked", message=message_id, reason=reason)
        self.stages.park(
            DeadLetter(
                message_id=message_id,
                position=WHOLE_MESSAGE,
                reason=reason,
                detail=detail,
                field=field,
                payload=payload,
            )
        )
        return {"messages_rejected": 1}
