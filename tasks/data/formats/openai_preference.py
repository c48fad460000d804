"""Parse OpenAI's preference files: {"input": {"messages"}, "preferred_output", "non_preferred_output"}.

Each output is a list with one message of the assistant.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from model.errors import UserError
from tasks.common.value_kinds import kind_of
from tasks.data.parsing.base import FileSample, Format, ParseOptions
from tasks.data.parsing.conversations import (
    SYSTEM,
    only_answer,
    read_turns,
    require_value,
    turns_before_answer,
)
from tasks.data.parsing.preference_fields import preference_row
from tasks.data.parsing.row_stream import LABEL_KEYS, keys, row_stream
from tasks.data.records import ParsedRow

KEYS = ("input", "preferred_output", "non_preferred_output")


INPUT = ("messages", "tools", "functions", "parallel_tool_calls")
_KEYS = keys(*KEYS, *SYSTEM, *LABEL_KEYS, inside={"input": (*INPUT, *SYSTEM)})


def read_row(values: Mapping[str, Any], reading: ParseOptions, where: str) -> Iterator[ParsedRow]:
    """Yield a Comparison for the row. Raise UserError with file and line, also for an input with tools.

    Two equal outputs are a tie. An empty output is kept, so that validation quarantines it with its line.
    """
    given, *outputs = (require_value(values, reading.column(key), where) for key in KEYS)
    if not isinstance(given, dict):
        raise UserError(f"{where}: input is {kind_of(given)}; expected an object with messages")
    messages = read_turns(require_value(given, "messages", f"{where}, input"), f"{where}, input")
    # The system prompt and tools may be in the input or beside it.
    before = turns_before_answer(messages, {**values, **given}, reading, where)
    chosen, rejected = (
        only_answer(read_turns(output, f"{where}, {key}"), key, where)
        for key, output in zip(KEYS[1:], outputs, strict=True)
    )
    yield preference_row(before, chosen, rejected, values, reading, where)


def _detect_mismatch(sample: FileSample) -> str:
    told = sample.items and all(set(KEYS) <= item.values.keys() for item in sample.items)
    return "" if told else f"no keys {', '.join(KEYS)}"


FORMAT = Format(
    "openai_preference", row_stream(read_row, _KEYS, "comparisons"), "line", _detect_mismatch, "comparisons"
)
