"""Test the recognition of columns by common names, and of unsupported shapes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from model.errors import UserError
from tasks.data.file_io.files import SourceFile
from tasks.data.formats.detect import choose_reading, detect_format
from tasks.data.parsing.base import ParseOptions
from tasks.data.parsing.guessed_rows import guess_rows
from tasks.data.records import Comparison, Pair, Text
from tasks.data.values.column_names import (
    Guess,
    answer_columns,
    format_columns,
    guess_columns,
    labelled_columns,
    respelled_columns,
)
from tests.tasks.data.parsing.row_reader import read_file


def rows(file: SourceFile, wanted: str = "auto", **columns: str) -> list[Any]:
    known, reading = choose_reading([file], "mine", wanted, ParseOptions("mine", columns=columns))
    return [found.row for found in known.parse([file], reading)]


@pytest.mark.parametrize(
    ("keys", "format", "columns"),
    [
        ("question answer", "rows", "columns: {prompt: question, completion: answer}"),
        ("id query response", "rows", "columns: {prompt: query, completion: response}"),
        ("input output split", "rows", "columns: {prompt: input, completion: output}"),
        ("request reply", "rows", "columns: {prompt: request, completion: reply}"),
        ("User Query|Solution", "rows", 'columns: {prompt: "User Query", completion: Solution}'),
        ("Question|Answer|Rating|Rated by", "rows",
         'columns: {prompt: Question, completion: Answer, annotator: "Rated by"}'),
        ("prompt|completion|score|Rater", "rows", "columns: {annotator: Rater}"),
        ("query|reply|stars|LabeledBy", "rows",
         "columns: {prompt: query, completion: reply, annotator: LabeledBy}"),
        # The user beside a question may be who asked it.
        ("question|answer|user", "rows", "columns: {prompt: question, completion: answer}"),
        ("text|reviewer", "rows", ""),
        ("title body", "rows", "columns: {text: body}"),
        ("title answer", "rows", "columns: {prompt: title, completion: answer}"),
        ("url article", "rows", "columns: {text: article}"),
        ("question response_a response_b winner rater", "rows",
         "columns: {prompt: question, a: response_a, b: response_b, choice: winner, annotator: rater}"),
        ("prompt answer1 answer2 preference", "rows",
         "columns: {a: answer1, b: answer2, choice: preference}"),
        ("query preferred_response dispreferred_response", "preferences",
         "columns: {prompt: query, chosen: preferred_response, rejected: dispreferred_response}"),
        ("instruction chosen_response rejected_response", "preferences",
         "columns: {prompt: instruction, chosen: chosen_response, rejected: rejected_response}"),
    ],
)  # fmt: skip
def test_guess_columns_common_names_are_recognized(keys: str, format: str, columns: str) -> None:
    found = guess_columns(keys.split("|") if "|" in keys else keys.split())
    assert found is not None and (found.format, format_columns(found.columns)) == (
        format,
        columns or "columns: {}",
    )


@pytest.mark.parametrize(
    ("keys", "columns"),
    [
        ("prompt response_0 response_1 response_0_source better_response_id safer_response_id",
         "columns: {a: response_0, b: response_1, choice: better_response_id}"),
        ("Input.prompt Input.response_a Input.response_b Answer.choice WorkerId",
         'columns: {prompt: "Input.prompt", a: "Input.response_a", b: "Input.response_b", '
         'choice: "Answer.choice", annotator: WorkerId}'),
        ("history human_ref_A human_ref_B score_A score_B labels",
         "columns: {prompt: history, a: human_ref_A, b: human_ref_B, choice: labels}"),
        ("context response1 response2 individual_preference overall_preference",
         "columns: {prompt: context, a: response1, b: response2, choice: overall_preference}"),
        ("model_a model_b winner judge conversation_a conversation_b turn",
         "columns: {a: conversation_a, b: conversation_b, choice: winner, annotator: judge}"),
        ("article summary_1 summary_2 human_preference why_preferred prompt",
         "columns: {a: summary_1, b: summary_2, choice: human_preference}"),
        ("Frage|Antwort|answer left|answer right|Which is better?",
         'columns: {prompt: Frage, a: "answer left", b: "answer right", choice: "Which is better?"}'),
    ],
)  # fmt: skip
def test_guess_columns_two_answers_differ_in_their_side_only(keys: str, columns: str) -> None:
    found = guess_columns(keys.split("|") if "|" in keys else keys.split())
    assert found is not None and (found.format, format_columns(found.columns)) == ("rows", columns)


@pytest.mark.parametrize(
    ("keys", "columns"),
    [
        ("response_a response_b response_c", ()),
        ("answer_0 answer_1 answer_2", ()),
        ("answer_1_score answer_2_score", ()),
        ("lat_a lat_b", ()),
        ("output2 output1", ("output1", "output2")),
        ("model_a model_b reply_a reply_b", ("reply_a", "reply_b")),
        ("right left", ("left", "right")),
    ],
)
def test_answer_columns_of_exactly_two_answers_are_found(keys: str, columns: tuple[str, ...]) -> None:
    assert answer_columns(keys.split()) == columns


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ({"winner_model_a": 1, "winner_model_b": 0, "winner_tie": 0}, "hold one choice in several columns"),
        ({"better_first": "yes", "better_second": "no"}, "better_first, better_second hold one choice"),
        (
            {"score_0": 0.5, "score_1": -0.5},
            "score_0 and score_1 tell which is better; add .* fields: {score_0: verdict, score_1: verdict}",
        ),
    ],
)
def test_detect_format_choice_in_several_columns_is_explained(more: dict[str, Any], says: str) -> None:
    made = {"question": "Who?", "reply_a": "Me.", "reply_b": "You.", **more}
    with pytest.raises(UserError, match=says):
        detect_format([SourceFile("a.jsonl", json.dumps(made).encode())], "mine", "auto")


@pytest.mark.parametrize("keys", ["id name", "width height", "lat lon time", "a b"])
def test_guess_columns_unrelated_names_return_none(keys: str) -> None:
    assert guess_columns(keys.split()) is None


def test_choose_reading_columns_alone_select_format() -> None:
    file = SourceFile("a.csv", b"question,answer\nWhy?,So.\n")
    (row,) = rows(file, prompt="question", completion="answer")
    assert isinstance(row, Pair) and (row.prompt, row.completion) == ("Why?", "So.")
    (row,) = rows(SourceFile("a.csv", b"n,body\n1,A text.\n"), text="body")
    assert isinstance(row, Text) and row.text == "A text."
    compared = SourceFile("a.csv", b"q,x,y,who\nWhy?,So.,No.,y\n")
    (row,) = rows(compared, prompt="q", a="x", b="y", choice="who")
    assert isinstance(row, Comparison) and row.choice == "b"


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv", b"Prompt,Completion\nWhy?,So.\n"),
        ("a.csv", b"PROMPT;x\n".replace(b";x", b",COMPLETION") + b"Why?,So.\n"),
        ("a.tsv", b" Prompt \tcompletion\nWhy?\tSo.\n"),
        ("a.jsonl", b'{"Prompt": "Why?", "completion ": "So."}\n'),
        ("a.csv", b"sep=;\r\nprompt;completion\r\nWhy?;So.\r\n"),
        ("a.csv", b"sep=,\nprompt,completion\nWhy?,So.\n"),
        ("a.csv", b'"sep=|"\nPrompt|Completion\nWhy?|So.\n'),
        ("a.csv", b"prompt,completion\rWhy?,So.\r"),
        ("a.csv", b'prompt,completion\r"Why?",So.'),
        ("a.csv", b"\xef\xbb\xbf\xef\xbb\xbfprompt,completion\nWhy?,So.\n"),
        ("a.csv", b'\xef\xbb\xbf"Prompt","Completion"\rWhy?,So.\r'),
        ("a.jsonl", b'\xef\xbb\xbf{"prompt": "Why?", "completion": "So."}\n'),
    ],
)
def test_choose_reading_header_spelling_bom_and_line_ends_are_read(name: str, content: bytes) -> None:
    (row,) = rows(SourceFile(name, content))
    assert (row.prompt, row.completion) == ("Why?", "So.")
    (row,) = rows(SourceFile(name, content), "rows")
    assert (row.prompt, row.completion) == ("Why?", "So.")


def test_parse_carriage_return_in_quotes_keeps_line_numbers() -> None:
    file = SourceFile("a.csv", b'prompt,completion\rWhy?,"One.\rTwo."\rHow?,So,\r')
    known, reading = choose_reading([file], "mine", "rows", ParseOptions("mine"))
    with pytest.raises(UserError, match=r"a\.csv, line 4: 3 cells under 2 columns"):
        list(known.parse([file], reading))
    (row,) = rows(SourceFile("a.csv", b'prompt,completion\rWhy?,"One.\rTwo."\r'))
    assert "One." in row.completion and "Two." in row.completion
    (row,) = rows(SourceFile("a.csv", b'prompt,completion\nWhy?,"One.\rTwo."\n'))
    assert row.completion == "One.\rTwo."


def test_respelled_columns_name_in_two_spellings_is_not_renamed() -> None:
    assert respelled_columns(["prompt", "Prompt", "Completion"]) == {"completion": "Completion"}
    assert respelled_columns(["prompt", "completion"]) == {}


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("a.json", {"rows": [{"prompt": "P", "completion": "r"}]}, "object whose key 'rows' holds the rows"),
        ("a.json", {"meta": {"n": 1}, "examples": [{"text": "P"}]}, "whose key 'examples' holds the rows"),
        ("a.json", {"prompt": {"0": "P", "1": "Q"}, "completion": {"0": "r", "1": "s"}}, "orient='records'"),
        ("a.json", {"data": [{"title": "T", "paragraphs": [{"context": "C", "qas": []}]}]}, "SQuAD layout"),
        ("a.json", {"question": "Q", "context": "C", "answers": {"text": ["A"], "answer_start": [1]}},
         "rows, columns: {prompt: question, completion: answers}"),
        ("a.json", {"prompt": "Q", "context": "C", "answer": {"text": ["A"], "answer_start": [1]}},
         "columns: {completion: answer}"),
        ("a.json", {"query": "Q", "answers": "{'text': array(['A']), 'answer_start': array([1])}"},
         "columns: {prompt: query, completion: answers}"),
        ("a.json", {"question": "Q", "answers": [{"text": "A", "answer_start": 1}]},
         "columns: {prompt: question, completion: answers}"),
        ("a.jsonl", {"prompt": "P", "response_a": "A", "response_b": "B", "winner": "model_b"},
         "columns: {a: response_a, b: response_b, choice: winner}"),
        ("a.json", {"prompt": "P", "answer_a": "A", "answer_b": "B", "worse": "a"},
         "worse names the worse one, add to the source format: rows, columns: {a: answer_a, b: answer_b, "
         "choice: worse}, fields: {worse: {a: b, b: a}}"),
        ("a.json", {"prompt": "P", "a": "A", "b": "B", "votes": {"ana": "a"}},
         "the column votes.ana holds a choice each; where each is a person, add to the source format: rows, "
         "fields: {votes.ana: vote}"),
        ("a.json", {"title": "T", "paragraphs": [{"context": "C", "qas": []}]}, "SQuAD layout"),
        ("a.json", {"instruction": "P", "completions": [{"response": "A", "score": 3}]}, "several answers;"),
        ("a.json", {"prompt": "P", "answer_1": "A", "answer_2": "B", "ana": "a", "ben": "Answer 2", "e": ""},
         "the columns ana, ben hold a choice each"),
        ("a.json", {"frage": "P", "Response A": "A", "Response B": "B", "r1": "A", "r2": "both bad"},
         "the columns r1, r2 hold a choice each; where each is a person, add to the source format: rows"),
        ("a.json", {"columns": ["text"], "index": [0], "data": [["T"]]}, "orient='split'"),
        ("a.json", {"text": ["One.", "Two."]}, "it has one list per column; write one object per row"),
        ("a.jsonl", {"contents": [{"role": "user", "parts": [{"text": "Hi"}]}]}, "contents has turns of"),
        ("a.jsonl", {"messages": [{"role": "model", "parts": [{"text": "Hi"}]}]}, "as Gemini does; "
            "expected turns"),
        ("a.jsonl", {"messages": {"role": ["user"], "content": ["Hi"]}}, "messages is an object of lists"),
        ("a.jsonl", {"messages": [[["role", "user"], ["content", "Hi"]]]}, "messages is a list of maps"),
        ("a.jsonl", {"role": "user", "content": "Hi"}, "each object is one turn"),
        ("a.jsonl", {"conversation": [{"role": "user", "content": "Hi"}]}, "format: messages, "
            "columns: {messages: conversation}"),
        ("a.json", {"id": 3, "task": {"id": 1}, "result": [], "completed_by": 2}, "Label Studio's cloud"),
        ("a.jsonl", {"question": "Q", "answer": "A"}, "columns: {prompt: question, completion: answer}"),
        ("a.jsonl", {"width": 1, "height": 2}, "its keys are width, height. Map them"),
    ],
)  # fmt: skip
def test_detect_format_unsupported_shape_is_explained(name: str, value: object, says: str) -> None:
    with pytest.raises(UserError) as error:
        detect_format([SourceFile(name, json.dumps(value).encode())], "mine", "auto")
    assert says in str(error.value) and len(str(error.value)) < 260


@pytest.mark.parametrize("content", [b"prompt,completion\n", b"text\n\n", b"sep=;\nprompt;completion\n"])
def test_detect_format_table_without_rows_is_empty(content: bytes) -> None:
    with pytest.raises(UserError, match=r"a\.csv is empty \(it has a header and no row\)"):
        detect_format([SourceFile("a.csv", content)], "mine", "auto")
    (row,) = rows(SourceFile("b.csv", b"text\nA text.\n"))
    assert (
        detect_format(
            [SourceFile("a.csv", content), SourceFile("b.csv", b"text\nA text.\n")], "mine", "auto"
        ).name
        == "rows"
    )
    assert isinstance(row, Text)


def test_detect_format_parquet_without_rows_is_empty(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    parquet.write_table(pyarrow.table({"text": pyarrow.array([], "string")}), tmp_path / "a.parquet")
    with pytest.raises(UserError, match="is empty"):
        detect_format([SourceFile("a.parquet", path=tmp_path / "a.parquet")], "mine", "auto")


@pytest.mark.parametrize("content", [b"Survey of May\nprompt,completion\nP,r\n", b"Survey,,\na,b,c\nP,r,x\n"])
def test_detect_format_title_above_header_is_refused(content: bytes) -> None:
    with pytest.raises(UserError, match="title above the header"):
        detect_format([SourceFile("a.csv", content)], "mine", "auto")


@pytest.mark.parametrize("key", ["Which response is better?", "Q1", "Your view"])
def test_detect_format_column_with_choices_is_proposed(key: str) -> None:
    told = ["Response A", "Response B", "Prefer not to say"]
    made = [{"Prompt": "Who?", "Response A": "Me.", "Response B": "You.", key: said} for said in told]
    file = SourceFile("a.jsonl", "".join(json.dumps(row) + "\n" for row in made).encode())
    with pytest.raises(UserError, match=r"add to the source format: rows.*choice: ") as error:
        detect_format([file], "mine", "auto")
    assert key in str(error.value)


@pytest.mark.parametrize("number", ["1.23457E+17", "1,5e+12", 1.2345678901234568e17])
def test_parse_annotator_without_last_digits_is_refused(number: object) -> None:
    row = {"prompt": "Who?", "a": "Me.", "b": "You.", "choice": "a", "annotator_id": number}
    with pytest.raises(UserError, match=r"without its last digits.*export the column as text"):
        rows(SourceFile("a.jsonl", json.dumps(row).encode()))


def test_parse_long_whole_number_of_annotator_is_kept() -> None:
    made = [
        {"prompt": "Who?", "a": "Me.", "b": "You.", "choice": "a", "annotator_id": 2**53 + n} for n in (0, 1)
    ]
    file = SourceFile("a.jsonl", "".join(json.dumps(row) + "\n" for row in made).encode())
    assert [row.annotator for row in rows(file)] == ["9007199254740992", "9007199254740993"]


@pytest.mark.parametrize("key", ["text", "data"])
@pytest.mark.parametrize(
    "answers", [["It is a small bird.", "An old oak tree.", "A robin."], ["One, two and three."]]
)
def test_labelled_columns_list_of_one_answer_is_the_completion(key: str, answers: list[str]) -> None:
    made = [{key: f"Name thing {n}.", "label": [said]} for n, said in enumerate(answers)]
    columns = labelled_columns(made)
    assert columns == {"prompt": key, "completion": "label"}
    file = SourceFile(
        "a.jsonl", "".join(json.dumps(row) + "\n" for row in [*made, {key: "x", "label": []}]).encode()
    )
    with pytest.raises(
        UserError, match=r"add to the source format: rows, columns: {prompt: \w+, completion: label}"
    ):
        detect_format([file], "mine", "auto")
    found = rows(file, "rows", **columns)
    assert [row.completion for row in found if isinstance(row, Pair)] == answers


@pytest.mark.parametrize(
    "labels",
    [[["bird"], ["tree"]], [["not a bird"]] * 4, [[[0, 3, "NOUN"]]], [["One answer here.", "Two."]], ["x"]],
)
def test_labelled_columns_classes_spans_and_several_labels_are_no_answers(labels: list[Any]) -> None:
    assert labelled_columns([{"text": "Words.", "label": label} for label in labels]) == {}


@pytest.mark.parametrize(
    ("keys", "columns"),
    [
        (
            "inputs.question outputs.answer metadata.split",
            {"prompt": "inputs.question", "completion": "outputs.answer"},
        ),
        ("data.query data.response id", {"prompt": "data.query", "completion": "data.response"}),
        ("question meta.question answer", {"prompt": "question", "completion": "answer"}),
    ],
)
def test_guess_columns_of_flattened_objects(keys: str, columns: dict[str, str]) -> None:
    found = guess_columns(keys.split())
    assert found is not None and found.columns == columns


ROLES = [{"role": "user", "content": "Q"}, {"role": "assistant", "content": "A"}]
SPEAKERS = [{"from": "human", "value": "Q"}, {"from": "gpt", "value": "A"}]


@pytest.mark.parametrize(
    ("row", "found"),
    [
        ({"conversation": ROLES, "language": "en"}, Guess("messages", {"messages": "conversation"})),
        ({"id": 1, "Dialogue": SPEAKERS}, Guess("sharegpt", {"conversations": "Dialogue"})),
        ({"chat": json.dumps(ROLES)}, Guess("messages", {"messages": "chat"})),
        ({"conversation": [{"input": "Q", "output": "A"}]}, None),
        ({"answers": [{"author": "x", "text": "A"}]}, None),
        ({"conversation": ROLES, "thread": ROLES}, None),
    ],
)
def test_guess_rows_of_turns_under_another_name(row: dict[str, Any], found: Guess | None) -> None:
    assert guess_rows([row, row]) == found


@pytest.mark.parametrize(
    ("row", "path"),
    [
        ({"id": 1, "inputs": {"q": "What is a fjord?"}, "outputs": {"a": "A long inlet."}}, "inputs.q"),
        (
            {"tree": {"text": "What is a fjord?", "replies": [{"text": "A long inlet."}]}},
            r"tree.replies\[\].text",
        ),
        ({"mapping": {"a": {"parts": ["What is a fjord?"]}}, "title": "Fjord"}, "mapping.a.parts"),
    ],
)
def test_detect_format_texts_inside_objects_are_explained(row: dict[str, Any], path: str) -> None:
    with pytest.raises(UserError, match=f"its texts are inside objects, as under .*{path}"):
        detect_format([SourceFile("a.jsonl", json.dumps(row).encode())], "mine", "auto")


@pytest.mark.parametrize(
    ("header", "row"),
    [
        ("Prompt,Completion,Rejected", "yes"), ("prompt,completion,Chosen", "no"),
        ("instruction,output,Choice", "bad"), ("prompt,completion,Text", "rejected"),
    ],
)  # fmt: skip
def test_choose_reading_verdict_named_as_another_kind_needs_meaning(header: str, row: str) -> None:
    table = header + "".join(f"\nName bird {n}.,A robin {n}.,{row if n % 2 else ''}" for n in range(6))
    found, tally = read_file(SourceFile("a.csv", table.encode()))
    assert all(isinstance(one.row, Pair) for one in found) and len(found) == 6
    with pytest.raises(UserError, match=f"the key {header.rpartition(',')[2]} is .* looks like"):
        tally.check("mine")


@pytest.mark.parametrize(
    ("keys", "found"),
    [
        (
            ["Prompt", "A", "B", "Choice", "Text"],
            {"prompt": "Prompt", "a": "A", "b": "B", "choice": "Choice"},
        ),
        (["Prompt", "A", "B", "anna"], {"prompt": "Prompt", "a": "A", "b": "B"}),
        (["Text", "Label"], {"text": "Text", "label": "Label"}),
    ],
)
def test_respelled_columns_keep_those_of_their_rows(keys: list[str], found: dict[str, str]) -> None:
    assert respelled_columns(keys) == found
