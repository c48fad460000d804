"""Presets: reading, changes, and errors that name the key."""

from __future__ import annotations

import json
import re
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from flows.config import dump_preset, load_preset, read_preset
from model.errors import UserError
from model.nn.model_config import ModelConfig
from model.nn.transformer import Transformer

CONFIGS = Path(__file__).parents[2] / "configs"
SMALLEST = "name: mine\ndata: {sources: [{name: tales, files: '*.txt', format: plain}]}\n"


@pytest.fixture
def preset(tmp_path: Path) -> Path:
    path = tmp_path / "mine.yaml"
    path.write_text(SMALLEST)
    return path


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.yaml")), ids=lambda path: path.stem)
def test_read_preset_shipped_presets_are_valid(path: Path) -> None:
    assert read_preset(path).name == path.stem


def test_read_preset_gpu_has_124_million_parameters() -> None:
    import torch

    preset = read_preset(CONFIGS / "gpu.yaml")
    with torch.device("meta"):
        model = Transformer(
            ModelConfig(vocab_size=preset.tokenizer.vocab_size, **asdict(preset.architecture))
        )
    assert 123e6 < sum(weight.numel() for weight in model.parameters()) < 125e6
    shape = preset.architecture
    assert (shape.num_layers, shape.hidden_size, shape.num_heads, shape.context_length) == (12, 768, 12, 1024)


def test_read_preset_changes_are_yaml_values(preset: Path) -> None:
    changes = ["rlhf.steps=40", "labels.aspects=[tone, truth]", "gate.min={kl: 2}", "device=cpu"]
    found = read_preset(preset, [*changes, "rlhf.optimizer.learning_rate=1.0e-4"])
    assert found.rlhf.steps == 40
    assert found.rlhf.optimizer.learning_rate == 1e-4
    assert found.labels.aspects == ("tone", "truth")
    assert found.gate.min == {"kl": 2.0}
    assert found.device == "cpu"


def test_load_preset_of_dumped_preset_is_equal(preset: Path) -> None:
    # Prefect stores a flow's parameters as JSON and rebuilds the preset from them.
    found = read_preset(preset, ["rlhf.steps=40"])
    assert load_preset(json.loads(json.dumps(dump_preset(found)))) == found


def test_read_preset_checks_custom_rules(preset: Path) -> None:
    rule = "{expectation: ExpectColumnValuesToMatchRegex, column: text, regex: mill}"
    found = read_preset(preset, [f"validate.expectations={{text: [{rule}]}}"])
    assert found.validation.expectations["text"][0]["regex"] == "mill"
    assert load_preset(json.loads(json.dumps(dump_preset(found)))) == found
    with pytest.raises(UserError, match=r"validate\.expectations\.text\.0: .*did you mean .*MatchRegex"):
        read_preset(preset, [f"validate.expectations={{text: [{rule.replace('Regex', 'Regx')}]}}"])


def test_validation_parameters_take_quarantine_of_source(preset: Path) -> None:
    found = read_preset(preset)
    source = replace(found.data.sources[0], max_bad_fraction=0.5)
    own = found.model_copy(update={"data": replace(found.data, sources=(source, *found.data.sources[1:]))})
    assert own.validation_parameters().max_bad_fraction_by_source == {source.name: 0.5}
    assert found.validation_parameters().max_bad_fraction_by_source == {}


def test_validation_parameters_have_sources_in_order_of_preset(preset: Path) -> None:
    found = read_preset(preset)
    assert found.validation_parameters().source_order == tuple(one.name for one in found.data.sources)


