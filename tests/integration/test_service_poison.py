"""An event that raises, hangs or kills harms only itself: it is parked, and all others get their rows."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.events import event
from tests.support.service import ROOT, Instance
from worker.client.publisher import Publisher

COUNT = 120
POISON = {50: "raise", 61: "hang", 62: "kill"}


def sent(number: int) -> dict[str, object]:
    fault = {"text": f"feltsense-fault:{POISON[number]}"} if number in POISON else {}
    return event(f"e-{number}", f"u-{number % 7}", **fault)


@contextmanager
def work(instance: Instance, said: Path, **settings: str) -> Iterator[None]:
    """`feltsense work` on the instance's broker and database."""
    environment = os.environ | {
        "FELTSENSE_BROKER_URL": instance.broker_url,
        "FELTSENSE_DATABASE_URL": instance.database_url,
        "FELTSENSE_BUNDLE": str(instance.bundle),
        "FELTSENSE_METRICS_PORT": "0",
        **{f"FELTSENSE_{name.upper()}": value for name, value in settings.items()},
    }
    with said.open("wb") as sink:
        process = subprocess.Popen(
            [sys.executable, "-m", "worker.cli", "work"], cwd=ROOT, env=environment, stdout=sink, stderr=sink
        )
    try:
        yield
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0
    finally:
        if process.poll() is None:
            process.kill()


@pytest.mark.timeout(240)
def test_an_event_that_kills_or_hangs_stands_alone_in_the_end(instance: Instance, tmp_path: Path) -> None:
    with Publisher.connect(instance.broker_url) as publisher:
        publisher.publish_many([sent(n) for n in range(COUNT)], chunk=40)
    said = tmp_path / "said"

    with work(instance, said, faults="1", lease_s="1.5", stall_s="1"):
        instance.wait_for(COUNT - len(POISON), len(POISON), within_s=150)

    letters = instance.rows("SELECT reflection_id, reason, attempts FROM dead_letters ORDER BY reflection_id")
    assert letters == [
        ("e-50", "enrichment_failed", 3),
        ("e-61", "enrichment_crashed", 3),
        ("e-62", "enrichment_crashed", 3),
    ]
    assert instance.rows("SELECT count(DISTINCT reflection_id) FROM perceptions") == [(COUNT - len(POISON),)]
    words = said.read_text()
    assert "The worker hung and was killed; starting it again." in words
    assert "The worker ended (status -9); starting it again." in words
    assert "feltsense-fault" not in words


@pytest.mark.timeout(600)
def test_an_event_that_kills_before_it_is_accepted_is_parked_unread_and_its_neighbours_get_rows(
    instance: Instance, tmp_path: Path
) -> None:
    killers = {3, 17, 30}
    sent = [
        event(f"e-{n}", f"u-{n % 7}", **({"text": "feltsense-early-fault:kill"} if n in killers else {}))
        for n in range(40)
    ]
    with Publisher.connect(instance.broker_url) as publisher:
        publisher.publish_many(sent, chunk=20)
    said = tmp_path / "said"

    with work(instance, said, faults="1", lease_s="1.5"):
        instance.wait_for(len(sent) - len(killers), len(killers), within_s=400)

    letters = instance.rows("SELECT reflection_id, user_id, reason, attempts FROM dead_letters ORDER BY id")
    assert sorted(letters) == sorted((f"e-{n}", f"u-{n % 7}", "enrichment_crashed", 3) for n in killers)
    assert instance.count("deliveries") == len(sent) - len(killers)
    words = said.read_text()
    assert words.count("The worker ended (status -9); starting it again.") == 2
    assert "early-fault" not in words
