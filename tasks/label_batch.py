"""Label batch: makes the items of a batch for the label page, prompts with two answers each.

It samples more pairs than are wanted. A random share is kept as it is, so that figures stay unbiased. The
others are the pairs on which an ensemble of heads of the reward model disagrees the most.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np

from model.atomic_file import replace_text
from model.data.dataloader import read_rows, seeded_rng
from model.errors import UserError
from model.events import EventCallback, Message
from model.training.launcher import launch_training
from model.training.reward_config import RewardParameters
from tasks.common.checksums import file_sum
from tasks.data.labels.label_prompts import (
    AskedPrompt,
    draw_prompts,
    one_path,
    own_paths,
    read_given_answers,
    read_prompts_of,
)
from tasks.data.labels.label_selection import AnsweredPrompt, Selection, choose_items, hide_known, item_values
from tasks.data.sources.source_reading import source_path_name
from tasks.data.splits import SplitParameters, split_of
from tasks.drift_detection.profile import ABOUT, MODEL
from tasks.engine.declaration import named_counts
from tasks.engine.output import read_manifest
from tasks.engine.stage import stage
from tasks.evaluate import CHAMPION
from tasks.labelling.batch_parameters import (
    ALIGNED,
    CHAMPION_MODEL,
    SFT,
    AnswerSource,
    LabelBatchParameters,
)
from tasks.labelling.item_file import read_known_items

ITEMS, COUNTS = "items.jsonl", "summary.json"
# The first number of the key of the random numbers that choose items.
_ITEMS = 14


@dataclass(frozen=True)
class LabelItemsParameters:
    """The items of a batch, and what they depend on besides: the split's draw, and the reward model's groups.

    Parameters of the batch that change no item have their defaults.
    """

    batch: LabelBatchParameters = field(default_factory=LabelBatchParameters)
    split: SplitParameters = field(default_factory=SplitParameters)
    reward: RewardParameters = field(default_factory=RewardParameters)


@dataclass(frozen=True)
class Speaker:
    """One that answers each prompt.

    Attributes:
        name: Its name in the items.
        folder: Its model folder; None if its answers are given.
        temperature: The sampling temperature of the model.
        given: The answers of another system by the key of the prompt.
    """

    name: str
    folder: Path | None
    temperature: float = 1.0
    given: Mapping[str, str] = field(default_factory=dict)


def _digest_files(parameters: LabelItemsParameters, root: Path) -> dict[str, str]:
    """Return the checksum of each file that the parameters name."""
    batch = parameters.batch
    named = [*batch.prompts, *(one.file for one in batch.answers if one.file)]
    paths = own_paths([*named, *([batch.known_items] if batch.known_items else [])], root)
    return {source_path_name(path, root): file_sum(path) for path in paths}


@stage(
    inputs=("split", "sft", "labels", "reward", "rlhf", CHAMPION),
    input_patterns={"split": ("train/pairs", "valid/pairs")},
    external_inputs=_digest_files,
    derived_rows=("pairs",),
    artifacts=(COUNTS,),
    headline=named_counts(
        ("random", "item at random", "items at random"),
        ("uncertain", "uncertain item", "uncertain items"),
        ("known", "known item", "known items"),
        none="no items",
    ),
)
def label_batch(
    parameters: LabelItemsParameters,
    split: Path,
    sft: Path,
    labels: Path | None,
    reward: Path | None,
    rlhf: Path | None,
    champion: Path | None,
    out: Path,
    on_event: EventCallback,
    root: Path,
    seed: int,
    device: str,
) -> dict[str, Any]:
    """Write items.jsonl, answers.jsonl with all answers and scores, and summary.json with the counts.

    Raises:
        UserError: A model or a file is missing, or no prompt has two answers to compare.
    """
    from model.evaluation.label_answers import ANSWERS, sample_answers

    batch = parameters.batch
    models = {SFT: sft, ALIGNED: rlhf, CHAMPION_MODEL: champion}
    speakers = [_find_speaker(one, models, root) for one in batch.used_answers(rlhf is not None)]
    pool = _GivenPrompts(read_prompts_of(batch.prompts, split, batch.sources, root, on_event), speakers)
    wanted = ceil(batch.size * batch.candidates)
    asked, repeated = draw_prompts(pool, wanted, batch.max_similarity, f"label_batch:{seed}:{batch.round}")
    if not asked:
        raise UserError(
            f"label_batch.prompts ({', '.join(batch.prompts)}) gives no prompt"
            + (" that all files of answers have" if pool.missing else "")
            + "; name a file of prompts, or correct label_batch.sources"
        )
    prompts = out / "prompts.jsonl"
    _write_lines(prompts, (_prompt_values(prompt, speakers) for prompt in asked))
    sampled = launch_training(
        sample_answers,
        {
            "prompts": str(prompts),
            "speakers": [
                {"model": str(one.folder) if one.folder else "", "temperature": one.temperature}
                for one in speakers
            ],
            "max_new_tokens": batch.max_new_tokens,
            "reward": str(reward) if reward else "",
            "labels": str(labels) if labels else "",
            "preferences": asdict(parameters.reward),
            "heads": batch.num_heads,
            "folder": str(out),
            # Another round has other answers to the same prompts.
            "seed": int(seeded_rng(seed, _ITEMS, batch.round).integers(2**31)),
            "device": device,
        },
        on_event=on_event,
        log=out.with_suffix(".log"),
    )
    prompts.unlink()
    answered = _read_answers(out / ANSWERS, asked, parameters.split)
    random = seeded_rng(seed, _ITEMS, batch.round, 1)
    selection = choose_items(
        answered, [one.name for one in speakers], batch.size, batch.random_share, batch.max_similarity, random
    )
    if not selection.items:
        raise UserError(
            f"none of {len(asked)} prompts has two different answers to compare; name other "
            "label_batch.answers"
        )
    known = read_known_items(one_path(batch.known_items, root)) if batch.known_items else []
    items = hide_known(selection.items, known, round(batch.size * batch.known_share), random)
    _write_lines(out / ITEMS, map(item_values, items))
    left_out = {
        "repeated_prompts": repeated, "missing_answers": pool.missing, "too_long": sampled["too_long"],
        **selection.left_out,
    }  # fmt: skip
    counts = {
        reason: sum(item.reason == reason for item in items) for reason in ("random", "uncertain", "known")
    }
    figures = {
        **counts,
        "prompts": len(asked),
        "heads": sampled["heads"],
        **left_out,
        **_deviations(selection),
    }
    summary = {**figures, "answers": [one.name for one in speakers]}
    replace_text(out / COUNTS, json.dumps(summary, indent=1, ensure_ascii=False) + "\n")
    if len(selection.items) < batch.size:
        on_event(
            Message(
                f"the batch has {len(selection.items)} items to judge, not {batch.size}: "
                "there are too few prompts with two different answers"
            )
        )
    return {name: float(value) for name, value in figures.items()}


class _GivenPrompts:
    """The prompts to which every file of answers has an answer, with the count of the others."""

    def __init__(self, prompts: Iterator[AskedPrompt], speakers: Sequence[Speaker]) -> None:
        self.prompts, self.missing = prompts, 0
        self.given = [one.given for one in speakers if one.folder is None]

    def __iter__(self) -> Iterator[AskedPrompt]:
        for prompt in self.prompts:
            if all(prompt.key in given for given in self.given):
                yield prompt
            else:
                self.missing += 1


def _find_speaker(source: AnswerSource, models: Mapping[str, Path | None], root: Path) -> Speaker:
    if source.file:
        path = one_path(source.file, root)
        return Speaker(source.name or path.name, None, given=read_given_answers(path, root))
    folder = models[source.model]
    if folder is None:
        raise UserError(
            f"label_batch.answers names the model {source.model}, and there is none yet; "
            "`chatmill run` makes it"
        )
    name = f"{source.model} {_model_digest(folder)} at temperature {source.temperature:g}"
    return Speaker(name, folder / MODEL, source.temperature)


def _model_digest(folder: Path) -> str:
    """Return the start of the digest of a model's output; for the champion that of its own output."""
    if (folder / ABOUT).exists():
        return str(json.loads((folder / ABOUT).read_text(encoding="utf-8"))["model"])[:12]
    manifest = read_manifest(folder)
    return str(manifest["digest"] if manifest else folder.name)[:12]


