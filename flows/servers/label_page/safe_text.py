"""Texts of models as the page shows them: hidden characters are visible, and Markdown is sanitised."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from functools import lru_cache
from html import escape
from typing import Any

from markdown_it import MarkdownIt
from markdown_it.renderer import RendererHTML
from markdown_it.token import Token
from markdown_it.utils import EnvType, OptionsDict

from tasks.common.hidden_characters import UNSEEN_CHARACTERS

_CONTROL_PICTURES = 0x2400
_DELETE = "\x7f"
# Reading long nonsense as Markdown takes seconds; longer texts are shown as they were written.
_LONGEST_MARKDOWN = 20_000
# A bar that Markdown takes for the end of a table's cell.
_CELL_END = re.compile(r"(?<!\\)\|")
_LINK_SCHEMES = ("http://", "https://", "mailto:")


def visible_text(text: str) -> str:
    """Return a text with its hidden characters as signs, such as ␀, or as their number, such as [U+202E]."""
    text = text.replace("\r\n", "\n")
    return UNSEEN_CHARACTERS.sub(lambda found: _sign(found[0]), text)


def _sign(char: str) -> str:
    if char < " ":
        return chr(_CONTROL_PICTURES + ord(char))
    return "␡" if char == _DELETE else f"[U+{ord(char):04X}]"


@lru_cache(maxsize=256)
def safe_markdown(text: str) -> str:
    """Return a Markdown text as HTML without scripts, raw HTML, images and dangerous links.

    A text that is too long for this, or of which Markdown would hide a part, comes back as plain text in one
    block.
    """
    shown = visible_text(text)
    if len(text) <= _LONGEST_MARKDOWN:
        env: dict[str, Any] = {}
        tokens = _MARKDOWN.parse(shown, env)
        if not _drops_cells(tokens, shown.split("\n")):
            return str(_MARKDOWN.renderer.render(tokens, _MARKDOWN.options, env))
    return f'<p class="plain">{escape(shown)}</p>'


def _drops_cells(tokens: Sequence[Token], lines: Sequence[str]) -> bool:
    """Return whether a row of a table has more cells than its header: Markdown drops the others."""
    width = 0
    for token in tokens:
        if token.type == "table_open":
            width = 0
        width += token.type == "th_open"
        if token.type == "tr_open" and width and token.map:
            cells = _CELL_END.split(lines[token.map[0]].lstrip("> \t").rstrip())
            if len(cells) - (not cells[0]) - (not cells[-1]) > width:
                return True
    return False


class _SafeMarkdown(MarkdownIt):
    def validateLink(self, url: str) -> bool:
        """Return whether a link is shown as one."""
        # Browsers ignore control characters in the scheme of an address.
        bare = "".join(char for char in url if not unicodedata.category(char).startswith("C"))
        return bare.strip().lower().startswith(_LINK_SCHEMES)


def _render_link(
    self: RendererHTML, tokens: Sequence[Token], index: int, options: OptionsDict, env: EnvType
) -> str:
    # A model's text must not lead people away from the page in the same tab, nor tell where they come from.
    tokens[index].attrSet("rel", "noopener noreferrer nofollow")
    tokens[index].attrSet("target", "_blank")
    if title := tokens[index].attrGet("title"):
        tokens[index].attrSet("title", visible_text(str(title)))
    return self.renderToken(tokens, index, options, env)


def _render_text(
    self: RendererHTML, tokens: Sequence[Token], index: int, options: OptionsDict, env: EnvType
) -> str:
    # A reference such as `&#x202e;` or an address with `%E2%80%AE` is a hidden character only now.
    return escape(visible_text(tokens[index].content))


def _render_fence(
    self: RendererHTML, tokens: Sequence[Token], index: int, options: OptionsDict, env: EnvType
) -> str:
    # The words after the opening marks, such as the language, would be hidden in an attribute.
    info, code = visible_text(tokens[index].info.strip()), visible_text(tokens[index].content)
    named = f'<p class="language">{escape(info)}</p>\n' if info else ""
    return f"{named}<pre><code>{escape(code)}</code></pre>\n"


def _build_markdown() -> MarkdownIt:
    # `image` is off: an image would tell its host who looks at it. Its text stays, as a link. `reference` is
    # off, so that definitions of links stay as text: people judge all that a model wrote.
    parser = _SafeMarkdown("commonmark", {"html": False, "linkify": False}).enable("table")
    parser.disable(["image", "reference"])
    parser.add_render_rule("link_open", _render_link)
    parser.add_render_rule("fence", _render_fence)
    parser.add_render_rule("text", _render_text)
    return parser


_MARKDOWN = _build_markdown()
