"""The program `chatmill`: what its start imports, and how its errors end."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import select
import signal
import subprocess
import sys
import termios
import time
import tomllib
from contextlib import suppress
from pathlib import Path

import pytest

from flows.servers.environment import checkout_environment
from tests.waiting import PATIENCE

REPOSITORY = Path(__file__).parents[3]
HEAVY = ("torch", "mlflow", "prefect", "pandas", "dvc", "great_expectations")
SAYS = (
    "import json, sys; from flows.cli.main import main; sys.argv[1:] = {words!r}\n"
    "try: main()\n"
    "except SystemExit as end: print(json.dumps([end.code, sorted(sys.modules)]), file=sys.stderr)"
)


def modules(folder: Path, *words: str) -> tuple[int, set[str]]:
    """Return the exit code of a command and the modules that it imported."""
    program = SAYS.format(words=list(words))
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=folder, env={"PYTHONPATH": str(REPOSITORY)},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    code, found = json.loads(done.stderr.splitlines()[-1])
    return code, set(found)


@pytest.mark.parametrize("words", [("--help",), ("explain", "--help"), ("models", "--help")])
def test_main_help_imports_no_heavy_package(tmp_path: Path, words: tuple[str, ...]) -> None:
    code, found = modules(tmp_path, *words)
    assert code == 0
    assert found.isdisjoint(HEAVY)


def test_main_version_is_printed_outside_a_project(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "flows.cli", "--version"], cwd=tmp_path, env={"PYTHONPATH": str(REPOSITORY)},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    assert done.stdout == f"chatmill {project['version']}\n" and list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "words", [("models",), ("explain", "sft"), ("quarantine", "list"), ("gc", "--dry-run")]
)
def test_main_outside_project_is_refused_and_writes_nothing(tmp_path: Path, words: tuple[str, ...]) -> None:
    code, _ = modules(tmp_path, *words)
    assert code == 2 and list(tmp_path.iterdir()) == []


def test_main_models_imports_neither_torch_nor_prefect(tmp_path: Path) -> None:
    (tmp_path / "configs").mkdir()
    code, found = modules(tmp_path, "models")
    assert code == 0
    assert "mlflow" in found
    assert found.isdisjoint({"torch", "prefect", "dvc", "great_expectations"})


@pytest.mark.parametrize("streams", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-", "| head -c 1", "> /dev/full"])
def test_main_closed_or_full_stream_exits_without_traceback(tmp_path, streams):
    words = f"{sys.executable} -m flows.cli.main quarantine --help {streams}"
    said = f"{words}; echo $? ${{PIPESTATUS[0]}}"
    environment = {**checkout_environment(REPOSITORY), "LC_ALL": "en_US.ISO-8859-1", "TERM": "", "HOME": ""}
    done = subprocess.run(
        ["bash", "-c", said], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert "Traceback" not in done.stdout + done.stderr and "Exception ignored" not in done.stderr
    code = done.stdout.split()[-1]
    assert code in (("2",) if "full" in streams else ("0", "141")), done
    lost = "error: the output cannot be written: No space left on device; redirect it to another place\n"
    assert (lost in done.stderr) == ("full" in streams), done


@pytest.mark.parametrize("command", ["run", "ingest"])
def test_run_missing_source_is_reported_before_stages_are_imported(tmp_path: Path, command: str) -> None:
    (tmp_path / "mine.yaml").write_text(
        "data: {sources: [{name: a, files: texts/none.jsonl, format: rows}]}\n"
    )
    code, imported = modules(tmp_path, command, "--config", "mine.yaml")
    assert code == 2 and not imported & {"torch", "mlflow", "dvc", "great_expectations"}


WAITS = (
    "import signal, sys, time; from flows.cli import main\n"
    "{before}\n"
    "def wait(action):\n"
    "    try: print('waits', flush=True); time.sleep({seconds})\n"
    "    except KeyboardInterrupt: return 130\n"
    "    return 0\n"
    "main.run_guarded = wait\n"
    "main.main()"
)


@pytest.mark.parametrize(
    ("sent", "before", "code"),
    [
        # The tests may run under `nohup` themselves.
        (signal.SIGHUP, "signal.signal(signal.SIGHUP, signal.SIG_DFL)", 130),
        (signal.SIGTERM, "", 130),
        (signal.SIGINT, "signal.signal(signal.SIGINT, signal.default_int_handler)", 130),
        # As under `nohup`.
        (signal.SIGHUP, "signal.signal(signal.SIGHUP, signal.SIG_IGN)", 0),
    ],
)
def test_main_signal_interrupts_command(tmp_path: Path, sent: signal.Signals, before: str, code: int) -> None:
    program = WAITS.format(before=before, seconds=1 if code == 0 else 60)
    with subprocess.Popen(
        [sys.executable, "-c", program], cwd=tmp_path, env=checkout_environment(REPOSITORY),
        stdout=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        assert process.stdout.readline() == "waits\n"
        process.send_signal(sent)
        assert process.wait(PATIENCE) == code


# Stops where `{place}` is reached, and says so.
STOPS = (
    "import atexit, sys, time; from flows.cli import __main__ as program\n"
    "def stop(*_): print('waits', flush=True); time.sleep({seconds})\n"
    "class Finder:\n"
    "    def find_spec(self, name, *_): stop() if name == '{place}' else None\n"
    "sys.meta_path.insert(0, Finder())\n"
    "atexit.register(stop) if '{place}' == 'exit' else None\n"
    "sys.argv[1:] = ['models']\n"
    "program.main()"
)


@pytest.mark.parametrize(
    ("place", "seconds", "code"),
    [("flows.cli.main", 60, -signal.SIGINT), ("flows.cli.backup", 60, -signal.SIGINT), ("exit", 2, 2)],
)
def test_main_interrupt_at_start_or_end_prints_no_traceback(
    tmp_path: Path, place: str, seconds: int, code: int
) -> None:
    program = STOPS.format(place=place, seconds=seconds)
    with subprocess.Popen(
        [sys.executable, "-c", program], cwd=tmp_path, env=checkout_environment(REPOSITORY),
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    ) as process:  # fmt: skip
        assert process.stdout is not None and process.stderr is not None
        assert process.stdout.readline() == "waits\n"
        process.send_signal(signal.SIGINT)
        assert process.wait(PATIENCE) == code
        assert "Traceback" not in (said := process.stderr.read()) and "KeyboardInterrupt" not in said


def test_main_without_reader_exits_as_sigpipe(tmp_path: Path) -> None:
    (tmp_path / "configs").mkdir()
    # The first line comes from `echo`, so the reader is gone before the command prints.
    said = f"{{ echo; sleep 1; {sys.executable} -m flows.cli.main models; echo $? >&2; }} | head -1"
    done = subprocess.run(
        ["bash", "-c", said], cwd=tmp_path, env=checkout_environment(REPOSITORY), capture_output=True,
        text=True, timeout=PATIENCE, check=False,
    )  # fmt: skip
    assert done.stderr == "141\n"


def take_terminal() -> None:
    """Make standard input the terminal of this process; Ctrl-C ends it, whatever a parent ignored."""
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.mark.parametrize("typed", [b"\x03", b"\x04", b"hello\n\x04", b"hello\n\x03"])
def test_read_lines_end_key_leaves_cursor_on_new_line(typed: bytes) -> None:
    code = (
        "import sys\nfrom flows.cli.main import _read_lines\n"
        "try:\n    list(_read_lines())\nexcept KeyboardInterrupt:\n    pass\nprint('shell')"
    )
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True,
        env={**os.environ, "TERM": "dumb"}, preexec_fn=take_terminal,
    ) as child:  # fmt: skip
        os.close(theirs)
        said, keys, pressed = b"", typed.splitlines(keepends=True), 0
        with suppress(OSError):
            deadline = time.monotonic() + PATIENCE
            while time.monotonic() < deadline:
                ready, _, _ = select.select([ours], [], [], 2.0)
                said += os.read(ours, 1000) if ready else b""
                # A key after a line is pressed at the next prompt: Ctrl-C discards what was typed before it.
                if pressed < min(len(keys), said.count(b"> ")):
                    os.write(ours, keys[pressed])
                    pressed += 1
                # Python misses a Ctrl-C between the prompt and its wait for keys; a person presses again.
                elif not ready and pressed == len(keys) and b"shell" not in said:
                    os.write(ours, keys[-1])
        assert child.wait(timeout=PATIENCE) == 0
    os.close(ours)
    lines = said.decode().splitlines()
    assert lines[-1] == "shell" and lines[-2].startswith(">"), lines
