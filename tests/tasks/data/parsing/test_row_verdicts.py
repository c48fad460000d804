"""Test verdicts on masked answers, and comparisons with one column of choices for each person."""

from __future__ import annotations

import json
from typing import Any

import pytest

from model.errors import UserError
from tasks.data.file_io.files import SourceFile
from tasks.data.parsing.judged_rows import MASKED_VERDICT
from tasks.data.parsing.row_verdicts import EMPTY_VOTE
from tasks.data.records import Comparison, Pair, Rating
from tests.tasks.data.parsing.row_reader import read, read_file

MASKS: list[dict[str, Any]] = [{"weight": 0}, {"train": "false"}, {"masked": True}, {"loss_mask": 0.0}]


def chat(*turns: str | tuple[str, dict[str, Any]], sharegpt: bool = False) -> dict[str, Any]:
    """Return a conversation; the letter before the colon is the role."""
    made = []
    for turn in turns:
        text, more = (turn, {}) if isinstance(turn, str) else turn
        role, _, said = text.partition(":")
        name = {"u": "human", "a": "gpt"} if sharegpt else {"u": "user", "a": "assistant"}
        speaker, content = ("from", "value") if sharegpt else ("role", "content")
        made.append({speaker: name[role], content: said, **more})
    return {"conversations" if sharegpt else "messages": made}


@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("verdict", [{"label": False}, {"rating": 5}, {"thumbs": "👎"}, {"answer": "reject"}])
@pytest.mark.parametrize("sharegpt", [False, True])
def test_read_rows_verdict_on_masked_answer_reaches_no_other_turn(
    mask: dict[str, Any], verdict: dict[str, Any], sharegpt: bool
) -> None:
    row = chat("u:One?", "a:First.", "u:Two?", ("a:Second.", mask), sharegpt=sharegpt)
    found, tally = read({**row, **verdict})
    assert not found
    assert tally.left_out[MASKED_VERDICT] == 1
    assert tally.left_out["earlier answers of conversations with a verdict on the whole"] == 1


def test_read_rows_verdict_on_fully_masked_chat_is_counted() -> None:
    found, tally = read({**chat("u:One?", ("a:First.", {"weight": 0})), "label": True})
    assert not found and tally.left_out[MASKED_VERDICT] == 1
    found, tally = read(chat("u:One?", ("a:First.", {"weight": 0})))
    assert not found and MASKED_VERDICT not in tally.left_out


def test_read_rows_verdict_with_earlier_masked_answer_rates_last() -> None:
    row = chat("u:One?", ("a:First.", {"weight": 0}), "u:Two?", "a:Second.", "u:Thanks.")
    (found,), tally = read({**row, "label": False})
    assert isinstance(found.row, Rating) and found.row.completion == "Second."
    assert found.row.scores == [-1.0] and MASKED_VERDICT not in tally.left_out


@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize(
    ("turns", "learned"),
    [
        (["u:One?", "a:Bad.*", "a:Good."], ["Good."]), (["u:One?", "a:Good.", "a:Bad.*"], ["Good."]),
        (["u:One?", "a:A.", "a:B.*", "a:C."], ["A.\n\nC."]), (["u:One?", "a:A.*", "a:B.*"], []),
        (["u:One?", "a:A.", "a:B.*", "u:Two?", "a:C."], ["A.", "C."]),
    ],
)  # fmt: skip
def test_read_rows_mask_removes_only_its_turn_of_joined_answer(
    mask: dict[str, Any], turns: list[str], learned: list[str]
) -> None:
    row = chat(*((turn[:-1], mask) if turn.endswith("*") else turn for turn in turns))
    found, tally = read({**row, "system": "Be kind."})
    assert [one.row.completion for one in found if isinstance(one.row, Pair)] == learned
    masked = sum(turn.endswith("*") for turn in turns)
    assert tally.left_out["answers marked as not to be learned"] == masked
    if len(found) > 1:
        assert found[1].row.history[-1]["content"] == "A.\n\nB."  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("turns", "rated"),
    [
        (["u:One?", ("a:Bad.", {"weight": 0}), "a:Good."], "Good."),
        (["u:One?", "a:Good.", ("a:Bad.", {"weight": 0})], ""),
        (["u:One?", "a:First.", "u:Two?", "a:Good.", ("a:Bad.", {"train": False})], ""),
    ],
)
def test_read_rows_verdict_on_joined_answer_rates_last_turn(turns: list[Any], rated: str) -> None:
    found, tally = read({**chat(*turns), "score": 4})
    assert [one.row.completion for one in found if isinstance(one.row, Rating)] == ([rated] if rated else [])
    assert tally.left_out[MASKED_VERDICT] == (not rated)


@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize(
    ("row", "kind"),
    [
        ({"prompt": "One?", "completion": ["*"]}, Pair),
        ({"prompt": "One?", "chosen": ["*"], "rejected": ["*"]}, Comparison),
        ({"prompt": "One?", "completion": ["*"], "label": True}, Rating),
    ],
)  # fmt: skip
def test_read_rows_masked_answer_in_message_list_gives_no_record(
    mask: dict[str, Any], row: dict[str, Any], kind: Any
) -> None:
    def filled(more: dict[str, Any]) -> dict[str, Any]:
        return {
            key: [{"role": "assistant", "content": key, **more}] if value == ["*"] else value
            for key, value in row.items()
        }

    found, tally = read(filled(mask), filled({}))
    assert [type(one.row) for one in found] == [kind]
    assert tally.left_out["rows without an answer to learn"] == 1 and not tally.faults


