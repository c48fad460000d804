"""Read CSV and TSV tables as objects, row by row, by the names in their header."""

from __future__ import annotations

import codecs
import csv
import math
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from itertools import chain
from typing import Any

from model.errors import UserError
from tasks.data.file_io.decoding import BLOCK, LONGEST, EncodingError
from tasks.data.file_io.table_ends import CellRow, set_aside_ends

DELIMITERS = {",": "a comma", "\t": "a tab", ";": "a semicolon", "|": "a bar"}
LONGEST_NAME = 200
REPEATED_HEADER = "each cell is the name of its column: a header line again, as where files were joined"
MOST_COLUMNS = 4096
# Excel saves such a line with an empty cell for each other column, as in `sep=;;;`.
SEPARATOR_LINE = re.compile(r'"?sep\s*=\s*(\S|\t)"?\1*\s*', re.IGNORECASE)


class DelimiterError(UserError):
    """A table whose cells are separated by another character than expected."""


def read_table(
    lines: Iterable[tuple[int, str]], delimiter: str, origin: str
) -> Iterator[tuple[dict[str, Any], str, str]]:
    """Yield the rows of a CSV or TSV file by the names in its header, each with its first line.

    The third part says what is wrong with a row: more or fewer cells than columns, the header again, or a
    place below the table. Else it is empty. Cells are texts. Empty lines are skipped, but a row of empty
    cells is kept, as the reader counts it. A column without a name gets one (`unnamed_column`).

    Args:
        lines: The number and the text of each line.
        delimiter: The delimiter, unless the first line names another.
        origin: The name of the file, for messages.

    Raises:
        UserError: The delimiter or the header is wrong, there are more than 4,096 columns, or a row has an
            open quote or more than 64 MB.
    """
    yield from set_aside_ends(_read_cells(lines, delimiter, origin))


def _read_cells(lines: Iterable[tuple[int, str]], delimiter: str, origin: str) -> Iterator[CellRow]:
    """Yield the rows of a table, and a row without cells for each empty line."""
    # The module's limit of a cell is global to the process. The limit of a row below is the effective one.
    csv.field_size_limit(LONGEST)
    text = _Lines(lines, origin)
    delimiter = text.delimiter() or delimiter
    rows = csv.reader(text, delimiter=delimiter, strict=True)
    header: list[str] = []
    folded: frozenset[str] = frozenset()
    written: list[str] = []
    rows_read = False
    while True:
        text.begin()
        try:
            cells = next(rows, None)
        except csv.Error as error:
            if "new-line character" in str(error):
                raise UserError(
                    f"{text.where}: a line ends in a carriage return alone, and others do not; save the file "
                    "with one kind of line end"
                ) from error
            raise UserError(
                f"{text.where}: {_name_tab(error)}; enclose a cell that contains quotes, delimiters or line "
                "breaks in double quotes, and double its own quotes"
            ) from error
        if cells is None:
            return
        if not cells:
            yield CellRow({}, text.where, "", cells)
            continue
        # Spreadsheets save empty rows around a table, often with more or fewer cells than columns.
        if not any(cell.strip() for cell in cells):
            if header:
                yield CellRow(dict.fromkeys(header, ""), text.where, "", cells)
            continue
        if not header:
            header = [cell.strip().strip("\ufeff").strip() for cell in cells]
            _check_header(header, delimiter, text.where)
            written = header
            folded = frozenset(name.casefold() for name in header)
            # pandas writes its index as a first column without a name.
            header = [name or unnamed_column(number) for number, name in enumerate(header, 1)]
            continue
        if not rows_read and _is_title(written, cells):
            raise UserError(
                f"{text.where}: the line above has one cell, {written[0][:40]!r}, which looks like a title "
                "above the header; remove that line"
            )
        if len(cells) != len(header):
            # A header of one cell above wider rows is usually a title.
            if len(header) == 1 and not rows_read:
                raise UserError(
                    f"{text.where}: {len(cells)} cells under the one column {header[0][:40]!r}; if that line "
                    "is a title above the header, remove it"
                )
            fault = f"{text.where}: {len(cells)} cells under {len(header)} columns"
            # The cells may be a legend, which is searched for the direction of a scale.
            yield CellRow({str(n): cell for n, cell in enumerate(cells)}, text.where, fault, cells)
            continue
        firsts = {cell.strip('\ufeff" \t\r\n').casefold() for cell in cells[:2]}
        if not firsts.isdisjoint(folded) and (fault := _header_again(cells, written, text.where)):
            yield CellRow({}, text.where, fault, cells)
            continue
        rows_read = True
        yield CellRow(dict(zip(header, cells, strict=True)), text.where, "", cells)


