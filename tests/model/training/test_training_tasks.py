"""The training stages: each learns, and a killed and resumed training ends in the same bits."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from model.data.dataloader import read_rows
from model.data.preference_dataset import HeldOutPairs
from model.errors import UserError
from model.events import Event, EventCallback, Message
from model.training import dpo, ppo, pretrain, reward, sft
from model.training.dpo_config import DPOConfig
from model.training.launcher import launch_training
from model.training.reward import load_reward
from model.training.trainer import RESUME_FILES
from tests.model.conftest import CONTEXT, DEVICE, Killed, Language, measured_reference, write_rows

Train = Callable[[Path, EventCallback], dict[str, Any]]
FAST = {"learning_rate": 0.01}


def quiet(event: Event) -> None:
    pass


def digest(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    names = {path: path.relative_to(folder) for path in files}
    return {
        str(name): hashlib.sha256(path.read_bytes()).hexdigest()
        for path, name in names.items()
        if name.parts[0] not in RESUME_FILES
    }


def pretraining(language: Language, **settings: Any) -> dict[str, Any]:
    return {
        "parameters": {
            "steps": 30, "batch_size": 8, "eval_every": 10, "save_every": 7,
            "prompts": ["the film", "the"], "optimizer": {**FAST, "muon_learning_rate": 0.02}, **settings,
        },
        "architecture": {
            "vocab_size": 300, "num_layers": 2, "hidden_size": 32, "num_heads": 2, "context_length": CONTEXT
        },
        "tokenizer": str(language.tokens), "seed": 5, "device": DEVICE,
    }  # fmt: skip


@pytest.fixture(scope="module")
def trained(language: Language, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Train each stage from the one before, and return the folders."""
    root = tmp_path_factory.mktemp("chain")
    folders = {name: root / name for name in ("pretrain", "sft", "reward", "rlhf", "dpo")}
    for name in folders:
        stage(name, language, folders)(folders[name], quiet)
    return folders


def stage(name: str, language: Language, made: dict[str, Path], **settings: Any) -> Train:
    """Return a function that trains a stage into a folder."""

    def train(folder: Path, on_event: EventCallback) -> dict[str, Any]:
        common: dict[str, Any] = {"folder": str(folder), "seed": 5, "device": DEVICE, "on_event": on_event}
        loop = {"save_every": 7, "eval_every": 10, "optimizer": FAST}
        if name == "pretrain":
            return pretrain.train_base(**{**pretraining(language, **settings), **common})
        if name == "sft":
            parameters = {**loop, "steps": 60, "batch_size": 4, **settings}
            return sft.train_sft(parameters, str(made["pretrain"] / "model"), str(language.split), **common)
        if name == "reward":
            parameters = {
                **loop,
                "steps": 30,
                "batch_size": 8,
                "num_reference_samples": 16,
                "reference_tokens": 12,
                **settings,
            }
            return reward.train_reward(parameters, str(made["sft"] / "model"), str(language.labels), **common)
        if name == "dpo":
            parameters = {
                **loop,
                "steps": 20,
                "batch_size": 8,
                "optimizer": {"learning_rate": 2e-3},
                **settings,
            }
            policy, reference = made["sft"] / "model", folder.with_name(f"{folder.name}-reference")
            measured_reference(policy, language.labels, reference, DPOConfig.read(parameters))
            places = map(str, (policy, language.labels, reference, language.split))
            return dpo.train_dpo(parameters, *places, **common)
        parameters = {
            **loop, "steps": 6, "batch_size": 16, "max_new_tokens": 16, "save_every": 2, "eval_every": 3,
            "num_eval_prompts": 8, "optimizer": {"learning_rate": 1e-3}, **settings,
        }  # fmt: skip
        return ppo.train_ppo(
            parameters, str(made["sft"] / "model"), str(made["reward"]), str(language.split), **common
        )

    return train


