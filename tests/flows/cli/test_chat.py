"""`run_chat`: history, a new conversation, and a full context."""

from __future__ import annotations

import errno
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from flows.cli.chat import run_chat
from flows.servers.environment import checkout_environment
from model.errors import UserError
from tasks.serving.chat import ChatModel, Conversation, SamplingParams
from tests.model.conftest import CONTEXT, Language, language

__all__ = ["language"]
REPOSITORY = Path(__file__).parents[3]
MANNER = SamplingParams(new_tokens=6, seed=3)
SYSTEM = {"role": "system", "content": "be warm"}


@pytest.fixture
def talker(language: Language, tmp_path: Path) -> ChatModel:
    return ChatModel(language.model(tmp_path))


def said(conversation: Conversation, lines: list[str]) -> tuple[list[str], list[str]]:
    """Run a chat with these lines; return the answers and the notes."""
    written: list[str] = []
    notes: list[str] = []
    starts: list[int] = []

    def asked() -> Iterator[str]:
        for line in lines:
            starts.append(len(written))
            yield line

    run_chat(conversation, MANNER, asked(), written.append, notes.append)
    spans = zip(starts, [*starts[1:], len(written)], strict=True)
    answers = ["".join(written[start:stop]) for start, stop in spans if stop > start]
    assert all(answer.endswith("\n") for answer in answers)
    return [answer[:-1] for answer in answers], notes


def alone(talker: ChatModel, prompt: str, history: list[dict[str, str]], seed: int) -> str:
    return "".join(talker.answer(prompt, SamplingParams(new_tokens=6, seed=seed), history))


def test_run_chat_second_prompt_follows_history(talker: ChatModel) -> None:
    conversation = Conversation(talker)
    (first, second), notes = said(conversation, ["the film\n", "why\n"])
    before = [{"role": "user", "content": "the film"}, {"role": "assistant", "content": first}]
    assert first == alone(talker, "the film", [], 3)
    assert second == alone(talker, "why", before, 4) != alone(talker, "why", [], 4)
    assert [turn["content"] for turn in conversation.history] == ["the film", first, "why", second]
    assert notes == []


def test_run_chat_new_clears_history_and_empty_line_ends(talker: ChatModel) -> None:
    answers, notes = said(Conversation(talker), ["the film", "/new\n", "the film", "", "why"])
    assert len(answers) == 2 and answers[0] == answers[1]
    assert notes == ["a new conversation"]


def test_run_chat_help_is_answered_by_the_program(talker: ChatModel) -> None:
    conversation = Conversation(talker)
    answers, notes = said(conversation, ["/help\n", " /help "])
    assert answers == [] and conversation.history == []
    assert notes == ["/new starts a new conversation; an empty line or Ctrl-D ends it"] * 2


def test_run_chat_empty_answer_is_noted(talker: ChatModel, monkeypatch: pytest.MonkeyPatch) -> None:
    conversation = Conversation(talker)
    # A model that ends at once is a matter of its weights.
    monkeypatch.setattr(conversation, "answer", lambda text, manner: (piece for piece in (" ", "")))
    assert said(conversation, ["why"]) == ([""], ["(empty answer)"])


@pytest.mark.parametrize("error", [BrokenPipeError, KeyboardInterrupt, OSError(errno.ENOSPC, "full")])
def test_run_chat_failed_write_ends_the_thread_of_the_answer(
    talker: ChatModel, error: type[BaseException] | BaseException
) -> None:
    """PyTorch aborts a program that ends while a thread computes."""

    def refuse(piece: str) -> None:
        raise error

    conversation = Conversation(talker)
    for _ in range(5):
        with pytest.raises(error if isinstance(error, type) else type(error)):
            run_chat(conversation, SamplingParams(new_tokens=40), ["the film"], refuse, print)
        assert not [thread for thread in threading.enumerate() if "draw" in thread.name]
    assert conversation.history == []


def test_chat_full_output_is_named(language: Language, tmp_path: Path) -> None:
    model = language.model(tmp_path)
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "flows.cli.main", "chat", "-m", str(model), "-p", "the film"],
            cwd=tmp_path, env=checkout_environment(REPOSITORY), stdout=full, stderr=subprocess.PIPE,
            text=True, check=False,
        )  # fmt: skip
    assert done.returncode == 2 and done.stderr == (
        "error: the output cannot be written: No space left on device; redirect it to another place\n"
    )


def test_run_chat_new_keeps_system_line(talker: ChatModel) -> None:
    conversation = Conversation(talker, "be warm")
    (first, again), _ = said(conversation, ["the film", "/new", "the film"])
    assert first == again == alone(talker, "the film", [SYSTEM], 3) != alone(talker, "the film", [], 3)
    assert conversation.history[0] == SYSTEM


def test_run_chat_full_context_drops_oldest_turns_with_one_note(talker: ChatModel) -> None:
    conversation = Conversation(talker, "be warm")
    answers, notes = said(conversation, [f"the film {i}" for i in range(12)])
    assert len(answers) == 12
    assert len(notes) == 1
    assert f"context of {CONTEXT} tokens" in notes[0] and "oldest turns are dropped" in notes[0]
    assert conversation.history[0] == SYSTEM
    assert [turn["role"] for turn in conversation.history[1:3]] == ["user", "assistant"]
    assert 3 <= len(conversation.history) < 2 * 12
    # The last answer follows the remaining history and has room for all new tokens.
    before = list(conversation.history[:-2])
    assert answers[-1] == alone(talker, "the film 11", before, 3 + 11)
    assert len(talker.tokenizer.encode_prompt("the film 11", before)) + MANNER.new_tokens <= CONTEXT
    _, notes = said(conversation, ["/new", *(f"the film {i}" for i in range(12))])
    assert len(notes) == 2


def test_make_room_reserves_at_most_half_context_for_answer(talker: ChatModel) -> None:
    conversation = Conversation(talker)
    conversation.history = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    assert not conversation.make_room("the film", SamplingParams(new_tokens=10_000))
    assert len(conversation.history) == 2


def test_run_chat_prompt_without_room_is_refused_and_not_remembered(talker: ChatModel) -> None:
    conversation = Conversation(talker)
    with pytest.raises(UserError, match=f"and the context is {CONTEXT}: no room for an answer"):
        said(conversation, ["the film " * 60])
    assert conversation.history == [] and conversation.answered == 0
