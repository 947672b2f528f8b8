"""A worker serves once the shapes of a lone text are warm; the others follow behind."""

import threading

import pytest
from structlog.testing import capture_logs

from worker.service.warmup import Warmup

SHAPES = [1, 1, 1, 2, 2, 16, 16]


def steps(run, failing_at=None):
    for number, size in enumerate(SHAPES):
        if number == failing_at:
            raise RuntimeError("device lost")
        run.append(size)
        yield size


def test_to_begin_takes_the_shapes_of_a_lone_text_and_the_first_of_a_pair():
    run = []
    Warmup(steps(run)).begin()
    assert run == [1, 1, 1, 2]


def test_the_other_shapes_are_run_behind_the_work():
    run, done = [], threading.Event()

    def telling():
        yield from steps(run)
        done.set()

    warmup = Warmup(telling())
    warmup.begin()
    with warmup:
        assert done.wait(10)
    assert run == SHAPES


def test_a_worker_that_ends_early_does_not_wait_for_the_rest():
    run, hold = [], threading.Event()

    def slow():
        for size in SHAPES:
            run.append(size)
            hold.wait(0.2)
            yield size

    with Warmup(slow()):
        pass
    assert len(run) < len(SHAPES)


@pytest.mark.parametrize("failing_at", [4, 6])
def test_a_device_that_fails_behind_the_work_is_logged_and_ends_nothing(failing_at):
    run = []
    warmup = Warmup(steps(run, failing_at))
    with capture_logs() as logs:
        warmup.begin()
        with warmup:
            warmup._thread.join(10)
            assert not warmup._thread.is_alive()
    assert run == SHAPES[:failing_at]
    assert "warmup_failed" in [entry["event"] for entry in logs]


def test_a_device_that_fails_before_the_work_is_the_openers_error():
    with pytest.raises(RuntimeError, match="device lost"):
        Warmup(steps([], failing_at=1)).begin()
