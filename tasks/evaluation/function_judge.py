"""A function of the team's own as a judge: `score(prompt, answer, history) -> number`, higher is better.

The function runs in a process of its own. `os._exit()`, a crash of a library or a lack of memory there would
otherwise end the whole run, perhaps with exit code 0. Each answer has a time limit. What the function prints
becomes messages of the run, up to a bound.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import multiprocessing
import os
import shutil
import signal
import sys
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from multiprocessing import connection
from pathlib import Path
from typing import Any

from model.errors import UserError
from model.events import EventCallback, Message
from model.processes import die_with_parent

JudgeFunction = Callable[[str, str, list[dict[str, str]]], float]
# The copy of the function's file in the output of the stage `judge`.
COPY = "judge_function.py"
# Characters of an error's text, which may hold a whole answer.
_LONGEST_REASON = 300
# A larger score would overflow where scores are squared and summed: its mean would be infinite or no number.
_LARGEST_SCORE = 1e30
# Loading the file may take so many times the limit of an answer, as it may load a model.
_LOADING_FACTOR = 10
# Bytes of what the function prints that are shown, and characters of each line.
_MOST_PRINTED, _LONGEST_LINE = 1 << 14, 500
# So many bytes wait in a pipe.
_PIPE_BYTES = 1 << 16
# The longest wait at a time: the system refuses a wait of many days.
_WAIT_SECONDS = 60.0
# What the function's own threads and exit handlers get to end by themselves.
_END_SECONDS = 5.0


def split_place(place: str) -> tuple[str, str]:
    """Return the file and the name of a function, from FILE.py:NAME."""
    path, _, name = place.rpartition(":")
    return path, name


def digest_function(place: str, root: Path) -> str:
    """Return the digest of a function's file and name. Raise UserError if the file is missing."""
    path, name = split_place(place)
    file = root / path
    if not file.is_file():
        raise UserError(f"evaluate.judge_function names the file {path}, which is missing")
    return hashlib.sha256(f"{name}\n".encode() + file.read_bytes()).hexdigest()


def copy_function(place: str, root: Path, out: Path, seconds: float, on_event: EventCallback) -> None:
    """Copy a function's file to a folder, from which `JudgeProcess` reads it, and check that it loads.

    Args:
        place: The function, as FILE.py:NAME.
        root: The folder of the file.
        out: The folder of the copy.
        seconds: The longest time for an answer.
        on_event: The event callback.
    """
    path, name = split_place(place)
    shutil.copyfile(root / path, out / COPY)
    with JudgeProcess(out, name, path, seconds, on_event):
        pass


