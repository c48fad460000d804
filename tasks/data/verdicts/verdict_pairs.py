"""Recognize verdicts by two opposite values, or by yes and no under a name such as `sign_off`.

Each value alone says little, and so does each name. Both are examined together, over all rows.
"""

from __future__ import annotations

import re
from collections.abc import Collection

from tasks.data.values.field_meanings import (
    FALSE,
    TRUE,
    flatten_name,
    gendered_words,
    plain_word,
)
from tasks.data.values.score_values import as_score
from tasks.data.verdicts.verdict_values import LONG, MOST_VALUES

_MOST = 4  # different values of a verdict that has a positive word and an unknown one
_OKAY = gendered_words("ok okay oké okey o.k i.o")
YES = TRUE | _OKAY | gendered_words(
    """
    j ja jo o oui s si sí sim da d tak kyllä evet e igen ano hai はい 是
    네 예 да д так نعم כן हाँ x ✓ ✔ ☑ ✅ success successful succeeded
    """
)  # fmt: skip
NO = FALSE | gendered_words(
    """
    failure nein nee nej nei non não nao nie ei hayır h nem ne いいえ 否 不 아니요 아니오
    нет н ні لا לא नहीं ✗ ✘ ☐ ❌ unsuccessful
    """
)
# Values beside yes which do not say that an answer is bad.
_NEUTRAL = gendered_words(
    """
    - ? depends egal keine_angabe maybe mixed na none not_applicable not_sure other partial partially partly
    prefer_not_to_say some sometimes teils teilweise unbekannt unclear unknown unsure vielleicht
    """
)
# Words of two letters beside `ok` that are no code of a language or a state.
_SHORT_BAD = frozenset(("ko", "ng", "no"))
_NOT_OKAY = frozenset(("nok", "nio", "n.ok", "n.i.o"))
# Words for yes that are nothing else beside a word of four letters or more.
_SURE = frozenset(("evet", "igen", "j", "ja", "jo", "oui", "si", "sim", "tak", "y", "yes"))
_CODE = re.compile(r"[a-z]{2}_[a-z]{2,4}")

# A value is the opposite of another if such a word precedes it.
_NEGATIONS = re.compile(
    r"(?:not|non|no|never|do_not|does_not|don['’]?t|dont|is_not|isn['’]?t|cannot|nicht|kein|keine|nie|niet|geen|"
    r"ne_pas|pas|nao|sin|ikke|inte|ei|не|ne)_|(?:non|un|in|im|ir|dis|des|de(?=favor)|nicht|не)(?=[^\W\d_]{4})|[不非未無无]"
)
# Ordinary words with an opposite that is no verdict.
_DESCRIBED = gendered_words(
    """
    animate binary charge code commercial count cover definite dependent direct employed english fiction
    finite form formal image known linear married math mortal native organic profit regular smoker stance
    structured supervised tense transitive verbal
    """
)
# Names of what a row is or is about.
_ABOUT = gendered_words(
    """
    category class country domain format gender genre has kind lang language license licence locale location
    origin pos region sex source split state subset tag tags theme topic type
    """
)

# Names of a person's decision on a row. Any few short values under them are asked about.
_APPROVALS = gendered_words(
    """
    acceptance approval approvals clearance endorsed endorsement inspected inspection lgtm qc ratified
    signoff vetted vetting abnahme freigabe genehmigung zulassung zustimmung approbation aprobacion aprovacao
    approvazione goedkeuring godkjenning godkännande zatwierdzenie одобрение
    """
)
# The same for yes and no only, as other values may be a date, a number or a name.
_DECISIONS = gendered_words(
    """
    agree agreed agrees audit audited certified check checked checks cleared compliance compliant conform
    conforme conformity decision outcome pass passed passes passing publish publishable qa ready recommend
    recommended release released result review reviewed signed validated validation validé validado validato
    bestanden gecheckt
    beğeni faydalı helpful hilfreich nuttig nützlich przydatne util utile útil
    полезно полезный корисно 有用 役に立った 役に立つ 도움 مفيد מועיל
    geprüft kontrolle kontrolliert prüfung controle contrôle vérifié verificado verificato revisado revisión
    """
)
_GRADED = frozenset(("p", "f", "na", "n/a", "-"))
# Words of a name that says who, when, or how much.
_BESIDE = gendered_words(
    "at batch by count date day id ids n name number on rate step time type url user version"
)


def look_opposite(name: str, values: Collection[str]) -> bool:
    """Return whether a key's few short values include an approval and its opposite.

    Args:
        name: The key. A name such as `category` is no verdict.
        values: All its different values, as `short_values` spells them.
    """
    words = _words(name)
    found = {value for value in values if value}
    if words & _ABOUT or LONG in found or not 2 <= len(found) <= MOST_VALUES:
        return False
    for value in found:
        negation = _NEGATIONS.match(value)
        bare = value[negation.end() :].removeprefix("for_") if negation else ""
        bare = bare or value.removesuffix("_nicht").removesuffix(value)
        if bare in found and bare not in _DESCRIBED and as_score(bare) is None:
            return True
    others = {value for value in found - YES - NO - _NEUTRAL if as_score(value.replace("_", " ")) is None}
    if len(found) > _MOST:
        return False
    if found & _NOT_OKAY:
        return True
    if found & _OKAY:
        return bool(found & _SHORT_BAD) or any(len(value) > 2 for value in others)
    # Without a no, the other word is the opposite of the yes. Short ones are codes, as of languages.
    told = all(len(value) > 3 and not _CODE.fullmatch(value) for value in others)
    return bool(found & _SURE and others) and not found & NO and told


def look_like_approval(name: str, values: Collection[str]) -> bool:
    """Return whether a key's name means a decision on its row, and its values are decisions."""
    words = _words(name)
    if not values or len(values) > MOST_VALUES or LONG in values:
        return False
    if all(value in YES | NO for value in values):
        # A yes under `checked_by_legal` is a decision. A 1 under `review_count` is none.
        counts = words & _BESIDE and any(as_score(value) is not None for value in values)
        return bool(words & (_APPROVALS | _DECISIONS)) and not counts
    # Pass and fail of one letter.
    if words & (_APPROVALS | _DECISIONS) and "f" in values and set(values) <= _GRADED:
        return True
    named = words & _APPROVALS and not words & _BESIDE
    return bool(named) and not all(value.isdigit() for value in values)


def _words(name: str) -> frozenset[str]:
    words = frozenset(plain_word(flatten_name(name.rpartition(".")[2])).split("_"))
    return words | {"signoff"} if {"sign", "off"} <= words else words