def test_tokenizer_parameters_take_base_of_preset(preset: Path) -> None:
    assert read_preset(preset).tokenizer_parameters().base_model == ""
    assert read_preset(preset, ["base_model=var/other"]).tokenizer_parameters().base_model == "var/other"


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ("rlhf.stepz=40", r"^rlhf\.stepz: unknown key; did you mean rlhf\.steps\?$"),
        ("rhlf.steps=40", r"^rhlf: unknown key; did you mean rlhf\?$"),
        ("rlhf.optimizer.learning_rat=1", r"^rlhf\.optimizer\.learning_rat: unknown key; .*learning_rate\?$"),
        ("layers=4", r"^layers: unknown key; did you mean architecture\.num_layers\?$"),
        ("tracking.mlflo=x", r"^tracking\.mlflo: unknown key; did you mean tracking\.mlflow\?$"),
        ("rlhf.steps=-3", r"^rlhf\.steps is -3"),
        ("rlhf.steps=many", r"^rlhf\.steps is 'many'; expected a whole number"),
        ("split.validation_fraction=0.9", r"^split\.validation_fraction is 0\.9"),
        ("num_processes=-1", r"^num_processes"),
        ("rlhf.steps", r"KEY=VALUE"),
        ("rlhf.steps=[1", r"not YAML"),
        ("name.inner=1", r"name has no keys inside"),
        (
            "pretrain.optimizer.learning_rate=nan",
            r"^pretrain\.optimizer\.learning_rate is nan; expected a finite",
        ),
        (
            "rlhf.optimizer.learning_rate='Infinity'",
            r"^rlhf\.optimizer\.learning_rate is inf; expected a finite",
        ),
        ("sft.optimizer.muon_learning_rate='-inf'", r"^sft\.optimizer\.muon_learning_rate.*(-inf|finite)"),
        (
            "reward.optimizer.learning_rate='1e999'",
            r"^reward\.optimizer\.learning_rate is inf; expected a finite",
        ),
        ("tokenizer.vocab_size=10000001", r"^tokenizer\.vocab_size is 10000001; it must be at most 10000000"),
        ("tokenizer.vocab_size=123456789012345678", r"^tokenizer\.vocab_size is 1234\d+; it must be at most"),
        ("tokenizer.vocab_size=258", r"^tokenizer\.vocab_size is 258"),
        ("architecture.rope_theta=0", r"^architecture\.rope_theta is 0.*; it must be above 0"),
        ("architecture.rms_norm_eps=-1", r"^architecture\.rms_norm_eps is -1.*; it must be 0 or more"),
        ("rlhf.early_stopping_patience=3", r"^rlhf\.early_stopping_patience is 3; it must be 0: RLHF keeps"),
    ],
)
def test_read_preset_wrong_key_or_value_is_named(preset: Path, change: str, says: str) -> None:
    with pytest.raises(UserError, match=says):
        read_preset(preset, [change])


def test_check_preset_unknown_key_in_list_is_named() -> None:
    source = {"name": "tales", "files": "*.txt", "formt": "plain"}
    with pytest.raises(UserError, match=r"^data\.sources\.formt: unknown key; did you mean .*format\?$"):
        load_preset({"name": "mine", "data": {"sources": [source]}})


def test_check_preset_missing_key_is_named() -> None:
    with pytest.raises(UserError, match=r"^name is missing$"):
        load_preset({"data": {"sources": [{"name": "tales", "files": "*.txt", "format": "plain"}]}})


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("name: [a\nseed: 1\n", r"mine\.yaml, line 2: not YAML"),
        ("just words", r"a preset has keys"),
        ("", r"a preset has keys"),
    ],
)
def test_read_preset_file_without_keys_is_refused(preset: Path, text: str, says: str) -> None:
    preset.write_text(text)
    with pytest.raises(UserError, match=says):
        read_preset(preset)


def test_read_preset_file_not_utf8_is_refused(preset: Path) -> None:
    preset.write_bytes(b"name: \xff\xfe")
    with pytest.raises(UserError, match=r"mine\.yaml, line 1: not UTF-8 at byte 6"):
        read_preset(preset)


def test_read_preset_missing_file_is_named_with_similar_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(CONFIGS.parent)
    with pytest.raises(UserError, match=r"configs/dmo\.yaml does not exist; .*configs/demo\.yaml"):
        read_preset(Path("configs/dmo.yaml"))


