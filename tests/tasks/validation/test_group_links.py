"""Test that the rows of one conversation stay in one group if a person corrects a turn of it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from tasks.data.records import TYPES, list_shards, read_shards
from tasks.data.sources.source_types import DataParameters, Source
from tasks.engine.parallel import serial_map
from tasks.validate import ValidateParameters, validate
from tasks.validation.group_links import join_links, link_tasks
from tasks.validation.quarantine import Release, read_quarantine, release_rows
from tests.tasks.ingest_project import OWN, run, write

NOW = "2026-01-31T12:00:00+00:00"
PATH = "configs/admitted.jsonl"


CHATS = DataParameters((Source("mine", "messages", files="texts/*.jsonl"),))
ROWS = DataParameters((OWN,))


def chat(*said: str) -> dict[str, Any]:
    roles = ("user", "assistant")
    return {"messages": [{"role": roles[n % 2], "content": text} for n, text in enumerate(said)]}


def validated(root: Path) -> dict[str, dict[str, Any]]:
    """Return the good rows of the project's data by id."""
    shutil.rmtree(root / "checked", ignore_errors=True)
    validate(
        ValidateParameters(max_bad_fraction=1.0), ingest=root / "out", out=root / "checked",
        on_event=lambda event: None, root=root, parallel_map=serial_map,
    )  # fmt: skip
    return {row["id"]: row for kind in TYPES for row in read_shards(root / "checked" / "rows" / kind)}


def corrected(
    root: Path, lines: list[dict[str, Any]], fixes: dict[str, str], sources: DataParameters = CHATS
) -> dict[str, dict[str, Any]]:
    """Ingest and validate lines, correct the texts of the quarantined rows, and return the good rows then."""
    root.mkdir(exist_ok=True)
    write(root, *lines)
    run(root, sources)
    validated(root)
    edited = []
    for found in read_quarantine(root):
        line = json.dumps(found.row)
        for wrong, right in fixes.items():
            line = line.replace(json.dumps(wrong), json.dumps(right))
        edited.append(line)
    (root / "edited.jsonl").write_text("\n".join(edited) + "\n")
    release_rows(root, PATH, [], "ann", "fixed", NOW, root / "edited.jsonl")
    return validated(root)


@pytest.mark.parametrize(
    "said",
    [
        ("[removed]", "A mill.", "And then?", "A boat."),
        ("[deleted]", "Yes.", "Why so?", "Because.", "Since when?", "Since May."),
        ("[ Removed by Reddit ]", "Rivers.", "Name one.", "The Rhine."),
    ],
)
@pytest.mark.parametrize("right", ["What grinds corn?", "Is the café open?"])
def test_validate_conversation_with_corrected_first_turn_stays_in_one_group(
    tmp_path: Path, said: tuple[str, ...], right: str
) -> None:
    other = chat(right, "Another answer.")
    found = corrected(tmp_path, [chat(*said), other, chat("Who?", "Me.")], {said[0]: right})
    rows = [row for row in found.values() if row["prompt"] != "Who?"]
    assert len(rows) == len(said) // 2 + 1
    assert len({row["group"] for row in rows}) == 1
    assert {row["group"] for row in found.values() if row["prompt"] == "Who?"} != {rows[0]["group"]}


def test_validate_group_that_a_person_wrote_links_no_others(tmp_path: Path) -> None:
    lines = [
        {"prompt": "[removed]", "completion": "So.", "group": "mine"},
        {"prompt": "Why?", "completion": "x"},
    ]
    found = corrected(tmp_path, lines, {"[removed]": "Why?"}, ROWS)
    assert sorted(row["group"] == "mine" for row in found.values()) == [False, True]


def test_validate_without_corrections_keeps_every_group(tmp_path: Path) -> None:
    write(tmp_path, chat("A?", "B.", "C?", "D."), chat("E?", "F."))
    run(tmp_path, CHATS)
    before = {row["id"]: row["group"] for row in read_shards(tmp_path / "data" / "pairs")}
    assert {number: row["group"] for number, row in validated(tmp_path).items()} == before
    shards = list_shards(tmp_path / "out" / "rows" / "pairs")
    assert shards and link_tasks(shards, {"1": Release("1", "ann", "fine", NOW)}) == []


@pytest.mark.parametrize(
    ("links", "joined"),
    [
        ([("g1", "g9")], {"g9": "g1"}),
        ([("g1", "g9"), ("g2", "g9")], {"g2": "g1", "g9": "g1"}),
        ([("g1", "g2"), ("g2", "g3")], {"g2": "g1", "g3": "g1"}),
        ([("g5", "g1"), ("g5", "g1")], {"g1": "g5"}),
        (
            [("g1", "g8"), ("g2", "g9"), ("g3", "g8"), ("g3", "g9")],
            dict.fromkeys(("g2", "g3", "g8", "g9"), "g1"),
        ),
    ],
)
def test_join_links_groups_that_share_a_correction_are_one(
    links: list[tuple[str, str]], joined: dict[str, str]
) -> None:
    assert join_links(links) == join_links(links[::-1]) == joined
