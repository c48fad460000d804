"""Recognize columns in which people mark rows, as with an `x` under `To delete`, and propose a meaning."""

from __future__ import annotations

import re
from collections.abc import Collection
from functools import lru_cache

from tasks.data.values.column_names import yaml_value
from tasks.data.values.field_meanings import (
    FALSE,
    NEGATIVE,
    POSITIVE,
    TICKS,
    TRUE,
    flatten_name,
    gendered_words,
    plain_word,
)
from tasks.data.verdicts.foreign_flags import FOREIGN_GOOD_FLAGS
from tasks.data.verdicts.verdict_openings import without_reason

_SIGNS, _WORD = re.compile(r"[?!:.()]"), re.compile(r"[^\W_]+")
# A cross may mean yes in a column of crosses alone, and no beside a tick.
_CROSSES = gendered_words("✗ ✘ ❌ ✖ × ☒ *")
# Circles mark cells in Japan. Under another name they are a good grade.
_CIRCLES = gendered_words("○ ◯ 〇 ● レ")
_MARKS = frozenset(map(plain_word, TICKS)) | _CROSSES | _CIRCLES
# Names of columns that mark rows to remove, in other languages than English.
_REMOVALS = gendered_words(
    """
    aussortieren aussortiert ausschließen ausgeschlossen entfernen entfernt löschen löscht gelöscht raus
    streichen gestrichen verwerfen verworfen wegwerfen écarter effacer enlever exclure exclu jeter retirer
    supprimer supprimé borrar descartar eliminar eliminado excluir quitar apagar descartado remover cancellare
    eliminare escludere rimuovere scartare verwijderen uitsluiten weggooien fjern slet slett ta_bort radera
    poista usuń usunąć удалить исключить убрать видалити smazat odstranit șterge törlés sil
    escludi ungültig ongeldig invalide inválido nieważne untrainable unlearn
    不训练 不訓練 不学習 学習対象外 学習不可 対象外 不使用 不采用 不採用 사용안함 학습제외
    删除 刪除 移除 削除 除外 無効 廃止 作废 作廢 삭제 제외 무효
    """
)
# Scripts without spaces between words: such a term anywhere in the name is enough.
_TERMS = tuple(
    term for term in _REMOVALS if len(term) > 1 and not term.isascii() and not re.match(r"[a-zà-ÿа-я]", term)
)
_KEPT = (
    gendered_words(
        """
    behalten übernehmen verwenden nutzen benutzen garder conserver utiliser conservar guardar mantener manter
    usar tenere usare bewaren gebruiken keep kept use usable
    trainieren lernen verwendbar nutzbar entraîner apprendre utilisable entrenar aprender utilizable treinar
    utilizável addestrare imparare utilizzabile trainen leren bruikbaar trenować träna использовать обучать
    учить 使用 採用 采用 学習対象 训练 訓練 사용 학습
    attested published
    """
    )
    | FOREIGN_GOOD_FLAGS
)
REFUSED = gendered_words(
    """
    falsch schlecht unbrauchbar mauvais faux malo mal incorrecto ruim errado sbagliato fout
    fehler fehlerhaft erreur erreurs errore errori erro erros errores fouten fel feil fejl virhe błąd ошибка
    错误 エラー
    """
)
_APPROVED = gendered_words("gut brauchbar bon bien bueno bom buono goed richtig korrekt")
_MARKED = _REMOVALS | REFUSED | _KEPT | _APPROVED
NAME_WORDS = _MARKED  # without one of them, no name marks a row
_FILLERS = gendered_words("a bitte da de is ist it me please row rows this to zeile zu à")
_YES = gendered_words("ja j oui si sí sim tak да 是")
_SAID = _MARKS | TRUE | FALSE | _YES
_LONGEST_MARK = 60  # characters, with the invisible ones around a mark
_NEGATED = gendered_words("nicht not no non nao ne pas dont don t do niet nie inte ikke ei не kein keine")


def marks_removal(name: str, value: object) -> bool:
    """Return whether a value marks its row for removal by a name in any language, as `löschen`."""
    # The value comes first: most are no marks, and the words of a new name take longer.
    if isinstance(value, list | dict):
        return False
    # A mark may go on with its reason, as `yes, because it is wrong`.
    said = str(without_reason(value)).strip()
    if len(said) > _LONGEST_MARK or plain_word(said) not in _SAID:
        return False
    return bool(_names_of(name) & _MARKED)


# Asked for each unread key of each row; names repeat.
@lru_cache(maxsize=4096)
def _names_of(name: str) -> frozenset[str]:
    """Return the words of a name, if it says nothing else; else those that mark a removal."""
    bare = plain_word(_SIGNS.sub(" ", name))
    words = frozenset(_WORD.findall(bare))
    removal = (
        words & _REMOVALS
        | ({bare} & _REMOVALS)
        | (set() if bare.isascii() else {term for term in _TERMS if term in bare})
    )
    rest = words - _FILLERS - _NEGATED
    return removal | (rest if rest <= _KEPT | REFUSED | _APPROVED else frozenset())


def flag_meaning(name: str) -> str:
    """Return `deleted` or `weight` for a column of flags that remove or keep rows by a name in any language.

    Empty for any other name.
    """
    named, words = _names_of(name), frozenset(_WORD.findall(plain_word(name)))
    removes, keeps = bool(named & _REMOVALS), bool(named & _KEPT)
    if removes is keeps:
        return ""
    return "deleted" if removes is not bool(words & _NEGATED) else "weight"


def is_mark_column(values: Collection[str]) -> bool:
    """Return whether a column holds one mark only, so that its empty cells mean the opposite."""
    return len(values) == 1 and set(values) <= _MARKS


def propose_mark(name: str, value: str, removes: bool, against: bool, keeps: bool) -> str:
    """Return the meaning of a column that holds one mark only, as YAML.

    Args:
        name: The name of the column.
        value: The mark.
        removes: Whether the name is an English word for a row to remove.
        against: Whether it is one for a bad answer.
        keeps: Whether it is one for a row to keep.
    """
    words = frozenset(flatten_name(name).split("_")) | frozenset(_WORD.findall(plain_word(name)))
    named = _names_of(name)
    removes = removes or bool(named & _REMOVALS)
    against = against or bool(words & (REFUSED | NEGATIVE))
    keeps = keeps or bool(words & (_KEPT | _APPROVED | POSITIVE))
    if words & _NEGATED:
        # `nicht verwenden` and `not good` are against the row. `do not delete` keeps it.
        removes, against, keeps = keeps, False, removes or against
    if removes + against + keeps != 1:
        return f'{{{yaml_value(value)}: ..., "": ...}}'
    if removes and value not in _CROSSES | _CIRCLES:
        return "deleted"
    if keeps and value in _CROSSES:
        # A cross under `good` may be a mark or a no.
        return f'{{{yaml_value(value)}: ..., "": ...}}'
    marked, others = ("accept", "ignore") if keeps else ("ignore" if removes else "reject", "accept")
    return f'{{{yaml_value(value)}: {marked}, "": {others}}}'
