"""The models that learned from a row, or from the labels of a person."""

from __future__ import annotations

import difflib
import json
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

from mlflow import MlflowClient
from mlflow.entities import Run

from model.errors import UserError, file_error
from model.evaluation.evaluate_config import REWARD_MODEL
from tasks.common.annotators import visible_name
from tasks.common.names import shown_name
from tasks.common.old_keys import rename_stage_parameters
from tasks.data.groups import group_of
from tasks.data.records import ID, LABEL_KINDS, TYPES, annotators_of, list_shards, naming_row
from tasks.data.splits import SPLITS, SplitParameters, split_of
from tasks.data.versions.version_diff import bring_files, side_of
from tasks.data.withdrawals import Withdrawn
from tasks.deletion.own_answers import own_answer_ids
from tasks.dvc import remote, versions
from tasks.engine.catalog import load_stages, read_declaration
from tasks.engine.declaration import (
    StageDeclaration,
    descending_stages,
    inheriting_stages,
    learning_stages,
    measuring_stages,
    sort_stages,
)
from tasks.engine.output import is_undamaged
from tasks.project.paths import ARTIFACTS
from tasks.tracking.products import split_address
from tasks.tracking.queries import (
    COST_TAG,
    PARENT,
    PIPELINES,
    PRESET,
    REGISTERED_STAGE,
    UNNAMED,
    data_hash,
    holder_run_id,
    read_artifact,
    runs_by_id,
    search_runs,
)
from tasks.tracking.registered_base import BASE_TAG
from tasks.tracking.registry import Registry
from tasks.tracking.tag_records import read_record

# The stage whose output is the base model.
_BASE_STAGE = "pretrain"


class SearchTarget(NamedTuple):
    """The target of a search: the start of a row's id, a person, or everything that was withdrawn.

    Attributes:
        row: The start of the id.
        annotator: The person who gave labels.
        withdrawn: What was withdrawn.
        written: The ids of the pairs that the person wrote on the label page.
    """

    row: str = ""
    annotator: str = ""
    withdrawn: Withdrawn = Withdrawn()
    written: frozenset[str] = frozenset()


@dataclass(frozen=True)
class RunUsage:
    """A pipeline run with the number of matching rows that it used, by kind and part of the split.

    Attributes:
        run: The run's id in MLflow.
        versions: The versions that it registered, as NAME/NUMBER.
        champion: Whether one of them is champion.
        data_hash: DVC's hash of its data.
        rows: The number of rows by kind and part.
        stages: The declarations of its stages by name.
        certain: Whether the counts are exact; they may include rows that validation quarantined.
        bases: The registered version that the run began from, if that learned from the rows, as NAME/NUMBER.
    """

    run: str
    versions: tuple[str, ...]
    champion: bool
    data_hash: str
    rows: dict[tuple[str, str], int]
    stages: Mapping[str, StageDeclaration]
    certain: bool
    bases: tuple[str, ...] = ()

    @property
    def learned(self) -> list[str]:
        """The stages that were trained on these rows."""
        return self._of({name for kind in self._trained for name in learning_stages(self.stages, kind)})

    @property
    def carried(self) -> list[str]:
        """The stages that started from, or were guided by, a model that was trained on these rows."""
        direct = self.learned
        found = {name for kind in self._trained for name in inheriting_stages(self.stages, kind)}
        if self.bases:
            found |= descending_stages(self.stages, _BASE_STAGE)
        return [name for name in self._of(found) if name not in direct]

    @property
    def passes_on(self) -> bool:
        """Whether a model that begins from this run's has learned from the rows."""
        return REGISTERED_STAGE in (*self.learned, *self.carried)

    @property
    def judged(self) -> list[str]:
        """The stages that only measured with these rows."""
        held_out = [(kind, part) for kind, part in self.rows if part != "train"]
        return self._of({name for found in held_out for name in measuring_stages(self.stages, *found)})

    @property
    def _trained(self) -> list[str]:
        return [kind for kind, part in self.rows if part == "train"]

    def _of(self, names: set[str]) -> list[str]:
        return [name for name in sort_stages(self.stages) if name in names]


