"""Evaluate: base, assistant and aligned model on the test split, and the judge on the two assistants."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

from model.batches import read_rows
from model.evaluate import EvaluateParameters
from model.evaluate import evaluate as measure
from model.launch import Report, launch
from tasks.judge import compare, judge
from tasks.stage import stage


@stage(
    inputs=("split", "pretrain", "sft", "labels", "reward", "rlhf"),
    reads={"split": ("*/pairs", "test/text")},
)
def evaluate(
    parameters: EvaluateParameters,
    split: Path,
    pretrain: Path,
    sft: Path,
    labels: Path,
    reward: Path,
    rlhf: Path,
    out: Path,
    report: Report,
    seed: int,
    device: str,
) -> dict[str, float]:
    """completions.jsonl, answers.json, accuracy.json and probes.json in `out`; every figure as a metric."""
    embeddings = pretrain / "embeddings.safetensors"
    figures = launch(
        measure,
        {
            "parameters": asdict(parameters),
            "base": str(pretrain / "model"),
            "sft": str(sft / "model"),
            "aligned": str(rlhf / "model"),
            "reward": str(reward),
            "split": str(split),
            "labels": str(labels),
            "embeddings": str(embeddings) if embeddings.exists() else "",
            "folder": str(out),
            "seed": seed,
            "device": device,
        },
        on_event=report,
        log=out.with_suffix(".log"),
    )
    figures |= judge_answers(out / "completions.jsonl")
    (out / "metrics.json").write_text(json.dumps(figures, indent=1, sort_keys=True) + "\n")
    return figures


def judge_answers(completions: Path) -> dict[str, float]:
    """Add the judge's score to each scored row of completions.jsonl; the comparison of the two assistants.

    Scored are the answers that have a reward: those to the free prompts, where tone is what was asked for.
    """
    rows = read_rows(completions)
    scored = [row for row in rows if "reward" in row]
    for row, score in zip(scored, judge([row["completion"] for row in scored]), strict=True):
        row["judge"] = round(score, 4)
    lines = (json.dumps(row, ensure_ascii=False, separators=(",", ":")) + "\n" for row in rows)
    completions.write_text("".join(lines), encoding="utf-8")
    sft, aligned = ([row["judge"] for row in scored if row["model"] == name] for name in ("sft", "aligned"))
    verdict = compare(sft, aligned)
    return {
        "sft_judge": verdict.before,
        "aligned_judge": verdict.after,
        "judge_gain": verdict.gain,
        "win_rate": verdict.win_rate,
        "win_rate_low": verdict.low,
        "win_rate_high": verdict.high,
    }
