"""Chat formats: how the turns of a conversation become tokens.

A model that was trained here has the format of `MarkerFormat`. An open model keeps the chat template that it
was trained with.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from tokenizers import Tokenizer as Rules

from model.data.template_environment import template_environment
from model.errors import UserError, library_reason

END, USER, ASSISTANT = MARKERS = "<|end|>", "<|user|>", "<|assistant|>"
Turn = Mapping[str, str]
# Texts that stand for turns while a template is examined. No template trims or changes them.
_QUESTION, _ANSWER = "Question", "Answer"
# Characters for private use, one of which marks special tokens inside a turn while a template is rendered.
_GUARDS = range(0xE000, 0xF900)


class ChatFormat(Protocol):
    """The protocol of a way to write a conversation."""

    end: int
    """The token that ends an answer."""

    def encode_prompt(self, text: str, history: Sequence[Turn]) -> list[int]:
        """Return the tokens that an answer follows: the turns of `history`, then the user's text."""

    def encode_answer(self, text: str) -> list[int]:
        """Return the tokens of an answer, with the token that ends it."""


class MarkerFormat:
    """Each turn after a token of its role: `<|user|>text<|assistant|>answer<|end|>`.

    A system line has no token of its own; with an empty line it goes before the text of the next user's turn.
    """

    def __init__(
        self, encode: Callable[[str], list[int]], begin: list[int], user: int, assistant: int, end: int
    ) -> None:
        """Set the tokens.

        Args:
            encode: Returns the ids of a text, without any special token.
            begin: The tokens at the beginning of a conversation.
            user: The token before a user's text.
            assistant: The token before an answer.
            end: The token after an answer.
        """
        self.encode, self.begin, self.user, self.assistant, self.end = encode, begin, user, assistant, end

    def encode_prompt(self, text: str, history: Sequence[Turn]) -> list[int]:
        ids = [*self.begin]
        system = ""
        for turn in (*history, {"role": "user", "content": text}):
            if turn["role"] == "system":
                system += turn["content"] + "\n\n"
            elif turn["role"] == "user":
                ids += [self.user, *self.encode(system + turn["content"])]
                system = ""
            elif turn["role"] == "assistant":
                ids += [self.assistant, *self.encode(turn["content"]), self.end]
        return [*ids, self.assistant]

    def encode_answer(self, text: str) -> list[int]:
        return [*self.encode(text), self.end]


def marker_template(begin: str, end: str) -> str:
    """Return the chat template of `MarkerFormat`, with the texts of the tokens that begin and end."""
    return (
        (f"{{{{ '{begin}' }}}}" if begin else "")
        + "{% set said = namespace(system='') %}{% for message in messages %}"
        "{% if message['role'] == 'system' %}"
        "{% set said.system = said.system + message['content'] + '\\n\\n' %}"
        f"{{% elif message['role'] == 'user' %}}{USER}{{{{ said.system + message['content'] }}}}"
        "{% set said.system = '' %}"
        f"{{% elif message['role'] == 'assistant' %}}{ASSISTANT}{{{{ message['content'] }}}}{end}"
        f"{{% endif %}}{{% endfor %}}{{% if add_generation_prompt %}}{ASSISTANT}{{% endif %}}"
    )


