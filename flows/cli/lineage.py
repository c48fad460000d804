"""`chatmill lineage`: from a model to the data and code that it was made of, and from data to models."""

from __future__ import annotations

import json
import shlex
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

from flows.cli.models import print_files
from flows.common.terminal import Console, escape_controls, one_line
from flows.orchestration.tracker import open_tracker
from model.errors import UserError
from tasks.common.counts import counted

if TYPE_CHECKING:
    from rich.tree import Tree

    from tasks.deletion.affected_models import RunUsage
    from tasks.tracking.tracker import Tracker

# Longer lists hide the rest of the tree; --json has all.
_SHOWN = 20
# A summary shows so many files, people and runs, and the first characters of digests.
_SUMMARIZED, _DIGEST = 8, 12


def lineage(
    model: Annotated[
        str,
        typer.Argument(
            metavar="MODEL",
            help="champion, a version number, NAME/champion or NAME/NUMBER, or aligned (the last "
            "run's model).",
        ),
    ] = "",
    row: Annotated[
        str,
        typer.Option(
            "--row", help="List models that learned from this row: its id, or at least 6 characters of it."
        ),
    ] = "",
    annotator: Annotated[
        str,
        typer.Option(
            "--annotator", help="List models that learned from this person's labels and own answers."
        ),
    ] = "",
    diff: Annotated[
        bool, typer.Option("--diff", help="Show uncommitted changes in the runs that produced it.")
    ] = False,
    whole: Annotated[
        bool,
        typer.Option(
            "--all", help="Print whole digests, every file, person and run. Default in a terminal: a summary."
        ),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show where a model comes from: stages, runs, code, data, sources, labels by annotator, environment."""
    if sum(map(bool, (model, row, annotator))) != 1:
        raise UserError(
            "give exactly one of a model, --row ROW or --annotator WHO, as in `chatmill lineage champion`"
        )
    # Shorter beginnings of an id would match many rows by chance.
    if row and len(row) < 6:
        raise UserError(f"--row {row}: expected at least 6 characters of an id")
    tracker, root = open_tracker(), Path.cwd()
    client = tracker.client
    if not model:
        _show_affected_models(tracker, root, row, annotator, as_json, whole)
        return
    from tasks.tracking.lineage import recorded_diffs, trace_model

    found = trace_model(client, model, root)
    if diff:
        text = recorded_diffs(client, found) or _no_diff(found)
        # A program such as `git apply` needs every byte; only a terminal must be protected from control
        # characters.
        print(escape_controls(text) if sys.stdout.isatty() else text, end="")
        return
    if as_json:
        print(json.dumps(found, indent=1))
        return
    console = Console(highlight=False)
    brief = console.is_terminal and not whole
    console.print(_brief_tree(found) if brief else lineage_tree(found))
    if brief:
        console.print("[dim]--all prints whole digests and every file[/dim]", soft_wrap=True)
    if found["version"]:
        from tasks.tracking.products import find_version
        from tasks.tracking.version_files import VersionFiles

        version = find_version(client, model)
        print_files(console, VersionFiles(client, root).look_at(version))


def _no_diff(found: Mapping[str, Any]) -> str:
    if any(stage["git_dirty"] is None for stage in found["stages"]):
        return "for some stages it is unknown whether the code was changed; nothing else differed\n"
    return "nothing differed from the commit"


def lineage_tree(found: dict[str, Any]) -> Tree:
    """Return a lineage as a tree for the terminal."""
    from rich.tree import Tree

    version = f"version {found['version']} of {found['product']}" if found["version"] else found["model"]
    tree = Tree(f"[bold]{one_line(version)}[/bold]  computed by MLflow run {found['mlflow_run']}")
    tree.add(f"pipeline run {found['pipeline_run'] or 'gone from MLflow'}")
    changed = {True: ", with changes (`chatmill lineage --diff` shows them)", False: ", nothing changed"}
    reason = f" ({found['git_problem']})" if found.get("git_problem") else ""
    state = changed.get(found["git_diff"], f"; unknown whether the code was changed{reason}")
    # Earlier versions recorded the commit of the project's repository, whatever that held.
    whose = "code of chatmill: git commit" if found.get("code_digest") else "git commit of the repository:"
    tree.add(escape(f"{whose} {found['git_commit'] or 'unknown'}{state}"))
    if digest := found.get("code_digest"):
        tree.add(escape(f"code of chatmill: version {found['code_version']}, sources {digest}"))
    if commit := found.get("project_commit"):
        tree.add(escape(f"project: git commit {commit}{', with changes' if found['project_dirty'] else ''}"))
    stages = tree.add("stages")
    for stage in found["stages"]:
        maker = stage["pipeline_run"]
        whose = f"in pipeline run {maker[:8]}" if maker else "whose run is missing in MLflow"
        commit = f", commit {stage['git_commit'][:10]}" if stage["git_commit"] else ""
        dirty = " with changes" if stage["git_dirty"] else ""
        # Whose output was not reused: the run computed it.
        reused = "" if stage["status"] == "computed" else f"{stage['status']}, "
        maker_run = f"computed by run {stage['run'][:8]} {whose}{commit}{dirty}"
        stages.add(one_line(f"{stage['stage']} {stage['key']}  {reused}{maker_run}"))
    _draw_base(tree, found.get("base_model"))
    data = tree.add(f"data, DVC hash {found['data_hash'] or 'unknown'}")
    digest = found["sources_digest"]
    sources = data.add(f"sources, digest {digest}" if digest else "sources (no digest recorded)")
    for source in found["sources"] or []:
        _draw_source(sources, source)
    # None: the record is gone; an empty list: there were no sources.
    if found["sources"] is None:
        sources.add("unknown: the pipeline run's preset.json is missing")
    labels = tree.add("labels by annotator")
    for annotator, parts in (found["labels"] or {}).items():
        labels.add(
            f"{one_line(annotator)}: " + ", ".join(f"{count:,} {part}" for part, count in parts.items())
        )
    if not found["labels"]:
        labels.add("none" if found["labels"] == {} else "unknown: the split is no longer on disk")
    environment = found["environment"]
    lock, device = environment["lock"] or "unknown", environment["device"] or "unknown"
    tree.add(one_line(f"environment: lock file {lock}, device {device}"))
    return tree


def _brief_tree(found: dict[str, Any]) -> Tree:
    """Return a lineage as a tree of short lines: without checksums, and with what is usual left out."""
    from rich.tree import Tree

    version = f"version {found['version']} of {found['product']}" if found["version"] else found["model"]
    maker = found["pipeline_run"]
    whose = f"pipeline run {maker[:8]}" if maker else "whose pipeline run is gone from MLflow"
    tree = Tree(f"[bold]{one_line(version)}[/bold]  MLflow run {found['mlflow_run'][:8]}, {whose}")
    changed = {True: ", with changes (--diff shows them)", False: ""}
    state = changed.get(found["git_diff"], ", unknown whether it was changed")
    code = f"version {found['code_version']}, " if found.get("code_digest") else ""
    tree.add(escape(f"code of chatmill: {code}git commit {(found['git_commit'] or 'unknown')[:10]}{state}"))
    if commit := found.get("project_commit"):
        tree.add(f"project: git commit {commit[:10]}{', with changes' if found['project_dirty'] else ''}")
    stages = tree.add("stages")
    wide = max((len(stage["stage"]) for stage in found["stages"]), default=0)
    for stage in found["stages"]:
        said = f"{stage['stage']:{wide}}  {stage['key'][:_DIGEST]}  run {stage['run'][:8]}"
        if stage["status"] != "computed":
            said += f", {stage['status']}"
        if stage["pipeline_run"] != maker:
            other = (stage["pipeline_run"] or "")[:8]
            said += f" of pipeline run {other}" if other else ", whose run is missing in MLflow"
        if stage["git_commit"] != found["git_commit"]:
            said += f", commit {(stage['git_commit'] or 'unknown')[:10]}"
        stages.add(one_line(said))
    _draw_base(tree, found.get("base_model"))
    data = tree.add(f"data, DVC hash {(found['data_hash'] or 'unknown')[:_DIGEST]}")
    if found["sources"] is None:
        data.add("sources unknown: the pipeline run's preset.json is missing")
    for source in (found["sources"] or [])[:_SHOWN]:
        files = [*source.get("sums", {}), *source.get("versions", {})]
        which = next((f"{source[key]}" for key in ("archive", "dataset") if source.get(key)), "")
        page = "label page" if source.get("labels") else ""
        told = [source.get("format", ""), page, which, counted(len(files), "files") if files else ""]
        data.add(one_line(f"{source['name']}: {', '.join(filter(None, told))}"))
    if (left := len(found["sources"] or []) - _SHOWN) > 0:
        data.add(f"and {left:,} more sources")
    _draw_people(tree, found["labels"])
    environment = found["environment"]
    lock, device = (environment["lock"] or "unknown")[:_DIGEST], environment["device"] or "unknown"
    tree.add(one_line(f"environment: lock file {lock}, device {device}"))
    return tree


def _draw_base(tree: Tree, base: Mapping[str, str] | None) -> None:
    if base is None:
        return
    branch = tree.add(one_line(f"base model {base['name']}"))
    if version := base.get("version"):
        branch.add(one_line(f"`chatmill lineage {shlex.quote(version)}` shows what it learned from"))


def _draw_people(tree: Tree, labels: Mapping[str, Mapping[str, int]] | None) -> None:
    """Add the labels by part of the split, and the people with the most; None: the split is gone."""
    if not labels:
        tree.add("labels: none" if labels == {} else "labels: unknown, as the split is no longer on disk")
        return
    parts = Counter[str]()
    for counts in labels.values():
        parts.update(counts)
    total = ", ".join(f"{count:,} {part}" for part, count in parts.items())
    branch = tree.add(f"labels by {counted(len(labels), 'annotators')}: {total}")
    # The recorded order decides between people with as many.
    for name in sorted(labels, key=lambda name: -sum(labels[name].values()))[:_SUMMARIZED]:
        branch.add(f"{one_line(name)}: {', '.join(f'{n:,} {part}' for part, n in labels[name].items())}")
    if len(labels) > _SUMMARIZED:
        branch.add(f"and {len(labels) - _SUMMARIZED:,} more")


def _draw_source(tree: Tree, source: Mapping[str, Any]) -> None:
    known = ("name", "sums", "versions")
    rest = [f"{name} {_shorten_value(value)}" for name, value in source.items() if name not in known]
    branch = tree.add(one_line(f"{source['name']}: {', '.join(rest)}"))
    sums = {name: f"sha256 {found}" for name, found in source.get("sums", {}).items()}
    sums |= source.get("versions", {})
    for name in list(sums)[:_SHOWN]:
        branch.add(one_line(f"{name}  {sums[name]}"))
    if len(sums) > _SHOWN:
        branch.add(f"and {len(sums) - _SHOWN:,} more: --json lists all")


def _shorten_value(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _show_affected_models(
    tracker: Tracker, root: Path, row: str, annotator: str, as_json: bool, whole: bool
) -> None:
    """Print the models that learned from a row or from a person's labels, as lines or as JSON."""
    from tasks.deletion.affected_models import SearchTarget, learned_from

    sought = SearchTarget(row, annotator)
    found, gone = learned_from(tracker.client, tracker.registries(), root, sought)
    if as_json:
        rows = [
            {
                "run": each.run, "versions": each.versions, "champion": each.champion,
                "data_hash": each.data_hash,
                "rows": {f"{part}/{kind}": count for (kind, part), count in each.rows.items()},
                "learned": each.learned, "carried": each.carried, "judged": each.judged,
                "certain": each.certain, "base_models": each.bases,
            }
            for each in found
        ]  # fmt: skip
        print(json.dumps({"models": rows, "splits_gone": gone}, indent=1))
        return
    console = Console(highlight=False)
    brief = console.is_terminal and not whole
    # The newest runs, and the champions: these are the ones in use.
    shown = [each for n, each in enumerate(found) if n < _SUMMARIZED or each.champion] if brief else found
    show_learned(console, shown, gone)
    if len(shown) < len(found):
        console.print(
            f"and {counted(len(found) - len(shown), 'earlier runs')}: --all lists them", soft_wrap=True
        )
    for line in _show_withdrawals(tracker, root, row, annotator, found):
        console.print(line, soft_wrap=True)
    console.print("next: `chatmill lineage VERSION` shows the data of a model", soft_wrap=True)


def _show_withdrawals(
    tracker: Tracker, root: Path, row: str, annotator: str, found: Sequence[RunUsage]
) -> Iterator[str]:
    """Yield when and why a row or person was withdrawn, and the newest versions that are free of it."""
    from tasks.data.withdrawals import read_withdrawals

    given = [
        each
        for each in read_withdrawals(root)
        if (annotator and each.annotator == annotator) or (row and each.id.startswith(row))
    ]
    for each in given:
        yield f"withdrawn on {each.time[:10]} by {one_line(each.author)}: {one_line(each.reason)}"
    if not given:
        return
    had = {version: each.bases for each in found for version in each.versions}
    for registry in tracker.registries():
        newest = next((f"{registry.model}/{version.version}" for version in registry.versions()), "")
        if newest and newest not in had:
            yield f"version {one_line(newest)}, the newest, does not contain it"
        elif newest:
            # The rows of the next run lack it, but not its base model.
            then = (
                f"name another base_model than {one_line(had[newest][0])}, or the next model contains it too"
                if had[newest]
                else "the next run trains a model without it"
            )
            yield f"version {one_line(newest)}, the newest, still contains it; {then}"


def show_learned(console: Console, found: Sequence[RunUsage], gone: Sequence[str]) -> None:
    """Print the models with what they took of some rows; `gone` are the splits that could not be read."""
    lines = []
    for each in found:
        named = f"version {one_line(', '.join(each.versions))}" if each.versions else "no version"
        crown = " (champion)" if each.champion else ""
        ways = [f"{counted(count, kind)} in {part}" for (kind, part), count in each.rows.items()]
        ways += [f"through its base model {one_line(base)}" for base in each.bases]
        counts = ", ".join(ways)
        lines.append(f"[bold]{named}{crown}[/bold]  run {each.run[:12]}: {counts}")
        for word, stages in (
            ("learned", each.learned),
            ("carried on", each.carried),
            ("judged", each.judged),
        ):
            if stages:
                lines.append(f"    {word} in {', '.join(stages)}")
        if not each.certain:
            lines.append(
                "    uncertain: validation may have quarantined them, and its rows are no longer on disk"
            )
    if gone:
        lines.append(f"splits whose data can be read neither on disk nor from DVC: {len(gone)}")
    if lines:
        # One call for all lines: a call for each of a thousand runs takes a third of a second.
        console.print("\n".join(lines), soft_wrap=True)
