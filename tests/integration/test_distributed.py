"""Folds and trials on two trainers, of which one is killed, with arrays on an S3-compatible server: the same
bundle as in one process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import fsspec
import numpy as np
import optuna
import pytest
import redis
from celery import Celery
from pydantic import SecretStr
from rich.console import Console

from tests.support import s3
from tests.support.database import Server
from tests.support.service import ROOT, eventually
from tests.unit.test_trainer_rebuild import PLAN
from trainer import rebuild
from trainer.blend.material import Material
from trainer.data import labelled, synthetic
from trainer.errors import TrainerError
from trainer.hpo import study
from trainer.hpo.gates import Stack
from trainer.parts import plain
from trainer.service.application import beside
from trainer.service.crew import QueueCrew
from trainer.settings import TrainerSettings

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


class Trainers:
    """Two trainer processes on one broker, and the crew that asks them."""

    def __init__(self, broker: str, database: str, settings: TrainerSettings, folder: Path) -> None:
        self.settings = settings
        url = settings.study_address
        assert url is not None
        environment = {
            **os.environ,
            "FELTSENSE_BROKER_URL": broker,
            "FELTSENSE_DATABASE_URL": database,
            "FELTSENSE_TRAINER_STUDY_URL": url,
            "FELTSENSE_TRAINER_ARTEFACTS": settings.artefacts,
        }
        self.logs = [folder / "trainer-0.log", folder / "trainer-1.log"]
        self.processes = []
        for number, log in enumerate(self.logs):
            with log.open("wb") as sink:
                self.processes.append(
                    subprocess.Popen(
                        [
                            sys.executable, "-m", "celery", "--app", "trainer.service.celery_app", "worker",
                            "--without-mingle", "--hostname", f"t{number}@%h",
                        ],
                        cwd=ROOT, env=environment, stdout=sink, stderr=sink, stdin=subprocess.DEVNULL,
                    )
                )  # fmt: skip
        for log in self.logs:
            eventually(
                lambda log=log: "trainer_ready" in log.read_text(), 90, lambda log=log: log.read_text()
            )
        address = beside(broker)
        self.app = Celery("crew", broker=address, backend=address, set_as_current=False)
        self.killed, self.most_held = False, 0

    def done(self) -> dict[str, int]:
        """How many parts were computed, by their name."""
        client = redis.Redis.from_url(str(self.app.conf.broker_url))
        told = [json.loads(client.get(key)) for key in client.keys("celery-task-meta-*")]
        return dict(Counter(one["result"]["part"] for one in told if one["status"] == "SUCCESS"))

    def crew(self, *, kill: bool = False) -> QueueCrew:
        """The crew; with `kill` the first trainer dies as soon as it has something in hand."""

        def alive() -> None:
            held = redis.Redis.from_url(str(self.app.conf.broker_url)).hlen("unacked")
            self.most_held = max(self.most_held, held)
            if kill and not self.killed and held > 1:
                self.processes[0].kill()
                self.killed = True

        return QueueCrew(self.app, self.settings, alive)


@pytest.fixture(scope="module")
def bucket() -> Iterator[str]:
    with s3.bucket("trainers") as address:
        yield address


@pytest.fixture
def trainers(
    valkey: str, database_url: str, postgres: Server, bucket: str, tmp_path: Path
) -> Iterator[Trainers]:
    redis.Redis.from_url(valkey).flushall()
    studies = postgres.create()
    url = postgres.url(studies).replace("postgresql://", "postgresql+psycopg://", 1)
    settings = TrainerSettings(study_url=SecretStr(url), artefacts=bucket)
    made = Trainers(valkey, database_url, settings, tmp_path)
    yield made
    for process in made.processes:
        process.kill()
        process.wait()
    postgres.drop(studies)


def test_two_trainers_one_of_them_killed_make_the_bundle_that_one_process_makes(
    trainers: Trainers, bucket: str, tmp_path: Path
) -> None:
    path = tmp_path / "synthetic.jsonl"
    synthetic.write(path, people=30, seed=11)
    rows = labelled.load([path])
    quiet = Console(quiet=True)
    alone = rebuild.fit(rows, PLAN, tmp_path / "alone", quiet, TrainerSettings())

    together = rebuild.fit(
        rows, PLAN, tmp_path / "together", quiet, trainers.settings, crew=trainers.crew(kill=True)
    )

    assert trainers.killed
    assert trainers.most_held == len(trainers.processes)
    assert together.tuning == alone.tuning
    assert trainers.done() == {"trial": 3, "fold": PLAN.folds}
    assert {name: one for name, one in together.files.items() if name != "model_card.md"} == {
        name: one for name, one in alone.files.items() if name != "model_card.md"
    }
    assert fsspec.filesystem("s3", skip_instance_cache=True).find(bucket) == []


def test_a_killed_trainer_costs_a_study_its_running_trial_and_nobody_to_ask_is_told(
    trainers: Trainers, tmp_path: Path
) -> None:
    rng = np.random.default_rng(3)
    n = 12_000
    material = Material(
        bases=("Lx", "Eb", "Ng"),
        columns=rng.random((3, n)),
        available=np.ones((3, n), dtype=bool),
        target=rng.random(n),
        weight=np.ones(n),
        context=rng.normal(size=(n, 12)),
    )
    stack = Stack(material=material, fold=np.arange(n) % 5, row=np.arange(n))
    inputs = plain(PLAN, stacks={"valence": stack}, variable="gate", name="killed")
    trainers.crew(kill=True).compute("trial", inputs, range(12), lambda _: None)

    assert trainers.killed
    with study.storage(trainers.settings.study_address, tmp_path) as store:
        states = Counter(
            one.state.name for one in optuna.load_study(study_name="killed", storage=store).trials
        )
    assert states["COMPLETE"] + states["PRUNED"] == 12
    assert states.total() <= 13, states

    with pytest.raises(TrainerError, match="nonsense 0 failed on a trainer: TrainerError"):
        trainers.crew().compute("nonsense", {"a": 1}, [0], lambda _: None)
    trainers.processes[1].kill()
    trainers.processes[1].wait()
    with pytest.raises(TrainerError, match="no trainer runs"):
        trainers.crew().compute("fold", {"a": 1}, [0], lambda _: None)
