"""The progress display, on a terminal and in a log."""

from __future__ import annotations

import io
from dataclasses import replace
from typing import Any

import pytest
from rich.console import Console
from rich.text import Text

from flows.orchestration.progress import (
    ProgressDisplay,
    byte_rate,
    format_duration,
    key_figures,
    short_figures,
)
from model.events import Message, Step
from tasks.engine.declaration import format_number
from tasks.engine.output import StageOutput

DONE = StageOutput("pretrain", "k", "/p", "d", False, 61.0, {"bits_per_byte": 1.9834, "steps": 40.0})


def screen(terminal: bool = False) -> Console:
    return Console(file=io.StringIO(), width=100, force_terminal=terminal, highlight=False)


def written(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def train(display: ProgressDisplay, steps: int = 40) -> None:
    display.start_stage("pretrain")
    for step in range(1, steps + 1):
        display.show_event(
            Step(
                step=step,
                steps=steps,
                metrics={"loss": 1 / step},
                tokens_per_second=12345.6,
                seconds_left=float(steps - step),
            )
        )
    display.progress.refresh()
    display.show_event(Message("resuming from [step 3]"))
    display.finish_stage(DONE, 61.0)


def test_progress_display_without_terminal_prints_few_plain_lines() -> None:
    console, log = screen(), []
    with ProgressDisplay("demo", "cpu", log.append, console) as display:
        train(display)
        display.start_stage("pretrain")
        display.finish_stage(replace(DONE, reused=True), 0.1)
    lines = written(console).splitlines()
    assert lines[0] == "chatmill demo on cpu"
    assert lines[1] == "  pretrain  10/40 loss 0.100 · 12,346 tokens/s · 30.0 s left"
    assert [line.split()[1] for line in lines[1:5]] == ["10/40", "20/40", "30/40", "40/40"]
    assert lines[5] == "  pretrain  resuming from [step 3]"
    assert lines[6].split()[:7] == ["pretrain", "computed", "61.0", "s", "1.983", "bits", "per"]
    assert lines[7].split()[1] == "cached"
    assert log == [
        "pretrain: resuming from [step 3]",
        "pretrain: computed, 61.0 s, 1.983 bits per byte on validation text",
        "pretrain: cached, 0.1 s, 1.983 bits per byte on validation text",
    ]
    assert "\x1b" not in written(console)


def test_progress_display_without_terminal_is_never_silent_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    monkeypatch.setattr("flows.orchestration.progress.time.monotonic", lambda: clock[0])
    console = screen()
    display = ProgressDisplay("demo", "cpu", print, console)
    display.start_stage("evaluate")
    for clock[0] in (14.0, 15.0, 29.0, 30.0):
        display.print_if_silent()
    display.show_event(Step(step=2, steps=40, metrics={"loss": 0.5}))
    clock[0] = 45.0
    display.print_if_silent()
    display.finish_stage(replace(DONE, stage="evaluate"), 45.0)
    clock[0] = 99.0
    display.print_if_silent()
    assert [line.split(maxsplit=1)[1] for line in written(console).splitlines()[:3]] == [
        "at work for 15.0 s",
        "at work for 30.0 s",
        "2/40 loss 0.500",
    ]
    assert len(written(console).splitlines()) == 4


def test_progress_display_on_terminal_shows_pace_and_time_left() -> None:
    console = screen(terminal=True)
    with ProgressDisplay("demo", "cpu", print, console) as display:
        train(display)
    assert "tokens/s" in written(console) and "left" in written(console)


@pytest.mark.parametrize(
    ("value", "text"), [(0.12345, "0.123"), (3.0, "3"), (1234567, "1,234,567"), (812.55, "813"), ("a", "a")]
)
def test_format_number_shortens_fractions_and_groups_thousands(value: object, text: str) -> None:
    assert format_number(value) == text


def test_format_duration_uses_seconds_and_minutes() -> None:
    assert [format_duration(value) for value in (0.04, 99.0, 125.0)] == ["0.0 s", "99.0 s", "2 min 05 s"]


def test_key_figures_leaves_out_missing_metrics() -> None:
    assert key_figures("reward", {"pair_accuracy": 0.8125}) == "81.2% of validation pairs right"
    assert key_figures("nothing", {}) == ""


def test_key_figures_of_reward_name_the_linear_model() -> None:
    says = "81.2% of validation pairs right, 75% by a linear model on words"
    assert key_figures("reward", {"pair_accuracy": 0.8125, "linear_pair_accuracy": 0.75}) == says


@pytest.mark.parametrize(
    ("metrics", "says"),
    [
        (
            {"best_step": 0.0, "valid_prompts": 12.0, "valid_gain": 0.0, "valid_kl": 0.0},
            "no step was better than SFT on 12 held-out prompts, so SFT's weights were kept",
        ),
        (
            {"best_step": 1200.0, "valid_prompts": 1.0, "valid_gain": 0.25, "valid_kl": 1.5},
            "step 1,200 is the best on 1 held-out prompt: 0.250 above SFT's score, 1.500 nats from SFT",
        ),
        ({"best_step": 3.0}, "step 3, the last: no held-out prompts to choose a step by"),
        ({}, ""),
    ],
)
def test_key_figures_of_rlhf_say_whose_weights_were_kept(metrics: dict[str, Any], says: str) -> None:
    assert key_figures("rlhf", metrics) == says


@pytest.mark.parametrize(
    ("stage", "metrics", "says"),
    [
        ("ingest", {"text": 104, "pairs": 400, "comparisons": 290, "ratings": 0},
         "104 texts, 400 pairs, 290 comparisons"),
        ("ingest", {"text": 1, "pairs": 0, "comparisons": 0, "ratings": 1}, "1 text, 1 rating"),
        ("ingest", {"text": 0, "pairs": 0, "comparisons": 1200, "ratings": 0}, "1,200 comparisons"),
        ("validate", {"text_quarantined": 0, "pairs_quarantined": 0, "comparisons_quarantined": 16},
         "16 comparisons quarantined"),
        ("validate", {"text_quarantined": 1, "ratings_quarantined": 2},
         "1 text quarantined, 2 ratings quarantined"),
        ("validate", {"text_quarantined": 0, "pairs_quarantined": 0}, "no row quarantined"),
        ("labels", {"train_ratings": 0, "train_comparisons": 240, "valid_pairs": 23.0},
         "240 comparisons, 23 pairs held out"),
        ("labels", {"train_ratings": 557.0, "train_comparisons": 1, "valid_pairs": 1917.0},
         "1 comparison, 557 rated answers, 1,917 pairs held out"),
    ],
)  # fmt: skip
def test_key_figures_names_every_kind_of_row(stage: str, metrics: dict[str, Any], says: str) -> None:
    assert key_figures(stage, metrics) == says


@pytest.mark.parametrize(
    ("megabytes", "says"),
    [
        (12.34, "12.3 MB/s"),
        (0.1, "0.1 MB/s"),
        (0.0123, "12.3 kB/s"),
        (0.00001, "10 B/s"),
        (2500.0, "2,500.0 MB/s"),
    ],
)
def test_byte_rate_small_values_use_smaller_unit(megabytes: float, says: str) -> None:
    assert byte_rate(megabytes) == says


def test_progress_display_shard_event_shows_rows_and_megabytes() -> None:
    console = screen()
    event = Step(4, 4, rows=12345, megabytes_per_second=31.25, seconds_left=0.0)
    with ProgressDisplay("demo", "cpu", lambda text: None, console) as display:
        display.start_stage("ingest")
        display.show_event(event)
    assert "ingest    4/4 12,345 rows · 31.2 MB/s · 0.0 s left" in written(console)


@pytest.mark.parametrize(
    ("metrics", "says"),
    [
        ({"passed": 1, "reason": "all 3 thresholds are met"}, "passed: all 3 thresholds are met"),
        (
            {"passed": 0, "reason": "kl is 20, at most 15 is wanted"},
            "refused: kl is 20, at most 15 is wanted",
        ),
        ({"passed": 0}, "refused"),
        ({}, ""),
    ],
)
def test_key_figures_of_gate_are_verdict_and_reason(metrics: dict[str, Any], says: str) -> None:
    assert key_figures("gate", metrics) == says


@pytest.mark.parametrize(
    ("stage", "metrics", "says"),
    [
        ("judge", {"judge": "none", "why": "evaluate.judge is none"}, "no judge: evaluate.judge is none"),
        ("judge", {"judge": "reward_model"}, "a second reward model"),
        ("judge", {"judge": "lexicon"}, "a lexicon of tone"),
        (
            "reward",
            {"learned_nothing": 1.0, "pair_accuracy": 0.5, "pair_accuracy_n": 2.0},
            "LEARNED NOTHING, the weights from before it were kept: 50% [n = 2] of validation pairs right",
        ),
        ("drift", {"rows/text": 300}, "nothing to compare with"),
        ("drift", {"drift.past": 0.0, "drift.measures": 21.0}, "0 of 21 metrics above their threshold"),
        ("drift", {"drift.past": 1.0, "drift.measures": 1.0}, "1 of 1 metric above their threshold"),
        (
            "evaluate",
            {"win_rate": 0.845, "win_rate_low": 0.8, "win_rate_high": 0.9, "win_rate_n": 200.0},
            "84.5% [80% to 90%, n = 200] of prompts won by the judge's scores",
        ),
        (
            "evaluate",
            {"test_pair_accuracy": 0.825, "test_pair_accuracy_n": 60.0, "kl": 3.0},
            "82.5% [n = 60] of test pairs right by the reward model, 3 nats from SFT",
        ),
    ],
)
def test_key_figures_are_words_a_person_reads(stage: str, metrics: dict[str, Any], says: str) -> None:
    assert key_figures(stage, metrics) == says


def test_progress_display_on_terminal_breaks_lines_between_words() -> None:
    console = Console(file=io.StringIO(), width=60, force_terminal=True, highlight=False)
    note = "no step improved the loss on the held-out rows; type `chatmill explain sft`"
    with ProgressDisplay("demo", "cpu", print, console) as display:
        display.start_stage("sft")
        display.show_note(note)
        display.finish_stage(replace(DONE, metrics={"bits_per_byte": 1.9834}), 61.0)
    text = "".join(Text.from_ansi(line).plain.rstrip() + "\n" for line in written(console).splitlines())
    assert "sft       no step improved the loss on the held-out rows;\n" in text
    assert "\n            type `chatmill explain sft`\n" in text
    assert "1.983 bits per byte on\n" + " " * 33 + "validation text\n" in text


def test_short_figures_of_refused_model_leave_reasons_to_the_table() -> None:
    metrics = {"passed": 0, "reason": "test prompts: 2, at least 5 is required"}
    assert short_figures("gate", metrics) == "refused; the table at the end of the run has the reasons"
    assert short_figures("gate", {"passed": 1, "reason": "all met"}) == "passed: all met"
    assert short_figures("pretrain", {"bits_per_byte": 2.0}) == key_figures(
        "pretrain", {"bits_per_byte": 2.0}
    )


@pytest.mark.parametrize(("stage", "logged"), [("", "memory: 2 GB"), ("sft", "sft: memory: 2 GB")])
def test_show_note_logs_the_stage_if_there_is_one(stage: str, logged: str) -> None:
    log: list[str] = []
    with ProgressDisplay("demo", "cpu", log.append, screen()) as display:
        if stage:
            display.start_stage(stage)
        display.show_note("memory: 2 GB")
    assert log[-1] == logged
