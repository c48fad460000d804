"""`chatmill withdraw`: the list, the dry run, and missing arguments."""

from __future__ import annotations

import fcntl
import json
import shutil
from dataclasses import replace
from pathlib import Path
from shlex import quote

import pytest

from flows.cli.withdraw import withdraw
from model.errors import UserError
from tasks.data.sources.source_types import DataParameters, Source
from tasks.data.withdrawals import WITHDRAWN, Withdrawal, write_withdrawals
from tasks.engine.stage import StageContext
from tasks.ingest import ingest
from tasks.labelling.people import add_person, remove_person
from tasks.labelling.schema import open_label_store
from tasks.project.paths import ARTIFACTS, MLFLOW_FOLDER
from tests.flows.cli_runner import call, of

SIGNED = {"reason": "asked to [be] left out", "time": "2026-01-31T12:00:00+00:00"}
PRESET = "name: mine\ndata:\n  sources:\n    - {name: mine, files: labels.jsonl}\n"


def say(*words: str) -> str:
    return call(of(withdraw), *words).output


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return tmp_path


def test_withdraw_empty_project_names_next_command(root: Path) -> None:
    said = say()
    assert "nothing is withdrawn" in said and "next: `chatmill withdraw --annotator WHO" in said
    (root / "mine.yaml").write_text(PRESET)
    with pytest.raises(UserError, match="data/ does not exist yet; create it with `chatmill ingest`"):
        say("--annotator", "ann", "--reason", "w", "--author", "max", "--config", "mine.yaml")


def test_withdraw_without_arguments_lists_person_and_reason(root: Path) -> None:
    write_withdrawals(
        root, [Withdrawal("max", **SIGNED, annotator="ann"), Withdrawal("eve", **SIGNED, id="0" * 16)]
    )
    said = say()
    assert "the labels of ann: withdrawn by max, 2026-01-31 (asked to [be] left out)" in said
    assert f"row {'0' * 16}: withdrawn by eve" in said


def test_withdraw_dry_run_lists_rows_and_writes_nothing(root: Path) -> None:
    label = {"prompt": "p", "a": "x", "b": "y", "choice": "a"}
    lines = [json.dumps({**label, "annotator": name}) for name in ("ann", "ben")]
    (root / "labels.jsonl").write_text("".join(f"{line}\n" for line in lines))
    (root / "mine.yaml").write_text(PRESET)
    source = Source("mine", files="labels.jsonl")
    ingest.run(DataParameters((source,)), {}, StageContext(root), lambda event: None)
    said = say("--annotator", "ann", "--dry-run", "--config", "mine.yaml")
    assert "labels.jsonl  comparisons                 1" in said and "would be removed" in said
    assert "no model used them" in said and "Nothing was written" in said
    assert not (root / WITHDRAWN).exists()
    with pytest.raises(UserError, match="--reason and --author missing"):
        say("--annotator", "ann", "--config", "mine.yaml")


def test_withdraw_dry_run_names_files_of_reused_ingest(root: Path) -> None:
    label = {"prompt": "p", "a": "x", "b": "y", "choice": "a", "annotator": "ann"}
    (root / "labels.jsonl").write_text(json.dumps(label) + "\n")
    (root / "mine.yaml").write_text(PRESET)
    parameters = DataParameters((Source("mine", files="labels.jsonl"),))
    for given in (parameters, replace(parameters, strict=True)):
        ingest.run(given, {}, StageContext(root), lambda event: None)
    asked = ("--annotator", "ann", "--dry-run", "--config", "mine.yaml")
    assert "labels.jsonl  comparisons                 1" in say(*asked)
    shutil.rmtree(root / ARTIFACTS)
    said = say(*asked)
    assert "source mine  comparisons" in said and "data/" not in said


@pytest.mark.parametrize("names", [("ann",), ("ben",), ("ann", "ben")])
def test_withdraw_repeated_after_kill_says_what_the_first_would(root: Path, names: tuple[str, ...]) -> None:
    """The data is already without the labels, as after a kill once `data.dvc` was written."""
    label = {"prompt": "p", "a": "x", "b": "y", "choice": "a"}
    lines = [json.dumps({**label, "annotator": name}) for name in ("ann", "ben", "cem")]
    (root / "labels.jsonl").write_text("".join(f"{line}\n" for line in lines))
    (root / "mine.yaml").write_text(PRESET)
    write_withdrawals(root, [Withdrawal("max", **SIGNED, annotator=name) for name in names])
    ingest.run(DataParameters((Source("mine", files="labels.jsonl"),)), {}, StageContext(root), print)
    asked = [word for name in names for word in ("--annotator", name)]
    alive = root / MLFLOW_FOLDER / "alive"
    alive.mkdir(parents=True)
    (alive / "0123456789abcdef").touch()
    # This process holds the lock of one run; that of the other run is gone.
    (alive / "fedcba9876543210").touch()
    with (alive / "0123456789abcdef").open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        said = say(*asked, "--author", "max", "--reason", "asked", "--config", "mine.yaml")
    assert "alive now: run 0123456789ab. A run that" in said and "fedcba" not in said
    assert said.count("withdrawn by max") == len(names) and "nothing to do: already withdrawn" in said
    assert "no model used them" in said and f"keep {WITHDRAWN}: later runs read it" in said
    assert "next: `chatmill run --config mine.yaml`" in said


