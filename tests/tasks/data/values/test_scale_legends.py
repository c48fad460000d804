"""A legend that turns the scale of scores round is asked about."""

from __future__ import annotations

import pytest

from model.errors import UserError
from tasks.data.file_io.files import SourceFile
from tasks.data.values.scale_legends import ScaleLegends
from tests.tasks.data.parsing.row_reader import read_file

TABLE = "prompt,completion,score{more}\n{above}" + "".join(
    f"How {n}?,So {n}.,{n}{{comma}}\n" for n in range(1, 6)
)


def table(above: str = "", below: str = "", more: str = "", beside: str = "") -> SourceFile:
    text = TABLE.format(more=f",{more}" if beside else "", above=above, comma=f",{beside}" if beside else "")
    return SourceFile("a.csv", (text + below).encode())


@pytest.mark.parametrize(
    "file",
    [
        table(above="text,text,\"1 = best, 5 = worst\"\n"),
        table(below=",,\nLegende:,,\n1 = sehr gut,,\n5 = mangelhaft,,\n"),
        table(below="Lower is better,,\n"),
        table(beside="1 = best", more=""),
        table(beside="1: excellent; 5: poor", more="hint"),
    ],
)  # fmt: skip
def test_check_legend_lower_is_better_asks_for_penalty(file):
    _, tally = read_file(file)
    with pytest.raises(UserError, match=r"says that lower is better.*\{score: penalty\}"):
        tally.check("mine")


@pytest.mark.parametrize(
    "file",
    [
        table(below="1 = schlecht,,\n5 = sehr gut,,\n"),
        table(below="Higher is better,,\n"),
        table(below="Is 1 = best in Germany?,Yes.,4\n"),
        table(below="Total: 5,,\n"),
        table(beside="5 = best", more="hint"),
    ],
)  # fmt: skip
def test_check_other_legend_or_prompt_passes(file):
    _, tally = read_file(file)
    tally.check("mine")


def test_check_legend_with_told_meaning_passes_and_turns_scores():
    file = table(below="1 = best,,\n")
    rows, tally = read_file(file, fields={"score": "penalty"})
    tally.check("mine", {"score": "penalty"})
    assert [one.row.scores for one in rows] == [[-1.0], [-2.0], [-3.0], [-4.0], [-5.0]]
    rows, tally = read_file(file, fields={"score": "verdict"})
    tally.check("mine", {"score": "verdict"})
    assert next(one.row.scores for one in rows) == [1.0]


def test_update_part_that_follows_is_kept():
    first, second = ScaleLegends(), ScaleLegends()
    second.note("1 = best", "a.csv, line 9")
    first.update(second)
    assert first.found == [("a.csv, line 9", "1 = best")]
