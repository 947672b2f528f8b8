"""Any Celery client can publish: a producer that imports nothing of ours, and rows read by plain SQL."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.service import Instance

PRODUCER = """
import sys
from celery import Celery

broker, serializer, prefix, messages, each = sys.argv[1:]
app = Celery(broker=broker)
for message in range(int(messages)):
    events = [
        {
            "id": f"{prefix}-{message}-{n}", "user_id": f"{prefix}-{n % 3}",
            "text": f"Day {n}: I felt calm. मैं खुश हूँ 🙂",
            "created_at": f"2026-11-{n % 20 + 1:02d}T07:15:00+05:30",
        }
        for n in range(int(each))
    ]
    app.send_task("feltsense.enrich", args=[events], queue="reflections", serializer=serializer)
assert not any(name.split(".")[0] in ("worker", "trainer") for name in sys.modules)
"""


@pytest.mark.parametrize("serializer", ["json", "msgpack"])
@pytest.mark.parametrize(("messages", "each"), [(5, 1), (2, 100)])
def test_events_of_a_bare_client_become_rows(
    shared: Instance,
    tmp_path: Path,
    serializer: str,
    messages: int,
    each: int,
) -> None:
    prefix = f"bare-{serializer}-{each}"

    arguments = (shared.broker_url, serializer, prefix, str(messages), str(each))
    produced = subprocess.run(
        [sys.executable, "-I", "-c", PRODUCER, *arguments],
        cwd=tmp_path, timeout=60, check=False, capture_output=True, text=True,
    )  # fmt: skip
    assert produced.returncode == 0, produced.stderr

    query = """
        SELECT count(*), count(DISTINCT reflection_id), bool_and(
            valence BETWEEN 0 AND 1 AND arousal BETWEEN 0 AND 1 AND willingness BETWEEN 0 AND 1
            AND congruence BETWEEN 0 AND 1 AND abs(comparator - (valence - expected_valence)) < 1e-12
            AND cardinality(invoked) <= 3 AND cardinality(expressed) <= 3)
        FROM perceptions WHERE reflection_id LIKE %s
    """
    wanted = (messages * each, messages * each, True)
    shared.eventually(lambda: shared.rows(query, f"{prefix}-%")[0] == wanted)
    text = shared.rows("SELECT text FROM reflections WHERE id = %s", f"{prefix}-0-0")
    assert text == [("Day 0: I felt calm. मैं खुश हूँ 🙂",)]
