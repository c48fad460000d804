"""Layouts of token rows for a pass of a model: several short rows in one, or one padded row each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from model.data.dataloader import Packing, pad_rows

# Several rows share a row of at least this width, so that attention has matrices of a useful size.
LEAST_WIDTH = 128


@dataclass(frozen=True)
class TokenLayout:
    """Token rows as the input of a pass.

    Shapes: B given rows, R rows of the pass, T tokens in each.

    Attributes:
        tokens: [R, T] int64.
        documents: [R, T], the given row of each token, so that no row sees another; None: one row each.
        starts: [B], the places of the given rows' first tokens in `tokens.flatten()`.
        lengths: [B], the lengths of the given rows.
    """

    tokens: Tensor
    documents: Tensor | None
    starts: Tensor
    lengths: Tensor

    @property
    def ends(self) -> Tensor:
        """Return the places of the given rows' last tokens, [B]."""
        return self.starts + self.lengths - 1


def lay_out_rows(rows: Sequence[Sequence[int]], padding: int, context: int, device: str) -> TokenLayout:
    """Return the layout of token rows that has the fewest tokens.

    On a GPU each row is padded: attention inside documents is slow there.

    Args:
        rows: The rows, none empty and none longer than the context.
        padding: The token that fills the rest of a row.
        context: The longest row that the model takes.
        device: The device of the tensors.
    """
    padded, lengths = pad_rows(rows, padding)
    width = max(padded.shape[1], min(context, LEAST_WIDTH))
    if torch.device(device).type == "cpu":
        packing = Packing.pack_examples([len(row) for row in rows], width)
        if len(packing.rows) * width < padded.numel():
            return _pack(rows, packing, width, padding, lengths)
    starts = torch.arange(len(rows)) * padded.shape[1]
    return TokenLayout(padded.to(device), None, starts.to(device), lengths.to(device))


def _pack(
    rows: Sequence[Sequence[int]], packing: Packing, width: int, padding: int, lengths: Tensor
) -> TokenLayout:
    tokens = np.full((len(packing.rows), width), padding, dtype=np.int64)
    # Padding is a document of its own.
    documents = np.full(tokens.shape, -1, dtype=np.int64)
    starts = np.zeros(len(rows), dtype=np.int64)
    for place, numbers in enumerate(packing.rows):
        at = 0
        for number in numbers:
            stop = at + len(rows[number])
            tokens[place, at:stop] = rows[number]
            documents[place, at:stop] = number
            starts[number] = place * width + at
            at = stop
    first, second, third = (torch.from_numpy(part) for part in (tokens, documents, starts))
    return TokenLayout(first, second, third, lengths)
