"""Where data comes from: one's own files, addresses, data sets, and members of pinned package archives."""

from __future__ import annotations

import difflib
import glob
import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal, get_args

from model.errors import UserError
from model.events import EventCallback
from tasks.common.checksums import file_sums
from tasks.common.names import is_blank, name_fault
from tasks.common.url_secrets import conceal_secrets, display_url, same_but_for_secrets
from tasks.data import huggingface
from tasks.data.download import Address, content_version, download_file, parse_address
from tasks.data.formats.annotators import UNKNOWN, normalize_annotator
from tasks.data.formats.base import ParseOptions
from tasks.data.formats.detect import AUTO
from tasks.data.formats.field_meanings import check_fields
from tasks.data.formats.files import SourceFile, unpacked_suffix
from tasks.data.formats.registry import find_format
from tasks.data.package_archive import Archive, fetch_archive, leads_outside, read_member
from tasks.data.records import Comparison, ParsedRow, Rating
from tasks.data.source_files import match_files
from tasks.dvc.remote import address_problem
from tasks.project.data_folder import lies_in_data
from tasks.project.paths import DOWNLOADS

__all__ = ["Archive", "DataParameters", "Source"]

IGNORABLE = ("group",)  # names that `columns` may give no column: the file's own is not read
Documents = Literal["file", "paragraph"]
ENDINGS = (".txt", ".md", ".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".parquet")


@dataclass(frozen=True)
class Source:
    """One source, from one of four places; and how it is read.

    `files`: a glob, a folder, or a list of them, from the project's folder on; hidden files are passed over.
    A file or folder whose name is that of the glob is taken by its name.
    `urls`: addresses, each with `#sha256=SUM` behind it or without. `dataset`: a name on the hub with its
    `revision` (and `subset`), or a folder saved with save_to_disk; `split` where it has several. `archive`: a
    package's, with the `members` that are read; a member of an archive inside it is written with a `!`
    between the two.

    `format` names the parser in tasks/data/formats ("auto": found by looking); `prompt`, `columns`,
    `documents`, `aspect` and the file `labelling` are told to it; `columns: {group: ""}` has the column group
    ignored. `annotators` are those whose labels are taken (empty: everybody's); `quarantine` the largest
    share of this source's rows that may break a rule (None: as in validate).

    `fields` says what a key means that looks like a verdict or a training mask: `ignore`, `verdict`,
    `review`, `weight`, `mask`, `deleted`, or a mapping of its values to scores or to accept, reject and
    ignore.
    `strict`: the first row that cannot be read stops the run, where else it is set aside.
    """

    name: str
    format: str = AUTO
    archive: str = ""
    members: tuple[str, ...] = ()
    files: str | tuple[str, ...] = ()
    urls: str | tuple[str, ...] = ()
    dataset: str = ""
    subset: str = ""
    revision: str = ""
    split: str = ""
    prompt: str = ""
    columns: dict[str, str] = field(default_factory=dict)
    documents: Documents = "file"
    aspect: str = "helpfulness"
    labelling: str = ""
    annotators: tuple[str, ...] = ()
    quarantine: float | None = None
    fields: dict[str, str | dict[str, float | str]] = field(default_factory=dict)
    strict: bool = False

    def __post_init__(self) -> None:
        if fault := name_fault(self.name):
            raise ValueError(f"name is {self.name!a}, {fault}")
        # What is recorded of a preset, by whomever, holds no key: this process alone keeps it.
        urls = self.urls
        concealed = conceal_secrets(urls) if isinstance(urls, str) else tuple(map(conceal_secrets, urls))
        object.__setattr__(self, "urls", concealed)
        for said in self._faults():
            raise ValueError(f"source {self.name}: {said}")

    def _faults(self) -> list[str]:
        """What is wrong, each in words that follow the source's name."""
        places = [name for name in ("files", "urls", "dataset", "archive") if getattr(self, name)]
        faults = []
        if len(places) != 1:
            said = " and ".join(places) or "none"
            faults.append(
                f"one of files, urls, dataset or archive (with members) is right, and here is {said}"
            )
        if self.archive and not self.members:
            faults.append("members says which files of the archive are read")
        for name, place in (
            ("members", "archive"),
            *((n, "dataset") for n in ("subset", "revision", "split")),
        ):
            if getattr(self, name) and not getattr(self, place):
                faults.append(f"{name} goes with {place}, which is not there")
        for member in self.members:
            if leads_outside(member):
                faults.append(f"the member {member!r} leads out of its archive; its own path is right")
        for pattern in as_list(self.files):
            if not pattern.strip():
                faults.append("files has an empty name in it; a glob, a folder or a file is right")
            elif "://" in pattern:
                faults.append(f"files has the address {display_url(pattern)}; it goes under urls")
        for url in as_list(self.urls):
            try:
                parse_address(url)
            except ValueError as error:
                faults.append(str(error))
        if self.format != AUTO:
            try:
                find_format(self.format)
            except UserError as error:
                faults.append(str(error))
        if self.documents not in get_args(Documents):
            faults.append(f"documents is {self.documents!r}; file or paragraph is right")
        if fault := name_fault(self.aspect):
            faults.append(f"aspect is {self.aspect!a}, {fault}")
        if any(map(is_blank, self.columns)):
            faults.append("columns has an empty key; a role or an aspect is right, as in prompt")
        faults += [
            f"columns: {key!r} stands for no column"
            for key, to in self.columns.items()
            if not to and key not in IGNORABLE
        ]
        if any(map(is_blank, self.annotators)):
            faults.append("annotators has an empty name in it")
        faults += check_fields(self.fields)
        if self.quarantine is not None and not 0 <= self.quarantine <= 1:
            faults.append(f"quarantine is {self.quarantine}; it is a share, from 0 to 1")
        return faults

    @property
    def wanted(self) -> huggingface.Wanted:
        """The data set that it names."""
        return huggingface.Wanted(self.dataset, self.subset, self.revision, self.split)

    @property
    def addresses(self) -> list[Address]:
        """Its urls."""
        return [parse_address(url) for url in as_list(self.urls)]


@dataclass(frozen=True)
class DataParameters:
    """What ingestion reads, and where the versions of the data go.

    `remote` is the folder (or address) of the DVC remote; empty: data stays here. `endpoint` is the server of
    a store that speaks S3 and is not Amazon's. `accept` takes sources that give other rows than data.dvc
    says, as a new version. `readmit` takes rows and people back that the last version left out as withdrawn.
    `strict` makes every source strict. `version`, the hash in data.dvc, has that version stand for the
    sources: none is read, and they may be gone.
    """

    sources: tuple[Source, ...]
    archives: dict[str, Archive] = field(default_factory=dict)
    remote: str = ""
    endpoint: str = ""
    accept: bool = False
    readmit: bool = False
    strict: bool = False
    version: str = ""

    def __post_init__(self) -> None:
        names = [source.name for source in self.sources]
        if not names:
            raise ValueError("sources is empty; name at least one")
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"sources: {name} is there twice; a source's name is its own")
        for source in self.sources:
            if source.archive and source.archive not in self.archives:
                raise ValueError(f"source {source.name}: archive {source.archive!r} is not among archives")
        if twice := same_but_for_secrets([url for source in self.sources for url in as_list(source.urls)]):
            raise ValueError(
                f"sources: {twice} is there twice, and only what may be a secret tells one from the other; "
                "write ${NAME} for that value, each with a NAME of its own, and set it in the environment"
            )
        for name in ("remote", "endpoint"):
            if said := address_problem(getattr(self, name)):
                raise ValueError(f"{name} {said}")


