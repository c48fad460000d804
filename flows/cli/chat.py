"""The loop of a conversation. It does not depend on where lines come from or go to."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import closing

from tasks.serving.chat import Conversation, SamplingParams

AFRESH, HELP = "/new", "/help"


def run_chat(
    conversation: Conversation,
    manner: SamplingParams,
    lines: Iterable[str],
    write: Callable[[str], None],
    note: Callable[[str], None],
) -> None:
    """Answer each line until an empty one; `/new` starts a new conversation, `/help` names the commands.

    Args:
        conversation: The model and the turns so far.
        manner: The sampling parameters and the longest answer.
        lines: The user's lines.
        write: Called with each piece of an answer, and with a line end after the last.
        note: Called with sentences about the conversation, such as that old turns are left out.
    """
    for line in lines:
        text = line.rstrip("\r\n")
        if not text.strip():
            return
        if text.strip() == AFRESH:
            conversation.begin()
            note("a new conversation")
            continue
        if text.strip() == HELP:
            note(f"{AFRESH} starts a new conversation; an empty line or Ctrl-D ends it")
            continue
        # Said only once, when the first turns are left out.
        if conversation.make_room(text, manner):
            note(
                f"the conversation exceeds the model's context of {conversation.context} tokens, so "
                f"the oldest turns are dropped; {AFRESH} starts a new one"
            )
        begun = False
        # Closed also if `write` fails, as into a closed pipe: the answer's thread must end first.
        with closing(conversation.answer(text, manner)) as answer:
            for piece in answer:
                # A model may have learned answers that begin with a space; it keeps them so in its history.
                shown = piece if begun else piece.lstrip()
                begun = begun or bool(shown)
                write(shown)
        write("\n")
        if not begun:
            note("(empty answer)")
