"""OpenVINO's devices behind futures: a graph compiled for one device, its calls computed by a few threads."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from queue import SimpleQueue
from typing import Any

import numpy as np
import openvino as ov

from worker.errors import DeviceFailed, DeviceUnfit
from worker.inference import compiled_cache
from worker.inference.backend import Array, Component, Graph, Placed
from worker.inference.exports import Fixed

Compute = Callable[[Sequence[Array]], Array]


class Threaded:
    """A `Model` made of functions: `make` is called once in each of `threads` threads and gives what
    computes a call there.

    `submit` waits while all threads are busy; what a call raises surfaces in its own future only. A thread
    that waits is the only way to hear of a failed OpenVINO request: its callbacks are not called then. The
    threads are daemons, so a device that hangs cannot hold up the end of the process.
    """

    def __init__(self, make: Callable[[], Compute], *, placed: Placed, threads: int) -> None:
        self.placed = placed
        self._make = make
        self._calls: SimpleQueue[tuple[Sequence[Array], Future[Array]] | None] = SimpleQueue()
        self._free = threads
        self._changed = threading.Condition()
        self._closed = False
        self._threads = [
            threading.Thread(target=self._serve, name=f"device-{placed.actual}", daemon=True)
            for _ in range(threads)
        ]
        for thread in self._threads:
            thread.start()

    def submit(self, inputs: Sequence[Array]) -> Future[Array]:
        future: Future[Array] = Future()
        with self._changed:
            self._changed.wait_for(lambda: self._free or self._closed)
            if self._closed:
                raise DeviceFailed(f"the model on {self.placed.actual} is closed")
            self._free -= 1
            self._calls.put((inputs, future))
        return future

    def close(self) -> None:
        with self._changed:
            if not self._closed:
                self._closed = True
                self._changed.notify_all()
                for _ in self._threads:
                    self._calls.put(None)
        for thread in self._threads:
            if thread is not threading.current_thread():
                thread.join()

    def _serve(self) -> None:
        compute: Compute | None = None
        while (call := self._calls.get()) is not None:
            inputs, future = call
            output: Array | None = None
            failed: Exception | None = None
            try:
                compute = compute or self._make()
                output = compute(inputs)
            except Exception as error:  # noqa: BLE001 - it is handed to the one who waits, not swallowed
                failed = error
            # Before the future: what waits for it may submit the next call from this very thread.
            with self._changed:
                self._free += 1
                self._changed.notify()
            if output is None:
                future.set_exception(failed)
            else:
                future.set_result(output)


def open_on(device: str, component: Component, precision: str) -> Threaded:
    """`component` compiled for an OpenVINO device, from the cache of compiled models where it can be.

    Raises `DeviceUnfit` without such a device, `RuntimeError` where OpenVINO refuses.
    """
    core = ov.Core()
    # OpenVINO sets up its view of numpy when a tensor is first touched; two threads doing so at once
    # lock each other out for ever (one start in seven, before this line).
    ov.Tensor(np.zeros(1, dtype=np.float32)).data[:] = 0
    seen = core.available_devices
    # AUTO:GPU,CPU and the like are OpenVINO's to judge.
    if ":" not in device and device.partition(".")[0] not in {one.partition(".")[0] for one in seen}:
        raise DeviceUnfit(f"OpenVINO sees no {device}, only {', '.join(seen)}")
    hint = _hint(precision, core.get_property(device, "OPTIMIZATION_CAPABILITIES"), device)
    graph = component.graph(device, precision)
    properties: dict[str, Any] = {"INFERENCE_PRECISION_HINT": hint, **graph.properties}
    if device == "CPU":
        properties |= component.cpu

    def compiled(one: Graph) -> ov.CompiledModel:
        return compiled_cache.compile_model(core, one, device, properties, component.cache_dir)

    fixed = {shape: compiled(one) for shape, one in graph.fixed.items()}
    model = next(iter(fixed.values())) if fixed else compiled(graph)
    # A plugin may take the hint and compute in another type: record what it says it does.
    ran = model.get_property("INFERENCE_PRECISION_HINT").to_string()
    placed = Placed(
        actual=",".join(model.get_property("EXECUTION_DEVICES")),
        precision=f"int8+{ran}" if precision == "int8" or graph.quantised else ran,
    )

    def make() -> Compute:
        if fixed:
            return Fixed(fixed).compute
        request = model.create_infer_request()

        def compute(inputs: Sequence[Array]) -> Array:
            request.start_async(list(graph.lay(inputs)))
            request.wait()
            # The request's buffer is reused by the next call; rows that `lay` has added are of no use.
            return np.array(request.get_output_tensor(0).data[: len(inputs[0])], copy=True)

        return compute

    return Threaded(make, placed=placed, threads=component.requests)


def _hint(precision: str, capable: Sequence[str], device: str) -> str:
    """The arithmetic asked of a plugin; int8 is in the graph, the hint is for what is not quantised."""
    if precision not in ("auto", "int8"):
        return precision
    if precision == "auto" and device.partition(".")[0] == "GPU":
        return "f32"  # f16 flattens a dimension of the encoder that the starter bundle reads
    wanted = ("BF16", "bf16") if device == "CPU" else ("FP16", "f16")
    return wanted[1] if wanted[0] in capable else "f32"
