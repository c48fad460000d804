"""Judges that are no reward model: a function of the team's own, and a model behind an address."""

from __future__ import annotations

import contextlib
import gzip
import os
import re
import resource
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, BinaryIO

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
from tasks.evaluation.function_judge import COPY, JudgeProcess, copy_function, digest_function
from tasks.judge import JudgeParameters, judge, read_judge
from tests.model.conftest import write_rows
from tests.tasks.evaluation.judge_endpoint import endpoint, prefer_good

LENGTH = "def score(prompt, answer, history):\n    return len(answer)\n"
ANSWERS = {"sft": ["good", "bad", "good"], "aligned": ["good!", "good", "bad"], "champion": ["bad"] * 3}


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
        ("import sys\nsys.exit()\n", r"f\.py, line 2: SystemExit"),
        ("score = 3\n", "no function score"),
        ("def other(p, a, h):\n    return 1\n", "no function score"),
    ],
)
def test_copy_function_broken_file_names_the_line(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "f.py").write_text(text)
    (tmp_path / "out").mkdir()
    with pytest.raises(UserError, match=message):
        copy_function("f.py:score", tmp_path, tmp_path / "out", 60, lambda event: None)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("return 1 / 0", r"f\.py, line 2: ZeroDivisionError"),
        ("return None", "TypeError"),
        ("return float('nan')", "returned nan for .* expected a number from -1e\\+30 to 1e\\+30"),
        ("return float('-inf')", "returned -inf for"),
        ("return 1.7e308", "returned 1.7e\\+308 for"),
        ("return -(10 ** 40)", "returned -1e\\+40 for"),
        ("import sys; sys.exit(0)", r"f\.py, line 2: SystemExit"),
        ("raise SystemExit", r"f\.py, line 2: SystemExit"),
        ("raise ValueError('x' * 100_000)", r"f\.py, line 2: ValueError: x{300}…$"),
        ("return score(prompt, answer, history)", r"f\.py, line 2: RecursionError"),
    ],
)
def test_judge_answers_failing_function_names_the_answer(tmp_path: Path, body: str, message: str) -> None:
    (tmp_path / "f.py").write_text(f"def score(prompt, answer, history):\n    {body}\n")
    with pytest.raises(UserError, match=message):
        evaluated(tmp_path, EvaluateParameters(judge="function", judge_function="f.py:score"))


ENDS = {
    "exit": ("import os; os._exit(0)", r"exit code 0\)"),
    "signal": ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", "by SIGKILL; the usual cause"),
    # The child of the function holds the pipe open after its parent's end.
    "child": ("import os, time; os.fork() or time.sleep(3); os._exit(4)", r"exit code 4\)"),
    "crash": ("import ctypes; ctypes.string_at(0)", "by SIGSEGV"),
}


@pytest.mark.parametrize(("body", "message"), ENDS.values(), ids=list(ENDS))
def test_judge_answers_function_that_ends_its_process_is_named(
    tmp_path: Path, body: str, message: str
) -> None:
    (tmp_path / "f.py").write_text(
        f"def score(prompt, answer, history):\n    if answer == 'bad':\n        {body}\n    return 1\n"
    )
    with pytest.raises(UserError, match=rf"f\.py ended its process on the answer 'bad' \(.*{message}"):
        evaluated(tmp_path, EvaluateParameters(judge="function", judge_function="f.py:score"))


@pytest.mark.parametrize(("body", "message"), ENDS.values(), ids=list(ENDS))
def test_copy_function_file_that_ends_its_process_is_named(tmp_path: Path, body: str, message: str) -> None:
    (tmp_path / "f.py").write_text(f"{body}\ndef score(prompt, answer, history):\n    return 1\n")
    (tmp_path / "out").mkdir()
    with pytest.raises(UserError, match=rf"f\.py ended its process while its file was loaded \(.*{message}"):
        copy_function("f.py:score", tmp_path, tmp_path / "out", 60, lambda event: None)


def test_judge_process_function_keeps_its_state_and_its_thread_ends_nothing(tmp_path: Path) -> None:
    # A thread that never ends must not keep the run waiting.
    (tmp_path / COPY).write_text(
        "import threading, time\nthreading.Thread(target=time.sleep, args=(600,)).start()\nseen = []\n"
        "def score(prompt, answer, history):\n    seen.append(answer)\n    return len(seen)\n"
    )
    start = time.monotonic()
    with JudgeProcess(tmp_path, "score", "f.py", 60, lambda event: None) as function:
        row = {"prompt": "?", "completion": "\ud800 x"}
        assert function.score_rows([row] * 3) == [1, 2, 3]
        assert function.score_rows([row]) == [4]
    assert not function.process.is_alive()
    assert time.monotonic() - start < 60


