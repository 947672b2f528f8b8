"""Every error the trainer raises on purpose; like the worker's, they name files, rows and remedies, never
text."""

from __future__ import annotations

from collections.abc import Sequence

from worker.errors import FeltsenseError


class TrainerError(FeltsenseError):
    """Base of the trainer's deliberate errors; exit code 2 unless the class says otherwise."""


class WrongCorpus(TrainerError):
    """The folder or file handed to an importer is not the corpus it reads; the message names what was
    expected."""


class RowRefused(TrainerError):
    """One row of a corpus or labelled file cannot be used; its neighbours go on."""

    exit_code = 3


class LabelledRefused(TrainerError):
    """A labelled file holds rows that break the event's or the labels' contract; nothing is trained on it."""

    exit_code = 3
    SHOWN = 20

    def __init__(self, problems: Sequence[str]) -> None:
        more = f"\n... and {len(problems) - self.SHOWN} more" if len(problems) > self.SHOWN else ""
        shown = "\n".join(problems[: self.SHOWN])
        super().__init__(f"{len(problems)} labelled rows refused:\n{shown}{more}")
        self.problems = tuple(problems)


class ImplausibleData(TrainerError):
    """A source's label cannot be what it claims: another scale, a constant, texts of other rows; nothing is
    fitted."""

    exit_code = 3

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("\n".join(["implausible data; correct it, or leave the source out:", *problems]))
        self.problems = tuple(problems)


class LeakFound(TrainerError):
    """A split, or what was fitted on it, was refuted; nothing judged on it can be believed."""

    exit_code = 3


class ExportRefused(TrainerError):
    """A graph made for a device computes something else than what was fitted, or is not what it claims; it is
    not left in the folder."""

    exit_code = 3
