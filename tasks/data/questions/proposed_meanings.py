"""Propose a meaning under `fields` for a key, so that nothing wrong is learned."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from functools import cached_property

from tasks.data.questions.choice_mapping import UNKNOWN, choice_mapping
from tasks.data.questions.vote_cells import VoteCells
from tasks.data.values.choices import TIES
from tasks.data.values.column_names import names_worse, yaml_value
from tasks.data.values.field_meanings import (
    ACCEPT,
    COMPLAINTS,
    ERRORS,
    FALSE,
    HIGHER_IS_BETTER,
    IGNORE,
    KNOWN,
    NEGATIVE,
    POINTERS,
    POSITIVE,
    REFUSALS,
    REJECT,
    TRUE,
    flatten_name,
    names_removal_time,
    removal_words,
    says_nothing_wrong,
)
from tasks.data.values.scale_direction import LOWER, scale_direction
from tasks.data.values.score_values import as_score
from tasks.data.values.verdict_scales import exceeds_scale
from tasks.data.verdicts.decision_states import answers_unknown_question, is_held
from tasks.data.verdicts.doubt_flags import doubt_meaning
from tasks.data.verdicts.held_rows import held_out_values, is_training_part
from tasks.data.verdicts.judgement_words import blames, judgement_of
from tasks.data.verdicts.mark_columns import flag_meaning, is_mark_column, propose_mark
from tasks.data.verdicts.name_words import (
    AGAINST,
    CLEAR,
    DENIES,
    KEEPS,
    LEFT_OUT,
    LITTLE,
    MASK_VERBS,
    NOTES,
    RANKS,
    REMOVES,
    TO_LEARN,
    WHOLE_ENDS,
)
from tasks.data.verdicts.negative_names import deduction_meaning, harm_meaning
from tasks.data.verdicts.removal_names import consent_meaning, names_consent
from tasks.data.verdicts.survey_columns import is_code
from tasks.data.verdicts.verdict_names import UNSURE, VERDICT_WORDS, forbids_use, is_failure
from tasks.data.verdicts.verdict_pairs import look_like_approval
from tasks.data.verdicts.verdict_phrases import asks_opinion, says_to_do
from tasks.data.verdicts.verdict_values import DRAFTS, LONG, MOST_VALUES, REMOVED, named_as_verdict

LITERAL = "a list or an object that was written as text"
PRINTED = "Python objects that were written as text, which may hold a verdict"
BYTES = "Python bytes that were written as text"
QUOTED = "a text that was written in quotes with escapes"
VOTE_COLUMN = "a column of one person's votes"
MASK = "a training mask"
CORRECTION = "a correction of the answer"
GOLD = "a right answer beside the answer"
GOLD_LIST = "several right answers beside the answer"
# What may be learned in place of the answer.
RIGHT = (CORRECTION, GOLD, GOLD_LIST)
CHOICE = "a choice between two answers"
OTHER_CHOICE = "a second choice between the answers"
SIDE_OR_MODEL = "a side, or the name of a model"
ESCAPED = "a text with _x000D_, by which Excel writes a carriage return"
ENDED = "the end of a request that failed or was cut"
REJECTION = "the reason of a rejection"
_REPLACED = frozenset(("merged", "replaced"))
_IDS = frozenset(("id", "ids", "uuid"))
_FLAGS = TRUE | FALSE
_DELETES = re.compile(r"delet|remov|loschen|supprimer|eliminar|verwijderen")
# A date, or seconds or milliseconds since 1970, in the spelling of `plain_word`.
_TIME = re.compile(
    r"\d{4}[_/.]\d{1,2}[_/.]\d{1,2}(?!\d)|\d{1,2}[_/.]\d{1,2}[_/.]\d{4}|1\d{9}(?:\d{3})?(?:\.\d+)?$"
)


@dataclass(frozen=True)
class _Key:
    """A key whose meaning is proposed, with its different values in plain words.

    Attributes:
        path: The key.
        looks: What it looks like.
        values: Its values, without the empty one; empty if they are unknown.
        has_pairs: Whether the source has pairs, which can have a verdict.
        understood: Whether other values of the key are read by its name.
    """

    path: str
    looks: str
    values: frozenset[str]
    has_pairs: bool
    understood: bool

    @cached_property
    def words(self) -> frozenset[str]:
        """The words of its last name, and of a program's error in any of its names."""
        last = flatten_name(self.path.rpartition(".")[2]).split("_")
        return frozenset(last) | (set(flatten_name(self.path).split("_")) & ERRORS)

    @cached_property
    def few(self) -> bool:
        """True if its values are a few short ones."""
        return bool(self.values) and LONG not in self.values and len(self.values) <= MOST_VALUES

    @cached_property
    def flags(self) -> bool:
        """True if its values are true and false."""
        return bool(self.values) and self.values <= _FLAGS

    @cached_property
    def counts(self) -> bool:
        """True if its values are true, false and numbers."""
        return bool(self.values) and all(value in _FLAGS or _is_score(value) for value in self.values)

    @cached_property
    def readable(self) -> frozenset[str]:
        """Those of its values that are verdicts in a usual spelling."""
        verdicts = POSITIVE | NEGATIVE | _FLAGS
        return frozenset(value for value in self.values if value in verdicts or _is_score(value))


