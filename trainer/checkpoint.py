"""What a rebuild has computed so far, kept beside its bundle until that is written: after Ctrl-C or SIGKILL
the same command goes on.

A step's result is a file of arrays and a JSON outline of how they hang together; nothing is pickled, and no
reflection text is in it. A file is whole or absent. Results of another plan, other rows or other code are
thrown away.
"""

from __future__ import annotations

import dataclasses
import fcntl
import hashlib
import importlib
import io
import math
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from time import monotonic, sleep
from typing import Any, TextIO, TypeVar
from zipfile import BadZipFile

import numpy as np
import orjson
from scipy.sparse import csr_matrix

from trainer.data.labelled import Labelled
from trainer.errors import TrainerError
from trainer.features.reader import READER
from trainer.plan import Plan
from worker.features import schema

T = TypeVar("T")

OUTLINE = "outline"
LIBRARIES = ("numpy", "scipy", "scikit-learn", "lightgbm", "torch", "openvino", "optuna")
PACKAGES = ("trainer", "worker")
"""Where the code lies that fits; only their dataclasses are kept and restored."""
PATIENCE_S = 5.0
_DAMAGED = (OSError, EOFError, ValueError, KeyError, TypeError, AttributeError, ImportError, BadZipFile)


def key_of(plan: Plan, rows: Sequence[Labelled]) -> str:
    """Digest of all a result depends on: plan, labelled rows, feature schema, code and libraries."""
    digest = hashlib.sha256(plan.model_dump_json().encode())
    for row in rows:
        digest.update(row.reflection.digest)
        digest.update(orjson.dumps([row.source, row.cluster, dict(row.labels)], option=orjson.OPT_SORT_KEYS))
    digest.update(schema.DIGEST.encode())
    if plan.sentence:
        digest.update(READER.read_bytes())
    root = Path(__file__).parent.parent
    for package in PACKAGES:
        for path in sorted((root / package).rglob("*.py")):
            digest.update(hashlib.sha256(path.read_bytes()).digest())
    digest.update(repr([version(name) for name in LIBRARIES]).encode())
    return digest.hexdigest()


class Checkpoint:
    """The work folder of one bundle; `folder` is free for files that steps keep themselves."""

    def __init__(self, folder: Path, say: Callable[[str], None]) -> None:
        self.folder = folder
        self._say = say

    def keep(self, name: str, make: Callable[[], T]) -> T:
        """What `make` returned when the step `name` was first finished; computed at most once.

        The result is made of arrays, sparse matrices, strings, numbers, None, tuples, lists, dicts and this
        project's dataclasses. A damaged file is named and computed again.
        """
        path = self.folder / f"{name}.npz"
        if path.is_file():
            try:
                with np.load(path, allow_pickle=False) as arrays:
                    restored: T = _restore(orjson.loads(arrays[OUTLINE].tobytes()), arrays)
                    return restored
            except _DAMAGED as error:
                self._say(f"{path} is damaged ({type(error).__name__}): computed again")
        arrays_ = _arrays(make())
        part = path.with_name(f".{name}.part-{os.getpid()}.npz")
        np.savez(part, **arrays_)
        part.replace(path)
        kept: T = _restore(orjson.loads(arrays_[OUTLINE].tobytes()), arrays_)
        return kept


def packed(value: Any) -> bytes:
    """`value` as a file like those that are kept, for another machine; equal values give equal bytes."""
    into = io.BytesIO()
    np.savez(into, **_arrays(value))
    return into.getvalue()


def unpacked(raw: bytes) -> Any:
    """What `packed` was given. Raises `TrainerError` for anything else."""
    try:
        with np.load(io.BytesIO(raw), allow_pickle=False) as arrays:
            return _restore(orjson.loads(arrays[OUTLINE].tobytes()), arrays)
    except _DAMAGED as error:
        raise TrainerError(f"an artefact is damaged ({type(error).__name__})") from None


