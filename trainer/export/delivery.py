"""`feltsense export`: a bundle and labelled rows in, a folder of graphs for other devices out, each held
against torch before it may stay.

The graphs are written to a hidden folder, read back from there and run; what fails is deleted again. The
folder takes its name when all is done, so a stopped export leaves nothing and an equal one changes nothing.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import orjson

from trainer.data.labelled import Labelled
from trainer.errors import TrainerError
from trainer.evaluate.judge import Progress
from trainer.export import report
from trainer.export.parity import REFUSED, Limits
from trainer.export.trial import Trial, Tried
from trainer.export.variants import EXPORTED, RUNTIME, Variant
from worker.bundle import reader
from worker.bundle.reader import Bundle
from worker.errors import BundleRefused, ExportsRefused
from worker.inference import minilm
from worker.inference.exports import FORMAT, MANIFEST, PARITY, Exports, digest_of, sources

TABLE = "parity.md"
LIBRARIES = ("openvino", "nncf", "torch", "numpy", "tokenizers")


@dataclass(frozen=True, kw_only=True)
class Delivered:
    """What an export came to. `report` is parity.json, `refused` says why graphs are missing; `anew` False
    where the folder was there already, made of the same."""

    report: Mapping[str, Any]
    refused: Sequence[str]
    anew: bool


def export(
    bundle: Path | None,
    rows: Sequence[Labelled],
    out: Path,
    *,
    allow_loss: bool = False,
    limits: Limits | None = None,
    exported: Sequence[Variant] = EXPORTED,
    runtime: Mapping[str, str] = RUNTIME,
    tell: Progress,
) -> Delivered:
    """Make the graphs `exported` of the bundle (the starter bundle when None) in the folder `out`, which is
    replaced if it is an older export; `rows` calibrate and judge them.

    A graph beyond the `limits` is left out and named, or marked as a trade with `allow_loss`. Raises
    `BundleRefused`, `EncoderMissing`; `TrainerError` where `out` is something else, or there are no rows.
    """
    if not rows:
        raise TrainerError("nothing to export by: the files hold no rows")
    loaded = reader.load(bundle)
    if loaded.manifest.encoder.digest != minilm.weights_digest():
        raise BundleRefused(loaded.folder, "it was fitted on another encoder than the one installed")
    limits = limits or Limits()
    wanted = [limits, allow_loss, *exported, dict(runtime)]
    key = _key(loaded, rows, wanted)
    if (older := _older(out)) is not None and older["key"] == key and _whole(out, loaded):
        told = json.loads((out / PARITY).read_bytes())
        return Delivered(report=told, refused=_reasons(told), anew=False)
    out.parent.mkdir(parents=True, exist_ok=True)
    part = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.parent))
    try:
        with tempfile.TemporaryDirectory() as scratch:
            trial = Trial.open(loaded, rows, part, Path(scratch), limits=limits, tell=tell)
            try:
                judged = [trial.serve(name, precision) for name, precision in runtime.items()]
                made = [trial.make(variant, allow_loss=allow_loss) for variant in exported]
            finally:
                trial.close()
        told = _report(loaded, rows, limits, judged, made)
        (part / PARITY).write_bytes(orjson.dumps(told, option=orjson.OPT_INDENT_2))
        (part / TABLE).write_text(report.markdown(told), encoding="utf-8")
        (part / MANIFEST).write_bytes(orjson.dumps(_manifest(loaded, part, key), option=orjson.OPT_INDENT_2))
        part.chmod(0o755)
        _put(part, out)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return Delivered(report=told, refused=_reasons(told), anew=True)


def _key(bundle: Bundle, rows: Sequence[Labelled], wanted: Sequence[Any]) -> str:
    """Digest of all that an export depends on: bundle, rows, what is wanted, code and libraries."""
    digest = hashlib.sha256(bundle.manifest.digest.encode())
    for row in rows:
        digest.update(row.reflection.digest)
        digest.update(orjson.dumps([row.source, dict(row.labels)], option=orjson.OPT_SORT_KEYS))
    digest.update(repr(wanted).encode())
    for path in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(path.read_bytes())
    digest.update(repr([minilm.GRAPH_VERSION, *(version(name) for name in LIBRARIES)]).encode())
    return digest.hexdigest()


def _report(
    bundle: Bundle, rows: Sequence[Labelled], limits: Limits, judged: Sequence[Tried], made: Sequence[Tried]
) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "model_version": bundle.manifest.model_version,
        "rows": len(rows),
        "people": len({row.reflection.user_id for row in rows}),
        "sources": sorted({row.source for row in rows}),
        "reference": "torch in f32; temporal nets: the bundle's own graph in f32, which was held against "
        "torch when it was fitted",
        "limits": asdict(limits),
        "cpu": {one.name: one.to_json() for one in judged},
        "graphs": {one.name: one.to_json() for one in made},
    }


def _manifest(bundle: Bundle, part: Path, key: str) -> dict[str, Any]:
    contents = bundle.contents
    return {
        "format": FORMAT,
        "model_version": bundle.manifest.model_version,
        "made_from": sources(minilm.weights_digest(), contents.fork, contents.temporal),
        "libraries": {name: version(name) for name in LIBRARIES},
        "key": key,
        "files": {path.name: digest_of(path) for path in sorted(part.iterdir())},
    }


def _reasons(told: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(
        reason
        for graph in told["graphs"].values()
        if graph["verdict"] == REFUSED
        for reason in graph["reasons"]
    )


def _older(out: Path) -> dict[str, Any] | None:
    """The manifest of an export that is there already. Raises `TrainerError` for anything else that is."""
    if not out.exists():
        return None
    try:
        found = json.loads((out / MANIFEST).read_bytes())
        if found["format"] == FORMAT and isinstance(found["key"], str) and "made_from" in found:
            return dict(found)
    except (OSError, ValueError, KeyError, TypeError):
        pass  # whatever it is, it is no export
    raise TrainerError(f"{out} is there and no export: name another folder, or remove it")


def _whole(out: Path, bundle: Bundle) -> bool:
    try:
        Exports.open(
            out, weights=minilm.weights_digest(), fork=bundle.contents.fork, temporal=bundle.contents.temporal
        )
    except ExportsRefused:
        return False  # damaged: it is made anew
    return True


def _put(part: Path, out: Path) -> None:
    """`part` under its name; an older export makes room only then."""
    if out.exists():
        older = Path(tempfile.mkdtemp(prefix=f".{out.name}.old.", dir=out.parent))
        out.rename(older / out.name)
        part.rename(out)
        shutil.rmtree(older)
    else:
        part.rename(out)
