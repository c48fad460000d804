"""`chatmill init`: the preset that it proposes, and the first stages of a run with it."""

from __future__ import annotations

import json
import random
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from flows.cli import init
from flows.config import Preset, read_preset
from model.errors import UserError
from model.training import throughput
from tasks.engine.output import StageOutput
from tasks.engine.stage import StageContext
from tasks.ingest import ingest
from tasks.labels import labels
from tasks.onboarding import size_notes
from tasks.split import split
from tasks.tokenizer import tokenizer
from tasks.validate import validate
from tests.example_project import make_sentence, write_jsonl


def propose(folder: str = "mine", **changes: Any) -> Path:
    settings = {"name": "", "minutes": 10.0, "device": "cpu", "force": False, "checked": False} | changes
    return init.propose_preset(Path(folder), **settings)


def test_propose_preset_is_readable_and_first_stages_run(sample: Path, steady_pace: None) -> None:
    preset = read_preset(propose())
    assert preset.name == "mine"
    assert {source.name: source.format for source in preset.data.sources} == {
        "labels": "rows", "pairs": "rows", "texts": "plain",
    }  # fmt: skip
    made_so_far = run_first_stages(preset, sample)
    figures = made_so_far["tokenizer"].metrics
    assert figures["vocabulary"] == preset.tokenizer.vocab_size
    described = json.loads((Path(made_so_far["tokenizer"].path) / "tokens.json").read_text())
    context = preset.architecture.context_length
    # Pretraining needs at least one batch of whole contexts.
    assert described["train"]["tokens"] // context - 2 >= preset.pretrain.batch_size
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


def test_propose_preset_gives_reasons_beside_numbers(sample: Path, steady_pace: None) -> None:
    text = propose().read_text()
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
    sample: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    began = time.monotonic()
    preset = read_preset(propose())
    assert time.monotonic() - began < 60  # beside other programs; alone it is under ten
    assert preset.pretrain.steps >= 20
    said = capsys.readouterr().out
    assert "the whole run takes about" in said
    assert re.search(r"memory: \w+ needs the most, (up to )?[\d.]+ GB; [\d.]+ GB of [\d.]+ GB on this", said)


def test_propose_preset_existing_file_without_force_is_refused(sample: Path, steady_pace: None) -> None:
    path = propose()
    path.write_text("name: mine\n")
    with pytest.raises(UserError, match=r"configs/mine\.yaml exists; .*--force"):
        propose()
    assert path.read_text() == "name: mine\n"
    assert read_preset(propose(force=True)).name == "mine"
    assert propose(name="other").name == "other.yaml"


def test_propose_preset_leftover_of_killed_init_is_removed(sample: Path, steady_pace: None) -> None:
    configs = sample / "configs"
    configs.mkdir(exist_ok=True)
    (configs / "other.yaml.7.part").write_text("# Written by `chatmill init` from")
    (configs / "other.yaml.8.part").write_text("# notes of a user")
    path = propose()
    # A part of a preset that init wrote is recognised by the text that init writes.
    (configs / "mine.yaml.9.part").write_text(path.read_text()[:200])
    propose(force=True)
    assert sorted(each.name for each in configs.glob("*.part")) == ["other.yaml.8.part"]


@pytest.mark.parametrize("name", ["../up", "a/b", "-x", "a b"])
def test_propose_preset_name_with_path_or_space_is_refused(sample: Path, name: str) -> None:
    with pytest.raises(UserError, match="--name is"):
        propose(name=name)


@pytest.mark.parametrize(
    ("row", "kind"),
    [
        ({"prompt": "Name bird {n}?", "completion": "Bird {n} is a robin."}, "pairs"),
        (
            {"messages": [{"role": "user", "content": "{n}?"}, {"role": "assistant", "content": "{n}."}]},
            "pairs",
        ),
        ({"prompt": "Name bird {n}?", "chosen": "A robin, {n}.", "rejected": "No."}, "comparisons"),
        ({"prompt": "Name bird {n}?", "completion": "A robin, {n}.", "score": 4}, "ratings"),
    ],
)
def test_propose_preset_without_text_says_what_to_add(sample: Path, row: dict[str, Any], kind: str) -> None:
    rows = [json.loads(json.dumps(row).replace("{n}", str(n))) for n in range(100)]
    write_jsonl(sample / "one" / "rows.jsonl", *rows)
    with pytest.raises(UserError) as error:
        propose("one")
    said = str(error.value)
    assert said.startswith(f"there is no text to learn language from (100 {kind} in 1 source)")
    assert "add .txt or .md files, or rows with the key text" in said
    assert "name an open model, which needs no text, as in `--base FOLDER`" in said
    assert said.endswith("and pairs of prompt and completion") is (kind != "pairs")
    assert "\n" not in said
    assert not (sample / "configs").exists()


