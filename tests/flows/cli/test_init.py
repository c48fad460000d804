"""`chatmill init`: what it makes of a folder, and that what it writes runs."""

from __future__ import annotations

import gzip
import json
import os
import random
import re
import shutil
import time
from collections.abc import Callable
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from rich.console import Console

from flows.cli import init
from flows.cli.ingest_preview import print_preview
from flows.config import Preset, read_preset
from model.errors import UserError
from model.nn.transformer import ModelConfig
from model.training import throughput
from tasks.common.names import slugify_name
from tasks.data.sources import Source, own_files
from tasks.engine.output import StageOutput
from tasks.engine.stage import StageContext
from tasks.ingest import ingest
from tasks.labels import labels
from tasks.onboarding.folder_scan import scan_folder
from tasks.split import split
from tasks.tokenizer import tokenizer
from tasks.validate import validate

SAYING = (
    "the a river mill stone grain flour water wheel turns slowly under old bridge while miller counts sacks"
)
EXPORTS = Path(__file__).parents[2] / "fixtures" / "exports"
WORDS = SAYING.split()


def sentence(drawn: random.Random) -> str:
    return " ".join(drawn.choice(WORDS) for _ in range(drawn.randint(6, 14))).capitalize() + "."


def write(path: Path, *rows: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def write_texts(folder: Path, drawn: random.Random, count: int = 60) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        text = "\n\n".join(" ".join(sentence(drawn) for _ in range(5)) for _ in range(4))
        (folder / f"{number}.txt").write_text(text)


def write_pairs(path: Path, drawn: random.Random, count: int = 200) -> None:
    write(
        path,
        *(
            {"prompt": f"What does the {drawn.choice(WORDS)} do {n}?", "completion": sentence(drawn)}
            for n in range(count)
        ),
    )


def write_ratings(path: Path, drawn: random.Random, count: int = 200) -> None:
    rows = ((n, sentence(drawn), drawn.randint(1, 5)) for n in range(count))
    write(
        path,
        *({"prompt": f"Say something {n}.", "completion": said, "score": score} for n, said, score in rows),
    )


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with a folder of all that the chain needs; the machine is as fast as it is said to be."""
    monkeypatch.chdir(tmp_path)
    drawn = random.Random(7)
    write_texts(tmp_path / "mine" / "texts", drawn)
    write_pairs(tmp_path / "mine" / "pairs.jsonl", drawn)
    write_ratings(tmp_path / "mine" / "labels" / "film.jsonl", drawn)
    return tmp_path


@pytest.fixture
def steady(monkeypatch: pytest.MonkeyPatch) -> None:
    """A pace that is the same in each run, for what is not about measuring it."""

    def measure(shape: ModelConfig, batch: int, device: str, seconds: float) -> throughput.Pace:
        return throughput.Pace(2e10 / (6 * shape.num_parameters), 1)

    monkeypatch.setattr(throughput, "measure_pace", measure)
    monkeypatch.setattr(throughput, "on_one_thread", lambda *rest: 0.0)


def made(folder: str = "mine", **changes: Any) -> Path:
    settings = {"name": "", "minutes": 10.0, "device": "cpu", "force": False, "checked": False} | changes
    return init.propose_preset(Path(folder), **settings)


def test_propose_preset_is_readable_and_first_stages_run(project: Path, steady: None) -> None:
    preset = read_preset(made())
    assert preset.name == "mine"
    assert {source.name: source.format for source in preset.data.sources} == {
        "labels": "rows", "pairs": "rows", "texts": "plain",
    }  # fmt: skip
    made_so_far = run_first_stages(preset, project)
    figures = made_so_far["tokenizer"].metrics
    assert figures["vocabulary"] == preset.tokenizer.vocabulary
    described = json.loads((Path(made_so_far["tokenizer"].path) / "tokens.json").read_text())
    context = preset.architecture.context
    # What pretraining refuses, it would refuse here.
    assert described["train"]["tokens"] // context - 2 >= preset.pretrain.batch
    assert described["valid"]["tokens"] > context
    counts = made_so_far["split"].metrics
    assert all(
        counts[f"{name}_{kind}"]
        for name in ("train", "valid", "test")
        for kind in ("text", "pairs", "ratings")
    )
    assert made_so_far["labels"].metrics["valid_pairs"] > 0


def run_first_stages(preset: Preset, root: Path) -> dict[str, StageOutput]:
    context = StageContext(root, preset.seed, "cpu", 1)
    done: dict[str, StageOutput] = {}

    def say(event: dict[str, Any]) -> None:
        pass

    for stage, parameters in (
        (ingest, preset.data), (validate, preset.validation), (split, preset.split),
        (tokenizer, preset.tokenizer_parameters()), (labels, preset.labels),
    ):  # fmt: skip
        done[stage.name] = stage.run(parameters, done, context, say)
    return done


def test_propose_preset_gives_reasons_beside_numbers(project: Path, steady: None) -> None:
    text = made().read_text()
    for part in (
        "arXiv:2203.15556",
        "arXiv:2305.16264",
        "A run takes about",
        "200 pairs",
        "200 ratings",
        "95% of prompts",
    ):
        assert part in text
    assert max(map(len, text.splitlines())) < 140


def test_propose_preset_measures_machine_within_a_minute(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    began = time.monotonic()
    preset = read_preset(made())
    assert time.monotonic() - began < 60  # beside other programs; alone it is under ten
    assert preset.pretrain.steps >= 20
    assert "the whole run takes about" in capsys.readouterr().out


def test_propose_preset_faster_single_thread_is_reported(
    project: Path, steady: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(throughput, "on_one_thread", lambda shape, *rest: 1e12)
    made()
    said = " ".join(capsys.readouterr().out.split())
    assert said.count("OMP_NUM_THREADS=1 makes init and the run faster") == 1 and "tokens/s" in said


def test_on_one_thread_measures_only_on_cpu_with_several_threads() -> None:
    shape = ModelConfig(layers=2, width=32, heads=2, context=32, vocabulary=300)
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    assert throughput.on_one_thread(shape, 4, "cpu", 0.1) > 0 and torch.get_num_threads() == 2
    assert throughput.on_one_thread(shape, 4, "cuda", 0.1) == 0
    torch.set_num_threads(1)
    assert throughput.on_one_thread(shape, 4, "cpu", 0.1) == 0
    torch.set_num_threads(threads)


def test_measure_pace_takes_real_steps() -> None:
    shape = ModelConfig(layers=2, width=32, heads=2, context=32, vocabulary=300)
    found = throughput.measure_pace(shape, 4, "cpu", 0.2)
    assert found.steps >= 1 and found.tokens_per_second > 0
    assert throughput.measure_pace(shape, 4, "cpu", 0.0).steps == 1
    assert throughput.device_memory("cpu") > 0


def test_propose_preset_existing_file_without_force_is_refused(project: Path, steady: None) -> None:
    path = made()
    path.write_text("name: mine\n")
    with pytest.raises(UserError, match=r"configs/mine\.yaml is there already; .*--force"):
        made()
    assert path.read_text() == "name: mine\n"
    assert read_preset(made(force=True)).name == "mine"
    assert made(name="other").name == "other.yaml"


@pytest.mark.parametrize("name", ["../up", "a/b", "-x", "a b"])
def test_propose_preset_name_with_path_or_space_is_refused(project: Path, name: str) -> None:
    with pytest.raises(UserError, match="--name is"):
        made(name=name)


def test_propose_preset_missing_or_empty_folder_is_refused(project: Path) -> None:
    with pytest.raises(UserError, match="nowhere is not a folder"):
        made("nowhere")
    (project / "empty").mkdir()
    with pytest.raises(UserError, match="empty holds no file"):
        made("empty")


@pytest.mark.parametrize("own", ["data", "var"])
@pytest.mark.parametrize(
    ("given", "relation"),
    [
        ("{own}", "is"), ("{own}/", "is"), ("./mine/../{own}", "is"), ("{root}/{own}", "is"),
        ("{own}/inner", "lies in"), ("link", "is"), ("link/inner", "lies in"), (".", "holds"),
        ("..", "holds"), ("{root}", "holds"),
    ],
)  # fmt: skip
def test_propose_preset_folder_of_chatmill_is_refused(
    project: Path, steady: None, own: str, given: str, relation: str
) -> None:
    write(project / own / "inner" / "a.jsonl", {"text": "Mine."})
    (project / "link").symlink_to(project / own, target_is_directory=True)
    folder = given.format(own=own, root=project)
    with pytest.raises(UserError, match=rf"{relation} (data|var)/ of this project.*texts/"):
        made(folder, name="mine")
    assert not (project / "configs").exists()
    assert (project / own / "inner" / "a.jsonl").read_text() == '{"text": "Mine."}\n'


def test_propose_preset_data_linked_to_other_disk_is_refused(project: Path, tmp_path: Path) -> None:
    disk = tmp_path.parent / f"{tmp_path.name}-disk"
    write(disk / "a.jsonl", {"text": "Mine."})
    (project / "data").symlink_to(disk, target_is_directory=True)
    for folder in (disk, Path("data")):
        with pytest.raises(UserError, match="is data/ of this project"):
            made(str(folder), name="mine")
    with pytest.raises(UserError, match="holds data/ of this project"):
        made(str(disk.parent), name="mine")


@pytest.mark.parametrize("linked", ["data", "data/text", "data/text/00000.jsonl", "var/cache/artifacts"])
def test_propose_preset_folder_with_link_into_own_data_is_refused(project: Path, linked: str) -> None:
    write(project / "data" / "text" / "00000.jsonl", {"text": "Made by chatmill."})
    (project / "var" / "cache" / "artifacts").mkdir(parents=True)
    (project / "mine" / "texts" / "more").symlink_to(project / linked)
    with pytest.raises(UserError, match=r"mine/texts/more (is|lies in) (data|var)/ of this project"):
        made()


def test_propose_preset_folder_with_similar_name_is_accepted(project: Path, steady: None) -> None:
    for name in ("data-2", "database", "variants", "texts/data", "mine/var"):
        shutil.copytree(project / "mine" / "texts", project / name, dirs_exist_ok=True)
    for name in ("data-2", "database", "variants", "texts", "mine"):
        assert made(name).exists()


def test_scan_folder_follows_links_and_stops_at_loops(project: Path) -> None:
    elsewhere = project.parent / f"{project.name}-elsewhere"
    write(elsewhere / "a.jsonl", {"text": "From another disk."})
    linked = project / "linked"
    linked.mkdir()
    (linked / "there").symlink_to(elsewhere, target_is_directory=True)
    (linked / "again").symlink_to(linked, target_is_directory=True)
    (elsewhere / "back").symlink_to(linked, target_is_directory=True)
    (source,) = scan_folder(linked, project).sources
    assert source.files == ("linked/there/a.jsonl",) and source.count("text") == 1


def test_propose_preset_without_text_writes_nothing(project: Path, steady: None) -> None:
    with pytest.raises(UserError, match=r"there is no text to learn language from \(200 ratings in 1 source"):
        made("mine/labels", name="labels")
    assert not (project / "configs").exists()


def test_propose_preset_too_little_text_is_refused(project: Path, steady: None) -> None:
    write(project / "one" / "text.jsonl", {"text": "A miller grinds grain."})
    with pytest.raises(UserError, match="1 documents of 22 bytes are too little"):
        made("one")


@pytest.mark.parametrize(
    ("gone", "says"), [("labels/film.jsonl", "There are no labels"), ("pairs.jsonl", "There are no pairs")]
)
def test_propose_preset_missing_kind_is_noted_on_screen_and_in_preset(
    project: Path, steady: None, capsys: pytest.CaptureFixture[str], gone: str, says: str
) -> None:
    (project / "mine" / gone).unlink()
    path = made()
    assert says in capsys.readouterr().out and f"# {says}" in path.read_text()
    assert "rlhf:" not in path.read_text()
    read_preset(path)


def test_propose_preset_labels_of_one_class_are_noted(project: Path, steady: None) -> None:
    rows = [{"prompt": f"p {n}", "completion": "c", "score": 3} for n in range(40)]
    write(project / "mine" / "labels" / "film.jsonl", *rows)
    assert "# All scores are the same" in made().read_text()


def test_propose_preset_own_scores_and_aspects_widen_limits(project: Path, steady: None) -> None:
    drawn = random.Random(3)
    rows = [
        {
            "prompt": f"p {n}",
            "completion": sentence(drawn),
            "score": drawn.choice([0, 50, 100]),
            "aspect": "wit",
        }
        for n in range(100)
    ]
    write(project / "mine" / "labels" / "film.jsonl", *rows)
    preset = read_preset(made())
    assert (preset.validation.limits.lowest, preset.validation.limits.highest) == (-10, 100)
    assert "wit" in preset.validation.limits.aspects and "tone" in preset.validation.limits.aspects
    assert preset.labels.margin == preset.reward.margin == 10


def judged(number: int, annotator: str, choice: str) -> dict[str, str]:
    asked = {"prompt": f"Which is better, {number}?", "a": f"The mill {number}.", "b": f"The stone {number}."}
    return {**asked, "choice": choice, "annotator": annotator}


def test_propose_preset_doubtful_labels_raise_quarantine_and_are_named(
    project: Path, steady: None, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [judged(n, "ana" if n % 2 else "ben", "ab"[n % 2]) for n in range(150)]
    twice = [judged(n, "ben", "b") for n in range(0, 16, 2)]
    write(project / "mine" / "press" / "labels.jsonl", *rows, *twice)
    path = made(checked=True)
    said, text = " ".join(capsys.readouterr().out.split()), path.read_text()
    assert "validate.quarantine is 0.13, so that a run goes on without these rows: 16 comparisons" in said
    assert "# A run goes on without these rows: 16 comparisons: one person, one choice: they disagree" in text
    preset = read_preset(path)
    assert preset.validation.quarantine == 0.13
    print_preview(preset, project, Console(file=StringIO()), whole=True)
    assert not list(project.glob("data*")) and not (project / "var").exists()


def test_propose_preset_mostly_bad_rows_writes_preset_and_reports_refusal(
    project: Path, steady: None
) -> None:
    rows = [judged(n, "ana", choice) for n in range(20) for choice in "ab"]
    write(project / "mine" / "press" / "labels.jsonl", *rows)
    with pytest.raises(UserError, match=r"configs/mine.yaml is written, but .* refused: .* 40 of 40 comp"):
        made(checked=True)
    preset = read_preset(project / "configs" / "mine.yaml")
    assert preset.validation.quarantine == 0.02
    with pytest.raises(UserError, match="the data was refused before any training: 40 of 40 comparisons"):
        print_preview(preset, project, Console(file=StringIO()))


ASKED_ROWS = {
    "a verdict in words": ({"prompt": "What is it?", "completion": "A mill."}, {"reply_quality": "meh"}),
    "classes beside a text": ({"text": "The mill turns under the bridge."}, {"labels": [0, 2]}),
    "a mask in a turn": (
        {"messages": [
            {"role": "user", "content": "What is it?"},
            {"role": "assistant", "content": "A mill.", "supervise": "half"},
        ]},
        {},
    ),
    "a key with brackets": (
        {"instruction": "What is it?", "output": "A mill."}, {"meta": {"votes [up]: #1": 3}},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", list(ASKED_ROWS))
@pytest.mark.parametrize("texts", [True, False])
def test_propose_preset_unexplained_key_stops_like_dry_run(
    project: Path, steady: None, capsys: pytest.CaptureFixture[str], name: str, texts: bool
) -> None:
    """The file is no file that is not read: init says what the dry run says of the preset it writes."""
    row, more = ASKED_ROWS[name]
    asked = [{**row, **more, "origin": f"page {n}"} for n in range(9)]
    # The rows that are asked about may all be left out by what is proposed; another one stays.
    other = json.loads(json.dumps(row).replace("mill", "barn").replace("supervise", "masked"))
    write(project / "own" / "a.jsonl", *asked, json.loads(json.dumps(other).replace('"half"', "false")))
    if texts:
        write_texts(project / "own" / "texts", random.Random(3))
    with pytest.raises(UserError, match="looks like a ") as error:
        init.propose_preset(project / "own", "mine", 5, "cpu", False)
    said = capsys.readouterr().out
    assert "keys that nothing reads: " in said and "origin (9, as 'page 0')" in said
    assert "not read" not in said
    if not texts:
        # No preset can be made of a folder without enough text, and the question is asked all the same.
        assert str(error.value).startswith("source a: own/a.jsonl, line 1: the key ")
        return
    path = project / "configs" / "mine.yaml"
    with pytest.raises(UserError) as dry:
        print_preview(read_preset(path), project, Console(file=StringIO()))
    refused = f"configs/mine.yaml is written, but a run with it would be refused: {dry.value}"
    assert str(error.value) == refused
    # The proposal in the comment is YAML that ends the question.
    text = path.read_text()
    found = re.search(r"# (fields: {.*})", text)
    assert found
    preset = yaml.safe_load(text)
    source = next(one for one in preset["data"]["sources"] if one["name"] == "a")
    source.update(yaml.safe_load(found[1]))
    path.write_text(yaml.safe_dump(preset))
    print_preview(read_preset(path), project, Console(file=StringIO()))


def test_propose_preset_unchecked_stops_at_unexplained_key(
    project: Path, steady: None, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [{"prompt": f"What {n}?", "completion": f"It {n}.", "spam_votes": n} for n in range(40)]
    write(project / "own" / "a.jsonl", *rows)
    write_texts(project / "own" / "texts", random.Random(3))
    with pytest.raises(UserError, match=r"the key spam_votes is .* and looks like a verdict"):
        init.propose_preset(project / "own", "mine", 5, "cpu", False, checked=False)
    assert "source a: keys that nothing reads: spam_votes (40, as 0)" in capsys.readouterr().out
    assert (project / "configs" / "mine.yaml").exists()


def test_propose_preset_one_group_for_all_pairs_is_noted(
    project: Path, steady: None, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [{"prompt": f"What is {n}?", "completion": f"It is {n}.", "group": "b"} for n in range(60)]
    write(project / "mine" / "pairs.jsonl", *rows)
    made(checked=True)
    said = " ".join(capsys.readouterr().out.split())
    assert "all 60 pairs are of one group ('b')" in said and 'columns: {group: ""}' in said


def test_propose_preset_good_rows_pass_check(
    project: Path, steady: None, capsys: pytest.CaptureFixture[str]
) -> None:
    preset = read_preset(made(checked=True))
    assert "would stop" not in capsys.readouterr().out
    print_preview(preset, project, Console(file=StringIO()), whole=True)


@pytest.mark.parametrize(
    ("minutes", "speed", "says"),
    [
        (1, 2e10, r"--minutes 1 cannot be kept: .* takes about .* for what is not training"),
        (3, 2e8, r"--minutes 3 cannot be kept"),
        (3, 1e9, r"too short for whole sentences: from about \d+ .* --minutes \d+, answers end"),
    ],
)
def test_propose_preset_too_few_minutes_are_reported(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
    minutes: float, speed: float, says: str,
) -> None:  # fmt: skip
    monkeypatch.setattr(
        throughput,
        "measure_pace",
        lambda shape, *rest: throughput.Pace(speed / (6 * shape.num_parameters), 1),
    )
    path = made(minutes=minutes)
    comment = " ".join(path.read_text().replace("\n#", "").split())
    for text in (" ".join(capsys.readouterr().out.split()), comment):
        assert re.search(says, text), text


def test_propose_preset_unsupported_files_are_named_and_left_out(project: Path, steady: None) -> None:
    (project / "mine" / "picture.png").write_bytes(b"\x89PNG")
    (project / "mine" / "notes.txt").write_text("A note about mills.")
    write(project / "mine" / "odd.jsonl", {"width": 3, "height": 4})
    (project / "mine" / "broken.json").write_text('[{"text": "whole"},\n{"text": \n')
    (project / "mine" / ".hidden.jsonl").write_text("{}\n")
    text = made().read_text()
    comments = [line for line in text.splitlines() if line.startswith("  #   ")]
    assert [line.split()[1].rstrip(":") for line in comments] == [
        "mine/broken.json", "mine/odd.jsonl", "mine/picture.png",
    ]  # fmt: skip
    assert "its keys are width, height" in text and "line 3" in text and "hidden" not in text


def test_propose_preset_common_column_names_are_mapped_and_ingested(
    project: Path, steady: None, capsys: pytest.CaptureFixture[str]
) -> None:
    pairs = "".join(f"What is {n}?,It is {n}.\n" for n in range(80))
    (project / "mine" / "pairs.jsonl").unlink()
    (project / "mine" / "qa.csv").write_text(f"question,answer\n{pairs}")
    (project / "mine" / "press").mkdir()
    rows = [
        {"Query": f"Q {n}?", "Response A": "x", "Response B": "y", "Winner": "response_b"} for n in range(60)
    ]
    write(project / "mine" / "press" / "votes.jsonl", *rows)
    preset = read_preset(made())
    columns = {source.name: source.columns for source in preset.data.sources}
    assert columns["qa"] == {"prompt": "question", "completion": "answer"}
    assert columns["press"] == {
        "prompt": "Query", "a": "Response A", "b": "Response B", "choice": "Winner",
    }  # fmt: skip
    assert "taken by their names: question as prompt, answer as completion" in capsys.readouterr().out
    done = ingest.run(preset.data, {}, StageContext(project, 1, "cpu", 1), lambda event: None)
    assert done.metrics["pairs"] == 80 and done.metrics["comparisons"] == 60


def test_propose_preset_save_to_disk_folder_is_named_as_dataset(
    project: Path, steady: None, capsys: pytest.CaptureFixture[str]
) -> None:
    datasets = pytest.importorskip("datasets")
    texts = datasets.Dataset.from_dict({"text": ["one", "two"]})
    texts.save_to_disk(str(project / "mine" / "saved"))
    datasets.DatasetDict({"train": texts}).save_to_disk(str(project / "mine" / "both"))
    made()
    said = " ".join(capsys.readouterr().out.split())
    assert said.count("a data set that save_to_disk wrote; add it to data.sources") == 2
    assert 'dataset: "mine/saved"}' in said and said.count("not read:") == 2


def test_scan_folder_export_with_wrong_configuration_is_refused_together(project: Path) -> None:
    folder = project / "tool"
    folder.mkdir()
    shutil.copy(EXPORTS / "label_studio.json", folder / "export.json")
    (folder / "config.xml").write_text("<View><Text name='t' value='$nothing'/></View>")
    found = scan_folder(folder, project)
    assert [name for name, _ in found.others] == ["tool/export.json, tool/config.xml"]
    ((_, why),) = found.others
    assert "give the project's labelling configuration" not in why


def test_scan_folder_globs_match_scanned_files(project: Path) -> None:
    drawn = random.Random(5)
    write_texts(project / "mine" / "texts" / "deep", drawn, 3)
    write(project / "mine" / "texts" / "rows.jsonl", {"text": "one"})
    packed = project / "mine" / "more" / "a.jsonl.gz"
    packed.parent.mkdir()
    packed.write_bytes(gzip.compress(b'{"text": "packed"}\n'))
    found = {source.name: source for source in scan_folder(project / "mine", project).sources}
    assert found["texts-2"].files == ("mine/texts/**/*.txt",)
    assert found["texts"].files == ("mine/texts/rows.jsonl",)
    assert found["more"].files == ("mine/more/a.jsonl.gz",)
    assert found["more"].rows[0].text == "packed"


def test_scan_folder_mixed_formats_are_listed_by_file_name(project: Path) -> None:
    folder = project / "mixed"
    write(folder / "a.jsonl", {"text": "one"})
    write(folder / "b.jsonl", {"text": "two"})
    write(folder / "c.jsonl", {"instruction": "Do", "input": "", "output": "done"})
    found = {source.format: source.files for source in scan_folder(folder, project).sources}
    assert found["rows"] == ("mixed/a.jsonl", "mixed/b.jsonl")
    assert found["alpaca"] == ("mixed/c.jsonl",)


def test_propose_preset_labelling_configuration_joins_its_export(project: Path, steady: None) -> None:
    for name in ("label_studio.json", "label_studio.xml"):
        shutil.copy(EXPORTS / name, project / "mine" / "labels" / name)
    preset = read_preset(made())
    (source,) = [source for source in preset.data.sources if source.format == "label_studio"]
    assert source.files == ("mine/labels/label_studio.json", "mine/labels/label_studio.xml")


def test_scan_folder_one_broken_file_is_left_out_alone(project: Path) -> None:
    for number in range(3):
        write(project / "many" / f"{number}.json", {"text": f"number {number}"})
    with (project / "many" / "1.json").open("a") as file:
        file.write("\n" * 30 + '{"text": \n')
    found = scan_folder(project / "many", project)
    assert [source.files for source in found.sources] == [("many/0.json", "many/2.json")]
    ((name, why),) = found.others
    assert name == "many/1.json" and why.startswith("line 33: broken JSON")


def test_scan_folder_broken_line_drops_only_its_row(project: Path) -> None:
    write(project / "many" / "0.jsonl", {"text": "one"}, {"text": "two"})
    with (project / "many" / "0.jsonl").open("a") as file:
        file.write('{"text": \n{"text": null}\n')
    (source,) = scan_folder(project / "many", project).sources
    assert len(source.rows) == 2


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("broken.json", b'[{"prompt": "a", "completion": "b"}, {"prompt'),
        ("half.csv", b'prompt,completion\n"a,b'), ("table.parquet", b"PAR1 nothing"),
        ("odd.jsonl", b'{"colour": "red", "size": 3}\n'), ("latin.txt", b"caf\xe9 au lait"),
    ],
)  # fmt: skip
def test_propose_preset_unreadable_file_is_named(
    project: Path, steady: None, capsys: pytest.CaptureFixture[str], name: str, content: bytes
) -> None:
    (project / "alone").mkdir()
    for folder in ("alone", "mine"):
        (project / folder / name).write_bytes(content)
    with pytest.raises(UserError, match=f"the only file in alone cannot be read, .* alone/{name}: "):
        made("alone")
    assert not (project / "configs").exists()
    with pytest.raises(UserError, match=rf"configs/mine\.yaml is written without mine/{name}, .*--force"):
        made()
    said = capsys.readouterr().out
    assert (project / "configs" / "mine.yaml").is_file()
    assert f"cannot be read: mine/{name}: " in said
    assert f"Not in the preset, as it cannot be read: mine/{name}. A run goes without." in said
    (project / "alone" / "second.json").write_text("[")
    with pytest.raises(UserError, match="none of the 2 files in alone can be read"):
        made("alone")


def test_scan_folder_long_file_is_sampled_and_estimated(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tasks.onboarding.folder_scan.READ", 2000)
    (source,) = scan_folder(project / "mine" / "labels", project).sources
    assert 0 < len(source.rows) < 200 and source.share < 1
    assert 180 <= source.count("ratings") <= 220


def test_propose_preset_folder_beside_project_is_accepted(
    project: Path, steady: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    (project / "inner").mkdir()
    monkeypatch.chdir(project / "inner")
    preset = read_preset(made("../mine"))
    assert {str(files) for source in preset.data.sources for files in [source.files]} >= {
        "../mine/pairs.jsonl"
    }


def test_propose_preset_few_documents_fill_every_split(project: Path, steady: None) -> None:
    drawn = random.Random(11)
    write(
        project / "few" / "text.jsonl",
        *({"text": " ".join(sentence(drawn) for _ in range(30))} for _ in range(8)),
    )
    preset = read_preset(made("few"))
    done: Callable[[dict[str, Any]], None] = lambda event: None  # noqa: E731
    context = StageContext(project, 1, "cpu", 1)
    references: dict[str, StageOutput] = {}
    for stage, parameters in ((ingest, preset.data), (validate, preset.validation), (split, preset.split)):
        references[stage.name] = stage.run(parameters, references, context, done)
    assert all(references["split"].metrics[f"{name}_text"] for name in ("train", "valid", "test"))


def test_propose_preset_quotes_special_characters_in_yaml(project: Path, steady: None) -> None:
    (project / "mine" / "texts").rename(project / "mine" / "Texte: 'ältere' & #1")
    values = yaml.safe_load(made().read_text())
    names = {source["name"]: source["files"] for source in values["data"]["sources"]}
    assert names["texte-aeltere-1"] == "mine/Texte: 'ältere' & #1/*.txt"


ODD = [
    "[a].txt", "a*b.txt", "what?.txt", "x (1)[2].txt", " blank before.txt", "tab\tin.txt", "line\nbreak.txt",
    "#comment.txt", "- dash.txt", "{x}: 1.txt", "it's \"quoted\".txt", "back\\slash.txt",
    "\u2028separator.txt", "\u0085next.txt", "😀.txt", "日本語.txt", "*anchor.txt", "&ref.txt",
    "!tag.txt", "%percent.txt",
    "@at.txt", "null.txt", "true.txt", "1e3.txt", f"{'very' * 60}.txt",
]  # fmt: skip


@pytest.mark.parametrize("odd", ODD)
def test_propose_preset_any_file_name_is_read_back(project: Path, steady: None, odd: str) -> None:
    shutil.rmtree(project / "mine" / "texts")
    drawn = random.Random(5)
    # A decoy that the name would match as a glob.
    for name in (odd, "a.txt", "aXb.txt", "whatX.txt"):
        text = "\n\n".join(" ".join(sentence(drawn) for _ in range(5)) for _ in range(8))
        (project / "mine" / name).write_text(f"{name}\n\n{text}")
    write(project / "mine" / "pairs" / odd.replace(".txt", ".jsonl"), {"prompt": "Why?", "completion": "So."})
    found = {path for source in read_preset(made()).data.sources for path in own_files(source, project)}
    assert project / "mine" / odd in found
    assert found == {path for path in (project / "mine").rglob("*") if path.is_file()}


def test_propose_preset_odd_folder_names_get_distinct_source_names(project: Path, steady: None) -> None:
    drawn = random.Random(5)
    for name in ("d[1]", "d1", "Größe", "Grösse", "日本", "中文", "x" * 200, "x" * 201, "..."):
        if not name.startswith("."):
            write_texts(project / "mine" / name, drawn, 2)
    preset = read_preset(made())
    names = [source.name for source in preset.data.sources]
    assert len(set(names)) == len(names) == 11
    assert {"d-1", "d1", "groesse", "groesse-2"} <= set(names) and max(map(len, names)) < 60
    (bracketed,) = [source for source in preset.data.sources if source.name == "d-1"]
    assert {path.parent.name for path in own_files(bracketed, project)} == {"d[1]"}


@pytest.mark.parametrize(
    ("folder", "name"),
    [
        ("Daten für Größe", "daten-fuer-groesse"), ("Été à Paris", "ete-a-paris"), ("Łódź", "lodz"),
        ("Ærø", "aero"), ("İstanbul ışık", "istanbul-isik"), ("u\u0308ber", "ueber"), ("a--b__c", "a-b-c"),
        ("日本語", "mine-e1dd8b"), ("Привет", "mine-78b5f6"), ("!!!", "mine"), ("2024", "2024"),
        ("n" * 300, "n" * 41 + "-fd0bba"),
    ],
)  # fmt: skip
def test_slugify_name_gives_short_ascii_name(folder: str, name: str) -> None:
    assert slugify_name(folder)[:-6] == name[:-6] and len(slugify_name(folder)) == len(name)
    assert re.fullmatch(r"[a-z0-9][a-z0-9-]*", slugify_name(folder)) and len(slugify_name(folder)) <= 48


def test_propose_preset_file_name_outside_utf8_is_left_out(
    project: Path, steady: None, capsys: pytest.CaptureFixture[str]
) -> None:
    odd = os.fsencode(project / "mine" / "texts") + b"/caf\xe9.txt"
    Path(os.fsdecode(odd)).write_text("A text.")
    preset = read_preset(made())
    assert "its name is not UTF-8, so no preset can name it; rename it" in capsys.readouterr().out
    (texts,) = [source for source in preset.data.sources if source.name == "texts"]
    assert len(own_files(texts, project)) == 60


@pytest.mark.parametrize(
    ("pattern", "path"),
    [
        ("[a].jsonl", "[a].jsonl"), ("x[1]", "x[1]/c.jsonl"), ("d[[]1]/*.jsonl", "d[1]/b.jsonl"),
        ("q?.jsonl", "q?.jsonl"),
    ],
)  # fmt: skip
def test_own_files_prefers_literal_name_over_glob(project: Path, pattern: str, path: str) -> None:
    for name in ("a.jsonl", "qq.jsonl", "x1/c.jsonl", "d1/b.jsonl", path):
        write(project / name, {"text": "a"})
    assert own_files(Source("own", files=pattern), project) == [project / path]
