"""Recognize a cell that stands for another text, as `see above`, `〃` and `TBD` in the tables of people."""

from __future__ import annotations

import re
import unicodedata

from tasks.data.records import Comparison, Pair, ParsedRow, Rating
from tasks.data.values.field_meanings import Meaning

_LONGEST = 60  # characters of a text that stands for another one


def _phrases(words: str) -> frozenset[str]:
    return frozenset(word.replace("_", " ") for word in words.split())


# Each as a whole text, without the punctuation around it.
_ABOVE = _phrases(
    """
    ditto dito idem ídem ibid ibidem see_above see_below as_above as_below same_as_above same_as_below
    same_as_before same_as_previous same_answer same_answer_as_above same_as_last see_previous
    see_previous_answer see_previous_question see_previous_row see_last_answer refer_to_above
    please_see_above cf_above siehe_oben s_o s.o siehe_unten s_u s.u wie_oben s._o s._u wie_vorher
    wie_zuvor gleiche_antwort gleiche_antwort_wie_oben siehe_vorherige_antwort siehe_vorige_antwort
    vgl_oben vgl._oben siehe_vorherige_frage voir_ci-dessus voir_plus_haut comme_ci-dessus cf._ci-dessus
    cf_ci-dessus même_réponse idem_ci-dessus ver_arriba véase_arriba igual_que_arriba como_arriba
    misma_respuesta ver_acima igual_acima mesma_resposta vedi_sopra come_sopra stessa_risposta zie_boven
    zelfde_antwoord zie_hierboven см._выше то_же jak_wyżej j.w 同上 上記参照 上記と同じ 上記に同じ 上記同様
    上に同じ 同左 々 〃 见上 同前 见上文 如上 위와_같음 상동
    """
)
_UNWRITTEN = _phrases(
    """
    tbd tbc tba to_be_done to_be_completed to_be_confirmed to_be_determined to_be_written
    to_be_added answer_pending answer_to_follow insert_answer_here your_answer_here
    wird_ergänzt wird_nachgereicht noch_zu_ergänzen noch_ausfüllen antwort_folgt folgt_noch
    à_compléter à_définir a_completar por_completar por_definir da_completare da_definire nog_invullen
    未記入 記入中 後日記入 追って記入 待补充 待填写
    """
)
# What people draw under a text that repeats.
_MARKS = re.compile(r"""[-–—_.\s]*(?:["'″〃“”„‟]|''|,,)[-–—_.\s]*(?:["'″〃“”„‟]?)[-–—_.\s]*""")
# What people type where they do not know the text yet.
_UNKNOWN = re.compile(r"[?？¿]{2,}|x{3,}", re.I)
_ROW = (
    r"(?:answer|question|row|cell|ticket|q|no|nr|number|antwort|frage|zeile|ticketnr|réponse|ligne|"
    r"respuesta|pregunta|fila|risposta|domanda|riga|antwoord|vraag|rij|resposta|pergunta|linha)"
)
_NUMBERED = re.compile(
    r"(?:please\s+)?(?:see|refer\s+to|same\s+as|as\s+in|as\s+for|cf|siehe|vgl|wie(?:\s+in|\s+bei)?|voir|ver|"
    rf"véase|vedi|zie)[\s.:]+(?:the\s+|die\s+)?{_ROW}(?:[\s.]+(?:to|of|for|in|auf|zu|von|à|de)\s+{_ROW})?"
    r"[\s.:#]*(?:no|nr)?[\s.:#]*\d+(?:\s+(?:above|below|oben|unten))?",
    re.I,
)
_AROUND = " \t\r\n.,;:!*()[]{}<>…。、（）「」"


def placeholder_reason(text: str) -> str:
    """Return why a text is no text of its own: it refers to another, or is not written yet."""
    if len(text) > _LONGEST:
        return ""
    bare = " ".join(unicodedata.normalize("NFKC", text).split())
    if not bare:
        return ""
    if _MARKS.fullmatch(bare):
        return "refers to another row"
    bare = bare.strip(_AROUND)
    word = bare.casefold()
    if word in _ABOVE or _NUMBERED.fullmatch(bare):
        return "refers to another row"
    # "Todo" is Spanish for everything.
    unwritten = word in _UNWRITTEN or bare == "TODO" or _UNKNOWN.fullmatch(bare) is not None
    return "stands for a text that is yet to be written" if unwritten else ""


def explain_placeholder(found: ParsedRow, fields: dict[str, Meaning]) -> str:
    """Return why a row cannot be read: its prompt or an answer stands for another text; empty if none does.

    In a conversation, `see above` may be an answer. So is any such text if `fields` calls a key `text`.
    """
    row = found.row
    if not isinstance(row, Pair | Comparison | Rating) or row.history or "text" in fields.values():
        return ""
    names = ("prompt", "a", "b") if isinstance(row, Comparison) else ("prompt", "completion")
    for name in names:
        text = getattr(row, name)
        if reason := placeholder_reason(text):
            return (
                f"the {name} is {text!r}, which {reason}; write the text itself, or remove the row. To learn "
                f"such texts, set the column's name to text in the source's fields, as in {{{name}: text}}"
            )
    return ""
