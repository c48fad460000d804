"""Computation of many rows in chunks of a fixed size, by one process or by several that share the chunks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from model.data.dataloader import length_order

# Rows of one pass.
PASS_ROWS = 32
# Windows of a pass that measures held-out text.
TEXT_ROWS = 16
# The most tokens of a pass without gradients, where no key of a preset bounds its rows.
PASS_TOKENS = 16_384
# map_chunks(count, size, chunk_rows) returns one result a row of `count` rows. `chunk_rows` gets the slice of
# a chunk and returns its results. `ProcessGroup.map_chunks` shares the chunks out.
MapChunks = Callable[[int, int, Callable[[slice], Tensor]], Tensor]


def chunk_slices(share: slice, size: int) -> Iterator[slice]:
    """Yield a share of rows in chunks of at most `size` (0: whole)."""
    size = size or max(1, share.stop - share.start)
    for start in range(share.start, share.stop, size):
        yield slice(start, min(start + size, share.stop))


def rows_of_pass(rows: int, longest: int) -> int:
    """Return how many of `rows` rows one pass without gradients takes, 1 or more.

    Args:
        rows: The most rows of a pass.
        longest: The most tokens of a row.
    """
    return max(1, min(rows, PASS_TOKENS // max(1, longest)))


def map_in_turn(count: int, size: int, chunk_rows: Callable[[slice], Tensor]) -> Tensor:
    """Compute all chunks in this process; see MapChunks."""
    return torch.cat([chunk_rows(chunk) for chunk in chunk_slices(slice(0, count), size)])


def map_by_length(
    lengths: Sequence[int],
    compute: Callable[[list[int]], Tensor],
    size: int = PASS_ROWS,
    map_chunks: MapChunks = map_in_turn,
) -> Tensor:
    """Return one result a row, in the order of the rows, [B]; rows of similar length share a chunk.

    Args:
        lengths: The length of each row in tokens.
        compute: Returns the results of the rows with these numbers.
        size: The number of rows of a chunk.
        map_chunks: Shares the chunks among processes.
    """
    if not lengths:
        return torch.zeros(0)
    order = length_order(lengths)
    results = map_chunks(len(order), size, lambda chunk: compute(order[chunk]))
    # The inverse permutation.
    places = torch.empty(len(order), dtype=torch.int64)
    places[order] = torch.arange(len(order))
    return results[places.to(results.device)]
