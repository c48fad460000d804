"""Dry-run the data: ingestion and validation as in a run, but in a temporary folder."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from model.data.tokenizer import train_tokenizer
from model.errors import UserError
from model.events import EventCallback, ignore_event
from tasks.common.counts import counted
from tasks.data.file_io.files import SourceFile
from tasks.data.formats.detect import choose_reading
from tasks.data.parsing.reader import read_rows
from tasks.data.questions.skip_counts import SkipCounts
from tasks.data.records import Record, list_shards
from tasks.data.sources import huggingface
from tasks.data.sources.download import InterruptedDownload, ask_server, find_download
from tasks.data.sources.source_reading import read_source, reading_of, without_ignored
from tasks.data.sources.source_types import DataParameters, Source
from tasks.data.splits import SplitParameters
from tasks.data.versions.readmitted_rows import check_readmitted
from tasks.data.withdrawals import WITHDRAWN, count_withdrawn, read_withdrawn
from tasks.dvc import versions
from tasks.dvc.pointer_file import read_pointer
from tasks.engine.parallel import ParallelMap, serial_map
from tasks.ingest import describe_version
from tasks.ingestion.row_making import Rows, make_rows
from tasks.project.paths import DOWNLOADS
from tasks.split import split
from tasks.tokenizer import TokenizerParameters, sample_texts, tokenizer
from tasks.validate import ValidateParameters, check_rows, refusal_error
from tasks.validation.row_loss import accepted_rows
from tasks.validation.summary import Findings
from tasks.validation.training_preflight import Trainings, check_trainings, missing_rows

LARGE = 32_000_000  # bytes of training text
_SAMPLE = 4_000_000  # bytes of larger text on which the tokenizer is trained
_FIRST = 3  # rows of a source to show


@dataclass(frozen=True)
class SourcePreview:
    """A source before ingestion: its format, its files and its first rows.

    `lacking` names files that would be fetched, without which its rows are unknown. `fault` is the error that
    ingestion stops with at this source.
    """

    name: str
    format: str = ""
    files: int = 0
    bytes: int = 0
    first: tuple[Record, ...] = ()
    lacking: tuple[str, ...] = ()
    fault: str = ""


@dataclass(frozen=True)
class DryRun:
    """The results of ingestion and validation on the sources that are on this machine.

    Attributes:
        sources: A preview of each source.
        folder: The outputs, which exist as long as the dry run is open.
        rows: The result of ingestion; None if it stops.
        findings: The findings of validation.
        stop: The error that a run ends with; None if it passes.
    """

    sources: tuple[SourcePreview, ...]
    folder: Path
    rows: Rows | None = None
    findings: Findings = field(default_factory=Findings)
    stop: UserError | None = None

    @property
    def good_rows(self) -> Path:
        """The folder with the output of validation."""
        return self.folder / "validate"

    @property
    def whole(self) -> bool:
        """True if every source was read."""
        return not any(source.lacking for source in self.sources)


class RunEnd(NamedTuple):
    """Where a run with the rows of a dry run ends.

    Attributes:
        notes: Sentences for the user about the later stages.
        reason: Why a run would stop at one of them; empty if it would not.
        refused: Whether it would stop before its first training.
    """

    notes: tuple[str, ...]
    reason: str
    refused: bool


@contextmanager
def dry_run(
    parameters: DataParameters,
    checks: ValidateParameters,
    root: Path,
    on_event: EventCallback,
    parallel_map: ParallelMap = serial_map,
) -> Iterator[DryRun]:
    """Run ingestion and validation in a temporary folder, without changes to the project.

    It calls the stages' own functions, so rules, counts and the verdict are those of a run. A source that is
    not on this machine is named and skipped: a dry run fetches nothing.
    """
    with tempfile.TemporaryDirectory(prefix="chatmill-") as name:
        folder = Path(name)
        if parameters.pinned_version:
            yield _check_version(parameters, checks, root, folder, on_event, parallel_map)
            return
        sources = tuple(preview_source(source, parameters, root) for source in parameters.sources)
        yield _check_sources(parameters, sources, checks, root, folder, on_event, parallel_map)


def preview_source(source: Source, parameters: DataParameters, root: Path) -> SourcePreview:
    """Return the files and the first rows of a source. Files that are not here yet are named, not fetched."""
    found = SourcePreview(source.name)
    try:
        if lacking := tuple(_missing_downloads(source, parameters, root)):
            return replace(found, lacking=lacking)
        files = without_ignored(_local_files(source, parameters, root, ignore_event), source)
        found = replace(found, files=len(files), bytes=sum(map(_download_size, files)))
        known, reading = choose_reading(files, source.name, source.format, reading_of(source, root))
        found = replace(found, format=known.name)
        rows = read_rows(known, files, reading, SkipCounts(), source.strict or parameters.strict)
        first = islice((one.row for one in rows if not one.row.fault), _FIRST)
        return replace(found, first=tuple(first))
    except UserError as error:
        return replace(found, fault=str(error))


def _check_sources(
    parameters: DataParameters,
    sources: tuple[SourcePreview, ...],
    checks: ValidateParameters,
    root: Path,
    folder: Path,
    on_event: EventCallback,
    parallel_map: ParallelMap,
) -> DryRun:
    found = DryRun(sources, folder)
    # Sources that would be fetched are left out, so the counts cover only the others.
    lacking = {source.name for source in sources if source.lacking}
    here = tuple(source for source in parameters.sources if source.name not in lacking)
    if not here:
        return found
    read = _Reader(folder)
    withdrawn = read_withdrawn(root)
    known = replace(parameters, sources=here)
    try:
        versions.check_data(root)
        check_readmitted(root, withdrawn, parameters.readmit)
        rows = make_rows(known, root, folder / "ingest", on_event, parallel_map, withdrawn, read)
    except UserError as error:
        named = _with_faults(found.sources, known, root, folder, read)
        # Reading stops at a source of no clear format, before the questions about other sources are known.
        faults = (source.fault for source in named if source.fault)
        more = [fault for fault in faults if fault not in str(error)]
        return replace(found, stop=UserError("\n".join([str(error), *more])), sources=named)
    # A dry run makes no version, so there is no hash to compare with.
    now = {"md5": "", "meta": describe_version(parameters, {"digest": ""}, rows, withdrawn)}
    return _check_rows(replace(found, rows=rows), checks, now, root, on_event, parallel_map)


def _check_rows(
    found: DryRun,
    checks: ValidateParameters,
    now: Mapping[str, Any],
    root: Path,
    on_event: EventCallback,
    parallel_map: ParallelMap,
) -> DryRun:
    # Counts of a part of the sources cannot be compared with those of the last version.
    before = accepted_rows(root, now) if found.whole else {}
    try:
        findings, stops = check_rows(
            checks, found.folder / "ingest", found.good_rows, on_event, root, parallel_map, before
        )
    except UserError as error:
        return replace(found, stop=error)
    # The quarantine is in the temporary folder, so the message must not refer to `chatmill quarantine`.
    stop = refusal_error(stops, findings, kept=False) if stops else None
    return replace(found, findings=findings, stop=stop)


def _with_faults(
    sources: tuple[SourcePreview, ...], parameters: DataParameters, root: Path, folder: Path, read: _Reader
) -> tuple[SourcePreview, ...]:
    """Return the sources, each with the error that ingestion stops with when it reads this one alone."""

    faults = {}
    # Ingestion stops at the first error. Each source alone shows the errors of all of them.
    for number, source in enumerate(parameters.sources):
        try:
            alone = replace(parameters, sources=(source,))
            make_rows(
                alone, root, folder / f"source-{number}", ignore_event, serial_map, read_withdrawn(root), read
            )
        except UserError as error:
            faults[source.name] = str(error)
    return tuple(replace(source, fault=faults.get(source.name, "")) for source in sources)


def _check_version(
    parameters: DataParameters,
    checks: ValidateParameters,
    root: Path,
    folder: Path,
    on_event: EventCallback,
    parallel_map: ParallelMap,
) -> DryRun:
    """Validate the rows of a version that replaces the sources, if data/ holds it."""
    known = read_pointer(root)
    found = DryRun((), folder)
    if known is None or known["md5"] != parameters.pinned_version:
        named = known["md5"] if known else "none"
        return replace(
            found,
            stop=UserError(f"data.pinned_version is {parameters.pinned_version}, and data.dvc names {named}"),
        )
    # Fetching the version would write to the project, which a dry run must not.
    if not (root / "data").is_dir() or versions.folder_hash(root) != known["md5"]:
        missing = SourcePreview("data", lacking=(f"version {known['md5'][:12]} from DVC's cache or remote",))
        return replace(found, sources=(missing,))
    withdrawn = read_withdrawn(root)
    if withdrawn and (still := count_withdrawn(root / "data", withdrawn)):
        counts = " and ".join(counted(count, kind) for kind, count in still.items())
        stop = UserError(
            f"data.pinned_version is {parameters.pinned_version}, which holds {counts} that "
            f"{WITHDRAWN} withdraws"
        )
        return replace(found, stop=stop)
    (folder / "ingest").mkdir()
    # A link instead of a copy: the rows may be many gigabytes, and validation only reads them.
    (folder / "ingest" / "rows").symlink_to((root / "data").resolve(), target_is_directory=True)
    rows = Rows(dict(known["meta"].get("rows") or {}), {}, {}, {})
    return _check_rows(replace(found, rows=rows), checks, known, root, on_event, parallel_map)


def check_later_stages(
    found: DryRun,
    parameters: SplitParameters,
    tokens: TokenizerParameters,
    asked: Trainings,
    root: Path,
    on_event: EventCallback,
    parallel_map: ParallelMap = serial_map,
) -> tuple[str, ...]:
    """Split the good rows of an open dry run, and check that they are enough for every training.

    If the text exceeds `LARGE` bytes, a part of it trains the tokenizer, and pretraining is assumed to fill
    its batches.

    Returns:
        Sentences for the user, as of `check_trainings`.

    Raises:
        UserError: A run would stop before its first training.
    """
    parts = found.folder / "split"
    parts.mkdir()
    split(parameters, validate=found.good_rows, out=parts, on_event=on_event, parallel_map=parallel_map)
    size = sum(path.stat().st_size for path in list_shards(parts / "train" / "text"))
    sampled = size > LARGE and not tokens.base_model
    # Another name: this tokenizer is not the one that the stage would make.
    encoder = found.folder / ("sampled_tokenizer" if sampled else "tokenizer")
    encoder.mkdir()
    if sampled:
        learned = [path for kind in ("text", "pairs") for path in list_shards(parts / "train" / kind)]
        train_tokenizer(sample_texts(learned, _SAMPLE), tokens.vocab_size).save(encoder)
    else:
        tokenizer(tokens, split=parts, out=encoder, on_event=on_event, root=root, parallel_map=parallel_map)
    return check_trainings(asked, parts, encoder)


def preview_end(
    found: DryRun,
    parameters: SplitParameters,
    tokens: TokenizerParameters,
    asked: Trainings,
    root: Path,
    parallel_map: ParallelMap = serial_map,
) -> RunEnd:
    """Return where a run would end after validation.

    The arguments are those of `check_later_stages`.
    """
    try:
        notes = check_later_stages(found, parameters, tokens, asked, root, ignore_event, parallel_map)
    except UserError as error:
        return RunEnd((), str(error), refused=True)
    reason = missing_rows(found.folder / "split")
    # The sentence that stops a run is printed once, at the end.
    return RunEnd(tuple(note for note in notes if note != reason), reason, refused=False)


class _Reader:
    """Finds the files of a source on this machine, and converts data sets in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __call__(
        self, source: Source, parameters: DataParameters, root: Path, on_event: EventCallback
    ) -> list[SourceFile]:
        if source.dataset:
            return [
                SourceFile(
                    f"{source.wanted.shown}.parquet",
                    path=huggingface.dataset_table(source.wanted, root, self.folder),
                )
            ]
        return _local_files(source, parameters, root, on_event)