def learned_from(
    client: MlflowClient, registries: Sequence[Registry], root: Path, sought: SearchTarget
) -> tuple[list[RunUsage], list[str]]:
    """Return the pipeline runs that used the rows, the newest first, and the split keys that are unreadable.

    If a split is gone from disk, its rows come from DVC, and the part of each row is recomputed from its
    group.

    Raises:
        UserError: No run knows the row or the person. It is no error if no run learned from withdrawn rows.
    """
    if sought.annotator:
        # Rows of data/ do not name who wrote an answer.
        sought = sought._replace(written=frozenset(own_answer_ids(root, visible_name(sought.annotator))))
    champions: set[str] = set()
    named: dict[str, list[str]] = {}
    for registry in registries:
        for version in registry.versions():
            named.setdefault(str(version.run_id), []).append(f"{version.name}/{version.version}")
        if champion := registry.champion():
            champions.add(f"{champion.name}/{champion.version}")
    splits: dict[str, tuple[Counter[tuple[str, str]], bool] | None] = {}
    ids: set[str] = set()
    people: set[str] = set()
    took = {}
    runs = _stages_by_run(client)
    for run, stages in runs.items():
        if (split := stages.get("split")) is None:
            continue
        # Many runs share one split, and reading it means reading all its rows.
        if split.key not in splits:
            splits[split.key] = _find_rows(client, root, run, split, sought, ids, people)
        counted = splits[split.key]
        if counted is not None and counted[0]:
            took[run] = counted
    judges = _trained_judges(client, {run: runs[run] for run in took}) if took else set()
    found, tainted = [], set[str]()
    bases = base_versions(client)
    # The oldest run first: a base model was registered before the run that began from it.
    for run in reversed(runs):
        rows, certain = took.get(run, (Counter[tuple[str, str]](), True))
        stages = runs[run]
        if "split" not in stages or (run not in took and bases.get(run) not in tainted):
            continue
        made = stages[REGISTERED_STAGE].holder if REGISTERED_STAGE in stages else ""
        mine = tuple(sorted(named.get(made, ()), key=_by_number))
        declared = {
            name: read_declaration(name, finished.declared)
            for name, finished in stages.items()
            if name != "judge" or run in judges
        }
        holds = bool(champions & set(mine))
        usage = RunUsage(run, mine, holds, stages["split"].data, dict(rows), declared, certain)
        if bases.get(run) in tainted:
            usage = replace(usage, bases=(bases[run],))
        if usage.passes_on:
            tainted |= set(mine)
        found.append(usage)
    found.reverse()
    if len(ids) > 1:
        raise UserError(
            f"{sought.row} matches several ids ({', '.join(sorted(ids)[:3])}); give more characters"
        )
    gone = [key for key, counted in splits.items() if counted is None]
    if not found and not gone and not sought.withdrawn:
        raise UserError(_explain_unknown(sought, people))
    return found, gone


def split_key_of(client: MlflowClient, version: Any) -> str:
    """Return the key of the split that a registered version learned from; empty if no run recorded it."""
    for stages in _stages_by_run(client).values():
        if REGISTERED_STAGE in stages and stages[REGISTERED_STAGE].holder == version.run_id:
            return stages["split"].key if "split" in stages else ""
    return ""


def base_versions(client: MlflowClient) -> dict[str, str]:
    """Return the registered version that each pipeline run began from, as NAME/NUMBER, by the run's id."""
    wanted = f"{PIPELINES} and tags.`{BASE_TAG}` LIKE '%'"
    return {run.info.run_id: run.data.tags[BASE_TAG] for run in search_runs(client, wanted)}


