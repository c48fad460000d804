"""Test the stage `drift` on two versions of the smoke data."""

from __future__ import annotations

import csv
import json
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from model.data.hf_checkpoint import save_model
from model.data.tokenizer import train_tokenizer
from model.evaluation.perplexity import measure_losses
from model.nn.model_config import ModelConfig, Shape
from model.nn.transformer import Transformer
from model.training.pretrain import train_base
from model.training.pretrain_config import PretrainParameters
from tasks.data.records import TYPES, Comparison, Rating, Record, Text, text_row
from tasks.data.splits import SPLITS, SplitParameters, split_of
from tasks.drift import DriftParameters, drift, read_drift
from tasks.drift_detection.profile import ABOUT, FILE, IDS, Profile, read_sample_ids
from tasks.reporting.drift_comparison import drift_section
from tasks.tokenizer import TokenizerParameters, tokenizer
from tests.tasks.event_sink import ignore_event
from tests.tasks.record_files import write_rows
from tests.tasks.smoke_data import smoke_rows

REPOSITORY = Path(__file__).parent.parent.parent


def parted(root: Path, rows: Sequence[Record]) -> Path:
    """Write the rows as the stage `split` does."""
    for name in SPLITS:
        mine = [row for row in rows if split_of(row.group, SplitParameters(0.1, 0.1)) == name]
        for kind, record in TYPES.items():
            write_rows(root / name / kind / "00000.jsonl", [row for row in mine if isinstance(row, record)])
    return root


class Version:
    """Data version with its split and tokenizer."""

    def __init__(self, root: Path, rows: Sequence[Record], base: str = "") -> None:
        self.split, self.tokens = parted(root / "split", rows), root / "tokens"
        self.tokens.mkdir()
        tokenizer(
            TokenizerParameters(400, base_model=base),
            split=self.split,
            out=self.tokens,
            on_event=ignore_event,
            root=root,
        )

    def drift(self, out: Path, champion: Path | None, **parameters: Any) -> dict[str, Any]:
        """Run the stage and return its metrics."""
        out.mkdir()
        return drift(
            DriftParameters(**parameters), split=self.split, tokenizer=self.tokens, champion=champion,
            out=out, on_event=ignore_event,
        )  # fmt: skip


@pytest.fixture(scope="module")
def rows() -> list[Record]:
    return smoke_rows()


