"""Puts events (JSON lines on standard input) onto Feltsense's queue; nothing of Feltsense is installed.

pip install "celery[redis]"                  # and msgpack, for --msgpack
FELTSENSE_BROKER_URL=redis://... python publish.py < events.jsonl
"""

import json
import os
import sys

from celery import Celery

EACH = 64

app = Celery(broker=os.environ["FELTSENSE_BROKER_URL"])
queue = os.environ.get("FELTSENSE_QUEUE", "reflections")  # live; or reflections.bulk
serializer = "msgpack" if "--msgpack" in sys.argv else "json"
events = [json.loads(line) for line in sys.stdin if line.strip()]

for first in range(0, len(events), EACH):
    app.send_task(
        "feltsense.enrich",
        args=[events[first : first + EACH]],
        queue=queue,
        serializer=serializer,
        argsrepr="[events]",  # else Celery writes the texts into the message's headers
        kwargsrepr="{}",
        ignore_result=True,
    )
print(f"{len(events)} events are on {queue}")
