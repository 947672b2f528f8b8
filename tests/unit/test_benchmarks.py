"""Every benchmark's module can be imported: most are run by hand, and nothing else would tell."""

import importlib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MODULES = sorted(
    ".".join(path.relative_to(ROOT).with_suffix("").parts)
    for path in (ROOT / "benchmarks").rglob("*.py")
    # The peers run in an environment of their own.
    if "peers" not in path.parts and path.stem not in ("__init__", "__main__")
)


@pytest.mark.parametrize("name", MODULES)
def test_it_can_be_imported(name):
    importlib.import_module(name)
