"""Test withdrawals: withdrawn rows leave the data and do not come back."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from multiprocessing import get_context
from pathlib import Path
from threading import Event, Thread
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from flows import pipeline
from flows.config import Preset, read_preset
from model.errors import UserError
from model.events import Message
from tasks.cleanup.output_gc import RUNNING, Root, list_outputs, plan_gc
from tasks.common.file_lock import exclusive_lock
from tasks.data.records import Comparison, canonical_line, comparison_row, rating_row, read_shards, text_row
from tasks.data.sources.source_types import DataParameters, Source
from tasks.data.versions.readmitted_rows import member_digests
from tasks.data.withdrawals import (
    WITHDRAWN,
    Withdrawal,
    Withdrawn,
    count_withdrawn,
    rated_of,
    read_withdrawn,
    write_withdrawals,
)
from tasks.deletion.output_erasure import outputs_with_withdrawn
from tasks.deletion.plan import DeletionRequest, plan_deletion, read_ids
from tasks.dvc.pointer_file import read_pointer
from tasks.engine.output import StageOutput, read_manifest
from tasks.engine.stage import Stage, StageContext
from tasks.ingest import WAITS, ingest
from tasks.onboarding.source_preview import dry_run
from tasks.project.paths import DATA_LOCK
from tasks.reproduction.data import place_data
from tasks.validate import ValidateParameters
from tasks.validation.row_loss import accepted_rows
from tests.tasks.data.withdrawal_project import (
    LABEL,
    NOW,
    OWN,
    RATED,
    SIGNATURE,
    SIGNED,
    ids,
    make,
    make_project,
    withdraw,
)
from tests.tasks.ingest_project import write
from tests.tasks.record_files import read_rows
from tests.waiting import PATIENCE

REPOSITORY = Path(__file__).parents[3]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Return a project with two texts, labels by ann and ben, and one rating by both."""
    make_project(tmp_path)
    return tmp_path


def test_filter_row_withdrawn_person_or_row_is_removed() -> None:
    gone = Withdrawn(annotators=frozenset({"ann"}))
    label = comparison_row("p", "x", "y", "a", "tone", "ann", "s", "g")
    text = text_row("ann", "s")
    assert gone.filter_row(label) is None and gone.filter_row(text) is text
    both = rating_row("p", "c", [1, 2, 3], ["ann", "ben", "cay"], "tone", "s", "g", (), ["1", "", "3"])
    assert gone.filter_row(both) == rating_row(
        "p", "c", [2, 3], ["ben", "cay"], "tone", "s", "g", (), ["", "3"]
    )
    assert gone.filter_row(rating_row("p", "c", [1], ["ann"], "tone", "s", "g")) is None
    # Empty times are dropped, and a score without a name stays.
    one = rating_row("p", "c", [1, 2], ["ann"], "tone", "s", "g", (), ["1", ""])
    assert gone.filter_row(one) == rating_row("p", "c", [2], [], "tone", "s", "g")
    # A withdrawn rating stays out although another score changes its id.
    again = Withdrawn(frozenset({both.id}), rated=frozenset({rated_of(vars(both))}))
    assert again.filter_row(both) is None
    assert again.filter_row(rating_row("p", "c", [1, 5], ["ann", "dee"], "tone", "s", "g")) is None
    assert again.filter_row(rating_row("p", "c", [1, 5], ["ann", "dee"], "helpfulness", "s", "g")) is not None


def test_filter_row_withdrawn_first_judgement_leaves_the_decision() -> None:
    gone = Withdrawn(annotators=frozenset({"ann"}))
    decision = comparison_row(
        "p", "x", "y", "a", "tone", "rita", "s", "g", (), "", ["a", "b", "tie"], ["ben", "ann", "cay"]
    )
    kept = gone.filter_row(decision)
    assert isinstance(kept, Comparison) and kept.id == decision.id
    assert (kept.first_choices, kept.first_annotators) == (["a", "tie"], ["ben", "cay"])
    assert gone.filter_row(kept) is kept
    assert [gone.matches_line("comparisons", canonical_line(row).encode()) for row in (decision, kept)] == [
        True, False,
    ]  # fmt: skip
    # A comparison without a decision has the line that it always had.
    plain = comparison_row("p", "x", "y", "a", "tone", "ben", "s", "g")
    assert b"first_" not in canonical_line(plain).encode()