def test_preset_product_is_name_or_registry_model() -> None:
    preset = read_preset(CONFIGS / "smoke.yaml")
    assert preset.product == "smoke"
    values = preset.model_dump(mode="json", by_alias=True)
    assert load_preset({**values, "registry": {"model": "assistant"}}).product == "assistant"
    with pytest.raises(UserError, match=r"registry\.modle: unknown key"):
        load_preset({**values, "registry": {"modle": "assistant"}})


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"dask_address": "here"}, r"parallel\.dask_address.*tcp://HOST:8786"),
        ({"dask_address": "tcp://host:8786#token"}, r"tcp://host:8786 with .*a part after # is recorded"),
        ({"workers": -1}, r"parallel\.workers"),
    ],
)
def test_check_preset_invalid_spread_is_refused(values: dict[str, Any], said: str) -> None:
    sources = {"name": "x", "data": {"sources": [{"name": "a", "format": "rows", "files": "a.jsonl"}]}}
    with pytest.raises(UserError, match=said):
        load_preset({**sources, "parallel": values})


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ([], ""),
        (["rlhf.kl_target=10"], "rlhf.max_kl is 20, and gate.max.kl 15"),
        (["rlhf.max_kl=1e9"], "rlhf.max_kl is 1e+09, and gate.max.kl 15"),
        (["rlhf.max_loss_increase=3"], "rlhf.max_loss_increase is 3, and gate.max.loss_increase 0.15"),
        (["rlhf.kl_target=10", "gate.max={kl: 12}"], "rlhf.max_kl is 20, and gate.max.kl 12"),
        (["rlhf.kl_target=10", "gate.max={kl: null}"], ""),
        # Both are set, so both are meant.
        (["rlhf.max_kl=20", "gate.max={kl: 12}"], ""),
    ],
)
def test_explain_loose_bounds_names_step_that_gate_refuses(changes: list[str], says: str) -> None:
    preset = read_preset(Path("configs/smoke.yaml"), ["gate={}", *changes])
    found = preset.explain_loose_bounds()
    assert found.endswith(says) and bool(found) == bool(says)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ("gate.min={win_rate: 60}", "gate.min.win_rate is 60, and no model passes"),
        ("gate.max={kl: -1}", "gate.max.kl is -1, and no model passes"),
        ("gate={min: {kl: null}}", "gate.min.kl has no effect"),
    ],
)
def test_read_preset_pointless_threshold_is_named(change: str, says: str) -> None:
    with pytest.raises(UserError, match=says):
        read_preset(Path("configs/smoke.yaml"), [change])


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        (["evaluate.num_completions=0"], "gate.max.loss_increase is 0.15 and evaluate.num_completions is 0"),
        (["evaluate.num_prompts=4"], "gate.min.prompts is 5 and evaluate.num_prompts is 4"),
        (["gate.min={win_rate_low: 0.99}"], "gate.min.win_rate_low is 0.99, which takes 381 prompts even"),
        (["gate.min={completions: 200}"], "completions is 200 and evaluate.num_completions is 64"),
        (["gate.min={aligned_f1: 0.1}", "evaluate.num_questions=0"], "aligned_f1 is 0.1 and evaluate."),
        (
            ["gate.min={sft_exact_match_low: 0.1}", "evaluate.question_sources=[]"],
            "gate.min.sft_exact_match_low is 0.1 and evaluate.question_sources is empty",
        ),
        (["gate.min={win_rate: 0.5}", "evaluate.judge=none"], "win_rate is 0.5 and evaluate.judge is none"),
        (
            ["promote.beyond_chance=true", "gate.ranking_metric=aligned_f1"],
            "gate.ranking_metric is aligned_f1, of whose difference no interval is known; name aligned_judge",
        ),
        (
            ["gate.max={aligned_completion_loss: 3, loss_increase: null}", "evaluate.num_completions=0"],
            "gate.max.aligned_completion_loss is 3 and evaluate.num_completions is 0",
        ),
        (["gate.ranking_metric=aligned_judge", "evaluate.judge=none"], "evaluate.judge is none; name"),
        (["gate.ranking_metric=aligned_f1", "evaluate.question_sources=[]"], "is empty; name another"),
    ],
)  # fmt: skip
def test_read_preset_threshold_on_what_is_not_measured_is_refused(changes: list[str], says: str) -> None:
    base = ["gate={}", "evaluate.question_sources=[x]"]
    with pytest.raises(UserError, match=re.escape(says)):
        read_preset(CONFIGS / "smoke.yaml", [*base, *changes])


