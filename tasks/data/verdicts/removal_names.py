"""Recognize names of the time of a removal, as `rejected_at`, and names of a consent, as `opt_in`.

A row with such a time was taken back, and a row whose consent is denied may not be learned.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from tasks.data.values.field_meanings import (
    FALSE,
    TIME_WORDS,
    TRUE,
    as_flag,
    flatten_name,
    names_removal_time,
    plain_word,
    plain_words,
    removal_words,
    says_nothing_wrong,
)
from tasks.data.values.score_values import SECONDS, as_score, is_date

_FIRST_DAY = 20_000  # of a date that a spreadsheet writes as a number, from 1954
_CONSENTS = plain_words(
    """
    authorisation authorised authorization authorized consent consented consents dsgvo einwilligung
    einverstanden erlaubnis gdpr granted licenced licensed optin opt_in permission permissions permitted rgpd
    shareable autorisation autorisé consentement consentimiento permiso permitido autorizado consenso permesso
    autorizzato consentimento permissão autorizado toestemming согласие разрешение 同意 许可 授权 許可 동의
    """
)
_DENIED = plain_words(
    """
    blocked declined denied deny disallowed disapproved expired forbidden not_given not_granted opt_out
    opted_out prohibited refused rejected revoked unlicensed withdrawn withheld verweigert abgelehnt
    widerrufen entzogen refusé refusée retiré retirée révoqué révoquée denegado denegada negado negada
    rechazado retirado revocado negato negata rifiutato revocato recusado revogado geweigerd ingetrokken
    отказано отозвано 拒绝 拒否 거부
    """
) | (FALSE - {"0", "0.0"})
_GRANTED = plain_words(
    """
    accepted allowed approved authorised authorized given granted licensed ok opt_in opted_in permitted signed
    erteilt erlaubt accordé accordée autorisé concedido otorgado concesso autorizzato verleend
    """
) | (TRUE - {"1", "1.0"})
_BESIDE = frozenset(("by", "id", "no", "not", "out", "url", "without"))
NAME_WORDS = _CONSENTS | removal_words() | {"opt", "opted"}


def looks_removed(path: str, value: Any) -> bool:
    """Return whether an unread key holds the time at which its row was rejected, erased or taken back."""
    if isinstance(value, bool | list | dict):
        return False
    number = as_score(value)
    dated = is_date(value) or (number is not None and number >= SECONDS)
    name = path.rpartition(".")[2]
    if dated:
        return bool(_flat_words(name) & removal_words()) or names_removal_time(name)
    if not names_removal_time(name) or as_flag(value) is not None:
        return False
    # A smaller number is a duration.
    return number >= _FIRST_DAY if number is not None else not says_nothing_wrong(value)


def looks_denied(path: str, value: Any) -> bool:
    """Return whether an unread key is named after a consent, and its value denies it."""
    if not names_consent(path) or not isinstance(value, bool | str):
        return False
    return plain_word(str(value)) in _DENIED


@lru_cache(maxsize=4096)
def names_consent(path: str) -> bool:
    """Return whether a key is named after a consent to the use of its row, and not after its time."""
    words = _flat_words(path.rpartition(".")[2])
    words |= {"opt_in"} if "in" in words and words & {"opt", "opted"} else frozenset()
    return bool(words & _CONSENTS) and not words & (
        TIME_WORDS | {"by", "id", "no", "not", "out", "url", "without"}
    )


def consent_meaning(value: str) -> str:
    """Return accept or ignore for a value under a consent, in the spelling of `plain_word`; else empty."""
    return "ignore" if value in _DENIED else "accept" if value in _GRANTED else ""


def _flat_words(name: str) -> frozenset[str]:
    return frozenset(plain_word(flatten_name(name)).split("_"))
