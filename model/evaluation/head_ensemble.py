"""An ensemble of linear heads on the features of a reward model, whose disagreement is its uncertainty.

Each head is a Bradley-Terry model of the differences of two texts' features: logistic regression with an L2
penalty. It is fitted to a bootstrap sample of the training preferences (Efron, Bootstrap methods, 1979), so
heads differ where the preferences say little.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from model.data.chunks import map_by_length, rows_of_pass
from model.data.dataloader import seeded_rng
from model.data.preference_dataset import Group, PreferenceDataset
from model.data.token_layout import lay_out_rows
from model.events import EventCallback
from model.training.reward import PASS_ROWS, RewardModel
from model.training.reward_config import RewardParameters

# The most texts whose features are computed: more take time, and hardly change a few hundred weights.
MOST_TEXTS = 8192
# The weight of half the squared norm of a head beside the summed loss, as scikit-learn's C = 1.
PENALTY = 1.0
# The first numbers of the keys of random numbers: which preferences are used, and the bootstrap samples.
_CHOICE, _BOOTSTRAP = 11, 12


@dataclass(frozen=True)
class HeadEnsemble:
    """K linear heads, `weights` [K, D] float64, of features [B, D]."""

    weights: Tensor

    def score_features(self, features: Tensor) -> Tensor:
        """Return the score that each head gives each text: [B, D] -> [B, K] float64.

        Only differences of two texts' scores mean something: a head has no zero of its own.
        """
        return features.double() @ self.weights.T


@torch.no_grad()
def text_features(reward: RewardModel, rows: Sequence[Sequence[int]]) -> Tensor:
    """Return the features that the reward model's head reads, those of each row's last token: [B, D] float32.

    Args:
        reward: The reward model.
        rows: Token rows (prompt, completion, end). A row longer than the context keeps its last tokens.
    """
    context, device = reward.body.architecture.context_length, str(reward.head.weight.device)
    kept = [row[-context:] for row in rows]
    lengths = [len(row) for row in kept]

    def compute(chosen: list[int]) -> Tensor:
        layout = lay_out_rows([kept[i] for i in chosen], reward.tokenizer.end, context, device)
        hidden = reward.body(layout.tokens, documents=layout.documents).flatten(0, 1)
        features: Tensor = hidden[layout.ends].float().cpu()
        return features

    return map_by_length(lengths, compute, rows_of_pass(PASS_ROWS, max(lengths, default=1)))


def fit_ensemble(
    reward: RewardModel,
    labels: Path,
    parameters: RewardParameters,
    count: int,
    seed: int,
    on_event: EventCallback,
) -> HeadEnsemble | None:
    """Fit an ensemble to the training preferences of a reward model; None if there is no preference.

    Args:
        reward: The reward model. It is not changed.
        labels: The folder of the stage labels, from which it learned.
        parameters: Its parameters: groups and margin are as in its training.
        count: The number of heads.
        seed: The seed of the samples.
        on_event: The event callback.
    """
    context = reward.body.architecture.context_length
    data = PreferenceDataset(
        labels, reward.tokenizer, context, parameters.group_size, parameters.margin, on_event
    )
    groups = [group for group in data.epoch_groups(seed, 0) if group.better]
    order = seeded_rng(seed, _CHOICE).permutation(len(groups))
    chosen: list[Group] = []
    texts = 0
    for number in order:
        if texts >= MOST_TEXTS:
            break
        chosen.append(groups[number])
        texts += len(groups[number].rows)
    if not chosen:
        return None
    features = text_features(reward, [row for group in chosen for row in group.rows]).double()
    return HeadEnsemble(fit_heads(features, chosen, count, seed))


def fit_heads(features: Tensor, groups: Sequence[Group], count: int, seed: int) -> Tensor:
    """Return the weights of heads, [K, D], each fitted to a bootstrap sample of the groups.

    Whole groups are drawn, not single pairs: pairs of a group share texts, so they are not independent.
    """
    first = 0
    better: list[int] = []
    worse: list[int] = []
    members: list[int] = []
    probabilities: list[float] = []
    weights: list[float] = []
    for number, group in enumerate(groups):
        better += [first + i for i in group.better]
        worse += [first + i for i in group.worse]
        members += [number] * len(group.better)
        probabilities += group.probabilities
        # A group of n texts says no more than n - 1 independent pairs, however many pairs it makes.
        weights += [min(1.0, (len(group.rows) - 1) / len(group.better))] * len(group.better)
        first += len(group.rows)
    differences = features[better] - features[worse]
    # One penalty for all features needs one scale. Differences have mean 0 in one order of each pair or the
    # other, so the scale is the root of their mean square.
    scale = differences.square().mean(0).sqrt().clamp(min=1e-12)
    differences = differences / scale
    single, whose = torch.tensor(weights, dtype=torch.float64), torch.tensor(members)
    probable = torch.tensor(probabilities, dtype=torch.float64)
    heads = []
    for number in range(count):
        drawn = seeded_rng(seed, _BOOTSTRAP, number).integers(len(groups), size=len(groups))
        counts = torch.from_numpy(np.bincount(drawn, minlength=len(groups))).double()
        heads.append(_fit_head(differences, probable, single * counts[whose]) / scale)
    return torch.stack(heads)


def _fit_head(differences: Tensor, probabilities: Tensor, weights: Tensor) -> Tensor:
    """Return the weights [D] that minimise the penalised loss of the differences [P, D].

    Args:
        differences: The better text's features less the worse one's, [P, D] float64.
        probabilities: How probable it is that the better text is better, [P]; 1/2 for a tie.
        weights: The weight of each pair, [P].
    """
    head = torch.zeros(differences.shape[1], dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS(
        [head], max_iter=200, tolerance_grad=1e-6, tolerance_change=1e-10, line_search_fn="strong_wolfe"
    )

    def loss() -> Tensor:
        optimizer.zero_grad()
        margins = differences @ head
        # As in `bradley_terry_loss`: -(p log σ(m) + (1-p) log σ(-m)).
        losses = F.softplus(-margins) + (1 - probabilities) * margins
        total = (weights * losses).sum() + 0.5 * PENALTY * head.square().sum()
        total.backward()  # type: ignore[no-untyped-call]
        return total

    optimizer.step(loss)  # type: ignore[no-untyped-call]
    return head.detach()
