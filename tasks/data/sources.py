"""Read the sources of data: the user's files, addresses, data sets, and members of package archives."""

from __future__ import annotations

import difflib
import glob
import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, asdict, dataclass, field, fields, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal, get_args

from model.errors import UserError, one_line_path
from model.events import EventCallback
from tasks.common.checksums import file_sums
from tasks.common.names import is_blank, name_fault
from tasks.common.url_secrets import conceal_secrets, display_url, same_but_for_secrets
from tasks.data import huggingface
from tasks.data.download import Address, content_version, download_file, parse_address
from tasks.data.file_io.files import SourceFile, unpacked_suffix
from tasks.data.formats.detect import AUTO
from tasks.data.formats.registry import find_format
from tasks.data.package_archive import Archive, fetch_archive, leads_outside, read_member
from tasks.data.parsing.annotators import UNKNOWN_ANNOTATOR, normalize_annotator
from tasks.data.parsing.base import ParseOptions
from tasks.data.parsing.field_checks import check_fields
from tasks.data.records import Comparison, ParsedRow, Rating
from tasks.data.source_files import match_files
from tasks.dvc.remote import address_problem
from tasks.project.data_folder import lies_in_data
from tasks.project.paths import DOWNLOADS

__all__ = ["Archive", "DataParameters", "Source"]

