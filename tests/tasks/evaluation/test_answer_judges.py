"""Judges that are no reward model: a function of the team's own, and a model behind an address."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from model.data.dataloader import read_rows
from model.errors import UserError
from model.evaluation.confidence_intervals import wilson_interval
from model.evaluation.evaluate_config import EvaluateParameters
from model.events import Event
from tasks.common.url_secrets import use_environment
from tasks.evaluation import endpoint_judge
from tasks.evaluation.answer_judges import MOST_PAIRS, judge_answers
from tasks.evaluation.endpoint_judge import KEY_VARIABLE, EndpointJudge
from tasks.evaluation.function_judge import copy_function, digest_function
from tasks.judge import JudgeParameters, judge, read_judge
from tests.model.conftest import write_rows

LENGTH = "def score(prompt, answer, history):\n    return len(answer)\n"
ANSWERS = {"sft": ["good", "bad", "good"], "aligned": ["good!", "good", "bad"], "champion": ["bad"] * 3}
Reply = Callable[[str], str]


def prefer_good(text: str) -> str:
    """Reply as a judge that prefers answers with the word good, and is sure of nothing else."""
    a, b = (part.splitlines()[0] for part in text.partition("# Answer A\n")[2].split("\n\n# Answer B\n"))
    return "TIE" if ("good" in a) == ("good" in b) else "**A**." if "good" in a else "Answer B"


@contextmanager
def endpoint(reply: Reply, statuses: list[int] | None = None) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """Serve an OpenAI-style API on loopback; yield its address and the requests that it got."""
    asked: list[dict[str, Any]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            asked.append({**body, "path": self.path, "key": self.headers.get("Authorization")})
            status = statuses.pop(0) if statuses else 200
            text = reply(body["messages"][0]["content"]) if status == 200 else ""
            content = json.dumps({"choices": [{"message": {"content": text}}]}).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/v1", asked
        finally:
            server.shutdown()


def evaluated(
    root: Path, parameters: EvaluateParameters, pairs: int | list[dict[str, Any]] = 2
) -> tuple[dict[str, float], list[Any]]:
    """Let the stage `judge` and the evaluation's part judge ANSWERS; return metrics and scored rows."""
    labels, out = root / "labels", root / "judge"
    side = {"prompt": "Why?"}
    good = {"chosen": {**side, "completion": "a good one"}, "rejected": {**side, "completion": "bad"}}
    write_rows(labels / "pairs.test.jsonl", pairs if isinstance(pairs, list) else [good] * pairs)
    rows = [
        {"model": model, "prompt": f"{n}?", "completion": text, "reward": 0.0}
        for model, texts in {"base": ["x"], **ANSWERS}.items()
        for n, text in enumerate(texts)
    ]
    write_rows(root / "completions.jsonl", [*rows, {"model": "sft", "prompt": "q", "completion": "greedy"}])
    out.mkdir()
    asked = JudgeParameters(
        parameters.judge, function=parameters.judge_function, endpoint=parameters.judge_endpoint,
        model=parameters.judge_model, question=parameters.judge_question,
    )  # fmt: skip
    judge(
        asked, sft=root, labels=labels, out=out, on_event=lambda event: None, root=root, seed=1, device="cpu",
        processes=1,
    )  # fmt: skip
    assert len(read_judge(out).digest) == 64
    said: list[Event] = []
    figures = judge_answers(
        parameters.judge, parameters, out, labels, root / "completions.jsonl", said.append
    )
    return figures, read_rows(root / "completions.jsonl")


def scores_of(rows: list[dict[str, Any]], model: str) -> list[float | None]:
    return [row.get("judge") for row in rows if row["model"] == model and "reward" in row]


def test_judge_answers_function_scores_every_free_answer(tmp_path: Path) -> None:
    (tmp_path / "length.py").write_text(LENGTH)
    figures, rows = evaluated(
        tmp_path, EvaluateParameters(judge="function", judge_function="length.py:score")
    )
    assert scores_of(rows, "aligned") == [5, 4, 3]
    assert scores_of(rows, "base") == [1]
    assert "judge" not in rows[-1]
    assert (figures["judge_test_pair_accuracy"], figures["judge_test_pair_accuracy_n"]) == (1.0, 2.0)


