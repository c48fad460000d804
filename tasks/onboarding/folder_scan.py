"""Scan a user's folder: which files hold text, pairs or labels, in which format, and how much."""

from __future__ import annotations

import glob
import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from itertools import takewhile
from pathlib import Path

from model.errors import UserError, one_line_path
from tasks.common.counts import counted
from tasks.common.names import slugify_name, unused_name, yaml_text
from tasks.data.file_io.decoding import HEAD
from tasks.data.file_io.files import SourceFile
from tasks.data.formats.detect import (
    describe_empty,
    explain_unknown,
    list_mismatches,
    rename_keys,
    sample_file,
)
from tasks.data.formats.registry import find_format, formats
from tasks.data.formats.unsupported_shapes import unreadable_shape
from tasks.data.labels.rated_answers import bad_answers
from tasks.data.parsing.base import FileSample
from tasks.data.parsing.guessed_rows import add_passage, guess_rows
from tasks.data.records import Record, Text
from tasks.data.rejections import rejection_id
from tasks.data.sources.guide_names import guide_files, names_guide
from tasks.data.sources.rejecting_names import holds_verdicts, rejecting_part
from tasks.data.sources.source_files import NOT_UNICODE, check_file, walk_folders
from tasks.data.sources.source_reading import ENDINGS
from tasks.data.sources.source_types import Source, as_list
from tasks.data.values.column_names import (
    Guess,
    format_columns,
    format_fields,
    labelled_columns,
    respelled_columns,
)
from tasks.data.withdrawals import Withdrawn, read_withdrawn
from tasks.onboarding.hidden_files import hidden_data
from tasks.onboarding.own_folders import check_place
from tasks.onboarding.source_proposal import (
    Proposal,
    display_path,
    file_ending,
    plain_file_name,
    read_proposal,
)
from tasks.onboarding.told_sources import told_guess, told_guesses
from tasks.onboarding.voted_answers import voted_answers

_GUIDE = (
    "its name says that it is about the data and no part of it; to learn it, name it under files of a source"
)
_SHORTEST_NAME = 3  # letters that the names of files share
CONFIGURATION = ".xml"  # a labelling tool's configuration, beside its exports


class UnmappedFile(UserError):
    """A file of no known format, whose columns a preset can map."""


@dataclass(frozen=True)
class FolderScan:
    """The sources of a folder, and its other files, each with the reason.

    `unreadable` names those of the others that have the suffix of data and cannot be read, and `unmapped`
    those of them whose columns a preset can map.
    """

    sources: list[Proposal]
    others: list[tuple[str, str]] = field(default_factory=list)
    unreadable: list[str] = field(default_factory=list)
    unmapped: frozenset[str] = frozenset()

    def count(self, kind: str) -> int:
        """Return the estimated number of rows of a kind in all sources."""
        return sum(source.count(kind) for source in self.sources)

    def of(self, kind: str) -> list[Record]:
        """Return the rows of a kind that were read."""
        return [row for source in self.sources for row in source.of(kind)]

    def text_bytes(self) -> int:
        """Return the estimated number of UTF-8 bytes of all documents."""
        return sum(
            round(sum(len(row.text.encode()) for row in source.rows if isinstance(row, Text)) / source.share)
            for source in self.sources
        )

    @property
    def size(self) -> int:
        """The bytes of the files of all sources."""
        return sum(source.size for source in self.sources)

    @property
    def whole(self) -> bool:
        """True if every row was read."""
        return all(source.share == 1 for source in self.sources)


