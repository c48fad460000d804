"""Read a choice between two answers: which of them is better, or that neither is."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection, Iterable, Mapping

from tasks.data.values.column_names import plain_name
from tasks.data.values.field_meanings import SIDES, flatten_name, word_set
from tasks.data.values.score_values import as_score
from tasks.data.values.turning_signs import has_turning_sign

_SIDES = (
    "response|answer|model|output|option|candidate|completion|assistant|reply|text|side|choice|"
    "antwort|modell|réponse|reponse|modèle|respuesta|modelo|opción|opcion|resposta|opção|risposta|modello|"
    "opzione|antwoord|optie"
)
_DEGREES = (
    "much|slightly|somewhat|clearly|significantly|far|a_bit|a_little|a_lot|viel|etwas|deutlich|"
    "beaucoup|légèrement|mucho|muito|molto|veel"
)
_BETTER = "better|besser|meilleure?|mejor|melhor|migliore|beter"
# A number alone may count from 0 or from 1, so it is no side. After a word it counts from 1.
_SIDE = re.compile(
    rf"(?:(?:{_SIDES})_?(?=[ab12]))?((?<![a-z])[ab]|(?<=[a-z_])[ab12])"
    rf"(?:_(?:wins|(?:(?:is|ist|est|es|é|è)_)?(?:(?:{_DEGREES})_)?(?:{_BETTER})))?"
)
# Words beside the part of a column's name that names a side, as in "response 0 is much better".
_BESIDE = frozenset(
    f"{_SIDES}|{_DEGREES}|{_BETTER}|the|die|is|ist|est|wins|best|preferred|column".replace("|", "_").split(
        "_"
    )
)
_ORDER = re.compile(r"\[{0,2}([AB])\s*([<>=])\2{0,2}\s*([AB])\]{0,2}", re.I)
_EQUAL_SIGNS = frozenset(["=", "==", "===", "≈", "≃", "≅", "≡", "＝"])
_FEW_WORDS = 3
_LONGEST = 60  # characters; a longer text is a remark
# A statement with such a word, and without a side, is about both answers.
_EQUAL = word_set(
    """
    tie ties tied draw equal equally same both neither bothgood bothbad unentschieden gleichstand gleich beide
    égalité egalité égal égales empate empatadas iguales iguais ambas ambos ninguna nenhuma pareggio pari
    uguali entrambe nessuna gelijk gelijkspel
    """
)
# Values that are nothing but a tie between two answers, in the spelling of `plain_word`.
TIES = word_set(
    """
    tie ties tied draw both_bad both_good no_preference no_difference equally_good equally_bad about_the_same
    unentschieden gleichstand egalite ex_aequo empate empatados pareggio gelijkspel gelijk
    """
)
_NONE = word_set("preference difference winner")
# Alone these mean neither. Beside other words, as in `keine Angabe`, they mean anything.
_NEITHER = word_set("aucun aucune geen keine keiner keines nenhum nessuno ninguno")
_NO_TIE = re.compile(r"\b(?:no|not|never)\s+(?:an?\s+)?(?:tie|tied|draw|equal|equally|same)\b", re.IGNORECASE)
_NAMED_SIDE = word_set("a b 1 2 0 left right first second links rechts")
_SKIPPED = word_set(
    """
    abstain abstained idk ignore ignored incomparable pass pending skip skipped uncertain unclear undecided
    unknown unsure
    """
)
_UNABLE = word_set("can cannot cant could couldn don dont hard not unable")
_TO_DECIDE = word_set("certain choose comparable compare decide decided determine judge know say sure tell")
# Phrases for no decision in other languages, in the spelling of `_plain_phrase`.
_UNDECIDED_PHRASES = word_set(
    """
    weiss_nicht ich_weiss_nicht ich_weiss_es_nicht weiss_ich_nicht keine_ahnung keine_angabe keine_meinung
    unsicher nicht_sicher ich_bin_nicht_sicher bin_nicht_sicher bin_unsicher unklar enthaltung
    keine_entscheidung nicht_entscheidbar nicht_vergleichbar kann_ich_nicht_sagen nicht_beurteilbar
    kann_ich_nicht_beurteilen
    schwer_zu_sagen ubersprungen uebersprungen uberspringen ueberspringen
    je_ne_sais_pas ne_sais_pas je_sais_pas sais_pas ne_sait_pas pas_sur pas_sure incertain incertaine indecis
    indecise aucune_idee sans_avis sans_opinion difficile_a_dire impossible_a_dire passe
    aucune_opinion aucun_avis
    no_se no_lo_se no_sabe no_estoy_seguro no_estoy_segura inseguro insegura indeciso indecisa ni_idea
    ninguna_idea ninguna_opinion sin_decidir sin_opinion dificil_de_decir omitir omitido
    nao_sei nao_sabe nao_tenho_certeza incerto incerta sem_opiniao dificil_dizer dificil_de_dizer pular
    nenhuma_ideia nenhuma_opiniao
    non_so non_lo_so non_saprei non_sono_sicuro non_sono_sicura nessuna_idea nessuna_opinione difficile_dire
    weet_niet ik_weet_niet weet_ik_niet ik_weet_het_niet geen_idee geen_mening onzeker niet_zeker overslaan
    не_знаю не_уверен не_уверена 不知道 不确定 不清楚 わからない 分からない 모르겠음 모르겠다
    """
)


def _plain_phrase(text: str) -> str:
    """Return a phrase in lower case without accents and ligatures, with one underscore between words.

    `ß` is `ss`.
    """
    marked = unicodedata.normalize("NFKD", text)
    bare = "".join(c for c in marked if not "\u0300" <= c <= "\u036f")
    plain = unicodedata.normalize("NFC", bare).casefold()
    return "_".join(re.findall(r"\w+", plain.replace("æ", "ae").replace("œ", "oe")))


def plain_choice(value: object, columns: Mapping[str, str]) -> str:
    """Return a choice as a, b or tie if it names a side in a usual way; else the value as text.

    These ways are usual:

    - the letter, or a statement about it: `A is much better`, `A>B`;
    - the letter or number after a word: `response_a`, `Model B`, `answer 1`;
    - the name of the column with the answer;
    - the part in which the two columns' names differ: 1 for `response_1` beside `response_0`;
    - a word for a tie.
    """
    said = str(value).strip()
    if is_tie(said):
        return "tie"
    # Judges also write A>B, A>>B or [[A=B]].
    order = _ORDER.fullmatch(said)
    if order and order[1].lower() != order[3].lower():
        return "tie" if order[2] == "=" else order[1 if order[2] == ">" else 3].lower()
    if len(said) <= _LONGEST and has_turning_sign(said) and said not in columns.values():
        return said
    word = plain_name(said)
    for side in ("a", "b"):
        if side in columns and word == plain_name(columns[side]):
            return side
    parts = different_parts(columns.get("a", "a"), columns.get("b", "b"))
    if parts and len(said) <= _LONGEST:
        number = as_score(value)
        whole = number is not None and number.is_integer()
        words = [f"{number:.0f}"] if whole else flatten_name(said).split("_")
        named = [word for word in words if word in parts or word not in _BESIDE]
        if len(named) == 1 and named[0] in parts:
            return "ab"[parts.index(named[0])]
    found = _SIDE.fullmatch(word)
    return {"1": "a", "2": "b"}.get(found[1], found[1]) if found else said


def different_parts(a: str, b: str) -> tuple[str, str] | None:
    """Return the only word in which the names of two columns differ, such as 0 and 1; None for several."""
    one, other = flatten_name(a).split("_"), flatten_name(b).split("_")
    if len(one) != len(other):
        return None
    differ = [pair for pair in zip(one, other, strict=True) if pair[0] != pair[1]]
    return differ[0] if len(differ) == 1 else None


def paired_columns(names: Iterable[str], a: str, b: str) -> list[tuple[str, str]]:
    """Return the columns about answer a, each with that about b, as `id_a` and `id_b`; the answers first."""
    parts = different_parts(a, b)
    if parts is None:
        return [(a, b)]
    flat = {flatten_name(name): name for name in names}
    found = []
    for name, own in flat.items():
        other = "_".join(parts[1] if word == parts[0] else word for word in name.split("_"))
        if other != name and other in flat and own != a:
            found.append((own, flat[other]))
    return [(a, b), *found]


def is_tie(text: str) -> bool:
    """Return whether a text says that neither of two answers is better, as `Both bad` or `no preference`."""
    if text.strip() in _EQUAL_SIGNS:
        return True
    words = set(flatten_name(text).split("_"))
    if len(text) > _LONGEST or words & _NAMED_SIDE or has_turning_sign(text) or _NO_TIE.search(text):
        return False
    phrase = _plain_phrase(text)
    # `ninguna idea` has a word for neither and is no decision.
    if phrase in _UNDECIDED_PHRASES:
        return False
    if phrase in TIES or phrase in _NEITHER:
        return True
    return bool(words & _EQUAL) or {"none", "of"} <= words or ("no" in words and bool(words & _NONE))


def is_undecided(text: str) -> bool:
    """Return whether a text says that somebody made no choice, as `skip`, `can't tell` or `weiß nicht`."""
    words = set(flatten_name(text).split("_"))
    if len(text) > _LONGEST or words & (_NAMED_SIDE - {"a"}):
        return False
    if _plain_phrase(text) in _UNDECIDED_PHRASES:
        return True
    unable = bool(words & _UNABLE and words & _TO_DECIDE)
    return unable or bool(words & _SKIPPED) or re.fullmatch(r"[?\-\u2013\u2014/.]+", text.strip()) is not None


def is_tie_or_order(text: str) -> bool:
    """Return whether a text is a tie in a few words, or a tie or an order in signs, as `=` and `A>B`."""
    bare = text.strip()
    if _ORDER.fullmatch(bare):
        return plain_choice(bare, {}) in SIDES
    return len(bare.split()) <= _FEW_WORDS and is_tie(bare)


def is_choice(value: object) -> bool:
    """Return whether a value names one of two sides or a tie in a usual way."""
    return plain_choice(value, {}) in SIDES


# The differences that a margin may be. One that is none of them contradicts the choices.
MARGINS = frozenset(("winner - loser", "a - b", "b - a"))
# Of a margin with both signs, 0 is a tie.
_SIGNED_TIES = frozenset(("plus", "minus", "zero"))


def margin_conflicts(margin: float, choice: str) -> frozenset[str]:
    """Return which of MARGINS a margin beside a choice is not, and its sign.

    A minus may mean that b is better.
    """
    positive = {"winner - loser": True, "a - b": choice == "a", "b - a": choice == "b"}
    wrong = (what for what in MARGINS if margin and (margin > 0) is not positive[what])
    return frozenset((*wrong, "plus" if margin > 0 else "minus" if margin else "zero"))


def contradicts_choices(conflicts: Collection[str]) -> bool:
    """Return whether what `margin_conflicts` found in all rows contradicts their choices."""
    return set(conflicts) >= MARGINS or set(conflicts) >= _SIGNED_TIES