def test_ingest_withdrawn_person_makes_new_version(root: Path) -> None:
    before = read_pointer(root)
    found = withdraw(root, ["ann"], [])
    assert found.gone == {("comparisons", "texts/a.jsonl"): 1}
    assert found.reduced == {("ratings", "texts/b.jsonl"): 1}
    after = make(root)
    assert [row.annotator for row in read_rows(root / "data" / "comparisons", "comparisons")] == ["ben"]
    [rating] = read_rows(root / "data" / "ratings", "ratings")
    assert (rating.scores, rating.annotators) == ([2.0], ["ben"])
    assert rating.id == rating_row("q", "z", [2.0], ["ben"], "helpfulness", "s", "g").id
    assert before and after.metrics["data_hash"] != before["md5"]
    meta = yaml.safe_load((root / "data.dvc").read_text())["meta"]
    # The sources are unchanged; only the withdrawal differs.
    assert meta["sources"] == before["meta"]["sources"] and "withdrawn" not in before["meta"]
    members = member_digests(read_withdrawn(root))
    withdrawn = {
        "digest": read_withdrawn(root).withdrawals_digest,
        "members": members,
        "rows": {"comparisons": 1},
    }
    assert len(members) == 1 and meta["withdrawn"] == withdrawn
    assert make(root).reused
    again = plan_deletion(root, DeletionRequest(["ann"], {}, *SIGNATURE))
    assert again.new == [] and [each.author for each in again.known] == ["max"] and not again.gone
    # Another reason makes no other version. Without the line the labels come back.
    (root / WITHDRAWN).write_text((root / WITHDRAWN).read_text().replace("asked for", "left the team"))
    assert make(root).reused
    (root / WITHDRAWN).unlink()
    again_in = DataParameters((OWN,), readmit=True)
    assert make(root, again_in).metrics["data_hash"] == before["md5"] and len(ids(root, "comparisons")) == 2
    # Readmitted labels stay.
    assert make(root).reused and len(ids(root, "comparisons")) == 2


def test_ingest_withdrawn_rows_leave_every_source(root: Path) -> None:
    number = text_row("one", "mine").id
    (rating,) = ids(root, "ratings")
    found = withdraw(root, [], [number[:6], rating])
    assert {each.id for each in found.new} == {number, rating}
    make(root)
    assert ids(root, "text") == [text_row("two", "mine").id] and ids(root, "ratings") == []
    # The rating stays out although cay scores it now.
    scores = {"scores": [1.0, 2.0, 3.0], "annotators": ["ann", "ben", "cay"]}
    write(root, {**RATED, **scores}, {"text": "one"}, name="b")
    make(root)
    assert ids(root, "text") == [text_row("two", "mine").id] and ids(root, "ratings") == []


def test_plan_deletion_row_released_for_person_is_withdrawn_by_id(root: Path) -> None:
    (row,) = [row for row in read_shards(root / "data" / "comparisons") if row["annotator"] == "ann"]
    corrected = {"id": row["id"], **SIGNED, "row": {**row, "annotator": "cay"}}
    (root / "configs").mkdir()
    (root / "configs" / "admitted.jsonl").write_text(json.dumps(corrected) + "\n")
    found = withdraw(root, ["cay"], [])
    assert [each.id or each.annotator for each in found.new] == ["cay", row["id"]]
    make(root)
    assert [row["annotator"] for row in read_shards(root / "data" / "comparisons")] == ["ben"]


def test_ingest_source_may_lose_all_rows_and_unknown_annotator(root: Path) -> None:
    withdraw(root, ["ann"], ids(root, "text"))
    apart = [Source(name, "rows", files=f"texts/{name}.jsonl", annotators=("ben",)) for name in "ab"]
    make(root, DataParameters(tuple(apart)))
    assert ids(root, "text") == [] and len(ids(root, "ratings")) == 1


@pytest.mark.parametrize(
    ("people", "given", "says"),
    [
        (["anm"], [], "no label in data/ is by 'anm'; did you mean ann"),
        ([" "], [], "annotator is empty"),
        ([], ["ab"], "'ab' is not a row id"),
        ([], ["0123456789abcdef"], "0123456789abcdef is not a row of data/; "),
        ([], [], "nothing to withdraw"),
    ],
)
def test_plan_deletion_unknown_person_or_id_is_refused(
    root: Path, people: list[str], given: list[str], says: str
) -> None:
    with pytest.raises(UserError, match=says):
        withdraw(root, people, given)
    assert not (root / WITHDRAWN).exists()


