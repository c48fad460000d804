"""Test near duplicates: signatures that estimate Jaccard similarity, and one kept row in each group."""

from __future__ import annotations

import itertools
import random
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from tasks.validation import near_dedup
from tasks.validation.near_dedup import MARK, PERMUTATIONS, SHINGLE, band_rows, near_marks, sign_texts

WORDS = [f"w{number}" for number in range(5000)]


def prose(seed: int, size: int = 200) -> list[str]:
    return random.Random(seed).choices(WORDS, k=size)


def changed(words: list[str], places: Sequence[int]) -> list[str]:
    return [f"other{place}" if place in places else word for place, word in enumerate(words)]


def jaccard(one: list[str], other: list[str]) -> float:
    sets = [
        {tuple(words[i : i + SHINGLE]) for i in range(len(words) - SHINGLE + 1)} for words in (one, other)
    ]
    return len(sets[0] & sets[1]) / len(sets[0] | sets[1])


def saved(
    folder: Path, shards: Sequence[Sequence[str]], ids: Sequence[Sequence[int]]
) -> tuple[list[Path], list[Path]]:
    folder.mkdir(exist_ok=True)
    paths: tuple[list[Path], list[Path]] = ([], [])
    for number, (texts, names) in enumerate(zip(shards, ids, strict=True)):
        for into, name, rows in (
            (paths[0], "signatures", sign_texts(texts)),
            (paths[1], "ids", np.array(names, dtype=np.uint64)),
        ):
            into.append(folder / f"{name}-{number}.npy")
            np.save(into[-1], rows)
    return paths


def marked(
    folder: Path, shards: Sequence[Sequence[str]], ids: Sequence[Sequence[int]], threshold: float
) -> list[tuple[int, int]]:
    marks = near_marks(*saved(folder, shards, ids), threshold)
    assert marks.dtype == MARK
    return [(int(shard), int(place)) for shard, place in marks.tolist()]


def test_sign_texts_estimates_jaccard_similarity() -> None:
    base = prose(0)
    for step in (5, 10, 20, 50, 100):
        other = changed(base, range(0, 200, step))
        one, two = sign_texts([" ".join(base), " ".join(other)])

        # At most four standard deviations of the mean of 128 binary draws.
        assert abs(np.mean(one == two) - jaccard(base, other)) < 4 * 0.5 / PERMUTATIONS**0.5


def test_sign_texts_is_same_in_another_process() -> None:
    code = (
        "from tasks.validation.near_dedup import sign_texts; print(sign_texts(['One two, three', '', "
        "'你好世界']).tolist())"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    found = sign_texts(["one two three", "", "你好，世界"])

    assert run.stdout.strip() == str(found.tolist())
    assert found.dtype == np.uint32
    assert found.shape == (3, PERMUTATIONS)
    assert sign_texts([]).shape == (0, PERMUTATIONS)


def test_sign_texts_without_words_uses_characters() -> None:
    dots, dashes, empty, dots_too = sign_texts(["...", "---", "", "..."])

    assert (dots == dots_too).all()
    assert not (dots == dashes).all()
    assert not (dots == empty).all()


def test_near_marks_group_keeps_smallest_id(tmp_path: Path) -> None:
    base = prose(1)
    near_base = changed(base, [100])
    shards = [
        [" ".join(base), " ".join(prose(2)), "short text"],
        [],
        [" ".join(near_base), " ".join(base).upper(), "Short, text!", " ".join(prose(3))],
    ]
    ids = [[50, 51, 9], [], [7, 60, 10, 61]]

    assert marked(tmp_path, shards, ids, 0.8) == [(0, 0), (2, 1), (2, 2)]
    assert marked(tmp_path, shards, ids, 1.0) == [(2, 1), (2, 2)]


def test_near_marks_chain_is_one_group(tmp_path: Path) -> None:
    words = prose(4)
    chain = [changed(words, range(0, 5 * step, 5)) for step in range(8)]
    texts = [" ".join(link) for link in chain]
    ends = sign_texts([texts[0], texts[-1]])

    assert np.mean(ends[0] == ends[1]) < 0.8
    assert marked(tmp_path, [texts], [range(8)], 0.8) == [(0, place) for place in range(1, 8)]


@pytest.mark.parametrize("block", [4_000_000, 50])
def test_near_marks_groups_match_all_pairs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, block: int
) -> None:
    monkeypatch.setattr(near_dedup, "HASH_BLOCK", block)
    monkeypatch.setattr(near_dedup, "READ", 7)
    monkeypatch.setattr(near_dedup, "PAIRS", 5)
    draw = random.Random(5)
    texts = []
    for seed in range(60):
        base = prose(seed, 150)
        texts += [" ".join(changed(base, draw.sample(range(150), draw.choice((1, 40))))) for _ in range(4)]
    ids = draw.sample(range(10_000), len(texts))
    rows = sign_texts(texts)
    group = list(range(len(texts)))
    for one, other in itertools.combinations(range(len(texts)), 2):
        if np.mean(rows[one] == rows[other]) >= 0.7:
            old, new = group[other], group[one]
            group = [new if name == old else name for name in group]
    stays = {
        min((ids[row], row) for row in range(len(texts)) if group[row] == name)[1] for name in set(group)
    }
    cuts = [0, 10, 11, 150, len(texts)]

    found = marked(
        tmp_path,
        [texts[a:b] for a, b in itertools.pairwise(cuts)],
        [ids[a:b] for a, b in itertools.pairwise(cuts)],
        0.7,
    )

    assert 60 < len(found) < 180
    assert {cuts[shard] + place for shard, place in found} == set(range(len(texts))) - stays
    assert found == sorted(found)


def test_near_marks_many_equal_texts_leave_one(tmp_path: Path) -> None:
    crowd = [" ".join(prose(6))] * 300
    others = [" ".join(prose(seed)) for seed in range(10, 20)]

    found = marked(tmp_path, [[*crowd, *others]], [range(310)], 0.8)

    assert found == [(0, place) for place in range(1, 300)]


@pytest.mark.parametrize("threshold", [0.3, 0.5, 0.7, 0.8, 0.9, 0.95, 1.0])
def test_band_rows_propose_pairs_at_threshold(threshold: float) -> None:
    size = band_rows(PERMUTATIONS, threshold)

    assert 1 - (1 - threshold**size) ** (PERMUTATIONS // size) >= 0.99
    assert size == PERMUTATIONS or 1 - (1 - threshold ** (size + 1)) ** (PERMUTATIONS // (size + 1)) < 0.99


def test_near_marks_empty_shards_have_no_duplicates(tmp_path: Path) -> None:
    assert near_marks([], [], 0.8).shape == (0,)
    assert marked(tmp_path, [[], []], [[], []], 0.8) == []
    assert marked(tmp_path, [["one text"]], [[1]], 0.8) == []


def test_near_marks_mismatched_files_are_refused(tmp_path: Path) -> None:
    signatures, ids = saved(tmp_path, [["one", "two"]], [[1, 2]])
    np.save(tmp_path / "narrow.npy", np.zeros((2, 8), dtype=np.uint32))

    with pytest.raises(ValueError, match="above 0"):
        near_marks(signatures, ids, 0.0)
    with pytest.raises(ValueError, match="same shards and rows"):
        near_marks(signatures, [], 0.8)
    with pytest.raises(ValueError, match="different lengths"):
        near_marks([*signatures, tmp_path / "narrow.npy"], ids * 2, 0.8)
