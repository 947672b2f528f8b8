"""Liveness means progress: a stage that computes without end, a consumer that is gone while its broker is
not."""

from __future__ import annotations

import socket
import threading
import time

from tests.support.service import eventually
from worker.embedded.postgres import free_port
from worker.service.progress import Consumption, Progress


def test_only_computing_that_takes_too_long_stalls() -> None:
    progress, release = Progress(0.1), threading.Event()

    def hang() -> None:
        with progress.computing():
            release.wait(10)

    with progress.computing():
        assert not progress.stalled()
    time.sleep(0.15)
    assert not progress.stalled()
    thread = threading.Thread(target=hang)
    thread.start()
    eventually(progress.stalled, 5, lambda: "never stalled")
    release.set()
    thread.join()
    assert not progress.stalled()


def test_a_consumer_that_does_not_come_by_has_ended_only_if_the_broker_answers(valkey: str) -> None:
    there = Consumption(valkey, patience_s=0.2)
    gone = Consumption(f"redis://127.0.0.1:{free_port()}/0", patience_s=0.2)
    assert not there.ended()
    time.sleep(0.25)
    assert there.ended()
    assert not gone.ended()
    there.sign()
    assert not there.ended()


def test_a_broker_that_takes_the_connection_and_says_nothing_is_away() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silenced = Consumption(f"redis://127.0.0.1:{silent.getsockname()[1]}/0", patience_s=0.0)
        assert not silenced.ended()
