"""Continued pretraining: an open model learns a text, keeps a replayed one, and resumes in the same bits."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from model.data.dataloader import TokenFile
from model.data.hf_checkpoint import load_model, save_model
from model.data.hf_config import load_architecture
from model.data.peft_adapter import load_adapter
from model.errors import UserError
from model.events import Evaluation, Event, EventCallback
from model.training.base_model import adopt_base
from model.training.continued_pretrain import ContinuedPretrainTrainer
from model.training.lora_config import LoRAParameters
from model.training.pretrain import bits_per_byte, token_lengths, train_base
from model.training.pretrain_config import PretrainParameters
from model.training.process_group import ProcessGroup
from model.training.trainer import RESUME_FILES
from tests.model.conftest import CONTEXT, DEVICE, Killed, Language
from tests.model.training.test_training_tasks import stage

SETTINGS = PretrainParameters(
    steps=999, batch_size=8, eval_every=20, save_every=7, prompts=("the film",), continue_steps=40,
    replay_sources=("general",), replay_share=0.4,
)  # fmt: skip
OPTIMIZER: dict[str, Any] = {"learning_rate": 0.004}


def quiet(event: Event) -> None:
    pass


@pytest.fixture(scope="module")
def base(language: Language, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return an open model that knows the general text, in bfloat16."""
    out = tmp_path_factory.mktemp("base")
    shape = {"vocab_size": 300, "num_layers": 2, "hidden_size": 32, "num_heads": 2, "context_length": CONTEXT}
    train_base(
        {"steps": 120, "batch_size": 8, "prompts": (), "optimizer": {"learning_rate": 0.01}}, shape,
        str(language.tokens), str(out), 5, DEVICE, quiet,
    )  # fmt: skip
    model, tokenizer = load_model(out / "model")
    save_model(model, tokenizer, out / "open", torch.bfloat16)
    return out / "open"