WIDE: dict[str, tuple[str, list[str], dict[str, str]]] = {
    "letters": ("prompt,a,b,annotator_1,annotator_2", ["Who?,x,y,a,b", "What?,x,y,b,b"], {}),
    "names": (
        "question,answer_1,answer_2,anna,ben", ["Who?,x,y,Answer 1,B", "What?,x,y,answer_2,b"],
        {"prompt": "question", "a": "answer_1", "b": "answer_2"},
    ),
    "sides": (
        "prompt,response_a,response_b,vote_a,vote_b", ["Who?,x,y,response_a,response_b", "Q?,x,y,B,model b"],
        {"a": "response_a", "b": "response_b"},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", WIDE)
def test_read_rows_column_of_choices_per_person_needs_vote_meaning(name: str) -> None:
    header, lines, columns = WIDE[name]
    file = SourceFile("v.csv", "\n".join([header, *lines, ""]).encode())
    people = header.split(",")[-2:]
    with pytest.raises(
        UserError, match=rf"{people[0]}, {people[1]} hold a choice each; .*{people[0]}: vote, "
    ):
        read_file(file, "auto")
    told = dict.fromkeys(people, "vote")
    found, tally = read_file(file, "rows", columns=columns, fields=told)
    tally.check("mine", told)
    rows = [one.row for one in found if isinstance(one.row, Comparison)]
    assert [(row.choice, row.annotator) for row in rows] == [
        ("a", people[0]), ("b", people[1]), ("b", people[0]), ("b", people[1]),
    ]  # fmt: skip
    assert len({row.prompt for row in rows}) == 2 and {(row.a, row.b) for row in rows} == {("x", "y")}
    assert not tally.nameless and not [*tally.lines()]


def test_read_rows_missing_vote_gives_no_row() -> None:
    rows = [{"votes": {"ana": "a", "ben": None}}, {"votes": {"ana": ""}}, {"votes": {"ben": "tie"}}]
    made = [{"prompt": f"P{n}", "a": "x", "b": "y", **row} for n, row in enumerate(rows)]
    file = SourceFile("v.jsonl", "".join(json.dumps(row) + "\n" for row in made).encode())
    found, tally = read_file(file, "rows", fields={"votes.ana": "vote", "votes.ben": "vote"})
    assert [(one.row.choice, one.row.annotator) for one in found] == [
        ("a", "ana"),
        ("tie", "ben"),
    ]  # type: ignore[union-attr]
    assert tally.left_out == {EMPTY_VOTE: 1, "rows without an answer or a vote": 1}


@pytest.mark.parametrize(
    ("answers", "votes"),
    [({"a": "x", "b": "y"}, ("a", "b")), ({"completion": "x"}, ("yes", "no"))],
)
def test_read_rows_empty_cells_of_people_are_counted(answers: dict[str, str], votes: tuple[str, str]) -> None:
    people = ("ana", "ben", "rita")
    given = [(votes[0], votes[1], votes[0]), (votes[0], "", votes[1]), ("", "", votes[1]), ("", "", "")]
    made = [
        {"prompt": f"P{n}", **answers, **dict(zip(people, row, strict=True))} for n, row in enumerate(given)
    ]
    file = SourceFile("v.jsonl", "".join(json.dumps(row) + "\n" for row in made).encode())
    found, tally = read_file(file, "rows", fields=dict.fromkeys(people, "vote"))
    read_votes = sum(len(one.row.scores) if isinstance(one.row, Rating) else 1 for one in found)
    assert (read_votes, tally.left_out[EMPTY_VOTE]) == (6, 3)
    # The row that nobody judged is counted once, as a row.
    assert sum(tally.left_out.values()) == 3 + 1
    assert "left out: 3 votes that nobody gave, as the person's cell is empty" in [*tally.lines()]


def test_read_rows_votes_beside_choice_need_meaning() -> None:
    file = SourceFile("v.csv", b"prompt,a,b,choice,anna,ben\nWho?,x,y,a,a,b\nWhat?,x,y,b,b,b\n")
    _, tally = read_file(file, "rows")
    with pytest.raises(
        UserError, match=r"anna, ben hold a vote each .*fields: \{anna: ignore, ben: ignore\}"
    ):
        tally.check("mine")
    told = {"anna": "ignore", "ben": "ignore"}
    found, tally = read_file(file, "rows", fields=told)
    tally.check("mine", told)
    assert len(found) == 2


@pytest.mark.parametrize("key", ["choice_2", "second choice", "picked_by_ben"])
def test_read_rows_second_choice_needs_meaning(key: str) -> None:
    file = SourceFile("v.csv", f"prompt,a,b,choice,{key}\nWho?,x,y,a,b\nWhat?,x,y,b,a\n".encode())
    _, tally = read_file(file, "rows")
    with pytest.raises(UserError, match=f"the key {key} is 'b' and looks like a verdict"):
        tally.check("mine")


@pytest.mark.parametrize("empty", ["", None, " "])
@pytest.mark.parametrize("meaning", ["verdict", "penalty", "vote", {"1": 1, "2": -1}])
def test_read_verdicts_empty_score_with_told_meaning_is_left_out(meaning, empty):
    rated, unrated = {"prompt": "a", "completion": "b"}, {"prompt": "c", "completion": "d", "score": empty}
    found, tally = read(rated | {"score": "1"}, unrated, fields={"score": meaning})
    assert [one.row.completion for one in found] == ["b"]
    assert any("nobody rated" in line for line in tally.lines())


def test_read_verdicts_empty_grade_under_a_column_named_score_is_left_out():
    rows = [{"q": "a", "r": "b", "Note": 2}, {"q": "c", "r": "d", "Note": ""}]
    columns = {"prompt": "q", "completion": "r", "score": "Note"}
    found, _ = read(*rows, columns=columns, fields={"Note": "penalty"})
    assert [(one.row.completion, one.row.scores) for one in found] == [("b", [-2.0])]
