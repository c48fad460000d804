"""Model folders in Hugging Face's layout: config.json, model.safetensors, two tokenizer files."""

from __future__ import annotations

import json
import math
import os
import re
import shutil
from dataclasses import replace
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from model.atomic_file import atomic_path, fixed_part
from model.data.hf_families import format_config
from model.data.nf4_checkpoint import RoundingCheck, nf4_file, read_nf4, save_nf4
from model.data.tokenizer import Tokenizer
from model.data.weights_header import INDEX, WEIGHTS, inspect_model, read_headers, weight_files
from model.errors import UserError
from model.nn.model_config import ModelConfig
from model.nn.nf4 import is_quantized, packed_weights
from model.nn.transformer import Transformer

TOKEN_TABLES = ("model.embed_tokens.weight", "lm_head.weight")
_LARGEST_FLOAT16 = torch.finfo(torch.float16).max


def save_model(
    model: Transformer, tokenizer: Tokenizer, folder: Path, dtype: torch.dtype | None = None
) -> None:
    """Write a model and its tokenizer to a folder; each file is written completely or not at all.

    Args:
        model: The model.
        tokenizer: Its tokenizer.
        folder: The folder, which is created.
        dtype: The type of the stored weights; None: that of the architecture.
    """
    folder.mkdir(parents=True, exist_ok=True)
    named = str(dtype).removeprefix("torch.") if dtype else model.architecture.weight_dtype
    state = {name: value.detach().cpu() for name, value in model.state_dict().items()}
    # A weight that a training moved beyond the largest number of float16 would become infinite.
    if named == "float16" and max(value.abs().max().item() for value in state.values()) > _LARGEST_FLOAT16:
        named = "float32"
    state = {name: value.to(getattr(torch, named)).contiguous() for name, value in state.items()}
    # The weights first, the configuration after them: a folder with config.json has its weights.
    with atomic_path(folder / WEIGHTS, fixed_part(folder / WEIGHTS)) as part:
        _save_weights(state, part)
    _describe_model(model.architecture, named, tokenizer, folder)


def copy_model(source: Path, model: Transformer, tokenizer: Tokenizer, folder: Path) -> None:
    """Write an open model to another folder, with its weights as they are and its files as `save_model` does.

    A file of weights becomes a hard link, or a copy on another disk, unless it holds a table that needs rows
    for new tokens. Such a file is written again, in the same type.

    Args:
        source: The model folder.
        model: Its model, as `load_model` returns it.
        tokenizer: Its tokenizer, as `load_model` returns it.
        folder: The new folder, which is created.
    """
    folder.mkdir(parents=True, exist_ok=True)
    files, shards, size = weight_files(source), {}, 0
    for path in files:
        headers = read_headers(path)
        target = folder / path.name
        grown = [
            name
            for name in TOKEN_TABLES
            if name in headers and untrained_rows(headers[name].shape[0], tokenizer)
        ]
        with atomic_path(target, fixed_part(target)) as part:
            # A killed attempt may have left a link, through which the original would be overwritten.
            part.unlink(missing_ok=True)
            if grown:
                state = load_file(path)
                state |= {name: add_token_rows(state[name], tokenizer) for name in grown}
                _save_weights(state, part)
            else:
                _link_file(path, part)
        shards.update(dict.fromkeys(headers, path.name))
        size += target.stat().st_size
    if files[0].name != WEIGHTS:
        index = {"metadata": {"total_size": size}, "weight_map": shards}
        with atomic_path(folder / INDEX, fixed_part(folder / INDEX)) as part:
            part.write_text(json.dumps(index, indent=1))
    _describe_model(model.architecture, model.architecture.weight_dtype, tokenizer, folder)


def copy_nf4(source: Path, model: Transformer, folder: Path) -> None:
    """Write the file with the weights in 4 bits of a model for another folder; a link if there is one.

    Args:
        source: The model folder that the model was loaded from.
        model: The model.
        folder: The new model folder.
    """
    if not nf4_file(source).exists():
        save_nf4(dict(packed_weights(model)), folder)
        return
    target = nf4_file(folder)
    with atomic_path(target, fixed_part(target)) as part:
        part.unlink(missing_ok=True)
        _link_file(nf4_file(source), part)


def _link_file(source: Path, target: Path) -> None:
    """Make a hard link to a file, or a copy of it where links are impossible."""
    try:
        # Of the file itself: a folder of Hugging Face's cache has symbolic links.
        os.link(source.resolve(), target)
    except OSError:
        shutil.copyfile(source, target)


def _describe_model(architecture: ModelConfig, dtype: str, tokenizer: Tokenizer, folder: Path) -> None:
    """Write the configurations of a model and its tokenizer."""
    # Generation stops at the end of an answer and at the end of a text, which may be the same token.
    stops = sorted({tokenizer.end, tokenizer.document_end})
    ends = {
        "bos_token_id": tokenizer.begin[0] if tokenizer.begin else None,
        "eos_token_id": stops[0] if len(stops) == 1 else stops,
        "pad_token_id": tokenizer.document_end,
    }
    config = {
        **format_config(architecture),
        **ends,
        "torch_dtype": dtype,
    }
    for name, content in (("generation_config.json", ends), ("config.json", config)):
        with atomic_path(folder / name, fixed_part(folder / name)) as part:
            part.write_text(json.dumps(content, indent=2))
    tokenizer.save(folder)


