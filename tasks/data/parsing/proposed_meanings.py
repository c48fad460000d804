"""Propose a meaning under `fields` for a key, so that nothing wrong is learned."""

from __future__ import annotations

import re
from collections.abc import Collection

from tasks.data.parsing.choices import TIES
from tasks.data.parsing.column_names import yaml_value
from tasks.data.parsing.decision_states import answers_unknown_question, is_held
from tasks.data.parsing.field_meanings import (
    ACCEPT,
    COMPLAINTS,
    ERRORS,
    FALSE,
    HIGHER_IS_BETTER,
    IGNORE,
    KNOWN,
    LOWER_IS_BETTER,
    NEGATIVE,
    POINTERS,
    POSITIVE,
    REFUSALS,
    REJECT,
    TRUE,
    flatten_name,
    names_removal_time,
    plain_word,
    removal_words,
    says_nothing_wrong,
)
from tasks.data.parsing.judgement_words import blames, judgement_of
from tasks.data.parsing.mark_columns import REFUSED, flag_meaning, is_mark_column, propose_mark
from tasks.data.parsing.removal_names import consent_meaning, names_consent
from tasks.data.parsing.scale_direction import LOWER, scale_direction
from tasks.data.parsing.score_values import as_score
from tasks.data.parsing.verdict_names import (
    BAD_FLAGS,
    BAD_WORDS,
    GOOD_FLAGS,
    GOOD_WORDS,
    UNSURE,
    VERDICT_WORDS,
    is_failure,
)
from tasks.data.parsing.verdict_pairs import look_like_approval
from tasks.data.parsing.verdict_phrases import asks_opinion, says_to_do
from tasks.data.parsing.verdict_scales import exceeds_scale
from tasks.data.parsing.verdict_values import DRAFTS, LONG, MOST_VALUES, REMOVED, named_as_verdict
from tasks.data.parsing.vote_cells import VoteCells

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
ENDED = "the end of a request that failed or was cut"
# What only the person who has the data can say. No preset with it is accepted.
UNKNOWN = "..."
# Names that count or list two answers in their order.
_IN_ORDER = (("1", "2"), ("first", "second"), ("left", "right"), ("one", "two"))
_REPLACED = frozenset(("merged", "replaced"))
_NEGATED = frozenset((
    "avoid", "ban", "banned", "block", "blocked", "denied", "deny", "disable", "disabled", "dont", "drop",
    "dropped", "except", "exclude", "excluded", "excludes", "excluding", "exclusion", "forbid",
    "forbidden", "ignore", "ignored", "mask", "masked", "masking", "masks", "never", "no", "non", "not",
    "nottrain", "omit", "omitted", "optout", "out", "prohibit", "prohibited", "restrict", "restricted",
    "skip", "skipped", "suppress", "suppressed", "untrainable", "withheld", "withhold", "without",
))  # fmt: skip
# Words of a mask's name of which none turns its meaning round.
_TO_LEARN = frozenset((
    "allow", "allowed", "and", "answer", "assistant", "be", "can", "completion", "do", "does", "eligible",
    "enable", "enabled", "example", "fine", "finetune", "finetuning", "for", "include", "included",
    "includes", "is", "item", "keep", "kept", "learn", "learnable", "learned", "learning", "loss", "mask",
    "may", "message", "messages", "model", "of", "ok", "on", "response", "row", "sample", "selected",
    "sft", "should", "step", "supervise", "supervised", "target", "that", "the", "this", "to", "token",
    "tokens", "train", "trainable", "trained", "training", "tune", "tuning", "turn", "turns", "usable",
    "use", "used", "weight", "weights", "with",
))  # fmt: skip
# Names for which true excludes the row, and names for which false does.
_LEFT_OUT = BAD_FLAGS | BAD_WORDS | frozenset((
    "banned", "blocked", "deleted", "discard", "discarded", "drop", "dropped", "exclude", "excluded", "flag",
    "flagged", "harmful", "hidden", "opt", "out", "removed", "skip", "skipped", "spam", "toxic", "unsafe",
))  # fmt: skip
# Names of judgements against an answer: true is bad, and more is worse.
_AGAINST = LOWER_IS_BETTER | REFUSED | frozenset((
    "bad", "declined", "dislike", "disliked", "downvote", "downvoted", "fail", "failed", "incorrect",
    "invalid", "loser", "reject", "rejected", "thumbsdown", "unhelpful", "wrong",
))  # fmt: skip
# In German, 1 is the best grade; in French, 1 is the worst.
_NOTES = frozenset(("note", "noten"))
_RANKS = frozenset(("loss", "perplexity", "position", "rank", "ranking", "ranks"))
_NOT = frozenset(("no", "non", "not", "without", "free"))
_KEPT = GOOD_FLAGS | GOOD_WORDS | frozenset((
    "audited", "checked", "inspected", "keep", "kept", "reviewed", "usable", "use", "valid", "validated",
    "verified", "vetted",
))  # fmt: skip
# Words that keep a row beside others that remove it, and reasons for which a whole answer ends.
_CLEAR = _KEPT | {plain_word(word) for word in GOOD_FLAGS} | frozenset((
    "certain", "confident", "current", "fatto", "feito", "fine", "intact", "klaar", "listo", "live", "none",
    "okay", "pret", "pronto", "restored", "sure", "upheld",
))  # fmt: skip
_WHOLE = frozenset((
    "complete", "completed", "done", "end", "end_of_text", "end_of_turn", "end_turn", "eos", "eos_token",
    "finished", "function_call", "natural", "ok", "stop", "stop_sequence", "stop_string", "stopped",
    "success", "succeeded", "tool_call", "tool_calls", "tool_use", "turn_end",
))  # fmt: skip
# Words that turn a flag's meaning round, as in `not_helpful` and `low_quality`.
_TURNING = frozenset((
    "few", "ignore", "ignored", "insufficient", "lacking", "lacks", "less", "low", "lower", "missing",
    "never", "no", "non", "not", "poor", "skip", "skipped", "weak", "without", "worse", "worst",
))  # fmt: skip
# A date, or seconds or milliseconds since 1970, in the spelling of `plain_word`.
_TIME = re.compile(
    r"\d{4}[_/.]\d{1,2}[_/.]\d{1,2}(?!\d)|\d{1,2}[_/.]\d{1,2}[_/.]\d{4}|1\d{9}(?:\d{3})?(?:\.\d+)?$"
)


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
    if looks in RIGHT:
        # Of several right answers, only a person can say which one to learn.
        return "ignore" if not has_pairs else UNKNOWN if looks == GOLD_LIST else "correction"
    # A list as text may be meant as it is; votes need pairs that they can rate.
    if looks in (LITERAL, BYTES, QUOTED):
        return "text"
    if looks == PRINTED:
        return "ignore"
    words = set(flatten_name(path.rpartition(".")[2]).split("_"))
    words |= set(flatten_name(path).split("_")) & ERRORS
    known = {value for value in values if value}
    if looks in (CHOICE, SIDE_OR_MODEL):
        return choice_mapping(known)
    few = bool(known) and LONG not in known and len(known) <= MOST_VALUES
    if is_mark_column(known) and looks == MASK:
        removes = bool(words & _NEGATED)
        return propose_mark("", next(iter(known)), removes, against=False, keeps=not removes)
    if is_mark_column(known):
        left_out, against = bool(words & _LEFT_OUT), bool(words & _AGAINST and has_pairs)
        return propose_mark(path, next(iter(known)), left_out, against, bool(words & _KEPT))
    direction = scale_direction(path, known) if all(map(_is_score, known)) else ""
    if direction and looks != MASK:
        return ("penalty" if direction == LOWER else "verdict") if has_pairs else "ignore"
    if few and has_pairs and words & _NOTES and _are_grades(known):
        return UNKNOWN
    if looks == MASK and LONG in known:
        # A list masks parts of an answer, and a text none.
        return UNKNOWN
    if looks == MASK and not few and known:
        # A weight between 0 and 1 cannot be read.
        return UNKNOWN
    if looks == MASK and (known <= TRUE | FALSE or not few):
        # `in_train_set` says where a row comes from: either value may be the one to leave out.
        if "in" in words:
            return UNKNOWN
        if words & _NEGATED and not flatten_name(path).endswith("loss_mask"):
            return "mask"
        # A word that is not known may turn the meaning round: only the person who has the data can say.
        return "weight" if words <= _TO_LEARN else UNKNOWN
    if looks == MASK:
        return _mask_mapping(known, understood)
    if known and known <= TRUE | FALSE and (meaning := flag_meaning(path)):
        return meaning
    if names_consent(path) and known and known <= TRUE | FALSE:
        return "weight"
    if names_consent(path) and few and any(map(consent_meaning, known)):
        said = (f"{yaml_value(value)}: {consent_meaning(value) or UNKNOWN}" for value in sorted(known))
        return f"{{{', '.join(said)}}}"
    if names_removal_time(path.rpartition(".")[2]) and known and not known <= TRUE | FALSE:
        return "deleted"
    if words & (_LEFT_OUT | removal_words()) and known and all(map(_TIME.match, known)):
        # The time at which a row was removed; the others have none.
        return "deleted"
    if known and known <= TRUE | FALSE and words & (_LEFT_OUT | _KEPT):
        bad, negated = bool(words & _LEFT_OUT), bool(words & _NOT)
        return "deleted" if bad is not negated else "weight"
    pointed = words & POINTERS and words & (_LEFT_OUT | _REPLACED | _AGAINST)
    if (pointed or words & (ERRORS | REFUSALS)) and not all(
        value in TRUE | FALSE or (_is_score(value) and not words & POINTERS) for value in known
    ):
        # Texts of errors, reasons and other rows differ from row to row, so no mapping could list them. A
        # row 0 would be read as false.
        return UNKNOWN if "0" in known and words & POINTERS else "deleted"
    if words & COMPLAINTS and not all(value in TRUE | FALSE or _is_score(value) for value in known):
        # With an empty cell, nobody complained.
        return f"{{{_complaints(sorted(known), has_pairs)}}}" if few else "deleted"
    if looks == ENDED:
        return _ended(sorted(known)) if few else "ignore"
    if answers_unknown_question(path, known) and not _approves(path, words, known):
        return f"{{{', '.join(f'{yaml_value(value)}: {UNKNOWN}' for value in sorted(known))}}}"
    readable = any(value in POSITIVE | NEGATIVE | TRUE | FALSE or _is_score(value) for value in known)
    if known and not few and not readable and not understood and has_pairs:
        return UNKNOWN
    if any(exceeds_scale(path, value.replace("_", " ")) for value in known):
        # The stars of a repository, or a school year, would be the score of its answer.
        return UNKNOWN
    unknown = few and not understood and not any(map(_is_score, known))
    if (
        has_pairs
        and not unknown
        and KNOWN.get(flatten_name(path)) in ("number", "thumb", "thumb_down", "word")
    ):
        # Other values of this key are read by its name, and a mapping would have to list them all.
        return "verdict"
    against = (words & _AGAINST and not words & _NOT) or {"no", "preference"} <= words
    if known and against and (known <= TRUE | FALSE or all(map(_is_score, known))):
        # A rank or a flag `wrong` read as a score would make the worst answer the best one.
        flagged = known <= TRUE | FALSE and not words & _RANKS
        return "penalty" if has_pairs else "deleted" if flagged else "ignore"
    counts = bool(known) and all(value in TRUE | FALSE or _is_score(value) for value in known)
    blaming = judgement_of(path.rpartition(".")[2]) == -1 and KNOWN.get(flatten_name(path)) != "thumb_down"
    # `not_wrong` is turned round twice.
    turned = known <= TRUE | FALSE and words & _TURNING and not (words & _NOT and words & _AGAINST)
    if counts and (blaming or turned):
        # A score of true, or a number of people who blame, would be the better the higher it is.
        return UNKNOWN
    flags = known <= TRUE | FALSE and (has_pairs or words & HIGHER_IS_BETTER)
    if known and known <= ACCEPT | REJECT | IGNORE and not flags:
        return "review"
    if all(value in POSITIVE | NEGATIVE | TRUE | FALSE or _is_score(value) for value in known):
        scored = any(map(_is_score, known)) and (flags or not known <= TRUE | FALSE)
        return "verdict" if has_pairs else "ignore" if scored else "review"
    judged = {value: judgement_of(value) for value in known}
    if has_pairs and few and set(judged.values()) == {1, -1}:
        return f"{{{', '.join(f'{yaml_value(value)}: {judged[value]}' for value in sorted(judged))}}}"
    # A word among numbers is a row with an error.
    odd = known & (REMOVED | DRAFTS | UNSURE) | set(filter(_is_to_leave, known))
    if has_pairs and few and not odd and 2 * sum(map(_is_score, known)) > len(known):
        return "verdict"
    if few:
        return _mapping(sorted(known))
    # Beside texts, many different words cannot be listed, and some of them may reject their row.
    return "verdict" if has_pairs else UNKNOWN if known else "ignore"


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
    known = VERDICT_WORDS | _AGAINST | _LEFT_OUT | _KEPT
    return (
        not known.isdisjoint(words)
        or named_as_verdict(path, "")
        or asks_opinion(path, next(iter(values)))
        or look_like_approval(path, values)
    )


