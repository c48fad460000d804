"""The project's var/: private to its owner, and one error for everybody else."""

from __future__ import annotations

import os
import shutil
import socket
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from flows.common import project_folder
from flows.common.project_folder import (
    check_path,
    check_records,
    prepare_records,
    refuse_nested_project,
    require_access,
    require_project,
    secure_records,
)
from flows.servers.environment import checkout_environment
from model.errors import UserError
from tasks.project.dry_run import forbid_writes
from tests.killed_process import kills
from tests.small_disk import fill_disk, small_disk
from tests.waiting import PATIENCE

REPOSITORY = Path(__file__).parents[3]
# Root can read and write everything unless these capabilities are dropped.
AS_ANY_USER = ("setpriv", "--bounding-set", "-dac_override,-dac_read_search,-fowner,-chown")


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_prepare_records_makes_var_private(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        prepare_records(tmp_path)
    finally:
        os.umask(before)
    assert mode(tmp_path / "var") == 0o700


@pytest.mark.parametrize("wide", [0o755, 0o770, 0o777, 0o701, 0o2750])
def test_secure_records_wide_permissions_are_narrowed_with_one_notice(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], wide: int
) -> None:
    var = tmp_path / "var"
    (var / "prefect").mkdir(parents=True)
    var.chmod(wide)
    secure_records(tmp_path)
    assert mode(var) == wide & ~0o077
    assert "other users of this machine had access to var/" in capsys.readouterr().err
    prepare_records(tmp_path)
    assert capsys.readouterr().err == ""


def test_secure_records_killed_anywhere_leaves_no_partial_file(tmp_path: Path) -> None:
    def make(root: Path) -> None:
        (root / "var" / "mlflow").mkdir(parents=True)

    for root in kills(secure_records, make, tmp_path):
        secure_records(root)
        assert [path.name for path in (root / "var").iterdir() if path.is_file()] == [".gitignore"]
        assert "*" in (root / "var" / ".gitignore").read_text().splitlines()


def test_secure_records_leaves_var_of_other_programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "var" / "log").mkdir(parents=True)
    (tmp_path / "var").chmod(0o755)
    secure_records(tmp_path)
    assert mode(tmp_path / "var") == 0o755
    changed: list[Path] = []
    monkeypatch.setattr(project_folder, "make_private_folder", changed.append)
    with pytest.raises(UserError, match="/var belongs to the system"):
        prepare_records(Path("/"))
    secure_records(Path("/"))
    assert changed == []


@pytest.mark.parametrize("below", ["a", "data", "var/x", "a/b/c"])
@pytest.mark.parametrize("own", ["var/mlflow.db", "var/prefect/x", "data.dvc"])
def test_refuse_nested_project_names_the_project_above(tmp_path: Path, below: str, own: str) -> None:
    root = tmp_path / "project"
    for path in (root / own, root / "configs" / "a.yaml"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    folder = root / below
    folder.mkdir(parents=True, exist_ok=True)
    with pytest.raises(UserError, match=f"is inside the project {root}; change to that folder"):
        refuse_nested_project(folder)
    with pytest.raises(UserError, match=f"the project is in {root}: change to that folder"):
        require_project(folder)
    (folder / "configs").mkdir()
    refuse_nested_project(folder)
    require_project(folder)


@pytest.mark.parametrize("other", ["var/log/syslog", "configs/nginx.conf", "data.dvc"])
def test_refuse_nested_project_other_folders_above_are_no_project(tmp_path: Path, other: str) -> None:
    (tmp_path / other).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / other).touch()
    (tmp_path / "sub").mkdir()
    refuse_nested_project(tmp_path / "sub")
    with pytest.raises(UserError, match="begin a project with `chatmill init FOLDER`"):
        require_project(tmp_path / "sub")


def test_prepare_records_file_named_var_is_refused(tmp_path: Path) -> None:
    (tmp_path / "var").write_text("mine")
    with pytest.raises(UserError, match="var is a file"):
        prepare_records(tmp_path)
    assert (tmp_path / "var").read_text() == "mine"