@pytest.mark.parametrize(
    ("name", "kills"),
    [("pretrain", (3, 20)), ("sft", (1, 45)), ("reward", (15,)), ("rlhf", (1, 5)), ("dpo", (2, 13))],
)
def test_training_killed_and_resumed_ends_in_same_bits(
    name: str,
    kills: tuple[int, ...],
    language: Language,
    trained: dict[str, Path],
    tmp_path: Path,
    killed_at: Callable[[int], EventCallback],
) -> None:
    train = stage(name, language, trained)
    for step in kills:
        with pytest.raises(Killed):
            train(tmp_path / name, killed_at(step))
        assert list((tmp_path / name / "checkpoints").glob("*.pt"))
    train(tmp_path / name, quiet)
    assert digest(tmp_path / name) == digest(trained[name])


def test_training_outputs_hold_no_resumption_files(trained: dict[str, Path]) -> None:
    for folder in trained.values():
        names = [path.relative_to(folder) for path in folder.rglob("*") if path.is_file()]
        others = [name.name for name in names if name.parts[0] not in RESUME_FILES]
        assert not any(name.endswith((".part", ".pt", ".lock")) for name in others)


def curve(folder: Path, name: str) -> list[float]:
    rows = [json.loads(line) for line in (folder / "curves.jsonl").read_text().splitlines()]
    return [row[name] for row in rows if name in row]


def test_training_of_each_stage_lowers_its_loss(trained: dict[str, Path]) -> None:
    bits = curve(trained["pretrain"], "valid_bits_per_byte")
    assert bits[-1] < 0.6 * bits[0]
    losses = curve(trained["sft"], "valid_loss")
    assert losses[-1] < 0.5 * losses[0]
    assert curve(trained["reward"], "pair_accuracy")[-1] > 0.95


def test_train_base_keeps_samples_of_first_middle_and_last_step(trained: dict[str, Path]) -> None:
    kept = json.loads((trained["pretrain"] / "samples.json").read_text())
    assert [entry["step"] for entry in kept] == [0, 15, 30]
    assert [sample["prompt"] for sample in kept[0]["samples"]] == ["the film", "the"]


def test_load_reward_scores_preferred_text_higher(trained: dict[str, Path], language: Language) -> None:
    model = load_reward(trained["reward"], "cpu")
    prompt = language.tokenizer.encode_prompt("Finish: the film")
    rows = [
        [*prompt, *language.tokenizer.encode(text), language.tokenizer.end]
        for text in (" is wonderful from start to end.", " is awful from start to end.")
    ]
    good, bad = model.score_rows(rows).tolist()
    assert good > bad
    assert model.deviation > 0


def test_train_base_two_processes_follow_curve_of_one(language: Language, tmp_path: Path) -> None:
    curves = {}
    for processes in (1, 2):
        arguments = {**pretraining(language, steps=12), "folder": str(tmp_path / str(processes))}
        launch_training(pretrain.train_base, arguments, processes=processes, log=tmp_path / "log")
        curves[processes] = curve(tmp_path / str(processes), "loss")
    assert len(curves[1]) == 12
    assert curves[2] == pytest.approx(curves[1], rel=5e-3)


def test_train_base_early_stop_keeps_best_weights(language: Language, tmp_path: Path) -> None:
    settings = {
        "steps": 400,
        "eval_every": 5,
        "early_stopping_patience": 2,
        "optimizer": {"learning_rate": 0.05},
    }
    figures = pretrain.train_base(**pretraining(language, **settings), folder=str(tmp_path), on_event=quiet)
    bits = curve(tmp_path, "valid_bits_per_byte")
    assert figures["steps"] < 400
    assert figures["bits_per_byte"] == pytest.approx(min(bits), rel=1e-2)


TOO_FAST = {"steps": 6, "max_kl": 2.0, "max_step_kl": 0.2, "optimizer": {"learning_rate": 0.02}}


def test_train_ppo_undone_steps_resume_in_same_bits(
    language: Language,
    trained: dict[str, Path],
    tmp_path: Path,
    killed_at: Callable[[int], EventCallback],
) -> None:
    train = stage("rlhf", language, trained, **TOO_FAST)
    whole = train(tmp_path / "whole", quiet)
    for step in (1, 3, 5):
        with pytest.raises(Killed):
            train(tmp_path / "resumed", killed_at(step))
    assert train(tmp_path / "resumed", quiet)["undone_steps"] == whole["undone_steps"] > 0
    assert digest(tmp_path / "resumed") == digest(tmp_path / "whole")


