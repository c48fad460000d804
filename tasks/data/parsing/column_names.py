"""Recognize columns by common names: which of a file's own is the prompt, the answer, the choice."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from tasks.common.names import yaml_text

# Common names in order of likelihood. Names are compared in lower case with one underscore between words.
NAMES: dict[str, tuple[str, ...]] = {
    "prompt": ("prompt", "question", "query", "instruction", "user_prompt", "user_query", "request", "title",
               "input", "user", "ask", "problem", "post", "frage"),
    "completion": ("completion", "answer", "response", "output", "reply", "solution", "target", "assistant",
                   "bot", "body", "content", "text", "antwort"),
    "a": ("a", "response_a", "answer_a", "output_a", "completion_a", "option_a", "candidate_a", "reply_a",
          "text_a", "response_1", "answer_1", "output_1", "completion_1", "response1", "answer1", "output1",
          "model_a"),
    "b": ("b", "response_b", "answer_b", "output_b", "completion_b", "option_b", "candidate_b", "reply_b",
          "text_b", "response_2", "answer_2", "output_2", "completion_2", "response2", "answer2", "output2",
          "model_b"),
    "choice": ("choice", "preferred", "preference", "winner", "better", "vote", "label", "selected", "pick",
               "chosen", "best", "verdict"),
    "chosen": ("chosen", "chosen_response", "preferred_response", "preferred_answer", "accepted",
               "accepted_response", "better_response", "good_response", "preferred", "winning_response",
               "response_chosen", "answer_chosen", "good", "better"),
    "rejected": ("rejected", "rejected_response", "dispreferred_response", "rejected_answer",
                 "worse_response", "bad_response", "dispreferred", "losing_response", "response_rejected",
                 "answer_rejected",
                 "bad", "worse", "non_preferred"),
    "text": ("text", "body", "content", "article", "document", "passage", "paragraph", "story", "page",
             "raw_text", "full_text", "content_text"),
    "annotator": ("annotator", "annotator_id", "rater", "rater_id", "judge", "labeler", "labeller",
                  "labeler_id", "labeller_id", "voter", "voter_id", "worker", "worker_id", "reviewer",
                  "reviewer_id", "evaluator", "evaluator_id", "annotated_by", "labeled_by", "labelled_by",
                  "rated_by", "voted_by", "reviewed_by", "user_id", "user", "username", "user_name"),
}  # fmt: skip
# The columns of each kind of row. The first kind whose columns a file has completely is used.
_KINDS = (
    ("rows", ("prompt", "a", "b", "choice")),
    ("preferences", ("prompt", "chosen", "rejected")),
    ("rows", ("prompt", "completion")),
    ("rows", ("text",)),
)
# Names of the formats, for files that only spell them with other letters: Prompt, " completion".
_KNOWN = (
    "prompt", "completion", "text", "a", "b", "choice", "chosen", "rejected", "messages", "conversations",
    "instruction", "output", "score", "scores", "label", "annotator", "aspect",
)  # fmt: skip
WORD = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
YAML_WORDS = ("y", "n", "yes", "no", "on", "off", "true", "false", "null")
_SIDES = "response|answer|model|output|option|candidate|completion|assistant|reply|text|side|choice"
_DEGREES = "much|slightly|somewhat|clearly|significantly|far|a_bit|a_little|a_lot"
# A number alone may count from 0 or from 1, so it is no side. After a word it counts from 1.
SIDE = re.compile(
    rf"(?:(?:{_SIDES})_?(?=[ab12]))?((?<![a-z])[ab]|(?<=[a-z_])[ab12])"
    rf"(?:_(?:wins|(?:is_)?(?:(?:{_DEGREES})_)?better))?"
)
_ORDER = re.compile(r"\[{0,2}([AB])\s*([<>=])\2{0,2}\s*([AB])\]{0,2}", re.I)
TIES = frozenset((
    "tie", "ties", "tied", "draw", "equal", "same", "both", "neither", "no_preference", "no_difference",
    "about_the_same", "equally_good", "equally_bad", "both_good", "both_bad", "bothgood", "bothbad",
    "they_are_equal", "they_are_equally_good", "they_are_equally_bad", "both_are_good", "both_are_bad",
    "both_are_equally_good", "both_are_equally_bad", "tie_both_good",
    "tie_both_bad", "tie_bothgood", "tie_bothbad",
))  # fmt: skip


class Guess(NamedTuple):
    """A format, and the file's own columns by the format's names. `columns` omits equal names."""

    format: str
    columns: dict[str, str]


def plain_name(name: str) -> str:
    """Return a column's name in lower case with one underscore between words, as `response_a`."""
    words = re.sub(r"([a-z0-9])([A-Z])", r"\1_\2", name.strip())
    return re.sub(r"[^\w]+|_+", "_", words).strip("_").lower()