@pytest.mark.parametrize(
    "column",
    [{"Finding": ["Major", ""]}, {"†": ["V", ""]}, {"state": ["rejected", "fine"]}],
)
def test_propose_preset_without_text_and_with_question_says_both(
    sample: Path, column: dict[str, list[str]]
) -> None:
    ((key, values),) = column.items()
    pairs = [{"prompt": f"Bird {n}?", "completion": f"Robin {n}.", key: values[n % 2]} for n in range(100)]
    write_jsonl(sample / "one" / "rows.jsonl", *pairs)
    with pytest.raises(UserError) as error:
        propose("one")
    first, second, third = str(error.value).split("\n")
    assert first.startswith("there is no text to learn language from (")
    assert second.startswith("no preset is written yet") and key in third
    assert not (sample / "configs").exists()


def test_propose_preset_text_without_blank_lines_says_what_separates(sample: Path, steady_pace: None) -> None:
    chat = "".join(f"[1.5.24, 10:{n % 60:02}] Ann: message number {n}\n" for n in range(2000))
    (sample / "one").mkdir(exist_ok=True)
    (sample / "one" / "chat.txt").write_text(chat)
    with pytest.raises(UserError, match=r"1 document of .* is too little .*, or blank lines: they separate"):
        propose("one")


def test_propose_preset_too_little_text_is_refused(sample: Path, steady_pace: None) -> None:
    write_jsonl(sample / "one" / "text.jsonl", {"text": "A miller grinds grain."})
    with pytest.raises(UserError, match=r"1 document of 22 bytes is too little to .*; add text$"):
        propose("one")


@pytest.mark.parametrize(
    ("gone", "says"), [("labels/film.jsonl", "There are no labels"), ("pairs.jsonl", "There are no pairs")]
)
def test_propose_preset_missing_kind_is_noted_on_screen_and_in_preset(
    sample: Path, steady_pace: None, capsys: pytest.CaptureFixture[str], gone: str, says: str
) -> None:
    (sample / "mine" / gone).unlink()
    path = propose()
    said = capsys.readouterr().out
    assert said.lower().count(says.lower()) == 1 and f"# {says}" in path.read_text()
    assert "60 texts" in said and "rows rows" not in said
    assert "rlhf:" not in path.read_text()
    read_preset(path)


def test_propose_preset_labels_of_one_class_are_noted(sample: Path, steady_pace: None) -> None:
    rows = [{"prompt": f"p {n}", "completion": "c", "score": 3} for n in range(40)]
    write_jsonl(sample / "mine" / "labels" / "film.jsonl", *rows)
    assert "# All scores are the same" in propose().read_text()


def test_propose_preset_two_opposite_scores_are_not_called_equal(sample: Path, steady_pace: None) -> None:
    rows = [{"prompt": f"p {n}", "completion": "c", "score": score} for n, score in enumerate((1, -1))]
    write_jsonl(sample / "mine" / "labels" / "film.jsonl", *rows)
    assert "All scores are the same" not in propose().read_text()


def test_propose_preset_limits_hold_each_persons_score(sample: Path, steady_pace: None) -> None:
    rows = [{"prompt": f"p {n}", "completion": "c", "scores": [0, 100, 20 + n]} for n in range(40)]
    write_jsonl(sample / "mine" / "labels" / "film.jsonl", *rows)
    assert read_preset(propose()).validation_parameters().limits.max_score == 100


def test_propose_preset_own_scores_and_aspects_widen_limits(sample: Path, steady_pace: None) -> None:
    drawn = random.Random(3)
    rows = [
        {
            "prompt": f"p {n}",
            "completion": make_sentence(drawn),
            "score": drawn.choice([0, 50, 100]),
            "aspect": "wit",
        }
        for n in range(100)
    ]
    write_jsonl(sample / "mine" / "labels" / "film.jsonl", *rows)
    preset = read_preset(propose())
    assert (preset.validation.limits.min_score, preset.validation.limits.max_score) == (-10, 100)
    assert "wit" in preset.validation.limits.aspects and "tone" in preset.validation.limits.aspects
    assert preset.labels.margin == preset.reward.margin == 10