def as_list(one_or_more: str | Sequence[str]) -> tuple[str, ...]:
    """A single name as a list of it."""
    return (one_or_more,) if isinstance(one_or_more, str) else tuple(one_or_more)


def read_source(
    source: Source, parameters: DataParameters, root: Path, report: EventCallback
) -> list[SourceFile]:
    """The files of a source, fetched where they must be. Raises UserError for what is missing or changed.

    What is on disk is not read here: each File has its `path`. Members of archives are in memory.
    """
    if source.files:
        return [SourceFile(_display_path(path, root), path=path) for path in own_files(source, root)]
    if source.urls:
        return [
            SourceFile(given.display_text, path=download_file(given, root, report))
            for given in source.addresses
        ]
    if source.dataset:
        return [
            SourceFile(f"{source.wanted.shown}.parquet", path=huggingface.dataset_table(source.wanted, root))
        ]
    archive = fetch_archive(parameters.archives[source.archive], root / DOWNLOADS)
    return [SourceFile(f"{archive.name}:{member}", read_member(archive, member)) for member in source.members]


def reading_of(source: Source, root: Path) -> ParseOptions:
    """What the source's parser is told. Raises UserError where the labelling configuration cannot be read."""
    labelling = (
        SourceFile(source.labelling, path=_read_labelling_config(source, root)).text()
        if source.labelling
        else ""
    )
    return ParseOptions(
        source.name, source.prompt, {name: own for name, own in source.columns.items() if own},
        source.documents, source.aspect, labelling, dict(source.fields),
    )  # fmt: skip


def without_ignored(files: Sequence[SourceFile], source: Source) -> list[SourceFile]:
    """Return the files of a source without the columns that it names as not to be read."""
    ignored = tuple(name for name, own in source.columns.items() if not own)
    return [replace(file, ignored=ignored) for file in files] if ignored else list(files)


def check_annotators(source: Source, found: ParsedRow) -> None:
    """Raises UserError where a label is by someone whom the source does not name."""
    row = found.row
    if not source.annotators or not isinstance(row, Comparison | Rating) or row.fault:
        return
    known = {normalize_annotator(name) or UNKNOWN for name in source.annotators}
    for name in [row.annotator] if isinstance(row, Comparison) else row.annotators:
        if name not in known:
            raise UserError(
                f"{found.where}: a label by {name!r}, who is not among the annotators of source "
                f"{source.name} ({', '.join(source.annotators)}); add the name there, or leave the row out"
            )


