"""Test verdicts in the turns of a conversation, which rate answers, and the names of speakers."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from model.errors import UserError
from tasks.data.parsing.judged_rows import CORRECTED, CORRECTED_QUESTION
from tasks.data.parsing.walked_turns import MISPLACED, UNRATED
from tasks.data.records import Pair, Rating
from tasks.data.values.field_checks import check_fields
from tasks.data.values.roles import role_of
from tests.tasks.data.parsing.row_reader import read

THUMBS: dict[str, Any] = {"messages[].thumbs": "verdict"}


def chat(*answers: dict[str, Any], sharegpt: bool = False, **beside: Any) -> dict[str, Any]:
    """Return a conversation with these answers, each with its other keys."""
    turns: list[dict[str, Any]] = []
    for number, answer in enumerate(answers):
        turns.append({"role": "user", "content": f"Question {number}?"})
        turns.append({"role": "assistant", "content": f"Answer {number}.", **answer})
    if not sharegpt:
        return {"messages": turns, **beside}
    names = {"role": "from", "content": "value"}
    return {"conversations": [{names.get(k, k): v for k, v in turn.items()} for turn in turns], **beside}


def records(*rows: dict[str, Any], fields: Any) -> list[tuple[str, str, float | None]]:
    """Return the answers as pairs, or as ratings with their score."""
    found, tally = read(*rows, fields=fields)
    tally.check("mine", fields)
    said: list[tuple[str, str, float | None]] = []
    for one in found:
        row = one.row
        assert isinstance(row, Pair | Rating) and not row.fault
        score = row.scores[0] if isinstance(row, Rating) else None
        said.append((type(row).__name__, row.completion, score))
    return said


@pytest.mark.parametrize(
    ("values", "meaning", "scores"),
    [
        (("up", "down"), "verdict", (1, -1)),
        (("👍", "👎"), "verdict", (1, -1)),
        ((True, False), "verdict", (1, -1)),
        ((5, "2 stars"), "verdict", (5, 2)),
        ((0, 3), "penalty", (0, -3)),
        (("fine", "meh"), {"fine": 2, "meh": 0}, (2, 0)),
        (("ok", "reject"), {"ok": 1, "reject": "reject"}, (1, -1)),
    ],
)
@pytest.mark.parametrize("sharegpt", [False, True])
def test_verdict_in_turn_rates_its_answer(
    values: tuple[Any, Any], meaning: Any, scores: tuple[float, float], sharegpt: bool
) -> None:
    row = chat({"mark": values[0]}, {"mark": values[1]}, sharegpt=sharegpt)
    path = "conversations[].mark" if sharegpt else "messages[].mark"
    found = records(row, fields={path: meaning})
    assert found == [("Rating", "Answer 0.", scores[0]), ("Rating", "Answer 1.", scores[1])]


@pytest.mark.parametrize("key", ["thumbs", "feedback", "rating"])
def test_verdict_in_turn_is_asked_about_and_proposed(key: str) -> None:
    value = 4 if key == "rating" else "good"
    _, tally = read(chat({key: value}), chat({key: value}, {key: value}))
    with pytest.raises(UserError, match=rf'"messages\[\]\.{key}": verdict'):
        tally.check("mine")


def test_verdict_in_turn_keeps_history_and_annotator() -> None:
    row = chat({}, {"thumbs": "down"}, annotator="ana")
    found, tally = read(row, fields=THUMBS)
    pair, rating = sorted((one.row for one in found), key=lambda row: type(row).__name__)
    assert isinstance(pair, Pair) and pair.completion == "Answer 0."
    assert isinstance(rating, Rating) and rating.annotators == ["ana"]
    assert [turn["content"] for turn in rating.history] == ["Question 0?", "Answer 0."]
    assert not tally.unread and not tally.left_out


@pytest.mark.parametrize("empty", [None, "", "nan"])
def test_verdict_in_turn_that_is_empty_leaves_out_its_answer(empty: Any) -> None:
    found, tally = read(chat({"thumbs": "up"}, {"thumbs": empty}), fields=THUMBS)
    assert len(found) == 1 and tally.left_out[UNRATED] == 1


def test_verdict_in_turn_of_the_user_is_counted() -> None:
    row = chat({"thumbs": "up"})
    row["messages"].insert(0, {"role": "system", "content": "Be brief.", "thumbs": "down"})
    found, tally = read(row, fields=THUMBS)
    assert len(found) == 1 and tally.left_out[MISPLACED] == 1


def test_verdict_in_turn_with_correction_rates_what_was_said() -> None:
    fields = {**THUMBS, "messages[].edit": "correction"}
    found = records(chat({"thumbs": "down", "edit": "A better answer."}), fields=fields)
    assert found == [("Rating", "Answer 0.", -1.0), ("Pair", "A better answer.", None)]


def test_verdict_in_turn_of_masked_answer_rates_nothing() -> None:
    found, tally = read(chat({"thumbs": "up"}, {"thumbs": "up", "weight": 0}), fields=THUMBS)
    assert len(found) == 1 and tally.left_out.total() == 1


@pytest.mark.parametrize(
    ("row", "fields", "says"),
    [
        (chat({"thumbs": "up", "rating": 5}), {**THUMBS, "messages[].rating": "verdict"}, "two verdicts"),
        (chat({"thumbs": "up"}, label="bad"), THUMBS, "a verdict in its turn"),
        (chat({"thumbs": "up"}), {"messages[].thumbs": "upvotes"}, "no meaning"),
        (chat({"thumbs": "up"}), {"messages[].thumbs": {"up": "a"}}, "no meaning"),
    ],
)
def test_verdict_in_turn_that_is_unclear_quarantines_the_row(
    row: dict[str, Any], fields: Any, says: str
) -> None:
    found, _ = read(row, fields=fields)
    assert len(found) == 1 and says in found[0].row.fault


def test_verdicts_on_two_turns_of_one_answer_must_agree() -> None:
    turn = {"role": "assistant", "content": "More.", "thumbs": "down"}
    row = chat({"thumbs": "up"})
    found, _ = read({"messages": [*row["messages"], turn]}, fields=THUMBS)
    assert "verdicts that differ" in found[0].row.fault
    found, _ = read({"messages": [*row["messages"], {**turn, "thumbs": "up"}]}, fields=THUMBS)
    assert [one.row.completion for one in found if isinstance(one.row, Rating)] == ["Answer 0.\n\nMore."]


@pytest.mark.parametrize(
    ("user", "assistant"),
    [
        ("Human", "AI"),
        ("HUMAN:", "Bot"),
        ("Kunde", "Berater"),
        ("Klient", "Asystent"),
        ("Usuário", "Assistente"),
        ("пользователь", "ассистент"),
        ("客户", "机器人"),
        ("Customer", "support"),
        ("question", "answer"),
    ],
)
@pytest.mark.parametrize("keys", [("role", "content"), ("speaker", "text"), ("sender", "message")])
def test_roles_of_known_names(user: str, assistant: str, keys: tuple[str, str]) -> None:
    role, text = keys
    turns = [{role: user, text: "What turns?"}, {role: assistant, text: "The mill."}]
    (one,), _ = read({"messages": turns}, format="messages")
    assert isinstance(one.row, Pair) and (one.row.prompt, one.row.completion) == ("What turns?", "The mill.")


@pytest.mark.parametrize("name", ["alice", "teacher", "0", "tool", ""])
def test_roles_of_other_names_are_unknown(name: str) -> None:
    assert role_of({"role": name}) is None


def test_roles_unknown_name_is_mapped_by_fields() -> None:
    turns = [{"role": "alice", "content": "What turns?"}, {"role": "hal", "content": "The mill."}]
    (one,), _ = read({"messages": turns})
    assert 'fields: {"messages[].role": {"alice": user, "hal": assistant}}' in one.row.fault
    fields: dict[str, Any] = {"messages[].role": {"Alice": "user", "hal": "assistant"}}
    assert records({"messages": turns}, fields=fields) == [("Pair", "The mill.", None)]


def test_roles_tool_is_refused_as_before() -> None:
    turns = [{"role": "user", "content": "?"}, {"role": "Function", "content": "1"}]
    (one,), _ = read({"messages": turns})
    assert "conversations with tools are to be left out" in one.row.fault


@pytest.mark.parametrize(
    ("fields", "wrong"),
    [
        ({"messages[].role": {"ana": "user", "x": "system"}}, 0),
        ({"messages[].role": {"ana": "bot"}}, 1),
        ({"conversations[].from": {"ana": 1}}, 1),
        ({"label": {"x": "user"}}, 1),
    ],
)
def test_check_fields_roles(fields: Any, wrong: int) -> None:
    assert len(list(check_fields(fields))) == wrong


@pytest.mark.parametrize(
    ("inner", "path", "meaning", "scores"),
    [
        (({"rating": "good"}, {"rating": "bad"}), "feedback.rating", "verdict", (1, -1)),
        (({"ana": {"stars": 4}}, {"ana": {"stars": "2 stars"}}), "feedback.ana.stars", "verdict", (4, 2)),
        (({"rank": 1}, {"rank": 3}), "feedback.rank", "penalty", (-1, -3)),
        (({"said": "fine"}, {"said": "meh"}), "feedback.said", {"fine": 2, "meh": 0}, (2, 0)),
    ],
)
@pytest.mark.parametrize("sharegpt", [False, True])
def test_verdict_in_object_of_turn_rates_its_answer(
    inner: tuple[Any, Any], path: str, meaning: Any, scores: tuple[float, float], sharegpt: bool
) -> None:
    row = chat({"feedback": inner[0]}, {"feedback": inner[1]}, sharegpt=sharegpt)
    fields = {f"{'conversations' if sharegpt else 'messages'}[].{path}": meaning}
    assert records(row, fields=fields) == [
        ("Rating", "Answer 0.", scores[0]),
        ("Rating", "Answer 1.", scores[1]),
    ]


@pytest.mark.parametrize(
    ("meaning", "inner"),
    [("weight", {"use": False}), ("deleted", {"use": True}), ("review", {"use": "skip"})],
)
def test_mask_in_object_of_turn_masks_its_answer(meaning: str, inner: dict[str, Any]) -> None:
    row = chat({"meta": inner}, {"meta": None})
    assert records(row, fields={"messages[].meta.use": meaning}) == [("Pair", "Answer 1.", None)]


def test_verdict_in_list_of_turn_can_only_be_ignored() -> None:
    fields: dict[str, Any] = {"messages[].feedback[].rating": "verdict"}
    _, tally = read(chat({"feedback": [{"rating": "bad"}]}), fields=fields)
    with pytest.raises(UserError, match="expected ignore, or write it as a key of its row or turn"):
        tally.check("mine", fields)


@pytest.mark.parametrize("name", ["loss_mask", "train_mask", "weight"])
@pytest.mark.parametrize("mask", [[0, 1, 0, 0], "[0, 1, 0, 0]", [False, True, False, False], "(1, 1, 1, 0)"])
@pytest.mark.parametrize("sharegpt", [False, True])
def test_mask_with_an_item_for_each_turn_masks_answers(name: str, mask: Any, sharegpt: bool) -> None:
    row = chat({}, {}, sharegpt=sharegpt, **{name: mask})
    assert records(row, fields={}) == [("Pair", "Answer 0.", None)]


@pytest.mark.parametrize(
    ("meaning", "mask"),
    [("weight", [0, 0, 1, 1]), ("mask", [1, 1, 0, 0]), ("mask", "[true, true, false, false]")],
)
def test_mask_with_an_item_for_each_turn_has_meaning_of_fields(meaning: str, mask: Any) -> None:
    assert records(chat({}, {}, mine=mask), fields={"mine": meaning}) == [("Pair", "Answer 1.", None)]


@pytest.mark.parametrize("mask", [[1, 0, 1], [1, 0.5, 1, 1], ["yes", "maybe", "no", "no"]])
def test_mask_of_another_length_or_with_other_items_cannot_be_read(mask: list[Any]) -> None:
    found, tally = read(chat({}, {}, mine=mask), fields={"mine": "weight"})
    tally.check("mine", {"mine": "weight"})
    assert "expected 0 or 1 for each turn" in found[0].row.fault
    _, tally = read(chat({}, {}, loss_mask=mask))
    with pytest.raises(UserError, match=r"the key loss_mask is .* looks like a training mask"):
        tally.check("mine")


@pytest.mark.parametrize(
    "says", ["No.", "I am sorry, but I cannot help with that, as my rules forbid it. " * 3, True]
)
def test_refusal_of_turn_is_proposed_as_deleted(says: Any) -> None:
    rows = [chat({"refusal": says}, {"refusal": None})]
    _, tally = read(*rows)
    assert tally.propose_all(tally.asks()) == {"messages[].refusal": "deleted"}
    assert records(*rows, fields={"messages[].refusal": "deleted"}) == [("Pair", "Answer 1.", None)]


def talk(text: str, speaker: str, *names: str) -> list[dict[str, Any]]:
    """Return turns in which the speakers alternate."""
    return [{speaker: name, text: f"said {number}"} for number, name in enumerate(names * 3)]


CHATS: list[dict[str, Any]] = [
    {"name": "team", "type": "group", "id": 3, "messages": talk("text", "from", "Bob", "Ann")},
    {"messages": talk("content", "role", "Bob: x", "Ann")},
    {"messages": talk("content", "sender", "Bob", "Ann", "Cay")},
    {"messages": talk("text", "author", "user", "Agent Smith")},
    {"conversations": talk("value", "from", "O'Neil", "yes")},
    {"conversations": talk("content", "role", "Bob", "Ann")},
    {"conversations": talk("text", "speaker", "assistant", "Ann")},
]


@pytest.mark.parametrize("row", CHATS)
def test_read_turns_advice_about_speakers_is_accepted_as_it_is_printed(row: dict[str, Any]) -> None:
    found, tally = read(row)
    said = found[0].row.fault or tally.first_fault
    advice = said[said.index("fields: ") + len("fields: ") : said.rindex(" (or assistant")]
    fields = yaml.safe_load(advice)
    found, tally = read(row, fields=fields)
    tally.check("mine", fields)
    assert found and all(isinstance(one.row, Pair) and not one.row.fault for one in found)


@pytest.mark.parametrize(
    ("role", "verdict", "left_out"),
    [
        ("user", {}, {CORRECTED_QUESTION: 1}),
        ("system", {}, {CORRECTED_QUESTION: 1}),
        ("assistant", {}, {CORRECTED: 1}),
        ("assistant", {"thumbs": "down"}, {}),
    ],
)
def test_walk_turns_correction_counts_the_text_that_it_replaces(
    role: str, verdict: dict[str, str], left_out: dict[str, int]
) -> None:
    turns = [{"role": "system", "content": "Be brief."}, *chat({}, {})["messages"]]
    (turn,) = [turn for turn in turns if turn["role"] == role][:1]
    turn.update(correction="Better.", **verdict)
    fields = {"messages[].correction": "correction", **(THUMBS if verdict else {})}
    _, tally = read({"messages": turns}, fields=fields)
    found = {reason: count for reason, count in tally.left_out.items() if "correction" in reason}
    assert found == left_out
