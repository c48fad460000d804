"""Test that `gc` and the cleanup at start remove nothing that chatmill did not make."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from tasks.cleanup.cache_gc import plan_cache, remove_cached
from tasks.cleanup.crash_cleanup import clean_up_crashes
from tasks.cleanup.output_gc import list_outputs
from tasks.cleanup.record_gc import find_remains, remove_remains
from tasks.cleanup.removal import Removal
from tasks.project.owned_folder import MARKER
from tasks.project.paths import (
    ARTIFACTS,
    BASE_MODELS,
    CACHE,
    DOWNLOADS,
    ENVIRONMENTS,
    LOGS,
    REPRODUCTIONS,
    SOURCE_SNAPSHOTS,
)
from tests.killed_process import kills

DAY = 86_400.0
KEY, RUN = "0123456789abcdef0123", "0123abcd"
CLEANED = (DOWNLOADS, ENVIRONMENTS, REPRODUCTIONS, SOURCE_SNAPSHOTS)
# Names of a user's files, and of chatmill's own entries.
FOREIGN = ("thesis.pdf", "photos/2024/a.jpg", "project/notes.part", ".hidden", "run.LOG", "x.gone/y")
OURS = ("old.whl", f"{RUN}/a", f"{KEY}/rows", "words-1.0.tar.gz", "old.log")


def lay(place: Path, *names: str) -> list[Path]:
    made = []
    for name in names:
        path = place / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("mine")
        made.append(path)
    for path in [*place.rglob("*"), place]:
        os.utime(path, (time.time() - 90 * DAY,) * 2)
    return made


def clean(root: Path) -> list[str]:
    """Clean the cache and the logs as `chatmill gc` does; return why each entry stays."""
    removal = Removal()
    removed, kept = plan_cache(root, 0.0, time.time(), [], busy=False)
    for each in removed:
        assert remove_cached(root, each, removal) == ""
    remove_remains(root, find_remains(root, 0.0, time.time(), prefect_idle=True), removal)
    assert not removal.refused
    clean_up_crashes(root)
    return [why for _, why in kept]


@pytest.mark.parametrize("folder", [*CLEANED, LOGS], ids=str)
@pytest.mark.parametrize("above", [False, True], ids=["itself", "above"])
def test_gc_linked_folder_without_marker_keeps_files(tmp_path: Path, folder: Path, above: bool) -> None:
    root, other = tmp_path / "project", tmp_path / "other"
    linked = folder.parent if above and folder != LOGS else folder
    mine = lay(other / folder.relative_to(linked), *FOREIGN, *OURS)
    (root / linked).parent.mkdir(parents=True)
    (root / linked).symlink_to(other)
    reasons = clean(root)
    assert all(path.exists() for path in mine)
    assert folder == LOGS or any(f"touch {folder}/{MARKER}" in why for why in reasons)
    # With the marker, chatmill's entries are removed and other names stay.
    (root / folder / MARKER).write_text("")
    clean(root)
    gone = {path.name for path in mine if not path.exists()}
    assert gone and gone <= {Path(name).name for name in OURS}


@pytest.mark.parametrize("folder", [*CLEANED, LOGS], ids=str)
def test_gc_files_of_other_names_are_kept(tmp_path: Path, folder: Path) -> None:
    mine = lay(tmp_path / folder, *FOREIGN)
    clean(tmp_path)
    assert all(path.exists() for path in mine)


def test_gc_linked_var_folder_removes_old_download(tmp_path: Path) -> None:
    root, other = tmp_path / "project", tmp_path / "disk"
    root.mkdir()
    other.mkdir()
    (root / "var").symlink_to(other)
    [old] = lay(root / DOWNLOADS, "old.whl")
    clean(root)
    assert not old.exists()


@pytest.mark.parametrize(
    "name", ["mine.part", "mine.view", "mine.job", "mine.gone", f"{KEY}0.part", "photos"]
)
@pytest.mark.parametrize("link", [False, True])
def test_gc_up_crashes_other_names_in_artifacts_are_kept(tmp_path: Path, name: str, link: bool) -> None:
    root, other = tmp_path / "project", tmp_path / "other"
    (root / CACHE).mkdir(parents=True)
    if link:
        other.mkdir()
        (root / ARTIFACTS).symlink_to(other)
    mine = lay(root / ARTIFACTS / "sft", f"{name}/a", f"{name}/b/c")
    half = lay(root / ARTIFACTS / "sft", f"{KEY}.part/half")
    assert len(clean_up_crashes(root)) == 1 and not half[0].exists()
    assert all(path.exists() for path in mine)
    assert {entry.key for entry in list_outputs(root / ARTIFACTS)} == {KEY}, "the lock of the sweep"


def test_gc_linked_dataset_is_kept(tmp_path: Path) -> None:
    mine = lay(tmp_path / "other", "rows.parquet")
    (tmp_path / DOWNLOADS / "datasets").mkdir(parents=True)
    (tmp_path / DOWNLOADS / "datasets" / ("dd" * 8)).symlink_to(tmp_path / "other")
    clean(tmp_path)
    assert mine[0].exists()


ENTRIES = (
    DOWNLOADS / RUN,
    DOWNLOADS / "datasets" / RUN,
    DOWNLOADS / "huggingface",
    ENVIRONMENTS / KEY,
    BASE_MODELS / "0123-model",
)


def collect(root: Path, age: float = 3600.0, *presets: dict[str, str]) -> None:
    removal = Removal()
    for each in plan_cache(root, age, time.time(), presets, busy=False)[0]:
        assert remove_cached(root, each, removal) == ""
    remove_remains(root, find_remains(root, age, time.time(), prefect_idle=False), removal)


def test_gc_killed_at_any_operation_leaves_no_part_under_its_name(tmp_path: Path) -> None:
    """A later run would use it. The next gc removes the rest at any age, as its times are new."""

    def make(root: Path) -> None:
        for entry in ENTRIES:
            lay(root / entry, "a", "b/c", "pyvenv.cfg")
        lay(root / BASE_MODELS, "0123-model.sums")

    count = 0
    for root in kills(collect, make, tmp_path):
        count += 1
        for entry in ENTRIES:
            files = {path.name for path in (root / entry).rglob("*") if path.is_file()}
            assert files == {"a", "c", "pyvenv.cfg"} or not (root / entry).exists(), root
        collect(root, 365 * DAY, {"dataset": "a"})
        assert not [*(root / CACHE).rglob("*.gone")], root
        collect(root)
        assert [*(root / BASE_MODELS).iterdir()] == [], root
    assert count > 5 * len(ENTRIES)


def test_remove_cached_half_removed_entry_keeps_lock_of_a_new_one(tmp_path: Path) -> None:
    lay(tmp_path / ENVIRONMENTS, f"{KEY}/installed", f"{KEY}.lock", f"{KEY}.gone/lib/a.py")
    removed, kept = plan_cache(tmp_path, 365 * DAY, time.time(), [], busy=False)
    assert [each.path.name for each in removed] == [f"{KEY}.gone"] and len(kept) == 1
    assert remove_cached(tmp_path, removed[0], Removal()) == ""
    assert sorted(os.listdir(tmp_path / ENVIRONMENTS)) == [KEY, f"{KEY}.lock"]