def _is_to_leave(value: str) -> bool:
    """Return whether a value says that its row is not to be used, or not yet."""
    return says_to_do(value) or is_held(value)


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
    return 200 <= number < 300 if number is not None else value in _WHOLE


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
    doubts = REMOVED | DRAFTS | UNSURE | set(filter(_is_to_leave, values)) | TIES
    removes = not doubts.isdisjoint(values) or any(map(blames, values))
    said = []
    for value in values:
        judged = judgement_of(value)
        if judged > 0 or (removes and value in _CLEAR and value not in doubts):
            meaning = "accept"
        elif judged < 0:
            meaning = "reject"
        elif value in doubts:
            meaning = "ignore"
        else:
            meaning = "reject" if blames(value) else UNKNOWN
        said.append(f"{yaml_value(value)}: {meaning}")
    return f"{{{', '.join(said)}}}"


def choice_mapping(values: Collection[str]) -> str:
    """Return a mapping of choices to a and b where their order is plain; else only their list."""
    if LONG in values or len(values) > MOST_VALUES:
        return UNKNOWN
    sides = {}
    for one, other in _IN_ORDER:
        # 1 to 7 are degrees, of which a low one may mean either answer.
        if {one, other} == set(values):
            sides = {one: "a", other: "b"}
    ordered = sorted(values, key=lambda value: (as_score(value) or 0, value))
    return f"{{{', '.join(f'{yaml_value(value)}: {sides.get(value, UNKNOWN)}' for value in ordered)}}}"
