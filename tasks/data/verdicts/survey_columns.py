"""Recognize answers to surveys: numbers or words on a scale under a question, a symbol or a verb of rating.

One value says little, so all different values of a column are examined together with its name.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection
from functools import lru_cache

from tasks.data.file_io.tables import is_unnamed
from tasks.data.values.field_meanings import NEGATIVE, POSITIVE, flatten_name, plain_word, plain_words
from tasks.data.values.score_values import as_score
from tasks.data.verdicts.verdict_pairs import NO, YES
from tasks.data.verdicts.verdict_values import DEGREES, LONG, MOST_VALUES, QUANTITIES

# Verbs and nouns of rating. English ones count only if a name says nothing else, unlike `interest rate`.
_VERBS = plain_words(
    """
    likert bewerte bewerten bewertest bewertet beurteile beurteilen beurteilst benote benoten einschätzen
    évaluez évaluer évaluerais évalueriez notez jugez appréciez valora valorar valoras valore valoraría evalúa
    evalúe evaluar califica califique calificar calificaría puntúa puntúe puntuar valuti valutare valuteresti
    giudichi avalia avalie avaliar avaliaria classifique pontue beoordeel beoordelen beoordeelt beoordeelde
    betygsätt bedöm vurder oceń oceniasz ocenić değerlendirin değerlendir puanlayın arvioi értékelje hodnotíte
    ohodnoťte оцените оцени оценить оцениваете оцінити оцініть
    """
)
_ENGLISH = frozenset(("assess", "evaluate", "grade", "rate", "ratings", "score"))
_FILLERS = plain_words(
    """
    a ai an and answer answers assistant bot by chat chatbot completion could did do experience for from give
    helpfulness how human in interaction is it kindly like message model of on one our out output overall
    please quality question reply replies response responses scale service should text that the these this to
    user users what where with would you your
    """
)
# Scripts without spaces between words: such a term anywhere in the name is enough.
_TERMS = (
    "評価",
    "評分",
    "评价",
    "评分",
    "打分",
    "満足",
    "满意",
    "役に立",
    "有帮助",
    "평가",
    "만족",
    "도움이",
)
_QUESTION_WORDS = plain_words(
    """
    are could did do does had has have how is should was were what which will would
    haben hat ist konnte sind war waren wie würden wurde comment était est quel quelle como cómo qué come hoe
    was hur hvordan jak как nasıl
    """
)
# How many and how old: the answer is a quantity.
_QUANTITIES = plain_words(
    """
    age cost costs far fast long many much number often old tall times viel viele oft alt lange weit combien
    âge cuánto cuánta cuántos cuántas quanto quanta quanti quante quantos quantas hoeveel oud ile сколько
    """
)
# Questions about something else than an answer.
_OTHERS = plain_words(
    """
    adult animal animals app attachment child children code contain contains customer email female image
    images kind kinder link male married math member model multiple newsletter parent photo premium retired
    question smoker student tables urgent vegan vegetarian video
    """
)
_ASKED = re.compile(r"[?？;\u061f]\s*(?:[)\]*].*)?$|^\s*¿|(?:か|吗|嗎|呢|까|나요)\s*[?？。]?\s*$")
# No opinion: a number, a paragraph, a degree.
_NO_SYMBOLS = frozenset("№©®™°§¶℃℉")
_SIGN = re.compile(r"^[\W_]+$")
# Faces, hands, hearts, lights and stars, with which people judge.
_PICTURES = re.compile(
    "[\U0001f600-\U0001f64f\U0001f44a-\U0001f450\U0001f910-\U0001f92f\U0001f970-\U0001f97a"
    "\U0001f590-\U0001f596\u261d\u270a-\u270d\u263a\u2639\u2764\U0001f494-\U0001f49f\U0001f5a4"
    "\U0001f90d-\U0001f90f\U0001f534\U0001f535\U0001f7e0-\U0001f7eb\u26aa\u26ab\U0001f525"
    "\U0001f4a9\U0001f389★☆⭐✩]+"
)
_LIGHTS = plain_words(
    "red amber yellow orange green rot gelb grün rouge jaune vert rojo amarillo verde rosso giallo rood groen"
)
_ENDS = (plain_words("red rot rouge rojo rosso rood"), plain_words("green grün vert verde groen"))
_LETTERS = frozenset("ragoy")
_LIGHT_NAMES = plain_words(
    "ampel check feu health light lights qa rag review semáforo semaforo status stoplicht traffic"
)
# The same in ASCII, as `short_values` spells them.
_FACES = re.compile(r"[:;=8]['^o_-]?[()\[\]dpc|/\\]")
_SHORTEST = 3  # letters of a word that may be a code
_NO_DEGREE = plain_words(
    "a all at bit du hardly little kaum wenig sehr nichts peu guère casi apenas poco nauwelijks"
)
_OPPOSITE = plain_words(
    "up down like dislike pos neg positive negative pass fail + - right wrong love hate for against pro con"
)


def look_like_survey(path: str, values: Collection[str]) -> bool:
    """Return whether the few values of a key answer what its name asks about an answer.

    Args:
        path: The key. A question, a symbol alone, and a verb of rating ask.
        values: All its different values, as `short_values` spells them.
    """
    known = {value for value in values if value}
    if not known or LONG in known or len(known) > MOST_VALUES:
        return False
    name = path.rpartition(".")[2] if not re.search(r"\s", path) else path
    if all(_PICTURES.fullmatch(value) or _FACES.fullmatch(value) for value in known) or _are_lights(
        name, known
    ):
        return True
    # Words for a degree alone, as `very` and `not at all`, answer how much.
    degrees = [frozenset(value.split("_")) for value in known]
    long = any(len(value) > _SHORTEST for value in known)
    if len(known) > 1 and long and all(words <= DEGREES | _NO_DEGREE for words in degrees):
        return True
    asks = _asks(name)
    scale = _on_scale(known, 100 if asks == "rates" else 10)
    return bool(asks) and (scale or known <= _OPPOSITE | POSITIVE | NEGATIVE | YES | NO)


# Names of a column or a question in general, which with a number say nothing more.
_NUMBERED = plain_words(
    """
    answer col column entry feld field frage item question resp response spalte statement unnamed var variable
    pregunta pergunta domanda vraag вопрос 問 题 질문
    """
)


def is_coded_question(path: str, values: Collection[str], count: int, judged: int) -> bool:
    """Return whether a column has a code for a name and few different values, as `Q01[SQ001]` and A1 to A5.

    Survey programs export so, and nothing in the file says what was asked.

    Args:
        path: The key. A name without a letter says nothing either.
        values: Its different values, as `short_values` spells them.
        count: The number of rows with a value.
        judged: The number of rows with an answer that people may have judged.
    """
    known = {value for value in values if value}
    if not known or LONG in known or len(known) > MOST_VALUES or count < 2 * len(known):
        return False
    # Surveys have whole or half numbers. `od600: 0.41` is a measure.
    scores = [as_score(value.replace("_", " ")) for value in known]
    if any(score is not None and not (2 * score).is_integer() for score in scores):
        return False
    # One value throughout decides nothing.
    return (len(known) > 1 or count < judged) and judged > 0 and is_code(path)


@lru_cache(maxsize=4096)
def is_code(name: str) -> bool:
    """Return whether a name says nothing: it is missing, or a number with a letter or two, or `column 5`."""
    words = re.findall(r"[^\W\d_]+", plain_word(name))
    if is_unnamed(name) or not name.strip():
        return True
    short = all(len(word) < 3 or word in _NUMBERED for word in words)
    return short and any(c.isdigit() for c in name) and not set(words) & (QUANTITIES - _NUMBERED)


@lru_cache(maxsize=4096)
def _asks(name: str) -> str:
    """Return `rates` for a name with a verb of rating, `asks` for a question or a symbol, else empty."""
    if _is_symbol(name):
        return "asks"
    flat = plain_word(flatten_name(name))
    words = frozenset(re.findall(r"[^\W\d_]+", flat))
    if words & _QUANTITIES:
        return ""
    rest = words - _FILLERS
    if words & _VERBS or (rest and rest <= _ENGLISH) or any(term in name for term in _TERMS):
        return "rates"
    listed = re.findall(r"[^\W_]+", flat)
    asked = _ASKED.search(name) is not None
    # A question is written with spaces. `has_more_than_one` is a flag.
    begins = " " in name.strip() and len(listed) > 3 and listed[0] in _QUESTION_WORDS
    # One or two words with a question mark are flags, as `Urgent?`.
    several = len(listed) > 2 or not name.isascii()
    return "asks" if ((asked and several) or begins) and not words & _OTHERS else ""


def _is_symbol(name: str) -> bool:
    """Return whether a name consists of pictures such as stars, without a letter or a digit."""
    bare = name.strip()
    if not bare or not _SIGN.fullmatch(bare):
        return False
    return any(unicodedata.category(sign) == "So" and sign not in _NO_SYMBOLS for sign in bare)


def _on_scale(values: Collection[str], highest: float) -> bool:
    """Return whether all values are numbers of a scale: from -5 to 5, or from 0, in halves."""
    scores = [as_score(value.replace("_", " ")) for value in values]
    return all(
        score is not None and (2 * score).is_integer() and (-5 <= score <= 5 or 0 <= score <= highest)
        for score in scores
    )


def _are_lights(name: str, values: Collection[str]) -> bool:
    """Return whether values are the colours of a traffic light under a name such as `status`."""
    letters = {"r", "g"} <= set(values) <= _LETTERS
    if not letters and (not set(values) <= _LIGHTS or not all(set(values) & end for end in _ENDS)):
        return False
    return bool(frozenset(plain_word(flatten_name(name)).split("_")) & _LIGHT_NAMES)