@pytest.mark.parametrize(
    ("minutes", "speed", "says"),
    [
        (1, 2e10, r"--minutes 1 cannot be kept: .* takes about .* for what is not training"),
        (3, 2e8, r"--minutes 3 cannot be kept"),
        (3, 1e9, r"too short for whole sentences: from about \d+ .* --minutes \d+, the model writes"),
    ],
)
def test_propose_preset_too_few_minutes_are_reported(
    sample: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
    minutes: float, speed: float, says: str,
) -> None:  # fmt: skip
    monkeypatch.setattr(
        throughput,
        "measure_pace",
        lambda shape, *rest: throughput.Pace(speed / (6 * shape.num_parameters), 1),
    )
    path = propose(minutes=minutes)
    comment = " ".join(path.read_text().replace("\n#", "").split())
    for text in (" ".join(capsys.readouterr().out.split()), comment):
        assert re.search(says, text), text


@pytest.mark.parametrize(("least", "says"), [(10**3, False), (10**6, True), (10**9, True)])
def test_propose_preset_little_text_is_said_with_the_way_out(
    sample: Path, steady_pace: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
    least: int, says: bool,
) -> None:  # fmt: skip
    monkeypatch.setattr(size_notes, "LITTLE_TEXT", least)
    comment = " ".join(propose().read_text().replace("\n#", "").split())
    for text in (" ".join(capsys.readouterr().out.split()), comment):
        found = re.search(
            r"From [0-9,]+ tokens of text, .* little sense\. `--base` starts from an open", text
        )
        assert bool(found) == says, text


def test_propose_preset_few_documents_fill_every_split(sample: Path, steady_pace: None) -> None:
    drawn = random.Random(11)
    write_jsonl(
        sample / "few" / "text.jsonl",
        *({"text": " ".join(make_sentence(drawn) for _ in range(30))} for _ in range(8)),
    )
    preset = read_preset(propose("few"))
    done: Callable[[dict[str, Any]], None] = lambda event: None  # noqa: E731
    context = StageContext(sample, 1, "cpu", 1)
    references: dict[str, StageOutput] = {}
    for stage, parameters in ((ingest, preset.data), (validate, preset.validation), (split, preset.split)):
        references[stage.name] = stage.run(parameters, references, context, done)
    assert all(references["split"].metrics[f"{name}_text"] for name in ("train", "valid", "test"))


def test_propose_preset_forced_keeps_columns_and_counts_their_rows(sample: Path, steady_pace: None) -> None:
    rows = [{"guest wrote": f"Why is loaf {n} flat?", "we wrote": f"It rested {n} hours."} for n in range(99)]
    (sample / "mine" / "letters.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(UserError, match=r"letters.*add it to data\.sources of the preset; then run init"):
        propose()
    own = "{name: own, files: mine/letters.jsonl, columns: {prompt: guest wrote, completion: we wrote}}"
    (sample / "configs" / "mine.yaml").write_text(f"name: mine\ndata: {{sources: [{own}]}}\n")
    preset = read_preset(propose(force=True))
    kept = {source.name: source.columns for source in preset.data.sources}
    assert kept["letters"] == {"prompt": "guest wrote", "completion": "we wrote"}
    assert {"labels", "pairs", "texts"} < kept.keys()


@pytest.mark.parametrize("values", [["Major", "", ""], [True, False], ["2031-01-01", "", ""]])
def test_propose_preset_unknown_column_is_skipped_only_when_told(
    sample: Path, steady_pace: None, values: list[Any]
) -> None:
    rows = [
        {"prompt": f"Why is loaf {n} flat?", "completion": f"It rested {n} hours.", "Zorp": values[n % 2]}
        for n in range(99)
    ]
    (sample / "mine" / "letters.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(UserError, match=r"does not know .*Zorp(.|\n)*--force --skip-unknown"):
        propose()
    preset = read_preset(propose(force=True, skip_unknown=True))
    assert [source.fields for source in preset.data.sources if source.fields] == [{"Zorp": "ignore"}]
    # The next call keeps what this one wrote.
    assert read_preset(propose(force=True)).data.sources == preset.data.sources


def write_earlier(sample: Path, text: str) -> Path:
    """Write the text of a preset of the folder `mine` that was there before; return its path."""
    path = sample / "configs" / "mine.yaml"
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    "text", ["columns: {prompt: q}\ndata: [", "data: {sources: [{name: x, fields: {q: vote}}]}\n"]
)
def test_propose_preset_forced_over_an_unreadable_preset_is_refused(
    sample: Path, steady_pace: None, text: str
) -> None:
    path = write_earlier(sample, text)
    with pytest.raises(UserError, match=r"mine\.yaml cannot be read, so its columns .* would be lost"):
        propose(force=True)
    assert path.read_text() == text


@pytest.mark.parametrize("text", ["\n", "name: [", "name: mine\n# fields: {quality: ...}\n"])
def test_propose_preset_forced_over_a_preset_without_columns_is_written(
    sample: Path, steady_pace: None, text: str
) -> None:
    write_earlier(sample, text)
    assert read_preset(propose(force=True)).name == "mine"
