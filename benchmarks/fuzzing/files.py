"""Fuzz targets that read files: bundles with their graphs, exports, and whatever a command line names."""

from __future__ import annotations

import contextlib
import io
import json
import os
import shutil
import sys
from pathlib import Path
from random import Random

from benchmarks.fuzzing import mutate
from benchmarks.fuzzing.mutate import EVENT, MARK
from benchmarks.fuzzing.targets import READ, Case, Defect
from worker.errors import BundleRefused, ExportsRefused, FeltsenseError

COMMANDS = (
    "publish", "show", "enrich", "bundle verify", "bundle show", "bundle", "dead-letters list",
    "dead-letters show", "dead-letters retry", "dead-letters drop", "tune", "trace", "version", "import",
    "train", "labels", "evaluate", "leakage", "export", "nonsense", "",
)  # fmt: skip
OPTIONS = (
    "--out", "--data", "--plan", "--report", "--bundle", "--plot", "--limit", "--wait", "--lane", "--text",
    "--seconds", "--reason", "--user", "--older", "--newer", "--before", "--yes", "--all", "--help",
    "--gate", "--dry-run", "--", "-x",
)  # fmt: skip
WORDS = (
    "nowhere", "nowhere/deep/file", ".", "/dev/null", "junk.jsonl", "junk.bin", "junk", "-", "", " ",
    "a\nb", "\udcff", "n" * 300, "0", "-1", "1e9", "NaN", "٣", "9" * 40, "bad_json", "7d", "30 m", "bulk",
    "quick", "emobank", "🙂", "%s", "$(id)", "../..", "/proc/self/mem", "--out=", "u-17",
)  # fmt: skip
SETTINGS = (
    "STREAMS", "LOG_LEVEL", "EVENT_KEY", "BUNDLE", "DEVICE_PLAN", "DEVICE_MEMORY_MB", "BROKER_URL",
    "DATABASE_URL",
)  # fmt: skip
NOBODY = {
    "FELTSENSE_BROKER_URL": "redis://127.0.0.1:1/0",
    "FELTSENSE_DATABASE_URL": "postgresql://x@127.0.0.1:1/x",
}
"""Services that answer nobody."""
SLOW = frozenset({"train", "evaluate", "export", "tune", "trace"})
"""With good files they would work for minutes: here their arguments are never all good."""


def manifest(folder: Path) -> Case:
    """A bundle's manifest."""
    from worker.bundle.manifest import NAME, read

    copy = _bundle(folder)
    whole = (copy / NAME).read_bytes()

    def case(random: Random) -> str:
        changed = mutate.encoded(mutate.tree(random, json.loads(whole)))
        (copy / NAME).write_bytes(mutate.spoiled(random, changed) if random.random() < 0.5 else changed)
        try:
            read(copy)
        except BundleRefused:
            return "bundle refused"
        return READ

    return case


def bundle(folder: Path) -> Case:
    """A bundle's parts, damaged before their digests were taken."""
    from worker.bundle import manifest as facts
    from worker.bundle.reader import load

    copy = _bundle(folder)
    whole = json.loads((copy / facts.NAME).read_bytes())
    parts = {name: (copy / name).read_bytes() for name in whole["files"]}

    def case(random: Random) -> str:
        name = random.choice([one for one in parts if not one.startswith("temporal")])
        changed = parts[name]
        if name.endswith(".json") and random.random() < 0.6:
            changed = mutate.encoded(mutate.tree(random, json.loads(changed)))
        else:
            changed = mutate.spoiled(random, changed)
        (copy / name).write_bytes(changed)
        files = {**whole["files"], name: facts.digest_of(copy / name)}
        told = {**whole, "files": files, "model_version": facts.version_of(files)}
        (copy / facts.NAME).write_text(json.dumps(told))
        try:
            load(copy)
        except BundleRefused:
            return "bundle refused"
        finally:
            (copy / name).write_bytes(parts[name])
        return READ

    return case


