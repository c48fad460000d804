"""The review of the label page."""

from __future__ import annotations

from tasks.labelling.batches import BatchSettings, LabelItem, add_batch
from tasks.labelling.review import count_reviews, next_review
from tasks.labelling.schema import LabelStore
from tests.tasks.labelling.label_project import batch, judge, person


def test_next_review_disputed_and_flagged_items_wait(store: LabelStore) -> None:
    batch(store, count=5, needed=2)
    ada, bob, rita = person(store, "Ada"), person(store, "Bob"), person(store, "Rita", "reviewer")
    judge(store, ada, 1, "a")
    judge(store, bob, 1, "b", comment="b is true")
    judge(store, ada, 2, "a")
    judge(store, bob, 2, "a")
    judge(store, ada, 3, "tie", flag=True)
    judge(store, ada, 4, "a")
    judge(store, ada, 5, "tie")
    judge(store, bob, 5, "bad")
    assert count_reviews(store) == 2
    first = next_review(store, rita)
    assert first is not None and first.item.item == 1
    assert [(one["person"], one["choice"], one["comment"]) for one in first.judgements] == [
        ("Ada", "a", ""), ("Bob", "b", "b is true"),
    ]  # fmt: skip
    second = next_review(store, rita, after=1)
    assert second is not None and second.item.item == 3
    judge(store, rita, 1, "b", review=True)
    assert count_reviews(store) == 1
    judge(store, rita, 1, action="undo", review=True)
    assert count_reviews(store) == 2


def test_next_review_known_items_wait_only_if_flagged(store: LabelStore) -> None:
    known = [LabelItem("Is 2 even?", "Yes.", "No.", reason="known", known_choice="a")]
    add_batch(store, BatchSettings("one"), [*known, LabelItem("Why?", "So.", "Because.")])
    ada, bob, rita = person(store, "Ada"), person(store, "Bob"), person(store, "Rita", "reviewer")
    judge(store, ada, 1, "a")
    judge(store, bob, 1, "b")
    assert next_review(store, rita) is None
    judge(store, bob, 1, "b", flag=True)
    assert count_reviews(store) == 1


def test_next_review_flagged_skip_waits_without_a_choice(store: LabelStore) -> None:
    batch(store, count=2, needed=2)
    ada, rita = person(store, "Ada"), person(store, "Rita", "reviewer")
    judge(store, ada, 1, action="skip", flag=True, comment="both are cut off")
    judge(store, ada, 2, action="skip")
    assert count_reviews(store) == 1
    found = next_review(store, rita)
    assert found is not None and found.item.item == 1
    assert [(one["action"], one["choice"], one["comment"]) for one in found.judgements] == [
        ("skip", "", "both are cut off")
    ]
    judge(store, rita, 1, "tie", review=True)
    assert count_reviews(store) == 0
