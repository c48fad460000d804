"""Answers of several models to the same prompts, for people to compare, with the scores of an ensemble."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from model.atomic_file import replace_text
from model.data.chat_template import Row, example_of
from model.data.dataloader import read_rows, seeded_rng
from model.data.hf_checkpoint import load_model
from model.data.hf_config import load_architecture
from model.data.tokenizer import Tokenizer
from model.errors import UserError
from model.evaluation.head_ensemble import fit_ensemble, text_features
from model.events import EventCallback, Message, Step, Usage
from model.inference.prompting import Chat
from model.inference.scoring import Generator
from model.training.devices import compute_dtype
from model.training.process_group import ProcessGroup
from model.training.reward import load_reward
from model.training.reward_config import RewardParameters

ANSWERS = "answers.jsonl"
# The first number of the keys of the answers' random numbers.
_ANSWERS = 13


def sample_answers(
    prompts: str,
    speakers: list[dict[str, Any]],
    max_new_tokens: int,
    reward: str,
    labels: str,
    preferences: dict[str, Any],
    heads: int,
    folder: str,
    seed: int,
    device: str,
    on_event: EventCallback,
) -> dict[str, Any]:
    """Write answers.jsonl to `folder`: for each prompt an answer of every speaker and the heads' scores.

    Prompts that leave a model no room for an answer are left out.

    Args:
        prompts: A JSON Lines file of `prompt`, `history` and `given`, the answers of other systems by the
            speaker's number.
        speakers: Each has `model`, a model folder, and `temperature`; or neither, if its answers are given.
        max_new_tokens: The most tokens of an answer.
        reward: The folder of the stage reward; empty: there are no scores.
        labels: The folder of the labels that it learned from; empty: there are no scores.
        preferences: The parameters of the reward model.
        heads: The number of heads of the ensemble.
        folder: The output.
        seed: The seed of the answers and of the ensemble.
        device: The device of the models.
        on_event: The event callback.

    Returns:
        `too_long`, the number of prompts that were left out; `heads`, the number of heads.
    """
    # Sets up repeatable arithmetic on the device.
    ProcessGroup.join_group(device)
    rows = _fitting(read_rows(Path(prompts)), speakers, max_new_tokens)
    asked = [row for row, fits in rows if fits]
    said: list[list[str]] = [[] for _ in speakers]
    # One model is in memory at a time, so all speakers of a model answer together.
    for number, folder_of in enumerate(dict.fromkeys(one["model"] for one in speakers)):
        on_event(Step(step=number, steps=len(speakers), metrics={}))
        if not folder_of:
            continue
        model, tokenizer = load_model(Path(folder_of), compute_dtype(device), device, mapped=True)
        room = model.architecture.context_length - max_new_tokens
        generator = Generator(model, tokenizer, Chat(tokenizer, room))
        for index, one in enumerate(speakers):
            if one["model"] == folder_of:
                draw = int(seeded_rng(seed, _ANSWERS, index).integers(2**31))
                answers = generator.generate_answers(
                    [{**row, "completion": ""} for row in asked], max_new_tokens, one["temperature"], draw
                )
                on_event(Usage(tokens=sum(len(answer.tokens) for answer in answers)))
                said[index] = [answer.text for answer in answers]
        del model, generator
    for index, one in enumerate(speakers):
        if not one["model"]:
            said[index] = [row["given"][str(index)] for row in asked]
    scores, count = None, 0
    if reward and labels and asked:
        scores, count = _score_answers(
            asked, said, Path(reward), Path(labels), preferences, heads, seed, device, on_event
        )
    written = []
    for number, row in enumerate(asked):
        made = {name: row[name] for name in ("prompt", "history") if row.get(name)}
        made["answers"] = [texts[number] for texts in said]
        if scores is not None:
            # Rounded: the last digits differ between machines, and say nothing.
            made["scores"] = [[round(value, 6) for value in of[number]] for of in scores]
        written.append(json.dumps(made, ensure_ascii=False, separators=(",", ":")) + "\n")
    replace_text(Path(folder) / ANSWERS, "".join(written))
    return {"too_long": len(rows) - len(asked), "heads": count}


def _fitting(
    rows: Sequence[Row], speakers: Sequence[dict[str, Any]], max_new_tokens: int
) -> list[tuple[Row, bool]]:
    """Return the rows, each with whether every model has room for an answer."""
    fits = [True] * len(rows)
    for folder in dict.fromkeys(one["model"] for one in speakers if one["model"]):
        context = load_architecture(Path(folder)).context_length
        room = context - max_new_tokens
        if room < 1:
            raise UserError(
                f"label_batch.max_new_tokens is {max_new_tokens}, and the context of {folder} {context} "
                "tokens: no room is left for a prompt; lower it"
            )
        chat = Chat(Tokenizer.load(Path(folder)), room)
        for number, row in enumerate(rows):
            fits[number] &= len(chat.encode_example({**row, "completion": ""}).prompt) <= room
    return list(zip(rows, fits, strict=True))


def _score_answers(
    asked: Sequence[Row],
    said: Sequence[Sequence[str]],
    reward: Path,
    labels: Path,
    preferences: dict[str, Any],
    heads: int,
    seed: int,
    device: str,
    on_event: EventCallback,
) -> tuple[list[list[list[float]]] | None, int]:
    """Return by speaker and prompt the score of each head, and the number of heads; None without labels."""
    critic = load_reward(reward, device, compute_dtype(device))
    settings = RewardParameters.read(preferences)
    ensemble = fit_ensemble(critic, labels, settings, heads, seed, on_event)
    if ensemble is None:
        on_event(Message("the labels hold no preference, so all items are drawn at random"))
        return None, 0
    context = critic.body.architecture.context_length
    scores = []
    for texts in said:
        # As the labels' texts are read, so that the heads see what they learned from.
        rows = [
            example_of({**row, "completion": text}, critic.tokenizer, context).tokens
            for row, text in zip(asked, texts, strict=True)
        ]
        scores.append(ensemble.score_features(text_features(critic, rows)).tolist())
    return scores, len(ensemble.weights)
