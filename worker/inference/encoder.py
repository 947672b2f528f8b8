"""Texts to unit-length sentence embeddings on the device plan, asynchronously."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import openvino as ov
from numpy.typing import NDArray
from tokenizers import Tokenizer

from worker.errors import DeviceFailed
from worker.features.embedding import BATCHES, BUCKETS, shape
from worker.inference import minilm
from worker.inference.compiled import Array, AsyncModel
from worker.inference.devices import Placed, compile_on

Embeddings = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True, slots=True)
class Encoded:
    """Texts as vectors f32 [n, width, or twice that with a fork]; `placed[i]` is what computed row i."""

    vectors: Embeddings
    placed: Sequence[Placed]


class Encoder:
    """The sentence encoder, ready to run. `width` is the embedding's length; with a fork a text's vector is
    twice as long: the embedding, then the tuned layers' mean."""

    width = minilm.HIDDEN

    def __init__(self, model: AsyncModel, tokenizer: Tokenizer, *, outputs: int) -> None:
        self._model = model
        self._tokenizer = tokenizer
        self._outputs = outputs

    @classmethod
    def open(
        cls,
        *,
        cache_dir: Path,
        plan: Sequence[str],
        precision: str = "auto",
        threads: int = 2,
        streams: int = 2,
        fork: Path | None = None,
    ) -> Encoder:
        """Export the graph if the cache lacks it, compile it on the first device of `plan` that works; `fork`
        is a bundle's tuned upper layers.

        Raises `EncoderMissing`, `DeviceFailed`.
        """
        tokenizer = Tokenizer.from_file(str(minilm.model_folder() / "tokenizer.json"))
        tokenizer.no_padding()
        tokenizer.enable_truncation(minilm.MAX_TOKENS)
        placed = compile_on(
            ov.Core(),
            minilm.exported(cache_dir, fork),
            component="encoder",
            plan=plan,
            precision=precision,
            # Pinning would put every process of the machine on the same cores.
            cpu={"NUM_STREAMS": streams, "INFERENCE_NUM_THREADS": threads, "ENABLE_CPU_PINNING": False},
            cache_dir=cache_dir,
        )
        outputs = cls.width if fork is None else 2 * cls.width
        return cls(AsyncModel(placed, requests=streams + 1), tokenizer, outputs=outputs)

    @property
    def placed(self) -> Placed:
        return self._model.placed

    def tokenise(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids with [CLS] and [SEP], at most 256 a text."""
        return [encoding.ids for encoding in self._tokenizer.encode_batch_fast(list(texts))]

    def submit(self, tokens: Sequence[Sequence[int]]) -> Future[Encoded]:
        """Encode token ids; rows in the caller's order."""
        whole: Future[Encoded] = Future()
        out = np.empty((len(tokens), self._outputs), dtype=np.float32)
        placed = [self.placed] * len(tokens)
        calls = list(shape(tokens))
        if not calls:
            whole.set_result(Encoded(vectors=out, placed=placed))
            return whole
        left = len(calls)
        lock = threading.Lock()

        def arrived(part: Future[Array], rows: NDArray[np.intp]) -> None:
            nonlocal left
            error = part.exception()
            if error is None:
                out[rows] = part.result()
            with lock:
                left -= 1
                if whole.done():
                    return
                if error is not None:
                    whole.set_exception(
                        DeviceFailed(f"encoder failed on {self.placed.actual}: {type(error).__name__}")
                    )
                elif left == 0:
                    whole.set_result(Encoded(vectors=out, placed=placed))

        for call in calls:
            part = self._model.submit([call.ids, call.mask])
            part.add_done_callback(lambda done, rows=call.rows: arrived(done, rows))  # type: ignore[misc]
        return whole

    def encode(self, texts: Sequence[str]) -> Embeddings:
        """Encode and wait: the vectors as `submit` gives them."""
        return self.submit(self.tokenise(texts)).result().vectors

    def warm(self, longest: int = 128) -> None:
        """Run every shape up to `longest` tokens once: a shape seen for the first time costs up to 140 ms."""
        for bucket in BUCKETS:
            if bucket <= longest:
                for batch in BATCHES:
                    ids = np.zeros((batch, bucket), dtype=np.int32)
                    self._model.submit([ids, np.ones((batch, bucket), dtype=np.float32)]).result()

    def close(self) -> None:
        self._model.close()
