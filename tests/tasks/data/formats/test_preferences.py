"""Test preference formats on samples and on broken rows."""

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
from tasks.data.formats.registry import find_format, formats
from tasks.data.parsing.base import FileSample, ParseOptions
from tasks.data.parsing.preference_fields import iso_time
from tasks.data.records import Comparison, ParsedRow, Rating, Record, text_digest

EXPORTS = Path(__file__).parents[3] / "fixtures" / "exports"
SAMPLES = {
    "preferences": "preferences", "preferences_messages": "preferences", "hh_rlhf": "hh_rlhf",
    "openai_preference": "openai_preference", "unpaired": "unpaired",
}  # fmt: skip


def read(name: str, *rows: dict[str, Any], sample: str = "", **told: Any) -> list[ParsedRow]:
    """Return what a format finds in a sample of tests/fixtures/exports, or in the given objects."""
    file = SourceFile(f"{sample or name}.jsonl", path=EXPORTS / f"{sample or name}.jsonl")
    if rows:
        file = SourceFile("given.jsonl", "\n".join(json.dumps(row) for row in rows).encode())
    return list(find_format(name).parse([file], ParseOptions(source="mine", **told)))


def rows_of(*found: ParsedRow) -> list[Any]:
    return [one.row for one in found]


def sides(row: Record) -> tuple[str, str]:
    """Return the preferred answer and the other."""
    assert isinstance(row, Comparison) and row.choice != "tie"
    return (row.a, row.b) if row.choice == "a" else (row.b, row.a)


def user(text: str) -> dict[str, str]:
    return {"role": "user", "content": text}


def assistant(text: str) -> dict[str, str]:
    return {"role": "assistant", "content": text}


def test_preferences_of_texts_become_comparisons() -> None:
    one, other, equal, empty, transcript = rows_of(*read("preferences"))
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
    explicit, implicit, beside = rows_of(*read("preferences", sample="preferences_messages"))
    assert explicit.prompt == "What turns the wheel?" and sides(explicit) == ("Water.", "Boats.")
    assert explicit.history == [{"role": "system", "content": "You know mills."}]
    assert implicit.prompt == "Who owns the mill?" and sides(implicit) == ("The miller.", "The mayor.")
    assert implicit.history == [user("Hello"), assistant("Hi.")]
    # A prompt that the lists also begin with is not repeated.
    assert (beside.prompt, beside.history) == ("Is it open?", [])
    assert sides(beside) == ("Until six.", "Perhaps.")


def test_preferences_implicit_prompt_ends_at_word() -> None:
    (row,) = rows_of(
        *read("preferences", {"chosen": "The sky is blue.", "rejected": "The sky is black, though."})
    )
    assert row.prompt == "The sky is" and sides(row) == (" blue.", " black, though.")


def test_preferences_equal_lists_are_tie() -> None:
    turns = [user("one"), assistant("two"), user("three"), assistant("four")]
    (row,) = rows_of(*read("preferences", {"chosen": turns, "rejected": turns}))
    assert (row.prompt, row.a, row.b, row.choice) == ("three", "four", "four", "tie")


def test_preferences_single_message_and_renamed_keys_are_read() -> None:
    row = {"question": "one", "chosen": assistant("two"), "rejected": assistant("three"), "by": "eve"}
    (found,) = rows_of(*read("preferences", row, columns={"prompt": "question", "annotator": "by"}))
    assert found.prompt == "one" and sides(found) == ("two", "three") and found.annotator == "eve"


def test_preferences_preferred_side_is_balanced() -> None:
    rows = [{"prompt": f"question {n}", "chosen": "right", "rejected": "wrong"} for n in range(200)]
    first = sum(row.choice == "a" for row in rows_of(*read("preferences", *rows)))
    assert 70 < first < 130


def test_hh_rlhf_transcripts_are_cut_at_turns() -> None:
    found = read("hh_rlhf", aspect="harmlessness")
    one, words, early, empty, equal = rows_of(*found)
    assert one.prompt == "What turns the wheel?" and sides(one) == ("Water.", "Boats.")
    assert one.aspect == "harmlessness" and one.annotator == "unknown"
    # Only a blank line with the mark begins a turn.
    assert words.prompt == "And the\n\nAssistants: who are they?"
    assert sides(words) == ("Two people.\nAssistant: is their title.", "Nobody.")
    assert words.history[1] == assistant("I do. My title is Assistant: that is all.")
    # The transcripts differ before their last turns; answers to the same prompt are compared.
    assert early.prompt == "Is it open?" and sides(early) == ("Until six.", "Go away.")
    assert sides(empty) == ("No.", "") and equal.choice == "tie"
    # Lines 4 and 5 do not compare two answers to one prompt.
    assert [one.where for one in found] == [f"hh_rlhf.jsonl, line {n}" for n in (1, 2, 3, 6, 7)]


