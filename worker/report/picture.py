"""Where a picture goes: the one way the command line writes what it has drawn."""

from __future__ import annotations

from pathlib import Path

from matplotlib.figure import Figure

from worker.errors import UsageError


def save(figure: Figure, out: Path, *, dpi: int) -> None:
    """Write `figure` to `out`; its format is the file's ending. Raises `UsageError` for an unknown ending, or
    where the file cannot be written."""
    try:
        figure.savefig(out, dpi=dpi)
    except OSError as error:
        raise UsageError(f"cannot write {out}: {error.strerror}") from error
    except ValueError:
        ending = out.suffix or "a file without ending"
        raise UsageError(f"cannot draw {ending}; write .png, .svg or .pdf") from None
