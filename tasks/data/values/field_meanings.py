"""Read what people say in keys beside the texts: verdicts, training masks, deletions.

A key with a known name and a value in a usual spelling is read. For a key that only looks like a verdict or a
mask, the preset must give the meaning under `fields`.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any

from tasks.common.names import INVISIBLE, latin_letters
from tasks.data.values.turning_signs import has_raised_digit, is_negated_word

Meaning = str | Mapping[str, float | str]
REVIEWS = ("accept", "reject", "ignore")
SIDES = ("a", "b", "tie")
# Meanings of a column of one person's verdicts. Under `penalty_vote`, lower is better.
VOTES = ("vote", "penalty_vote")
# The meaning of a key in a list of objects that names the person of the vote beside it.
ANNOTATOR = "annotator"
# Every meaning that `fields` takes as a word, and what it does. Messages and the documents list these.
FIELD_MEANINGS = {
    "ignore": "the key is not read",
    "verdict": "true, false, a number or a word that rates the answer; higher is better",
    "penalty": "a number or flag against the answer, such as a rank or a count of errors; lower is better",
    "vote": "a verdict of one person, after whom the column is named; beside two answers, a choice",
    "penalty_vote": "a vote for which lower is better",
    ANNOTATOR: "in a list of objects, the person who gave the vote in the same object",
    "upvotes": "the number of people for the answer, or a flag: each is a score of 1",
    "downvotes": "the number of people against the answer, or a flag: each is a score of -1",
    "review": "accept, reject or ignore: what is rejected or ignored is not learned",
    "weight": "a training mask: what has false or 0 is not learned",
    "mask": "a training mask: what has true or 1 is not learned",
    "deleted": "rows with true are left out",
    "correction": "a text that is learned in place of the answer",
    "text": "the value is an ordinary text, and is used unchanged",
}
MAPPING_EXAMPLE = "{good: 1, bad: -1}"


def word_set(words: str) -> frozenset[str]:
    """Return the set of words in a text."""
    return frozenset(words.split())


def with_feminine(words: Iterable[str]) -> frozenset[str]:
    """Return words with the feminine of each Romance one, as `aprobada` and `rejetée`.

    An answer is feminine in Portuguese, Spanish, Italian and French, so columns about it are mostly so.
    """
    known = frozenset(words)
    endings = {"o": "a", "é": "ée"}
    return known | {word[:-1] + endings[word[-1]] for word in known if len(word) > 4 and word[-1] in endings}


# True and false as spreadsheets write them in other languages.
_TRUE_CELLS = word_set("wahr vrai verdadero verdadeiro vero waar sant sand prawda pravda истина igaz doğru")
_FALSE_CELLS = word_set("falsch faux falso onwaar falskt falsk fałsz nepravda ложь hamis yanlış")
# Yes and no in other languages, without words of one letter.
YES_WORDS = word_set(
    """
    ja jo oui sí si sì sim da tak kyllä kylla evet igen ano hai はい 네 예 да так نعم כן हाँ हां 是 ναι vâng có
    ใช่ ya taip jah jā já ndiyo হ্যাঁ ஆம் ہاں بله
    """
)
NO_WORDS = word_set(
    """
    nein nee nej nei non não nao nie ei hayır hayir nem ne いいえ нет ні لا לא नहीं 否 아니요 아니오 όχι οχι
    không ไม่ ไม่ใช่ tidak nu ні не hapana না இல்லை نہیں خیر
    """
)
TRUE = frozenset(("true", "t", "yes", "y", "on", "1", "1.0", *_TRUE_CELLS, *YES_WORDS))
FALSE = frozenset(("false", "f", "no", "n", "off", "0", "0.0", *_FALSE_CELLS, *NO_WORDS))
TICKS = word_set("x ✓ ✔ ☑ ✅ •")
POSITIVE = (
    word_set(
        """
    +1 👍 accept accepted acceptable approve approved chosen correct desirable good great excellent
    helpful like liked ok pass passed pos positive preferred right thumb_up thumbs_up thumbsup true up
    upvote upvoted useful yes
    """
    )
    | _TRUE_CELLS
    | YES_WORDS
)
NEGATIVE = (
    word_set(
        """
    -1 👎 bad decline declined disapproved dislike disliked down downvote downvoted fail failed false
    incorrect neg negative no poor reject rejected terrible thumb_down thumbs_down thumbsdown
    unacceptable undesirable unhelpful useless wrong
    """
    )
    | _FALSE_CELLS
    | NO_WORDS
)
ACCEPT = frozenset(("accept", "accepted", "approve", "approved", "true", "yes", "1", *YES_WORDS))
REJECT = frozenset(("reject", "rejected", "disapprove", "disapproved", "false", "no", "0", *NO_WORDS))
IGNORE = frozenset(("ignore", "ignored", "skip", "skipped", "pending", "draft"))

# Names of scores for which higher is better, unlike ranks, lengths and losses.
HIGHER_IS_BETTER = word_set(
    "grade points quality rating ratings reward rewards score scores stars upvotes votes"
)

# Names of scores for which lower is better.
LOWER_IS_BETTER = word_set(
    """
    complaints concerns defects dislikes downvotes error errors faults flaws hallucination hallucinations harm
    harmful harmfulness inaccuracies issues loss mistake mistakes penalty perplexity problems rank ranking
    ranks schulnote schulnoten toxic toxicity violations weaknesses
    """
)

# Names of a program's report that an answer failed.
ERRORS = word_set("error errors exception exceptions traceback")
# Names of a list of what is wrong with an answer, also in other languages.
COMPLAINTS = word_set(
    """
    complaint complaints concern concerns defect defects fault faults flaw flaws issue issues mistake mistakes
    problem problems violation violations weakness weaknesses beanstandung beanstandungen einwand einwände
    fehler mangel mängel erreurs problèmes errores problemas errori problemi erros fouten problemen
    """
)
# Under a removal's name with such a word, any value says that the row is removed: by whom, for what or why.
POINTERS = word_set("because by cause into of reason reasons why")
# Names of a model's words in place of an answer.
REFUSALS = word_set("refusal refusals")
_NOTHING = re.compile(
    r"(?:no|never|none|nothing|keine?r?|nichts|aucune?|rien|ningun[oa]?|nada|nessun[oa]?|nenhuma?|geen)(?:_(\w+))?|-|ok"
)


# Stems and endings of verbs that take a row back, and such words of other forms and languages.
_STEMS = word_set(
    """
    abus archiv blacklist declin delet deprecat disapprov discard disqualif eras exclud exclus expung invalid
    invalidat nullif obsolet overrul overturn purg quarantin redact reject remov rescind retract revoc revok
    suspend suspens trash unpublish void withdraw
    """
)
_ENDINGS = ("", "al", "ated", "ation", "e", "ed", "er", "es", "ied", "ing", "ion", "n", "s", "ure", "y")
_REMOVAL_WORDS = frozenset(stem + ending for stem in _STEMS for ending in _ENDINGS) | word_set(
    """
    banned blocked dropped flagged hidden spam spammed takedown withdrew
    abgelehnt ablehnung entfernt geloscht gesperrt loschung verworfen widerrufen zuruckgezogen rejete supprime
    eliminado eliminata eliminato borrado rechazado rechazo retirado rimosso rimozione rifiutato ritirato
    removido rejeitado excluido verwijderd afgewezen ingetrokken удалено отклонено отозвано
    """
)
# Words of a name of a time.
TIME_WORDS = word_set(
    """
    at date dated dates datetime day month on since time timestamp times ts until when year am datum uhrzeit
    zeit zeitpunkt zeitstempel le fecha hora quand cuando data ora op tijd wanneer дата время
    """
)


def removal_words() -> frozenset[str]:
    """Return the words for a removal, such as `rejected`, `erasure` and `takedown`."""
    return _REMOVAL_WORDS


@lru_cache(maxsize=4096)
def names_removal_time(name: str) -> bool:
    """Return whether a name is that of the time of a removal, as `rejected_at` or `DateErased`."""
    words = set(plain_word(flatten_name(name)).split("_"))
    words |= {"takedown"} if {"take", "down"} <= words or {"taken", "down"} <= words else set()
    return bool(words & TIME_WORDS and words & _REMOVAL_WORDS)


def states_removal(name: str) -> bool:
    """Return whether any value under a name says that its row is bad: an error, a refusal, a reason."""
    words = set(flatten_name(name).split("_"))
    told = words & (ERRORS | COMPLAINTS | POINTERS | REFUSALS) or ("rejected" in words and len(words) > 1)
    return bool(told) or names_removal_time(name)


def says_nothing_wrong(value: Any) -> bool:
    """Return whether a text under a name such as `issues` says that there is none, as `no issues`."""
    found = _NOTHING.fullmatch(plain_word(value) or "-") if isinstance(value, str) else None
    return found is not None and (not found[1] or found[1] in COMPLAINTS | ERRORS)


# Names with a known meaning, and the kind of value of each.
KNOWN: dict[str, str] = {
    **dict.fromkeys(("kto_tag", "desirable", "thumbs", "thumb", "thumbs_up", "thumb_up", "liked"), "thumb"),
    **dict.fromkeys(("thumbs_down", "thumb_down", "disliked"), "thumb_down"),
    **dict.fromkeys(("label", "feedback", "vote", "verdict"), "word"),
    **dict.fromkeys(("rating", "stars", "star_rating", "score", "quality", "grade"), "number"),
    **dict.fromkeys(("answer", "review_result", "accepted", "approved"), "review"),
    **dict.fromkeys(("deleted", "is_deleted", "removed", "is_removed"), "deleted"),
    **dict.fromkeys(
        (
            "train",
            "training",
            "trainable",
            "learn",
            "loss",
            "loss_mask",
            "train_mask",
            "weight",
            "loss_weight",
        ),
        "weight",
    ),
    **dict.fromkeys(("mask", "masked", "is_masked"), "mask"),
}
MASKS = ("weight", "mask")


def _plain_letters(name: str) -> str:
    """Return a name without invisible characters, in plain letters for full-width ones and look-alikes."""
    if name.isascii():
        return name
    visible = (c for c in unicodedata.normalize("NFKC", name) if unicodedata.category(c) != "Cf")
    return latin_letters("".join(visible))


@lru_cache(maxsize=4096)
def flatten_name(name: str) -> str:
    """Return a key in lower case with one underscore between words, `thumbsUp` as `thumbs_up`.

    The emoji of a thumb becomes its word. Full-width letters and look-alikes become the letters that they
    stand for.
    """
    if (thumb := plain_picture(str(name))) in THUMBS:
        return THUMBS[thumb]
    return "_".join(word.lower() for word in _split_words(name))


def _split_words(name: str) -> list[str]:
    # Words of other scripts, or with accents, are kept whole, so that no English word is found inside them.
    return _NAME_WORD.findall(_plain_letters(str(name)))


THUMBS = {"👍": "thumbs_up", "👎": "thumbs_down"}
# Skin tones, variation selectors, and characters without width, which web pages leave in copied cells.
_TINTS = re.compile("[\U0001f3fb-\U0001f3ff\ufe0e\ufe0f\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff]")
# Quotes around a whole value, as a table that was quoted twice has them.
_QUOTES = "\"'\u2018-\u201f\u00ab\u00bb\u2039\u203a\u300c\u300d"
_QUOTED = re.compile(rf"[{_QUOTES}]([^{_QUOTES}\n]+)[{_QUOTES}]")
_FOR, _AGAINST = "✓✔☑✅👍", "✗✘✖❌👎"
SHORTCODE = re.compile(r":([\w+-]{1,40}):(?::skin-tone-\d:)?")
_SIGNED = re.compile(r"[-+]\d+(?:[.,]\d+)?")
_GAPS = re.compile(r"[\s_-]+")
_HUMP = re.compile(r"(?<=[a-z])(?=[A-Z][a-z])")
_NAME_WORD = re.compile(r"[A-Z]+(?![^\W\dA-Z_])|[A-Z]?[^\W\dA-Z_]+|\d+")
# 1,000 may be a thousand.
_ZEROS = re.compile(r"^([01])(?:\.0+|,0{1,2})$")


def plain_picture(text: str) -> str:
    """Return an emoji without its skin tone and variation selector, and a text without invisible marks."""
    return _TINTS.sub("", text.strip()).strip()


def _plain_spelling(text: str) -> str:
    """Return a text without invisible marks and quotes around it, and the name of an emoji `:thumbsdown:`."""
    text = text.strip() if text.isascii() else plain_picture(text)
    quoted = _QUOTED.fullmatch(text)
    text = quoted[1].strip() if quoted else text
    code = SHORTCODE.fullmatch(text)
    return code[1] if code else text


def normalize_value(value: Any) -> str:
    """Return a value in the spelling for comparisons: lower case, one underscore between words.

    A signed number keeps its sign.
    """
    if isinstance(value, str):
        value = _plain_spelling(value)
        if _SIGNED.fullmatch(value):
            return value
        value = split_words(value)
    return _GAPS.sub("_", value.strip().lower()) if isinstance(value, str) else str(value).lower()


def plain_word(text: str) -> str:
    """Return a text without case and accents, with one underscore between words.

    A signed number keeps its sign: -1 and 1 are opposite verdicts.
    """
    text = _plain_spelling(text)
    # A word with a sign that turns it round is none that is known, so that it is asked about. So is one with
    # the number of a footnote.
    if _SIGNED.fullmatch(text) or is_negated_word(text) or has_raised_digit(text):
        return text.casefold()
    if not text.isascii():
        marked = unicodedata.normalize("NFKD", text)
        text = "".join(c for c in marked if unicodedata.category(c) != "Mn")
    return _GAPS.sub("_", text.casefold()).strip("_.!")


def split_words(text: str) -> str:
    """Return a text with spaces between words that are written as one, `NotApproved` as `Not Approved`."""
    # A text with spaces has its own words.
    return text if text.islower() or " " in text.strip() else _HUMP.sub(" ", text)


def plain_words(words: str) -> frozenset[str]:
    """Return the words of a text as `plain_word` writes them."""
    return frozenset(map(plain_word, words.split()))


def gendered_words(words: str) -> frozenset[str]:
    """Return the words of a text and their feminine forms as `plain_word` writes them."""
    return frozenset(map(plain_word, with_feminine(words.split())))


def is_empty(value: Any) -> bool:
    """Return whether a value says nothing: null, NaN, blank text, an empty list or object, or a null word."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return True
    if isinstance(value, str):
        return is_invisible(value) or is_null_word(value)
    return isinstance(value, list | dict | tuple) and not value


