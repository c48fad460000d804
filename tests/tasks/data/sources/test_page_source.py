"""The label page as a source of rows."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from model.errors import UserError
from model.events import Event, Message
from tasks.data.records import read_shards
from tasks.data.sources.page_source import forget_pages
from tasks.data.sources.source_identity import sources_digest
from tasks.data.sources.source_types import DataParameters, Source
from tasks.data.withdrawals import WITHDRAWN, count_withdrawn, read_withdrawn
from tasks.dvc.pointer_file import read_pointer
from tasks.engine.parallel import serial_map
from tasks.ingestion.row_making import make_rows
from tasks.labelling.people import add_person, find_person
from tasks.labelling.schema import open_label_store
from tasks.validation.expectations import Limits
from tests.tasks.data.withdrawal_project import make, withdraw
from tests.tasks.ingest_project import write
from tests.tasks.labelling.label_project import batch, judge

PAGE = DataParameters((Source("people", labels="page"),))


@pytest.fixture(autouse=True)
def _new_process() -> Iterator[None]:
    forget_pages()
    yield
    forget_pages()


def ingested(root: Path, number: int = 0) -> tuple[dict[str, list[dict[str, object]]], list[str]]:
    """Return the rows that ingestion makes of the page by kind, and what it says."""
    said: list[Event] = []
    out = root / f"out-{number}"
    make_rows(PAGE, root, out, said.append, serial_map)
    rows = {kind: list(read_shards(out / "rows" / kind)) for kind in ("comparisons", "pairs")}
    return rows, [one.text for one in said if isinstance(one, Message)]


def judged(root: Path) -> None:
    """Let two people judge a batch."""
    store = open_label_store(root)
    batch(store, count=2, aspects=("helpfulness",))
    for name in ("Ada", "Bob"):
        who, _ = add_person(store, name)
        judge(store, who, 1, "a", steps={"helpfulness": 2}, better=f"{name}'s answer.")
        judge(store, who, 2, "tie" if name == "Ada" else "bad")
    store.close()


def test_page_source_without_judgements_is_empty_with_a_notice(tmp_path: Path) -> None:
    rows, said = ingested(tmp_path)
    assert rows == {"comparisons": [], "pairs": []}
    assert said == ["source people: the label page has no judgements yet; `chatmill label` serves it"]


def test_page_source_judgements_become_comparisons_and_pairs(tmp_path: Path) -> None:
    judged(tmp_path)
    rows, _ = ingested(tmp_path)
    assert sorted((str(row["aspect"]), row["choice"], row["annotator"]) for row in rows["comparisons"]) == [
        ("helpfulness", "a", "Ada"), ("helpfulness", "a", "Bob"), ("overall", "a", "Ada"),
        ("overall", "a", "Bob"), ("overall", "tie", "Ada"), ("overall", "tie", "Bob"),
    ]  # fmt: skip
    assert sorted(str(row["completion"]) for row in rows["pairs"]) == ["Ada's answer.", "Bob's answer."]
    assert all(row["time"] for row in rows["comparisons"])


def test_page_source_aspects_pass_validation(tmp_path: Path) -> None:
    judged(tmp_path)
    rows, _ = ingested(tmp_path)
    found = {str(row["aspect"]) for row in rows["comparisons"]}
    assert found == {"overall", "helpfulness"} and found <= set(Limits().aspects)


def test_page_source_digest_is_that_of_one_moment(tmp_path: Path) -> None:
    judged(tmp_path)
    before = sources_digest(PAGE, tmp_path)
    store = open_label_store(tmp_path)
    ada = find_person(store, "Ada")
    assert ada is not None
    judge(store, ada, 2, "b")
    assert sources_digest(PAGE, tmp_path) == before
    rows, _ = ingested(tmp_path)
    assert [row["choice"] for row in rows["comparisons"]].count("b") == 0
    forget_pages()
    assert sources_digest(PAGE, tmp_path) != before
    rows, _ = ingested(tmp_path, 1)
    assert [row["choice"] for row in rows["comparisons"]].count("b") == 1
    judge(store, ada, 2, "tie")
    store.close()


def test_page_source_withdrawn_person_is_out_of_the_data_and_counted(tmp_path: Path) -> None:
    judged(tmp_path)
    make(tmp_path, PAGE)
    plan = withdraw(tmp_path, ["Ada"], [])
    assert sum(plan.gone.values()) == 4 and {kind for kind, _ in plan.gone} == {"comparisons", "pairs"}
    forget_pages()
    make(tmp_path, PAGE)
    assert [row["completion"] for row in read_shards(tmp_path / "data" / "pairs")] == ["Bob's answer."]
    assert {row["annotator"] for row in read_shards(tmp_path / "data" / "comparisons")} == {"Bob"}
    recorded = (read_pointer(tmp_path) or {})["meta"]["withdrawn"]["rows"]
    assert recorded == {"comparisons": 3, "pairs": 1}
    store = open_label_store(tmp_path)
    ada = find_person(store, "Ada")
    assert ada is not None
    judge(store, ada, 2, "a", better="A later answer.")
    store.close()
    forget_pages()
    make(tmp_path, PAGE)
    assert [row["completion"] for row in read_shards(tmp_path / "data" / "pairs")] == ["Bob's answer."]


def decided(root: Path) -> None:
    """Let two people judge an item differently, and a reviewer decide."""
    store = open_label_store(root)
    batch(store, count=1)
    for name, choice in (("Ada", "a"), ("Bob", "b")):
        judge(store, add_person(store, name)[0], 1, choice)
    judge(store, add_person(store, "Rita", "reviewer")[0], 1, "b", review=True)
    store.close()


def test_page_source_decision_has_the_judgements_that_it_replaced(tmp_path: Path) -> None:
    decided(tmp_path)
    rows, said = ingested(tmp_path)
    [row] = rows["comparisons"]
    assert (row["annotator"], row["choice"]) == ("Rita", "b")
    assert (row["first_annotators"], row["first_choices"]) == (["Ada", "Bob"], ["a", "b"])
    # Nothing of it is unread or asked about.
    assert said == [
        "source people: 1 item decided by reviewers, in place of the first judgements; these count for "
        "agreement alone"
    ]


def test_page_source_withdrawn_first_judgement_leaves_the_decision(tmp_path: Path) -> None:
    decided(tmp_path)
    make(tmp_path, PAGE)
    plan = withdraw(tmp_path, ["Ada"], [])
    assert not plan.gone and plan.reduced.total() == 1
    assert count_withdrawn(tmp_path / "data", read_withdrawn(tmp_path)) == {"comparisons": 1}
    forget_pages()
    said: list[Event] = []
    make_rows(PAGE, tmp_path, tmp_path / "out", said.append, serial_map, read_withdrawn(tmp_path))
    words = f"left out: first judgements of 1 comparison, as {WITHDRAWN} withdraws them"
    assert words in [one.text for one in said if isinstance(one, Message)]
    make(tmp_path, PAGE)
    [row] = read_shards(tmp_path / "data" / "comparisons")
    assert (row["annotator"], row["first_annotators"], row["first_choices"]) == ("Rita", ["Bob"], ["b"])
    assert not count_withdrawn(tmp_path / "data", read_withdrawn(tmp_path))


def test_page_source_withdrawn_reviewer_brings_the_first_judgements_back(tmp_path: Path) -> None:
    decided(tmp_path)
    make(tmp_path, PAGE)
    withdraw(tmp_path, ["Rita"], [])
    forget_pages()
    make(tmp_path, PAGE)
    rows = list(read_shards(tmp_path / "data" / "comparisons"))
    assert sorted((row["annotator"], row["choice"]) for row in rows) == [("Ada", "a"), ("Bob", "b")]
    assert not any("first_choices" in row for row in rows)


def test_withdraw_own_answers_that_data_lacks_now_are_withdrawn_by_id(tmp_path: Path) -> None:
    judged(tmp_path)
    make(tmp_path, PAGE)
    [mine] = [
        row["id"] for row in read_shards(tmp_path / "data" / "pairs") if row["completion"] != "Bob's answer."
    ]
    # Another preset made data/ since, but the outputs and the versions of the first one are still there.
    write(tmp_path, {"text": "one"})
    make(tmp_path)
    plan = withdraw(tmp_path, ["Ada"], [])
    assert {each.id for each in plan.new} == {"", mine} and not plan.gone
    forget_pages()
    make(tmp_path, PAGE)
    assert [row["completion"] for row in read_shards(tmp_path / "data" / "pairs")] == ["Bob's answer."]


def test_withdraw_person_unknown_to_data_and_page_is_refused(tmp_path: Path) -> None:
    judged(tmp_path)
    make(tmp_path, PAGE)
    with pytest.raises(UserError, match="no label in data/ is by 'Cleo'"):
        withdraw(tmp_path, ["Cleo"], [])


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"labels": "all"}, "expected page"),
        ({"labels": "page", "files": "x.jsonl"}, "exactly one"),
        ({"labels": "page", "format": "plain"}, "format has no effect"),
        ({"labels": "page", "columns": {"prompt": "p"}}, "columns has no effect"),
        ({"labels": "page", "min_known_accuracy": 1.5}, "share from 0 to 1"),
        ({"files": "x.jsonl", "min_known_accuracy": 0.5}, "needs `labels: page`"),
        ({"files": "x.jsonl", "products": ("team",)}, "products needs `labels: page`"),
        ({"labels": "page", "products": ("team", " ")}, "products contains an empty name"),
    ],
)
def test_source_invalid_label_options_are_refused(values: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Source("people", **values)  # type: ignore[arg-type]
