"""A real browser: Debian's Chromium, driven by playwright, which could download one of its own and never
does."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import BrowserContext

FLAGS = (
    "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
)  # fmt: skip


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BrowserContext]:
    """A browser with a profile of its own for the tests of a module; `browser.new_page()` opens a page, and
    `browser.clear_cookies()` makes it a stranger again."""
    path = shutil.which("chromium")
    if path is None:
        remedy = "no chromium is installed (apt-get install -y --no-install-recommends chromium)"
        if os.environ.get("CI"):
            pytest.fail(remedy)
        pytest.skip(remedy)
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        opened = driver.chromium.launch_persistent_context(
            tmp_path_factory.mktemp("chromium"),
            executable_path=path,
            headless=True,
            chromium_sandbox=False,
            args=list(FLAGS),
            viewport={"width": 1100, "height": 800},
        )
        opened.set_default_timeout(30_000)
        yield opened
        opened.close()


def picture(page: object, name: str) -> None:
    """Keep a picture of the page as `$FELTSENSE_PICTURES/name.png`, when that folder is named."""
    folder = os.environ.get("FELTSENSE_PICTURES")
    if folder:
        page.screenshot(path=Path(folder) / f"{name}.png", full_page=True)  # type: ignore[attr-defined]
