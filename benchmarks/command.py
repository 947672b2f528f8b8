"""How a benchmark ends as a command: an error of ours is told in its own words, with its exit code."""

from __future__ import annotations

import sys
from collections.abc import Callable

from worker.errors import FeltsenseError


def run(main: Callable[[], None]) -> None:
    try:
        main()
    except FeltsenseError as error:
        print(error, file=sys.stderr)
        sys.exit(error.exit_code)
