"""A trainer of several processes shares the cores of its machine among them."""

import os

import pytest

from worker.embedded import supervisor
from worker.settings import Settings


@pytest.mark.parametrize(
    ("own", "threads"), [(None, str(max(1, len(os.sched_getaffinity(0)) // 3))), ("5", "5")]
)
def test_processes_share_the_cores_unless_the_operator_says_how(own, threads, monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    if own is not None:
        monkeypatch.setenv("OMP_NUM_THREADS", own)
    settings = Settings(trainer_processes=3, broker_url="redis://localhost", database_url="postgresql://x")
    made = list(supervisor.trainers(settings, None))
    assert [one.name for one in made] == ["trainer", "trainer-2", "trainer-3", "trainer-beat"]
    assert {one.environment["OMP_NUM_THREADS"] for one in made} == {threads}


def test_one_process_takes_what_its_libraries_take(monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    made = supervisor.trainers(Settings(broker_url="redis://localhost", database_url="postgresql://x"), None)
    assert all("OMP_NUM_THREADS" not in one.environment for one in made)