class JudgeProcess:
    """A process that has loaded a judge function and scores rows with it, one at a time.

    The end of the process is an error here, whatever its exit code is.
    """

    def __init__(self, folder: Path, name: str, shown: str, seconds: float, on_event: EventCallback) -> None:
        """Describe the process; `with` starts it.

        Args:
            folder: The folder with the copy of the function's file.
            name: The function's name.
            shown: The file's name in messages.
            seconds: The longest time for an answer.
            on_event: The event callback; it gets what the function prints.
        """
        self.name, self.shown, self.seconds = name, shown, seconds
        # Not forked: a flow has threads, and a fork would copy locks that they hold and never release them.
        start = multiprocessing.get_context("spawn")
        self.pipe, self.far_end = start.Pipe()
        reader, self.far_output = start.Pipe(duplex=False)
        self.output = _PrintedLines(reader, f"{shown} prints", on_event)
        arguments = (self.far_end, self.far_output, os.getpid(), str(folder), name, shown)
        # Not a daemon: the function may start processes.
        self.process = start.Process(target=_serve_scores, args=arguments, daemon=False)

    def __enter__(self) -> JudgeProcess:
        """Start the process and load the function. Raise UserError if the file is not right."""
        self.process.start()
        self.far_end.close()
        self.far_output.close()
        try:
            self._receive("while its file was loaded", _LOADING_FACTOR * self.seconds)
        except BaseException:
            self._end(0.0)
            raise
        return self

    def __exit__(self, kind: object, *error: object) -> None:
        """End the process: an idle one by itself, else with a signal."""
        self._end(0.0 if kind else _END_SECONDS)

    def score_rows(self, rows: Sequence[Mapping[str, Any]]) -> list[float]:
        """Return the function's score of each row with `prompt`, `completion` and perhaps `history`.

        Raises:
            UserError: The function fails, takes too long, ends its process, or returns no number, or one
                beyond 1e30.
        """
        scores = []
        for row in rows:
            history = [dict(turn) for turn in row.get("history") or []]
            asked = json.dumps([row["prompt"], row["completion"], history]).encode()
            during = f"on the answer {_brief(row['completion'])}"
            try:
                self.pipe.send_bytes(asked)
            # The process ended after its last reply.
            except OSError:
                raise self._ended(during) from None
            scores.append(self._receive(during, self.seconds))
        return scores

    def _receive(self, during: str, seconds: float) -> float:
        deadline = time.monotonic() + seconds
        # A process that the function has started may hold the pipe open, so its end alone is no sign.
        awaited: set[connection.Connection | int] = {self.pipe, self.process.sentinel}
        while True:
            left = max(0.0, deadline - time.monotonic())
            ready = connection.wait([*awaited, *self.output.sources], min(left, _WAIT_SECONDS))
            self.output.read()
            if not awaited.isdisjoint(ready):
                break
            if not left:
                raise UserError(
                    f"the judge function {self.name} of {self.shown} took longer than {seconds:g} seconds "
                    f"{during}; set evaluate.max_judge_seconds to the longest time for an answer (it is "
                    f"{self.seconds:g}; the file may take {_LOADING_FACTOR} times that to load), or make the "
                    "function faster"
                )
        try:
            found = json.loads(self.pipe.recv_bytes()) if self.pipe.poll() else None
        except (EOFError, OSError):
            found = None
        if found is None:
            raise self._ended(during)
        if "error" in found:
            raise UserError(found["error"])
        return float(found["score"])

    def _ended(self, during: str) -> UserError:
        """Return the error of a process that has ended, or is about to."""
        self.process.join(_END_SECONDS)
        code = self.process.exitcode
        how = f"with exit code {code}"
        if code is not None and code < 0:
            name = signal.Signals(-code).name
            how = f"by {name}" + ("; the usual cause is a lack of memory" if name == "SIGKILL" else "")
        return UserError(
            f"the judge function of {self.shown} ended its process {during} ({how}); a judge function must "
            "return a number, without os._exit() or the like"
        )

    def _end(self, patience: float) -> None:
        self.output.close()
        self.pipe.close()
        if patience:
            self.process.join(patience)
        for stop in (self.process.terminate, self.process.kill):
            if self.process.is_alive():
                stop()
                self.process.join(_END_SECONDS)


class _PrintedLines:
    """What a function prints, as messages of the run; more than a bound is left out."""

    def __init__(self, reader: connection.Connection, who: str, on_event: EventCallback) -> None:
        self.reader, self.who, self.on_event = reader, who, on_event
        self.line, self.left = b"", _MOST_PRINTED
        os.set_blocking(reader.fileno(), False)

    @property
    def sources(self) -> list[connection.Connection]:
        """Return what to wait for; nothing after the end."""
        return [] if self.reader.closed else [self.reader]

    def read(self) -> None:
        """Pass on what was printed since the last call, and wait for nothing.

        What is beyond the bound is read too: a full pipe would stop the function.
        """
        if self.reader.closed:
            return
        try:
            found = os.read(self.reader.fileno(), _PIPE_BYTES)
        except BlockingIOError:
            return
        if not found:
            self.reader.close()
            return
        *lines, self.line = (self.line + found[: max(0, self.left)]).split(b"\n")
        for line in lines:
            self._show(line)
        if 0 <= self.left < len(found):
            self._show(self.line)
            self.line = b""
            self.on_event(Message(f"{self.who} more than {_MOST_PRINTED:,} bytes; the rest is not shown"))
            self.left = -1
        elif self.left > 0:
            self.left -= len(found)

    def close(self) -> None:
        """Pass on what is left, and end."""
        self.read()
        self._show(self.line)
        self.reader.close()

    def _show(self, line: bytes) -> None:
        text = line.decode("utf-8", "replace").rstrip()
        if text:
            cut = text if len(text) <= _LONGEST_LINE else f"{text[:_LONGEST_LINE]}…"
            self.on_event(Message(f"{self.who}: {cut}"))


