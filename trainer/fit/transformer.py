"""Fits base Tr: copies of the encoder's upper layers, tuned on all text targets at once, with linear heads.

One multi-task model: the corpora are small, and what one teaches (disclosure, sarcasm, what readers see)
helps the others. The lower layers stay frozen and their activations are computed once for all folds, so a
step costs what its upper layers cost; in serving both stacks share the lower layers' work. With queries the
tuned layers compute these few instead of every token.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from trainer.features.activations import Activations, Rows
from trainer.features.targets import Targets
from trainer.plan import Transformer
from worker.appraise import EXPRESSED, INVOKED, RISK, nuance_targets
from worker.events.taxonomy import Taxonomy
from worker.inference import bert, minilm
from worker.inference.minilm import HIDDEN
from worker.models.heads import DenseHeads

Floats = NDArray[np.float64]

_VALUES = ("valence", "arousal", "willingness", "congruence")
_QUERY_SPREAD = 0.5
"""Deviation of the queries at the start, about that of a layer's output."""
_WARM_UP = 0.1
"""Share of the steps over which the learning rate rises."""


@dataclass(frozen=True, kw_only=True)
class Tuned:
    """`tensors` are the tuned copies of the upper layers by their published names, and their queries if they
    have any; `heads` read the mean of their tokens or queries."""

    tensors: Mapping[str, NDArray[np.float32]]
    heads: DenseHeads

    def save(self, path: Path, reader: Mapping[str, NDArray[Any]]) -> None:
        """The bundle's `fork.npz`, with a sentence `reader` beside it (empty: none)."""
        tensors = {name: part.astype(np.float16) for name, part in self.tensors.items()}
        np.savez(path, **tensors, **reader)  # type: ignore[arg-type]


@dataclass(frozen=True, kw_only=True)
class _Task:
    """One head: `names` in the bundle, `goal` [n, k], `weight` [n] or [n, k] with mean 1 over labelled rows
    of a source; `kind` of loss."""

    names: tuple[str, ...]
    goal: Tensor
    weight: Tensor
    kind: str
    share: float


def fit(
    activations: Activations,
    targets: Targets,
    rows: NDArray[np.bool_],
    sources: Sequence[str],
    plan: Transformer,
    taxonomy: Taxonomy,
    *,
    seed: int,
    advance: Callable[[float], None] = lambda _: None,
) -> Tuned:
    """Tune on `rows` [n] (of each source at most its cap, drawn by the seed); `advance` is told shares of the
    whole."""
    torch.manual_seed(seed)
    generator = np.random.default_rng(seed)
    tasks = _tasks(targets, rows, np.array(sources), plan, taxonomy)
    used = _drawn(tasks, rows, np.array(sources), plan, generator)
    layers = bert.Upper(published(plan.queries, generator), activations.depth)
    heads = [nn.Linear(HIDDEN, len(task.names)) for task in tasks]
    with torch.no_grad():
        for head, task in zip(heads, tasks, strict=True):
            if task.kind == "squared":
                head.bias.fill_(0.5)
    of_heads = [part for head in heads for part in head.parameters()]
    optimiser = torch.optim.AdamW(
        [
            {"params": layers.parameters(), "lr": plan.learning_rate},
            {"params": of_heads, "lr": plan.head_rate},
        ],
        weight_decay=plan.weight_decay,
        fused=True,
    )
    batches = [
        batch for _ in range(plan.epochs) for batch in activations.batches(used, plan.batch, generator)
    ]
    total = max(len(batches), 1)
    schedule = warmed(optimiser, total, _WARM_UP)
    parameters = [*layers.parameters(), *of_heads]
    for batch in batches:
        with torch.autocast("cpu", torch.bfloat16):
            seen = functional.dropout(mean_of(layers, *activations.of(batch, plan.tokens)), plan.dropout)
        picked = torch.from_numpy(batch)
        loss = torch.zeros(())
        for head, task in zip(heads, tasks, strict=True):
            loss = loss + task.share * _loss(task, head(seen), picked, plan.focal)
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimiser.step()
        schedule.step()
        advance(1.0 / total)
    # Float16 is what the bundle keeps; the out-of-fold columns are to come from the same numbers.
    tensors = {name: part.astype(np.float16).astype(np.float32) for name, part in layers.tensors().items()}
    return Tuned(tensors=tensors, heads=_heads(heads, tasks))


def pooled(tuned: Tuned, activations: Activations, rows: Rows) -> Floats:
    """What the tuned layers make of `rows`: float64 [len(rows), 384]."""
    return means(tuned.tensors, activations, rows)


def means(tensors: bert.Weights, activations: Activations, rows: Rows) -> Floats:
    """What layers of these `tensors` make of `rows`: float64 [len(rows), 384]."""
    layers = bert.Upper(tensors, minilm.layers_of(tensors)[0]).eval()
    out = np.empty((len(rows), HIDDEN))
    place = np.empty(len(activations.lengths), dtype=np.intp)
    place[rows] = np.arange(len(rows))
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        for batch in activations.batches(rows, 64):
            out[place[batch]] = mean_of(layers, *activations.of(batch)).numpy()
    return out


def mean_of(layers: bert.Upper, x: Tensor, real: Tensor) -> Tensor:
    """What the layers make of texts that `Activations.of` has padded: f32 [b, 384]."""
    out: Tensor = layers(x, bert.Padded(real), len(x))
    return out


def published(queries: int, generator: np.random.Generator) -> bert.Weights:
    """The published weights, and so many queries that are to be learned (0: none)."""
    weights = minilm.read_weights()
    if not queries:
        return weights
    return {**weights, minilm.QUERIES: generator.normal(0.0, _QUERY_SPREAD, (queries, HIDDEN))}


