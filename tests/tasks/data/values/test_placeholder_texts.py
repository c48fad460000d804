"""Answers that stand for another text are not learned."""

from __future__ import annotations

import pytest

from model.errors import UserError
from tasks.data.file_io.files import SourceFile
from tasks.data.values.placeholder_texts import placeholder_reason
from tests.tasks.data.parsing.row_reader import read, read_file


@pytest.mark.parametrize(
    "text",
    [
        "siehe oben", "s. o.", "s.o.", "(s.o.)", "Dito", '"', "''", '-"-', "〃", "同上", "See above.",
        "Same as above", "See answer to Question 3.", "Siehe Antwort 3", "siehe Frage Nr. 12", "idem",
        "voir ci-dessus", "as above!",
    ],
)  # fmt: skip
def test_placeholder_reason_reference_names_another_row(text):
    assert placeholder_reason(text) == "refers to another row"


@pytest.mark.parametrize(
    "text", ["TBD", "[to be completed]", "TODO", "wird ergänzt", "未記入", "???", "xxx", "？？"]
)
def test_placeholder_reason_unwritten_text_is_named(text):
    assert "yet to be written" in placeholder_reason(text)


@pytest.mark.parametrize(
    "text",
    [
        "", "-", "same", "Yes", "See section 4 of the lease.", "See above for the steps, then restart.",
        "'a'", '"yes"', "Todo", "12", "Siehe Handbuch", "The same as above the door", "line 3", "See line 12",
    ],
)  # fmt: skip
def test_placeholder_reason_ordinary_answer_is_empty(text):
    assert placeholder_reason(text) == ""


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": "How do I log in?", "completion": "see above"},
        {"prompt": "How do I log in?", "completion": "dito", "score": 5},
        {"prompt": "How do I log in?", "a": "Use the card.", "b": "TBD", "choice": "a"},
        {"prompt": "〃", "completion": "Use the card."},
        {"question": "How do I log in?", "answer": "同上"},
        {"instruction": "Log in", "input": "", "output": "siehe Antwort 3"},
    ],
)
def test_read_rows_placeholder_is_quarantined_with_its_text(row):
    whole = {
        name: value if isinstance(value, int) or name == "choice" else f"{value} Yes."
        for name, value in row.items()
    }
    columns = {"prompt": "question", "completion": "answer"} if "question" in row else {}
    rows, tally = read(whole, row, columns=columns)
    assert [bool(one.row.fault) for one in rows] == [False, True]
    assert "write the text itself" in tally.first_fault


def test_read_rows_placeholder_called_text_is_learned():
    rows, tally = read({"prompt": "And now?", "completion": "see above"}, fields={"completion": "text"})
    assert [one.row.completion for one in rows] == ["see above"]
    assert not tally.faults


def test_read_rows_placeholder_in_conversation_stays():
    turns = [
        ("user", "Where?"),
        ("assistant", "In the hall."),
        ("user", "Where again?"),
        ("assistant", "See above."),
    ]
    rows, tally = read({"messages": [{"role": role, "content": text} for role, text in turns]})
    assert [one.row.completion for one in rows] == ["In the hall.", "See above."]
    assert not tally.faults


def test_read_rows_strict_placeholder_stops_with_its_line():
    from tasks.data.formats.detect import choose_reading
    from tasks.data.parsing.base import ParseOptions
    from tasks.data.parsing.reader import read_rows
    from tasks.data.questions.skip_counts import SkipCounts

    file = SourceFile("a.csv", b"prompt,completion\nHow?,So.\nWhy?,ditto\n")
    known, reading = choose_reading([file], "mine", "auto", ParseOptions("mine"))
    with pytest.raises(UserError, match=r"a.csv, line 3.*'ditto'"):
        list(read_rows(known, [file], reading, SkipCounts(), strict=True))
    assert len(read_file(file)[0]) == 2
