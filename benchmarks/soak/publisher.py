"""A bare Celery client at a fixed rate, as any app would be one: nothing of ours is imported here.

Reads JSON lines: first {"broker_url", "rate"}, then an event each, in the order they are to be sent, one a
message. Prints `id seconds` (Unix time just before the sending) for each that the broker acknowledged. Ends
with its input. What falls behind the schedule is sent at once: arrivals do not wait for the consumer.
"""

import json
import sys
import time

from celery import Celery

AGAIN_S = 0.2


def main() -> None:
    told = json.loads(sys.stdin.readline())
    app = Celery("app", broker=told["broker_url"], backend=None)
    due = time.monotonic()
    for line in sys.stdin:
        event = json.loads(line)
        due += 1 / told["rate"]
        time.sleep(max(0.0, due - time.monotonic()))
        sent = time.time()
        while True:
            try:
                app.send_task(
                    "feltsense.enrich", args=[[event]], queue="reflections", task_id=f"soak-{event['id']}",
                    argsrepr="[event]", kwargsrepr="{}", ignore_result=True,
                )  # fmt: skip
                break
            except Exception:  # noqa: BLE001  whatever it was, the broker has not acknowledged
                time.sleep(AGAIN_S)
        print(event["id"], f"{sent:.6f}", flush=True)


if __name__ == "__main__":
    main()
