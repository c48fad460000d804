"""Texts of models as the label page shows them."""

from __future__ import annotations

import re
import time
from html import unescape

import pytest

from flows.servers.label_page.safe_text import safe_markdown, visible_text
from tasks.common.hidden_characters import UNSEEN_CHARACTERS


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain\ttext\n", "plain\ttext\n"),
        ("a\0b\x1b[31m\x7f", "a␀b␛[31m␡"),
        ("\u202eabc\u2069", "[U+202E]abc[U+2069]"),
        ("\u200f\u200e\u061c\u200b\ufeff\u00ad", "[U+200F][U+200E][U+061C][U+200B][U+FEFF][U+00AD]"),
        ("line\r\nend\rx\x85\u2028", "line\nend␍x[U+0085][U+2028]"),
        ("\U000e0041", "[U+E0041]"),
        ("\ud800", "[U+D800]"),
        ("a\u034fb\ufff0\U0001d173\U000e01f0", "a[U+034F]b[U+FFF0][U+1D173][U+E01F0]"),
        # A text in runs of selectors, of joiners, or of both.
        ("😀\U000e0158\U000e0155", "😀\U000e0158[U+E0155]"),
        ("a\u200d\u200c\u200c", "a\u200d[U+200C][U+200C]"),
        ("a\u200d\ufe0f\u200d\ufe00", "a\u200d[U+FE0F]\u200d[U+FE00]"),
        # Joiners and selectors are parts of ordinary words and signs.
        ("می‌خواهم 👨‍👩‍👧 ✔️ é", "می‌خواهم 👨‍👩‍👧 ✔️ é"),
        ("🏳️‍🌈 葛\U000e0100 ᠠ\u180b क्‍ष", "🏳️‍🌈 葛\U000e0100 ᠠ\u180b क्‍ष"),
    ],
)
def test_visible_text_shows_hidden_characters(text: str, shown: str) -> None:
    assert visible_text(text) == shown


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a&#x202e;b", "a[U+202E]b"),
        ("&ZeroWidthSpace;&lrm;&shy;&#8294;", "[U+200B][U+200E][U+00AD][U+2066]"),
        ("**a&#x200d;&#x200d;** &#13;", "a\u200d[U+200D]</strong> ␍"),
        ("[a&rlm;](https://x.example)", "a[U+200F]"),
        ("<https://x.example/%E2%80%AEx>", "https://x.example/[U+202E]x"),
        ('[a](https://x.example "&#x202e;t")', 'title="[U+202E]t"'),
        ("| a&#x2066; |\n|-|\n| &#x2069; |", "[U+2066]"),
    ],
)
def test_safe_markdown_shows_hidden_characters_of_references(text: str, shown: str) -> None:
    html = safe_markdown(text)
    assert shown in html
    assert not UNSEEN_CHARACTERS.search(html)


@pytest.mark.parametrize(
    "text",
    [
        "<script>x</script>",
        "<img src=x onerror=y>",
        "[a](javascript:alert(1))",
        "[a](JaVaScRiPt:alert(1))",
        "[a](&#106;avascript:alert(1))",
        "[a](java&#10;script:alert(1))",
        "[a](data:text/html,x)",
        "[a](vbscript:x)",
        "[a](//evil.example)",
        "![a](https://evil.example/x.png)",
        "![a](data:image/svg+xml,x)",
        "<javascript:alert(1)>",
        "[a]: javascript:x\n\n[a]",
        "[a](https://x.example 'onclick=\"y\"')",
        "```<script>\nx\n```",
        "`<script>`",
        "|<script>|\n|-|\n|<b>|",
    ],
)
def test_safe_markdown_has_no_script_no_image_and_no_dangerous_link(text: str) -> None:
    html = safe_markdown(text)
    tags = re.findall(r"<\s*/?\s*(\w+)", html)
    assert not {"script", "img", "b", "style", "iframe", "svg"} & set(tags), html
    assert not re.search(r"<[^>]*\son\w+=", re.sub(r'"[^"]*"', '""', html)), html
    for address in re.findall(r'(?:href|src)="([^"]*)"', html):
        assert address.startswith("https://"), html


def test_safe_markdown_formats_and_marks_links() -> None:
    html = safe_markdown("# A\n\n- **b** [c](https://c.example)\n\n|x|\n|-|\n|1|")
    for part in ("<h1>A</h1>", "<strong>b</strong>", "<table>", 'rel="noopener noreferrer nofollow"'):
        assert part in html


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("See [a].\n\n[a]: https://x.example 'hidden'", "[a]: https://x.example 'hidden'"),
        ("[//]: # (hidden)\n\nA reply.", "[//]: # (hidden)"),
        ("> [a]: <https://x.example>\n", "[a]: https://x.example"),
        ("```python and hidden\nx\n```", "python and hidden"),
        ("~~~ &#x202e;hidden\nx\n~~~", "hidden"),
        ("|a|b|\n|-|-|\n|1|2|hidden|", "|1|2|hidden|"),
        ("> a | b\n> -|-\n> 1 | 2 | hidden", "1 | 2 | hidden"),
    ],
)
def test_safe_markdown_hides_no_words(text: str, words: str) -> None:
    shown = unescape(re.sub(r"<[^>]*>", "", safe_markdown(text)))
    assert words in shown and not UNSEEN_CHARACTERS.search(shown)


@pytest.mark.parametrize(
    "text",
    [
        "|a|b|\n|-|-|\n|1|2|\n|1|\n|1\\|2|3|",
        "> a | b\n> -|-\n> 1 | 2",
        "|a|\n|-|\n|1|\n\n|a|b|\n|-|-|\n|1|2|",
    ],
)
def test_safe_markdown_whole_table_stays_a_table(text: str) -> None:
    assert "<table>" in safe_markdown(text)


@pytest.mark.parametrize("part", ["[", "![", "*a ", "[a](b ", "> ", "`", "<", "&#", "a_", "|", "- "])
def test_safe_markdown_nonsense_takes_no_second(part: str) -> None:
    for length in (20_000, 100_000):
        start = time.process_time()
        safe_markdown(part * (length // len(part)))
        assert time.process_time() - start < 2
