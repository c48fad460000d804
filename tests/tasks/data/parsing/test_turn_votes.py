"""The votes of several people on one turn of a conversation."""

from __future__ import annotations

from typing import Any

import pytest

from model.errors import UserError
from tasks.data.records import Pair, Rating
from tests.tasks.data.parsing.row_reader import read
from tests.tasks.data.parsing.test_walked_turns import chat

GOOD, BAD = ("ana", "good"), ("ben", "bad")


def votes(*given: tuple[str, Any], keys: tuple[str, str] = ("by", "vote")) -> list[dict[str, Any]]:
    return [dict(zip(keys, one, strict=True)) for one in given]


def ratings(*rows: dict[str, Any], fields: Any = None) -> list[tuple[str, list[float], list[str]]]:
    """Return the answers with their scores and people; of a pair both are empty."""
    found, tally = read(*rows, fields=fields or {})
    tally.check("mine", fields)
    said = []
    for one in found:
        row = one.row
        assert isinstance(row, Pair | Rating) and not row.fault
        rated = isinstance(row, Rating)
        said.append((row.completion, row.scores if rated else [], row.annotators if rated else []))
    return sorted(said)


@pytest.mark.parametrize("sharegpt", [False, True])
@pytest.mark.parametrize("name", ["votes", "ratings", "Bewertungen"])
def test_votes_of_turn_rate_its_answer(name: str, sharegpt: bool) -> None:
    row = chat({name: votes(GOOD, BAD)}, {}, {name: votes(BAD)}, sharegpt=sharegpt)
    assert ratings(row) == [
        ("Answer 0.", [1.0, -1.0], ["ana", "ben"]), ("Answer 1.", [], []), ("Answer 2.", [-1.0], ["ben"]),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("meaning", "given", "scores"),
    [
        ("vote", (4, 2), [4, 2]),
        ("penalty_vote", (1, 3), [-1, -3]),
        ({"fine": 1, "meh": -1, "?": "ignore"}, ("fine", "meh"), [1, -1]),
    ],
)
def test_votes_of_turn_under_new_names_are_told_by_fields(
    meaning: Any, given: Any, scores: list[float]
) -> None:
    people = votes(("ana", given[0]), ("ben", given[1]), keys=("rater", "mark"))
    fields = {"messages[].evals[].mark": meaning, "messages[].evals[].rater": "annotator"}
    assert ratings(chat({"evals": people}), fields=fields) == [("Answer 0.", scores, ["ana", "ben"])]


def test_votes_of_turn_under_new_names_are_proposed() -> None:
    people = votes(GOOD, BAD, keys=("rater", "mark"))
    _, tally = read(*(chat({"evals": people}) for _ in range(3)))
    proposed = tally.propose_all(tally.asks())
    assert proposed == {"messages[].evals[].mark": "vote", "messages[].evals[].rater": "annotator"}
    with pytest.raises(UserError, match=r'fields: \{"messages\[\].evals\[\].mark": vote'):
        tally.check("mine")
    assert ratings(chat({"evals": people}), fields=proposed)[0][1] == [1.0, -1.0]


@pytest.mark.parametrize(
    "others", [{"helpful": True}, {"approved": "no"}, {"helpful": False, "verdict": "bad"}]
)
def test_votes_with_several_verdicts_are_proposed_to_be_told(others: dict[str, Any]) -> None:
    given = [{"rater": name, "mark": 1, **others} for name in ("ana", "ben")]
    for row in (chat({"evals": given}), {"prompt": "Who?", "completion": "Me.", "evals": given}):
        _, tally = read(*[row] * 3)
        proposed = tally.propose_all(tally.asks())
        person = next(key for key in proposed if key.endswith(".rater"))
        assert proposed.pop(person) == "annotator" and set(proposed.values()) == {"..."}


@pytest.mark.parametrize(
    ("given", "meaning", "scores"),
    [([4, 3], "verdict", [4, 3]), ("4;3;5", "verdict", [4, 3, 5]), ([1, 2], "penalty", [-1, -2])],
)
def test_scores_of_turn_in_one_value_are_several_people(
    given: Any, meaning: str, scores: list[float]
) -> None:
    ((_, found, people),) = ratings(chat({"rating": given}), fields={"messages[].rating": meaning})
    assert found == scores and len(set(people)) == len(scores)


def test_votes_of_turn_keep_history_source_and_time() -> None:
    row = chat({}, {"votes": votes(GOOD, BAD)}, created_at="2026-03-01T10:00:00Z")
    (rating,) = (one.row for one in read(row)[0] if isinstance(one.row, Rating))
    assert rating.source == "mine" and [turn["content"] for turn in rating.history] == [
        "Question 0?",
        "Answer 0.",
    ]
    assert len(rating.times) == 2 and rating.group


def test_votes_of_turn_without_a_vote_leave_the_answer_out() -> None:
    found, tally = read(chat({"votes": []}, {"votes": votes(GOOD)}))
    assert [type(one.row) for one in found] == [Rating]
    assert any("nobody rated" in line for line in tally.lines())


@pytest.mark.parametrize(
    ("given", "said"),
    [(votes(GOOD, ("ana", "bad")), "keep one"), (votes(GOOD, ("ben", "???")), "no vote on an answer")],
)
def test_votes_of_turn_that_contradict_make_the_row_unreadable(given: Any, said: str) -> None:
    fields = {"messages[].votes[].vote": "vote", "messages[].votes[].by": "annotator"}
    found, tally = read(chat({"votes": given}), fields=fields)
    assert said in found[0].row.fault and tally.faults == 1


def test_votes_of_turn_on_question_are_counted() -> None:
    row = chat({})
    row["messages"][0]["votes"] = votes(BAD)
    found, tally = read(row)
    assert [type(one.row) for one in found] == [Pair]
    assert any("turns that are no answers" in line for line in tally.lines())


def test_votes_of_turn_that_reject_mask_it_in_a_comparison() -> None:
    def row(vote: str) -> dict[str, Any]:
        turns = chat({"votes": votes(("ana", vote))}, {})["messages"]
        return {"chosen": turns, "rejected": [*turns[:-1], {**turns[-1], "content": "No."}]}

    _, good = read(row("good"))
    _, bad = read(row("bad"))
    masked = "answers marked as not to be learned"
    assert good.left_out[masked] == 0 and bad.left_out[masked] > 0


@pytest.mark.parametrize("name", ["votes", "review.votes"])
def test_check_list_in_object_of_turn_is_not_advised_as_votes(name: str) -> None:
    votes: Any = [{"mark": "good"}, {"mark": "bad"}]
    for key in reversed(name.split(".")):
        votes = {key: votes}
    turn = {"role": "assistant", "content": "A robin.", **votes}
    _, tally = read({"messages": [{"role": "user", "content": "Name a bird."}, turn]})
    with pytest.raises(UserError, match="looks like a verdict") as error:
        tally.check("mine")
    assert ('mark": vote' in str(error.value)) == (name == "votes")
