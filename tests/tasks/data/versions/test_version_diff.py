"""Test the comparison of two data versions, by kind and source."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from model.errors import UserError
from tasks.data.records import pair_row
from tasks.data.versions.version_diff import WORKING, Count, compare_versions
from tasks.dvc import remote as remotes
from tasks.dvc import versions
from tasks.dvc.pointer_file import read_pointer
from tests.tasks.dvc_project import contents, lay, meta, texts, three_texts
from tests.tasks.record_files import write_rows


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return three_texts(tmp_path / "project")


def test_compare_versions_counts_added_changed_and_gone_rows(root: Path) -> None:
    lay(
        root, *texts("one", "two", "three"),
        pair_row("What is a nat?", "A small fly.", "chat", "nat"),
        pair_row("And a bit?", "A part.", "chat", "bit"),
        pair_row("Kept?", "Yes.", "chat", "kept", ["Yes."]),
    )  # fmt: skip
    before = versions.add_version(root, "", meta("a", text=3, pairs=3))
    lay(
        root, *texts("one", "three", "four", "five"),
        pair_row("What is a nat?", "A unit.", "chat", "nat"),
        pair_row("Kept?", "Yes.", "chat", "kept", ["Yes.", "Yes"]),
        pair_row("New?", "Yes.", "other", "new"),
        shards=3,
    )  # fmt: skip
    after = versions.add_version(root, "", meta("b", text=4, pairs=3))
    wanted = [
        Count("text", "tales", 2, 0, 1),
        Count("pairs", "chat", 0, 2, 1),
        Count("pairs", "other", 1, 0, 0),
    ]
    found = compare_versions(root, before, after, rows=1)
    assert found.counts == wanted
    assert compare_versions(root, before, WORKING).counts == wanted
    assert compare_versions(root, before, WORKING).examples == []
    back = compare_versions(root, after, before).counts
    assert [(c.source, c.added, c.changed, c.gone) for c in back] == [
        ("tales", 1, 0, 2), ("chat", 1, 2, 0), ("other", 0, 0, 1),
    ]  # fmt: skip
    assert compare_versions(root, after, after).counts == []
    shown = {(e.kind, bool(e.before), bool(e.now)): e for e in found.examples}
    assert len(shown) == len(found.examples) == 5
    assert shown["text", True, False].before == "two [tales]"
    assert shown["pairs", True, False].before == "And a bit? → A part. [chat]"
    assert len(compare_versions(root, before, after, rows=9).examples) == 7


def test_compare_versions_changed_answer_is_shown_before_and_after(root: Path) -> None:
    lay(root, pair_row("What is a nat?", "A fly.", "chat", "nat"))
    before = versions.add_version(root, "", meta("a", pairs=1))
    lay(root, pair_row("What is a nat?", "A unit.", "chat", "nat"))
    (example,) = compare_versions(root, before, WORKING, rows=3).examples
    assert (example.before, example.now) == (
        "What is a nat? → A fly. [chat]",
        "What is a nat? → A unit. [chat]",
    )


def test_compare_versions_missing_version_is_fetched_data_stays(root: Path, tmp_path: Path) -> None:
    remote = str(tmp_path / "remote")
    before = versions.add_version(root, remote, meta("a", text=3))
    lay(root, *texts("one", "two"))
    after = versions.add_version(root, remote, meta("b", text=2))
    shutil.rmtree(root / ".dvc" / "cache")
    lay(root, *texts("something else"))
    now = contents(root)
    assert compare_versions(root, before, after).counts == [Count("text", "tales", 0, 0, 1)]
    assert contents(root) == now


@pytest.mark.parametrize("count", [0, 1, 2])
def test_compare_versions_version_without_remote_names_versions_here(root: Path, count: int) -> None:
    lay(root, *texts("old"))
    absent = versions.add_version(root, "", meta("z", text=1))
    shutil.rmtree(root / ".dvc" / "cache")
    made = []
    for number in range(count):
        lay(root, *texts(*map(str, range(number + 2))))
        made.append(versions.add_version(root, "", meta(str(number), text=number + 2)))
    with pytest.raises(UserError, match=r"no remote is set; .*was never made on this machine") as error:
        compare_versions(root, absent, WORKING)
    assert all(one[:12] in str(error.value) for one in made)
    assert ("No other version is here" in str(error.value)) is (count == 0)
    assert ("`chatmill data diff " + made[0][:12] in str(error.value)) if made else True


def test_compare_versions_unavailable_version_is_refused(root: Path, tmp_path: Path) -> None:
    before = versions.add_version(root, "", meta("a", text=3))
    shutil.rmtree(root / ".dvc" / "cache")
    with pytest.raises(UserError, match=r"not in DVC's cache on this machine, and no remote is set"):
        compare_versions(root, before, WORKING)
    with versions.open_repository(root) as repo:
        remotes.set_remote(repo, root, str(tmp_path / "empty"))
    with pytest.raises(UserError, match=r"is incomplete in DVC's cache .* and at the remote"):
        compare_versions(root, before, WORKING)


def test_compare_versions_former_layout_is_read(root: Path) -> None:
    shutil.rmtree(root / "data")
    write_rows(root / "data" / "text.jsonl", texts("one", "two"))
    before = versions.add_version(root, "", meta("a", text=2))
    lay(root, *texts("one", "two", "three"))
    assert compare_versions(root, before, WORKING).counts == [Count("text", "tales", 1, 0, 0)]


def test_compare_versions_unsorted_rows_are_refused(root: Path) -> None:
    versions.add_version(root, "", meta("a", text=3))
    before = read_pointer(root)["md5"]
    path = root / "data" / "text" / "00001.jsonl"
    path.write_text("".join(reversed(path.read_text().splitlines(keepends=True))))
    with pytest.raises(UserError, match=r"data/text/00001\.jsonl of working, line 2: id .* follows"):
        compare_versions(root, before, WORKING)


def test_compare_versions_broken_row_is_refused(root: Path) -> None:
    before = versions.add_version(root, "", meta("a", text=3))
    path = root / "data" / "text" / "00001.jsonl"
    path.write_text(path.read_text()[:-10] + "\n")
    with pytest.raises(UserError, match=r"data/text: the row [0-9a-f]{16} is broken"):
        compare_versions(root, before, WORKING)
