"""Helpers that read exports as a source does, and return rows as plain values."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tasks.data.file_io.files import SourceFile, SourceRecord
from tasks.data.formats.registry import find_format
from tasks.data.parsing.base import FileSample, ParseOptions
from tasks.data.records import Comparison, Pair, ParsedRow, Rating, Record, Text

EXPORTS = Path(__file__).parents[3] / "fixtures" / "exports"
CONVERSATIONS = {"sharegpt": "conversations", "messages": "messages"}


def sample(name: str) -> SourceFile:
    return SourceFile(name, path=EXPORTS / name)


def lines(*rows: Any) -> SourceFile:
    return SourceFile("given.jsonl", "\n".join(json.dumps(row) for row in rows).encode())


def read(name: str, *files: SourceFile, **told: Any) -> list[ParsedRow]:
    return list(find_format(name).parse(files, ParseOptions(source="mine", **told)))


def rows(name: str, *files: SourceFile, **told: Any) -> list[Any]:
    return [found.row for found in read(name, *files, **told)]


def comparisons(found: list[Any]) -> list[tuple[str, ...]]:
    return [
        (row.a, row.b, row.choice, row.aspect, row.annotator) for row in found if isinstance(row, Comparison)
    ]


def ratings(found: list[Any]) -> list[tuple[Any, ...]]:
    return [
        (row.completion, row.scores, row.annotators, row.aspect) for row in found if isinstance(row, Rating)
    ]


def pairs(found: list[Any]) -> list[tuple[str, str]]:
    return [(row.prompt, row.completion) for row in found if isinstance(row, Pair)]


def read_objects(name: str, *objects: dict[str, Any], stem: str = "", **told: Any) -> list[ParsedRow]:
    """Return what a format finds in the objects, or without them in its sample file."""
    return read(name, lines(*objects) if objects else sample(f"{stem or name}.jsonl"), **told)


def read_pairs(name: str, *objects: dict[str, Any], **told: Any) -> list[Pair]:
    """Return the pairs that a format finds in the objects, or in its sample."""
    found = [found.row for found in read_objects(name, *objects, **told)]
    assert all(isinstance(row, Pair) for row in found)
    return found  # type: ignore[return-value]


def turn_texts(row: Pair) -> list[str]:
    """Return the turns before the prompt, each as "role: text"."""
    return [f"{turn['role']}: {turn['content']}" for turn in row.history]


def conversation(*turns: str, name: str = "messages") -> dict[str, Any]:
    """Return a row of chat messages: "u …" is the user, "a …" the assistant, "s …" a system prompt."""
    roles = {"u": "user", "a": "assistant", "s": "system"}
    said = [{"role": roles[turn[0]], "content": turn[1:].removeprefix(" ")} for turn in turns]
    return {CONVERSATIONS[name]: said}


def rows_of(*found: ParsedRow) -> list[Any]:
    return [one.row for one in found]


def sides(row: Record) -> tuple[str, str]:
    """Return the preferred answer and the other."""
    assert isinstance(row, Comparison) and row.choice != "tie"
    return (row.a, row.b) if row.choice == "a" else (row.b, row.a)


def user(text: str) -> dict[str, str]:
    return {"role": "user", "content": text}


def assistant(text: str) -> dict[str, str]:
    return {"role": "assistant", "content": text}


def file_sample(stem: str) -> FileSample:
    """Return the sample that format detection sees of a file in tests/fixtures/exports."""
    texts = (EXPORTS / f"{stem}.jsonl").read_text().splitlines()
    items = tuple(SourceRecord(json.loads(text), f"line {n}") for n, text in enumerate(texts, 1))
    return FileSample(f"{stem}.jsonl", "\n".join(texts), items)


def object_sample(*objects: dict[str, Any]) -> FileSample:
    """Return the sample that format detection sees of objects."""
    items = tuple(SourceRecord(row, f"line {n}") for n, row in enumerate(objects, 1))
    return FileSample("given.jsonl", "", items)


@dataclass
class RowsByKind:
    """Rows that a parser found, by type, with their places."""

    text: list[Text] = field(default_factory=list)
    pairs: list[Pair] = field(default_factory=list)
    comparisons: list[Comparison] = field(default_factory=list)
    ratings: list[Rating] = field(default_factory=list)
    places: list[str] = field(default_factory=list)


def parse_by_kind(name: str, *files: str | bytes, source: str = "mine", prompt: str = "") -> RowsByKind:
    """Parse files of tests/fixtures/exports by name, or bytes."""
    read = [sample(file) if isinstance(file, str) else SourceFile("given.jsonl", file) for file in files]
    found = RowsByKind()
    kinds: dict[type, list[Any]] = {
        Text: found.text,
        Pair: found.pairs,
        Comparison: found.comparisons,
        Rating: found.ratings,
    }
    for row, where, *_ in find_format(name).parse(read, ParseOptions(source, prompt)):
        kinds[type(row)].append(row)
        found.places.append(where)
    return found