def scan_folder(
    folder: Path, root: Path, earlier: Iterable[Source] = (), skip_unknown: bool = False
) -> FolderScan:
    """Scan the files of a folder. Globs are relative to `root`. Hidden files are among the others.

    A file of no clear format, or one that is cut off, is among the others with the reason.

    Args:
        folder: The folder.
        root: The project's folder.
        earlier: The sources of an earlier preset. Their `columns`, `fields` and `marked_texts` hold where
            they fit.
        skip_unknown: Whether the sources ignore the columns that no rule knows.

    Raises:
        UserError: The folder is missing or empty.
    """
    if not folder.is_dir():
        raise UserError(f"{folder} is not a folder; expected the folder with your text, pairs and labels")
    others: list[tuple[str, str]] = []
    unreadable: list[str] = []
    unmapped: set[str] = set()
    known: dict[Path, Guess] = {}
    empty: dict[Path, str] = {}
    rejected: dict[Path, list[str]] = {}
    seen: set[str] = set()
    withdrawn = read_withdrawn(root)
    earlier = list(earlier)
    told = told_guesses(earlier, root)
    wanted = {(root / name).resolve() for source in earlier for name in as_list(source.files)}
    paths = _list_files(folder, root)
    others += [(one_line_path(display_path(path, root)), why) for path, why in hidden_data(folder)]
    saved = _saved_sets(paths)
    others += [_describe_dataset(display_path(place, root)) for place in saved]
    for path in paths:
        name = one_line_path(display_path(path, root))
        if any(path.is_relative_to(place) for place in saved):
            continue
        # A run stops at a pipe, a device, a broken link or a name that is not UTF-8, so the preset must not
        # match it.
        try:
            check_file(path, name)
        except UserError as error:
            others.append((name, str(error).removeprefix(f"{name} ").removeprefix(f"{name}: ")))
            # The preset names these, and it is UTF-8.
            named = file_ending(path) in ENDINGS and NOT_UNICODE not in str(error)
            unreadable += [name] if named else []
            continue
        if file_ending(path) not in (*ENDINGS, CONFIGURATION):
            others.append((name, _describe_other(path, name)))
            continue
        try:
            sample = sample_file(file := SourceFile(name, path=path))
            if sample is None:
                empty[path] = f"it {describe_empty(file)}"
                continue
            guess = told_guess(told, path, sample) or _guess_format(sample, name)
            if before := told.get(path.resolve()):
                guess = guess._replace(marked_texts=before.marked_texts)
            part = rejecting_part(path, folder)
            if part and not holds_verdicts(guess.format, (item.values for item in sample.items)):
                marked = next(above for above in (path, *path.parents) if above.name == part)
                rejected.setdefault(marked, []).append(name)
                continue
            known[path] = guess
        except UserError as error:
            others.append((name, _error_reason(name, error)))
            # Other tools use .xml too, so such a file is not reported as unreadable data.
            ours = file_ending(path) != CONFIGURATION and not names_guide(path.name)
            unreadable += [name] if ours else []
            if isinstance(error, UnmappedFile):
                unmapped.add(name)
    guides = [path for path in guide_files(list(known)) if path.resolve() not in wanted]
    known = {path: guess for path, guess in known.items() if path not in guides}
    others += [(one_line_path(display_path(path, root)), _GUIDE) for path in guides]
    others += [_describe_rejected(display_path(above, root), names) for above, names in rejected.items()]
    known = _with_empty(folder, known, empty)
    for path, why in empty.items():
        if path not in known:
            others.append((display_path(path, root), why))
            unreadable += [display_path(path, root)] if file_ending(path) != CONFIGURATION else []
    sources: list[Proposal] = []
    taken: set[str] = set()
    for place, paths in _group_files(folder, known):
        name = unused_name(slugify_name(place[0] or _name_files(paths, folder)), taken)
        taken.add(name)
        globs, exclude = _find_globs(place, paths, folder, root, guides)
        try:
            found = read_proposal(name, known[paths[0]], globs, paths, root, seen, withdrawn, skip_unknown)
            sources.append(replace(found, exclude=exclude))
        except UserError as error:
            together = find_format(known[paths[0]].format).unit == "source"
            # Files that make sense together only are not tried alone: each would lack the others.
            whole, broken = ([], []) if together else _sorted_out(paths, known[paths[0]], root)
            failed = broken or [(one_line_path(", ".join(globs)), str(error))]
            others += failed
            unreadable += [name for name, _ in failed]
            if broken and whole:
                globs, _ = _find_globs(place, whole, folder, root)
                sources.append(
                    read_proposal(name, known[whole[0]], globs, whole, root, seen, withdrawn, skip_unknown)
                )
    if not known and not others:
        raise UserError(f"{one_line_path(folder)} contains no files; put your text, pairs and labels there")
    return FolderScan(_without_rejected(sources), others, unreadable, frozenset(unmapped))


def _describe_rejected(place: str, names: Sequence[str]) -> tuple[str, str]:
    """Return a file or a folder whose name says that it was rejected, and why its files are left out."""
    many = "" if list(names) == [one_line_path(place)] else f" of {counted(len(names), 'files')}"
    return one_line_path(place), (
        f"its name says that the rows{many} are not to be learned, and the rows do not say it themselves; to "
        f"learn them, add a source with files: {yaml_text(place)}, or give it another name"
    )


