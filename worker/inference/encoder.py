"""Texts to unit-length sentence embeddings on the device plan, asynchronously."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from worker.features.embedding import TOKEN_BUDGET, pack
from worker.inference import encoder_graph, minilm, packed
from worker.inference.backend import Placed
from worker.inference.devices import Policy
from worker.inference.failover import Failover
from worker.inference.lanes import Encoded, Lanes, Submission

Embeddings = NDArray[np.float32]

_USUAL = 24
"""Tokens of a usual text."""


class Encoder:
    """The sentence encoder, ready to run. `width` is the embedding's length; with a fork that has tuned
    layers a text's vector is twice as long: the embedding, then their mean."""

    width = minilm.HIDDEN

    def __init__(
        self, model: Failover, tokenizer: Tokenizer, *, outputs: int, requests: int, token_budget: int
    ) -> None:
        self._model = model
        self._lanes = Lanes(model, requests=requests, token_budget=token_budget)
        self._tokenizer = tokenizer
        self._outputs = outputs
        self._token_budget = token_budget
        self._users = 1
        self._sharing = threading.Lock()

    @classmethod
    def open(
        cls,
        *,
        cache_dir: Path,
        plan: Sequence[str],
        precision: str = "auto",
        threads: int = 2,
        streams: int = 2,
        token_budget: int = TOKEN_BUDGET,
        fork: Path | None = None,
        policy: Policy | None = None,
    ) -> Encoder:
        """Export the graph if the cache lacks it, compile it on the first device of `plan` that works; `fork`
        is a bundle's tuned upper layers.

        Raises `EncoderMissing`, `DeviceFailed`, `UsageError` for a plan that is none.
        """
        requests = streams + 1  # a live call waits at the device, not behind it
        component = encoder_graph.component(
            cache_dir=cache_dir,
            fork=fork,
            requests=requests,
            token_budget=token_budget,
            # Pinning would put every process of the machine on the same cores.
            cpu={"NUM_STREAMS": streams, "INFERENCE_NUM_THREADS": threads, "ENABLE_CPU_PINNING": False},
        )
        model = Failover.open(component, plan, precision=precision, policy=policy)
        return cls(
            model,
            minilm.tokenizer(),
            outputs=minilm.width_of(fork),
            requests=requests,
            token_budget=token_budget,
        )

    @property
    def placed(self) -> Placed:
        """Where it is computed at present."""
        return self._model.placed

    def skipped(self) -> dict[str, str]:
        """Devices of the plan that are left out at present, with the reason."""
        return self._model.skipped()

    def tokenise(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids with [CLS] and [SEP], at most 256 a text."""
        return [encoding.ids for encoding in self._tokenizer.encode_batch_fast(list(texts))]

    def submit(self, tokens: Sequence[Sequence[int]], *, live: bool = False) -> Future[Encoded]:
        """Encode token ids; rows in the caller's order. `live` texts go before all others that wait."""
        submission = Submission(tokens, self._outputs)
        self._lanes.submit(submission, live=live)
        return submission.future

    def encode(self, texts: Sequence[str]) -> Embeddings:
        """Encode and wait: the vectors as `submit` gives them."""
        return self.submit(self.tokenise(texts)).result().vectors

    def warm(self) -> Iterator[int]:
        """Run calls of every size once, since one never seen costs some milliseconds more; small ones first.
        A step gives its number of texts."""
        for tokens in range(packed.STEP, self._token_budget + 1, packed.STEP):
            texts = -(-tokens // _USUAL)
            lengths = [tokens // texts + (one < tokens % texts) for one in range(texts)]
            self._model.submit(pack([[0] * length for length in lengths]), rows=0).result()
            yield texts

    def share(self) -> Encoder:
        """Itself, for one more user: it closes with the last of them."""
        with self._sharing:
            self._users += 1
        return self

    def close(self) -> None:
        with self._sharing:
            self._users -= 1
            last = not self._users
        if last:
            self._model.close()
