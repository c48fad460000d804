"""What reaches a terminal or a log: text of users and their files cannot control it.

File names, annotators, sources, presets, subjects of commits and tags of MLflow may hold escape sequences.
Every command prints through the Console of this module, which shows such characters as escapes.
"""

from __future__ import annotations

import logging
import re
import traceback
from collections.abc import Iterable
from typing import Any

from rich.console import Console as RichConsole
from rich.markup import escape
from rich.segment import Segment
from rich.text import Text

# Controls (C0 without tab and newline, DEL, C1), halves of surrogate pairs, separators of lines, what turns
# the direction of writing, and what cannot be seen. Joiners stay, as Persian, Hindi and emoji need them.
UNSAFE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u00ad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f"
    "\ud800-\udfff\ufeff\ufff9-\ufffb\U000e0000-\U000e007f]"
)


def escape_controls(text: str) -> str:
    r"""Return a text with every character that controls a terminal written as an escape, as \x1b."""
    return UNSAFE.sub(lambda found: found[0].encode("unicode_escape").decode("ascii"), text)


def one_line(text: str) -> str:
    """Return a user's text as markup of rich that stays on its line: a name, a subject, a reason."""
    return escape(escape_controls(text).replace("\n", "\\n").replace("\t", "\\t"))


class Console(RichConsole):
    """A console that shows control characters as escapes, whatever is printed.

    Markup in square brackets is still obeyed: what users wrote goes through rich.markup.escape.
    """

    def __init__(self, **options: Any) -> None:
        # Else a user's :bug: becomes a picture.
        super().__init__(**{"emoji": False, **options})

    def render_str(self, text: str, **options: Any) -> Text:  # type: ignore[override]
        """Return the text of a string, before its width is counted."""
        return super().render_str(escape_controls(text), **options)

    def _render_buffer(self, buffer: Iterable[Segment]) -> str:
        """Write what came by another way than a string, as an object of Text."""
        return super()._render_buffer(
            segment if segment.control else Segment(escape_controls(segment.text), segment.style)
            for segment in buffer
        )


class VisibleRecord(logging.LogRecord):
    """A line of a log without control characters, its traceback among it."""

    def __init__(self, *words: Any, **named: Any) -> None:
        super().__init__(*words, **named)
        if self.exc_info and self.exc_info[0]:
            # Formatters take this where it is set.
            self.exc_text = escape_controls("".join(traceback.format_exception(*self.exc_info)).rstrip("\n"))

    def getMessage(self) -> str:
        """Return the message with its arguments."""
        return escape_controls(super().getMessage())


def guard_logs() -> None:
    """Have all logs of this process show control characters as escapes."""
    logging.setLogRecordFactory(VisibleRecord)
