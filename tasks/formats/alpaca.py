"""Alpaca: {"instruction", "input", "output"}, where `input` may be empty (Taori et al., 2023).

The prompt has the data's own two shapes: headings over instruction, input and response, and where there is no
input no heading for it either. `system` and `history`, a list of [prompt, answer], are what was said before.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from model.errors import UserError
from tasks.formats import File, Format, Found, Reading, Sample
from tasks.formats.turns import Said, conversation, opened, read_text
from tasks.records import digest, pair_row

ALONE = "Do what the instruction says.\n\n### Instruction:\n{instruction}\n\n### Response:\n"
WITH_INPUT = (
    "Do what the instruction says with the input below it.\n\n"
    "### Instruction:\n{instruction}\n\n### Input:\n{input}\n\n### Response:\n"
)


def parse(files: Sequence[File], reading: Reading) -> Iterator[Found]:
    """A Pair a row, and one for each earlier answer in `history`. Raises UserError with file and line.

    A row without an instruction has an empty prompt, which validation puts aside.
    """
    for file in files:
        for values, where in file.items():
            instruction, output = (
                read_text(values, reading.column(key), where) for key in ("instruction", "output")
            )
            if not instruction.strip():
                yield Found(pair_row("", output, reading.source, digest(output)), where)
                continue
            name = reading.column("input")
            given = "" if values.get(name) is None else read_text(values, name, where)
            asked, answer = Said("user", prompt_of(instruction, given)), Said("assistant", output)
            turns = opened([*_history(values, where), asked, answer], values, reading, where)
            yield from conversation(turns, values, reading, where)


def prompt_of(instruction: str, given: str) -> str:
    """The prompt of an instruction: of one shape with an input, of the other without."""
    template = WITH_INPUT if given.strip() else ALONE
    return template.format(instruction=instruction.strip(), input=given.strip())


def _history(values: Mapping[str, Any], where: str) -> Iterator[Said]:
    before = values.get("history") or []
    for turn in before if isinstance(before, list) else [before]:
        if not isinstance(turn, list) or len(turn) != 2 or not all(isinstance(said, str) for said in turn):
            raise UserError(f"{where}: history is right as a list of [prompt, answer], both of them texts")
        yield Said("user", turn[0])
        yield Said("assistant", turn[1])


def _fits(sample: Sample) -> str:
    told = sample.items and all({"instruction", "output"} <= item.values.keys() for item in sample.items)
    return "" if told else "no keys instruction and output"


FORMAT = Format("alpaca", parse, "line", _fits)