IGNORABLE = ("group",)  # names that `columns` may map to no column, so that the file's own is not read
Documents = Literal["file", "paragraph"]
# Options that were renamed, under the names that the sources' digest is computed from.
_DIGEST_NAMES = {"label_config": "labelling", "document_unit": "documents"}
ENDINGS = (".txt", ".md", ".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".parquet")


@dataclass(frozen=True)
class Source:
    """A source of rows, from one of four places, and the options of its parser.

    Exactly one of `files`, `urls`, `dataset` and `archive` is set.
    """

    name: str
    """Name of the source, which no other source has."""

    format: str = AUTO
    """Parser in tasks/data/formats; `auto`: detected from the files."""

    archive: str = ""
    """One of `archives`, whose `members` are read."""

    members: tuple[str, ...] = ()
    """Files that are read from the archive. `inner.tar.gz!name` is a file of an archive inside it."""

    files: str | tuple[str, ...] = ()
    """Glob, folder, or list of them, relative to the project's folder. A glob may lead outside it; hidden
    files are skipped. A file or folder whose name equals the glob is taken by its name."""

    urls: str | tuple[str, ...] = ()
    """Address, or list of them, each optionally followed by `#sha256=SUM`."""

    dataset: str = ""
    """Name of a data set on the hub, or a folder that `save_to_disk` wrote."""

    subset: str = ""
    """Subset (configuration) of the data set."""

    revision: str = ""
    """Revision of the data set; required for one on the hub."""

    split: str = ""
    """Split of the data set; required if it has several."""

    prompt: str = ""
    """Words before a prompt that is made from a text."""

    columns: dict[str, str] = field(default_factory=dict)
    """The file's own key names by role, as in `{text: body}`; `{group: ""}` ignores the column `group`."""

    document_unit: Documents = "file"
    """What one document of a plain file is. `file`: the whole file; `paragraph`: each block between blank
    lines."""

    aspect: str = "helpfulness"
    """Aspect of labels that name none."""

    label_config: str = ""
    """Configuration file of the labelling tool."""

    annotators: tuple[str, ...] = ()
    """People whose labels are accepted; a label by anybody else stops the run. Empty: all."""

    max_bad_fraction: float | None = None
    """Largest share of this source's rows, from 0 to 1, that may break a rule; empty: as in `validate`."""

    fields: dict[str, str | dict[str, float | str]] = field(default_factory=dict)
    """Meaning of keys that look like a verdict or a training mask, as in `{quality: ignore}`: `ignore`,
    `verdict`, `penalty`, `vote`, `review`, `weight`, `mask`, `deleted`, `correction`, `text`, or a
    mapping of values as in `{good: 1, bad: -1}`; see
    [your-data.md](your-data.md#verdicts-masks-and-other-keys)."""

    strict: bool = False
    """Whether the first row that cannot be read stops the run; otherwise it is quarantined."""

    def __post_init__(self) -> None:
        if fault := name_fault(self.name):
            raise ValueError(f"name is {self.name!a}, {fault}")
        # Presets are recorded in several places, so they must contain no secret: only this process keeps it.
        urls = self.urls
        concealed = conceal_secrets(urls) if isinstance(urls, str) else tuple(map(conceal_secrets, urls))
        # The dataclass is frozen, and its own __init__ has already set the field.
        object.__setattr__(self, "urls", concealed)
        for said in self._faults():
            raise ValueError(f"source {self.name}: {said}")

    def _faults(self) -> list[str]:
        """Return what is wrong with the source, in sentences that follow its name."""
        places = [name for name in ("files", "urls", "dataset", "archive") if getattr(self, name)]
        faults = []
        if len(places) != 1:
            said = " and ".join(places) or "none"
            faults.append(f"set exactly one of files, urls, dataset or archive with members (got {said})")
        if self.archive and not self.members:
            faults.append("set members, the files to read from the archive")
        for name, place in (
            ("members", "archive"),
            *((n, "dataset") for n in ("subset", "revision", "split")),
        ):
            if getattr(self, name) and not getattr(self, place):
                faults.append(f"{name} needs {place}, which is not set")
        for member in self.members:
            if leads_outside(member):
                faults.append(f"the member {member!r} leads out of its archive; expected a path inside it")
        for pattern in as_list(self.files):
            if not pattern.strip():
                faults.append("files contains an empty name; expected a glob, a folder or a file")
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
        if self.document_unit not in get_args(Documents):
            faults.append(f"document_unit is {self.document_unit!r}; expected file or paragraph")
        if fault := name_fault(self.aspect):
            faults.append(f"aspect is {self.aspect!a}, {fault}")
        if any(map(is_blank, self.columns)):
            faults.append("columns has an empty key; expected a role or an aspect, as in prompt")
        faults += [
            f"columns: {key!r} maps to no column"
            for key, to in self.columns.items()
            if not to and key not in IGNORABLE
        ]
        if any(map(is_blank, self.annotators)):
            faults.append("annotators contains an empty name")
        faults += check_fields(self.fields)
        if self.max_bad_fraction is not None and not 0 <= self.max_bad_fraction <= 1:
            faults.append(f"max_bad_fraction is {self.max_bad_fraction}; expected a share from 0 to 1")
        return faults

    @property
    def wanted(self) -> huggingface.Wanted:
        """The data set that the source names."""
        return huggingface.Wanted(self.dataset, self.subset, self.revision, self.split)

    @property
    def addresses(self) -> list[Address]:
        """The parsed addresses of `urls`."""
        return [parse_address(url) for url in as_list(self.urls)]


@dataclass(frozen=True)
class DataParameters:
    """The sources of ingestion, and the place of the data's versions."""

    sources: tuple[Source, ...]
    """List of sources, at least one; see [your-data.md](your-data.md)."""

    archives: dict[str, Archive] = field(default_factory=dict)
    """Package archives by name, for the sources' `archive`."""

    remote: str = ""
    """Where DVC pushes and fetches versions: a folder, or an address as in `s3://bucket/path`; empty: no
    remote."""

    endpoint: str = ""
    """Server of an S3-compatible store that is not Amazon's, as in `https://minio.example:9000`."""

    accept_changes: bool = False
    """Whether rows of the same sources that differ from those in data.dvc are accepted as a new version."""

    readmit: bool = False
    """Whether rows and people are accepted again that the last version left out as withdrawn. Set it once,
    with `--set data.readmit=true`."""

    strict: bool = False
    """Whether the first row of any source that cannot be read stops the run."""

    pinned_version: str = ""
    """Hash in `data.dvc` of a version that replaces the sources, which are not read and may be missing;
    empty: the sources are read."""

    def __post_init__(self) -> None:
        # Names identify sources in the data and in reports.
        names = [source.name for source in self.sources]
        if not names:
            raise ValueError("sources is empty; name at least one")
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"sources: {name} is given twice; source names must differ")
        for source in self.sources:
            if source.archive and source.archive not in self.archives:
                raise ValueError(f"source {source.name}: archive {source.archive!r} is not among archives")
        # Recorded addresses have no secrets, so both would share one cached download.
        if twice := same_but_for_secrets([url for source in self.sources for url in as_list(source.urls)]):
            raise ValueError(
                f"sources: {twice} is given twice, differing only in a possible secret; write "
                "${NAME} for that value with different NAMEs, and set them in the environment"
            )
        for name in ("remote", "endpoint"):
            if said := address_problem(getattr(self, name)):
                raise ValueError(f"{name} {said}")