def test_hh_rlhf_consecutive_turns_are_joined() -> None:
    start = "\n\nHuman: one\n\nHuman: two\n\nAssistant: three\n\nAssistant: four\n\nHuman: five\n\nAssistant:"
    (row,) = rows_of(*read("hh_rlhf", {"chosen": start + " six", "rejected": start + " seven"}))
    assert row.prompt == "five" and sides(row) == ("six", "seven")
    assert row.history == [user("one\n\ntwo"), assistant("three\n\nfour")]


def test_hh_rlhf_red_team_file_is_refused() -> None:
    with pytest.raises(UserError, match=r"attempts\.jsonl, line 1: a red-team transcript"):
        read("hh_rlhf", sample="hh_rlhf_red_team_attempts")
    row = json.loads((EXPORTS / "hh_rlhf_red_team_attempts.jsonl").read_text())
    with pytest.raises(UserError, match=r"given\.jsonl, line 1: a red-team transcript"):
        read("hh_rlhf", row)
    assert "red-team" in find_format("hh_rlhf").fits(_looked_at("hh_rlhf_red_team_attempts"))


def test_openai_preference_rows_become_comparisons() -> None:
    one, greeted = rows_of(*read("openai_preference"))
    assert one.prompt == "What turns the wheel?" and sides(one) == ("Water.", "Boats.")
    assert greeted.history == [assistant("Hello, what would you like to know?")]
    assert greeted.prompt == "Who owns the mill?" and greeted.annotator == "bob"


def test_unpaired_labels_become_ratings() -> None:
    found = rows_of(*read("unpaired"))
    assert all(isinstance(row, Rating) for row in found)
    good, bad, talked, empty = found
    assert (good.scores, good.annotators, good.times) == ([1.0], ["ann"], ["2024-03-01"])
    assert (bad.scores, bad.annotators, bad.times) == ([-1.0], ["unknown"], [])
    assert good.group == bad.group == text_digest("What turns the wheel?")
    assert talked.history == [user("Hello"), assistant("Hi.")] and talked.completion == "The miller."
    assert (good.aspect, talked.aspect) == ("helpfulness", "truthfulness")
    assert empty.completion == ""


@pytest.mark.parametrize("prompt", ["", " ", "\n\nHuman:"])
def test_preferences_and_unpaired_empty_prompt_is_kept(prompt: str) -> None:
    sides = {"chosen": "a cat", "rejected": "a dog"}
    (row,) = rows_of(*read("preferences", {"prompt": prompt, **sides}))
    assert row.prompt == "" and {row.a, row.b} == {"a cat", "a dog"}
    (rated,) = rows_of(*read("unpaired", {"prompt": prompt, "completion": "b", "label": True}))
    assert rated.prompt == ""


@pytest.mark.parametrize(("label", "score"), [("True", 1.0), ("false", -1.0), (1, 1.0), ("0", -1.0)])
def test_unpaired_label_spellings_are_read(label: object, score: float) -> None:
    (row,) = rows_of(*read("unpaired", {"prompt": "one", "completion": "two", "label": label}))
    assert row.scores == [score]


