"""Adapters of a training: attached before the first step, and exported after the last."""

from __future__ import annotations

import filecmp
from dataclasses import replace
from pathlib import Path

import torch

from model.data.hf_checkpoint import load_model, save_model
from model.data.nf4_checkpoint import nf4_file, save_nf4
from model.data.peft_adapter import SavedAdapter, load_adapter, save_adapter
from model.data.tokenizer import Tokenizer
from model.data.weights_header import weight_files
from model.nn.lora import attach_adapter
from model.nn.model_config import ModelConfig
from model.nn.nf4 import packed_weights
from model.nn.transformer import Transformer
from model.training.export import export_model
from model.training.learner import Learner
from model.training.lora_config import LoRAParameters

# The adapter's folder beside the model's, in the output of a stage.
ADAPTER = "adapter"
# The name of the adapter that a training learns.
LEARNED = "learned"
_A, _B = f".adapters.{LEARNED}.lora_A.weight", f".adapters.{LEARNED}.lora_B.weight"


def adapt_model(model: Transformer, lora: LoRAParameters, seed: int) -> None:
    """Attach a new adapter to a model and freeze its weights; with rank 0 the model stays as it is."""
    if lora.rank:
        attach_adapter(model, LEARNED, lora.rank, lora.alpha, lora.target_modules, seed)


def learned_adapter(
    learner: Learner, lora: LoRAParameters, new_tokens: tuple[int, ...] = (), inside: str = ""
) -> SavedAdapter:
    """Return the adapter that a learner holds, from its float32 masters; all processes call it together.

    Args:
        learner: The optimizer.
        lora: The adapter's parameters.
        new_tokens: The tokens whose rows were learned, if any were.
        inside: The prefix of the transformer's names if it is a part of the learner's module.
    """
    state = {name.removeprefix(inside): value.detach().cpu() for name, value in learner.gather_masters()}
    layers = [name.removesuffix(_A) for name in state if name.endswith(_A)]
    rows = {name.split(".")[1]: value for name, value in state.items() if name.startswith("new_rows.")}
    matrices = {name: (state[name + _A], state[name + _B]) for name in layers}
    return SavedAdapter(lora.rank, lora.alpha, matrices, new_tokens if rows else (), rows)


def export_trained(
    learner: Learner,
    lora: LoRAParameters,
    model: Transformer,
    tokenizer: Tokenizer,
    base: Path,
    folder: Path,
    inside: str = "",
) -> None:
    """Write what was learned to `folder`/model, and an adapter also to `folder`/adapter.

    The first process writes; all processes call it together.

    Args:
        learner: The optimizer that holds the weights.
        lora: The adapter's parameters; with rank 0 all weights were trained.
        model: The transformer.
        tokenizer: Its tokenizer.
        base: The model folder that the training started from.
        folder: The output.
        inside: The prefix of the transformer's names if it is a part of the learner's module.
    """
    if not lora.rank:
        export_model(learner, model.architecture, tokenizer, folder / "model", inside)
        return
    adapter = learned_adapter(learner, lora, model.architecture.new_tokens, inside)
    if learner.world.rank == 0:
        export_adapter(adapter, base, folder, model.architecture, lora.is_quantized)


def export_adapter(
    adapter: SavedAdapter,
    base: Path,
    folder: Path,
    architecture: ModelConfig | None = None,
    quantize: bool = False,
) -> None:
    """Write `folder`/model, the base with the adapter added to its weights, and `folder`/adapter.

    If the base was made by an adapter too, the written adapter adds what both add. It then belongs to the
    model that the first one belongs to. An adapter of weights in 4 bits belongs to the rounded weights, which
    are written too, with the adapter as their low-rank part.

    Args:
        adapter: The adapter.
        base: The model folder that the adapter belongs to.
        folder: The output.
        architecture: The architecture of the result, such as an open model's with a shorter context; None:
            that of the base.
        quantize: Whether the adapter was learned on weights in 4 bits.
    """
    context = architecture.context_length if architecture else 0
    model, tokenizer = load_model(base, context_length=context, quantize=quantize)
    model.architecture = architecture or model.architecture
    if quantize:
        model = _merge_quantized(adapter, model, folder)
    else:
        adapter.merge_into(model)
    save_model(model, tokenizer, folder / "model")
    earlier = base.parent / ADAPTER
    # Weights that are rounded here are no longer those that the earlier adapter belongs to.
    stacks = earlier.is_dir() and (not quantize or nf4_file(base).exists())
    save_adapter(adapter.stacked_on(load_adapter(earlier)) if stacks else adapter, folder / ADAPTER)


@torch.no_grad()
def _merge_quantized(adapter: SavedAdapter, model: Transformer, folder: Path) -> Transformer:
    """Return a model in 4 bits as a whole model with an adapter; write its 4 bits beside `folder`/model.

    The matrices are computed one after the other, and stored in the type of the model's files.
    """
    packed = dict(packed_weights(model))
    for name, (first, second) in adapter.matrices.items():
        packed[name].add_low_rank(first, second * (adapter.alpha / adapter.rank))
    save_nf4(packed, folder / "model")
    # A number in float16 could become infinite, which `save_model` sees only in float32.
    dtype = torch.bfloat16 if model.architecture.weight_dtype == "bfloat16" else torch.float32
    matrices = {f"{name}.weight": each.dequantize(torch.float32).to(dtype) for name, each in packed.items()}
    whole = Transformer.from_weights(model.architecture, {**model.state_dict(), **matrices})
    replace(adapter, matrices={}).merge_into(whole)
    return whole


def same_weights(first: Path, second: Path) -> bool:
    """Return whether two model folders have the same weight files."""
    ours, theirs = (weight_files(folder) for folder in (first, second))
    if [path.name for path in ours] != [path.name for path in theirs]:
        return False
    return all(
        our.samefile(their) or filecmp.cmp(our, their, shallow=False)
        for our, their in zip(ours, theirs, strict=True)
    )