def propose_meaning(
    path: str, looks: str, values: Collection[str], has_pairs: bool, understood: bool = False
) -> str:
    """Return a proposal for a key under `fields`, as YAML.

    Args:
        path: The key.
        looks: What it looks like.
        values: Its different values in plain words; empty if they are unknown.
        has_pairs: Whether the source has pairs or conversations, which can have a verdict.
        understood: Whether other values of the key are read by its name.

    Returns:
        A meaning, or a mapping of the values. Where only a person can decide, a value is UNKNOWN.
    """
    key = _Key(path, looks, frozenset(filter(None, values)), has_pairs, understood)
    # The first kind of key that it is decides.
    kinds = (_of_text, _of_mark, _of_direction, _of_mask, _of_flag, _of_removal, _of_question, _of_score)
    return next(filter(None, (kind(key) for kind in kinds)), "") or _of_words(key)


def _of_text(key: _Key) -> str:
    """Propose the meaning of a text: a right answer, a printed object, or a choice in words."""
    if key.looks in RIGHT:
        # Of several right answers, only a person can say which one to learn.
        return "ignore" if not key.has_pairs else UNKNOWN if key.looks == GOLD_LIST else "correction"
    # A list as text may be meant as it is.
    if key.looks in (LITERAL, BYTES, QUOTED, ESCAPED):
        return "text"
    if key.looks == PRINTED:
        return "ignore"
    if key.looks == REJECTION and not all(map(_is_score, key.values)):
        # Reasons differ from row to row, so no mapping could list them.
        return "deleted"
    chosen = key.looks in (CHOICE, SIDE_OR_MODEL)
    return choice_mapping(key.values, names_worse(key.path)) if chosen else ""


def _of_mark(key: _Key) -> str:
    """Propose the meaning of a column that holds one mark only, such as `x`."""
    if not is_mark_column(key.values):
        return ""
    mark = next(iter(key.values))
    if key.looks == MASK:
        removes = _negates(key.words)
        return propose_mark("", mark, removes, against=False, keeps=not removes)
    against = bool(key.words & AGAINST and key.has_pairs)
    return propose_mark(key.path, mark, bool(key.words & LEFT_OUT), against, bool(key.words & KEEPS))


def _of_direction(key: _Key) -> str:
    """Propose the meaning of numbers under a name that tells the good end of their scale."""
    direction = scale_direction(key.path, key.values) if all(map(_is_score, key.values)) else ""
    if (
        not direction
        and key.looks != MASK
        and (said := deduction_meaning(key.path, key.values, key.has_pairs))
    ):
        return said
    if direction and key.looks != MASK:
        return ("penalty" if direction == LOWER else "verdict") if key.has_pairs else "ignore"
    return UNKNOWN if key.few and key.has_pairs and key.words & NOTES and _are_grades(key.values) else ""