@pytest.mark.parametrize(
    ("name", "row", "says"),
    [
        ("preferences", {"prompt": "a", "chosen": "b"}, "line 1: no rejected; its keys are prompt, chosen"),
        (
            "preferences",
            {"prompt": "a", "chosen": "b", "rejected": None},
            "line 1: chosen is str and rejected is NoneType; both are right as texts, or both as lists",
        ),
        (
            "preferences",
            {"chosen": "blue", "rejected": "green"},
            "line 1: no prompt, and chosen and rejected",
        ),
        ("preferences", {"chosen": "The sea", "rejected": "The sea"}, "do not begin alike and end otherwise"),
        (
            "preferences",
            {"chosen": [assistant("a")], "rejected": [assistant("b")]},
            "line 1: no prompt, and chosen and rejected",
        ),
        (
            "preferences",
            {"chosen": "\n\nHuman: a\n\nAssistant: b", "rejected": "\n\nHuman: a\n\nAssistant: c"},
            "line 1: chosen is a transcript; format hh_rlhf reads files of them",
        ),
        (
            "preferences",
            {"chosen": [user("a"), assistant("b")], "rejected": [user("c"), assistant("d")]},
            "line 1: no prompt, and chosen and rejected do not begin alike",
        ),
        (
            "preferences",
            {
                "chosen": [user("a"), assistant("b"), user("c"), assistant("d")],
                "rejected": [user("a"), assistant("e")],
            },
            "line 1: chosen ends in the turns assistant, user, assistant; one of the assistant's is right",
        ),
        (
            "preferences",
            {"prompt": "z", "chosen": [user("a"), assistant("b")], "rejected": [user("a"), assistant("c")]},
            "line 1: the prompt is another than chosen and rejected begin with",
        ),
        (
            "preferences",
            {"prompt": [user("a"), assistant("b")], "chosen": "c", "rejected": "d"},
            "line 1: the prompt ends in a turn of the assistant's",
        ),
        (
            "preferences",
            {"prompt": "a", "chosen": [{"role": "tool", "content": "b"}], "rejected": []},
            "line 1, chosen, turn 1: role 'tool' cannot be learned",
        ),
        (
            "preferences",
            {"prompt": "a", "chosen": [], "rejected": []},
            "chosen has no answer of the assistant's",
        ),
        ("hh_rlhf", {"chosen": "a", "rejected": "b"}, "line 1, chosen: 'a' begins no transcript"),
        (
            "hh_rlhf",
            {"chosen": "\n\nHuman: a", "rejected": 3},
            "line 1: rejected is a number; a text is right",
        ),
        ("openai_preference", {"input": {}}, "line 1: no preferred_output; its keys are input"),
        (
            "openai_preference",
            {"input": "a", "preferred_output": [], "non_preferred_output": []},
            "line 1: input is str; an object with messages is right",
        ),
        (
            "openai_preference",
            {"input": {"messages": [], "tools": [{}]}, "preferred_output": [], "non_preferred_output": []},
            "line 1: tools cannot be learned here",
        ),
        (
            "openai_preference",
            {"input": {"messages": [user("a")]}, "preferred_output": [], "non_preferred_output": []},
            "line 1: preferred_output has no answer of the assistant's",
        ),
        ("unpaired", {"prompt": "a", "completion": "b"}, "line 1: no label; its keys are prompt, completion"),
        (
            "unpaired",
            {"prompt": "a", "completion": "b", "label": "so so"},
            "line 1: label is 'so so'; true or false is right",
        ),
        ("unpaired", {"prompt": "a", "completion": "b", "label": [1]}, "label is list; true or false"),
        ("unpaired", {"prompt": "a", "completion": "b", "label": 2}, "label is 2; true or false is right"),
    ],
)
def test_parse_invalid_preference_is_refused_with_line(name: str, row: dict[str, Any], says: str) -> None:
    with pytest.raises(UserError, match=says):
        read(name, row)


@pytest.mark.parametrize(
    ("given", "time"),
    [
        ("2024-03-01T09:00:00Z", "2024-03-01T09:00:00Z"),
        (1709283600000, "2024-03-01T09:00:00+00:00"),
        ("1709283600", "2024-03-01T09:00:00+00:00"),
        ("yesterday", ""), (None, ""), (True, ""), (12.5, ""), (float("nan"), ""), (10**400, ""), ([], ""),
    ],
)  # fmt: skip
def test_iso_time_known_notations_are_converted(given: object, time: str) -> None:
    assert iso_time(given) == time


def _looked_at(name: str) -> FileSample:
    lines = (EXPORTS / f"{name}.jsonl").read_text().splitlines()
    items = tuple(SourceRecord(json.loads(line), f"line {n}") for n, line in enumerate(lines, 1))
    return FileSample(f"{name}.jsonl", "\n".join(lines), items)


@pytest.mark.parametrize(("sample", "name"), SAMPLES.items())
def test_fits_sample_matches_only_its_format(sample: str, name: str) -> None:
    looked_at = _looked_at(sample)
    assert [known for known, form in formats().items() if not form.fits(looked_at)] == [name]


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
