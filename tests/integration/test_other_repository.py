"""A project in a git repository of its own: its commit is not recorded as that of chatmill's code."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from tests.benchmarks.smoke import REPOSITORY
from tests.integration.clones import chatmill, git, mlflow


def test_ingest_in_other_repository_records_both_commits(tmp_path: Path) -> None:
    shutil.copytree(REPOSITORY / "tests" / "fixtures" / "exports" / "smoke", tmp_path / "texts")
    (tmp_path / "configs").mkdir()
    preset = (REPOSITORY / "configs" / "smoke.yaml").read_text()
    (tmp_path / "configs" / "mine.yaml").write_text(preset.replace("tests/fixtures/exports/smoke/", "texts/"))
    (tmp_path / ".gitignore").write_text("var/\ndata/\n")
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-qm", "the project's own")
    chatmill(tmp_path, "ingest", "--config", "configs/mine.yaml")
    (run,) = (name for (name,) in mlflow(tmp_path, "select run_uuid from tags where key = 'code.digest'")[:1])
    tags = dict(mlflow(tmp_path, f"select key, value from tags where run_uuid = '{run}'"))
    heads = [
        subprocess.run(
            ["git", "-C", str(place), "rev-parse", "HEAD"], capture_output=True, text=True, check=True
        ).stdout.strip()
        for place in (REPOSITORY, tmp_path)
    ]
    assert [tags["git.commit"], tags["project.commit"]] == heads and heads[0] != heads[1]
    assert tags["code.folder"] == str(REPOSITORY) and len(tags["code.digest"]) == 20
    parent = tags.get("mlflow.parentRunId", run)
    said = chatmill(tmp_path, "reproduce", parent, code=2)
    assert "this repository does not hold the code of run" in said and str(REPOSITORY) in said
    assert not (tmp_path / "var" / "cache" / "reproduce").exists()