def test_train_ppo_two_processes_undo_same_first_step(
    language: Language, trained: dict[str, Path], tmp_path: Path
) -> None:
    figures = {}
    for processes in (1, 2):
        arguments = {
            "parameters": {
                "batch_size": 16, "max_new_tokens": 16, "num_eval_prompts": 8, "eval_every": 3, **TOO_FAST
            },
            "policy": str(trained["sft"] / "model"), "reward": str(trained["reward"]),
            "prompts": str(language.split), "folder": str(tmp_path / str(processes)),
            "seed": 5, "device": "cpu",
        }  # fmt: skip
        figures[processes] = launch_training(
            ppo.train_ppo, arguments, processes=processes, log=tmp_path / "log"
        )
    # Later steps may sample other answers, because two processes round sums differently.
    for name in ("undone", "learning_rate", "step_kl", "reward"):
        one, two = (curve(tmp_path / str(processes), name) for processes in (1, 2))
        assert len(one) == len(two) == 6 and two[0] == pytest.approx(one[0], rel=0.05)
    assert curve(tmp_path / "1", "undone")[0] > 1
    assert all(found["undone_steps"] > 1 for found in figures.values())


@pytest.mark.parametrize(
    ("name", "key"),
    [("pretrain", "pretrain.batch_size"), ("sft", "sft.batch_size"), ("rlhf", "rlhf.batch_size")],
)
def test_training_less_than_one_batch_is_refused(
    name: str, key: str, language: Language, trained: dict[str, Path], tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=key):
        stage(name, language, trained, batch_size=4096)(tmp_path, quiet)


def test_train_reward_less_than_one_batch_is_refused(
    language: Language, trained: dict[str, Path], tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=r"reward\.batch_size"):
        stage("reward", language, trained, batch_size=4096)(tmp_path, quiet)


def test_train_ppo_answers_as_long_as_context_are_refused(
    language: Language, trained: dict[str, Path], tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=r"rlhf\.max_new_tokens"):
        stage("rlhf", language, trained, max_new_tokens=CONTEXT)(tmp_path, quiet)


def test_train_reward_prompts_without_room_are_refused_before_training(
    language: Language, trained: dict[str, Path], tmp_path: Path
) -> None:
    with pytest.raises(
        UserError, match=r"reward\.reference_tokens: 47 .* room for 0 of the labels' 7 prompts"
    ):
        stage("reward", language, trained, reference_tokens=CONTEXT - 1)(tmp_path, quiet)
    assert not (tmp_path / "curves.jsonl").exists()


def test_train_reward_labels_of_one_class_are_refused(
    language: Language, trained: dict[str, Path], tmp_path: Path
) -> None:
    for name in ("train.ratings", "train.comparisons", "pairs.valid"):
        rows = read_rows(language.labels / f"{name}.jsonl") if name != "train.comparisons" else []
        write_rows(tmp_path / "labels" / f"{name}.jsonl", [{**row, "score": 1.0} for row in rows])
    other = Language.__new__(Language)
    other.__dict__.update(language.__dict__, labels=tmp_path / "labels")
    with pytest.raises(UserError, match=r"all 600 labels are of one class.*reward\.margin"):
        stage("reward", other, trained)(tmp_path / "out", quiet)


