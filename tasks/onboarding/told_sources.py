"""Find what an earlier preset of a folder says about its files, so that `init` does not ask for it again."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from model.errors import UserError
from tasks.data.file_io.files import unpacked_suffix
from tasks.data.formats.detect import AUTO, list_mismatches, rename_keys
from tasks.data.formats.registry import formats
from tasks.data.formats.unsupported_shapes import unreadable_shape
from tasks.data.parsing.base import FileSample
from tasks.data.sources.source_files import match_files
from tasks.data.sources.source_reading import ENDINGS
from tasks.data.sources.source_types import Source, as_list
from tasks.data.values.column_names import Guess

_PLAIN = "plain"


def told_guesses(sources: Iterable[Source], root: Path) -> dict[Path, Guess]:
    """Return what an earlier preset says about each file of its sources.

    Only sources with `format`, `columns`, `fields` or `marked_texts` say anything.

    Args:
        sources: The sources of an earlier preset.
        root: The project's folder.

    Returns:
        The guesses by the real paths of the files. A source whose files are gone has none.
    """
    told: dict[Path, Guess] = {}
    for source in sources:
        says = source.format != AUTO or source.columns or source.fields or source.marked_texts
        if not says:
            continue
        for pattern in as_list(source.files):
            try:
                paths = match_files(pattern, root, lambda name: unpacked_suffix(name) in ENDINGS)
            except UserError:
                # The scan of the folder names a file that cannot be read.
                continue
            for path in paths:
                guess = Guess(
                    source.format, dict(source.columns), dict(source.fields), True, source.marked_texts
                )
                told.setdefault(path.resolve(), guess)
    return told


def told_guess(told: Mapping[Path, Guess], path: Path, sample: FileSample) -> Guess | None:
    """Return what an earlier preset says about a file, with its format; None if that does not fit the file.

    Args:
        told: The guesses of `told_guesses`.
        path: The file.
        sample: The first rows of the file.
    """
    found = told.get(path.resolve())
    if found is None:
        return None
    if not (found.columns or found.fields):
        return found._replace(told=False) if _chooses_format(found.format, sample) else None
    if not sample.items:
        return None
    # The file may have other columns than it had when the preset was written.
    keys = {str(key) for item in sample.items for key in item.values}
    if any(own and own not in keys for own in found.columns.values()):
        return None
    if found.format != AUTO:
        return found
    looks = list_mismatches(rename_keys(sample, found.columns), formats())
    fitting = [name for name, why_not in looks.items() if not why_not]
    return found._replace(format=fitting[0]) if len(fitting) == 1 else None


def _chooses_format(told: str, sample: FileSample) -> bool:
    """Return whether a format alone is an answer: prose of Markdown can be plain, or several formats fit."""
    if told == _PLAIN:
        # A file in which objects or a table were found since is no prose, whatever its source's glob says.
        return not sample.items and not unreadable_shape(sample)
    fitting = [name for name, why_not in list_mismatches(sample, formats()).items() if not why_not]
    return told in fitting and len(fitting) > 1