@pytest.mark.parametrize(
    ("late", "left"),
    [
        ([Withdrawal("max", **SIGNED, annotator="ann")], "1 withdrawn row"),
        ([Withdrawal("max", **SIGNED, annotator=name) for name in ("ann", "ben")], "2 withdrawn rows"),
        ([Withdrawal("max", **SIGNED, annotator="dan")], ""),
    ],
)
def test_withdraw_list_after_kill_says_that_data_still_holds_rows(
    root: Path, late: list[Withdrawal], left: str
) -> None:
    """The withdrawal is recorded and data/ is as before, as after a kill during the ingestion."""
    label = {"prompt": "p", "a": "x", "b": "y", "choice": "a"}
    lines = [json.dumps({**label, "annotator": name}) for name in ("ann", "ben", "cem")]
    (root / "labels.jsonl").write_text("".join(f"{line}\n" for line in lines))
    (root / "mine.yaml").write_text(PRESET)
    parameters = DataParameters((Source("mine", files="labels.jsonl"),))
    ingest.run(parameters, {}, StageContext(root), print)
    assert "data/ still holds" not in say()
    write_withdrawals(root, late)
    said = say()
    assert (f"data/ still holds {left}," in said and "`chatmill ingest` removes" in said) == bool(left)
    ingest.run(parameters, {}, StageContext(root), print)
    assert "data/ still holds" not in say()


def test_withdraw_list_after_kill_counts_rows_by_id(root: Path) -> None:
    (root / "pairs.jsonl").write_text(
        '{"prompt": "p", "completion": "c"}\n{"prompt": "q", "completion": "d"}\n'
    )
    ingest.run(DataParameters((Source("mine", files="pairs.jsonl"),)), {}, StageContext(root), print)
    (shard,) = (root / "data" / "pairs").glob("*")
    number = json.loads(shard.read_text().splitlines()[0])["id"]
    write_withdrawals(root, [Withdrawal("eve", **SIGNED, id=number)])
    assert "data/ still holds 1 withdrawn row, as a withdrawal was interrupted" in say()


@pytest.mark.parametrize(
    ("named", "other", "option"),
    [
        ("Ana", "ana ", "--annotator ana"),
        ("José", "jose", "--annotator jose"),
        ("Mary Ann", "mary-ann", "--annotator mary-ann"),
        ("o_neil", "O'Neil", "--annotator"),
    ],
)
def test_withdraw_similar_name_is_named_with_counts(root: Path, named: str, other: str, option: str) -> None:
    label = {"prompt": "p", "a": "x", "b": "y", "choice": "a"}
    rows = [{**label, "prompt": f"p{n}", "annotator": other if n % 2 else named} for n in range(4)]
    rows.append({**label, "prompt": "q", "annotator": "eve"})
    (root / "labels.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    (root / "mine.yaml").write_text(PRESET)
    parameters = DataParameters((Source("mine", files="labels.jsonl"),))
    ingest.run(parameters, {}, StageContext(root), lambda event: None)
    asked = ("--dry-run", "--config", "mine.yaml")
    said = say("--annotator", named, *asked)
    assert f"similar names stay: {other.strip()} (2 comparisons); if this is the same person" in said
    assert option in said and "eve" not in said
    assert "similar names" not in say("--annotator", named, "--annotator", other.strip(), *asked)
    assert "similar names" not in say("--annotator", "eve", *asked)


@pytest.mark.parametrize("name", ["ann", "Ann Lee", "änn"])
def test_withdraw_person_who_can_still_sign_in_is_named(root: Path, name: str) -> None:
    label = {"prompt": "p", "a": "x", "b": "y", "choice": "a"}
    lines = [json.dumps({**label, "annotator": each}) for each in (name, "ben")]
    (root / "labels.jsonl").write_text("".join(f"{line}\n" for line in lines))
    (root / "mine.yaml").write_text(PRESET)
    source = Source("mine", files="labels.jsonl")
    ingest.run(DataParameters((source,)), {}, StageContext(root), lambda event: None)
    asked = ("--annotator", name, "--dry-run", "--config", "mine.yaml")
    assert "sign in" not in say(*asked)
    with open_label_store(root) as store:
        add_person(store, name)
        add_person(store, "ben")
    said = say(*asked)
    assert f"{name} can still sign in to the label page" in said and "ben can" not in said
    assert f"`chatmill people remove {quote(name)}`" in said
    with open_label_store(root) as store:
        remove_person(store, name)
    assert "sign in" not in say(*asked)
