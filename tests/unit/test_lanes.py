"""Whose turn it is before the device: live first, no more under way than there are requests, nothing lost."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future

import numpy as np
import pytest

from worker.inference.lanes import Inputs, Lanes


class Device:
    """Ends a call when it is told to; a call is known by its number of rows."""

    def __init__(self, refuses: Sequence[int] = ()) -> None:
        self.begun: list[int] = []
        self.running: dict[int, Future[int]] = {}
        self.refuses = refuses

    def submit(self, inputs: Inputs, *, rows: int) -> Future[int]:
        if rows in self.refuses:
            raise RuntimeError("no such shape")
        self.begun.append(rows)
        self.running[rows] = Future()
        return self.running[rows]

    def end(self, rows: int, error: Exception | None = None) -> None:
        future = self.running.pop(rows)
        if error is None:
            future.set_result(rows)
        else:
            future.set_exception(error)


INPUTS = [np.zeros(1)]


def test_a_live_call_passes_all_bulk_calls_that_wait() -> None:
    device = Device()
    lanes: Lanes[int] = Lanes(device, requests=2)
    bulk = [lanes.submit(INPUTS, rows=n, live=False) for n in range(1, 5)]
    live = [lanes.submit(INPUTS, rows=n, live=True) for n in (11, 12)]

    # One request is the live lane's own, so 11 waits for nothing and 12 for one call.
    assert device.begun == [1, 11]
    device.end(11)
    assert device.begun == [1, 11, 12]
    for rows in (12, 1, 2, 3, 4):
        device.end(rows)

    assert device.begun == [1, 11, 12, 2, 3, 4]
    assert [future.result(0) for future in (*live, *bulk)] == [11, 12, 1, 2, 3, 4]


@pytest.mark.parametrize(("requests", "bulk", "live"), [(1, 1, 1), (2, 1, 2), (3, 2, 3)])
def test_no_more_calls_are_under_way_than_the_device_takes(requests: int, bulk: int, live: int) -> None:
    for is_live, most in ((False, bulk), (True, live)):
        device = Device()
        lanes: Lanes[int] = Lanes(device, requests=requests)
        for n in range(1, 9):
            lanes.submit(INPUTS, rows=n, live=is_live)
        assert len(device.running) == most
        while device.running:
            device.end(min(device.running))
            assert len(device.running) <= most
        assert device.begun == list(range(1, 9))


def test_a_call_that_fails_fails_alone_and_the_next_begins() -> None:
    device = Device(refuses=[2])
    lanes: Lanes[int] = Lanes(device, requests=1)
    futures = [lanes.submit(INPUTS, rows=n, live=False) for n in (1, 2, 3)]
    device.end(1, FloatingPointError("nan"))
    device.end(3)

    assert isinstance(futures[0].exception(0), FloatingPointError)
    assert isinstance(futures[1].exception(0), RuntimeError)
    assert futures[2].result(0) == 3
