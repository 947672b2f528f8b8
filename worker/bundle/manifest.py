"""The bundle's manifest: what is in the folder, what it was fitted on, and the digests that prove it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from worker.errors import BundleRefused
from worker.features import schema

FORMAT = 1
NAME = "manifest.json"
SIGNATURE = "signature.json"


class EncoderFacts(BaseModel):
    """The frozen encoder the bundle was fitted on; its weights stay in their own package."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    name: str
    digest: str
    width: int


class DataSource(BaseModel):
    """One source of training rows. `may_ship` is about its licence."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    name: str
    rows: int
    people: int
    fingerprint: str
    licence: str
    may_ship: bool


class Manifest(BaseModel):
    """`model_version` is derived from the files' digests, so equal contents have equal versions."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())
    format: int
    name: str
    model_version: str
    created_at: str
    feature_schema: str
    taxonomy: str
    encoder: EncoderFacts
    ngram_bits: int
    files: dict[str, str]
    data: list[DataSource]
    splits: dict[str, Any]
    evidence: dict[str, str]
    metrics: dict[str, Any]
    leakage: dict[str, Any]
    libraries: dict[str, str]
    seed: int
    notes: list[str] = Field(default_factory=list)
    tuning: dict[str, Any] = Field(default_factory=dict)
    asked: str | None = Field(
        default=None, description="Model and prompt whose answers base Ll was fitted on."
    )

    @property
    def digest(self) -> str:
        """The whole fingerprint of which `model_version` is the beginning."""
        return fingerprint(self.files)


def fingerprint(files: Mapping[str, str]) -> str:
    """The bundle's digest: SHA-256 over the (name, digest) pairs of every file but the manifest."""
    return hashlib.sha256(json.dumps(sorted(files.items())).encode()).hexdigest()


def digest_of(path: Path) -> str:
    """SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def files_in(folder: Path) -> set[str]:
    """Every file of a bundle folder but the manifest and its signature, relative, with forward slashes."""
    found = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    return found - {NAME, SIGNATURE}


def version_of(files: Mapping[str, str]) -> str:
    """The model version: the first 12 hex digits of the bundle's digest."""
    return fingerprint(files)[:12]


def read(folder: Path) -> Manifest:
    """Parse and verify a bundle folder: format, feature schema, every file's digest, no file unlisted.
    Raises `BundleRefused`."""
    path = folder / NAME
    try:
        manifest = Manifest.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        raise BundleRefused(folder, f"no {NAME} in it; name a folder written by `feltsense train`") from None
    except OSError as error:
        raise BundleRefused(folder, f"{NAME} cannot be read: {error.strerror}") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "document"
        raise BundleRefused(folder, f"{NAME} is not valid: {where}: {first['msg']}") from None
    if manifest.format != FORMAT:
        raise BundleRefused(folder, f"bundle format {manifest.format}, this worker reads {FORMAT}")
    if manifest.feature_schema != schema.DIGEST:
        raise BundleRefused(
            folder,
            f"feature schema {manifest.feature_schema[:12]}, this worker computes {schema.DIGEST[:12]}:"
            " retrain the bundle or run the version of Feltsense it was made for",
        )
    present = files_in(folder)
    if missing := sorted(manifest.files.keys() - present):
        raise BundleRefused(folder, f"file missing: {missing[0]}")
    if extra := sorted(present - manifest.files.keys()):
        raise BundleRefused(folder, f"file not in the manifest: {extra[0]}")
    for name, digest in manifest.files.items():
        if digest_of(folder / name) != digest:
            raise BundleRefused(
                folder, f"digest of {name} differs from the manifest: the file was changed or damaged"
            )
    if version_of(manifest.files) != manifest.model_version:
        raise BundleRefused(folder, "model_version does not belong to these files")
    return manifest
