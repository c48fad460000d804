"""OpenAI's preference files: {"input": {"messages"}, "preferred_output", "non_preferred_output"}.

Each output is a list with one message of the assistant's.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from model.errors import UserError
from tasks.data.formats.base import Format, Reading, Sample
from tasks.data.formats.conversations import SYSTEM, asked, only_answer, read_turns, there
from tasks.data.formats.preference_fields import preferred
from tasks.data.formats.row_stream import LABEL_KEYS, keys, row_stream
from tasks.data.records import Found

KEYS = ("input", "preferred_output", "non_preferred_output")


INPUT = ("messages", "tools", "functions", "parallel_tool_calls")
_KEYS = keys(*KEYS, *SYSTEM, *LABEL_KEYS, inside={"input": (*INPUT, *SYSTEM)})


def read_row(values: Mapping[str, Any], reading: Reading, where: str) -> Iterator[Found]:
    """A Comparison a row. Raises UserError with file and line, and where the input has tools.

    Two equal outputs are a tie; an empty one is kept, and validation puts it aside with its line.
    """
    given, *outputs = (there(values, reading.column(key), where) for key in KEYS)
    if not isinstance(given, dict):
        raise UserError(f"{where}: input is {type(given).__name__}; an object with messages is right")
    messages = read_turns(there(given, "messages", f"{where}, input"), f"{where}, input")
    before = asked(messages, {**values, **given}, reading, where)
    chosen, rejected = (
        only_answer(read_turns(output, f"{where}, {key}"), key, where)
        for key, output in zip(KEYS[1:], outputs, strict=True)
    )
    yield preferred(before, chosen, rejected, values, reading, where)


def _fits(sample: Sample) -> str:
    told = sample.items and all(set(KEYS) <= item.values.keys() for item in sample.items)
    return "" if told else f"no keys {', '.join(KEYS)}"


FORMAT = Format("openai_preference", row_stream(read_row, _KEYS, "comparisons"), "line", _fits, "comparisons")
