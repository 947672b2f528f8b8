"""`python -m trainer.data.synthetic --out FILE --people 800 --seed 7`: the synthetic edge cases as
labelled JSON lines.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from trainer.data.synthetic import PEOPLE, SEED, write


def main() -> None:
    parser = argparse.ArgumentParser(prog="trainer.data.synthetic", description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--people", type=int, default=PEOPLE)
    parser.add_argument("--seed", type=int, default=SEED)
    options = parser.parse_args()
    count = write(options.out, options.people, options.seed)
    sys.stdout.write(f"{options.out}: {count} events\n")


if __name__ == "__main__":
    main()