def is_invisible(text: str) -> bool:
    """Return whether a text prints nothing: spaces of any kind, and characters without width."""
    bare = text.strip()
    if not bare or bare.isascii():
        return not bare
    # Unlike in a name, a character that this Unicode version does not know may be an emoji.
    marks = INVISIBLE + "\ufe0e\ufe0f"
    return all(c.isspace() or c in marks or unicodedata.category(c) == "Cf" for c in bare)


def group_name(value: Any) -> str:
    """Return a group's name from a text or a number; empty for any other value. 3 and 3.0 are one group."""
    if isinstance(value, bool) or not isinstance(value, str | int | float) or is_empty(value):
        return ""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


NULL_WORDS = frozenset((
    "nan", "none", "null", "n/a", "#n/a", "<na>", "nat", "nil", "undefined",
    "#div/0!", "#name?", "#null!", "#num!", "#ref!", "#value!",
))  # fmt: skip


def is_null_word(value: Any) -> bool:
    """Return whether a text is a word that programs write for a missing value, such as `nan` or `None`."""
    return isinstance(value, str) and len(value) < 12 and value.strip().lower() in NULL_WORDS


def as_flag(value: Any) -> bool | None:
    """Return a value as true or false in any usual spelling; None if it is neither."""
    if isinstance(value, bool):
        return value
    if isinstance(value, int | float):
        # A weight of 0.5, for one, is no flag.
        return bool(value) if value in (0, 1) else None
    word = value.strip().lower() if isinstance(value, str) else ""
    word = _ZEROS.sub(r"\1", word)  # tables also write 1,0 and 1.00
    if not word.isascii() and word not in TRUE | FALSE:
        # An accent may be a character of its own, as in decomposed Unicode.
        word = plain_word(word)
    return True if word in TRUE else False if word in FALSE else None


