"""The stage `label_batch` on tiny models: its items, their reasons, and what is left out."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from model.errors import UserError
from model.training.reward import train_reward
from model.training.reward_config import RewardParameters
from tasks.data.labels import label_selection
from tasks.data.labels.label_selection import read_made_items
from tasks.data.splits import SplitParameters
from tasks.label_batch import COUNTS, ITEMS, LabelItemsParameters, label_batch
from tasks.labelling.batch_parameters import AnswerSource, LabelBatchParameters
from tasks.labelling.batches import LabelItem
from tests.model.conftest import Language, language, write_rows
from tests.tasks.event_sink import ignore_event

__all__ = ["language"]
BATCH = LabelBatchParameters(size=10, max_new_tokens=12, candidates=2)
# The tiny language has seven prompts, so these come from a file.
WORDS = ("film", "story", "camera", "actor", "scene", "ending", "music", "light", "sound", "plot")


@dataclass(frozen=True)
class Outputs:
    """The outputs of the stages before, by name."""

    split: Path
    labels: Path
    sft: Path
    rlhf: Path
    reward: Path


@pytest.fixture(autouse=True)
def _any_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let answers hold any bytes, as those of untrained models do; tests of the choice cover the rule."""
    monkeypatch.setattr(label_selection, "is_printable", lambda text: True)


@pytest.fixture(scope="module")
def outputs(language: Language, tmp_path_factory: pytest.TempPathFactory) -> Outputs:
    root = tmp_path_factory.mktemp("outputs")
    language.model(root / "sft" / "model", 1)
    language.model(root / "rlhf" / "model", 2)
    settings = RewardParameters(steps=10, batch_size=4, num_reference_samples=8, reference_tokens=12)
    train_reward(
        settings.__dict__ | {"lora": {}, "optimizer": {}}, str(root / "sft" / "model"), str(language.labels),
        str(root / "reward"), 1, "cpu", ignore_event,
    )  # fmt: skip
    return Outputs(language.split, language.labels, root / "sft", root / "rlhf", root / "reward")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Return a project with a file of 80 prompts."""
    lines = [f"{a} {b} here" for a in WORDS for b in WORDS[:8] if a != b]
    (tmp_path / "prompts.txt").write_text("\n".join(lines) + "\n")
    return tmp_path


def make(
    root: Path, outputs: Outputs, batch: LabelBatchParameters, **changes: Any
) -> tuple[list[LabelItem], dict[str, Any]]:
    out = root / "label_batch"
    out.mkdir(exist_ok=True)
    given = {**outputs.__dict__, "champion": None, "seed": 1, **changes}
    parameters = LabelItemsParameters(batch, SplitParameters(), RewardParameters())
    label_batch(parameters, out=out, on_event=ignore_event, root=root, device="cpu", **given)
    return read_made_items(out / ITEMS), json.loads((out / COUNTS).read_text())


def from_file(**changes: Any) -> LabelBatchParameters:
    values = {"size": 10, "max_new_tokens": 12, "candidates": 2, "prompts": ("prompts.txt",), **changes}
    return LabelBatchParameters(**values)


def test_label_batch_records_why_each_item_is_chosen(root: Path, outputs: Outputs) -> None:
    items, summary = make(root, outputs, from_file())
    assert (summary["random"], summary["uncertain"], summary["known"]) == (3, 7, 0)
    assert [item.reason for item in items].count("uncertain") == 7
    assert summary["heads"] == 5
    assert summary["uncertain_deviation"] > summary["random_deviation"]
    assert len({item.prompt for item in items}) == 10
    for item in items:
        assert item.a != item.b and {item.a_model.split()[0], item.b_model.split()[0]} <= {"aligned", "sft"}
    # Equal inputs give equal items; another round gives others.
    assert make(root, outputs, from_file())[0] == items
    assert make(root, outputs, from_file(round=2))[0] != items


def test_label_batch_without_reward_model_is_all_random(root: Path, outputs: Outputs) -> None:
    items, summary = make(root, outputs, from_file(), reward=None, labels=None, rlhf=None)
    assert {item.reason for item in items} == {"random"} and len(items) == 10
    assert summary["heads"] == 0
    assert all(name.startswith("sft") for name in summary["answers"])


def test_label_batch_hides_known_items(root: Path, outputs: Outputs) -> None:
    known = [
        {"prompt": f"is {i} a number?", "a": "yes", "b": f"no, {i}", "known_choice": "a"} for i in range(9)
    ]
    write_rows(root / "known.jsonl", known)
    items, summary = make(root, outputs, from_file(known_items="known.jsonl", known_share=0.4))
    hidden = [item for item in items if item.reason == "known"]
    assert len(hidden) == summary["known"] == 4 and len(items) == 14
    for item in hidden:
        assert getattr(item, item.known_choice) == "yes"


def test_label_batch_held_out_prompts_are_only_random(root: Path, outputs: Outputs) -> None:
    out = root / "label_batch"
    out.mkdir()
    # Nearly half of the groups are held out in each part.
    split = SplitParameters(validation_fraction=0.45, test_fraction=0.45)
    parameters = LabelItemsParameters(from_file(), split, RewardParameters())
    label_batch(
        parameters, out=out, on_event=ignore_event, root=root, device="cpu", champion=None, seed=1,
        **outputs.__dict__,
    )  # fmt: skip
    summary = json.loads((out / COUNTS).read_text())
    assert summary["random"] + summary["uncertain"] == 10 and summary["uncertain"] <= 4


def test_label_batch_compares_with_another_systems_answers(root: Path, outputs: Outputs) -> None:
    lines = (root / "prompts.txt").read_text().splitlines()
    write_rows(root / "other.jsonl", [{"prompt": one, "completion": f"about {one}"} for one in lines[:5]])
    answers = (AnswerSource("sft"), AnswerSource(file="other.jsonl", name="other 1"))
    items, summary = make(root, outputs, from_file(answers=answers))
    assert len(items) == 5 and {item.prompt for item in items} == {*lines[:5]}
    assert all("other 1" in (item.a_model, item.b_model) for item in items)
    assert summary["missing_answers"] == len(lines) - 5


def test_label_batch_takes_prompts_of_split(root: Path, outputs: Outputs) -> None:
    items, summary = make(root, outputs, LabelBatchParameters(size=3, max_new_tokens=12, sources=("film",)))
    assert len(items) == 3 and all(item.prompt.startswith("Finish: ") for item in items)
    # The tiny language has seven prompts, each many times.
    assert summary["repeated_prompts"] > 100


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"prompts": ("train",), "sources": ("none",)}, "gives no prompt"),
        ({"prompts": ("missing.txt",)}, "the file missing.txt is missing"),
        ({"answers": (AnswerSource("champion"), AnswerSource("sft"))}, "names the model champion"),
        ({"max_new_tokens": 60}, "no room is left for a prompt"),
        ({"answers": (AnswerSource("sft", 0), AnswerSource("sft", 0))}, "two different answers"),
    ],
)
def test_label_batch_says_what_is_missing(
    root: Path, outputs: Outputs, changes: dict[str, Any], says: str
) -> None:
    with pytest.raises(UserError, match=says):
        make(root, outputs, from_file(**changes))
