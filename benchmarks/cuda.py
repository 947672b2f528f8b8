"""The encoder on an NVIDIA GPU: `python -m benchmarks.cuda [--data FILE...] [--out FILE.json]`.

Parity with f32 on the CPU, of the vectors and of the seven variables; texts a second of the backend alone and
of the encoder with its lanes, against sentence-transformers on the same card; latency; and the pipeline
without services, in one and in several processes. It needs torch and sentence-transformers. A part that
fails is told, and the others go on.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks import command
from benchmarks.context import Event
from benchmarks.load import SAMPLE, events, repeated
from benchmarks.machine import machine
from worker.bundle.reader import STARTER
from worker.errors import UsageError
from worker.events.perception import Perception
from worker.events.variables import CORES
from worker.features.embedding import most_texts, pack
from worker.inference import cuda, encoder_graph, minilm
from worker.inference.backend import Model
from worker.inference.devices import Policy
from worker.inference.encoder import Encoder
from worker.observability import logging
from worker.pipeline import Pipeline
from worker.settings import Settings

BUDGETS = (256, 1024, 4096, 16_384, 65_536)
BATCHES = (64, 256, 1024, 4096)
"""Sentence-transformers' batches; the best of them counts."""
FULL = 4096
"""Tokens of a call, from which on all texts are run; an eighth of them takes as long in smaller calls."""
REQUESTS = 3
"""Calls under way at once, as the worker has them with its default of two streams."""
FORK = STARTER / "fork.npz"
on_torchs_cpu = partial(cuda.open_on_cuda, device="cpu")

Tokens = Sequence[Sequence[int]]
Vectors = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class Bench:
    """One run: what it feeds, on which of torch's devices, and for how long (`seconds`) each figure."""

    events: Sequence[Event]
    device: str
    folder: Path
    texts: int
    seconds: float
    processes: Sequence[int]

    @property
    def many(self) -> list[str]:
        """The texts of a rate, as often as it takes, in an order that tells nothing."""
        found = [event["text"] for event in repeated(self.events, self.texts)]
        random.Random(1).shuffle(found)  # noqa: S311  an order, not a secret
        return found

    @property
    def backends(self) -> dict[str, str]:
        return {} if self.device == "cuda" else {"CUDA": "benchmarks.cuda:on_torchs_cpu"}

    def settings(self, plan: tuple[str, ...], **chosen: Any) -> Settings:
        return Settings(
            cache_dir=self.folder / "cache",
            run_dir=self.folder / "run",
            device_plan=plan,
            device_backends=self.backends or None,
            shadow_share=0.0,
            bundle=None,
            **chosen,
        )

    def backend(self, precision: str, fork: Path | None) -> Model:
        component = encoder_graph.component(
            cache_dir=self.folder / "cache", fork=fork, requests=REQUESTS, cpu={}
        )
        return cuda.open_on_cuda(component, precision, device=self.device)

    @contextmanager
    def encoder(self, plan: str, precision: str, token_budget: int = 4096) -> Iterator[Encoder]:
        """The product's encoder, forked, on one device."""
        opened = Encoder.open(
            cache_dir=self.folder / "cache",
            plan=(plan,),
            precision=precision,
            threads=len(os.sched_getaffinity(0)),
            streams=REQUESTS - 1,
            token_budget=token_budget,
            fork=FORK,
            policy=Policy(backends=self.backends, shadow_share=0.0),
        )
        try:
            yield opened
        finally:
            opened.close()

    def rate(self, work: Callable[[], object], count: int) -> dict[str, float]:
        """Texts a second (the median of at least three turns, after one that does not count; slowest and
        fastest beside it), and CPU ms a text of this process."""
        work()
        turns: list[float] = []
        used, began = time.process_time(), time.perf_counter()
        while len(turns) < 3 or (time.perf_counter() - began < self.seconds and len(turns) < 50):
            started = time.perf_counter()
            work()
            turns.append(time.perf_counter() - started)
        used = time.process_time() - used
        return {
            "per_s": round(count / statistics.median(turns)),
            "slowest_per_s": round(count / max(turns)),
            "fastest_per_s": round(count / min(turns)),
            "cpu_ms": round(1000 * used / len(turns) / count, 5),
        }


def facts(bench: Bench) -> dict[str, Any]:
    """Card, driver, libraries, machine."""
    found: dict[str, Any] = {
        "torch": torch.__version__,
        "sentence_transformers": version("sentence-transformers"),
        "machine": machine(),
        "texts": len(bench.events),
        "tokens_a_text": round(float(np.mean([len(one) for one in _tokens(bench.many)])), 1),
    }
    if bench.device == "cuda":
        asked = "name,driver_version,memory.total"
        found["card"] = subprocess.run(
            ["nvidia-smi", f"--query-gpu={asked}", "--format=csv,noheader"],  # noqa: S607
            capture_output=True, text=True, check=True, timeout=60,
        ).stdout.strip()  # fmt: skip
        found["cuda"] = torch.version.cuda
        found["attention_by_offsets"] = cuda.varlen_attn is not None
    return found


