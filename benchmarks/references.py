"""The simple references a bundle has to beat, measured inside the corpora's training parts: `python -m
benchmarks.references`.

No pipeline of ours takes part: TF-IDF and frozen MiniLM embeddings under a ridge or a logistic regression,
person-wise 5-fold (EmoBank: train to dev). The last column has figures of the same recipe that were
known before; that both agree is what shows `trainer.evaluate.metrics.composite` to be their definition.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from scipy.sparse import hstack
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression, Ridge, RidgeCV
from sklearn.metrics import f1_score
from sklearn.model_selection import GroupKFold, KFold

from trainer.data.corpora.importer import import_corpus
from trainer.data.labelled import Labelled, load
from trainer.evaluate.metrics import auc, average_precision, composite, pearson
from worker.inference.encoder import Encoder
from worker.observability import logging
from worker.settings import Settings

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
FOLDS = 5
SHRINKAGE = 3.0
"""Earlier check-ins that the overall mean counts for in a person's shrunken mean."""

Vector = NDArray[np.float64]
Split = tuple[NDArray[np.intp], NDArray[np.intp]]
Encode = Callable[[Sequence[str]], NDArray[np.float32]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Figure:
    """One measured number (or several joined by a slash) beside the published one."""

    name: str
    measured: str
    published: str


def tfidf(texts: Sequence[str], target: Vector, splits: Sequence[Split]) -> Vector:
    """Held-out ridge predictions from TF-IDF of words 1-2 and characters 2-5; NaN where no split predicts."""
    out = np.full(len(texts), np.nan)
    for train, test in splits:
        known, asked = [texts[i] for i in train], [texts[i] for i in test]
        words = TfidfVectorizer(ngram_range=(1, 2), min_df=2, sublinear_tf=True)
        characters = TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 5), min_df=2, sublinear_tf=True)
        fitted = hstack([part.fit_transform(known) for part in (words, characters)]).tocsr()
        held_out = hstack([part.transform(asked) for part in (words, characters)]).tocsr()
        out[test] = Ridge(alpha=2.0).fit(fitted, target[train]).predict(held_out)
    return out


def embedded(embeddings: NDArray[np.float32], target: Vector, splits: Sequence[Split]) -> Vector:
    """Held-out ridge predictions from the embeddings; the penalty is chosen inside each training part."""
    out = np.full(len(target), np.nan)
    for train, test in splits:
        ridge = RidgeCV(np.logspace(-1, 2, 7)).fit(embeddings[train], target[train])
        out[test] = ridge.predict(embeddings[test])
    return out


def classified(embeddings: NDArray[np.float32], outcome: Vector, splits: Sequence[Split]) -> Vector:
    """Held-out probabilities of a balanced logistic regression on the embeddings."""
    out = np.full(len(outcome), np.nan)
    for train, test in splits:
        model = LogisticRegression(C=1.0, class_weight="balanced", max_iter=2000)
        out[test] = model.fit(embeddings[train], outcome[train]).predict_proba(embeddings[test])[:, 1]
    return out


def earlier_mean(rows: Sequence[Labelled], target: Vector) -> Vector:
    """Each row's person's mean target before it, less the overall mean, shrunken towards 0 (no history:
    0)."""
    out = np.zeros(len(rows))
    order = sorted(range(len(rows)), key=lambda i: (rows[i].reflection.created_at, rows[i].reflection.id))
    sums: dict[str, tuple[float, int]] = {}
    for i in order:
        user = rows[i].reflection.user_id
        total, count = sums.get(user, (0.0, 0))
        out[i] = total / (count + SHRINKAGE)
        sums[user] = (total + target[i] - target.mean(), count + 1)
    return out


def semeval(rows: Sequence[Labelled], encode: Encode) -> Iterator[Figure]:
    texts, people = _texts(rows), _people(rows)
    splits = list(GroupKFold(FOLDS).split(texts, groups=people))
    embeddings = encode(texts)
    published = {
        "valence": (".585 / .628 / .631", ".696 (.570, .789)"),
        "arousal": (".330 / .320 / .348", ".473 (.240, .654)"),
    }
    for name, (text_only, with_history) in published.items():
        target = np.array([row.labels[name] for row in rows])
        first, second = tfidf(texts, target, splits), embedded(embeddings, target, splits)
        average = (first + second) / 2
        values = " / ".join(f"{composite(target, p, people).value:.3f}" for p in (first, second, average))
        yield Figure(
            name=f"SemEval-2026 {name}, composite r, TF-IDF / MiniLM / average",
            measured=values,
            published=text_only,
        )
        r = composite(target, average + earlier_mean(rows, target) / 2, people)
        yield Figure(
            name=f"SemEval-2026 {name}, composite r (within, between), with history",
            measured=f"{r.value:.3f} ({r.within:.3f}, {r.between:.3f})",
            published=with_history,
        )


