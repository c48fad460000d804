"""Read what the keys beside a labelled item say of it: the data of a task, and the metadata of a record."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any

from model.errors import UserError
from tasks.data.parsing.base import ParseOptions
from tasks.data.parsing.conversations import SYSTEM
from tasks.data.parsing.row_verdicts import read_verdicts
from tasks.data.parsing.unread_keys import count_unread
from tasks.data.questions.skip_counts import VERDICT, SkipCounts
from tasks.data.values.field_meanings import REVIEWS, flatten_name

REJECTED_ITEM = "labelled items that a reviewer rejected"
# Keys that are read with the prompt.
_CONTEXT = frozenset(("context", "group", "history", "input", *SYSTEM))
_TAKEN = ("review", "weight", "mask", "deleted", "ignore")


def item_left_out(
    values: Mapping[str, Any], read: Collection[str], reading: ParseOptions, where: str, tally: SkipCounts
) -> str:
    """Return why the labels of an item are left out, or an empty text. Count the keys that nothing reads.

    Args:
        values: The item's keys and values.
        read: The keys of its prompt, its answers and its labels.
        reading: The options of the parser. Their `fields` may also name controls or questions.
        where: The item's place, for messages.
        tally: Counts the keys, and what is asked about.

    Raises:
        UserError: A key cannot be read, or `fields` makes it a verdict. The labels are the verdicts.
    """
    beside = {
        key: value for key, value in values.items() if key not in read and flatten_name(key) not in _CONTEXT
    }
    told = {path: said for path, said in reading.fields.items() if path.partition(".")[0] in beside}
    for path, meaning in told.items():
        judges = [meaning] if isinstance(meaning, str) else meaning.values()
        if wrong := [one for one in judges if one not in (*_TAKEN, *REVIEWS)]:
            raise UserError(
                f"{where}: fields makes {path} {str(wrong[0])!r}, but only its labels judge an item; "
                "expected review, weight, mask, deleted or ignore, or a mapping to accept, reject or ignore"
            )
    options = replace(reading, fields=told, columns={})
    said, rest = read_verdicts(dict(beside), frozenset(), options, where, tally)
    if said.score is not None:
        tally.note_unread(said.key, beside[said.key], where, VERDICT)
        tally.note_values(said.key, beside[said.key])
    for key, value in rest.items():
        count_unread(key, value, options, where, tally)
    return REJECTED_ITEM if said.review == "reject" else said.left_out()
