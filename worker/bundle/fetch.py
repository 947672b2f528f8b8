"""Where bundles are kept for everybody, and how one gets from there into a worker's own folder.

A store is a folder or any URL that fsspec reads (s3://bucket/bundles, with the extra `s3`). A bundle lies in
it under its version, and its manifest comes last: a version without a manifest is not there yet.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from worker.bundle import manifest
from worker.bundle.manifest import NAME, SIGNATURE
from worker.errors import BundleRefused, BundlesAway, UsageError


def fetched(location: str, cache_dir: Path, *, version: str | None = None) -> Path:
    """The folder of the bundle at `location`, whole and verified: a local one where it is, another as a copy
    in `cache_dir`, which is made once.

    Raises `BundleRefused` when nothing whole is there or, with `version`, another one; `BundlesAway` when
    the store does not answer; `UsageError` when no library is installed for its protocol.
    """
    folder = Path(location) if _local(location) else _copied(location, cache_dir)
    found = manifest.read(folder).model_version
    if version is not None and found != version:
        raise BundleRefused(location, f"it is version {found}, and {version} was asked for")
    return folder


def kept(folder: Path, store: str) -> str:
    """Put the bundle in `folder` into the store, unless it is there; its location.

    It is uploaded under a name of its own and moved to its version's, manifest last, so whoever looks sees it
    whole or not at all. Raises as `fetched` does.
    """
    facts = manifest.read(folder)
    target = f"{store.rstrip('/')}/{facts.model_version}"
    if _local(target):
        target = str(Path(target).absolute())
    if _local(target) and Path(target) == folder.absolute():
        return target
    files, place = _opened(target)
    part = f"{place.rpartition('/')[0]}/.part-{facts.model_version}-{uuid.uuid4().hex[:8]}"
    names = [*sorted(facts.files), *([SIGNATURE] if (folder / SIGNATURE).is_file() else []), NAME]
    with _told(target):
        if _same(files, f"{place}/{NAME}", folder / NAME) and (
            SIGNATURE not in names or _same(files, f"{place}/{SIGNATURE}", folder / SIGNATURE)
        ):
            return target
        try:
            for name in names:
                files.makedirs(f"{part}/{name}".rpartition("/")[0], exist_ok=True)
                files.put_file(str(folder / name), f"{part}/{name}")
            for name in names:
                files.makedirs(f"{place}/{name}".rpartition("/")[0], exist_ok=True)
                files.mv(f"{part}/{name}", f"{place}/{name}")
        finally:
            if files.exists(part):
                files.rm(part, recursive=True)
    return target


def _copied(location: str, cache_dir: Path) -> Path:
    """A version never changes where it lies, so a whole copy need not be asked for again."""
    copy = cache_dir / "bundles" / hashlib.sha256(location.encode()).hexdigest()[:16]
    if _whole(copy):
        return copy
    files, place = _opened(location)
    part = copy.with_name(f".{copy.name}.part-{os.getpid()}-{uuid.uuid4().hex[:8]}")
    try:
        with _told(location):
            try:
                raw = files.cat_file(f"{place}/{NAME}")
            except FileNotFoundError:
                raise BundleRefused(location, f"no {NAME} there") from None
            names = sorted(_listed(location, raw))
            for name in names:
                (part / name).parent.mkdir(parents=True, exist_ok=True)
                files.get_file(f"{place}/{name}", str(part / name))
            if files.exists(f"{place}/{SIGNATURE}"):
                files.get_file(f"{place}/{SIGNATURE}", str(part / SIGNATURE))
            (part / NAME).write_bytes(raw)
        manifest.read(part)
        if not _whole(copy):  # another process of this machine may have been quicker
            shutil.rmtree(copy, ignore_errors=True)
            part.rename(copy)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return copy


def _listed(location: str, raw: bytes) -> list[str]:
    try:
        names = list(manifest.Manifest.model_validate_json(raw).files)
    except ValueError:
        raise BundleRefused(location, f"{NAME} is not valid") from None
    for name in names:
        if Path(name).is_absolute() or ".." in Path(name).parts:
            raise BundleRefused(location, f"{NAME} names a file outside the bundle: {name}")
    return names


def _whole(copy: Path) -> bool:
    if not copy.is_dir():
        return False
    try:
        manifest.read(copy)
    except BundleRefused:
        return False
    return True


def _same(files: Any, path: str, local: Path) -> bool:
    return bool(files.exists(path)) and files.cat_file(path) == local.read_bytes()


def _local(location: str) -> bool:
    return "://" not in location


def _opened(location: str) -> tuple[Any, str]:
    """The file system behind `location` and the path on it; fsspec publishes no types."""
    from fsspec.core import url_to_fs

    try:
        files, place = url_to_fs(location)
    except ImportError as error:
        raise UsageError(f"{location}: {error}; for S3: pip install 'feltsense[s3]'") from None
    except ValueError as error:
        raise UsageError(f"{location} is no place for bundles: {error}") from None
    return files, place


@contextmanager
def _told(location: str) -> Iterator[None]:
    """What a store's library raises, in our words; a store that is away may be back later."""
    try:
        yield
    except BundleRefused:
        raise
    except FileNotFoundError as error:
        raise BundleRefused(location, f"a file is missing there: {error}") from error
    except Exception as error:  # each protocol's library has errors of its own
        why = getattr(error, "strerror", None) or type(error).__name__
        raise BundlesAway(
            f"the bundle store {location} cannot be used ({why}); check its address, its credentials and the"
            " network"
        ) from error
