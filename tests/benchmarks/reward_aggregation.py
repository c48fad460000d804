"""Reward models of five people, two of whom answer at random: Dawid and Skene against the majority.

Two texts of the demo that people rated make an item. The text with the higher mean score is the right one.
Five simulated people judge: three press a random key in CARELESS of the items, and two in all of them. Three
of the five, drawn for each item, judge it. The stage `labels` aggregates the judgements by each method. A
reward model is trained from the SFT model on each result. It is measured on pairs of held-out texts, by the
true order of their scores.

    python -m tests.benchmarks.reward_aggregation ARTIFACTS --seeds 6

ARTIFACTS is the folder var/cache/artifacts of a project in which the demo ran.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from scipy.special import stdtrit

from flows.config import read_preset
from model.data.dataloader import read_rows, seeded_rng
from model.events import ignore_event
from model.training.reward import train_reward
from tasks.data.labels.ratings import DAWID_SKENE, MAJORITY, LabelsParameters
from tasks.data.records import Choice, Comparison, comparison_row
from tasks.data.splits import SPLITS
from tasks.labels import labels
from tests.benchmarks.smoke import REPOSITORY
from tests.tasks.test_labels import shard

SOURCES = ("film", "product", "tweets")
# People by name, with the share of their keys that are random.
CARELESS = 0.15
PEOPLE = {"Ann": CARELESS, "Ben": CARELESS, "Cleo": CARELESS, "Dan": 1.0, "Eve": 1.0}
JUDGES = 3
ITEMS, HELD_OUT, MARGIN = 2000, 2000, 1.0
STEPS, BATCH = 150, 32
METHODS = (MAJORITY, DAWID_SKENE)
_KEYS: tuple[Choice, ...] = ("a", "tie", "b")
_ASPECT, _PROMPT = "tone", "Write a friendly text: {}."


@dataclass(frozen=True)
class ScoredPair:
    """Two texts of a source, the one with the higher score first."""

    better: str
    worse: str
    source: str


def draw_scored_pairs(path: Path, count: int, random: np.random.Generator) -> list[ScoredPair]:
    """Return random pairs of rated texts whose scores are at least MARGIN apart."""
    rows = [row for row in read_rows(path) if row["source"] in SOURCES]
    found: dict[tuple[str, str], ScoredPair] = {}
    while len(found) < count:
        one, other = (rows[i] for i in random.integers(len(rows), size=2))
        if one["source"] == other["source"] and abs(one["score"] - other["score"]) >= MARGIN:
            high, low = (one, other) if one["score"] > other["score"] else (other, one)
            pair = ScoredPair(whole_text(high), whole_text(low), one["source"])
            found[pair.better, pair.worse] = pair
    return list(found.values())


def whole_text(row: dict[str, Any]) -> str:
    """Return a rated text with its beginning, which the demo's prompt has."""
    return f"{row['prompt'].partition(': ')[2]}{row['completion']}"


def judge_pairs(pairs: Sequence[ScoredPair], random: np.random.Generator) -> list[Comparison]:
    """Return what the people say of each pair, which they see in a random order."""
    names, found = list(PEOPLE), []
    for number, pair in enumerate(pairs):
        swapped = bool(random.integers(2))
        a, b = (pair.worse, pair.better) if swapped else (pair.better, pair.worse)
        right: Choice = "b" if swapped else "a"
        for who in random.choice(len(names), JUDGES, replace=False):
            at_random = random.random() < PEOPLE[names[who]]
            choice = _KEYS[random.integers(len(_KEYS))] if at_random else right
            prompt, group = _PROMPT.format(pair.source), f"item {number}"
            found.append(comparison_row(prompt, a, b, choice, _ASPECT, names[who], pair.source, group))
    return found