def chatmill(root: Path, *words: str) -> tuple[int, str]:
    """Run a command without root's capabilities; return its exit code and output."""
    taken = AS_ANY_USER if os.geteuid() == 0 else ()
    done = subprocess.run(
        [*taken, sys.executable, "-m", "flows.cli.main", *words], cwd=root,
        env=checkout_environment(REPOSITORY),
        capture_output=True, text=True, timeout=PATIENCE, check=False, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    return done.returncode, (done.stdout + done.stderr).strip()


@pytest.mark.skipif(os.geteuid() == 0 and not shutil.which("setpriv"), reason="setpriv is not installed")
@pytest.mark.parametrize("words", [("models",), ("up",), ("down",), ("gc", "--dry-run"), ("run",)])
def test_commands_without_permission_exit_2_with_one_sentence(tmp_path: Path, words: tuple[str, ...]) -> None:
    project = tmp_path / "project"
    (project / "var" / "prefect").mkdir(parents=True)
    (project / "configs").symlink_to(REPOSITORY / "configs")
    (project / "var").chmod(0o500)
    if os.geteuid() == 0:
        os.chown(project / "var", 65534, 65534)
    code, said = chatmill(project, *words)
    assert code == 2 and said.count("\n") == 0 and said.startswith("error: ") and "/var " in said


@pytest.mark.skipif(os.geteuid() == 0 and not shutil.which("setpriv"), reason="setpriv is not installed")
def test_commands_in_read_only_folder_exit_2_with_one_sentence(tmp_path: Path) -> None:
    project = tmp_path / "project"
    (project / "configs").mkdir(parents=True)
    if os.geteuid() == 0:
        os.chown(project, 65534, 65534)
    project.chmod(0o555)
    for words in (("models",), ("up", "--detach")):
        code, said = chatmill(project, *words)
        assert (code, said.count("\n")) == (2, 0) and "cannot be written (Permission denied)" in said


def test_require_access_accepts_owner(tmp_path: Path) -> None:
    prepare_records(tmp_path)
    require_access(tmp_path)


def _make_pipe(path: Path) -> None:
    os.mkfifo(path)


def _make_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as made:
        # The path of a socket is limited to about a hundred characters.
        here = os.open(path.parent, os.O_RDONLY)
        made.bind(f"/proc/self/fd/{here}/{path.name}")
        os.close(here)


@pytest.mark.parametrize("make", [_make_pipe, _make_socket, Path.mkdir])
@pytest.mark.parametrize(
    "name", ["var/stores.json", "var/summary.json", "var/mlflow.db", "data.dvc", ".dvc/config"]
)
def test_prepare_records_special_file_is_named_and_never_read(
    tmp_path: Path, name: str, make: Callable[[Path], None]
) -> None:
    path = tmp_path / name
    (tmp_path / "var").mkdir()
    path.parent.mkdir(exist_ok=True)
    make(path)
    said = {_make_pipe: "a named pipe", _make_socket: "a socket"}.get(make, "a folder")
    with pytest.raises(
        UserError, match=rf"^{name} is {said}, but chatmill needs a file of that name; move it"
    ):
        prepare_records(tmp_path)


@pytest.mark.parametrize("name", ["var/cache", "var/mlflow", "var/prefect", "var/known_code", ".dvc/cache"])
def test_prepare_records_file_in_place_of_folder_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "var").mkdir()
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text("mine")
    with pytest.raises(UserError, match=f"^{name} is a file, but chatmill needs a folder of that name"):
        prepare_records(tmp_path)
    assert (tmp_path / name).read_text() == "mine"


def test_check_records_accepts_links_to_files_and_folders(tmp_path: Path) -> None:
    (tmp_path / "elsewhere" / "cache").mkdir(parents=True)
    (tmp_path / "elsewhere" / "stores.json").write_text("{}")
    (tmp_path / "var").mkdir()
    for name in ("cache", "stores.json"):
        (tmp_path / "var" / name).symlink_to(tmp_path / "elsewhere" / name)
    check_records(tmp_path)


@pytest.mark.parametrize("name", ["var", "var/cache", "var/mlflow.db", "var/secrets", ".dvc/cache"])
def test_prepare_records_link_to_nothing_is_refused(tmp_path: Path, name: str) -> None:
    for folder in {"var", ".dvc"} - {name}:
        (tmp_path / folder).mkdir()
    (tmp_path / name).symlink_to("/not mounted/records")
    said = rf"^{name}/? is a link to /not mounted/records, which is missing.*; mount its disk, or repair the"
    with pytest.raises(UserError, match=said):
        prepare_records(tmp_path)
    assert (tmp_path / name).is_symlink()
    if name == "var":
        code, text = chatmill(tmp_path, "models")
        assert code == 2 and "var/ is a link to /not mounted/records" in text


def test_commands_refuse_special_file_except_restore(tmp_path: Path) -> None:
    (tmp_path / "var" / "prefect").mkdir(parents=True)
    os.mkfifo(tmp_path / "var" / "stores.json")
    for words in (("models",), ("cost",), ("quarantine", "list")):
        code, said = chatmill(tmp_path, *words)
        assert (code, said.count("\n")) == (2, 0) and "var/stores.json is a named pipe" in said
    code, said = chatmill(tmp_path, "restore", "gone.tar")
    assert code == 2 and "gone.tar is not a file" in said


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("why?", 'contains "?"'),
        ("a?mode=ro/b", 'contains "?"'),
        (os.fsdecode(b"caf\xe9"), "caf\\xe9 is not UTF-8"),
    ],
)
def test_command_refuses_folder_whose_path_no_database_address_holds(
    tmp_path: Path, name: str, reason: str
) -> None:
    root = tmp_path / name
    root.mkdir(parents=True)
    for words in (("models",), ("ingest", "--config", str(REPOSITORY / "configs" / "smoke.yaml"))):
        code, said = chatmill(root, *words)
        assert (code, said.count("\n")) == (2, 0) and reason in said
    # Nothing was written, neither in the folder nor beside it.
    assert list(root.iterdir()) == [] and len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("name", ["100%41 #1", "プロ\nb'\"", "a:b;c&d[1]*{x}"])
