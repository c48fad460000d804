"""Test that a withdrawal announces the rows that ingestion then leaves out, and as many."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from model.errors import UserError
from tasks.data.records import read_shards
from tasks.data.sources.source_types import DataParameters, Source
from tasks.dvc.pointer_file import read_pointer
from tests.tasks.data.withdrawal_project import make, withdraw
from tests.tasks.ingest_project import write
from tests.tasks.labelling.label_project import batch, judge, opened, person

ANN = {"prompt": "p", "a": "x", "b": "y", "choice": "a", "annotator": "ann"}
TURNED = {**ANN, "a": "y", "b": "x", "choice": "b"}
VOTE = {"prompt": "p", "a": "x", "b": "y", "choice": "a"}
APART = DataParameters(tuple(Source(name, "rows", files=f"texts/{name}.jsonl") for name in "ab"))


def rate(annotator: str, score: float = 1.0, completion: str = "z") -> dict[str, Any]:
    return {"prompt": "q", "completion": completion, "score": score, "annotator": annotator}


def rows(root: Path, kind: str) -> list[dict[str, Any]]:
    return list(read_shards(root / "data" / kind))


def check_withdrawal(root: Path, people: list[str], ids: list[str]) -> int:
    """Withdraw, and return the number of rows that left; each of three places must count them alike."""
    kinds = ("text", "comparisons", "ratings")
    before = {kind: len(rows(root, kind)) for kind in kinds}
    plan = withdraw(root, people, ids)
    make(root, APART)
    left = {kind: before[kind] - len(rows(root, kind)) for kind in kinds}
    counted = {kind: sum(n for (of, _), n in plan.gone.items() if of == kind) for kind in kinds}
    recorded = (read_pointer(root) or {})["meta"]["withdrawn"]["rows"]
    assert counted == left
    assert recorded == {kind: count for kind, count in left.items() if count}
    return sum(left.values())


@pytest.mark.parametrize(
    ("first", "second", "gone"),
    [
        # The same label in two sources.
        ([ANN, {**ANN, "prompt": "r"}], [ANN], 2),
        # The same answers in the other order.
        ([ANN, TURNED], [{"text": "two"}], 1),
        # Labels that contradict each other all stay, so all of them leave.
        ([ANN, {**ANN, "choice": "b"}], [{**ANN, "annotator": "ben"}], 2),
        ([rate("ann"), rate("ann", 0.5)], [rate("ann"), rate("ben")], 1),
        ([{**ANN, "a": "x "}], [ANN, TURNED], 2),
    ],
)
def test_plan_deletion_repeated_labels_are_counted_as_ingestion_does(
    tmp_path: Path, first: list[dict[str, Any]], second: list[dict[str, Any]], gone: int
) -> None:
    write(tmp_path, {"text": "one"}, *first)
    write(tmp_path, *second, name="b")
    make(tmp_path, APART)
    assert check_withdrawal(tmp_path, ["ann"], []) == gone


def test_plan_deletion_rating_by_id_counts_everybodys_ratings_of_the_answer(tmp_path: Path) -> None:
    write(tmp_path, {"text": "one"}, rate("ann"), rate("ben", -1.0), rate("ann", completion="other"))
    write(tmp_path, rate("cay"), name="b")
    make(tmp_path, APART)
    [number] = [row["id"] for row in rows(tmp_path, "ratings") if row["annotators"] == ["cay"]]
    assert check_withdrawal(tmp_path, [], [number]) == 3
    assert [row["completion"] for row in rows(tmp_path, "ratings")] == ["other"]


@pytest.mark.parametrize("name", ["unknown", "unknown-2", "unknown-3"])
def test_ingest_one_of_several_equal_votes_is_withdrawn_alone(tmp_path: Path, name: str) -> None:
    write(tmp_path, {"text": "one"}, VOTE, VOTE)
    write(tmp_path, VOTE, {**VOTE, "prompt": "r"}, name="b")
    make(tmp_path, APART)
    [number] = [
        r["id"] for r in rows(tmp_path, "comparisons") if (r["annotator"], r["prompt"]) == (name, "p")
    ]
    assert check_withdrawal(tmp_path, [], [number]) == 1
    assert number not in [row["id"] for row in rows(tmp_path, "comparisons")]
    assert len(rows(tmp_path, "comparisons")) == 3


@pytest.mark.parametrize(
    ("votes", "name", "gone"),
    [
        ([VOTE, VOTE, VOTE], "unknown", 3),
        ([VOTE, VOTE, VOTE], "unknown-2", 1),
        ([{"prompt": "q", "completion": "z", "score": 1}] * 3, "unknown-0", 3),
        ([{"prompt": "q", "completion": "z", "score": 1}] * 3, "unknown-0-3", 1),
    ],
)
def test_ingest_people_without_a_name_are_withdrawn_by_number_or_together(
    tmp_path: Path, votes: list[dict[str, Any]], name: str, gone: int
) -> None:
    write(tmp_path, {"text": "one"}, *votes)
    write(tmp_path, ANN, name="b")
    make(tmp_path, APART)
    assert check_withdrawal(tmp_path, [name], []) == gone
    assert [row["annotator"] for row in rows(tmp_path, "comparisons") if row["annotator"] == "ann"] == ["ann"]


def test_ingest_scores_of_one_person_without_a_name_are_withdrawn(tmp_path: Path) -> None:
    rating = {"prompt": "q", "completion": "z", "scores": [1.0, -1.0]}
    write(tmp_path, {"text": "one"}, rating, rating)
    write(tmp_path, ANN, name="b")
    make(tmp_path, APART)
    plan = withdraw(tmp_path, ["unknown-1-2"], [])
    assert plan.reduced.total() == 1 and not plan.gone
    make(tmp_path, APART)
    left = sorted(row["annotators"] for row in rows(tmp_path, "ratings"))
    assert left == [["unknown-0", "unknown-1"], ["unknown-0-2"]]
    # The rest of it can be withdrawn by its new id.
    [number] = [row["id"] for row in rows(tmp_path, "ratings") if len(row["scores"]) == 1]
    assert withdraw(tmp_path, [], [number]).gone.total() >= 1
    make(tmp_path, APART)
    assert number not in [row["id"] for row in rows(tmp_path, "ratings")]


def test_plan_deletion_judgements_that_no_ingestion_read_are_named(tmp_path: Path) -> None:
    write(tmp_path, {"text": "one"}, ANN)
    make(tmp_path)
    [store] = opened(tmp_path)
    ben = person(store, "Ben")
    person(store, "Cay")
    batch(store, 2)
    judge(store, ben, 1)
    with pytest.raises(UserError, match=r"by .Ben.; 1 label of theirs is on the label page"):
        withdraw(tmp_path, ["Ben"], [])
    judge(store, ben, 2, choice="b")
    with pytest.raises(UserError, match="2 labels of theirs are on the label page"):
        withdraw(tmp_path, ["Ben"], [])
    with pytest.raises(UserError, match="no label in data/ is by 'Cay'; there are ann "):
        withdraw(tmp_path, ["Cay"], [])
    judge(store, ben, 1, action="undo")
    judge(store, ben, 2, action="undo")
    with pytest.raises(UserError, match="no label in data/ is by 'Ben'; "):
        withdraw(tmp_path, ["Ben"], [])
