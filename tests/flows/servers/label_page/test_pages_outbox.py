"""The outbox in a real browser: judgements that the server or the browser cannot store."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import update

from tasks.labelling.schema import ITEM_TABLE, PAGE_TABLE, open_label_store
from tasks.project.label_site import derive_site
from tasks.project.paths import LABEL_SESSION_KEY
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


def test_compare_unsent_judgements_are_sent_after_the_key_was_lost(
    server: LabelServer, open_browser: Opener
) -> None:
    server.add(*question_items(6), needed=1)
    browser = open_browser()
    sign_in(browser, server, "Anna")
    time.sleep(0.5)
    server.kill()
    answer(browser, "1")
    answer(browser, "0")
    browser.wait("return document.querySelector('#sync').textContent.startsWith('2 not sent')")
    shutil.rmtree(server.root / "var" / "secrets")
    server.start()
    sign_in(browser, server, "Anna")
    browser.wait(SENT)
    assert len(stored(server, "Anna")) == 2 == len(server.judgements())


def test_compare_entries_of_an_earlier_name_are_moved_and_of_another_project_stay(
    server: LabelServer, open_browser: Opener
) -> None:
    server.add(*question_items(6), needed=1)
    # The store had its name before this key, as on a second host with the same database.
    with server.store.write() as connection:
        connection.execute(update(PAGE_TABLE).values(value="a" * 16))
    former = derive_site((server.root / LABEL_SESSION_KEY).read_text().strip())
    server.kill()
    server.start()
    browser = open_browser()
    sign_in(browser, server, "Anna")
    said = '{"key":"KEY","item":2,"action":"judge","choice":"tie","swapped":false,"seconds":1}'
    for site in (former, "0123456789abcdef"):
        name = f"chatmill.{site}.outbox.Anna/000000000000001.000001.x"
        browser.run("localStorage.setItem(arguments[0], arguments[1])", name, said.replace("KEY", site))
    browser.open(f"{server.address}/")
    browser.wait(SENT)
    browser.wait("return !Object.keys(localStorage).some((name) => name.includes(arguments[0]))", former)
    assert [row["key"] for row in server.judgements()] == [former]
    assert browser.run("return Object.keys(localStorage).some((name) => name.includes('0123456789abcdef'))")


def test_compare_judgement_of_another_item_of_that_number_is_refused_and_kept(
    server: LabelServer, open_browser: Opener
) -> None:
    server.add(*question_items(4), needed=1)
    browser = open_browser()
    sign_in(browser, server, "Anna")
    time.sleep(0.5)
    server.kill()
    answer(browser, "1")
    # A restored store, in which the number belongs to another question.
    with server.store.write() as connection:
        connection.execute(update(ITEM_TABLE).where(ITEM_TABLE.c.number == 1).values(digest="0" * 16))
    server.start()
    browser.wait("return document.querySelector('#notice').innerText.includes('another one')")
    assert server.judgements() == []
    assert (
        browser.run("return Object.keys(localStorage).filter((name) => name.includes('.refused.')).length")
        == 1
    )


COUNT_REQUESTS = (
    "const real = window.fetch; window.sent = 0; window.refuse = arguments[0];"
    "window.fetch = (path, ...more) => { if (path !== '/api/judgements') return real(path, ...more);"
    " window.sent += 1; const refuse = window.refuse; window.refuse = 0;"
    ' if (refuse) return Promise.resolve(new Response(\'{"detail": "no"}\', {status: refuse}));'
    " return real(path, ...more); };"
)
FULL = "Storage.prototype.setItem = () => { throw new DOMException('full', 'QuotaExceededError'); };"
FORBIDDEN = (
    "Object.defineProperty(window, 'localStorage',"
    " { get() { throw new DOMException('forbidden', 'SecurityError'); } });"
)


@pytest.mark.parametrize(
    ("status", "storage"), [(422, FULL), (404, FULL), (413, FORBIDDEN), (422, FORBIDDEN)]
)
def test_compare_refused_judgement_without_storage_does_not_hold_up_others(
    server: LabelServer, open_browser: Opener, status: int, storage: str
) -> None:
    server.add(*question_items(6), needed=1)
    browser = open_browser()
    sign_in(browser, server, "Anna")
    browser.run(COUNT_REQUESTS, status)
    browser.run(storage)
    answer(browser, "1")
    browser.wait("return document.querySelector('#notice').innerText.includes('not accepted')")
    answer(browser, "0")
    answer(browser, "b")
    browser.wait(SENT)
    assert set(stored(server, "Anna").values()) == {"tie", "bad"}
    time.sleep(1)
    assert browser.run("return window.sent") <= 4
    # The refused one is nowhere else.
    assert "kept while this page is open" in browser.text("#notice")
    browser.click("#notice button")
    browser.wait("return document.querySelector('#notice').hidden")
