"""Test the format `preferences`, alone and beside similar formats."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest

from model.errors import UserError
from tasks.data.file_io.files import SourceFile, SourceRecord
from tasks.data.formats.registry import find_format
from tasks.data.parsing.base import FileSample, ParseOptions
from tasks.data.records import text_digest
from tests.tasks.data.formats.export_reader import assistant, read_objects, rows_of, sides, user


def test_preferences_of_texts_become_comparisons() -> None:
    one, other, equal, empty, transcript = rows_of(*read_objects("preferences"))
    assert sides(one) == ("Water.", "Boats.") and sides(other) == ("Boats.", "Water.")
    # Two people disagree: the sides are equal, and only the choice differs.
    assert (one.a, one.b) == (other.a, other.b)
    assert one.group == other.group == text_digest("What turns the wheel?")
    assert (one.annotator, one.aspect, one.time) == ("ann", "truthfulness", "2024-03-01T10:00:00+01:00")
    assert (other.annotator, other.aspect) == ("7", "helpfulness")
    assert other.time == "2024-03-01T09:00:00+00:00"
    # Two equal answers are a tie.
    assert equal.choice == "tie" and (equal.annotator, equal.time) == ("unknown", "")
    # An empty answer is left to validation.
    assert sides(empty) == ("Water.", "") and empty.history == [
        {"role": "system", "content": "You know mills."}
    ]
    assert transcript.prompt == "Who owns the mill?"
    assert transcript.history == [user("Hello"), assistant("Hi.")]
    assert transcript.group == text_digest("Hello")


def test_preferences_of_messages_become_comparisons() -> None:
    explicit, implicit, beside = rows_of(*read_objects("preferences", stem="preferences_messages"))
    assert explicit.prompt == "What turns the wheel?" and sides(explicit) == ("Water.", "Boats.")
    assert explicit.history == [{"role": "system", "content": "You know mills."}]
    assert implicit.prompt == "Who owns the mill?" and sides(implicit) == ("The miller.", "The mayor.")
    assert implicit.history == [user("Hello"), assistant("Hi.")]
    # A prompt that the lists also begin with is not repeated.
    assert (beside.prompt, beside.history) == ("Is it open?", [])
    assert sides(beside) == ("Until six.", "Perhaps.")


def test_preferences_implicit_prompt_ends_at_word() -> None:
    (row,) = rows_of(
        *read_objects("preferences", {"chosen": "The sky is blue.", "rejected": "The sky is black, though."})
    )
    assert row.prompt == "The sky is" and sides(row) == (" blue.", " black, though.")


def test_preferences_equal_lists_are_tie() -> None:
    turns = [user("one"), assistant("two"), user("three"), assistant("four")]
    (row,) = rows_of(*read_objects("preferences", {"chosen": turns, "rejected": turns}))
    assert (row.prompt, row.a, row.b, row.choice) == ("three", "four", "four", "tie")


def test_preferences_single_message_and_renamed_keys_are_read() -> None:
    row = {"question": "one", "chosen": assistant("two"), "rejected": assistant("three"), "by": "eve"}
    (found,) = rows_of(*read_objects("preferences", row, columns={"prompt": "question", "annotator": "by"}))
    assert found.prompt == "one" and sides(found) == ("two", "three") and found.annotator == "eve"


def test_preferences_preferred_side_is_balanced() -> None:
    rows = [{"prompt": f"question {n}", "chosen": "right", "rejected": "wrong"} for n in range(200)]
    first = sum(row.choice == "a" for row in rows_of(*read_objects("preferences", *rows)))
    assert 70 < first < 130


@pytest.mark.parametrize("prompt", ["", " ", "\n\nHuman:"])
def test_preferences_and_unpaired_empty_prompt_is_kept(prompt: str) -> None:
    sides = {"chosen": "a cat", "rejected": "a dog"}
    (row,) = rows_of(*read_objects("preferences", {"prompt": prompt, **sides}))
    assert row.prompt == "" and {row.a, row.b} == {"a cat", "a dog"}
    (rated,) = rows_of(*read_objects("unpaired", {"prompt": prompt, "completion": "b", "label": True}))
    assert rated.prompt == ""


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ({"prompt": "a", "chosen": "b"}, "line 1: no rejected; its keys are prompt, chosen"),
        (
            {"prompt": "a", "chosen": "b", "rejected": None},
            "line 1: chosen is a text and rejected is null; expected both as texts, or both as lists",
        ),
        ({"chosen": "blue", "rejected": "green"}, "line 1: no prompt, and chosen and rejected"),
        ({"chosen": "The sea", "rejected": "The sea"}, "do not begin alike and end otherwise"),
        (
            {"chosen": [assistant("a")], "rejected": [assistant("b")]},
            "line 1: no prompt, and chosen and rejected",
        ),
        (
            {"chosen": "\n\nHuman: a\n\nAssistant: b", "rejected": "\n\nHuman: a\n\nAssistant: c"},
            "line 1: chosen is a transcript; format hh_rlhf reads files of them",
        ),
        (
            {"chosen": [user("a"), assistant("b")], "rejected": [user("c"), assistant("d")]},
            "line 1: no prompt, and chosen and rejected do not begin alike",
        ),
        (
            {
                "chosen": [user("a"), assistant("b"), user("c"), assistant("d")],
                "rejected": [user("a"), assistant("e")],
            },
            "line 1: chosen ends with the turns assistant, user, assistant; expected one assistant turn",
        ),
        (
            {"prompt": "z", "chosen": [user("a"), assistant("b")], "rejected": [user("a"), assistant("c")]},
            "line 1: the prompt differs from the beginning of chosen and rejected",
        ),
        (
            {"prompt": [user("a"), assistant("b")], "chosen": "c", "rejected": "d"},
            "line 1: the prompt ends with an assistant turn",
        ),
        (
            {"prompt": "a", "chosen": [{"role": "tool", "content": "b"}], "rejected": []},
            "line 1, chosen, turn 1: role 'tool' cannot be learned",
        ),
        ({"prompt": "a", "chosen": [], "rejected": []}, "chosen has no assistant turn"),
    ],
)
def test_preferences_invalid_row_is_refused_with_line(row: dict[str, Any], says: str) -> None:
    with pytest.raises(UserError, match=says):
        read_objects("preferences", row)


def test_fits_ambiguous_row_matches_no_preference_format() -> None:
    def fits(name: str, **row: Any) -> bool:
        return not find_format(name).fits(FileSample("given.jsonl", "", (SourceRecord(row, "line 1"),)))

    assert not fits("preferences", chosen="The sky is blue.", rejected="The sky is green.")
    assert not fits("unpaired", prompt="a", completion="b", label=1)
    assert fits("unpaired", prompt="a", completion="b", label="True")


def test_parse_csv_json_and_parquet_preferences_are_equal(tmp_path: Path) -> None:
    (tmp_path / "labels.csv").write_text(
        "prompt,chosen,rejected,annotator,created_at\nWhat turns it?,Water.,Boats.,ann,2024-03-01T09:00:00Z\n"
    )
    (tmp_path / "labels.json").write_text(
        json.dumps([{"prompt": "What turns it?", "completion": "Water.", "label": True}])
    )
    turns = [[user("What turns it?"), assistant(answer)] for answer in ("Water.", "Boats.")]
    times = [datetime(2024, 3, 1, 9, tzinfo=UTC)]
    pyarrow.parquet.write_table(
        pyarrow.table({"chosen": turns[:1], "rejected": turns[1:], "timestamp": times}),
        tmp_path / "labels.parquet",
    )

    def found(name: str, file: str) -> Any:
        (one,) = find_format(name).parse([SourceFile(file, path=tmp_path / file)], ParseOptions("mine"))
        return one.row

    texts, lists = found("preferences", "labels.csv"), found("preferences", "labels.parquet")
    assert sides(texts) == sides(lists) == ("Water.", "Boats.")
    assert (texts.annotator, texts.time) == ("ann", "2024-03-01T09:00:00Z")
    assert (lists.prompt, lists.group) == (texts.prompt, texts.group)
    assert lists.time == "2024-03-01T09:00:00+00:00"
    assert found("unpaired", "labels.json").scores == [1.0]