def test_check_path_accepts_other_characters(tmp_path: Path, name: str) -> None:
    check_path(tmp_path / name)


@pytest.mark.parametrize("letter", ["x", "ü"])
def test_check_path_longest_path_that_a_database_opens(tmp_path: Path, letter: str) -> None:
    size = len(letter.encode())
    missing = project_folder._LONGEST_PATH - len(os.fsencode(tmp_path)) - 1
    # Parts of 101 bytes, and a last one that fills the path up.
    parts, rest = [letter * (100 // size)] * (missing // 101), missing % 101
    root = tmp_path.joinpath(*parts, "y" * rest)
    root.mkdir(parents=True)
    check_path(root)
    (root / "var" / "prefect").mkdir(parents=True)
    with closing(sqlite3.connect(root / "var" / "prefect" / "prefect.db")) as store:
        store.execute("create table t (a)")
    with pytest.raises(UserError, match=r"the path of the project has \d{3} bytes .*and its databases allow"):
        check_path(root / "z")


def test_command_in_removed_folder_is_refused(tmp_path: Path) -> None:
    script = (
        "import os; from flows.cli.main import main; os.mkdir('x'); os.chdir('x'); os.rmdir('../x'); main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, "models"], cwd=tmp_path, env=checkout_environment(REPOSITORY),
        capture_output=True, text=True, timeout=PATIENCE, check=False,
    )  # fmt: skip
    assert done.returncode == 2 and done.stderr.startswith("error: the current folder was removed;")


@pytest.mark.parametrize("name", ["HEAD", "config", "index"])
def test_check_records_pipe_in_git_folder_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / ".git").mkdir()
    os.mkfifo(tmp_path / ".git" / name)
    with pytest.raises(UserError, match=f".git/{name} is a named pipe"):
        check_records(tmp_path)


def test_check_records_git_worktree_is_accepted(tmp_path: Path) -> None:
    (tmp_path / ".git").write_text("gitdir: elsewhere")
    check_records(tmp_path)


def _git(root: Path, *words: str) -> str:
    return subprocess.run(["git", *words], cwd=root, check=True, capture_output=True, text=True).stdout


@pytest.mark.parametrize("own", ["", "/data\n", "# mine\n!var\n"])
@pytest.mark.parametrize("before", [False, True])
def test_prepare_records_keeps_var_out_of_git(tmp_path: Path, own: str, before: bool) -> None:
    _git(tmp_path, "init", "-q")
    if own:
        (tmp_path / ".gitignore").write_text(own)
    if before:
        # As older releases left it.
        (tmp_path / "var" / "prefect").mkdir(parents=True)
    prepare_records(tmp_path)
    (tmp_path / "var" / "secrets").mkdir()
    (tmp_path / "var" / "secrets" / "password").write_text("hidden")
    _git(tmp_path, "add", "-A")
    assert "var" not in _git(tmp_path, "ls-files")
    assert (tmp_path / ".gitignore").exists() == bool(own)
    assert not own or (tmp_path / ".gitignore").read_text() == own


def test_prepare_records_leaves_ignore_file_of_user_and_dry_run(tmp_path: Path) -> None:
    (tmp_path / "var" / "prefect").mkdir(parents=True)
    with forbid_writes():
        prepare_records(tmp_path)
    assert not (tmp_path / "var" / ".gitignore").exists()
    (tmp_path / "var" / ".gitignore").write_text("!*\n")
    prepare_records(tmp_path)
    assert (tmp_path / "var" / ".gitignore").read_text() == "!*\n"


def test_prepare_records_killed_or_full_disk_leaves_no_empty_gitignore(tmp_path: Path) -> None:
    """An empty one would ignore nothing, and a later command would keep it."""
    for root in kills(prepare_records, lambda root: (root / "var").mkdir(), tmp_path / "killed"):
        prepare_records(root)
        assert "\n*\n" in (root / "var" / ".gitignore").read_text(), root
    with small_disk(tmp_path / "disk", "1m") as root:
        (root / "var").mkdir(mode=0o700)
        fill_disk(root)
        prepare_records(root)
        assert not [*(root / "var").iterdir()]
        (root / "filler").unlink()
        prepare_records(root)
        assert "\n*\n" in (root / "var" / ".gitignore").read_text()
