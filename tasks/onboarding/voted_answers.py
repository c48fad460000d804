"""Find rows with two answers and a column of votes for each person, so that `init` can propose a source."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tasks.data.parsing.base import ParseOptions
from tasks.data.parsing.listed_votes import holds_listed_votes
from tasks.data.parsing.unread_keys import count_unread
from tasks.data.questions.proposed_meanings import VOTE_COLUMN
from tasks.data.questions.skip_counts import SkipCounts
from tasks.data.values.column_names import NAMES, answer_columns, plain_name


def voted_answers(rows: Sequence[Mapping[str, Any]]) -> dict[str, str] | None:
    """Return the columns of a prompt and two answers between which people vote, by the names of `rows`.

    None if there are no such columns. What each vote means is asked when the rows are read, as only the
    person who has the data knows which columns are people.

    Args:
        rows: The first rows of a file.
    """
    keys = list(rows[0]) if rows else []
    sides = answer_columns(keys)
    names = {plain_name(key): key for key in keys}
    prompt = next((names[name] for name in NAMES["prompt"] if name in names), "")
    if not sides or not prompt or "choice" in names:
        return None
    tally = SkipCounts(rows=len(rows))
    reading = ParseOptions("")
    for row in rows:
        for key, value in row.items():
            if key not in (*sides, prompt):
                count_unread(key, value, reading, "", tally)
    voted = any(map(holds_listed_votes, rows)) or any(
        seen.looks == VOTE_COLUMN for seen in tally.asks().values()
    )
    if not voted:
        return None
    return {
        name: key for name, key in {"prompt": prompt, "a": sides[0], "b": sides[1]}.items() if name != key
    }
