"""Detect the format of a source's files: the only one that fits them all, or else an error that asks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice

from model.errors import UserError
from tasks.data.file_io.decoding import BLOCK, LARGEST, EncodingError
from tasks.data.file_io.files import CONTAINERS, SourceFile, SourceRecord, unpacked_suffix
from tasks.data.formats.registry import find_format, formats
from tasks.data.formats.unsupported_shapes import describe_shape, unreadable_shape
from tasks.data.parsing.base import FileSample, Format, ParseOptions
from tasks.data.parsing.guessed_rows import guess_rows
from tasks.data.parsing.unread_keys import leaves_of
from tasks.data.values.column_names import (
    format_columns,
    format_fields,
    rename_columns,
    respelled_columns,
)
from tasks.data.verdicts.verdict_names import value_parts

AUTO = "auto"
ITEMS = 20
SCANNED = 1000  # items to search for ITEMS that can be read
TEXT = 1 << 14  # bytes
_NAMED = 30  # keys that a message lists
TABLES = (".csv", ".tsv", ".tab", ".parquet")
READ_AS_TEXT = (".txt", ".md", ".markdown", ".xml")


def choose_reading(
    files: Sequence[SourceFile], name: str, wanted: str, reading: ParseOptions
) -> tuple[Format, ParseOptions]:
    """Return the format of a source, and its options with columns that are known names in another case."""
    sample = next((sample for file in files if (sample := sample_file(file)) and sample.items), None)
    # Explicit columns of the preset are complete; nothing is guessed beside them.
    if sample is not None and not reading.columns:
        reading = replace(reading, columns=respelled_columns(sample.items[0].values))
    return detect_format(files, name, wanted, reading.columns), reading


def detect_format(
    files: Sequence[SourceFile], name: str, wanted: str, columns: Mapping[str, str] | None = None
) -> Format:
    """Return the format of a source: the one that it names, or with "auto" the only one that fits.

    A wrong format is worse than a question, so this raises instead of guessing. Empty files fit any format.

    Args:
        files: The files of the source.
        name: The name of the source, for messages.
        wanted: A format, or "auto".
        columns: The file's own names by those of the formats.

    Raises:
        UserError: Several formats fit, none does, or not all files have the same.
    """
    if wanted != AUTO:
        return find_format(wanted)
    known = formats()
    samples = [(file, rename_keys(sample, columns or {})) for file in files if (sample := sample_file(file))]
    for file, sample in samples:
        if said := unreadable_shape(sample):
            raise UserError(f"source {name}: {file.origin} cannot be read: {said}")
    looks = [(file, list_mismatches(sample, known)) for file, sample in samples]
    if not looks:
        raise UserError(
            f"source {name}: {files[0].origin} {describe_empty(files[0])}" + _count_more(len(files) - 1)
        )
    # A format that reads a whole source may combine files of several kinds, so one file that fits makes it a
    # candidate.
    whole = {n for n, f in known.items() if f.unit == "source" and any(not whys[n] for _, whys in looks)}
    # All files must fit, as a source is parsed by one format.
    shared = [n for n in known if all(not whys[n] for _, whys in looks)]
    if not shared:
        raise UserError(f"source {name}: {_unknown_format(looks, dict(samples))}")
    candidates = [n for n in known if n in shared or n in whole]
    if len(candidates) > 1:
        raise UserError(
            f"source {name}: {looks[0][0].origin} may be {' or '.join(candidates)}; set the format, "
            f"as in format: {candidates[0]}"
        )
    return known[candidates[0]]


def sample_file(file: SourceFile) -> FileSample | None:
    """Return the first text and objects of a file; None for a file or a table that is empty."""
    ending = unpacked_suffix(file.origin)
    try:
        text = "" if ending == ".parquet" else _sample_text(file)
    except EncodingError:
        # A document in another encoding is one row that cannot be read, like one that is not UTF-8.
        if ending not in READ_AS_TEXT:
            raise
        return FileSample(file.origin, "\ufffd")
    if not text.strip() and ending != ".parquet":
        return None
    items: list[SourceRecord] = []
    if ending not in READ_AS_TEXT:
        try:
            fault = ""
            for item in islice(file.all_items(), SCANNED):
                if isinstance(item, SourceRecord):
                    items.append(item)
                elif not fault:
                    fault = item.fault
                if len(items) == ITEMS:
                    break
            if fault and not items:
                raise UserError(fault)
        except UserError:
            # Of a file with an unknown suffix an error only means that it contains no objects.
            if ending in CONTAINERS:
                raise
        # An array without an item is an empty file too.
        if not items and (ending in TABLES or text.split() in (["[]"], ["[", "]"])):
            return None
    return FileSample(file.origin, text, tuple(items))


def list_mismatches(sample: FileSample, known: dict[str, Format]) -> dict[str, str]:
    """Return by format why a sample does not fit it; empty for formats that fit.

    If none fits, one that most items fit is taken: the others are rows that cannot be read.
    """
    whys = {name: format.fits(sample) for name, format in known.items()}
    if all(whys.values()) and len(sample.items) > 1:
        alone = [FileSample(sample.name, sample.text, (item,)) for item in sample.items]
        counts = {name: sum(not format.fits(one) for one in alone) for name, format in known.items()}
        most = max(counts.values())
        # More than half, so that two formats cannot both be taken to fit.
        if 2 * most > len(alone):
            whys |= {name: "" for name, count in counts.items() if count == most}
    return whys


def _sample_text(file: SourceFile) -> str:
    """Return the first characters of a file after leading white space.

    Raises UserError for more than 256 MB of white space, which is no text that a person wrote.
    """
    with file.characters() as stream:
        head = stream.read(TEXT)
        read = len(head)
        while head and not head.strip():
            if read > LARGEST:
                raise UserError(f"{file.origin}: begins with more than {LARGEST >> 20} MB of white space")
            block = stream.read(BLOCK)
            read += len(block)
            head = block.lstrip()[:TEXT] or block[:1]
        return head.decode("utf-8", "replace")


def rename_keys(sample: FileSample, columns: Mapping[str, str]) -> FileSample:
    """Return the sample with its keys renamed by `columns`."""
    if not columns:
        return sample
    items = tuple(item._replace(values=rename_columns(item.values, columns)) for item in sample.items)
    return replace(sample, items=items)


@dataclass(frozen=True)
class UnknownFormat:
    """Why no format fits a file.

    Attributes:
        why: The reason and what to do, in words that follow the file's name.
        mappable: Whether `columns` of a preset can name the file's keys.
    """

    why: str
    mappable: bool = False


def explain_unknown(sample: FileSample) -> UnknownFormat:
    """Return why no format fits a sample, and what to do."""
    if not sample.items:
        return UnknownFormat("in an unknown format: neither text nor objects with keys")
    every = [str(key) for key in sample.items[0].values]
    more = f" and {len(every) - _NAMED} more" if len(every) > _NAMED else ""
    keys = (", ".join(every[:_NAMED]) or "none") + more
    found = guess_rows([item.values for item in sample.items])
    chat = found is not None and found.format in ("messages", "sharegpt")
    if not chat and (said := describe_shape(sample)):
        return UnknownFormat(f"in an unknown format: {said}")
    if found and (found.columns or found.fields):
        columns = f", {format_columns(found.columns)}" if found.columns else ""
        return UnknownFormat(
            f"in an unknown format; its keys are {keys}. If the names are meaningful, add to the "
            f"source format: {found.format}{columns}{format_fields(found.fields)}",
            mappable=bool(found.columns),
        )
    if inner := _inner_texts(sample.items[0].values):
        return UnknownFormat(
            f"in an unknown format: its texts are inside objects, as under {', '.join(inner)}, which no "
            "format reads; write them as keys of their rows, as prompt and completion, or as turns under "
            "messages"
        )
    return UnknownFormat(
        f"in an unknown format; its keys are {keys}. Map them, as in format: rows, "
        "columns: {prompt: ..., completion: ...}, or columns: {text: ...}",
        mappable=True,
    )


def _inner_texts(values: Mapping[str, object]) -> list[str]:
    """Return the paths of texts inside the objects of a row, if there are more of them than at its top."""
    leaves = {
        path: value
        for key, held in values.items()
        for path, value in islice(leaves_of(str(key), held, 0), ITEMS)
        if any(isinstance(one, str) and len(one.split()) > 2 for one in value_parts(value))
    }
    inner = [path for path in leaves if path not in values]
    return inner[:3] if 2 * len(inner) > len(leaves) else []


def describe_empty(file: SourceFile) -> str:
    """Return why a file without a sample has no rows, in words that follow its name."""
    ending = unpacked_suffix(file.origin)
    if ending == ".parquet" or _sample_text(file).strip():
        return f"is empty (it has {'a header and ' if ending in TABLES else ''}no row)"
    with file.characters() as stream:
        return "contains only white space" if stream.read(1) else "is empty"


def _unknown_format(
    looks: Sequence[tuple[SourceFile, dict[str, str]]], samples: Mapping[SourceFile, FileSample]
) -> str:
    first, whys = looks[0]
    mine = [name for name, why in whys.items() if not why]
    for file, others in looks:
        theirs = [name for name, why in others.items() if not why]
        if not theirs:
            return f"{file.origin} is {explain_unknown(samples[file]).why}"
        if not set(mine) & set(theirs):
            return (
                f"{first.origin} is {' or '.join(mine)} and {file.origin} is "
                f"{' or '.join(theirs)}; a source has files of one format, so make two sources"
            )
    there = ", ".join(file.origin for file, _ in looks[:3])
    return f"no single format fits all of {there}" + _count_more(len(looks) - 3)


def _count_more(count: int) -> str:
    return f", and {count} more files" if count > 0 else ""
