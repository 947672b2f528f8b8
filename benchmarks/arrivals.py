"""Open-loop arrivals, in a process of their own: `python -m benchmarks.arrivals`, spoken to by
`benchmarks.latency`.

Takes a JSON object on one line (address, events, moments in seconds after the start), says "ready", takes the
start (CLOCK_MONOTONIC) on a second line, publishes each event at its moment whatever becomes of the others,
and prints as JSON when each was about to be sent.
"""

from __future__ import annotations

import json
import sys
import time

from benchmarks.sender import Address, Sender


def main() -> None:
    """One schedule, then the end."""
    call = json.loads(sys.stdin.readline())
    with Sender.connect(Address(**call["address"])) as sender:
        print("ready", flush=True)
        start = float(sys.stdin.readline())
        sent = []
        for event, moment in zip(call["events"], call["moments"], strict=True):
            time.sleep(max(0.0, start + moment - time.monotonic()))
            sent.append(time.monotonic())
            sender.send(event)
    print(json.dumps(sent))


if __name__ == "__main__":
    main()
