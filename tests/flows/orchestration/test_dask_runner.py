"""DaskRunner: the same bytes as a serial run, and errors unchanged."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("prefect_dask")

from prefect import flow, task

from flows.orchestration.dask_runner import DaskRunner
from model.errors import UserError
from tasks.data.sources.source_types import DataParameters, Source
from tasks.data.splits import SplitParameters
from tasks.engine.cache_key import folder_sums, sums_digest
from tasks.engine.parallel import ParallelMap, serial_map
from tasks.ingestion.row_making import make_rows
from tasks.split import split
from tasks.tokenizer import TokenizerParameters, tokenizer
from tests.tasks.engine.test_parallel import process_of, refuse


def quiet(event: dict[str, Any]) -> None:
    pass


def path_to_tokens(root: Path, out: Path, parallel_map: ParallelMap) -> str:
    """Ingest, split and tokenise; return the digest of all files."""
    parameters = DataParameters(tuple(Source(name, "rows", files=f"{name}.jsonl") for name in "abc"))
    make_rows(parameters, root, out / "good", quiet, parallel_map)
    (out / "tokens").mkdir()
    split(
        SplitParameters(0.1, 0.1),
        validate=out / "good",
        out=out / "parts",
        on_event=quiet,
        parallel_map=parallel_map,
    )
    tokenizer(
        TokenizerParameters(300), split=out / "parts", out=out / "tokens", on_event=quiet, root=root,
        parallel_map=parallel_map,
    )  # fmt: skip
    return sums_digest(folder_sums(out))


@pytest.mark.usefixtures("server_root")
def test_dask_runner_two_workers_write_same_bytes_as_serial(tmp_path: Path) -> None:
    for start, name in enumerate("abc"):
        texts = [f"the film number {n} of {name if n % 3 else 'all'} is good" for n in range(200 + start)]
        lines = "".join(json.dumps({"text": text}) + "\n" for text in texts)
        (tmp_path / f"{name}.jsonl").write_text(lines)
    here = path_to_tokens(tmp_path, tmp_path / "here", serial_map)

    @flow(name="cluster", persist_result=False)
    def spread_out() -> tuple[str, set[int]]:
        with DaskRunner("local", tmp_path / "scratch") as parallel_map:
            # A stage is a Prefect task whose closure holds the whole run and its cluster.
            @task(name="stage", persist_result=False)
            def stage() -> tuple[str, set[int]]:
                workers = set(parallel_map(process_of, range(12)))
                with pytest.raises(UserError, match=r"^row 3 is wrong$"):
                    list(parallel_map(refuse, range(9)))
                return path_to_tokens(tmp_path, tmp_path / "there", parallel_map), workers

            return stage()

    there, workers = spread_out()
    assert there == here
    assert len(workers) == 2 and os.getpid() not in workers


@pytest.mark.usefixtures("server_root")
def test_dask_runner_unreachable_scheduler_is_refused(tmp_path: Path) -> None:
    @flow(name="nowhere", persist_result=False)
    def nowhere() -> None:
        with DaskRunner("tcp://127.0.0.1:9", tmp_path, seconds=1.0) as parallel_map:
            list(parallel_map(process_of, [1]))

    with pytest.raises(UserError, match=r"the Dask scheduler at tcp://127\.0\.0\.1:9 is unreachable"):
        nowhere()


def test_dask_runner_missing_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "prefect_dask", None)
    with pytest.raises(UserError, match=r"pip install 'chatmill\[dask\]'"):
        DaskRunner("local", tmp_path)
