"""Graphs that `feltsense export` made for GPU and NPU: verified against the bundle before a device sees them.

The folder's manifest names every file's digest and what the graphs were made from; its parity report says
what each changes. A graph is used only where both hold, and the reason is named where they do not.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import openvino as ov

from worker.errors import DeviceUnfit, ExportsRefused
from worker.inference.backend import Array, Component, Graph

FORMAT = 1
MANIFEST, PARITY = "manifest.json", "parity.json"
EXACT, TRADE = "exact", "trade"
"""Verdicts of a graph that is in the folder: within the limits, or beyond them and allowed by whoever made
it."""
ENCODERS = {"GPU": ("encoder-fp16", ("auto", "f16")), "NPU": ("encoder-int8", ("auto", "int8"))}
"""Which graph of the encoder a device reads, and at which precisions of its plan."""

Shape = tuple[int, int]


def stem(name: str, shape: Shape) -> str:
    """The file name of a graph's fixed shape, without its suffix."""
    return f"{name}-{shape[0]}x{shape[1]}"


def digest_of(path: Path) -> str:
    """SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@dataclass(frozen=True, kw_only=True)
class Exports:
    """A verified folder. `verdicts` by graph; `shapes` of those that exist in fixed shapes."""

    folder: Path
    verdicts: Mapping[str, str]
    shapes: Mapping[str, tuple[Shape, ...]]

    @classmethod
    def open(cls, folder: Path, *, weights: str, fork: Path | None, temporal: Path) -> Self:
        """Verify `folder` for a bundle on the encoder with the digest `weights`, with the bundle's own
        `fork` and `temporal` IR (.xml).

        Raises `ExportsRefused` for another bundle's graphs, a changed or missing file, a failed parity.
        """
        facts = _json(folder, MANIFEST)
        try:
            made_from, files = facts["made_from"], dict(facts["files"])
            wanted = sources(weights, fork, temporal)
            if facts["format"] != FORMAT:
                raise ExportsRefused(folder, f"format {facts['format']}, this worker reads {FORMAT}")
            for part, digest in wanted.items():
                if made_from[part] != digest:
                    raise ExportsRefused(
                        folder, f"made from another {part} than the bundle's: run `feltsense export` again"
                    )
            for name, digest in files.items():
                if not (folder / name).is_file():
                    raise ExportsRefused(folder, f"file missing: {name}")
                if digest_of(folder / name) != digest:
                    raise ExportsRefused(folder, f"digest of {name} differs from the manifest")
            if PARITY not in files:
                raise ExportsRefused(folder, f"no {PARITY} among the manifest's files")
            graphs = _json(folder, PARITY)["graphs"]
            found = cls(
                folder=folder,
                verdicts={name: graph["verdict"] for name, graph in graphs.items()},
                shapes={
                    name: tuple((int(batch), int(length)) for batch, length in graph["shapes"])
                    for name, graph in graphs.items()
                },
            )
        except (KeyError, TypeError, ValueError, AttributeError, OSError) as error:
            raise ExportsRefused(folder, f"a report of it is not valid: {type(error).__name__}") from error
        return found

    def over(self, component: Component) -> Component:
        """The encoder, with this folder's graphs on the devices they were made for."""

        def graph(device: str, precision: str) -> Graph:
            return self.graph(device, precision) or component.graph(device, precision)

        return replace(component, graph=graph)

    def graph(self, device: str, precision: str) -> Graph | None:
        """The graph for `device` (GPU.0 is a GPU) at `precision`; None where the worker's own serves. Raises
        `DeviceUnfit` where it was refused or never made: the device computes nothing that was not judged."""
        name, precisions = ENCODERS.get(device.partition(".")[0], ("", ()))
        if precision not in precisions:
            return None
        verdict = self.verdicts.get(name)
        if verdict not in (EXACT, TRADE):
            raise DeviceUnfit(f"exports {self.folder}: no {name} in it, {verdict or 'never made'}")
        path = self.folder / f"{name}.xml"
        version = digest_of(path.with_suffix(".bin"))[:16]
        quantised = name.endswith("int8")
        return Graph(
            name=f"{name}-{version}",
            model=path,
            quantised=quantised,
            fixed={
                one: Graph(
                    name=stem(f"{name}-{version}", one),
                    model=self.folder / f"{stem(name, one)}.xml",
                    weights=path.with_suffix(".bin"),
                    quantised=quantised,
                )
                for one in self.shapes.get(name, ())
            },
        )