@pytest.fixture(scope="module")
def champion(rows: list[Record], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a champion of the smoke data: its profile and a model trained on its text."""
    root = tmp_path_factory.mktemp("champion")
    version = Version(root, rows)
    version.drift(root / "champion", None)
    settings = {"steps": 40, "batch_size": 8, "prompts": [], "optimizer": {"learning_rate": 0.01}}
    shape = Shape(num_layers=1, hidden_size=32, num_heads=2, context_length=32)
    architecture = asdict(shape) | {"vocab_size": 400}
    parameters = asdict(PretrainParameters()) | settings
    train_base(parameters, architecture, str(version.tokens), str(root / "base"), 1, "cpu", ignore_event)
    (root / "base" / "model").rename(root / "champion" / "model")
    held_out = [json.loads(line) for line in (root / "split/test/text/00000.jsonl").open()]
    pairs = [json.loads(line) for line in (root / "split/test/pairs/00000.jsonl").open()]
    losses = measure_losses(root / "champion" / "model", (row["text"] for row in held_out), pairs, 8000)
    about = {"version": "3", "data": "abc.dir", "held_out": losses}
    (root / "champion" / ABOUT).write_text(json.dumps(about))
    return root / "champion"


Against = Callable[[Sequence[Record]], dict[str, dict[str, Any]]]


@pytest.fixture
def against(champion: Path, tmp_path: Path) -> Against:
    """Return a function that compares rows with the champion's; it returns each measure by name."""

    def compare(rows: Sequence[Record]) -> dict[str, dict[str, Any]]:
        Version(tmp_path, rows).drift(tmp_path / "out", champion)
        found = json.loads((tmp_path / "out" / "drift.json").read_text())
        return {each["name"]: each for each in found["measures"]}

    return compare


def past(measures: dict[str, dict[str, Any]]) -> set[str]:
    return {name for name, each in measures.items() if each["past"]}


def test_drift_same_data_is_past_no_threshold(rows: list[Record], against: Against, tmp_path: Path) -> None:
    measures = against(rows)
    assert {each["distance"] for each in measures.values()} == {0.0}
    assert {name.split("/")[0] for name in measures} == {
        "lengths", "vocabulary", "new_words", "sources", "labels", "agreement", "unknown_pieces",
        "bytes_per_token",
    }  # fmt: skip
    found = read_drift(tmp_path / "out")
    assert found.past == () and found.champion == "3" and "are within their threshold" in found.says


def test_drift_more_rows_of_same_kind_are_past_no_threshold(
    rows: list[Record], champion: Path, tmp_path: Path
) -> None:
    # The champion's version lacked every fourth row.
    some = [row for row in rows if int(row.id, 16) % 4]
    fewer = Version(tmp_path, some, base=str(champion / "model"))
    fewer.drift(tmp_path / "before", None)
    for name in (ABOUT, "model"):
        (tmp_path / "before" / name).symlink_to(champion / name)
    whole = tmp_path / "whole"
    whole.mkdir()
    figures = Version(whole, rows).drift(tmp_path / "out", tmp_path / "before")
    assert figures["drift.new/text"] == pytest.approx(0.25, abs=0.08)
    assert figures["drift.loss/text"] < 0.1 and figures["drift.past"] == 0


def test_drift_other_text_is_past_every_text_measure(
    rows: list[Record], against: Against, tmp_path: Path
) -> None:
    pages = "\n\n".join(path.read_text() for path in sorted((REPOSITORY / "docs").glob("*.md")))
    paragraphs = [part for part in pages.split("\n\n") if len(part) > 120]
    other = [text_row(part, "docs") for part in dict.fromkeys(paragraphs)][:200]
    measures = against([*rows, *other])
    subjects = {"vocabulary", "new_words", "sources", "unknown_pieces", "bytes_per_token", "loss"}
    assert {f"{subject}/text" for subject in subjects} <= past(measures)
    assert {name for name in past(measures) if not name.endswith("/text")} == set()
    assert measures["sources/text"]["before"] == 1 and measures["sources/text"]["now"] == 2
    assert measures["loss/text"]["now"] > 2 * measures["loss/text"]["before"]
    # The result is also written as CSV, Markdown and SVG.
    table = list(csv.reader((tmp_path / "out" / "drift.csv").open()))
    assert [line[0] for line in table[1:]] == list(measures)
    assert "| vocabulary/text |" in (tmp_path / "out" / "drift.md").read_text()
    picture = ElementTree.parse(tmp_path / "out" / "drift.svg").getroot()
    dots = picture.findall(".//{http://www.w3.org/2000/svg}circle")
    assert [dot.get("class") for dot in dots].count("dot aligned") == len(past(measures))
    shown = drift_section(json.loads((tmp_path / "out" / "drift.json").read_text()))
    assert shown and shown["version"] == "3" and len(shown["rows"]) == len(measures)
    assert "words: text" in {row["name"] for row in shown["rows"]} and "words: text" in str(shown["picture"])
    assert "; words: text 0." in shown["says"] and "text/" not in shown["says"]


def test_drift_longer_texts_are_past_lengths_alone(rows: list[Record], against: Against) -> None:
    texts = [row for row in rows if isinstance(row, Text)]
    joined = [
        text_row(f"{one.text} {two.text}", one.source)
        for one, two in zip(texts[::2], texts[1::2], strict=True)
    ]
    measures = against([*(row for row in rows if not isinstance(row, Text)), *joined])
    assert past(measures) == {"lengths/text"}
    assert measures["lengths/text"]["now"] > 1.8 * measures["lengths/text"]["before"]


def test_drift_other_labels_are_past_label_measures(rows: list[Record], against: Against) -> None:
    kinder = [replace(row, scores=[min(4, score + 2) for score in row.scores])
              if isinstance(row, Rating) else row for row in rows]  # fmt: skip
    first = [replace(row, choice="a") if isinstance(row, Comparison) else row for row in kinder]
    measures = against(first)
    assert past(measures) == {"labels/tone/film", "labels/helpfulness/film"}
    assert measures["labels/tone/film"]["by"] == "Kolmogorov-Smirnov"
    assert measures["labels/helpfulness/film"]["now"] == 1.0


def test_drift_disagreeing_annotators_are_past_agreement(rows: list[Record], against: Against) -> None:
    random = np.random.default_rng(5)
    pool = [score for row in rows if isinstance(row, Rating) for score in row.scores]
    drawn = [replace(row, scores=[pool[i] for i in random.integers(len(pool), size=len(row.scores))])
             if isinstance(row, Rating) else row for row in rows]  # fmt: skip
    measures = against(drawn)
    assert past(measures) == {"agreement/tone/film"}
    assert abs(measures["agreement/tone/film"]["now"]) < 0.1 < measures["agreement/tone/film"]["before"]


def test_profile_sample_is_bounded_and_read_back(rows: list[Record], tmp_path: Path) -> None:
    version = Version(tmp_path, rows)
    version.drift(tmp_path / "out", None, sample_bytes=20_000)
    found = Profile.read(tmp_path / "out")
    found.write(tmp_path)
    assert (tmp_path / FILE).read_bytes() == (tmp_path / "out" / FILE).read_bytes()
    ids = read_sample_ids(tmp_path / "out")
    texts = sorted(row.id for row in rows if isinstance(row, Text))
    # The sample of a kind is its rows with the smallest ids.
    assert ids["text"] == set(texts[: len(ids["text"])]) and 10 < len(ids["text"]) < 100
    assert found.kinds["text"].rows == len(ids["text"])
    assert json.loads((tmp_path / "out" / "drift.json").read_text())["measures"] == []
    again = tmp_path / "again"
    version.drift(again, None, sample_bytes=20_000)
    assert (again / IDS).read_bytes() == (tmp_path / "out" / IDS).read_bytes()


def test_drift_champion_without_model_still_compares_data(
    rows: list[Record], champion: Path, tmp_path: Path
) -> None:
    for name in (ABOUT, FILE, IDS):
        place = tmp_path / "before" / name
        place.parent.mkdir(exist_ok=True)
        place.symlink_to(champion / name)
    figures = Version(tmp_path, rows).drift(tmp_path / "out", tmp_path / "before")
    assert "drift.vocabulary/text" in figures and "drift.unknown_pieces/text" not in figures


@pytest.mark.parametrize("name", ["max_length_shift", "max_loss_increase", "min_rows", "sample_bytes"])
def test_drift_parameters_invalid_threshold_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=f"{name} is -1"):
        DriftParameters(**{name: -1})
    if name not in ("min_rows", "sample_bytes"):
        with pytest.raises(ValueError, match="nan"):
            DriftParameters(**{name: float("nan")})


@pytest.mark.parametrize("kinds", [(), ("comparisons",), ("pairs", "ratings")])
def test_drift_without_text_is_compared_in_other_rows(
    kinds: tuple[str, ...], rows: list[Record], champion: Path, language_model: Path, tmp_path: Path
) -> None:
    chosen = [row for row in rows if isinstance(row, tuple(TYPES[kind] for kind in kinds))]
    version = Version(tmp_path, chosen, str(language_model))
    metrics = version.drift(tmp_path / "out", champion)
    assert {f"rows/{kind}" for kind in kinds} <= set(metrics) and "rows/text" not in metrics
    assert not any(name.endswith("/text") for name in metrics)
    assert Profile.read(tmp_path / "out").pieces.tokens == 0


@pytest.fixture(scope="module")
def language_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Save a small open model, whose tokenizer needs no text."""
    folder = tmp_path_factory.mktemp("open") / "model"
    encoder = train_tokenizer(["some words of a language"] * 9, 270)
    save_model(Transformer(ModelConfig(vocab_size=270, hidden_size=32, num_layers=1)), encoder, folder)
    return folder
