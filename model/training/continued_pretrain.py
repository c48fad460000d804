"""Continued pretraining: an open model learns the language of a team's text, and repeats general text.

A share of general text in each batch keeps a model from forgetting (Ibrahim et al., Simple and scalable
strategies to continually pre-train large language models, 2024, arXiv:2403.08763).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from model.data.dataloader import TokenFile, WindowOrder
from model.errors import UserError
from model.events import EventCallback
from model.nn.transformer import Transformer
from model.training.adapters import adapt_model, export_trained
from model.training.pretrain import PretrainTrainer, token_lengths
from model.training.pretrain_config import PretrainParameters
from model.training.process_group import ProcessGroup
from model.training.trainer import Trainer

REPLAY = "replay"
_KEYS = "pretrain.batch_size or base_context_length"


class ContinuedPretrainTrainer(PretrainTrainer):
    """The task of continued pretraining: batches of the team's text, with windows of general text in each."""

    def __init__(
        self,
        parameters: PretrainParameters,
        model: Transformer,
        tokenizer_folder: Path,
        folder: Path,
        seed: int,
        world: ProcessGroup,
    ) -> None:
        adapt_model(model, parameters.lora, seed)
        super().__init__(parameters, model.architecture, tokenizer_folder, folder, seed, world, model)
        self.replay: WindowOrder | None = None
        self.replay_valid: TokenFile | None = None
        if not parameters.replay_sources:
            return
        lengths, context = token_lengths(self.tokenizer), model.architecture.context_length
        # Another seed than that of the team's text, so that the two orders are independent.
        self.replay = WindowOrder(
            TokenFile(tokenizer_folder, f"train.{REPLAY}", lengths), context, parameters.replayed_windows,
            seed + 1, "text of pretrain.replay_sources", _KEYS,
        )  # fmt: skip
        self.replay_valid = TokenFile(tokenizer_folder, f"valid.{REPLAY}", lengths)
        if not self.replay_valid.num_windows(context):
            raise UserError(
                f"the validation text of pretrain.replay_sources has {len(self.replay_valid.tokens)} tokens, "
                f"fewer than one window of {context}, so that forgetting could not be measured; add text to "
                "them, or raise split.validation_fraction"
            )

    def read_batch(self, step: int) -> tuple[Tensor, Tensor]:
        own = super().read_batch(step)
        if self.replay is None:
            return own
        general = self.replay.file.read_windows(self.replay.window_starts(step), self.replay.context)
        return torch.cat([own[0], general[0]]), torch.cat([own[1], general[1]])

    def evaluate_model(self) -> dict[str, float]:
        found = super().evaluate_model()
        if self.replay_valid is not None:
            found["replay_bits_per_byte"] = self.bits_per_byte(self.replay_valid)
        return found


def continue_pretraining(
    settings: PretrainParameters,
    model: Transformer,
    base: Path,
    tokenizer_folder: Path,
    folder: Path,
    seed: int,
    world: ProcessGroup,
    on_event: EventCallback,
) -> dict[str, float]:
    """Train an open model on the text, and write it to `folder`/model; an adapter also to `folder`/adapter.

    Args:
        settings: The parameters; `continue_steps` is the number of steps.
        model: The open model. It is changed.
        base: The folder of the open model.
        tokenizer_folder: The folder with tokenizer.json and the token files.
        folder: The output; a checkpoint in it is resumed.
        seed: The seed.
        world: The processes.
        on_event: The event callback.

    Returns:
        The metrics, with the bits per byte of the held-out text before and after: of the team's, and of the
        general text if there is any.

    Raises:
        UserError: A text is smaller than a batch.
    """
    settings = settings.continued()
    shape = model.architecture
    task = ContinuedPretrainTrainer(settings, model, tokenizer_folder, folder, seed, world)
    # Measured before the checkpoint is loaded: a resumed training no longer has the first weights.
    before = task.evaluate_model()
    trainer = Trainer(task, settings, folder, seed, on_event)
    metrics = trainer.run_training()
    after = trainer.final_evaluation()
    export_trained(task.learner, settings.lora, model, task.tokenizer, base, folder)
    found: dict[str, Any] = {
        "bits_per_byte": after["valid_bits_per_byte"],
        "bits_per_byte_before": before["valid_bits_per_byte"],
        "loss": metrics["loss"],
        "tokens": metrics["steps"] * task.tokens_per_step,
        "parameters": float(shape.num_parameters),
        "context_length": float(shape.context_length),
        **{
            name: metrics[name]
            for name in ("steps", "tokens_per_second", "skipped_batches", "learned_nothing")
            if name in metrics
        },
    }
    if "replay_bits_per_byte" in after:
        found |= {
            "replay_bits_per_byte": after["replay_bits_per_byte"],
            "replay_bits_per_byte_before": before["replay_bits_per_byte"],
        }
    return found