def aggregate_labels(rows: Sequence[Comparison], method: str, held: Sequence[ScoredPair], out: Path) -> None:
    """Write the labels that the stage `labels` makes of the judgements, and the held-out pairs."""
    split, folder = out / "split", out / "labels"
    folder.mkdir(parents=True)
    for name in SPLITS:
        shard(split, name, rows if name == "train" else ())
    settings = LabelsParameters(aggregation=method, judge_share=0)
    labels(settings, split=split, out=folder, on_event=ignore_event, seed=1)
    held_out = [
        {
            "chosen": {"prompt": _PROMPT.format(pair.source), "completion": pair.better},
            "rejected": {"prompt": _PROMPT.format(pair.source), "completion": pair.worse},
            "aspect": _ASPECT, "source": pair.source, "gap": MARGIN,
        }
        for pair in held
    ]  # fmt: skip
    (folder / "pairs.valid.jsonl").write_text("".join(json.dumps(row) + "\n" for row in held_out))


def right_share(folder: Path, pairs: Sequence[ScoredPair]) -> float:
    """Return the share of the training labels that are right; a tie is half right."""
    true = {(pair.better, pair.worse) for pair in pairs}
    found = [
        0.5 if row.get("probability", 1.0) == 0.5 else float((row["chosen"], row["rejected"]) in true)
        for row in read_rows(folder / "train.comparisons.jsonl")
    ]
    return float(np.mean(found))


def run_seed(
    folders: dict[str, Path], held: Sequence[ScoredPair], seed: int, scratch: Path
) -> dict[str, Any]:
    """Return for each method the share of right labels, and the held-out accuracy of its reward model."""
    pairs = draw_scored_pairs(folders["labels"] / "train.ratings.jsonl", ITEMS, seeded_rng(seed, 1))
    rows = judge_pairs(pairs, seeded_rng(seed, 2))
    reward = read_preset(REPOSITORY / "configs" / "demo.yaml").reward
    settings = asdict(
        replace(
            reward, steps=STEPS, batch_size=BATCH, group_size=2, eval_every=0, headline_sources=(),
            num_reference_samples=2,
        )
    )  # fmt: skip
    found = {}
    for method in METHODS:
        out = scratch / f"{seed}-{method}"
        aggregate_labels(rows, method, held, out)
        model = str(folders["sft"] / "model")
        trained = train_reward(
            settings, model, str(out / "labels"), str(out / "reward"), seed, "cpu", ignore_event
        )
        found[method] = (right_share(out / "labels", pairs), float(trained["pair_accuracy"]))
    return found


def mean_interval(values: Sequence[float]) -> tuple[float, float, float]:
    """Return a mean with its 95% interval by Student's t."""
    count, mean = len(values), float(np.mean(values))
    half = float(stdtrit(count - 1, 0.975)) * float(np.std(values, ddof=1)) / math.sqrt(count)
    return mean, mean - half, mean + half


def main() -> None:
    """Run the seeds; print the accuracies and their difference. The exit code is 1 unless it is above 0."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("artifacts", type=Path)
    parser.add_argument("--seeds", type=int, default=6)
    given = parser.parse_args()
    # Threads of such small passes wait for each other longer than they compute.
    torch.set_num_threads(1)
    folders = {name: min(given.artifacts.glob(f"{name}/*/")) for name in ("sft", "labels")}
    held = draw_scored_pairs(folders["labels"] / "test.ratings.jsonl", HELD_OUT, seeded_rng(0, 1))
    gains = []
    for seed in range(1, given.seeds + 1):
        with TemporaryDirectory() as scratch:
            found = run_seed(folders, held, seed, Path(scratch))
        said = ", ".join(
            f"{method}: {right:.1%} of the labels, {accuracy:.1%} of the held-out pairs right"
            for method, (right, accuracy) in found.items()
        )
        print(f"seed {seed}: {said}", flush=True)
        gains.append(found[DAWID_SKENE][1] - found[MAJORITY][1])
    mean, low, high = mean_interval(gains)
    print(
        f"Dawid-Skene over majority, held-out pairs right: {100 * mean:+.1f} points "
        f"(95% over {len(gains)} seeds: {100 * low:+.1f} to {100 * high:+.1f})"
    )
    sys.exit(0 if low > 0 else 1)


if __name__ == "__main__":
    main()
