"""A bundle is read whole or refused with its reason; nothing of a damaged one is used."""

import json
import shutil

import pytest

from tests.support import bundles
from worker.bundle import manifest, reader, writer
from worker.errors import BundleRefused, UsageError


def edit(folder, **changes):
    path = folder / manifest.NAME
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def test_a_written_bundle_loads_with_its_version(folder):
    loaded = reader.load(folder)
    assert loaded.manifest.model_version == manifest.version_of(loaded.manifest.files)
    assert set(loaded.contents.trees) == {"valence", "arousal", "willingness", "expressed"}


def test_equal_contents_have_equal_versions(pristine, tmp_path):
    assert bundles.write(tmp_path / "again").files == manifest.read(pristine).files


def test_one_changed_byte_in_any_file_is_refused_by_name(pristine, tmp_path):
    for name in manifest.read(pristine).files:
        copy = shutil.copytree(pristine, tmp_path / name.replace("/", "-"))
        data = bytearray((copy / name).read_bytes())
        data[len(data) // 2] ^= 1
        (copy / name).write_bytes(data)
        with pytest.raises(BundleRefused, match=name):
            reader.load(copy)


def test_another_feature_schema_is_refused_with_the_remedy(folder):
    edit(folder, feature_schema="0" * 64)
    with pytest.raises(BundleRefused, match=r"feature schema 000000000000.*retrain"):
        reader.load(folder)


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda f: (f / "manifest.json").unlink(), "no manifest.json"),
        (lambda f: (f / "manifest.json").write_text("{"), "not valid"),
        (lambda f: edit(f, format=99), "bundle format 99"),
        (lambda f: edit(f, surprise=1), "surprise"),
        (lambda f: (f / "ngrams.npz").unlink(), "file missing: ngrams.npz"),
        (lambda f: (f / "run.py").write_text("print()"), "file not in the manifest: run.py"),
        (lambda f: edit(f, model_version="0" * 12), "model_version"),
    ],
    ids=[
        "no manifest",
        "broken manifest",
        "format",
        "unknown field",
        "missing file",
        "extra file",
        "version",
    ],
)
def test_a_damaged_bundle_is_refused_with_its_reason(folder, damage, reason):
    damage(folder)
    with pytest.raises(BundleRefused, match=reason):
        reader.load(folder)


def test_a_part_that_passes_its_digest_but_cannot_be_loaded_is_refused(folder):
    (folder / "trees" / "valence.txt").write_text("not trees")
    files = {name: manifest.digest_of(folder / name) for name in sorted(manifest.files_in(folder))}
    edit(folder, files=files, model_version=manifest.version_of(files))
    with pytest.raises(BundleRefused, match=r"valence\.txt"):
        reader.load(folder)


def test_no_pickle_and_no_code_is_in_a_bundle(pristine):
    for path in pristine.rglob("*"):
        assert path.suffix in {"", ".json", ".md", ".npz", ".txt", ".xml", ".bin"}


def test_a_folder_with_other_things_in_it_is_not_overwritten(tmp_path, pristine):
    (tmp_path / "thesis.doc").write_text("years of work")
    with pytest.raises(UsageError, match="not a bundle"):
        writer.write(tmp_path, reader.load(pristine).contents, facts={}, trees={}, card="")
    assert (tmp_path / "thesis.doc").exists()
