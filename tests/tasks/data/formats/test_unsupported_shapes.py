"""Test the advice for public shapes of data that no format reads."""

from __future__ import annotations

from typing import Any

import pytest

from model.errors import UserError
from tasks.data.file_io.files import SourceFile
from tasks.data.formats.detect import detect_format
from tests.tasks.data.parsing.row_reader import read, read_file

OPTIONS = ["Here.", "There.", "Nowhere."]


@pytest.mark.parametrize(
    "row",
    [
        {"question": "Where?", "subject": "x", "choices": OPTIONS, "answer": 1},
        {"question": "Where?", "choices": {"text": OPTIONS, "label": ["A", "B", "C"]}, "answerKey": "B"},
        {"article": "A mill by the river.", "question": "Where?", "options": OPTIONS, "answer": "C"},
        {"question": "Where?", "options": {"A": "Here.", "B": "There."}, "answer": "A"},
        {"question": "Where?", "A": "Here.", "B": "There.", "C": "Nowhere.", "answer": "B"},
        {"question": "Where?", "option_a": "Here.", "option_b": "There.", "option_c": "Up.", "correct": "a"},
        {"ctx": "A mill stands", "endings": OPTIONS, "label": "0"},
        {"prompt": "Where?", "completion": "There.", "choices": OPTIONS, "answer": "(B)"},
    ],
)
def test_detect_format_multiple_choice_is_explained(row: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=r"it holds multiple-choice questions: .* the letter or the number"):
        read(row, row)


@pytest.mark.parametrize(
    "row",
    [
        {"question": "Where?", "choices": OPTIONS, "answer": "There."},
        {"prompt": "Where?", "completion": "There.", "label": 1},
        {"prompt": "Where?", "a": "Here.", "b": "There.", "choice": "a"},
    ],
)
def test_detect_format_other_answers_are_no_multiple_choice(row: dict[str, Any]) -> None:
    try:
        read(row, row)
    except UserError as error:
        assert "multiple-choice" not in str(error)


