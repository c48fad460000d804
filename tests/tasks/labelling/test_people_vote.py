"""The vote of people about a model."""

from __future__ import annotations

import random
import shlex
from typing import Any

import pytest

from model.errors import UserError
from tasks.labelling.batches import BatchSettings, LabelItem, add_batch, list_batches, open_batch
from tasks.labelling.page_rows import page_rows
from tasks.labelling.people_vote import (
    PeopleVote,
    ask_people,
    other_votes,
    read_people_vote,
    vote_name,
    win_interval,
)
from tasks.labelling.schema import LabelStore
from tests.tasks.labelling.label_project import batch, judge, person


def answers(count: int, **texts: str) -> list[dict[str, Any]]:
    """Return the free answers of models to the same prompts, and a greedy one that no one compares."""
    rows = [
        {"model": model, "prompt": f"{n}?", "completion": text, "reward": 0.0}
        for model, text in texts.items()
        for n in range(count)
    ]
    return [*rows, {"model": "aligned", "prompt": "q?", "completion": "greedy"}]


def test_win_interval_holds_at_every_number_at_once() -> None:
    draw = random.Random(1)
    missed = 0
    for _ in range(400):
        scores: list[float] = []
        for _ in range(150):
            scores.append(float(draw.random() < 0.5))
            low, high = win_interval(scores)
            if not low <= 0.5 <= high:
                missed += 1
                break
    assert missed / 400 <= 0.05


@pytest.mark.parametrize(("share", "most"), [(0.9, 30), (0.7, 120)])
def test_win_interval_clear_winner_needs_few(share: float, most: int) -> None:
    draw = random.Random(2)
    needed = []
    for _ in range(50):
        scores: list[float] = []
        while win_interval(scores)[0] <= 0.5 and len(scores) < 1000:
            scores.append(float(draw.random() < share))
        needed.append(len(scores))
    assert sorted(needed)[25] <= most


def test_win_interval_of_nothing_is_everything() -> None:
    assert win_interval([]) == (0.0, 1.0)
    assert win_interval([0.5] * 10)[0] < 0.5 < win_interval([0.5] * 10)[1]


def test_ask_people_once_about_answers_that_differ(store: LabelStore) -> None:
    rows = answers(3, sft="old", aligned="new", champion="new")
    assert ask_people(store, "demo/2", "m", rows, "sft", "SFT") == 3
    assert ask_people(store, "demo/2", "m", rows, "sft", "SFT") == 3
    assert [one.items for one in list_batches(store)] == [3]
    with pytest.raises(UserError, match="no item to judge"):
        ask_people(store, "demo/3", "m", rows, "champion", "demo/1")
    assert read_people_vote(store, "demo/3", "m") is None


def test_ask_people_two_products_with_the_same_answers_are_both_asked_about(store: LabelStore) -> None:
    rows = answers(3, sft="old", aligned="new")
    # A copy of a preset with another name makes the same model of another product.
    assert ask_people(store, "demo/1", "m", rows, "sft", "SFT") == 3
    assert ask_people(store, "team/1", "m", rows, "sft", "SFT") == 3
    ana = person(store, "ana")
    judge(store, ana, 1)
    first, second = (read_people_vote(store, version, "m") for version in ("demo/1", "team/1"))
    assert first and second and (first.judged, second.judged) == (1, 0)


def test_add_batch_items_of_a_vote_may_be_judged_to_learn_from(store: LabelStore) -> None:
    ask_people(store, "demo/1", "m", answers(2, sft="old", aligned="new"), "sft", "SFT")
    items = [LabelItem(f"{n}?", "new", "old") for n in range(2)]
    added = add_batch(store, BatchSettings("learn", origin={"product": "demo"}), items)
    assert (added.added, added.earlier) == (2, 0)
    # People are asked about all answers of a vote, also where they judged one to learn from.
    assert ask_people(store, "demo/2", "n", answers(2, sft="old", aligned="new"), "sft", "SFT") == 2


