"""Read numbers and dates as people and spreadsheets write them: 4 stars, 4/5, 80%, 3 von 5, 4-Mai."""

from __future__ import annotations

import math
import re
import unicodedata
from datetime import date
from decimal import Decimal
from typing import Any

from tasks.data.values.turning_signs import has_raised_digit

SHORT = 60  # characters; a longer text is a remark
_OF = r"(?:/|of|out of|von|sur|de|su|van|av|из)"
_UNITS = (
    r"(?:stars?|points?|pts|sterne?n?|punkte?|pkt|étoiles?|estrellas?|estrelas?|stell[ae]|punt[io]|puntos?|"
    r"pontos?|sterren|ster|stjärnor|звезд[аы]?|звёзд[аы]?|баллов|балла?|星|点|分)\.?"
)
_STARS = re.compile(rf"([-+]?\d+(?:[.,]\d+)?)\s*(?:{_OF}\s*(\d+(?:\.\d+)?))?\s*(?:{_UNITS}|%)?", re.I)
SCALE = re.compile(rf"[-+]?\d+(?:[.,]\d+)?\s*(?:{_OF}\s*(\d+(?:\.\d+)?)|(%))\s*(?:{_UNITS})?", re.I)


def as_score(value: Any) -> float | None:
    """Return a number in any usual spelling: 4, "4 stars", "4/5", "80%", "★★★★☆"; None for others.

    One beyond the end of its own scale, as "10/5", is none.
    """
    if isinstance(value, bool):
        return None
    if isinstance(value, int | float | Decimal):
        return _is_finite(value)
    if not isinstance(value, str):
        return None
    text = value.strip() if value.isascii() else _plain_digits(value.strip())
    marks = text.replace("\ufe0f", "").replace(" ", "")
    if marks and not set(marks) - set("★☆⭐✩"):
        # "★★★☆☆" has five stars, of which the filled ones count.
        return float(sum(mark in "★⭐" for mark in marks))
    found = _STARS.fullmatch(text)
    if found and len(text) < SHORT and not _THOUSANDS.fullmatch(found[1]):
        number = _is_finite(found[1].replace(",", "."))
        return None if number is not None and found[2] and number > float(found[2]) else number
    # Scientific notation such as 1e-3, which no pattern above matches.
    return _is_finite(text) if re.fullmatch(r"[-+]?[\d.]+[eE][-+]?\d+", text) else None


SECONDS = 10**8  # since 1970; a smaller number is no time of today
_FRACTIONS = {"¼": ".25", "½": ".5", "¾": ".75"}


def _plain_digits(text: str) -> str:
    """Return a text with a plain minus and plain digits, as for −1, ４ and ③, and with .5 for ½.

    A raised digit stays, as `5²` is no 52, and 2 under the text of a footnote is no score.
    """
    if has_raised_digit(text):
        return text
    text = re.sub(r"(\d?)([¼½¾])", lambda found: (found[1] or "0") + _FRACTIONS[found[2]], text)
    return unicodedata.normalize("NFKC", text).replace("\u2212", "-")


# The first letters of months in European languages, as spreadsheets write 4-Mai or 5. Oct for 4/5 and 5/10.
_MONTHS = (
    r"(?:jan|feb|fév|mar|mär|mrt|apr|avr|abr|mai|may|maj|mei|jun|juin|giu|jul|juil|lug|aug|aoû|ago|sep|set|"
    r"oct|okt|out|ott|nov|dec|dez|déc|dic|янв|фев|мар|апр|мая|май|июн|июл|авг|сен|окт|ноя|дек)"
)
_DATE = re.compile(
    r"\d{4}[-/.]\d{1,2}[-/.]\d{1,2}(?:[T ].*)?|\d{1,2}[-/. ]{1,2}\d{1,2}[-/. ]{1,2}(?:\d{4}|\d{2})"
    rf"|\d{{1,2}}[-/. ]{{1,2}}{_MONTHS}[^\W\d_]{{0,7}}\.?(?:[-/. ]{{1,2}}\d{{2,4}})?",
    re.I,
)


def is_date(value: Any) -> bool:
    """Return whether a value is a date, also in the spelling that spreadsheets give a score such as 4/5."""
    return isinstance(value, date) or (isinstance(value, str) and _DATE.fullmatch(value.strip()) is not None)


_SEPARATED = re.compile(r"[-+]?\d{1,3}(?:[., \u00a0\u202f'’]\d{3})+(?:[.,]\d+)?")


def is_beyond_scale(value: Any) -> bool:
    """Return whether a value is a score beyond the end of its own scale, as "10/5"."""
    if not isinstance(value, str) or len(value) >= SHORT:
        return False
    found = _STARS.fullmatch(_plain_digits(value.strip()))
    if found is None or not found[2] or _THOUSANDS.fullmatch(found[1]):
        return False
    return as_score(value) is None


def number_advice(value: Any) -> str:
    """Return what is wrong with a number that is no score, and what to write, in words after a message."""
    if is_beyond_scale(value):
        return "; it is beyond the end of its own scale"
    if not isinstance(value, str) or not _SEPARATED.fullmatch(value.strip()):
        return ""
    return "; it seems to have a separator of thousands: write 1000 for a thousand, and 1.5 with a point"


# 1,000 is a thousand in English and one with three decimals in German, so it is ambiguous.
_THOUSANDS = re.compile(r"[-+]?[1-9]\d*,\d{3}")


def _is_finite(value: int | float | str | Decimal) -> float | None:
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None
