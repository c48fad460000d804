"""Recognize keys beside an answer that hold its newer text, or name the row that their row replaces."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any

from tasks.data.values.field_meanings import flatten_name, is_empty, plain_word, word_set
from tasks.data.verdicts.verdict_names import CORRECTION_WORDS, RIGHT_WORDS

_ABOUT = word_set("id name user by time date at source model type offset")
_REMARKS = word_set("comment count distance explanation note notes prompt question reason summary type")
_ANSWERS = word_set(
    """
    answer completion content output reply response text version antwort antworten réponse reponse respuesta
    risposta resposta antwoord svar odpowiedź ответ fassung formulierung wortlaut versione versión versão
    texto
    testo
    """
)
# Beside a word for an answer, these say that the text is the newer one.
_NEWER = RIGHT_WORDS | word_set(
    """
    reviewed neu neue neuer neues nouvelle nouveau nueva nuevo nuova nuovo nova novo nieuw nieuwe ny nowa
    новый aktualisiert endgültig verbessert verbesserte
    """
)
# `Answer 2` and `answer_v2` beside an answer.
_LATER = re.compile(r"v?[2-9]")
_TERMS = ("修正", "訂正", "改訂", "新回答", "修订", "更正", "新答案", "修改", "수정", "정정", "새 답변")
# Scripts without spaces between words: this many characters are a text.
_SENTENCE = re.compile(r"[^\W\d_]\s+\S|[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7a3]{6}")
_REPLACES = word_set(
    """
    replaces replaced_row supersedes obsoletes overrides amends corrects edit_of edited_from correction_of
    correction_to correction_for revision_of update_of new_version_of ersetzt ersetzt_nr ersetzt_zeile
    ersetzt_id korrigiert_nr korrektur_zu korrektur_von korrektur_nr remplace corrige reemplaza sustituye
    sostituisce substitui vervangt replaces_id replaces_row replaces_no supersedes_id 置換元 訂正元 差替元
    """
)
# Without one of them, no name means a newer text or a replaced row.
NAME_WORDS = _NEWER | CORRECTION_WORDS | _ANSWERS | _REPLACES


def looks_like_correction(path: str, value: Any) -> bool:
    """Return whether an unread key looks like a text that somebody wrote in place of the answer."""
    if not isinstance(value, str) or not _SENTENCE.search(value):
        return False
    if not path.isascii() and any(term in path for term in _TERMS):
        return True
    words = _words_of(path)
    # `corrected_by` says who, but `answer edited by an expert` says what.
    answers = words & _ANSWERS
    if words & (_REMARKS if answers else _REMARKS | _ABOUT):
        return False
    if words & CORRECTION_WORDS:
        return True
    return bool(answers) and bool(words & _NEWER or any(map(_LATER.fullmatch, words)))


def names_replaced(path: str, value: Any) -> bool:
    """Return whether a key holds the number of the row that its row replaces, as `replaces: 17`.

    That row is then wrong, and nothing else says so. A flag or a long text names no row.
    """
    if isinstance(value, bool | list | dict) or is_empty(value) or len(str(value).split()) > 1:
        return False
    if plain_word(str(value)) in ("yes", "no", "ja", "nein", "true", "false", "0", "none"):
        return False
    return flatten_name(path.rpartition(".")[2]).strip("_") in _REPLACES


@lru_cache(maxsize=4096)
def _words_of(path: str) -> frozenset[str]:
    """Return the words of the last name of a path, and of those above it unless that one describes them."""
    *above, last = (frozenset(flatten_name(part).split("_")) for part in path.split("."))
    return last if last & _ABOUT else last.union(*above)
