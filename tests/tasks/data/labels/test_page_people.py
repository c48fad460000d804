"""Test what the report reads of the label page's people."""

from __future__ import annotations

from pathlib import Path

from tasks.data.labels.page_people import (
    forget_page_people,
    page_people_digest,
    read_page_people,
)
from tasks.data.withdrawals import Withdrawal, write_withdrawals
from tasks.labelling.batches import BatchSettings, LabelItem, add_batch
from tasks.labelling.schema import open_label_store
from tests.tasks.labelling.label_project import judge, person


def test_read_page_people_without_page_is_empty_and_creates_nothing(tmp_path: Path) -> None:
    forget_page_people()
    assert read_page_people(tmp_path) == ()
    assert not list(tmp_path.iterdir())


def test_read_page_people_summaries_are_of_one_moment_without_withdrawn_people(tmp_path: Path) -> None:
    forget_page_people()
    known = LabelItem("Known", "right", "wrong", reason="known", known_choice="a")
    with open_label_store(tmp_path) as store:
        add_batch(store, BatchSettings("first", needed=2), [LabelItem("Q", "x", "y"), known])
        ana, ben = person(store, "ana"), person(store, "ben")
        judge(store, ana, 1, "a", seconds=4.0)
        judge(store, ana, 2, "a", seconds=8.0)
        judge(store, ben, 1, "b", seconds=3.0)
        first, second = read_page_people(tmp_path)
        digest = page_people_digest(tmp_path)
        assert (first["person"], first["judgements"], first["median_seconds"]) == ("ana", 2, 6.0)
        assert (first["known"]["share"], first["known"]["count"], second["known"]) == (1.0, 1, None)
        judge(store, ben, 2, "b", seconds=3.0)
    assert page_people_digest(tmp_path) == digest
    forget_page_people()
    assert page_people_digest(tmp_path) != digest
    write_withdrawals(tmp_path, [Withdrawal("max", "asked", "2026-03-01T00:00:00Z", annotator="ana")])
    assert [each["person"] for each in read_page_people(tmp_path)] == ["ben"]
