"""Parse ShareGPT: {"conversations": [{"from": "human", "value": …}, {"from": "gpt", …}, …]}.

There may be a `system` prompt. Other names of the two speakers, and the joining of turns, are as in
conversations.py.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from tasks.data.parsing.base import FileSample, Format, ParseOptions
from tasks.data.parsing.conversations import MEDIA, SYSTEM, fits_conversations, read_conversation
from tasks.data.parsing.row_stream import keys, row_stream
from tasks.data.records import ParsedRow

_KEY = "conversations"
_KEYS = keys(_KEY, "tools", "functions", *SYSTEM, *MEDIA, turns=_KEY)


def read_row(values: Mapping[str, Any], reading: ParseOptions, where: str) -> Iterator[ParsedRow]:
    """Yield a Pair for each answer, all of one group. Raise UserError with file and line."""
    yield from read_conversation(values, reading, where, _KEY)


def _detect_mismatch(sample: FileSample) -> str:
    return fits_conversations(sample, _KEY)


FORMAT = Format("sharegpt", row_stream(read_row, _KEYS, "pairs"), "line", _detect_mismatch, "pairs")
