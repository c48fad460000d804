"""Set aside what people write below a table: totals, a legend, remarks, or a second table.

Such rows have the table's columns, so they would become pairs or documents. Only an empty row before them, or
the end of the file, shows where they begin.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from model.errors import UserError

_MOST_HELD = 50  # rows of a block that are read before it is judged
_LEAST = 2  # rows above a block, below which nothing is usual
_LEAST_NUMBERS = 3  # numbers of a column that a total may sum up
_ENOUGH = 5  # rows above of which all have a cell, or none a number, so that another row is a sign
_ROUNDED = 0.006  # the most that a mean with two digits is off
_OFTEN = 4  # rows for each empty one, below which empty rows are a habit
_FEW = 0.1  # the share of rows above that may look like a block which differs from them
_LONGEST_NAME = 40


def _word_set(words: str) -> frozenset[str]:
    return frozenset(words.split())


_TOTALS = _word_set(
    """
    total totals subtotal sum sums average averages avg mean median count summe summen gesamt gesamtsumme
    zwischensumme insgesamt mittelwert durchschnitt anzahl somme totaux moyenne suma sumas promedio media
    合計 総計 小計 平均 計 総合計 件数
    """
) | {"grand total", "total général", "sous-total", "suma total"}
_REMARKS = _word_set(
    """
    legend key note notes remark remarks comment comments source sources summary explanation explanations
    footnote footnotes legende hinweis hinweise anmerkung anmerkungen bemerkung bemerkungen erläuterung
    erläuterungen erklärung quelle quellen fußnote fußnoten notiz notizen zusammenfassung légende remarque
    remarques commentaire commentaires explication explications leyenda nota notas observación observaciones
    comentario comentarios explicación fuente 凡例 注 備考 注釈 注意 注記 説明 メモ 出典
    """
)
_HEADER_WORDS = _word_set(
    """
    value values meaning meanings code codes label labels description descriptions key explanation legend
    symbol abbreviation term definition scale rating score points wert werte bedeutung kürzel abkürzung
    beschreibung erklärung skala punkte valeur signification libellé valor valores significado código
    descripción etiqueta 値 意味 コード 説明 記号
    """
)
_OPENING = re.compile(r"[\W_]*(?P<word>[^\W\d_][^\W\d_ -]*(?:[ -][^\W\d_]+)?)\s*(?P<sign>[:：=(]|\Z)")
_SENTENCE = re.compile(r"[.?!。？！…]")
_NUMBER = re.compile(r"[-+−]?\d+(?:[.,]\d+)?\s*%?")


class CellRow(NamedTuple):
    """A row of a table: its values, place, fault (or nothing), and cells, of which an empty line has none."""

    values: dict[str, Any]
    where: str
    fault: str
    cells: list[str]

    @property
    def is_gap(self) -> bool:
        """Whether all cells are empty."""
        return not any(cell.strip() for cell in self.cells)


@dataclass
class _Numbers:
    """The count, sum and largest of a column's numbers without the last, and whether these are whole."""

    count: int = 0
    total: float = 0.0
    most: float = float("-inf")
    whole: bool = True
    last: float | None = None

    def add(self, number: float) -> None:
        if self.last is not None:
            self.count, self.total = self.count + 1, self.total + self.last
            self.most, self.whole = max(self.most, self.last), self.whole and self.last == int(self.last)
        self.last = number


@dataclass
class _Usual:
    """What the rows of a table above a block are."""

    rows: int = 0
    briefs: int = 0
    filled: list[int] = field(default_factory=list)
    numbers: list[_Numbers] = field(default_factory=list)
    openings: set[str] = field(default_factory=set)
    gaps: int = 0

    def add(self, cells: Sequence[str]) -> None:
        self.rows += 1
        self.briefs += _is_brief(cells)
        for column, cell in enumerate(cells):
            if column == len(self.filled):
                self.filled.append(0)
                self.numbers.append(_Numbers())
            self.filled[column] += bool(cell.strip())
            number = _as_number(cell)
            if number is not None:
                self.numbers[column].add(number)
        if word := _end_word(cells)[0]:
            self.openings.add(word)

    @property
    def is_brief(self) -> bool:
        """Whether many rows have a few words in each cell, so that another table looks alike."""
        return self.briefs > _FEW * self.rows

    @property
    def has_gaps(self) -> bool:
        """Whether rows often go on after an empty one, as where each line is followed by an empty line."""
        return _OFTEN * self.gaps > self.rows


def set_aside_ends(rows: Iterable[CellRow]) -> Iterator[tuple[dict[str, Any], str, str]]:
    """Yield the values, the place and the fault of each row, with a fault for what stands below the table.

    After an empty row, a block of rows is such an end if it begins with a word for a total or a legend, or
    has a header of its own, or its rows are filled otherwise than all above. Rows that go on as above stay.
    The last row is one if it sums the rows up.
    """
    usual, held = _Usual(), None
    try:
        for row, fault in _judged(rows, usual):
            if held is not None:
                yield held.values, held.where, held.fault
            held = row._replace(fault=fault) if fault else row
            if not (held.is_gap or held.fault):
                usual.add(row.cells)
    except UserError:
        if held is not None:
            yield held.values, held.where, held.fault
        raise
    if held is not None:
        fault = "" if held.is_gap or held.fault else _explain_total(held.cells, usual)
        yield held.values, held.where, f"{held.where}: {fault}" if fault else held.fault


