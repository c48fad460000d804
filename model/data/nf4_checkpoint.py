"""A file with the weights of a model in 4 bits, beside the model's folder.

A training on weights in 4 bits writes it. The file stores the rounded weights that were trained on and, as
their low-rank part, what was learned, so that it equals `model/` beside it. The next training on 4 bits reads
it. Rounded from `model/`, most of what was learned would be lost: it is smaller than the distance between
levels.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from model.atomic_file import atomic_path, fixed_part
from model.errors import UserError
from model.nn.nf4 import NF4Weight, PackedWeights

NF4_WEIGHTS = "nf4.safetensors"
# The levels follow from the format.
_STORED = ("codes", "scales", "steps", "mean", "first", "second")
# The relative error of rounded weights is about 0.09. A smaller one shows weights that were rounded before,
# with something learned on them.
_LEAST_ERROR = 0.07


def nf4_file(folder: Path) -> Path:
    """Return the path of the file that belongs to a model folder."""
    return folder.parent / NF4_WEIGHTS


def save_nf4(weights: PackedWeights, folder: Path) -> None:
    """Write the weights in 4 bits of a model, by the names of their layers, for a model folder."""
    state = {
        f"{name}.{part}": _stored_tensor(getattr(packed, part))
        for name, packed in weights.items()
        for part in _STORED
    }
    path = nf4_file(folder)
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(path, fixed_part(path)) as part:
        save_file(state, part, metadata={"format": "pt"})


def _stored_tensor(tensor: Tensor) -> Tensor:
    # The low-rank part is in the type of the arithmetic.
    return (tensor.float() if tensor.is_floating_point() else tensor).cpu().contiguous()


def read_nf4(folder: Path) -> dict[str, NF4Weight]:
    """Return the weights in 4 bits that belong to a model folder, by layer; empty without a file.

    Raises:
        UserError: The file is broken.
    """
    path = nf4_file(folder)
    if not path.exists():
        return {}
    try:
        state = load_file(path)
        names = [name.removesuffix(".codes") for name in state if name.endswith(".codes")]
        return {name: _read_weight(state, name) for name in names}
    except (OSError, SafetensorError, KeyError, RuntimeError) as error:
        raise UserError(f"{path} is incomplete ({error}); retrain the model") from error


def _read_weight(state: Mapping[str, Tensor], name: str) -> NF4Weight:
    rows, columns = len(state[f"{name}.second"]), state[f"{name}.first"].shape[1]
    packed = NF4Weight(rows, columns)
    for part in _STORED:
        stored = state[f"{name}.{part}"]
        buffer = getattr(packed, part)
        # Only the rank of the low-rank part is open.
        if stored.dtype != buffer.dtype or (part not in ("first", "second") and stored.shape != buffer.shape):
            raise RuntimeError(f"{name}.{part} has another shape or type")
        # A copy, as the file may be replaced.
        setattr(packed, part, stored.clone())
    if len(packed.first) != packed.second.shape[1]:
        raise RuntimeError(f"{name}.first and {name}.second have different ranks")
    return packed


class RoundingCheck:
    """The error of the rounding of a model's weights, which tells whether they were rounded before."""

    def __init__(self) -> None:
        self.error = self.whole = 0.0

    @torch.no_grad()
    def quantize(self, weight: Tensor) -> NF4Weight:
        """Return a weight in 4 bits, and note its error."""
        packed = NF4Weight.quantize(weight)
        wanted = weight.float()
        self.error += (packed.dequantize(torch.float32) - wanted).square().sum().item()
        self.whole += wanted.square().sum().item()
        return packed

    def check(self, folder: Path) -> None:
        """Raise UserError if the weights of a model folder were rounded before."""
        if self.whole and (self.error / self.whole) ** 0.5 < _LEAST_ERROR:
            raise UserError(
                f"{folder}: lora.quantize is nf4, and the weights were rounded to nf4 before. Rounded again, "
                "they would lose what was learned since; set lora.quantize: none for this training"
            )
