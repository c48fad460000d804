"""Characters of a text that a reader does not see, or that turn the text around them."""

from __future__ import annotations

import re

# Joiners (U+200C, U+200D) and variation selectors are parts of ordinary words and signs. Several in a row
# draw nothing and can hide a text, a bit or a byte each. In an emoji a joiner may follow a selector.
_JOINERS = "\u200c\u200d"
_SELECTORS = "\u180b-\u180d\u180f\ufe00-\ufe0f\U000e0100-\U000e01ef"
# Control characters except tab and line feed, format characters, fillers, line and paragraph separators,
# tags, lone surrogates, and code points that Unicode keeps for further invisible characters.
UNSEEN_CHARACTERS = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180e\u200b\u200e\u200f\u2028-\u202e"
    "\u2060-\u206f\u2800\u3164\ud800-\udfff\ufeff\uffa0\ufff0-\ufffb\U0001bca0-\U0001bca3\U0001d173-\U0001d17a"
    f"\U000e0000-\U000e00ff\U000e01f0-\U000e0fff]|(?<=[{_JOINERS}])[{_JOINERS}{_SELECTORS}]"
    f"|(?<=[{_SELECTORS}])[{_SELECTORS}]"
)