@contextmanager
def opened(out: Path, *, key: str, say: Callable[[str], None]) -> Iterator[Checkpoint]:
    """The work folder `.NAME.work` beside the bundle `out`; removed when the block ends well, kept when it
    does not.

    Raises `TrainerError` while another process works on the same bundle.
    """
    folder = out.resolve().parent / f".{out.resolve().name}.work"
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        if not _locked(lock):
            raise TrainerError(f"another process is training {out}")
        mark = folder / "key"
        found = mark.read_text(encoding="ascii") if mark.is_file() else None
        if found != key:
            stale = [path for path in folder.iterdir() if path.name != "lock"]
            for path in stale:
                shutil.rmtree(path) if path.is_dir() else path.unlink()
            if stale:
                say(f"{folder} holds another plan, other rows or an older version: starting anew")
            mark.write_text(key, encoding="ascii")
        elif any(folder.glob("[!.]*.npz")):
            say(f"going on from {folder}")
        for part in folder.glob(".*.part-*.npz"):
            part.unlink()
        yield Checkpoint(folder, say)
        shutil.rmtree(folder)


def _locked(lock: TextIO) -> bool:
    """Whether the lock could be had. A process stopped a moment ago, or a child that it was starting,
    may still hold it: they are given some time."""
    until = monotonic() + PATIENCE_S
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if monotonic() > until:
                return False
            sleep(0.1)
        else:
            return True


def _arrays(value: Any) -> dict[str, Any]:
    """The arrays of `value`, and their outline among them."""
    arrays: dict[str, Any] = {}
    outline = orjson.dumps(_outline(value, arrays))
    arrays[OUTLINE] = np.frombuffer(outline, dtype=np.uint8)
    return arrays


def _outline(value: Any, arrays: dict[str, Any]) -> Any:
    """`value` as JSON, its arrays moved to `arrays` and named by their number."""
    if isinstance(value, np.ndarray):
        if value.dtype.hasobject:
            raise TypeError("a checkpoint cannot hold an array of objects")
        name = str(len(arrays))
        # In the memory layout in which a file gives it back: sums over another layout differ in the last bit.
        arrays[name] = value if value.flags.f_contiguous else np.ascontiguousarray(value)
        return {"array": name}
    if isinstance(value, np.generic):
        return _outline(value.item(), arrays)
    if isinstance(value, float) and not math.isfinite(value):
        return {"float": str(value)}
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, csr_matrix):
        parts = (value.data, value.indices, value.indptr)
        return {"csr": [_outline(part, arrays) for part in parts], "shape": list(value.shape)}
    if isinstance(value, tuple):
        return {"tuple": [_outline(one, arrays) for one in value]}
    if isinstance(value, list):
        return [_outline(one, arrays) for one in value]
    if isinstance(value, Mapping):
        return {"dict": [[_outline(k, arrays), _outline(v, arrays)] for k, v in value.items()]}
    kind = type(value)
    if dataclasses.is_dataclass(kind) and kind.__module__.split(".")[0] in PACKAGES:
        fields = {one.name: _outline(getattr(value, one.name), arrays) for one in dataclasses.fields(kind)}
        return {"class": [kind.__module__, kind.__qualname__], "fields": fields}
    raise TypeError(f"a checkpoint cannot hold a {kind.__qualname__}")


def _restore(outline: Any, arrays: Mapping[str, Any]) -> Any:
    if isinstance(outline, list):
        return [_restore(one, arrays) for one in outline]
    if not isinstance(outline, dict):
        return outline
    if "array" in outline:
        return arrays[outline["array"]]
    if "float" in outline:
        return float(outline["float"])
    if "csr" in outline:
        return csr_matrix(tuple(_restore(one, arrays) for one in outline["csr"]), shape=outline["shape"])
    if "tuple" in outline:
        return tuple(_restore(one, arrays) for one in outline["tuple"])
    if "dict" in outline:
        return {_restore(k, arrays): _restore(v, arrays) for k, v in outline["dict"]}
    module, name = outline["class"]
    if module.split(".")[0] not in PACKAGES:
        raise ValueError(f"{module} is not this project's")
    kind: Any = getattr(importlib.import_module(module), name)
    if not hasattr(kind, "__dataclass_fields__"):
        raise ValueError(f"{name} is not a dataclass")
    return kind(**{field: _restore(one, arrays) for field, one in outline["fields"].items()})
