"""Answers that are good or bad one by one: {"prompt", "completion", "label"}, with the label true or false.

A good answer becomes a Rating of +1 and a bad one a Rating of -1, on the aspect that the row or its source
names. Prompt and completion are texts or lists of messages.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from model.errors import UserError
from tasks.formats import File, Format, Found, Reading, Sample
from tasks.formats.preferred import annotator, aspect, time
from tasks.formats.turns import asked, group_of, history, only_answer, read_prompt, read_turns, there
from tasks.records import rating_row

SCORES = {"true": 1.0, "1": 1.0, "false": -1.0, "0": -1.0}  # as tables write them


def parse(files: Sequence[File], reading: Reading) -> Iterator[Found]:
    """A Rating a row. Raises UserError with file and line, also where the label is none of SCORES.

    An empty completion is kept, and validation puts it aside with its line.
    """
    for file in files:
        for values, where in file.items():
            prompt, completion, label = (
                there(values, reading.column(key), where) for key in ("prompt", "completion", "label")
            )
            score = SCORES.get(str(label).strip().lower()) if isinstance(label, str | int) else None
            if score is None:
                what = repr(label) if isinstance(label, str | int | float) else type(label).__name__
                raise UserError(f"{where}: label is {what:.40}; true or false is right")
            *earlier, last = asked(read_prompt(prompt, where), values, reading, where)
            if not isinstance(completion, str):
                completion = only_answer(read_turns(completion, f"{where}, completion"), "completion", where)
            when = time(values, reading)
            row = rating_row(
                last.content, completion if completion.strip() else "", [score], [annotator(values, reading)],
                aspect(values, reading), reading.source, group_of([*earlier, last], values),
                history(earlier), [when] if when else [],
            )  # fmt: skip
            yield Found(row, where)


def _fits(sample: Sample) -> str:
    if not sample.items or not all(
        {"prompt", "completion", "label"} <= item.values.keys() for item in sample.items
    ):
        return "no keys prompt, completion and label"
    # Numbers may be classes: they are read as labels only where the format is named.
    told = all(str(item.values["label"]).lower() in ("true", "false") for item in sample.items)
    return "" if told else "label is not true or false"


FORMAT = Format("unpaired", parse, "line", _fits)
