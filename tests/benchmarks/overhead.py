"""Measure the time that orchestration and tracking add to the stages' own work.

Run it with `make overhead`, or `python -m tests.benchmarks.overhead --preset configs/demo.yaml`. It runs
`chatmill run` and the same stages as plain functions, in turn, each in a new folder and a new process. It
compares the medians of the seconds from the start of the process to its end. The plain functions use no
Prefect, MLflow, cache keys or manifests, and start their training processes as usual. Both sides must leave
the same bytes.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.benchmarks.smoke import SMOKE, Timed, call, lay

if TYPE_CHECKING:
    from flows.config import Preset
    from tasks.engine.stage import Stage

BAR = 20.0
PLAIN = "plain.json"


@dataclass(frozen=True)
class Measured:
    """The measurements of one side: its seconds, the seconds of each stage's function, each output's digest.

    Of the flow also the seconds of each stage with its surroundings, and the seconds before the first stage,
    between stages and after the last.
    """

    timed: Timed
    stages: dict[str, float]
    digests: dict[str, str]
    around: dict[str, float]
    start: float = 0.0
    between: float = 0.0
    end: float = 0.0

    @property
    def own(self) -> float:
        """Return the seconds in the stages' own functions."""
        return sum(self.stages.values())

    @property
    def wrapping(self) -> float:
        """Return the seconds around the stages' functions: cache keys, checksums and records."""
        return sum(self.around.values())


def flow(root: Path, preset: Path) -> Measured:
    """Run the chain by `chatmill run`, with its own server and records, and return its measurements."""
    timed = call(root, "flows.cli.main", "run", "--config", str(preset))
    manifests = {
        stage["name"]: json.loads((Path(stage["folder"]) / "manifest.json").read_text())
        for stage in json.loads((root / "var" / "summary.json").read_text())["stages"]
    }
    spans = _spans(root)
    assert list(spans) == list(manifests), "the records do not hold each stage once"
    starts, ends = zip(*spans.values(), strict=True)
    return Measured(
        timed,
        {name: found["seconds"] for name, found in manifests.items()},
        {name: found["digest"] for name, found in manifests.items()},
        {name: spans[name][1] - spans[name][0] - found["seconds"] for name, found in manifests.items()},
        start=starts[0] - timed.began,
        between=sum(after - before for before, after in zip(ends, starts[1:], strict=False)),
        end=timed.ended - ends[-1],
    )


def _spans(root: Path) -> dict[str, tuple[float, float]]:
    """Return the start and end of each stage's MLflow run in seconds since 1970, in order."""
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{root / 'var' / 'mlflow.db'}")
    experiments = [found.experiment_id for found in client.search_experiments()]
    runs = client.search_runs(experiments, "tags.`chatmill.stage` LIKE '%'", order_by=["start_time ASC"])
    return {
        run.data.tags["chatmill.stage"]: (run.info.start_time / 1000, run.info.end_time / 1000)
        for run in runs
    }


def plain(root: Path, preset: Path) -> Measured:
    """Run the same stages as plain functions in a new process, and return their measurements."""
    timed = call(root, "tests.benchmarks.overhead", "--plain", "--preset", str(preset))
    stages = json.loads((root / PLAIN).read_text())
    return Measured(timed, stages, {name: _digest(root / "made" / name, name) for name in stages}, {})


def _digest(folder: Path, stage: str) -> str:
    """Return the digest of a stage's output as a run computes it."""
    from model.training.trainer import RESUME_FILES
    from tasks.engine.cache_key import folder_sums, output_digest
    from tasks.engine.catalog import load_stages

    excluded = load_stages()[stage].declaration.excluded_from_digest
    return output_digest(folder_sums(folder, without=RESUME_FILES), excluded)


def call_plainly(preset: Preset, root: Path, only: str = "") -> dict[str, float]:
    """Run the pipeline's stages without a flow, up to `only`; return the seconds by stage."""
    from model.training.devices import find_device
    from tasks.drift import drift
    from tasks.engine.parallel import process_pool
    from tasks.evaluate import evaluate
    from tasks.gate import gate
    from tasks.ingest import ingest
    from tasks.judge import judge
    from tasks.labels import labels
    from tasks.pretrain import BaseParameters, pretrain
    from tasks.report import report
    from tasks.reward import reward
    from tasks.rlhf import rlhf
    from tasks.sft import sft
    from tasks.split import split
    from tasks.tokenizer import tokenizer
    from tasks.validate import validate

    chain: tuple[tuple[Stage, Any], ...] = (
        (ingest, preset.data),
        (validate, preset.validation_parameters()),
        (split, preset.split),
        (tokenizer, preset.tokenizer_parameters()),
        (drift, preset.drift),
        (pretrain, BaseParameters(preset.architecture, preset.pretrain, preset.base_model)),
        (sft, preset.sft),
        (labels, preset.label_parts()),
        (reward, preset.reward),
        (judge, preset.judge_parameters()),
        (rlhf, preset.rlhf),
        (evaluate, preset.evaluate),
        (gate, preset.gate),
        (report, preset.report),
    )
    made = root / "made"
    seconds = {}
    with process_pool(preset.parallel.workers) as parallel_map:
        around = {
            "root": root, "parallel_map": parallel_map, "seed": preset.seed,
            "device": find_device(preset.device), "processes": preset.num_processes,
        }  # fmt: skip
        for stage, parameters in chain:
            given = {name: value for name, value in around.items() if stage.has_parameter(name)}
            # A first run has no champion.
            inputs = {name: made / name if (made / name).exists() else None for name in stage.inputs}
            (made / stage.name).mkdir(parents=True)
            began = time.monotonic()
            stage(parameters, **inputs, **given, out=made / stage.name, on_event=lambda event: None)
            parallel_map.close()
            seconds[stage.name] = time.monotonic() - began
            if stage.name == only:
                break
    return seconds


