"""Make the records of a row according to what its verdicts, reviews and corrections say."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any

from model.errors import UserError
from tasks.common.annotators import is_nobody
from tasks.data.parsing.base import ParseOptions
from tasks.data.parsing.listed_votes import vote_person
from tasks.data.parsing.preference_fields import row_annotator, row_aspect, row_time
from tasks.data.parsing.row_verdicts import (
    UNCOUNTED,
    SourceRow,
    Verdicts,
    told_keys,
)
from tasks.data.records import Comparison, Pair, ParsedRow, Rating, Text, TurnVerdict, pair_row, rating_row
from tasks.data.rejections import rejection_id
from tasks.data.values.annotators import UNKNOWN_ANNOTATOR, normalize_annotator
from tasks.data.values.field_meanings import is_empty
from tasks.data.values.several_scores import split_values

REJECTED = "rows that a reviewer rejected"
REJECTED_RATING = "ratings in rows that a reviewer rejected"
EARLIER = "earlier answers of conversations with a verdict on the whole"
CORRECTED = "answers that a correction replaces"
CORRECTED_QUESTION = "questions and system prompts that a correction replaces"
MASKED_VERDICT = "verdicts on answers that are marked as not to be learned"


def rated_turns(
    found: list[ParsedRow], said: Verdicts, row: SourceRow
) -> tuple[list[ParsedRow], list[ParsedRow]]:
    """Return the Ratings of answers that have a verdict in their turn, and the other records.

    Raises UserError if the last answer has another verdict in its row.
    """
    ratings, others = [], []
    for one in found:
        if one.verdict is None or not isinstance(one.row, Pair):
            others.append(one)
            continue
        if one is found[-1] and said.rates:
            raise UserError(
                f"{row.where}: the last answer has a verdict in its turn, and one under "
                f"{said.key or 'another key'}; ignore one of them in the source's fields"
            )
        pair = one.row
        if one.verdict.text:
            pair = pair_row(pair.prompt, one.verdict.text, pair.source, pair.group, (), pair.history)
            others.append(one._replace(verdict=None))
        verdict = one.verdict
        answer = one._replace(row=pair, verdict=None)
        rated = (
            _rated_by_several(answer, verdict, row)
            if verdict.several
            else _rated(answer, Verdicts(verdict.score), row.values, row.reading)
        )
        ratings.append(rated._replace(rejects=rejection_id(pair)) if one.verdict.rejected else rated)
    return ratings, others


def judged_rows(found: list[ParsedRow], said: Verdicts, row: SourceRow) -> Iterator[ParsedRow]:
    """Yield the records of a row according to its verdicts, and count what is left out.

    Args:
        found: The records of the row, at least one.
        said: The verdicts of the row.
        row: The row as in its file.
    """
    last = found[-1]
    if not isinstance(last.row, Pair):
        if said.review == "reject":
            row.tally.left_out[REJECTED] += 1
            # Equal labels of unknown people are different votes, of which only this one is rejected.
            row.tally.rejected |= {rejection_id(one.row) for one in found if not one.anonymous}
            return
        if said.score is not None or said.votes or said.several:
            _refuse_verdict(last.row, said, row)
        if said.unreviewed and not said.review:
            if isinstance(last.row, Text):
                # A reviewer may still reject it, so it is not learned silently.
                row.tally.left_out[unreviewed_reason(said.unreviewed)] += 1
                return
            # A label is a judgement also without a review.
            row.tally.note_unread(f"{said.unreviewed} (empty: a label without a review)", "", row.where)
        yield from found
        return
    if not said.rates:
        # An unrated pair may be a bad answer, so it is not learned silently.
        if said.unrated and not said.review:
            row.tally.left_out[unrated_reason(said.unrated)] += 1
            return
        yield from found
        return
    if not last.final:
        # The verdict is about the last answer, so it must not apply to the one before.
        row.tally.left_out[MASKED_VERDICT] += 1
        row.tally.left_out[EARLIER] += len(found)
        return
    if len(found) > 1:
        row.tally.left_out[EARLIER] += len(found) - 1
    if said.review == "reject" and said.contradicts_rejection:
        # The reviewer may have rejected the label: neither it nor a verdict of the reviewer's own is learned.
        row.tally.left_out[REJECTED_RATING] += 1
        rated = _rated(last, said, row.values, row.reading)
        row.tally.rejected.add(rejection_id(last.row))
        if not rated.anonymous:
            row.tally.rejected.add(rejection_id(rated.row))
        return
    # A rejected answer is a bad example, which a reward model can learn from.
    score = -1.0 if said.review == "reject" else said.score
    rated = _rated(last, said if score is None else Verdicts(score), row.values, row.reading)
    yield rated._replace(rejects=rejection_id(last.row)) if said.review == "reject" else rated


def corrected_rows(found: list[ParsedRow], said: Verdicts, row: SourceRow) -> Iterator[ParsedRow]:
    """Yield what `judged_rows` does, with the answer's correction in its place, or beside a verdict on it.

    Raises UserError for a correction that is no text, or of a row without one answer.
    """
    given = {
        str(value) if isinstance(value, str) else "": path
        for path, value in told_keys(row.values, row.reading)
        if row.reading.fields[path] == "correction" and not is_empty(value)
    }
    if not given:
        yield from judged_rows(found, said, row)
        return
    last = found[-1]
    if len(given) > 1 or "" in given or not isinstance(last.row, Pair | Rating):
        raise UserError(
            f"{row.where}: {next(iter(given.values()))} is a correction; one text is right, in a row with "
            "one answer"
        )
    if not last.final:
        # The answer that it corrects is masked.
        yield from judged_rows(found, said, row)
        return
    answer = last.row
    right = pair_row(answer.prompt, next(iter(given)), answer.source, answer.group, (), answer.history)
    if said.rates or isinstance(answer, Rating):
        yield from judged_rows(found, said, row)
    else:
        row.tally.left_out[CORRECTED] += 1
        yield from found[:-1]
    yield ParsedRow(right, row.where)


def unrated_reason(key: str) -> str:
    """Return the reason under which pairs with an empty verdict are counted."""
    if key == UNCOUNTED:
        return key
    return f"pairs that nobody rated, as {key} has no verdict (fields: {{{key}: ignore}} learns every pair)"


def unreviewed_reason(key: str) -> str:
    """Return the reason under which texts without a review are counted."""
    advice = '(a mapping of its words in fields, with "": accept, learns them)'
    return f"texts that nobody reviewed, as {key} is empty {advice}"


def _refuse_verdict(record: object, said: Verdicts, row: SourceRow) -> None:
    what = {Text: "a text", Comparison: "a comparison", Rating: "a rating"}.get(type(record), "a row")  # type: ignore[call-overload]
    if said.votes:
        path = row.reading.told_path(next(iter(said.votes)))
        raise UserError(
            f"{row.where}: fields makes {path} a vote on an answer, but {what} takes "
            "none; write one row per vote, or set ignore"
        )
    if said.told:
        raise UserError(
            f"{row.where}: fields makes {said.key} a verdict, but {what} takes none; expected review, "
            "weight, mask, deleted or ignore"
        )
    value = row.values.get(said.key, said.score)
    row.tally.note_unread(said.key, value, row.where, "a verdict")
    row.tally.note_values(said.key, value)


def _rated(found: ParsedRow, said: Verdicts, values: Mapping[str, Any], reading: ParseOptions) -> ParsedRow:
    """Return a pair as a Rating of its answer by the people who voted, or else by the row's annotator."""
    row = found.row
    assert isinstance(row, Pair)
    who, when = row_annotator(values, reading), row_time(values, reading)
    people, scores = _voter_names(values, said.votes, reading), list(said.votes.values())
    if said.score is not None:
        people, scores = [who], [said.score]
    elif said.several:
        scores = list(said.several)
        named = split_values(values.get(reading.column("annotators"))) or []
        people = [normalize_annotator(name) for name in named] if len(named) == len(scores) else []
        people = people or [f"{UNKNOWN_ANNOTATOR}-{index}" for index in range(len(scores))]
    nobody = who == UNKNOWN_ANNOTATOR if said.score is not None else is_nobody(people[0])
    rating = rating_row(
        row.prompt, row.completion, scores, people, row_aspect(values, reading), row.source, row.group,
        row.history, [when] * len(scores) if when else [],
    )  # fmt: skip
    return ParsedRow(rating, found.where, anonymous=nobody)


def _rated_by_several(found: ParsedRow, verdict: TurnVerdict, row: SourceRow) -> ParsedRow:
    """Return an answer of a conversation as a Rating by the people who voted on its turn."""
    answer, when = found.row, row_time(row.values, row.reading)
    aspect = row_aspect(row.values, row.reading)
    assert isinstance(answer, Pair)
    rating = rating_row(
        answer.prompt, answer.completion, verdict.several, verdict.people, aspect, answer.source,
        answer.group, answer.history, [when] * len(verdict.several) if when else [],
    )  # fmt: skip
    return ParsedRow(rating, found.where, anonymous=is_nobody(verdict.people[0]))


def _voter_names(values: Mapping[str, Any], paths: Collection[str], reading: ParseOptions) -> list[str]:
    """Return the people whose votes are under some paths; the whole paths where two end in one name."""
    names = [vote_person(values, path, reading) for path in paths]
    return [path if names.count(name) > 1 else name for path, name in zip(paths, names, strict=True)]
