"""Pretraining: random weights learn language by predicting the next token."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor

from model.atomic_file import atomic_path
from model.data.chunks import TEXT_ROWS
from model.data.dataloader import TokenFile, WindowOrder
from model.data.tokenizer import Tokenizer
from model.errors import UserError
from model.events import EventCallback
from model.inference.generate import generate_tokens
from model.nn.fresh_weights import seeded_rows
from model.nn.losses import linear_next_token_loss
from model.nn.model_config import ModelConfig
from model.nn.transformer import Transformer
from model.training.batch_loader import BatchLoader, own_slice
from model.training.devices import compute_dtype
from model.training.export import export_model
from model.training.learner import make_learner, new_model
from model.training.pretrain_config import PretrainParameters
from model.training.process_group import ProcessGroup
from model.training.supervised import supervised_update
from model.training.trainer import Trainer
from model.training.training_task import TrainingTask
from model.training.utilization import flops_per_token

# Metrics of the loop that are also those of the base model's training.
KEPT_METRICS = (
    "steps", "tokens_per_second", "skipped_batches", "goodput", "flops_utilization", "learned_nothing",
)  # fmt: skip


class PretrainTrainer(TrainingTask):
    """The task of pretraining: next-token loss on windows of the training text."""

    best_by = "valid_bits_per_byte"

    def __init__(
        self,
        parameters: PretrainParameters,
        architecture: ModelConfig,
        tokenizer_folder: Path,
        folder: Path,
        seed: int,
        world: ProcessGroup,
        model: Transformer | None = None,
    ) -> None:
        """Prepare the model, the batches and the held-out text.

        Args:
            parameters: The parameters of the training.
            architecture: The model's.
            tokenizer_folder: The folder with tokenizer.json and the token files.
            folder: The output.
            seed: The seed.
            world: The processes.
            model: The model that the training starts from; None: random weights.

        Raises:
            UserError: The text is too small.
        """
        self.parameters = parameters
        self.architecture = architecture
        self.tokenizer = Tokenizer.load(tokenizer_folder)
        self.folder = folder
        self.seed = seed
        self.world = world
        self.flops_per_token = flops_per_token(architecture)
        self.model = model or new_model(architecture, seed, world)
        self.learner = make_learner(
            self.model,
            parameters.optimizer.for_model(architecture, parameters.lora.rank > 0),
            compute_dtype(world.device),
            world,
            compiled=world.device == "cuda",
        )
        lengths = token_lengths(self.tokenizer)
        context = architecture.context_length
        keys = f"pretrain.batch_size or {'base_context_length' if model else 'architecture.context_length'}"
        self.windows = WindowOrder(
            TokenFile(tokenizer_folder, "train", lengths), context,
            parameters.batch_size - parameters.replayed_windows, seed, keys=keys,
        )  # fmt: skip
        self.own = world.shard_rows(parameters.batch_size)
        self.batches = BatchLoader(self._make_batch, world.device)
        self.valid = TokenFile(tokenizer_folder, "valid", lengths)
        # Refused here rather than after the training, when the held-out loss is measured.
        if not self.valid.num_windows(context):
            raise UserError(
                f"the validation text has {len(self.valid.tokens)} tokens, fewer than one window of "
                f"{context}; add text, or raise split.validation_fraction"
            )
        self.tokens_per_step = parameters.batch_size * context
        # On a CPU compilation takes 28 to 47 s and gains about a tenth, too little for runs of minutes. Of a
        # model whose weights are shared, the blocks are compiled.
        compiled = world.device == "cuda" and not world.sharded
        self.loss = torch.compile(self._window_loss) if compiled else self._window_loss

    def _window_loss(self, tokens: Tensor, targets: Tensor) -> Tensor:
        hidden = self.model(tokens).flatten(0, 1)
        return linear_next_token_loss(hidden, self.model.output_weight, targets.flatten())

    def _make_batch(self, step: int) -> tuple[Tensor, ...]:
        """Return this process's windows of a step: inputs and targets."""
        return tuple(part[self.own] for part in self.read_batch(step))

    def optimizer_step(self, step: int) -> dict[str, float]:
        tokens, targets = self.batches.load_batch(step)
        rows = self.parameters.batch_size

        def loss_of(part: slice) -> Tensor:
            part = own_slice(part, self.own)
            loss: Tensor = self.loss(tokens[part], targets[part])
            return loss

        return supervised_update(
            self.learner, self.parameters, step, rows, rows * self.windows.context, loss_of
        )

    def read_batch(self, step: int) -> tuple[Tensor, Tensor]:
        """Return the inputs and the targets of a step, [batch, context] each."""
        return self.windows.file.read_windows(self.windows.window_starts(step), self.windows.context)

    def describe_batch(self, step: int) -> str:
        starts = ", ".join(str(start) for start in self.windows.window_starts(step)[:8])
        return f"the windows of the training text that start at tokens {starts}, …"

    def evaluate_model(self) -> dict[str, float]:
        return {"valid_bits_per_byte": self.bits_per_byte(self.valid)}

    def bits_per_byte(self, file: TokenFile) -> float:
        """Return the held-out loss in bits per byte of text, over windows from the first on."""
        with self.learner.whole() as model:
            return bits_per_byte(
                model, file, self.world, self.parameters.max_eval_tokens,
                self.parameters.micro_batch_size or TEXT_ROWS,
            )  # fmt: skip

    def on_checkpoint_sample(self, step: int) -> None:
        prompts = [self.tokenizer.encode_opening(prompt) for prompt in self.parameters.prompts]
        if not prompts:
            return
        with self.learner.whole() as model:
            # One process writes the samples; the others would write the same.
            if self.world.rank:
                return
            completions = generate_tokens(
                model, prompts, self.parameters.sample_tokens, self.tokenizer.end,
                temperature=0.8, seed=self.seed,
            )  # fmt: skip
            samples = [
                {"prompt": prompt, "text": self.tokenizer.decode(row[:length].tolist())}
                for prompt, row, length in zip(
                    self.parameters.prompts, completions.tokens, completions.lengths, strict=True
                )
            ]
            path = self.folder / "samples.json"
            kept = json.loads(path.read_text()) if path.exists() else []
            # A resumed training may come to the same step again.
            kept = [entry for entry in kept if entry["step"] < step] + [{"step": step, "samples": samples}]
            with atomic_path(path, path.with_suffix(".part")) as part:
                part.write_text(json.dumps(kept, ensure_ascii=False, indent=1))