def ir(folder: Path) -> Case:
    """The temporal net's graph and weights, damaged before their digests were taken."""
    from worker.inference.temporal_net import TemporalNet

    copy = _bundle(folder)
    graph, weights = copy / "temporal.xml", copy / "temporal.bin"
    whole = {path: path.read_bytes() for path in (graph, weights)}

    def case(random: Random) -> str:
        path = random.choice((graph, graph, weights))
        path.write_bytes(mutate.spoiled(random, whole[path]))
        try:
            TemporalNet.open(graph, plan=("CPU",), cache_dir=folder / "cache").close()
        except FeltsenseError as error:
            return type(error).__name__
        finally:
            path.write_bytes(whole[path])
            shutil.rmtree(folder / "cache", ignore_errors=True)
        return READ

    return case


def exports(folder: Path) -> Case:
    """The manifest and the parity report of `feltsense export`."""
    from worker.inference import exports as made

    copy = _bundle(folder)
    place = folder / "exports"
    place.mkdir(exist_ok=True)
    graph = place / "encoder-fp16.xml"
    graph.write_text("<net/>")
    parity = {"graphs": {"encoder-fp16": {"verdict": "exact", "shapes": [[1, 16]]}}}
    sources = made.sources("w", None, copy / "temporal.xml")

    def written(random: Random, name: str, what: object) -> None:
        changed = mutate.encoded(mutate.tree(random, what))
        (place / name).write_bytes(mutate.spoiled(random, changed) if random.random() < 0.3 else changed)

    def case(random: Random) -> str:
        written(random, made.PARITY, parity)
        digests = {one: made.digest_of(place / one) for one in (graph.name, made.PARITY)}
        written(random, made.MANIFEST, {"format": made.FORMAT, "made_from": sources, "files": digests})
        try:
            made.Exports.open(place, weights="w", fork=None, temporal=copy / "temporal.xml")
        except ExportsRefused:
            return "exports refused"
        return READ

    return case


def cli(folder: Path) -> Case:
    """`feltsense` with any arguments and settings, where no service is. `up`, `doctor` and `synth` read
    nothing that somebody else wrote."""
    from worker import cli as program

    os.chdir(folder)
    (folder / "junk").mkdir(exist_ok=True)
    extensions = list(program.metadata.entry_points(group=program.EXTENSIONS))
    for extension in extensions:
        program.app.add_typer(extension.load())
    # Loaded once, not once a case.
    program.metadata.entry_points = lambda **_: ()  # type: ignore[assignment]
    junk = mutate.encoded(EVENT)

    def case(random: Random) -> str:
        (folder / "junk.jsonl").write_bytes(mutate.spoiled(random, junk)[:-1])
        (folder / "junk.bin").write_bytes(random.randbytes(200))
        words = random.choice(COMMANDS).split()
        for _ in range(random.choice((0, 1, 1, 2, 2, 3, 5))):
            words.append(random.choice(OPTIONS if random.random() < 0.4 else WORDS))
        if (
            "train" in words
            or "evaluate" in words
            or "export" in words
            or "tune" in words
            or "trace" in words
        ):
            words.append("--no-such-option")  # with good files they would work for minutes
        environment = dict(NOBODY)
        if random.random() < 0.15:
            environment[f"FELTSENSE_{random.choice(SETTINGS)}"] = random.choice(WORDS)
        said = io.StringIO()
        before = dict(os.environ)
        os.environ.update(environment)
        sys.argv = ["feltsense", *words]
        try:
            with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
                sys.stdin = io.TextIOWrapper(io.BytesIO(b""))
                program.main()
            code: object = 0
        except SystemExit as ended:
            code = ended.code or 0
        finally:
            os.environ.clear()
            os.environ.update(before)
        if code not in (0, 2, 3, 4):
            raise Defect(f"exit code {code} of {words} with {environment}: {said.getvalue()[-300:]}")
        if MARK in said.getvalue():
            raise Defect(f"{words} repeats the text")
        return f"exit {code}"

    return case


def _bundle(folder: Path) -> Path:
    """A copy of the small bundle that was made for all."""
    copy = folder / "bundle"
    if not copy.exists():
        shutil.copytree(folder.parent / "tiny", copy)
    return copy
