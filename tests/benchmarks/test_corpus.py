"""Test that the benchmark beside transformers starts in any checkout."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from model.training.launcher import RUNTIME
from tests.benchmarks.smoke import REPOSITORY

PROGRAM = """
import sys
from tests.benchmarks.__main__ import STEP, main, read_corpus
texts, tokenizer = read_corpus()
assert len(texts) > 50 and tokenizer.rules.get_vocab_size() == STEP.vocab_size
sys.argv[1:] = ["--help"]
main()
"""


def test_main_small_data_is_replaced_by_generated_texts(tmp_path: Path) -> None:
    (tmp_path / "data" / "text").mkdir(parents=True)
    rows = [{"id": str(number), "text": f"A short review, number {number}."} for number in range(50)]
    (tmp_path / "data" / "text" / "00000.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    environment = {**os.environ, **RUNTIME, "PYTHONPATH": str(REPOSITORY)}
    words = [sys.executable, "-c", PROGRAM]
    done = subprocess.run(words, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "usage: python -m tests.benchmarks" in done.stdout
