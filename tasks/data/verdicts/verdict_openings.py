"""Find the verdict at the beginning of a text that goes on with a reason, as `bad because it is wrong`."""

from __future__ import annotations

import re
from functools import lru_cache

from tasks.data.values.field_meanings import (
    FALSE,
    NEGATIVE,
    POSITIVE,
    TRUE,
    flatten_name,
    plain_word,
    plain_words,
    word_set,
)

_LONGEST = 30  # characters of an opening
_MOST_WORDS = 3
_BEFORE = r"\s*[\"'“”„«*_\[(]*\s*"
_AFTER = r"[\"'“”»*_\])]*"
_SAID = r"(?P<said>[^\s\"'“”„«*\[(](?:[^\n.,;:!?()\[\]{}–—]*?[^\s\"'“”»*.,;:!?()\[\]{}–—-])??)"
# A sign that ends an opening under any name: `Rejected. It is wrong`, `down: it is wrong`, `bad - wrong`.
_STRICT = re.compile(rf"{_BEFORE}{_SAID}{_AFTER}\s*(?:[:;–—(\[\n]|[.!](?=\s|$|[\"'“”»*_)])|\s?-\s)")
# Under the name of a verdict, a comma or a word such as `because` is enough.
_LOOSE = re.compile(
    rf"{_BEFORE}{_SAID}{_AFTER}\s*(?:[:;,–—(\[\n]|[.!](?=\s|$|[\"'“”»*_)])|\s?-\s|"
    r"\s(?:because|since|as|due\s+to|weil|da|denn|parce|car|porque|perché|omdat|потому)\b)",
    re.I,
)
_WEAK = word_set("up down like dislike pos neg positive negative pass fail +1 -1 yes no y n")


# An order to take out the row itself, at the beginning of a remark: `reject this one`, `please remove it`.
_WHAT = (
    r"(?:row|example|sample|pair|answer|response|reply|record|item|entry|completion|text|document|turn|chat|"
    r"conversation|line|label|annotation)"
)
_ORDER = re.compile(
    r"[\s\"'“„«*_\[(]*(?:(?:please|pls|should|must|to\s+be)[\s,]+)*"
    r"(?:reject|exclude|discard|delete|remove|drop|skip|omit|redo|scrap|ban|throw\s+(?:out|away)|leave\s+out)"
    rf"\s+(?:(?:this|that|the)\s+(?:\w+\s+)?(?:one|{_WHAT})\b|"
    r"(?:this|it)\s*(?:$|[.,;:!–—-]|please|pls|because|since|as)|"
    rf"{_WHAT}\s*(?:$|[.,;:!])|(?:it\s+|this\s+)?from\s+(?:the\s+)?(?:training|train|data|dataset|corpus|set)\b)",
    re.I,
)
# Under these names an order is about something else, as in `remove this line` of an exercise.
_EXERCISES = word_set(
    """
    code command commands description diff exercise goal heading hint instruction instructions patch prompt
    query question questions steps subject summary system task template text title todo topic
    """
)
# Words that take back a row, with which a remark begins: `VOID - wrong tail`, `Storniert: doppelt`.
_TAKEN_BACK = plain_words(
    """
    annulled canceled cancelled discarded invalid invalidated nullified retracted revoked scrapped superseded
    trashed void voided withdrawn
    aufgehoben ausgesondert storniert ungültig verworfen widerrufen zurückgezogen
    annulé annulée invalide nul périmé périmée retiré retirée supprimé supprimée
    annullata annullato ritirata ritirato scartata scartato
    anulada anulado cancelada cancelado descartada descartado eliminada eliminado retirada retirado
    geannuleerd ingetrokken ongeldig vervallen anulowane nieważne unieważnione wycofane iptal geçersiz
    аннулировано недействительно отозвано 作废 無効 取消 무효
    """
)
_LONGEST_REMARK = 200  # characters
# Under these names such a word is about a thing, as an order that was cancelled, or begins a text.
_THINGS = _EXERCISES | word_set(
    """
    account booking chapter context contract customer document event flight headline invoice name order
    passage payment product reservation section shipment subscription tax ticket track transaction url
    """
)


def takes_back(name: str, value: object) -> bool:
    """Return whether a remark begins with a word that takes its row back, as `VOID - wrong tail`."""
    if not isinstance(value, str) or len(value) > _LONGEST_REMARK:
        return False
    begun = plain_word(opening_of(value))
    return begun in _TAKEN_BACK and _THINGS.isdisjoint(flatten_name(name.rpartition(".")[2]).split("_"))


def orders_removal(name: str, value: object) -> bool:
    """Return whether a remark begins with an order to take its row out, as `reject this one`."""
    if not isinstance(value, str) or _ORDER.match(value[: 3 * _LONGEST]) is None:
        return False
    return _EXERCISES.isdisjoint(flatten_name(name.rpartition(".")[2]).split("_"))


@lru_cache(maxsize=4096)
def _find(text: str, loose: bool) -> str:
    found = (_LOOSE if loose else _STRICT).match(text)
    said = found["said"].strip() if found else ""
    return said if len(said) <= _LONGEST and len(said.split()) <= _MOST_WORDS else ""


def opening_of(value: object, loose: bool = False) -> str:
    """Return the few words with which a text begins before its reason; empty if it has no such beginning.

    Args:
        value: The value. Only a text can have an opening.
        loose: Whether a comma or a word such as `because` ends it too, as under the name of a verdict.
    """
    if not isinstance(value, str):
        return ""
    # The rest of a long text decides nothing.
    return _find(value[: 2 * _LONGEST], loose)


def without_reason(value: object) -> object:
    """Return the opening of a text that goes on with a reason; any other value unchanged."""
    return opening_of(value, loose=True) or value


def is_plain_vote(opening: str) -> bool:
    """Return whether an opening is a word for or against something, as `down` in `down: it is wrong`."""
    word = plain_word(opening)
    return word in _WEAK or (word in POSITIVE | NEGATIVE and word not in TRUE | FALSE)
