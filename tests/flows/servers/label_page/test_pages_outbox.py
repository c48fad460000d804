"""The outbox in a real browser: judgements that the server or the browser cannot store."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tasks.labelling.schema import open_label_store
from tests.browser import Browser, needs_browser
from tests.flows.servers.label_page.label_browser import SENT, answer, sign_in, stored
from tests.flows.servers.label_page.label_server import LabelServer, question_items

pytestmark = needs_browser
Opener = Callable[[], Browser]


def move_database(source: Path, target: Path) -> None:
    """Move the files of the judgements, whatever has them open."""
    for path in sorted(source.glob("judgements.db*")):
        path.rename(target / path.name)


def test_compare_database_moved_away_keeps_judgements_until_it_is_back(
    server: LabelServer, open_browser: Opener, tmp_path: Path
) -> None:
    server.add(*question_items(6), needed=1)
    browser = open_browser()
    sign_in(browser, server, "Anna")
    answer(browser, "1")
    browser.wait(SENT)
    move_database(server.root / "var", tmp_path)
    answer(browser, "2")
    browser.wait("return document.querySelector('#notice').innerText.includes('cannot store')")
    assert browser.text("#sync") == "1 not sent yet, kept in this browser"
    answer(browser, "0")
    move_database(tmp_path, server.root / "var")
    browser.wait(SENT, seconds=40)
    browser.wait("return document.querySelector('#notice').hidden")
    server.kill()
    server.store.close()
    server.store = open_label_store(server.root)
    assert len(stored(server, "Anna")) == 3 == len(server.judgements())
    assert "cannot store: var/judgements.db is missing" in (server.root / "server.log").read_text()
