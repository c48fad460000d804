"""Rows of a source from the label page's judgements."""

from __future__ import annotations

import pytest

from tasks.labelling.batches import BatchSettings, LabelItem, add_batch
from tasks.labelling.page_rows import AUTHOR_KEY, own_answers, page_rows
from tasks.labelling.schema import LabelStore
from tests.tasks.labelling.label_project import batch, items, judge, person


def test_page_rows_each_aspect_is_a_comparison(store: LabelStore) -> None:
    batch(store, count=1, aspects=("helpfulness", "truthfulness"))
    ada = person(store, "Ada")
    judge(store, ada, 1, "b", steps={"helpfulness": 1, "truthfulness": 3})
    rows = page_rows(store).rows
    assert [(row["aspect"], row["choice"], row["annotator"]) for row in rows] == [
        ("overall", "b", "Ada"), ("helpfulness", "a", "Ada"), ("truthfulness", "tie", "Ada"),
    ]  # fmt: skip
    assert (rows[0]["prompt"], rows[0]["a"], rows[0]["b"]) == ("Question 0?", "Answer 0.", "Other 0.")


def test_page_rows_skipped_undone_and_replaced_make_no_rows(store: LabelStore) -> None:
    batch(store, count=3)
    ada = person(store, "Ada")
    judge(store, ada, 1, "a")
    judge(store, ada, 1, "bad")
    judge(store, ada, 2, action="skip")
    judge(store, ada, 3, "a")
    judge(store, ada, 3, action="undo")
    assert [row["choice"] for row in page_rows(store).rows] == ["tie"]


def test_page_rows_decision_replaces_the_first_judgements(store: LabelStore) -> None:
    batch(store, count=2)
    ada, bob, rita = person(store, "Ada"), person(store, "Bob"), person(store, "Rita", "reviewer")
    judge(store, ada, 1, "a", better="Mine.")
    judge(store, bob, 1, "b")
    judge(store, bob, 2, "b")
    judge(store, rita, 1, "b", review=True)
    found = page_rows(store)
    assert sorted((row["annotator"], row["choice"]) for row in found.rows if "a" in row) == [
        ("Bob", "b"), ("Rita", "b"),
    ]  # fmt: skip
    decision, other = sorted((row for row in found.rows if "a" in row), key=lambda row: row["prompt"])
    assert (decision["first_annotators"], decision["first_choices"]) == (["Ada", "Bob"], ["a", "b"])
    assert "first_choices" not in other
    assert [row["completion"] for row in found.rows if "completion" in row] == ["Mine."]
    assert found.notices == [
        "1 item decided by reviewers, in place of the first judgements; these count for agreement alone"
    ]


def test_page_rows_aspect_without_a_decision_keeps_the_first_judgements(store: LabelStore) -> None:
    batch(store, count=1, aspects=("helpfulness", "truthfulness"))
    ada, rita, sam = person(store, "Ada"), person(store, "Rita", "reviewer"), person(store, "Sam", "reviewer")
    judge(store, ada, 1, "a", steps={"helpfulness": 1, "truthfulness": 5})
    judge(store, rita, 1, "b", steps={"helpfulness": 4}, review=True)
    judge(store, sam, 1, "tie", review=True)
    rows = [
        (row["annotator"], row["aspect"], row["choice"], row.get("first_choices"))
        for row in page_rows(store).rows
    ]
    # Of two decisions the first has the judgements, so that none counts twice.
    assert rows == [
        ("Ada", "truthfulness", "b", None),
        ("Rita", "overall", "b", ["a"]),
        ("Rita", "helpfulness", "b", ["a"]),
        ("Sam", "overall", "tie", None),
    ]


def test_page_rows_decision_of_a_withdrawn_person_replaces_nothing(store: LabelStore) -> None:
    batch(store, count=1)
    ada, rita = person(store, "Ada"), person(store, "Rita", "reviewer")
    judge(store, ada, 1, "a")
    judge(store, rita, 1, "b", review=True)
    found = page_rows(store, is_withdrawn=lambda name: name == "Rita")
    # Ingestion leaves out Rita's row, and counts it.
    assert [(row["annotator"], row["choice"], row.get("first_choices")) for row in found.rows] == [
        ("Ada", "a", None), ("Rita", "b", None),
    ]  # fmt: skip
    assert found.notices == []


def test_page_rows_own_answers_name_their_author(store: LabelStore) -> None:
    batch(store, count=1)
    ada = person(store, "Ada")
    judge(store, ada, 1, "a", better="Mine.")
    assert own_answers(store, "Ada") == [{"prompt": "Question 0?", "history": [], "completion": "Mine."}]
    assert own_answers(store, "Bob") == []
    assert [row[AUTHOR_KEY] for row in page_rows(store).rows if "completion" in row] == ["Ada"]


@pytest.mark.parametrize(
    ("later", "now"),
    [({"choice": "a", "better": "Changed."}, ["Changed."]), ({"choice": "a"}, []), ({"action": "undo"}, [])],
)
def test_own_answers_changed_later_are_all_found(
    store: LabelStore, later: dict[str, str], now: list[str]
) -> None:
    batch(store, count=1)
    ada = person(store, "Ada")
    judge(store, ada, 1, "a", better="Mine.")
    judge(store, ada, 1, **later)  # type: ignore[arg-type]
    # An earlier run may have learned the first one.
    assert [row["completion"] for row in own_answers(store, "Ada")] == ["Mine.", *now]
    assert [row["completion"] for row in page_rows(store).rows if "completion" in row] == now


def test_page_rows_inaccurate_people_are_left_out_with_a_notice(store: LabelStore) -> None:
    known = [
        LabelItem(f"Is {n} even?", "Yes.", "No.", reason="known", known_choice="b" if n % 2 else "a")
        for n in range(6)
    ]
    add_batch(store, BatchSettings("one"), [*known, *items(2)])
    ada, bob = person(store, "Ada"), person(store, "Bob")
    for number in range(6):
        judge(store, ada, number + 1, "b" if number % 2 else "a")
        judge(store, bob, number + 1, "a")
    judge(store, ada, 7, "b")
    judge(store, bob, 8, "a")
    assert len(page_rows(store).rows) == 2
    found = page_rows(store, least_accuracy=0.8)
    assert [row["annotator"] for row in found.rows] == ["Ada"]
    assert found.notices == [
        "Bob chose the right answer in 3 of 6 known items, less than 80%: 1 judgement left out"
    ]
    assert len(page_rows(store, least_accuracy=0.5).rows) == 2


def test_page_rows_order_follows_from_the_content(store: LabelStore) -> None:
    batch(store, count=3)
    people = [person(store, name) for name in ("Bob", "Ada")]
    for who in people:
        for number in (3, 1, 2):
            judge(store, who, number)
    rows = [(row["prompt"], row["annotator"]) for row in page_rows(store).rows]
    assert rows == sorted(rows, key=lambda row: ([r[0] for r in rows].index(row[0]), row[1]))
    assert {name for _, name in rows} == {"Ada", "Bob"}