def sources(weights: str, fork: Path | None, temporal: Path) -> dict[str, str | None]:
    """What graphs are made from, by digest."""
    return {
        "encoder": weights,
        "fork": None if fork is None else digest_of(fork),
        "temporal": digest_of(temporal.with_suffix(".bin")),
        "temporal graph": digest_of(temporal),
    }


class Fixed:
    """One compiled model a shape: a call of any size is cut and padded into the shapes that hold it best."""

    def __init__(self, models: Mapping[Shape, ov.CompiledModel]) -> None:
        self.models = dict(sorted(models.items(), key=lambda item: item[0][0] * item[0][1]))

    @classmethod
    def compiled(
        cls,
        core: ov.Core,
        folder: Path,
        name: str,
        shapes: Sequence[Shape],
        device: str,
        properties: Mapping[str, Any],
    ) -> Self:
        """Read and compile every shape of a graph; its shapes share one file of weights."""
        weights = folder / f"{name}.bin"
        return cls(
            {
                one: core.compile_model(
                    core.read_model(folder / f"{stem(name, one)}.xml", weights), device, dict(properties)
                )
                for one in shapes
            }
        )

    @property
    def compute(self) -> Callable[[Sequence[Array]], Array]:
        """A call with requests of its own, so that threads do not share them: `ids` and `mask` [n, length] ->
        f32 [n, width]. It raises `ValueError` for a text longer than every shape."""
        requests = {one: model.create_infer_request() for one, model in self.models.items()}

        def run(inputs: Sequence[Array]) -> Array:
            ids, mask = inputs
            parts, start = [], 0
            while start < len(ids):
                batch, length = best(self.models, len(ids) - start, ids.shape[1])
                rows = slice(start, start + batch)
                request = requests[batch, length]
                request.infer(_padded(ids[rows], mask[rows], batch, length))
                count = len(ids[rows])
                parts.append(np.array(request.get_output_tensor(0).data[:count], copy=True))
                start += count
            return np.concatenate(parts)

        return run

    def cut(self, tokens: Sequence[Sequence[int]], shape: Shape) -> list[list[Array]]:
        """Token ids as calls of one shape."""
        batch, length = shape
        calls = []
        for start in range(0, len(tokens), batch):
            some = tokens[start : start + batch]
            ids, mask = np.zeros((len(some), length), np.int32), np.zeros((len(some), length), np.float32)
            for line, one in enumerate(some):
                ids[line, : len(one)], mask[line, : len(one)] = one, 1.0
            calls.append(_padded(ids, mask, batch, length))
        return calls


def best(shapes: Iterable[Shape], count: int, length: int) -> Shape:
    """The shape that does the least for each of the rows that are there. Raises `ValueError` where none is
    long enough."""
    fitting = [one for one in shapes if one[1] >= length]
    if not fitting:
        raise ValueError(f"no fixed shape holds {length} tokens")
    return min(fitting, key=lambda one: (one[0] * one[1] / min(one[0], count), one[0]))


def _padded(ids: Array, mask: Array, batch: int, length: int) -> list[Array]:
    inputs = [np.zeros((batch, length), dtype=np.int32), np.zeros((batch, length), dtype=np.float32)]
    inputs[1][:, 0] = 1.0  # a row of padding alone would divide by nothing
    for target, part in zip(inputs, (ids, mask), strict=True):
        target[: len(part), : part.shape[1]] = part
    return inputs


def _json(folder: Path, name: str) -> dict[str, Any]:
    try:
        value = json.loads((folder / name).read_bytes())
    except FileNotFoundError:
        raise ExportsRefused(folder, f"no {name} in it; name a folder of `feltsense export`") from None
    except (OSError, ValueError, RecursionError) as error:
        raise ExportsRefused(folder, f"{name} cannot be read: {type(error).__name__}") from error
    if not isinstance(value, dict):
        raise ExportsRefused(folder, f"{name} is no JSON object")
    return value
