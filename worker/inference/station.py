"""One device of a component's plan over time: opened when it is needed, put to rest when it fails, taken
back when it works again."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import replace

from worker.errors import DeviceFailed, DeviceUnfit, FeltsenseError
from worker.inference.backend import Component, Model, Placed
from worker.inference.devices import Choice, Policy, open_component
from worker.observability import metrics
from worker.observability.logging import failure, logger

REST_MOST_S = 3600.0
"""A rest is twice as long as the last, but never longer than this; after so long at work the first is short
again."""


class Station:
    """A device with its model, if one is open. Safe to use from several threads."""

    def __init__(
        self, component: Component, choice: Choice, policy: Policy, *, requested: tuple[str, ...]
    ) -> None:
        self.choice = choice
        self.unfit = False
        self.trouble = ""
        """Why it was last put aside; empty while it works."""
        self._component = component
        self._policy = policy
        self._requested = requested
        self._model: Model | None = None
        self._changing = threading.Lock()
        self._openings = 0
        self._on_trial: threading.Thread | None = None
        self._rest_s = 0.0
        self._rests_until_s = 0.0
        self._at_work_since_s = 0.0

    @property
    def ready(self) -> bool:
        """Whether calls go to it; a device never asked is taken to work."""
        return not self.unfit and not self.trouble

    def placed(self, model: Model) -> Placed:
        return replace(model.placed, requested=self._requested)

    def open(self) -> Model:
        """The open model, or a new one. Raises `DeviceFailed` with the reason, which is logged, and
        `UsageError` for a backend that is none."""
        before = self._openings
        with self._changing:
            if self._model is None:
                if self.unfit or self._openings != before:  # another thread tried while this one waited
                    raise DeviceFailed(self.trouble)
                try:
                    self._model = self._opened()
                except DeviceFailed as error:
                    self._aside("open", error)
                    raise
                self.trouble = ""
                self._at_work_since_s = time.monotonic()
            return self._model

    def fail(self, model: Model, kind: str, reason: str) -> None:
        """Put the device to rest because a call on `model` failed; other calls on it may tell so too."""
        with self._changing:
            if model is not self._model:
                return
            self._model = None
            if time.monotonic() - self._at_work_since_s > REST_MOST_S:
                self._rest_s = 0.0
            self._aside(kind, DeviceFailed(reason))
        _let_go(model)

    def try_again(self, examine: Callable[[Model], None]) -> None:
        """Where the rest is over, open the device in the background and take it back; `examine` runs it
        and raises if it does not work."""
        with self._changing:
            if self.ready or self.unfit or self._on_trial or time.monotonic() < self._rests_until_s:
                return
            self._on_trial = threading.Thread(
                target=self._trial, args=(examine,), name=f"retry-{self.choice.device}", daemon=True
            )
            self._on_trial.start()

    def close(self) -> None:
        """Wait for what is under way, and no longer than a call may take for a trial."""
        with self._changing:
            model, self._model = self._model, None
            self.unfit, self.trouble = True, "closed"
            trial = self._on_trial
        if trial is not None:
            trial.join(self._policy.timeout_s)
        if model is not None:
            model.close()

    def _trial(self, examine: Callable[[Model], None]) -> None:
        model: Model | None = None
        trouble: DeviceFailed | None = None
        try:
            model = self._opened()
            examine(model)
        except DeviceFailed as error:
            trouble = error
        except Exception as error:  # noqa: BLE001  whatever a device raises, it does not work yet
            trouble = DeviceFailed(type(error).__name__)
        with self._changing:
            self._on_trial = None
            if self._model is None and not self.unfit:  # else it was needed meanwhile, or all is closing
                if trouble is not None:
                    self._aside("retry", trouble)
                else:
                    self._model, model = model, None
                    self.trouble = ""
                    self._at_work_since_s = time.monotonic()
                    logger.info("device_back", component=self._component.name, device=str(self.choice))
        if model is not None:
            _let_go(model)

    def _opened(self) -> Model:
        """A new model. Raises `DeviceFailed` with the reason."""
        self._openings += 1
        name = self._component.name
        try:
            model = open_component(self._component, self.choice, self._policy)
        except FeltsenseError:
            raise
        except Exception as error:
            # At opening no text is in play yet, so a device's own words may be told.
            raise DeviceFailed(_last_line(error)) from error
        placed = model.placed
        logger.info("device_chosen", component=name, device=placed.actual, precision=placed.precision)
        return model

    def _aside(self, kind: str, error: DeviceFailed) -> None:
        """Out of the plan for good, or to rest. The caller holds the lock."""
        if isinstance(error, DeviceUnfit):
            self.unfit, self.trouble = True, str(error)
            logger.info(
                "device_skipped",
                component=self._component.name,
                device=str(self.choice),
                reason=self.trouble,
            )
            return
        self._rest_s = min(2 * self._rest_s or self._policy.rest_s, REST_MOST_S)
        self._rests_until_s = time.monotonic() + self._rest_s
        self.trouble = str(error)
        metrics.DEVICE_FAILURES.labels(self._component.name, self.choice.device, kind).inc()
        logger.warning(
            "device_failed",
            component=self._component.name,
            device=str(self.choice),
            kind=kind,
            reason=self.trouble,
            rest_s=round(self._rest_s, 1),
        )


def _let_go(model: Model) -> None:
    """Close a failed model where it disturbs nobody: it may hang."""

    def close() -> None:
        try:
            model.close()
        except Exception as error:  # noqa: BLE001  it is out of use already
            logger.warning("device_not_closed", device=model.placed.actual, **failure(error))

    threading.Thread(target=close, name="device-close", daemon=True).start()


def _last_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1][:200] if lines else type(error).__name__