def _serve_scores(
    pipe: connection.Connection,
    output: connection.Connection,
    parent: int,
    folder: str,
    name: str,
    shown: str,
) -> None:
    """Load a function, then answer each request with a score or an error, until the pipe is closed."""
    die_with_parent(parent)
    for descriptor in (1, 2):
        os.dup2(output.fileno(), descriptor)
    output.close()
    # By lines: into a pipe, Python's own streams would keep them back until their buffer is full.
    sys.stdout, sys.stderr = (
        open(descriptor, "w", 1, "utf-8", "backslashreplace", closefd=False)  # noqa: SIM115
        for descriptor in (1, 2)
    )
    # A process that the function forks may return here. It would answer a second time, and each further
    # answer would get the score of another one. Without the pipe it ends.
    os.register_at_fork(after_in_child=pipe.close)
    # Ctrl-C reaches the whole process group. The parent ends this process, so it ignores the signal.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        function = _load_function(Path(folder), name, shown)
        pipe.send_bytes(json.dumps({"score": 0.0}).encode())
        while True:
            prompt, answer, history = json.loads(pipe.recv_bytes())
            score = _score_answer(function, prompt, answer, history, shown)
            pipe.send_bytes(json.dumps({"score": score}).encode())
    except UserError as error:
        pipe.send_bytes(json.dumps({"error": str(error)}).encode())
    # The parent has closed the pipe, or has ended.
    except (EOFError, OSError):
        pass


def _load_function(folder: Path, name: str, shown: str) -> JudgeFunction:
    """Return the function in a folder's copy. Raise UserError if the file has an error or lacks it."""
    spec = importlib.util.spec_from_file_location("chatmill_judge_function", folder / COPY)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    # Any error of the file is the user's to see, with its line. sys.exit() would end the run without a word.
    except (Exception, SystemExit) as error:
        raise UserError(f"{shown} cannot be loaded: {_place_of(error, shown)}") from error
    found = getattr(module, name, None)
    if not callable(found):
        raise UserError(f"{shown} has no function {name}; evaluate.judge_function names it")
    return found  # type: ignore[no-any-return]


def _score_answer(
    function: JudgeFunction, prompt: str, answer: str, history: list[dict[str, str]], shown: str
) -> float:
    try:
        score = float(function(prompt, answer, history))
    except (Exception, SystemExit) as error:
        raise UserError(
            f"the judge function of {shown} failed on the answer {_brief(answer)}: {_place_of(error, shown)}"
        ) from error
    # False for NaN too.
    if not abs(score) <= _LARGEST_SCORE:
        raise UserError(
            f"the judge function of {shown} returned {score} for the answer {_brief(answer)}; expected a "
            f"number from {-_LARGEST_SCORE:g} to {_LARGEST_SCORE:g}"
        )
    return score


def _place_of(error: BaseException, shown: str) -> str:
    """Return an error with the line of the judge's file in which it happened."""
    lines = [
        frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename.endswith(COPY)
    ]
    line = error.lineno if isinstance(error, SyntaxError) else (lines[-1] if lines else None)
    where = f"{shown}, line {line}: " if line else ""
    text = str(error.msg if isinstance(error, SyntaxError) else error)
    shown_text = text if len(text) <= _LONGEST_REASON else f"{text[:_LONGEST_REASON]}…"
    return f"{where}{type(error).__name__}: {shown_text}"


def _brief(text: str) -> str:
    return ascii(text if len(text) <= 60 else f"{text[:60]}…")
