"""Parse snippets rated for their tone by 15 to 100 people each (Hutto & Gilbert, ICWSM 2014).

A source has two files: `*_GroundTruth.txt` with id, mean and text, and `*_anonDataRatings.txt` with id, mean,
deviation and the list of ratings. An annotator is an index in that list, as no more is known.
"""

from __future__ import annotations

import html
import json
from collections.abc import Iterator, Sequence

from model.errors import UserError
from tasks.data.file_io.files import SourceFile
from tasks.data.parsing.base import FileSample, Format, ParseOptions
from tasks.data.questions.skip_counts import SkipCounts
from tasks.data.records import ParsedRow, group_digest, pair_row, rating_row, text_row

_ASPECT = "tone"


def stream_rows(files: Sequence[SourceFile], reading: ParseOptions, tally: SkipCounts) -> Iterator[ParsedRow]:
    """Yield a Text, a Pair and a Rating for each snippet: its first two to four words prompt for the rest.

    The snippet is the group, so its three rows are in one split. One with too few words is only a Text.
    """
    if len(files) != 2:
        raise UserError(
            f"source {reading.source}: {len(files)} files; rated_snippets reads two, texts and their ratings"
        )
    texts, ratings = files
    scores: dict[str, list[float]] = {}
    unread: dict[str, str] = {}
    for where, (number, _, _, listed) in _split_fields(ratings, 4):
        try:
            scores[number] = [float(score) for score in json.loads(listed)]
        except (ValueError, TypeError) as error:
            raise UserError(f"{where}: {listed[:40]!r} is not a list of ratings") from error
        unread[number] = where
    seen = set()
    for where, (number, _, raw) in _split_fields(texts, 3):
        if number not in scores:
            raise UserError(f"{where}: snippet {number} has no ratings in {ratings.origin}")
        unread.pop(number, None)
        # The published files contain HTML entities.
        text = " ".join(html.unescape(raw).split())
        if text in seen:
            continue
        seen.add(text)
        group = group_digest(text)
        yield ParsedRow(text_row(text, reading.source), where)
        words = text.split(" ")
        # By digest, so that the same snippet is always cut at the same word.
        first = 2 + int(group, 16) % 3
        if len(words) <= first:
            continue
        prompt = reading.prompt + " ".join(words[:first])
        completion = " " + " ".join(words[first:])
        yield ParsedRow(pair_row(prompt, completion, reading.source, group), where)
        annotators = [f"{reading.source}-{index + 1}" for index in range(len(scores[number]))]
        yield ParsedRow(
            rating_row(prompt, completion, scores[number], annotators, _ASPECT, reading.source, group), where
        )

    for number, where in unread.items():
        raise UserError(f"{where}: rates snippet {number}, which {texts.origin} does not contain")


def _split_fields(file: SourceFile, count: int) -> Iterator[tuple[str, list[str]]]:
    # `splitlines` would also split at Unicode's line separators, which a text may contain.
    for number, line in enumerate(file.text().replace("\r\n", "\n").split("\n"), 1):
        if not line.strip():
            continue
        where, fields = f"{file.origin}, line {number}", line.split("\t", count - 1)
        if len(fields) != count:
            raise UserError(f"{where}: {len(fields)} fields between tabs; expected {count}")
        yield where, fields


def _detect_mismatch(sample: FileSample) -> str:
    return "" if sample.name.endswith("_GroundTruth.txt") else "not named *_GroundTruth.txt"


FORMAT = Format("rated_snippets", stream_rows, "source", _detect_mismatch)
