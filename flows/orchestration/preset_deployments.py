"""Deployments of prefect.yaml for the presets that `chatmill up --config` names."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from flows.servers.workers import DEPLOYMENT_FILE, read_deployments
from model.atomic_file import replace_text
from model.errors import UserError
from tasks.project.paths import DEPLOYMENTS

# `nightly` and `labels` read one preset, so each preset has its own. An event tells the shared ones which to
# run.
COPIED, _SHARED = ("nightly", "labels"), ("align", "label-batch")
# The tag of deployments that are not in prefect.yaml. They are removed when no --config names their preset.
_TAG = "chatmill-up-config"


def write_deployments(root: Path, presets: Sequence[Path], scheduled: bool = True) -> tuple[Path, list[str]]:
    """Write a copy of prefect.yaml whose deployments run these presets.

    `nightly` and `labels` run the first preset. Each further preset has deployments of its own, such as
    `nightly-NAME`. `align` and `label-batch` run any of them. Other deployments are copied as they are.

    Args:
        root: The project's folder.
        presets: The files of the presets.
        scheduled: False: `nightly` and `labels`, which run by themselves, are left out.

    Returns:
        The file, and the names of its deployments.

    Raises:
        UserError: A preset is not right, two have the same name, or prefect.yaml has none of the four.
    """
    found = read_deployments(root)
    *several, last = (*COPIED, *_SHARED)
    if not {one["name"] for one in found["deployments"]} & {*several, last}:
        raise UserError(
            f"{root / DEPLOYMENT_FILE} has no deployment {', '.join(several)} or {last}, which --config "
            "changes; add one, or leave --config out"
        )
    named = name_presets(root, presets)
    files = list(named.values())
    made: list[dict[str, Any]] = []
    for one in found["deployments"]:
        parameters = one.get("parameters") or {}
        # Left out rather than paused: a later deployment would leave a paused schedule paused.
        if one["name"] in COPIED and not scheduled:
            continue
        if one["name"] in COPIED:
            for index, (name, file) in enumerate(named.items()):
                further = {"name": f"{one['name']}-{name}", "tags": [*(one.get("tags") or []), _TAG]}
                made.append(
                    {**one, **(further if index else {}), "parameters": {**parameters, "config": file}}
                )
        elif one["name"] in _SHARED:
            given = {**parameters, "config": files[0], "presets": files[1:]}
            made.append({**one, "parameters": given})
        else:
            made.append(one)
    names = [str(one["name"]) for one in made]
    if doubled := sorted({name for name in names if names.count(name) > 1}):
        raise UserError(
            f"two deployments would have the name {doubled[0]}; rename the one in {DEPLOYMENT_FILE}"
        )
    path = root / DEPLOYMENTS
    path.parent.mkdir(parents=True, exist_ok=True)
    # JSON is a subset of YAML, and needs no rules for quoting.
    replace_text(path, json.dumps({**found, "deployments": made}, indent=1))
    return path, names


def name_presets(root: Path, presets: Sequence[Path]) -> dict[str, str]:
    """Return the presets' files by the suffix of their deployments' names.

    Files inside `root` are relative to it. A file that is named twice counts once.

    Raises:
        UserError: A preset is not right, or two files have presets of the same name.
    """
    # Imported late: it imports torch, which `chatmill --help` does not need.
    from flows.config import read_preset

    named: dict[str, str] = {}
    for path in presets:
        name = re.sub(r"[^\w.-]+", "-", read_preset(path).name).strip("-") or "preset"
        inside = path.resolve().is_relative_to(root.resolve())
        file = os.path.relpath(path.resolve(), root.resolve()) if inside else str(path.resolve())
        if named.setdefault(name, file) != file:
            raise UserError(
                f"{named[name]} and {file} both have the name {name}, but deployments need "
                "different names; change `name` in one of them"
            )
    return named


def remove_former(names: Sequence[str], unscheduled: Sequence[str] = ()) -> list[str]:
    """Remove the deployments that an earlier --config made from Prefect's server, except `names`.

    Those in `unscheduled` are removed too. A server that other projects share must not be asked for these.
    Their scheduled runs are removed with them; past runs stay on Prefect's pages. Returns the removed names.
    """
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import DeploymentFilter, DeploymentFilterName, DeploymentFilterTags

    made = [DeploymentFilter(tags=DeploymentFilterTags(all_=[_TAG]))]
    if unscheduled:
        made.append(DeploymentFilter(name=DeploymentFilterName(any_=[*unscheduled])))
    removed = []
    with get_client(sync_client=True) as client:
        # In a loop, as Prefect answers at most 200 deployments at a time.
        while former := [
            one
            for wanted in made
            for one in client.read_deployments(deployment_filter=wanted)
            if one.name not in names
        ]:
            for one in former:
                client.delete_deployment(one.id)
                removed.append(one.name)
    return sorted(removed)
