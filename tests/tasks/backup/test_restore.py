"""What a restoration leaves that was killed before it was decided."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
from pathlib import Path

import pytest

from flows.servers.environment import checkout_environment
from tasks.backup.archive import write_backup
from tasks.backup.restore import finish_restore, restore_backup
from tests.tasks.backup.test_archive import REPOSITORY, project

__all__ = ["project"]

KILLED = """
import os, signal, sys
from pathlib import Path
from tasks.backup import restore
def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)
setattr(restore, sys.argv[3], die)
restore.restore_backup(Path(sys.argv[1]), Path(sys.argv[2]), force=True)
"""


@pytest.mark.parametrize("moment", ["is_record", "fault_in", "replace_text"])
def test_finish_restore_removes_what_a_killed_one_unpacked(
    project: Path, tmp_path: Path, moment: str
) -> None:
    archive = tmp_path / "records.tar"
    write_backup(project, archive)
    records = {path for path in (project / "var").rglob("*") if path.is_file()}
    done = subprocess.run(
        [sys.executable, "-c", KILLED, str(project), str(archive), moment],
        env=checkout_environment(REPOSITORY), check=False,
    )  # fmt: skip
    assert done.returncode == -9
    [left] = (project / "var").glob("restoring-*")
    # A living restoration holds its folder.
    held = os.open(left, os.O_RDONLY)
    fcntl.flock(held, fcntl.LOCK_EX)
    finish_restore(project)
    assert left.exists()
    os.close(held)
    finish_restore(project)
    assert not left.exists() and records <= set((project / "var").rglob("*"))
    found, _ = restore_backup(project, archive, force=True)
    assert found.files and not [*(project / "var").glob("restoring-*")]