@pytest.mark.parametrize(
    "changes",
    [
        ["evaluate.num_completions=0", "gate.max={loss_increase: null}"],
        ["evaluate.num_prompts=4", "gate.min={prompts: 4}"],
        ["evaluate.num_prompts=1", "gate.min={prompts: null}"],
        ["evaluate.num_questions=0", "evaluate.judge=none"],
        ["evaluate.judge=lexicon", "gate.min={win_rate: 0.5}"],
        ["gate.min={questions: 0, completions: 64}", "evaluate.question_sources=[]"],
    ],
)
def test_read_preset_thresholds_on_what_is_measured_are_read(changes: list[str]) -> None:
    assert read_preset(CONFIGS / "smoke.yaml", ["gate={}", *changes]).gate is not None


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        (["pretrain.continue_steps=5"], "continue_steps is set, but there is no base_model"),
        (
            ["pretrain.continue_steps=5", "pretrain.replay_sources=[nowhere]"],
            "no base_model|'nowhere', which",
        ),
        (
            ["base_model=x", "pretrain.continue_steps=5", "pretrain.replay_sources=[nowhere]"],
            "replay_sources has 'nowhere', which is no source; there are",
        ),
        (["tokenizer.replay_sources=[tales]"], "tokenizer.replay_sources is filled by the key pretrain.rep"),
        (["base_model=x", "pretrain.replay_sources=[nowhere]"], "set without continue_steps"),
        (
            ["base_model=x", "pretrain.continue_steps=5", "pretrain.batch_size=1", "num_processes=2"],
            "batch_size",
        ),
    ],
)
def test_read_preset_continued_pretraining_is_checked(preset: Path, changes: list[str], says: str) -> None:
    with pytest.raises(UserError, match=says):
        read_preset(preset, changes)


@pytest.mark.parametrize(
    "key",
    ["sft.sources", "labels.sources", "rlhf.sources", "evaluate.sources", "evaluate.question_sources",
     "evaluate.text_sources"],
)  # fmt: skip
def test_read_preset_key_that_names_no_source_is_refused(preset: Path, key: str) -> None:
    known = read_preset(preset).data.sources[0].name
    assert read_preset(preset, [f"{key}=[{known}]"])
    with pytest.raises(UserError, match=f"{key} has 'flim', which is no source; there are .*{known}"):
        read_preset(preset, [f"{key}=[{known}, flim]"])


def test_preset_continued_pretraining_needs_text_and_replays_sources(preset: Path) -> None:
    adopted = read_preset(preset, ["base_model=x"])
    assert not adopted.pretrains and not adopted.split_parameters().text_required
    name = adopted.data.sources[0].name
    changes = ["base_model=x", "pretrain.continue_steps=5", f"pretrain.replay_sources=[{name}]"]
    continued = read_preset(preset, changes)
    assert continued.pretrains and continued.split_parameters().text_required
    assert continued.tokenizer_parameters().replay_sources == (name,)
    assert continued.base_parameters().training.continued().steps == 5
    assert load_preset(dump_preset(continued)) == continued


def test_validation_parameters_accept_the_aspects_of_label_batches(preset: Path) -> None:
    found = read_preset(preset, ["label_batch.aspects=[politeness]"]).validation_parameters().limits.aspects
    assert found[-1] == "politeness" and "overall" in found