def compare(preset: Path, repeats: int, folder: Path) -> tuple[list[Measured], list[Measured]]:
    """Run both sides in turn. Downloads are made before and are shared."""
    downloads = folder / "downloads"
    downloads.mkdir()
    sides: tuple[Callable[[Path, Path], Measured], ...] = (flow, plain)
    found: tuple[list[Measured], list[Measured]] = ([], [])
    warm = _fresh(folder, "fetched", downloads)
    call(warm, "tests.benchmarks.overhead", "--plain", "--only", "ingest", "--preset", str(preset))
    shutil.rmtree(warm)
    for number in range(repeats):
        for side, kept in zip(sides, found, strict=True):
            root = _fresh(folder, f"{side.__name__}-{number}", downloads)
            kept.append(side(root, preset))
            shutil.rmtree(root)
            print(f"{side.__name__}: {kept[-1].timed.seconds:.1f} s", file=sys.stderr, flush=True)
    return found


def _fresh(folder: Path, name: str, downloads: Path) -> Path:
    root = folder / name
    lay(root)
    (root / "var" / "cache").mkdir(parents=True)
    (root / "var" / "cache" / "downloads").symlink_to(downloads)
    return root


def show(flows: list[Measured], plains: list[Measured]) -> float:
    """Print the medians of each part, and the overhead."""
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for column in ("stage", "plain s", "in the run s", "around it s"):
        table.add_column(column, justify="left" if column == "stage" else "right")
    for name in flows[0].stages:
        sides = (
            [run.stages[name] for run in plains],
            [run.stages[name] for run in flows],
            [run.around[name] for run in flows],
        )
        table.add_row(name, *(f"{statistics.median(seconds):.2f}" for seconds in sides))
    run, alone = _middle(flows), _middle(plains)
    console = Console(highlight=False, width=110)
    console.print(table)
    console.print(
        f"the run: {run.timed.seconds:.1f} s; the stages' own {run.own:.1f}, around them {run.wrapping:.1f}, "
        f"before the first {run.start:.1f}, between them {run.between:.1f}, after the last {run.end:.1f}"
    )
    console.print(
        f"plain functions: {alone.timed.seconds:.1f} s; the stages' own {alone.own:.1f}, "
        f"imports and the like {alone.timed.seconds - alone.own:.1f}"
    )
    overhead = run.timed.seconds - alone.timed.seconds
    console.print(f"overhead: {overhead:.1f} s, medians of {len(flows)} runs each (bar {BAR:.0f} s)")
    processor = [statistics.median(each.timed.processor for each in runs) for runs in (flows, plains)]
    console.print(f"of processors: {processor[0]:.1f} s against {processor[1]:.1f}")
    return overhead


def _middle(runs: list[Measured]) -> Measured:
    """Return the run with the median time; as it is one real run, its parts add up."""
    return sorted(runs, key=lambda run: run.timed.seconds)[(len(runs) - 1) // 2]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--preset", type=Path, default=SMOKE)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--plain", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--only", default="", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.plain:
        from flows.config import read_preset

        (Path.cwd() / PLAIN).write_text(
            json.dumps(call_plainly(read_preset(given.preset), Path.cwd(), given.only))
        )
        return 0
    with tempfile.TemporaryDirectory() as folder:
        flows, plains = compare(given.preset.resolve(), given.repeats, Path(folder))
    overhead = show(flows, plains)
    runs = (*flows, *plains)
    unlike = [name for name in flows[0].digests if len({run.digests[name] for run in runs}) > 1]
    print(
        f"the outputs differ: {', '.join(unlike)}"
        if unlike
        else f"the outputs of all {len(flows[0].digests)} stages are the same bytes on both sides"
    )
    return int(overhead > BAR or bool(unlike))


if __name__ == "__main__":
    sys.exit(main())
