"""Evaluate: measures base, SFT, aligned and champion model on the test split.

It leaves for the gate and the registry:

- metrics.json: every metric. A name begins with its model: `sft_ends_by_itself`, `aligned_completion_loss`,
  `champion_judge`. NAME_low and NAME_high are its 95% interval, NAME_n is its n.
- held_out.json: the digests of the rows that were used (`prompts`, `questions`, `completions`, `text`). The
  judge (`judge`) and the reward model (`reward`) have the digests of their weights and labels. `champion`
  says whether the champion was measured in this run, or why not.

The champion's model is the optional input `champion`, a folder with champion.json and model/, from
`tasks/tracking/champion_input.py`. All metrics `champion_…` come from the same prompts, random numbers and
judge as the candidate's, `aligned_…`. The gate makes a `tasks.evaluation.scores.ScoreComparison` of them.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from model.data.dataloader import read_rows
from model.evaluation.confidence_intervals import gain_metrics, mean_metrics, wilson_interval, with_interval
from model.evaluation.evaluate_config import ENDPOINT, NONE, REWARD_MODEL, EvaluateParameters
from model.events import EventCallback, Message
from model.training.devices import count_processes
from model.training.launcher import launch_training
from tasks.data.records import LABEL_KINDS
from tasks.drift_detection.profile import ABOUT, MODEL
from tasks.engine.declaration import Tolerance, named_metrics
from tasks.engine.stage import stage
from tasks.evaluation.answer_judges import judge_answers
from tasks.judge import describe_reward_model, read_judge

# The optional input.
CHAMPION = "champion"
METRICS, HELD_OUT = "metrics.json", "held_out.json"
# The share of test pairs that guessing orders right. A judge whose interval includes it is not relied on.
GUESSING = 0.5
_TEST_LABELS = tuple(f"test {kind}" for kind in LABEL_KINDS)


@stage(
    inputs=("split", "pretrain", "sft", "labels", "reward", "judge", "rlhf", CHAMPION),
    input_patterns={"split": ("*/pairs", "test/text")},
    measures_on={"valid": LABEL_KINDS, "test": ("text", "pairs", *LABEL_KINDS)},
    metrics_on={
        "*bits_per_byte*": ("test text",),
        # The accuracy of a reward model, and whether it makes the judge a reliable one.
        "*pair_accuracy*": _TEST_LABELS,
        "judge_reliable": _TEST_LABELS,
        # The rest is measured on answers to the prompts of pairs.
        "*": ("test pairs",),
    },
    artifacts=("metrics.json", "accuracy.json", "answers.json"),
    headline=named_metrics(
        ("test_pair_accuracy", "of test pairs right by the reward model"),
        ("reward_gain", "reward above SFT's"),
        ("loss_increase", "more loss on right answers"),
        ("kl", "nats from SFT"),
        ("win_rate", "of prompts won by the judge's scores"),
        shares=("test_pair_accuracy", "win_rate"),
    ),
    tolerances=(
        Tolerance(("loss", "bits_per_byte"), relative=0.02),
        Tolerance(
            ("accuracy", "ends_by_itself", "ends_by_itself_change", "distinct", "win_rate"), absolute=0.05
        ),
        Tolerance(("kl",), relative=0.2),
        Tolerance(
            ("judge", "judge_gain", "judge_gain_over_base", "loss_increase", "base_answer_loss_change"),
            absolute=0.05,
        ),
        Tolerance(("reward", "reward_gain"), absolute=0.1),
        Tolerance(("length", "length_ratio"), relative=0.1),
    ),
    time_share=0.1,
)
def evaluate(
    parameters: EvaluateParameters,
    split: Path,
    pretrain: Path,
    sft: Path,
    labels: Path,
    reward: Path,
    judge: Path,
    rlhf: Path,
    champion: Path | None,
    out: Path,
    on_event: EventCallback,
    seed: int,
    device: str,
    processes: int,
) -> dict[str, Any]:
    """Write metrics.json, held_out.json and the files of `model.evaluation.evaluate`."""
    from model.evaluation.evaluate import PARTS
    from model.evaluation.evaluate import evaluate as measure

    embeddings = pretrain / "embeddings.safetensors"
    judging = read_judge(judge)
    # The judge is given as a folder, and the other kinds are no concern of model/.
    plain = {name: value for name, value in asdict(parameters).items() if not name.startswith("judge")}
    figures: dict[str, Any] = launch_training(
        measure,
        {
            "parameters": plain,
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
            "judge": str(judge) if judging.kind == REWARD_MODEL else "",
            "champion": str(champion / MODEL) if champion else "",
        },
        # Rows are shared on a CPU alone: on a GPU a batch of all prompts is as fast as one of half.
        processes=1 if device == "cuda" else count_processes(device, processes, PARTS),
        on_event=on_event,
        log=out.with_suffix(".log"),
    )
    # model/ may not import what these judges need, so their scores are added here.
    figures |= judge_answers(judging.kind, parameters, judge, labels, out / "completions.jsonl", on_event)
    figures |= compare_by_judge(read_rows(out / "completions.jsonl"), seed)
    figures["judge"] = judging.kind
    figures["judge_reliable"] = float(_is_reliable(judging.kind, figures))
    if judging.kind in (REWARD_MODEL, ENDPOINT) and not figures["judge_reliable"]:
        on_event(Message(_explain_unreliable(figures)))
    held_out = json.loads((out / HELD_OUT).read_text(encoding="utf-8"))
    held_out |= {"judge": asdict(judging), "reward": asdict(describe_reward_model(reward, labels))}
    if champion:
        about = json.loads((champion / ABOUT).read_text(encoding="utf-8"))
        held_out["champion"] |= {"model": about["model"]}
    _write_json(out / HELD_OUT, held_out)
    # Sorted keys: the output's digest must not depend on the order of the measurements.
    _write_json(out / METRICS, figures)
    return figures


def _write_json(path: Path, value: object) -> None:
    path.write_text(json.dumps(value, indent=1, sort_keys=True) + "\n", encoding="utf-8")


def compare_by_judge(rows: Sequence[dict[str, Any]], seed: int) -> dict[str, float]:
    """Return the judge's metrics of the models' answers to the same prompts; empty if there is no judge.

    `win_rate` compares the aligned model with SFT, `champion_win_rate` with the champion, and
    `judge_gain_over_base` with an open model that can be asked.
    """
    scores = {
        name: [row["judge"] for row in rows if row["model"] == name and "judge" in row]
        for name in ("base", "sft", "aligned", "champion")
    }
    aligned = scores["aligned"]
    if not aligned:
        return {}
    figures: dict[str, float] = {}
    for name, values in scores.items():
        figures |= mean_metrics(f"{name}_judge", values, seed)
    figures |= gain_metrics("judge_gain", aligned, scores["sft"], seed)
    if scores["base"]:
        figures |= gain_metrics("judge_gain_over_base", aligned, scores["base"], seed)
    figures |= win_figures("win_rate", aligned, scores["sft"])
    if scores["champion"]:
        figures |= win_figures("champion_win_rate", aligned, scores["champion"])
    return figures


def win_figures(name: str, after: Sequence[float], before: Sequence[float]) -> dict[str, float]:
    """Return the share of prompts on which the first model has the higher score; a tie is half a win."""
    wins = sum((a > b) + 0.5 * (a == b) for a, b in zip(after, before, strict=True))
    return with_interval(name, wins / len(after), wilson_interval(wins, len(after)), len(after))


def _is_reliable(kind: str, figures: dict[str, float]) -> bool:
    """Return whether the judge counts: a model must order held-out pairs better than guessing."""
    if kind in (REWARD_MODEL, ENDPOINT):
        return figures.get("judge_test_pair_accuracy_low", 0.0) > GUESSING
    return kind != NONE


def _explain_unreliable(figures: dict[str, float]) -> str:
    if not figures.get("judge_test_pair_accuracy_n"):
        return "there are no test pairs to validate the judge, so its results do not count"
    share, low, high, n = (figures[f"judge_test_pair_accuracy{end}"] for end in ("", "_low", "_high", "_n"))
    return (
        f"the judge orders {share:.0%} of {n:.0f} test pairs as people did (95%: {low:.0%} to {high:.0%}), "
        "which may be chance, so its results do not count; add labels"
    )
