"""`chatmill init --base`: a preset that starts from an open model, and the bases that it refuses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from flows.cli import init
from flows.config import read_preset
from flows.orchestration.memory_check import MemoryCheck
from flows.orchestration.open_base import find_open_base
from model.data.hf_checkpoint import save_model
from model.data.tokenizer import train_tokenizer
from model.errors import UserError
from model.nn.model_config import ModelConfig
from model.nn.transformer import Transformer
from tests.example_project import STORY, write_jsonl
from tests.model.conftest import language
from tests.tasks.data.hub_server import COMMIT, HubState, hub, put_model
from tests.tasks.event_sink import ignore_event

__all__ = ["hub", "language"]


@pytest.fixture
def base(sample: Path) -> Path:
    """Save a small open model with random weights in the project."""
    tokenizer = train_tokenizer([STORY, *STORY.split()] * 30, 280)
    shape = ModelConfig(vocab_size=280, num_layers=2, hidden_size=32, num_heads=2, context_length=512)
    save_model(Transformer(shape).init_weights(0), tokenizer, sample / "models" / "tiny")
    return sample / "models" / "tiny"


def propose(folder: str = "mine", base: str = "models/tiny", **changes: Any) -> Path:
    settings = {"name": "", "minutes": 10.0, "device": "cpu", "force": False, "checked": False} | changes
    return init.propose_preset(Path(folder), base=base, **settings)


def test_propose_preset_with_base_sizes_all_trainings(
    sample: Path, base: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # The machine is measured for real.
    path = propose()
    preset, text = read_preset(path), path.read_text()
    assert preset.base_model == "models/tiny" and preset.lora.rank == preset.sft.lora.rank == 8
    assert 64 <= preset.base_context_length <= 512
    assert preset.pretrain.continue_steps >= 10 and preset.sft.steps >= 10 and preset.reward.steps >= 10
    assert preset.sft.optimizer.learning_rate == 0  # that of adapters of an open model
    for part in ("The open model: llama", "Up to 2 passes over the text", "PPO: ", "A run takes about"):
        assert part in text
    assert max(map(len, text.splitlines())) < 140
    said = capsys.readouterr().out
    assert "weights of models/tiny, adapters of rank 8 learn" in said and "memory: " in said
    # The check that a run makes before its first training.
    assert MemoryCheck(preset, sample, "cpu").find_shortages(labels=False) == []


def test_propose_preset_with_base_needs_no_text(sample: Path, base: Path, steady_pace: None) -> None:
    write_jsonl(sample / "two" / "pairs.jsonl", *rows("pairs"))
    write_jsonl(sample / "two" / "labels.jsonl", *rows("ratings"))
    preset = read_preset(propose("two"))
    assert preset.base_model == "models/tiny" and not preset.pretrains
    assert preset.rlhf.steps >= 10
    # Pairs alone: the run stops after SFT.
    write_jsonl(sample / "one" / "pairs.jsonl", *rows("pairs"))
    text = propose("one").read_text()
    assert "There are no labels: the run ends after sft" in " ".join(text.replace("\n#", "").split())
    assert "rlhf:" not in text


def rows(kind: str) -> list[dict[str, Any]]:
    row = {"prompt": "What does mill {n} do?", "completion": "It grinds grain {n}."}
    score = [{"score": number % 5 + 1} if kind == "ratings" else {} for number in range(150)]
    return [
        {**json.loads(json.dumps(row).replace("{n}", str(n))), **more}
        for n, more in enumerate(score)
    ]  # fmt: skip


def test_propose_preset_with_base_little_text_is_only_measured(
    sample: Path, base: Path, steady_pace: None
) -> None:
    write_jsonl(sample / "few" / "pairs.jsonl", *rows("pairs"))
    write_jsonl(sample / "few" / "text.jsonl", {"text": "A miller grinds grain."}, {"text": "A wheel turns."})
    path = propose("few")
    assert read_preset(path).pretrain.continue_steps == 0
    assert "only measured on it: the text has" in " ".join(path.read_text().replace("\n#", "").split())


@pytest.mark.parametrize("kind", ["comparisons", "ratings"])
def test_propose_preset_with_base_nothing_to_learn_from_is_refused(
    sample: Path, base: Path, kind: str
) -> None:
    labels = {
        "comparisons": {"prompt": "Name a bird.", "a": "A robin.", "b": "No.", "choice": "a"},
        "ratings": {"prompt": "Name a bird.", "completion": "A robin.", "score": 4},
    }
    many = [{**labels[kind], "prompt": f"Name bird {n}."} for n in range(40)]
    write_jsonl(sample / "one" / "rows.jsonl", *many)
    with pytest.raises(UserError, match=rf"neither text nor a pair to learn from \(40 {kind} in 1 source\)"):
        propose("one")
    assert not (sample / "configs").exists()


@pytest.mark.parametrize(
    ("named", "files", "said"),
    [
        ("nowhere", {}, "neither a model folder nor a .gguf file"),
        ("mine", {}, "mine/config.json is missing"),
        ("gpt", {"gpt/config.json": '{"model_type": "gpt2"}'}, "has model_type 'gpt2'; it must be one of"),
        ("broken.gguf", {"broken.gguf": "GGUFxxxx"}, "cannot be read as a GGUF file"),
        ("box!x.gguf", {}, "no preset in configs/ has an archive named box"),
        ("model:mine@3", {}, "no model is registered here yet"),
        ("model:mine", {}, "is not a registered model; expected model:PRODUCT@NUMBER"),
        ("hub:org", {}, "is not a name of the hub; expected hub:ORG/NAME@COMMIT"),
    ],
)
def test_propose_preset_wrong_base_is_refused_before_writing(
    sample: Path, named: str, files: dict[str, str], said: str
) -> None:
    for name, content in files.items():
        (sample / name).parent.mkdir(exist_ok=True)
        (sample / name).write_text(content)
    with pytest.raises(UserError) as refused:
        propose(base=named)
    assert said in str(refused.value) and "\n" not in str(refused.value)
    assert not (sample / "configs").exists()


def test_propose_preset_base_of_hub_is_pinned_and_fetched(
    sample: Path, base: Path, hub: HubState, steady_pace: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_model(hub, base)
    monkeypatch.setenv("HF_ENDPOINT", hub.address)
    assert read_preset(propose(base="hub:org/name")).base_model == f"hub:org/name@{COMMIT}"
    # The files are here, so that no network is needed any more.
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    assert propose(base=f"hub:org/name@{COMMIT}", name="again").exists()
    for named, said in (
        ("hub:org/name", "cannot be pinned to a commit, as the hub does not tell it .*refused"),
        (f"hub:org/name@{'a' * 40}", "cannot be fetched .*refused"),
    ):
        with pytest.raises(UserError, match=said):
            propose(base=named, name="third")
    assert not (sample / "configs" / "third.yaml").exists()


def test_find_open_base_archive_of_two_presets_is_asked_about(sample: Path) -> None:
    archive = {"package": "box==1.0", "file": "box-1.0-py3-none-any.whl"}
    for name, digest in (("one", "a" * 64), ("two", "b" * 64)):
        values = {"data": {"archives": {"box": {**archive, "sha256": digest}}}}
        path = sample / "configs" / f"{name}.yaml"
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(values))
    with pytest.raises(UserError, match=r"different archives named box, as in configs/two\.yaml"):
        find_open_base("box!x.gguf", sample, ignore_event)
    # A file that is no preset has no archive, and the member must be inside the archive.
    (sample / "configs" / "two.yaml").write_text("[]")
    with pytest.raises(UserError, match=r"'\.\./x\.gguf' must be a \.gguf file of the archive box"):
        find_open_base("box!../x.gguf", sample, ignore_event)