def test_train_reward_ties_pull_scores_together_and_are_counted(
    language: Language, trained: dict[str, Path], tmp_path: Path
) -> None:
    gaps, ties = {}, {}
    for name, probability in (("certain", 1.0), ("tied", 0.5)):
        labels = tmp_path / name / "labels"
        for split in ("train", "valid"):
            rows = read_rows(language.labels / f"{split}.comparisons.jsonl")
            write_rows(
                labels / f"{split}.comparisons.jsonl", [{**row, "probability": probability} for row in rows]
            )
        # One rated pair is a preference, so that a training of ties is not refused.
        rated = read_rows(language.labels / "train.ratings.jsonl")[:8]
        write_rows(labels / "train.ratings.jsonl", rated)
        sides = [{side: {"prompt": row["prompt"], "completion": row[side]} for side in ("chosen", "rejected")}
                 for row in rows]  # fmt: skip
        pairs = [{**row, "aspect": "helpfulness", "source": "chat", "gap": 0.0} for row in sides]
        write_rows(labels / "pairs.valid.jsonl", pairs)
        other = Language.__new__(Language)
        other.__dict__.update(language.__dict__, labels=labels)
        figures = stage("reward", other, trained, batch_size=4)(tmp_path / name / "out", quiet)
        model = load_reward(tmp_path / name / "out", DEVICE)
        held_out = HeldOutPairs(labels / "pairs.valid.jsonl", language.tokenizer, CONTEXT)
        scores = model.raw_scores(held_out.rows).cpu()
        gaps[name] = (scores[held_out.chosen] - scores[held_out.rejected]).abs().mean().item()
        ties[name] = figures.get("pair_accuracy_ties")
    assert gaps["tied"] < 0.5 * gaps["certain"]
    assert ties == {"certain": None, "tied": len(rows)}


def test_train_reward_with_headline_sources_counts_their_pairs_alone(
    language: Language, trained: dict[str, Path], tmp_path: Path
) -> None:
    for name in ("train.ratings", "train.comparisons", "valid.comparisons"):
        write_rows(tmp_path / f"labels/{name}.jsonl", read_rows(language.labels / f"{name}.jsonl"))
    pairs = read_rows(language.labels / "pairs.valid.jsonl")
    sources = ["film" if n < 3 else "chat" for n in range(len(pairs))]
    rows = [{**row, "source": source} for row, source in zip(pairs, sources, strict=True)]
    write_rows(tmp_path / "labels/pairs.valid.jsonl", rows)
    other = Language.__new__(Language)
    other.__dict__.update(language.__dict__, labels=tmp_path / "labels")
    figures = stage("reward", other, trained, headline_sources=["film"])(tmp_path / "out", quiet)
    assert figures["pair_accuracy_n"] == 3 < len(pairs)
    assert figures["pair_accuracy"] == figures["pair_accuracy/tone/film"]


def test_train_reward_accuracy_is_share_of_its_pairs(
    language: Language, trained: dict[str, Path], tmp_path: Path
) -> None:
    for name in ("train.ratings", "train.comparisons", "valid.comparisons"):
        write_rows(tmp_path / f"labels/{name}.jsonl", read_rows(language.labels / f"{name}.jsonl"))
    first = read_rows(language.labels / "pairs.valid.jsonl")[0]
    turned = {**first, "chosen": first["rejected"], "rejected": first["chosen"]}
    # Three pairs of one source and the same pair turned round of another: 3 or 1 of 4 are right, never 2.
    rows = [{**row, "source": source} for row, source in ((first, "film"),) * 3 + ((turned, "chat"),)]
    write_rows(tmp_path / "labels/pairs.valid.jsonl", rows)
    other = Language.__new__(Language)
    other.__dict__.update(language.__dict__, labels=tmp_path / "labels")
    figures = stage("reward", other, trained)(tmp_path / "out", quiet)
    assert figures["pair_accuracy"] == pytest.approx(figures["pair_accuracy/tone/film"] / 2 + 0.25)
    assert figures["pair_accuracy"] in (0.25, 0.75) and figures["pair_accuracy_n"] == 4


def test_train_sft_pairs_beyond_context_are_dropped_and_reported(
    language: Language, trained: dict[str, Path], tmp_path: Path
) -> None:
    long = {"prompt": "the film " * 40, "completion": " is good.", "source": "film"}
    for split in ("train", "valid"):
        rows = read_rows(language.split / split / "pairs")
        write_rows(tmp_path / "split" / split / "pairs" / "00000.jsonl", [*rows, long])
    said: list[str] = []
    other = Language.__new__(Language)
    other.__dict__.update(language.__dict__, split=tmp_path / "split")

    def on_event(event: Event) -> None:
        if isinstance(event, Message):
            said.append(event.text)

    figures = stage("sft", other, trained, steps=2)(tmp_path / "out", on_event)
    assert figures["too_long"] == 1
    assert any("longer than the context" in text for text in said)


