"""A new stage is one file in `tasks/` and one line of the pipeline."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from flows.servers.environment import QUIET, checkout_environment
from tasks.data.records import read_shards
from tests.benchmarks.smoke import REPOSITORY, SMOKE, lay
from tests.integration.clones import SEVERAL

STAGE = '''
"""The longest text of the training split."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from model.events import EventCallback
from tasks.data.records import read_shards
from tasks.engine.declaration import Tolerance, named_metrics
from tasks.engine.stage import stage


@dataclass(frozen=True)
class LongestParameters:
    """`times`: a factor of the length."""

    times: int = 2


@stage(
    inputs=("split",),
    input_patterns={"split": ("*/text",)},
    learns_from=("text",),
    artifacts=("longest.txt",),
    headline=named_metrics(("longest", "characters in the longest text")),
    tolerances=(Tolerance(("longest",), relative=0.5),),
)
def longest(
    parameters: LongestParameters, split: Path, out: Path, on_event: EventCallback, device: str
) -> dict[str, Any]:
    """longest.txt in `out`."""
    found = max((row["text"] for row in read_shards(split / "train" / "text")), key=len)
    (out / "longest.txt").write_text(found)
    return {"longest": len(found) * parameters.times}
'''

QUESTIONS = """
import json

from flows.orchestration.remote_worker import _find_stage
from flows.orchestration.stage_request import StageRequest
from tasks.engine.cache_key import code_digest, lock_digest
from tasks.longest import longest
from tasks.reproduction.verdict import StageResult, judge_stages


def verdict(value):
    before = StageResult("longest", "a", {"longest": 100})
    now = StageResult("longest", "b", {"longest": value})
    return judge_stages([before], {"longest": now}, {}, ({}, {}))[0].says


request = StageRequest({}, "longest", {}, {}, "", code_digest(longest.function), lock_digest())
found = _find_stage(request)
print(json.dumps({"worker": found.name, "verdicts": [verdict(140), verdict(160)]}))
"""


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Add a stage to a copy of the code, and run its data flow once in a project."""
    code = tmp_path_factory.mktemp("code")
    for name in ("flows", "tasks", "model"):
        # With the compiled modules, which fit as long as the times of the files are kept.
        shutil.copytree(REPOSITORY / name, code / name)
    shutil.copy(REPOSITORY / "requirements.txt", code)
    (code / "tasks" / "longest.py").write_text(STAGE)
    pipeline = code / "flows" / "pipeline.py"
    line = "        if announce:\n"
    added = """\
        parts = run(split, preset.split, valid_rows)
        run(longest, LongestParameters(), parts)
"""
    text = pipeline.read_text()
    assert text.count(line) == 1
    imported = "from tasks.longest import LongestParameters, longest\n\n\n@flow"
    pipeline.write_text(text.replace(line, added + line).replace("\n\n@flow", f"\n{imported}", 1))
    project = tmp_path_factory.mktemp("project")
    lay(project)
    (project / "code").symlink_to(code)
    return project


def python(root: Path, *words: str) -> str:
    surroundings = {**checkout_environment((root / "code").resolve()), **QUIET, "COLUMNS": "160"}
    done = subprocess.run(
        [sys.executable, *words], cwd=root, env=surroundings, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_stage_in_one_file_is_found_by_all_commands(root: Path) -> None:
    said = python(root, "-m", "flows.cli.main", "ingest", "--config", str(SMOKE))
    assert "characters in the longest text" in said

    (trained,) = (root / "var/cache/artifacts/split").glob("*/train/text")
    row = next(read_shards(trained))
    commands = (("lineage", "--row", row["id"], "--json"), ("explain", "longest"))
    (code, lineage), (ended, explained) = json.loads(python(root, "-c", SEVERAL, json.dumps(commands)))
    assert code == ended == 0, lineage + explained
    (learned,) = json.loads(lineage)["models"]
    assert learned["learned"] == ["longest"]
    assert "longest" in explained

    kept = [path for path in (root / "var" / "mlflow").rglob("longest.txt")]
    assert len(kept) == 1

    assert json.loads(python(root, "-c", QUESTIONS)) == {
        "worker": "longest",
        "verdicts": ["equivalent", "diverged"],
    }
