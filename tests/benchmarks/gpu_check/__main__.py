"""Check one GPU: correctness against the CPU, speeds, memory, and a resumed training, in at most 8 minutes.

Run it with `make gpu-check`, or with `python -m tests.benchmarks.gpu_check` where only torch, tokenizers,
safetensors and transformers are installed. `--device cpu --small` tries all parts in less than a minute. The
exit code is 1 if a figure is wrong or a part failed.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import platform
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from multiprocessing.connection import Connection
from pathlib import Path

import torch

from tests.benchmarks.gpu_check import correctness, resuming, speed
from tests.benchmarks.gpu_check.rows import SMALL, WHOLE, Row, Size

# The whole time in seconds, with the start of Python.
BUDGET = 450.0
# The time in which the process of a part ends by itself.
GRACE = 5.0


@dataclass(frozen=True)
class Part:
    """A part of the check: it runs in a process of its own, for at most `limit` seconds.

    It is left out if fewer than `least` seconds are left.
    """

    name: str
    measure: Callable[[Size, str], Iterator[Row]]
    limit: float
    least: float


# In the order of their worth: what is left out for lack of time stands at the end.
PARTS = (
    Part("logits", correctness.check_logits, 60, 10),
    Part("packed rows", correctness.check_packed_rows, 40, 10),
    Part("sampler", correctness.check_sampler, 60, 10),
    Part("reward", correctness.check_reward, 40, 10),
    Part("curve", correctness.check_curve, 60, 10),
    Part("transformers", correctness.check_transformers, 60, 10),
    Part("products", speed.measure_products, 30, 10),
    Part("batches", speed.measure_batches, 40, 15),
    Part("compiled", speed.measure_compiled, 150, 40),
    Part("eager", speed.measure_eager, 60, 20),
    Part("ppo", speed.measure_ppo, 90, 30),
    Part("packed", speed.measure_packed, 150, 40),
    Part("lora", speed.measure_adapters, 120, 40),
    Part("sampling", speed.measure_sampling, 90, 30),
    Part("resuming", resuming.check_resuming, 150, 40),
)


@dataclass
class Outcome:
    """The rows that a part measured, its seconds, and why it has no more; empty: it is complete."""

    part: str
    rows: list[Row]
    seconds: float
    problem: str = ""
    left_out: bool = False

    @property
    def failed(self) -> bool:
        """Return whether a figure is wrong or the part did not end by itself."""
        return bool(self.problem and not self.left_out) or any(row.verdict == "FAILED" for row in self.rows)


def run_part(part: Part, size: Size, device: str, seconds: float) -> Outcome:
    """Run a part in a process of its own for at most `seconds`; what it measured until then is kept."""
    began = time.monotonic()
    # Forked: the modules are imported already, and CUDA is not yet in use.
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_measure, args=(part, size, device, theirs))
    process.start()
    theirs.close()
    rows: list[Row] = []
    problem = "its process ended without a result"
    try:
        while True:
            left = seconds - (time.monotonic() - began)
            if left <= 0 or not ours.poll(left):
                problem = f"stopped after {seconds:.0f} s, its limit"
                break
            said = ours.recv()
            if isinstance(said, str):
                problem = said
                break
            rows.append(said)
    except EOFError:
        process.join(GRACE)
        problem = f"its process ended with code {process.exitcode}"
    finally:
        _end(process)
    return Outcome(part.name, rows, time.monotonic() - began, problem)


def _measure(part: Part, size: Size, device: str, pipe: Connection) -> None:
    # A group of its own, so that a training that it started ends with it.
    os.setsid()
    try:
        for row in part.measure(size, device):
            pipe.send(row)
        pipe.send("")
    except BaseException as error:
        traceback.print_exc()
        pipe.send(f"{type(error).__name__}: {str(error).partition(chr(10))[0]}")
    finally:
        pipe.close()


def _end(process: multiprocessing.process.BaseProcess) -> None:
    process.join(GRACE)
    if process.is_alive():
        try:
            os.killpg(process.pid or 0, signal.SIGKILL)
        except ProcessLookupError:
            process.kill()
        process.join(GRACE)


def run_parts(
    parts: tuple[Part, ...], size: Size, device: str, seconds: float, show: Callable[[Outcome], None]
) -> list[Outcome]:
    """Run the parts in order within `seconds` in all; `show` gets each outcome as it comes."""
    began, outcomes = time.monotonic(), []
    for part in parts:
        left = seconds - (time.monotonic() - began)
        if left < part.least:
            problem = f"left out: {max(0, left):.0f} s are left, and it needs about {part.least:.0f}"
            outcome = Outcome(part.name, [], 0.0, problem, left_out=True)
        else:
            outcome = run_part(part, size, device, min(part.limit, left))
        outcomes.append(outcome)
        show(outcome)
    return outcomes


def show_outcome(outcome: Outcome) -> None:
    """Print the lines of a part's table."""
    print(f"{outcome.part} ({outcome.seconds:.0f} s)")
    for row in outcome.rows:
        value = (
            "none" if row.value is None else f"{row.value:,.4g}" if row.value < 1000 else f"{row.value:,.0f}"
        )
        line = f"  {row.what:<66} {value:>12} {row.unit:<9} {row.verdict:<7} {row.bound}"
        print(line.rstrip())
    if outcome.problem:
        print(f"  {'' if outcome.left_out else 'FAILED: '}{outcome.problem}")
    sys.stdout.flush()


def describe_machine(device: str) -> dict[str, str]:
    """Return the names and versions that the figures depend on."""
    found = {"device": device, "torch": torch.__version__, "python": platform.python_version()}
    # Only now, as CUDA must not be in use before the forks; the last fork has ended.
    if device == "cuda" and torch.cuda.is_available():
        found |= {"gpu": torch.cuda.get_device_name(), "cuda": str(torch.version.cuda)}
    return found


def main() -> int:
    """Run the check and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.gpu_check", description=__doc__)
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda", help="the device to check")
    parser.add_argument("--small", action="store_true", help="a small model: do all parts run?")
    parser.add_argument("--seconds", type=float, default=BUDGET, help="the time for all parts")
    parser.add_argument("--only", default="", help="names of parts, separated by commas")
    parser.add_argument("--out", type=Path, default=Path("gpu_check.json"), help="the file for the figures")
    chosen = parser.parse_args()
    known = {part.name: part for part in PARTS}
    names = [name.strip() for name in chosen.only.split(",") if name.strip()] or list(known)
    if unknown := [name for name in names if name not in known]:
        parser.error(f"unknown part {unknown[0]!r}; expected some of {', '.join(known)}")
    if chosen.device == "cpu":
        # Threads that wait for each other would be slow on a busy machine.
        torch.set_num_threads(1)
        os.environ["OMP_NUM_THREADS"] = "1"
    outcomes = run_parts(
        tuple(known[name] for name in names), SMALL if chosen.small else WHOLE, chosen.device,
        chosen.seconds, show_outcome,
    )  # fmt: skip
    failed = [outcome.part for outcome in outcomes if outcome.failed]
    left_out = [outcome.part for outcome in outcomes if outcome.left_out]
    written = [
        {**asdict(outcome), "rows": [{**asdict(row), "verdict": row.verdict} for row in outcome.rows]}
        for outcome in outcomes
    ]
    machine = describe_machine(chosen.device)
    chosen.out.write_text(json.dumps({"machine": machine, "failed": failed, "parts": written}, indent=1))
    print(", ".join(f"{name} {value}" for name, value in machine.items()))
    print(f"failed: {', '.join(failed) or 'none'}; left out: {', '.join(left_out) or 'none'}; {chosen.out}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
