"""Whose turn it is before the device: live first, bulk when a call is full, nothing lost or mixed up."""

from __future__ import annotations

from concurrent.futures import Future
from dataclasses import dataclass, field

import numpy as np
import pytest

from worker.errors import DeviceFailed
from worker.features.embedding import most_texts
from worker.inference.backend import Placed
from worker.inference.failover import Ran
from worker.inference.lanes import LEAST_SHARED, Inputs, Lanes, Submission

BUDGET = 64
PLACED = Placed(actual="CPU", precision="f32")


@dataclass
class Device:
    """Ends a call when it is told to; gives each text's first token and length back as its vector."""

    refuses: bool = False
    budget: int = BUDGET
    begun: list[list[int]] = field(default_factory=list)
    running: list[tuple[Inputs, Future[Ran]]] = field(default_factory=list)

    def submit(self, inputs: Inputs, *, rows: int) -> Future[Ran]:
        if self.refuses:
            raise DeviceFailed("no such shape")
        ids, mask = inputs
        assert len(ids) == rows <= most_texts(self.budget)
        assert mask.sum() <= self.budget or rows == 1
        self.begun.append(ids[:, 0].tolist())
        self.running.append((inputs, Future()))
        return self.running[-1][1]

    def end(self, error: Exception | None = None) -> None:
        (ids, mask), future = self.running.pop(0)
        if error is not None:
            future.set_exception(error)
            return
        output = np.stack([ids[:, 0], mask.sum(axis=1)], axis=1).astype(np.float32)
        future.set_result(Ran(output=output, placed=PLACED))

    def end_all(self) -> None:
        while self.running:
            self.end()


def texts(*marks_and_lengths: tuple[int, int]) -> Submission:
    return Submission([[mark] * length for mark, length in marks_and_lengths], 2)


def test_a_live_text_passes_all_bulk_texts_that_wait() -> None:
    device = Device()
    lanes = Lanes(device, requests=2, token_budget=BUDGET)
    bulk = texts(*((mark, 30) for mark in range(1, 7)))
    live = texts((11, 5), (12, 60))
    lanes.submit(bulk, live=False)
    lanes.submit(live, live=True)

    # One request is the live lane's own, so the first call of it waits for nothing.
    assert device.begun == [[1, 2], [12]]
    device.end()  # a bulk call; what begins is live
    assert device.begun[2:] == [[11]]
    device.end_all()

    assert device.begun[3:] == [[3, 4], [5, 6]]
    assert live.future.result(0).vectors.tolist() == [[11, 5], [12, 60]]
    assert bulk.future.result(0).placed == [PLACED] * 6


def test_calls_are_filled_across_submissions_and_lengths_in_the_order_of_their_coming() -> None:
    device = Device()
    lanes = Lanes(device, requests=1, token_budget=BUDGET)
    first = texts((1, 30), (2, 7), (3, 7))
    second = texts((4, 7), (5, 20), *((mark, 7) for mark in range(6, 15)))
    for submission in (first, second):
        lanes.submit(submission, live=False)
    device.end_all()

    # Of a submission the longest first; no call has more than eight texts here.
    assert device.begun == [[1, 2, 3], [5, 4, 6, 7, 8, 9, 10], [11, 12, 13, 14]]
    for submission in (first, second):
        assert submission.future.result(0).vectors.tolist() == [
            [one[0], len(one)] for one in submission.tokens
        ]


def test_free_requests_share_the_live_texts_that_wait() -> None:
    device = Device(budget=4 * LEAST_SHARED)
    lanes = Lanes(device, requests=3, token_budget=device.budget)
    lanes.submit(texts(*((mark, LEAST_SHARED // 2) for mark in range(1, 7))), live=True)
    assert device.begun == [[1, 2, 3], [4, 5, 6]]
    device.end_all()

    lanes.submit(texts((7, LEAST_SHARED // 2), (8, LEAST_SHARED // 2)), live=True)
    assert device.begun[2:] == [[7, 8]]


@pytest.mark.parametrize(("requests", "bulk", "live"), [(1, 1, 1), (2, 1, 2), (3, 2, 3)])
def test_no_more_calls_are_under_way_than_the_device_takes(requests: int, bulk: int, live: int) -> None:
    for is_live, most in ((False, bulk), (True, live)):
        device = Device()
        lanes = Lanes(device, requests=requests, token_budget=BUDGET)
        lanes.submit(texts(*((mark, 60) for mark in range(1, 9))), live=is_live)
        assert len(device.running) == most
        while device.running:
            assert len(device.running) <= most
            device.end()
        assert device.begun == [[mark] for mark in range(1, 9)]


def test_a_call_that_fails_fails_those_in_it_and_the_next_begins() -> None:
    device = Device()
    lanes = Lanes(device, requests=1, token_budget=BUDGET)
    one, other, later = texts((1, 60)), texts((2, 30), (3, 60)), texts((4, 30))
    for submission in (one, other, later):
        lanes.submit(submission, live=False)
    device.end()
    device.end(FloatingPointError("nan"))  # the 60 of `other`
    device.end_all()

    assert one.future.result(0).vectors.tolist() == [[1, 60]]
    assert isinstance(other.future.exception(0), FloatingPointError)
    assert later.future.result(0).vectors.tolist() == [[4, 30]]


def test_a_device_that_takes_no_call_leaves_nobody_waiting() -> None:
    lanes = Lanes(Device(refuses=True), requests=1, token_budget=BUDGET)
    submission = texts((1, 60), (2, 8))
    lanes.submit(submission, live=False)
    assert isinstance(submission.future.exception(0), DeviceFailed)


def test_no_texts_are_done_at_once() -> None:
    assert len(texts().future.result(0).vectors) == 0


def test_every_text_gets_its_own_vector_whatever_the_order() -> None:
    rng = np.random.default_rng(3)
    device = Device()
    lanes = Lanes(device, requests=3, token_budget=BUDGET)
    submissions = []
    for number in range(20):
        lengths = rng.integers(1, 65, size=rng.integers(1, 30))
        submission = texts(*((int(mark) + 1, int(length)) for mark, length in enumerate(lengths)))
        lanes.submit(submission, live=number % 5 == 0)
        submissions.append(submission)
        while device.running and rng.random() < 0.5:
            device.end()
    device.end_all()
    for submission in submissions:
        expected = [[one[0], len(one)] for one in submission.tokens]
        assert submission.future.result(0).vectors.tolist() == expected