def test_train_sft_learns_from_named_sources_alone(
    language: Language, trained: dict[str, Path], tmp_path: Path
) -> None:
    other, alone = Language.__new__(Language), Language.__new__(Language)
    for made, name, further in ((other, "mixed", 40), (alone, "alone", 0)):
        for split in ("train", "valid"):
            rows = read_rows(language.split / split / "pairs")
            strange = [{"prompt": "who", "completion": " me", "source": "questions"}] * further
            write_rows(tmp_path / name / split / "pairs" / "00000.jsonl", [*strange, *rows])
        made.__dict__.update(language.__dict__, split=tmp_path / name)
    source = read_rows(language.split / "train" / "pairs")[0]["source"]
    figures = stage("sft", other, trained, steps=2, sources=[source])(tmp_path / "a", quiet)
    stage("sft", alone, trained, steps=2)(tmp_path / "b", quiet)
    assert figures["pairs"] == len(read_rows(language.split / "train" / "pairs"))
    assert digest(tmp_path / "a") == digest(tmp_path / "b"), "pairs of other sources changed the weights"
    with pytest.raises(UserError, match=r"of questions \(sft.sources\) fill .* rows"):
        stage("sft", other, trained, batch_size=64, sources=["questions"])(tmp_path / "c", quiet)


def test_train_sft_broken_line_is_named(language: Language, trained: dict[str, Path], tmp_path: Path) -> None:
    other = Language.__new__(Language)
    other.__dict__.update(language.__dict__, split=tmp_path / "split")
    shard = tmp_path / "split" / "train" / "pairs" / "00000.jsonl"
    write_rows(shard, [{"prompt": "a", "completion": "b"}])
    with shard.open("a") as file:
        file.write('{"prompt": \n')
    with pytest.raises(UserError, match=r"train/pairs/00000\.jsonl, line 2"):
        stage("sft", other, trained)(tmp_path / "out", quiet)


def test_training_on_conversations_resumes_in_same_bits(
    language: Language,
    trained: dict[str, Path],
    tmp_path: Path,
    killed_at: Callable[[int], EventCallback],
) -> None:
    history = [
        {"role": "system", "content": "say"},
        {"role": "user", "content": "the film"},
        {"role": "assistant", "content": " is good"},
    ]
    talk = Language.__new__(Language)
    talk.__dict__.update(language.__dict__, split=tmp_path / "split", labels=tmp_path / "labels")
    for name in ("train", "valid"):
        rows = [{**row, "history": history} for row in read_rows(language.split / name / "pairs")]
        write_rows(talk.split / name / "pairs" / "00000.jsonl", rows)
        for kind in ("ratings", "comparisons"):
            rows = read_rows(language.labels / f"{name}.{kind}.jsonl")
            write_rows(
                talk.labels / f"{name}.{kind}.jsonl",
                [{**row, "history": history[i % 2 :]} for i, row in enumerate(rows)],
            )
    pairs = read_rows(language.labels / "pairs.valid.jsonl")
    sides = [{key: {**pair[key], "history": history} for key in ("chosen", "rejected")} for pair in pairs]
    write_rows(talk.labels / "pairs.valid.jsonl", [{**p, **s} for p, s in zip(pairs, sides, strict=True)])
    made = {run: {**trained} for run in ("whole", "resumed")}
    for name, steps, kill in (("sft", 12, 8), ("reward", 10, 8), ("rlhf", 4, 3)):
        for run, folders in made.items():
            folders[name] = tmp_path / run / name
            train = stage(name, talk, folders, steps=steps)
            if run == "resumed":
                with pytest.raises(Killed):
                    train(folders[name], killed_at(kill))
            train(folders[name], quiet)
        assert digest(made["whole"][name]) == digest(made["resumed"][name])