def _save_weights(state: dict[str, Tensor], path: Path) -> None:
    """Write tensors to a safetensors file. Raise OSError with the path if the disk is full."""
    try:
        save_file(state, path, metadata={"format": "pt"})
    except SafetensorError as error:
        # The library gives the system's error number only in its text.
        if match := re.search(r"os error (\d+)", str(error)):
            code = int(match[1])
            raise OSError(code, os.strerror(code), str(path)) from error
        raise


def load_model(
    folder: Path,
    dtype: torch.dtype = torch.float32,
    device: str = "cpu",
    context_length: int = 0,
    mapped: bool = False,
    quantize: bool = False,
) -> tuple[Transformer, Tokenizer]:
    """Return a model and its tokenizer from a model folder, with weights in one file or in shards.

    If the tokenizer lacks the chat's tokens they are added, and their embeddings start at the mean.

    Args:
        folder: The model folder.
        dtype: The type of the returned weights.
        device: The device of the returned weights.
        context_length: The longest context, in tokens; 0: the model's own.
        mapped: Whether weights of the file's own type may stay in the file, on a CPU. Several processes then
            hold them once. Use it for files that nobody changes meanwhile.
        quantize: Whether the matrices of the blocks are kept in 4 bits: those of the file beside the folder,
            or else rounded one after the other. Such a model does not learn, but adapters beside it can.

    Raises:
        UserError: A file is missing, truncated, or does not fit config.json, or a weight is not finite. Or
            the weights to round were rounded before.
    """
    folder = Path(folder)
    architecture, _ = inspect_model(folder, context_length)
    tokenizer = Tokenizer.load(folder)
    state = _read_weights(folder)
    # Old exports store these; this model computes them.
    state = {name: value for name, value in state.items() if not name.endswith("rotary_emb.inv_freq")}
    # A tied model may store the table twice. Two different tables are not tied, whatever config.json says.
    if architecture.tie_embeddings and (output := state.get("lm_head.weight")) is not None:
        if torch.equal(output, state["model.embed_tokens.weight"]):
            del state["lm_head.weight"]
        else:
            architecture = replace(architecture, tie_embeddings=False)
    for name in TOKEN_TABLES:
        if name in state:
            state[name] = add_token_rows(state[name], tokenizer)
    if "model.embed_tokens.weight" in state:
        rows = len(state["model.embed_tokens.weight"])
        new = tuple(sorted({*architecture.new_tokens, *tokenizer.added}))
        architecture = replace(architecture, vocab_size=rows, new_tokens=new)
    packed, rounding = read_nf4(folder) if quantize else {}, RoundingCheck()
    for name, value in list(state.items()):
        check_finite(folder, name, value)
        if quantize and is_quantized(name):
            layer = name.removesuffix(".weight")
            if layer not in packed:
                packed[layer] = rounding.quantize(value)
            del state[name]
            continue
        # A conversion is a copy already.
        copies = not mapped and value.dtype == dtype
        state[name] = value.to(device, dtype, copy=copies)
    try:
        rounding.check(folder)
        model = Transformer.from_weights(architecture, state, packed)
    except RuntimeError as error:
        first = str(error).splitlines()[1].strip() if "\n" in str(error) else str(error)
        raise UserError(f"{folder}: the weights do not fit config.json: {first}") from error
    return model.to(device, dtype).eval(), tokenizer


def check_finite(folder: Path, name: str, value: Tensor) -> None:
    """Raise UserError if a weight has a number that is not finite.

    One such number makes every answer and every loss NaN, far from here.
    """
    # Smallest and largest take a tenth of the time of a test of each number, and a NaN is both.
    if value.numel() and not all(torch.isfinite(end) for end in torch.aminmax(value)):
        raise UserError(
            f"{folder}: {name} has a weight that is not finite (NaN or infinite); copy or create it again"
        )


def untrained_rows(rows: int, tokenizer: Tokenizer) -> set[int]:
    """Return the numbers of the tokens that a table of so many rows has no trained weights for."""
    return {*tokenizer.added, *range(rows, tokenizer.vocab_size)}


def padded_rows(tokens: int) -> int:
    """Return the rows of a table that grows to so many tokens: a GPU's products need a multiple of 128."""
    return math.ceil(tokens / 128) * 128


def add_token_rows(table: Tensor, tokenizer: Tokenizer) -> Tensor:
    """Return an embedding or output table in which the rows of new tokens are the mean of the others.

    The number of rows becomes that of `padded_rows` if it grows.
    """
    new = untrained_rows(len(table), tokenizer)
    if not new:
        return table
    known = [number for number in range(len(table)) if number not in new]
    mean = table[known].float().mean(0, keepdim=True).to(table.dtype)
    if len(table) < tokenizer.vocab_size:
        rows = padded_rows(tokenizer.vocab_size)
        table = torch.cat([table, mean.expand(rows - len(table), -1)])
    # A table with spare rows has weights there that nothing has trained.
    table[sorted(new)] = mean
    return table


def _read_weights(folder: Path) -> dict[str, Tensor]:
    state: dict[str, Tensor] = {}
    for path in weight_files(folder):
        try:
            state.update(load_file(path))
        except SafetensorError as error:
            raise UserError(f"{path} is incomplete ({error}); copy or create it again") from error
        except OSError as error:
            raise UserError(f"{path} cannot be read ({error})") from error
    return state
