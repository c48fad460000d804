"""Recognize files and folders whose names say that their rows were rejected or removed, as `rejected/`."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from glob import has_magic
from pathlib import Path, PurePosixPath
from typing import Any

from model.errors import UserError, one_line_path
from tasks.common.counts import counted
from tasks.common.names import yaml_text
from tasks.data.file_io.files import SourceFile, unpacked_stem
from tasks.data.formats.detect import choose_reading, sample_file
from tasks.data.parsing.base import ParseOptions
from tasks.data.sources.source_types import Source, as_list
from tasks.data.values.field_meanings import KNOWN, flatten_name, plain_word, plain_words

# The formats whose rows hold no verdict of their own.
_BARE = ("alpaca", "markdown", "messages", "plain", "rows", "sharegpt")

_REJECTED = plain_words(
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
_PHRASES = plain_words(
    """
    do_not_learn do_not_train do_not_use dont_train dont_use no_ai no_consent not_for_training opted_out
    thumbs_down to_delete to_remove nicht_verwenden ne_pas_utiliser no_usar
    """
)
# Words beside them. A deleted scene is part of a film, so any other word makes another name.
_BESIDE = plain_words(
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
    said_names = (*names[:-1], unpacked_stem(path.name))
    return next((name for name, said in zip(names, said_names, strict=True) if _rejects(said)), "")


def holds_verdicts(
    format: str, rows: Iterable[Mapping[str, Any]], fields: Mapping[str, Any] | None = None
) -> bool:
    """Return whether rows of a format say themselves what was rejected.

    Args:
        format: The name of the format.
        rows: The first rows of a file.
        fields: The meanings of keys in the preset.
    """
    told = {key: meaning not in ("ignore", "text") for key, meaning in (fields or {}).items()}
    return format not in _BARE or any(
        told.get(key, flatten_name(key) in KNOWN) for row in rows for key in row
    )


def check_file_names(files: Sequence[SourceFile], source: Source, root: Path, reading: ParseOptions) -> None:
    """Raise UserError if a glob or a folder matches a file whose name says that its rows were rejected.

    A file that `files` names itself, or by one of its folders, is meant. So is one whose rows hold verdicts.

    Args:
        files: The files of the source, on disk.
        source: The source.
        root: The project's folder.
        reading: The options of the source's parser.
    """
    rejected: dict[str, list[str]] = {}
    for file in files:
        part = _unnamed_part(file, source, root)
        if part and not _tells_verdicts(file, source, reading):
            path = PurePosixPath(file.origin)
            above = next(one for one in (path, *path.parents) if one.name == part)
            rejected.setdefault(str(above), []).append(file.origin)
    if rejected:
        place, names = next(iter(rejected.items()))
        many = "" if names == [place] else f" of {counted(len(names), 'files')}"
        others = ", ".join(map(one_line_path, list(rejected)[1:]))
        more = f" The same holds for {others}." if others else ""
        excluded = [*as_list(source.exclude), *rejected]
        raise UserError(
            f"source {source.name}: {one_line_path(place)}: its name says that the rows{many} are not to be "
            f"learned, and the rows do not say it themselves.{more} To leave out, set exclude: "
            f"{_yaml_list(excluded)} in the source; to learn all the same, files: "
            f"{_yaml_list([*as_list(source.files), *rejected])}"
        )


def _yaml_list(names: Sequence[str]) -> str:
    return f"[{', '.join(map(yaml_text, names))}]"


def _unnamed_part(file: SourceFile, source: Source, root: Path) -> str:
    """Return the rejecting part of a file's path that no entry of `files` has; empty if one has it."""
    part = ""
    for pattern in as_list(source.files):
        base = Path(pattern)
        if has_magic(pattern) and not os.path.lexists(root / pattern):
            parts = base.parts
            fixed = next(number for number, name in enumerate(parts) if has_magic(name))
            base = Path(*parts[:fixed])
        try:
            below = (root / file.origin).relative_to(root / base)
        except ValueError:
            continue
        if below == Path():
            return ""
        # An entry that names the folder has decided for all that is in it.
        part = rejecting_part(root / file.origin, root / base)
        if not part:
            return ""
    return part


def _tells_verdicts(file: SourceFile, source: Source, reading: ParseOptions) -> bool:
    """Return whether the rows of a file say what was rejected, or the file cannot be read as rows."""
    try:
        sample = sample_file(file)
        known, _ = choose_reading([file], source.name, source.format, reading)
    except UserError:
        # Reading the source says what is wrong with the file.
        return True
    rows = [item.values for item in sample.items] if sample else []
    return sample is None or holds_verdicts(known.name, rows, source.fields)


def _rejects(name: str) -> bool:
    flat = plain_word(flatten_name(name)).strip("_")
    for phrase in _PHRASES:
        if phrase in flat:
            flat = flat.replace(phrase, "rejected")
    words = [word for word in flat.split("_") if word and not word.isdigit()]
    return any(word in _REJECTED for word in words) and all(word in _REJECTED | _BESIDE for word in words)
