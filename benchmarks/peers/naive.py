"""What is built first: one Celery task a reflection, one call of everything for it, one insert and commit.

`celery -A naive worker --pool prefork --concurrency CORES`.
"""

from __future__ import annotations

import os
from typing import Any

from celery import Celery, signals
from sentence_transformers import SentenceTransformer
from sqlalchemy import create_engine
from sqlalchemy.orm import Session
from work import Base, Models, Perception, encoder_folder, end_with_parent

app = Celery("naive", broker=os.environ["PEER_BROKER_URL"])
app.conf.update(
    task_default_queue="naive",
    task_ignore_result=True,
    # A child loads torch and the model before it says that it is up.
    worker_proc_alive_timeout=120,
)
engine = create_engine(os.environ["PEER_DATABASE_URL"])
encoder: SentenceTransformer
models: Models


@signals.worker_init.connect
def make_tables(**_: Any) -> None:
    Base.metadata.create_all(engine)
    engine.dispose()


@signals.worker_process_init.connect
def load(**_: Any) -> None:
    end_with_parent()
    global encoder, models
    encoder, models = SentenceTransformer(str(encoder_folder()), device="cpu"), Models()


@app.task(name="naive.enrich")
def enrich(event: dict[str, Any]) -> None:
    embedding = encoder.encode(event["text"], show_progress_bar=False)
    (row,) = models.rows([event], embedding[None])
    with Session(engine) as session:
        session.add(Perception(**row))
        session.commit()
