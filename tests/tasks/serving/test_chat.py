"""Test the chat with a model: which model a name means, and its answers."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from model.errors import UserError
from model.inference.generate import generate_tokens
from tasks.engine.output import write_manifest
from tasks.project.paths import ARTIFACTS
from tasks.serving.chat import ChatModel, SamplingParams, continues_text, newest_model, resolve_model
from tests.model.conftest import Language, language

__all__ = ["language"]


def test_resolve_model_name_is_folder_of_last_run(tmp_path: Path) -> None:
    for name in ("base", "sft", "aligned"):
        with pytest.raises(UserError, match="no run yet"):
            resolve_model(name, tmp_path)
    model = tmp_path / ARTIFACTS / "sft" / "k" / "model"
    model.mkdir(parents=True)
    manifest = {
        "stage": "sft",
        "key": "k",
        "digest": "d",
        "sums": {},
        "files": {},
        "metrics": {},
        "seconds": 1.0,
    }
    write_manifest(model.parent, manifest)
    stages = [{"name": "sft", "key": "k", "folder": "elsewhere"}]
    (tmp_path / "var" / "summary.json").write_text(json.dumps({"stages": stages}))
    assert resolve_model("sft", tmp_path) == model
    with pytest.raises(UserError, match=r"left no aligned model; .*, or use --model sft"):
        resolve_model("aligned", tmp_path)
    with pytest.raises(UserError, match=r"neither one of base.*nor a version such as NAME/3"):
        resolve_model("elsewhere", tmp_path)


@pytest.mark.parametrize(
    ("stages", "name"),
    [
        (None, "aligned"),
        (["ingest"], "aligned"),
        (["ingest", "pretrain"], "base"),
        (["pretrain", "sft", "evaluate"], "sft"),
        (["rlhf", "sft", "pretrain"], "aligned"),
    ],
)
def test_newest_model_is_the_last_of_the_last_run(
    tmp_path: Path, stages: list[str] | None, name: str
) -> None:
    if stages is not None:
        (tmp_path / "var").mkdir()
        entries = [{"name": stage, "key": "k"} for stage in stages]
        (tmp_path / "var" / "summary.json").write_text(json.dumps({"stages": entries}))
    assert newest_model(tmp_path) == name


def test_chat_model_answer_streams_and_repeats(language: Language, tmp_path: Path) -> None:
    talker = ChatModel(language.model(tmp_path))
    manner = SamplingParams(new_tokens=12, seed=3)
    pieces = list(talker.answer("the film", manner))
    assert len(pieces) > 1
    assert pieces == list(talker.answer("the film", manner))
    with pytest.raises(UserError, match="no room for an answer"):
        list(talker.answer("the film " * 60, manner))


def test_chat_model_base_continues_plain_text(language: Language, tmp_path: Path) -> None:
    folder = language.model(tmp_path)
    talker, manner = ChatModel(folder, continues=True), SamplingParams(new_tokens=12, temperature=0)
    history = [{"role": "user", "content": "the"}, {"role": "assistant", "content": "film"}]
    for prompt, earlier, text in (("the film", [], "the film"), ("was", history, "the film\n\nwas")):
        made = generate_tokens(
            talker.model, [talker.tokenizer.encode(text)], 12, talker.tokenizer.end, temperature=0
        )
        kept = made.tokens[0, : int(made.lengths[0])].tolist()
        wanted = talker.tokenizer.decode([token for token in kept if token != talker.tokenizer.end])
        assert "".join(talker.answer(prompt, manner, earlier)) == wanted


@pytest.mark.parametrize("answers", [False, True])
def test_chat_model_base_with_template_of_its_own_answers(
    answers: bool, language: Language, tmp_path: Path
) -> None:
    folder = language.model(tmp_path)
    template = "{% for m in messages %}<|user|>{{ m.content }}<|end|>{% endfor %}" if answers else ""
    if template:
        (folder / "chat_template.jinja").write_text(template)
    talker = ChatModel(folder, continues=True)
    assert talker.continues != answers


def test_continues_text_is_true_of_base_alone() -> None:
    assert continues_text("base")
    assert not any(
        continues_text(name) for name in ("sft", "aligned", "champion", "base/champion", "models/base")
    )
