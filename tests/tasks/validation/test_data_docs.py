"""Test that Great Expectations' pages load nothing from other hosts and run no scripts."""

import re

import pytest

from tasks.validation.data_docs import without_loading, write_page
from tasks.validation.expectations import Rules, build_expectations

LOADS = re.compile(r"<(script|link|img|iframe|form|object)\b|\bsrc\s*=|@import|url\(", re.IGNORECASE)


@pytest.mark.parametrize(
    "page",
    [
        "<html><head><script src='https://x/y.js'></script></head><body>a</body></html>",
        "<html><HEAD lang=x><LINK rel=stylesheet href=//x/y.css><style>a{b:url(//x/c.png)}</style></HEAD>",
        "<head></head><img\n src='http://x/y.png'\n/><iframe src=x>b</iframe><script>1 < 2</script >",
        "<head></head><form action=https://x><input></form><script src=x>",
    ],
)
def test_without_loading_leaves_nothing_to_fetch(page):
    kept = without_loading(page)
    assert not LOADS.search(kept) and "Content-Security-Policy" in kept


def test_write_page_has_findings_and_loads_nothing(tmp_path):
    chosen = build_expectations("text", Rules())
    write_page(tmp_path / "text.html", "text", chosen, 9, {chosen[0].meta["rule"]: (2, ["<b>one</b>"])})
    page = (tmp_path / "text.html").read_text()
    assert not LOADS.search(page) and "&lt;b&gt;one" in page
