"""A conversation line by line, whatever the lines come from and go to."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from tasks.serving.chat import Conversation, SamplingParams

AFRESH = "/new"


def run_chat(
    conversation: Conversation,
    manner: SamplingParams,
    lines: Iterable[str],
    write: Callable[[str], None],
    note: Callable[[str], None],
) -> None:
    """Answer each of the lines until an empty one; the line `/new` begins afresh.

    Answers are written piece by piece, each with a line's end; notes are about the conversation.
    """
    for line in lines:
        text = line.rstrip("\r\n")
        if not text.strip():
            return
        if text.strip() == AFRESH:
            conversation.begin()
            note("a new conversation")
            continue
        if conversation.make_room(text, manner):
            note(
                f"the conversation fills the model's context of {conversation.context} tokens: from here on "
                f"the oldest turns are left out; {AFRESH} begins afresh"
            )
        for piece in conversation.answer(text, manner):
            write(piece)
        write("\n")
