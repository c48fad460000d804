"""Parse open Natural Questions, with people's judgements of systems' answers (Kwiatkowski et al., 2019)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from model.errors import UserError
from tasks.common.value_kinds import kind_of
from tasks.data.file_io.files import SourceFile
from tasks.data.parsing.base import FileSample, Format, ParseOptions
from tasks.data.parsing.unread_keys import count_extra_key
from tasks.data.questions.companion_keys import OPTION_LISTS, PASSAGES
from tasks.data.questions.skip_counts import SkipCounts
from tasks.data.records import Choice, ParsedRow, comparison_row, group_digest, pair_row, text_digest
from tasks.data.values.column_names import plain_name

_ASPECT, _JUDGES = "truthfulness", "nq-judges"
_READ = frozenset((
    "question", "answer", "def_correct_predictions", "def_incorrect_predictions", "poss_correct_predictions",
))  # fmt: skip
_NEEDED = frozenset((*PASSAGES, *OPTION_LISTS))
REPEATED = "rows that repeat a question"
SHORTEST_WRONG = 4  # characters; shorter wrong answers are noise of the extraction


def stream_rows(files: Sequence[SourceFile], reading: ParseOptions, tally: SkipCounts) -> Iterator[ParsedRow]:
    """Yield a Pair for each question, and a Comparison of its right answer with each wrong one.

    A digest decides the side of the right answer, so that no side is better. A repeated question is skipped.
    """
    seen = set()
    for file in files:
        for row, where in file.items():
            question, answers = row.get("question"), row.get("answer")
            if not isinstance(question, str) or not isinstance(answers, list) or not answers:
                raise UserError(f"{where}: expected a question and a list of answers")
            for key, value in row.items():
                if key not in _READ:
                    count_extra_key(key, value, reading, where, tally)
            if question in seen:
                tally.left_out[REPEATED] += 1
                continue
            seen.add(question)
            group, right = group_digest(question), str(answers[0])
            references = list(dict.fromkeys(str(answer) for answer in answers))
            yield ParsedRow(pair_row(question, right, reading.source, group, references), where)
            correct, incorrect = (
                _judged_answers(row, f"def_{kind}correct_predictions", where) for kind in ("", "in")
            )
            # An answer may be listed as right and as wrong.
            accepted = {text.casefold() for text in (*references, *correct)}
            wrong = dict.fromkeys(text.strip() for text in incorrect)
            for text in wrong:
                if len(text) < SHORTEST_WRONG or text.casefold() in accepted:
                    continue
                first = int(text_digest(question, text), 16) % 2 == 0
                a, b = (right, text) if first else (text, right)
                choice: Choice = "a" if first else "b"
                yield ParsedRow(
                    comparison_row(question, a, b, choice, _ASPECT, _JUDGES, reading.source, group), where
                )


def _judged_answers(row: dict[str, Any], key: str, where: str) -> list[str]:
    found = row.get(key, [])
    if not isinstance(found, list):
        raise UserError(f"{where}: {key} is {kind_of(found)}; expected a list of answers")
    return [str(text) for text in found]


def _detect_mismatch(sample: FileSample) -> str:
    asked = bool(sample.items) and all(
        "question" in item.values and isinstance(item.values.get("answer"), list) for item in sample.items
    )
    if not asked:
        return "no question with a list under answer"
    # An answer from a passage, or one of several options, is no answer without them.
    others = {key for item in sample.items for key in item.values if plain_name(key) in _NEEDED}
    return f"the key {min(others)} belongs to the question" if others else ""


FORMAT = Format("natural_questions", stream_rows, "source", _detect_mismatch)
