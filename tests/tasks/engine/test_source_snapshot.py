"""Test the snapshot of the source code from which a run imports."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from model.errors import UserError
from model.events import ImportedSources
from tasks.engine.source_snapshot import Snapshot, _store_snapshot, read_sources, snapshot_digest
from tasks.engine.stage import StageContext, stage
from tasks.project.paths import SOURCE_SNAPSHOTS

REPOSITORY = Path(__file__).parents[3]
WHERE = """
import sys

VALUE = 1

def here(item):
    return [item, VALUE, __file__]

def train(on_event):
    import model.data.dataloader
    return {"value": VALUE, "files": [__file__, model.data.dataloader.__file__], "path": sys.path}
"""
STAGE = """
from tasks.engine.stage import stage
from model.where import VALUE

@stage()
def touch(parameters, out, on_event, root):
    (out / "value").write_text(str(VALUE))
    for line in parameters:
        exec(line)
    return {"value": VALUE}
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Return a project with chatmill's sources and two modules of its own."""
    folder = tmp_path / "project"
    for name in ("flows", "tasks", "model"):
        shutil.copytree(REPOSITORY / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(REPOSITORY / "requirements.txt", folder)
    (folder / "model" / "where.py").write_text(WHERE)
    (folder / "tasks" / "touch.py").write_text(STAGE)
    return folder


def run(project: Path, code: str) -> Any:
    """Run code as a file, because it spawns processes; return the JSON of its last line."""
    script = project.parent / "script.py"
    script.write_text(f"import json\n{code}")
    surroundings = {**os.environ, "PYTHONPATH": str(project)}
    done = subprocess.run(
        [sys.executable, str(script)], cwd=project, env=surroundings, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_take_snapshot_later_imports_come_from_it(project: Path) -> None:
    code = """
from pathlib import Path

def main():
    import tasks.engine.stage, tasks.data.records, model.where
    from tasks.engine.source_snapshot import take_snapshot
    snapshot = take_snapshot(Path.cwd())
    for name in ("model/where.py", "model/data/dataloader.py", "tasks/data/records.py", "tasks/touch.py"):
        Path(name).write_text("VALUE = 2\\ndef here(item): return [item, VALUE, __file__]\\n")
    Path("model/training/launcher.py").write_text("def")
    Path("model/training/job.py").write_text("def")
    import tasks.touch, tasks.data.records, tasks.engine.cache_key
    from model.training.launcher import launch_training
    from model.where import here, train
    from tasks.engine.parallel import process_pool
    from tasks.engine.stage import StageContext
    made = [tasks.touch.touch.run([], {}, StageContext(Path.cwd()), lambda event: None)]
    Path("model/where.py").unlink()
    with process_pool(2, patience=0.0) as parallel_map:
        mapped = list(parallel_map(here, [1, 2, 3, 4]))
    trained = launch_training(train, {}, log=Path("log"))
    print(json.dumps({
        "folder": str(snapshot.folder), "value": made[0].metrics["value"], "mapped": mapped,
        "trained": trained, "records": tasks.data.records.__file__, "root": str(tasks.engine.cache_key.ROOT),
        "code": [snapshot.code.commit, snapshot.code.diff],
    }))

if __name__ == "__main__":
    main()
"""
    found = run(project, code)
    folder = str((project / SOURCE_SNAPSHOTS).resolve())
    assert found["folder"].startswith(folder) and found["root"] == found["folder"]
    assert found["records"].startswith(folder)
    assert found["value"] == 1 and found["trained"]["value"] == 1
    assert [entry[:2] for entry in found["mapped"]] == [[1, 1], [2, 1], [3, 1], [4, 1]]
    assert all(entry[2].startswith(folder) for entry in found["mapped"])
    assert all(path.startswith(folder) for path in found["trained"]["files"])
    assert found["trained"]["path"][0].startswith(folder)
    assert found["code"] == ["", ""]
    # Only the owner can read the first folder that a run makes.
    assert stat.S_IMODE((project / "var").stat().st_mode) == 0o700


@pytest.mark.parametrize(
    "line",
    [
        "from pathlib import Path; Path('model/where.py').write_text('VALUE = 3')",
        "from pathlib import Path; Path('tasks/touch.py').unlink()",
        "from model.events import ImportedSources; on_event(ImportedSources({'model.where': '0' * 64}))",
        "from pathlib import Path; import os; p = Path('model/where.py'); t = p.read_text(); "
        "import time; time.sleep(2.5); p.write_text(''); p.write_text(t)",
    ],
)
def test_stage_run_code_changed_meanwhile_keeps_no_output(project: Path, line: str) -> None:
    code = f"""
from pathlib import Path
from model.errors import UserError
from tasks.engine.stage import StageContext
from tasks.touch import touch
try:
    touch.run([{line!r}], {{}}, StageContext(Path.cwd()), lambda event: None)
    said = ""
except UserError as error:
    said = str(error)
print(json.dumps([said, sorted(path.suffix for path in Path("var").glob("**/touch/*"))]))
"""
    said, left = run(project, code)
    assert "changed while touch ran, so its output was discarded; run again" in said
    assert left == [".lock"]


def test_run_refused_preset_leaves_nothing(project: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "flows.cli.main", "run", "--config", "configs/none.yaml"],
        cwd=project, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 2 and "does not exist" in done.stderr
    assert not (project / "var").exists()


def test_store_snapshot_unused_are_removed_damaged_are_written_again(tmp_path: Path) -> None:
    versions = [{"model/a.py": b"VALUE = %d" % number} for number in range(3)]
    digests = [snapshot_digest(files) for files in versions]
    first = _store_snapshot(tmp_path, digests[0], versions[0])
    second = _store_snapshot(tmp_path, digests[1], versions[1])
    first.close()
    harmed = tmp_path / digests[1] / "model" / "a.py"
    harmed.chmod(0o644)
    harmed.write_bytes(b"VALUE = 9")
    third = _store_snapshot(tmp_path, digests[1], versions[1])
    assert read_sources(tmp_path / digests[1]) == versions[1]
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_dir()) == [digests[1]]
    other = _store_snapshot(tmp_path, digests[2], versions[2])
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_dir()) == sorted(digests[1:])
    with pytest.raises(BlockingIOError):
        fcntl.flock((tmp_path / f"{digests[1]}.lock").open("a"), fcntl.LOCK_EX | fcntl.LOCK_NB)
    for lock in (second, third, other):
        lock.close()


