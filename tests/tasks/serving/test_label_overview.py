"""The label page's overview."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from model.evaluation.confidence_intervals import wilson_interval
from tasks.common.aspects import OVERALL
from tasks.labelling.batches import BatchSettings, LabelItem, add_batch
from tasks.labelling.schema import LabelStore
from tasks.serving.label_overview import measure_labels
from tests.tasks.labelling.label_project import judge, opened, person


@pytest.fixture
def store(tmp_path: Path) -> Iterator[LabelStore]:
    yield from opened(tmp_path)


def random_items(count: int, models: tuple[str, str], start: int = 0) -> list[LabelItem]:
    return [
        LabelItem(f"Q{n}", f"a{n}", f"b{n}", a_model=models[0], b_model=models[1], reason="random")
        for n in range(start, start + count)
    ]


def test_measure_labels_empty_store_has_no_figures(store: LabelStore) -> None:
    found = measure_labels(store)
    assert (found.judgements, found.left, found.reviews, found.median_seconds) == (0, 0, 0, None)
    assert not found.days and not found.people and not found.agreement and found.newest_model is None


def test_measure_labels_counts_people_days_and_known_items(store: LabelStore) -> None:
    known = LabelItem("Known", "right", "wrong", reason="known", known_choice="a")
    add_batch(store, BatchSettings("first", needed=2), [*random_items(2, ("m@1", "m@2")), known])
    ada, bob = person(store, "Ada"), person(store, "Bob")
    judge(store, ada, 1, "a", seconds=4.0)
    judge(store, ada, 2, "b", seconds=10.0)
    judge(store, ada, 3, "a", seconds=6.0)
    judge(store, bob, 3, "b", seconds=2.0)
    found = measure_labels(store)
    [day] = found.days.values()
    assert day == {"Ada": 3, "Bob": 1}
    first, second = found.people
    assert (first.person, first.judgements, first.median_seconds) == ("Ada", 3, 6.0)
    assert first.known is not None and second.known is not None
    assert (first.known.share, first.known.count, second.known.share) == (1.0, 1, 0.0)
    assert (first.known.low, first.known.high) == wilson_interval(1, 1)
    assert (found.judgements, found.left, found.median_seconds) == (4, 2, 5.0)
    # Agreement on a known item says little about the others.
    assert [each.items for each in found.agreement] == [0]


def test_measure_labels_agreement_has_each_aspect_the_choice_first(store: LabelStore) -> None:
    add_batch(store, BatchSettings("first", needed=2, aspects=("help",)), random_items(6, ("", "")))
    ada, bob = person(store, "Ada"), person(store, "Bob")
    for item, (one, other) in enumerate(["aa", "aa", "bb", "bb", "aa", "ab"], 1):
        judge(store, ada, item, one, steps={"help": 1})
        judge(store, bob, item, other, steps={"help": 5})
    overall, aspect = measure_labels(store).agreement
    assert (overall.aspect, aspect.aspect, overall.items) == (OVERALL, "help", 6)
    assert overall.alpha is not None and overall.low is not None and overall.high is not None
    assert overall.low <= overall.alpha <= overall.high <= 1 and overall.same == pytest.approx(5 / 6)
    assert aspect.alpha is not None and aspect.alpha < 0 and aspect.same == 0


def test_measure_labels_newest_model_is_compared_item_by_item(store: LabelStore) -> None:
    add_batch(store, BatchSettings("old", needed=1), random_items(1, ("m@1", "m@2")))
    add_batch(store, BatchSettings("new", needed=2), random_items(5, ("m@2", "m@3"), start=1))
    chosen = LabelItem("chosen", "x", "y", a_model="m@2", b_model="m@3", reason="uncertain")
    add_batch(store, BatchSettings("chosen", needed=1), [chosen])
    ada, bob, rita = person(store, "Ada"), person(store, "Bob"), person(store, "Rita", "reviewer")
    judge(store, ada, 1, "a")
    # Won by both, tied, undecided between two, lost, and one that a reviewer decides.
    for item, choices in {2: "bb", 3: ["tie", "bad"], 4: "ab", 5: "a", 6: "aa"}.items():
        for who, choice in zip((ada, bob), choices, strict=False):
            judge(store, who, item, choice)
    judge(store, rita, 6, "b", review=True)
    judge(store, ada, 7, "a")
    found = measure_labels(store).newest_model
    assert found is not None and found.model == "m@3"
    assert (found.wins, found.ties, found.losses) == (2, 2, 1)
    assert found.win_rate is not None and found.win_rate.count == 3
    assert (found.win_rate.low, found.win_rate.high) == wilson_interval(2, 3)


def test_summarise_people_seconds_that_a_tool_does_not_tell_are_left_out(store: LabelStore) -> None:
    add_batch(store, BatchSettings("first", needed=2), random_items(3, ("", "")))
    ada, bob = person(store, "Ada"), person(store, "Bob")
    for item, seconds in ((1, 0.0), (2, 5.0), (3, 9.0)):
        judge(store, ada, item, seconds=seconds)
    judge(store, bob, 1, seconds=0.0)
    assert [each.median_seconds for each in measure_labels(store).people] == [7.0, 0.0]