def test_read_vote_counts_prompts_and_takes_the_decision(store: LabelStore) -> None:
    ask_people(store, "demo/2", "m", answers(3, sft="old", aligned="new"), "sft", "SFT")
    batch(store, count=2)
    ada, bob, rita = person(store, "Ada"), person(store, "Bob"), person(store, "Rita", "reviewer")
    assert read_people_vote(store, "demo/2", "m") == PeopleVote(0, 0.5, 0.0, 1.0, 3, vote_name("demo/2"))
    judge(store, ada, 1, "a")
    judge(store, bob, 1, "b")
    judge(store, ada, 2, "bad")
    judge(store, ada, 4, "b")
    vote = read_people_vote(store, "demo/2", "m")
    assert vote is not None and (vote.judged, vote.win_rate, vote.decision) == (2, 0.5, "")
    judge(store, rita, 1, "a", review=True)
    vote = read_people_vote(store, "demo/2", "m")
    assert vote is not None and vote.win_rate == 0.75


@pytest.mark.parametrize(("choice", "decision"), [("a", "approved"), ("b", "rejected"), ("tie", "")])
def test_read_vote_decision(store: LabelStore, choice: str, decision: str) -> None:
    ask_people(store, "demo/2", "m", answers(40, sft="old", aligned="new"), "sft", "SFT")
    ada = person(store, "Ada")
    for item in range(1, 31):
        judge(store, ada, item, choice)
    vote = read_people_vote(store, "demo/2", "m")
    assert vote is not None and vote.decision == decision and "30 judged prompts of 40" in vote.words
    for item in range(31, 41):
        judge(store, ada, item, choice)
    vote = read_people_vote(store, "demo/2", "m")
    assert vote is not None and vote.decision == (decision or "rejected")


@pytest.mark.parametrize("version", ["demo/2", "o'neill/3", "two words/1"])
def test_read_vote_closed_batch_names_how_to_open_it(store: LabelStore, version: str) -> None:
    ask_people(store, version, "m", answers(2, sft="old", aligned="new"), "sft", "SFT")
    vote = read_people_vote(store, version, "m")
    assert vote and vote.next_step == "`chatmill label` serves the page"
    open_batch(store, vote_name(version), False)
    vote = read_people_vote(store, version, "m")
    assert vote and shlex.split(vote.next_step.split("`")[1])[-1] == vote_name(version)
    open_batch(store, vote_name(version), True)
    assert read_people_vote(store, version, "m") != vote


def test_page_rows_votes_make_no_rows(store: LabelStore) -> None:
    ask_people(store, "demo/2", "m", answers(3, sft="old", aligned="new"), "sft", "SFT")
    judge(store, person(store, "Ada"), 1, "a", better="Mine.")
    assert page_rows(store).rows == []


@pytest.mark.parametrize("others", [("a",), ("a", "b"), ("a" * 64, "a" * 64 + "b")])
def test_ask_people_another_model_of_the_version_makes_a_new_vote(
    store: LabelStore, others: tuple[str, ...]
) -> None:
    ada, items = person(store, "Ada"), 0
    for model in others:
        assert ask_people(store, "demo/2", model, answers(2, sft="old", aligned=model), "sft", "SFT") == 2
        for item in (1, 2):
            judge(store, ada, items + item, "a")
        items += 2
    assert read_people_vote(store, "demo/2", "new model") is None
    rows = answers(2, sft="old", aligned="new")
    assert ask_people(store, "demo/2", "new model", rows, "sft", "SFT") == 2
    assert read_people_vote(store, "demo/2", "new model") == PeopleVote(
        0, 0.5, 0.0, 1.0, 2, "Is demo/2 better? (new model)"
    )
    assert [one.open for one in list_batches(store)] == [*[False] * len(others), True]
    assert len(other_votes(store, "demo/2", "new model")) == len(others)
    judge(store, ada, items + 1, "b")
    vote = read_people_vote(store, "demo/2", "new model")
    assert vote is not None and (vote.judged, vote.win_rate) == (1, 0.0)
    first = read_people_vote(store, "demo/2", others[0])
    assert first is not None and (first.judged, first.win_rate) == (2, 1.0)