@pytest.fixture(scope="module")
def texts(language: Language, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a tokenizer's output with a new text, and the general one as text to replay."""
    folder = tmp_path_factory.mktemp("texts")
    language.tokenizer.save(folder)
    (folder / "tokens.json").write_bytes((language.tokens / "tokens.json").read_bytes())
    random = np.random.default_rng(3)
    for split, documents in (("train", 300), ("valid", 60)):
        words = ["moon", "tide", "shell", "gull", "rope", "salt"]
        own = [" ".join(random.permutation(words)) + " at the harbour" for _ in range(documents)]
        language.tokenizer.encode_documents(own).tofile(folder / f"{split}.bin")
        (folder / f"{split}.replay.bin").write_bytes((language.tokens / f"{split}.bin").read_bytes())
    return folder


def train(
    base: Path,
    texts: Path,
    out: Path,
    settings: PretrainParameters = SETTINGS,
    on_event: EventCallback = quiet,
) -> dict[str, float]:
    parameters = {**asdict(settings), "optimizer": OPTIMIZER}
    return adopt_base(parameters, str(base), str(texts), 0, str(out), 5, DEVICE, on_event)


def digest(folder: Path) -> dict[str, str]:
    files = (path for path in folder.rglob("*") if path.is_file())
    names = {path.relative_to(folder): path for path in files}
    return {
        str(name): hashlib.sha256(path.read_bytes()).hexdigest()
        for name, path in names.items()
        if name.parts[0] not in RESUME_FILES
    }


def general_bits(model: Path, texts: Path) -> float:
    loaded, tokenizer = load_model(model)
    world = ProcessGroup.join_group("cpu", 1)
    return bits_per_byte(loaded, TokenFile(texts, "valid.replay", token_lengths(tokenizer)), world)


def test_adopt_base_continued_learns_text_and_replay_keeps_the_general_one(
    base: Path, texts: Path, tmp_path: Path
) -> None:
    said: list[Event] = []
    found = train(base, texts, tmp_path / "replayed", on_event=said.append)
    alone = train(base, texts, tmp_path / "alone", replace(SETTINGS, replay_sources=()))
    assert found["bits_per_byte"] < 0.5 * found["bits_per_byte_before"]
    assert found["steps"] == 40 and found["tokens"] == 40 * 8 * CONTEXT
    assert found["bits_per_byte_before"] == pytest.approx(alone["bits_per_byte_before"], rel=1e-6)
    # What the metrics say is what the exported models do, but for the rounding to bfloat16.
    before = general_bits(base, texts)
    after = {name: general_bits(tmp_path / name / "model", texts) for name in ("replayed", "alone")}
    assert found["replay_bits_per_byte_before"] == pytest.approx(before, rel=0.01)
    assert found["replay_bits_per_byte"] == pytest.approx(after["replayed"], rel=0.01)
    assert 0 < after["replayed"] - before < 0.5 * (after["alone"] - before)
    assert not any(name.startswith("replay") for name in alone)
    curve = [event.metrics for event in said if isinstance(event, Evaluation)]
    assert all({"valid_bits_per_byte", "replay_bits_per_byte"} <= set(metrics) for metrics in curve)
    architecture = load_architecture(tmp_path / "replayed" / "model")
    assert architecture.open_model and architecture.weight_dtype == "bfloat16"
    assert (tmp_path / "replayed" / "samples.json").exists()


ADAPTED = replace(SETTINGS, lora=LoRAParameters(rank=4))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_adopt_base_continued_with_adapter_learns_matrices_alone(
    base: Path, texts: Path, tmp_path: Path, dtype: torch.dtype
) -> None:
    model, tokenizer = load_model(base)
    save_model(model, tokenizer, tmp_path / "open", dtype)
    found = train(tmp_path / "open", texts, tmp_path / "out", ADAPTED)
    assert found["bits_per_byte"] < 0.7 * found["bits_per_byte_before"]
    before, after = (load_model(folder)[0] for folder in (tmp_path / "open", tmp_path / "out" / "model"))
    adapter = load_adapter(tmp_path / "out" / "adapter")
    learned = {f"{name}.weight" for name in adapter.matrices}
    assert len(learned) == 14
    adapter.merge_into(before)
    for name, value in after.state_dict().items():
        # The exported file has the type of the open model; the weights of no matrix are the same bits.
        wanted = before.state_dict()[name].to(dtype).float()
        assert torch.equal(value, wanted), name
        untouched = load_model(tmp_path / "open")[0].state_dict()[name]
        assert torch.equal(value, untouched) is (name not in learned), name
    architecture = load_architecture(tmp_path / "out" / "model")
    assert architecture.open_model and architecture.weight_dtype == str(dtype).removeprefix("torch.")


def test_adopt_base_continued_with_adapter_fits_peft_beneath_later_adapters(
    language: Language, base: Path, texts: Path, tmp_path: Path
) -> None:
    model, tokenizer = load_model(base)
    save_model(model, tokenizer, tmp_path / "open", torch.float32)
    folders = {name: tmp_path / name for name in ("pretrain", "sft", "dpo")}
    train(tmp_path / "open", texts, folders["pretrain"], ADAPTED)
    for name in ("sft", "dpo"):
        faster = {"optimizer": {"learning_rate": 0.01}}
        stage(name, language, folders, lora={"rank": 2}, steps=4, **faster)(folders[name], quiet)
    x = torch.randint(300, (3, 20), generator=torch.Generator().manual_seed(1))
    for name, rank in (("pretrain", 4), ("sft", 6), ("dpo", 8)):
        assert load_adapter(folders[name] / "adapter").rank == rank
        theirs = PeftModel.from_pretrained(
            AutoModelForCausalLM.from_pretrained(tmp_path / "open"), folders[name] / "adapter"
        ).eval()
        ours, _ = load_model(folders[name] / "model")
        with torch.no_grad():
            wanted = ours.compute_logits(ours(x))
            torch.testing.assert_close(theirs(x).logits, wanted, atol=1e-4, rtol=0)


def test_adopt_base_continued_on_4_bits_hands_them_to_later_stages(
    language: Language, base: Path, texts: Path, tmp_path: Path
) -> None:
    folders = {name: tmp_path / name for name in ("pretrain", "sft")}
    packed = replace(ADAPTED, lora=LoRAParameters(rank=4, quantize="nf4"))
    found = train(base, texts, folders["pretrain"], packed)
    assert found["bits_per_byte"] < 0.7 * found["bits_per_byte_before"]
    lora = {"rank": 2, "quantize": "nf4"}
    stage("sft", language, folders, lora=lora, steps=4, optimizer={"learning_rate": 0.01})(
        folders["sft"], quiet
    )
    x = torch.randint(300, (3, 20), generator=torch.Generator().manual_seed(1))
    for name, rank in (("pretrain", 4), ("sft", 6)):
        assert load_adapter(folders[name] / "adapter").rank == rank
        whole, in_bits = (load_model(folders[name] / "model", quantize=each)[0] for each in (False, True))
        with torch.no_grad():
            # The whole model is stored in bfloat16, as its base.
            torch.testing.assert_close(whole(x), in_bits(x), atol=0.05, rtol=0)
    codes = [load_file(folder / "nf4.safetensors") for folder in folders.values()]
    assert all(torch.equal(codes[0][key], codes[1][key]) for key in codes[0] if key.endswith(".codes"))


@pytest.mark.parametrize("kills", [(1,), (3, 20), (39,)])
def test_adopt_base_continued_with_adapter_killed_and_resumed_ends_in_same_bits(
    base: Path, texts: Path, tmp_path: Path, kills: tuple[int, ...],
    killed_at: Callable[[int], EventCallback],
) -> None:  # fmt: skip
    train(base, texts, tmp_path / "whole", ADAPTED)
    for step in kills:
        with pytest.raises(Killed):
            train(base, texts, tmp_path / "killed", ADAPTED, on_event=killed_at(step))
    train(base, texts, tmp_path / "killed", ADAPTED)
    assert digest(tmp_path / "killed") == digest(tmp_path / "whole")


@pytest.mark.parametrize("kills", [(1,), (3, 20), (39,)])
def test_adopt_base_continued_killed_and_resumed_ends_in_same_bits(
    base: Path, texts: Path, tmp_path: Path, kills: tuple[int, ...],
    killed_at: Callable[[int], EventCallback],
) -> None:  # fmt: skip
    whole = train(base, texts, tmp_path / "whole")
    for step in kills:
        with pytest.raises(Killed):
            train(base, texts, tmp_path / "killed", on_event=killed_at(step))
    resumed = train(base, texts, tmp_path / "killed")
    assert digest(tmp_path / "killed") == digest(tmp_path / "whole")
    same = [name for name in whole if name not in ("tokens_per_second",)]
    assert {name: resumed[name] for name in same} == {name: whole[name] for name in same}


@pytest.mark.parametrize(
    ("batch", "share", "windows"), [(8, 0.25, 2), (8, 0.01, 1), (8, 0.99, 7), (2, 0.5, 1), (10, 0.1, 1)]
)
def test_read_batch_has_the_share_of_general_text(
    base: Path, texts: Path, tmp_path: Path, batch: int, share: float, windows: int
) -> None:
    settings = replace(SETTINGS, batch_size=batch, replay_share=share).continued()
    model, _ = load_model(base)
    task = ContinuedPretrainTrainer(settings, model, texts, tmp_path, 5, ProcessGroup.join_group("cpu", 1))
    own, general = (
        np.lib.stride_tricks.sliding_window_view(np.fromfile(texts / f"train{ending}.bin", "<u2"), CONTEXT)
        for ending in ("", ".replay")
    )
    for step in (0, 7):
        tokens, targets = task.read_batch(step)
        assert tokens.shape == targets.shape == (batch, CONTEXT)
        assert torch.equal(tokens[:, 1:], targets[:, :-1])
        for number, row in enumerate(tokens.numpy()):
            expected = own if number < batch - windows else general
            assert (expected == row).all(1).any()


@pytest.mark.parametrize(
    ("file", "said"),
    [
        ("train", "the training text fills 0 windows .* lower pretrain.batch_size or base_context_length"),
        ("train.replay", "the text of pretrain.replay_sources fills 0 windows"),
        ("valid", "the validation text has 20 tokens"),
        ("valid.replay", "the validation text of pretrain.replay_sources has 20 tokens"),
    ],
)
def test_adopt_base_continued_on_too_little_text_is_refused(
    base: Path, texts: Path, tmp_path: Path, file: str, said: str
) -> None:
    short = tmp_path / "texts"
    short.mkdir()
    for path in texts.iterdir():
        (short / path.name).write_bytes(path.read_bytes())
    (short / f"{file}.bin").write_bytes((texts / f"{file}.bin").read_bytes()[:40])
    with pytest.raises(UserError, match=said):
        train(base, short, tmp_path / "out")


def test_adopt_base_without_steps_trains_nothing(base: Path, texts: Path, tmp_path: Path) -> None:
    found = train(base, texts, tmp_path, replace(SETTINGS, continue_steps=0, replay_sources=()))
    assert "steps" not in found and not (tmp_path / "checkpoints").exists()
    assert json.loads((tmp_path / "model" / "config.json").read_text())["open_model"] is True
    assert (tmp_path / "model" / "model.safetensors").samefile(base / "model.safetensors")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"continue_steps": -1}, "continue_steps is -1"),
        ({"replay_share": 0.0}, "replay_share is 0.0; it must be above 0 and below 1"),
        ({"replay_share": 1.0}, "replay_share is 1.0"),
        ({"replay_sources": ("a",)}, "replay_sources is set without continue_steps"),
        ({"replay_sources": ("a",), "continue_steps": 5, "batch_size": 1}, "batch_size is 1"),
        ({"lora": LoRAParameters(rank=4)}, "lora.rank is 4 without continue_steps"),
    ],
)
def test_pretrain_parameters_invalid_replay_is_refused(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        PretrainParameters(**changes)
