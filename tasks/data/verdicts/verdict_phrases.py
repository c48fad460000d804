"""Recognize verdicts in phrases: work that is still to do, complaints about an answer, questions to users."""

from __future__ import annotations

import re
from collections.abc import Collection
from functools import lru_cache
from typing import Any

from tasks.data.values.field_meanings import (
    COMPLAINTS,
    as_flag,
    flatten_name,
    plain_word,
    says_nothing_wrong,
    word_set,
)
from tasks.data.values.score_values import SHORT, as_score
from tasks.data.verdicts.survey_columns import look_like_survey
from tasks.data.verdicts.verdict_openings import without_reason
from tasks.data.verdicts.verdict_pairs import NO, YES
from tasks.data.verdicts.verdict_values import LONG, MOST_VALUES

MOST_FAULTS = 10  # a larger number under `issues` counts something else

# What is done to a text before it is right, as in `to be checked`, in the spelling of `plain_word`.
_WORK = (
    r"(?:check|review|edit|fix|verif|correct|approv|approb|validat|rewrit|revis|confirm|clean(?:ed|ing)|"
    r"improv|complet|finish|proofread|redo|rework|delet|remov|clarif|discuss)"
)
_OPEN = (
    r"(?:still_|yet_)?(?:to_be_|needs?_(?:to_be_|an?_|more_|further_|human_|manual_|another_)?|must_be_|"
    r"should_be_|has_to_be_|awaiting_|waiting_for_|pending_|requires?_|not_(?:yet_)?|never_|yet_to_be_|to_|"
    r"under_|for_)"
)
_TO_DO = re.compile(
    rf"{_OPEN}(?:re_?)?{_WORK}\w*|un(?:check|review|verif|approv|validat|confirm|finish)\w*|"
    r"(?:noch_)?zu_(?:prufen|uberprufen|korrigieren|uberarbeiten|checken|klaren|verbessern|loschen)|"
    r"muss_(?:noch_)?\w+_werden|(?:ungepruft|unkorrigiert|nicht_gepruft|noch_nicht_\w+)|"
    r"in_(?:prufung|bearbeitung|klarung)|"
    r"a_(?:verifier|corriger|revoir|relire|valider|controler|completer|supprimer|confirmer)|"
    r"non_(?:verifie|relu|valide|corrige)e?|en_attente_de_\w+|"
    r"(?:por|a|sin|para|sem)_(?:revisar|rever|corregir|corrigir|verificar|validar|comprobar|conferir|eliminar)|"
    r"pendiente_de_\w+|n(?:o|ao|on)_(?:revisad|verificad|verificat|aprovad|aprobad|controllat|corrett)[oa]|"
    r"da_(?:verificare|controllare|correggere|rivedere|validare|approvare|eliminare)|"
    r"(?:nog_)?te_(?:controleren|corrigeren|checken|beoordelen|verbeteren|verwijderen)|"
    r"(?:niet_|on)gecontroleerd"
)
# A decision with its person, version or reason, as in `approved by QA` and `returned to author`.
_DECIDED = re.compile(
    r"(?:approved|rejected|accepted|declined|disapproved|returned|sent_back|handed_back|signed_off|"
    r"abgelehnt|freigegeben|genehmigt|zuruckgegeben|rejetee?|refusee?|approuvee?|renvoyee?|rechazad[oa]|"
    r"aprobad[oa]|devuelt[oa]|rifiutat[oa]|approvat[oa]|rejeitad[oa]|aprovad[oa]|afgewezen|goedgekeurd)"
    r"_(?:by|from|in|on|at|to|with|pending|due|because|after|until|v?\d+|von|am|durch|wegen|par|pour|por|para|da|"
    r"per|door)(?:_|$)"
)
# Names of what a row is or is about. A phrase under them says nothing about its answer.
_ABOUT = frozenset((
    "category", "class", "description", "domain", "genre", "heading", "intent", "keyword", "keywords",
    "kind", "subject", "summary", "tag", "tags", "task", "theme", "title", "topic", "topics", "type",
))  # fmt: skip
_FLAW = re.compile(
    r"(?:fact|factual|grammar|grammatical|spelling|logic|logical|reasoning|formatting|math|calculation|"
    r"content|language|translation|citation|tone|style|safety|quality|policy)_"
    r"(?:errors?|mistakes?|issues?|problems?|violations?|concerns?)"
)
# Words for what is wrong with an answer. They count under a name such as `issue`.
_FAULTY = re.compile(
    r"(?:^|_)(?:errors?|mistakes?|wrong|incorrect|inaccura\w+|false|factual\w*|grammar|typos?|spelling|"
    r"hallucinat\w+|incomplete|missing|irrelevant|off_topic|unsafe|harmful|toxic|biased?|offensive|rude|"
    r"unclear|confusing|outdated|too_(?:long|short|vague)|repetiti\w+|plagiar\w+|contradict\w+|misleading|"
    r"nonsens\w*|truncated|unsupported|made_up|fabricat\w+|poor\w*|bad\w*|\w*fehler\w*|falsch\w*|erreurs?|"
    r"faux|fausse|errores|errori|erros?|fouten?|onjuist)(?=_|$)"
)
# Words of a question to the user of an answer, as in `would you recommend us`.
_OPINIONS = word_set(
    """
    agree aiutato aidé ayudó ajudou enjoy enjoyed geholpen geholfen happy help helped likely recommend
    satisfied solve solved trust worth empfehlen weiterempfehlen zufrieden hilfreich gelöst recommander
    recommanderiez recommandez satisfait satisfaite recomendar recomendaría recomendaria satisfecho
    satisfeito raccomandare consiglieresti soddisfatto aanbevelen aanraden tevreden
    """
)
NAME_WORDS = _OPINIONS  # without one of them, no name asks for an opinion
# A question has at least so many words.
_QUESTION = 3


