"""Match rows that somebody rejected or deleted with their copies.

White space at the ends makes no difference, and neither does Alpaca's template around a prompt, or around a
prompt and its answer as one text. Nor do the kind of line ends, the kind of a space, spaces at the end of a
line and characters without width: programs change them when they save a file.
"""

from __future__ import annotations

import re
from collections.abc import Collection

import numpy as np

from tasks.common.names import INVISIBLE
from tasks.data.records import (
    Comparison,
    Pair,
    Record,
    Text,
    Turn,
    comparison_row,
    pair_row,
    rating_row,
    text_row,
)

_UNSEEN = rf"[\s\u200b-\u200f\u2060\ufeff{INVISIBLE}]+"
_HEAD = "### Response:"
# One line before the headings, as in Alpaca's template and in that of `tasks/data/formats/alpaca.py`.
_TEMPLATE = re.compile(
    rf"(?:[^\n]{{1,300}}\n+)?### Instruction:\n(.*?)(?:\n+### Input:\n(.*?))?\n+{_HEAD}(.*)", re.DOTALL
)
_ENDS = re.compile(rf"\A{_UNSEEN}|{_UNSEEN}\Z")
_LINE_ENDS = re.compile(r"[^\S\n]*(?:\r\n|[\r\n\x0b\x0c\x85\u2028\u2029])")
# Zero-width joiners stay, as they make other words and other emoji.
_WIDTHLESS = re.compile(r"[\u200b\u200e\u200f\u2060\ufeff\u00ad]")
_SPACES = re.compile(r"[\u00a0\u1680\u2000-\u200a\u202f\u205f\u3000]")


def rejection_id(row: Record) -> str:
    """Return the id that a row has with plain white space, none at the ends, and without a template.

    Copies of a row in two exports often differ in line ends. A text that is an answer in Alpaca's template
    has the id of the pair. Indentation counts, as it may be what a reviewer corrected.
    """
    if isinstance(row, Text):
        text = _trimmed(row.text)
        prompt, answer = _unwrapped(text)
        if answer:
            return pair_row(prompt, answer, "", "-").id
        return row.id if text == row.text else text_row(text, "", "-").id
    history, prompt = [_trimmed_turn(turn) for turn in row.history], _trimmed(row.prompt)
    prompt = _unwrapped(prompt)[0]
    if isinstance(row, Comparison):
        a, b = _trimmed(row.a), _trimmed(row.b)
        same = (a, b, prompt, history) == (row.a, row.b, row.prompt, row.history)
        made = comparison_row(prompt, a, b, row.choice, row.aspect, row.annotator, "", "-", history)
        return row.id if same else made.id
    answer = _trimmed(row.completion)
    if (prompt, answer, history) == (row.prompt, row.completion, row.history):
        return row.id
    if isinstance(row, Pair):
        return pair_row(prompt, answer, "", "-", (), history).id
    return rating_row(prompt, answer, row.scores, row.annotators, row.aspect, "", "-", history).id


def rejection_numbers(ids: Collection[str]) -> np.ndarray:
    """Return rejection ids as sorted numbers, which take 8 bytes each."""
    return np.array(sorted(int(one, 16) for one in ids), np.uint64)


def holds_rejection(numbers: np.ndarray, number: str) -> bool:
    """Return whether a rejection id is among the result of `rejection_numbers`."""
    wanted = np.uint64(int(number, 16))
    place = int(np.searchsorted(numbers, wanted))
    return place < len(numbers) and bool(numbers[place] == wanted)


def _trimmed(text: str) -> str:
    text = _ENDS.sub("", text)
    if not text.isascii():
        text = _SPACES.sub(" ", _WIDTHLESS.sub("", text))
    return _LINE_ENDS.sub("\n", text) if not text.isprintable() else text


def _unwrapped(text: str) -> tuple[str, str]:
    """Return the prompt and the answer in a text of Alpaca's template; any other text, and no answer."""
    found = _TEMPLATE.fullmatch(text) if _HEAD in text else None
    if found is None:
        return text, ""
    asked, given, answer = (_trimmed(part or "") for part in found.groups())
    # An input stands below the prompt as a context does.
    return f"{asked}\n\n{given}" if given else asked, answer


def _trimmed_turn(turn: Turn) -> Turn:
    return {**turn, "content": _trimmed(turn["content"])}
