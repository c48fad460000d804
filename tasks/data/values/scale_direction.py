"""Read from a column's name which end of its scale is the good one, as in `Bewertung (1 = sehr gut)`."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from functools import lru_cache

from tasks.data.values.field_meanings import plain_word, plain_words
from tasks.data.values.score_values import as_score

LOWER, HIGHER = "lower is better", "higher is better"

_GOOD = plain_words(
    """
    amazing best better excellent flawless good great highest_quality ideal outstanding perfect superb top
    very_good beste bester bestes besten besser gut hervorragend ausgezeichnet sehr_gut perfekt
    bon bonne meilleur meilleure excellente parfait très_bien bien
    bueno buena mejor excelente perfecto muy_bueno bom boa melhor ótimo ótima
    buono buona migliore ottimo ottima eccellente goed beter uitstekend bäst bra bedst bedste god
    najlepszy dobry bardzo_dobry лучший лучше отлично хорошо 最好 最高 優秀 优秀 很好 好 良い 最良 최고 좋음
    """
)
_BAD = plain_words(
    """
    abysmal awful bad dreadful horrible inadequate lowest_quality poor terrible unacceptable useless very_bad
    very_poor worse worst
    schlecht schlechteste schlechtester schlechtestes schlechter mangelhaft ungenügend sehr_schlecht
    mauvais mauvaise pire nul très_mauvais médiocre malo mala peor pésimo pésima muy_malo mau má pior ruim
    cattivo cattiva peggiore pessimo pessima scarso slecht slechter slechtste dålig sämst dårlig værst
    najgorszy zły плохо плохой хуже худший 最差 最低 很差 差 悪い 최악 나쁨
    """
)
# Without one of them, no name says which end of its scale is good.
NAME_WORDS = _GOOD | _BAD | frozenset(("besser", "better", "good", "gut", "schlecht", "schlechter", "worse"))
_LOW = r"(?:lower|smaller|less|fewer|low|lowest|niedriger|kleiner|weniger|niedrig)"
_HIGH = r"(?:higher|larger|bigger|greater|more|high|highest|höher|hoher|größer|mehr|hoch)"
_IS = r"[\s_]*(?:is|are|=|ist|:|means|number|values?|scores?|the)*[\s_]*(?:the[\s_]+)?"
_GOOD_WORD = r"(?:better|best|good|besser|gut)"
_BAD_WORD = r"(?:worse|worst|bad|schlechter|schlecht)"
_SENTENCES = (
    (re.compile(rf"\b{_LOW}{_IS}{_GOOD_WORD}\b|\b{_HIGH}{_IS}{_BAD_WORD}\b", re.I), LOWER),
    (re.compile(rf"\b{_HIGH}{_IS}{_GOOD_WORD}\b|\b{_LOW}{_IS}{_BAD_WORD}\b", re.I), HIGHER),
)
# A number before its meaning (`1 = best`, `1 is best`), or after it with a sign between (`best: 1`).
_BEFORE = re.compile(r"(?<![\w.,-])(-?\d+(?:[.,]\d+)?)(?![.,]?[A-Za-z\d])([^\d()\[\]]*)")
_AFTER = re.compile(r"([^\W\d_]+(?:\s[^\W\d_]+)?)\s*[=:]\s*(-?\d+(?:[.,]\d+)?)(?![.,]?\w)")
_WORD = re.compile(r"[^\W\d_]+")
_PARTS = re.compile(r"[\[\]{},;/|]|\bto\b|\bbis\b|[–—→…]|\s-\s")
# Languages without spaces between words.
_TERMS = tuple(word for word in (*_GOOD, *_BAD) if not re.match(r"[a-zà-ÿа-я]", word))


def scale_direction(name: str, values: Collection[str] = ()) -> str:
    """Return whether lower or higher values are better by a column's name; empty if it does not say.

    Args:
        name: The name, such as `rating (1 = best, 5 = worst)` or `score, higher is better`.
        values: The different values of the column, which show the ends of the scale.
    """
    text = name.replace("_", " ")
    found = {direction for pattern, direction in _SENTENCES if pattern.search(text)}
    if len(found) == 1:
        return found.pop()
    ends = _scale_ends(name)
    if found or not ends:
        return ""
    numbers = [number for number in map(_as_number, values) if number is not None]
    known = sorted({*numbers, *map(float, _range_numbers(name))})
    said = {_direction_of(number, good, known) for number, good in ends} - {""}
    return said.pop() if len(said) == 1 else ""


@lru_cache(maxsize=4096)
def _scale_ends(name: str) -> tuple[tuple[float, bool], ...]:
    """Return the numbers to which a name gives a meaning, each with whether that is good."""
    text = name.replace("_", " ")
    found: dict[float, bool] = {}
    for part in _PARTS.split(text):
        for number, after in _BEFORE.findall(part.replace("(", " ").replace(")", " ")):
            said = _is_good(after)
            if said is not None:
                found[float(number.replace(",", "."))] = said
    for before, number in _AFTER.findall(text):
        said = _is_good(before)
        if said is not None:
            found.setdefault(float(number.replace(",", ".")), said)
    return tuple(found.items())


def _is_good(text: str) -> bool | None:
    """Return whether words mean the good end of a scale, or the bad one; None for neither."""
    words = {plain_word(word) for word in _WORD.findall(text)}
    words |= {term for term in _TERMS if term in text}
    good, bad = bool(words & _GOOD), bool(words & _BAD)
    return good if good is not bad else None


def _range_numbers(name: str) -> Iterator[str]:
    """Yield the ends of a range in a name, as in `1-5`, and every other number."""
    yield from re.findall(r"(?<![\w.])\d+(?:\.\d+)?(?![A-Za-z\d])", name.replace("_", " "))


def _as_number(value: str) -> float | None:
    return as_score(value.replace("_", " "))


def _direction_of(number: float, good: bool, known: list[float]) -> str:
    """Return the direction that one end tells; empty for a number inside the scale, or the only one."""
    if len(known) < 2 or known[0] < number < known[-1]:
        # Scales begin at 0 or 1, so a larger number alone is their upper end.
        if len(known) < 2 and number > 1:
            return HIGHER if good else LOWER
        return ""
    return LOWER if (number == known[0]) is good else HIGHER


@lru_cache(maxsize=4096)
def tells_direction(name: str) -> bool:
    """Return whether a name says which numbers are good, whatever else it says."""
    return any(pattern.search(name.replace("_", " ")) for pattern, _ in _SENTENCES) or bool(_scale_ends(name))
