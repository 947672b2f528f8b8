"""Stage A: one text by itself. The text bases predict, their blends become emotions, willingness, risk and
the trace."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from worker.blend.stack import combine
from worker.bundle.contents import Contents
from worker.calibrate import slices
from worker.events.perception import Appraisal, Risk, Trace
from worker.events.reflection import Reflection
from worker.events.taxonomy import Taxonomy
from worker.events.variables import CORES, FLAGS
from worker.features import context
from worker.features.assemble import Features, static_context
from worker.features.language import Language
from worker.features.schema import HISTORY, STATIC
from worker.models.boosted import Boosted
from worker.models.heads import DenseHeads, NgramHeads
from worker.models.hierarchy import descend, softmax
from worker.risk import level

Floats = NDArray[np.float64]
Columns = dict[str, Floats]

CLASSES = (*CORES, "none")
EXPRESSED = tuple(f"expressed.{name}" for name in CLASSES)
INVOKED = tuple(f"invoked.{name}" for name in CORES)
RISK = tuple(f"risk.{flag}" for flag in FLAGS)


def nuance_targets(variable: str, taxonomy: Taxonomy) -> tuple[str, ...]:
    """The 36 head targets of a variable's nuances, in the taxonomy's order."""
    return tuple(f"{variable}.nuance.{core}.{nuance}" for core in CORES for nuance in taxonomy.nuances[core])


class TextModels(Protocol):
    """The fitted text bases: a bundle's contents, or one fold's of the trainer."""

    @property
    def trees(self) -> Mapping[str, Boosted]: ...
    @property
    def ngrams(self) -> NgramHeads: ...
    @property
    def embedding(self) -> DenseHeads: ...
    @property
    def tuned(self) -> DenseHeads | None: ...


@dataclass(frozen=True, slots=True)
class Said:
    """What the heads of one base say: `values` [n, targets]."""

    targets: tuple[str, ...]
    values: Floats

    def __contains__(self, target: str) -> bool:
        return target in _positions(self.targets)

    def __getitem__(self, target: str) -> Floats:
        column: Floats = self.values[:, _positions(self.targets)[target]]
        return column

    def of(self, targets: tuple[str, ...]) -> Floats:
        """Their columns side by side [n, len(targets)]."""
        positions = _positions(self.targets)
        return np.take(self.values, [positions[target] for target in targets], axis=1)


@lru_cache(maxsize=64)
def _positions(targets: tuple[str, ...]) -> dict[str, int]:
    return {target: at for at, target in enumerate(targets)}


def scores_of(contents: TextModels, features: Features) -> dict[str, Said]:
    """What every head of the linear bases says, by base."""
    scores = {
        "Ng": Said(contents.ngrams.targets, contents.ngrams.predict(features.counts)),
        "Eb": Said(contents.embedding.targets, contents.embedding.predict(features.dense)),
    }
    if contents.tuned is not None and features.tuned is not None:
        scores["Tr"] = Said(contents.tuned.targets, contents.tuned.predict(features.tuned))
    return scores


def bases(contents: TextModels, features: Features, scores: Mapping[str, Said]) -> dict[str, Columns]:
    """Every text base's prediction: variable -> base -> [n] (values) or [n, k] (distributions, risk logits);
    `scores` as `scores_of` gives them.

    The trainer's out-of-fold matrix has the same columns, made by the same call on each fold's contents.
    """
    columns: dict[str, Columns] = {
        name: {"Lx": np.clip(contents.trees[name].predict(features.lexical), 0.0, 1.0)}
        for name in ("valence", "arousal", "willingness")
    }
    columns["expressed"] = {"Lx": contents.trees["expressed"].predict(features.lexical)}
    columns["invoked"], columns["congruence"], columns["risk"] = {}, {}, {}
    for base, said in scores.items():
        for name in ("valence", "arousal", "willingness", "congruence"):
            if name in said:
                columns[name][base] = said[name].clip(0.0, 1.0)
        for name, targets in (("expressed", EXPRESSED), ("invoked", INVOKED)):
            if targets[0] in said:
                columns[name][base] = softmax(said.of(targets))
        if RISK[0] in said:
            columns["risk"][base] = said.of(RISK)
    for name, answers in (features.asked or {}).items():
        columns[name]["Ll"] = answers
    return columns


def emotion_features(expressed: Floats, invoked: Floats) -> Floats:
    """What Em reads: log probabilities of expressed [n, 7] and invoked [n, 6] -> [n, 13]."""
    out: Floats = np.log(np.maximum(np.concatenate([expressed, invoked], axis=1), 1e-4))
    return out


def nuance_logits(
    scores: Mapping[str, Said], features: Features, variable: str, taxonomy: Taxonomy
) -> Floats:
    """Logits of a variable's nuances [n, 6, 6]: the mean of the bases that have them, the anchors' cosines
    where none has."""
    targets = nuance_targets(variable, taxonomy)
    logits = [said.of(targets) for said in scores.values() if targets[0] in said]
    mean = np.mean(logits, axis=0) if logits else features.dense[:, -len(targets) :]
    return np.asarray(mean).reshape(-1, 6, 6)


def appraise(
    contents: Contents,
    taxonomy: Taxonomy,
    features: Features,
    *,
    reflections: Sequence[Reflection],
    languages: Sequence[Language],
    screens: Floats,
    facts: Sequence[Mapping[str, Any]],
) -> list[Appraisal]:
    """Appraise a batch; row i of `features`, of `screens` [n, len(FLAGS)] and of the `facts` for its
    provenance belongs to reflection i and no other."""
    static = static_context(reflections, features.lexical)
    alone = context.extract(static)
    scores = scores_of(contents, features)
    columns = bases(contents, features, scores)

    def blended(name: str, of: Columns) -> Any:
        return combine(contents.gates[name], contents.calibrators[name], of, alone)

    text = {kind: blended(f"text_{kind}", columns[kind]) for kind in ("valence", "arousal")}
    expressed = blended("expressed", columns["expressed"])
    invoked = blended("invoked", columns["invoked"])
    columns["willingness"]["Em"] = np.clip(
        contents.emotion.predict(emotion_features(expressed.after, invoked.after))[:, 0], 0.0, 1.0
    )
    willingness = blended("willingness", columns["willingness"])
    shown = expressed.after[:, : len(CORES)]
    overlap = taxonomy.overlap(invoked.after, shown / shown.sum(axis=1, keepdims=True))

    for kind in ("valence", "arousal"):
        for base, column in columns[kind].items():
            static[:, STATIC.index(f"{kind}.{base}")] = column
    static[:, STATIC.index("congruence.overlap")] = overlap
    for base, column in columns["congruence"].items():
        static[:, STATIC.index(f"congruence.{base}")] = column
    history = history_of(reflections, static, text, willingness.after, overlap, shown, invoked.after)

    flags, order = _risk(contents, columns["risk"], screens)
    emotions = {}
    micros = softmax(features.micros * contents.micro_scale)
    for name, classes in (("expressed", expressed.after), ("invoked", invoked.after)):
        logits = nuance_logits(scores, features, name, taxonomy)
        odds = softmax(logits / contents.nuance_temperature[name])
        emotions[name] = [
            descend(taxonomy, one, nuance, micro, contents.thresholds[name], supported=language.supported)
            for one, nuance, micro, language in zip(classes, odds, micros, languages, strict=True)
        ]
    intervals = contents.intervals["willingness"].around(willingness.after, slices.number(static))
    told = zip(facts, willingness.provenance(), expressed.provenance(), invoked.provenance(), strict=True)
    provenance = [{**of, "willingness": w, "expressed": e, "invoked": i} for of, w, e, i in told]
    return [
        Appraisal(
            reflection=reflection,
            trace=Trace(
                id=reflection.id,
                user_id=reflection.user_id,
                created_at=reflection.created_at,
                static=static[row],
                history=history[row],
            ),
            language=languages[row].code,
            language_supported=languages[row].supported,
            invoked=emotions["invoked"][row],
            expressed=emotions["expressed"][row],
            willingness=float(willingness.after[row]),
            willingness_interval=(float(intervals[row, 0]), float(intervals[row, 1])),
            risk=risk_of(flags[row], contents.risk_thresholds, order[row]),
            provenance=provenance[row],
        )
        for row, reflection in enumerate(reflections)
    ]


def risk_of(scores: Floats, thresholds: Mapping[str, float], uncalibrated: Floats | None = None) -> Risk:
    """Scores [len(FLAGS)] as the row's risk, with what orders it: the same scores where no model ran."""
    order = scores if uncalibrated is None else uncalibrated
    return Risk(
        level=level.level(scores, thresholds),
        flags=dict(zip(FLAGS, scores.tolist(), strict=True)),
        thresholds=dict(thresholds),
        uncalibrated=dict(zip(FLAGS, order.tolist(), strict=True)),
    )


