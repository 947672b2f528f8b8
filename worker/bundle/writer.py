"""`Contents` and facts become a bundle folder, whole or not at all."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from worker.bundle import manifest
from worker.bundle.contents import Contents
from worker.bundle.manifest import Manifest
from worker.errors import UsageError


def write(
    folder: Path,
    contents: Contents,
    *,
    facts: Mapping[str, Any],
    trees: Mapping[str, str],
    card: str,
    attachments: Mapping[str, bytes] | None = None,
) -> Manifest:
    """Write a bundle beside `folder`, verify it by reading it back, then move it into place (an old bundle
    there is replaced).

    `facts` are the manifest's fields but `format`, `files` and `model_version`; `trees` the LightGBM text
    models by target; `card` the model card's markdown; `attachments` more files, which no worker reads (who
    was in which part and fold). Raises `UsageError` when `folder` exists and is no bundle.
    """
    if folder.exists() and any(folder.iterdir()) and not (folder / manifest.NAME).exists():
        raise UsageError(f"{folder} exists and is not a bundle: name an empty or new folder")
    part = folder.with_name(f".{folder.name}.part-{os.getpid()}")
    shutil.rmtree(part, ignore_errors=True)
    (part / "trees").mkdir(parents=True)
    for name, text in trees.items():
        (part / "trees" / f"{name}.txt").write_text(text)
    for name, gate in contents.gates.items():
        if gate.trees is not None:
            (part / "gates").mkdir(exist_ok=True)
            (part / "gates" / f"{name}.txt").write_text(gate.trees)
    contents.ngrams.save(part / "ngrams.npz")
    contents.embedding.save(part / "embedding.npz")
    contents.emotion.save(part / "emotion.npz")
    contents.forecast.save(part / "forecast.npz")
    contents.personal.save(part / "personal.npz")
    if contents.fork is not None:
        shutil.copyfile(contents.fork, part / "fork.npz")
    if contents.tuned is not None:
        contents.tuned.save(part / "tuned.npz")
    shutil.copyfile(contents.temporal, part / "temporal.xml")
    shutil.copyfile(contents.temporal.with_suffix(".bin"), part / "temporal.bin")
    (part / "blend.json").write_text(json.dumps(contents.blend_json(), indent=1, sort_keys=True))
    (part / "model_card.md").write_text(card)
    for name, data in (attachments or {}).items():
        (part / name).write_bytes(data)
    files = {name: manifest.digest_of(part / name) for name in sorted(manifest.files_in(part))}
    whole = Manifest(format=manifest.FORMAT, files=files, model_version=manifest.version_of(files), **facts)
    (part / manifest.NAME).write_text(whole.model_dump_json(indent=1))
    manifest.read(part)
    if folder.exists():
        shutil.rmtree(folder)
    part.rename(folder)
    return whole
