"""Find near duplicates with MinHash (Broder 1997) and locality-sensitive hashing in bands.

After Lee et al. 2022, "Deduplicating Training Data Makes Language Models Better", a text is the set of its
runs of 5 words. Signatures are `rensa`'s. Banding (Leskovec et al., "Mining of Massive Datasets", chapter 3)
proposes pairs, and their whole signatures decide.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from tasks.data.ngrams import BASE, gram_hashes, mix_bits, word_hashes

PERMUTATIONS = 128
SHINGLE = 5
SEED = 42
MARK = np.dtype([("shard", "u4"), ("index", "u4")])
# Rows of one pass over a band, and rows read from a file at once. They bound the memory.
HASH_BLOCK = 4_000_000
READ = 65_536
# Texts signed at once. `rensa` returns each signature as a list of Python numbers, which take far more memory
# than the array.
_TOGETHER = 4096
# The share of pairs at the threshold that the bands should propose.
RECALL = 0.99
# In a bucket up to this size every pair is compared. In a larger one, only so many rows are compared with all
# others, as the number of pairs grows with the square.
ALL_PAIRS = 32
PAIRS = 32_768


def sign_texts(texts: Sequence[str]) -> np.ndarray:
    """Return the MinHash signatures of texts: uint32 [texts, PERMUTATIONS].

    Equal texts have equal signatures in every run. A text of fewer than 5 words is one shingle. A text
    without words is represented by its characters.
    """
    parts = [_signed_batches(texts[start : start + _TOGETHER]) for start in range(0, len(texts), _TOGETHER)]
    return np.concatenate([np.empty((0, PERMUTATIONS), dtype=np.uint32), *parts])


def _signed_batches(texts: Sequence[str]) -> np.ndarray:
    from rensa import RMinHash  # type: ignore[import-untyped]

    shingles = [_text_shingles(text) for text in texts]
    offsets = np.cumsum([0, *map(len, shingles)], dtype=np.uint64)
    matrix = RMinHash.digest_matrix_from_flat_token_hashes(
        np.concatenate(shingles), offsets, PERMUTATIONS, SEED
    )
    return np.array(matrix.to_rows(), dtype=np.uint32)


def near_marks(signatures: Sequence[Path], ids: Sequence[Path], threshold: float) -> np.ndarray:
    """Return the rows to leave out, in order: `MARK` [rows].

    Rows whose estimated Jaccard similarity is at least `threshold` are linked. In each connected group all
    rows but the one with the smallest id are marked. The bands propose at least RECALL of the pairs at the
    threshold. In a bucket of more than ALL_PAIRS rows each row is compared with at most ALL_PAIRS others, so
    a link may be missed there.

    Memory holds HASH_BLOCK band hashes at a time, and the rows that were linked.

    Args:
        signatures: For each shard a .npy file, uint32 [rows, permutations].
        ids: For each shard a .npy file, uint64 [rows].
        threshold: The least similarity of linked rows, above 0 and at most 1.

    Raises:
        ValueError: The threshold is out of range, or the files do not have the same shards and rows.
    """
    if not 0 < threshold <= 1:
        raise ValueError(f"the threshold is {threshold}; it must be above 0, and 1 at most")
    table = _Table(signatures)
    names = [np.load(path, mmap_mode="r") for path in ids]
    if [len(name) for name in names] != [len(shard) for shard in table.shards]:
        raise ValueError("signatures and ids do not have the same shards and rows")
    groups = _Groups()
    if table.rows:
        for rows, starts in _band_buckets(table, band_rows(table.permutations, threshold)):
            _link_similar(table, rows, starts, threshold, groups)
    return _group_marks(table, names, groups)


def band_rows(permutations: int, threshold: float) -> int:
    """Return the number of rows in a band.

    It is the largest that still proposes RECALL of the pairs at the threshold, and at least 1.
    """
    return max(
        size
        for size in range(1, permutations + 1)
        # The probability that two rows of this similarity agree in at least one band.
        if size == 1 or 1 - (1 - threshold**size) ** (permutations // size) >= RECALL
    )


class _Table:
    """The signatures of all shards as one table, read from memory-mapped files."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self.shards = [np.load(path, mmap_mode="r") for path in paths]
        self.starts = np.cumsum([0, *map(len, self.shards)], dtype=np.int64)
        self.rows = int(self.starts[-1])
        widths = {shard.shape[1] for shard in self.shards if len(shard)}
        if len(widths) > 1:
            raise ValueError(f"signatures are of different lengths: {sorted(widths)}")
        self.permutations = widths.pop() if widths else PERMUTATIONS

    def where(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the shard and the place of rows of the table."""
        shards = np.searchsorted(self.starts, rows, side="right") - 1
        return shards, rows - self.starts[shards]

    def __getitem__(self, rows: np.ndarray) -> np.ndarray:
        return _gather_rows(self.shards, *self.where(rows))

    def blocks(self) -> Iterator[tuple[int, np.ndarray]]:
        """Yield the number of the first row and the signatures of at most READ rows, in order."""
        for start, shard in zip(self.starts, self.shards, strict=False):
            for first in range(0, len(shard), READ):
                yield int(start) + first, shard[first : first + READ]


def _gather_rows(shards: Sequence[np.ndarray], at: np.ndarray, places: np.ndarray) -> np.ndarray:
    held = np.unique(at)
    found = np.empty((len(at), *shards[held[0]].shape[1:]), dtype=shards[held[0]].dtype)
    for shard in held:
        chosen = at == shard
        found[chosen] = shards[shard][places[chosen]]
    return found


class _Groups:
    """Disjoint sets of linked rows (union-find). A row that was never linked takes no memory."""

    def __init__(self) -> None:
        self.parents: dict[int, int] = {}

    def root(self, row: int) -> int:
        parents = self.parents
        top = row
        while (above := parents.get(top, top)) != top:
            top = above
        # Path compression: later look-ups of these rows take one step.
        while row != top:
            parents[row], row = top, parents[row]
        return top

    def join(self, one: int, other: int) -> None:
        # The smaller row becomes the root, so groups do not depend on the order of links.
        low, high = sorted((self.root(one), self.root(other)))
        self.parents.setdefault(low, low)
        self.parents[high] = low


def _text_shingles(text: str) -> np.ndarray:
    """Return the hashes of a text's shingles."""
    words = word_hashes(text)
    if not len(words):
        words = word_hashes("".join(f"x{ord(character):x}" for character in text) or "x")
    return np.unique(gram_hashes(words, min(SHINGLE, len(words))))


def _band_buckets(table: _Table, size: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield the buckets of rows with equal band hashes.

    Yields:
        The rows, with those of a bucket side by side, and the index where each bucket starts; the last entry
        is the end.
    """
    # Each pass reads all signatures and keeps one range of hashes, so a bucket is never split between passes.
    parts = -(-table.rows // HASH_BLOCK)
    step = 2**64 // parts + 1
    for band in range(table.permutations // size):
        for part in range(parts):
            hashes, rows = _band_hashes(
                table, slice(band * size, (band + 1) * size), part * step, (part + 1) * step
            )
            order = np.argsort(hashes, kind="stable")
            hashes, rows = hashes[order], rows[order]
            alike = np.concatenate(([False], hashes[1:] == hashes[:-1], [False]))
            kept = alike[:-1] | alike[1:]
            if kept.any():
                yield rows[kept], np.append(np.flatnonzero(~alike[:-1][kept]), kept.sum())


def _band_hashes(table: _Table, columns: slice, low: int, high: int) -> tuple[np.ndarray, np.ndarray]:
    hashes, rows = [], []
    for first, block in table.blocks():
        found = _row_hashes(block[:, columns])
        chosen = np.flatnonzero((found >= np.uint64(low)) & (found <= np.uint64(min(high, 2**64) - 1)))
        hashes.append(found[chosen])
        rows.append(chosen + first)
    return np.concatenate(hashes), np.concatenate(rows)


def _row_hashes(values: np.ndarray) -> np.ndarray:
    total = np.zeros(len(values), dtype=np.uint64)
    for column in values.T:
        total = mix_bits(total * BASE + column)
    return total


def _link_similar(
    table: _Table, rows: np.ndarray, starts: np.ndarray, threshold: float, groups: _Groups
) -> None:
    pairs = _bucket_pairs(rows, starts, groups)
    while chunk := list(itertools.islice(pairs, PAIRS)):
        ones, others = np.array(chunk, dtype=np.int64).T
        for place in np.flatnonzero(_are_similar(table, ones, others, threshold)):
            groups.join(int(ones[place]), int(others[place]))
    for start, stop in itertools.pairwise(starts.tolist()):
        if stop - start > ALL_PAIRS:
            _link_crowd(table, rows[start:stop], threshold, groups)


def _bucket_pairs(rows: np.ndarray, starts: np.ndarray, groups: _Groups) -> Iterator[tuple[int, int]]:
    listed = rows.tolist()
    for start, stop in itertools.pairwise(starts.tolist()):
        if stop - start <= ALL_PAIRS:
            for one, other in itertools.combinations(listed[start:stop], 2):
                # A pair that an earlier band linked needs no comparison.
                if groups.root(one) != groups.root(other):
                    yield one, other


def _link_crowd(table: _Table, rows: np.ndarray, threshold: float, groups: _Groups) -> None:
    left = rows
    for _ in range(ALL_PAIRS):
        if len(left) < 2:
            return
        leader, left = int(left[0]), left[1:]
        kept = []
        for first in range(0, len(left), PAIRS):
            others = left[first : first + PAIRS]
            alike = _are_similar(table, np.full(len(others), leader), others, threshold)
            for row in others[alike].tolist():
                groups.join(leader, row)
            # A row that was linked to a leader needs no leader of its own.
            kept.append(others[~alike])
        left = np.concatenate(kept)


def _are_similar(table: _Table, ones: np.ndarray, others: np.ndarray, threshold: float) -> np.ndarray:
    same = (table[ones] == table[others]).sum(axis=1)
    return same >= threshold * table.permutations


def _group_marks(table: _Table, ids: Sequence[np.ndarray], groups: _Groups) -> np.ndarray:
    rows = np.array(sorted(groups.parents), dtype=np.int64)
    if not len(rows):
        return np.empty(0, dtype=MARK)
    roots = np.array([groups.root(row) for row in rows.tolist()])
    shards, places = table.where(rows)
    # Within a group the smallest id comes first and is kept. An id is a digest of content, so the choice does
    # not depend on the order of the sources.
    order = np.lexsort((rows, _gather_rows(ids, shards, places), roots))
    first = np.ones(len(rows), dtype=bool)
    first[1:] = roots[order][1:] != roots[order][:-1]
    left_out = np.sort(order[~first])
    marks = np.empty(len(left_out), dtype=MARK)
    marks["shard"], marks["index"] = shards[left_out], places[left_out]
    return marks
