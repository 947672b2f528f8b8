"""A small whole bundle with seeded random weights: every part real, none of it worth believing."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import lightgbm as lgb
import numpy as np
import openvino as ov
from openvino import opset15 as op

from worker.appraise import CLASSES, EXPRESSED, INVOKED, RISK, nuance_targets
from worker.blend.gate import Gate
from worker.bundle import writer
from worker.bundle.contents import GATED, INTERVALS, TREES, Contents
from worker.bundle.manifest import EncoderFacts, Manifest
from worker.calibrate.interval import Interval
from worker.calibrate.maps import IDENTITY, Calibrator
from worker.events.taxonomy import taxonomy
from worker.events.variables import FLAGS
from worker.features import schema
from worker.features.lexical import LEXICAL
from worker.features.sequence import NOW, STEPS
from worker.inference import minilm
from worker.models.boosted import Boosted
from worker.models.heads import DenseHeads, NgramHeads
from worker.models.hierarchy import Thresholds

BITS = 10
BASES = {
    "text_valence": ("Lx", "Ng", "Eb"),
    "text_arousal": ("Lx", "Ng", "Eb"),
    "valence": ("Lx", "Ng", "Eb", "Tm"),
    "arousal": ("Lx", "Ng", "Eb", "Tm"),
    "willingness": ("Lx", "Ng", "Eb", "Em"),
    "expressed": ("Lx", "Ng", "Eb"),
    "invoked": ("Ng", "Eb"),
    "congruence": ("overlap", "Eb", "GRU"),
    "expected_valence": ("Tm", "GRU"),
    "expected_arousal": ("Tm", "GRU"),
}


def write(folder: Path, *, seed: int = 1, gates: Mapping[str, Gate] | None = None) -> Manifest:
    """Write the bundle to `folder`, with `gates` instead of its own of the name; equal seeds give equal
    bundles."""
    generator = np.random.default_rng(seed)
    contents, trees = _contents(generator, folder.parent / f"{folder.name}-parts")
    contents = replace(contents, gates={**contents.gates, **(gates or {})})
    facts = {
        "name": "tiny",
        "created_at": "2026-11-22T00:00:00+00:00",
        "feature_schema": schema.DIGEST,
        "taxonomy": taxonomy().version,
        "encoder": EncoderFacts(name=minilm.NAME, digest=minilm.weights_digest(), width=minilm.HIDDEN),
        "ngram_bits": BITS,
        "data": [],
        "splits": {},
        "evidence": {"invoked": "synthetic"},
        "metrics": {},
        "leakage": {},
        "libraries": {},
        "seed": seed,
    }
    return writer.write(folder, contents, facts=facts, trees=trees, card="# tiny\n")


def _contents(generator: np.random.Generator, parts: Path) -> tuple[Contents, dict[str, str]]:
    parts.mkdir(parents=True, exist_ok=True)
    words = taxonomy()
    shared = ("valence", "arousal", "willingness", *EXPRESSED, *INVOKED, *RISK)
    nuances = (*nuance_targets("expressed", words), *nuance_targets("invoked", words))
    trees = {name: _tree(generator, classes=len(CLASSES) if name == "expressed" else 1) for name in TREES}
    contents = Contents(
        trees={name: Boosted.parse(text) for name, text in trees.items()},
        ngrams=NgramHeads(
            targets=shared,
            bits=BITS,
            idf=np.ones(1 << BITS, dtype=np.float32),
            weights=(generator.normal(0, 0.3, (1 << BITS, len(shared))))
            .astype(np.float16)
            .astype(np.float32),
            bias=np.full(len(shared), 0.4),
        ),
        embedding=_heads(generator, (*shared, "congruence", *nuances), 2 * minilm.HIDDEN + 44),
        emotion=_heads(generator, ("willingness",), 13),
        forecast=_heads(generator, ("valence", "arousal"), len(schema.TEMPORAL)),
        personal=_heads(generator, ("valence", "arousal"), len(schema.PERSONAL)),
        temporal=_net(generator, parts / "temporal.xml"),
        gates={
            name: Gate(
                bases=bases,
                slopes=generator.normal(0, 0.2, (len(schema.CONTEXT), len(bases))),
                bias=np.zeros(len(bases)),
                mean=np.zeros(len(schema.CONTEXT)),
                scale=np.ones(len(schema.CONTEXT)),
                trees=_gate_trees(len(bases)) if name == "valence" else None,
            )
            for name, bases in BASES.items()
        },
        calibrators={
            **dict.fromkeys(GATED, IDENTITY),
            **dict.fromkeys(
                RISK, Calibrator(kind="platt", x=np.zeros(0), y=np.zeros(0), slope=1.0, intercept=-4.0)
            ),
        },
        intervals={
            name: Interval(
                edges=np.zeros((1, 0)),
                below=np.array([[0.1]]),
                above=np.array([[0.1]]),
                lowest=-1.0 if name == "comparator" else 0.0,
                highest=1.0,
            )
            for name in INTERVALS
        },
        thresholds={name: Thresholds(core=0.2, nuance=0.05, micro=0.01) for name in ("expressed", "invoked")},
        nuance_temperature={"expressed": 1.0, "invoked": 1.0},
        micro_scale=10.0,
        risk_thresholds=dict.fromkeys(FLAGS, 0.5),
    )
    return contents, trees


def _heads(generator: np.random.Generator, targets: tuple[str, ...], width: int) -> DenseHeads:
    return DenseHeads(
        targets=targets,
        weights=generator.normal(0, 0.02, (width, len(targets))).astype(np.float32).astype(np.float64),
        bias=np.full(len(targets), 0.5),
        mean=np.zeros(width),
        scale=np.ones(width),
    )


def _tree(generator: np.random.Generator, *, classes: int) -> str:
    rows = generator.normal(size=(200, len(LEXICAL)))
    if classes == 1:
        objective, label = {"objective": "regression"}, 1 / (1 + np.exp(-rows[:, 0]))
    else:
        objective, label = (
            {"objective": "multiclass", "num_class": classes},
            generator.integers(0, classes, 200),
        )
    options = {
        **objective,
        "num_leaves": 4,
        "verbose": -1,
        "num_threads": 1,
        "deterministic": True,
        "seed": 1,
    }
    return lgb.train(options, lgb.Dataset(rows, label), num_boost_round=3).model_to_string()


def _gate_trees(bases: int) -> str:
    rows = np.random.default_rng(bases).normal(size=(200, len(schema.CONTEXT)))
    options = {
        "objective": lambda scores, _: (scores - rows[:, :bases], np.ones_like(scores)),
        "num_class": bases,
        "num_leaves": 4,
        "verbose": -1,
        "num_threads": 1,
        "deterministic": True,
        "seed": 1,
    }
    return lgb.train(options, lgb.Dataset(rows, np.zeros(200)), num_boost_round=3).model_to_string()


def _net(generator: np.random.Generator, path: Path) -> Path:
    """sigmoid(masked mean of the steps @ W + now @ V): the real net's inputs and outputs."""
    steps = op.parameter([-1, schema.SEQUENCE_LENGTH, len(STEPS)], ov.Type.f32, name="steps")
    mask = op.parameter([-1, schema.SEQUENCE_LENGTH], ov.Type.f32, name="mask")
    now = op.parameter([-1, len(NOW)], ov.Type.f32, name="now")
    axis = op.constant(np.array([1]))
    seen = op.reduce_sum(op.multiply(steps, op.unsqueeze(mask, op.constant(np.array([2])))), axis)
    weights = [
        op.constant(generator.normal(0, 0.3, (n, 3)).astype(np.float32)) for n in (len(STEPS), len(NOW))
    ]
    total = op.add(op.matmul(seen, weights[0], False, False), op.matmul(now, weights[1], False, False))
    network = ov.Model([op.sigmoid(total)], [steps, mask, now], "temporal")
    for place, node in enumerate(network.get_ordered_ops()):
        node.set_friendly_name(
            f"{node.get_type_name()}_{place}"
        )  # the default names count up within a process
    network.outputs[0].get_tensor().set_names({"forecast"})
    ov.save_model(network, path, compress_to_fp16=False)
    return path
