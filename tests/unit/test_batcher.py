"""A stage's batches: together when they wait together, alone when one of them fails, live before bulk."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence

import pytest

from worker.errors import ServiceMissing
from worker.service.batcher import Batcher, Closed
from worker.store.leases import ATTEMPTS


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


class Ends:
    """What became of each item, and the batches that were handed on."""

    def __init__(self) -> None:
        self.of: dict[object, object] = {}
        self.batches: list[list[object]] = []
        self._changed = threading.Condition()

    def then(self, items: Sequence[object], results: Sequence[object]) -> None:
        with self._changed:
            self.batches.append(list(items))
            self.of.update(zip(items, results, strict=True))
            self._changed.notify_all()

    def fail(self, item: object, error: Exception) -> None:
        with self._changed:
            self.of[item] = error
            self._changed.notify_all()

    def wait(self, count: int) -> dict[object, object]:
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.of) >= count, 5), self.of
        return self.of


@pytest.fixture
def ends() -> Ends:
    return Ends()


def test_what_is_told_apart_shares_no_batch(ends: Ends) -> None:
    work = Work()
    apart = Batcher(
        "test", work, then=ends.then, fail=ends.fail, max_batch_size=4, max_wait_ms=0,
        together=lambda item: item % 2,
    )  # fmt: skip
    work.gate.clear()
    with apart as stage:
        stage.put([0])
        while not work.batches:
            time.sleep(0.01)
        stage.put([2, 4, 1, 3, 6])
        work.gate.set()
        ends.wait(6)
    assert work.batches == [[0], [2, 4], [1, 3], [6]]


def batcher(work: Work, ends: Ends, *, max_wait_ms: float = 0) -> Batcher[int, int]:
    return Batcher("test", work, then=ends.then, fail=ends.fail, max_batch_size=4, max_wait_ms=max_wait_ms)


@pytest.mark.alone
def test_an_idle_stage_takes_one_item_at_once(ends: Ends) -> None:
    with batcher(Work(), ends, max_wait_ms=1000) as stage:
        started = time.perf_counter()
        stage.put([1])
        assert ends.wait(1) == {1: 2}
        assert time.perf_counter() - started < 0.5


def test_what_waits_goes_together_up_to_the_batch_size_and_on_as_it_came(ends: Ends) -> None:
    with batcher(Work(), ends) as stage:
        stage.put(range(6))
        assert ends.wait(6) == {item: 2 * item for item in range(6)}
    assert ends.batches == [[0, 1, 2, 3], [4, 5]]


def test_only_the_culprit_of_a_batch_fails(ends: Ends) -> None:
    work = Work()
    with batcher(work, ends) as stage:
        stage.put([12, 13, 14])
        ended = ends.wait(3)
    assert (ended[12], ended[14]) == (24, 28)
    assert isinstance(ended[13], ValueError)
    assert work.batches == [[12, 13, 14], [12], *[[13]] * ATTEMPTS, [14]]


def test_a_missing_service_is_waited_for(ends: Ends) -> None:
    work = Work()
    work.missing = 2
    with batcher(work, ends) as stage:
        stage.put([1, 2])
        assert ends.wait(2) == {1: 2, 2: 4}
    assert work.batches == [[1, 2]] * 3


def test_closing_finishes_what_is_queued_and_takes_no_more(ends: Ends) -> None:
    work = Work()
    work.gate.clear()
    stage = batcher(work, ends)
    stage.start()
    stage.put(range(9))
    threading.Timer(0.05, work.gate.set).start()
    stage.close()
    assert ends.of == {item: 2 * item for item in range(9)}
    with pytest.raises(Closed):
        stage.put([1])


def test_closing_gives_up_waiting_for_a_missing_service(ends: Ends) -> None:
    work = Work()
    work.missing = 1_000_000
    stage = batcher(work, ends)
    stage.start()
    stage.put([1])
    stage.close()
    assert isinstance(ends.of[1], ServiceMissing)


def test_live_waits_for_no_batch_of_bulk(ends: Ends) -> None:
    held, seen = threading.Event(), []

    def work(batch: Sequence[str]) -> Sequence[str]:
        seen.append(list(batch))
        if batch[0] != "live":
            held.wait(5)
        return batch

    with Batcher(
        "test", work, then=ends.then, fail=ends.fail, max_batch_size=2, max_wait_ms=0
    ) as stage:  # fmt: skip
        stage.put(["b1", "b2", "b3"])
        while not seen:
            time.sleep(0.001)
        stage.put(["live"], live=True)
        assert ends.wait(1) == {"live": "live"}
        held.set()
    assert seen == [["b1", "b2"], ["live"], ["b3"]]


def test_live_items_that_come_while_a_batch_waits_for_its_turn_join_it(ends: Ends) -> None:
    turns, work = threading.Semaphore(0), Work()
    with Batcher(
        "test", work, then=ends.then, fail=ends.fail, max_batch_size=4, max_wait_ms=0, live_turn=turns.acquire
    ) as stage:
        stage.put([1], live=True)
        time.sleep(0.05)
        stage.put([2, 3], live=True)
        assert not work.batches
        turns.release(2)
        ends.wait(3)
    assert work.batches == [[1, 2, 3]]