class TemplateFormat:
    """The chat template of an open model, in Jinja, as `apply_chat_template` of transformers renders it."""

    def __init__(self, rules: Rules, template: str, names: Mapping[str, str]) -> None:
        """Compile and try a template.

        Args:
            rules: The tokenizer.
            template: The template.
            names: The texts of special tokens, as in {"bos_token": "<s>", "eos_token": "</s>"}.

        Raises:
            UserError: The template cannot be used.
        """
        self.rules, self.names = rules, dict(names)
        self.special = {
            token.content: number
            for number, token in rules.get_added_tokens_decoder().items()
            if token.special
        }
        # The longest first: one special token may begin with another.
        parts = sorted(map(re.escape, self.special), key=len, reverse=True)
        self._find_special = re.compile(f"({'|'.join(parts)})") if parts else None
        try:
            self.template = template_environment().from_string(template)
        # The compiler raises more than its own errors, such as MemoryError for a number.
        except Exception as error:
            raise UserError(f"the chat template is not valid Jinja: {library_reason(error)}") from error
        question: Turn = {"role": "user", "content": _QUESTION}
        self._asked = self._render([question], answer_follows=True)
        self._asked_ids = self._encode(self._asked)
        answered = self._render([question, {"role": "assistant", "content": _ANSWER}], answer_follows=False)
        self.end = self._find_end(answered)
        if _ANSWER not in answered or not answered.startswith(self._asked):
            raise UserError(
                "the chat template writes a question in another way if an answer follows; "
                "such a template cannot be learned"
            )

    def encode_prompt(self, text: str, history: Sequence[Turn]) -> list[int]:
        turns, guard = self._guard([*history, {"role": "user", "content": text}])
        return self._encode(self._render(turns, answer_follows=True), guard)

    def encode_conversation(self, turns: Sequence[Turn]) -> list[int]:
        """Return the tokens of a whole conversation, up to the end of its last answer."""
        guarded, guard = self._guard(turns)
        ids = self._encode(self._render(guarded, answer_follows=False), guard)
        return ids[: len(ids) - ids[::-1].index(self.end)] if self.end in ids else ids

    def encode_answer(self, text: str) -> list[int]:
        turns = [{"role": "user", "content": _QUESTION}, {"role": "assistant", "content": text}]
        guarded, guard = self._guard(turns)
        rendered = self._render(guarded, answer_follows=False)
        ids, asked = self._encode(rendered, guard), len(self._asked_ids)
        if ids[:asked] == self._asked_ids:
            answer = ids[asked:]
        else:
            # The answer's first characters merged with the template's last ones, which those of a generated
            # answer never do.
            answer = self._encode(rendered[len(self._asked) :], guard)
        cut = answer.index(self.end) if self.end in answer else len(answer)
        return [*answer[:cut], self.end]

    def _find_end(self, answered: str) -> int:
        """Return the first special token after the answer in a rendered conversation."""
        rest = answered.rpartition(_ANSWER)[2]
        found = self._find_special.search(rest) if self._find_special else None
        name = found[0] if found else self.names.get("eos_token", "")
        end = self.rules.token_to_id(name) if name else None
        if end is None:
            raise UserError(
                "the chat template has no special token after an answer, and there is no eos_token"
            )
        return int(end)

    def _render(self, turns: Sequence[Turn], answer_follows: bool) -> str:
        """Return the text of a conversation; turns that a template refuses are joined to the next ones."""
        for tried in (turns, _alternate_roles(turns)):
            try:
                text = self.template.render(
                    messages=[dict(turn) for turn in tried],
                    add_generation_prompt=answer_follows,
                    # Templates tell a missing name from none.
                    tools=None,
                    documents=None,
                    **self.names,
                )
                # Half of a surrogate pair, which no tokenizer takes, is an error here.
                text.encode()
                return text
            # Templates are programs of strangers: any error may come out of them.
            except Exception as error:
                reason = error
        raise UserError(
            f"the chat template cannot write a conversation: {library_reason(reason)}"
        ) from reason

    def _encode(self, text: str, guard: str = "") -> list[int]:
        """Return the ids of a rendered conversation, in which the template's special tokens are tokens."""
        if not guard:
            self.rules.encode_special_tokens = False
            try:
                return list(self.rules.encode(text, add_special_tokens=False).ids)
            finally:
                self.rules.encode_special_tokens = True
        ids: list[int] = []
        for part in self._find_special.split(text) if self._find_special else [text]:
            if part in self.special:
                ids.append(self.special[part])
            elif part:
                ids += self.rules.encode(self._unguard(part, guard), add_special_tokens=False).ids
        return ids

    def _unguard(self, text: str, guard: str) -> str:
        """Return a part of a rendered conversation with the special tokens that a person wrote."""
        names = {str(number): name for name, number in self.special.items()}
        return re.sub(f"{guard}(\\d+){guard}", lambda found: names[found[1]], text)

    def _guard(self, turns: Sequence[Turn]) -> tuple[Sequence[Turn], str]:
        """Return turns whose special tokens are replaced, so that they stay ordinary text, and the mark.

        A token's number between two marks stands for it. The mark is empty if there are none; the rendered
        text is then encoded at once, as transformers does.
        """
        contents = [turn["content"] for turn in turns]
        if self._find_special is None or not any(map(self._find_special.search, contents)):
            return turns, ""
        guard = next(mark for mark in map(chr, _GUARDS) if not any(mark in content for content in contents))
        marked = [
            self._find_special.sub(lambda found: f"{guard}{self.special[found[0]]}{guard}", content)
            for content in contents
        ]
        return [{**turn, "content": text} for turn, text in zip(turns, marked, strict=True)], guard


def _alternate_roles(turns: Sequence[Turn]) -> list[Turn]:
    """Return a conversation of user and assistant in turn: many templates refuse any other.

    A system line goes before the next user's text, and turns of one role are joined, with an empty line
    between them. An answer without a question gets an empty one.
    """
    result: list[dict[str, str]] = []
    for turn in turns:
        role = "user" if turn["role"] == "system" else turn["role"]
        if result and result[-1]["role"] == role:
            result[-1]["content"] += "\n\n" + turn["content"]
        elif not result and role == "assistant":
            result += [{"role": "user", "content": ""}, dict(turn)]
        else:
            result.append({"role": role, "content": turn["content"]})
    return list(result)
