"""A model behind an OpenAI-style address as a judge: it compares two answers, asked in both orders.

A judge that is asked in one order prefers a place (Zheng et al., Judging LLM-as-a-judge, 2023,
arXiv:2306.05685). Here an answer wins only if it wins in both orders; anything else is a tie.
"""

from __future__ import annotations

import hashlib
import json
import queue
import re
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

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
# The wait before the second try; each further wait is twice as long.
_RETRY_SECONDS = 1.0
_ANSWER_SECONDS = 120.0
# A reply is one word in about a kilobyte of JSON.
_MOST_BYTES = 1 << 20
# More than both orders of a row take if each try ends at its limit. A server that sends its headers byte by
# byte takes longer.
_LONGEST_WAIT = 3.0 * _TRIES * _ANSWER_SECONDS
# What the one request before a training may take, and the whole check with the look-up of the host's name.
_CHECK_SECONDS, _LONGEST_CHECK = 10.0, 15.0
# If this share of the replies cannot be read, the ties that they count as would hide that nothing was
# judged.
_MOST_UNCLEAR = 0.5
# Of a few replies, chance makes that many.
_LEAST_UNCLEAR = 8
_REPLIES = {"a": 1.0, "b": 0.0, "tie": 0.5}
_Row = TypeVar("_Row")
_Found = TypeVar("_Found")
_REPLY = re.compile(r"[\W_]*(?:answer[\W_]+)?(a|b|tie)(?![^\W_])", re.IGNORECASE)
# Requests that another try may answer: of a busy server.
_BUSY = (408, 409, 429)
_EXAMPLE = {"prompt": "What is the capital of France?"}


@dataclass(frozen=True)
class _Problem:
    """Why a request has no reply.

    Attributes:
        text: The problem in words, after the address.
        advice: What to do.
        retried: Whether the next try may succeed.
        lasting: Whether hours later the request would fail too.
    """

    text: str
    advice: str
    retried: bool
    lasting: bool


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
            UserError: The address does not answer, or refuses, or half of the replies name nothing.
        """
        with httpx.Client(timeout=_ANSWER_SECONDS, headers=_headers()) as client:
            stop = threading.Event()
            found = _map_in_threads(
                lambda row: self._compare(client, stop, *row), rows, stop, self.address, _LONGEST_WAIT
            )
        unclear = [reply for _, replies in found for reply in replies]
        asked = 2 * sum(first != second for _, first, second in rows)
        if len(unclear) >= max(_LEAST_UNCLEAR, _MOST_UNCLEAR * asked):
            raise UserError(
                f"the judge at {display_url(self.address)} named A, B or TIE in "
                f"{asked - len(unclear)} of {asked} replies; another reply begins with "
                f"{unclear[0][:60]!a}. Take a model that replies with one word at once, without reasoning "
                "before it, or ask for that in evaluate.judge_question"
            )
        return [outcome for outcome, _ in found], len(unclear)

    def check_reachable(self) -> str:
        """Ask the judge once, in a few seconds. Return a notice for the run; empty if it replied well.

        A server that is busy, or still loads its model, is no error.

        Raises:
            UserError: The address, the model or the key is wrong.
        """
        text = self._question_about(_EXAMPLE, "Paris.", "I do not know.")
        with httpx.Client(timeout=_CHECK_SECONDS, headers=_headers()) as client:
            stop, at = threading.Event(), display_url(self.address)
            [reply] = _map_in_threads(
                lambda asked: self._request(client, asked, _CHECK_SECONDS), [text], stop, self.address,
                _LONGEST_CHECK,
            )  # fmt: skip
        if isinstance(reply, _Problem):
            if reply.lasting:
                raise self._error(reply)
            return f"the judge at {at} {reply.text}; the evaluation asks it again"
        if _read_reply(reply) is None:
            return (
                f"the judge at {at} was asked for A, B or TIE, and its reply begins with {reply[:60]!a}; if "
                "half of its replies at the evaluation are like this, the run stops"
            )
        return ""

    def _compare(
        self, client: httpx.Client, stop: threading.Event, row: Mapping[str, Any], first: str, second: str
    ) -> tuple[float, list[str]]:
        """Return the outcome for the first answer, and the replies that could not be read."""
        if first == second:
            return 0.5, []
        texts = [self._ask(client, stop, row, *pair) for pair in ((first, second), (second, first))]
        forth, back = (_read_reply(text) for text in texts)
        unclear = [text for text in texts if _read_reply(text) is None]
        wins = forth is not None and back is not None and forth == 1.0 - back
        return (forth if wins and forth is not None else 0.5), unclear

    def _ask(
        self, client: httpx.Client, stop: threading.Event, row: Mapping[str, Any], a: str, b: str
    ) -> str:
        """Return the judge's reply about the answers `a` and `b`."""
        text = self._question_about(row, a, b)
        found: str | _Problem = ""
        for attempt in range(_TRIES):
            if attempt and stop.wait(_RETRY_SECONDS * 2.0 ** (attempt - 1)):
                break
            found = self._request(client, text, _ANSWER_SECONDS)
            if isinstance(found, str):
                return found
            if not found.retried:
                break
        assert isinstance(found, _Problem)
        raise self._error(found)

    def _question_about(self, row: Mapping[str, Any], a: str, b: str) -> str:
        turns = [*(row.get("history") or []), {"role": "user", "content": row["prompt"]}]
        said = "\n\n".join(f"{turn['role']}: {turn['content']}" for turn in turns)
        question = self.question or DEFAULT_QUESTION
        parts = (("Conversation", said), ("Answer A", a), ("Answer B", b))
        return "\n\n".join([question, *(f"# {name}\n{part}" for name, part in parts)])

    def _request(self, client: httpx.Client, text: str, seconds: float) -> str | _Problem:
        """Send one request; return its reply, or why there is none.

        Raises:
            UserError: The answer is no chat completion.
        """
        body = {
            "model": self.model, "messages": [{"role": "user", "content": text}], "temperature": 0, "seed": 0,
            "max_tokens": 8,
        }  # fmt: skip
        ends = time.monotonic() + seconds
        try:
            with client.stream("POST", f"{self.address.rstrip('/')}/chat/completions", json=body) as answer:
                if answer.status_code == 200:
                    return _reply_text(_read_body(answer, ends), self.address)
                return _describe_status(answer.status_code)
        except httpx.HTTPError as error:
            advice = "check evaluate.judge_endpoint, and that its server runs and can be reached from here"
            # A name that nobody knows, a closed port, a host that drops packets.
            lasting = isinstance(error, httpx.ConnectError | httpx.ConnectTimeout | httpx.UnsupportedProtocol)
            return _Problem(f"is unreachable ({type(error).__name__})", advice, True, lasting)

    def _error(self, problem: _Problem) -> UserError:
        return UserError(f"the judge at {display_url(self.address)} {problem.text}; {problem.advice}")


