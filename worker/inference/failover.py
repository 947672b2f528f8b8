"""A component on its device plan: each call is computed by the first device that can, whatever fails on the
way.

A call that fails, takes too long or gives what no model gives is computed again by the next device of the
plan, so nothing is lost and no future is left hanging. The device at fault rests and is then tried in the
background, with the inputs of a call that went well elsewhere. Every call says what computed it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Self

import numpy as np

from worker.errors import DeviceFailed
from worker.inference.backend import Array, Component, Model, Placed, named
from worker.inference.devices import Policy, read_plan
from worker.inference.shadow import Shadow
from worker.inference.station import Station
from worker.observability import metrics
from worker.observability.logging import failure, logger


@dataclass(frozen=True, kw_only=True, slots=True)
class Ran:
    """What a call gave, and what computed it."""

    output: Array
    placed: Placed


class _Call:
    """One call on its way: the devices that had it, and the future of whoever waits."""

    def __init__(self, inputs: Sequence[Array], rows: int) -> None:
        self.inputs = inputs
        self.rows = rows
        self.tried: list[Station] = []
        self.future: Future[Ran] = Future()


@dataclass(frozen=True, eq=False, slots=True)
class _Attempt:
    """A call on a device since `started_s`."""

    call: _Call
    station: Station
    model: Model
    started_s: float


class Failover:
    """A component that runs as long as one device of its plan does. Open it with `Failover.open`."""

    def __init__(self, component: Component, stations: Sequence[Station], policy: Policy) -> None:
        self._component = component
        self._stations = stations
        self._policy = policy
        self._shadow = Shadow(component, share=policy.shadow_share)
        self._under_way: set[_Attempt] = set()
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._watchman = threading.Thread(target=self._watch, name=f"watch-{component.name}", daemon=True)
        self.placed = self._first()
        if sum(not station.unfit for station in stations) > 1:
            self._watchman.start()

    @classmethod
    def open(
        cls, component: Component, plan: Sequence[str], *, precision: str, policy: Policy | None = None
    ) -> Self:
        """`component` on the first device of `plan` that takes it; the others open when they are needed.

        Raises `DeviceFailed` naming every device with its reason, `UsageError` for a plan that is none.
        """
        policy = policy or Policy()
        choices = read_plan(plan, precision)
        for choice in choices:
            if choice.device in policy.backends:  # a wrong name is told now, not when it is needed
                named(policy.backends[choice.device])
        requested = tuple(map(str, choices))
        return cls(
            component,
            [Station(component, choice, policy, requested=requested) for choice in choices],
            policy,
        )

    def submit(self, inputs: Sequence[Array], *, rows: int) -> Future[Ran]:
        """Compute `inputs`, whose first `rows` rows are real (the others padding). The future fails only
        when every device of the plan did."""
        call = _Call(inputs, rows)
        self._start(call)
        return call.future

    def skipped(self) -> dict[str, str]:
        """Devices of the plan that calls do not go to at present, with the reason."""
        return {str(one.choice): one.trouble for one in self._stations if one.trouble}

    def close(self) -> None:
        """Wait for what is under way and let go of the devices."""
        self._closing.set()
        for station in self._stations:
            station.close()
        self._shadow.close()

    def _first(self) -> Placed:
        reasons = []
        for station in self._stations:
            try:
                return station.placed(station.open())
            except DeviceFailed as error:
                reasons.append(f"{station.choice}: {error}")
        raise DeviceFailed(
            f"no device runs the {self._component.name}: {'; '.join(reasons) or 'the device plan is empty'}"
        )

    def _candidates(self, call: _Call) -> Iterator[Station]:
        """Devices that have not had the call: those at work in the plan's order, then those at rest, for a
        tired device is better than none."""
        for wanted in (True, False):
            for station in self._stations:
                if station not in call.tried and not station.unfit and station.ready == wanted:
                    yield station

    def _start(self, call: _Call) -> None:
        for station in self._candidates(call):
            call.tried.append(station)
            try:
                model = station.open()
            except DeviceFailed:  # told by the station
                continue
            attempt = _Attempt(call, station, model, time.monotonic())
            with self._lock:
                self._under_way.add(attempt)
            try:
                part = model.submit(call.inputs)
            except Exception as error:  # noqa: BLE001  the next device has the call, the station tells
                if not self._mine(attempt):
                    return
                station.fail(model, "call", type(error).__name__)
                continue
            part.add_done_callback(lambda done, attempt=attempt: self._arrived(attempt, done))  # type: ignore[misc]
            return
        devices = ", ".join(str(station.choice) for station in self._stations)
        call.future.set_exception(DeviceFailed(f"{self._component.name} failed on every device of {devices}"))

    def _mine(self, attempt: _Attempt) -> bool:
        """Whether the attempt still counts, and nobody else settles it after this."""
        with self._lock:
            counted = attempt in self._under_way
            self._under_way.discard(attempt)
        return counted

    def _arrived(self, attempt: _Attempt, part: Future[Array]) -> None:
        if not self._mine(attempt):
            return
        call, station, model = attempt.call, attempt.station, attempt.model
        try:
            output = part.result()
            self._believe(output, call)
        except Exception as error:  # noqa: BLE001  the next device has the call, the station tells
            # Its words may hold what was computed on: the class is all that is told.
            station.fail(model, "call", type(error).__name__)
            self._again(call)
            return
        self.placed = placed = station.placed(model)
        metrics.DEVICE_ROWS.labels(self._component.name, placed.actual, placed.precision).inc(call.rows)
        call.future.set_result(Ran(output=output, placed=placed))
        self._afterwards(attempt, output, placed)

    def _believe(self, output: Array, call: _Call) -> None:
        if len(output) != len(call.inputs[0]) or not np.isfinite(output[: call.rows]).all():
            raise FloatingPointError(self._component.name)

    def _again(self, call: _Call) -> None:
        metrics.DEVICE_FALLBACKS.labels(self._component.name).inc()
        try:
            self._start(call)
        except Exception as error:  # noqa: BLE001  nobody else could tell who waits for the call
            call.future.set_exception(error)

    def _afterwards(self, attempt: _Attempt, output: Array, placed: Placed) -> None:
        """Nobody waits for this any more: doubt the device, and try those before it again."""
        call = attempt.call
        if not call.rows:
            return
        inputs, found = call.inputs, output[: call.rows]

        def drifts() -> None:
            attempt.station.fail(attempt.model, "drift", "its results left the reference's")

        self._shadow.consider(inputs, found, placed, drifts)

        def examine(model: Model) -> None:
            got = model.submit(inputs).result(self._policy.timeout_s)
            self._believe(got, call)
            drift = self._component.drift(got[: call.rows], found)
            limit = self._component.drift_limit(model.placed.precision)
            if not drift <= limit:
                raise DeviceFailed(f"it drifts by {drift:.4f}, {limit} at most")

        for station in self._stations:
            if station is attempt.station:
                break
            station.try_again(examine)

    def _watch(self) -> None:
        """Takes calls from devices that hang, where another device is at work."""
        patience_s = self._policy.timeout_s
        while not self._closing.wait(patience_s / 4):
            before = time.monotonic() - patience_s
            with self._lock:
                late = [one for one in self._under_way if one.started_s < before]
            for attempt in late:
                others = [one for one in self._candidates(attempt.call) if one.ready]
                if not others or not self._mine(attempt):
                    continue
                try:
                    attempt.station.fail(attempt.model, "late", f"no result within {patience_s} s")
                    self._again(attempt.call)
                except Exception as error:  # noqa: BLE001  the watch goes on
                    logger.error("device_watch_failed", component=self._component.name, **failure(error))