def _of_mask(key: _Key) -> str:
    """Propose the meaning of a training mask."""
    if key.looks != MASK:
        return ""
    # A list masks parts of an answer, and a text none. A weight between 0 and 1 cannot be read.
    if LONG in key.values or (key.values and not key.few):
        return UNKNOWN
    if not key.values <= _FLAGS:
        return _mask_mapping(key.values, key.understood)
    # `in_train_set` says where a row comes from: either value may be the one to leave out.
    if "in" in key.words:
        return UNKNOWN
    if _negates(key.words) and not flatten_name(key.path).endswith("loss_mask"):
        return "mask"
    # A word that is not known may turn the meaning round: only the person who has the data can say.
    return "weight" if key.words <= TO_LEARN else UNKNOWN


def _of_flag(key: _Key) -> str:
    """Propose the meaning of flags that keep or remove rows."""
    meaning = doubt_meaning(key.path, key.values) or harm_meaning(key.path, key.values)
    if not key.flags or (meaning := meaning or flag_meaning(key.path)):
        return meaning
    if names_consent(key.path):
        return "weight"
    if not key.words & (LEFT_OUT | KEEPS):
        return ""
    removes, denied = bool(key.words & LEFT_OUT), bool(key.words & DENIES)
    return "deleted" if removes is not denied else "weight"


def _of_removal(key: _Key) -> str:
    """Propose the meaning of words, times and texts that say whether and why a row is not to be used."""
    words, values = key.words, sorted(key.values)
    if names_consent(key.path) and key.few and any(map(consent_meaning, values)):
        said = (f"{yaml_value(value)}: {consent_meaning(value) or UNKNOWN}" for value in values)
        return f"{{{', '.join(said)}}}"
    if names_removal_time(key.path.rpartition(".")[2]) and values and not key.flags:
        return "deleted"
    if words & (LEFT_OUT | removal_words()) and values and all(map(_TIME.match, values)):
        # The time at which a row was removed; the others have none.
        return "deleted"
    pointed = words & POINTERS and words & (LEFT_OUT | _REPLACED | AGAINST)
    if (pointed or words & (ERRORS | REFUSALS)) and not all(
        value in _FLAGS or (_is_score(value) and not words & POINTERS) for value in values
    ):
        # Texts of errors, reasons and other rows differ from row to row, so no mapping could list them. A
        # row 0 would be read as false.
        return UNKNOWN if "0" in values and words & POINTERS else "deleted"
    if words & COMPLAINTS and values and not key.counts:
        # With an empty cell, nobody complained.
        return f"{{{_complaints(values, key.has_pairs)}}}" if key.few else "deleted"
    if key.looks == ENDED:
        return _ended(values) if key.few else "ignore"
    return ""


def _of_question(key: _Key) -> str:
    """Propose a mapping to fill in under a name that says nothing, or may ask for or against the row."""
    if key.few and is_code(key.path) and not key.values & (POSITIVE | NEGATIVE) - _FLAGS:
        return _to_fill_in(key.values)
    if not answers_unknown_question(key.path, key.values) or _approves(key.path, key.words, key.values):
        return ""
    return _to_fill_in(key.values)


def _to_fill_in(values: Collection[str]) -> str:
    """Return a mapping of values of which only a person can say the meaning."""
    return f"{{{', '.join(f'{yaml_value(value)}: {UNKNOWN}' for value in sorted(values))}}}"


