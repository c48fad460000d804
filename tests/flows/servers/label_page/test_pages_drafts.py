"""Drafts in a real browser: what a person wrote stays with its item, also after the store was restored."""

from __future__ import annotations

from collections.abc import Callable

from sqlalchemy import select, update

from tasks.labelling.schema import ITEM_TABLE
from tests.browser import Browser, needs_browser
from tests.flows.servers.label_page.label_browser import SENT, SHOWN, answer, press_on, prompt, sign_in
from tests.flows.servers.label_page.label_server import LabelServer, question_items

pytestmark = needs_browser
Opener = Callable[[], Browser]
COMMENT = "return document.querySelector('#comment-text').value"
KEPT = "return localStorage.getItem(Object.keys(localStorage).find((name) => name.includes('.drafts.')))"

# The page keeps nothing more itself: it would keep the draft on its screen when it is left.
EARLIER = (
    "localStorage.setItem(Object.keys(localStorage).find((name) => name.includes('.drafts.')), arguments[0]);"
    "Storage.prototype.setItem = () => {};"
)


def swap_items(server: LabelServer, one: int, other: int) -> None:
    """Give two items each other's content, as a restored store has another item of a number."""
    names = ("prompt", "a", "b", "digest")
    with server.store.write() as connection:
        query = select(ITEM_TABLE).where(ITEM_TABLE.c.number.in_((one, other)))
        rows = {row["number"]: row for row in connection.execute(query).mappings()}
        # Two items of a batch have different digests at each moment.
        for number, values in (
            (other, {"digest": "-"}),
            (one, {name: rows[other][name] for name in names}),
            (other, {name: rows[one][name] for name in names}),
        ):
            connection.execute(update(ITEM_TABLE).where(ITEM_TABLE.c.number == number).values(**values))


def write_comment(browser: Browser, text: str) -> None:
    press_on(browser, "c")
    browser.press(f"{text}\ue00c")


def test_compare_draft_after_restored_store_stays_with_its_item(
    server: LabelServer, open_browser: Opener
) -> None:
    server.add(*question_items(3), needed=1)
    browser = open_browser()
    sign_in(browser, server, "Anna")
    assert prompt(browser) == "Question 0?"
    write_comment(browser, "about zero")
    swap_items(server, 1, 3)
    browser.open(f"{server.address}/")
    browser.wait(SHOWN)
    assert (prompt(browser), browser.run(COMMENT)) == ("Question 2?", "")
    answer(browser, "1")
    assert (prompt(browser), browser.run(COMMENT)) == ("Question 1?", "")
    answer(browser, "1")
    assert (prompt(browser), browser.run(COMMENT)) == ("Question 0?", "about zero")
    press_on(browser, "2")
    browser.wait("return !document.querySelector('#empty').hidden")
    browser.wait(SENT)
    assert [row["comment"] for row in server.judgements()] == ["", "", "about zero"]
    assert browser.run(KEPT) == "{}"


def test_compare_draft_of_the_same_store_comes_first_after_a_reload(
    server: LabelServer, open_browser: Opener
) -> None:
    server.add(*question_items(3), needed=1)
    browser = open_browser()
    sign_in(browser, server, "Anna")
    answer(browser, "1")
    write_comment(browser, "half done")
    browser.open(f"{server.address}/")
    browser.wait(SHOWN)
    assert (prompt(browser), browser.run(COMMENT)) == ("Question 1?", "half done")


def test_compare_draft_of_an_earlier_page_keeps_its_words(server: LabelServer, open_browser: Opener) -> None:
    server.add(*question_items(3), needed=1, aspects=("truth",))
    browser = open_browser()
    sign_in(browser, server, "Anna")
    write_comment(browser, "newer")
    browser.run(EARLIER, '{"2": {"choice": "left", "comment": "older", "aspect": 0, "seconds": 1}}')
    browser.open(f"{server.address}/")
    browser.wait(SHOWN)
    assert (prompt(browser), browser.run(COMMENT)) == ("Question 1?", "older")
    press_on(browser, "1")
    browser.press("3")
    browser.wait("return document.querySelector('#prompt .text').innerText === 'Question 0?'")
    browser.wait(SENT)
    assert server.judgements()[-1]["comment"] == "older"
    assert browser.run(KEPT) == "{}"


def test_compare_undo_after_restored_store_takes_back_no_other_item(
    server: LabelServer, open_browser: Opener
) -> None:
    server.add(*question_items(3), needed=1)
    browser = open_browser()
    sign_in(browser, server, "Anna")
    answer(browser, "1")
    browser.wait(SENT)
    swap_items(server, 1, 3)
    browser.open(f"{server.address}/")
    browser.wait(SHOWN)
    press_on(browser, "u")
    browser.wait("return document.querySelector('#notice').innerText.includes('restored')")
    assert [row["action"] for row in server.judgements()] == ["judge"]
    # In the same store it takes back the last item of an earlier visit.
    answer(browser, "2")
    browser.wait(SENT)
    browser.open(f"{server.address}/")
    browser.wait(SHOWN)
    press_on(browser, "u")
    browser.wait("return document.querySelector('#prompt .text').innerText === 'Question 1?'")
    browser.wait(SENT)
    assert [row["action"] for row in server.judgements()] == ["judge", "judge", "undo"]