def sources_digest(parameters: DataParameters, root: Path) -> str:
    """What the rows are made of: each source's description, and what its bytes go by (`source_identities`).

    What a source leaves at its default is not described, nor its share of quarantine, which changes no row.
    A version that stands for them is all.
    """
    return identities_digest(parameters, source_identities(parameters, root))


def source_identities(parameters: DataParameters, root: Path) -> list[dict[str, Any]]:
    """What each source's bytes go by, with its name.

    That is an archive's pin, the SHA-256 of each file (read once for as long as it stays as it is) and of the
    labelling configuration, the sum of an address or what its server says of it, a data set's revision.
    """
    if parameters.version:
        return []
    found: list[dict[str, Any]] = []
    for source in parameters.sources:
        urls = [
            {"url": given.display_text, "version": content_version(given, root)} for given in source.addresses
        ]
        identity = {
            "name": source.name,
            "pin": asdict(parameters.archives[source.archive]) if source.archive else None,
            "files": _file_sums(own_files(source, root), root),
            "labelling": _file_sums([_read_labelling_config(source, root)] if source.labelling else [], root),
            "urls": urls,
            "dataset": huggingface.dataset_identity(source.wanted, root) if source.dataset else None,
        }
        found.append({name: value for name, value in identity.items() if value})
    return found


def check_still(parameters: DataParameters, root: Path, found: Sequence[Mapping[str, Any]]) -> None:
    """Raises UserError for a file that is not what it was when its `source_identities` were found.

    Files that came since were not asked for; the next ingestion reads them.
    """
    for source, each in zip(parameters.sources, found, strict=True):
        before = {**each.get("files", {}), **each.get("labelling", {})}
        there = [root / name for name in before if (root / name).is_file()]
        now = _file_sums(there, root)
        for name in before:
            if now.get(name) != before[name]:
                raise UserError(
                    f"source {source.name}: {name} changed while it was read; let it be written beside and "
                    "renamed into its place when it is whole, and run again"
                )


def _file_sums(paths: Sequence[Path], root: Path) -> dict[str, str]:
    """The SHA-256 of files by their names from the project's folder on."""
    if not paths:
        return {}
    return dict(zip((_display_path(path, root) for path in paths), file_sums(list(paths), root), strict=True))


def identities_digest(parameters: DataParameters, found: Sequence[Mapping[str, Any]]) -> str:
    """`sources_digest` of identities that are known already."""
    if parameters.version:
        return f"version {parameters.version}"
    described = [
        [
            _describe_source(source),
            each.get("pin"),
            list(each.get("files", {})),
            [*each.get("files", {}).values(), *each.get("labelling", {}).values()],
            [url["version"] for url in each.get("urls", ())],
            each.get("dataset"),
        ]
        for source, each in zip(parameters.sources, found, strict=True)
    ]
    return hashlib.sha256(json.dumps(described, sort_keys=True).encode()).hexdigest()


def own_files(source: Source, root: Path) -> list[Path]:
    """The files that a source's globs and folders hold, each once: by glob as listed, sorted in each.

    A glob may lead out of the project's folder; that is for its author to say. Raises UserError for one that
    matches nothing.
    """
    found: dict[str, Path] = {}
    for pattern in as_list(source.files):
        try:
            paths = match_files(pattern, root, lambda name: unpacked_suffix(name) in ENDINGS)
        except UserError as error:
            raise UserError(f"source {source.name}: {error}") from error
        if inside := [path for path in paths if lies_in_data(path, root)]:
            raise UserError(
                f"source {source.name}: {_display_path(inside[0], root)} lies in data/, which "
                f"chatmill replaces; "
                "move it to another folder and name that one"
            )
        if not paths:
            raise UserError(f"source {source.name}: {_explain_no_match(pattern, root)}")
        for path in paths:
            found.setdefault(os.path.realpath(path), path)
    return list(found.values())


def _explain_no_match(pattern: str, root: Path) -> str:
    path = root / pattern
    if path.is_dir():
        return (
            f"the folder {pattern} holds no file that ends in {', '.join(ENDINGS)} (or these with .gz, .zst)"
        )
    if glob.has_magic(pattern):
        return f"{pattern} matches no file in {root}"
    there = [near.name for near in path.parent.iterdir()] if path.parent.is_dir() else []
    near = difflib.get_close_matches(path.name, sorted(there), n=1)
    return f"the file {pattern} is missing" + (f"; did you mean {near[0]}?" if near else f" in {root}")


def _read_labelling_config(source: Source, root: Path) -> Path:
    path = root / source.labelling
    if not path.is_file():
        raise UserError(f"source {source.name}: the labelling configuration {source.labelling} is missing")
    return path


def _display_path(path: Path, root: Path) -> str:
    return Path(os.path.relpath(path, root)).as_posix()


def _describe_source(source: Source) -> dict[str, Any]:
    defaults = {
        known.name: known.default if known.default_factory is MISSING else known.default_factory()
        for known in fields(source)
    }
    values = {name: value for name, value in asdict(source).items() if value != defaults[name]}
    # Neither changes a row.
    values.pop("quarantine", None)
    values.pop("strict", None)
    return values