def test_read_ids_mistyped_id_is_refused_with_line_and_suggestion(root: Path) -> None:
    number = ids(root, "text")[0]
    wrong = number[:3] + ("0" if number[3] != "0" else "1") + number[4:]
    (root / "ids.txt").write_text(f"{number}\n\n{wrong}\n")
    with pytest.raises(UserError, match=rf"ids\.txt, line 3: {wrong} is not a row.*did you mean {number}"):
        plan_deletion(root, DeletionRequest([], read_ids(root / "ids.txt"), *SIGNATURE))
    for text, says in (("", "contains no id"), ("\xff\xfe", "not UTF-8")):
        (root / "ids.txt").write_bytes(text.encode("latin-1"))
        with pytest.raises(UserError, match=says):
            read_ids(root / "ids.txt")
    with pytest.raises(UserError, match="is not a file"):
        read_ids(root / "none.txt")


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ({**SIGNED}, "give either id or annotator"),
        ({**SIGNED, "id": "0" * 16, "annotator": "a"}, "give either id or annotator"),
        ({**SIGNED, "id": "xyz"}, 'id is "xyz"; expected 16 hex digits'),
        ({**SIGNED, "annotator": 7}, "annotator is 7; expected a text"),
        ({**SIGNED, "annotator": "a", "who": "b"}, "unknown key who"),
        ({**SIGNED, "annotator": "a", "time": "soon"}, "expected ISO 8601"),
        ({"annotator": "a", "why": "w", "time": NOW}, "by is null"),
    ],
)
def test_ingest_invalid_withdrawal_line_is_refused(root: Path, line: dict[str, Any], says: str) -> None:
    good = json.dumps({"annotator": "ann", **SIGNED})
    (root / "configs").mkdir(exist_ok=True)
    (root / WITHDRAWN).write_text(f"{good}\n{json.dumps(line)}\n")
    with pytest.raises(UserError, match=rf"{WITHDRAWN}, line 2: .*{says}"):
        make(root)
    with pytest.raises(UserError, match="line 2"):
        write_withdrawals(root, [Withdrawal(*SIGNATURE, annotator="ben")])
    assert len((root / WITHDRAWN).read_text().splitlines()) == 2


def test_ingest_pinned_version_with_withdrawn_rows_is_refused(root: Path) -> None:
    pinned = read_pointer(root)
    withdraw(root, ["ann"], [])
    assert pinned and count_withdrawn(root / "data", read_withdrawn(root)) == {"comparisons": 1, "ratings": 1}
    with pytest.raises(UserError, match=r"holds 1 comparison and 1 rating that configs/withdrawn\.jsonl"):
        make(root, DataParameters((OWN,), pinned_version=pinned["md5"]))
    now = make(root).metrics["data_hash"]
    assert make(root, DataParameters((OWN,), pinned_version=now)).metrics["data_hash"] == now


def test_accepted_rows_withdrawal_is_no_shrinkage_other_loss_is(root: Path) -> None:
    def git(*words: str) -> None:
        who = ["-c", "user.name=a", "-c", "user.email=a@b.c"]
        subprocess.run(["git", "-C", str(root), *who, *words], check=True, capture_output=True)

    git("init")
    git("add", "data.dvc")
    git("commit", "-m", "accepted")
    withdraw(root, ["ann", "ben"], [])
    make(root)
    assert accepted_rows(root) == {
        "text": 2,
        "pairs": 0,
        "comparisons": 0,
        "ratings": 0,
    }
    git("add", "data.dvc")
    git("commit", "-m", "without them")
    write(root, {"text": "two"})
    write(root, RATED, name="b")
    make(root)
    assert accepted_rows(root)["text"] == 2


def test_dry_run_withdrawn_rows_are_left_out(root: Path) -> None:
    withdraw(root, ["ann"], [text_row("one", "mine").id])
    with dry_run(DataParameters((OWN,)), ValidateParameters(), root, lambda event: None) as found:
        assert found.rows is not None
        assert found.rows.counts == {"text": 1, "pairs": 0, "comparisons": 1, "ratings": 1}
        assert found.rows.withdrawn == {"text": 1, "comparisons": 1}