def _describe_other(path: Path, name: str) -> str:
    """Return why a file with another suffix is not read, with advice for archives and documents."""
    try:
        # This unpacks, as an archive may be packed once more: .tar.gz is.
        with SourceFile(name, path=path).characters() as stream:
            stream.read(HEAD)
    except (UserError, OSError) as error:
        if isinstance(error, UserError) and "not text" in (said := _error_reason(name, error)):
            return said
    return f"not one of {', '.join(ENDINGS)} (or these with .gz, .zst)"


def _without_rejected(sources: list[Proposal]) -> list[Proposal]:
    """Return the sources without the rows that another source rejects, or rates bad only."""
    ids = bad_answers([source.rated for source in sources]).union(*(source.rejected for source in sources))
    return [
        replace(source, rows=tuple(row for row in source.rows if rejection_id(row) not in ids))
        if ids
        else source
        for source in sources
    ]


def _sorted_out(paths: Sequence[Path], found: Guess, root: Path) -> tuple[list[Path], list[tuple[str, str]]]:
    """Try files that cannot be read together one by one; return those that can be read, and the others."""
    whole, broken = [], []
    for path in paths:
        name = one_line_path(display_path(path, root))
        try:
            read_proposal(slugify_name(path.stem), found, (name,), [path], root, set(), Withdrawn())
            whole.append(path)
        except UserError as error:
            broken.append((name, _error_reason(name, error)))
    return whole, broken


def _error_reason(name: str, error: UserError) -> str:
    """Return an error's text without the source and the file at its beginning."""
    said = re.sub(r"^source [^\s:]*: ", "", str(error))
    return said.removeprefix(f"{name}, ").removeprefix(f"{name}: ")


def _list_files(folder: Path, root: Path) -> list[Path]:
    """Return what is no folder below a folder, in the order of the paths, without hidden ones.

    Links to folders are followed, but no folder is entered twice, so a loop of links ends. Raises UserError
    for a link into a folder that chatmill writes to, and for a folder that cannot be listed.
    """
    found: list[Path] = []
    for here, folders, names in walk_folders(folder):
        for name in (*folders, *names):
            # A link into data/ would make chatmill's own rows a source of themselves.
            if (here / name).is_symlink():
                check_place(here / name, root)
        found += [here / name for name in names]
    return sorted(found)


def _guess_format(sample: FileSample, name: str) -> Guess:
    """Return the only format that fits a file's sample, with its own columns if these have common names.

    Raises UserError with the candidates, or with the file's keys.
    """
    if sample.items and (labelled := labelled_columns([item.values for item in sample.items])):
        return Guess("rows", labelled)
    if said := unreadable_shape(sample):
        raise UserError(f"{name}: {said}")
    columns = respelled_columns(sample.items[0].values) if sample.items else {}
    known = formats()
    fitting = [
        one for one, why_not in list_mismatches(rename_keys(sample, columns), known).items() if not why_not
    ]
    values = [item.values for item in sample.items]
    # Columns `chosen` and `rejected` with marks beside an answer are no two answers.
    if fitting == ["preferences"] and (found := guess_rows(values)) and found.format == "rows":
        return found
    if len(fitting) == 1:
        return Guess(fitting[0], add_passage(Guess(fitting[0], columns), values) if values else columns)
    # Common names are a guess, so they are used only if no format fits by its own names.
    found = guess_rows(values) if not fitting else None
    if found and (found.fields or not known[found.format].fits(rename_keys(sample, found.columns))):
        return found
    if fitting:
        raise UserError(
            f"{name}: may be {' or '.join(fitting)}; set the format, as in {{name: ..., files: {name}, "
            f"format: {fitting[0]}}}"
        )
    # A run stops until the preset says what the votes mean, and the preset proposes it.
    if sample.items and (voted := voted_answers(values)) is not None:
        return Guess("rows", voted)
    unknown = explain_unknown(sample)
    raise (UnmappedFile if unknown.mappable else UserError)(f"{name}: {unknown.why}")


def _saved_sets(paths: Sequence[Path]) -> list[Path]:
    """Return folders that `save_to_disk` of the `datasets` library wrote, the outermost of nested ones."""
    marks = {path.parent for path in paths if path.name in ("dataset_dict.json", "dataset_info.json")}
    marks = {
        place for place in marks if (place / "dataset_dict.json").exists() or (place / "state.json").exists()
    }
    return [place for place in sorted(marks) if not any(other in marks for other in place.parents)]


