"""Conversations of several turns: the chat template, training, and truncation of the oldest turns."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from model.data.chat_format import ASSISTANT, USER
from model.data.chat_template import (
    Row,
    Turn,
    chat_prompt,
    example_of,
    prompt_key,
    read_prompts,
    running_text,
    truncate_turns,
)
from model.data.hf_checkpoint import load_model
from model.data.preference_dataset import HeldOutPairs, PreferenceDataset
from model.evaluation.evaluate import choose_rows
from model.events import Event, Message
from model.inference.prompting import Chat, FewShot, Plain
from model.inference.scoring import completion_logprobs
from model.training import sft
from tests.model.conftest import Language, write_rows


def turns(*said: str) -> list[Turn]:
    """Return turns of a user and an assistant; a text that begins with "sys:" is a system line."""
    speakers = iter(("user", "assistant") * len(said))
    return [
        {"role": "system" if text.startswith("sys:") else next(speakers), "content": text} for text in said
    ]


TALK = turns("sys: be warm", "the film", " is good", "the story", " is dull")


@pytest.fixture
def said() -> list[str]:
    return []


def listener(said: list[str]) -> Any:
    def on_event(event: Event) -> None:
        if isinstance(event, Message):
            said.append(event.text)

    return on_event


@pytest.mark.parametrize(
    "before",
    [
        [],
        turns("the film", " is good"),
        TALK,
        turns("sys: be warm"),
        turns("sys: be warm", "sys: and short"),
        [{"role": "assistant", "content": "hello"}],
        [{"role": "system", "content": "be warm"}, {"role": "assistant", "content": "hello\n"}],
        turns("the film", " is good", "sys: now be cold"),
        turns("{{ the }} film\n\n", "", " ", "'"),
    ],
)
def test_encode_prompt_equals_transformers_chat_template(
    before: list[Turn], language: Language, tmp_path: Path
) -> None:
    from transformers import AutoTokenizer

    language.model(tmp_path)
    theirs = AutoTokenizer.from_pretrained(tmp_path)
    messages = [*before, {"role": "user", "content": "this camera"}]
    ids = theirs.apply_chat_template(messages, add_generation_prompt=True, return_dict=False)
    assert ids == language.tokenizer.encode_prompt("this camera", before)


def test_encode_prompt_puts_system_line_before_first_user_text(language: Language) -> None:
    tokenizer = language.tokenizer
    first, answer, asked = (
        tokenizer.encode(text) for text in ("sys: be warm\n\nthe film", " is good", "the story")
    )
    ids = tokenizer.rules.get_vocab()
    user, assistant = ids[USER], ids[ASSISTANT]
    assert tokenizer.encode_prompt("the story", TALK[:3]) == [
        user, *first, assistant, *answer, tokenizer.end, user, *asked, assistant,
    ]  # fmt: skip


def test_truncate_turns_keeps_longest_fitting_end() -> None:
    random = np.random.default_rng(3)
    for _ in range(300):
        roles = random.choice(["user", "assistant", "system"], size=random.integers(0, 12), p=[0.4, 0.4, 0.2])
        history = [{"role": str(role), "content": f"{i}"} for i, role in enumerate(roles)]
        costs = random.integers(1, 9, size=len(history))

        def cost(kept: Sequence[Turn], costs: np.ndarray = costs) -> int:
            return int(sum(costs[int(turn["content"])] for turn in kept))

        room = int(random.integers(0, 50))
        kept = list(truncate_turns(history, cost, room))
        system = [turn for turn in history if turn["role"] == "system"]
        assert [turn for turn in kept if turn["role"] == "system"] == system
        others = [turn for turn in history if turn["role"] != "system"]
        spoken = [turn for turn in kept if turn["role"] != "system"]
        assert others[len(others) - len(spoken) :] == spoken
        assert cost(kept) <= room or kept == system
        if kept != history:
            assert not spoken or spoken[0]["role"] == "user"
            # One more turn of the user would not fit.
            gone = others[: len(others) - len(spoken)]
            back = max((i for i, turn in enumerate(gone) if turn["role"] == "user"), default=0)
            assert cost([*gone[back:], *kept]) > room


def test_example_of_too_long_history_loses_oldest_turns(language: Language) -> None:
    row: Row = {"prompt": "the music", "completion": " is moving", "history": TALK}
    whole = example_of(row, language.tokenizer)
    assert whole.left_out == 0 and whole.prompt == language.tokenizer.encode_prompt("the music", TALK)
    exact = example_of(row, language.tokenizer, len(whole.tokens))
    assert exact == whole
    cut = example_of(row, language.tokenizer, len(whole.tokens) - 1)
    assert cut.left_out == 2
    assert cut.prompt == language.tokenizer.encode_prompt("the music", [TALK[0], *TALK[3:]])
    least = example_of(row, language.tokenizer, 3)
    assert least.left_out == 4 and least.prompt == language.tokenizer.encode_prompt("the music", TALK[:1])
    # With a longer answer beside it, it keeps only the turns that fit both.
    longer = " is moving and I would say so again."
    room = len(example_of({**row, "completion": longer}, language.tokenizer).tokens) - 1
    assert example_of(row, language.tokenizer, room).left_out == 0
    assert example_of(row, language.tokenizer, room, beside=longer).left_out == 2


def test_chat_prompt_without_history_has_plain_layout(language: Language) -> None:
    tokenizer = language.tokenizer
    ids = tokenizer.rules.get_vocab()
    expected = [ids[USER], *tokenizer.encode("the film"), ids[ASSISTANT]]
    for row in ({"prompt": "the film"}, {"prompt": "the film", "history": []}):
        assert chat_prompt(row, tokenizer) == chat_prompt(row, tokenizer, 1) == (expected, 0)


def test_prompt_key_and_choose_rows_distinguish_histories() -> None:
    plain: Row = {"prompt": "why?", "source": "chat"}
    first, second = ({**plain, "history": turns(text, "no")} for text in ("one", "two"))
    assert choose_rows([plain, first, first, second, plain], [], 9) == [plain, first, second]
    assert prompt_key(first) == prompt_key(
        {**plain, "history": [dict(reversed(t.items())) for t in first["history"]]}
    )


def test_prompt_formats_put_history_first(language: Language) -> None:
    tokenizer = language.tokenizer
    row: Row = {"prompt": "the music", "completion": " is warm", "source": "film", "history": TALK}
    text = "sys: be warm\n\nthe film is good\n\nthe story is dull\n\nthe music"
    assert running_text("the music", TALK) == text
    assert Plain(tokenizer).encode_example(row).prompt == tokenizer.encode(text)
    assert Chat(tokenizer).encode_example(row).prompt == tokenizer.encode_prompt("the music", TALK)
    room = len(tokenizer.encode(text)) - 1
    cut = Plain(tokenizer, room).encode_example(row)
    assert cut.left_out == 2
    assert cut.prompt == tokenizer.encode("sys: be warm\n\nthe story is dull\n\nthe music")
    shots = FewShot(tokenizer, [row], 1, 2 * len(tokenizer.encode(text)) + 20).encode_example(row)
    assert shots.prompt == [*Plain(tokenizer).encode_example(row).tokens, *tokenizer.encode(text)]


def finetune(language: Language, tmp_path: Path, rows: list[Row], said: list[str], **settings: Any) -> Path:
    for split in ("train", "valid"):
        write_rows(tmp_path / "split" / split / "pairs" / "00000.jsonl", rows)
    parameters = {
        "steps": 40, "batch_size": 2, "save_every": 40, "optimizer": {"learning_rate": 0.01}, **settings,
    }  # fmt: skip
    base = language.model(tmp_path / "base")
    sft.train_sft(
        parameters, str(base), str(tmp_path / "split"), str(tmp_path / "out"), 1, "cpu", listener(said)
    )
    return tmp_path / "out" / "model"


def test_train_sft_learns_answer_from_history(language: Language, tmp_path: Path, said: list[str]) -> None:
    moods = {"be glad": " is wonderful", "be sad": " is terrible"}
    rows: list[Row] = [
        {"prompt": f"{subject}", "completion": answer, "source": "chat", "history": turns(mood, "yes")}
        for subject in ("the film", "the story", "the actor", "the music")
        for mood, answer in moods.items()
    ] * 6
    model, tokenizer = load_model(finetune(language, tmp_path, rows, said))
    assert said == []
    for mood, right in moods.items():
        asked: Row = {"prompt": "the film", "history": turns(mood, "yes")}
        chances = {
            answer: completion_logprobs(
                model, [example_of({**asked, "completion": answer}, tokenizer)], tokenizer.end
            )[0]
            for answer in moods.values()
        }
        assert max(chances, key=lambda answer: chances[answer]) == right


def test_train_sft_reports_truncated_conversations_and_dropped_pairs(
    language: Language, tmp_path: Path, said: list[str]
) -> None:
    short: Row = {"prompt": "the film", "completion": " is good.", "source": "chat"}
    talk: Row = {**short, "history": turns(*["the story is good"] * 20)}
    long: Row = {**short, "prompt": "the film " * 40}
    finetune(language, tmp_path, [short] * 30 + [talk] * 2 + [long], said, steps=1)
    assert said == [
        f"{count} of 33 {name} pairs {fate}"
        for name in ("training", "validation")
        for count, fate in (
            (2, "are conversations longer than the context; their oldest turns are left out"),
            (1, "are longer than the context and are left out"),
        )
    ]


def label_rows(history: list[Turn]) -> dict[str, list[dict[str, Any]]]:
    compared: Row = {
        "history": history, "prompt": "the music", "chosen": " is warm", "rejected": " is cold" * 5,
        "aspect": "tone", "source": "chat",
    }  # fmt: skip
    rated: Row = {
        "history": history, "prompt": "the music", "completion": " is warm", "score": 2.0,
        "aspect": "tone", "source": "chat",
    }  # fmt: skip
    return {"train.ratings": [rated], "train.comparisons": [compared]}


def test_preference_dataset_follows_and_truncates_history(
    language: Language, tmp_path: Path, said: list[str]
) -> None:
    tokenizer = language.tokenizer
    for name, rows in label_rows(TALK).items():
        write_rows(tmp_path / f"{name}.jsonl", rows)
    labels = PreferenceDataset(tmp_path, tokenizer, 500, 2, 1.0, listener(said))
    before = tokenizer.encode_prompt("the music", TALK)
    assert labels.ratings == labels.chosen == [[*before, *tokenizer.encode(" is warm"), tokenizer.end]]
    assert [prompt_key(row) for row in labels.prompts] == [
        prompt_key({"prompt": "the music", "history": TALK})
    ]
    assert said == []
    # If one side is too long, both sides keep the same turns.
    PreferenceDataset(tmp_path, tokenizer, len(labels.rejected[0]), 2, 1.0, listener(said))
    assert said == []
    tight = PreferenceDataset(tmp_path, tokenizer, len(labels.rejected[0]) - 1, 2, 1.0, listener(said))
    cut = tokenizer.encode_prompt("the music", [TALK[0], *TALK[3:]])
    assert tight.chosen[0][: len(cut)] == tight.rejected[0][: len(cut)] == cut
    assert tight.ratings == labels.ratings
    assert said == [
        "1 of 1 comparisons are conversations longer than the context; their oldest turns are left out"
    ]
    tiny = PreferenceDataset(tmp_path, tokenizer, 4, 2, 1.0, listener(said))
    assert tiny.rejected == [labels.rejected[0][-4:]]
    kept = "are longer than the context and keep their last tokens"
    assert said[-2:] == [f"1 of 1 comparisons {kept}", f"1 of 1 rated answers {kept}"]


def test_held_out_pairs_distinguish_texts_by_history(language: Language, tmp_path: Path) -> None:
    side: Row = {"prompt": "the music", "completion": " is warm"}
    after: Row = {**side, "history": TALK}
    common = {"aspect": "tone", "source": "chat", "gap": 1.0}
    write_rows(
        tmp_path / "pairs.jsonl",
        [{"chosen": side, "rejected": after, **common}, {"chosen": after, "rejected": side, **common}],
    )
    pairs = HeldOutPairs(tmp_path / "pairs.jsonl", language.tokenizer, 500)
    assert pairs.rows == [example_of(row, language.tokenizer).tokens for row in (side, after)]
    assert pairs.pair_accuracy(torch.tensor([1.0, 0.0]))[0] == {"tone/chat": 0.5}


def test_read_prompts_follows_history_and_reports_prompts_without_room(
    language: Language, tmp_path: Path, said: list[str]
) -> None:
    tokenizer = language.tokenizer
    row: Row = {"prompt": "the music", "completion": " is warm", "source": "chat"}
    rows = [row, {**row, "history": TALK}, {**row, "prompt": "the music " * 40}]
    write_rows(tmp_path / "pairs" / "00000.jsonl", rows)
    whole = [tokenizer.encode_prompt("the music"), tokenizer.encode_prompt("the music", TALK)]
    assert read_prompts(tmp_path / "pairs", [], tokenizer, len(whole[1]), listener(said)) == whole
    assert said == ["1 of 3 prompts leave no room for an answer; left out"]
    cut = [whole[0], tokenizer.encode_prompt("the music", [TALK[0], *TALK[3:]])]
    assert read_prompts(tmp_path / "pairs", [], tokenizer, len(whole[1]) - 1, listener(said)) == cut
    assert "1 of 3 prompts lose their oldest turns to leave room for an answer" in said
