"""Recognize a text that people marked: by `[DELETED]` at an end, a stroke through it, or tracked changes."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from tasks.common.counts import counted
from tasks.data.records import Comparison, Record, Text
from tasks.data.values.field_meanings import with_feminine
from tasks.data.values.key_text import ascii_controls
from tasks.data.values.removed_texts import is_removed

MarkedTextsUse = Literal["", "keep", "leave_out"]  # what a source does with such rows; empty: it asks
MARKED_TEXTS = "rows with an editorial mark on a text, such as [DELETED], as `marked_texts` says"
_EDGE = 200  # characters at each end of a text that are searched
_LONGEST_NOTE = 80  # characters of a reason in a mark, as in `[REJECTED: too long]`
_FEW = 5  # words of an answer behind which a mark in round brackets needs no sentence end


def _words(words: str) -> list[str]:
    return [word.replace("_", " ") for word in sorted(with_feminine(words.split()))]


# Orders about the text itself, which need no other sign than their capitals.
_ORDERS = _words(
    """
    do_not_use don't_use dont_use do_not_train do_not_learn do_not_publish not_for_training not_for_use
    not_for_publication nicht_verwenden nicht_benutzen nicht_nutzen ne_pas_utiliser no_usar no_utilizar
    non_usare não_usar niet_gebruiken не_использовать 使用禁止 使用不可 请勿使用 不要使用 사용_금지
    """
)
# States of the text. `delete` and `remove` are keys and verbs, so only their participles count.
_STATES = _words(
    """
    deleted removed draft discarded withdrawn retracted unapproved not_approved unreviewed to_be_deleted
    delete_this needs_review needs_work needs_rewrite needs_rewriting work_in_progress wip superseded obsolete
    outdated disapproved unusable quarantined hallucination hallucinated rejected
    gelöscht gestrichen streichen durchgestrichen abgelehnt entwurf verworfen aussortiert zurückgezogen
    veraltet nicht_freigegeben überholt anulado invalidado annulé raturé annullato cancellato
    supprimé supprimée rejeté rejetée brouillon obsolète refusé refusée
    eliminado eliminada borrado borrador rechazado rechazada descartado descartada
    eliminato rifiutato bozza scartato excluído rejeitado rascunho verwijderd afgekeurd
    удалено отклонено черновик 削除 削除済み 却下 下書き 不採用 已删除 草稿 已拒绝 삭제됨 초안
    """
)
# Judgements, which may also be an answer's own words.
_JUDGEMENTS = _words(
    """
    wrong wrong_answer incorrect bad bad_answer invalid spam garbage falsch falsche_antwort ungültig
    incorrecto incorrecta sbagliato errato errado fout неверно 誤り 错误
    """
)
_NOTES = _words("todo to_do fixme xxx tbd")


def _any_of(words: list[str]) -> str:
    longest = sorted(words, key=lambda word: (-len(word), word))
    return "(?:" + "|".join(re.escape(word).replace(r"\ ", r"[\s_-]+") for word in longest) + ")"


_DECORATION = r"[\s*_#>\"'“„=/|!~⚠❌🚫\ufe0f–—-]{0,16}"
_KNOWN = _any_of([*_ORDERS, *_STATES, *_JUDGEMENTS, *_NOTES])
_REPEATED = rf"{_KNOWN}(?:[\s:,/|&+–—-]+{_KNOWN})*"
# What may follow in the brackets: a reason behind a sign, a version, a person or a date.
_REASON = (
    rf"(?:\s*[:;,.!/|–—-]\s*[^\[\](){{}}<>\n]{{0,{_LONGEST_NOTE}}}|\s+v?\.?\d[\w.:/-]*|"
    r"\s+(?:by|von|par|por|da|on|am|le|el)\s+[^\[\](){}<>\n]{1,60})?"
)
_BRACKETED = (
    rf"(?P<open>[\[({{<【〔《])\s*[*_]*(?P<said>{_REPEATED})[*_]*\s*{_REASON}\s*[*_]*"
    r"(?P<close>[\])}>】〕》])"
)
_BEGINS = re.compile(rf"{_DECORATION}{_BRACKETED}(?P<rest>.*)", re.I | re.S)
_ENDS = re.compile(rf"(?P<rest>.*?){_BRACKETED}[*_~\s]*\Z", re.I | re.S)
_CAPITALS = _any_of(
    [word.upper() for word in (*_ORDERS, *_STATES, *_JUDGEMENTS, *_NOTES) if word.upper() != word]
)
_SHOUTED = rf"(?P<said>{_CAPITALS}(?:[\s:,/|&+–—-]+{_CAPITALS})*)(?:[ \t]+v?\.?\d[\w.]*)?"
_SHOUT_BEGINS = re.compile(
    rf"{_DECORATION}{_SHOUTED}(?P<sign>[ \t]*(?:[:;–—|!.*_=#\n]|-+[ \t\n]|\Z))(?P<rest>.*)", re.S
)
_SHOUT_ENDS = re.compile(
    r"(?P<rest>.*?)(?P<sign>\n|[.!?…](?:[ \t]|(?=\*))|[ \t](?:[–—|]|-+)[ \t])"
    rf"{_DECORATION}{_SHOUTED}[\s*_!.#=–—-]*\Z",
    re.S,
)
# A note to oneself before a sentence. `XXX` there may be a number, as in `XXX Olympic Games`.
_NOTED = re.compile(r"(?P<said>FIXME|TODO)[ \t]+[^\W\d_a-z][a-z]+(?!\w)")
# Words before a colon make the text a list of such words, as of what was added and removed.
_OTHER_HEADING = re.compile(r"(?:^|\n|[.!?;]\s)[\s*#_-]*[^\W\d_a-z]{3,}[*_]*:")
_CLOSES = tuple("])}>】〕》")
_AFTER = " \t\r\n*_!.#=–—-"
_TAGS = r"s|del|strike"
_STRUCK = re.compile(
    rf"~~(?!~).+?~~|<(?P<tag>{_TAGS})(?:\s[^<>]*)?>.*?</(?P=tag)\s*>|\[(?P<code>{_TAGS})\].*?\[/(?P=code)\]",
    re.I | re.S,
)
_SLACK = re.compile(r"~[^\W_][^~\n]+[^\s~]~")
_OVERLAYS = frozenset("\u0335\u0336\u0337\u0338")
# Changes and comments as Word, CriticMarkup, HTML and LaTeX write them: both texts would be learned.
_TRACKED_SIGNS = ("{--", "{++", "{~~", "{>>", "</del>", "</DEL>", "\\deleted", "\\replaced", "]:", "]]")
_TRACKED = re.compile(
    r"\{--[^{};=]*\w[^{};=]*--\}|\{\+\+[^{};=]*\w[^{};=]*\+\+\}|\{~~[^{}]+~>[^{}]*~~\}|\{>>[^{}]+<<\}|"
    r"<del\b[^<>]*>[^<>]*</del>\s*<ins\b|</ins>\s*<del\b[^<>]*>[^<>]*</del>|"
    r"\\(?:deleted|replaced)(?:\[[^\]]*\])?\{|"
    r"\[?\b(?:commented|comment|kommentiert|kommentar|commenté|commentaire|comentado|comentario|comentário|"
    r"commento|opmerking)[ \xa0]\[[^\W\d_]{1,4}\d{1,4}(?:R\d+)?\]\s*:",
    re.I,
)
_CODE = re.compile(r"```.*?(?:```|\Z)|`[^`\n]*`", re.S)
# The template of a model has the same tags.
_TEMPLATE = re.compile(r"\[/?INST\]|<\|")


@dataclass
class MarkedTexts:
    """The number of rows with an editorial mark, and a description of the first."""

    count: int = 0
    first: str = ""

    def note(self, where: str, mark: str) -> None:
        """Count a row; `mark` is what `find_editorial_mark` returns."""
        self.count += 1
        self.first = self.first or f"{ascii_controls(where)}: {ascii_controls(mark)}"

    def update(self, other: MarkedTexts) -> None:
        """Add the counts of the part that follows."""
        self.count += other.count
        self.first = self.first or other.first

    def questions(self) -> list[str]:
        """Return the question that the preset must answer; empty without a mark."""
        if not self.count:
            return []
        return [
            f"{self.first}, by which people mark texts that are not to be learned; "
            f"{counted(self.count, 'rows')} with such marks; write marked_texts: leave_out in the source, or "
            "marked_texts: keep to learn them"
        ]


def find_editorial_mark(row: Record) -> str:
    """Return what marks a text of a row, as `the completion begins with [DELETED]`; empty without a mark.

    Of a prompt only marks in brackets and orders count: people ask about drafts and wrong answers.
    """
    names = {Text: "text", Comparison: "a b"}.get(type(row), "completion")
    for name in names.split():
        text = getattr(row, name)
        # Validation quarantines a text that is nothing but such a mark.
        if not is_removed(text) and (mark := editorial_mark(text)):
            return f"the {name} {mark}"
    if isinstance(row, Text) or is_removed(row.prompt):
        return ""
    if mark := _order_on(row.prompt):
        return f"the prompt {mark}"
    return ""


def editorial_mark(text: str) -> str:
    """Return how people marked a text as a whole, as `begins with '[DELETED]'`; empty if they did not."""
    head = _normal(text[:_EDGE]).lstrip()
    if mark := _first_mark(head, text):
        return f"begins with {mark!r}"
    tail = _normal(text[-_EDGE:]).rstrip()
    if mark := _last_mark(tail, text):
        return f"ends with {mark!r}"
    if _is_struck(text):
        return "is struck through"
    found = _tracked_change(text)
    return f"has a tracked change or a comment, {found!r}" if found else ""


def _tracked_change(text: str) -> str:
    """Return the first change or comment of an editor in a text outside of code; empty without one."""
    # Most texts have no such sign, which costs no search.
    if not any(sign in text for sign in _TRACKED_SIGNS):
        return ""
    found = _TRACKED.search(_CODE.sub("", text))
    return found[0][:_LONGEST_NOTE] if found else ""


@lru_cache(maxsize=1)
def _orders() -> re.Pattern[str]:
    capitals = _any_of([word.upper() for word in _ORDERS])
    brackets = _any_of(
        [*_ORDERS, "deleted", "rejected", "gelöscht", "abgelehnt", "supprimé", "eliminado", "削除"]
    )
    return re.compile(
        rf"{_DECORATION}(?:{capitals}[ \t]*(?:[:;–—|\n]|-+\s|\Z)|\[(?i:{brackets}){_REASON}\](?![(\[]))"
    )


def _order_on(prompt: str) -> str:
    found = _orders().match(_normal(prompt[:_EDGE]))
    return f"begins with {found[0].strip()!r}" if found else ""


def _normal(text: str) -> str:
    return text if text.isascii() else unicodedata.normalize("NFKC", text)


def _first_mark(head: str, text: str) -> str:
    if (found := _BEGINS.match(head)) and not _is_link(found):
        rest = found["rest"].lstrip(" \t")
        # "(Wrong) answers are shown in red" is a sentence.
        if found["open"] == "[" or found["said"].isupper() or not rest[:1].islower():
            return _shown(head, found)
    if found := _SHOUT_BEGINS.match(head):
        said, sign, rest = found["said"], found["sign"].strip(" \t"), found["rest"]
        if _shouts(said, sign, rest.strip(), text):
            return said
    noted = _NOTED.match(head)
    return noted["said"] if noted else ""


def _last_mark(tail: str, text: str) -> str:
    if tail.rstrip("*_~ \t\n")[-1:] in _CLOSES and (found := _ENDS.fullmatch(tail)):
        before = found["rest"].rstrip()
        ended = before[-1:] in '.!?…。！？"”»' or found["rest"].endswith("\n")
        short = len(text.split()) <= _FEW + len(found["said"].split())
        # An abbreviation stands in brackets behind its words.
        loud = found["said"].isupper() and len(found["said"]) > 3
        if found["open"] == "[" or loud or ended or (short and not found["said"].isupper()):
            return _shown(tail, found)
    # Most texts end in another word, which costs no search.
    if tail.rstrip(_AFTER)[-2:].isupper() and (found := _SHOUT_ENDS.fullmatch(tail)):
        said = found["said"]
        if _shouts(said, ":", found["rest"].strip(), text):
            return said
    # A note on a line of its own, as `TODO: check the year`. In code it is behind the sign of a comment.
    last = tail.rpartition("\n")[2]
    if "\n" in tail and last[:2].isupper() and (found := _SHOUT_BEGINS.match(last)):
        sign = found["sign"].strip()
        if sign[:1] in (":", "–", "—", "-") and _shouts(found["said"], sign, "-", text):
            return found["said"]
    return ""


def _shouts(said: str, sign: str, rest: str, text: str) -> bool:
    """Return whether words in capitals are a mark on the text, not its own words."""
    word = " ".join(said.casefold().replace("_", " ").split())
    if not rest:
        # A single word may be a class, as REJECTED or SPAM.
        return word not in (*_JUDGEMENTS, "rejected", "unapproved", "obsolete", "withdrawn", "tbd")
    # A text in capitals has no other words.
    if not any(letter.islower() for letter in text):
        return False
    if any(order in word for order in _ORDERS):
        return True
    if sign[:1] in (".", "!", "*", "_", "=", "#"):
        return word in _STATES and sign[:1] in ("*", "_", "=", "#")
    return _OTHER_HEADING.search(text.replace(f"{said}:", "")) is None


def _is_link(found: re.Match[str]) -> bool:
    """Return whether brackets are those of a link in Markdown."""
    return found["open"] == "[" and re.match(r"\(|\[|:\s*(?:https?:|/|<)", found["rest"]) is not None


def _shown(edge: str, found: re.Match[str]) -> str:
    return edge[found.start("open") : found.end("close")]


def _is_struck(text: str) -> bool:
    """Return whether no word of a text stands outside of strokes."""
    bare = text.strip()
    if bare[-1:] in "~>]" or bare[:1] in "~<[-*":
        if "~~~" in bare or _TEMPLATE.search(bare):
            return False
        rest, count = _STRUCK.subn("", bare)
        if count and not any(letter.isalnum() for letter in rest):
            return any(letter.isalnum() for letter in bare)
        return _SLACK.fullmatch(bare) is not None
    strokes = sum(bare.count(stroke) for stroke in _OVERLAYS) if not bare.isascii() else 0
    return strokes > 1 and strokes * 10 >= 8 * sum(letter.isalnum() for letter in bare)
