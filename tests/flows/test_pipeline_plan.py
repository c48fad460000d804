"""The plan of a run: its keys are those of the run, and it writes nothing."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from flows.cli.ingest_preview import print_preview
from flows.cli.plan_output import describe_plan, preview_stages
from flows.config import Preset, load_preset
from flows.pipeline import run_stages
from flows.pipeline_plan import EndOfPlan, PipelinePlan, PlannedStage
from model.events import ignore_event
from tasks.common import checksums
from tasks.engine.output import StageOutput
from tasks.engine.stage import StageContext
from tasks.ingest import ingest
from tasks.labels import labels
from tasks.onboarding.source_preview import check_later_stages, dry_run
from tasks.project.paths import CACHE
from tasks.split import split
from tasks.tokenizer import tokenizer
from tasks.validate import validate
from tests.example_project import write_project

NAMES = ["ingest", "validate", "split", "tokenizer"]


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    write_project(tmp_path)
    return tmp_path


def preset_of(**sections: Any) -> Preset:
    sources = [
        {"name": "texts", "files": "mine/texts/*.txt", "format": "plain"},
        {"name": "pairs", "files": "mine/pairs.jsonl", "format": "rows"},
        {"name": "film", "files": "mine/labels/*.jsonl", "format": "rows"},
    ]
    values = {"name": "mine", "device": "cpu", "data": {"sources": sources}, "tokenizer": {"vocab_size": 300}}
    return load_preset({**values, **sections})


def make_data(root: Path, preset: Preset) -> dict[str, StageOutput]:
    """Run the stages before the first training as a run does, and the labels."""
    context = StageContext(root, preset.seed, "cpu", preset.training_processes("cpu"))
    made: dict[str, StageOutput] = {}
    for stage, parameters in (
        (ingest, preset.data),
        (validate, preset.validation_parameters()),
        (split, preset.split),
        (tokenizer, preset.tokenizer_parameters()),
        (labels, preset.label_parts()),
    ):
        made[stage.name] = stage.run(parameters, made, context, ignore_event)
    return made


@pytest.fixture(scope="module")
def computed_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a project in which the stages before the first training have run once."""
    place = tmp_path_factory.mktemp("computed")
    write_project(place)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        make_data(place, preset_of())
    return place