def _prompt_values(prompt: AskedPrompt, speakers: Sequence[Speaker]) -> dict[str, Any]:
    given = {str(i): one.given[prompt.key] for i, one in enumerate(speakers) if one.folder is None}
    return {"prompt": prompt.prompt, "history": prompt.history, "given": given}


def _read_answers(path: Path, asked: Sequence[AskedPrompt], split: SplitParameters) -> list[AnsweredPrompt]:
    """Return the answered prompts in the order in which they were drawn."""
    origins = {prompt.key: prompt.origin for prompt in asked}
    found = []
    for row in read_rows(path):
        prompt = AskedPrompt(row["prompt"], row.get("history", []))
        prompt = AskedPrompt(prompt.prompt, prompt.history, origins[prompt.key])
        scores = np.array(row["scores"]) if "scores" in row else None
        trains = split_of(prompt.group, split) == "train"
        found.append(AnsweredPrompt(prompt, row["answers"], scores, trains))
    return found


def _deviations(selection: Selection) -> dict[str, float]:
    """Return the mean uncertainty of the items by reason, as far as it was computed."""
    found: dict[str, float] = {}
    for reason in ("random", "uncertain"):
        values = [
            value
            for item, value in zip(selection.items, selection.uncertainty, strict=True)
            if item.reason == reason and value is not None
        ]
        if values:
            found[f"{reason}_deviation"] = round(float(np.mean(values)), 4)
    return found


def _write_lines(path: Path, rows: Any) -> None:
    replace_text(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
