"""Fixtures of the label page: a server, and browsers that open it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.browser import Browser, chromedriver
from tests.flows.servers.label_page.label_server import LabelServer

Opener = Callable[[], Browser]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[LabelServer]:
    """Run the label page of an empty project."""
    (tmp_path / "project").mkdir()
    running = LabelServer(tmp_path / "project")
    try:
        yield running
    finally:
        running.close()


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Run ChromeDriver for the tests of a file."""
    with chromedriver(tmp_path_factory.mktemp("driver") / "driver.log") as address:
        yield address


@pytest.fixture
def open_browser(driver: str, tmp_path: Path) -> Iterator[Opener]:
    """Return a function that opens a browser with a profile of its own."""
    with ExitStack() as stack:
        count = iter(range(100))

        def opened() -> Browser:
            browser = Browser(driver, tmp_path / f"profile-{next(count)}")
            stack.callback(browser.close)
            return browser

        yield opened
