"""Test which cached outputs hold rows or names of withdrawn people."""

from __future__ import annotations

import json
from pathlib import Path

from tasks.cleanup.output_gc import list_outputs
from tasks.data.labels.ratings import LabelsParameters
from tasks.data.sources.source_types import DataParameters, Source
from tasks.data.splits import SplitParameters
from tasks.data.withdrawals import Withdrawn
from tasks.deletion.output_erasure import outputs_with_withdrawn
from tasks.engine.output import StageOutput
from tasks.engine.stage import StageContext
from tasks.ingest import ingest
from tasks.labels import labels
from tasks.project.paths import ARTIFACTS
from tasks.report import ReportParameters, report
from tasks.split import split
from tasks.validate import ValidateParameters, validate
from tests.tasks.event_sink import ignore_event

PEOPLE = ("ana", "ben", "cleo")


def make(root: Path, people: tuple[str, ...]) -> dict[str, StageOutput]:
    """Run the stages from the sources to the report, without trainings."""
    # Ana is wrong about one pair, so that the choices have two classes.
    labelled = [
        {"prompt": f"q {i}", "a": f"good {i}", "b": f"bad {i}", "annotator": who,
         "choice": "b" if who == "ana" and i == 1 else "a"}
        for i in range(40)
        for who in people
    ]  # fmt: skip
    texts = [{"text": f"This is what page {i} of the book says."} for i in range(60)]
    root.mkdir(exist_ok=True)
    for name, rows in (("labels", labelled), ("texts", texts)):
        (root / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    context = StageContext(root, seed=1)
    sources = (Source("own", files="labels.jsonl", aspect="tone"), Source("book", files="texts.jsonl"))
    done: dict[str, StageOutput] = {}
    for stage, parameters in (
        (ingest, DataParameters(sources)),
        (validate, ValidateParameters()),
        (split, SplitParameters(0.2, 0.2)),
        (labels, LabelsParameters(aggregation="dawid_skene", judge_share=0.0)),
        (report, ReportParameters()),
    ):
        done[stage.name] = stage.run(parameters, done, context, ignore_event)
    return done


def names_ana(output: StageOutput) -> bool:
    """Return whether a file of an output names ana, in JSON or on a page."""
    contents = [path.read_bytes() for path in Path(output.path).rglob("*") if path.is_file()]
    return any(name in content for content in contents for name in (b'"ana"', b">ana<"))


def test_outputs_with_withdrawn_person_include_labels_and_report_that_name_her(tmp_path: Path) -> None:
    named = {name for name, output in make(tmp_path, PEOPLE).items() if names_ana(output)}
    assert {"labels", "report"} <= named
    entries = list_outputs(tmp_path / ARTIFACTS)
    found = outputs_with_withdrawn(entries, Withdrawn(annotators=frozenset({"ana"})))
    assert {stage for stage, _ in found} == named
    assert outputs_with_withdrawn(entries, Withdrawn(annotators=frozenset({"dan"}))) == {}


def test_labels_and_report_without_a_person_name_her_nowhere(tmp_path: Path) -> None:
    done = make(tmp_path, PEOPLE[1:])
    assert not names_ana(done["labels"]) and not names_ana(done["report"])
    assert "ben" in (Path(done["labels"].path) / "annotators.json").read_text()
