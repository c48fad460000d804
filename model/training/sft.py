"""Supervised fine-tuning: the base model learns to answer from pairs of prompt and completion."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from model.data.chat_template import check_chat_template, examples_of, say_what_is_left_out
from model.data.dataloader import Examples, PackedBatch, Packing, batch_order, rows_by_source
from model.data.hf_config import load_architecture
from model.errors import UserError
from model.events import EventCallback
from model.nn.losses import linear_next_token_loss
from model.nn.ops import find_document_kernel
from model.nn.transformer import Transformer
from model.training.adapters import adapt_model, export_trained
from model.training.batch_loader import BatchLoader, own_slice
from model.training.devices import compute_dtype
from model.training.learner import load_for_training, make_learner, new_model
from model.training.process_group import ProcessGroup
from model.training.sft_config import SFTParameters, named_pairs
from model.training.supervised import supervised_update
from model.training.trainer import Trainer
from model.training.training_task import TrainingTask
from model.training.utilization import flops_per_token


class SFTTrainer(TrainingTask):
    """The task of fine-tuning: next-token loss on completions of packed pairs.

    Pairs in one row do not attend to each other.
    """

    best_by = "valid_loss"

    def __init__(
        self,
        parameters: SFTParameters,
        base: Path,
        pairs: Path,
        seed: int,
        world: ProcessGroup,
        on_event: EventCallback,
    ) -> None:
        self.parameters = parameters
        self.seed = seed
        self.world = world
        self.model, self.tokenizer = load_for_training(
            base, world, frozen=parameters.lora.rank > 0, quantize=parameters.lora.is_quantized
        )
        if parameters.from_random:
            # The tokenizer stays the base's.
            self.model = new_model(load_architecture(base), seed, world)
        adapt_model(self.model, parameters.lora, seed)
        if parameters.lora.rank:
            self.model.train_new_rows()
        self.architecture = self.model.architecture
        self.flops_per_token = flops_per_token(self.architecture)
        self.learner = make_learner(
            self.model,
            parameters.optimizer.for_model(self.architecture, parameters.lora.rank > 0),
            compute_dtype(world.device),
            world,
            compiled=world.device == "cuda",
        )
        # An example's last token is a target only, so it may be one token longer than the context.
        longest = self.architecture.context_length + 1
        sources = parameters.sources
        self.train, self.valid = (
            examples_of(rows_by_source(pairs / split / "pairs", sources), self.tokenizer, longest)
            for split in ("train", "valid")
        )
        check_chat_template(rows_by_source(pairs / "train" / "pairs", sources), self.tokenizer, on_event)
        self.packing = self._pack_examples(self.train)
        self.valid_packing = self._pack_examples(self.valid)
        if len(self.packing.rows) < parameters.batch_size:
            raise UserError(
                f"{named_pairs(sources)} fill {len(self.packing.rows)} rows of "
                f"{self.architecture.context_length} "
                f"tokens, fewer than one batch of {parameters.batch_size}; add pairs, or lower sft.batch_size"
            )
        # Equally many in every batch, so that one graph fits all.
        self.most_documents = 1 + max(map(len, [*self.packing.rows, *self.valid_packing.rows]))
        self.by_kernel = find_document_kernel(
            world.device, compute_dtype(world.device), self.architecture.head_dim
        )
        self.own = world.shard_rows(parameters.batch_size)
        self.batches = BatchLoader(self._make_batch, world.device)
        for name, examples in (("training", self.train), ("validation", self.valid)):
            say_what_is_left_out(examples, f"{name} pairs", longest, "are left out", on_event)
        lengths = self.train.lengths
        filled = sum(lengths[i] - 1 for row in self.packing.rows for i in row)
        self.tokens_per_step = parameters.batch_size * filled / len(self.packing.rows)
        # On a CPU compilation takes longer than it saves in a run of minutes. Of a model whose weights are
        # shared, the blocks are compiled.
        compiled = world.device == "cuda" and not world.sharded
        self.loss = torch.compile(self._batch_loss) if compiled else self._batch_loss

    def _pack_examples(self, examples: Examples) -> Packing:
        return Packing.pack_examples(
            [length - 1 for length in examples.lengths], self.architecture.context_length
        )

    def _batch_loss(self, model: Transformer, tokens: Tensor, targets: Tensor, bounds: Tensor) -> Tensor:
        """Return the summed loss; `bounds` are the documents' ends if a kernel takes them, or documents."""
        hidden = model(tokens, **{"stops" if self.by_kernel else "documents": bounds}).flatten(0, 1)
        return linear_next_token_loss(hidden, model.output_weight, targets.flatten())

    def _packed_batch(self, rows: Sequence[Sequence[int]], examples: Examples) -> PackedBatch:
        return PackedBatch.from_rows(
            [[examples[i] for i in row] for row in rows], self.architecture.context_length,
            self.tokenizer.end, self.most_documents,
        )  # fmt: skip

    def _loss_inputs(self, batch: PackedBatch) -> tuple[Tensor, Tensor, Tensor]:
        return batch.tokens, batch.targets, batch.stops if self.by_kernel else batch.documents

    def _chosen_rows(self, step: int) -> list[list[int]]:
        """Return the pairs of each packed row that a step learns from."""
        chosen = batch_order(self.seed, step, self.parameters.batch_size, len(self.packing.rows))
        return [self.packing.rows[i] for i in chosen]

    def _make_batch(self, step: int) -> tuple[Tensor, ...]:
        """Return this process's rows of a step, as `_batch_loss` takes them."""
        return self._loss_inputs(self._packed_batch(self._chosen_rows(step)[self.own], self.train))

    def optimizer_step(self, step: int) -> dict[str, float]:
        tensors = self.batches.load_batch(step)
        # Counted on the host, for all processes: a count on a GPU would wait for it.
        targets = sum(self.train.num_targets(i) for row in self._chosen_rows(step) for i in row)

        def loss_of(part: slice) -> Tensor:
            part = own_slice(part, self.own)
            loss: Tensor = self.loss(self.model, *(tensor[part] for tensor in tensors))
            return loss

        return supervised_update(
            self.learner, self.parameters, step, self.parameters.batch_size, targets, loss_of
        )

    def describe_batch(self, step: int) -> str:
        chosen = batch_order(self.seed, step, self.parameters.batch_size, len(self.packing.rows))
        pairs = sorted(i for row in chosen for i in self.packing.rows[row])
        lines = ", ".join(str(i + 1) for i in pairs[:8])
        return f"{named_pairs(self.parameters.sources)} number {lines}, …, counted over all shards"

    @torch.no_grad()
    def evaluate_model(self) -> dict[str, float]:
        rows = self.valid_packing.rows
        if not rows:
            return {}

        def chunk_sums(part: slice) -> Tensor:
            batch = self._packed_batch(rows[part], self.valid)
            loss = self.loss(model, *(tensor.to(self.world.device) for tensor in self._loss_inputs(batch)))
            # Summed by tokens: packed rows hold different numbers of targets.
            return torch.stack([loss.double(), torch.full_like(loss, batch.num_targets).double()])

        size = self.parameters.micro_batch_size or self.parameters.batch_size
        with self.learner.whole() as model:
            sums = self.world.sum_chunks(len(rows), size, chunk_sums)
        return {"valid_loss": (sums[0] / sums[1]).item()}


