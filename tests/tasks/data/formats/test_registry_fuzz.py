"""Fuzz every format: a parser gives rows or one UserError for damaged files.

A format's samples are the files tests/fixtures/exports/FORMAT*; a format without one fails here.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from contextlib import suppress
from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import Any

import pyarrow
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from model.errors import UserError
from tasks.data.file_io.files import SourceFile
from tasks.data.formats.registry import formats
from tasks.data.parsing.base import ParseOptions
from tasks.data.records import ParsedRow, Record, canonical_line

EXPORTS = Path(__file__).parents[3] / "fixtures" / "exports"
# Without a database of examples and with a fixed seed, every run draws the same damage.
STEADY = settings(
    derandomize=True, database=None, deadline=None, max_examples=60,
    suppress_health_check=list(HealthCheck), phases=(Phase.explicit, Phase.generate, Phase.shrink),
)  # fmt: skip
SUFFIXES = (".jsonl", ".json", ".csv", ".tsv", ".parquet", ".txt", ".md", ".jsonl.gz", ".json.zst", "")
PACKING: dict[str, Callable[[bytes], bytes]] = {
    ".gz": gzip.compress,
    ".zst": lambda raw: pyarrow.compress(raw, "zstd", asbytes=True),
}
NAMES = list(formats())
TOGETHER = ("rated_snippets",)  # formats that read several files as one
# Some samples need columns.
COLUMNS: tuple[dict[str, str], ...] = (
    {}, {"completion": "rewrite"}, {"completion": "corrected"}, {"prompt": "a"}, {"text": "b"}, {"tone": "x"},
)  # fmt: skip


@cache
def samples(name: str) -> dict[str, bytes]:
    """Return a format's sample files: names that begin with its name and with no longer format name."""
    longer = tuple(other for other in NAMES if other != name and other.startswith(name))
    paths = sorted(path for path in EXPORTS.glob(f"{name}*") if path.is_file() and path.suffix != ".xml")
    return {path.name: path.read_bytes() for path in paths if not (longer and path.name.startswith(longer))}


def parse(name: str, sample: str, given: SourceFile, reading: ParseOptions) -> list[ParsedRow]:
    """Return what a format finds in a file that replaces one of its samples."""
    others = samples(name).items() if name in TOGETHER else ()
    files = [given if other == sample else SourceFile(other, content) for other, content in others] or [given]
    rows = list(formats()[name].parse(files, reading))
    for row, where, *_ in rows:
        assert isinstance(row, Record) and where and json.loads(canonical_line(row))["id"] == row.id
    return rows


def survives(name: str, sample: str, given: SourceFile, reading: ParseOptions) -> None:
    try:
        parse(name, sample, given, reading)
    except UserError as error:
        assert "\n" not in str(error).strip() and str(error)


def labelling(name: str) -> str:
    """Return the labelling configuration of a format's samples."""
    path = EXPORTS / f"{name}.xml"
    return path.read_text() if path.exists() else ""


@st.composite
def readings(draw: st.DrawFn, name: str) -> ParseOptions:
    columns = draw(st.sampled_from(COLUMNS))
    told = draw(st.sampled_from((labelling(name), labelling(name), "", "{", "<View>", '{"questions": [{}]}')))
    return ParseOptions(
        "mine", "Say: ", columns, draw(st.sampled_from(("file", "paragraph"))), labelling=told
    )


@st.composite
def damaged(draw: st.DrawFn, content: bytes) -> bytes:
    """Draw a file that is cut off, or has changed or added bytes."""
    raw = bytearray(content)
    for _ in range(draw(st.integers(1, 4))):
        place = draw(st.integers(0, len(raw)))
        how = draw(st.sampled_from(("cut", "change", "insert", "drop", "double")))
        if how == "cut":
            del raw[place:]
        elif how == "change" and place < len(raw):
            raw[place] = draw(st.integers(0, 255))
        elif how == "insert":
            raw[place:place] = draw(st.sampled_from((b'"', b"{", b"]", b"\n", b"\0", b"\t", b"\xff\xfe")))
        elif how == "drop":
            del raw[place : place + draw(st.integers(1, 40))]
        else:
            raw[place:place] = raw[place : place + 40]
    return bytes(raw)