def warmed(optimiser: torch.optim.Optimizer, total: int, share: float) -> torch.optim.lr_scheduler.LambdaLR:
    """A learning rate that rises over the first `share` of `total` steps and falls to 0 with the last."""
    return torch.optim.lr_scheduler.LambdaLR(
        optimiser, lambda step: min(1.0, (step + 1) / (share * total)) * max(0.0, 1.0 - step / total)
    )


def _tasks(
    targets: Targets,
    rows: NDArray[np.bool_],
    sources: NDArray[np.str_],
    plan: Transformer,
    taxonomy: Taxonomy,
) -> list[_Task]:
    tasks = []

    def add(names: Sequence[str], goal: Floats, labelled: NDArray[np.bool_], kind: str, of: str) -> None:
        """`labelled` [n] or [n, k]."""
        if not (labelled.reshape(len(goal), -1).any(axis=1) & rows).any():
            return
        weight = labelled * _evened(targets.dampened, labelled, rows, sources, plan).reshape(
            -1, *(1,) * (labelled.ndim - 1)
        )
        scale = 1.0
        if kind == "squared":
            mass = weight * rows
            mean = (mass * np.nan_to_num(goal[:, 0])).sum() / mass.sum()
            scale = 1.0 / max((mass * (np.nan_to_num(goal[:, 0]) - mean) ** 2).sum() / mass.sum(), 1e-3)
        tasks.append(
            _Task(
                names=tuple(names),
                goal=torch.from_numpy(np.nan_to_num(goal).astype(np.float32)),
                weight=torch.from_numpy((weight * scale).astype(np.float32)),
                kind=kind,
                share=plan.shares.get(of, 1.0),
            )
        )

    for name in _VALUES:
        add((name,), targets.values[name][:, None], targets.weight[name] > 0, "squared", name)
    for name, labels in (("expressed", EXPRESSED), ("invoked", INVOKED)):
        goal = targets.expressed if name == "expressed" else targets.invoked
        labelled = targets.weight[name] > 0
        add(labels, goal, labelled, "classes", name)
        nuances = targets.nuances[name]
        add(nuance_targets(name, taxonomy), nuances, labelled & nuances.any(axis=1), "classes", "nuance")
    for name, native in targets.native.items():
        add(
            [f"{name}.{label}" for label in native.labels],
            native.mass,
            native.weight > 0,
            "classes",
            "native",
        )
    flags = np.isfinite(targets.risk) & (targets.weight["risk"] > 0)[:, None]
    add(RISK, targets.risk, flags, "flags", "risk")
    return tasks


def _evened(
    dampened: Floats,
    labelled: NDArray[np.bool_],
    rows: NDArray[np.bool_],
    sources: NDArray[np.str_],
    plan: Transformer,
) -> Floats:
    """Row weights [n]: within a source as the plan dampens people, with mean 1, times the source's own."""
    has = labelled.reshape(len(labelled), -1).any(axis=1) & rows
    out = np.zeros(len(dampened))
    for name in np.unique(sources[has]):
        here = sources == name
        out[here] = plan.sources.get(str(name), 1.0) * dampened[here] / dampened[here & has].mean()
    return out


def _drawn(
    tasks: Sequence[_Task],
    rows: NDArray[np.bool_],
    sources: NDArray[np.str_],
    plan: Transformer,
    generator: np.random.Generator,
) -> Rows:
    """The rows to learn from: labelled ones, of a source its cap; where all are more than the plan's `rows`
    the largest sources are cut first."""
    taught = np.zeros(len(rows), dtype=bool)
    for task in tasks:
        taught |= task.weight.reshape(len(rows), -1).numpy().any(axis=1)
    drawn = []
    for name in np.unique(sources[rows & taught]):
        here = generator.permutation(np.flatnonzero(rows & taught & (sources == name)))
        drawn.append(here[: plan.caps.get(str(name), len(here))])
    left = sum(map(len, drawn)) if plan.rows is None else plan.rows
    chosen = []
    for number, part in enumerate(sorted(drawn, key=len)):
        chosen.append(part[: left // (len(drawn) - number)])
        left -= len(chosen[-1])
    return np.concatenate(chosen)


def _loss(task: _Task, score: Tensor, picked: Tensor, focal: float) -> Tensor:
    """Mean over the batch, unlabelled rows as 0, so that a rare label is not louder than a common one."""
    goal, weight = task.goal[picked], task.weight[picked]
    if task.kind == "squared":
        each = weight * (score[:, 0] - goal[:, 0]) ** 2
    elif task.kind == "classes":
        log = functional.log_softmax(score, dim=1)
        # Focal loss (Lin et al. 2017): what is sure already counts less.
        each = weight * -(goal * (1.0 - log.exp()) ** focal * log).sum(dim=1)
    else:
        entropy = functional.binary_cross_entropy_with_logits(score, goal, reduction="none")
        each = (weight * entropy).sum(dim=1)
    return each.mean()


def _heads(heads: Sequence[nn.Linear], tasks: Sequence[_Task]) -> DenseHeads:
    return DenseHeads(
        targets=tuple(name for task in tasks for name in task.names),
        weights=np.concatenate([head.weight.detach().numpy().T for head in heads], axis=1).astype(np.float64),
        bias=np.concatenate([head.bias.detach().numpy() for head in heads]).astype(np.float64),
        mean=np.zeros(HIDDEN),
        scale=np.ones(HIDDEN),
    )
