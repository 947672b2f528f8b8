"""The taxonomy is the tree it claims to be, its congruence geometry holds, and every mapping lands on it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from trainer.data import mappings
from worker.events.taxonomy import OPPOSITES, SOURCE, read, taxonomy
from worker.events.variables import CORES

ONE_HOT = np.eye(6)


def test_the_tree_has_6_cores_36_nuances_and_216_micros_each_with_an_anchor_phrase() -> None:
    tree = taxonomy()
    assert [len(tree.paths(level)) for level in (1, 2, 3)] == [6, 36, 216]
    assert tree.paths(1) == tuple((core,) for core in CORES)
    anchors = tree.anchors()
    assert len(anchors) == 258
    assert len({phrase for _, phrase in anchors}) == 258
    assert all(tree.is_path(path) for path, _ in anchors)


def test_a_name_never_repeats_inside_one_branch() -> None:
    tree = taxonomy()
    for core in CORES:
        names = [core, *tree.nuances[core], *(m for n in tree.nuances[core] for m in tree.micros[core, n])]
        assert len(names) == len(set(names)), core


@pytest.mark.parametrize(
    "path",
    [(), ("Joyful",), ("Happy", "Lonely"), ("Sad", "Lonely", "Cheerful"), ("Sad", "Lonely", "Isolated", "x")],
)
def test_a_wrong_path_is_no_path(path: tuple[str, ...]) -> None:
    assert not taxonomy().is_path(path)


def test_centroids_lie_in_the_unit_cube_and_separate_pleasant_from_unpleasant_cores() -> None:
    tree = taxonomy()
    values = np.array(list(tree.centroids.values()))
    assert values.shape == (36, 3)
    assert (values >= 0.0).all()
    assert (values <= 1.0).all()
    assert all(tree.circumplex(core)[0] > 0.7 for core in ("Happy", "Strong", "Peaceful"))
    assert all(tree.circumplex(core)[0] < 0.3 for core in ("Sad", "Angry", "Fearful"))
    assert tree.circumplex("Sad", "Lonely", "Homesick") == tree.circumplex("Sad", "Lonely")
    with pytest.raises(KeyError):
        tree.circumplex("Sad", "Joyful")


def test_similarity_is_one_with_itself_zero_for_opposites_and_a_kernel() -> None:
    similarity = taxonomy().similarity
    assert np.allclose(np.diag(similarity), 1.0)
    assert np.allclose(similarity, similarity.T)
    assert all(similarity[CORES.index(a), CORES.index(b)] == 0.0 for a, b in OPPOSITES)
    assert np.linalg.eigvalsh(similarity).min() > 0.0, "needed for overlap to stay at or below 1"


def test_overlap_is_one_for_equal_distributions_zero_for_opposites_and_ignores_its_batch() -> None:
    tree = taxonomy()
    mixed = np.random.default_rng(0).dirichlet(np.ones(6), size=200)
    assert np.allclose(tree.overlap(mixed, mixed), 1.0)
    assert tree.overlap(ONE_HOT[0], ONE_HOT[3]) == 0.0
    assert tree.overlap(np.zeros(6), ONE_HOT[0]) == 1.0
    together = tree.overlap(mixed, mixed[::-1])
    assert ((together >= 0.0) & (together <= 1.0)).all()
    alone = np.array([tree.overlap(p, q) for p, q in zip(mixed, mixed[::-1], strict=True)])
    assert np.array_equal(together, alone)


def test_a_data_file_with_another_shape_is_refused(tmp_path: Path) -> None:
    document = json.loads(SOURCE.read_text(encoding="utf-8"))
    document["cores"]["Sad"]["nuances"].pop("Lonely")
    broken = tmp_path / "taxonomy.json"
    broken.write_text(json.dumps(document), encoding="utf-8")
    with pytest.raises(ValueError, match="6 nuances"):
        read(broken)


@pytest.mark.parametrize(("name", "count"), [("goemotions", 28), ("isear", 7), ("masac", 8), ("ekman", 7)])
def test_every_mapping_is_whole_and_lands_on_the_taxonomy(name: str, count: int) -> None:
    mapping = mappings.load(name)
    assert len(mapping) == count
    assert all(path is None or (len(path) <= 2 and taxonomy().is_path(path)) for path in mapping.values())
    assert mapping.get("neutral") is None
