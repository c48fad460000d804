"""The label page in a real browser: keys, kills, hostile texts, and sessions that end."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tasks.labelling.batches import LabelItem
from tasks.labelling.people import find_person, remove_person, set_password
from tasks.labelling.queue import is_swapped
from tests.browser import Browser, needs_browser
from tests.flows.servers.label_page.label_browser import (
    SENT,
    SHOWN,
    answer,
    press_on,
    prompt,
    sign_in,
    stored,
)
from tests.flows.servers.label_page.label_server import LabelServer, question_items

pytestmark = needs_browser
Opener = Callable[[], Browser]
MOST_BYTES = 150_000


def test_compare_keys_alone_judge_skip_undo_and_write(server: LabelServer, open_browser: Opener) -> None:
    server.add(*question_items(6), needed=1)
    browser = open_browser()
    sign_in(browser, server, "Anna")
    left = browser.text("#left-text")
    assert answer(browser, "1") == "Question 0?"
    browser.wait(SENT)
    # What the screen called answer 1 is what the store has as the choice.
    [row] = server.judgements()
    assert row["choice"] == ("a" if left == "good 0" else "b") and row["swapped"] == (left == "poor 0")
    assert 0 < row["seconds"] < 20  # type: ignore[operator]
    answer(browser, "2")
    answer(browser, "0")
    press_on(browser, "u")
    browser.wait("return document.querySelector('#prompt .text').innerText === 'Question 2?'")
    answer(browser, "b")
    press_on(browser, "f")
    browser.press("c")
    browser.press("cut off\ue00c")
    browser.press("e")
    # Letters in a text are letters, not keys of the page.
    browser.press("12 subs\ue00c")
    answer(browser, "2")
    answer(browser, "s")
    browser.wait(SENT)
    found = stored(server, "Anna")
    assert found[3] == "bad" and found[5] == "skip" and set(found) == {1, 2, 3, 4, 5}
    row = next(row for row in server.judgements() if row["item"] == 4)
    assert (row["flag"], row["comment"], row["better"]) == (True, "cut off", "12 subs")
    assert browser.text("#progress").startswith("4 judged · 4 today")
    assert browser.logs() == []


def test_compare_aspects_are_stored_in_the_order_of_the_store(
    server: LabelServer, open_browser: Opener
) -> None:
    server.add(*question_items(4), needed=1, aspects=("truthfulness", "helpfulness"))
    browser = open_browser()
    sign_in(browser, server, "Anna")
    for number in range(4):
        press_on(browser, "1")
        browser.wait("return !document.querySelector('#aspect').hidden")
        # The choice alone is stored already, should the person leave now.
        browser.wait(SENT)
        assert stored(server, "Anna")[number + 1] in ("a", "b")
        browser.press("2")
        answer(browser, "5")
    browser.wait(SENT)
    found = [row for row in server.judgements() if row["newest"]]
    digests = [item.digest for item in question_items(4)]
    assert len(found) == 4 and len(server.judgements()) == 8
    for row, digest in zip(found, digests, strict=True):
        swapped = is_swapped("Anna", digest)
        steps = {"truthfulness": 4, "helpfulness": 1} if swapped else {"truthfulness": 2, "helpfulness": 5}
        assert (row["choice"], row["steps"]) == ("b" if swapped else "a", steps)


def test_compare_reload_between_choice_and_aspects_goes_on_there(
    server: LabelServer, open_browser: Opener
) -> None:
    server.add(*question_items(3), needed=1, aspects=("truthfulness",))
    browser = open_browser()
    sign_in(browser, server, "Anna")
    press_on(browser, "2")
    browser.wait(SENT)
    browser.open(f"{server.address}/")
    browser.wait("return !document.querySelector('#aspect').hidden")
    assert answer(browser, "3") == "Question 0?"
    browser.wait(SENT)
    assert [row["steps"] for row in server.judgements()] == [{}, {"truthfulness": 3}]


def test_compare_keys_of_other_keyboards_act_by_their_place(
    server: LabelServer, open_browser: Opener
) -> None:
    server.add(*question_items(4), needed=1)
    browser = open_browser()
    sign_in(browser, server, "Anna")
    # Cyrillic letters, a French keyboard's digits without Shift, and the digits of the number pad.
    for key, code in (("и", "KeyB"), ("à", "Digit0"), ("1", "Numpad1"), ("ы", "KeyS")):
        time.sleep(0.2)
        before = prompt(browser)
        pressed = "new KeyboardEvent('keydown', {key: arguments[0], code: arguments[1]})"
        browser.run(f"document.dispatchEvent({pressed})", key, code)
        browser.wait(
            "const text = document.querySelector('#prompt .text');"
            "return document.querySelector('#item').hidden || text.innerText !== arguments[0]",
            before,
        )
    browser.wait(SENT)
    chosen = stored(server, "Anna")
    assert (chosen[1], chosen[2], chosen[4]) == ("bad", "tie", "skip") and chosen[3] in ("a", "b")


def test_compare_two_people_at_once_judge_everything_once_each(
    server: LabelServer, open_browser: Opener
) -> None:
    server.add(*question_items(5), needed=2)
    anna, bob = open_browser(), open_browser()
    sign_in(anna, server, "Anna")
    sign_in(bob, server, "Bob")
    for _ in range(5):
        answer(anna, "1")
        answer(bob, "2")
    for browser in (anna, bob):
        browser.wait("return !document.querySelector('#empty').hidden")
        assert browser.text("#empty-title") == "Nothing left for you. Thank you!"
    assert len(stored(server, "Anna")) == len(stored(server, "Bob")) == 5
    assert len(server.judgements()) == 10


def test_compare_server_killed_between_keys_loses_and_doubles_nothing(
    server: LabelServer, open_browser: Opener
) -> None:
    server.add(*question_items(8), needed=1)
    browser = open_browser()
    sign_in(browser, server, "Anna")
    answer(browser, "1")
    browser.wait(SENT)
    # Three items are on the screen and ahead of it, so that two more keys are answered without a server.
    time.sleep(0.5)
    server.kill()
    answer(browser, "2")
    answer(browser, "0")
    browser.wait(
        "return document.querySelector('#sync').textContent === '2 not sent yet, kept in this browser'"
    )
    # A reload without a server finds no page; the judgements stay in the browser.
    server.start()
    browser.open(f"{server.address}/")
    browser.wait(SHOWN)
    browser.wait(SENT)
    found = stored(server, "Anna")
    assert len(found) == 3 and found[3] == "tie"
    assert len(server.judgements()) == 3
    assert prompt(browser) == "Question 3?"


def test_compare_lost_acknowledgement_is_sent_again_and_stored_once(
    server: LabelServer, open_browser: Opener
) -> None:
    server.add(*question_items(4), needed=1)
    browser = open_browser()
    sign_in(browser, server, "Anna")
    # The server stores the judgement, but its answer never arrives.
    browser.run(
        "const real = window.fetch; window.lost = 0;"
        "window.fetch = async (path, ...more) => { const answer = await real(path, ...more);"
        " if (path === '/api/judgements' && window.lost++ < 2) throw new TypeError('lost'); return answer; };"
    )
    answer(browser, "1")
    browser.wait("return window.lost >= 2")
    browser.wait(SENT)
    assert len(server.judgements()) == 1


HOSTILE = (
    "<script>document.title = 'owned'</script><img src=x onerror=\"document.title='owned'\">"
    "<style>body{display:none}</style><a href='javascript:alert(1)'>x</a>"
)
TURNED = "abc\u202eזה\u202c\u2066x\x00\x1b[31m\u200b end"


def test_compare_hostile_texts_stay_texts(server: LabelServer, open_browser: Opener) -> None:
    long_line = "x" * 100_000
    server.add(
        LabelItem(HOSTILE, TURNED, HOSTILE, history=({"role": "user", "content": HOSTILE},)),
        LabelItem("Long?", long_line, long_line + "y"), LabelItem("After?", "1", "2"), needed=1,
    )  # fmt: skip
    server.add(
        LabelItem("Markdown?", f"{HOSTILE}\n\n[l](javascript:alert(1)) ![i](http://x.invalid/i.png)", TURNED),
        name="second", needed=1, markdown=True,
    )  # fmt: skip
    browser = open_browser()
    sign_in(browser, server, "Anna")
    texts = {browser.text("#left-text"), browser.text("#right-text")}
    assert texts == {HOSTILE, "abc[U+202E]זה[U+202C][U+2066]x␀␛[31m[U+200B] end"}
    assert prompt(browser) == HOSTILE == browser.text("#history .text")
    answer(browser, "1")
    assert prompt(browser) == "Long?"
    # The line wraps inside its card: the page is no wider than the window.
    assert browser.run("return document.documentElement.scrollWidth <= innerWidth")
    assert browser.run("return document.querySelector('#left-text').scrollHeight > 500")
    started = time.monotonic()
    answer(browser, "0")
    assert time.monotonic() - started < 3
    answer(browser, "2")
    assert prompt(browser) == "Markdown?"
    assert browser.run("return document.querySelectorAll('#item script, #item img, #item style').length") == 0
    links = browser.run("return [...document.querySelectorAll('#item a')].map((a) => a.href)")
    assert links == ["http://x.invalid/i.png"]
    assert browser.run("return document.title").startswith("Compare")
    assert not [line for line in browser.logs() if "x.invalid" in line]


def test_compare_ended_session_keeps_the_judgement_until_the_person_is_back(
    server: LabelServer, open_browser: Opener
) -> None:
    server.add(*question_items(6), needed=2)
    browser = open_browser()
    sign_in(browser, server, "Anna")
    # A new password ends all sessions.
    set_password(server.store, "Anna", "a long password")
    answer(browser, "1")
    browser.wait("return document.querySelector('#notice').innerText.includes('You are signed out')")
    assert server.judgements() == []
    browser.open(f"{server.address}/")
    browser.wait("return location.pathname === '/sign-in' && document.activeElement.id === 'name'")
    browser.press("Anna\ue004a long password\ue007")
    browser.wait("return location.pathname === '/'")
    browser.wait(SHOWN)
    browser.wait(SENT)
    assert len(stored(server, "Anna")) == 1


def test_compare_outbox_of_another_person_is_not_sent(server: LabelServer, open_browser: Opener) -> None:
    server.add(*question_items(6), needed=3)
    browser = open_browser()
    sign_in(browser, server, "Anna")
    remove_person(server.store, "Anna")
    answer(browser, "1")
    browser.wait("return document.querySelector('#notice').innerText.includes('You are signed out')")
    sign_in(browser, server, "Bob")
    browser.wait("return document.querySelector('#sync').innerText.startsWith('Somebody else')")
    answer(browser, "2")
    browser.wait(SENT)
    assert [row["person"] for row in server.judgements()] == ["Bob"]
    # Anna is back on the same browser: hers is sent under her name.
    sign_in(browser, server, "Anna")
    browser.wait(SENT)
    assert [row["person"] for row in server.judgements()] == ["Bob", "Anna"]


def test_compare_tab_of_a_person_who_left_sends_nothing_as_the_next(
    server: LabelServer, open_browser: Opener
) -> None:
    server.add(*question_items(6), needed=3)
    browser = open_browser()
    sign_in(browser, server, "Anna")
    # Bob signs in in another tab of this browser: the cookie is his, while this page is still Anna's.
    code = server.link("Bob").partition("#")[2]
    script = (
        "return fetch('/api/sign-in/link', {method: 'POST', headers: {'Content-Type': 'application/json'},"
        " body: JSON.stringify({code: arguments[0]})}).then((answer) => answer.status)"
    )
    assert browser.run(script, code) == 200
    answer(browser, "1")
    browser.wait("return document.querySelector('#notice').innerText.includes('Somebody else signed in')")
    assert server.judgements() == []


def test_review_keys_decide_and_leave(server: LabelServer, open_browser: Opener) -> None:
    server.add(*question_items(3), needed=2)
    for name, key in (("Anna", "1"), ("Bob", "2")):
        browser = open_browser()
        sign_in(browser, server, name)
        # The same answer on the screen of both: on each item they may see them in different orders.
        for number in range(3):
            swapped = is_swapped(name, question_items(3)[number].digest)
            answer(browser, {"1": "2", "2": "1"}[key] if swapped else key)
        browser.wait(SENT)
    browser = open_browser()
    browser.open(server.link("Rita", "reviewer"))
    browser.wait("return location.pathname === '/account'")
    browser.open(f"{server.address}/review")
    browser.wait(SHOWN)
    assert browser.text("#progress") == "3 waiting"
    said = browser.text("#said-list")
    assert re.search(r"Anna\s+Answer [12]", said) and re.search(r"Bob\s+Answer [12]", said)
    # The count follows each key, though the next item was fetched before it.
    badge = "nav .count"
    answer(browser, "s")
    assert (browser.text("#progress"), browser.text(badge)) == ("3 waiting", "3")
    answer(browser, "0")
    assert (browser.text("#progress"), browser.text(badge)) == ("2 waiting", "2")
    answer(browser, "u")
    assert (browser.text("#progress"), browser.text(badge)) == ("3 waiting", "3")
    answer(browser, "0")
    answer(browser, "b")
    browser.wait("return document.querySelector('#empty-title').textContent === '1 left undecided.'")
    assert (browser.text("#progress"), browser.text(badge)) == ("", "1")
    browser.wait(SENT)
    decided = {row["item"]: row["choice"] for row in server.judgements() if row["review"]}
    assert decided == {2: "tie", 3: "bad"}
    browser.click("#again")
    browser.wait(SHOWN)
    assert prompt(browser) == "Question 0?"
    browser.open(f"{server.address}/overview")
    assert "Krippendorff" in browser.text("main")
    assert browser.logs() == []


def test_compare_first_load_is_small_and_from_this_host_alone(
    server: LabelServer, open_browser: Opener
) -> None:
    server.add(*question_items(3))
    browser = open_browser()
    sign_in(browser, server, "Anna")
    loaded: list[list[Any]] = browser.run(
        "return [...performance.getEntriesByType('navigation'), ...performance.getEntriesByType('resource')]"
        ".map((entry) => [entry.name, entry.transferSize || entry.encodedBodySize])"
    )
    assert len(loaded) > 5 and all(name.startswith((server.address, "data:")) for name, _ in loaded)
    assert sum(size for _, size in loaded) <= MOST_BYTES
    # The phone's page is not wider than the phone, and no button lies outside it.
    browser.resize(390, 844)
    assert browser.run("return document.documentElement.scrollWidth") == 390
    buttons = "[...document.querySelectorAll('button')].map((each) => each.getBoundingClientRect().right)"
    assert browser.run(f"return Math.max(...{buttons})") <= 390


def test_compare_buttons_work_and_are_named(server: LabelServer, open_browser: Opener) -> None:
    server.add(*question_items(3), needed=1)
    browser = open_browser()
    sign_in(browser, server, "Anna")
    tree = browser.devtools("Accessibility.getFullAXTree")["nodes"]
    unnamed = [
        node for node in tree
        if node["role"]["value"] in ("button", "textbox", "link", "checkbox")
        and not node["ignored"] and not node["name"]["value"]
    ]  # fmt: skip
    assert unnamed == []
    roles = {node["role"]["value"] for node in tree if not node["ignored"]}
    assert {"main", "banner"} <= roles
    time.sleep(0.2)
    browser.click("#left")
    browser.wait("return document.querySelector('#prompt .text').innerText === 'Question 1?'")
    browser.click("#help")
    assert browser.run("return document.querySelector('#keys').open")
    browser.press("1")
    browser.press("\ue00c")
    browser.wait(SENT)
    assert len(server.judgements()) == 1
    assert find_person(server.store, "Anna") is not None


def test_label_page_pictures_have_no_line_beyond_the_window(
    server: LabelServer, open_browser: Opener, tmp_path: Path
) -> None:
    server.add(*question_items(3), needed=1)
    browser = open_browser()
    sign_in(browser, server, "Rita", "reviewer")
    for width, height in ((390, 844), (1440, 900)):
        for page in ("/", "/review", "/overview", "/account"):
            browser.resize(width, height, dark=True)
            browser.open(server.address + page)
            assert browser.run("return document.documentElement.scrollWidth") <= width, page
    browser.screenshot(tmp_path / "page.png")
    assert (tmp_path / "page.png").stat().st_size > 5000


def test_guide_covers_no_item_of_a_window_that_became_narrow(
    server: LabelServer, open_browser: Opener
) -> None:
    server.add(*question_items(2), needed=1)
    browser = open_browser()
    hidden = "return document.querySelector('#guide').hidden"
    browser.resize(1440, 900)
    sign_in(browser, server, "Anna")
    browser.wait("return !document.querySelector('#guide').hidden")
    browser.resize(390, 844)
    browser.wait(hidden)
    press_on(browser, "g")
    assert not browser.run(hidden)
    # Opened on the phone, it is closed at the next visit there, and stands beside the item on a wide screen.
    browser.open(f"{server.address}/")
    browser.wait(SHOWN)
    assert browser.run(hidden)
    browser.resize(1440, 900)
    browser.wait("return document.querySelector('#guide-text').innerText.length > 10")
    press_on(browser, "g")
    browser.open(f"{server.address}/")
    browser.wait(SHOWN)
    assert browser.run(hidden)


def test_overview_tables_fit_a_phone(server: LabelServer, open_browser: Opener) -> None:
    known = LabelItem("Is 2 even?", "Yes.", "No.", reason="known", known_choice="a")
    server.add(*question_items(2), known, needed=3, aspects=("truthfulness", "helpfulness"))
    for person in ("Anna", "Benedikt Ross"):
        browser = open_browser()
        sign_in(browser, server, person)
        for number in range(3):
            press_on(browser, "1")
            browser.wait("return !document.querySelector('#aspect').hidden")
            browser.press("24")
            browser.wait(f"return document.body.innerText.includes('{number + 1} judged')")
        browser.wait(SENT)
    browser = open_browser()
    sign_in(browser, server, "Rita", "reviewer")
    browser.resize(390, 844)
    browser.open(f"{server.address}/overview")
    assert browser.run("return document.documentElement.scrollWidth") == 390
    right = (
        "Math.max(...[...document.querySelectorAll('table')].map((one) => one.getBoundingClientRect().right))"
    )
    assert browser.run("return document.querySelectorAll('table').length") >= 4
    assert browser.run(f"return {right}") <= 390


def test_compare_aspects_named_like_parts_of_objects_are_stored(
    server: LabelServer, open_browser: Opener
) -> None:
    aspects = ("__proto__", "constructor", "toString", "hasOwnProperty")
    server.add(*question_items(2), needed=1, aspects=aspects)
    browser = open_browser()
    sign_in(browser, server, "Anna")
    press_on(browser, "1")
    browser.wait("return !document.querySelector('#aspect').hidden")
    browser.press("2")
    browser.wait("return document.querySelector('#aspect-title').innerText.startsWith('Constructor')")
    browser.wait(SENT)
    # The steps so far come back from the browser's storage.
    browser.open(f"{server.address}/")
    browser.wait("return document.querySelector('#aspect-title').innerText.startsWith('Constructor')")
    browser.press("24")
    answer(browser, "5")
    browser.wait(SENT)
    swapped = is_swapped("Anna", question_items(1)[0].digest)
    steps = dict(zip(aspects, (4, 4, 2, 1) if swapped else (2, 2, 4, 5), strict=True))
    assert [row["steps"] for row in server.judgements() if row["newest"]] == [steps]
