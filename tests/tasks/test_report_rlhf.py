"""Test what the report says of RLHF: the method, the step that was kept, and captions in both schemes."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from tests.tasks.test_report import check_markup, leave_stages, lines, make, whole

DPO = [{"step": s, "valid_accuracy": 0.5 + s / 100, "valid_margin": s / 50} for s in range(0, 21, 5)]
UNCHANGED = "the two are one model"


def test_report_dpo_run_describes_dpo(tmp_path: Path) -> None:
    at = leave_stages(tmp_path / "stages")
    lines(at["rlhf"] / "curves.jsonl", [{"step": s, "loss": 0.7 - s / 100} for s in range(1, 21)] + DPO)
    choice = {"method": "dpo", "best_step": 20.0, "valid_pairs": 48.0, "valid_accuracy": 0.7}
    whole(at["rlhf"] / "best_step.json", {**choice, "valid_margin": 0.4})
    page = make(at, tmp_path / "out")
    check_markup(page)
    flat = " ".join(page.split())
    assert "an algorithm called DPO" in flat and "Pairs in the order of people" in flat
    assert "step 20, the best on 48 held-out pairs. It puts 70% of them in the order of people" in flat
    assert "with a margin of +0.40 nats on average" in flat and "so it cannot judge it" in flat
    for words in (
        "PPO",
        "scores the answers",
        "practises against that",
        "told, by the reward model",
        UNCHANGED,
    ):
        assert words not in flat, words


def test_report_ppo_run_describes_ppo(tmp_path: Path) -> None:
    at = leave_stages(tmp_path / "stages")
    whole(at["rlhf"] / "best_step.json", {"method": "ppo", "best_step": 90.0, "valid_prompts": 64.0})
    flat = " ".join(make(at, tmp_path / "out").split())
    assert "an algorithm called PPO" in flat and "step 90, the best on 64 held-out prompts." in flat
    assert "DPO" not in flat and UNCHANGED not in flat
    whole(at["rlhf"] / "best_step.json", {"method": "ppo", "best_step": 150.0})
    assert "that of the last step, 150: nothing was held out" in make(at, tmp_path / "last")


@pytest.mark.parametrize(
    "choice",
    [
        {"method": "ppo", "best_step": 0.0, "valid_prompts": 1.0},
        {"method": "dpo", "best_step": 0.0, "valid_pairs": 48.0, "valid_accuracy": 0.5, "valid_margin": 0.0},
    ],
)
@pytest.mark.parametrize("passed", [True, False])
def test_report_rlhf_that_kept_sft_is_told_at_step_tiles_and_verdict(
    tmp_path: Path, choice: dict[str, Any], passed: bool
) -> None:
    at = leave_stages(tmp_path / "stages")
    whole(at["rlhf"] / "best_step.json", choice)
    verdict = json.loads((at["gate"] / "verdict.json").read_text())
    whole(at["gate"] / "verdict.json", {**verdict, "passed": passed})
    page = make(at, tmp_path / "out")
    check_markup(page)
    flat = " ".join(page.split())
    asked = "48 held-out pairs" if choice["method"] == "dpo" else "1 held-out prompt,"
    assert asked in flat
    # The tile, the verdict, the results and the step.
    assert flat.count(UNCHANGED) == 4
    assert "<b>none</b>of RLHF’s steps was kept." in flat
    assert f"RLHF achieved nothing: No step was better than the assistant on {asked}" in flat


def test_report_captions_are_true_in_both_schemes(tmp_path: Path) -> None:
    page = make(leave_stages(tmp_path / "stages"), tmp_path / "out")
    body = page[page.index("<body>") :]
    assert not re.search(r"\b(dark|darker|pale|paler|light|lighter|bright|brighter|black|white)\b", body)
    assert "from faint (first) to strong (last)" in body and "stronger the colour of a square" in body
