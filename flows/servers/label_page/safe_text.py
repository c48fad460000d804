"""Texts of models as the page shows them: hidden characters are visible, and Markdown is sanitised."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from functools import lru_cache
from html import escape

from markdown_it import MarkdownIt
from markdown_it.renderer import RendererHTML
from markdown_it.token import Token
from markdown_it.utils import EnvType, OptionsDict

from tasks.common.hidden_characters import UNSEEN_CHARACTERS

_CONTROL_PICTURES = 0x2400
_DELETE = "\x7f"
# Reading long nonsense as Markdown takes seconds; longer texts are shown as they were written.
_LONGEST_MARKDOWN = 20_000
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

    A text that is too long for this comes back as plain text in one block.
    """
    if len(text) > _LONGEST_MARKDOWN:
        return f'<p class="plain">{escape(visible_text(text))}</p>'
    return str(_MARKDOWN.render(visible_text(text)))


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


def _build_markdown() -> MarkdownIt:
    # `image` is off: an image would tell its host who looks at it. Its text stays, as a link.
    parser = _SafeMarkdown("commonmark", {"html": False, "linkify": False}).enable("table").disable("image")
    parser.add_render_rule("link_open", _render_link)
    parser.add_render_rule("text", _render_text)
    return parser


_MARKDOWN = _build_markdown()
