"""Measure seconds, memory and the result's hash from text to tokens at a size, by number of workers.

Run it with `python -m tests.benchmarks.size --gb 1 --workers 2`. Generated text goes through ingest,
validate, split and tokenizer, each time in a new project and process. Then tokenizing is timed beside
`tokenizers` on all cores; `--no-peer` leaves that out.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from rich.console import Console
from rich.table import Table

from flows.servers.environment import prepare_environment
from tasks.project.paths import CACHE
from tests.benchmarks.pairing import Ratio, pair

BENCH = CACHE / "bench"
WORDS = 50_000
PARAGRAPHS, PARAGRAPH = 5, 100
KEPT = 1000
SAMPLE = 64_000_000
VOCABULARY = 4096


def documents(seed: int = 0) -> Iterator[str]:
    """Yield documents of about 3 KB with Zipf's word frequencies; one in fifty repeats an early one."""
    random = np.random.default_rng(seed)
    letters, shares = list("etaoinshrdlucmfwypvbgk"), 1 / np.arange(1, 23)
    sizes = random.integers(2, 12, WORDS)
    words = ["".join(random.choice(letters, size=n, p=shares / shares.sum())) for n in sizes]
    forms = np.array([*words, *(f"{word}." for word in words)], object)
    zipf = np.cumsum(1 / np.arange(1, WORDS + 1))
    known: list[str] = []
    while True:
        drawn = np.searchsorted(zipf, random.random((KEPT, PARAGRAPHS, PARAGRAPH)) * zipf[-1])
        drawn += WORDS * (random.random(drawn.shape) < 1 / 12)
        again = random.random(KEPT) < 0.02
        for number, whole in enumerate(forms[drawn]):
            if again[number] and len(known) == KEPT:
                yield known[int(random.integers(KEPT))]
                continue
            text = "\n\n".join(" ".join(paragraph) for paragraph in whole)
            if len(known) < KEPT:
                known.append(text)
            yield text


def corpus(gigabytes: float) -> Path:
    """Return a JSON Lines file of this size; it is written once."""
    path = BENCH / f"text-{gigabytes:g}.jsonl"
    if path.exists():
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    left = gigabytes * 1e9
    with part.open("wb") as file:
        for text in documents():
            left -= file.write(json.dumps({"text": text}).encode() + b"\n")
            if left <= 0:
                break
    part.replace(path)
    return path


@dataclass(frozen=True)
class Step:
    """The seconds of one stage, and the peak memory in bytes of the first process and of any other."""

    name: str
    seconds: float
    first: int
    other: int


@dataclass(frozen=True)
class Measured:
    """The measurements of one path: its steps, DVC's hash of the data, and the digest of the token folder."""

    workers: int
    steps: list[Step]
    data: str
    tokens: str


class Memory:
    """A thread that records the peak resident memory of this process and its children since `begin`."""

    def __init__(self) -> None:
        self.first = self.other = 0
        threading.Thread(target=self._look, daemon=True).start()

    def begin(self) -> None:
        self.first = self.other = 0

    def _look(self) -> None:
        here = psutil.Process()
        while True:
            self.first = max(self.first, here.memory_info().rss)
            for process in here.children(recursive=True):
                try:
                    self.other = max(self.other, process.memory_info().rss)
                except psutil.Error:
                    continue
            time.sleep(0.05)


def measure(text: Path, workers: int) -> Measured:
    """Run the four stages in a new project with that many processes."""
    from tasks.data.sources.source_types import DataParameters, Source
    from tasks.data.splits import SplitParameters
    from tasks.engine.output import StageOutput
    from tasks.engine.parallel import process_pool
    from tasks.engine.stage import Stage, StageContext
    from tasks.ingest import ingest
    from tasks.split import split
    from tasks.tokenizer import TokenizerParameters, tokenizer
    from tasks.validate import ValidateParameters, validate

    root = BENCH.resolve() / f"{text.stem}-{workers}"
    shutil.rmtree(root, ignore_errors=True)
    root.mkdir(parents=True)
    chain: tuple[tuple[Stage, Any], ...] = (
        (ingest, DataParameters((Source("bench", "rows", files=f"../{text.name}"),))),
        (validate, ValidateParameters()),
        (split, SplitParameters()),
        (tokenizer, TokenizerParameters(VOCABULARY)),
    )
    memory = Memory()
    made: dict[str, StageOutput] = {}
    steps = []
    with process_pool(workers) as parallel_map:
        context = StageContext(root, parallel_map=parallel_map)
        for stage, parameters in chain:
            memory.begin()
            began = time.monotonic()
            made[stage.name] = stage.run(parameters, made, context, lambda event: None)
            parallel_map.close()
            steps.append(Step(stage.name, time.monotonic() - began, memory.first, memory.other))
    found = Measured(workers, steps, made["ingest"].metrics["data_hash"], made["tokenizer"].digest)
    shutil.rmtree(root)
    return found