@pytest.mark.parametrize("withdrawn_then", [True, False])
def test_place_data_past_run_gets_rows_withdrawn_since(root: Path, withdrawn_then: bool) -> None:
    if withdrawn_then:
        withdraw(root, ["ann"], ids(root, "ratings"))
    made = make(root)
    manifest = read_manifest(Path(made.path))
    withdraw(root, ["ben"], [])
    tree = root / "var" / "cache" / "reproduce" / "tree"
    tree.mkdir(parents=True)
    source = {"name": "mine", "files": "texts/*.jsonl", "format": "rows"}
    preset = {"name": "mine", "data": {"sources": [source], "pinned_version": ""}}
    placed = place_data(root, tree, preset, made.metrics["data_hash"], manifest)
    assert placed.how.endswith("; it contains rows that were withdrawn since")
    here = Source("mine", "rows", files=placed.preset["data"]["sources"][0]["files"])
    assert make(tree, DataParameters((here,))).metrics["data_hash"] == made.metrics["data_hash"]


def test_ingest_file_changed_while_read_makes_no_version(root: Path) -> None:
    before = (root / "data.dvc").read_bytes()

    def on_event(event: Event) -> None:
        if not isinstance(event, Message):
            write(root, {"text": "four"}, {"text": "five"}, name="b")

    write(root, {"text": "three"}, name="b")
    out = root / "out"
    with pytest.raises(UserError, match=r"source mine: texts/b\.jsonl changed while it was read"):
        ingest(DataParameters((OWN,)), out=out, on_event=on_event, root=root)
    assert (root / "data.dvc").read_bytes() == before
    assert not any(row.text == "three" for row in read_rows(root / "data" / "text", "text"))


def test_ingest_two_at_once_take_turns(root: Path) -> None:
    before, waits = (root / "data.dvc").read_bytes(), Event()

    def on_event(event: Event) -> None:
        if getattr(event, "text", "") == WAITS:
            waits.set()

    write(root, {"text": "three"})
    work = {"out": root / "out", "on_event": on_event, "root": root}
    with exclusive_lock(root / DATA_LOCK, lambda event: None, ""):
        other = Thread(target=ingest, args=(DataParameters((OWN,)),), kwargs=work)
        other.start()
        assert waits.wait(PATIENCE) and (root / "data.dvc").read_bytes() == before
    other.join(PATIENCE)
    assert len(ids(root, "text")) == 2 and (root / "data.dvc").read_bytes() != before


class Keys:
    """Pipeline run that makes the data stages, and computes only the key of every other stage."""

    references: dict[str, StageOutput]

    def __init__(self, preset: Preset) -> None:
        self.preset = preset
        self.context = StageContext(Path.cwd(), preset.seed)
        self.references = Keys.references = {}
        self.settings = SimpleNamespace(root=Path.cwd())
        self.display = SimpleNamespace(show_event=lambda event: None)

    def __enter__(self) -> Keys:
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def check_base(self) -> None:
        """Do nothing: nothing is trained here."""

    def end_without(self, kind: str, parts: StageOutput, made: StageOutput) -> None:
        """Do nothing: the data has every kind of rows."""

    def check_trainings(self, parts: StageOutput, tokens: StageOutput) -> None:
        """Do nothing: the tokenizer is not made here."""

    def __call__(self, stage: Stage, parameters: Any, *inputs: StageOutput) -> StageOutput:
        given = {each.stage: each for each in inputs}
        if stage.name in ("ingest", "validate", "split"):
            made = stage.run(parameters, given, self.context, lambda event: None)
        else:
            key = stage.key(parameters, given, self.context)
            made = StageOutput(stage.name, key, "", key, True, 0.0, {})
        self.references[stage.name] = made
        return made

    run_drift = __call__

    def fetch_champion_model(self, aligned: StageOutput) -> tuple[StageOutput, ...]:
        """Return no opponent: nothing was registered."""
        return ()

    def register_model(self, *outputs: StageOutput) -> None:
        pass

    publish_report = register_model


@pytest.fixture
def smoke(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Preset]:
    smoke = Path("tests", "fixtures", "exports", "smoke")
    shutil.copytree(REPOSITORY / smoke, tmp_path / smoke)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(pipeline, "PipelineRun", Keys)
    yield read_preset(REPOSITORY / "configs" / "smoke.yaml")


