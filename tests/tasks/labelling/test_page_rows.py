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
    assert sorted((row.get("annotator"), row.get("choice")) for row in found.rows if "a" in row) == [
        ("Bob", "b"), ("Rita", "b"),
    ]  # fmt: skip
    assert [row["completion"] for row in found.rows if "completion" in row] == ["Mine."]
    assert found.notices == [
        "1 item decided by reviewers, in place of the first judgements. Agreement is measured without these, "
        "so it is higher than people's own"
    ]


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
