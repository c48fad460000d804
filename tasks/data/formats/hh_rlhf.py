"""Parse transcripts of hh-rlhf: {"chosen", "rejected"}, each a whole conversation (Bai et al., 2022).

A turn begins with a blank line and "Human:" or "Assistant:". These words within a line, or after a single
line end, begin no turn.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

from model.errors import UserError
from tasks.data.file_io.files import SourceFile, SourceRecord
from tasks.data.parsing.base import FileSample, Format, ParseOptions
from tasks.data.parsing.conversations import is_transcript, read_text, read_transcript, shared_turns
from tasks.data.parsing.preference_fields import preference_row
from tasks.data.parsing.row_stream import LABEL_KEYS, keys, row_stream
from tasks.data.questions.skip_counts import SkipCounts
from tasks.data.records import Fault, ParsedRow

RED_TEAM_FILE = "red_team_attempts"
RED_TEAM_KEYS = {"transcript", "min_harmlessness_score_transcript", "task_description"}


_KEYS = keys("chosen", "rejected", *LABEL_KEYS)


def read_row(values: Mapping[str, Any], reading: ParseOptions, where: str) -> Iterator[ParsedRow]:
    """Yield a Comparison of the answers at which the conversations differ, which are mostly the last ones.

    What follows an earlier difference is left out, as it belongs to another conversation. A row is skipped if
    the difference is not two answers to one prompt. Two equal conversations are a tie. Raises UserError with
    file and line.
    """
    names = [reading.column(side) for side in ("chosen", "rejected")]
    chosen, rejected = (read_transcript(read_text(values, name, where), f"{where}, {name}") for name in names)
    shared = shared_turns(chosen, rejected)
    answers = [turns[shared] for turns in (chosen, rejected) if shared < len(turns)]
    part = len(answers) == 2 and (answers[0] != answers[1] or chosen == rejected)
    roles = [turn.role for turn in (*chosen[shared - 1 : shared], *answers)]
    # Some rows of the data set part at a turn of the user, so their answers have different prompts.
    if part and roles == ["user", "assistant", "assistant"]:
        texts = [turn.content for turn in answers]
        yield preference_row(chosen[:shared], texts[0], texts[1], values, reading, where)


_rows = row_stream(read_row, _KEYS, "comparisons", "rows that compare no two answers to one prompt")


def stream_rows(
    files: Sequence[SourceFile], reading: ParseOptions, tally: SkipCounts
) -> Iterator[ParsedRow | Fault]:
    """Yield the rows of files. Raise UserError for the red-team files."""
    for file in files:
        for item in islice(file.all_items(), 1):
            if isinstance(item, SourceRecord) and _red_team(file.origin, item):
                raise UserError(
                    f"{item.where}: a red-team transcript, which has no rejected answer; hh_rlhf "
                    "reads files with chosen and rejected"
                )
        yield from _rows([file], reading, tally)


def _red_team(name: str, item: SourceRecord) -> bool:
    keys = item.values.keys()
    return RED_TEAM_FILE in name.rpartition("/")[2] or (
        "transcript" in keys and bool(RED_TEAM_KEYS & keys - {"transcript"})
    )


def _detect_mismatch(sample: FileSample) -> str:
    if any(_red_team(sample.name, item) for item in sample.items):
        return "red-team transcripts are not for training"
    sides = ("chosen", "rejected")
    told = sample.items and all(is_transcript(item.values.get(s)) for item in sample.items for s in sides)
    return "" if told else "chosen and rejected are not transcripts with Human: and Assistant:"


FORMAT = Format("hh_rlhf", stream_rows, "line", _detect_mismatch, "comparisons")
