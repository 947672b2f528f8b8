"""A whole bundle for the tests that damage or sign one."""

import shutil

import pytest

from tests.support import bundles


@pytest.fixture(scope="session")
def pristine(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bundle") / "tiny"
    bundles.write(folder)
    return folder


@pytest.fixture
def folder(pristine, tmp_path):
    return shutil.copytree(pristine, tmp_path / "copy")
