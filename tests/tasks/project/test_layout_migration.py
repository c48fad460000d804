"""Test the migration of the former layout of var/."""

import fcntl
import json
import subprocess

import pytest

from model.errors import UserError
from tasks.engine.cache_key import folder_sums, sums_digest
from tasks.engine.output import MANIFEST_DIGEST, file_sizes, manifest_digest
from tasks.project.layout_migration import move_to_cache
from tasks.project.paths import ARTIFACTS, CACHE, DIGESTS, DOWNLOADS, SUMMARY
from tasks.serving.chat import resolve_model

KEY = "a" * 20


def write_former(root, *names):
    for name in names:
        path = root / "var" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)


def test_move_to_cache_keeps_records_and_content(tmp_path):
    cached = (f"artifacts/sft/{KEY}/model/config.json", "downloads/x/text", "environments/e/bin/python")
    records = (
        "mlflow.db",
        "mlflow/artifacts/run/a",
        "labels/demo.npz",
        "summary.json",
        "up.json",
        "mine.txt",
    )
    write_former(tmp_path, *cached, *records, "digests.json", "data_docs/index.html")
    assert move_to_cache(tmp_path) == ["artifacts", "downloads", "environments", "data_docs", "digests.json"]
    assert all((tmp_path / CACHE / name).read_text() == name for name in cached)
    assert all((tmp_path / "var" / name).read_text() == name for name in records)
    assert not (tmp_path / "var" / "artifacts").exists() and (tmp_path / DIGESTS).exists()
    assert move_to_cache(tmp_path) == []


def test_move_to_cache_present_outputs_are_merged(tmp_path):
    write_former(tmp_path, f"artifacts/sft/{KEY}/manifest.json", f"artifacts/sft/{'b' * 20}/manifest.json")
    write_former(tmp_path, f"cache/artifacts/sft/{KEY}/manifest.json", "cache/artifacts/rlhf/x")
    move_to_cache(tmp_path)
    stage = tmp_path / ARTIFACTS / "sft"
    assert sorted(path.name for path in stage.iterdir()) == [KEY, "b" * 20]
    assert (stage / KEY / "manifest.json").read_text().startswith("cache/")
    aside = tmp_path / CACHE / "duplicates" / "artifacts" / "sft" / KEY / "manifest.json"
    assert aside.read_text().startswith("artifacts/") and not (tmp_path / "var" / "artifacts").exists()


def test_move_to_cache_linked_folder_is_followed(tmp_path):
    disk = tmp_path / "disk"
    (disk / "sft").mkdir(parents=True)
    project = tmp_path / "project"
    (project / "var").mkdir(parents=True)
    (project / "var" / "artifacts").symlink_to("../../disk")
    assert move_to_cache(project) == ["artifacts"]
    assert (project / ARTIFACTS / "sft").is_dir() and not (project / "var" / "artifacts").is_symlink()


def test_move_to_cache_link_to_cache_is_left_alone(tmp_path):
    (tmp_path / ARTIFACTS).mkdir(parents=True)
    (tmp_path / "var" / "artifacts").symlink_to("cache/artifacts")
    assert move_to_cache(tmp_path) == [] and (tmp_path / "var" / "artifacts").is_symlink()


@pytest.mark.parametrize("lock", ["mlflow/alive/0123", f"artifacts/rlhf/{KEY}.lock"])
def test_move_to_cache_running_process_is_refused(tmp_path, lock):
    write_former(tmp_path, f"artifacts/sft/{KEY}/manifest.json", lock)
    with (tmp_path / "var" / lock).open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(UserError, match="still writes to var"):
            move_to_cache(tmp_path)
    assert (tmp_path / "var" / "artifacts" / "sft" / KEY).is_dir()
    assert move_to_cache(tmp_path) == ["artifacts"]


def test_move_to_cache_git_worktree_stays_known(tmp_path):
    def git(*words):
        done = subprocess.run(
            ["git", "-C", str(tmp_path), *words], check=True, capture_output=True, text=True
        )
        return done.stdout

    git("init", "-q")
    git("-c", "user.name=n", "-c", "user.email=e", "commit", "-q", "--allow-empty", "-m", "one")
    git("worktree", "add", "-q", "--detach", str(tmp_path / "var" / "reproduce" / "0123" / "tree"))
    assert move_to_cache(tmp_path) == ["reproduce"]
    assert str(tmp_path / CACHE / "reproduce" / "0123" / "tree") in git("worktree", "list")
    git("worktree", "prune")
    assert git("worktree", "list").count("\n") == 2


def test_resolve_model_summary_of_another_folder_finds_model_here(tmp_path):
    here = tmp_path / ARTIFACTS / "rlhf" / KEY / "model"
    here.mkdir(parents=True)
    (here / "config.json").write_text("{}")
    sums = folder_sums(here.parent)
    manifest = {"files": file_sizes(here.parent), "sums": sums, "digest": sums_digest(sums), "inputs": {}}
    manifest |= {"stage": "rlhf", "key": KEY}
    (here.parent / "manifest.json").write_text(
        json.dumps({**manifest, MANIFEST_DIGEST: manifest_digest(manifest)})
    )
    stage = {"name": "rlhf", "key": KEY, "folder": f"/elsewhere/var/artifacts/rlhf/{KEY}"}
    (tmp_path / SUMMARY).write_text(json.dumps({"stages": [stage]}))
    assert resolve_model("aligned", tmp_path) == here
    assert DOWNLOADS.parent == CACHE
