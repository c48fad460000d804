"""Test the quarantine: its rows, and their release without loss."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pytest

from model.errors import UserError
from tasks.data.records import Record, comparison_row, pair_row, rating_row, text_row
from tasks.validation.quarantine import (
    Release,
    explain_misfit,
    read_quarantine,
    read_releases,
    release_rows,
    summarize_quarantine,
)
from tests.killed_process import kills

NOW = "2026-01-31T12:00:00+00:00"
PATH = "configs/admitted.jsonl"
TURNS = [{"role": "user", "content": "Hello"}, {"role": "assistant", "content": "Hello."}]


def plain(row: Record) -> dict[str, Any]:
    return dataclasses.asdict(row)


def lay(root: Path, kind: str, rows: Sequence[dict[str, Any]], shard: int = 0) -> None:
    folder = root / "data" / "quarantine" / kind
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{shard:05}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def broken(row: dict[str, Any], rule: str = "text is printable", value: Any = "\x00") -> dict[str, Any]:
    return {**row, "rule": rule, "where": "texts/a.txt, line 3", "value": value}


def texts(count: int, source: str = "tales", **changes: Any) -> list[dict[str, Any]]:
    return [{**plain(text_row(f"text {number}", source)), **changes} for number in range(count)]


@pytest.fixture
def rows(tmp_path: Path) -> list[dict[str, Any]]:
    rows = sorted(texts(4), key=lambda row: row["id"])
    lay(tmp_path, "text", [broken(row) for row in rows[:2]])
    lay(tmp_path, "text", [broken(row) for row in rows[2:]], 1)
    return rows


def take(root: Path, ids: Sequence[str], **changes: Any) -> list[Release]:
    given = {"author": "Ann", "reason": "it is a poem", "time": NOW, **changes}
    return release_rows(root, PATH, ids, **given)


def write(path: Path, *rows: dict[str, Any]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_read_quarantine_lists_rows_of_all_shards_and_kinds(
    tmp_path: Path, rows: list[dict[str, Any]]
) -> None:
    assert list(read_quarantine(tmp_path / "nowhere")) == []
    pair = plain(pair_row("Why?", "So.", "chat", "g", history=TURNS))
    lay(tmp_path, "pairs", [broken(pair, "completion has a fit length", 3)])
    found = list(read_quarantine(tmp_path))
    assert [aside.row for aside in found] == [*rows, pair]
    assert [aside.kind for aside in found] == ["text"] * 4 + ["pairs"]
    last = found[-1]
    assert (last.rule, last.where, last.value) == ("completion has a fit length", "texts/a.txt, line 3", 3)
    assert json.loads(last.line) == broken(pair, "completion has a fit length", 3)


def test_summarize_quarantine_counts_by_rule_and_source(tmp_path: Path) -> None:
    poems = [{**row, "id": f"poem {row['id']}"} for row in texts(3, "poems")]
    tales = texts(3)
    shelf = [*map(broken, tales[:2]), *map(broken, poems), broken(tales[2], "id is unique")]
    lay(tmp_path, "text", shelf)
    lay(tmp_path, "ratings", [broken(plain(rating_row("a", "b", [1.0], ["x"], "tone", "s", "g")), "scores")])
    found = summarize_quarantine(tmp_path, {poems[0]["id"], poems[2]["id"], "another"})
    assert [(t.kind, t.rule, t.source, t.rows, t.released) for t in found] == [
        ("text", "text is printable", "poems", 3, 2),
        ("text", "text is printable", "tales", 2, 0),
        ("text", "id is unique", "tales", 1, 0),
        ("ratings", "scores", "s", 1, 0),
    ]
    assert found[0].first.row == poems[0]


def test_read_releases_returns_released_rows(tmp_path: Path, rows: list[dict[str, Any]]) -> None:
    assert read_releases(tmp_path, PATH) == {}
    done = take(tmp_path, [rows[1]["id"], rows[0]["id"][:6]], author=" Ann ", reason="„gut“")
    wanted = [Release(row["id"], "Ann", "„gut“", NOW) for row in (rows[1], rows[0])]
    assert done == wanted
    assert list(read_releases(tmp_path, PATH).values()) == wanted
    first = json.loads((tmp_path / PATH).read_text(encoding="utf-8").splitlines()[0])
    assert first == {"id": rows[1]["id"], "by": "Ann", "why": "„gut“", "time": NOW}


def test_read_releases_last_release_of_row_counts(tmp_path: Path, rows: list[dict[str, Any]]) -> None:
    take(tmp_path, [rows[0]["id"]])
    before = (tmp_path / PATH).read_bytes()
    (tmp_path / PATH).write_bytes(before.rstrip(b"\n"))  # as some editors do
    take(tmp_path, [rows[0]["id"]], author="Ben")
    assert (tmp_path / PATH).read_bytes().startswith(before)
    assert [found.author for found in read_releases(tmp_path, PATH).values()] == ["Ben"]


def test_release_rows_corrected_rows_are_kept_whole(tmp_path: Path, rows: list[dict[str, Any]]) -> None:
    better, too = ({**plain(text_row(text, "tales")), "id": row["id"]} for text, row in zip(
        ("corrected", "too"), (rows[0], rows[2]), strict=True
    ))  # fmt: skip
    # A corrected line may keep the keys that the quarantine added, and the group of the former text.
    fixed = write(tmp_path / "fixed.jsonl", broken({**better, "group": rows[0]["group"]}), too)
    done = take(tmp_path, [], replacement=fixed)
    assert {found.id: found.row for found in done} == {
        rows[0]["id"]: better,
        rows[2]["id"]: too,
    }
    assert read_releases(tmp_path, PATH)[rows[0]["id"]].row == better
    assert take(tmp_path, [rows[0]["id"][:8], rows[2]["id"]], replacement=fixed) == done


def test_release_rows_exact_id_wins_over_longer_one(tmp_path: Path) -> None:
    short, long = texts(1, id="tale-1")[0], texts(1, id="tale-10")[0]
    lay(tmp_path, "text", [broken(short), broken(long)])
    assert [found.id for found in take(tmp_path, ["tale-1"])] == ["tale-1"]


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"author": " "}, r"author is empty"),
        ({"reason": ""}, r"reason is empty"),
        ({"ids": []}, r"no rows given"),
        ({"ids": ["tale"]}, r"'tale' is too short for an id; expected at least 6"),
        ({"ids": ["tale-3"]}, r"tale-3 is not quarantined"),
        ({"ids": ["tale-100", "tale-3"]}, r"tale-3 is not quarantined"),
        ({"ids": ["tale-1"]}, r"tale-1 matches several ids \(tale-100, tale-101, tale-102\)"),
    ],
)
def test_release_rows_invalid_request_writes_nothing(
    tmp_path: Path, changes: dict[str, Any], says: str
) -> None:
    lay(tmp_path, "text", [broken(texts(1, id=f"tale-{number}")[0]) for number in range(100, 120)])
    with pytest.raises(UserError, match=says):
        take(tmp_path, **{"ids": ["tale-100"], **changes})
    assert not (tmp_path / "configs").exists()


@pytest.mark.parametrize(
    ("lines", "says"),
    [
        ([], r"fixed.jsonl holds no row;"),
        ([{"text": "a"}], r"fixed.jsonl, line 1: id is null"),
        ([{"id": "tale-9", "text": "a"}], r"fixed.jsonl holds no row tale-1"),
        ([{"id": "tale-1", "text": "a"}], r"line 1: this is not a row of text: source is missing"),
        ([{"group": 3}], r"line 1: this is not a row of text: group is 3; expected a text"),
        ([{"prompt": "Why?"}], r"unknown key prompt; the fields of text are id, text, source, group"),
        ([{}, {}], r"line 2: the row tale-1 is given twice"),
        ([{}, {"id": "tale-2"}], r"line 2: the row tale-2 is not among the given ids"),
    ],
)
def test_release_rows_invalid_file_of_rows_is_refused(
    tmp_path: Path, lines: list[dict[str, Any]], says: str
) -> None:
    row = texts(1, id="tale-1")[0]
    lay(tmp_path, "text", [broken(row), broken({**row, "id": "tale-2"})])
    whole = [line if "text" in line else {**row, **line} for line in lines]
    if lines == [{"text": "a"}]:
        whole = lines
    with pytest.raises(UserError, match=says):
        take(tmp_path, ["tale-1"], replacement=write(tmp_path / "fixed.jsonl", *whole))
    assert not (tmp_path / "configs").exists()
    with pytest.raises(UserError, match=r"none.jsonl is not a file"):
        take(tmp_path, ["tale-1"], replacement=tmp_path / "none.jsonl")


def test_release_rows_pair_in_place_of_text_is_refused(tmp_path: Path) -> None:
    lay(tmp_path, "text", [broken(texts(1, id="tale-1")[0])])
    fixed = write(tmp_path / "fixed.jsonl", {**plain(pair_row("Why?", "So.", "chat", "g")), "id": "tale-1"})
    with pytest.raises(UserError, match=r"this is not a row of text"):
        take(tmp_path, [], replacement=fixed)


@pytest.mark.parametrize(
    ("kind", "row"),
    [
        ("text", text_row("a", "s")),
        ("pairs", pair_row("a", "b", "s", "g", history=TURNS)),
        ("comparisons", comparison_row("a", "b", "c", "tie", "tone", "ann", "s", "g", TURNS, NOW)),
        ("ratings", rating_row("a", "b", [1, 2.5], ["ann", "ben"], "tone", "s", "g", TURNS, [NOW, NOW])),
    ],
)
def test_explain_misfit_record_fits_only_its_kind(kind: str, row: Record) -> None:
    values = plain(row)
    assert explain_misfit(kind, values) == ""
    assert all(
        explain_misfit(other, values)
        for other in ("text", "pairs", "comparisons", "ratings")
        if other != kind
    )
    for name in values:
        if name not in ("history", "time", "times", "first_choices", "first_annotators", "fault"):
            assert (
                explain_misfit(kind, {k: v for k, v in values.items() if k != name}) == f"{name} is missing"
            )
        assert explain_misfit(kind, {**values, name: {"a": 1}}).startswith(f"{name} is {{")
    assert "history" not in values or "turns with role" in explain_misfit(
        kind, {**values, "history": [{"role": "user"}]}
    )
    assert "scores" not in values or "a list of numbers" in explain_misfit(kind, {**values, "scores": [True]})


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("{", r"admitted.jsonl, line 3: broken JSON"),
        ('{"id":"a","by":"b","why":"c"}', r"admitted.jsonl, line 3: time is null; expected a text"),
        ('{"id":"a","by":" ","why":"c","time":"2026-01-31"}', r"line 3: by is \" \""),
        ('{"id":"a","by":"b","why":"c","time":"today"}', r"line 3: time is \"today\"; expected ISO 8601"),
        ('{"id":"a","by":"b","why":"c","time":"2026-01-31","rwo":{}}', r"line 3: unknown key rwo"),
        (
            '{"id":"a","by":"b","why":"c","time":"2026-01-31","row":{"id":"b"}}',
            r"line 3: row is not the row a",
        ),
        (
            '{"id":"a","by":"b","why":"c","time":"2026-01-31","row":{"id":"a","text":"b"}}',
            r"line 3: row is not a complete row of text or pairs or comparisons or ratings",
        ),
    ],
)
def test_read_releases_broken_line_is_refused(
    tmp_path: Path, rows: list[dict[str, Any]], line: str, says: str
) -> None:
    (tmp_path / "configs").mkdir()
    text = f'{{"id":"a","by":"b","why":"c","time":"2026-01-31"}}\n\n{line}\n'
    (tmp_path / PATH).write_text(text)
    with pytest.raises(UserError, match=says):
        read_releases(tmp_path, PATH)
    with pytest.raises(UserError, match=says):
        take(tmp_path, [rows[0]["id"]])
    assert (tmp_path / PATH).read_text() == text


def test_release_rows_failed_write_changes_nothing(tmp_path: Path, rows: list[dict[str, Any]]) -> None:
    take(tmp_path, [rows[0]["id"]])
    before = (tmp_path / PATH).read_bytes()
    (tmp_path / "configs" / "admitted.jsonl.part").mkdir()
    with pytest.raises(UserError, match=r"admitted.jsonl could not be written \(Is a directory\)"):
        take(tmp_path, [rows[1]["id"]])
    assert (tmp_path / PATH).read_bytes() == before
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"could not be written"):
        release_rows(tmp_path, "file/admitted.jsonl", [rows[0]["id"]], "Ann", "so", NOW)


def _take_each(root: Path, ids: list[str]) -> None:
    for number in ids:
        take(root, [number])


def test_release_rows_two_processes_lose_nothing(tmp_path: Path) -> None:
    many = texts(40)
    lay(tmp_path, "text", [broken(row) for row in many])
    ids = [row["id"] for row in many]
    context = get_context("spawn")
    processes = [context.Process(target=_take_each, args=(tmp_path, half)) for half in (ids[:20], ids[20:])]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0]
    assert read_releases(tmp_path, PATH).keys() == set(ids)
    assert [path.name for path in (tmp_path / "configs").iterdir()] == ["admitted.jsonl"]


def test_release_rows_same_decision_twice_is_recorded_once(tmp_path: Path) -> None:
    many = texts(3)
    lay(tmp_path, "text", [broken(row) for row in many])
    ids = [row["id"] for row in many]
    context = get_context("spawn")
    processes = [context.Process(target=_take_each, args=(tmp_path, ids)) for _ in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0]
    assert len((tmp_path / PATH).read_text().splitlines()) == 3
    # Another person, reason or row is a decision of its own.
    take(tmp_path, ids[:1], author="Someone else")
    assert len((tmp_path / PATH).read_text().splitlines()) == 4


def test_release_rows_killed_anywhere_is_completed_by_the_same_command(tmp_path: Path) -> None:
    rows = sorted(texts(3), key=lambda row: row["id"])
    edited = tmp_path / "edited.jsonl"
    edited.write_text(json.dumps({**rows[1], "text": "mended"}) + "\n")

    def make(root: Path) -> None:
        lay(root, "text", [broken(row) for row in rows])
        release_rows(root, PATH, [rows[0]["id"]], "max", "fine", NOW)

    def release(root: Path) -> None:
        release_rows(root, PATH, [], "max", "mended", NOW, edited)

    killed = 0
    for root in kills(release, make, tmp_path / "killed"):
        killed += 1
        before = set(read_releases(root, PATH))
        assert before in ({rows[0]["id"]}, {rows[0]["id"], rows[1]["id"]})
        assert len([*read_quarantine(root)]) == 3
        release(root)
        lines = (root / PATH).read_text().splitlines()
        assert [json.loads(line)["id"] for line in lines] == [rows[0]["id"], rows[1]["id"]]
        assert [path.name for path in (root / PATH).parent.iterdir()] == [Path(PATH).name]
    assert killed >= 3