def _describe_status(status: int) -> _Problem:
    # Busy or failing servers recover; a request that is refused stays refused.
    passing = status in _BUSY or status >= 500
    if status in (401, 403):
        advice = f"set the key of evaluate.judge_endpoint in {KEY_VARIABLE}"
    else:
        advice = (
            "check evaluate.judge_endpoint, the base of an API as in http://127.0.0.1:8000/v1, and that it "
            "has the model of evaluate.judge_model"
        )
    return _Problem(f"answers status {status}", advice, passing, not passing)


def _map_in_threads(
    action: Callable[[_Row], _Found],
    rows: Sequence[_Row],
    stop: threading.Event,
    address: str,
    longest: float,
) -> list[_Found]:
    """Return the action's result for each row; the first error, or `longest` seconds, stops the others.

    The threads are daemons. Those of an executor would keep Ctrl-C waiting until each request has timed out.
    """
    todo: queue.SimpleQueue[int] = queue.SimpleQueue()
    done: queue.SimpleQueue[tuple[int, _Found | BaseException]] = queue.SimpleQueue()
    for index in range(len(rows)):
        todo.put(index)

    def work() -> None:
        while not stop.is_set():
            try:
                index = todo.get_nowait()
            except queue.Empty:
                return
            try:
                done.put((index, action(rows[index])))
            except BaseException as error:
                done.put((index, error))

    for _ in range(min(_AT_ONCE, len(rows))):
        threading.Thread(target=work, daemon=True).start()
    found: dict[int, _Found] = {}
    try:
        while len(found) < len(rows):
            try:
                index, result = done.get(timeout=longest)
            except queue.Empty:
                raise UserError(
                    f"the judge at {display_url(address)} does not complete its replies; check "
                    "evaluate.judge_endpoint"
                ) from None
            if isinstance(result, BaseException):
                raise result
            found[index] = result
    finally:
        stop.set()
    return [found[index] for index in range(len(rows))]


def _read_reply(text: str) -> float | None:
    """Return 1 if a reply names the first answer, 0 for the second, 0.5 for a tie; None for another reply."""
    found = _REPLY.match(text)
    return _REPLIES[found[1].lower()] if found else None


def _read_body(answer: httpx.Response, ends: float) -> bytes:
    """Return a body as it was sent, at most _MOST_BYTES + 1 of it.

    Raises:
        httpx.ReadTimeout: It was not complete at the time `ends`. httpx's own limit is one for each read.
    """
    body = bytearray()
    for part in answer.iter_raw():
        body += part
        if len(body) > _MOST_BYTES:
            break
        if time.monotonic() > ends:
            raise httpx.ReadTimeout("the reply is not complete")
    return bytes(body[: _MOST_BYTES + 1])


def _headers() -> dict[str, str]:
    key = read_variable(KEY_VARIABLE).strip()
    if not (key.isascii() and key.isprintable()):
        raise UserError(f"the key in {KEY_VARIABLE} has a character that no key has; set it again")
    # A compressed reply could expand to any size.
    headers = {"Accept-Encoding": "identity"}
    return {**headers, "Authorization": f"Bearer {key}"} if key else headers


def _reply_text(body: bytes, address: str) -> str:
    try:
        if len(body) > _MOST_BYTES:
            raise ValueError("too long")
        return str(json.loads(body)["choices"][0]["message"]["content"] or "")
    # Deep nesting ends in a RecursionError.
    except (ValueError, KeyError, IndexError, TypeError, RecursionError):
        raise UserError(
            f"the judge at {display_url(address)} answers something else than a chat completion; expected "
            "the base of an OpenAI-style API, as in http://127.0.0.1:8000/v1"
        ) from None
