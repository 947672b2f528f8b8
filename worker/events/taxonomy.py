"""The tree of emotion words every path of the product is taken from: core > nuance > micro, read from
`taxonomy.json`.

Importers map foreign labels onto it, features compare texts with its anchors, models predict its levels
and congruence is measured on its cores.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from worker.events.variables import CORES

SOURCE = Path(__file__).with_name("taxonomy.json")
OPPOSITES = (("Happy", "Sad"), ("Peaceful", "Angry"), ("Strong", "Fearful"))
"""Core pairs whose similarity is 0 by definition: no agreement at all between felt and shown."""

Nodes = tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Taxonomy:
    """The tree with its numbers; a node is its full path, since a micro's name may repeat across branches.

    `centroids[(core, nuance)]` is (valence, arousal, dominance), each 0-1 with .5 neutral; `phrases`
    has one English first-person phrase per node, keyed by path.
    """

    version: str
    nuances: Mapping[str, Nodes]
    micros: Mapping[tuple[str, str], Nodes]
    centroids: Mapping[tuple[str, str], tuple[float, float, float]]
    phrases: Mapping[Nodes, str]

    def is_path(self, path: Nodes) -> bool:
        """Whether `path` names a node (1-3 names from the core down); the empty path is none."""
        return path in self.phrases

    def paths(self, level: int) -> tuple[Nodes, ...]:
        """All paths with `level` names (1 core, 2 nuance, 3 micro), in the order of the data file: 6,
        36, 216.
        """
        return tuple(path for path in self.phrases if len(path) == level)

    def anchors(self) -> list[tuple[Nodes, str]]:
        """(path, phrase) of all 258 nodes, cores first, then nuances, then micros."""
        return [(path, self.phrases[path]) for level in (1, 2, 3) for path in self.paths(level)]

    def circumplex(self, *path: str) -> tuple[float, float]:
        """Valence and arousal (0-1) of a node: the nuance's centroid, for a core the mean of its six; a
        micro has its nuance's.

        Raises KeyError for a path that names no node.
        """
        return self._circumplex[path]

    @cached_property
    def _circumplex(self) -> dict[Nodes, tuple[float, float]]:
        points = {}
        for path in self.phrases:
            nuances = path[1:2] or self.nuances[path[0]]
            valence, arousal, _ = np.array([self.centroids[path[0], nuance] for nuance in nuances]).mean(
                axis=0
            )
            points[path] = (float(valence), float(arousal))
        return points

    @cached_property
    def similarity(self) -> NDArray[np.float64]:
        """float64 [6, 6] in 0-1, order of `CORES`: s_ij = max(0, 1 - d_ij / r).

        d_ij is the Euclidean distance of the two cores' mean (valence, arousal, dominance), r the
        smallest distance among `OPPOSITES`, so the diagonal is 1 and opposites are 0. Dominance is what
        keeps Strong from Happy and Angry from Fearful.
        """
        centroids = np.array([[self.centroids[core, n] for n in self.nuances[core]] for core in CORES])
        means = centroids.mean(axis=1)
        distance = np.linalg.norm(means[:, None, :] - means[None, :, :], axis=2)
        radius = min(distance[CORES.index(a), CORES.index(b)] for a, b in OPPOSITES)
        return np.asarray(np.maximum(0.0, 1.0 - distance / radius))

    def overlap(self, p: NDArray[np.float64], q: NDArray[np.float64]) -> NDArray[np.float64]:
        """Agreement 0-1 of two core distributions, [..., 6] each: p'Sq / sqrt(p'Sp q'Sq) with S the
        similarity.

        Equal distributions give 1 however wide, confident opposites 0; a row of zeros (no emotion)
        agrees with anything: 1. Each row is summed by itself, so the result does not depend on the
        batch.
        """

        def inner(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
            return np.asarray(((a[..., :, None] * self.similarity) * b[..., None, :]).sum(axis=(-2, -1)))

        scale = np.sqrt(inner(p, p) * inner(q, q))
        agreement = inner(p, q) / np.where(scale > 0.0, scale, 1.0)
        return np.clip(np.where(scale > 0.0, agreement, 1.0), 0.0, 1.0)


def read(source: Path = SOURCE) -> Taxonomy:
    """The taxonomy of a data file. Raises KeyError or ValueError when the file is not the tree of 6 x 6
    x 6 it should be.
    """
    document = json.loads(source.read_text(encoding="utf-8"))
    nuances: dict[str, Nodes] = {}
    micros: dict[tuple[str, str], Nodes] = {}
    centroids: dict[tuple[str, str], tuple[float, float, float]] = {}
    phrases: dict[Nodes, str] = {}
    if tuple(document["cores"]) != CORES:
        raise ValueError(f"{source.name}: cores are {tuple(document['cores'])}, not {CORES}")
    for core, branch in document["cores"].items():
        phrases[(core,)] = branch["anchor"]
        nuances[core] = tuple(branch["nuances"])
        for nuance, leaf in branch["nuances"].items():
            phrases[core, nuance] = leaf["anchor"]
            micros[core, nuance] = tuple(leaf["micros"])
            centroids[core, nuance] = (leaf["valence"], leaf["arousal"], leaf["dominance"])
            phrases.update({(core, nuance, micro): phrase for micro, phrase in leaf["micros"].items()})
    if any(len(names) != 6 for names in (*nuances.values(), *micros.values())):
        raise ValueError(f"{source.name}: every core has 6 nuances and every nuance 6 micros")
    return Taxonomy(
        version=document["version"], nuances=nuances, micros=micros, centroids=centroids, phrases=phrases
    )


@lru_cache(maxsize=1)
def taxonomy() -> Taxonomy:
    """The shipped taxonomy, read once per process."""
    return read()
