"""The check's last part: a training that SIGTERM stops and that is run again ends in the same weights."""

from __future__ import annotations

import contextlib
import hashlib
import json
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path

from model.data.tokenizer import train_tokenizer
from model.events import Event, Step
from model.training.launcher import launch_training
from model.training.pretrain import train_base
from tests.benchmarks.gpu_check.rows import Row, Size


class _Stop(Exception):
    """Raised in the launcher, which then ends the training in order."""


def check_resuming(size: Size, device: str) -> Iterator[Row]:
    """Train three times: whole, and stopped by SIGTERM and resumed; compare the weights."""
    with tempfile.TemporaryDirectory() as root:
        inputs = _write_inputs(Path(root), size, device)
        began = time.monotonic()
        whole = _train(inputs, Path(root, "whole"))
        yield Row("an unbroken training", time.monotonic() - began, "s")
        at = size.resumed_steps // 3
        stopped = Path(root, "stopped")

        def stop(event: Event) -> None:
            if isinstance(event, Step) and event.step >= at:
                raise _Stop

        began = time.monotonic()
        with contextlib.suppress(_Stop):
            _train(inputs, stopped, stop)
        yield Row("the training until SIGTERM ended it", time.monotonic() - began, "s")
        kept = sorted(int(path.stem) for path in (stopped / "checkpoints").glob("*.pt"))
        yield Row("its newest checkpoint is after step", float(kept[-1] if kept else -1), least=at)
        began = time.monotonic()
        resumed = _train(inputs, stopped)
        yield Row("the rest of it", time.monotonic() - began, "s")
        yield Row("weights are bit-identical (1) or not (0)", float(whole == resumed), least=1.0)


def _write_inputs(root: Path, size: Size, device: str) -> dict[str, object]:
    texts = [f"number {n} is {'even' if n % 2 == 0 else 'odd'} and it goes on in words" for n in range(4000)]
    folder = root / "tokens"
    tokenizer = train_tokenizer(texts[:500], size.compared.vocab_size)
    tokenizer.save(folder)
    ids = tokenizer.encode_documents(texts)
    for split in ("train", "valid"):
        ids.tofile(folder / f"{split}.bin")
    (folder / "tokens.json").write_text(json.dumps({"dtype": ids.dtype.str}))
    shape = replace(size.compared, vocab_size=tokenizer.vocab_size)
    return {
        "parameters": {
            "steps": size.resumed_steps, "batch_size": 16, "micro_batch_size": 8, "max_eval_tokens": 10_000,
            "optimizer": {"muon_learning_rate": 0.02},
        },
        "architecture": asdict(shape), "tokenizer": str(folder), "seed": 1, "device": device,
    }  # fmt: skip


def _train(inputs: dict[str, object], folder: Path, hear: object = lambda event: None) -> str:
    """Train in `folder` and return the digest of the weights."""
    launch_training(
        train_base, {**inputs, "folder": str(folder)}, on_event=hear, log=folder.with_suffix(".log")
    )
    return hashlib.sha256((folder / "model" / "model.safetensors").read_bytes()).hexdigest()
