"""Headers of safetensors files: names, shapes and types of tensors, read without the tensors."""

from __future__ import annotations

import json
import math
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from model.data.hf_config import check_model_file, load_architecture, read_json_file
from model.errors import UserError, file_error
from model.nn.model_config import ModelConfig, WeightDtype

WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
LARGEST_INDEX = 64 << 20
# The limit of the format itself.
LARGEST_HEADER = 100_000_000
# Types of tensors that are read, with their names in a configuration. Float64 becomes float32 in a training.
DTYPES: dict[str, WeightDtype] = {"F64": "float32", "F32": "float32", "F16": "float16", "BF16": "bfloat16"}
_SHOWN = 60


class TensorHeader(NamedTuple):
    """The shape of a tensor, and the type in which its file stores it, as in `DTYPES`."""

    shape: tuple[int, ...]
    dtype: str


Headers = dict[str, TensorHeader]


def weight_files(folder: Path) -> list[Path]:
    """Return the files of a folder's weights: one, or the shards that an index names.

    Raises:
        UserError: A file is missing, or the index is wrong or names a file outside the folder.
    """
    if (folder / WEIGHTS).exists() or not (folder / INDEX).exists():
        names = [WEIGHTS]
    else:
        weight_map = read_json_file(folder / INDEX, LARGEST_INDEX).get("weight_map")
        if not isinstance(weight_map, dict) or not weight_map:
            raise UserError(
                f"{folder / INDEX} lacks weight_map, the object that names the file of each tensor"
            )
        if not all(isinstance(name, str) for name in weight_map.values()):
            raise UserError(f"{folder / INDEX}: weight_map must name a file for each tensor")
        names = sorted(set(weight_map.values()))
    # The index is untrusted input: it may name files outside the folder.
    for name in names:
        path = folder / name
        if path.parent != folder or name in ("", ".", ".."):
            raise UserError(f"{folder / INDEX} names {name[:_SHOWN]!r}, which is not a file of this folder")
        if not path.exists():
            raise UserError(f"{path} is missing; a model folder holds its weights in safetensors")
        check_model_file(path)
    return [folder / name for name in names]


def read_headers(path: Path) -> Headers:
    """Return the headers of a safetensors file's tensors. Raise UserError if the file is incomplete."""
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            # Checked before reading: a damaged length could ask for all memory.
            if size < 8 or length > min(LARGEST_HEADER, size - 8):
                raise UserError(f"{path} is incomplete (its header is truncated); copy or create it again")
            header = json.loads(file.read(length))
        headers: Headers = {}
        for name, entry in header.items():
            if name == "__metadata__":
                continue
            if entry["dtype"] not in DTYPES:
                raise UserError(
                    f"{path}: {name[:_SHOWN]} is of type {str(entry['dtype'])[:_SHOWN]}; "
                    f"one of {', '.join(DTYPES)} is needed"
                )
            headers[name] = TensorHeader(tuple(int(part) for part in entry["shape"]), entry["dtype"])
            if int(entry["data_offsets"][1]) > size - 8 - length:
                raise UserError(
                    f"{path} is incomplete ({name[:_SHOWN]} extends past its end); copy or create it again"
                )
    except OSError as error:
        raise file_error(path, "cannot be read", error) from error
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError) as error:
        raise UserError(f"{path} is damaged (its header is invalid); copy or create it again") from error
    return headers


def inspect_model(folder: Path, context_length: int = 0) -> tuple[ModelConfig, Headers]:
    """Return a model folder's architecture and the headers of its weights, which fit each other.

    The headers decide what config.json leaves out: whether the tables are tied, and the type of the weights.

    Args:
        folder: The model folder.
        context_length: The longest context, in tokens; 0: the model's own.

    Raises:
        UserError: A file is missing or broken, or the files do not fit each other.
    """
    architecture = load_architecture(folder, context_length)
    headers: Headers = {}
    for path in weight_files(folder):
        headers.update(read_headers(path))
    if "lm_head.weight" not in headers:
        architecture = load_architecture(folder, context_length, tied=True)
    check_shapes(folder, architecture, headers)
    sizes: Counter[WeightDtype] = Counter()
    for header in headers.values():
        sizes[DTYPES[header.dtype]] += math.prod(header.shape)
    # Norms are often stored in float32 beside matrices in bfloat16.
    return replace(architecture, weight_dtype=sizes.most_common(1)[0][0]), headers


def check_shapes(folder: Path, architecture: ModelConfig, headers: Headers) -> None:
    """Compare the headers of a folder's weights with the architecture of its config.json.

    The embedding and the output table may have another number of rows than the configuration says.

    Raises:
        UserError: A tensor is missing or has another shape. Only headers have been read then.
    """
    layers = 1 + max((_layer_number(name) for name in headers), default=-1)
    if layers != architecture.num_layers:
        raise UserError(
            f"{folder}: config.json has num_hidden_layers {architecture.num_layers}, but the "
            f"weights have {layers} layers; use the files of one model"
        )
    expected = architecture.weight_shapes()
    for name in headers:
        ignored = name.endswith("rotary_emb.inv_freq") or name == "lm_head.weight"
        # The first wrong name is enough for the message; a foreign model can have thousands.
        if name not in expected and not ignored:
            raise UserError(f"{folder}: the weights do not fit config.json: Unexpected key {name[:_SHOWN]}")
    for name, wanted in expected.items():
        if name not in headers:
            raise UserError(f"{folder}: the weights do not fit config.json: Missing key {name}")
        found = headers[name].shape
        rows_free = name in ("model.embed_tokens.weight", "lm_head.weight")
        if found[rows_free:] != wanted[rows_free:] or len(found) != len(wanted) or not found[0]:
            shown = str(list(found))[:_SHOWN]
            raise UserError(
                f"{folder}: the weights do not fit config.json: {name} has the shape {shown}, and "
                f"{list(wanted)} is needed"
            )


def _layer_number(name: str) -> int:
    parts = name.split(".")
    if len(parts) < 3 or parts[:2] != ["model", "layers"] or not parts[2].isdecimal() or len(parts[2]) > 8:
        return -1
    return int(parts[2])
