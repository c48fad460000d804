"""Conversion of a GGUF file to a model folder: weights without quantisation, configuration and tokenizer.

The layout is described in ggml's documentation of GGUF. Names of tensors are llama.cpp's.
"""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import gguf
import numpy as np
from safetensors import TensorSpec, serialize_file

from model.data.hf_config import load_architecture
from model.data.weights_header import INDEX, inspect_model
from model.errors import UserError, library_reason
from tasks.data.base_models.base_files import record_sums
from tasks.data.base_models.gguf_tokenizer import write_tokenizer

# Architectures whose tensors are read, with the `model_type` of Hugging Face's configuration.
_FAMILIES = {"llama": "llama", "qwen2": "qwen2", "qwen3": "qwen3"}
_TOP = {
    "token_embd.weight": "model.embed_tokens.weight",
    "output_norm.weight": "model.norm.weight",
    "output.weight": "lm_head.weight",
}
_IN_BLOCK = {
    "attn_q": "self_attn.q_proj", "attn_k": "self_attn.k_proj", "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj", "attn_q_norm": "self_attn.q_norm", "attn_k_norm": "self_attn.k_norm",
    "ffn_gate": "mlp.gate_proj", "ffn_up": "mlp.up_proj", "ffn_down": "mlp.down_proj",
    "attn_norm": "input_layernorm", "ffn_norm": "post_attention_layernorm",
}  # fmt: skip
# Bytes of the weights that are in memory at once.
_SHARD = 2 << 30


@dataclass(frozen=True)
class _Weights:
    """The numbers of a tensor, and their type's name. NumPy has no bfloat16: its bits are in uint16."""

    type_name: str
    numbers: np.ndarray

    def describe(self) -> TensorSpec:
        """Return where the numbers are in memory, which must stay there until they are written."""
        return TensorSpec(
            dtype=self.type_name,
            shape=self.numbers.shape,
            data_ptr=self.numbers.ctypes.data,
            data_len=self.numbers.nbytes,
        )


def convert_gguf(path: Path, folder: Path) -> None:
    """Write a GGUF file as a model folder.

    Args:
        path: The GGUF file.
        folder: The folder to create; it is created completely or not at all.

    Raises:
        UserError: The file is damaged, or has a feature that is not supported.
    """
    try:
        reader = gguf.GGUFReader(path)
        fields = {name: field.contents() for name, field in reader.fields.items()}
    # The library checks little: what a damaged file raises depends on the place of the damage.
    except Exception as error:
        raise UserError(
            f"{path} cannot be read as a GGUF file ({library_reason(error)}); copy it again"
        ) from error
    if fields.get("split.count", 1) != 1:
        raise UserError(
            f"{path} is one of several parts of a model; join them with llama-gguf-split --merge, or name "
            "the model's folder with safetensors files instead"
        )
    try:
        # On the same file system as the target, so that the folder is moved by a rename.
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix="part-") as temporary:
            part = Path(temporary) / "model"
            part.mkdir()
            tied = "output.weight" not in {tensor.name for tensor in reader.tensors}
            config = _read_config(path, fields, tied)
            (part / "config.json").write_text(json.dumps(config, indent=2))
            # Before the tables of gigabytes: a false number would ask for other ones.
            load_architecture(part)
            write_tokenizer(path, fields, part)
            _write_weights(path, reader, config, part)
            # The converted folder must be as good as any other, or it would be found again and again.
            inspect_model(part)
            record_sums(part, folder)
            try:
                part.rename(folder)
            except OSError:
                # Another process was faster; its folder has the same content.
                if not (folder / "config.json").exists():
                    raise
    except KeyError as error:
        raise UserError(f"{path} lacks the key {error}; convert the model to GGUF again") from error
    except UserError as error:
        raise UserError(str(error).replace(str(part), str(path))) from error
    # A full disk is no fault of the file.
    except OSError:
        raise
    # Values of other types than the format's, and numbers that do not fit each other.
    except Exception as error:
        raise UserError(
            f"{path} has values that do not fit each other ({library_reason(error)}); "
            "copy or convert it again"
        ) from error


