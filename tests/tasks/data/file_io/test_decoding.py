"""Test the advice about files that are compressed twice: followed literally, the file is read."""

from __future__ import annotations

import gzip
import re
from collections.abc import Callable

import pyarrow as pa
import pytest

from model.errors import UserError
from tasks.data.file_io.files import SourceFile

TEXT = b'{"text": "a mill"}\n' * 3


def zstd(data: bytes) -> bytes:
    return bytes(pa.compress(data, "zstd", asbytes=True))


PACKERS: dict[str, Callable[[bytes], bytes]] = {".gz": gzip.compress, ".zst": zstd}


@pytest.mark.parametrize("outer", PACKERS)
@pytest.mark.parametrize("inner", PACKERS)
def test_source_file_compressed_twice_is_read_after_advice(outer: str, inner: str) -> None:
    once = PACKERS[inner](TEXT)
    twice = SourceFile(f"x.jsonl{outer}", PACKERS[outer](once))
    with pytest.raises(UserError, match=f"x.jsonl{outer}: it is compressed twice; unpack it once") as caught:
        list(twice.all_items())
    advised = re.search(r"in (\.\w+)$", str(caught.value))
    assert advised and advised[1] == inner
    assert len(list(SourceFile(f"x.jsonl{advised[1]}", once).all_items())) == 3


@pytest.mark.parametrize("suffix", PACKERS)
def test_source_file_compressed_without_suffix_is_told_its_suffix(suffix: str) -> None:
    with pytest.raises(UserError, match=f"add {suffix} to its name"):
        list(SourceFile("x.jsonl", PACKERS[suffix](TEXT)).all_items())