VALUES = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text(max_size=9),
    st.sampled_from(("", "[]", "[{}]", "Human: a", "\n\nHuman: a\n\nAssistant: b", "2026-03-01", "\ud800")),
    st.sampled_from(([], {}, [None], [[]], [{}], ["a", "b"], {"a": 1}, [1, "a"], [{"role": "user"}])),
)  # fmt: skip


@st.composite
def changed(draw: st.DrawFn, rows: Any) -> Any:
    """Draw a JSON value with one value removed or replaced."""
    for _ in range(draw(st.integers(1, 2))):
        inside = rows
        while True:
            keys = list(inside) if isinstance(inside, dict) else list(range(len(inside)))
            if not keys:
                break
            key = draw(st.sampled_from(keys))
            if isinstance(inside[key], dict | list) and inside[key] and draw(st.integers(0, 4)):
                inside = inside[key]
                continue
            if draw(st.integers(0, 3)):
                inside[key] = deepcopy(draw(VALUES))
            else:
                del inside[key]
            break
    return rows


@cache
def parsed(name: str) -> list[tuple[str, str]]:
    """Return a format's JSON samples, each as one array."""
    found = []
    for sample in samples(name):
        if Path(sample).suffix in (".json", ".jsonl"):
            file = SourceFile(sample, samples(name)[sample])
            found.append((sample, json.dumps([item.values for item in file.items()])))
    return found


@pytest.mark.parametrize("name", NAMES)
def test_parse_sample_of_each_format_gives_rows(name: str) -> None:
    found = 0
    for columns in COLUMNS:
        reading = ParseOptions("mine", columns=columns, labelling=labelling(name))
        for sample, content in samples(name).items():
            with suppress(UserError):
                found += len(parse(name, sample, SourceFile(sample, content), reading))
    assert found, f"tests/fixtures/exports/{name}* has no rows"


@pytest.mark.parametrize("name", NAMES)
@STEADY
@given(data=st.data())
def test_parse_damaged_bytes_give_rows_or_user_error(name: str, data: st.DataObject) -> None:
    sample = data.draw(st.sampled_from(sorted(samples(name))))
    suffix = data.draw(st.sampled_from((Path(sample).suffix, Path(sample).suffix, *SUFFIXES)))
    content = samples(name)[sample]
    pack = PACKING.get(Path(f"a{suffix}").suffix)
    inside = data.draw(st.booleans())
    if pack is not None:
        content = pack(data.draw(damaged(content)) if inside else content)
    if pack is None or not inside:
        content = data.draw(damaged(content))
    survives(name, sample, SourceFile(f"a{suffix}", content), data.draw(readings(name)))


@pytest.mark.parametrize("name", [name for name in NAMES if parsed(name)])
@STEADY
@given(data=st.data())
def test_parse_changed_json_gives_rows_or_user_error(name: str, data: st.DataObject) -> None:
    sample, text = data.draw(st.sampled_from(parsed(name)))
    rows = data.draw(changed(json.loads(text)))
    survives(name, sample, SourceFile("a.json", json.dumps(rows).encode()), data.draw(readings(name)))


@pytest.mark.parametrize("name", NAMES)
@STEADY
@given(data=st.data(), suffix=st.sampled_from(SUFFIXES), content=st.binary(max_size=200))
def test_parse_random_bytes_give_rows_or_user_error(
    name: str, data: st.DataObject, suffix: str, content: bytes
) -> None:
    sample = next(iter(samples(name)))
    survives(name, sample, SourceFile(f"a{suffix}", content), data.draw(readings(name)))
