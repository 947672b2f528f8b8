"""A bare Celery client in a process of its own, as any app would be one: nothing of ours is imported here.

Reads JSON lines: first {"broker_url"}, then messages {"n", "task_id", "queue", "events", "pause_s"}. Sends
each until the broker acknowledges it, under the same task id, and prints {"n", "refused"}: how often the
broker did not answer first. Ends with its input.
"""

import json
import sys
import time

from celery import Celery

AGAIN_S = 0.2


def main() -> None:
    app = Celery("app", broker=json.loads(sys.stdin.readline())["broker_url"], backend=None)
    for line in sys.stdin:
        message = json.loads(line)
        time.sleep(message["pause_s"])
        refused = 0
        while True:
            try:
                app.send_task(
                    "feltsense.enrich", args=[message["events"]], queue=message["queue"],
                    task_id=message["task_id"], argsrepr="[events]", kwargsrepr="{}",
                )  # fmt: skip
                break
            except Exception:  # noqa: BLE001  whatever it was, the broker has not acknowledged
                refused += 1
                time.sleep(AGAIN_S)
        print(json.dumps({"n": message["n"], "refused": refused}), flush=True)


if __name__ == "__main__":
    main()