def emobank(rows: Sequence[Labelled], encode: Encode) -> Iterator[Figure]:
    texts = _texts(rows)
    dev = np.array([row.labels["split"] == "dev" for row in rows])
    splits = [(np.flatnonzero(~dev), np.flatnonzero(dev))]
    embeddings = encode(texts)
    for name, published in (("valence", ".567 / .637 / .655"), ("arousal", ".453 / .485 / .521")):
        target = np.array([row.labels[name] for row in rows])
        first, second = tfidf(texts, target, splits), embedded(embeddings, target, splits)
        values = [pearson(target[dev], p[dev]) for p in (first, second, (first + second) / 2)]
        yield Figure(
            name=f"EmoBank dev {name}, r, TF-IDF / MiniLM / average",
            measured=" / ".join(f"{value:.3f}" for value in values),
            published=published,
        )


def offmychest(rows: Sequence[Labelled], encode: Encode) -> Iterator[Figure]:
    texts = _texts(rows)
    splits = list(GroupKFold(FOLDS).split(texts, groups=_people(rows)))
    embeddings = encode(texts)
    for name, published in (("emotional_disclosure", ".698"), ("informational_disclosure", ".695")):
        outcome = np.array([float(row.labels[name]) for row in rows])
        value = auc(outcome, classified(embeddings, outcome, splits))
        yield Figure(name=f"OffMyChest {name}, AUC, MiniLM", measured=f"{value:.3f}", published=published)


def isarcasm(rows: Sequence[Labelled], encode: Encode) -> Iterator[Figure]:
    tweets = [row for row in rows if not row.labels["rephrase"]]
    outcome = np.array([float(row.labels["risk"]["sarcasm"]) for row in tweets])
    splits = list(KFold(FOLDS, shuffle=True, random_state=0).split(outcome))
    score = classified(encode(_texts(tweets)), outcome, splits)
    f1 = f1_score(outcome, score > 0.5)
    yield Figure(
        name="iSarcasm, F1 / AUC, MiniLM",
        measured=f"{f1:.3f} / {auc(outcome, score):.3f}",
        published=".42 / .63",
    )


def cssrs(rows: Sequence[Labelled], encode: Encode) -> Iterator[Figure]:
    outcome = np.array([float(row.labels["risk"]["suicidal_ideation"]) for row in rows])
    splits = list(GroupKFold(FOLDS).split(outcome, groups=_people(rows)))
    score = classified(encode(_texts(rows)), outcome, splits)
    yield Figure(
        name="C-SSRS posts at risk, AUC / AP, MiniLM",
        measured=f"{auc(outcome, score):.3f} / {average_precision(outcome, score):.3f}",
        published=".782 / .468",
    )


REFERENCES = {
    "semeval2026": ("semeval2026_task2", semeval),
    "emobank": ("emobank", emobank),
    "offmychest": ("claff_offmychest", offmychest),
    "isarcasm": ("isarcasmeval", isarcasm),
    "cssrs": ("cssrs_reddit500", cssrs),
}


def main() -> None:
    parser = argparse.ArgumentParser(prog="benchmarks.references", description=__doc__)
    parser.add_argument(
        "corpora", nargs="*", metavar="CORPUS", help=f"of {', '.join(REFERENCES)}; all if none"
    )
    parser.add_argument("--data", type=Path, default=DATA, help="folder of the corpora (../shared/data)")
    options = parser.parse_args()
    chosen = options.corpora or list(REFERENCES)
    if unknown := set(chosen) - set(REFERENCES):
        parser.error(f"no reference for {', '.join(sorted(unknown))}")
    if not options.data.is_dir():
        parser.error(f"no corpora in {options.data}: name their folder with --data")
    logging.configure("warning")
    console = Console()
    settings = Settings()
    encoder = Encoder.open(cache_dir=settings.cache_dir, plan=("CPU",), threads=settings.inference_threads)
    table = Table("reference", "measured", "published")
    with tempfile.TemporaryDirectory() as scratch, console.status("measuring") as status:
        for name in chosen:
            status.update(f"measuring {name}")
            folder, measure = REFERENCES[name]
            out = Path(scratch) / f"{name}.jsonl"
            import_corpus(name, options.data / folder, out, now=datetime.now(UTC))
            for figure in measure(load([out]), encoder.encode):
                table.add_row(figure.name, figure.measured, figure.published)
    encoder.close()
    console.print(table)


def _texts(rows: Sequence[Labelled]) -> list[str]:
    return [row.reflection.text for row in rows]


def _people(rows: Sequence[Labelled]) -> NDArray[np.str_]:
    return np.array([row.reflection.user_id for row in rows])


if __name__ == "__main__":
    main()
