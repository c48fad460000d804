"""Parse Alpaca: {"instruction", "input", "output"}, where `input` may be empty (Taori et al., 2023).

The prompt has the two templates of the data: with headings for instruction, input and response, and without
an input also without its heading. `context` is another name of `input`. `system` and `history`, a list of
[prompt, answer] or of turns, precede the prompt.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from tasks.data.parsing.base import FileSample, Format, ParseOptions
from tasks.data.parsing.conversations import (
    MEDIA,
    SYSTEM,
    SourceTurn,
    context_of,
    conversation_pairs,
    open_with_system,
    read_history,
    read_text,
)
from tasks.data.parsing.row_stream import keys, row_stream
from tasks.data.records import ParsedRow, group_digest, pair_row

ALONE = "Do what the instruction says.\n\n### Instruction:\n{instruction}\n\n### Response:\n"
WITH_INPUT = (
    "Do what the instruction says with the input below it.\n\n"
    "### Instruction:\n{instruction}\n\n### Input:\n{input}\n\n### Response:\n"
)


_KEYS = keys("instruction", "input", "context", "output", "history", "tools", "functions", *SYSTEM, *MEDIA)


def read_row(values: Mapping[str, Any], reading: ParseOptions, where: str) -> Iterator[ParsedRow]:
    """Yield a Pair for the row, and one for each earlier answer in `history`.

    A row without an instruction has an empty prompt, which validation quarantines. Raises UserError with file
    and line.
    """
    instruction, output = (read_text(values, reading.column(key), where) for key in ("instruction", "output"))
    # Filling the template would hide the missing instruction from validation.
    if not instruction.strip():
        yield ParsedRow(pair_row("", output, reading.source, group_digest(output)), where)
        return
    given = context_of(values, reading, where)
    asked, answer = SourceTurn("user", prompt_of(instruction, given)), SourceTurn("assistant", output)
    turns = open_with_system(
        [*read_history(reading.optional(values, "history"), where), asked, answer], values, reading, where
    )
    yield from conversation_pairs(turns, values, reading, where)


def prompt_of(instruction: str, given: str) -> str:
    """Return the prompt of an instruction, by one template with an input and by another without."""
    template = WITH_INPUT if given.strip() else ALONE
    return template.format(instruction=instruction.strip(), input=given.strip())


def _detect_mismatch(sample: FileSample) -> str:
    told = sample.items and all({"instruction", "output"} <= item.values.keys() for item in sample.items)
    return "" if told else "no keys instruction and output"


FORMAT = Format("alpaca", row_stream(read_row, _KEYS, "pairs"), "line", _detect_mismatch, "pairs")
