"""Bundles kept for everybody: in a folder, and on a real S3-compatible server; whole there, or not there."""

import shutil

import fsspec
import pytest

from tests.support import bundles
from tests.support.s3 import bucket
from worker.bundle import fetch, manifest
from worker.errors import BundleRefused, BundlesAway, UsageError


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bundle") / "tiny"
    bundles.write(folder)
    return folder


@pytest.fixture(scope="module")
def s3():
    with bucket("models") as address:
        yield address


@pytest.fixture(params=["folder", "file URL", "S3"])
def store(request, tmp_path):
    match request.param:
        case "folder":
            return str(tmp_path / "store")
        case "file URL":
            return (tmp_path / "store").as_uri()
        case _:
            return f"{request.getfixturevalue('s3')}/{tmp_path.name}"


def listed(store):
    files, place = fsspec.core.url_to_fs(store)
    files.invalidate_cache()
    return {path.removeprefix(place).lstrip("/") for path in files.find(place)}


def test_a_bundle_that_was_kept_is_fetched_whole_and_the_second_time_costs_nothing(
    bundle, store, tmp_path, monkeypatch
):
    facts = manifest.read(bundle)
    location = fetch.kept(bundle, store)
    assert location.endswith(f"/{facts.model_version}")
    assert fetch.kept(bundle, store) == location
    assert listed(store) == {f"{facts.model_version}/{name}" for name in (*facts.files, manifest.NAME)}

    folder = fetch.fetched(location, tmp_path / "cache", version=facts.model_version)
    assert manifest.read(folder) == facts
    if "://" in location:
        monkeypatch.setattr(fetch, "_opened", lambda _: pytest.fail("the store was asked again"))
    assert fetch.fetched(location, tmp_path / "cache") == folder


def test_a_damaged_copy_is_fetched_again(bundle, s3, tmp_path):
    location = fetch.kept(bundle, f"{s3}/{tmp_path.name}")
    folder = fetch.fetched(location, tmp_path)
    (folder / "blend.json").write_text("{}")
    assert fetch.fetched(location, tmp_path) == folder
    manifest.read(folder)


def test_what_was_changed_in_the_store_is_refused(bundle, store, tmp_path):
    location = fetch.kept(bundle, store)
    files, place = fsspec.core.url_to_fs(location)
    files.pipe_file(f"{place}/blend.json", b"{}")
    with pytest.raises(BundleRefused, match=r"blend\.json"):
        fetch.fetched(location, tmp_path / "cache")
    assert not list((tmp_path / "cache").rglob("*.npz"))


def test_another_version_than_the_one_asked_for_is_refused(bundle, store, tmp_path):
    with pytest.raises(BundleRefused, match="was asked for"):
        fetch.fetched(fetch.kept(bundle, store), tmp_path / "cache", version="somethingelse")


def test_an_upload_that_stops_on_the_way_is_no_bundle_and_the_next_one_is(
    bundle, store, tmp_path, monkeypatch
):
    files, _ = fsspec.core.url_to_fs(store)
    kind = type(files)
    moved = kind.mv

    def stop(self, source, target, **more):
        if target.endswith(manifest.NAME):
            raise KeyboardInterrupt
        return moved(self, source, target, **more)

    with monkeypatch.context() as patched:
        patched.setattr(kind, "mv", stop)
        with pytest.raises(KeyboardInterrupt):
            fetch.kept(bundle, store)
    version = manifest.read(bundle).model_version
    assert not any(".part" in name for name in listed(store))
    with pytest.raises(BundleRefused, match=manifest.NAME):
        fetch.fetched(f"{store}/{version}", tmp_path / "cache")
    manifest.read(fetch.fetched(fetch.kept(bundle, store), tmp_path / "cache"))


def test_a_signature_goes_with_its_bundle(bundle, store, tmp_path):
    signed = tmp_path / "signed"
    shutil.copytree(bundle, signed)
    fetch.kept(signed, store)
    (signed / manifest.SIGNATURE).write_text("{}")
    location = fetch.kept(signed, store)
    assert (fetch.fetched(location, tmp_path / "cache") / manifest.SIGNATURE).read_text() == "{}"


def test_a_store_that_is_away_is_a_missing_service_and_an_unknown_protocol_a_wrong_call(bundle, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(BundlesAway, match="cannot be used"):
        fetch.kept(bundle, f"{(tmp_path / 'file').as_uri()}/below")
    with pytest.raises(UsageError, match="no place for bundles"):
        fetch.fetched("nothing://there/abc", tmp_path)


def test_a_manifest_cannot_lead_a_copy_out_of_its_folder(bundle, tmp_path):
    store = tmp_path / "store"
    shutil.copytree(bundle, store)
    facts = manifest.read(bundle)
    files = {**facts.files, "../outside": "0" * 64}
    (store / manifest.NAME).write_text(facts.model_copy(update={"files": files}).model_dump_json())
    with pytest.raises(BundleRefused, match="outside"):
        fetch.fetched(store.as_uri(), tmp_path / "cache")
