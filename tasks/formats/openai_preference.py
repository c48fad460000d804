"""OpenAI's preference files: {"input": {"messages"}, "preferred_output", "non_preferred_output"}.

Each output is a list with one message of the assistant's.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from model.errors import UserError
from tasks.formats import File, Format, Found, Reading, Sample
from tasks.formats.preferred import preferred
from tasks.formats.turns import asked, only_answer, read_turns, there

KEYS = ("input", "preferred_output", "non_preferred_output")


def parse(files: Sequence[File], reading: Reading) -> Iterator[Found]:
    """A Comparison a row. Raises UserError with file and line, and where the input has tools.

    Two equal outputs are a tie; an empty one is kept, and validation puts it aside with its line.
    """
    for file in files:
        for values, where in file.items():
            given, *outputs = (there(values, reading.column(key), where) for key in KEYS)
            if not isinstance(given, dict):
                raise UserError(f"{where}: input is {type(given).__name__}; an object with messages is right")
            messages = read_turns(there(given, "messages", f"{where}, input"), f"{where}, input")
            before = asked(messages, given, reading, where)
            chosen, rejected = (
                only_answer(read_turns(output, f"{where}, {key}"), key, where)
                for key, output in zip(KEYS[1:], outputs, strict=True)
            )
            yield Found(preferred(before, chosen, rejected, values, reading), where)


def _fits(sample: Sample) -> str:
    told = sample.items and all(set(KEYS) <= item.values.keys() for item in sample.items)
    return "" if told else f"no keys {', '.join(KEYS)}"


FORMAT = Format("openai_preference", parse, "line", _fits)
