"""Compiled models on disk, so that a warm start does not compile: `CACHE_DIR/compiled/DEVICE/VERSIONS/GRAPH`.

A folder is written whole under another name and then renamed. It holds OpenVINO's blobs and their digests: a
blob whose bytes changed is never run, the graph is compiled anew. Folders of other versions of OpenVINO, the
device or its driver are deleted, and those nobody opened for a month.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import openvino as ov

from worker.inference.backend import Graph
from worker.observability.logging import failure, logger

DIGESTS = "digests.json"
KEPT_S = 30 * 86400.0


def compile_model(
    core: ov.Core, graph: Graph, device: str, properties: Mapping[str, Any], cache_dir: Path
) -> ov.CompiledModel:
    """`graph` for `device`, loaded where the cache has it whole, else compiled and kept. Raises
    `RuntimeError` where OpenVINO refuses."""
    versions = _folder(cache_dir, core, device)
    folder = versions / _short(graph.name, json.dumps(dict(properties), sort_keys=True, default=str))
    model = graph.read(core)
    if folder.exists():
        if _whole(folder):
            try:
                loaded = core.compile_model(model, device, {**properties, "CACHE_DIR": str(folder)})
            except RuntimeError as error:  # whole, but not to this plugin's liking
                logger.warning("compiled_model_refused", device=device, **failure(error))
            else:
                os.utime(folder)
                return loaded
        else:
            logger.warning("compiled_model_damaged", device=device, folder=folder.name)
        shutil.rmtree(folder, ignore_errors=True)
    versions.mkdir(parents=True, exist_ok=True)
    _prune(versions)
    part = Path(tempfile.mkdtemp(prefix=".", dir=versions))
    try:
        compiled = core.compile_model(model, device, {**properties, "CACHE_DIR": str(part)})
        (part / DIGESTS).write_text(json.dumps(_digests(part)))
        part.rename(folder)
    except OSError as error:
        if not folder.exists():  # else another process was first
            logger.warning("compiled_model_not_kept", device=device, **failure(error))
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return compiled


def _folder(cache_dir: Path, core: ov.Core, device: str) -> Path:
    """Where models of this OpenVINO for this device and driver lie."""
    facts = [ov.__version__]
    for one in re.split("[:,]", device):
        try:
            names = core.get_property(one, "SUPPORTED_PROPERTIES")
        except RuntimeError:  # AUTO of AUTO:GPU,CPU, or a device of it that is not there
            continue
        told = [name for name in names if name == "FULL_DEVICE_NAME" or name.endswith("DRIVER_VERSION")]
        facts += [f"{name}={core.get_property(one, name)}" for name in sorted(told)]
    return cache_dir / "compiled" / re.sub(r"[^\w.]", "-", device) / _short(*facts)


def _prune(versions: Path) -> None:
    stale = [one for one in versions.parent.iterdir() if one != versions]
    stale += [one for one in versions.iterdir() if one.stat().st_mtime < time.time() - KEPT_S]
    for one in stale:
        logger.info("compiled_models_pruned", folder=f"{one.parent.name}/{one.name}")
        shutil.rmtree(one, ignore_errors=True)


def _whole(folder: Path) -> bool:
    try:
        kept = json.loads((folder / DIGESTS).read_bytes())
    except (OSError, ValueError):
        return False
    return bool(kept) and kept == _digests(folder)


def _digests(folder: Path) -> dict[str, str]:
    found = {}
    for path in sorted(folder.iterdir()):
        if path.name != DIGESTS:
            with path.open("rb") as file:
                found[path.name] = hashlib.file_digest(file, "sha256").hexdigest()
    return found


def _short(*facts: str) -> str:
    return hashlib.sha256("\0".join(facts).encode()).hexdigest()[:16]
