"""How a benchmark ends as a command: an error of ours is told in its own words, with its exit code, and a
signal ends it in order."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import nullcontext

from worker.errors import FeltsenseError
from worker.interruption import INTERRUPTED, stoppable


def run(main: Callable[[], None], *, stopped: str | None = None) -> None:
    """Run `main`; with `stopped`, what to say when SIGINT, SIGTERM or SIGHUP ended it."""
    try:
        with nullcontext() if stopped is None else stoppable():
            main()
    except KeyboardInterrupt:
        if stopped is None:
            raise
        print(stopped, file=sys.stderr)
        sys.exit(INTERRUPTED)
    except FeltsenseError as error:
        print(error, file=sys.stderr)
        sys.exit(error.exit_code)
