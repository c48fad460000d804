"""Read the files of a source: from disk, an address, a data set, an archive, or the label page."""

from __future__ import annotations

import difflib
import glob
import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from model.errors import UserError, one_line_path
from model.events import EventCallback, Message
from tasks.common.names import yaml_text
from tasks.data.file_io.files import SourceFile, unpacked_suffix
from tasks.data.parsing.base import ParseOptions
from tasks.data.records import Comparison, ParsedRow, Rating
from tasks.data.sources import huggingface
from tasks.data.sources.download import download_file
from tasks.data.sources.guide_names import guide_files
from tasks.data.sources.package_archive import fetch_archive, read_member
from tasks.data.sources.page_source import page_files, read_page
from tasks.data.sources.rejecting_names import check_file_names
from tasks.data.sources.source_files import match_files
from tasks.data.sources.source_types import DataParameters, Source, as_list
from tasks.data.values.annotators import UNKNOWN_ANNOTATOR, normalize_annotator
from tasks.project.data_folder import lies_in_data
from tasks.project.paths import DOWNLOADS

ENDINGS = (".txt", ".md", ".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".parquet")


def read_source(
    source: Source, parameters: DataParameters, root: Path, on_event: EventCallback
) -> list[SourceFile]:
    """Return the files of a source, downloaded if necessary.

    Files on disk are not read here: each SourceFile has its `path`. Members of archives are in memory.

    Raises:
        UserError: Something is missing or has changed.
    """
    if source.files:
        files = [SourceFile(source_path_name(path, root), path=path) for path in own_files(source, root)]
        check_file_names(files, source, root, reading_of(source, root))
        for notice in _guide_notices(files, source, root):
            on_event(Message(f"source {source.name}: {notice}"))
        return files
    if source.urls:
        return [
            SourceFile(given.display_text, path=download_file(given, root, on_event))
            for given in source.addresses
        ]
    if source.dataset:
        return [
            SourceFile(f"{source.wanted.shown}.parquet", path=huggingface.dataset_table(source.wanted, root))
        ]
    if source.labels:
        for notice in read_page(source, parameters, root).notices:
            on_event(Message(f"source {source.name}: {notice}"))
        return page_files(source, parameters, root)
    archive = fetch_archive(parameters.archives[source.archive], root / DOWNLOADS)
    return [SourceFile(f"{archive.name}:{member}", read_member(archive, member)) for member in source.members]


def reading_of(source: Source, root: Path) -> ParseOptions:
    """Return the options of a source's parser. Raise UserError if the labelling configuration is missing."""
    labelling = (
        SourceFile(source.label_config, path=labelling_config_path(source, root)).text()
        if source.label_config
        else ""
    )
    return ParseOptions(
        source.name, source.prompt, {name: own for name, own in source.columns.items() if own},
        source.document_unit, source.aspect, labelling, dict(source.fields), source.marked_texts,
    )  # fmt: skip


def without_ignored(files: Sequence[SourceFile], source: Source) -> list[SourceFile]:
    """Return the files of a source without the columns that it ignores."""
    ignored = tuple(name for name, own in source.columns.items() if not own)
    return [replace(file, ignored=ignored) for file in files] if ignored else list(files)


def check_annotators(source: Source, found: ParsedRow) -> None:
    """Raise UserError if a label is by a person whom the source does not name."""
    row = found.row
    if not source.annotators or not isinstance(row, Comparison | Rating) or row.fault:
        return
    known = {normalize_annotator(name) or UNKNOWN_ANNOTATOR for name in source.annotators}
    for name in [row.annotator, *row.first_annotators] if isinstance(row, Comparison) else row.annotators:
        if name not in known:
            raise UserError(
                f"{found.where}: a label by {name!r}, who is not among the annotators of source "
                f"{source.name} ({', '.join(source.annotators)}); add the name there, or remove the row"
            )


def own_files(source: Source, root: Path) -> list[Path]:
    """Return the files of a source's globs and folders, each once, in the order of the globs.

    Those of `exclude` are left out. A glob may lead out of the project's folder, which is the author's
    decision. Raises UserError for a glob without a match.
    """
    found: dict[str, Path] = {}
    excluded = {os.path.realpath(path) for path in _excluded_files(source, root)}
    for pattern in as_list(source.files):
        try:
            paths = match_files(pattern, root, lambda name: unpacked_suffix(name) in ENDINGS)
        except UserError as error:
            raise UserError(f"source {source.name}: {error}") from error
        # Ingestion empties data/ before it writes, so it would delete its own source.
        if inside := [path for path in paths if lies_in_data(path, root)]:
            shown = one_line_path(source_path_name(inside[0], root))
            raise UserError(
                f"source {source.name}: {shown} is in data/, which chatmill replaces; move it elsewhere"
            )
        if not paths:
            raise UserError(f"source {source.name}: {_explain_no_match(pattern, root)}")
        for path in paths:
            if os.path.realpath(path) not in excluded:
                found.setdefault(os.path.realpath(path), path)
    if excluded and not found:
        raise UserError(f"source {source.name}: exclude leaves out every file; remove one of its entries")
    return list(found.values())


def _guide_notices(files: Sequence[SourceFile], source: Source, root: Path) -> Iterator[str]:
    """Yield a sentence about files of globs and folders whose names say that they are about the data."""
    named = {os.path.realpath(root / pattern) for pattern in as_list(source.files)}
    guides = guide_files([file.path for file in files if file.path])
    if found := [path for path in guides if os.path.realpath(path) not in named]:
        names = [one_line_path(source_path_name(path, root)) for path in found]
        excluded = ", ".join(map(yaml_text, [*as_list(source.exclude), *names]))
        yield (
            f"{', '.join(names)}: by the name it is about the data and no part of it, and it is learned "
            f"all the same; exclude: [{excluded}] in the source leaves it out"
        )


def _excluded_files(source: Source, root: Path) -> Iterator[Path]:
    """Yield the files of `exclude`. Raise UserError for an entry without a match, which may be mistyped."""
    for pattern in as_list(source.exclude):
        try:
            paths = match_files(pattern, root, lambda name: True)
        except UserError as error:
            raise UserError(f"source {source.name}: exclude: {error}") from error
        if not paths:
            raise UserError(
                f"source {source.name}: exclude: {pattern} matches no file in {root}; correct or remove it"
            )
        yield from paths


def _explain_no_match(pattern: str, root: Path) -> str:
    path = root / pattern
    if path.is_dir():
        return (
            f"the folder {pattern} holds no file that ends in {', '.join(ENDINGS)} (or these with .gz, .zst)"
        )
    if glob.has_magic(pattern):
        return f"{pattern} matches no file in {root}"
    there = [near.name for near in path.parent.iterdir()] if path.parent.is_dir() else []
    # A mistyped name is the most common reason for a missing file.
    near = difflib.get_close_matches(path.name, sorted(there), n=1)
    return f"the file {pattern} is missing" + (f"; did you mean {near[0]}?" if near else f" in {root}")


def labelling_config_path(source: Source, root: Path) -> Path:
    path = root / source.label_config
    if not path.is_file():
        raise UserError(f"source {source.name}: the labelling configuration {source.label_config} is missing")
    return path


def source_path_name(path: Path, root: Path) -> str:
    return Path(os.path.relpath(path, root)).as_posix()