def as_verdict(value: Any) -> float | None:
    """Return 1 for a word or flag that approves, -1 for one that disapproves, None for any other value."""
    if isinstance(value, bool):
        return 1.0 if value else -1.0
    said = _without_agreeing_marks(value) if isinstance(value, str) else ""
    word = normalize_value(said)
    bare = word if is_negated_word(said) else word.strip("_.!") or word
    return 1.0 if bare in POSITIVE else -1.0 if bare in NEGATIVE else None


def _without_agreeing_marks(value: str) -> str:
    """Return a word without the ticks or crosses around it that say the same, as `✔ yes` and `bad ❌`."""
    text = _plain_spelling(value)
    bare = text.strip(f"{_FOR}{_AGAINST} ")
    marks, word = set(text.replace(bare, "", 1)) - {" "}, normalize_value(bare)
    agree = word in POSITIVE | ACCEPT and marks <= set(_FOR)
    return bare if agree or (word in NEGATIVE | REJECT and marks <= set(_AGAINST)) else text


def as_review(value: Any) -> str | None:
    """Return accept, reject or ignore for a reviewer's answer in any usual spelling; else None."""
    word = normalize_value(_without_agreeing_marks(value) if isinstance(value, str) else value)
    known = ((ACCEPT, "accept"), (REJECT, "reject"), (IGNORE, "ignore"))
    return next((said for words, said in known if word in words), None)
