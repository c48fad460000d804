"""Chat messages: {"messages": [{"role", "content"}, …]}, several turns with a system line or without.

Content is a text or a list of text parts. Roles, the joining of turns and `weight` are those of turns.py.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tasks.formats import File, Format, Found, Reading, Sample
from tasks.formats.turns import conversations, fits_conversations

KEY = "messages"


def parse(files: Sequence[File], reading: Reading) -> Iterator[Found]:
    """A Pair for each answer, all of a conversation of one group. Raises UserError with file and line."""
    yield from conversations(files, reading, KEY)


def _fits(sample: Sample) -> str:
    return fits_conversations(sample, KEY)


FORMAT = Format("messages", parse, "line", _fits)
