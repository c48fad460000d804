"""The output of a run that has ended: the table of its stages, and answers of its models."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest

from flows.common.terminal import Console
from flows.orchestration.outcome_output import show_answers, show_outcome
from flows.pipeline_run import Outcome
from tasks.common.program_call import REPRODUCTION, program_call


def screen(width: int = 100) -> Console:
    return Console(file=io.StringIO(), width=width, highlight=False)


def written(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_show_outcome_lists_stages_answers_and_next_commands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "evaluate"
    folder.mkdir()
    answer = {
        "prompt": "Finish this",
        "base": "[bold]",
        "sft": " film.",
        "aligned": " joy.",
        "reference": "x",
    }
    (folder / "answers.json").write_text(json.dumps([answer]))
    stages = [
        {
            "name": "pretrain",
            "status": "computed",
            "seconds": 61.0,
            "folder": "/p",
            "metrics": {"bits_per_byte": 1.9834},
        },
        {"name": "evaluate", "status": "cached", "seconds": 0.1, "folder": str(folder), "metrics": {}},
        {"name": "report", "status": "computed", "seconds": 0.2, "folder": "/r", "metrics": {"bytes": 7}},
    ]
    console = screen()
    show_outcome(Outcome([*stages, {**stages[0], "name": "rlhf"}], 70.0, "p", "m", "h", "c"), console)
    steps = "".join(f"  {program_call()} {step}\n" for step in ("label batch", "people add NAME", "label"))
    assert f"Let people judge its answers:\n{steps}" in written(console)
    console = screen()
    show_outcome(Outcome(stages, 70.0, "p", "m", "h", "c"), console)
    text = written(console)
    for part in ("pretrain", "computed", "61.0", "1.983 bits per byte", "cached", "film.", "joy.", "[bold]"):
        assert part in text
    calls = [line.rpartition(": ")[2] for line in text.splitlines() if line.startswith(("Chat", "Watch"))]
    assert calls == [f"{program_call()} chat", f"{program_call()} dashboards"]
    # A run that ended before RLHF has no answers to compare.
    assert "label batch" not in text
    # The folder of a reproduction is removed at its end.
    monkeypatch.setenv(REPRODUCTION, "1")
    console = screen()
    show_outcome(Outcome(stages, 70.0, "p", "m", "h", "c"), console)
    assert "pretrain" in written(console) and "chatmill" not in written(console)


def test_show_answers_prints_history_above_prompt() -> None:
    history = [{"role": role, "content": f" {role} says [b]x "} for role in ("system", "user", "assistant")]
    console = screen()
    show_answers([{"prompt": "why?", "history": history, "sft": "so"}], console)
    text = written(console)
    assert text.index("user       user says") < text.index("assistant  ") < text.index("why?")
    assert "system" not in text and "[b]x" in text


@pytest.mark.parametrize("control", ["\x1b[31m", "\x07\x08", "\r", "\x9b2J", "\u202e", "\x00"])
def test_show_answers_escapes_control_characters_and_keeps_columns(control: str) -> None:
    row = {
        "prompt": f"why{control}?",
        "base": f"{control}so",
        "sft": f"{control * 9} {'x' * 30}",
        "aligned": "no",
    }
    history = [{"role": "user", "content": f"hi{control}"}]
    console = screen()
    show_answers([{**row, "history": history}], console)
    text = written(console)
    assert control not in text and control.encode("unicode_escape").decode() in text
    # Escapes count toward the width of a cell.
    assert max(map(len, text.splitlines())) <= 100


def test_show_answers_with_many_long_rows_cuts_them_and_counts_the_rest() -> None:
    rows = [{"prompt": f"p{n}", "base": "word " * 80, "sft": "x" * 300, "aligned": "so"} for n in range(5)]
    console = screen(60)
    show_answers(rows, console, rest="in var/report.html")
    lines = written(console).splitlines()
    assert [line.split()[1] for line in lines if line.startswith("prompt")] == ["p0", "p1", "p2"]
    assert "2 more prompts in var/report.html" in lines
    assert sum("word" in line for line in lines) == sum("xx" in line for line in lines) == 6
    assert max(map(len, lines)) <= 60 and sum(line.endswith("…") for line in lines) == 6


@pytest.mark.parametrize("answer", ["", " ", "\n\n\t"])
def test_show_answers_empty_answer_is_said(answer: str) -> None:
    console = screen()
    show_answers([{"prompt": "why?", "base": "so", "sft": answer, "aligned": "no"}], console)
    lines = [line.rstrip() for line in written(console).splitlines()]
    assert lines[-3:] == ["base       so", "SFT        (empty answer)", "aligned    no"]


def test_show_answers_with_form_feed_shows_its_escape() -> None:
    console = screen()
    show_answers([{"prompt": "p", "base": "a\x0cb\r\n\tc"}], console)
    assert "base       a\\x0cb\\r c" in written(console)


def test_show_answers_without_rows_prints_nothing() -> None:
    console = screen()
    show_answers([], console)
    assert written(console) == ""


@pytest.mark.parametrize("width", [60, 80])
def test_show_outcome_in_narrow_terminal_breaks_no_figure(tmp_path: Path, width: int) -> None:
    (tmp_path / "answers.json").write_text("[]")
    gain = {"reward_gain": 0.277, "reward_gain_low": 0.0, "reward_gain_high": 0.553, "reward_gain_n": 2.0}
    nats = {"kl": 0.387, "kl_low": -0.314, "kl_high": 1.088, "kl_n": 2.0}
    reason = "pairs: 0 [0, 0] (n = 3), at least 0.5 is required by gate.min.test_pair_accuracy"
    metrics = {"evaluate": {**gain, **nats}, "gate": {"passed": 0, "reason": reason}}
    stages = [
        {"name": name, "status": "computed", "seconds": 2.4, "folder": str(tmp_path), "metrics": values}
        for name, values in metrics.items()
    ]
    console = screen(width)
    show_outcome(Outcome(stages, 7.0, "p", "m", "h", "c"), console)
    text = written(console)
    for whole in ("0.277 [0 to 0.553, n = 2]", "0.387 [-0.314 to 1.088, n = 2]", "0 [0, 0]", "(n = 3)",
                  "gate.min.test_pair_accuracy"):  # fmt: skip
        assert whole in text
    assert max(map(len, text.splitlines())) <= width
