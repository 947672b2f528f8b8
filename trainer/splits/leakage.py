"""`feltsense leakage`: a bundle or a split on disk is held against every check of the audit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from rich.table import Table

from trainer.data import duplicates
from trainer.data.labelled import Labelled
from trainer.errors import TrainerError
from trainer.splits import audit, ledger, listing, record
from trainer.splits.check import Check
from trainer.splits.record import Record
from worker.bundle import manifest
from worker.bundle.manifest import Manifest
from worker.errors import UsageError


def inspect(path: Path, rows: Sequence[Labelled] = ()) -> list[Check]:
    """All checks of a bundle folder, a `splits.npz` (with the `lineage.npz` beside it) or a listing; `rows`
    bring the texts of the split's rows where it holds only digests.

    Raises `UsageError` for a path that is none of them, `TrainerError` for a damaged one.
    """
    if path.is_dir():
        return _bundle(path, rows)
    if not path.is_file():
        raise UsageError(f"{path} is neither a bundle folder nor a file of splits")
    if path.suffix == ".npz":
        return _record(path, rows)
    told = listing.read(path)
    texts, given = _texts(told.record, rows)
    known = [own if own is not None else other for own, other in zip(told.texts, texts, strict=True)]
    checks = audit.examine(told.record, ledger=told.ledger, texts=known)
    return [*checks, *given]


def table(checks: Sequence[Check], title: str) -> Table:
    """What was looked at and found; a check that could not look says why and proves nothing."""
    shown = Table(title=title, title_justify="left")
    for column in ("check", "looked at", "violations", "verdict", "note"):
        shown.add_column(column, justify="right" if column in ("looked at", "violations") else "left")
    for check in checks:
        if check.looked is None:
            shown.add_row(check.name, "-", "-", "not checked", check.note)
        else:
            verdict = "[red]leak[/red]" if check.violations else "clean" if check.looked else "nothing there"
            shown.add_row(check.name, f"{check.looked}", f"{check.violations}", verdict, check.note)
    return shown


def to_json(checks: Sequence[Check]) -> list[dict[str, Any]]:
    """The checks for a report."""
    return [asdict(check) for check in checks]


def _bundle(folder: Path, rows: Sequence[Labelled]) -> list[Check]:
    whole, facts = _files(folder)
    splits = folder / record.NAME
    if not splits.is_file():
        raise UsageError(f"{folder} holds no {record.NAME}: train it with this version of Feltsense")
    if whole.violations:
        # Neither splits nor lineage can be believed once the files are not the manifest's.
        return [whole]
    lineage = folder / ledger.NAME
    levels = {one.level for one in ledger.read(lineage).entries} if lineage.is_file() else set()
    missing = [level for level in ledger.LEVELS if level not in levels]
    claimed = facts.leakage.get("fingerprint") == record.read(splits).fingerprint
    return [
        whole,
        Check(
            name="certificates of another split",
            looked=1,
            violations=int(not claimed),
            note="" if claimed else "the manifest's fingerprint is not that of splits.npz",
        ),
        Check(
            name="levels whose models are not on record",
            looked=len(ledger.LEVELS),
            violations=len(missing),
            note=", ".join(missing),
        ),
        *_record(splits, rows),
    ]


def _files(folder: Path) -> tuple[Check, Manifest]:
    """That the files are those of the manifest and it has the version that follows from them."""
    path = folder / manifest.NAME
    try:
        facts = Manifest.model_validate_json(path.read_bytes())
    except (OSError, ValidationError) as error:
        raise UsageError(f"{folder} is no bundle: {path.name} {type(error).__name__}") from None
    present = manifest.files_in(folder)
    wrong = sorted(present ^ facts.files.keys())
    wrong += [
        name
        for name in sorted(present & facts.files.keys())
        if manifest.digest_of(folder / name) != facts.files[name]
    ]
    if not wrong and manifest.version_of(facts.files) != facts.model_version:
        wrong = ["model_version"]
    return Check(
        name="files changed since the bundle was made",
        looked=len(facts.files),
        violations=len(wrong),
        note=", ".join(wrong),
    ), facts


def _record(splits: Path, rows: Sequence[Labelled]) -> list[Check]:
    held = record.read(splits)
    lineage = splits.with_name(ledger.NAME)
    texts, given = _texts(held, rows)
    models = ledger.read(lineage) if lineage.is_file() else None
    if models is not None and models.count != len(held.part):
        raise TrainerError(f"{lineage} is of another split: {models.count} rows, not {len(held.part)}")
    return [*audit.examine(held, ledger=models, texts=texts), *given]


def _texts(held: Record, rows: Sequence[Labelled]) -> tuple[list[str | None], list[Check]]:
    """The texts of the record's rows as far as `rows` have them, and whether these are the rows it was made
    of."""
    texts: list[str | None] = [None] * len(held.part)
    if not rows:
        return texts, []
    place = {one.tobytes(): at for at, one in enumerate(held.id)}
    known, other = 0, 0
    for row in rows:
        one = row.reflection
        at = place.get(record.digest_of(one.id))
        if at is None:
            continue
        known += 1
        texts[at] = one.text
        wording = record.digest_of(duplicates.squash(one.text))
        other += (
            held.user[at].tobytes() != record.digest_of(one.user_id)
            or held.created_at[at] != record.times([one.created_at.timestamp()])[0]
            or (held.text[at].tobytes() != wording and held.sketch.size > 0)
        )
    return texts, [
        Check(
            name="rows whose person, time or text is not the split's",
            looked=known,
            violations=other,
            note=f"{len(rows) - known} rows of the data are not of this split",
        )
    ]