def as_list(one_or_more: str | Sequence[str]) -> tuple[str, ...]:
    """Return one or several names as a tuple."""
    return (one_or_more,) if isinstance(one_or_more, str) else tuple(one_or_more)


def read_source(
    source: Source, parameters: DataParameters, root: Path, on_event: EventCallback
) -> list[SourceFile]:
    """Return the files of a source, downloaded if necessary.

    Files on disk are not read here: each SourceFile has its `path`. Members of archives are in memory.

    Raises:
        UserError: Something is missing or has changed.
    """
    if source.files:
        return [SourceFile(_display_path(path, root), path=path) for path in own_files(source, root)]
    if source.urls:
        return [
            SourceFile(given.display_text, path=download_file(given, root, on_event))
            for given in source.addresses
        ]
    if source.dataset:
        return [
            SourceFile(f"{source.wanted.shown}.parquet", path=huggingface.dataset_table(source.wanted, root))
        ]
    archive = fetch_archive(parameters.archives[source.archive], root / DOWNLOADS)
    return [SourceFile(f"{archive.name}:{member}", read_member(archive, member)) for member in source.members]


def reading_of(source: Source, root: Path) -> ParseOptions:
    """Return the options of a source's parser. Raise UserError if the labelling configuration is missing."""
    labelling = (
        SourceFile(source.label_config, path=_read_labelling_config(source, root)).text()
        if source.label_config
        else ""
    )
    return ParseOptions(
        source.name, source.prompt, {name: own for name, own in source.columns.items() if own},
        source.document_unit, source.aspect, labelling, dict(source.fields),
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
    for name in [row.annotator] if isinstance(row, Comparison) else row.annotators:
        if name not in known:
            raise UserError(
                f"{found.where}: a label by {name!r}, who is not among the annotators of source "
                f"{source.name} ({', '.join(source.annotators)}); add the name there, or remove the row"
            )


def sources_digest(parameters: DataParameters, root: Path) -> str:
    """Return the digest of the sources: their descriptions and the identities of their bytes.

    Options at their default are left out, so that a new option does not change the digest. A version that
    replaces the sources is the whole digest.
    """
    return identities_digest(parameters, source_identities(parameters, root))


def source_identities(parameters: DataParameters, root: Path) -> list[dict[str, Any]]:
    """Return the identity of each source's bytes, with its name.

    It is an archive's pin, the SHA-256 of files and of the labelling configuration, or a data set's revision.
    For an address it is the checksum or the server's state. A file's cached checksum is reused while the file
    is unchanged.
    """
    if parameters.pinned_version:
        return []
    found: list[dict[str, Any]] = []
    files = [own_files(source, root) for source in parameters.sources]
    labelling = [
        [_read_labelling_config(source, root)] if source.label_config else [] for source in parameters.sources
    ]
    # All at once: each call reads and writes the file of known checksums.
    sums = _file_sums([path for some in (*files, *labelling) for path in some], root)
    named = partial(_display_path, root=root)
    for number, source in enumerate(parameters.sources):
        urls = [
            {"url": given.display_text, "version": content_version(given, root)} for given in source.addresses
        ]
        identity = {
            "name": source.name,
            "pin": asdict(parameters.archives[source.archive]) if source.archive else None,
            "files": {name: sums[name] for name in map(named, files[number])},
            "labelling": {name: sums[name] for name in map(named, labelling[number])},
            "urls": urls,
            "dataset": huggingface.dataset_identity(source.wanted, root) if source.dataset else None,
        }
        found.append({name: value for name, value in identity.items() if value})
    return found


def check_still(parameters: DataParameters, root: Path, found: Sequence[Mapping[str, Any]]) -> None:
    """Raise UserError if a file changed since `source_identities` was called.

    New files are not considered; the next ingestion reads them.
    """
    sums = [{**each.get("files", {}), **each.get("labelling", {})} for each in found]
    now = _file_sums([root / name for before in sums for name in before if (root / name).is_file()], root)
    for source, before in zip(parameters.sources, sums, strict=True):
        for name in before:
            # A file that was read while it was written gives rows of neither version, under the checksum of
            # one of them.
            if now.get(name) != before[name]:
                raise UserError(
                    f"source {source.name}: {name} changed while it was read; write it under a "
                    "temporary name, rename it when complete, and run again"
                )


def _file_sums(paths: Sequence[Path], root: Path) -> dict[str, str]:
    """Return the SHA-256 of files by their names relative to the project's folder."""
    if not paths:
        return {}
    return dict(zip((_display_path(path, root) for path in paths), file_sums(list(paths), root), strict=True))


def identities_digest(parameters: DataParameters, found: Sequence[Mapping[str, Any]]) -> str:
    """Return `sources_digest` for identities that are already known."""
    if parameters.pinned_version:
        return f"version {parameters.pinned_version}"
    described = [
        [
            _describe_source(source),
            each.get("pin"),
            # Names too: a renamed file changes the places of rows and, by its suffix, its container.
            list(each.get("files", {})),
            [*each.get("files", {}).values(), *each.get("labelling", {}).values()],
            [url["version"] for url in each.get("urls", ())],
            each.get("dataset"),
        ]
        for source, each in zip(parameters.sources, found, strict=True)
    ]
    return hashlib.sha256(json.dumps(described, sort_keys=True).encode()).hexdigest()


def own_files(source: Source, root: Path) -> list[Path]:
    """Return the files of a source's globs and folders, each once, in the order of the globs.

    A glob may lead out of the project's folder, which is the author's decision. Raises UserError for a glob
    without a match.
    """
    found: dict[str, Path] = {}
    for pattern in as_list(source.files):
        try:
            paths = match_files(pattern, root, lambda name: unpacked_suffix(name) in ENDINGS)
        except UserError as error:
            raise UserError(f"source {source.name}: {error}") from error
        # Ingestion empties data/ before it writes, so it would delete its own source.
        if inside := [path for path in paths if lies_in_data(path, root)]:
            raise UserError(
                f"source {source.name}: {one_line_path(_display_path(inside[0], root))} is in data/, which "
                "chatmill replaces; move it to another folder"
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
    # A mistyped name is the most common reason for a missing file.
    near = difflib.get_close_matches(path.name, sorted(there), n=1)
    return f"the file {pattern} is missing" + (f"; did you mean {near[0]}?" if near else f" in {root}")


def _read_labelling_config(source: Source, root: Path) -> Path:
    path = root / source.label_config
    if not path.is_file():
        raise UserError(f"source {source.name}: the labelling configuration {source.label_config} is missing")
    return path


def _display_path(path: Path, root: Path) -> str:
    return Path(os.path.relpath(path, root)).as_posix()


def _describe_source(source: Source) -> dict[str, Any]:
    defaults = {
        known.name: known.default if known.default_factory is MISSING else known.default_factory()
        for known in fields(source)
    }
    values = {name: value for name, value in asdict(source).items() if value != defaults[name]}
    # Neither changes a row, so a change of them need not make a new version.
    values.pop("max_bad_fraction", None)
    values.pop("strict", None)
    # The digest is recorded in data.dvc and in manifests, so it is computed from the names that it began
    # with.
    return {_DIGEST_NAMES.get(name, name): value for name, value in values.items()}