def _trained_judges(client: MlflowClient, runs: Mapping[str, Mapping[str, Finished]]) -> set[str]:
    """Return the pipeline runs that trained a judge; a lexicon learns from no label."""
    holders = {run: stages["judge"].holder for run, stages in runs.items() if "judge" in stages}
    # Many runs reuse one judge, and MLflow takes a millisecond to read a run, so each judge is read once.
    known = runs_by_id(client, sorted(set(holders.values())))
    trained = {run for run, judge in known.items() if _is_trained(client, judge)}
    found = {run for run, judge in holders.items() if judge in trained}
    if known.keys() >= set(holders.values()):
        return found
    # The run of a judge is missing in MLflow; runs that reused the judge recorded the same parameters.
    reused = search_runs(client, f"tags.`chatmill.stage` = 'judge' and params.kind = '{REWARD_MODEL}'")
    return found | {run.data.tags.get(PARENT, "") for run in reused}


def _is_trained(client: MlflowClient, judge: Run) -> bool:
    """Return whether the run of a judge trained a model, or no record says that it did not.

    Its parameters do not tell: where labels are too few, no model is trained although one was asked for.
    """
    kind = judge.data.params.get("kind", "")
    metrics = (read_artifact(client, judge, "manifest.json") or {}).get("metrics") or {}
    return bool(metrics.get("judge", kind) == REWARD_MODEL)


def _by_number(address: str) -> tuple[str, int]:
    product, version = split_address(address)
    return product, int(version)


def _explain_unknown(sought: SearchTarget, people: set[str]) -> str:
    if sought.row:
        return (
            f"no run has learned from a row {sought.row}; ids are listed in data/ and by "
            "`chatmill quarantine show`"
        )
    near = difflib.get_close_matches(sought.annotator, sorted(people), n=1, cutoff=0.4)
    there = ", ".join(map(shown_name, sorted(people)[:9])) or "none"
    hint = f"did you mean {shown_name(near[0])}?" if near else f"there are {there}"
    return f"no run has labels by {sought.annotator!r}; {hint}"


class Finished(NamedTuple):
    """A finished stage of a pipeline run: its key, the run with its files, and its data's hash."""

    key: str
    holder: str
    data: str
    declared: Mapping[str, Any] | None = None


def _stages_by_run(client: MlflowClient) -> dict[str, dict[str, Finished]]:
    """Return the finished stages of each pipeline run, the newest run first.

    Pipeline runs record their stages in tags, so one search finds all. For older runs without these tags,
    each stage is searched: reading a run takes a millisecond, and each has thirteen stages.
    """
    found: dict[str, dict[str, Finished]] = {}
    older = False
    for run in search_runs(client, PIPELINES):
        noted = {
            tag.removeprefix(COST_TAG): read_record(run.data.tags, tag)
            for tag in run.data.tags
            if tag.startswith(COST_TAG)
        }
        found[run.info.run_id] = {
            stage: Finished(told["key"], told["holder"], told["data"], told.get("declaration"))
            for stage, told in noted.items()
            if "key" in told
        }
        older |= PRESET not in run.data.tags or any("key" not in told for told in noted.values())
    # Importing the stages takes seconds, so it is done for older runs only.
    for stage in load_stages() if older else ():
        ended = f"tags.`chatmill.stage` = '{stage}' and tags.`chatmill.key` LIKE '%'"
        for child in search_runs(client, ended):
            finished = Finished(child.data.tags["chatmill.key"], holder_run_id(child), data_hash(child) or "")
            stages = found.setdefault(child.data.tags.get(PARENT, ""), {})
            stages.setdefault(stage, finished)
    return found