def _local_files(
    source: Source, parameters: DataParameters, root: Path, on_event: EventCallback
) -> list[SourceFile]:
    if source.dataset:
        return [huggingface.dataset_head(source.wanted, root, _FIRST)[0]]
    if source.urls:
        # Ingestion asks the server for a newer file. Here that would mean fetching it.
        return [SourceFile(a.display_text, path=find_download(a, root)) for a in source.addresses]
    return read_source(source, parameters, root, on_event)


def _missing_downloads(source: Source, parameters: DataParameters, root: Path) -> Iterator[str]:
    """Yield what ingestion would fetch, with its size if the server says it."""
    if source.archive:
        archive = parameters.archives[source.archive]
        if not (root / DOWNLOADS / archive.file).exists():
            yield f"{archive.package} ({archive.file})"
    for given in source.addresses:
        if find_download(given, root) is None:
            try:
                size = ask_server(given).size
            except InterruptedDownload as error:
                raise UserError(f"{given.display_text} cannot be fetched ({error})") from error
            yield given.display_text + (f" ({size} bytes)" if size is not None else "")
    if source.dataset and not huggingface.is_saved(source.wanted, root):
        yield f"the data set {source.wanted.shown} at revision {source.revision or '(none is given)'}"


def _download_size(file: SourceFile) -> int:
    return file.path.stat().st_size if file.path else len(file.content)