def test_pipeline_withdrawal_changes_only_dependent_stages(smoke: Preset) -> None:
    def outputs() -> dict[str, StageOutput]:
        pipeline.pipeline.fn(smoke)
        return dict(Keys.references)

    root, data = Path.cwd(), ("ingest", "validate", "split")
    before = outputs()
    withdraw(root, ["person-3"], [])
    after = outputs()
    same = [name for name in before if before[name].digest == after[name].digest]
    assert same == ["tokenizer", "pretrain", "sft"]
    parts = [Path(after["split"].path) / part for part in ("train", "valid", "test")]
    assert not any(count_withdrawn(part, read_withdrawn(root)) for part in parts)
    # Earlier outputs are removed although a model uses them, unless a running run reads them.
    entries = list_outputs(root / "var" / "cache" / "artifacts")
    found = outputs_with_withdrawn(entries, read_withdrawn(root))
    assert sorted(found) == sorted((name, before[name].key) for name in data)
    for why, goes in (("version 1 of chatmill", 3), (RUNNING, 0)):
        needs = [Root(why, "split", before["split"].key), Root("x", "ingest", after["ingest"].key)]
        planned = plan_gc(entries, needs, time.time(), 3600.0, None, found)
        assert len(planned.goes) == goes


DAMAGES = {
    "cut short": lambda content: content[: len(content) // 2],
    "random bytes": lambda content: b"\xff\x9c" * 200 + b"\n" + content,
    "a list": lambda content: content + b"[1, 2]\n",
    "no id": lambda content: b'{"prompt": "p"}\n' + content,
    "zeros": lambda content: bytes(len(content)),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_plan_deletion_damaged_rows_file_is_named_with_line(tmp_path: Path, damage: str) -> None:
    write(tmp_path, {**LABEL, "annotator": "ann"}, RATED)
    make(tmp_path)
    path = next((tmp_path / "data" / "ratings").glob("*.jsonl"))
    path.chmod(0o644)
    path.write_bytes(DAMAGES[damage](path.read_bytes()))
    with pytest.raises(UserError, match=r"^data/ratings/00000.jsonl, line \d+: the row cannot be read"):
        plan_deletion(tmp_path, DeletionRequest(["ann"], {}, *SIGNATURE))
    with pytest.raises(UserError, match=r"^data/ratings/00000.jsonl, line \d+: the row cannot be read"):
        count_withdrawn(tmp_path / "data", Withdrawn(annotators=frozenset(["nobody"])))


@pytest.mark.parametrize(("before", "line"), [("", 1), ("\n\n", 3), ("<<<<<<< HEAD\n", 1)])
def test_read_withdrawals_merge_conflict_is_named(tmp_path: Path, before: str, line: int) -> None:
    file = tmp_path / WITHDRAWN
    file.parent.mkdir()
    file.write_text(f"{before}<<<<<<< Updated upstream\n=======\n>>>>>>> other\n")
    with pytest.raises(UserError, match=rf"withdrawn\.jsonl, line {line}: a merge conflict; resolve it"):
        read_withdrawn(tmp_path)


def _withdraw_at_once(root: Path, people: list[str], rows: list[str], ready: Any) -> None:
    found = plan_deletion(root, DeletionRequest(people, dict.fromkeys(rows, ""), *SIGNATURE))
    ready.wait()
    write_withdrawals(root, found.new)
    # What libraries of earlier tests do at the end of a process may fail in a fork.
    os._exit(0)


@pytest.mark.parametrize(("people", "kinds"), [(["ann"], []), (["ann", "ben"], []), (["ben"], ["text"])])
def test_write_withdrawals_two_processes_record_each_once(
    root: Path, people: list[str], kinds: list[str]
) -> None:
    rows = [number for kind in kinds for number in ids(root, kind)]
    # A process that is started anew would import for two seconds.
    start = get_context("fork")
    ready = start.Barrier(2)
    processes = [start.Process(target=_withdraw_at_once, args=(root, people, rows, ready)) for _ in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0]
    lines = [json.loads(line) for line in (root / WITHDRAWN).read_text().splitlines()]
    assert sorted(each.get("annotator") or each["id"] for each in lines) == sorted([*people, *rows])


def test_write_withdrawals_known_one_is_not_written_again(root: Path) -> None:
    ann, ben = (Withdrawal(*SIGNATURE, annotator=name) for name in ("ann", "ben"))
    assert write_withdrawals(root, [ann]) == [ann]
    before = (root / WITHDRAWN).stat().st_ino
    assert write_withdrawals(root, [Withdrawal("eve", "again", NOW, annotator="ann")]) == []
    # Nothing to add replaces nothing.
    assert (root / WITHDRAWN).stat().st_ino == before
    assert write_withdrawals(root, [ann, ben]) == [ben]
