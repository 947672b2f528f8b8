"""Where trainers leave arrays for each other: a folder that all of them see, or any URL that fsspec reads."""

from __future__ import annotations

import re
import uuid
from typing import Any

from fsspec.core import url_to_fs

from trainer import checkpoint
from trainer.errors import TrainerError
from worker.errors import ServiceMissing

_NAME = re.compile(r"[a-z0-9][a-z0-9.-]{0,120}")


class Artefacts:
    """Files of arrays at `url` by name; each is whole or absent. Nothing in them is pickled, none holds a
    text."""

    def __init__(self, url: str) -> None:
        self._url = url
        try:
            files, self._root = url_to_fs(url)
        except (ImportError, ValueError) as error:
            raise TrainerError(f"FELTSENSE_TRAINER_ARTEFACTS={url} cannot be used: {error}") from None
        self._files: Any = files

    def write(self, name: str, packed: bytes) -> None:
        """Leaves what `checkpoint.packed` made. Raises `ServiceMissing` when the place does not answer."""
        part = f"{self._root}/.{name}.{uuid.uuid4().hex}"
        try:
            self._files.makedirs(self._root, exist_ok=True)
            self._files.pipe_file(part, packed)
            self._files.mv(part, self._path(name))
        except OSError as error:
            raise self._missing(error) from error

    def read(self, name: str) -> Any:
        """Raises `TrainerError` when it is damaged, `ServiceMissing` when it is not there."""
        try:
            raw = self._files.cat_file(self._path(name))
        except OSError as error:
            raise self._missing(error) from error
        return checkpoint.unpacked(raw)

    def has(self, name: str) -> bool:
        return bool(self._files.exists(self._path(name)))

    def remove(self, *names: str) -> None:
        for name in names:
            if self.has(name):
                self._files.rm_file(self._path(name))

    def _path(self, name: str) -> str:
        if not _NAME.fullmatch(name):
            raise TrainerError(f"{name!r} is no name of an artefact")
        return f"{self._root}/{name}"

    def _missing(self, error: OSError) -> ServiceMissing:
        return ServiceMissing(
            f"the artefacts at {self._url} cannot be used ({type(error).__name__}): every trainer must reach"
            " FELTSENSE_TRAINER_ARTEFACTS"
        )
