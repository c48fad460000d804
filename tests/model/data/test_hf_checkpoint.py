"""Model folders: saving, loading, and one sentence for a broken folder."""

from __future__ import annotations

import json
import math
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from model.data import tokenizer_probe
from model.data.checkpoint_check import check_model
from model.data.hf_checkpoint import load_model, save_model
from model.data.hf_config import load_architecture
from model.data.tokenizer import Tokenizer
from model.errors import UserError
from model.nn.model_config import ModelConfig
from model.nn.transformer import Transformer
from tests.model.conftest import Language


@pytest.fixture
def folder(language: Language, tmp_path: Path) -> Path:
    return language.model(tmp_path / "model")


def test_save_model_of_loaded_model_writes_same_bytes(
    folder: Path, language: Language, tmp_path: Path
) -> None:
    model, tokenizer = load_model(folder)
    save_model(model, tokenizer, tmp_path / "again")
    for name in ("model.safetensors", "config.json", "tokenizer.json", "tokenizer_config.json"):
        assert (folder / name).read_bytes() == (tmp_path / "again" / name).read_bytes()
    assert load_architecture(folder) == model.architecture


def test_load_model_truncated_weights_are_refused(folder: Path) -> None:
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(UserError, match=r"model\.safetensors is incomplete"):
        load_model(folder)


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "tokenizer.json"])
def test_load_model_missing_file_is_named(folder: Path, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(UserError, match=name.replace(".", r"\.")):
        load_model(folder)


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("model_type", "gpt2", "must be one of llama, mistral"),
        ("model_type", ["llama"], "must be one of llama, mistral"),
        ("rope_parameters", {"rope_type": "yarn", "factor": 4.0}, "rope_type 'yarn'"),
        ("rope_parameters", {"rope_type": "llama3", "rope_theta": 1e4}, "factor"),
        ("rope_parameters", {"rope_type": "linear", "factor": 0}, "factor"),
        ("partial_rotary_factor", 0.5, "partial_rotary_factor 0.5"),
        ("final_logit_softcapping", 30.0, "final_logit_softcapping"),
        ("quantization_config", {"bits": 4}, "quantization_config"),
        ("mlp_bias", True, "mlp_bias"),
        ("context_length", 1000, "context_length is 1000"),
        ("hidden_act", "gelu", "silu"),
        ("attention_bias", True, "Missing key model.layers.0.self_attn.q_proj.bias"),
        ("attention_bias", "no", "attention_bias must be true or false"),
        ("head_dim", 7, "head_dim"),
        ("intermediate_size", 64, "do not fit"),
    ],
)
def test_load_model_unsupported_setting_is_named(folder: Path, key: str, value: Any, said: str) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), key: value}))
    with pytest.raises(UserError, match=said):
        load_model(folder)


