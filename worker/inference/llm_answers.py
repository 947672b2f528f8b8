"""Where base Ll's answers are kept: numbers under a digest, so that a text is asked once.

No text is kept, neither the writer's nor the endpoint's. A digest of a short text can be guessed by trying
texts, so the file is its owner's alone (mode 600), and it outlives an erased person: delete it when that
matters.
"""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Iterable, Mapping
from pathlib import Path
from threading import Lock

import numpy as np
import orjson

from worker.errors import FeltsenseError
from worker.inference.llm_question import VERSION, WIDTH, Numbers

AT_ONCE = 500
"""Digests in one query; SQLite once allowed 999 parameters."""


def digest(model: str, text: str) -> bytes:
    """SHA-256 under which the answer of this model to our prompt and this text is kept."""
    return hashlib.sha256(orjson.dumps([model, VERSION, text])).digest()


class Answers:
    """Digest -> numbers, in one SQLite file that several threads and processes may share."""

    def __init__(self, database: sqlite3.Connection) -> None:
        self._database = database
        self._lock = Lock()

    @classmethod
    def open(cls, path: Path) -> Answers:
        """The cache at `path`, made when it is new. Raises `FeltsenseError` where that cannot be."""
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch(mode=0o600)
            database = sqlite3.connect(path, timeout=1.0, isolation_level=None, check_same_thread=False)
            database.execute("PRAGMA journal_mode = WAL")
            database.execute("PRAGMA synchronous = NORMAL")
            database.execute(
                "CREATE TABLE IF NOT EXISTS answers (digest BLOB PRIMARY KEY, numbers BLOB) WITHOUT ROWID"
            )
        except (OSError, sqlite3.Error) as error:
            raise FeltsenseError(
                f"{path} is no cache of answers ({type(error).__name__}): delete it"
            ) from None
        return cls(database)

    def get(self, digests: Iterable[bytes]) -> dict[bytes, Numbers]:
        """The answers among `digests` that are known. Raises `sqlite3.Error`."""
        wanted = list(dict.fromkeys(digests))
        found: dict[bytes, Numbers] = {}
        for start in range(0, len(wanted), AT_ONCE):
            part = wanted[start : start + AT_ONCE]
            query = f"SELECT digest, numbers FROM answers WHERE digest IN ({','.join('?' * len(part))})"  # noqa: S608 - only question marks
            with self._lock:
                rows = self._database.execute(query, part).fetchall()
            found |= {key: np.frombuffer(numbers, dtype="<f4") for key, numbers in rows}
        return {key: numbers for key, numbers in found.items() if len(numbers) == WIDTH}

    def put(self, answers: Mapping[bytes, Numbers]) -> None:
        """Keep these answers. Raises `sqlite3.Error`."""
        rows = [(key, numbers.astype("<f4").tobytes()) for key, numbers in answers.items()]
        with self._lock:
            self._database.executemany("INSERT OR REPLACE INTO answers VALUES (?, ?)", rows)

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._database.close()