def train_sft(
    parameters: dict[str, Any],
    base: str,
    pairs: str,
    folder: str,
    seed: int,
    device: str,
    on_event: EventCallback,
) -> dict[str, float]:
    """Fine-tune the model in `base` on the pairs of a split; write the assistant to `folder`/model.

    Args:
        parameters: As in SFTParameters.
        base: Any model folder.
        pairs: The folder of the stage split.
        folder: The output; a checkpoint in it is resumed.
        seed: The seed.
        device: cpu or cuda.
        on_event: The event callback.

    Raises:
        UserError: The pairs fill less than a batch.
    """
    settings = SFTParameters.read(parameters)
    world = ProcessGroup.join_group(device, settings.batch_parts, settings.is_sharded)
    out = Path(folder)
    out.mkdir(parents=True, exist_ok=True)
    task = SFTTrainer(settings, Path(base), Path(pairs), seed, world, on_event)
    trainer = Trainer(task, settings, out, seed, on_event)
    metrics = trainer.run_training()
    held_out = trainer.final_evaluation()
    export_trained(task.learner, settings.lora, task.model, task.tokenizer, Path(base), out)
    return {
        **held_out,
        "pairs": float(len(task.train) - task.packing.dropped),
        "too_long": float(task.packing.dropped),
        **metrics,
    }
