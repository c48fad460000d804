"""Recognize files and folders whose names say that their rows were rejected or removed, as `rejected/`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from tasks.data.file_io.files import unpacked_suffix
from tasks.data.values.field_meanings import KNOWN, flatten_name, plain_word

# The formats whose rows hold no verdict of their own.
_BARE = ("alpaca", "markdown", "messages", "plain", "rows", "sharegpt")


def _plain(words: str) -> frozenset[str]:
    return frozenset(map(plain_word, words.split()))


_REJECTED = _plain(
    """
    bad blocked declined deleted denied disapproved discard discarded dislike disliked dislikes donottrain
    donotuse downvote downvoted excluded garbage junk noai optedout quarantine quarantined reject rejected
    rejects removed retracted spam thumbsdown trash trashed unapproved unusable withdrawn
    abgelehnt abgelehnte aussortiert gelöscht gelöschte gesperrt papierkorb schlecht schlechte verworfen
    corbeille refusé refusés rejeté rejetés supprimé supprimés borrados descartados eliminados papelera
    rechazados rechazadas cestino eliminati rifiutati scartati excluídos lixeira rejeitados afgekeurd
    verwijderd отклонено удалено 已删除 已拒绝 垃圾 却下 削除済み
    """
)
_PHRASES = _plain(
    """
    do_not_learn do_not_train do_not_use dont_train dont_use no_ai no_consent not_for_training opted_out
    thumbs_down to_delete to_remove nicht_verwenden ne_pas_utiliser no_usar
    """
)
# Words beside them. A deleted scene is part of a film, so any other word makes another name.
_BESIDE = _plain(
    """
    all and answer answers batch by chat chats completion completions conversation conversations csv data
    document documents doc docs entries entry example examples export exports file files final from items
    json jsonl list llm messages model new note notes of old or outputs pair pairs part prompts qa record
    records reply replies response responses review reviewed reviewer row rows samples set sft test text texts
    the train training users v1 v2 antworten beispiele fragen gespräche texte und exemples réponses et textes
    respuestas ejemplos textos y risposte esempi testi e respostas exemplos antwoorden voorbeelden
    """
)


def rejecting_part(path: Path, folder: Path) -> str:
    """Return the first name below `folder` on a path that says that its rows are not to be learned.

    Args:
        path: A file.
        folder: The folder of the user. Its own name is their choice.
    """
    names = path.relative_to(folder).parts
    ending = unpacked_suffix(path.name)
    plain = path.name[: path.name.lower().rfind(ending)] if ending else path.name
    return next((name for name, said in zip(names, (*names[:-1], plain), strict=True) if _rejects(said)), "")


def holds_verdicts(format: str, rows: Iterable[Mapping[str, Any]]) -> bool:
    """Return whether rows of a format say themselves what was rejected."""
    return format not in _BARE or any(flatten_name(key) in KNOWN for row in rows for key in row)


def _rejects(name: str) -> bool:
    flat = plain_word(flatten_name(name)).strip("_")
    for phrase in _PHRASES:
        if phrase in flat:
            flat = flat.replace(phrase, "rejected")
    words = [word for word in flat.split("_") if word and not word.isdigit()]
    return any(word in _REJECTED for word in words) and all(word in _REJECTED | _BESIDE for word in words)