def _of_score(key: _Key) -> str:
    """Propose the meaning of scores, ranks, counts, flags and plain words for and against an answer."""
    words, name = key.words, flatten_name(key.path)
    if key.understood and KNOWN.get(name) == "review":
        # Other rows have a review, and a mapping would have to list all of its words.
        return "review"
    scores = all(map(_is_score, key.values))
    if (words & _IDS and scores) or any(exceeds_scale(key.path, v.replace("_", " ")) for v in key.values):
        # The stars of a repository, or the id of an answer, would be a score.
        return UNKNOWN
    if key.values and not (key.few or key.readable or key.understood) and key.has_pairs:
        return UNKNOWN
    unknown = key.few and not key.understood and not any(map(_is_score, key.values))
    if key.has_pairs and not unknown and KNOWN.get(name) in ("number", "thumb", "thumb_down", "word"):
        # Other values of this key are read by its name, and a mapping would have to list them all.
        return "verdict"
    against = (words & AGAINST and not words & DENIES) or {"no", "preference"} <= words
    if against and (key.flags or (key.values and all(map(_is_score, key.values)))):
        # A rank or a flag `wrong` read as a score would make the worst answer the best one.
        flagged = key.flags and not words & RANKS
        return "penalty" if key.has_pairs else "deleted" if flagged else "ignore"
    blaming = judgement_of(key.path.rpartition(".")[2]) == -1 and KNOWN.get(name) != "thumb_down"
    # `not_wrong` is turned round twice.
    turned = key.flags and words & (DENIES | LITTLE) and not (words & DENIES and words & AGAINST)
    if key.counts and (blaming or turned):
        # A score of true, or a number of people who blame, would be the better the higher it is.
        return UNKNOWN
    flags = key.values <= _FLAGS and (key.has_pairs or words & HIGHER_IS_BETTER)
    if key.values and key.values <= ACCEPT | REJECT | IGNORE and not flags:
        return "review"
    if key.readable != key.values:
        return ""
    scored = any(map(_is_score, key.values)) and (flags or not key.values <= _FLAGS)
    return "verdict" if key.has_pairs else "ignore" if scored else "review"


def _of_words(key: _Key) -> str:
    """Propose the meaning of values of which some are words that only a mapping can explain."""
    values = key.values
    judged = {value: judgement_of(value) for value in values}
    if key.has_pairs and key.few and set(judged.values()) == {1, -1}:
        return f"{{{', '.join(f'{yaml_value(value)}: {judged[value]}' for value in sorted(judged))}}}"
    # A word among numbers is a row with an error.
    odd = values & (REMOVED | DRAFTS | UNSURE) | set(filter(_is_to_leave, values))
    if key.has_pairs and key.few and not odd and 2 * sum(map(_is_score, values)) > len(values):
        return "verdict"
    if key.few and all(map(_orders_removal, values)) and not _judges(key):
        # A remark in some rows. The others have none, and stay.
        return f'{_mapping(sorted(values))[:-1]}, "": accept}}'
    if key.few:
        return _mapping(sorted(values))
    # Beside texts, many different words cannot be listed, and some of them may reject their row.
    return "verdict" if key.has_pairs else UNKNOWN if values else "ignore"


def _orders_removal(value: str) -> bool:
    """Return whether a value is an order not to use its row, as `do_not_use` and `to_be_deleted`."""
    to_delete = says_to_do(value) and _DELETES.search(value)
    return forbids_use(value) or bool(held_out_values([value]) or to_delete)


def _judges(key: _Key) -> bool:
    """Return whether a name is that of a verdict, without which its row is not judged yet."""
    return bool(key.words & VERDICT_WORDS) or named_as_verdict(key.path, "")


def _negates(words: Collection[str]) -> bool:
    """Return whether a mask's name says what is not learned."""
    # `free_to_train` allows it.
    return not (DENIES - {"free"} | REMOVES | MASK_VERBS).isdisjoint(words)