def _judged(rows: Iterable[CellRow], usual: _Usual) -> Iterator[tuple[CellRow, str]]:
    """Yield the rows, each with the reason why it stands below the table; empty for rows of it."""
    below = False
    block: list[CellRow] = []
    try:
        for row in rows:
            if row.is_gap or len(block) == _MOST_HELD:
                yield from _judge_block(block, usual)
                block, below = [], row.is_gap and usual.rows >= _LEAST
            if row.is_gap:
                # An empty line is nothing. A row of empty cells is counted.
                yield from [(row, "")] if row.cells else []
                usual.gaps += usual.rows == 1
            elif below:
                block.append(row)
            else:
                yield row, ""
    except UserError:
        yield from _judge_block(block, usual)
        raise
    yield from _judge_block(block, usual)


def _judge_block(block: Sequence[CellRow], usual: _Usual) -> Iterator[tuple[CellRow, str]]:
    whole = _explain_block(block, usual) if block else ""
    usual.gaps += bool(block) and not whole and not _explain_row(block[0].cells, usual)
    for row in block:
        if row.fault and not row.values:
            # A header again, as where files were joined: the rows below are of the table.
            whole = whole if len(row.cells) != len(usual.filled) else ""
            yield row, f"{row.where}: {whole}" if whole else ""
            continue
        says = whole or _explain_row(row.cells, usual)
        yield row, f"{row.where}: {says}" if says else ""


def _explain_block(block: Sequence[CellRow], usual: _Usual) -> str:
    cells = block[0].cells
    if says := _explain_word(cells, usual):
        return says
    filled = [cell.strip() for cell in cells if cell.strip()]
    if len(filled) < 2 or not all(map(_may_be_name, filled)):
        return ""
    known = sum(cell.casefold() in _HEADER_WORDS for cell in filled)
    coded = len(block) > 1 and bool(_explain_row(block[1].cells, usual))
    # Pairs of single words look like another table, so a table of them may go on.
    others = len(block) > 1 and not usual.is_brief and all(_is_brief(row.cells) for row in block)
    if 2 * known >= len(filled) or (coded and not usual.is_brief) or others:
        return "stands below an empty row and looks like the header or a row of another table" + _ADVICE
    return ""


_ADVICE = ", so it is not read; remove the empty row if it is a row of this table, or else remove these lines"


def _explain_word(cells: Sequence[str], usual: _Usual) -> str:
    word, sure = _end_word(cells)
    if not word or word in usual.openings or (usual.is_brief and not sure):
        return ""
    return f"stands below an empty row and begins with {word!r}, a word for what follows a table{_ADVICE}"


def _explain_row(cells: Sequence[str], usual: _Usual) -> str:
    if says := _explain_word(cells, usual):
        return says
    filled = [bool(cell.strip()) for cell in cells]
    if usual.has_gaps or (usual.rows < _ENOUGH and sum(filled) > 1):
        return ""
    lacks = [
        column for column, count in enumerate(usual.filled)
        if count == usual.rows and not (column < len(filled) and filled[column])
    ]  # fmt: skip
    if lacks:
        return f"stands below an empty row and lacks cells that all rows above have{_ADVICE}"
    first = next((column for column, given in enumerate(filled) if given), 0)
    if (
        usual.rows >= _ENOUGH
        and usual.numbers[first].last is None
        and _as_number(cells[first]) is not None
        and _is_brief(cells)
    ):
        return f"stands below an empty row and begins with a number, as no row above does{_ADVICE}"
    return ""


def _end_word(cells: Sequence[str]) -> tuple[str, bool]:
    """Return the word for a total or a remark that begins a row, and whether it can mean nothing else."""
    filled = [cell.strip() for cell in cells if cell.strip()]
    found = _OPENING.match(filled[0]) if filled else None
    if found is None:
        return "", False
    word = found["word"].casefold()
    if word not in _TOTALS | _REMARKS:
        return "", False
    bare = all(_as_number(cell) is not None for cell in filled[1:])
    return word, found["sign"] != "" or bare


def _explain_total(cells: Sequence[str], usual: _Usual) -> str:
    """Return why the last row is a total of the rows above it; `usual` includes it."""
    above = usual.rows - 1
    if above < _LEAST_NUMBERS:
        return ""
    word, _ = _end_word(cells)
    texts = [cell for cell in cells if cell.strip() and _as_number(cell) is None]
    if word in _TOTALS and len(texts) == 1 and len(cells) > 1:
        return f"the last row begins with {word!r} and has no other text: a total, which is not read"
    sums, means, numbers = 0, 0, 0
    for cell, column in zip(cells, usual.numbers, strict=False):
        number = _as_number(cell)
        # In a column of few numbers, or of texts, the number is none of many.
        if number is None or column.count < _LEAST_NUMBERS or column.count < (1 - _FEW) * above:
            continue
        numbers += 1
        sums += number > column.most and abs(column.total - number) <= 1e-6 * abs(number)
        mean = column.total / column.count
        means += column.whole and number != int(number) and abs(mean - number) <= _ROUNDED
    if numbers and numbers in (sums, means):
        what = "sums" if sums == numbers else "means"
        return f"the numbers of the last row are the {what} of their columns, so it is not read; remove it"
    return ""


def _as_number(cell: str) -> float | None:
    bare = cell.strip()
    if not bare[-1:].isdecimal() and bare[-1:] != "%":
        return None
    return float(bare.rstrip("% ").replace("−", "-").replace(",", ".")) if _NUMBER.fullmatch(bare) else None


def _is_brief(cells: Sequence[str]) -> bool:
    filled = [cell.strip() for cell in cells if cell.strip()]
    return len(filled) > 1 and all(
        len(cell) <= _LONGEST_NAME and not _SENTENCE.search(cell) for cell in filled
    )


def _may_be_name(cell: str) -> bool:
    return (
        len(cell) <= _LONGEST_NAME
        and len(cell.split()) < 4
        and cell[:1].isalpha()
        and not _SENTENCE.search(cell)
    )