@pytest.mark.parametrize("texts", [4, 9, 30])
def test_judge_answers_function_interval_counts_texts_of_pairs(tmp_path: Path, texts: int) -> None:
    (tmp_path / "length.py").write_text(LENGTH)
    # One better answer against each of the others: its pairs are right or wrong together.
    long = {"prompt": "q", "completion": " " + "a" * 99}
    pairs = [{"chosen": long, "rejected": {"prompt": "q", "completion": " " + "b" * n}} for n in range(texts)]
    pairs += [{"chosen": one["rejected"], "rejected": long} for one in pairs[: texts // 4]]
    figures, _ = evaluated(
        tmp_path, EvaluateParameters(judge="function", judge_function="length.py:score"), pairs=pairs
    )
    name = "judge_test_pair_accuracy"
    low, high = wilson_interval(figures[name] * len(pairs), len(pairs))
    assert figures[f"{name}_n"] == len(pairs)
    assert figures[f"{name}_high"] - figures[f"{name}_low"] > 1.05 * (high - low)


def test_digest_function_changes_with_the_file_and_the_name(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text(LENGTH)
    first = digest_function("a.py:score", tmp_path)
    assert digest_function("a.py:other", tmp_path) != first
    (tmp_path / "a.py").write_text(LENGTH + "\n")
    assert digest_function("a.py:score", tmp_path) != first
    with pytest.raises(UserError, match=r"b\.py, which is missing"):
        digest_function("b.py:score", tmp_path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("def score(:\n", r"f\.py, line 1: SyntaxError"),
        ("import no_such_module\n", r"f\.py, line 1: ModuleNotFoundError"),
        ("score = 3\n", "no function score"),
        ("def other(p, a, h):\n    return 1\n", "no function score"),
    ],
)
def test_copy_function_broken_file_names_the_line(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "f.py").write_text(text)
    (tmp_path / "out").mkdir()
    with pytest.raises(UserError, match=message):
        copy_function("f.py:score", tmp_path, tmp_path / "out")


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("return 1 / 0", r"f\.py, line 2: ZeroDivisionError"),
        ("return None", "TypeError"),
        ("return float('nan')", "finite number"),
    ],
)
def test_judge_answers_failing_function_names_the_answer(tmp_path: Path, body: str, message: str) -> None:
    (tmp_path / "f.py").write_text(f"def score(prompt, answer, history):\n    {body}\n")
    with pytest.raises(UserError, match=message):
        evaluated(tmp_path, EvaluateParameters(judge="function", judge_function="f.py:score"))


def test_judge_answers_endpoint_compares_with_sft_in_both_orders(tmp_path: Path) -> None:
    use_environment({KEY_VARIABLE: "secret-key"})
    with endpoint(prefer_good) as (address, asked):
        figures, rows = evaluated(
            tmp_path, EvaluateParameters(judge="endpoint", judge_endpoint=address, judge_model="m")
        )
    assert scores_of(rows, "sft") == [0.5] * 3
    assert scores_of(rows, "aligned") == [0.5, 1.0, 0.0]
    assert scores_of(rows, "champion") == [0.0, 0.5, 0.0]
    assert scores_of(rows, "base") == [None]
    assert figures["judge_test_pair_accuracy"] == 1.0
    assert {(one["path"], one["model"], one["temperature"]) for one in asked} == {
        ("/v1/chat/completions", "m", 0)
    }
    assert {one["key"] for one in asked} == {"Bearer secret-key"}
    # Equal answers are not sent: two of six, and each other pair is asked in both orders.
    assert len(asked) == 2 * (5 + 2)


@pytest.mark.parametrize("reply", ["A", "B", "perhaps", ""])
def test_judge_answers_endpoint_that_prefers_a_place_wins_nothing(tmp_path: Path, reply: str) -> None:
    with endpoint(lambda text: reply) as (address, _):
        figures, rows = evaluated(
            tmp_path, EvaluateParameters(judge="endpoint", judge_endpoint=address, judge_model="m")
        )
    assert scores_of(rows, "aligned") == [0.5] * 3
    assert figures["judge_test_pair_accuracy"] == 0.5


def test_judge_answers_endpoint_asks_about_some_test_pairs(tmp_path: Path) -> None:
    with endpoint(prefer_good) as (address, _):
        figures, _ = evaluated(
            tmp_path, EvaluateParameters(judge="endpoint", judge_endpoint=address, judge_model="m"), 450
        )
    assert 100 <= figures["judge_test_pair_accuracy_n"] <= MOST_PAIRS["endpoint"]


def test_endpoint_judge_busy_server_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    waited: list[float] = []
    monkeypatch.setattr(endpoint_judge.time, "sleep", waited.append)
    with endpoint(prefer_good, [503, 429]) as (address, asked):
        outcomes, unclear = EndpointJudge(address, "m").compare_answers([({"prompt": "?"}, "good", "bad")])
    assert (outcomes, unclear) == ([1.0], 0)
    assert len(asked) == 4 and waited == [1.0, 2.0]


@pytest.mark.parametrize(("status", "tries"), [(401, 1), (404, 1), (500, 5)])
def test_endpoint_judge_refusing_server_is_one_sentence(
    monkeypatch: pytest.MonkeyPatch, status: int, tries: int
) -> None:
    monkeypatch.setattr(endpoint_judge.time, "sleep", lambda seconds: None)
    with (
        endpoint(prefer_good, [status] * 20) as (address, asked),
        pytest.raises(UserError, match=f"status {status}.*judge_endpoint"),
    ):
        EndpointJudge(address, "m").compare_answers([({"prompt": "?"}, "good", "bad")])
    assert len(asked) == tries


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"judge": "function"}, "needs judge_function"),
        ({"judge": "endpoint", "judge_endpoint": "http://x"}, "needs judge_model"),
        ({"judge_function": "a.py:f"}, "no effect"),
        ({"judge": "lexicon", "judge_model": "m"}, "no effect"),
        ({"judge": "function", "judge_function": "a.py"}, "FILE.py:NAME"),
        ({"judge": "function", "judge_function": "a.txt:f"}, "FILE.py:NAME"),
        ({"judge": "endpoint", "judge_endpoint": "ftp://x", "judge_model": "m"}, "http"),
        ({"judge": "endpoint", "judge_endpoint": "http://me:pw@x/v1", "judge_model": "m"}, "password"),
    ],
)
def test_evaluate_parameters_wrong_judge_keys_are_refused(values: dict[str, str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        EvaluateParameters(**values)  # type: ignore[arg-type]
