"""Finding the format of a source's files by looking at each: the one that fits them all, or a question."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice

from model.errors import UserError
from tasks.formats import File, Format, Item, Sample, find_format, formats
from tasks.formats.files import CONTAINERS, suffix

AUTO = "auto"
ITEMS = 20
SCANNED = 1000  # items that are looked at for ITEMS that can be read
TEXT = 1 << 14  # bytes
READ_AS_TEXT = (".txt", ".md", ".markdown", ".xml")


def find(files: Sequence[File], name: str, wanted: str) -> Format:
    """The format of the source `name`: the one that is named, or with "auto" the only one that fits.

    Found wrongly is worse than asking: raises UserError where several fit, none does, or not all files are of
    one. Empty files are of any format.
    """
    if wanted != AUTO:
        return find_format(wanted)
    known = formats()
    looks = [(file, tried(sample, known)) for file in files if (sample := look(file))]
    if not looks:
        raise UserError(f"source {name}: {files[0].origin} is empty" + _more(len(files) - 1))
    # What reads a whole source at once may do with files of several kinds: one that fits is enough to ask.
    whole = {n for n, f in known.items() if f.unit == "source" and any(not whys[n] for _, whys in looks)}
    shared = [n for n in known if all(not whys[n] for _, whys in looks)]
    if not shared:
        raise UserError(f"source {name}: {_refusal(looks)}")
    candidates = [n for n in known if n in shared or n in whole]
    if len(candidates) > 1:
        raise UserError(
            f"source {name}: {looks[0][0].origin} may be {' or '.join(candidates)}; say which, as in "
            f"format: {candidates[0]}"
        )
    return known[candidates[0]]


def look(file: File) -> Sample | None:
    """The first text and objects of a file that can be read; None for a file that is empty."""
    ending = suffix(file.origin)
    text = "" if ending == ".parquet" else _text(file)
    if not text.strip() and ending != ".parquet":
        return None
    items: list[Item] = []
    if ending not in READ_AS_TEXT:
        try:
            fault = ""
            for item in islice(file.all_items(), SCANNED):
                if isinstance(item, Item):
                    items.append(item)
                elif not fault:
                    fault = item.fault
                if len(items) == ITEMS:
                    break
            if fault and not items:
                raise UserError(fault)
        except UserError:
            if ending in CONTAINERS:
                raise
    return Sample(file.origin, text, tuple(items))


def tried(sample: Sample, known: dict[str, Format]) -> dict[str, str]:
    """Why a sample is not of each format; empty for those of which it may be.

    Where it is of none, one that most of its items fit is right: the others are rows that cannot be read.
    """
    whys = {name: format.fits(sample) for name, format in known.items()}
    if all(whys.values()) and len(sample.items) > 1:
        alone = [Sample(sample.name, sample.text, (item,)) for item in sample.items]
        counts = {name: sum(not format.fits(one) for one in alone) for name, format in known.items()}
        most = max(counts.values())
        if 2 * most > len(alone):
            whys |= {name: "" for name, count in counts.items() if count == most}
    return whys


def _text(file: File) -> str:
    with file.characters() as stream:
        return stream.read(TEXT).decode("utf-8", "replace")


def _refusal(looks: Sequence[tuple[File, dict[str, str]]]) -> str:
    first, whys = looks[0]
    mine = [name for name, why in whys.items() if not why]
    for file, others in looks:
        theirs = [name for name, why in others.items() if not why]
        if not theirs:
            said = "; ".join(f"{name}: {why}" for name, why in others.items())
            return f"{file.origin} is in no known format ({said}); put it into one of them"
        if not set(mine) & set(theirs):
            return (
                f"{first.origin} is {' or '.join(mine)} and {file.origin} is {' or '.join(theirs)}; files of "
                "one format make a source, so name two"
            )
    there = ", ".join(file.origin for file, _ in looks[:3])
    return f"no one format fits all of {there}" + _more(len(looks) - 3)


def _more(count: int) -> str:
    return f", and {count} more files" if count > 0 else ""
