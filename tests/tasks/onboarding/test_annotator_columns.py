"""Test which column of labels is taken for the annotator, and when `init` asks instead."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from flows.cli import init
from tasks.data.file_io.files import SourceFile
from tasks.data.records import Comparison, Rating
from tasks.onboarding.annotator_columns import choose_annotator
from tasks.onboarding.folder_scan import scan_folder
from tasks.onboarding.preset_writer import _source_section
from tests.tasks.data.parsing.row_reader import read_file

PEOPLE = ("anna", "ben", "cara")
COUNT = 24
Row = dict[str, Any]


def rated(number: int) -> Row:
    return {"prompt": f"Bird {number}?", "completion": f"A robin {number}.", "score": 1 + number % 5}


def compared(number: int) -> Row:
    return {
        "prompt": f"Bird {number}?", "a": f"A robin {number}.", "b": f"A wren {number}.",
        "choice": "ab"[number % 2],
    }  # fmt: skip


def preferred(number: int) -> Row:
    return {"prompt": f"Bird {number}?", "chosen": f"A robin {number}.", "rejected": f"A wren {number}."}


def rows_of(label: Callable[[int], Row], each: int = 1, **columns: Any) -> list[Row]:
    """Return labels with further columns, `each` of them about the same answers."""
    return [
        {**label(n // each), **{name: values[n % len(values)] for name, values in columns.items()}}
        for n in range(COUNT)
    ]


def people_of(rows: Any) -> set[str]:
    found: set[str] = set()
    for row in rows:
        found |= set(row.annotators) if isinstance(row, Rating) else {row.annotator}
    return found


@pytest.mark.parametrize("label", [rated, compared, preferred])
@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("Wer", PEOPLE),
        ("Bearbeiter:in", PEOPLE),
        ("who_did_it", PEOPLE),
        ("rater code", (1, 2, 3)),
        ("von", PEOPLE),
        ("Kürzel", ("AM", "B", "CZ")),
        ("Évaluatrice", PEOPLE),
        ("quién", PEOPLE),
    ],
)
def test_scan_folder_column_named_after_a_person_is_the_annotator(
    tmp_path: Path, label: Callable[[int], Row], name: str, values: Any
) -> None:
    rows = rows_of(label, **{name: values})
    (tmp_path / "mine.csv").write_text("")
    with (tmp_path / "mine.csv").open("w", newline="") as file:
        table = csv.DictWriter(file, list(rows[0]))
        table.writeheader()
        table.writerows(rows)
    (source,) = scan_folder(tmp_path, tmp_path).sources
    assert source.columns["annotator"] == name and people_of(source.rows) == {str(one) for one in values}
    assert source.reasons["annotator"].startswith(
        f"{name} is taken for the annotator: it has 3 different values"
    )
    # The preset says why, and what is read by it is what the scan shows.
    text = "\n".join(_source_section(source))
    (told,) = yaml.safe_load(f"sources:\n{text}")["sources"]
    assert told["columns"]["annotator"] == name and "# " + source.reasons["annotator"][:60] in text
    found, _ = read_file(SourceFile("mine.csv", path=tmp_path / "mine.csv"), columns=told["columns"])
    assert people_of(one.row for one in found) == people_of(source.rows) and len(found) == COUNT


def test_scan_folder_annotator_beside_a_verdict_that_is_asked_about_is_proposed(tmp_path: Path) -> None:
    rows = [
        {"Frage": f"Vogel {n}?", "Antwort": f"Spatz {n}.", "Bewertung": n % 5, "Wer": PEOPLE[n % 3]}
        for n in range(COUNT)
    ]
    (tmp_path / "mine.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (source,) = scan_folder(tmp_path, tmp_path).sources
    assert source.asked == {"Bewertung": "verdict"} and source.columns["annotator"] == "Wer"
    found, _ = read_file(
        SourceFile("mine.jsonl", path=tmp_path / "mine.jsonl"),
        format="rows", columns=source.columns, fields={"Bewertung": "verdict"},
    )  # fmt: skip
    assert people_of(one.row for one in found) == set(PEOPLE)


def test_choose_annotator_values_that_differ_for_one_item_are_people() -> None:
    rows = rows_of(compared, each=3, xyz=PEOPLE)
    assert choose_annotator(rows, ["xyz"], {}).column == "xyz"
    # The sides of an item may be exchanged.
    turned = [{**row, "a": row["b"], "b": row["a"]} if n % 2 else row for n, row in enumerate(rows)]
    assert choose_annotator(turned, ["xyz"], {}).column == "xyz"


def test_choose_annotator_one_label_an_item_under_an_unknown_name_is_asked() -> None:
    found = choose_annotator(rows_of(compared, xyz=PEOPLE), ["xyz"], {})
    assert not found.column
    assert found.note.startswith("Does xyz name the person who gave each label? If so, add columns: {annotat")


def test_choose_annotator_two_columns_are_named_and_none_is_chosen() -> None:
    rows = rows_of(compared, each=3, von=PEOPLE, xyz=(*PEOPLE[1:], PEOPLE[0]))
    found = choose_annotator(rows, ["von", "xyz"], {})
    assert not found.column and "von or xyz? None is used" in found.note


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("Bereich", ("sport", "politics")),
        ("Gruppe", PEOPLE),
        ("xyz", ("de", "en")),
        ("xyz", ("gpt-4", "claude-3")),
        ("xyz", (1, 2, 3, 4)),
        ("xyz", ("good", "bad")),
        ("xyz", ("2024-01-02", "2024-01-03")),
        ("xyz", tuple(f"person {n}" for n in range(COUNT))),
        ("xyz", ("It is a long remark about this answer.", "Another remark about it, long too.")),
        ("xyz", (True, False)),
        ("xyz", ("helpfulness", "truthfulness")),
        ("who_wrote_it", PEOPLE),
        ("rater_group", PEOPLE),
        ("Wer", ("anna",)),
    ],
)
def test_choose_annotator_other_columns_are_neither_chosen_nor_asked(name: str, values: Any) -> None:
    assert choose_annotator(rows_of(compared, **{name: values}), [name], {}) == ("", "")


def test_choose_annotator_value_of_the_item_is_neither_chosen_nor_asked() -> None:
    rows = [{**row, "xyz": ("red", "green")[n // 3 % 2]} for n, row in enumerate(rows_of(compared, each=3))]
    assert choose_annotator(rows, ["xyz"], {}) == ("", "")


def test_choose_annotator_column_that_a_row_lacks_is_not_chosen() -> None:
    rows = [*rows_of(compared, Wer=PEOPLE), compared(COUNT)]
    assert not choose_annotator(rows, ["Wer"], {}).column


def test_choose_annotator_beside_a_known_annotator_is_not_asked() -> None:
    rows = rows_of(compared, Wer=PEOPLE, rater=("dan", "eva"))
    assert choose_annotator(rows, ["Wer"], {}) == ("", "")


def test_scan_folder_pairs_without_labels_have_no_annotator(tmp_path: Path) -> None:
    rows = [
        {"prompt": f"Bird {n}?", "completion": f"A robin {n}.", "Wer": PEOPLE[n % 3]} for n in range(COUNT)
    ]
    (tmp_path / "mine.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (source,) = scan_folder(tmp_path, tmp_path).sources
    assert "annotator" not in source.columns and not source.reasons
    assert any("unused keys: Wer (24" in note for note in source.notes)


def test_print_scan_names_the_column_and_the_question(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from flows.common.terminal import Console

    for name, columns in (("one", {"Wer": PEOPLE}), ("two", {"xyz": PEOPLE})):
        rows = rows_of(compared, **columns)
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = scan_folder(tmp_path, tmp_path)
    assert all(isinstance(row, Comparison) for row in found.of("comparisons"))
    init._print_scan(found, Console(highlight=False), notes=False)
    said = " ".join(capsys.readouterr().out.split())
    assert "Wer is taken for the annotator" in said and "Does xyz name the person" in said
    assert "Wer as annotator" not in said
