"""`JudgeProcess`: the time limit of a judge function, and what it prints."""

from __future__ import annotations

import os
import re
import time
from pathlib import Path

import pytest

from model.errors import UserError
from model.events import Event, Message
from tasks.evaluation.function_judge import COPY, JudgeProcess

ROW = {"prompt": "Why?", "completion": "because"}


def write_function(folder: Path, body: str) -> None:
    (folder / COPY).write_text(
        f"import os, signal, sys, time\nfrom pathlib import Path\n"
        f"def score(prompt, answer, history):\n    {body}\n    return 1\n"
    )


def printed(events: list[Event]) -> list[str]:
    return [event.text for event in events if isinstance(event, Message)]


@pytest.mark.parametrize(
    "body",
    [
        "time.sleep(600)",
        "while True: pass",
        # Output does not prolong the limit.
        "while True: print('x' * 999)",
        "signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)",
    ],
)
def test_score_rows_function_that_hangs_ends_at_the_limit(tmp_path: Path, body: str) -> None:
    write_function(tmp_path, f"Path({str(tmp_path / 'pid')!r}).write_text(str(os.getpid())); {body}")
    if body.startswith("while"):
        write_function(tmp_path, f"Path({str(tmp_path / 'pid')!r}).write_text(str(os.getpid()))\n    {body}")
    began = time.monotonic()
    limit = re.escape(
        "the judge function score of mine.py took longer than 1 seconds on the answer 'because'; set "
        "evaluate.max_judge_seconds to the longest time for an answer (it is 1; "
    )
    with (
        pytest.raises(UserError, match=limit),
        JudgeProcess(tmp_path, "score", "mine.py", 1, lambda event: None) as function,
    ):
        function.score_rows([ROW])
    assert time.monotonic() - began < 60
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)


def test_judge_process_file_that_hangs_ends_at_ten_times_the_limit(tmp_path: Path) -> None:
    # The start of a process takes a second or more, which counts too.
    (tmp_path / COPY).write_text("import time\ntime.sleep(600)\n")
    with (
        pytest.raises(UserError, match="took longer than 5 seconds while its file was loaded"),
        JudgeProcess(tmp_path, "score", "mine.py", 0.5, lambda event: None),
    ):
        pass


def test_score_rows_prints_become_messages_up_to_a_bound(tmp_path: Path) -> None:
    write_function(tmp_path, "print(answer, 'ä'); print('to stderr', file=sys.stderr)")
    events: list[Event] = []
    with JudgeProcess(tmp_path, "score", "mine.py", 60, events.append) as function:
        assert function.score_rows([ROW] * 3) == [1, 1, 1]
    assert printed(events) == ["mine.py prints: because ä", "mine.py prints: to stderr"] * 3
    write_function(tmp_path, "print('y' * 70_000); print('and more'); print('x' * 5_000_000, end='')")
    events.clear()
    with JudgeProcess(tmp_path, "score", "mine.py", 60, events.append) as function:
        assert function.score_rows([ROW] * 2) == [1, 1]
    assert printed(events) == [
        f"mine.py prints: {'y' * 500}…", "mine.py prints more than 16,384 bytes; the rest is not shown",
    ]  # fmt: skip


def test_score_rows_last_words_of_a_process_are_shown(tmp_path: Path) -> None:
    write_function(tmp_path, "print('out of cheese', end=''); sys.stdout.flush(); os._exit(3)")
    events: list[Event] = []
    with (
        pytest.raises(UserError, match="ended its process on the answer"),
        JudgeProcess(tmp_path, "score", "mine.py", 60, events.append) as function,
    ):
        function.score_rows([ROW])
    assert printed(events) == ["mine.py prints: out of cheese"]


def test_score_rows_limit_of_days_is_accepted(tmp_path: Path) -> None:
    write_function(tmp_path, "pass")
    with JudgeProcess(tmp_path, "score", "mine.py", 1e30, lambda event: None) as function:
        assert function.score_rows([ROW]) == [1]
