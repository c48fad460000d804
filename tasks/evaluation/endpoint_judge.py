"""A model behind an OpenAI-style address as a judge: it compares two answers, asked in both orders.

A judge that is asked in one order prefers a place (Zheng et al., Judging LLM-as-a-judge, 2023,
arXiv:2306.05685). Here an answer wins only if it wins in both orders; anything else is a tie.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import httpx

from model.errors import UserError
from tasks.common.url_secrets import display_url, read_variable

KEY_VARIABLE = "CHATMILL_JUDGE_KEY"
DEFAULT_QUESTION = (
    "Two assistants answered the same user. Which answer is better? A good answer is true, helps with what "
    "was asked, and harms nobody. Length alone is no advantage. Reply with one word: A, B or TIE."
)
_AT_ONCE = 8
_TRIES = 5
_ANSWER_SECONDS = 120.0
# The replies that are read, by their first word.
_REPLIES = {"a": 1.0, "b": 0.0, "tie": 0.5}


@dataclass(frozen=True)
class EndpointJudge:
    """A judge behind an address.

    Attributes:
        address: The base of the API, as in http://127.0.0.1:8000/v1.
        model: The model's name there.
        question: What is asked before the two answers.
    """

    address: str
    model: str
    question: str = ""

    @property
    def digest(self) -> str:
        """Return the digest of what decides the judge's replies, as far as it is known here."""
        said = [self.address, self.model, self.question or DEFAULT_QUESTION]
        return hashlib.sha256(json.dumps(said).encode()).hexdigest()

    def compare_answers(self, rows: Sequence[tuple[Mapping[str, Any], str, str]]) -> tuple[list[float], int]:
        """Return for each prompt and two answers 1 if the first wins, 0 if the second does, 0.5 for a tie.

        The second result is the number of replies that named neither answer and no tie. They count as ties.

        Args:
            rows: A row with `prompt` and perhaps `history`, the first answer, and the second.

        Raises:
            UserError: The address does not answer, or refuses the request.
        """
        with (
            httpx.Client(timeout=_ANSWER_SECONDS, headers=_headers()) as client,
            ThreadPoolExecutor(_AT_ONCE) as pool,
        ):
            found = list(pool.map(lambda row: self._compare(client, *row), rows))
        return [outcome for outcome, _ in found], sum(unclear for _, unclear in found)

    def _compare(
        self, client: httpx.Client, row: Mapping[str, Any], first: str, second: str
    ) -> tuple[float, int]:
        if first == second:
            return 0.5, 0
        forth, back = self._ask(client, row, first, second), self._ask(client, row, second, first)
        unclear = (forth is None) + (back is None)
        wins = forth is not None and back is not None and forth == 1.0 - back
        return (forth if wins and forth is not None else 0.5), unclear

    def _ask(self, client: httpx.Client, row: Mapping[str, Any], a: str, b: str) -> float | None:
        """Return 1 if the reply names `a`, 0 if it names `b`, 0.5 for a tie; None for another reply."""
        turns = [*(row.get("history") or []), {"role": "user", "content": row["prompt"]}]
        said = "\n\n".join(f"{turn['role']}: {turn['content']}" for turn in turns)
        question = self.question or DEFAULT_QUESTION
        parts = (("Conversation", said), ("Answer A", a), ("Answer B", b))
        reply = self._post(client, "\n\n".join([question, *(f"# {name}\n{part}" for name, part in parts)]))
        word = reply.strip().strip("*\"'`[(").lower().replace("answer ", "")
        first = word.split()[0].strip("*\"'`.,:;!)]") if word.split() else ""
        return _REPLIES.get(first)

    def _post(self, client: httpx.Client, text: str) -> str:
        body = {
            "model": self.model, "messages": [{"role": "user", "content": text}], "temperature": 0, "seed": 0,
            "max_tokens": 8,
        }  # fmt: skip
        problem = ""
        for attempt in range(_TRIES):
            if attempt:
                time.sleep(2.0 ** (attempt - 1))
            try:
                answer = client.post(f"{self.address.rstrip('/')}/chat/completions", json=body)
            except httpx.HTTPError as error:
                problem = f"is unreachable ({type(error).__name__})"
                continue
            if answer.status_code == 200:
                return _reply_text(answer, self.address)
            problem = f"answers status {answer.status_code}"
            # Busy or failing servers recover; a request that is refused stays refused.
            if answer.status_code not in (408, 409, 429) and answer.status_code < 500:
                break
        raise UserError(
            f"the judge at {display_url(self.address)} {problem}; check evaluate.judge_endpoint and "
            f"evaluate.judge_model, and the key in {KEY_VARIABLE} if it needs one"
        )


def _headers() -> dict[str, str]:
    key = read_variable(KEY_VARIABLE).strip()
    return {"Authorization": f"Bearer {key}"} if key else {}


def _reply_text(answer: httpx.Response, address: str) -> str:
    try:
        return str(answer.json()["choices"][0]["message"]["content"] or "")
    except (ValueError, KeyError, IndexError, TypeError):
        raise UserError(
            f"the judge at {display_url(address)} answers something else than a chat completion; expected "
            "the base of an OpenAI-style API, as in http://127.0.0.1:8000/v1"
        ) from None
