"""Test the removal of old logs and temporary files."""

import os
import time

from tasks.cleanup.record_gc import DUPLICATES, LOGS, find_remains, kept_elsewhere, remove_remains
from tasks.cleanup.removal import Removal

HOUR = 3600.0


def lay(root, name, hours):
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x" * 10)
    then = time.time() - hours * HOUR
    os.utime(path, (then, then))
    return path


def test_find_remains_old_files_are_removed_others_stay(tmp_path):
    old = [
        lay(tmp_path, "var/logs/a.log", 400),
        lay(tmp_path, ".dvc/cache/files/md5/ab/.cd.x1Y.tmp", 400),
        lay(tmp_path, "var/cache/duplicates/artifacts/sft/x", 0),
    ]
    stays = [
        lay(tmp_path, "var/logs/b.log", 1),
        lay(tmp_path, ".dvc/cache/files/md5/ab/.ef.tmp", 1),
        lay(tmp_path, ".dvc/cache/files/md5/ab/cdef", 400),
        lay(tmp_path, "var/labels/demo.npz", 400),
        lay(tmp_path, "var/replaced-2026/mlflow.db", 400),
    ]
    found = find_remains(tmp_path, 300 * HOUR, time.time(), prefect_idle=True)
    assert [each.count for each in found] == [1, 1, 1] and all(path.exists() for path in [*old, *stays])
    removed = remove_remains(tmp_path, found, Removal())
    assert [(each.count, each.size) for each in removed] == [(1, 10), (1, 10), (1, 10)]
    assert not any(path.exists() for path in old) and all(path.exists() for path in stays)
    assert find_remains(tmp_path, 300 * HOUR, time.time(), prefect_idle=True) == []
    sizes = {path: size for path, size, _ in kept_elsewhere(tmp_path)}
    assert sizes == {"var/logs": 10, ".dvc/cache": 20, "var/labels": 10, "var/replaced-2026": 10}


def test_find_remains_recent_dvc_temporary_file_is_kept_at_any_age(tmp_path):
    lay(tmp_path, ".dvc/cache/files/md5/ab/.cd.x1Y.tmp", 2)
    assert find_remains(tmp_path, 0.0, time.time(), prefect_idle=True) == []


def test_find_remains_old_base_models_are_removed_whole(tmp_path):
    names = (
        "one-model/config.json",
        "one-model/model.safetensors",
        "two.gguf",
        "two.gguf.sums",
        "part-x/model/config.json",
        "new/a",
    )
    paths = [lay(tmp_path, f"var/cache/base_models/{name}", 400) for name in names]
    for path in paths[:-1]:
        for folder in (path.parent, path.parent.parent):
            if folder.name != "base_models" and "base_models" in str(folder):
                os.utime(folder, (path.stat().st_mtime, path.stat().st_mtime))
    # A run may be reading them.
    assert find_remains(tmp_path, 300 * HOUR, time.time(), prefect_idle=False, busy=True) == []
    (found,) = find_remains(tmp_path, 300 * HOUR, time.time(), prefect_idle=True)
    assert found.count == 3 and "base models" in found.what
    remove_remains(tmp_path, [found], Removal())
    assert [path.exists() for path in paths] == [False, False, False, False, False, True]


def test_find_remains_linked_folders_are_named_and_kept(tmp_path):
    files = [lay(tmp_path, f"elsewhere/{name}/a.log", 400) for name in ("logs", "duplicates")]
    for name, link in (("logs", LOGS), ("duplicates", DUPLICATES)):
        (tmp_path / link).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / link).symlink_to(tmp_path / "elsewhere" / name)
    assert find_remains(tmp_path, 0.0, time.time(), prefect_idle=True) == []
    kept = {path: why for path, _, why in kept_elsewhere(tmp_path)}
    assert set(kept) == {str(LOGS), str(DUPLICATES)} and all("a link out of" in why for why in kept.values())
    assert all(path.exists() for path in files)