@pytest.mark.parametrize(
    "body",
    [
        "os.fork()",
        "for _ in range(3): os.fork()",
        "if os.fork() == 0: raise ValueError",
        "if os.fork() == 0: sys.exit(3)",
    ],
)
def test_judge_process_function_that_forks_scores_its_own_answer(tmp_path: Path, body: str) -> None:
    (tmp_path / COPY).write_text(
        f"import os, sys\ndef score(prompt, answer, history):\n    {body}\n    return len(answer)\n"
    )
    rows = [{"prompt": "Why?", "completion": "x" * number} for number in range(20)]
    with JudgeProcess(tmp_path, "score", "forks.py", 60, lambda event: None) as process:
        assert process.score_rows(rows) == [float(number) for number in range(20)]


def test_judge_process_interrupted_ends_its_process(tmp_path: Path) -> None:
    (tmp_path / COPY).write_text(
        "import os, time\nfrom pathlib import Path\n\n"
        "def score(prompt, answer, history):\n"
        "    Path(prompt).write_text(str(os.getpid()))\n    os.replace(prompt, answer)\n    time.sleep(600)\n"
    )
    at, seen = tmp_path / "begun", tmp_path / "pid"
    program = (
        "from pathlib import Path; from tasks.evaluation.function_judge import JudgeProcess\n"
        f"with JudgeProcess(Path({str(tmp_path)!r}), 'score', 'f.py', 600, print) as function:\n"
        f"    function.score_rows([{{'prompt': {str(at)!r}, 'completion': {str(seen)!r}}}])\n"
    )
    process = subprocess.Popen([sys.executable, "-c", program], stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while not seen.exists():
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGINT)
    assert process.wait(30) != 0
    with pytest.raises(ProcessLookupError):
        os.kill(int(seen.read_text()), 0)


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


@pytest.mark.parametrize(
    ("reply", "shown"),
    [
        ("perhaps", "'perhaps'"),
        ("", "''"),
        ("<think>Answer A is", "'<think>Answer A is'"),
        ("Äpfel", "xc4pfel"),
    ],
)
def test_endpoint_judge_unreadable_replies_stop_the_evaluation(reply: str, shown: str) -> None:
    rows = [({"prompt": "?"}, "good", f"bad {n}") for n in range(4)]
    with (
        endpoint(lambda text: reply) as (address, _),
        pytest.raises(UserError, match=f"in 0 of 8 replies; another reply begins with .*{re.escape(shown)}"),
    ):
        EndpointJudge(address, "m").compare_answers(rows)


@pytest.mark.parametrize("count", [1, 2, 3])
def test_endpoint_judge_unreadable_replies_about_few_pairs_are_ties(count: int) -> None:
    rows = [({"prompt": "?"}, "good", f"bad {n}") for n in range(count)]
    with endpoint(lambda text: "perhaps") as (address, _):
        assert EndpointJudge(address, "m").compare_answers(rows) == ([0.5] * count, 2 * count)


def test_endpoint_judge_few_unreadable_replies_are_counted() -> None:
    rows = [({"prompt": "?"}, "good", f"bad {n}") for n in range(4)]
    with endpoint(lambda text: "perhaps" if "bad 2" in text else prefer_good(text)) as (address, _):
        outcomes, unclear = EndpointJudge(address, "m").compare_answers(rows)
    assert (outcomes, unclear) == ([1.0, 1.0, 0.5, 1.0], 2)


