"""Normalize annotators: one name for one person, however the file writes it."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from typing import Any

from tasks.common.annotators import visible_name
from tasks.data.values.field_meanings import flatten_name, is_null_word, word_set

UNKNOWN_ANNOTATOR = "unknown"
ANNOTATORS = (
    "annotator", "annotator_id", "_annotator_id", "worker", "worker_id", "labeler", "labeler_id", "labeller",
    "labeller_id", "rater", "rater_id", "voter", "voter_id", "reviewer", "reviewer_id", "evaluator",
    "evaluator_id", "annotated_by", "labeled_by", "labelled_by", "rated_by", "voted_by", "reviewed_by",
)  # fmt: skip
# Keys that often name the annotator, and as often the person of a conversation.
PEOPLE = frozenset((
    "assessor", "author", "by", "created_by", "email", "employee", "expert", "grader", "judge", "judged_by",
    "name", "participant", "person", "user", "user_email", "user_id", "user_name", "username", "who",
))  # fmt: skip
# Words for a person who judges. A number under such a name is the person's number.
RATERS = word_set(
    """
    annotator annotators assessor coder crowdworker employee evaluator examiner expert grader initials judge
    labeler labeller marker rater respondent reviewer scorer staff student tester turker voter who worker
    annotiert bearbeiter bearbeiterin bearbeiterinnen bewerter bewerterin gutachter gutachterin initialen
    kurzel kuerzel mitarbeiter mitarbeiterin prufer pruferin pruefer wer
    annotateur annotatrice correcteur evaluateur evaluatrice examinateur juge qui relecteur relectrice
    anotador anotadora evaluador evaluadora quien revisor revisora
    avaliador avaliadora quem annotatore chi revisore valutatore beoordelaar
    """
)
_WHOLE = re.compile(r"[-+]?\d+\.0+")
_NAMED_BY = ("email", "username", "name", "id", "user_id")


def names_annotator(key: str) -> bool:
    """Return whether a key is a name of the annotator in any spelling, as `Rated by` or `a[].WorkerId`."""
    return flatten_name(key.rpartition(".")[2]) in ANNOTATORS


def listed_person(path: str, keys: Iterable[str]) -> str:
    """Return the only one of some keys that names a person in the objects of a vote; empty for none.

    Args:
        path: The key of the vote, as `ratings[].vote`.
        keys: The keys that nothing reads.
    """
    inside = f"{path.rpartition('[].')[0]}[]."
    beside = [key for key in keys if key.startswith(inside) and key != path]
    named = [key for key in beside if names_annotator(key)]
    # The name of a reaction is an emoji.
    people = PEOPLE - {"name"} if "reaction" in inside.lower() else PEOPLE
    named = named or [key for key in beside if flatten_name(key.removeprefix(inside)) in people | RATERS]
    return named[0] if len(named) == 1 else ""


def normalize_annotator(given: Any) -> str:
    """Return the name of a person; empty if there is none.

    3, 3.0, "3", "3.0" and "3 " are one person. Characters without width are no part of a name. Null, NaN,
    blank text and words such as `nan` are no person. Of an object with several names the e-mail address has
    precedence, and the number comes last. A list of
    one person is that person.
    """
    if isinstance(given, Mapping):
        return next(filter(None, (normalize_annotator(given.get(key)) for key in _NAMED_BY)), "")
    if isinstance(given, list) and len(given) == 1:
        return normalize_annotator(given[0])
    if isinstance(given, bool) or given is None:
        return ""
    # pandas turns a column of numbers into floats as soon as one of them is missing.
    if isinstance(given, float):
        if not math.isfinite(given):
            return ""
        return str(int(given)) if given.is_integer() else str(given)
    if isinstance(given, int):
        return str(given)
    if not isinstance(given, str):
        return ""
    name = " ".join(visible_name(given).split())
    if is_null_word(name):
        return ""
    # A CSV file has "3.0" where pandas wrote a column of numbers with a gap.
    return name.partition(".")[0] if _WHOLE.fullmatch(name) else name
