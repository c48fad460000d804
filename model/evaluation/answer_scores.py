"""Scores of several models' answers to the same prompts, by one scorer: a reward model or a judge.

A champion may have another tokenizer and another context than the candidate. Its answers are scored as text.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from model.data.chat_template import Row
from model.data.hf_checkpoint import load_model
from model.data.preference_dataset import HeldOutPairs
from model.errors import UserError
from model.inference.prompting import Chat
from model.inference.scoring import Answer, Generator
from model.training.devices import compute_dtype
from model.training.process_group import ProcessGroup
from model.training.reward import RewardModel

TOKENIZER = "tokenizer.json"


@dataclass(frozen=True)
class Opponent:
    """The champion as a generator of answers (`speaker`), or None and the reason (`why`).

    `why` is empty if there is no champion. `same_tokens` is true if both have the same tokenizer, so that
    losses per token can be compared.
    """

    speaker: Generator | None
    why: str = ""
    same_tokens: bool = False


def load_opponent(
    folder: Path | None, candidate: Path, prompts: Sequence[Row], new_tokens: int, world: ProcessGroup
) -> Opponent:
    """Load the champion's model, if there is one and it can answer the prompts.

    Args:
        folder: The champion's model folder; None if there is no champion.
        candidate: The candidate's model folder.
        prompts: The held-out prompts that both answer.
        new_tokens: The longest answer in tokens.
        world: The processes that answer together.
    """
    if folder is None:
        return Opponent(None)
    try:
        model, tokenizer = load_model(folder, compute_dtype(world.device), world.device, mapped=True)
    except (UserError, OSError, RuntimeError, KeyError, ValueError, TypeError) as error:
        return Opponent(None, f"the champion's model cannot be loaded ({error})")
    context = model.architecture.context_length
    room = context - new_tokens
    chat = Chat(tokenizer, room)
    # All prompts or none: scores of different prompts are not compared.
    misfits = sum(len(chat.encode_example(row).prompt) > room for row in prompts)
    if misfits:
        return Opponent(
            None,
            f"{misfits} of {len(prompts)} held-out prompts leave no space for an answer in the "
            f"champion's context of {context} tokens",
        )
    # By bytes: equal vocabularies may still split texts differently.
    same = (folder / TOKENIZER).read_bytes() == (candidate / TOKENIZER).read_bytes()
    return Opponent(Generator(model, tokenizer, chat, world.parts, world.map_chunks), "", same)


def digest_of_rows(rows: Sequence[Row], new_tokens: int = 0) -> str:
    """Return the SHA-256 of held-out rows in their order: prompts, histories and right answers.

    Args:
        rows: The rows.
        new_tokens: The longest answer to them; 0: they are not answered. Answers that end at another length
            have another reward, and end by themselves more or less often.
    """
    asked = [[row.get("history") or [], row["prompt"], row["completion"]] for row in rows]
    values = [new_tokens, asked] if new_tokens else asked
    return hashlib.sha256(json.dumps(values, ensure_ascii=False).encode("utf-8", "replace")).hexdigest()


@torch.no_grad()
def score_models(
    scorer: RewardModel,
    prompts: Sequence[Row],
    said: Mapping[str, Sequence[Answer]],
    as_text: Collection[str],
    world: ProcessGroup,
) -> dict[str, list[float]]:
    """Return, by model, the scores of its answers in the order of the prompts.

    Args:
        scorer: A reward model, as from `load_reward`.
        prompts: The prompts.
        said: The answers by model, in the order of the prompts.
        as_text: Models with another tokenizer; their answers are encoded again with the scorer's.
        world: The processes that share the answers.
    """
    chat = Chat(scorer.tokenizer)
    scores = {}
    for name, answers in said.items():
        if name in as_text:
            rows = [_encode_answer(chat, row, answer) for row, answer in zip(prompts, answers, strict=True)]
        else:
            rows = [answer.row for answer in answers]
        scores[name] = scorer.score_rows(rows, world.map_chunks).tolist()
    return scores


def _encode_answer(chat: Chat, row: Row, answer: Answer) -> list[int]:
    tokens = chat.encode_example({**row, "completion": answer.said}).tokens
    # encode_example adds the end token, which this answer does not have.
    return tokens if answer.ended else tokens[:-1]


@torch.no_grad()
def score_held_out_pairs(
    scorer: RewardModel, labels: Path, world: ProcessGroup
) -> tuple[HeldOutPairs, torch.Tensor]:
    """Return the test pairs, and the scorer's score of each of their texts."""
    context = scorer.body.architecture.context_length
    pairs = HeldOutPairs(labels / "pairs.test.jsonl", scorer.tokenizer, context)
    return pairs, scorer.raw_scores(pairs.rows, world.map_chunks).cpu()
