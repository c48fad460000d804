"""The benchmark of a key to the next item: that it counts keys, and sees an item that comes late."""

from __future__ import annotations

from pathlib import Path

from tests.benchmarks.key_to_paint import answer_items, measure_keys
from tests.browser import Browser, chromedriver, needs_browser
from tests.flows.servers.label_page.label_browser import sign_in
from tests.flows.servers.label_page.label_server import LabelServer

# The page gets each key 100 ms later.
DELAY = """
document.addEventListener('keydown', (event) => {
  if (!event.isTrusted) return;
  event.stopImmediatePropagation();
  const { key, code } = event;
  setTimeout(() => document.dispatchEvent(new KeyboardEvent('keydown', { key, code, bubbles: true })), 100);
}, true);
"""


@needs_browser
def test_measure_keys_of_a_slow_page_counts_each_key_and_its_delay(tmp_path: Path) -> None:
    (tmp_path / "project").mkdir()
    server = LabelServer(tmp_path / "project")
    try:
        server.add(*answer_items(12, 1), needed=1)
        with chromedriver(tmp_path / "driver.log") as driver:
            browser = Browser(driver, tmp_path / "profile")
            sign_in(browser, server, "Anna")
            quick = measure_keys(browser, 3, 1)
            assert len(quick) == 3 == len(server.judgements())
            browser.open(f"{server.address}/")
            browser.wait("return !document.querySelector('#item').hidden")
            # Behind the benchmark's own listener, in front of the page's.
            slow = measure_keys(browser, 3, 1, DELAY)
            browser.close()
    finally:
        server.close()
    assert all(milliseconds > 0 and frames >= 1 for milliseconds, frames in quick)
    assert all(milliseconds >= 100 and frames > 1 for milliseconds, frames in slow)
    assert min(slow)[0] > min(quick)[0]