def _header_again(cells: list[str], header: list[str], where: str) -> str:
    """Return why a row is not read that repeats the header, as where files were joined; empty for others.

    Raises UserError if names are in another order, or some have changed: cells below would be under wrong
    names.
    """
    # Quotes behind the byte order mark of a joined file belong to the cell.
    names = [cell.strip().strip("\ufeff").strip().strip('"') for cell in cells]
    if names == header or (
        len(header) > 1 and [name.casefold() for name in names] == [name.casefold() for name in header]
    ):
        return f"{where}: {REPEATED_HEADER}"
    if sorted(names) == sorted(header) and len(set(names)) > 1:
        raise UserError(
            f"{where}: the header again, with its columns in another order ({', '.join(names)}): files were "
            "joined here; split the file before this line"
        )
    renamed = [(old, new) for old, new in zip(header, names, strict=True) if old.casefold() != new.casefold()]
    same = len(header) - len(renamed)
    if same > 1 and same >= len(renamed) and all(map(_may_name_a_column, (new for _, new in renamed))):
        changes = ", ".join(f"{new} in place of {old or 'no name'}" for old, new in renamed)
        raise UserError(
            f"{where}: a second header with other names ({changes:.200}): columns were renamed here; split "
            "the file before this line, or remove the line if the columns mean the same"
        )
    return ""


def _may_name_a_column(cell: str) -> bool:
    return 0 < len(cell) <= LONGEST_NAME and not _is_number(cell) and cell.strip("-?") != ""


def repeats_header(values: dict[str, Any]) -> bool:
    """Return whether every value of a row with two or more columns is the name of its column."""
    return len(values) > 1 and all(
        isinstance(value, str) and (value.strip() == name or (is_unnamed(name) and not value.strip()))
        for name, value in values.items()
    )


def unnamed_column(number: int) -> str:
    """Return the name of a column that has none; the first column is number 1."""
    return f"(column {number} without a name)"


def is_unnamed(name: str) -> bool:
    """Return whether a column's name is from `unnamed_column`."""
    return name.startswith("(column ") and name.endswith(" without a name)")


def _split_at_returns(lines: Iterable[tuple[int, str]]) -> Iterator[tuple[int, str]]:
    """Yield the lines, also of a file whose lines end in a carriage return alone."""
    numbered = iter(lines)
    first = next(numbered, None)
    if first is None:
        return
    number, line = first
    line = line.lstrip("\ufeff")
    # A carriage return inside quotes is part of a cell.
    head = re.sub(r'"[^"]*"', "", line[: LONGEST_NAME * MOST_COLUMNS]).rstrip("\r\n")
    if "\r" not in head:
        yield number, line
        yield from numbered
        return
    at = number
    for _, long in chain([(number, line)], numbered):
        for part in re.findall(r"[^\r\n]*(?:\r\n|\r|\n|$)", long)[:-1] or [long]:
            yield at, part
            at += 1


class _Lines:
    """Lines for the csv module, with the place of the row that it is reading."""

    def __init__(self, lines: Iterable[tuple[int, str]], origin: str) -> None:
        self.lines, self.origin = _split_at_returns(lines), origin
        self.size, self.where = 0, origin

    def delimiter(self) -> str:
        """Return the delimiter that a first line such as `sep=;` sets for Excel, and skip that line."""
        first = next(self.lines, None)
        if first is None:
            return ""
        found = SEPARATOR_LINE.fullmatch(first[1])
        if not found:
            self.lines = chain([first], self.lines)
            return ""
        # A program that puts the line before a file leaves the file's byte order mark behind it.
        if (second := next(self.lines, None)) is not None:
            self.lines = chain([(second[0], second[1].lstrip("\ufeff"))], self.lines)
        return found[1]

    def begin(self) -> None:
        self.size = 0

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        number, line = next(self.lines)
        if not self.size:
            # A row may span several lines; the place is where it begins.
            self.where = f"{self.origin}, line {number}"
        self.size += len(line)
        if self.size > LONGEST:
            raise UserError(
                f"{self.where}: a row of more than {LONGEST >> 20} MB; a double quote may be unclosed there"
            )
        return line


def _name_tab(error: csv.Error) -> str:
    """Return the error of Python's csv module, which prints the delimiter as it is."""
    return str(error).replace("'\t'", "a tab")


def _is_title(written: list[str], cells: list[str]) -> bool:
    """Return whether a header of one cell and an empty one is a title, because the next line has the names.

    A table with a comma at the end of each line has nothing below the empty cell.
    """
    first, *rest = written
    names = [cell.strip() for cell in cells]
    return " " in first and rest == [""] and len(names) == 2 and all(name.isidentifier() for name in names)


