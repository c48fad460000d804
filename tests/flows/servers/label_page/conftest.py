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


@pytest.fixture(scope="session")
def idle_browsers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[list[Browser], Opener]]:
    """Return the started browsers that no test uses, and a function that starts another."""
    folder, idle = tmp_path_factory.mktemp("browsers"), list[Browser]()
    with chromedriver(folder / "driver.log") as address, ExitStack() as stack:
        count = iter(range(100))

        def start() -> Browser:
            browser = Browser(address, folder / f"profile-{next(count)}")
            stack.callback(browser.close)
            return browser

        yield idle, start


@pytest.fixture
def open_browser(idle_browsers: tuple[list[Browser], Opener]) -> Iterator[Opener]:
    """Return a function that opens a browser's window with cookies and storage of its own."""
    idle, start = idle_browsers
    used: list[Browser] = []

    def opened() -> Browser:
        browser = idle.pop() if idle else start()
        browser.open_window()
        used.append(browser)
        return browser

    yield opened
    # A browser that cannot close its window is not used again.
    for browser in used:
        browser.close_window()
        idle.append(browser)