def says_to_do(value: str) -> bool:
    """Return whether a value, in the spelling of `plain_word`, says that its row is still to be checked."""
    return _TO_DO.fullmatch(value) is not None


def look_like_phrases(name: str, values: Collection[str], has_answers: bool) -> bool:
    """Return whether the values of a key say that a row is unfinished, or what is thought of its answer."""
    return (
        _look_unfinished(name, values)
        or _look_like_complaints(name, values, has_answers)
        or look_like_survey(name, values)
    )


def _look_unfinished(name: str, values: Collection[str]) -> bool:
    """Return whether a few short values include one such as `to be checked` or `factual error`."""
    if not values or len(values) > MOST_VALUES or LONG in values or _words(name) & _ABOUT:
        return False
    return any(says_to_do(value) or _FLAW.fullmatch(value) or _DECIDED.match(value) for value in values)


def _look_like_complaints(name: str, values: Collection[str], has_answers: bool) -> bool:
    """Return whether the values under a name such as `issues` say what is wrong with answers.

    Args:
        name: The key. Under a plural, any text or small number counts if rows have answers.
        values: Its different values, as `short_values` spells them.
        has_answers: Whether the source has pairs or ratings.
    """
    words = _words(name)
    if not words & COMPLAINTS or not values:
        return False
    said = [value for value in values if value and not says_nothing_wrong(value)]
    if any(_FAULTY.search(value) for value in said):
        return True
    plural = any(word.endswith("s") or not word.isascii() for word in words & COMPLAINTS)
    if not has_answers or not plural:
        return False
    numbers = [as_score(value) for value in said]
    counts = all(number is not None for number in numbers)
    return bool(said) and (not counts or all(0 <= (number or 0) <= MOST_FAULTS for number in numbers))


def asks_opinion(name: str, value: Any) -> bool:
    """Return whether a key is a question to a user about an answer, and its value a number or yes or no."""
    # The value comes first: few are answers, and the words of a new name take longer.
    value = without_reason(value)
    number = as_score(value)
    said = plain_word(value) if isinstance(value, str) and len(value) < SHORT else ""
    answers = said in YES or said in NO or (number is not None and 0 <= number <= 100)
    if not answers and as_flag(value) is None:
        return False
    words = _words(name)
    return bool(words & _OPINIONS) and (len(words) >= _QUESTION or "?" in name)


@lru_cache(maxsize=4096)
def _words(name: str) -> frozenset[str]:
    last = name.rpartition(".")[2]
    return frozenset(flatten_name(last).split("_")) | frozenset(plain_word(flatten_name(last)).split("_"))
