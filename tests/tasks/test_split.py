"""Test the stage `split`: shares, groups that stay together, and shards."""

from __future__ import annotations

from pathlib import Path

import pytest

from model.errors import UserError
from model.events import Event
from tasks.data.file_io.files import SourceFile
from tasks.data.formats.registry import find_format
from tasks.data.groups import group_of
from tasks.data.parsing.base import ParseOptions
from tasks.data.records import TYPES, canonical_line, pair_row, read_rows, text_row, write_rows
from tasks.data.splits import SPLITS, SplitParameters, split_of
from tasks.split import split

SMOKE = Path(__file__).parent.parent / "fixtures" / "exports" / "smoke"


def quiet(event: Event) -> None:
    pass


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Split the smoke data."""
    root = tmp_path_factory.mktemp("split")
    files = [SourceFile(path.name, path=path) for path in sorted(SMOKE.glob("*.jsonl"))]
    rows = [found.row for found in find_format("rows").parse(files, ParseOptions("film"))]
    for kind, record in TYPES.items():
        chosen = sorted((row for row in rows if isinstance(row, record)), key=lambda row: row.id)
        for number, start in enumerate(range(0, max(1, len(chosen)), 500)):
            write_rows(root / "in" / "rows" / kind / f"{number:05}.jsonl", chosen[start : start + 500])
    split(SplitParameters(0.1, 0.1), validate=root / "in", out=root / "out", on_event=quiet)
    return root / "out"


def groups(parts: Path, name: str) -> set[str]:
    return {row.group for kind in TYPES for row in read_rows(parts / name / kind, kind)}


def test_split_group_is_in_one_split_only(parts: Path) -> None:
    found = {name: groups(parts, name) for name in SPLITS}
    assert all(found.values())
    assert not found["train"] & found["valid"]
    assert not found["train"] & found["test"]
    assert not found["valid"] & found["test"]


def test_split_pair_and_rating_stay_together(parts: Path) -> None:
    for name in SPLITS:
        pairs = {row.prompt + row.completion for row in read_rows(parts / name / "pairs", "pairs")}
        ratings = {row.prompt + row.completion for row in read_rows(parts / name / "ratings", "ratings")}
        assert ratings <= pairs


def test_split_of_shares_are_near_parameters() -> None:
    parameters = SplitParameters(0.1, 0.2)
    names = [split_of(f"group {i}", parameters) for i in range(5000)]
    assert names.count("valid") == pytest.approx(500, rel=0.15)
    assert names.count("test") == pytest.approx(1000, rel=0.15)
    assert names[:100] == [split_of(f"group {i}", parameters) for i in range(100)]
    other = [split_of(f"group {i}", SplitParameters(0.1, 0.2, salt="x")) for i in range(5000)]
    assert other != names


def test_split_without_train_text_is_refused(tmp_path: Path) -> None:
    for kind in TYPES:
        rows = [text_row("alone", "film")] if kind == "text" else []
        write_rows(tmp_path / "rows" / kind / "00000.jsonl", rows)
    with pytest.raises(UserError, match="none of the 1 texts falls into the"):
        split(SplitParameters(), validate=tmp_path, out=tmp_path / "out", on_event=quiet)


@pytest.mark.parametrize(("key", "value"), [("valid", 0.0), ("test", 0.6)])
def test_split_parameters_share_out_of_range_is_refused(key: str, value: float) -> None:
    with pytest.raises(ValueError, match=key):
        SplitParameters(**{key: value})


def test_split_shards_keep_their_numbers(parts: Path) -> None:
    before = parts.parent / "in" / "rows"
    for kind in TYPES:
        numbers = sorted(path.name for path in (before / kind).iterdir())
        lines = sorted(line for path in (before / kind).iterdir() for line in path.open())
        divided = []
        for name in SPLITS:
            assert sorted(path.name for path in (parts / name / kind).iterdir()) == numbers
            divided += [line for path in (parts / name / kind).iterdir() for line in path.open()]
        assert sorted(divided) == lines
    assert len(list((before / "ratings").iterdir())) > 1


@pytest.mark.parametrize("group", ["abc", "", 'a "quote" \\ and \n', "ünïcode", '","group":"other', "\u2028"])
def test_group_of_any_text_around_is_read_exactly(group: str) -> None:
    trap = 'the key is "group":"none" and \\"group\\":\\"none\\"'
    turns = [{"role": "user", "content": trap}]
    for row in (
        text_row(trap, "a source", group or "given"),
        pair_row(trap, trap, trap, group, history=turns),
    ):
        assert group_of(canonical_line(row).encode()) == row.group


def test_group_of_line_that_is_not_canonical_is_read() -> None:
    assert group_of(b'{"id": "1", "group": "mine", "text": "x"}') == "mine"
