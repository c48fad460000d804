"""What people do on the label page in a browser, for tests."""

from __future__ import annotations

import time

from tests.browser import Browser
from tests.flows.servers.label_page.label_server import LabelServer

SHOWN = "return !document.querySelector('#item').hidden"
SENT = "return document.body.dataset.unsent === '0'"


def sign_in(browser: Browser, server: LabelServer, name: str, role: str = "labeller") -> None:
    browser.open(server.link(name, role))  # type: ignore[arg-type]
    browser.wait("return location.pathname === '/account'")
    browser.open(f"{server.address}/")
    browser.wait(SHOWN)


def prompt(browser: Browser) -> str:
    return browser.text("#prompt .text")


def press_on(browser: Browser, key: str) -> None:
    """Press a key on an item that has been on the screen long enough to be read."""
    time.sleep(0.2)
    browser.press(key)


def answer(browser: Browser, key: str) -> str:
    """Press a key on the item on the screen, and wait for the next one; return the prompt."""
    before = prompt(browser)
    press_on(browser, key)
    browser.wait(
        "const text = document.querySelector('#prompt .text');"
        "return document.querySelector('#item').hidden || (text && text.innerText !== arguments[0])",
        before,
    )
    return before


def stored(server: LabelServer, name: str) -> dict[int, str]:
    """Return the choices of a person that count, by item, and check that each counts once."""
    rows = [row for row in server.judgements() if row["person"] == name and row["newest"]]
    assert len({row["item"] for row in rows}) == len(rows)
    return {row["item"]: row["choice"] or row["action"] for row in rows}  # type: ignore[misc]
