"""Base Ll: an optional language model behind an OpenAI-compatible endpoint reads a text and answers in
numbers.

Off unless an endpoint is named, because whoever runs the endpoint reads the text: the promise that no text
leaves the operator's machines holds only for an endpoint on them. What cannot be had in time is masked (NaN),
never guessed. No text, of the writer or of the endpoint, enters a log, a metric or an exception.
"""

from __future__ import annotations

import sqlite3
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from types import TracebackType
from typing import Protocol, Self

import httpx2
import numpy as np
import orjson
import prometheus_client
from numpy.typing import NDArray
from pydantic import SecretStr

from worker.errors import UsageError
from worker.events.variables import CORES
from worker.inference.llm_answers import Answers, digest
from worker.inference.llm_question import VALUES, VERSION, WIDTH, Numbers, question, read
from worker.observability.logging import logger

Floats = NDArray[np.float64]

TRIES = 3
BACKOFF_S = 0.25
"""Before the second try, doubled before the next; only after 429 and 5xx."""
REST_S = 30.0
"""After a call in which the endpoint was absent or slow for every text, nobody waits for it this long."""
LARGEST = 1 << 16
"""Bytes of an answer; sixteen numbers need a few hundred."""

ANSWERS = prometheus_client.Counter(
    "feltsense_llm_answers", "Texts put to base Ll, by how it ended.", ["outcome"]
)


class Endpoint(Protocol):
    """What of the settings concerns base Ll."""

    @property
    def cache_dir(self) -> Path: ...
    @property
    def llm_url(self) -> str | None: ...
    @property
    def llm_model(self) -> str | None: ...
    @property
    def llm_key(self) -> SecretStr | None: ...
    @property
    def llm_timeout_s(self) -> float: ...
    @property
    def llm_concurrency(self) -> int: ...


@dataclass(frozen=True, kw_only=True)
class Asked:
    """`valence`, `arousal`, `willingness` [n], `expressed` [n, 7] (CORES and none) and `invoked` [n, 6], all
    0-1, rows of NaN where masked; `masked` counts those by reason: absent, slow, busy, refused, nonsense,
    resting."""

    valence: Floats
    arousal: Floats
    willingness: Floats
    expressed: Floats
    invoked: Floats
    masked: Mapping[str, int]

    def columns(self) -> dict[str, Floats]:
        """Base Ll's columns by variable."""
        names = ("valence", "arousal", "willingness", "expressed", "invoked")
        return {name: getattr(self, name) for name in names}


