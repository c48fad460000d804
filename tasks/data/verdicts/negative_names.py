"""Recognize names under which yes or a number speaks against the answer, as `Auto-Fail` and `Points lost`."""

from __future__ import annotations

import re
from collections.abc import Collection
from functools import lru_cache

from tasks.data.values.field_meanings import FALSE, REFUSALS, TRUE, flatten_name, plain_word, plain_words
from tasks.data.values.score_values import as_score
from tasks.data.verdicts.judgement_words import blames
from tasks.data.verdicts.mark_columns import REFUSED
from tasks.data.verdicts.name_words import AGAINST, DENIES, KEEPS, LEFT_OUT

# Points that an answer loses.
_DEDUCTIONS = plain_words(
    """
    deducted deduction deductions demerit demerits malus penalised penalties penalty
    abzug abzüge fehlerpunkte minuspunkte punktabzug punktabzüge strafpunkte pénalité pénalités déduction
    déductions penalización penalizaciones deducción deducciones penalità penalizzazione penalizzazioni
    penalidade penalidades penalização aftrek strafpunten avdrag minuspoäng
    """
)
_POINTS = plain_words(
    "mark marks point points pts score scores punkt punkte puntos punti pontos punten poäng"
)
_LOST = plain_words(
    """
    docked lost minus missed off subtracted taken withheld abgezogen verloren perdus perdu retirés retiré
    négatifs perdidos negativos restados persi negativi verloren
    """
)
# Counts of what an answer does wrong.
_FAULTS = plain_words(
    """
    error errors fault faults mistake mistakes fautes faute erreurs errores errori erros fehler fehleranzahl
    fehlerzahl fouten fel feil fejl
    """
)
_COUNTED = plain_words("anzahl count nombre number numero número total zahl aantal antal total totale")
_OMITTED = plain_words(
    "failed forgotten missed omitted skipped oubliées manquées omitidos fehlende vergessene"
)
_STEPS = plain_words(
    """
    check checkpoints checks criteria item items point points requirement requirements step steps étapes pasos
    schritte
    """
)
# Penalties of sampling, of training and of taxes.
_OTHER_PENALTIES = plain_words(
    "frequency generation income length payroll presence repeat repetition salary sampling tax wage"
)
# `non-critical` says how bad a fault is, and does not deny it.
_DEGREE = re.compile(
    r"(?:non|not|no|nicht)_(?=(?:critical|compliance|fatal|major|severe|serious|blocking|kritische\w*|critiques?|"
    r"criticos?|criticas?)(?:_|$))"
)
_HARMS = plain_words("extremism harassment harassing illicit threatening threats")
_MODERATION = frozenset(("moderation", "moderations"))
_ALLOWED = KEEPS | {"accepted", "approved", "id", "model", "ok", "passed"}


@lru_cache(maxsize=4096)
def _last_words(path: str) -> frozenset[str]:
    name = _DEGREE.sub("", plain_word(flatten_name(path.rpartition(".")[2])))
    return frozenset(name.split("_"))


@lru_cache(maxsize=4096)
def names_deduction(path: str) -> bool:
    """Return whether a key counts points off or faults, as `Points deducted` and `Nombre de fautes`."""
    words = _last_words(path)
    if words & (DENIES | _OTHER_PENALTIES):
        return False
    counts = words & _FAULTS and (words & _COUNTED or _is_degree(path) or words <= {"fautes", "fehleranzahl"})
    lost = words & _POINTS and words & _LOST
    return bool(words & _DEDUCTIONS or lost or counts or (words & _OMITTED and words & _STEPS))


def _is_degree(path: str) -> bool:
    return _DEGREE.search(plain_word(flatten_name(path.rpartition(".")[2]))) is not None


def looks_deducted(path: str, values: Collection[str]) -> bool:
    """Return whether a key has points off: numbers, of which one is not zero, under such a name."""
    scores = [as_score(value.replace("_", " ")) for value in values if value]
    return None not in scores and any(scores) and names_deduction(path)


def deduction_meaning(path: str, values: Collection[str], has_pairs: bool) -> str:
    """Return the meaning of such a key; empty for any other, and `...` where signs differ.

    Points off that are written as -5 are better the higher they are.
    """
    if not looks_deducted(path, values):
        return ""
    scores = {as_score(value.replace("_", " ")) or 0.0 for value in values if value}
    if not has_pairs:
        return "ignore"
    if min(scores) >= 0:
        return "penalty"
    return "verdict" if max(scores) <= 0 else "..."


def harm_meaning(path: str, values: Collection[str]) -> str:
    """Return the meaning of a program's judgement that a text is harmful, as `moderation.harassment`.

    Flags leave out their rows. A probability is not read. Empty for any other key.
    """
    words = _last_words(path)
    above = set(plain_word(flatten_name(path.rpartition(".")[0])).split("_"))
    if words & (_ALLOWED | DENIES) or not (above & _MODERATION or words & _HARMS):
        return ""
    if values and set(values) <= TRUE | FALSE:
        return "deleted"
    scores = bool(values) and all(as_score(value.replace("_", " ")) is not None for value in values)
    return "ignore" if scores and above & _MODERATION else ""


@lru_cache(maxsize=4096)
def speaks_against(path: str) -> bool:
    """Return whether yes under a name is against its row, so that yes must never be read as accept."""
    name, words = plain_word(flatten_name(path.rpartition(".")[2])), _last_words(path)
    if words & DENIES:
        return False
    return bool(words & (AGAINST | LEFT_OUT | REFUSED | REFUSALS | _DEDUCTIONS)) or blames(name)
