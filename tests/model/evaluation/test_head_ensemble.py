"""The ensemble of heads: what it learns, where its heads differ, and that a seed repeats it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from model.data.hf_checkpoint import load_model
from model.data.preference_dataset import Group
from model.evaluation.head_ensemble import HeadEnsemble, fit_ensemble, fit_heads, text_features
from model.training.reward import RewardModel
from model.training.reward_config import RewardParameters
from tests.model.conftest import Language, write_rows
from tests.tasks.event_sink import ignore_event

SETTINGS = RewardParameters(group_size=8, margin=1.0)


@pytest.fixture(scope="module")
def reward(language: Language, tmp_path_factory: pytest.TempPathFactory) -> RewardModel:
    body, tokenizer = load_model(language.model(tmp_path_factory.mktemp("sft") / "model"))
    return RewardModel(body, tokenizer).eval()


def test_text_features_equal_what_head_reads(language: Language, reward: RewardModel) -> None:
    rows = [language.tokenizer.encode_prompt(text) for text in ("the film", "a quiet scene is dull")]
    features = text_features(reward, rows)
    torch.testing.assert_close(reward.head(features).squeeze(-1), reward.raw_scores(rows))


def test_fit_ensemble_orders_held_out_texts(language: Language, reward: RewardModel) -> None:
    ensemble = fit_ensemble(reward, language.labels, SETTINGS, 5, 3, ignore_event)
    assert ensemble is not None and ensemble.weights.shape == (5, 32)
    encode = language.tokenizer.encode
    rows = [
        [*language.tokenizer.encode_prompt("Finish: the story"), *encode(f" is {word} from start to end.")]
        for word in ("wonderful", "lovely", "terrible", "ugly")
    ]
    scores = ensemble.score_features(text_features(reward, rows))
    # Every head prefers each good answer to each bad one.
    assert (scores[:2].min(0).values > scores[2:].max(0).values).all()
    again = fit_ensemble(reward, language.labels, SETTINGS, 5, 3, ignore_event)
    other = fit_ensemble(reward, language.labels, SETTINGS, 5, 4, ignore_event)
    assert again is not None and other is not None
    assert torch.equal(ensemble.weights, again.weights)
    assert not torch.equal(ensemble.weights, other.weights)


def test_fit_ensemble_without_preferences_is_none(
    language: Language, reward: RewardModel, tmp_path: Path
) -> None:
    rows = [
        {"prompt": "p", "completion": f" is {i}", "score": 1.0, "aspect": "tone", "source": "s"}
        for i in range(16)
    ]
    write_rows(tmp_path / "train.ratings.jsonl", rows)
    write_rows(tmp_path / "train.comparisons.jsonl", [])
    assert fit_ensemble(reward, tmp_path, SETTINGS, 5, 1, ignore_event) is None


def test_fit_heads_disagree_where_no_preference_was_seen() -> None:
    random = torch.Generator().manual_seed(0)
    # Only the first of two features says anything, and the second one varies little.
    first = torch.randn(400, 1, generator=random, dtype=torch.float64)
    features = torch.cat([first, 0.1 * torch.randn(400, 1, generator=random, dtype=torch.float64)], 1)
    groups = []
    for start in range(0, 400, 2):
        better = int(first[start + 1] > first[start])
        groups.append(Group([[0], [0]], [better], [1 - better], [1.0]))
    ensemble = HeadEnsemble(fit_heads(features, groups, 5, 1))
    assert (ensemble.weights[:, 0] > 0).all()
    origin, seen, unseen = ensemble.score_features(torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 3.0]]))
    assert (unseen - origin).std() / (seen - origin).abs().mean() > (seen - origin).std() / (
        seen - origin
    ).abs().mean()
