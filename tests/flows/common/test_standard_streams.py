"""Standard streams: locales without UTF-8, and terminals that are closed."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from flows.servers.environment import checkout_environment
from tests.waiting import PATIENCE

REPOSITORY = Path(__file__).parents[3]
START = "from flows.common import standard_streams as s; s.use_utf8(); s.open_standard_streams(); "


@pytest.mark.parametrize(
    "settings",
    [
        {"LC_ALL": "C", "PYTHONUTF8": "0"},
        {"LC_ALL": "POSIX", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
        {"LC_CTYPE": "C", "LC_ALL": "", "LANG": "nonsense", "PYTHONUTF8": "0"},
        {"LC_ALL": "C.UTF-8", "PYTHONUTF8": "0"},
        {"LC_ALL": "C"},
    ],
)
@pytest.mark.parametrize("options", [[], ["-E"]])
def test_use_utf8_files_and_children_are_utf8(
    tmp_path: Path, settings: dict[str, str], options: list[str]
) -> None:
    (tmp_path / "a.txt").write_text("grün 漢", encoding="utf-8")
    # The script is ASCII, as Python reads it before it can be started again.
    script = (
        f"import sys; sys.path.insert(0, {str(REPOSITORY)!r}); {START}"
        "from pathlib import Path; import subprocess; print(ascii(Path('a.txt').read_text()), flush=True); "
        "subprocess.run([sys.executable, '-c', 'print(ascii(open(\"a.txt\").read()))']); print('gr\\xfcn')"
    )
    done = subprocess.run(
        [sys.executable, *options, "-c", script], cwd=tmp_path, capture_output=True, check=False,
        env={**os.environ, **settings},
    )  # fmt: skip
    lines = done.stdout.splitlines()
    assert lines.count(b"'gr\\xfcn \\u6f22'") == 2, done.stderr
    assert "grün".encode() in lines or rb"gr\xfcn" in lines


def test_use_utf8_command_prints_what_the_terminal_can_show(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "flows.cli.main", "run", "--config", "ü.yaml"],
        cwd=tmp_path, capture_output=True, check=False,
        env={**checkout_environment(REPOSITORY), "LC_ALL": "C", "PYTHONUTF8": "0"},
    )  # fmt: skip
    assert done.returncode == 2 and b"error: \\xfc.yaml does not exist" in done.stderr, done.stderr


@pytest.mark.parametrize("prints", ["", "print('more', flush=True)", "sys.stderr.write('more')"])
def test_end_on_hangup_closed_terminal_ends_as_interrupted(tmp_path: Path, prints: str) -> None:
    script = f"""if 1:
        import os, signal, sys, time
        from flows.cli import main
        def wait(*words):
            print("ready", flush=True)
            try:
                while True:
                    time.sleep(0.01)
                    {prints or "pass"}
            finally:
                print("the end", flush=True)
                open({str(tmp_path / "ended")!r}, "w").close()
        main._run_privately = wait
        main.main()
    """
    child, terminal = pty.fork()
    if not child:
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
        os.execve(sys.executable, [sys.executable, "-c", script], checkout_environment(REPOSITORY))
    said = b""
    while b"ready" not in said:
        said += os.read(terminal, 4096)
    time.sleep(0.1)
    os.close(terminal)
    deadline = time.monotonic() + PATIENCE
    while not (ended := os.waitpid(child, os.WNOHANG))[0]:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert os.waitstatus_to_exitcode(ended[1]) == 130 and (tmp_path / "ended").exists()


@pytest.mark.parametrize("library", ["tqdm.utils", "prettytable", "colorama"])
def test_keep_colorama_silent_import_in_display_prints_nothing_at_exit(library: str) -> None:
    """The display is one that escapes what is written to it, as that of a run does."""
    code = (
        "import importlib, sys\n"
        "class Display:\n"
        "    closed = False\n"
        "    def write(self, text): sys.__stdout__.write(ascii(text))\n"
        "    def flush(self): pass\n"
        "    def isatty(self): return True\n"
        f"sys.stdout = Display(); importlib.import_module('{library}')\n"
        "import colorama; colorama.init(strip=False)\n"
        "sys.stdout = sys.__stdout__\n"
    )
    silent = "from flows.common.standard_streams import keep_colorama_silent; keep_colorama_silent()"
    printed = [
        subprocess.run(
            [sys.executable, "-c", code + end], cwd=REPOSITORY, capture_output=True, text=True, check=True
        ).stdout
        for end in ("", silent)
    ]
    assert "x1b[0m" in printed[0] and printed[1] == ""
