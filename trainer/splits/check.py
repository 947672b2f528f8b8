"""One finding of the audit of a split."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from trainer.errors import LeakFound


@dataclass(frozen=True, kw_only=True)
class Check:
    """`looked` at so many things (None: it could not look, and `note` says why), `violations` of them
    wrong."""

    name: str
    looked: int | None
    violations: int = 0
    note: str = ""


def refuse(checks: Sequence[Check]) -> None:
    """Raises `LeakFound` naming every check that found a leak."""
    if found := [f"{check.violations} {check.name}" for check in checks if check.violations]:
        raise LeakFound(f"the split leaks: {', '.join(found)}")
