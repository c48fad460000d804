"""Test that a commit of another repository is not taken for the code of a run."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from model.errors import UserError
from tasks.common.git_checkout import Code, code_state
from tasks.reproduction.checkout import checked_out
from tasks.reproduction.recorded_run import RecordedRun


@pytest.mark.parametrize("code_folder", ["", "/opt/chatmill"])
@pytest.mark.parametrize("names", [["a.txt"], ["requirements.txt"], ["flows/__init__.py", "model/net.py"]])
def test_checked_out_commit_without_program_is_refused(
    tmp_path: Path, names: list[str], code_folder: str
) -> None:
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("x\n")
    who = ["-c", "user.name=a", "-c", "user.email=a@b"]
    for words in (["init", "-q"], ["add", "."], [*who, "commit", "-qm", "one"]):
        subprocess.run(["git", "-C", str(tmp_path), *words], check=True)
    code = code_state(tmp_path)
    original = RecordedRun("12" * 16, "mine", code, {}, "", {}, [], code_folder)
    said: list[str] = []
    refused = f"commit {code.commit[:12]} of this repository does not hold the code of run 121212121212"
    with (
        pytest.raises(UserError, match=refused) as found,
        checked_out(tmp_path, original, False, said.append),
    ):
        pass
    assert (f"the code of the run was in {code_folder};" in str(found.value)) == bool(code_folder)
    assert not said and not (tmp_path / "var").exists()


@pytest.mark.parametrize("code_folder", ["/opt/chatmill", "/home/ana/chatmill", "C"])
def test_checked_out_code_of_other_folder_names_it(tmp_path: Path, code_folder: str) -> None:
    subprocess.run(["git", "-C", str(tmp_path), "init", "-q"], check=True)
    original = RecordedRun("12" * 16, "mine", Code("a" * 40, ""), {}, "", {}, [], code_folder)
    refused = (
        f"this repository does not hold the code of run 1.*was in {code_folder}; only runs in the folder"
    )
    with (
        pytest.raises(UserError, match=refused),
        checked_out(tmp_path, original, False, lambda text: None),
    ):
        pass
