"""Test that what people write below a table is set aside, and that rows after an empty one stay."""

from __future__ import annotations

import random

import pytest

from model.errors import UserError
from tasks.data.file_io.files import BrokenItem, SourceFile
from tests.tasks.data.parsing.row_reader import read_file

PAIRS = "prompt,completion\n" + "".join(f"How old is mill {n}?,Mill {n} is old.\n" for n in range(6))
RATED = "prompt,completion,score\n" + "".join(
    f"How old is mill {n}?,Mill {n} is old.,{n % 3 + 1}\n" for n in range(6)
)
TEXTS = "text\n" + "".join(f"The mill {n} is old.\n" for n in range(6))
WORDS = "prompt,completion\n" + "".join(f"dog{n},Hund{n}\n" for n in range(6))
MORE = "How new is it?,It is new.\n"


def split_items(text: str, name: str = "a.csv") -> tuple[int, list[str]]:
    """Return the number of rows that are read, without empty ones, and the places of the others."""
    items = list(SourceFile(name, text.encode()).all_items())
    broken = [item for item in items if isinstance(item, BrokenItem)]
    read = [item for item in items if not isinstance(item, BrokenItem) and any(item.values.values())]
    return len(read), [item.where for item in broken]


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        (PAIRS + "\nvalue,meaning\n1,bad\n2,good\n", [9, 10, 11]),
        (PAIRS + ",\nLegend: 1 = bad,see there\n1,bad\n", [9, 10]),
        (PAIRS + "\nLegende\n1,schlecht\n2,gut\n", [9, 10, 11]),
        (PAIRS + "\nname,role\nAnna,rater\nBen,reviewer\n", [9, 10, 11]),
        (PAIRS + "\nstate,count\n3,7\n", [9, 10]),
        (PAIRS + "\n備考：確認済み,田中\n", [9]),
        (PAIRS + "\n1,bad\n2,good\n", [9, 10]),
        (RATED + "\nTotal,,12\n", [9]),
        (RATED + ",,\nGesamt,6 Zeilen,12\n", [9]),
        (RATED + "\nMoyenne,,2\n", [9]),
        (TEXTS + "\nNota: el molino es viejo\n", [9]),
        (RATED + "Total,,5\n", [8]),
        (RATED + "Mittelwert,,\"2,0\"\n", [8]),
        (RATED + "Everything,all of them,12\n", [8]),
        (RATED.replace(",1\n", ",2\n", 1) + "All,of these,2.17\n", [8]),
        ((RATED + "\nTotal,,12\n").replace(",", "\t"), [9]),
    ],
)  # fmt: skip
def test_all_items_end_of_table_is_set_aside_with_its_lines(text: str, lines: list[int]) -> None:
    name = "a.tsv" if "\t" in text else "a.csv"
    assert split_items(text, name) == (6, [f"{name}, line {line}" for line in lines])


@pytest.mark.parametrize(
    ("text", "count"),
    [
        (PAIRS + "\n" + MORE, 7),
        (PAIRS + ",\n\n" + MORE + "Bonjour,Hello\n", 8),
        (PAIRS + "\nBonjour,Hello\n", 7),
        (WORDS + "\nmean,gemein\ncat,Katze\n", 8),
        (RATED + "How far?,Far.,2\n", 7),
        (RATED + "Total of mills?,Six.,3\n", 7),
        (RATED + "\nHow far?,Far.,2\n", 7),
        (TEXTS + "\nNote that the mill is old.\n", 7),
        (PAIRS + "\nWhat is 6 times 7?,42\n", 7),
        ("prompt,completion,who\nA?,B.,ana\nC?,D.,ana\n\nE?,F.,\n", 3),
        ("prompt,completion,hint\n" + "".join(f"How {n}?,So {n}.,{'x' * (n < 3)}\n\n" for n in range(6)), 6),
        ("prompt,completion,score\nA?,B.,3\nC?,D.,4\nE?,F.,5\nG?,H.,4\n", 4),
        ("prompt,completion,score\nA?,B.,0\nC?,D.,1\nE?,F.,0\nG?,H.,1\n", 4),
    ],
)
def test_all_items_row_after_empty_one_stays(text: str, count: int) -> None:
    assert split_items(text) == (count, [])


def test_all_items_header_again_below_legend_reads_on() -> None:
    assert split_items(PAIRS + "\nLegend,x\n1,bad\n" + PAIRS)[0] == 12


@pytest.mark.parametrize("seed", range(20))
def test_all_items_shuffled_scores_lose_no_row(seed: int) -> None:
    draw = random.Random(seed)
    for _ in range(50):
        most = draw.choice((1, 5, 10, 100))
        scores = [draw.randint(most // 10, most) for _ in range(draw.randint(12, 40))]
        rows = "".join(f"How {n}?,So {n}.,{score}\n" for n, score in enumerate(scores))
        assert split_items(f"prompt,completion,score\n{rows}") == (len(scores), [])


def test_read_rows_legend_below_table_is_reported_and_still_turns_the_scale() -> None:
    rows, tally = read_file(SourceFile("a.csv", (RATED + "\nLegend\n1 = best,5 = worst,\n").encode()))
    assert [bool(one.row.fault) for one in rows] == [False] * 6 + [True] * 2
    assert "stands below an empty row and begins with 'legend'" in "".join(tally.lines())
    with pytest.raises(UserError, match="says that lower is better"):
        tally.check("mine")
