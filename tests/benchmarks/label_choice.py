"""Labels that a reward head needs: pairs drawn at random against pairs chosen by an ensemble's uncertainty.

A reward model first learns the demo's ratings of other sources. Then film reviews that people rated are
paired. A simulated labeller knows the two mean scores and prefers the better text with the probability
σ(difference / TEMPERATURE). Both arms begin with the same random labels. The random arm adds random pairs.
The chosen arm adds, as the stage label_batch does, a random share and the pairs on which the heads disagree
the most. After each addition the heads are fitted anew on the frozen features of the reward model. Their mean
score is measured on pairs of held-out reviews, by the true order of the mean scores.

    python -m tests.benchmarks.label_choice ARTIFACTS --seeds 20

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

import numpy as np
import torch
from torch import Tensor

from flows.config import read_preset
from model.data.chat_template import example_of
from model.data.dataloader import read_rows, seeded_rng
from model.data.preference_dataset import Group
from model.evaluation.head_ensemble import HeadEnsemble, fit_heads, text_features
from model.events import ignore_event
from model.training.reward import RewardModel, load_reward, train_reward
from tasks.data.labels.label_selection import preference_deviation
from tasks.labelling.batch_parameters import LabelBatchParameters
from tests.benchmarks.smoke import REPOSITORY

SOURCES = ("film",)
# Steps of the training on the other sources.
STEPS = 300
SIZES = (200, 400, 800, 1600)
TEMPERATURE = 1.0
# Held-out pairs, and the least difference of their scores.
HELD_OUT, MARGIN = 4000, 1.0
# Texts that are paired, of those that were rated.
TEXTS = 5000
BATCH = LabelBatchParameters()
BAR = 1.3
Pair = tuple[int, int]


@dataclass(frozen=True)
class RatedTexts:
    """Texts with their features [B, D] and the mean scores that people gave them, [B]."""

    features: Tensor
    scores: np.ndarray

    @classmethod
    def read(cls, path: Path, reward: RewardModel, count: int) -> RatedTexts:
        """Return the first texts of a file of ratings that are of the sources."""
        rows = [row for row in read_rows(path) if row["source"] in SOURCES][:count]
        context = reward.body.architecture.context_length
        tokens = [example_of(row, reward.tokenizer, context).tokens for row in rows]
        return cls(text_features(reward, tokens).double(), np.array([row["score"] for row in rows]))

    def draw_pairs(self, count: int, random: np.random.Generator) -> list[Pair]:
        """Return random pairs of different texts, by their numbers."""
        drawn = random.integers(len(self.scores), size=(2 * count, 2)).tolist()
        return [(a, b) for a, b in drawn if a != b][:count]

    def judge(self, pair: Pair, random: np.random.Generator) -> Pair:
        """Return a pair with the text first that the simulated labeller prefers."""
        one, other = pair
        margin = (self.scores[one] - self.scores[other]) / TEMPERATURE
        return pair if random.random() < 1 / (1 + math.exp(-margin)) else (other, one)

    def fit(self, labels: Sequence[Pair], seed: int) -> HeadEnsemble:
        """Return the heads that learned the labels."""
        # `fit_heads` takes the texts of each group in turn.
        rows = torch.tensor([text for pair in labels for text in pair])
        groups = [Group([[0], [0]], [0], [1], [1.0]) for _ in labels]
        return HeadEnsemble(fit_heads(self.features[rows], groups, BATCH.num_heads, seed))


def run_seed(train: RatedTexts, test: RatedTexts, held: np.ndarray, seed: int) -> dict[str, list[float]]:
    """Return the held-out accuracy of both arms at each size."""
    answers = seeded_rng(seed, 3)
    drawn = [train.judge(pair, answers) for pair in train.draw_pairs(SIZES[-1], seeded_rng(seed, 4))]

    def measure(heads: HeadEnsemble) -> float:
        scores = heads.score_features(test.features).mean(1).numpy()
        one, other = held.T
        return float(np.mean((scores[one] > scores[other]) == (test.scores[one] > test.scores[other])))

    found = {"random": [measure(train.fit(drawn[:size], seed)) for size in SIZES], "chosen": []}
    labels = drawn[: SIZES[0]]
    heads = train.fit(labels, seed)
    # The first labels are the same in both arms.
    found["chosen"].append(measure(heads))
    for number, size in enumerate(SIZES[1:]):
        more = size - len(labels)
        at_random = round(more * BATCH.random_share)
        pairs = train.draw_pairs(round(more * BATCH.candidates), seeded_rng(seed, 5, number))
        rest = pairs[at_random:]
        scores = heads.score_features(train.features).numpy()
        deviations = np.array([preference_deviation(scores[a], scores[b]) for a, b in rest])
        order = np.argsort(-deviations, kind="stable")[: more - at_random].tolist()
        chosen = pairs[:at_random] + [rest[i] for i in order]
        labels = labels + [train.judge(pair, answers) for pair in chosen]
        heads = train.fit(labels, seed)
        found["chosen"].append(measure(heads))
    return found


def labels_ratio(random: np.ndarray, chosen: np.ndarray) -> float:
    """Return how many times more labels the random arm needs for the chosen arm's accuracy.

    It is the geometric mean over the sizes after the first. Accuracy is taken to be linear in the logarithm
    of the number of labels, by a line through the random arm's accuracies.
    """
    logs = np.log(SIZES)
    slope, start = np.polyfit(logs, random, 1)
    return float(np.exp(np.mean((chosen[1:] - start) / slope - logs[1:]))) if slope > 0 else math.nan


def train_on_others(folders: dict[str, Path], out: Path) -> RewardModel:
    """Return a reward model that learned the ratings of all sources but these."""
    rows = [
        row for row in read_rows(folders["labels"] / "train.ratings.jsonl") if row["source"] not in SOURCES
    ]
    labels = out / "labels"
    labels.mkdir()
    (labels / "train.ratings.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    for name in ("train.comparisons.jsonl", "pairs.valid.jsonl"):
        (labels / name).write_text("")
    reward = read_preset(REPOSITORY / "configs" / "demo.yaml").reward
    settings = asdict(replace(reward, steps=STEPS, eval_every=0))
    place = str(out / "reward")
    train_reward(settings, str(folders["sft"] / "model"), str(labels), place, 1, "cpu", ignore_event)
    return load_reward(out / "reward", "cpu")


def main() -> None:
    """Run the seeds, and print the accuracies and the ratio with its interval over the seeds."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("artifacts", type=Path)
    parser.add_argument("--seeds", type=int, default=20)
    given = parser.parse_args()
    torch.set_num_threads(1)
    folders = {name: min(given.artifacts.glob(f"{name}/*/")) for name in ("sft", "labels")}
    with TemporaryDirectory() as scratch:
        reward = train_on_others(folders, Path(scratch))
    train = RatedTexts.read(folders["labels"] / "train.ratings.jsonl", reward, TEXTS)
    test = RatedTexts.read(folders["labels"] / "test.ratings.jsonl", reward, TEXTS)
    held = np.array(test.draw_pairs(4 * HELD_OUT, seeded_rng(0, 1)))
    held = held[np.abs(test.scores[held[:, 0]] - test.scores[held[:, 1]]) >= MARGIN][:HELD_OUT]
    found = [run_seed(train, test, held, seed) for seed in range(1, given.seeds + 1)]
    arms = {arm: np.array([one[arm] for one in found]) for arm in ("random", "chosen")}
    for place, size in enumerate(SIZES):
        said = ", ".join(f"{arm} {values[:, place].mean():.4f}" for arm, values in arms.items())
        print(f"{size} labels: {said}")
    ratio = labels_ratio(*(values.mean(0) for values in arms.values()))
    draws = seeded_rng(0, 6).integers(len(found), size=(2000, len(found)))
    drawn = [labels_ratio(*(values[row].mean(0) for values in arms.values())) for row in draws]
    low, high = np.nanpercentile(drawn, (2.5, 97.5))
    print(f"labels, random over chosen: {ratio:.2f} (95% over {len(found)} seeds: {low:.2f} to {high:.2f})")
    sys.exit(0 if low >= BAR else 1)


if __name__ == "__main__":
    main()
