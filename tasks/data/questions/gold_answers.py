"""Recognize keys that hold the right answer beside a model's output, as `ground_truth` beside `response`.

Such a row says nothing about whether its output is right, so the output is not learned silently.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any

from tasks.data.questions.companion_keys import is_prose
from tasks.data.values.field_meanings import as_flag, flatten_name, is_null_word, plain_word, plain_words

# Words for a right answer under any name of right answers alone.
_GOLD = plain_words(
    """
    gold golden goldstandard groundtruth gt ideal idealantwort musterantwort musterlösung oracle
    referenzantwort sollantwort goldantwort 正解 参考答案 标准答案 標準答案 模範解答 모범답안 정답 эталон
    """
)
# Words that mean it beside a word for an answer.
_SAID_RIGHT = plain_words(
    """
    agent annotator correct desired expert final human official reference right target true truth
    korrekte richtige erwartete ideale menschliche attendue correcte humaine idéale esperada esperado correcta
    humana correta attesa corretta umana juiste menselijke verwachte эталонный правильный
    """
)
_ANSWERS = plain_words(
    """
    answer answers completion completions output outputs reply response responses solution text
    antwort ausgabe lösung réponse respuesta resposta risposta antwoord ответ
    """
)
# Alone, these are names of many other things too.
_ALONE = frozenset(("expected", "reference", "target"))
_CLASSES = frozenset(("label", "labeled", "labelled"))
_FILLERS = frozenset(
    ("a", "best", "en", "ground", "list", "of", "standard", "str", "string", "the", "truth", "truths")
)
NAME_WORDS = _GOLD | _SAID_RIGHT | _ALONE | _CLASSES | {"ground", "truth", "truths"}

_LETTERS = re.compile(r"[^\W\d_]{2,}|[\u2e80-\U0003ffff]")
_ADDRESS = re.compile(r"\s*(?:https?|ftp)://\S+\s*")


def looks_like_gold(path: str, value: Any) -> bool:
    """Return whether an unread key holds a right answer, or a list of right answers, as text."""
    named = _named(path)
    texts = value if isinstance(value, list) else [value]
    if not named or not texts or not all(isinstance(one, str) for one in texts):
        return False
    said = [one for one in texts if not is_null_word(one) and not _ADDRESS.fullmatch(one)]
    # A number or the letter of an option says how an exercise ends, also beside a right answer.
    said = [one for one in said if as_flag(one) is None and _LETTERS.search(one)]
    return any(named == "gold" or is_prose(one, 3) for one in said)


@lru_cache(maxsize=4096)
def _named(path: str) -> str:
    """Return `gold` for a name of right answers, `text` for one that only a longer text makes one."""
    above, last = ["", *path.replace("[]", "").split(".")][-2:]
    words = _words(last)
    # `ground_truth.text` is named by the object.
    words |= _words(above) if words and words <= _ANSWERS else frozenset()
    rest = words - _FILLERS - _ANSWERS
    truth = bool({"ground", "truth"} <= words or {"ground", "truths"} <= words)
    if rest <= _GOLD and (rest or truth):
        return "gold"
    if rest and words & _ANSWERS and rest <= _GOLD | _SAID_RIGHT:
        return "gold"
    if (rest and rest <= _ALONE) or (rest and words & _ANSWERS and rest <= _CLASSES | _SAID_RIGHT | _GOLD):
        return "text"
    return ""


def _words(name: str) -> frozenset[str]:
    flat = plain_word(flatten_name(name))
    return frozenset(word for word in re.findall(r"[^\W\d_]+", flat))
