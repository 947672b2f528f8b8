"""What a good engineer builds in a day: celery-batches, sentence-transformers on OpenVINO, everything by the
batch.

`celery -A good worker --pool prefork --concurrency CORES`.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import psycopg
from celery import Celery, signals
from celery_batches import Batches, SimpleRequest
from psycopg.rows import TupleRow
from sentence_transformers import SentenceTransformer
from sqlalchemy import create_engine
from work import FOLDER, Base, Models, Perception, end_with_parent

FLUSH_EVERY = int(os.environ["PEER_FLUSH_EVERY"])
"""Messages."""
FLUSH_INTERVAL_S = float(os.environ.get("PEER_FLUSH_INTERVAL_S", "0.05"))
BATCH = int(os.environ.get("PEER_BATCH", "32"))
THREADS = os.environ["OMP_NUM_THREADS"]
COLUMNS = [column.name for column in Perception.__table__.columns]
PLACES = ", ".join(f"%({name})s" for name in COLUMNS)
INSERT = f"INSERT INTO perceptions ({', '.join(COLUMNS)}) VALUES ({PLACES}) ON CONFLICT DO NOTHING"  # noqa: S608  own names

app = Celery("good", broker=os.environ["PEER_BROKER_URL"])
app.conf.update(
    task_default_queue="good",
    task_ignore_result=True,
    # Fewer than a batch in hand would starve it; two let the next one fill while this one runs.
    worker_prefetch_multiplier=2 * FLUSH_EVERY,
    worker_proc_alive_timeout=120,
)
encoder: SentenceTransformer
models: Models
connection: psycopg.Connection[TupleRow]


@signals.worker_init.connect
def make_tables(**_: Any) -> None:
    engine = create_engine(os.environ["PEER_DATABASE_URL"])
    Base.metadata.create_all(engine)
    engine.dispose()


@signals.worker_process_init.connect
def load(**_: Any) -> None:
    end_with_parent()
    global encoder, models, connection
    encoder = SentenceTransformer(
        str(FOLDER / "encoder"),
        backend="openvino",
        model_kwargs={
            # A call waits for its batch, so more streams than one would idle; pinning would put all
            # processes on the same core.
            "ov_config": {
                "PERFORMANCE_HINT": "LATENCY",
                "NUM_STREAMS": "1",
                "INFERENCE_NUM_THREADS": THREADS,
                "ENABLE_CPU_PINNING": "NO",
                "INFERENCE_PRECISION_HINT": os.environ["PEER_PRECISION"],
            }
        },
    )
    models = Models()
    connection = psycopg.connect(os.environ["PEER_DATABASE_URL"].replace("+psycopg", ""))


@app.task(base=Batches, flush_every=FLUSH_EVERY, flush_interval=FLUSH_INTERVAL_S, name="good.enrich")
def enrich(requests: Sequence[SimpleRequest]) -> None:
    events = []
    for request in requests:
        sent = request.args[0]
        events += sent if isinstance(sent, list) else [sent]
    texts = [event["text"] for event in events]
    # It sorts by length itself.
    embeddings = encoder.encode(texts, batch_size=BATCH, show_progress_bar=False)
    with connection.transaction(), connection.cursor() as cursor:
        cursor.executemany(INSERT, models.rows(events, embeddings))