def _describe_dataset(name: str) -> tuple[str, str]:
    return one_line_path(name), (
        "a data set of save_to_disk; add it to data.sources, as in "
        f"{{name: {yaml_text(slugify_name(Path(name).name))}, dataset: {yaml_text(name)}}}"
    )


def _file_place(path: Path, folder: Path) -> tuple[str, str]:
    """Return the subfolder (or none) and the whole suffix of a file, by which files form a source."""
    inner = path.relative_to(folder).parts
    # With the suffix of the compression, because a glob must match it.
    return inner[0] if len(inner) > 1 else "", path.name[len(Path(plain_file_name(path)).stem) :]


def _with_empty(folder: Path, known: dict[Path, Guess], empty: Iterable[Path]) -> dict[Path, Guess]:
    """Return the formats with those of empty files: each belongs to the only source of its place."""
    sources: dict[tuple[str, str], dict[str, Guess]] = defaultdict(dict)
    for path, found in known.items():
        sources[_file_place(path, folder)][str(found)] = found
    joined = dict(known)
    for path in empty:
        fitting = list(sources[_file_place(path, folder)].values())
        # A format that reads a whole source may not allow a file without content.
        if len(fitting) == 1 and find_format(fitting[0].format).unit != "source":
            joined[path] = fitting[0]
    return dict(sorted(joined.items()))


def _group_files(folder: Path, known: dict[Path, Guess]) -> list[tuple[tuple[str, str], list[Path]]]:
    """Group files into sources: those of one subfolder (or none), one suffix and one format."""
    groups: dict[tuple[str, str, str], list[Path]] = defaultdict(list)
    for path, found in known.items():
        name = (
            f"{found.format} {format_columns(found.columns)}{format_fields(found.fields)}{found.marked_texts}"
        )
        groups[*_file_place(path, folder), name].append(path)
    for top, ending, name in [key for key in groups if key[1] == CONFIGURATION]:
        # A labelling configuration is read together with the exports that it describes.
        exports = [key for key in groups if (key[0], key[2]) == (top, name) and key[1] != CONFIGURATION]
        if exports:
            configurations = groups.pop((top, ending, name))
            for key in exports:
                groups[key] += configurations
    return [((top, ending), groups[top, ending, name]) for top, ending, name in sorted(groups)]


def _name_files(paths: Sequence[Path], folder: Path) -> str:
    """Return what files at the top of a folder are called, so that messages name what the user knows.

    It is the name of a single file, the beginning that several names share up to a word's end, or else the
    name of the folder.
    """
    names = [Path(plain_file_name(path)).stem for path in paths]
    if len(names) == 1:
        return names[0]
    # The first and the last by the alphabet differ earliest.
    letters = zip(min(names), max(names), strict=False)
    shared = "".join(one for one, _ in takewhile(lambda both: both[0] == both[1], letters))
    # The beginning must end where a word or a number does: `river` and `rivet` share no word.
    if any(name[len(shared) :][:1].isalpha() and shared[-1:].isalpha() for name in names):
        shared = re.sub(r"[^\W\d_]+$", "", shared)
    shared = re.sub(r"[\W\d_]+$", "", shared)
    return shared if sum(map(str.isalpha, shared)) >= _SHORTEST_NAME else folder.resolve().name


def _find_globs(
    place: tuple[str, str], paths: Sequence[Path], folder: Path, root: Path, guides: Sequence[Path] = ()
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return one glob if it matches exactly these files and some guides, else names; and these guides."""
    top, ending = place
    base = folder / top if top else folder
    deep = any(len(path.relative_to(base).parts) > 1 for path in paths)
    pattern = f"{glob.escape(display_path(base, root))}/{'**/' if deep else ''}*{glob.escape(ending)}"
    matched = [root / name for name in glob.glob(pattern, root_dir=root, recursive=True)]
    files = {display_path(path, root) for path in matched if not path.is_dir()}
    names = [display_path(path, root) for path in paths]
    extra = files - set(names)
    if len(paths) > 1 and files >= set(names) and extra <= {display_path(path, root) for path in guides}:
        return (pattern,), tuple(sorted(extra))
    return tuple(names), ()