def _find_rows(
    client: MlflowClient,
    root: Path,
    run: str,
    split: Finished,
    sought: SearchTarget,
    ids: set[str],
    people: set[str],
) -> tuple[Counter[tuple[str, str]], bool] | None:
    """Return the number of matching rows by kind and part, and whether it is certain; None if unreadable."""
    kinds = tuple(TYPES) if sought.row or sought.withdrawn.ids else LABEL_KINDS
    if sought.written:
        kinds = (*kinds, "pairs")
    counts: Counter[tuple[str, str]] = Counter()
    folder = root / ARTIFACTS / "split" / split.key
    _check_listed(folder, root)
    if is_undamaged(folder, root):
        for part in SPLITS:
            for kind in kinds:
                for path in list_shards(folder / part / kind):
                    counts[kind, part] += sum(1 for _ in _matching_lines(path, kind, sought, ids, people))
        return +counts, True
    within = f"tags.`{PARENT}` = '{run}' and tags.`chatmill.key` LIKE '%' and tags.`chatmill.stage` ="
    recorded = search_runs(client, f"{within} 'split'", most=1)[0].data.params
    params = rename_stage_parameters("split", recorded)
    parameters = SplitParameters(
        float(params["validation_fraction"]), float(params["test_fraction"]), params.get("salt", "")
    )
    files = _version_files(root, split.data, kinds)
    if files is None:
        return None
    for kind, path in files:
        for line in _matching_lines(path, kind, sought, ids, people):
            counts[kind, split_of(group_of(line), parameters)] += 1
    checked = search_runs(client, f"{within} 'validate'", most=1)
    figures = checked[0].data.metrics if checked else {}
    # The unary plus drops kinds with a count of 0. If validation quarantined rows, DVC's version still holds
    # them, so the counts may be too high.
    return +counts, all(not figures.get(f"{kind}_quarantined", 1) for kind, _ in counts)


def _check_listed(folder: Path, root: Path) -> None:
    """Raise UserError if this user may not list a folder in a project, or one above it.

    Its files would otherwise seem to be gone, and models that used the rows would not be named.
    """
    for place in (*reversed(folder.relative_to(root).parents), folder.relative_to(root)):
        try:
            os.scandir(root / place).close()
        except (FileNotFoundError, NotADirectoryError):
            return
        except OSError as error:
            advice = "let its owner run this, or give you the right to read it"
            raise file_error(place.as_posix(), "cannot be listed", error, advice) from error


def _version_files(root: Path, version: str, kinds: tuple[str, ...]) -> list[tuple[str, Path]] | None:
    def action() -> list[tuple[str, Path]]:
        with versions.open_repository(root) as repo:
            side = side_of(repo, root, version)
            found = [(kind, *shard) for kind in kinds for shard in side.shards(kind, set())]
            bring_files(repo, side, [digest for _, _, digest in found])
            return [(kind, side.place(path)) for kind, path, _ in found]

    try:
        return remote.retry_action(action, "the DVC remote") if version else None
    except UserError:
        return None


def _matching_lines(
    path: Path, kind: str, sought: SearchTarget, ids: set[str], people: set[str]
) -> Iterator[bytes]:
    """Yield the lines of a shard that match, one at a time."""
    with naming_row(path, _shown(path)), closing(path.open("rb")) as lines:
        for line in lines:
            if sought.withdrawn:
                if sought.withdrawn.matches_line(kind, line):
                    yield line
            elif sought.row:
                number = _id_of(line)
                if number.startswith(sought.row):
                    ids.add(number)
                    yield line
            elif kind not in LABEL_KINDS:
                if _id_of(line) in sought.written:
                    yield line
            else:
                names = {annotator or UNNAMED for annotator in annotators_of(json.loads(line))}
                people |= names
                if visible_name(sought.annotator) in names:
                    yield line


def _id_of(line: bytes) -> str:
    # Canonical lines begin with the id, which saves parsing them; lines edited by hand may not.
    return line[ID].decode() if line.startswith(b'{"id":"') else str(json.loads(line)["id"])


def _shown(path: Path) -> str:
    return os.path.relpath(path)
