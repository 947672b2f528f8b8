"""What `feltsense status` shows: one look at everything a person on call asks first."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any, TypeVar
from urllib.parse import urlsplit

from prometheus_client.parser import text_string_to_metric_families

from worker.client.addresses import broker_url, database_url, told
from worker.errors import FeltsenseError, ServiceMissing
from worker.observability.metrics import TARGETS
from worker.service import queues
from worker.service.queues import LANES, Queues
from worker.service.readiness import PATIENCE_S, answers
from worker.settings import Settings
from worker.store import standing
from worker.store.engine import Store
from worker.store.standing import NOTHING, Pace, Rebuild, Serving, Waiting

T = TypeVar("T")
Samples = list[tuple[str, Mapping[str, str], float]]


@dataclass(frozen=True, kw_only=True)
class Service:
    """Something that should answer, and whether it does; `what` was seen."""

    name: str
    ok: bool
    what: str


@dataclass(frozen=True, kw_only=True)
class Lane:
    """A lane: messages that wait (`oldest_s` None where no exporter knows), accepted events without a row,
    and its last minute (None: no row). None where broker or database is away."""

    waiting: int | None
    oldest_s: float | None
    unfinished: Waiting | None
    last_minute: Pace | None


@dataclass(frozen=True, kw_only=True)
class Device:
    """Rows that a component computed on a device since the worker's start, and how often that failed."""

    component: str
    device: str
    precision: str
    rows: int
    failures: int


@dataclass(frozen=True, kw_only=True)
class Status:
    """One look. What belongs to a service that is away is None or empty."""

    at: datetime
    services: tuple[Service, ...]
    lanes: Mapping[str, Lane] = field(default_factory=dict)
    held: int | None = None
    pulses_s: tuple[float, ...] = ()
    dead_letters: Mapping[str, int] | None = None
    risk: Mapping[str, Waiting] | None = None
    repairs: Waiting | None = None
    overdue: Mapping[str, int] = field(default_factory=dict)
    model: Serving | None = None
    rebuilds: Mapping[str, Rebuild] = field(default_factory=dict)
    slots: Mapping[str, datetime] = field(default_factory=dict)
    devices: tuple[Device, ...] = ()
    drift: Mapping[str, float] = field(default_factory=dict)

    @property
    def exit_code(self) -> int:
        """0, or 4 when something is down."""
        return 0 if all(service.ok for service in self.services) else ServiceMissing.exit_code

    def to_json(self) -> dict[str, Any]:
        """As `--json` prints it."""
        return {**asdict(self), "exit_code": self.exit_code}


def look(settings: Settings) -> Status:
    """Look at broker, database and every process of the run folder; what does not answer is among
    `services`."""
    services: list[Service] = []

    def asked(name: str, ask: Callable[[], T]) -> T | None:
        try:
            answer = ask()
        except FeltsenseError as error:
            services.append(Service(name=name, ok=False, what=str(error)))
            return None
        services.append(Service(name=name, ok=True, what="answers"))
        return answer

    broker = asked("broker", lambda: queues.look(broker_url(settings), lease_s=settings.lease_s))
    facts = asked("database", lambda: _database(settings)) or {}
    if facts:  # the dearest question by itself: it may be given up where much was never reviewed
        facts["risk"] = asked("review queue", lambda: _risks(settings))
    samples: Samples = []
    for process, address in sorted(_targets(settings)):
        found = asked(process, lambda address=address: _scrape(address))  # type: ignore[misc]
        samples += found or []
    if broker is not None:
        seen = f"{len(broker.pulses)} within a lease" if broker.pulses else "none gives a sign of life"
        services.append(Service(name="workers", ok=bool(broker.pulses), what=seen))
    if (flower := told(settings).get("flower_url")) is not None:
        ok = answers(f"http://{urlsplit(flower).hostname}:{urlsplit(flower).port}/healthcheck")
        services.append(Service(name="flower", ok=ok, what="answers" if ok else "does not answer"))
    unfinished, pace = facts.pop("unfinished", None), facts.pop("pace", {})
    return Status(
        at=datetime.now(UTC),
        services=tuple(services),
        lanes=_lanes(broker, unfinished, pace, samples),
        held=broker.held if broker is not None else None,
        pulses_s=broker.pulses if broker is not None else (),
        devices=tuple(_devices(samples)),
        drift={
            labels["measure"]: value for name, labels, value in samples if name == "feltsense_drift_alarm"
        },
        **facts,
    )


def _database(settings: Settings) -> dict[str, Any]:
    with Store.open(database_url(settings), pool_size=1) as store:
        return {
            "unfinished": standing.unfinished(store),
            "pace": standing.pace(store),
            "dead_letters": standing.letters(store),
            "repairs": standing.repairs(store),
            "overdue": standing.overdue(
                store, text_days=settings.retention_text_days, days=settings.retention_days
            ),
            "model": standing.serving(store),
            "rebuilds": standing.rebuilds(store),
            "slots": {f"{task} {state}": at for (task, state), at in standing.slots(store).items()},
        }


def _risks(settings: Settings) -> dict[str, Waiting]:
    with Store.open(database_url(settings), pool_size=1) as store:
        return standing.risks(store)


def _targets(settings: Settings) -> Iterator[tuple[str, str]]:
    """Each process of the run folder, and where its numbers are."""
    for path in (settings.run_dir / TARGETS).glob("*-*.json"):
        for group in json.loads(path.read_bytes()):
            yield from ((group["labels"]["process"], address) for address in group["targets"])


def _scrape(address: str) -> Samples:
    try:
        with urllib.request.urlopen(f"http://{address}/metrics", timeout=PATIENCE_S) as answer:
            text = answer.read().decode()
    except OSError as error:
        raise ServiceMissing(f"{address} does not answer ({type(error).__name__})") from None
    return [
        (sample.name, sample.labels, sample.value)
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    ]


def _lanes(
    broker: Queues | None,
    unfinished: Mapping[str, Waiting] | None,
    pace: Mapping[str, Pace],
    samples: Samples,
) -> dict[str, Lane]:
    ages = {
        labels["lane"]: value for name, labels, value in samples if name == "feltsense_queue_oldest_seconds"
    }
    return {
        name: Lane(
            waiting=broker.waiting[name] if broker is not None else None,
            oldest_s=ages.get(name),
            unfinished=unfinished.get(name, NOTHING) if unfinished is not None else None,
            last_minute=pace.get(name),
        )
        for name in LANES
    }


def _devices(samples: Samples) -> Iterator[Device]:
    rows: dict[tuple[str, str, str], float] = {}
    failures: dict[tuple[str, str], float] = {}
    for name, labels, value in samples:
        if name == "feltsense_device_rows_total":
            key = (labels["component"], labels["device"], labels["precision"])
            rows[key] = rows.get(key, 0) + value
        elif name == "feltsense_device_failures_total":
            place = (labels["component"], labels["device"])
            failures[place] = failures.get(place, 0) + value
    for (component, device, precision), count in sorted(rows.items()):
        yield Device(
            component=component,
            device=device,
            precision=precision,
            rows=int(count),
            failures=int(failures.pop((component, device), 0)),
        )
    for (component, device), count in sorted(failures.items()):  # it failed before it computed a row
        yield Device(component=component, device=device, precision="", rows=0, failures=int(count))
