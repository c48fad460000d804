"""Terminal and log output that text of users and their files cannot control.

File names, annotators, sources, presets, commit subjects and MLflow's tags may hold escape sequences. Every
command prints through the Console of this module, which shows such characters as escapes.
"""

from __future__ import annotations

import logging
import re
import traceback
from collections.abc import Iterable
from typing import Any

from rich.cells import cell_len
from rich.console import Console as RichConsole
from rich.markup import escape
from rich.segment import Segment
from rich.text import Text

from tasks.common.hidden_characters import UNSEEN_CHARACTERS


def escape_controls(text: str) -> str:
    r"""Return a text with characters that control a terminal, or are invisible, as escapes such as \x1b."""
    return UNSEEN_CHARACTERS.sub(lambda found: found[0].encode("unicode_escape").decode("ascii"), text)


def terminal_text(text: str) -> str:
    """Return a user's text as rich markup, with control characters as escapes."""
    return escape(escape_controls(text))


def one_line(text: str) -> str:
    """Return a user's text, such as a name or a reason, as rich markup that stays on one line."""
    return escape(escape_controls(text).replace("\n", "\\n").replace("\t", "\\t"))


# A command in backticks, a part of a preset in braces, and a number with its interval are read as one word: a
# line never ends in them, and they can be copied.
_UNBROKEN = re.compile(r"`[^`\n]*`|\{[^{}\n]*(?:\{[^{}\n]*\}[^{}\n]*)*\}|\S+ \[[^\]\n]*\]|\(n = [^)\n]*\)")
# A noncharacter of Unicode: no text has it.
_HELD_SPACE = "\ufdd0"


def wrap_words(text: str, width: int) -> list[str]:
    """Return a text as lines of at most `width` cells, broken only between words.

    A longer word, such as a path, is a line of its own: what is cut cannot be copied. Line ends stay.
    """
    lines = []
    for paragraph in text.split("\n"):
        line = ""
        for word in _hold_spaces(paragraph).split():
            joined = f"{line} {word}" if line else word
            if line and cell_len(joined) > width:
                lines.append(line)
                joined = word
            line = joined
        lines.append(line)
    return [line.replace(_HELD_SPACE, " ") for line in lines]


def _hold_spaces(text: str) -> str:
    """Return a text of the same length in which no space is inside of what stays unbroken."""
    return _UNBROKEN.sub(lambda found: found[0].replace(" ", _HELD_SPACE), text)


def wrap_rich_text(text: Text, width: int) -> Text:
    """Return a text with line ends between words, as by `wrap_words`; its styles and indentation stay.

    The lines of a broken line begin where it began, so that they can be told from the next one.
    """
    breaks: list[tuple[int, int]] = []
    start = 0
    for paragraph in text.plain.split("\n"):
        held = _hold_spaces(paragraph)
        indent = len(held) - len(held.lstrip(" "))
        begins = 0
        for word in re.finditer(r"\S+", held):
            room = width - (indent if begins else 0)
            if held[begins : word.start()].strip() and cell_len(held[begins : word.end()]) > room:
                begins = word.start()
                breaks.append((start + begins, indent))
        start += len(paragraph) + 1
    first, *rest = text.divide([place for place, _ in breaks])
    wrapped = first
    for piece, (_, indent) in zip(rest, breaks, strict=True):
        wrapped.rstrip()
        wrapped.append("\n" + " " * indent).append_text(piece)
    return wrapped


# Words of the command line that span lines, as they are printed and as they are shown.
_spanning: dict[str, str] = {}


def note_typed_words(words: Iterable[str]) -> None:
    """Show these words of the command line on one line, wherever a console prints them.

    A line end in a path that somebody typed could forge a line of the output. In other texts line ends are
    right, so only the typed ones are written as escapes.
    """
    _spanning.clear()
    for word in words:
        # A path is normalized between its slashes, and --set is split at its sign.
        for part in re.split("[/=]", word):
            if part.strip() and re.search(r"[\n\t]", part.strip()):
                shown = escape_controls(part)
                for text in (shown, escape(shown)):
                    _spanning[text] = text.replace("\n", "\\n").replace("\t", "\\t")


def _shown_text(text: str) -> str:
    """Return a text for the terminal, with control characters and typed line ends as escapes."""
    said = escape_controls(text)
    for word, shown in _spanning.items():
        said = said.replace(word, shown)
    return said


class Console(RichConsole):
    """A console that shows control characters as escapes in all that is printed.

    Markup in square brackets is still interpreted: pass users' text through rich.markup.escape. Strings are
    wrapped between words on a terminal. Elsewhere a line stays one, so that other programs can read it.
    """

    def __init__(self, **options: Any) -> None:
        # rich would replace a user's `:bug:` by an emoji.
        super().__init__(**{"emoji": False, **options})

    def print(self, *objects: Any, sep: str = " ", **options: Any) -> None:
        """Print as rich does, but break lines of strings only on a terminal, and only between words."""
        told = {"width", "no_wrap", "overflow", "justify"} & options.keys()
        if objects and not told and all(isinstance(each, str) for each in objects):
            options["soft_wrap"] = True
            if self._is_file_terminal():
                bright = options.get("highlight")
                text = self.render_str(
                    sep.join(objects), emoji=options.get("emoji"), markup=options.get("markup"),
                    highlight=self._highlight if bright is None else bright, highlighter=self.highlighter,
                )  # fmt: skip
                objects = (wrap_rich_text(text, self.width),)
        super().print(*objects, sep=sep, **options)

    def _is_file_terminal(self) -> bool:
        # Not rich's `is_terminal`, which FORCE_COLOR sets for a pipe too.
        try:
            return self.file.isatty()
        except (AttributeError, ValueError):
            return False

    def render_str(self, text: str, **options: Any) -> Text:  # type: ignore[override]
        """Return the rendered text of a string. It is escaped here, before its width is counted."""
        return super().render_str(_shown_text(text), **options)

    def _render_buffer(self, buffer: Iterable[Segment]) -> str:
        """Escape what was not printed as a string, such as a Text object."""
        return super()._render_buffer(
            segment if segment.control else Segment(escape_controls(segment.text), segment.style)
            for segment in buffer
        )


class VisibleRecord(logging.LogRecord):
    """A log record whose message and traceback have no control characters."""

    def __init__(self, *words: Any, **named: Any) -> None:
        super().__init__(*words, **named)
        if self.exc_info and self.exc_info[0]:
            # Formatters use `exc_text` if it is set, instead of formatting the exception themselves.
            self.exc_text = escape_controls("".join(traceback.format_exception(*self.exc_info)).rstrip("\n"))

    def getMessage(self) -> str:
        """Return the message with its arguments, escaped."""
        return escape_controls(super().getMessage())


def guard_logs() -> None:
    """Make all logs of this process show control characters as escapes, and print no errors of logging.

    On a full disk Prefect's server takes no log lines, and each of them would print an error of several
    lines. The command itself says in one sentence that the disk is full.
    """
    logging.setLogRecordFactory(VisibleRecord)
    logging.raiseExceptions = False