@stage()
def claim(parameters: str, out: Path, on_event: Any) -> dict[str, Any]:
    """Report which modules a training imported."""
    on_event(ImportedSources(modules={__name__: parameters}))
    return {}


def test_stage_run_training_with_other_code_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="changed while claim ran"):
        claim.run("f" * 64, {}, StageContext(tmp_path), lambda event: None)


def _snapshot(root: Path) -> Snapshot:
    files = {"flows/__init__.py": b"", "requirements.txt": b"torch"}
    digest = snapshot_digest(files)
    first = None if (root / "var").exists() else root / "var"
    lock = _store_snapshot(root / SOURCE_SNAPSHOTS, digest, files)
    return Snapshot(root / SOURCE_SNAPSHOTS / digest, digest, None, lock, first)


def test_snapshot_discard_unstarted_run_leaves_nothing(tmp_path: Path) -> None:
    _snapshot(tmp_path).discard()
    assert list(tmp_path.iterdir()) == []


def test_snapshot_discard_files_of_another_run_are_kept(tmp_path: Path) -> None:
    refused, other = _snapshot(tmp_path), _snapshot(tmp_path)
    (tmp_path / "var" / "mlflow.db").write_text("records")
    refused.discard()
    assert (other.folder / "requirements.txt").read_text() == "torch"
    assert (tmp_path / "var" / "mlflow.db").read_text() == "records"


def test_snapshot_discard_new_records_are_kept(tmp_path: Path) -> None:
    refused = _snapshot(tmp_path)
    (tmp_path / "var" / "cache" / "artifacts").mkdir()
    refused.discard()
    assert not refused.folder.exists() and (tmp_path / "var" / "cache" / "artifacts").is_dir()