@contextmanager
def raw_endpoint(send: Callable[[BinaryIO], object], headers: dict[str, str]) -> Iterator[str]:
    """Serve an address whose body is what `send` writes; yield it."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(200)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            with contextlib.suppress(OSError):
                send(self.wfile)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/v1"
        finally:
            server.shutdown()


def _send_gzip_bomb(file: BinaryIO) -> None:
    with gzip.GzipFile(fileobj=file, mode="wb") as packed:
        for _ in range(400):
            packed.write(b" " * 1_000_000)


def _send_endlessly(file: BinaryIO) -> None:
    while True:
        file.write(b"[" * 100_000)


@pytest.mark.parametrize(
    ("send", "headers"),
    [
        (_send_endlessly, {}),
        (lambda file: file.write(b"[" * 200_000), {}),
        (_send_gzip_bomb, {"Content-Encoding": "gzip"}),
        (lambda file: file.write(b"[1, 2]"), {}),
    ],
    ids=["endless", "nested", "gzip bomb", "list"],
)
def test_endpoint_judge_hostile_body_is_one_sentence(
    send: Callable[[BinaryIO], object], headers: dict[str, str]
) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with (
        raw_endpoint(send, headers) as address,
        pytest.raises(UserError, match="something else than a chat completion"),
    ):
        EndpointJudge(address, "m").compare_answers([({"prompt": "?"}, "good", "bad")])
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 150_000


@pytest.mark.parametrize("pause", [0.01, 0.05, 0.2])
def test_endpoint_judge_slow_body_ends_at_the_limit(monkeypatch: pytest.MonkeyPatch, pause: float) -> None:
    monkeypatch.setattr(endpoint_judge, "_RETRY_SECONDS", 0.0)
    monkeypatch.setattr(endpoint_judge, "_ANSWER_SECONDS", 0.5)

    def drip(file: BinaryIO) -> None:
        for _ in range(1000):
            file.write(b" ")
            time.sleep(pause)

    with raw_endpoint(drip, {}) as address, pytest.raises(UserError, match="unreachable \\(ReadTimeout\\)"):
        EndpointJudge(address, "m").compare_answers([({"prompt": "?"}, "good", "bad")])


@pytest.mark.parametrize("key", ["sk-\u00e4", "two\nlines", "nul\0"])
def test_endpoint_judge_unusable_key_is_named(key: str) -> None:
    use_environment({KEY_VARIABLE: key})
    try:
        with pytest.raises(UserError, match=f"the key in {KEY_VARIABLE}"):
            EndpointJudge("http://127.0.0.1:9/v1", "m").compare_answers([({"prompt": "?"}, "good", "bad")])
    finally:
        use_environment({})


@pytest.mark.parametrize("rows", [1, 8, 40])
def test_endpoint_judge_interrupted_ends_at_once(rows: int) -> None:
    reached = threading.Event()

    def hang(file: BinaryIO) -> None:
        reached.set()
        time.sleep(60)

    with raw_endpoint(hang, {}) as address:
        program = (
            "import sys; from tasks.evaluation.endpoint_judge import EndpointJudge;"
            f"EndpointJudge({address!r}, 'm').compare_answers([({{'prompt': '?'}}, 'a', 'b')] * {rows})"
        )
        process = subprocess.Popen([sys.executable, "-c", program], stderr=subprocess.DEVNULL)
        assert reached.wait(60)
        os.kill(process.pid, signal.SIGINT)
        assert process.wait(20) != 0


@pytest.mark.parametrize("reply", ["A", "B", "Answer: **A**", "tie."])
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
    monkeypatch.setattr(endpoint_judge, "_RETRY_SECONDS", 0.1)
    start = time.monotonic()
    with endpoint(prefer_good, [503, 429]) as (address, asked):
        outcomes, unclear = EndpointJudge(address, "m").compare_answers([({"prompt": "?"}, "good", "bad")])
    assert (outcomes, unclear) == ([1.0], 0)
    assert len(asked) == 4 and time.monotonic() - start >= 0.3


@pytest.mark.parametrize(("status", "tries"), [(401, 1), (404, 1), (500, 5)])
def test_endpoint_judge_refusing_server_is_one_sentence(
    monkeypatch: pytest.MonkeyPatch, status: int, tries: int
) -> None:
    monkeypatch.setattr(endpoint_judge, "_RETRY_SECONDS", 0.0)
    with (
        endpoint(prefer_good, [status] * 20) as (address, asked),
        pytest.raises(UserError, match=f"status {status}.*judge_endpoint"),
    ):
        EndpointJudge(address, "m").compare_answers([({"prompt": "?"}, "good", "bad")])
    assert len(asked) == tries


def test_check_reachable_sends_one_request_of_the_evaluation() -> None:
    with endpoint(prefer_good) as (address, asked):
        assert EndpointJudge(address, "m", "Which is good?").check_reachable() == ""
        EndpointJudge(address, "m", "Which is good?").compare_answers([({"prompt": "?"}, "good", "bad")])
    first, second = asked[:2]
    assert len(asked) == 3
    assert {**first, "messages": 0} == {**second, "messages": 0}
    assert first["messages"][0]["content"].startswith("Which is good?\n\n# Conversation\nuser: ")


@pytest.mark.parametrize(
    ("status", "message"),
    [
        (400, "status 400; check evaluate.judge_endpoint.*evaluate.judge_model"),
        (401, f"status 401; set the key of evaluate.judge_endpoint in {KEY_VARIABLE}"),
        (403, f"status 403; set the key of evaluate.judge_endpoint in {KEY_VARIABLE}"),
        (404, "status 404; check evaluate.judge_endpoint.*evaluate.judge_model"),
    ],
)
def test_check_reachable_refused_request_names_the_key(status: int, message: str) -> None:
    with (
        endpoint(prefer_good, [status] * 9) as (address, asked),
        pytest.raises(UserError, match=f"the judge at {re.escape(address)} answers {message}"),
    ):
        EndpointJudge(address, "m").check_reachable()
    assert len(asked) == 1


@pytest.mark.parametrize(
    "address", ["http://127.0.0.1:{closed}/v1", "http://no-such-host.invalid/v1"], ids=["closed", "unknown"]
)
def test_check_reachable_nobody_there_is_one_sentence(address: str) -> None:
    with socket.socket() as port:
        port.bind(("127.0.0.1", 0))
        address = address.format(closed=port.getsockname()[1])
    with pytest.raises(
        UserError, match=rf"{re.escape(address)} is unreachable \(ConnectError\); check evalu"
    ):
        EndpointJudge(address, "m").check_reachable()


def test_check_reachable_other_page_is_one_sentence() -> None:
    with (
        raw_endpoint(lambda file: file.write(b"<html>"), {}) as address,
        pytest.raises(UserError, match="something else than a chat completion"),
    ):
        EndpointJudge(address, "m").check_reachable()


@pytest.mark.parametrize("status", [408, 429, 500, 503])
def test_check_reachable_busy_server_is_a_notice(status: int) -> None:
    with endpoint(prefer_good, [status] * 9) as (address, asked):
        notice = EndpointJudge(address, "m").check_reachable()
    assert notice == f"the judge at {address} answers status {status}; the evaluation asks it again"
    assert len(asked) == 1


def test_check_reachable_unreadable_reply_is_a_notice() -> None:
    with endpoint(lambda text: "Let me think") as (address, _):
        notice = EndpointJudge(address, "m").check_reachable()
    assert "its reply begins with 'Let me think'" in notice


def test_check_reachable_silent_server_is_a_notice_in_bounded_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endpoint_judge, "_CHECK_SECONDS", 0.5)
    start = time.monotonic()
    with raw_endpoint(lambda file: time.sleep(5), {}) as address:
        notice = EndpointJudge(address, "m").check_reachable()
    assert "is unreachable (ReadTimeout)" in notice
    assert time.monotonic() - start < 5


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"judge": "function"}, "needs judge_function"),
        ({"judge": "endpoint", "judge_endpoint": "http://x"}, "needs judge_model"),
        ({"judge_function": "a.py:f"}, "no effect"),
        ({"max_judge_seconds": 5}, "no effect"),
        ({"judge": "function", "judge_function": "a.py:f", "max_judge_seconds": 0}, "above 0"),
        ({"judge": "function", "judge_function": "a.py:f", "max_judge_seconds": float("nan")}, "above 0"),
        ({"judge": "lexicon", "judge_model": "m"}, "no effect"),
        ({"judge": "function", "judge_function": "a.py"}, "FILE.py:NAME"),
        ({"judge": "function", "judge_function": "a.txt:f"}, "FILE.py:NAME"),
        ({"judge": "endpoint", "judge_endpoint": "ftp://x", "judge_model": "m"}, "http"),
        ({"judge": "endpoint", "judge_endpoint": "http://[::1/v1", "judge_model": "m"}, "not an address"),
        ({"judge": "endpoint", "judge_endpoint": "http://x:99999/v1", "judge_model": "m"}, "not an address"),
        ({"judge": "endpoint", "judge_endpoint": "http://x:port/v1", "judge_model": "m"}, "not an address"),
        ({"judge": "endpoint", "judge_endpoint": "http://me:pw@x/v1", "judge_model": "m"}, "password"),
    ],
)
def test_evaluate_parameters_wrong_judge_keys_are_refused(values: dict[str, str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        EvaluateParameters(**values)  # type: ignore[arg-type]
