"""Test the stage `validate`: each rule, and what happens to rows that break it."""

from __future__ import annotations

import json
import shutil
import subprocess
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from model.errors import UserError
from model.events import MarkdownTable, Message
from tasks.data.records import TYPES, fault_row, read_shards, text_digest
from tasks.engine.parallel import process_pool, serial_map
from tasks.validate import ValidateParameters, validate
from tasks.validation.expectations import ACROSS
from tasks.validation.row_loss import accepted_rows
from tests.tasks.validation.test_expectations import GOOD


def rows(count: int) -> list[dict[str, Any]]:
    return [
        {
            "id": text_digest(i),
            "text": f"Text number {i} is here.",
            "source": "film",
            "group": text_digest("g", i),
        }
        for i in range(count)
    ]


def ingested(root: Path, text: list[dict[str, Any]]) -> Path:
    shutil.rmtree(root / "out", ignore_errors=True)
    folder = root / "ingest" / "rows"
    folder.mkdir(parents=True, exist_ok=True)
    for kind in TYPES:
        lines = text if kind == "text" else []
        (folder / kind).mkdir(exist_ok=True)
        (folder / kind / "00000.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return root / "ingest"


def run(root: Path, text: list[dict[str, Any]], events: list[Any], **settings: Any) -> dict[str, int]:
    return validate(
        ValidateParameters(**settings),
        ingest=ingested(root, text),
        out=root / "out",
        on_event=events.append,
        root=root,
    )


def test_validate_broken_row_is_quarantined_with_rule(tmp_path: Path) -> None:
    events: list[Any] = []
    figures = run(tmp_path, [*rows(99), {**rows(100)[-1], "text": "bad \x07 bell"}], events)
    assert (figures["text"], figures["text_quarantined"]) == (99, 1)
    for folder in (tmp_path / "out" / "quarantine", tmp_path / "data" / "quarantine"):
        (line,) = (folder / "text" / "00000.jsonl").read_text().splitlines()
        assert json.loads(line)["rule"] == "text is printable"
    good = (tmp_path / "out" / "rows" / "text" / "00000.jsonl").read_text()
    assert good.count("\n") == 99 and "bell" not in good
    (table,) = [event for event in events if isinstance(event, MarkdownTable)]
    assert "the text has characters that cannot be printed" in table.markdown
    assert "the text has characters that cannot be printed" in (tmp_path / "out" / "report.md").read_text()


def test_validate_good_rows_are_unchanged(tmp_path: Path) -> None:
    run(tmp_path, rows(5), [])
    assert json.loads((tmp_path / "out" / "report.json").read_text())["broken"] == []
    assert not (tmp_path / "data" / "quarantine").exists()


def test_validate_too_many_broken_rows_stop_with_table(tmp_path: Path) -> None:
    bad = [{**row, "text": "\x01\x02"} for row in rows(10)[5:]]
    events: list[Any] = []
    with pytest.raises(
        UserError, match=r"rejected before any training: 5 of 10 texts break a rule, above 2\.0%"
    ) as caught:
        run(tmp_path, [*rows(5), *bad], events)
    assert "the text has characters that cannot be printed" in str(caught.value)
    assert any(isinstance(event, MarkdownTable) for event in events)
    assert len((tmp_path / "data" / "quarantine" / "text" / "00000.jsonl").read_text().splitlines()) == 5
    assert run(tmp_path, [*rows(5), *bad], [], max_bad_fraction=0.6)["text"] == 5


def test_validate_empty_corpus_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no rows of text or pairs"):
        run(tmp_path, [], [])


def test_validate_shrunken_table_is_refused(tmp_path: Path) -> None:
    def git(*words: str) -> None:
        who = ["-c", "user.name=a", "-c", "user.email=a@b.c"]
        subprocess.run(["git", "-C", str(tmp_path), *who, *words], check=True, capture_output=True)

    def point(md5: str, count: int, names: str = "film, notes") -> None:
        meta = f"meta: {{sources: s, names: [{names}], rows: {{text: {count}}}}}\n"
        (tmp_path / "data.dvc").write_text(f"outs:\n- {{md5: {md5}, path: data}}\n{meta}")

    git("init")
    point("a.dir", 100)
    git("add", "data.dvc")
    git("commit", "-m", "accepted")
    assert accepted_rows(tmp_path) == {}
    point("b.dir", 10)
    assert accepted_rows(tmp_path) == {"text": 100}
    with pytest.raises(UserError, match=r"count of rows \(10; at least 50 is wanted\)"):
        run(tmp_path, rows(10), [])
    assert run(tmp_path, rows(60), [])["text"] == 60
    # Data of other sources is not compared in size.
    point("b.dir", 10, names="mine, other")
    assert run(tmp_path, rows(10), [])["text"] == 10


@pytest.mark.parametrize(("key", "value"), [("max_bad_fraction", 1.5), ("max_row_drop", -0.1)])
def test_validate_parameters_share_out_of_range_is_refused(key: str, value: float) -> None:
    with pytest.raises(ValueError, match=key):
        ValidateParameters(**{key: value})


def laid(root: Path, kind: str, shards: list[list[dict[str, Any]]]) -> Path:
    """Write an ingest output with these shards of a kind, their origins, and one text."""
    folder = ingested(root, rows(1))
    for number, lines in enumerate(shards):
        path = folder / "rows" / kind / f"{number:05}.jsonl"
        path.write_text("".join(json.dumps(line) + "\n" for line in lines))
        places = folder / "origins" / kind / path.name
        places.parent.mkdir(parents=True, exist_ok=True)
        places.write_text("".join(json.dumps(f"mine.jsonl, line {line['id']}") + "\n" for line in lines))
    return folder


def sifted(
    root: Path, kind: str, shards: list[list[dict[str, Any]]], parallel_map: Any = serial_map, **settings: Any
) -> tuple[dict[str, str], list[dict[str, Any]]]:
    """Return the broken rule of each quarantined row by id, and the rows that are kept."""
    validate(
        ValidateParameters(**{"max_bad_fraction": 1.0, **settings}),
        ingest=laid(root, kind, shards), out=root / "out",
        on_event=lambda event: None, root=root, parallel_map=parallel_map,
    )  # fmt: skip
    aside = list(read_shards(root / "out" / "quarantine" / kind))
    assert all(row["where"] == f"mine.jsonl, line {row['id']}" for row in aside)
    return {row["id"]: row["rule"] for row in aside}, list(read_shards(root / "out" / "rows" / kind))


def text(number: str, said: str, group: str = "g1", source: str = "film") -> dict[str, Any]:
    return {"id": number, "text": said, "source": source, "group": group}


def test_validate_repeated_content_in_another_shard_is_found(tmp_path: Path) -> None:
    shards = [
        [text("1", "The mill is old."), text("2", "One.")],
        [text("3", "the  MILL is old."), text("4", "one.", "g9")],
    ]
    aside, kept = sifted(tmp_path, "text", shards)
    assert aside == {"3": "content is not there twice", "4": "held out of training"}
    assert [row["id"] for row in kept] == ["1", "2"]


def test_validate_same_answer_with_other_history_is_kept(tmp_path: Path) -> None:
    first = {**GOOD["pairs"], "history": [{"role": "user", "content": "Hello"}]}
    aside, _ = sifted(tmp_path, "pairs", [[first], [{**GOOD["pairs"], "id": "2", "group": "g2"}]])
    assert aside == {}


def test_validate_two_ratings_of_one_answer_are_kept(tmp_path: Path) -> None:
    other = {**GOOD["ratings"], "id": "2", "scores": [1.0], "annotators": ["cyd"]}
    assert sifted(tmp_path, "ratings", [[GOOD["ratings"]], [other]])[0] == {}


def test_validate_contradicting_comparisons_of_person_are_quarantined(tmp_path: Path) -> None:
    def choice(number: str, who: str, chosen: str, turned: bool = False) -> dict[str, Any]:
        a, b = (" Us?", " The mill.") if turned else (" The mill.", " Us?")
        return {**GOOD["comparisons"], "id": number, "annotator": who, "choice": chosen, "a": a, "b": b}

    shards = [
        [choice("1", "ann", "a"), choice("2", "bob", "a")],
        # With the sides swapped, bob chooses the same answer; ann and the unknown choose the other.
        [choice("3", "ann", "a", turned=True), choice("4", "bob", "b", turned=True)],
        [choice("5", "unknown", "a"), choice("6", "unknown", "a", turned=True)],
    ]
    assert sifted(tmp_path, "comparisons", shards)[0] == {"1": ACROSS[0], "3": ACROSS[0]}


def test_validate_anonymous_votes_are_all_kept(tmp_path: Path) -> None:
    def vote(number: str, chosen: str) -> dict[str, Any]:
        return {**GOOD["comparisons"], "id": number, "annotator": f"unknown-{number}", "choice": chosen}

    shards = [[vote("1", "a"), vote("2", "a")], [vote("3", "b"), vote("4", "tie")]]
    assert sifted(tmp_path, "comparisons", shards)[0] == {}


def test_validate_choice_and_tie_of_person_are_quarantined(tmp_path: Path) -> None:
    rows = [{**GOOD["comparisons"], "id": number, "choice": c} for number, c in (("1", "a"), ("2", "tie"))]
    assert sifted(tmp_path, "comparisons", [rows])[0] == {"1": ACROSS[0], "2": ACROSS[0]}


def test_validate_unreadable_row_breaks_one_rule(tmp_path: Path) -> None:
    faults = [
        asdict(fault_row("comparisons", "s", f"a, line {n}", f"a, line {n}: no choice")) for n in (1, 2)
    ]
    aside, kept = sifted(tmp_path, "comparisons", [[GOOD["comparisons"], *faults]])
    assert set(aside.values()) == {"the row can be read"} and len(aside) == 2 and len(kept) == 1


def test_validate_opposite_ratings_of_person_are_quarantined(tmp_path: Path) -> None:
    def rating(number: str, score: float) -> dict[str, Any]:
        return {**GOOD["ratings"], "id": number, "scores": [score], "annotators": ["ann"], "group": "g"}

    aside, _ = sifted(tmp_path, "ratings", [[rating("1", 2.0)], [rating("2", -1.0)]])
    assert aside == {"1": ACROSS[0], "2": ACROSS[0]}


def test_validate_near_duplicates_are_quarantined_if_asked(tmp_path: Path) -> None:
    words = [f"word{i}" for i in range(200)]
    alike = [" ".join(words), " ".join([*words[:199], "other"])]
    shards = [
        [text("000000000000000a", alike[0])],
        [text("000000000000000b", alike[1]), text("000000000000000c", "Quite another text.")],
    ]
    assert sifted(tmp_path, "text", shards)[0] == {}
    assert sifted(tmp_path, "text", shards, near_duplicate_threshold=0.8)[0] == {
        "000000000000000b": ACROSS[3]
    }


def test_validate_personal_data_is_quarantined_or_masked(tmp_path: Path) -> None:
    shards = [[text("1", "Write to ana@example.org today."), text("2", "Write to nobody.")]]
    assert sifted(tmp_path, "text", shards)[0] == {}
    aside, _ = sifted(tmp_path, "text", shards, pii="quarantine")
    assert aside == {"1": "text is free of personal data"}
    aside, kept = sifted(tmp_path, "text", shards, pii="mask")
    assert aside == {} and "ana@" not in kept[0]["text"] and "[e-mail]" in kept[0]["text"]
    assert kept[0]["id"] == "1"


def test_validate_personal_data_in_history_and_references_is_found(tmp_path: Path) -> None:
    where = {
        "history": [{"role": "user", "content": "I am ana@example.org."}], "references": ["bob@example.org"],
    }  # fmt: skip
    shards = [[{**GOOD["pairs"], **where}]]
    assert sifted(tmp_path, "pairs", shards, pii="quarantine")[0] == {
        "1": "references is free of personal data"
    }
    _, (kept,) = sifted(tmp_path, "pairs", shards, pii="mask")
    assert "@" not in json.dumps(kept)


def test_validate_scripts_and_benchmarks_are_checked_if_asked(tmp_path: Path) -> None:
    (tmp_path / "held").mkdir()
    question = "which of these four old mills by the river still grinds the corn of the town every week"
    (tmp_path / "held" / "a.jsonl").write_text(json.dumps({"question": question}) + "\n")
    shards = [
        [text("1", "Мельница старая и тихая."), text("2", f"Asked: {question}."), text("3", "A mill.")],
    ]
    assert sifted(tmp_path, "text", shards, allowed_scripts=("Latin",))[0] == {"1": "text is in Latin"}
    aside, _ = sifted(tmp_path, "text", shards, decontaminate_against=("held/*.jsonl",))
    assert aside == {"2": "text is in no benchmark"}
    with pytest.raises(UserError, match="matches no file"):
        sifted(tmp_path, "text", shards, decontaminate_against=("gone/*.jsonl",))
    with pytest.raises(ValueError, match="did you mean Latin"):
        ValidateParameters(allowed_scripts=("Latim",))


def test_validate_rules_of_user_are_expectations(tmp_path: Path) -> None:
    own = {
        "expectation": "ExpectColumnValuesToNotMatchRegex", "column": "text", "regex": "lorem",
        "rule": "no filler",
    }  # fmt: skip
    shards = [[text("1", "lorem ipsum"), text("2", "A mill.")]]
    assert sifted(tmp_path, "text", shards, expectations={"text": (own,)})[0] == {"1": "no filler"}
    with pytest.raises(UserError, match="named 'no filler' is there already"):
        sifted(tmp_path, "text", shards, expectations={"text": (own, own)})


def test_validate_admitted_rows_are_kept_or_replaced(tmp_path: Path) -> None:
    (tmp_path / "configs").mkdir()
    signed = {"by": "ana", "why": "a poem", "time": "2026-01-01T00:00:00+00:00"}
    corrected = {**signed, "id": "2", "row": text("2", "corrected bell")}
    lines = [{**signed, "id": "1"}, corrected]
    (tmp_path / "configs" / "admitted.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    shards = [[text("1", "a \x07 bell"), text("2", "b \x07 bell"), text("3", "c \x07 bell")]]
    aside, kept = sifted(tmp_path, "text", shards)
    assert aside == {"3": "text is printable"}
    assert [row["text"] for row in kept] == ["a \x07 bell", "corrected bell"]
    assert "2 by ana" in (tmp_path / "out" / "report.md").read_text()


def test_validate_source_may_have_its_own_share(tmp_path: Path) -> None:
    good = [text(f"{i:03}", f"Text number {i}.", source="clean") for i in range(96)]
    bad = [text(f"{i}", f"\x01 {i}", source="dirty") for i in range(4)]
    with pytest.raises(UserError, match=r"4 of 100 texts break a rule, above 2\.0%"):
        sifted(tmp_path, "text", [[*good, *bad]], max_bad_fraction=0.02)
    aside, _ = sifted(
        tmp_path, "text", [[*good, *bad]], max_bad_fraction=0.02, max_bad_fraction_by_source={"dirty": 1.0}
    )
    assert len(aside) == 4
    with pytest.raises(UserError, match=r"4 of 4 texts of dirty break a rule, above 50\.0%"):
        sifted(
            tmp_path, "text", [[*good, *bad]], max_bad_fraction=1.0, max_bad_fraction_by_source={"dirty": 0.5}
        )


def test_validate_one_sided_labels_stop_if_balance_is_asked(tmp_path: Path) -> None:
    labels = [
        {**GOOD["comparisons"], "id": str(i), "prompt": f"What is {i}?", "choice": "ab"[i % 2]}
        for i in range(6)
    ]
    assert sifted(tmp_path, "comparisons", [labels], max_label_share={"choice": 0.6})[0] == {}
    with pytest.raises(UserError, match=r"one annotator's share \(1; at most 0\.9 is wanted\)"):
        sifted(tmp_path, "comparisons", [labels], max_label_share={"annotator": 0.9})


@pytest.mark.parametrize(
    ("pii", "text", "hinted"),
    [
        ("off", "Write to bob@mill.example for flour.", True),
        ("off", "Say hi to @bob at 3 @ the mill, file icon@2x.png.", False),
        ("mask", "Write to bob@mill.example for flour.", False),
    ],
)
def test_validate_personal_data_that_nobody_asked_for_is_hinted_once(
    tmp_path: Path, pii: str, text: str, hinted: bool
) -> None:
    events: list[Any] = []
    lines = [{**row, "text": f"{text} {number}"} for number, row in enumerate(rows(30))]
    run(tmp_path, [*lines, *rows(31)[30:]], events, pii=pii)
    said = [event.text for event in events if isinstance(event, Message) and "validate.pii" in event.text]
    assert said == (
        [
            "30 of 31 rows looked at have what looks like an e-mail address. validate.pii is off, so "
            "personal data stays in; `mask` or `quarantine` takes it out"
        ]
        if hinted
        else []
    )


def test_validate_similar_names_get_one_notice(tmp_path: Path) -> None:
    people = ("Anna", "anna", "Ben", "Ben")
    labels = [
        {**GOOD["comparisons"], "id": str(i), "prompt": f"What is {i}?", "annotator": who}
        for i, who in enumerate(people)
    ]
    events: list[Any] = []
    validate(
        ValidateParameters(), ingest=laid(tmp_path, "comparisons", [labels]), out=tmp_path / "out",
        on_event=events.append, root=tmp_path,
    )  # fmt: skip
    said = [event.text for event in events if isinstance(event, Message) and "nearly the same" in event.text]
    assert len(said) == 1 and "'Anna' and 'anna'" in said[0] and "Ben" not in said[0]


def test_validate_result_is_same_in_processes(tmp_path: Path) -> None:
    shards = [
        [text(f"{n}{i}", f"Text {i % 7} of {n % 3}.", f"g{i % 2}") for i in range(20)] for n in range(4)
    ]
    here = sifted(tmp_path / "here", "text", shards)
    there = sifted(tmp_path / "there", "text", shards, process_pool(2, patience=0.0))
    assert here == there
    pages = [(tmp_path / name / "out" / "data_docs" / "text.html").read_bytes() for name in ("here", "there")]
    assert pages[0] == pages[1]