def parity(bench: Bench) -> dict[str, Any]:
    """Cosines and the largest difference to f32 on the CPU, of the embedding and of the fork's half; and of a
    text alone to itself among others."""
    texts = _distinct(bench)
    with bench.encoder("CPU", "f32", 1024) as encoder:
        exact = encoder.encode(texts)
    found: dict[str, Any] = {"texts": len(texts)}
    for precision in ("bf16", "f32"):
        with bench.encoder("CUDA", precision) as encoder:
            ours = encoder.encode(texts)
            some = texts[:: max(1, len(texts) // 64)]
            alone = np.concatenate([encoder.encode([text]) for text in some])
            found[precision] = {
                **_halves(ours, exact),
                "alone_and_among_others": _halves(alone, ours[:: max(1, len(texts) // 64)]),
            }
    return found


def variables(bench: Bench) -> dict[str, Any]:
    """How far the seven variables move from those with the encoder in f32 on the CPU: mean, 99 %, most."""
    given = bench.events[: len(_distinct(bench))]
    rows = {}
    for name, plan in {"exact": "CPU:f32", "bf16": "CUDA:bf16", "f32": "CUDA:f32"}.items():
        with Pipeline.open(settings=bench.settings((plan,), token_budget=1024)) as pipeline:
            rows[name] = pipeline.perceive(given)
    return {name: _moved(rows[name], rows["exact"]) for name in ("bf16", "f32")} | {"rows": len(given)}


def backend(bench: Bench) -> dict[str, Any]:
    """Texts a second of the backend alone: calls of so many tokens laid out before the clock starts, three
    under way. `sorted`: by length; `mixed`: as they come. With the starter's fork, and without."""
    tokens = _tokens(bench.many)
    orders: dict[str, Tokens] = {"sorted": sorted(tokens, key=len), "mixed": tokens}
    found: dict[str, Any] = {}
    for precision, fork, order in (
        ("bf16", None, "sorted"), ("bf16", FORK, "sorted"), ("bf16", FORK, "mixed"),
        ("f32", None, "sorted"), ("f32", FORK, "sorted"),
    ):  # fmt: skip
        model = bench.backend(precision, fork)
        rates = found[f"{precision}, {'fork' if fork else 'no fork'}, {order}"] = {}
        for budget in BUDGETS:
            some = orders[order] if budget >= FULL else orders[order][::8]
            calls = [pack(call) for call in _calls(some, budget)]
            rates[budget] = bench.rate(lambda: _run(model, calls), len(some))  # noqa: B023  called here
        model.close()
    return found


def lanes(bench: Bench) -> dict[str, Any]:
    """Texts a second of the encoder as the pipeline has it, forked, in bf16: laid out and handed back text by
    text; `tokenised` inside the clock, and before it."""
    found: dict[str, Any] = {}
    for budget in BUDGETS:
        texts = bench.many if budget >= FULL else bench.many[::8]
        with bench.encoder("CUDA", "bf16", budget) as encoder:
            tokens = encoder.tokenise(texts)
            found[f"{budget}"] = bench.rate(lambda: encoder.submit(tokens).result(), len(texts))  # noqa: B023
            if budget >= FULL:
                found[f"{budget}, tokenised"] = bench.rate(lambda: encoder.encode(texts), len(texts))  # noqa: B023
    return found


def sentence_transformers(bench: Bench) -> dict[str, Any]:
    """The same texts, sorted by length, without a fork: `encode`, tokenising inside the clock, and the model
    alone on batches made before, vectors copied back at the end of each."""
    found: dict[str, Any] = {}
    for precision, model in _theirs(bench):
        encode, alone = {}, {}
        for batch in BATCHES:
            texts = bench.many if batch >= 1024 else bench.many[::8]
            tokens = sorted(_tokens(texts), key=len)
            encode[batch] = bench.rate(
                lambda: model.encode(texts, batch_size=batch, show_progress_bar=False),  # noqa: B023
                len(texts),
            )
            made = [_features(tokens[start : start + batch]) for start in range(0, len(tokens), batch)]
            alone[batch] = bench.rate(lambda: _embed(model, made, bench.device), len(texts))  # noqa: B023
        found[precision] = {"encode": encode, "model alone": alone}
    return found


def latency(bench: Bench) -> dict[str, Any]:
    """Ms from tokens (theirs: from texts, ours too where it says so) to vectors of one text and of eight."""
    texts = _distinct(bench)
    turns = max(20, int(400 * min(1.0, bench.seconds)))
    found: dict[str, Any] = {}
    with bench.encoder("CUDA", "bf16", 1024) as encoder:
        for _ in encoder.warm():
            pass
        for count in (1, 8):
            groups = [texts[at % (len(texts) - count) :][:count] for at in range(turns)]
            tokens = [encoder.tokenise(group) for group in groups]
            found[f"{count}"] = _timed(lambda one: encoder.submit(one, live=True).result(), tokens)
            found[f"{count}, tokenised"] = _timed(encoder.encode, groups)
    for precision, model in _theirs(bench):
        for count in (1, 8):
            groups = [texts[at % (len(texts) - count) :][:count] for at in range(turns)]
            found[f"{count}, sentence-transformers {precision}"] = _timed(
                lambda group: model.encode(group, show_progress_bar=False),  # noqa: B023
                groups,
            )
    return found


def pipeline(bench: Bench) -> dict[str, Any]:
    """Reflections a second of `Pipeline.perceive`, no services: so many processes beside each other, each
    with people of its own, the encoder on the card; and all of them with the encoder on the CPU."""
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "TOKENIZERS_PARALLELISM"):
        os.environ.setdefault(name, "false" if name.startswith("T") else "1")
    most = bench.processes[-1]
    runs = [(f"CUDA, {count}", ("CUDA", "CPU"), count) for count in bench.processes]
    found = {}
    for name, plan, count in (*runs, (f"CPU, {most}", ("CPU",), most)):
        each = min(1536, bench.texts) if plan[0] == "CUDA" else min(512, bench.texts)
        context = multiprocessing.get_context("spawn")
        with context.Manager() as manager, ProcessPoolExecutor(count, mp_context=context) as pool:
            start = manager.Barrier(count, timeout=120)
            begun = [pool.submit(_perceive, bench, plan, each, start) for _ in range(count)]
            done = [one.result(300) for one in begun]
        seconds = max(one["ended"] for one in done) - min(one["began"] for one in done)
        found[name] = {
            "per_s": round(count * each / seconds),
            "cpu_ms": round(1000 * sum(one["cpu_s"] for one in done) / (count * each), 3),
            "encoder": done[0]["encoder"],
        }
    return found


PARTS = (facts, parity, variables, backend, sentence_transformers, latency, lanes, pipeline)


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="benchmarks.cuda", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    names = [part.__name__ for part in PARTS]
    parser.add_argument(
        "--data", type=Path, nargs="+", default=[SAMPLE], help="event lines (JSONL) or corpora"
    )
    parser.add_argument("--out", type=Path, help="where to write the figures as JSON")
    parser.add_argument("--quick", action="store_true", help="a small part of the work, for a first look")
    parser.add_argument("--parts", nargs="+", choices=names, default=names, help="which of them")
    parser.add_argument(
        "--device", choices=("cuda", "cpu"), default="cuda", help="cpu shows that all of it runs, no more"
    )
    call = parser.parse_args()
    if call.device == "cuda" and not torch.cuda.is_available():
        raise UsageError("torch sees no CUDA device; --device cpu shows whether the benchmark itself runs")
    logging.configure("warning")
    failed = False
    report: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(prefix="feltsense-cuda-") as folder:
        bench = Bench(
            events=events(call.data),
            device=call.device,
            folder=Path(folder),
            texts=16 if call.quick else 32_768,
            seconds=0.1 if call.quick else 1.0,
            processes=(1, 2) if call.quick else tuple(sorted({1, 4, len(os.sched_getaffinity(0))})),
        )
        for part in PARTS:
            if part.__name__ not in call.parts:
                continue
            began = time.perf_counter()
            try:
                report[part.__name__] = part(bench)
            except Exception:  # noqa: BLE001  told here, and by the exit code
                failed = True
                report[part.__name__] = {"failed": traceback.format_exc(limit=-4)}
            print(f"# {part.__name__}, {time.perf_counter() - began:.0f} s", flush=True)
            _show(report[part.__name__])
            if call.out is not None:
                call.out.parent.mkdir(parents=True, exist_ok=True)
                call.out.write_text(json.dumps(report, indent=2) + "\n")
    sys.exit(failed)


def _show(found: Mapping[str, Any], indent: str = "") -> None:
    for name, value in found.items():
        if isinstance(value, dict) and any(isinstance(one, dict) for one in value.values()):
            print(f"{indent}{name}:")
            _show(value, indent + "  ")
        else:
            print(f"{indent}{name}: {value}", flush=True)


def _distinct(bench: Bench) -> list[str]:
    return [event["text"] for event in bench.events[: min(1024, 16 * bench.texts)]]


def _tokens(texts: Sequence[str]) -> list[list[int]]:
    return [one.ids for one in minilm.tokenizer().encode_batch_fast(list(texts))]


def _calls(tokens: Tokens, budget: int) -> Iterator[Tokens]:
    """As the lanes cut them: texts in their order while the budget lasts."""
    taken: list[Sequence[int]] = []
    left = budget
    for one in tokens:
        if taken and (len(one) > left or len(taken) == most_texts(budget)):
            yield taken
            taken, left = [], budget
        taken.append(one)
        left -= len(one)
    yield taken


def _run(model: Model, calls: Sequence[Any]) -> None:
    for future in [model.submit(call) for call in calls]:
        future.result()


def _halves(ours: Vectors, exact: Vectors) -> dict[str, Any]:
    found = {}
    for name, one, other in zip(
        ("embedding", "fork"), np.hsplit(ours.astype(np.float64), 2), np.hsplit(exact.astype(np.float64), 2),
        strict=True,
    ):  # fmt: skip
        cosines = (one * other).sum(1) / np.linalg.norm(one, axis=1) / np.linalg.norm(other, axis=1)
        found[name] = {
            "cosine_mean": round(float(cosines.mean()), 8),
            "cosine_min": round(float(cosines.min()), 8),
            "largest": round(float(np.abs(one - other).max()), 6),
        }
    return found


def _moved(ours: Sequence[Perception], exact: Sequence[Perception]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name in ("valence", "arousal", "congruence", "comparator"):
        found[name] = [
            getattr(a.placement, name) - getattr(b.placement, name) for a, b in _pairs(ours, exact)
        ]
    found["willingness"] = [a.appraisal.willingness - b.appraisal.willingness for a, b in _pairs(ours, exact)]
    for name in ("invoked", "expressed"):
        both = [(getattr(a.appraisal, name), getattr(b.appraisal, name)) for a, b in _pairs(ours, exact)]
        found[name] = [a.cores[core] - b.cores[core] for a, b in both for core in CORES]
        found[f"{name}, same path"] = round(statistics.mean(a.path == b.path for a, b in both), 4)
    return {
        name: [round(float(of(np.abs(value))), 6) for of in (np.mean, partial(np.quantile, q=0.99), np.max)]
        if isinstance(value, list)
        else value
        for name, value in found.items()
    }


def _pairs(ours: Sequence[Perception], exact: Sequence[Perception]) -> list[tuple[Perception, Perception]]:
    return list(zip(ours, exact, strict=True))


def _theirs(bench: Bench) -> Iterator[tuple[str, Any]]:
    from sentence_transformers import SentenceTransformer

    for precision, kind in (("bf16", torch.bfloat16), ("f32", torch.float32)):
        yield (
            precision,
            SentenceTransformer(
                str(minilm.model_folder()), device=bench.device, model_kwargs={"torch_dtype": kind}
            ),
        )


def _features(tokens: Tokens) -> dict[str, torch.Tensor]:
    ids = np.zeros((len(tokens), max(map(len, tokens))), dtype=np.int64)
    for line, one in enumerate(tokens):
        ids[line, : len(one)] = one
    read = torch.from_numpy(ids)
    made = {"input_ids": read, "attention_mask": (read != 0).long(), "token_type_ids": torch.zeros_like(read)}
    return {name: part.pin_memory() if torch.cuda.is_available() else part for name, part in made.items()}


def _embed(model: Any, batches: Sequence[Mapping[str, torch.Tensor]], device: str) -> None:
    with torch.inference_mode():
        for batch in batches:
            there = {name: part.to(device, non_blocking=True) for name, part in batch.items()}
            model(there)["sentence_embedding"].float().cpu()


def _timed(work: Callable[[Any], object], groups: Sequence[Any]) -> dict[str, float]:
    for group in groups[:10]:
        work(group)
    taken = []
    for group in groups:
        started = time.perf_counter()
        work(group)
        taken.append(1000 * (time.perf_counter() - started))
    return {f"p{part}": round(float(np.percentile(taken, part)), 3) for part in (50, 99)}


def _perceive(bench: Bench, plan: tuple[str, ...], count: int, start: Any) -> dict[str, Any]:
    """In a process of its own: open, take a turn that does not count, wait for the others, work."""
    logging.configure("warning")
    tag = f"{os.getpid()}-"
    given = [
        {**event, "user_id": (tag + event["user_id"])[:128]} for event in repeated(bench.events, 2 * count)
    ]
    threads = {"inference_threads": 1, "streams": 1} if plan == ("CPU",) else {"token_budget": 4096}
    with Pipeline.open(settings=bench.settings(plan, **threads)) as opened:
        opened.perceive(given[:count])
        start.wait()
        began, used = time.time(), time.process_time()
        opened.perceive(given[count:])
        return {
            "began": began,
            "ended": time.time(),
            "cpu_s": time.process_time() - used,
            "encoder": opened.facts()["encoder"],
        }


if __name__ == "__main__":
    command.run(main)