def guess_columns(keys: Iterable[str]) -> Guess | None:
    """Return the format and the columns that the names suggest; None if they suggest none."""
    own: dict[str, str] = {}
    for key in keys:
        # Of two columns that differ only in spelling the first counts.
        own.setdefault(plain_name(key), key)
    for format, names in _KINDS:
        found: dict[str, str] = {}
        for name in names:
            taken = found.values()
            found |= next(
                ({name: own[known]} for known in NAMES[name] if known in own and own[known] not in taken), {}
            )
        if len(found) < len(names):
            continue
        if format == "rows" and "completion" in found and own.get("title") == found["prompt"]:
            # A title with a body is more often a document than a question with its answer.
            answers = {own.get(known) for known in ("answer", "response", "completion", "output", "reply")}
            if found["completion"] not in answers:
                continue
        if "choice" in found or "chosen" in found:
            who = next((own[known] for known in NAMES["annotator"] if known in own), "")
            found |= {"annotator": who} if who else {}
        return Guess(format, {name: key for name, key in found.items() if name != key})
    return None


def respelled_columns(keys: Iterable[str]) -> dict[str, str]:
    """Return columns that differ from a known name only in case and white space, by that name."""
    keys = list(keys)
    found: dict[str, str] = {}
    for key in keys:
        name = key.strip().lower()
        # A column with exactly the known name has precedence over one in another case.
        if name != key and name in _KNOWN and name not in keys:
            found.setdefault(name, key)
    return found


def rename_columns(values: Mapping[str, object], columns: Mapping[str, str]) -> dict[str, object]:
    """Return the values under the names that `columns` gives them."""
    names = {own: name for name, own in columns.items() if own in values}
    return {names.get(key, key): value for key, value in values.items() if key in names or key not in columns}


def plain_choice(value: object, columns: Mapping[str, str]) -> str:
    """Return a choice as a, b or tie if it names a side in a usual way; else the value as text.

    Usual are the letter, a statement about it (`A is much better`, `A>B`), and the letter or number after a
    word (`response_a`, `Model B`, `answer 1`). So are the name of the column with the answer, and words for a
    tie.
    """
    said = str(value).strip()
    word = plain_name(said)
    for side in ("a", "b"):
        if side in columns and word == plain_name(columns[side]):
            return side
    if word in TIES:
        return "tie"
    # Judges also write A>B, A>>B or [[A=B]].
    order = _ORDER.fullmatch(said)
    if order and order[1].lower() != order[3].lower():
        return "tie" if order[2] == "=" else order[1 if order[2] == ">" else 3].lower()
    found = SIDE.fullmatch(word)
    return {"1": "a", "2": "b"}.get(found[1], found[1]) if found else said


def is_choice(value: object) -> bool:
    """Return whether a value names one of two sides or a tie in a usual way."""
    return plain_choice(value, {}) in ("a", "b", "tie")


def format_columns(columns: Mapping[str, str]) -> str:
    """Return the columns as YAML for a preset."""
    return f"columns: {{{', '.join(f'{name}: {yaml_scalar(own)}' for name, own in columns.items())}}}"


def yaml_scalar(text: str) -> str:
    """Return a word as YAML, in quotes if YAML would otherwise read it as something else."""
    return text if WORD.fullmatch(text) and text.lower() not in YAML_WORDS else yaml_text(text)
