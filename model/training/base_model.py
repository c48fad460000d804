"""The base model from elsewhere: an open model in place of pretraining."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from model.data.dataloader import TokenFile
from model.data.hf_checkpoint import copy_model
from model.events import EventCallback, Message
from model.training.continued_pretrain import continue_pretraining
from model.training.devices import compute_dtype
from model.training.learner import freeze_module, load_for_training
from model.training.pretrain import bits_per_byte, token_lengths
from model.training.pretrain_config import PretrainParameters
from model.training.process_group import ProcessGroup


def adopt_base(
    parameters: dict[str, Any],
    base: str,
    tokenizer: str,
    context_length: int,
    folder: str,
    seed: int,
    device: str,
    on_event: EventCallback,
) -> dict[str, float]:
    """Write an open model, with any tokens that the chat needs, to `folder`/model, and measure it.

    Args:
        parameters: As in PretrainParameters. With `continue_steps` the model is trained on the text, with
            `lora.rank` by adapters.
        base: The model's folder.
        tokenizer: The folder with tokenizer.json and the token files.
        context_length: The longest context of the trainings that follow; 0: the model's own.
        folder: The output.
        seed: The seed.
        device: cpu or cuda.
        on_event: The event callback.

    Returns:
        The numbers of weights and of tokens of the context. If the held-out text fills a context, also the
        bits per byte of that text. After a training, the metrics of `continue_pretraining`.

    Raises:
        UserError: The model cannot be read, or the text is too small for a training.
    """
    settings = PretrainParameters.read(parameters)
    world = ProcessGroup.join_group(device, settings.batch_parts, settings.is_sharded)
    model, encoder = load_for_training(
        Path(base), world, context_length, settings.lora.is_quantized, settings.lora.is_quantized
    )
    shape = model.architecture = replace(model.architecture, open_model=True)
    Path(folder).mkdir(parents=True, exist_ok=True)
    if world.rank == 0 and not settings.continue_steps:
        # Its configuration is written again: later stages find the chat's tokens and the context in it.
        copy_model(Path(base), model, encoder, Path(folder) / "model")
    if shape.max_context_length:
        on_event(
            Message(
                f"the context is {shape.context_length:,} of the base model's {shape.max_context_length:,} "
                "tokens (base_context_length)"
            )
        )
    if settings.continue_steps:
        return continue_pretraining(
            settings, model, Path(base), Path(tokenizer), Path(folder), seed, world, on_event
        )
    metrics = {"parameters": float(shape.num_parameters), "context_length": float(shape.context_length)}
    held_out = TokenFile(Path(tokenizer), "valid", token_lengths(encoder))
    if held_out.num_windows(shape.context_length):
        with freeze_module(model, compute_dtype(world.device), world).whole() as whole:
            metrics["bits_per_byte"] = bits_per_byte(whole, held_out, world, settings.max_eval_tokens)
    else:
        on_event(Message("the held-out text does not fill a context, so its bits per byte are not measured"))
    return metrics