def _read_config(path: Path, fields: dict[str, Any], tied: bool) -> dict[str, Any]:
    """Return the content of config.json."""
    name = fields["general.architecture"]
    if name not in _FAMILIES:
        raise UserError(
            f"{path} has the architecture {name!r}; as GGUF, {', '.join(_FAMILIES)} are supported. "
            "Name the model's folder with safetensors files instead"
        )
    kind = fields.get(f"{name}.rope.scaling.type", "none")
    if kind not in ("none", "linear"):
        raise UserError(f"{path} has rope scaling {kind!r}; name the model's folder with safetensors files")

    def value(key: str) -> Any:
        return fields[f"{name}.{key}"]

    heads = value("attention.head_count")
    rope: dict[str, Any] = {"rope_type": "default", "rope_theta": value("rope.freq_base")}
    if kind == "linear":
        rope |= {"rope_type": "linear", "factor": value("rope.scaling.factor")}
    return {
        "model_type": _FAMILIES[name],
        "vocab_size": len(fields["tokenizer.ggml.tokens"]),
        "hidden_size": value("embedding_length"),
        "intermediate_size": value("feed_forward_length"),
        "num_hidden_layers": value("block_count"),
        "num_attention_heads": heads,
        "num_key_value_heads": fields.get(f"{name}.attention.head_count_kv", heads),
        "head_dim": fields.get(f"{name}.attention.key_length", value("embedding_length") // heads),
        "max_position_embeddings": value("context_length"),
        # Stored in float32; the shortest number that rounds to it is the one that was meant.
        "rms_norm_eps": float(str(np.float32(value("attention.layer_norm_rms_epsilon")))),
        "rope_parameters": rope,
        "tie_word_embeddings": tied,
        "hidden_act": "silu",
    }


def _write_weights(path: Path, reader: gguf.GGUFReader, config: dict[str, Any], folder: Path) -> None:
    """Write the weights in shards of at most `_SHARD` bytes, with their index."""
    shards: dict[str, str] = {}
    batch: dict[str, _Weights] = {}

    def write_batch() -> None:
        name = f"model-{len(set(shards.values())) + 1:05}.safetensors"
        described = {key: weights.describe() for key, weights in batch.items()}
        serialize_file(described, folder / name, metadata={"format": "pt"})
        shards.update(dict.fromkeys(batch, name))
        batch.clear()

    for name, weights in _read_weights(path, reader, config):
        if batch and sum(part.numbers.nbytes for part in batch.values()) + weights.numbers.nbytes > _SHARD:
            write_batch()
        batch[name] = weights
    write_batch()
    size = sum(path.stat().st_size for path in folder.glob("model-*.safetensors"))
    index = {"metadata": {"total_size": size}, "weight_map": shards}
    (folder / INDEX).write_text(json.dumps(index, indent=1))


def _read_weights(
    path: Path, reader: gguf.GGUFReader, config: dict[str, Any]
) -> Iterator[tuple[str, _Weights]]:
    """Yield the weights by Hugging Face's names: those of 16 bits in their own type, others in float32."""
    heads = {"attn_q": config["num_attention_heads"], "attn_k": config["num_key_value_heads"]}
    for tensor in reader.tensors:
        found = re.fullmatch(r"blk\.(\d+)\.(\w+)\.(weight|bias)", tensor.name)
        if tensor.name in _TOP:
            name, part = _TOP[tensor.name], ""
        elif found and found[2] in _IN_BLOCK:
            name, part = f"model.layers.{found[1]}.{_IN_BLOCK[found[2]]}.{found[3]}", found[2]
        else:
            raise UserError(
                f"{path} has the tensor {tensor.name!r}, which is not supported as GGUF; "
                "name the model's folder with safetensors files instead"
            )
        weights = _read_numbers(tensor)
        if config["model_type"] == "llama" and part in heads:
            weights = replace(weights, numbers=_separate_halves(weights.numbers, heads[part]))
        yield name, replace(weights, numbers=np.ascontiguousarray(weights.numbers))


def _read_numbers(tensor: gguf.ReaderTensor) -> _Weights:
    if tensor.tensor_type == gguf.GGMLQuantizationType.F16:
        return _Weights("float16", tensor.data)
    if tensor.tensor_type == gguf.GGMLQuantizationType.BF16:
        return _Weights("bfloat16", tensor.data.view(np.uint16))
    return _Weights("float32", gguf.dequantize(tensor.data, tensor.tensor_type).astype(np.float32))


def _separate_halves(weights: np.ndarray, heads: int) -> np.ndarray:
    """Return a projection whose heads have the two numbers of each rotation half a head apart.

    llama.cpp keeps them side by side.
    """
    paired = weights.reshape(heads, -1, 2, *weights.shape[1:])
    return paired.swapaxes(1, 2).reshape(weights.shape)