def test_load_model_shard_outside_folder_is_refused(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder.parent / "elsewhere.safetensors")
    index = {"weight_map": {"model.norm.weight": "../elsewhere.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(UserError, match="not a file of this folder"):
        load_model(folder)


def test_load_model_foreign_tokenizer_gets_chat_tokens(tmp_path: Path) -> None:
    from tokenizers import Tokenizer as Rules
    from tokenizers import decoders, models, pre_tokenizers, trainers

    rules = Rules(models.BPE(unk_token="<unk>"))
    rules.pre_tokenizer = pre_tokenizers.Metaspace()
    rules.decoder = decoders.Metaspace()
    rules.train_from_iterator(
        ["one two three four"] * 9, trainers.BpeTrainer(vocab_size=40, special_tokens=["<unk>"])
    )
    own = rules.get_vocab_size()
    tokenizer = Tokenizer(rules)
    save_model(
        Transformer(ModelConfig(vocab_size=own, hidden_size=32, num_layers=1)).init_weights(0),
        tokenizer,
        tmp_path,
    )
    model, tokenizer = load_model(tmp_path)
    assert tokenizer.vocab_size == own + 3
    table = model.model.embed_tokens.weight
    torch.testing.assert_close(table[tokenizer.end], table[:own].mean(0))
    assert tokenizer.decode(tokenizer.encode("two three")).strip() == "two three"


def config(**values: Any) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        path = folder / "config.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), **values}))

    return change


def text(name: str, content: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).write_text(content) and None


def instead(name: str, make: Callable[[Path], Any]) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        (folder / name).unlink()
        make(folder / name)

    return change


def index(content: Any) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        (folder / "model.safetensors").rename(folder / "part.safetensors")
        (folder / "model.safetensors.index.json").write_text(json.dumps(content))

    return change


def header(content: bytes) -> Callable[[Path], None]:
    return lambda folder: (folder / "model.safetensors").write_bytes(content) and None


def normalizer(rules: dict[str, Any]) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        path = folder / "tokenizer.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), "normalizer": rules}))

    return change


def far_token(folder: Path) -> None:
    path = folder / "tokenizer.json"
    rules = json.loads(path.read_text())
    rules["model"]["vocab"]["zzzz"] = 5000
    path.write_text(json.dumps(rules))


def template(before: str) -> Callable[[Path], None]:
    """Return a function that gives a folder a chat template with these statements before the turns."""
    turns = "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}<|end|>{% endfor %}"
    asked = "{% if add_generation_prompt %}<|assistant|>{% endif %}"
    return text("chat_template.jinja", before + turns + asked)


def bytes_of(name: str, content: bytes) -> Callable[[Path], None]:
    return lambda folder: (folder / name).write_bytes(content) and None


def named_templates(templates: Any) -> Callable[[Path], None]:
    return text("tokenizer_config.json", json.dumps({"chat_template": templates}))


def renamed(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / "tokenizer.json").rename(folder / name) and None


DOUBLED = {"type": "Replace", "pattern": {"String": "e"}, "content": "ee"}
ODD: dict[str, tuple[Callable[[Path], None], str]] = {
    "size as text": (config(hidden_size="32"), "hidden_size is '32'"),
    "size as a fraction": (config(num_hidden_layers=2.5), "num_hidden_layers is 2.5"),
    "negative": (config(num_attention_heads=-2), "num_attention_heads is -2"),
    "true": (config(vocab_size=True), "vocab_size is True"),
    "null": (config(intermediate_size=None), "intermediate_size is None"),
    "a million layers": (config(num_hidden_layers=10**6), "num_hidden_layers is 1000000"),
    "ten thousand layers": (config(num_hidden_layers=10**4), "weights have 2 layers"),
    "a million wide": (config(hidden_size=10**6), "do not fit"),
    "other width": (config(hidden_size=64, head_dim=32), r"do not fit config.json: model\.embed_tokens"),
    "positions": (config(max_position_embeddings=10**9), "max_position_embeddings is 1000000000"),
    "a huge number": (config(vocab_size=10**400), "vocab_size is a very large number"),
    "rope as a list": (config(rope_parameters=["default"]), "rope_parameters must be an object"),
    "rope as a text": (config(rope_scaling="linear"), "rope_scaling must be an object"),
    "one of two ropes": (config(rope_scaling={"rope_type": "llama3"}), "positions is None"),
    "layer kinds as a number": (config(rope_parameters={"full_attention": 3}), "an object for each kind"),
    "layer kinds as texts": (
        config(rope_parameters={"full_attention": {}, "sliding_attention": "a"}), "an object for each kind"
    ),
    "layer kinds as lists": (config(rope_scaling={"full_attention": [1]}), "an object for each kind"),
    "activation as a list": (config(hidden_act=["silu"]), "hidden_act"),
    "activation as an object": (config(hidden_act={"a": 1}), "hidden_act"),
    "activation as a number": (config(hidden_act=3), "hidden_act is 3|hidden_act 3"),
    "theta": (config(rope_parameters={"rope_theta": "many"}), "rope_theta is 'many'"),
    "norm": (config(rms_norm_eps=float("nan")), "rms_norm_eps is nan"),
    "window": (config(sliding_window=16), "sliding_window"),
    "tied": (config(tie_word_embeddings="yes"), "tie_word_embeddings"),
    "a list": (text("config.json", "[1]"), "must hold a JSON object"),
    "deep": (text("config.json", "[" * 200_000), "nested too deep|not JSON"),
    "long": (text("config.json", " " * (5 << 20) + "{}"), "more than 4,194,304 bytes"),
    "a folder": (instead("config.json", Path.mkdir), "not a regular file"),
    "a pipe": (instead("config.json", os.mkfifo), "not a regular file"),
    "a device": (instead("config.json", lambda path: path.symlink_to("/dev/zero")), "not a regular file"),
    "weights: a folder": (instead("model.safetensors", Path.mkdir), "not a regular file"),
    "weights: a pipe": (instead("model.safetensors", os.mkfifo), "not a regular file"),
    "weights: empty": (header(b""), "is incomplete"),
    "weights: a huge header": (header((10**18).to_bytes(8, "little") + b"{}"), "is incomplete"),
    "weights: no JSON": (header((4).to_bytes(8, "little") + b"\xff\xff\xff\xff"), "header is invalid"),
    "weights: a list": (header((2).to_bytes(8, "little") + b"[]"), "header is invalid"),
    "index without a map": (index({"metadata": {}}), "lacks weight_map"),
    "index of numbers": (index({"weight_map": {"model.norm.weight": 7}}), "must name a file"),
    "index to a parent": (index({"weight_map": {"a": ".."}}), "not a file of this folder"),
    "index to a lost shard": (index({"weight_map": {"a": "lost.bin"}}), "lost.bin is missing"),
    "tokenizer: a pipe": (instead("tokenizer.json", os.mkfifo), "not a regular file"),
    "tokenizer: a list": (text("tokenizer.json", "[]"), "cannot be read as a tokenizer"),
    "tokenizer: a bad pattern": (
        normalizer({"type": "Replace", "pattern": {"Regex": "(["}, "content": ""}), "cannot be read"
    ),
    "tokenizer: explodes": (
        normalizer({"type": "Sequence", "normalizers": [DOUBLED] * 40}), "cannot be used"
    ),
    "tokenizer: pads": (normalizer({"type": "Prepend", "prepend": "x" * 10**6}), "far more tokens"),
    "template: no UTF-8": (bytes_of("chat_template.jinja", b"\xff\xfe"), "is not UTF-8 text"),
    "template: large": (bytes_of("chat_template.jinja", b"x" * (2 << 20)), "more than 1,048,576 bytes"),
    "template: large in JSON": (named_templates("x" * (2 << 20)), "more than 1,048,576 characters"),
    "template: a name of lists": (named_templates([{"name": ["x"], "template": "a"}]), "named default"),
    "template: another name": (named_templates([{"name": "tool_use", "template": "a"}]), "named default"),
    "template: a list of numbers": (named_templates([1]), "named default"),
    "template: default is a number": (
        named_templates([{"name": "default", "template": 3}]), "chat_template must be a text"
    ),
    "tokenizer: SentencePiece alone": (renamed("tokenizer.model"), "tokenizer.model alone is not read"),
    "tokenizer: vocab.json alone": (renamed("vocab.json"), "vocab.json alone is not read"),
    "tokenizer: Tekken alone": (renamed("tekken.json"), "tekken.json alone is not read"),
    "template: counts": (template("{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}"
                                  "{% endfor %}"), "chat template cannot be used"),
    "template: counts in a longer talk": (
        template("{% if messages|length > 2 %}{% for a in range(99999) %}{% for b in range(99999) %}"
                 "{% endfor %}{% endfor %}{% endif %}"), "chat template cannot be used"
    ),
    "template: fills memory": (template("{{ 'a'.ljust(10 ** 11) }}"), "MemoryError"),
    "template: raises lines": (template("{{ raise_exception('no\n' ~ 'never ' * 5000) }}"), "no never"),
    "template: half a pair": (template("{{ '\\ud800' }}"), "surrogates"),
    "template: leaves the sandbox": (template("{{ ''.__class__.__mro__ }}"), "unsafe"),
    "template: names a class": (template("{{ namespace(__class__=1) }}"), "begins with an underscore"),
    "tokenizer: far token": (far_token, "cannot be used|tokens up to number"),
}  # fmt: skip


# These use up all the time that they get. Others must not, so that their limit stays the real one.
ENDLESS = ("tokenizer: explodes", "template: counts", "template: counts in a longer talk")


@pytest.mark.parametrize("case", ODD)
def test_check_model_invalid_folder_is_refused_with_one_sentence(
    folder: Path, case: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    change, said = ODD[case]
    change(folder)
    if case in ENDLESS:
        monkeypatch.setattr(tokenizer_probe, "CPU_SECONDS", 3)
        monkeypatch.setattr(tokenizer_probe, "_SECONDS", 300)
        said += ".* more than 3 s"
    with pytest.raises(UserError, match=said) as found:
        check_model(folder)
    assert "\n" not in str(found.value) and len(str(found.value)) < 600


def test_check_model_accepts_links_and_shards(folder: Path, tmp_path: Path) -> None:
    whole = check_model(folder)
    shutil.copytree(folder, tmp_path / "linked")
    for name in ("config.json", "model.safetensors"):
        (tmp_path / "linked" / name).unlink()
        (tmp_path / "linked" / name).symlink_to(folder / name)
    assert check_model(tmp_path / "linked") == whole
    index({"weight_map": {"model.norm.weight": "part.safetensors"}})(folder)
    assert check_model(folder) == whole and load_model(folder)[0].architecture == whole


@pytest.mark.parametrize("stored", [torch.float32, torch.float16, torch.bfloat16])
def test_load_model_two_tables_of_tied_model_are_kept(folder: Path, stored: torch.dtype) -> None:
    state = {name: value.to(stored) for name, value in load_file(folder / "model.safetensors").items()}
    embedding = state["model.embed_tokens.weight"]
    config(tie_word_embeddings=True)(folder)
    for output, tied in ((embedding.clone(), True), (embedding + 1, False)):
        save_file({**state, "lm_head.weight": output}, folder / "model.safetensors", {"format": "pt"})
        theirs = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
        ours, _ = load_model(folder)
        x = torch.arange(12).unsqueeze(0)
        with torch.no_grad():
            torch.testing.assert_close(ours.compute_logits(ours(x)), theirs(x).logits, atol=1e-4, rtol=0)
        assert ours.architecture.tie_embeddings is tied


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("model.embed_tokens.weight", math.nan),
        ("model.norm.weight", math.inf),
        ("model.layers.1.mlp.up_proj.weight", -math.inf),
    ],
)
def test_load_model_weight_that_is_not_finite_is_named(folder: Path, name: str, value: float) -> None:
    state = load_file(folder / "model.safetensors")
    state[name].view(-1)[-1] = value
    save_file(state, folder / "model.safetensors")
    with pytest.raises(UserError, match=f"{name} has a weight that is not finite"):
        load_model(folder)


@pytest.mark.parametrize("stored", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("named", [True, False])
def test_inspect_model_headers_decide_what_configuration_leaves_out(
    folder: Path, stored: torch.dtype, named: bool
) -> None:
    state = {name: value.to(stored) for name, value in load_file(folder / "model.safetensors").items()}
    # A norm in another type does not decide.
    state["model.norm.weight"] = state["model.norm.weight"].float()
    path = folder / "config.json"
    given = json.loads(path.read_text())
    given = {key: value for key, value in given.items() if key not in ("tie_word_embeddings", "torch_dtype")}
    path.write_text(json.dumps(given if named else {**given, "torch_dtype": "float64", "dtype": 7}))
    save_file(state, folder / "model.safetensors", {"format": "pt"})
    architecture = check_model(folder)
    assert architecture.weight_dtype == str(stored).removeprefix("torch.") and architecture.tie_embeddings
    model, _ = load_model(folder)
    assert model.architecture == architecture
    # With a table of its own, or an explicit statement, nothing is tied.
    save_file(
        {**state, "lm_head.weight": state["model.embed_tokens.weight"] + 1}, folder / "model.safetensors"
    )
    assert not check_model(folder).tie_embeddings and not load_model(folder)[0].architecture.tie_embeddings
    save_file(state, folder / "model.safetensors", {"format": "pt"})
    path.write_text(json.dumps({**given, "tie_word_embeddings": False}))
    with pytest.raises(UserError, match=r"Missing key lm_head\.weight"):
        check_model(folder)


@pytest.mark.parametrize("stored", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_load_model_mapped_has_the_same_weights(
    folder: Path, stored: torch.dtype, dtype: torch.dtype
) -> None:
    weights = folder / "model.safetensors"
    save_file({name: value.to(stored) for name, value in load_file(weights).items()}, weights)
    copied, mapped = (load_model(folder, dtype, mapped=mapped)[0].state_dict() for mapped in (False, True))
    assert copied.keys() == mapped.keys()
    for name, value in copied.items():
        assert value.dtype == mapped[name].dtype == dtype
        assert torch.equal(value, mapped[name])


def test_load_model_keeps_its_weights_when_the_file_changes(folder: Path) -> None:
    model, _ = load_model(folder)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    weights = folder / "model.safetensors"
    with weights.open("r+b") as file:
        file.seek(weights.stat().st_size // 2)
        file.write(bytes(weights.stat().st_size // 2))
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert not torch.equal(load_model(folder)[0].model.norm.weight, model.model.norm.weight)


def test_load_model_does_not_import_the_compiler(folder: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from model.data.hf_checkpoint import load_model;"
        f"load_model(Path({str(folder)!r})); sys.exit('torch._dynamo.convert_frame' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
