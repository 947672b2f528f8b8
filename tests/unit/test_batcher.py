"""A stage's batches: together when they wait together, alone when one of them fails, live before bulk."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence

import pytest

from worker.errors import ServiceMissing
from worker.service.batcher import Batcher, Closed


class Work:
    """Doubles numbers; 13 is the culprit that cannot be. Holds every batch until `gate` is open."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.gate = threading.Event()
        self.gate.set()
        self.missing = 0

    def __call__(self, batch: Sequence[int]) -> list[int]:
        self.batches.append(list(batch))
        self.gate.wait(5)
        if self.missing:
            self.missing -= 1
            raise ServiceMissing("database is away")
        if 13 in batch:
            raise ValueError("13")
        return [2 * item for item in batch]


def batcher(work: Work, *, max_wait_ms: float = 0, capacity: int = 100) -> Batcher[int, int]:
    return Batcher("test", work, max_batch_size=4, max_wait_ms=max_wait_ms, capacity=capacity)


def test_an_idle_stage_takes_one_item_at_once() -> None:
    work = Work()
    with batcher(work, max_wait_ms=1000) as stage:
        started = time.perf_counter()
        assert stage.submit([1])[0].result(5) == 2
        assert time.perf_counter() - started < 0.5


def test_what_waits_goes_together_up_to_the_batch_size() -> None:
    work = Work()
    with batcher(work) as stage:
        futures = stage.submit(range(6))
        assert [future.result(5) for future in futures] == [0, 2, 4, 6, 8, 10]
    assert work.batches == [[0, 1, 2, 3], [4, 5]]


def test_only_the_culprit_of_a_batch_fails() -> None:
    work = Work()
    with batcher(work) as stage:
        futures = stage.submit([12, 13, 14])
        assert [futures[0].result(5), futures[2].result(5)] == [24, 28]
        assert isinstance(futures[1].exception(5), ValueError)
    assert work.batches == [[12, 13, 14], [12], [13], [14]]


def test_a_missing_service_is_waited_for() -> None:
    work = Work()
    work.missing = 2
    with batcher(work) as stage:
        assert [future.result(5) for future in stage.submit([1, 2])] == [2, 4]
    assert work.batches == [[1, 2]] * 3


def test_closing_finishes_what_is_queued_and_takes_no_more() -> None:
    work = Work()
    work.gate.clear()
    stage = batcher(work)
    stage.start()
    futures = stage.submit(range(9))
    threading.Timer(0.05, work.gate.set).start()
    stage.close()
    assert [future.result(0) for future in futures] == [2 * item for item in range(9)]
    with pytest.raises(Closed):
        stage.submit([1])


def test_closing_gives_up_waiting_for_a_missing_service() -> None:
    work = Work()
    work.missing = 1_000_000
    stage = batcher(work)
    stage.start()
    future = stage.submit([1])[0]
    stage.close()
    assert isinstance(future.exception(0), ServiceMissing)


def test_a_full_queue_holds_back_its_senders() -> None:
    work = Work()
    work.gate.clear()
    with batcher(work, capacity=4) as stage:
        stage.submit(range(8))
        sender = threading.Thread(target=stage.submit, args=([9],))
        sender.start()
        sender.join(0.05)
        assert sender.is_alive()
        work.gate.set()
        sender.join(5)
        assert not sender.is_alive()


def test_live_waits_for_no_batch_of_bulk() -> None:
    held, seen = threading.Event(), []

    def work(batch: Sequence[str]) -> Sequence[str]:
        seen.append(list(batch))
        if batch[0] == "bulk":
            held.wait(5)
        return batch

    with Batcher("test", work, max_batch_size=2, max_wait_ms=0) as stage:
        bulk = stage.submit(["bulk"] * 6)
        while not seen:
            time.sleep(0.001)
        assert stage.submit(["live"], live=True)[0].result(5) == "live"
        assert not any(future.done() for future in bulk)
        held.set()
    assert seen == [["bulk"] * 2, ["live"], ["bulk"] * 2, ["bulk"] * 2]