class Asker:
    """An open endpoint with its cache. Open it with `Asker.open(settings)`, preferably in a `with`
    statement."""

    def __init__(
        self, client: httpx2.Client, model: str, answers: Answers, *,
        timeout_s: float, concurrency: int, rest_s: float,
    ) -> None:  # fmt: skip
        self.identity = f"{model} prompt {VERSION}"
        self._client = client
        self._model = model
        self._answers = answers
        self._timeout_s = timeout_s
        self._rest_s = rest_s
        self._rested_at_s = 0.0
        self._closed = Event()
        self._pool = ThreadPoolExecutor(concurrency, thread_name_prefix="llm")

    @classmethod
    def open(cls, settings: Endpoint, *, rest_s: float = REST_S) -> Self | None:
        """The endpoint of the settings, None when they name none; it is first reached at the first question.

        Raises `UsageError` for a URL that is none or a model that is not named, `FeltsenseError` for a
        damaged cache.
        """
        if settings.llm_url is None:
            return None
        try:
            url = httpx2.URL(settings.llm_url)
        except httpx2.InvalidURL:
            url = httpx2.URL("")
        if url.scheme not in ("http", "https") or not url.host:
            raise UsageError("FELTSENSE_LLM_URL is no http(s) URL; write e.g. http://127.0.0.1:8080/v1")
        if not settings.llm_model:
            raise UsageError("FELTSENSE_LLM_URL names an endpoint, and FELTSENSE_LLM_MODEL no model")
        if url.host not in ("localhost", "127.0.0.1", "::1"):
            logger.warning("llm_reads_text_elsewhere", host=url.host)
        key = settings.llm_key.get_secret_value() if settings.llm_key is not None else None
        client = httpx2.Client(
            base_url=url,
            headers={"Authorization": f"Bearer {key}"} if key else {},
            # The text goes to the named endpoint and nowhere else: no proxy of the environment, no redirect.
            trust_env=False,
            follow_redirects=False,
            verify=url.scheme == "https",  # an http client need not load the machine's certificates
            limits=httpx2.Limits(max_connections=settings.llm_concurrency),
        )
        return cls(
            client,
            settings.llm_model,
            Answers.open(settings.cache_dir / "llm-answers.sqlite"),
            timeout_s=settings.llm_timeout_s,
            concurrency=settings.llm_concurrency,
            rest_s=rest_s,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Drop what waits, let what is under way end (within the timeout), close all."""
        self._closed.set()
        self._pool.shutdown(wait=True, cancel_futures=True)
        self._client.close()
        self._answers.close()

    def ask(self, texts: Sequence[str]) -> Asked:
        """What the model says of each normalised text, within the timeout for all of them together.

        Equal texts are asked once.
        """
        keys = [digest(self._model, text) for text in texts]
        found = self._known(keys)
        ANSWERS.labels("cached").inc(sum(key in found for key in keys))
        missing = {key: text for key, text in zip(keys, texts, strict=True) if key not in found}
        reasons = dict.fromkeys(missing, "resting")
        if missing and time.monotonic() >= self._rested_at_s:
            reasons = self._fetch(missing, found)
        masked = Counter(reasons[key] for key in keys if key in reasons)
        for reason, count in masked.items():
            ANSWERS.labels(reason).inc(count)
        if masked:
            logger.warning("llm_masked", texts=len(texts), **masked)
        nothing = np.full(WIDTH, np.nan, dtype=np.float32)
        table = np.array([found.get(key, nothing) for key in keys], dtype=np.float64).reshape(-1, WIDTH)
        start = len(VALUES)
        return Asked(
            **{name: table[:, at] for at, name in enumerate(VALUES)},
            expressed=table[:, start : start + len(CORES) + 1],
            invoked=table[:, start + len(CORES) + 1 :],
            masked=masked,
        )

    def _fetch(self, missing: Mapping[bytes, str], found: dict[bytes, Numbers]) -> dict[bytes, str]:
        """Put the answers to `missing` into `found`; returns why the others have none."""
        deadline_s = time.monotonic() + self._timeout_s
        futures: dict[Future[Numbers | str], bytes] = {
            self._pool.submit(self._answer, key, text, deadline_s): key for key, text in missing.items()
        }
        done, late = wait(futures, timeout=self._timeout_s)
        reasons = {futures[future]: "slow" for future in late}
        for future in late:
            future.cancel()
        for future in done:
            outcome = future.result()
            if isinstance(outcome, str):
                reasons[futures[future]] = outcome
            else:
                found[futures[future]] = outcome
        ANSWERS.labels("answered").inc(len(missing) - len(reasons))
        if len(reasons) == len(missing) and set(reasons.values()) <= {"absent", "slow"}:
            self._rested_at_s = time.monotonic() + self._rest_s
        return reasons

    def _answer(self, key: bytes, text: str, deadline_s: float) -> Numbers | str:
        """The numbers, also put into the cache, or the reason why there are none."""
        body = orjson.dumps(question(self._model, text))
        for attempt in range(TRIES):
            left_s = deadline_s - time.monotonic()
            if left_s <= 0 or self._closed.is_set():
                return "slow"
            try:
                status, answer = self._post(body, left_s, deadline_s)
            except httpx2.TimeoutException:
                return "slow"
            except httpx2.HTTPError:  # it holds the request, hence the text
                return "absent"
            if status == httpx2.codes.OK:
                numbers = read(answer)
                if numbers is None:
                    return "nonsense"
                self._keep(key, numbers)
                return numbers
            if status != httpx2.codes.TOO_MANY_REQUESTS and status < httpx2.codes.INTERNAL_SERVER_ERROR:
                return "refused"
            pause_s = BACKOFF_S * 2**attempt
            if attempt + 1 == TRIES or time.monotonic() + pause_s >= deadline_s:
                break
            self._closed.wait(pause_s)
        return "busy"

    def _post(self, body: bytes, left_s: float, deadline_s: float) -> tuple[int, bytes]:
        """Status and body. The client's timeout is for each read, so a dripping answer is cut here."""
        with self._client.stream(
            "POST", "chat/completions",
            content=body, headers={"Content-Type": "application/json"}, timeout=left_s,
        ) as response:  # fmt: skip
            answer = bytearray()
            for part in response.iter_bytes():
                answer += part
                if len(answer) > LARGEST:
                    return response.status_code, b""
                if time.monotonic() > deadline_s:
                    raise httpx2.ReadTimeout("the answer drips")
            return response.status_code, bytes(answer)

    def _known(self, keys: Sequence[bytes]) -> dict[bytes, Numbers]:
        try:
            return self._answers.get(keys)
        except sqlite3.Error as error:
            logger.warning("llm_cache_failed", error=type(error).__name__)
            return {}

    def _keep(self, key: bytes, numbers: Numbers) -> None:
        try:
            self._answers.put({key: numbers})
        except sqlite3.Error as error:  # the answer itself is as good without it
            logger.warning("llm_cache_failed", error=type(error).__name__)