def _risk(contents: Contents, logits: Columns, screens: Floats) -> tuple[Floats, Floats]:
    """The models' mean logit through each flag's Platt map, never below the lexical floor; and the same
    before calibration."""
    if not logits:
        return screens, screens
    mean = np.mean(list(logits.values()), axis=0)
    scores = np.stack([contents.calibrators[name].apply(mean[:, at]) for at, name in enumerate(RISK)], axis=1)
    return level.combine(screens, scores), level.uncalibrated(screens, mean)


def history_of(
    reflections: Sequence[Reflection],
    static: Floats,
    text: Mapping[str, Any],
    willingness: Floats,
    overlap: Floats,
    shown: Floats,
    felt: Floats,
) -> Floats:
    """float64 [n, len(HISTORY)]: what later reflections of the person may know of these."""
    reports = [reflection.self_report for reflection in reflections]
    columns: dict[str, Any] = {
        "text_valence": text["valence"].after,
        "text_arousal": text["arousal"].after,
        "self_valence": [np.nan if r is None or r.valence is None else r.valence for r in reports],
        "self_arousal": [np.nan if r is None or r.arousal is None else r.arousal for r in reports],
        "willingness": willingness,
        "overlap": overlap,
        "log_words": static[:, STATIC.index("log_words")],
        **{f"expressed.{core}": shown[:, at] for at, core in enumerate(CORES)},
        **{f"invoked.{core}": felt[:, at] for at, core in enumerate(CORES)},
    }
    out = np.empty((len(reflections), len(HISTORY)))
    for at, name in enumerate(HISTORY):
        out[:, at] = columns[name]
    return out
