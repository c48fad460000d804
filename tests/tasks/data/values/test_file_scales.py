"""Files of one source whose scores are on two scales are asked about."""

from __future__ import annotations

from typing import Any

import pytest

from model.errors import UserError
from tasks.data.file_io.files import SourceFile
from tasks.data.formats.detect import choose_reading
from tasks.data.parsing.base import ParseOptions
from tasks.data.parsing.reader import read_rows
from tasks.data.questions.skip_counts import SkipCounts


def counted_files(*scores: list[float], name: str = "rating", **told: Any) -> SkipCounts:
    """Read a table for each list of scores, each as a part of its own, as ingestion does."""
    files = []
    for week, given in enumerate(scores, 1):
        rows = "".join(f"How {week}-{n}?,So {n}.,{score:g}\n" for n, score in enumerate(given))
        files.append(SourceFile(f"week{week}.csv", f"prompt,completion,{name}\n{rows}".encode()))
    known, reading = choose_reading(files, "mine", "auto", ParseOptions("mine", **told))
    tally = SkipCounts()
    for file in files:
        part = SkipCounts()
        assert list(read_rows(known, [file], reading, part))
        tally.add(part)
    return tally


def spread(most: int, least: int = 1, count: int = 40) -> list[float]:
    return [least + n % (most - least + 1) for n in range(count)]


@pytest.mark.parametrize(
    ("name", "files"),
    [
        ("rating", (spread(5), spread(10))),
        ("stars", (spread(5), spread(10))),
        ("score", (spread(10), spread(100, count=200))),
        ("quality", (spread(90, 10, 200), spread(5))),
        ("rating", (spread(4), spread(5), spread(100, count=200))),
    ],
)
def test_check_files_on_two_scales_asks_with_both_files(name, files):
    tally = counted_files(*files, name=name)
    with pytest.raises(UserError, match=r"week\d.csv and up to .* in week\d.csv, which may be two scales"):
        tally.check("mine")


@pytest.mark.parametrize(
    "files",
    [
        (spread(5), spread(5), spread(4)),
        (spread(5), spread(10, count=5)),
        (spread(7), spread(10)),
        (spread(100, count=200), spread(99, count=200)),
        (spread(10),),
    ],
)
def test_check_files_on_one_scale_passes(files):
    counted_files(*files).check("mine")


def test_check_files_on_two_scales_with_told_meaning_passes():
    told = {"rating": "verdict"}
    counted_files(spread(5), spread(10), fields=told).check("mine", told)