@torch.no_grad()
def bits_per_byte(
    model: Transformer, file: TokenFile, world: ProcessGroup, tokens: int = 0, rows: int = TEXT_ROWS
) -> float:
    """Return a model's loss on a token file in bits per byte of its text: sum of nats / (ln 2 · bytes).

    It does not depend on the vocabulary, so models with different tokenizers compare (Gao et al., The Pile,
    2020, arXiv:2101.00027, section 3.1).

    Args:
        model: The model.
        file: The token file.
        world: The processes that share the windows.
        tokens: The most tokens that are read (0: all).
        rows: The windows of one pass.
    """
    context = model.architecture.context_length
    windows = file.num_windows(context)
    if tokens:
        windows = max(1, min(windows, tokens // context))
    starts = np.arange(windows) * context

    def chunk_nats(part: slice) -> Tensor:
        inputs, targets = (half.to(world.device) for half in file.read_windows(starts[part], context))
        hidden = model(inputs).flatten(0, 1)
        nats = linear_next_token_loss(hidden, model.output_weight, targets.flatten())
        # In float64: a corpus has millions of summands.
        return nats.double()

    total = world.sum_chunks(windows, rows, chunk_nats)
    return total.item() / (math.log(2) * max(1, file.text_bytes(starts, context)))


def token_lengths(tokenizer: Tokenizer) -> np.ndarray:
    """Return the number of text bytes of each token, [vocabulary]; 0 for special tokens."""
    return np.array(
        [0 if i in tokenizer.special else len(tokenizer.piece_bytes(i)) for i in range(tokenizer.vocab_size)]
    )


def train_base(
    parameters: dict[str, Any],
    architecture: dict[str, Any],
    tokenizer: str,
    folder: str,
    seed: int,
    device: str,
    on_event: EventCallback,
) -> dict[str, float]:
    """Pretrain from random weights, and write the base model to `folder`/model.

    Beside the model it writes curves.jsonl, samples.json and embeddings.safetensors ("first" and "last", [V,
    D]).

    Args:
        parameters: As in PretrainParameters.
        architecture: As in ModelConfig.
        tokenizer: The folder with tokenizer.json and the token files.
        folder: The output; a checkpoint in it is resumed.
        seed: The seed.
        device: cpu or cuda.
        on_event: The event callback.

    Raises:
        UserError: The text is smaller than a batch.
    """
    settings = PretrainParameters.read(parameters)
    world = ProcessGroup.join_group(device, settings.batch_parts, settings.is_sharded)
    out = Path(folder)
    shape = ModelConfig(**architecture)
    out.mkdir(parents=True, exist_ok=True)
    task = PretrainTrainer(settings, shape, Path(tokenizer), out, seed, world)
    trainer = Trainer(task, settings, out, seed, on_event)
    metrics = trainer.run_training()
    held_out = trainer.final_evaluation()["valid_bits_per_byte"]
    export_model(task.learner, shape, task.tokenizer, out / "model")
    _keep_embeddings(task, out)
    return {
        "bits_per_byte": held_out,
        "loss": metrics["loss"],
        "tokens": metrics["steps"] * task.tokens_per_step,
        "parameters": float(task.learner.num_parameters),
        **{name: metrics[name] for name in KEPT_METRICS if name in metrics},
    }


def _keep_embeddings(task: PretrainTrainer, folder: Path) -> None:
    name = "model.embed_tokens.weight"
    last = next(value for key, value in task.learner.gather_masters() if key == name)
    if task.world.rank:
        return
    # Made again from the seed rather than kept: a resumed training no longer has its first weights.
    first = seeded_rows(task.architecture, task.seed)(name, slice(None))
    save_file({"first": first, "last": last.cpu().contiguous()}, folder / "embeddings.safetensors")