@pytest.mark.parametrize(
    "rows",
    [
        [{"message_id": "1", "parent_id": None, "text": "Hi", "role": "prompter"},
         {"message_id": "2", "parent_id": "1", "text": "Hello.", "role": "assistant"}],
        [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello."}],
        [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Hello."}],
        [{"text": "Hi", "speaker": "customer"}, {"text": "Hello.", "speaker": "agent"}],
    ],
)  # fmt: skip
def test_detect_format_rows_of_one_turn_are_explained(rows: list[dict[str, Any]]) -> None:
    with pytest.raises(UserError, match="each object is one turn; write one object per conversation"):
        read(*rows)


@pytest.mark.parametrize("key", ["conversations", "dialog", "data", "utterances", "Turns"])
def test_detect_format_turns_without_speakers_are_explained(key: str) -> None:
    with pytest.raises(UserError, match=f"{key} is a list of texts that do not say who speaks"):
        read({"id": "1", key: ["Hi", "Hello."]}, {"id": "2", key: ["Bye", "See you."]})


@pytest.mark.parametrize(
    "row",
    [
        {"story": "A mill.", "questions": ["Where?"], "answers": {"input_text": ["There."]}},
        {"context": "A mill.", "questions": ["Where?"], "answers": {"texts": [["There."]]}},
        {"passage": "A mill.", "Questions": ["Where?"], "Answers": ["There."]},
    ],
)  # fmt: skip
def test_detect_format_list_of_questions_is_explained(row: dict[str, Any]) -> None:
    with pytest.raises(UserError, match="uestions is a list of questions; write one row per question"):
        read(row, row)


@pytest.mark.parametrize(
    "row",
    [
        {"question": "Where?", "answers": ["There.", "By the river."]},
        {"title": "Where?", "answers": {"text": ["There.", "Up."], "score": [3, 1]}},
        {"prompt": "Where?", "Completions": [{"text": "There.", "score": 3}]},
    ],
)
def test_detect_format_several_answers_are_explained(row: dict[str, Any]) -> None:
    with pytest.raises(UserError, match="is a list of several answers; write one row per answer"):
        read(row, row)


@pytest.mark.parametrize(
    ("name", "content", "what"),
    [
        ("a.txt", "<!DOCTYPE html>\n<html><body>Words.</body></html>", "an HTML page"),
        ("a.md", "\n  <html lang='en'><body>Words.</body></html>", "an HTML page"),
        ("a.txt", "<?xml version='1.0'?>\n<!DOCTYPE html PUBLIC 'x'><html>Words.</html>", "an HTML page"),
        ("a.txt", "<?xml version='1.0'?>\n<rows><row>Words.</row></rows>", "an XML file"),
    ],
)
def test_detect_format_page_of_tags_is_refused(name: str, content: str, what: str) -> None:
    with pytest.raises(UserError, match=f"it is {what}, whose tags .*; save its text .*format: plain"):
        detect_format([SourceFile(name, content.encode())], "mine", "auto")


@pytest.mark.parametrize(
    "text", ["A page begins with <html>.", "<p align='center'>Words.</p>", "<htmlish words"]
)
def test_detect_format_text_about_tags_is_text(text: str) -> None:
    assert detect_format([SourceFile("a.txt", text.encode())], "mine", "auto").name == "plain"


@pytest.mark.parametrize(
    ("clara", "meaning"),
    [
        (["skip", "A", "A"], "vote"), (["", "b", ""], "vote"), (["A", "see note", "tie"], "vote"),
        (["?", "-", "B"], "vote"), ([2, 1, 1], '{"1": a, "2": b}'), ([0, 1, 1], '{"0": ..., "1": ...}'),
    ],
)  # fmt: skip
def test_detect_format_every_persons_choices_are_named(clara: list[Any], meaning: str) -> None:
    rows = [
        {
            "prompt": f"Q{n}",
            "answer_a": "A",
            "answer_b": "B",
            "anna": "A",
            "ben": "B",
            "page": 1,
            "clara": said,
        }
        for n, said in enumerate(clara)
    ]
    with pytest.raises(UserError) as error:
        read(*rows)
    assert f"fields: {{anna: vote, ben: vote, clara: {meaning}}}" in str(error.value)


def _compared(sides: str, people: str, *votes: str) -> str:
    """Return the message about a table of two answers and people's choices of them."""
    table = [f"prompt,{sides},{people}", *(f"Q{n},A{n},B{n},{vote}" for n, vote in enumerate(votes)), ""]
    with pytest.raises(UserError) as error:
        read_file(SourceFile("v.csv", "\n".join(table).encode()))
    return str(error.value)


@pytest.mark.parametrize(
    ("sides", "votes", "meaning"),
    [
        ("answer_1,answer_2", ["1,2", "2,2"], "vote"), ("response_0,response_1", ["0,1", "1,1"], "vote"),
        ("Response 1,Response 2", ["1,tie", "2,1", "2,skip"], "vote"),
        ("output1,output2", ["2,1", "1,"], "vote"),
        ("response_a,response_b", ["1,2", "2,1"], '{"1": a, "2": b}'),
        ("left_answer,right_answer", ["2,1", "1,2", "1,tie"], '{"1": a, "2": b}'),
        ("response_a,response_b", ["0,1", "1,1"], '{"0": ..., "1": ...}'),
        ("answer_1,answer_2", ["0,1", "1,1"], '{"0": ..., "1": ...}'),
    ],
)  # fmt: skip
@pytest.mark.parametrize("people", ["anna,ben", "better_anna,better_ben"])
def test_detect_format_numbers_of_people_are_votes_where_the_answers_have_them(
    sides: str, votes: list[str], meaning: str, people: str
) -> None:
    fields = ", ".join(f"{name}: {meaning}" for name in people.split(","))
    assert f"fields: {{{fields}}}" in _compared(sides, people, *votes)


@pytest.mark.parametrize(
    ("people", "votes", "mapping"),
    [
        ("Ana,Ben", ["left,right", "=,left", "right,right"], "{left: a, right: b}"),
        ("max_r,tom_p", ["<,>", ">,=", "<,<", ">,>"], '{"<": ..., ">": ...}'),
        ("Ana Lima,Eva", ["upper,lower", "lower,upper", "lower,?"], "{lower: ..., upper: ...}"),
    ],
)
def test_detect_format_votes_in_unknown_words_are_proposed_as_mapping(
    people: str, votes: list[str], mapping: str
) -> None:
    said = _compared("answer_a,answer_b", people, *votes)
    named = people.split(",")
    assert f"the columns {', '.join(named)} hold a choice each" in said
    assert said.count(f": {mapping}") == 2 and "say which answer each value means" in said


@pytest.mark.parametrize("remarks", ["notes", "comment", "Begründung"])
def test_detect_format_remarks_like_ties_are_no_votes(remarks: str) -> None:
    said = _compared(
        "answer_1,answer_2", f"anna,ben,{remarks}", "1,2,both good", "2,2,same", "tie,1,no difference"
    )
    assert "fields: {anna: vote, ben: vote}" in said
    said = _compared("answer_1,answer_2", remarks, "both good", "same", "no difference")
    assert "no column has the choice" in said
    # A choice may stand in such a column.
    assert f"{remarks} is the choice" in _compared(
        "answer_1,answer_2", remarks, "answer_1", "same", "answer_2"
    )


@pytest.mark.parametrize("columns", ["source_lang,target_lang", "category,topic", "state,status"])
def test_detect_format_classes_beside_two_answers_are_no_votes(columns: str) -> None:
    assert "no column has the choice" in _compared("answer_1,answer_2", columns, "en,de", "de,en")


@pytest.mark.parametrize("columns", ["turns,level", "has_code,is_long", "page,chapter"])
def test_detect_format_ordinary_numbers_beside_two_answers_are_no_votes(columns: str) -> None:
    assert "no column has the choice" in _compared("answer_1,answer_2", columns, "1,2", "2,2")


@pytest.mark.parametrize(
    ("votes", "path"),
    [
        ({"votes": {"anna": "a", "ben": "b"}}, "votes.anna"),
        ({"meta": {"a.meyer": "B", "b.kunz": "tie"}}, "meta.a.meyer"),
        ({"by": {"first": {"anna": "A", "ben": "A"}}}, "by.first.anna"),
        ({"votes": {"anna": "a"}}, "votes.anna"),
    ],
)  # fmt: skip
def test_detect_format_choices_in_an_object_are_named(votes: dict[str, Any], path: str) -> None:
    with pytest.raises(UserError, match=rf"hold.? a choice each; .*fields: {{{path}: vote"):
        read({"prompt": "Q", "a": "A", "b": "B", **votes})


@pytest.mark.parametrize(
    "key",
    [
        "loser",
        "less_helpful_response",
        "not_chosen",
        "least_preferred",
        "dispreferred_choice",
        "worst_answer",
    ],
)
@pytest.mark.parametrize("sides", [("a", "b"), ("response_a", "response_b")])
def test_detect_format_column_of_the_worse_answer_is_no_choice(key: str, sides: tuple[str, str]) -> None:
    rows = [{"prompt": "Where?", "response_a": "Here.", "response_b": "There.", key: side} for side in sides]
    with pytest.raises(UserError, match=rf"{key} names the worse one, .*{{a: b, b: a}}"):
        read(*rows)
