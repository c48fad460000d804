"""`run_guarded`: each error of a command becomes one sentence and an exit code."""

from __future__ import annotations

import errno
import subprocess
import sys
from pathlib import Path

import pytest

from flows.cli.guarded_run import run_guarded
from flows.cli.main import app
from flows.servers.environment import checkout_environment
from model.errors import UserError

REPOSITORY = Path(__file__).parents[3]
LOST = "error: the output cannot be written: No space left on device; redirect it to another place\n"


def test_run_guarded_full_disk_exits_2_without_traceback(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)

    def full():
        raise OSError(errno.ENOSPC, "x", "place")

    assert run_guarded(full) == 2 and not (tmp_path / "var").exists()
    assert capsys.readouterr().err == (
        "error: place: No space left on device; free disk space and run again: finished outputs are kept\n"
    )


@pytest.mark.parametrize(
    ("error", "code", "says"),
    [
        (UserError("rlhf.stepz: unknown key; did you mean [rlhf.steps]?"), 2, "did you mean [rlhf.steps]?"),
        (RuntimeError("a server\nand more"), 1, "chatmill failed: a server (details: var/logs/"),
        (KeyboardInterrupt(), 130, ""),
    ],
)
def test_run_guarded_maps_error_to_sentence_and_code(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    error: BaseException,
    code: int,
    says: str,
) -> None:
    monkeypatch.chdir(tmp_path)

    def fail() -> None:
        raise error

    assert run_guarded(fail) == code
    said = capsys.readouterr().err
    assert says in said and "Traceback" not in said and said.count("\n") <= 1
    logs = list(tmp_path.glob("var/logs/*.log"))
    assert bool(logs) == (code == 1) and all("Traceback" in log.read_text() for log in logs)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("chat", "--modl", "x"), "No such option: --modl"),
        (("runn",), "there is no command 'runn'; did you mean run"),
        (("chat", "--top-p", "7"), "--top-p"),
    ],
)
def test_run_guarded_mistyped_command_exits_2(
    capsys: pytest.CaptureFixture[str], words: tuple[str, ...], says: str
) -> None:
    assert run_guarded(lambda: app(list(words), standalone_mode=False)) == 2
    said = capsys.readouterr().err
    assert says in said and said.count("\n") == 1


@pytest.mark.parametrize(
    "action", ["print('an answer', flush=True)", "print('x' * (1 << 20))", "Console().print('a table')"]
)
def test_run_guarded_full_output_is_named(tmp_path: Path, action: str) -> None:
    program = (
        "import sys; from rich.console import Console; from flows.cli.guarded_run import run_guarded\n"
        "from flows.common.standard_streams import open_standard_streams; open_standard_streams()\n"
        f"sys.exit(run_guarded(lambda: {action}))"
    )
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-c", program], cwd=tmp_path, env=checkout_environment(REPOSITORY), stdout=full,
            stderr=subprocess.PIPE, text=True, check=False,
        )  # fmt: skip
    assert (done.returncode, done.stderr) == (2, LOST)
    assert list(tmp_path.iterdir()) == []