def propose_vote(
    path: str,
    values: Collection[str],
    cells: VoteCells,
    has_pairs: bool,
    compares: bool,
    numbered: Collection[str],
) -> str:
    """Return a proposal for a column of one person's votes, as YAML.

    Args:
        path: The key.
        values: The different values of all such columns.
        cells: Its cells.
        has_pairs: Whether the source has answers that votes can rate.
        compares: Whether rows have two answers, between which votes choose.
        numbered: The numbers of these in the names of their columns, if they have some.
    """
    if compares and not has_pairs:
        # A number may be the first answer or the second one, unless the answers have such numbers.
        numbers = {value for value in values if _is_score(value)}
        letters = cells.sides and not cells.has_numbers
        return "vote" if letters or numbers <= set(numbered) else choice_mapping(numbers)
    lower = scale_direction(path, [value for value in values if value]) == LOWER
    return "ignore" if not has_pairs else "penalty_vote" if lower else "vote"


def _is_score(value: str) -> bool:
    return as_score(value.replace("_", " ")) is not None


def _approves(path: str, words: Collection[str], values: Collection[str]) -> bool:
    """Return whether yes under a name speaks for the row, or against it in a known word."""
    known = VERDICT_WORDS | AGAINST | LEFT_OUT | KEEPS
    return (
        not known.isdisjoint(words)
        or named_as_verdict(path, "")
        or asks_opinion(path, next(iter(values)))
        or look_like_approval(path, values)
    )


def _is_to_leave(value: str) -> bool:
    """Return whether a value says that its row is not to be used, or not yet."""
    return says_to_do(value) or is_held(value) or bool(held_out_values([value]))


def _are_grades(values: Collection[str]) -> bool:
    scores = [as_score(value.replace("_", " ")) for value in values]
    return all(score is not None and 1 <= score <= 6 for score in scores)


def _ended(values: list[str]) -> str:
    """Return a mapping that leaves out the answers of requests that failed or were cut."""
    said = (
        f"{yaml_value(value)}: {'ignore' if is_failure(value) else 'accept' if _is_whole(value) else UNKNOWN}"
        for value in values
    )
    return f"{{{', '.join(said)}}}"


def _is_whole(value: str) -> bool:
    """Return whether a request ended with this reason, or HTTP status, and a whole answer."""
    number = as_score(value)
    return 200 <= number < 300 if number is not None else value in WHOLE_ENDS


def _mask_mapping(values: Collection[str], understood: bool) -> str:
    """Return a mapping of a mask's values, also of 0 and 1 if other rows have them."""
    flags = {"0": "ignore", "1": "accept"} if understood else {}
    said = {value: "accept" if value in TRUE else "ignore" if value in FALSE else UNKNOWN for value in values}
    return f"{{{', '.join(f'{yaml_value(v)}: {what}' for v, what in sorted({**flags, **said}.items()))}}}"


def _complaints(values: list[str], has_pairs: bool) -> str:
    """Return a mapping that leaves out the answers with a complaint; of pairs, it makes bad examples."""
    bad = "reject" if has_pairs else "ignore"
    said = (f"{yaml_value(v)}: {'accept' if says_nothing_wrong(v) else bad}" for v in values)
    return ", ".join((*said, '"": accept'))


def _mapping(values: list[str]) -> str:
    """Return a mapping of words to reviews. What neither accepts nor rejects is left to the person."""
    apart = held_out_values(values)
    doubts = REMOVED | DRAFTS | UNSURE | set(filter(_is_to_leave, values)) | TIES | apart
    removes = not doubts.isdisjoint(values) or any(map(blames, values))
    said = []
    for value in values:
        judged = judgement_of(value)
        kept = removes and (value in CLEAR or is_training_part(value))
        if value not in apart and (judged > 0 or (kept and value not in doubts)):
            meaning = "accept"
        elif judged < 0:
            meaning = "reject"
        elif value in doubts:
            meaning = "ignore"
        else:
            meaning = "reject" if blames(value) else UNKNOWN
        said.append(f"{yaml_value(value)}: {meaning}")
    return f"{{{', '.join(said)}}}"
