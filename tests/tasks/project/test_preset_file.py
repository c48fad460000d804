"""Test that presets are replaced as a whole, and that only leftovers of killed commands are removed."""

from __future__ import annotations

import fcntl
from pathlib import Path

from tasks.project.preset_file import (
    WRITTEN_BY_INIT,
    begins_as_written_by_init,
    remove_leftover_parts,
    replace_preset,
)
from tests.killed_process import kills

TEXT = f"{WRITTEN_BY_INIT} from a look at the files.\nname: mine\n"
OWN_FILES = {
    "notes.part": "mine", "mine.yaml.part": "", "mine.yaml.7.part": "# my own\n", "mine.txt.7.part": "",
    "mine.yaml": "name: mine\n",
}  # fmt: skip


def write_files(folder: Path) -> None:
    for name, text in OWN_FILES.items():
        (folder / name).write_text(text)


def test_replace_preset_killed_anywhere_leaves_nothing_after_removal(tmp_path: Path) -> None:
    left = 0
    for folder in kills(lambda folder: replace_preset(folder / "mine.yaml", TEXT), write_files, tmp_path):
        left += len(remove_leftover_parts(folder, begins_as_written_by_init))
        found = {path.name: path.read_text() for path in folder.iterdir()}
        assert found == OWN_FILES
        replace_preset(folder / "mine.yaml", TEXT)
        assert (folder / "mine.yaml").read_text() == TEXT
    assert left


def test_replace_preset_existing_file_keeps_its_mode(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("name: mine\n")
    path.chmod(0o640)
    replace_preset(path, TEXT)
    assert path.read_text() == TEXT and path.stat().st_mode & 0o777 == 0o640


def test_remove_leftover_parts_live_writer_and_links_are_kept(tmp_path: Path) -> None:
    part, link = tmp_path / "mine.yaml.7.part", tmp_path / "mine.yaml.8.part"
    part.write_text(TEXT[:40])
    (tmp_path / "target").write_text("")
    link.symlink_to(tmp_path / "target")
    with part.open() as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert remove_leftover_parts(tmp_path, begins_as_written_by_init) == []
    assert remove_leftover_parts(tmp_path, begins_as_written_by_init) == [part]
    assert link.is_symlink() and not part.exists()
    part.write_text(TEXT + "x" * (1 << 20))
    assert remove_leftover_parts(tmp_path, begins_as_written_by_init) == [] and part.exists()
    assert remove_leftover_parts(tmp_path / "none", begins_as_written_by_init) == []