def _check_header(header: list[str], delimiter: str, where: str) -> None:
    if said := explain_delimiter(header, delimiter):
        raise DelimiterError(f"{where}: {said}")
    if len(header) > 2 and sum(map(bool, header)) == 1:
        title = next(filter(None, header))
        raise UserError(
            f"{where}: one cell, {title[:40]!r}, which looks like a title above the header; remove that line"
        )
    for name in header:
        if len(name) > LONGEST_NAME or _is_number(name):
            raise UserError(
                f"{where}: {name[:40]!r} is not a column name; the first line is the header, with the names"
            )
    check_columns(header, where)


def explain_delimiter(header: list[str], delimiter: str) -> str:
    """Return what is wrong with a header whose only column holds another delimiter; empty for others."""
    # A wrong delimiter leaves whole lines in one column, which would then be learned as text.
    for other, name in DELIMITERS.items() if len(header) == 1 else ():
        if other != delimiter and other in header[0]:
            suffix = {
                ",": ", or name the file .csv",
                "\t": ", or name the file .tsv",
                ";": ", or put the line `sep=;` above the header",
            }.get(other, "")
            return (
                f"one column, with {name} in its name: the delimiter seems to be {name}; write the file with "
                f"{DELIMITERS[delimiter]} between its columns{suffix}"
            )
    return ""


def find_delimiter(lines: Callable[[], Iterable[tuple[int, str]]], expected: str, origin: str) -> str:
    """Return the only delimiter that splits the header and every row into the same columns, two or more.

    It is a semicolon, a tab or a bar. If none of them does, or several do, it is empty.

    Args:
        lines: Returns the number and the text of each line, from the first one on.
        expected: The delimiter by the file's name, which does not split the header.
        origin: The name of the file, for messages.
    """
    fitting = [one for one in ";\t|" if one != expected and _splits_evenly(lines(), one, origin)]
    return fitting[0] if len(fitting) == 1 else ""


def _splits_evenly(lines: Iterable[tuple[int, str]], delimiter: str, origin: str) -> bool:
    """Return whether a header and at least one row have two or more cells, and all of them as many."""
    text = _Lines(lines, origin)
    columns = rows = 0
    try:
        for cells in csv.reader(text, delimiter=delimiter, strict=True):
            text.begin()
            if not any(cell.strip() for cell in cells):
                continue
            if len(cells) < 2 or len(cells) != (columns or len(cells)):
                return False
            rows += bool(columns)
            columns = len(cells)
    except (csv.Error, UserError):
        return False
    return rows > 0


def explain_both(error: UserError, head: bytes, delimiter: str, origin: str) -> str:
    """Return the error of a table with the other fault of its encoding and its delimiter, if it has both.

    A delimiter that splits all rows alike is found without help, so then only the encoding is named.

    Args:
        error: The error about one of them.
        head: The first bytes of the file, without a byte order mark.
        delimiter: The delimiter by the file's name.
        origin: The name of the file.
    """
    # The last line of a longer file may be cut off.
    lines = head.decode("cp1252", "replace").splitlines(keepends=True)
    lines = lines[:-1] if len(head) >= BLOCK else lines
    is_found = bool(find_delimiter(lambda: enumerate(lines, 1), delimiter, origin))
    if isinstance(error, DelimiterError):
        try:
            codecs.getincrementaldecoder("utf-8")().decode(head)
        except UnicodeDecodeError as found:
            save = f"at byte {found.start}; save it as UTF-8"
            return f"{origin}: not UTF-8 {save}" if is_found else f"{error}. It is also not UTF-8, {save}"
        return str(error)
    line = next(filter(str.strip, lines), "").rstrip("\r\n")
    if isinstance(error, EncodingError) and not is_found and not SEPARATOR_LINE.fullmatch(line):
        try:
            header = next(csv.reader([line], delimiter=delimiter), [])
        except csv.Error:
            return str(error)
        if said := explain_delimiter(header, delimiter):
            return f"{error}. It has {said}"
    return str(error)


def _is_number(text: str) -> bool:
    with suppress(ValueError):
        return not math.isnan(float(text))
    return False


def check_columns(names: list[str], origin: str) -> None:
    """Raise UserError if a table has too many columns, or two of one name."""
    if len(names) > MOST_COLUMNS:
        raise UserError(
            f"{origin}: {len(names):,} columns, but at most {MOST_COLUMNS:,} are read; remove "
            "unneeded columns"
        )
    seen: set[str] = set()
    for name in names:
        if name in seen and name:
            raise UserError(f"{origin}: two columns have the name {name!r}; rename one")
        seen.add(name)
