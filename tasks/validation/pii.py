"""Find personal data in text by shape: e-mail addresses, phone numbers, payment cards and secret keys.

Cards are checked by the sum of ISO/IEC 7812-1, annex B (Luhn's formula). Phone numbers have the lengths of
ITU-T E.164 or a common national shape. Keys have the prefixes that their issuers document, JWTs those of RFC
7519, private keys the lines of RFC 7468. A shape is no proof: names and streets are not found, and a number
that only looks like a phone number may be.

Cheap tests decide which shapes to search for, so ordinary prose costs little. Every pattern takes time linear
in the text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Literal, NamedTuple

import numpy as np

Kind = Literal["e-mail", "phone", "card", "key"]
_KINDS: tuple[Kind, ...] = ("key", "e-mail", "card", "phone")


class Span(NamedTuple):
    """The characters `start` to `stop` of a text, and the kind of data that they look like."""

    kind: Kind
    start: int
    stop: int


FEWEST_DIGITS = 9
# Characters that nine digits of one number may span, with the widest separators.
WIDEST = 30
# Characters before and after the digits that may belong to the number, or to the word that announces it.
_CONTEXT_CHARACTERS = 60
NOT_DIGITS = bytes(set(range(256)) - set(b"0123456789"))

# Matched against the reversed text before the "@", of which RFC 5321 allows 64 characters. A forward match
# would start at every character, which is quadratic.
_LOCAL = re.compile(r"[\w+%'!#$&*=?^`{|}~-](?:[\w.+%'!#$&*=?^`{|}~-]*+)")
LONGEST_LOCAL = 64
DOMAIN = re.compile(r"(?:[^\W_](?:[^\W_]|-(?=[^\W_]|-)){0,62}\.){1,10}[^\W\d_]{2,63}(?![\w@]|-\w)")
# File names such as icon@2x.png have the shape of an address.
NO_DOMAIN = (".png", ".jpg", ".jpeg", ".gif", ".svg", ".webp", ".css", ".js")

_GAP = r"[ \u00a0.\-/()\u2010-\u2013]{0,3}"
_BEFORE = r"(?<![\w.+/\-])(?<!\d[,:(])"
PHONE = re.compile(
    _BEFORE
    + rf"""(?:
      \+ (?:{_GAP}\d){{9,15}}+
    | \(?0[1-9] (?:{_GAP}\d){{7,10}}+
    | 00 [1-9] (?:{_GAP}\d){{8,14}}+
    | (?:1[ .\-])? (?: \([2-9]\d\d\)[ ]? | [2-9]\d\d[ .\-] ) \d{{3}}[ .\-]\d{{4}}
    | \([1-9]\d\)[ ]?9?\d{{4}}[ \-]\d{{4}}
    | 1[3-9]\d([ \-])\d{{4}}\1\d{{4}}
    | [6-9]\d{{4}}[ ]\d{{5}}
    )(?![\d\w])(?!,\d|\.\d|-\d)""",
    re.VERBOSE,
)
# After a word such as "phone", any number of the right length is a phone number.
_TOLD = re.compile(
    r"(?<!\w)(?:tel|telephone|telefon|teléfono|téléphone|tél|telefono|phone|mobile|handy|fax|whatsapp|"
    r"тел|телефон|电话|電話)(?:\.|(?:[ ](?:number|no|nr)\b)?\.?)(?:[ ]is)?:?[ ]{0,2}"
    rf"(?P<number>[+(]?\d(?:{_GAP}\d){{8,14}}+)(?!\d)",
    re.IGNORECASE,
)
TOLD_BY = ("tel", "tél", "phon", "mobil", "handy", "fax", "whatsapp", "тел", "电话", "電話")
DATE = re.compile(
    r"(?<!\d)(?:\d{1,2}([./\-])\d{1,2}\1(?:19|20)\d\d|(?:19|20)\d\d([./\-])\d{1,2}\2\d{1,2})(?!\d)"
)
# A decimal number or an IPv4 address is no phone number, whatever its length.
DECIMAL = re.compile(r"[+]?\d+\.\d+|\d{1,3}(?:\.\d{1,3}){3}")
# The words before a book's, journal's or product's number.
BOOK = re.compile(r"(?:ISBN|ISSN|EAN|DOI)(?:-1[03])?[:\s]*\Z", re.IGNORECASE)

CARD = re.compile(
    r"""(?<![\w.,\-])(?:
      [2-6]\d{12,18}
    | [2-6]\d{3}([ \-])\d{4}\1\d{4}\1\d{4}(?:\1\d{3})?
    | 3\d{3}([ \-])\d{6}\2\d{4,5}
    )(?![\w])""",
    re.VERBOSE,
)

_KEYS = (
    ("AKIA", re.compile(r"(?<!\w)AKIA[A-Z0-9]{16}(?!\w)")),
    ("ASIA", re.compile(r"(?<!\w)ASIA[A-Z0-9]{16}(?!\w)")),
    ("AIza", re.compile(r"(?<!\w)AIza[\w\-]{35}(?![\w\-])")),
    ("xox", re.compile(r"(?<!\w)xox[abeoprs]-[A-Za-z0-9\-]{10,250}+")),
    ("sk-", re.compile(r"(?<![\w\-])sk-[\w\-]{20,250}+")),
    ("eyJ", re.compile(r"(?<![\w\-])eyJ[\w\-]{8,}+\.eyJ[\w\-]{8,}+\.[\w\-]{8,}+")),
    (
        "-----BEGIN",
        re.compile(
            r"-----BEGIN (?:[A-Z0-9]{1,20} ){0,3}PRIVATE KEY(?: BLOCK)?-----"
            r"(?:(?:[^-]|-(?!----))*+-----END [A-Z0-9 ]{0,60}-----)?"
        ),
    ),
    *((f"gh{letter}_", re.compile(rf"(?<!\w)gh{letter}_[A-Za-z0-9]{{36,255}}+")) for letter in "pousr"),
    ("github_pat_", re.compile(r"(?<!\w)github_pat_\w{22,255}+")),
)
# One quick test for six markers: the underscore is rare in prose.
UNDERSCORED = "_"


def find_pii(text: str) -> list[Span]:
    """Return the spans of a text that look like personal data or a key, in order and without overlap."""
    found = [*_secret_keys(text), *_email_addresses(text)]
    for start, stop in _phone_candidates(text):
        found += [*_payment_cards(text, start, stop), *_phone_numbers(text, start, stop)]
    if len(found) < 2:
        return found
    kept: list[Span] = []
    for span in sorted(found, key=lambda span: (span.start, _KINDS.index(span.kind), -span.stop)):
        if not kept or span.start >= kept[-1].stop:
            kept.append(span)
    return kept


def has_email(text: str) -> bool:
    """Return whether a text has what looks like an e-mail address."""
    return next(_email_addresses(text), None) is not None


def mask_pii(text: str) -> str:
    """Return a text in which each span of `find_pii` is replaced by its kind in brackets."""
    spans = find_pii(text)
    if not spans:
        return text
    pieces = []
    last = 0
    for span in spans:
        pieces += [text[last : span.start], f"[{span.kind}]"]
        last = span.stop
    return "".join([*pieces, text[last:]])


def _phone_candidates(text: str) -> list[tuple[int, int]]:
    """Return ranges of a text with enough digits for a phone number close together, and their context."""
    # One byte a character, so that indices of bytes are indices of the text.
    coded = text.encode("latin-1", "replace")
    if len(coded.translate(None, NOT_DIGITS)) < FEWEST_DIGITS:
        return []
    # Unsigned arithmetic: characters below "0" wrap round to values far above 9.
    at = np.flatnonzero(np.frombuffer(coded, dtype=np.uint8) - np.uint8(48) < 10)
    first = np.flatnonzero(at[FEWEST_DIGITS - 1 :] - at[: 1 - FEWEST_DIGITS] < WIDEST)
    if not len(first):
        return []
    starts = at[first] - _CONTEXT_CHARACTERS
    stops = at[first + FEWEST_DIGITS - 1] + _CONTEXT_CHARACTERS
    apart = np.flatnonzero(starts[1:] > stops[:-1])
    begins = starts[np.concatenate(([0], apart + 1))]
    ends = stops[np.concatenate((apart, [-1]))]
    return list(zip(np.maximum(begins, 0).tolist(), ends.tolist(), strict=True))


def _secret_keys(text: str) -> Iterator[Span]:
    underscored = UNDERSCORED in text
    for marker, pattern in _KEYS:
        if underscored or UNDERSCORED not in marker:
            at = text.find(marker)
            while at >= 0:
                match = pattern.match(text, at)
                # "sk-" also begins hyphenated words such as CSS classes; the other prefixes are specific
                # enough.
                if match and (marker != "sk-" or _looks_random(match[0])):
                    yield Span("key", *match.span())
                at = text.find(marker, match.end() if match else at + 1)


def _looks_random(word: str) -> bool:
    """Return whether a word has digits and letters in both cases, which hyphenated words do not."""
    return any(map(str.isdigit, word)) and any(map(str.isupper, word[3:])) and any(map(str.islower, word[3:]))


def _email_addresses(text: str) -> Iterator[Span]:
    at = text.find("@")
    while at >= 0:
        domain = DOMAIN.match(text, at + 1)
        if domain and not domain[0].lower().endswith(NO_DOMAIN):
            local = _LOCAL.match(text[max(0, at - LONGEST_LOCAL) : at][::-1])
            if local:
                # RFC 5321 allows these characters, but at the start of an address they are usually
                # punctuation or markup.
                name = local[0].rstrip(".'`{|}*=&?!")
                if name:
                    yield Span("e-mail", at - len(name), domain.end())
        at = text.find("@", at + 1)


def _payment_cards(text: str, first: int, last: int) -> Iterator[Span]:
    for match in CARD.finditer(text, first, last):
        start, stop = match.span()
        if _passes_luhn(_digits_of(match[0])):
            yield Span("card", start, stop)
        elif match[1] and stop - start == 23 and _passes_luhn(_digits_of(match[0][:19])):
            # A group of three digits after sixteen may be no part of the card.
            yield Span("card", start, start + 19)


def _phone_numbers(text: str, first: int, last: int) -> Iterator[Span]:
    for match in PHONE.finditer(text, first, last):
        start, stop = match.span()
        said = match[0]
        book = BOOK.search(text[max(0, start - 16) : start])
        if not (book or DATE.search(said) or DECIMAL.fullmatch(said) or (said.isdigit() and _is_isbn(said))):
            yield Span("phone", start, stop)
    lower = text[first:last].lower()
    if any(word in lower for word in TOLD_BY):
        for match in _TOLD.finditer(text, first, last):
            said = match["number"]
            if not (DATE.search(said) or DECIMAL.fullmatch(said)):
                yield Span("phone", *match.span("number"))


def _digits_of(said: str) -> list[int]:
    return [int(character) for character in said if character in "0123456789"]


def _passes_luhn(digits: list[int]) -> bool:
    doubled = [(2 * digit) // 10 + (2 * digit) % 10 for digit in digits[-2::-2]]
    return (sum(doubled) + sum(digits[-1::-2])) % 10 == 0 and any(digits)


def _is_isbn(said: str) -> bool:
    return (
        len(said) == 10
        and sum((10 - index) * digit for index, digit in enumerate(_digits_of(said))) % 11 == 0
    )
