"""A worker process from start to end: bundle loaded and warmed, store and stages open, numbers served, all
drained."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Self

from worker.bundle import manifest
from worker.bundle.people import people_of
from worker.client.recall import recall
from worker.errors import UsageError
from worker.events.envelope import Seal
from worker.events.message import LIVE, Entry
from worker.observability import metrics
from worker.observability.logging import logger
from worker.pipeline import Pipeline
from worker.service.faults import strike
from worker.service.heartbeat import Heartbeat
from worker.service.lookout import Lookout
from worker.service.reconcile import Reconciler
from worker.service.repair import Repair
from worker.service.retention import Retention
from worker.service.stages import Stages
from worker.service.warmup import Warmup
from worker.settings import Settings
from worker.store import models, removal
from worker.store.dead_letters import WHOLE_MESSAGE, DeadLetter
from worker.store.engine import Store


class Service:
    """What the tasks of one worker process call. Open it with `Service.open`."""

    def __init__(
        self, *, pipeline: Pipeline, store: Store, stages: Stages, seal: Seal | None, broker_url: str | None
    ) -> None:
        self.pipeline = pipeline
        self.store = store
        self.stages = stages
        self.seal = seal
        self._broker_url = broker_url

    @classmethod
    @contextmanager
    def open(cls, settings: Settings) -> Iterator[Self]:
        """A service, warm enough to begin, while the block runs; at its end the stages finish what they hold.

        Raises `UsageError`, `BundleRefused`, `EncoderMissing`, `DeviceFailed`, `ServiceMissing`.
        """
        if settings.database_url is None:
            raise UsageError(
                "FELTSENSE_DATABASE_URL is not set; `feltsense up` starts an embedded Postgres and sets it"
            )
        seal = Seal.of(settings.wire_key) if settings.wire_key is not None else None
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
            pipeline = opened.enter_context(Pipeline.open(settings.bundle, settings))
            warmup = Warmup(pipeline.warm())
            warmup.begin()
            announce(store, pipeline)
            stages = Stages(
                pipeline,
                store,
                max_batch_size=settings.max_batch_size,
                max_wait_ms=settings.max_wait_ms,
                lease_s=settings.lease_s,
                stall_s=settings.stall_s,
                faults=strike if settings.faults else None,
            )
            # Behind the stages at the end: what they cannot finish is given back.
            opened.enter_context(Heartbeat(store, stages.lease, lambda: not stages.progress.stalled()))
            opened.enter_context(stages)
            opened.enter_context(Reconciler(stages, store))
            if settings.broker_url is not None:
                opened.enter_context(Lookout(store, pipeline, settings.broker_url, seal=seal))
            opened.enter_context(Repair(store, pipeline))
            if settings.retention_text_days or settings.retention_days:
                opened.enter_context(
                    Retention(store, text_days=settings.retention_text_days, days=settings.retention_days)
                )
            opened.enter_context(warmup)
            server, port = metrics.serve(settings.metrics_port)
            opened.callback(server.shutdown)
            logger.info(
                "worker_opened",
                seconds=round(time.perf_counter() - started, 2),
                metrics_port=port,
                **pipeline.facts(),
            )
            yield cls(
                pipeline=pipeline, store=store, stages=stages, seal=seal, broker_url=settings.broker_url
            )

    def enrich(self, entries: Sequence[Entry], *, message_id: str, lane: str) -> dict[str, int]:
        """`Stages.enrich`, counted."""
        metrics.MESSAGES.labels("enrich", lane).inc()
        started = time.perf_counter()
        with metrics.IN_FLIGHT.track_inprogress():
            tally = self.stages.enrich(entries, message_id=message_id, lane=lane)
        metrics.MESSAGE_SECONDS.labels(lane).observe(time.perf_counter() - started)
        for outcome, count in tally.items():
            metrics.EVENTS.labels(outcome).inc(count)
        return tally

    def delete(self, ids: Sequence[str]) -> dict[str, int]:
        """Removes reflections, and places again what their history had touched."""
        metrics.MESSAGES.labels("delete", LIVE).inc()
        gone = removal.delete(self.store, ids, {self.pipeline.model_version: self.pipeline.place})
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


def announce(store: Store, pipeline: Pipeline) -> None:
    """Names the bundle in `model_versions` and makes it the one whose rows readers get."""
    folder = Path(pipeline.facts()["bundle"])
    facts = manifest.read(folder)
    models.register(
        store,
        facts.model_version,
        digest=facts.digest,
        manifest=facts.model_dump(mode="json"),
        people=people_of(folder),
    )
    models.activate(store, facts.model_version)
