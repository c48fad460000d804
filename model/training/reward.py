"""The reward model: it learns from people's labels which of two answers they prefer."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from model.data.chat_template import chat_prompt
from model.data.chunks import MapChunks, map_by_length, map_in_turn, rows_of_pass
from model.data.dataloader import seeded_rng
from model.data.hf_checkpoint import copy_model, copy_nf4, load_model
from model.data.label_probability import count_ties
from model.data.nf4_checkpoint import nf4_file
from model.data.peft_adapter import load_adapter, save_adapter
from model.data.preference_dataset import (
    Group,
    HeldOutPairs,
    PreferenceDataset,
    headline_accuracy,
    headline_strata,
    probabilities_or_none,
)
from model.data.token_layout import TokenLayout, lay_out_rows
from model.data.tokenizer import Tokenizer
from model.errors import UserError
from model.events import EventCallback
from model.inference.generate import generate_in_parts
from model.nn.adapter_view import AdapterView, Body
from model.nn.lora import active_adapter
from model.nn.losses import bradley_terry_loss
from model.nn.transformer import Transformer
from model.training.adapters import ADAPTER, adapt_model, learned_adapter, same_weights
from model.training.devices import compute_dtype
from model.training.export import export_model
from model.training.learner import freeze_module, load_for_training, make_learner
from model.training.process_group import ProcessGroup
from model.training.reward_config import RewardParameters
from model.training.supervised import supervised_update
from model.training.trainer import Trainer
from model.training.training_task import TrainingTask

# Rows of similar length in one pass: fewer leave a CPU idle, more need more padding.
PASS_ROWS = 16
# The name of a reward model's adapter.
_REWARD = "reward"


class RewardModel(nn.Module):
    """A transformer with one score a text, read by a linear head from the last token.

    The head's weights start normal with mean 0 and standard deviation 1/√(D+1) (Stiennon et al., 2020,
    arXiv:2009.01325). `mean` and `deviation` normalise its scores.
    """

    def __init__(self, body: Body, tokenizer: Tokenizer, seed: int = 0) -> None:
        super().__init__()
        self.body = body
        self.tokenizer = tokenizer
        width = body.architecture.hidden_size
        self.head = nn.Linear(width, 1)
        random = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            self.head.weight.normal_(0, 1 / math.sqrt(width + 1), generator=random)
            self.head.bias.zero_()
        self.mean, self.deviation = 0.0, 1.0

    def forward(self, layout: TokenLayout) -> Tensor:
        """Return the raw scores of the rows of a layout in float32, [B]."""
        hidden = self.body(layout.tokens, documents=layout.documents).flatten(0, 1)
        return self.head(hidden[layout.ends]).squeeze(-1).float()

    def raw_scores(
        self, rows: Sequence[Sequence[int]], map_chunks: MapChunks = map_in_turn, size: int = PASS_ROWS
    ) -> Tensor:
        """Return the raw scores of token rows, [B]; rows of similar length share a pass.

        Args:
            rows: The rows.
            map_chunks: Shares the passes among processes.
            size: The rows of one pass; 0: all. Without gradients, long rows are fewer (`rows_of_pass`).
        """
        context, device = self.body.architecture.context_length, str(self.head.weight.device)

        def score(chosen: list[int]) -> Tensor:
            layout = lay_out_rows([rows[i] for i in chosen], self.tokenizer.end, context, device)
            scores: Tensor = self(layout)
            return scores

        lengths = [len(row) for row in rows]
        if not torch.is_grad_enabled():
            size = rows_of_pass(size, max(lengths, default=1))
        return map_by_length(lengths, score, size, map_chunks)

    @torch.no_grad()
    def score_rows(self, rows: Sequence[Sequence[int]], map_chunks: MapChunks = map_in_turn) -> Tensor:
        """Return the normalised rewards of token rows (prompt, completion, end), [B] on the CPU.

        A row longer than the context keeps its last tokens. `map_chunks` shares the passes among processes.
        """
        context = self.body.architecture.context_length
        scores = self.raw_scores([row[-context:] for row in rows], map_chunks)
        return (scores.cpu() - self.mean) / self.deviation


def load_reward(
    folder: Path, device: str, dtype: torch.dtype = torch.float32, body: Transformer | None = None
) -> RewardModel:
    """Return the reward model that `train_reward` wrote to `folder`.

    Args:
        folder: The folder.
        device: The device of the returned weights.
        dtype: Their type.
        body: A model with the same weights, which the reward model's adapter joins; see `shares_backbone`.
            None: the weights are loaded.

    Raises:
        UserError: A file is missing or broken.
    """
    if body is None:
        quantize = _is_quantized(folder)
        body, _ = load_model(folder / "model", dtype, device, mapped=True, quantize=quantize)
    return _join_head(folder, body).to(device, dtype).eval()


def load_scorer(
    folder: Path, world: ProcessGroup, body: Transformer | None = None
) -> tuple[Callable[[Sequence[Sequence[int]]], Tensor], Tokenizer]:
    """Return `RewardModel.score_rows` of the model of `train_reward`, and its tokenizer.

    All processes call the function together. The arithmetic is in the device's type.

    Args:
        folder: The folder.
        world: The processes.
        body: As in `load_reward`.

    Raises:
        UserError: A file is missing or broken.
    """
    if body is None:
        quantize = _is_quantized(folder)
        body, _ = load_for_training(folder / "model", world, frozen=True, quantize=quantize)
    reward = _join_head(folder, body).eval()
    frozen = freeze_module(reward, compute_dtype(world.device), world)

    def score_rows(rows: Sequence[Sequence[int]]) -> Tensor:
        with frozen.whole() as scorer:
            rewards: Tensor = scorer.score_rows(rows)
            return rewards

    return score_rows, reward.tokenizer


def _join_head(folder: Path, body: Transformer) -> RewardModel:
    """Return a reward model of a body, with the adapter, the head and the normalisation in `folder`."""
    tokenizer = Tokenizer.load(folder / "model")
    scorer: Body = body
    if (folder / ADAPTER).is_dir():
        load_adapter(folder / ADAPTER).attach_to(body, _REWARD)
        scorer = AdapterView(body, _REWARD)
    reward = RewardModel(scorer, tokenizer)
    try:
        head = load_file(folder / "model" / "reward_head.safetensors")
        metrics = json.loads((folder / "model" / "reward.json").read_text())
        reward.head.load_state_dict(head)
        reward.mean, reward.deviation = float(metrics["mean"]), float(metrics["std"])
    except (OSError, KeyError, ValueError, RuntimeError) as error:
        raise UserError(f"{folder} does not contain a complete reward model ({error}); retrain it") from error
    return reward


def _is_quantized(folder: Path) -> bool:
    """Return whether a reward model is an adapter of weights in 4 bits."""
    return (folder / ADAPTER).is_dir() and nf4_file(folder / "model").exists()


def shares_backbone(reward: Path, model: Path, quantize: bool = False) -> bool:
    """Return whether a reward model is an adapter of the model in another folder.

    Args:
        reward: The folder of the reward model.
        model: The model folder.
        quantize: Whether the model's weights are in 4 bits.
    """
    if not (reward / ADAPTER).is_dir() or _is_quantized(reward) != quantize:
        return False
    return same_weights(reward / "model", model)


class RewardTrainer(TrainingTask):
    """The task of the reward model: Bradley-Terry loss on all pairs inside groups of texts.

    Each text goes through the model once, however many pairs it is in.
    """

    best_by = "valid_loss"

    def __init__(
        self,
        parameters: RewardParameters,
        base: Path,
        labels: Path,
        seed: int,
        world: ProcessGroup,
        on_event: EventCallback,
    ) -> None:
        self.parameters = parameters
        self.seed = seed
        self.world = world
        body, self.tokenizer = load_for_training(
            base, world, frozen=parameters.lora.rank > 0, quantize=parameters.lora.is_quantized
        )
        self.body = body
        context = body.architecture.context_length
        adapt_model(body, parameters.lora, seed)
        self.model = RewardModel(body, self.tokenizer, seed)
        self.learner = make_learner(
            self.model,
            parameters.optimizer.for_model(body.architecture, parameters.lora.rank > 0),
            compute_dtype(world.device),
            world,
        )
        self.labels = PreferenceDataset(
            labels, self.tokenizer, context, parameters.group_size, parameters.margin, on_event
        )
        self.valid = HeldOutPairs(labels / "pairs.valid.jsonl", self.tokenizer, context)
        if self.labels.groups < parameters.batch_size:
            raise UserError(
                f"the training labels make {self.labels.groups} groups of {parameters.group_size} "
                "texts, fewer "
                f"than one batch of {parameters.batch_size}; add labels, or lower reward.batch_size or "
                "reward.group_size"
            )
        if not self.labels.has_preferences:
            count = len(self.labels.ratings) + len(self.labels.chosen)
            raise UserError(
                f"all {count} labels are of one class: no two scores of one aspect and source are "
                f"{parameters.margin} apart, and every comparison is a tie; add other labels, or lower "
                "reward.margin"
            )
        self.prompts = self._reference_prompts(context)
        tokens = sum(len(row) for row in self.labels.ratings + self.labels.chosen + self.labels.rejected)
        self.tokens_per_step = tokens * parameters.batch_size / self.labels.groups
        self._groups: tuple[int, list[Group]] = (-1, [])

    def _reference_prompts(self, context: int) -> list[list[int]]:
        room = context - self.parameters.reference_tokens
        prompts = [chat_prompt(row, self.tokenizer, room)[0] for row in self.labels.prompts]
        fitting = [prompt for prompt in prompts if len(prompt) <= room]
        if len(fitting) < 2:
            raise UserError(
                f"reward.reference_tokens: {self.parameters.reference_tokens} tokens of answer leave room "
                f"for {len(fitting)} of the labels' {len(prompts)} prompts in a context of {context}, and "
                "at least 2 are needed; lower it, or add labels about other prompts"
            )
        return fitting

    def _group_batch(self, step: int) -> list[Group]:
        # Whole batches only: groups left over wait for the next epoch's order.
        each = self.labels.groups // self.parameters.batch_size
        epoch, within = divmod(step, each)
        if self._groups[0] != epoch:
            self._groups = (epoch, self.labels.epoch_groups(self.seed, epoch))
        # Groups are in the order of strata, so batches draw from all of them.
        mixed = seeded_rng(self.seed, epoch, 2).permutation(self.labels.groups)
        start = within * self.parameters.batch_size
        return [self._groups[1][i] for i in mixed[start : start + self.parameters.batch_size]]

    def optimizer_step(self, step: int) -> dict[str, float]:
        groups = self._group_batch(step)
        pairs = sum(len(group.better) for group in groups)
        return supervised_update(
            self.learner, self.parameters, step, len(groups), max(1, pairs),
            lambda part: self._group_loss(groups[part]),
        )  # fmt: skip

    def _group_loss(self, groups: list[Group]) -> Tensor:
        rows = [row for group in groups for row in group.rows]
        # Processes that share the weights need equally many passes, so one for each micro-batch.
        scores = self.model.raw_scores(rows, size=0 if self.world.sharded else PASS_ROWS)
        first = 0
        better, worse, probabilities = [], [], []
        for group in groups:
            better += [first + i for i in group.better]
            worse += [first + i for i in group.worse]
            probabilities += group.probabilities
            first += len(group.rows)
        certain = probabilities_or_none(probabilities)
        targets = certain if certain is None else certain.to(scores.device)
        return bradley_terry_loss(scores[better], scores[worse], targets)

    def describe_batch(self, step: int) -> str:
        text = self.tokenizer.decode(self._group_batch(step)[0].rows[0])
        return (
            f"the group of labels with the text {text[:60]!r} and {self.parameters.batch_size - 1} "
            "more groups"
        )

    @torch.no_grad()
    def pair_accuracy(self) -> tuple[dict[str, float], float]:
        """Return the accuracy on held-out pairs by "aspect/source", and their mean loss."""
        rows = self.valid.rows
        if not rows:
            return self.valid.pair_accuracy(torch.zeros(0))
        with self.learner.whole() as model:
            return self.valid.pair_accuracy(model.raw_scores(rows, self.world.map_chunks).cpu())

    def evaluate_model(self) -> dict[str, float]:
        if not self.valid.rows:
            return {}
        accuracy, loss = self.pair_accuracy()
        return {
            "valid_loss": loss,
            "pair_accuracy": headline_accuracy(
                accuracy, self.valid.count_by_stratum(), self.parameters.headline_sources
            ),
            **{f"pair_accuracy/{name}": value for name, value in accuracy.items()},
        }

    @torch.no_grad()
    def fit_normalization(self, base: Path) -> None:
        """Set mean and deviation from the assistant's own samples on the labels' prompts."""
        settings, prompts = self.parameters, self.prompts
        chosen = seeded_rng(self.seed, 3).permutation(len(prompts))[: settings.num_reference_samples]
        # Scores have no zero of their own; the assistant's samples give RLHF's reward a scale.
        with self._assistant(base) as assistant:
            samples = generate_in_parts(
                assistant, [prompts[i] for i in chosen], settings.reference_tokens, self.tokenizer.end,
                seed=self.seed, parts=self.world.parts, map_chunks=self.world.map_chunks,
            )  # fmt: skip
        rows = [[*prompts[i], *answer] for i, answer in zip(chosen, samples, strict=True)]
        with self.learner.whole() as model:
            scores = model.raw_scores(rows, self.world.map_chunks).cpu()
        self.model.mean, self.model.deviation = scores.mean().item(), max(scores.std().item(), 1e-6)

    @contextmanager
    def _assistant(self, base: Path) -> Iterator[Transformer]:
        """Yield the assistant with all its weights."""
        if self.parameters.lora.rank:
            # Without its adapter, the reward model is the assistant.
            with self.learner.whole() as model, active_adapter(model.body, ""):
                yield model.body
        else:
            assistant, _ = load_for_training(base, self.world, frozen=True)
            with freeze_module(assistant, compute_dtype(self.world.device), self.world).whole() as whole:
                yield whole

    def export_model(self, base: Path, out: Path) -> None:
        """Write the body as a model folder, with the head and the normalisation beside it.

        An adapter is written to its own folder, and the model folder then has the base's files. The first
        process writes; all processes call it together.

        Args:
            base: The assistant's model folder.
            out: The output.
        """
        lora, folder = self.parameters.lora, out / "model"
        if lora.rank:
            adapter = learned_adapter(self.learner, lora, inside="body.")
        else:
            export_model(self.learner, self.model.body.architecture, self.tokenizer, folder, inside="body.")
        head = {
            name.removeprefix("head."): value.cpu().contiguous()
            for name, value in self.learner.gather_masters()
            if name.startswith("head.")
        }
        if self.world.rank:
            return
        if lora.rank:
            copy_model(base, self.body, self.tokenizer, folder)
            if lora.is_quantized:
                copy_nf4(base, self.body, folder)
            save_adapter(adapter, out / ADAPTER)
        save_file(head, folder / "reward_head.safetensors")
        metrics = {"mean": self.model.mean, "std": self.model.deviation}
        (folder / "reward.json").write_text(json.dumps(metrics))


def train_reward(
    parameters: dict[str, Any],
    base: str,
    labels: str,
    folder: str,
    seed: int,
    device: str,
    on_event: EventCallback,
) -> dict[str, Any]:
    """Train a reward model on the labels, from the assistant in `base`; write it to `folder`/model.

    accuracy.json gets the held-out accuracy by aspect and source.

    Args:
        parameters: As in RewardParameters.
        base: The assistant's model folder.
        labels: The folder of the stage labels.
        folder: The output; a checkpoint in it is resumed.
        seed: The seed.
        device: cpu or cuda.
        on_event: The event callback.

    Raises:
        UserError: The labels are fewer than a batch, or all of one class.
    """
    settings = RewardParameters.read(parameters)
    world = ProcessGroup.join_group(device, settings.batch_parts, settings.is_sharded)
    out = Path(folder)
    out.mkdir(parents=True, exist_ok=True)
    task = RewardTrainer(settings, Path(base), Path(labels), seed, world, on_event)
    trainer = Trainer(task, settings, out, seed, on_event)
    metrics = trainer.run_training()
    held_out = trainer.final_evaluation()
    by_source = "pair_accuracy/"
    accuracy = {
        name.removeprefix(by_source): value for name, value in held_out.items() if name.startswith(by_source)
    }
    task.fit_normalization(Path(base))
    task.export_model(Path(base), out)
    if world.rank == 0:
        (out / "accuracy.json").write_text(json.dumps(accuracy, indent=1))
    if task.valid.rows:
        # The pairs of the accuracy: those of the headline's sources, which may be fewer than all.
        counts = task.valid.count_by_stratum()
        count = sum(counts[name] for name in headline_strata(counts, settings.headline_sources))
        held_out = {**held_out, "pair_accuracy_n": float(count)}
        if ties := count_ties(Path(labels), "valid"):
            held_out["pair_accuracy_ties"] = float(ties)
    return {**held_out, "mean": task.model.mean, "deviation": task.model.deviation, **metrics}