def tokenising(text: Path) -> Ratio:
    """Time the encoding of the first 64 MB on all cores: ours from shards to files, the peer's in memory."""
    import hashlib

    from model.data.tokenizer import train_tokenizer
    from tasks.engine.parallel import process_pool
    from tasks.tokenizer import Encoding, encode_shard, sample_texts

    folder = BENCH.resolve() / "tokenising"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    texts = list(sample_texts([text], SAMPLE))
    encoder = train_tokenizer(texts[: len(texts) // 8], VOCABULARY)
    encoder.save(folder)
    whose = hashlib.sha256((folder / "tokenizer.json").read_bytes()).hexdigest()
    cores = psutil.cpu_count() or 1
    work = []
    for number in range(4 * cores):
        path = folder / f"{number:05}.jsonl"
        rows = texts[number * len(texts) // (4 * cores) : (number + 1) * len(texts) // (4 * cores)]
        path.write_text("".join(json.dumps({"text": row, "source": "bench"}) + "\n" for row in rows))
        work.append(Encoding("train", path, folder, whose))
    with process_pool(patience=0.0) as parallel_map:

        def ours() -> None:
            for _ in parallel_map(encode_shard, work):
                pass

        def theirs() -> list[list[int]]:
            batches = (texts[start : start + KEPT] for start in range(0, len(texts), KEPT))
            return [
                found.ids
                for batch in batches
                for found in encoder.rules.encode_batch(batch, add_special_tokens=False)
            ]

        ours()
        ids = np.concatenate([np.fromfile(part.tokens, encoder.dtype) for part in work])
        wanted = [token for found in theirs() for token in (*found, encoder.end)]
        assert ids.tolist() == wanted, "the ids are not identical"
        del ids, wanted
        amount = f"{sum(len(text.encode()) for text in texts) / 1e6:.0f} MB"
        found = pair("tokenise on all cores", ours, theirs, 6.0, 3, amount)
    shutil.rmtree(folder)
    return found


def in_a_process(*words: str) -> dict[str, Any]:
    """Return the last line that this module prints when it is run with `words`."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.benchmarks.size", *words], stdout=subprocess.PIPE, text=True, check=True
    )
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gb", type=float, default=0.1, help="size of the text")
    parser.add_argument("--workers", type=int, nargs="+", default=[2], help="processes, each tried in turn")
    parser.add_argument("--no-peer", action="store_true", help="leave the peer out")
    parser.add_argument("--measure", type=int, help=argparse.SUPPRESS)
    given = parser.parse_args()
    prepare_environment(Path.cwd())
    console = Console(width=110)
    text = corpus(given.gb)
    if given.measure:
        print(json.dumps(asdict(measure(text, given.measure))))
        return 0
    size = text.stat().st_size / 1e6
    hashes = set()
    for workers in given.workers:
        found = in_a_process("--gb", str(given.gb), "--measure", str(workers))
        hashes.add((found["data"], found["tokens"]))
        table = Table(title=f"{size:,.0f} MB of text, {workers} processes · {psutil.cpu_count()} cores")
        for column in ("step", "seconds", "MB/s", "GB, first process", "GB, any other"):
            table.add_column(column, justify="left" if column == "step" else "right")
        for step in found["steps"]:
            table.add_row(
                step["name"], f"{step['seconds']:.1f}", f"{size / step['seconds']:.1f}",
                f"{step['first'] / 1e9:.2f}", f"{step['other'] / 1e9:.2f}",
            )  # fmt: skip
        whole = sum(step["seconds"] for step in found["steps"])
        most = [f"{max(step[name] for step in found['steps']) / 1e9:.2f}" for name in ("first", "other")]
        table.add_row("whole path", f"{whole:.1f}", f"{size / whole:.1f}", *most)
        console.print(table)
        console.print(f"data {found['data']}, tokens {found['tokens'][:16]}")
    if len(given.workers) > 1:
        console.print("identical hashes" if len(hashes) == 1 else "[bold red]the hashes differ[/bold red]")
    if not given.no_peer:
        ratio = tokenising(text)
        console.print(
            f"{ratio.what}, {ratio.amount}: ours {ratio.ours:.2f} s, tokenizers {ratio.theirs:.2f} s, "
            f"{ratio.value:.1f} times (bar {ratio.bar:.0f}): {'met' if ratio.met else 'missed'}"
        )
    return int(len(hashes) > 1)


if __name__ == "__main__":
    sys.exit(main())
