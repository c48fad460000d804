"""The plan of a run: which stages it would compute, and why. Nothing is computed or written."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flows.config import Preset
from tasks.common.stage_status import CACHED, COMPUTED
from tasks.drift import DriftParameters
from tasks.dvc.pointer_file import read_pointer
from tasks.engine.cache_key import folder_sums, sums_digest
from tasks.engine.catalog import read_declaration
from tasks.engine.output import (
    PART,
    StageOutput,
    file_sizes,
    is_undamaged,
    make_reference,
    read_manifest,
    write_manifest,
)
from tasks.engine.stage import Stage, StageContext
from tasks.evaluate import CHAMPION
from tasks.project.paths import ARTIFACTS
from tasks.validation.training_preflight import describe_end

if TYPE_CHECKING:
    from tasks.tracking.cache_explanation import InputDifference
    from tasks.tracking.queries import StageRun
    from tasks.tracking.tracker import Tracker

# The status of a stage whose key depends on an output that is not computed yet.
OPEN_KEY = "open"
_NAMED = 2  # inputs that a reason names
# The outputs that a dry run computes whole. It leaves out parts of those of ingest and validate.
_WHOLE = ("split", "tokenizer")


@dataclass(frozen=True)
class PlannedStage:
    """A stage of a plan.

    Attributes:
        name: The stage's name.
        status: "cached", "computed" or "open".
        key: The cache key; empty if it is not known yet.
        reason: Why, in words.
        before: The same stage in the preset's last run that finished it; None if there is none.
        differences: What differs from that run.
    """

    name: str
    status: str
    key: str = ""
    reason: str = ""
    before: StageRun | None = None
    differences: tuple[InputDifference, ...] = ()


class EndOfPlan(Exception):
    """The run ends before its last stage; the text says why."""


class PipelinePlan:
    """Takes the place of a run in the pipeline: it computes each stage's key, and looks for its output."""

    def __init__(
        self, preset: Preset, root: Path, known: Mapping[str, Path], tracker: Tracker | None
    ) -> None:
        """Plan a run of a preset.

        Args:
            preset: The preset.
            root: The project's folder.
            known: Folders of the outputs that a dry run computed, by stage.
            tracker: The project's MLflow store; None if there are no records yet.
        """
        self.preset, self.tracker = preset, tracker
        device = preset.find_device()
        self.context = StageContext(root, preset.seed, device, preset.training_processes(device))
        self.known = {
            name: _describe_folder(name, folder)
            for name, folder in known.items()
            if name in ("validate", *_WHOLE) and folder.is_dir()
        }
        self.stages: list[PlannedStage] = []
        self.data_hash = ""

    def __call__(self, stage: Stage, parameters: Any, *inputs: StageOutput) -> StageOutput:
        """Plan one stage; return its output, or what a dry run knows of it."""
        pool = self.preset.execution.gpu_work_pool
        unknown = self.known.get(stage.name, StageOutput(stage.name, "", "", "", False, 0.0, {}))
        if pool and stage.has_parameter("device"):
            self.stages.append(
                PlannedStage(stage.name, OPEN_KEY, "", f"a host of the work pool {pool} decides")
            )
            return unknown
        now = stage.describe_key(parameters, {each.stage: each for each in inputs}, self.context)
        before, differences = self._compare(now, [each.stage for each in inputs])
        if not now["key"]:
            # Which champion drift compares with follows from the version of the data that ingest makes.
            waits = [
                "ingest" if each.stage == CHAMPION else each.stage
                for each in inputs
                if each.stage not in now["inputs"]
            ]
            # The last ones are the nearest in the pipeline.
            more = f" and {len(waits) - _NAMED} more" if len(waits) > _NAMED else ""
            reason = f"depends on {', '.join(waits[-_NAMED:])}{more}, not computed yet"
            self.stages.append(PlannedStage(stage.name, OPEN_KEY, "", reason, before, tuple(differences)))
            return unknown
        folder = self.context.root / ARTIFACTS / stage.name / now["key"]
        manifest = read_manifest(folder) if is_undamaged(folder, self.context.root) else None
        status = CACHED if manifest and self._is_current(stage, manifest) else COMPUTED
        reason = self._explain(status, now["key"], before, manifest is not None, folder)
        self.stages.append(PlannedStage(stage.name, status, now["key"], reason, before, tuple(differences)))
        if manifest is None:
            return unknown
        if stage.declaration.output_is_current is not None:
            self.data_hash = str(manifest["metrics"].get("data_hash", ""))
        # Outputs repeat in the same bytes, so one that is made again only for data/ is known too.
        return make_reference(folder, manifest, reused=status == CACHED)

    def _is_current(self, stage: Stage, manifest: Mapping[str, Any]) -> bool:
        """Return whether data.dvc names the version that an output of ingestion made.

        The declaration's own `output_is_current` would also fill an empty data/.
        """
        if stage.declaration.output_is_current is None:
            return True
        pointer = read_pointer(self.context.root)
        return pointer is not None and pointer["md5"] == manifest["metrics"].get("data_hash")

    def _compare(
        self, now: Mapping[str, Any], inputs: list[str]
    ) -> tuple[StageRun | None, list[InputDifference]]:
        """Return the stage in the last run of the preset, and what differs from it as far as it is known."""
        if self.tracker is None:
            return None, []
        from tasks.tracking.cache_explanation import explain_differences
        from tasks.tracking.queries import StageRun, read_past_manifest, stage_before

        name, moment = str(now["stage"]), int(time.time() * 1000)
        this = StageRun("", self.preset.name, moment, name, "", "", str(now["key"]), "", "")
        before = stage_before(self.tracker.client, this)
        if before is None or before.key == now["key"]:
            return before, []
        old = read_past_manifest(self.tracker.client, before)
        if old is None:
            return before, []
        # An input that is not computed yet differs in nothing that is known.
        waits = {each for each in inputs if each not in now["inputs"]}
        kept = {each: value for each, value in old["inputs"].items() if each not in waits}
        return before, explain_differences({**old, "inputs": kept}, now)

    def _explain(self, status: str, key: str, before: StageRun | None, made: bool, folder: Path) -> str:
        """Return the reason of a known key in words; empty if the differences say it."""
        if status == CACHED:
            return (
                "nothing that it depends on differs"
                if before is not None and before.key == key
                else "an earlier run computed it with the same inputs"
            )
        if made:
            return "data/ goes back to the version of these sources"
        if folder.with_suffix(PART).is_dir() and read_declaration(folder.parent.name, None).resumable:
            return "resumes from its last checkpoint"
        if before is None:
            return f"no earlier run of preset {self.preset.name} finished this stage"
        return "its output is missing or damaged" if before.key == key else ""

    def check_base(self) -> None:
        """Do nothing: the dry run has checked the base model."""

    def check_trainings(self, parts: StageOutput, tokens: StageOutput) -> None:
        """Do nothing: the dry run has checked the rows."""

    def run_drift(self, stage: Stage, parameters: DriftParameters, *inputs: StageOutput) -> StageOutput:
        """Plan the stage drift, without fetching the champion's profile."""
        champion = self._find_baseline(parameters.reference_output)
        given = (*inputs, champion) if champion else inputs
        return self(stage, replace(parameters, reference_output=""), *given)

    def _find_baseline(self, reference: str) -> StageOutput | None:
        if self.tracker is None:
            return None
        from tasks.tracking.reference_version import STAGE, find_by_key, newest_other

        if reference:
            return find_by_key(reference, self.context.root)
        if not self.data_hash:
            # The champion is one that learned from other data, so the data's hash must be known.
            champion = self.tracker.registry.champion()
            return StageOutput(STAGE, "", "", "", False, 0.0, {}) if champion else None
        found, _ = newest_other(self.tracker.registry, self.data_hash)
        return StageOutput(STAGE, found.key, "", found.digest, True, 0.0, {}) if found else None

    def end_without(self, kind: str, parts: StageOutput, made: StageOutput) -> None:
        """Raise EndOfPlan if the run ends here, without pairs or labels."""
        model = read_declaration(made.stage, None).model
        if parts.path and (ends := describe_end(Path(parts.path), kind, model)):
            raise EndOfPlan(ends)

    def fetch_champion_model(self, aligned: StageOutput) -> tuple[StageOutput, ...]:
        """Return a reference to the champion's model, without fetching it."""
        if self.tracker is None:
            return ()
        from tasks.tracking.champion_input import opponent_digest
        from tasks.tracking.reference_version import STAGE, find_by_key

        if wanted := self.preset.registration.compare_with:
            return (find_by_key(wanted, self.context.root, "registry.compare_with"),)
        version = self.tracker.registry.opponent(aligned.digest)
        if version is None:
            return ()
        digest = opponent_digest(version)
        return (StageOutput(STAGE, digest[:20], "", digest, True, 0.0, {}),)

    def register_model(self, aligned: StageOutput, verdict: StageOutput) -> None:
        """Do nothing: a plan registers no model."""


def _describe_folder(stage: str, folder: Path) -> StageOutput:
    """Return a reference to an output in a dry run's own folder, which gets the checksums of its files."""
    sums = folder_sums(folder)
    digest = sums_digest(sums) if stage in _WHOLE else ""
    manifest = {
        "stage": stage, "key": "", "digest": digest, "inputs": {}, "metrics": {}, "seconds": 0.0,
        "files": file_sizes(folder), "sums": sums,
    }  # fmt: skip
    write_manifest(folder, manifest)
    return StageOutput(stage, "", str(folder), digest, False, 0.0, {})