@pytest.fixture
def computed(computed_once: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a copy of that project; `make_data` finds its outputs there."""
    place = shutil.copytree(computed_once, tmp_path / "computed", symlinks=True)
    monkeypatch.chdir(place)
    return place


def plan(root: Path, preset: Preset) -> dict[str, PlannedStage]:
    """Plan a run with the rows of a dry run, as `chatmill run --dry-run` does."""
    with dry_run(preset.data, preset.validation_parameters(), root, ignore_event) as found:
        assert found.stop is None
        asked = preset.training_requirements(root)
        check_later_stages(found, preset.split, preset.tokenizer_parameters(), asked, root, ignore_event)
        known = {path.name: path for path in found.folder.iterdir() if path.is_dir()}
        planned = PipelinePlan(preset, root, known, None)
        run_stages(preset, planned)
    return {stage.name: stage for stage in planned.stages}


def files(root: Path) -> dict[str, int]:
    """Return the files of a project, without the cached checksums of sources."""
    found = (path for path in root.rglob("*") if path.is_file() and path.name != "digests.json")
    return {str(path): path.stat().st_mtime_ns for path in found}


def test_plan_before_the_first_run_computes_what_is_known_and_writes_nothing(root: Path) -> None:
    before = files(root)
    stages = plan(root, preset_of())
    assert files(root) == before
    assert len(stages) == 14
    assert stages["ingest"].status == "computed" and "no earlier run" in stages["ingest"].reason
    # The rows are known from the dry run, so the keys after them are too.
    assert {name: stages[name].status for name in ("split", "tokenizer", "pretrain", "labels")} == {
        "split": "computed", "tokenizer": "computed", "pretrain": "computed", "labels": "computed",
    }  # fmt: skip
    assert stages["sft"].status == "open" and "depends on pretrain" in stages["sft"].reason
    assert stages["gate"].status == "open" and not stages["gate"].key


def test_plan_has_the_keys_of_the_run_that_follows(root: Path) -> None:
    preset = preset_of()
    stages = plan(root, preset)
    made = make_data(root, preset)
    for name in ("ingest", "split", "tokenizer", "labels"):
        assert stages[name].key == made[name].key, name
    again = plan(root, preset)
    assert {name: again[name].status for name in (*NAMES, "labels")} == dict.fromkeys(
        (*NAMES, "labels"), "cached"
    )
    assert again["validate"].key == made["validate"].key


def test_plan_of_another_product_reads_other_judgements(root: Path) -> None:
    page = {"sources": [*asdict(preset_of().data)["sources"], {"name": "people", "labels": "page"}]}
    keys = [
        plan(root, preset_of(data=page, registry={"model": product}))["ingest"].key for product in ("a", "b")
    ]
    assert keys[0] != keys[1]
    keys = [plan(root, preset_of(registry={"model": product}))["ingest"].key for product in ("a", "b")]
    assert keys[0] == keys[1]


@pytest.mark.parametrize("lost", ["", "digests.json", "output-digests.json"])
def test_print_preview_after_a_run_writes_not_even_checksums(
    computed: Path, monkeypatch: pytest.MonkeyPatch, lost: str
) -> None:
    monkeypatch.setattr(checksums, "SETTLED_NS", -1)
    preset = preset_of()
    make_data(computed, preset)
    # Copies of the sources, whose checksums are not known yet.
    for path in (computed / "mine").rglob("*.*"):
        path.write_bytes(path.read_bytes())
    if lost:
        (computed / CACHE / lost).unlink()
    before = {path: path.stat().st_mtime_ns for path in computed.rglob("*")}
    text = StringIO()
    print_preview(preset, computed, Console(file=text), whole=True)
    assert "Of 14 stages" in text.getvalue() and "cached" in text.getvalue()
    assert {path: path.stat().st_mtime_ns for path in computed.rglob("*")} == before


def test_plan_of_new_labels_reuses_the_tokenizer(computed: Path) -> None:
    preset = preset_of()
    made = make_data(computed, preset)
    row = {"prompt": "Say something new.", "completion": "The mill turns.", "score": 4}
    (computed / "mine" / "labels" / "more.jsonl").write_text(json.dumps(row) + "\n")
    stages = plan(computed, preset)
    assert [stages[name].status for name in NAMES] == ["computed", "open", "computed", "cached"]
    assert stages["labels"].status == "computed" and stages["labels"].key != made["labels"].key
    # The next run does what the plan says.
    after = make_data(computed, preset)
    assert {name: after[name].reused for name in NAMES} == {
        "ingest": False, "validate": False, "split": False, "tokenizer": True,
    }  # fmt: skip
    assert after["labels"].key == stages["labels"].key


def test_plan_of_changed_text_computes_the_tokenizer_and_the_base_model(computed: Path) -> None:
    preset = preset_of()
    make_data(computed, preset)
    (computed / "mine" / "texts" / "0.txt").unlink()
    stages = plan(computed, preset)
    assert stages["tokenizer"].status == stages["pretrain"].status == "computed"
    assert stages["labels"].status == "cached"


def test_plan_of_changed_parameters_computes_their_stage(computed: Path) -> None:
    make_data(computed, preset_of())
    stages = plan(computed, preset_of(tokenizer={"vocab_size": 290}))
    assert [stages[name].status for name in NAMES] == ["cached", "cached", "cached", "computed"]


def test_plan_of_dpo_measures_its_reference_once(root: Path) -> None:
    """Only DPO has a reference, and changes that do not concern it leave its parameters as they are."""
    rows = [{"prompt": f"Number {i}?", "a": f"{i} mills", "b": "No.", "choice": "a"} for i in range(40)]
    (root / "mine" / "labels" / "both.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert "reference" not in plan(root, preset_of())
    preset = preset_of(rlhf={"method": "dpo", "dpo": {"batch_size": 2}})
    names = list(plan(root, preset))
    assert names.index("judge") < names.index("reference") < names.index("rlhf")
    for changes, same in (
        ({"beta": 0.3}, True),
        ({"steps": 9, "loss": "ipo"}, True),
        ({"margin": 2.0}, False),
    ):
        other = preset_of(rlhf={"method": "dpo", "dpo": {"batch_size": 2, **changes}})
        assert (other.rlhf.dpo.reference_parameters == preset.rlhf.dpo.reference_parameters) == same, changes


def test_plan_of_earlier_sources_brings_data_back(computed: Path) -> None:
    """The output of the earlier sources is there, but data/ holds the later ones."""
    preset, film = preset_of(), computed / "mine" / "labels" / "film.jsonl"
    make_data(computed, preset)
    earlier = film.read_text()
    film.write_text(earlier + json.dumps({"prompt": "New.", "completion": "Mill.", "score": 2}) + "\n")
    make_data(computed, preset)
    film.write_text(earlier)
    stage = plan(computed, preset)["ingest"]
    assert stage.status == "computed" and "goes back to the version" in stage.reason
    assert make_data(computed, preset)["ingest"].reused is False


def test_plan_of_damaged_output_computes_it(computed: Path) -> None:
    preset = preset_of()
    made = make_data(computed, preset)
    next((Path(made["tokenizer"].path)).glob("*.json")).write_text("{}")
    assert plan(computed, preset)["tokenizer"].status == "computed"


def test_plan_without_labels_ends_after_sft(root: Path) -> None:
    preset = preset_of()
    sources = [source for source in preset.data.sources if source.name != "film"]
    values = preset.model_dump(mode="json", by_alias=True)
    values["data"]["sources"] = [each for each in values["data"]["sources"] if each["name"] != "film"]
    assert len(sources) == 2
    lone = load_preset(values)
    with dry_run(lone.data, lone.validation_parameters(), root, ignore_event) as found:
        asked = lone.training_requirements(root)
        check_later_stages(found, lone.split, lone.tokenizer_parameters(), asked, root, ignore_event)
        planned = PipelinePlan(lone, root, {"split": found.folder / "split"}, None)
        with pytest.raises(EndOfPlan, match="sft"):
            run_stages(lone, planned)
    assert [stage.name for stage in planned.stages][-1] == "sft"


def test_preview_stages_without_earlier_output_names_that_and_makes_no_folder(root: Path) -> None:
    [line] = preview_stages(preset_of(), root, root)
    assert line == "A run would compute every stage: there is no earlier output here"
    assert not (root / "var").exists()


@pytest.mark.parametrize(
    ("statuses", "summary"),
    [
        (("cached", "cached"), "Of 2 stages, a run would compute 0, reuse 2:"),
        (("computed",), "Of 1 stage, a run would compute 1, reuse 0:"),
        (("computed", "open", "cached"), "compute 1, reuse 1, decide on 1 while it runs:"),
    ],
)
def test_describe_plan_counts_stages_and_explains_open(statuses: tuple[str, ...], summary: str) -> None:
    lines = list(
        describe_plan([PlannedStage(f"s{n}", status, "", "why") for n, status in enumerate(statuses)])
    )
    assert lines[0].endswith(summary)
    assert ("open:" in lines[-1]) is ("open" in statuses)
