"""Test the stage `judge`: its kinds, its labels and its record."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from model.data.dataloader import read_rows
from model.training.reward import load_reward
from model.training.reward_config import RewardParameters
from tasks.judge import JudgeParameters, Scorer, describe_reward_model, fit_to_labels, judge, read_judge
from tests.model.conftest import Language, language, write_rows

__all__ = ["language"]
LEARN = RewardParameters(steps=12, batch_size=8, num_reference_samples=8, reference_tokens=12)


def pairs(count: int, source: str = "chat") -> list[dict[str, Any]]:
    return [
        {"prompt": f"the film {i}", "chosen": " is lovely", "rejected": " is awful", "aspect": "tone",
         "source": source}
        for i in range(count)
    ]  # fmt: skip


def write_labels(folder: Path, compared: list[dict[str, Any]], rated: list[dict[str, Any]] = []) -> Path:  # noqa: B006
    write_rows(folder / "train.comparisons.jsonl", compared)
    write_rows(folder / "train.ratings.jsonl", rated)
    write_rows(folder / "pairs.valid.jsonl", [])
    return folder


def make(root: Path, sft: Path, labels: Path, parameters: JudgeParameters) -> tuple[dict[str, Any], Scorer]:
    out = root / "judge"
    out.mkdir(parents=True)
    figures = judge(
        parameters,
        sft=sft,
        labels=labels,
        out=out,
        on_event=lambda event: None,
        root=root,
        seed=3,
        device="cpu",
        processes=1,
    )
    return figures, read_judge(out)


@pytest.fixture(scope="module")
def sft(language: Language, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sft")
    language.model(folder / "model")
    return folder


def test_judge_reward_model_learns_from_reserved_labels(
    language: Language, sft: Path, tmp_path: Path
) -> None:
    labels = write_labels(tmp_path / "labels", pairs(200))
    write_labels(labels / "judge", pairs(60, "film"))
    figures, scorer = make(tmp_path, sft, labels, JudgeParameters("reward_model", LEARN))
    assert figures["judge"] == scorer.kind == "reward_model" and figures["steps"] < 12
    model = load_reward(tmp_path / "judge", "cpu")
    prompt = language.tokenizer.encode_prompt("the film")
    rows = [[*prompt, *language.tokenizer.encode(text), language.tokenizer.end]
            for text in (" is lovely", " is awful")]  # fmt: skip
    good, bad = model.score_rows(rows).tolist()
    assert good > bad
    assert scorer == describe_reward_model(tmp_path / "judge", labels / "judge")
    other = write_labels(tmp_path / "other", pairs(61, "film"))
    assert describe_reward_model(tmp_path / "judge", other).data != scorer.data


@pytest.mark.parametrize(("kind", "why"), [("lexicon", ""), ("none", "evaluate.judge is none")])
def test_judge_lexicon_or_none_trains_nothing(kind: str, why: str, sft: Path, tmp_path: Path) -> None:
    figures, scorer = make(tmp_path, sft, tmp_path, JudgeParameters(kind, LEARN))
    assert (scorer.kind, scorer.why) == (kind, why) and figures["judge"] == kind
    assert not (tmp_path / "judge" / "model").exists()


def test_judge_too_few_labels_give_no_judge(sft: Path, tmp_path: Path) -> None:
    labels = write_labels(tmp_path / "labels", pairs(20))
    figures, scorer = make(tmp_path, sft, labels, JudgeParameters("reward_model", LEARN))
    assert scorer.kind == "none" and "fewer than 100 labelled texts" in figures["why"]


def test_judge_labels_of_one_class_give_no_judge(language: Language, sft: Path, tmp_path: Path) -> None:
    labels = write_labels(tmp_path / "labels", pairs(200))
    rated = [{**row, "score": 1.0} for row in read_rows(language.labels / "train.ratings.jsonl")[:120]]
    write_labels(labels / "judge", [], rated)
    figures, scorer = make(tmp_path, sft, labels, JudgeParameters("reward_model", LEARN))
    assert scorer.kind == "none" and "of one class" in scorer.why and figures["why"] == scorer.why


@pytest.mark.parametrize(
    ("compared", "kept", "group", "batch", "steps"),
    [(400, 160, 8, 8, 40), (400, 20, 8, 5, 8), (64, 6, 2, 6, 6)],
)
def test_fit_to_labels_keeps_number_of_passes(
    compared: int, kept: int, group: int, batch: int, steps: int, tmp_path: Path
) -> None:
    labels = write_labels(tmp_path, pairs(compared))
    mine = write_labels(tmp_path / "judge", pairs(kept))
    given = RewardParameters(
        steps=100 if compared == 400 else 12, batch_size=8, early_stopping_patience=3, eval_every=5
    )
    found = fit_to_labels(given, labels, mine)
    assert (found.group_size, found.batch_size) == (group, batch) and abs(found.steps - steps) <= 1
    assert found.early_stopping_patience == found.eval_every == 0
