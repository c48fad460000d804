"""Deployments of each preset that `chatmill up` is given, on a real Prefect server."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
import yaml
from prefect.client.orchestration import SyncPrefectClient

from flows import deployments
from flows.orchestration.preset_deployments import COPIED, name_presets, remove_former, write_deployments
from flows.servers import workers
from flows.servers.credentials import stored_login
from flows.servers.environment import Settings
from flows.servers.workers import make_pools
from model.errors import UserError
from tests.flows.prefect_project import SMOKE, lay_deployments


def _write_preset(path: Path, name: str) -> Path:
    values = yaml.safe_load(SMOKE.read_text(encoding="utf-8"))
    path.parent.mkdir(exist_ok=True)
    path.write_text(yaml.safe_dump({**values, "name": name}), encoding="utf-8")
    return path


def test_write_deployments_unscheduled_leaves_out_what_runs_by_itself(
    server_root: Path, client: SyncPrefectClient
) -> None:
    make_pools()
    lay_deployments(server_root)
    preset = _write_preset(server_root / "presets/first.yaml", "first")
    settings = Settings(server_root, "", "", stored_login(server_root))
    (server_root / "var" / "logs").mkdir(exist_ok=True)
    for scheduled in (True, False, True):
        file, names = write_deployments(server_root, [preset], scheduled)
        assert workers.deploy_flows(settings, os.environ["PREFECT_API_URL"], file) == ""
        assert remove_former(names) == []
        assert remove_former(names, () if scheduled else COPIED) == (
            [] if scheduled else ["labels", "nightly"]
        )
        active = {one.name for one in client.read_deployments() if any(each.active for each in one.schedules)}
        assert active == ({"nightly", "labels", "reproduce"} if scheduled else {"reproduce"})


def test_write_deployments_follows_named_presets_and_removes_others(
    server_root: Path, client: SyncPrefectClient
) -> None:
    make_pools()
    lay_deployments(server_root)
    files = [f"presets/{name}.yaml" for name in ("first", "second", "third")]
    presets = [_write_preset(server_root / file, f"{Path(file).stem} préset") for file in files]
    settings = Settings(server_root, "", "", stored_login(server_root))
    (server_root / "var" / "logs").mkdir(exist_ok=True)

    def deploy_presets(*wanted: Path) -> tuple[list[str], dict[str, dict[str, Any]]]:
        file, names = write_deployments(server_root, wanted)
        assert workers.deploy_flows(settings, os.environ["PREFECT_API_URL"], file) == ""
        removed = remove_former(names)
        there = {one.name: one.parameters for one in client.read_deployments()}
        assert set(names) <= set(there)
        return removed, there

    # A preset that is named twice, by two paths, counts once.
    removed, there = deploy_presets(*presets, server_root / "presets" / ".." / files[1])
    assert removed == []
    for kind in ("nightly", "labels"):
        assert there[kind] == {"config": files[0]}
        for name, file in zip(("second", "third"), files[1:], strict=True):
            assert there[f"{kind}-{name}-préset"] == {"config": file}
    for kind in ("align", "label-batch"):
        assert there[kind] == {"config": files[0], "presets": files[1:]}
    removed, there = deploy_presets(presets[2], presets[0])
    assert removed == [
        f"{kind}-{name}-préset" for kind in ("labels", "nightly") for name in ("second", "third")
    ]
    assert there["nightly"] == {"config": files[2]} and there["align"]["presets"] == [files[0]]
    made, _ = write_deployments(server_root, (presets[2], presets[0]))
    assert workers.deployed_presets(server_root, made) == [files[2], files[0]]
    assert workers.deployed_presets(server_root) == [deployments.DEMO_PRESET]
    # `up` without --config deploys the demo preset.
    assert workers.deploy_flows(settings, os.environ["PREFECT_API_URL"]) == ""
    removed = remove_former(workers.deployment_names(server_root))
    assert removed == ["labels-first-préset", "nightly-first-préset"]
    there = {one.name: one.parameters for one in client.read_deployments()}
    assert there["nightly"] == there["align"] == {"config": deployments.DEMO_PRESET}


def test_name_presets_and_write_deployments_refuse_ambiguous_names(tmp_path: Path) -> None:
    one, other = (_write_preset(tmp_path / f"{name}.yaml", "same") for name in ("a", "b"))
    with pytest.raises(UserError, match=r"a\.yaml and b\.yaml both have the name same"):
        name_presets(tmp_path, [one, other])
    with pytest.raises(UserError, match=r"c\.yaml does not exist"):
        name_presets(tmp_path, [tmp_path / "c.yaml"])
    assert name_presets(tmp_path / "project", [one]) == {"same": str(one)}
    with pytest.raises(UserError, match=r"has no prefect\.yaml"):
        write_deployments(tmp_path, [one])
    wrong = {
        "[": r"prefect\.yaml, line 1: not YAML",
        "deployments: 3": "no list",
        "deployments: [{name: reproduce}]": "has no deployment",
    }
    for text, said in wrong.items():
        (tmp_path / "prefect.yaml").write_text(text)
        with pytest.raises(UserError, match=said):
            write_deployments(tmp_path, [one])
    twice = {"deployments": [{"name": "nightly"}, {"name": "nightly-b"}]}
    (tmp_path / "prefect.yaml").write_text(json.dumps(twice))
    with pytest.raises(UserError, match="two deployments would have the name nightly-b"):
        write_deployments(tmp_path, [one, _write_preset(tmp_path / "b.yaml", "b")])
    assert not (tmp_path / "var").exists()


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (b"- a\n", "has no list `deployments`"),
        (b"deployments: [5]\n", "each with a name"),
        (b"deployments: [{entrypoint: x}]\n", "each with a name"),
        (b"deployments:\n<<<<<<< HEAD\n- {name: a}\n=======\n>>>>>>> b\n", "line 2: a merge conflict"),
        (b"name: a\0b\n", "line 1: not YAML"),
        (b"[" * 9000, "nested more than"),
        (b"a" * 5_000_000, "larger than 1 MB"),
        ("name: \u00fc".encode("utf-16"), "UTF-16"),
        (b"\xff\xfa", "not UTF-8"),
    ],
)
def test_deployment_names_damaged_file_is_refused(tmp_path: Path, damage: bytes, says: str) -> None:
    assert workers.deployment_names(tmp_path) == []
    (tmp_path / "prefect.yaml").write_bytes(damage)
    with pytest.raises(UserError, match=rf"prefect\.yaml.*{says}"):
        workers.deployment_names(tmp_path)


def test_deployment_names_dangling_link_and_pipe_are_refused(tmp_path: Path) -> None:
    (tmp_path / "prefect.yaml").symlink_to("nowhere")
    with pytest.raises(UserError, match=r"prefect\.yaml is a link to nowhere, which is missing"):
        workers.deployment_names(tmp_path)
    (tmp_path / "prefect.yaml").unlink()
    os.mkfifo(tmp_path / "prefect.yaml")
    with pytest.raises(UserError, match=r"prefect\.yaml is a pipe"):
        workers.deployment_names(tmp_path)
